//! The compiler for the BPF target, which needs `-Z build-std=core` and so the compiler's own library source.
//!
//! Two ways, the first that is there is taken: rustup's nightly with its rust-src component (what people who write
//! BPF in Rust have), else the compiler that Debian keeps up to date for its browsers, which lives in /usr/bin and
//! does not disturb a rustup toolchain.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::{env, iter};

use anyhow::{Result, bail};

use super::on_path;
use crate::sh::{self, Tree};

/// The LLVM of Debian's compiler, and the one that bpf-linker is built for.
const LLVM: u32 = 22;

/// A way to compile for BPF.
pub enum Compiler {
    /// rustup's nightly.
    Nightly {
        /// Whether the user has a bpf-linker of their own; it is taken to fit.
        own_linker: bool,
    },
    /// Debian's rustc-web.
    Debian,
}

impl Compiler {
    /// The first way that is open on this machine.
    pub fn choose() -> Self {
        let own_linker = on_path("bpf-linker");
        match nightly_llvm() {
            Some(llvm) if own_linker || llvm == LLVM => Self::Nightly { own_linker },
            _ => Self::Debian,
        }
    }

    /// The Debian packages of this way, each with the reason.
    pub fn packages(&self) -> Vec<(&'static str, &'static str)> {
        let compiler = [
            ("rustc-web", "compiles the BPF object"),
            ("rust-web-src", "the library source that the BPF target is built from"),
            ("cargo-web", "the cargo that goes with it"),
        ];
        let linker = [
            ("llvm-22-dev", "bpf-linker is built against it"),
            ("libpolly-22-dev", "a part of LLVM that its list of libraries names"),
            ("g++", "links the C++ library that LLVM needs"),
            ("zlib1g-dev", "LLVM links it"),
        ];
        match self {
            Self::Nightly { own_linker: true } => Vec::new(),
            Self::Nightly { own_linker: false } => linker.to_vec(),
            Self::Debian => compiler.into_iter().chain(linker).collect(),
        }
    }

    /// The LLVM that bpf-linker has to be built for; none when the user's own is taken.
    pub fn linker_llvm(&self) -> Option<u32> {
        match self {
            Self::Nightly { own_linker: true } => None,
            _ => Some(LLVM),
        }
    }

    /// An error that says what to do when this way leads nowhere.
    pub fn check(&self) -> Result<()> {
        if let Self::Nightly { .. } = self {
            return Ok(());
        }
        let version = sh::try_output(Command::new("/usr/bin/rustc").arg("-vV")).unwrap_or_default();
        let llvm = llvm_of(&version);
        if llvm != Some(LLVM) {
            bail!(
                "Debian's /usr/bin/rustc is built with LLVM {}, and LLVM {LLVM} is needed. Either bring \
                 rustc-web up to date from Debian's security updates (`apt-get update`), or take rustup's way: \
                 `rustup toolchain install nightly --component rust-src` and `cargo binstall bpf-linker`",
                llvm.map_or("?".into(), |llvm| llvm.to_string())
            );
        }
        Ok(())
    }

    /// The cargo of this way, in an environment that is free of the cargo that runs this program.
    pub fn cargo(&self, tree: &Tree) -> Command {
        let mut command = match self {
            Self::Nightly { .. } => Command::new("rustup"),
            Self::Debian => Command::new("/usr/bin/cargo"),
        };
        sh::scrub_toolchain(&mut command)
            .current_dir(&tree.root)
            .env("PATH", path_with(&tree.tools().join("bin")));
        match self {
            Self::Nightly { .. } => command.args(["run", "nightly", "cargo"]),
            Self::Debian => command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1"),
        };
        command
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly { own_linker: true } => write!(f, "rustup's nightly, with your bpf-linker"),
            Self::Nightly { own_linker: false } => write!(f, "rustup's nightly, LLVM {LLVM}"),
            Self::Debian => write!(f, "Debian's rustc-web, LLVM {LLVM}"),
        }
    }
}

/// The LLVM of rustup's nightly, if there is one with the library source.
fn nightly_llvm() -> Option<u32> {
    let rustc = |args: &[&str]| {
        let mut command = Command::new("rustup");
        // A look, not an installation.
        command.args(["run", "nightly", "rustc"]).args(args).env("RUSTUP_AUTO_INSTALL", "0");
        sh::try_output(sh::scrub_toolchain(&mut command))
    };
    let sysroot = rustc(&["--print", "sysroot"])?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    if source.is_dir() { llvm_of(&rustc(&["-vV"])?) } else { None }
}

/// The major version from the line `LLVM version: 22.1.8`.
fn llvm_of(version: &str) -> Option<u32> {
    version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.split('.').next()?.parse().ok()
}

/// PATH with one more folder in front.
fn path_with(first: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = iter::once(first.to_owned()).chain(env::split_paths(&path));
    env::join_paths(folders).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_major_is_read_from_the_version() {
        assert_eq!(llvm_of("rustc 1.96.0\nhost: x86_64\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_of("rustc 1.96.0\n"), None);
        assert_eq!(llvm_of("LLVM version: unknown\n"), None);
    }
}
