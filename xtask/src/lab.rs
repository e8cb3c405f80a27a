//! The embedded lab: a switch, five hosts, the real `sekisho` on the bridge, an infection, and its end.
//!
//! Everything shown is measured while it happens: the events are those of `sekisho run`, the pings and exchanges
//! are made by the hosts. When the story does not go as told the run fails and says what was expected.

mod daemon;
mod events;
pub mod host;
mod net;
mod story;
mod talk;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::setup::Part;
use crate::sh::{self, Interrupted, Tree};
use crate::ui;
use daemon::Daemon;
use events::Events;
use net::{HOSTS, Host, Lab};

/// Builds Sekisho and plays the story. With `keep` the lab stays up at its end.
pub fn run(tree: &Tree, keep: bool, extra: &[String]) -> Result<()> {
    let program = build::product(tree, &[Part::Bpf, Part::Run, Part::Lab])?;
    sh::need_root("making a network of namespaces")?;
    sh::catch_signals()?;
    let mut ward = Ward::new();
    let outcome = ward.open().and_then(|()| story::play(&mut ward, &program, extra));
    let interrupted = outcome.as_ref().is_err_and(|error| error.is::<Interrupted>());
    if interrupted {
        ui::heading("Stopped: cleaning up");
    } else if keep {
        ward.keep();
        return outcome;
    }
    ward.close().and(outcome)
}

/// Removes the labs whose process is gone.
pub fn clean() -> Result<()> {
    let labs = Lab::left_over();
    if labs.is_empty() {
        ui::line("no lab is left over");
        return Ok(());
    }
    sh::need_root("removing a lab")?;
    let mut left = Vec::new();
    for lab in labs {
        left.extend(lab.remove());
        ui::line(&format!("removed {}", lab.namespace("*")));
    }
    if left.is_empty() { Ok(()) } else { bail!("not removed: {}", left.join("; ")) }
}

/// A lab that is up, with all that runs in it. Whatever happens, it is taken down in the end.
pub struct Ward {
    lab: Lab,
    hosts: Vec<Child>,
    scan: Option<Child>,
    daemon: Option<Daemon>,
    events: Option<Events>,
    up: bool,
}

impl Ward {
    fn new() -> Self {
        let lab = Lab::of_process(process::id());
        Self { lab, hosts: Vec::new(), scan: None, daemon: None, events: None, up: true }
    }

    /// Makes the network.
    fn open(&mut self) -> Result<()> {
        let folder = self.lab.folder();
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        self.lab.create()
    }

    /// Starts the hosts' daily work.
    fn start_hosts(&mut self) -> Result<()> {
        let myself = std::env::current_exe().context("where am I?")?;
        for host in &HOSTS {
            let mut command = self.lab.inside(host.name, &myself);
            command.arg("lab-host");
            for port in host.serves {
                command.args([
                    "--listen",
                    &format!("{}:{port}", host.v4),
                    "--listen",
                    &format!("[{}]:{port}", host.v6),
                ]);
            }
            for (peer, port) in host.talks_to {
                let Some(Host { v4, v6, .. }) = net::host(peer) else { bail!("no host {peer}") };
                command.args([
                    "--peer",
                    &format!("{peer}={v4}:{port}"),
                    "--peer",
                    &format!("{peer}=[{v6}]:{port}"),
                ]);
            }
            let log = self.log_of(host.name);
            let log = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
            command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log).process_group(0);
            self.hosts.push(command.spawn().context("cannot start a host")?);
        }
        Ok(())
    }

    fn log_of(&self, host: &str) -> PathBuf {
        self.lab.folder().join(format!("{host}.log"))
    }

    /// Starts the daemon and follows its events.
    fn start_daemon(&mut self, program: &Path, extra: &[String]) -> Result<()> {
        let daemon = Daemon::start(&self.lab, program, extra)?;
        self.events = Some(Events::follow(&daemon.events())?);
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Starts the infected host's scan of the whole network.
    fn start_scan(&mut self, host: &Host) -> Result<()> {
        let mut command = self.lab.inside(host.name, "nmap");
        command
            .args(["-sS", "-n", "-T4", "10.77.0.0/24"])
            .stdin(Stdio::null())
            .stdout(File::create(self.log_of("nmap"))?)
            .stderr(Stdio::null())
            .process_group(0);
        self.scan = Some(command.spawn().context("cannot start nmap")?);
        Ok(())
    }

    fn stop_scan(&mut self) -> Result<()> {
        self.scan.take().map_or(Ok(()), |mut scan| daemon::end(&mut scan, Duration::from_secs(1)))
    }

    fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("the daemon was not started")
    }

    fn events(&mut self) -> Result<&mut Events> {
        self.events.as_mut().context("the daemon was not started")
    }

    /// Tells events until something is the case (true) or the time is up (false).
    fn wait(&mut self, patience: Duration, mut done: impl FnMut(&mut Self) -> Result<bool>) -> Result<bool> {
        let started = Instant::now();
        loop {
            sh::check_stop()?;
            if let Some(events) = &mut self.events {
                events.pump()?;
            }
            if done(self)? {
                return Ok(true);
            }
            if let Some(obituary) = self.daemon.as_mut().map_or(Ok(None), Daemon::obituary)? {
                bail!(obituary);
            }
            if started.elapsed() > patience {
                return Ok(false);
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Leaves everything as it is and says how to get in.
    fn keep(mut self) {
        self.up = false;
        ui::heading("The lab stays up");
        for name in HOSTS.iter().map(|host| host.name).chain([net::SWITCH]) {
            ui::line(&format!("   nsenter --net=/run/netns/{} bash", self.lab.namespace(name)));
        }
        if let Some(daemon) = &self.daemon {
            ui::line(&format!("   {}", sh::describe(&daemon.command(&["status"]))));
            ui::line(&format!("   tail -f {}", daemon.events().display()));
        }
        ui::line("Remove it with: cargo xtask clean");
    }

    /// Takes everything down and says so.
    fn close(mut self) -> Result<()> {
        let problems = self.take_down();
        if problems.is_empty() {
            ui::note("lab removed: namespaces, pins, processes and files");
            return Ok(());
        }
        bail!("the lab was not removed in full: {}", problems.join("; "))
    }

    fn take_down(&mut self) -> Vec<String> {
        self.up = false;
        let mut problems = Vec::new();
        if let Err(error) = self.stop_scan() {
            problems.push(format!("{error:#}"));
        }
        if let Some(daemon) = &mut self.daemon {
            problems.extend(daemon.stop());
        }
        for host in &mut self.hosts {
            // A host holds nothing that an orderly end would save.
            let _ = host.kill();
            let _ = host.wait();
        }
        problems.extend(self.lab.remove());
        problems
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        if self.up {
            for problem in self.take_down() {
                ui::line(&format!("not cleaned up: {problem}"));
            }
        }
    }
}

/// How many lines a log has.
fn lines_in(log: &Path) -> usize {
    fs::read_to_string(log).unwrap_or_default().lines().count()
}
