//! Debian packages: which are missing, and their installation without starting the services they bring.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::sh;
use crate::ui;

/// Installs what is missing of `wanted` (names and reasons). Returns whether anything was.
pub fn install(wanted: &[(&str, &str)]) -> Result<bool> {
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(false);
    }
    ui::line("setup: Debian packages to install:");
    for (name, why) in &missing {
        ui::line(&format!("  {name:<16} {why}"));
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    if !sh::is_root() {
        bail!(
            "packages are missing and only root can install them: sudo apt-get install {}",
            names.join(" ")
        );
    }
    let log = Path::new("/var/tmp/sekisho-setup.log");
    let quiet = NoServices::begin()?;
    // A third party's source that cannot be reached says nothing about Debian's own.
    if let Err(error) = run_logged(apt().arg("update"), log) {
        ui::note(&format!("setup: going on with the package lists as they are: {error:#}"));
    }
    // Never at the price of something that the machine's owner has installed.
    run_logged(apt().args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(&names), log)
        .context("cannot install the packages")?;
    if names.contains(&"prometheus") {
        // The tests start their own; the package's service would otherwise come up with the machine.
        sh::output(Command::new("update-rc.d").args(["prometheus", "disable"]))?;
        ui::line("  (the service of the package prometheus stays off: the tests start their own)");
    }
    drop(quiet);
    Ok(true)
}

fn missing<'a>(wanted: &[(&'a str, &'a str)]) -> Result<Vec<(&'a str, &'a str)>> {
    let names = wanted.iter().map(|(name, _)| name);
    // Exit code 1 says that some are unknown; what is known is listed all the same.
    let known = Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Abbrev} ${Package}\n"])
        .args(names)
        .stderr(Stdio::null())
        .output()
        .context("cannot ask dpkg: the set-up knows Debian 12 and newer")?;
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    let installed: Vec<&str> = known
        .lines()
        .filter_map(|line| {
            let (state, name) = line.rsplit_once(' ')?;
            state.trim().ends_with('i').then_some(name)
        })
        .collect();
    Ok(wanted.iter().filter(|(name, _)| !installed.contains(name)).copied().collect())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    // Waits for an automatic update that holds the lock, as a fresh machine often has one running.
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Runs a talkative command into a file; the file's end goes into the error.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start `{}`", sh::describe(command)))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(15)..].join("\n");
    bail!(
        "`{}` failed ({status}); its last lines (all of them: {}):\n{end}",
        sh::describe(command),
        log.display()
    )
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
const MARK: &str = "put here by Sekisho's set-up";

/// While it lives, packages that are installed start no services: Debian asks /usr/sbin/policy-rc.d first.
///
/// A policy that the machine already has (containers do) is left alone. Ours is without effect once this process
/// has ended, even when it could not be taken away.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        if fs::read_to_string(POLICY).is_ok_and(|policy| !policy.contains(MARK)) {
            return Ok(Self { ours: false });
        }
        let id = process::id();
        let script = format!(
            "#!/bin/sh\n# {MARK}, for as long as process {id} lives\n[ -d /proc/{id} ] && exit 101\nexit 0\n"
        );
        fs::write(POLICY, script).with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            // Harmless if it stays: see above.
            let _ = fs::remove_file(POLICY);
        }
    }
}
