//! The real `sekisho` in the lab's switch: started, asked and ended as an operator would.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;

use super::net::{HOSTS, Lab, SWITCH};
use crate::sh;

/// Where the daemon answers Prometheus, inside the switch's namespace.
pub const METRICS: &str = "127.0.0.1:9935";

/// A running daemon.
pub struct Daemon {
    child: Child,
    program: PathBuf,
    folder: PathBuf,
    pins: PathBuf,
}

impl Daemon {
    /// Starts it on the lab's bridge. Its events go to `events.json`, its complaints to `sekisho.log`.
    pub fn start(lab: &Lab, program: &Path, extra: &[String]) -> Result<Self> {
        let (folder, pins) = (lab.folder(), lab.pins());
        let config = folder.join("sekisho.toml");
        fs::write(&config, configuration()).with_context(|| format!("cannot write {}", config.display()))?;
        let mut command = lab.inside(SWITCH, program);
        command
            .args(["run", "--bridge", "br0", "--mode", "enforce", "-o", "json", "--metrics", METRICS])
            .arg("--config")
            .arg(&config)
            .arg("--state-dir")
            .arg(folder.join("state"))
            .arg("--socket")
            .arg(folder.join("control.sock"))
            .arg("--pin-dir")
            .arg(&pins)
            .args(extra)
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("events.json"))?)
            .stderr(File::create(folder.join("sekisho.log"))?)
            // Ctrl-C at the terminal is for the lab to handle, in its own order.
            .process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child, program: program.to_owned(), folder, pins })
    }

    /// The file its events go to.
    pub fn events(&self) -> PathBuf {
        self.folder.join("events.json")
    }

    /// The last lines of its log, when it has ended though it was not told to.
    pub fn obituary(&mut self) -> Result<Option<String>> {
        let Some(status) = self.child.try_wait().context("cannot look after sekisho")? else {
            return Ok(None);
        };
        let log = fs::read_to_string(self.folder.join("sekisho.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        Ok(Some(format!("`sekisho run` ended ({status}):\n{end}")))
    }

    /// One command to the running daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        sh::scrub(&mut command).args(arguments).arg("--socket").arg(self.folder.join("control.sock"));
        command
    }

    /// Ends it and detaches what it has left in the kernel. Returns what went wrong.
    pub fn stop(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(error) = end(&mut self.child, Duration::from_secs(5)) {
            problems.push(format!("{error:#}"));
        }
        if self.pins.exists() {
            let mut detach = Command::new(&self.program);
            sh::scrub(&mut detach).arg("detach").arg("--pin-dir").arg(&self.pins);
            if let Err(error) = sh::output(&mut detach) {
                problems.push(format!("{error:#}"));
            }
        }
        problems
    }
}

/// The lab's configuration: what an operator would enter first, the names and what must never be cut off.
fn configuration() -> String {
    let mut text = String::from("[isolation]\n");
    let protected: Vec<String> =
        HOSTS.iter().filter(|host| host.protected).map(|host| format!("{:?}", host.mac)).collect();
    text += &format!("protected = [{}]\n\n[names]\n", protected.join(", "));
    for host in &HOSTS {
        text += &format!("{:?} = {:?}\n", host.mac, host.name);
    }
    text
}

/// Asks a process to end, and makes it when it has not after `patience`.
pub fn end(child: &mut Child, patience: Duration) -> Result<()> {
    let started = Instant::now();
    let pid = Pid::from_raw(i32::try_from(child.id()).context("no such process")?);
    if child.try_wait()?.is_none() {
        kill(pid, Signal::SIGTERM).context("cannot end a process")?;
    }
    while child.try_wait()?.is_none() {
        if started.elapsed() > patience {
            child.kill().context("cannot kill a process")?;
            child.wait()?;
            break;
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
