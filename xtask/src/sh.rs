//! Other programs, the paths of the work tree, and the wish of the person at the keyboard to stop.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};

/// Where things are in this checkout.
pub struct Tree {
    /// The workspace.
    pub root: PathBuf,
    /// Where the host's cargo puts what it builds.
    pub target: PathBuf,
}

impl Tree {
    /// The checkout that this program was started from.
    pub fn find() -> Self {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| OsStr::new(env!("CARGO_MANIFEST_DIR")).to_owned());
        let manifest = PathBuf::from(manifest);
        let root = manifest.parent().unwrap_or(&manifest).to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(elsewhere) => root.join(elsewhere),
            None => root.join("target"),
        };
        Self { root, target }
    }

    /// Programs built for the build itself, out of the way of the system's.
    pub fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }

    /// The target directory of the BPF compiler, apart from the host's since its compiler is another one.
    pub fn bpf_target(&self) -> PathBuf {
        self.root.join("target/bpf")
    }

    /// The BPF object that the product embeds.
    pub fn object(&self) -> PathBuf {
        self.bpf_target().join("sensor.o")
    }

    /// The product.
    pub fn sekisho(&self) -> PathBuf {
        self.target.join("release/sekisho")
    }

    /// The cargo that runs this program, on this workspace.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        scrub(&mut command).current_dir(&self.root);
        if self.target != self.root.join("target") {
            command.env("SEKISHO_BPF_OBJECT", self.object());
        }
        command
    }
}

/// Takes from a command what `cargo run` told this program about itself: a cargo, a compiler or a build script
/// below would take it for its own.
pub fn scrub(command: &mut Command) -> &mut Command {
    const NAMES: [&str; 5] =
        ["CARGO", "CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "LD_LIBRARY_PATH"];
    const PREFIXES: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];
    remove_env(command, |name| {
        NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// Also takes away all that chooses a compiler or its options, for a cargo that is not this program's.
pub fn scrub_toolchain(command: &mut Command) -> &mut Command {
    const NAMES: [&str; 9] = [
        "RUSTUP_TOOLCHAIN",
        "RUSTC",
        "RUSTDOC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "CARGO_INCREMENTAL",
        "RUSTC_BOOTSTRAP",
    ];
    const PREFIXES: [&str; 3] = ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_UNSTABLE_"];
    scrub(command);
    remove_env(command, |name| {
        NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
    // Empty means none, whatever the user's cargo configuration says.
    .env("RUSTC_WRAPPER", "")
}

fn remove_env(command: &mut Command, unwanted: impl Fn(&str) -> bool) -> &mut Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(&unwanted) {
            command.env_remove(name);
        }
    }
    command
}

/// `program argument argument`, for messages.
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a command whose output the user sees.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", describe(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", describe(command));
    Ok(())
}

/// Runs a command for what it prints; its complaints become the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", describe(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", describe(command), output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a command prints, or nothing when it is missing or fails.
pub fn try_output(command: &mut Command) -> Option<String> {
    output(command).ok()
}

/// Whether this is root; `what` says in the error what needs it.
pub fn need_root(what: &str) -> Result<()> {
    ensure!(
        is_root(),
        "{what} needs root: run it as root, or with `sudo -E env \"PATH=$PATH\" cargo xtask ...`"
    );
    Ok(())
}

/// Whether this is root.
pub fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|me| me.uid() == 0)
}

/// The end that was asked for by Ctrl-C or a signal: no failure, but not a success either.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped on request")
    }
}

impl std::error::Error for Interrupted {}

static STOP: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C, SIGTERM and SIGHUP only raise a flag; whoever waits looks at it by [`check_stop`].
pub fn catch_signals() -> Result<()> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst)).context("cannot catch Ctrl-C")
}

/// An error when the user has asked to stop.
pub fn check_stop() -> Result<()> {
    if STOP.load(Ordering::SeqCst) { Err(Interrupted.into()) } else { Ok(()) }
}
