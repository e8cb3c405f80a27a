//! Installs what the other commands need and says what and why; one line when all is there.
//!
//! Three things come from outside the workspace: Debian packages; the linker for BPF, which is built here since
//! it has to match the compiler's LLVM; and for tests some Python packages. The compiler itself is looked for in [`compiler`]. Other kernels, and QEMU where the
//! machine has none, are fetched by what needs them and installed nowhere.

pub mod compiler;
mod debian;
mod readers;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::sh::{self, Tree};
use crate::ui;
use compiler::Compiler;

/// A use that packages are installed for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Building the BPF object.
    Bpf,
    /// Running the product.
    Run,
    /// The lab's network and its hosts.
    Lab,
    /// Tests and the benchmark.
    Tests,
    /// Tests on other kernels.
    Vm,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 5] = [Part::Bpf, Part::Run, Part::Lab, Part::Tests, Part::Vm];
}

/// A Debian package, what it is for, and why it is wanted.
type Package = (Part, &'static str, &'static str);

const PACKAGES: &[Package] = &[
    (Part::Run, "ieee-data", "names of makers by hardware address"),
    (Part::Run, "iproute2", "bridges and namespaces"),
    (Part::Lab, "nmap", "the scan of the lab's infected host"),
    (Part::Lab, "iputils-ping", "shows who can talk to whom"),
    (Part::Tests, "g++", "compiles libFuzzer, which the fuzz targets are linked to"),
    (Part::Tests, "prometheus", "a real server scrapes the metrics; promtool checks them"),
    (Part::Tests, "xdp-tools", "xdp-filter, a peer of the benchmark"),
    (Part::Tests, "nftables", "a peer of the benchmark"),
    (Part::Tests, "iptables", "ebtables, a peer of the benchmark"),
    (Part::Tests, "bpftool", "looks at what is loaded in the kernel, from outside"),
    (Part::Tests, "ethtool", "offloads of the test network's links"),
    (Part::Tests, "faketime", "shows the daemon, and it alone, another time of day"),
    (Part::Tests, "tcpreplay", "real captures on the wire"),
    (Part::Tests, "netcat-openbsd", "connections between test hosts"),
    (Part::Tests, "openssl", "checks signatures of webhooks, from outside"),
    (Part::Tests, "python3-aiosmtpd", "a mail server with TLS that is told of incidents"),
    (Part::Tests, "rsyslog", "a receiver of syslog"),
    (Part::Tests, "rsyslog-gnutls", "the same within TLS"),
    (Part::Tests, "snmptrapd", "a receiver of SNMP traps"),
    (Part::Tests, "smitools", "smilint, which reads the MIB of the traps"),
    (Part::Tests, "busybox-static", "a client of DHCP"),
    (Part::Tests, "nfdump", "nfcapd, a collector of IPFIX"),
    (Part::Tests, "chromium", "prints the report of a month"),
    (Part::Tests, "fonts-ipafont-gothic", "its Japanese letters"),
    (Part::Tests, "poppler-utils", "pdftotext reads it back"),
    (Part::Tests, "python3-venv", "a place for what comes from PyPI"),
    (Part::Tests, "default-jre-headless", "runs Spark, which reads the log of conversations"),
    (Part::Vm, "busybox-static", "the rest of a system under those kernels"),
    (Part::Vm, "kmod", "finds the modules of those kernels"),
    (Part::Vm, "xz-utils", "decompresses them"),
    (Part::Vm, "binutils", "takes the debug information out of the tests"),
];

/// The version of bpf-linker that the project is built and tested with.
const LINKER: &str = "0.13.0";

/// Makes ready for some parts. Returns the compiler to build the BPF object with.
pub fn setup(tree: &Tree, parts: &[Part]) -> Result<Compiler> {
    let started = Instant::now();
    let mut wanted: Vec<(&str, &str)> = PACKAGES
        .iter()
        .filter(|(part, ..)| parts.contains(part))
        .map(|&(_, name, why)| (name, why))
        .collect();
    let compiler = Compiler::choose();
    wanted.extend(compiler.packages());

    let mut changed = debian::install(&wanted)?;
    compiler.check()?;
    changed |= linker(tree, &compiler)?;
    if parts.contains(&Part::Tests) {
        changed |= components(tree)?;
        changed |= readers::install(tree)?;
    }
    if parts.contains(&Part::Lab) || parts.contains(&Part::Tests) {
        changed |= bpf_filesystem()?;
    }
    let took = if changed {
        format!("done in {:.0} s", started.elapsed().as_secs_f32())
    } else {
        "all there".into()
    };
    ui::note(&format!("setup: {took}; BPF compiler: {compiler}"));
    Ok(compiler)
}

/// Builds bpf-linker into target/tools against the compiler's LLVM, unless it is there.
fn linker(tree: &Tree, compiler: &Compiler) -> Result<bool> {
    let Some(llvm) = compiler.linker_llvm() else { return Ok(false) };
    let tools = tree.tools();
    if linker_fits(&tools, llvm) {
        return Ok(false);
    }
    ui::line(&format!(
        "setup: building bpf-linker {LINKER} for LLVM {llvm} (links the BPF object; about 1 minute)"
    ));
    let log = tools.join("bpf-linker.log");
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    let mut command = compiler.cargo(tree);
    command
        .args(["install", "bpf-linker", "--version", LINKER, "--locked", "--force", "--no-default-features"])
        .args(["--features", &format!("llvm-{llvm}"), "--root"])
        .arg(&tools)
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
    debian::run_logged(&mut command, &log)?;
    ensure!(linker_fits(&tools, llvm), "bpf-linker was built but does not start; see {}", log.display());
    Ok(true)
}

/// Whether the right bpf-linker is in `tools` and starts (its shared LLVM may have gone).
fn linker_fits(tools: &Path, llvm: u32) -> bool {
    let installed = fs::read_to_string(tools.join(".crates2.json")).unwrap_or_default();
    let version = sh::try_output(Command::new(tools.join("bin/bpf-linker")).arg("--version"));
    installed.contains(&format!("\"llvm-{llvm}\"")) && version.is_some_and(|version| version.contains(LINKER))
}

/// The parts of the Rust toolchain that the tests need and a minimal installation lacks.
fn components(tree: &Tree) -> Result<bool> {
    let mut changed = false;
    for (component, subcommand, why) in
        [("rustfmt", "fmt", "checks the format"), ("clippy", "clippy", "checks for common mistakes")]
    {
        if sh::try_output(tree.cargo().args([subcommand, "--version"])).is_some() {
            continue;
        }
        ui::line(&format!("setup: adding {component} to the Rust toolchain ({why})"));
        sh::output(Command::new("rustup").args(["component", "add", component])).with_context(|| {
            format!(
                "`cargo {subcommand}` is missing and could not be added; \
                 add it with `rustup component add {component}`, or from where your Rust came from"
            )
        })?;
        changed = true;
    }
    Ok(changed)
}

/// Maps and programs are pinned in the BPF file system, which a system without systemd has not mounted.
fn bpf_filesystem() -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let mounted =
        mounts.lines().any(|line| line.split(' ').nth(1) == Some("/sys/fs/bpf") && line.contains(" bpf "));
    if mounted {
        return Ok(false);
    }
    sh::need_root("mounting the BPF file system")?;
    ui::line("setup: mounting the BPF file system on /sys/fs/bpf (pins live there)");
    sh::output(Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]))?;
    Ok(true)
}

/// Whether a program is on PATH.
pub fn on_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
