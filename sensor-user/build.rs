//! Brings the BPF object into the binary: `SEKISHO_BPF_OBJECT`, or what `cargo xtask build` left in the target folder.

use std::path::PathBuf;
use std::{env, fs, process};

fn main() {
    println!("cargo::rerun-if-env-changed=SEKISHO_BPF_OBJECT");
    if let Err(problem) = copy_object() {
        println!("cargo::error={problem}");
        process::exit(1);
    }
}

/// Copies the object to where `include_bytes_aligned!` finds it.
fn copy_object() -> Result<(), String> {
    let object = match env::var_os("SEKISHO_BPF_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => variable("CARGO_MANIFEST_DIR")?.join("../target/bpf/sensor.o"),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let out = variable("OUT_DIR")?.join("sensor.o");
    fs::copy(&object, &out).map(drop).map_err(|error| {
        format!(
            "no BPF object at {}: {error}; run `cargo xtask build` (or set SEKISHO_BPF_OBJECT)",
            object.display()
        )
    })
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("{name} is not set; build with cargo"))
}
