//! The BPF object, and the product that embeds it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::setup::compiler::Compiler;
use crate::setup::{self, Part};
use crate::sh::{self, Tree};

/// v3: 32-bit arithmetic and jumps, understood by every kernel that has ring buffers. The debug information becomes
/// BTF, by which the kernel checks the maps and names the lines of a program it rejects.
const RUSTFLAGS: &str = "-C target-cpu=v3 -C debuginfo=2 -C link-arg=--btf";

const TARGET: &str = "bpfel-unknown-none";

/// Sets up, builds everything, and returns the path of `sekisho`.
pub fn product(tree: &Tree, parts: &[Part]) -> Result<PathBuf> {
    let compiler = setup::setup(tree, parts)?;
    object(tree, &compiler)?;
    sekisho(tree)
}

/// Builds target/bpf/sensor.o.
pub fn object(tree: &Tree, compiler: &Compiler) -> Result<()> {
    let mut command = compiler.cargo(tree);
    command
        .args(["build", "--quiet", "--release", "--package", "sensor-ebpf", "--bin", "sensor"])
        .args(["--features", "program", "--target", TARGET, "-Z", "build-std=core"])
        .env("CARGO_TARGET_DIR", tree.bpf_target())
        .env("RUSTFLAGS", RUSTFLAGS);
    sh::run(&mut command).context("the BPF object was not built")?;

    let built = tree.bpf_target().join(TARGET).join("release/sensor");
    let fresh = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    // Left as it is when nothing changed: what embeds it would be built again for a new time stamp.
    if fs::read(tree.object()).is_ok_and(|old| old == fresh) {
        return Ok(());
    }
    fs::write(tree.object(), fresh).with_context(|| format!("cannot write {}", tree.object().display()))
}

/// Builds target/release/sekisho around the object.
pub fn sekisho(tree: &Tree) -> Result<PathBuf> {
    sh::run(tree.cargo().args(["build", "--release", "--package", "sensor-user"]))?;
    Ok(tree.sekisho())
}
