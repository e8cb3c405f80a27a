//! The real `sekisho` on a lab's bridge: started, asked and ended as an operator would.

use std::cell::Cell;
use std::env;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{self, BRIDGE, Lab, has_xdp};
use crate::traffic::until;

/// Where a site's daemon serves its metrics: the default, which is free in each lab's namespace.
pub const METRICS: &str = "127.0.0.1:9935";

/// A daemon is up, or has ended, within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Debian's account of nobody, and its group.
pub const NOBODY: &str = "65534";

/// The program under test: SEKISHO_BIN, or what `cargo xtask build` makes.
pub fn program() -> Result<PathBuf> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/sekisho");
    let program = env::var_os("SEKISHO_BIN").map_or_else(built, PathBuf::from);
    program.canonicalize().with_context(|| {
        format!("{} is not there: run `cargo xtask build`, or set SEKISHO_BIN", program.display())
    })
}

/// Copies the program to where every user can run it, for it may lie where only root can.
pub fn copy_for_all(dir: &Path) -> Result<PathBuf> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let copy = dir.join("sekisho");
    // By a process of its own: a file that was open for writing here when another thread started a program could not be
    // run until then (ETXTBSY).
    lab::run("cp", &[&program()?.display().to_string(), &copy.display().to_string()])?;
    Ok(copy)
}

/// What a command told.
#[derive(Debug)]
pub struct Told {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Told {
    /// Checks that it failed (exit code 1) and that its message holds each of `words`.
    pub fn check_failed(&self, words: &[&str]) -> Result<()> {
        ensure!(self.code == Some(1), "expected exit code 1: {self:?}");
        let missing: Vec<_> = words.iter().filter(|word| !self.err.contains(**word)).collect();
        ensure!(missing.is_empty(), "the message lacks {missing:?}:\n{}", self.err);
        ensure!(!self.err.contains("panicked"), "{}", self.err);
        Ok(())
    }

    /// The JSON objects it printed, one a line.
    pub fn lines(&self) -> Result<Vec<Value>> {
        let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
        self.out.lines().map(parse).collect()
    }
}

/// Where a daemon runs on a lab's bridge, with a configuration, a state directory, a socket and pins of its own.
#[derive(Debug)]
pub struct Site<'a> {
    /// The lab.
    pub lab: &'a Lab,
    home: TempDir,
    pins: PathBuf,
    program: PathBuf,
    runs: Cell<u32>,
    nobody: Cell<bool>,
}

/// Makes a lab of so many hosts and runs `work` on its switch, with all places of the daemon private to it.
pub fn site<T: Send>(hosts: u8, work: impl FnOnce(&Site<'_>) -> Result<T> + Send) -> Result<T> {
    let lab = Lab::new(hosts)?;
    lab.ip("link set lo up")?;
    lab.on_switch(|pins| {
        // Locks of labs that are gone are of no use to the machine.
        fs::create_dir_all("/run/sekisho").context("making the place of the locks")?;
        mount_small("/run/sekisho".as_ref(), 1_024)?;
        work(&Site::new(&lab, pins)?)
    })
}

/// Mounts an empty disk of so many KiB, for this thread alone.
pub fn mount_small(path: &Path, kib: u32) -> Result<()> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(format!("size={kib}k").as_str()))
        .with_context(|| format!("mounting a disk at {}", path.display()))
}

impl<'a> Site<'a> {
    fn new(lab: &'a Lab, pins: &Path) -> Result<Self> {
        let home = tempfile::tempdir().context("making a home for the daemon")?;
        let site = Self {
            lab,
            home,
            pins: pins.to_owned(),
            program: program()?,
            runs: Cell::new(0),
            nobody: Cell::new(false),
        };
        site.configure("")?;
        Ok(site)
    }

    /// Another site on the same switch: all its places are its own but the bridge and the machine's locks.
    pub fn another(&self) -> Result<Site<'a>> {
        Site::new(self.lab, &self.pins.with_file_name("other-pins"))
    }

    /// Writes the configuration.
    pub fn configure(&self, text: &str) -> Result<()> {
        fs::write(self.path("sekisho.toml"), text).context("writing the configuration")
    }

    /// A path in the site's home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Where the block list is kept.
    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// The file by which the loader is asked.
    pub fn request(&self) -> PathBuf {
        self.path("load")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.path("control.sock")
    }

    /// Where the maps and links are pinned.
    pub fn pin_dir(&self) -> &Path {
        &self.pins
    }

    /// The program under test.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// From now on commands and daemons here are run by nobody, without a single privilege.
    pub fn drop_privileges(&self) -> Result<()> {
        copy_for_all(self.home.path())?;
        for dir in [self.home.path(), Path::new("/run/sekisho")] {
            lab::run("chown", &[NOBODY, &dir.display().to_string()])?;
        }
        self.nobody.set(true);
        Ok(())
    }

    /// And from now on by root again.
    pub fn be_root(&self) {
        self.nobody.set(false);
    }

    /// The program, to be given a command. It ends with this thread.
    pub fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if self.nobody.get() {
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs"]);
            command.args(["--bounding-set", "-all", "--inh-caps", "-all"]);
        }
        let copy = self.path("sekisho");
        let program = if self.nobody.get() { &copy } else { &self.program };
        command.arg("--").arg(program).env_remove("RUST_LOG");
        command.stdin(Stdio::null());
        command
    }

    /// What `sekisho run` is given here.
    pub fn run_arguments(&self, bridge: &str) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let places = [
            ("--config", path(&self.path("sekisho.toml"))),
            ("--state-dir", path(&self.state_dir())),
            ("--socket", path(&self.socket())),
            ("--request", path(&self.request())),
            ("--pin-dir", path(&self.pins)),
        ];
        let mut arguments = vec!["run".to_owned(), "--bridge".to_owned(), bridge.to_owned()];
        for (name, value) in places {
            arguments.extend([name.to_owned(), value]);
        }
        arguments
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&self, extra: &[&str]) -> Result<Daemon> {
        self.start_in(&[], extra)
    }

    /// Starts the daemon with some variables in its environment, and waits until it answers.
    pub fn start_in(&self, environment: &[(&str, &str)], extra: &[&str]) -> Result<Daemon> {
        let run = self.runs.replace(self.runs.get() + 1);
        let (events, log) = (self.path(&format!("events-{run}")), self.path(&format!("log-{run}")));
        let mut command = self.command();
        command.args(self.run_arguments(BRIDGE)).args(["-o", "json"]).args(extra);
        command.envs(environment.iter().copied());
        command.stdout(File::create(&events)?).stderr(File::create(&log)?);
        let child = command.spawn().context("starting sekisho")?;
        let mut daemon = Daemon { child, events, log };
        until("the daemon's first answer", PATIENCE, || {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("sekisho ended ({status}):\n{}", daemon.log()?);
            }
            Ok((self.socket().exists() && self.tell(&["status"])?.code == Some(0)).then_some(()))
        })
        .with_context(|| daemon.log().unwrap_or_default())?;
        Ok(daemon)
    }

    /// Starts a daemon that is expected to end by itself.
    pub fn run(&self, bridge: &str, extra: &[&str]) -> Result<Told> {
        let mut command = self.command();
        command.args(self.run_arguments(bridge)).args(extra);
        finish(command)
    }

    /// Runs a command to the daemon here.
    pub fn tell(&self, arguments: &[&str]) -> Result<Told> {
        let mut command = self.command();
        command.args(arguments).arg("--socket").arg(self.socket());
        finish(command)
    }

    /// Runs a command that needs no daemon.
    pub fn plain(&self, arguments: &[&str]) -> Result<Told> {
        let mut command = self.command();
        command.args(arguments);
        finish(command)
    }

    /// Asks the daemon here for JSON.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        let told = self.tell(&all)?;
        ensure!(told.code == Some(0) && told.err.is_empty(), "sekisho {}: {told:?}", arguments.join(" "));
        let [value] = &told.lines()?[..] else { bail!("not one line: {told:?}") };
        Ok(value.clone())
    }

    /// The metrics as they are now.
    pub fn metrics(&self) -> Result<Metrics> {
        get(METRICS, "/metrics").map(Metrics)
    }

    /// Waits until the metrics, which follow the counters by up to a second, are as wanted.
    pub fn metric_becomes(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        wanted: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        self.metric_becomes_within(name, labels, Duration::from_secs(5), wanted)
    }

    /// The same, within so much time.
    pub fn metric_becomes_within(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        patience: Duration,
        wanted: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        until(&format!("{name} {labels:?}"), patience, || {
            Ok(self.metrics()?.value(name, labels).filter(|value| wanted(*value)))
        })
    }

    /// Checks that nothing of a daemon is left: no program on a port, no pin, no socket.
    pub fn check_nothing_left(&self) -> Result<()> {
        let links = self.lab.ip("-d link show")?;
        ensure!(!has_xdp(&links), "a program is attached:\n{links}");
        ensure!(!self.pins.exists(), "pins are left in {}", self.pins.display());
        let home = fs::read_dir(self.home.path())?.collect::<std::io::Result<Vec<_>>>()?;
        let left: Vec<_> = home.iter().map(fs::DirEntry::file_name).collect();
        let socket = left.iter().find(|name| name.to_string_lossy().starts_with("control"));
        ensure!(socket.is_none(), "a socket is left: {left:?}");
        Ok(())
    }

    /// Checks that nothing at all was made: not even the state directory.
    pub fn check_untouched(&self) -> Result<()> {
        self.check_nothing_left()?;
        ensure!(!self.state_dir().exists(), "the state directory was made");
        Ok(())
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        // A disk of its own ([`mount_small`]) would keep the home from being removed. Mostly there is none.
        let _ = umount2(&self.state_dir(), MntFlags::MNT_DETACH);
    }
}

/// A running daemon, killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    events: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).context("reading the daemon's log")
    }

    /// The events it told so far.
    pub fn events(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.events).context("reading the daemon's events")?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
        whole.lines().map(parse).collect()
    }

    /// Waits for an event.
    pub fn event(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let seen = || self.events().map(|events| events.into_iter().find(|event| wanted(event)));
        until(what, PATIENCE, seen).with_context(|| {
            let told = fs::read_to_string(&self.events).unwrap_or_default();
            let told: Vec<_> = told.lines().filter(|line| !line.contains("\"flow\":{")).collect();
            format!("the daemon told:\n{}\n{}", told.join("\n"), self.log().unwrap_or_default())
        })
    }

    /// Asks it to stop and waits for that, which must go well.
    pub fn stop(mut self) -> Result<String> {
        signal("TERM", self.pid())?;
        let status = self.end()?;
        ensure!(status.success(), "sekisho ended with {status}:\n{}", self.log()?);
        self.log()
    }

    /// Kills it.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("killing sekisho")?;
        self.child.wait().context("waiting for sekisho").map(drop)
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Result<ExitStatus> {
        until("the daemon's end", PATIENCE, || Ok(self.child.try_wait()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub fn signal(name: &str, pid: u32) -> Result<()> {
    lab::run("kill", &["-s", name, &pid.to_string()]).map(drop)
}

/// Runs a command to its end, which must come soon.
pub fn finish(mut command: Command) -> Result<Told> {
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let child = command.stdout(out.try_clone()?).stderr(err.try_clone()?).spawn();
    let mut child = child.with_context(|| format!("starting {command:?}"))?;
    let ended = until("the command's end", PATIENCE, || Ok(child.try_wait()?));
    if ended.is_err() {
        // It has not ended; now it does.
        child.kill()?;
        child.wait()?;
    }
    let text = |file: &mut File| {
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        anyhow::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let (out, err) = (text(&mut out)?, text(&mut err)?);
    let status = ended.with_context(|| format!("{command:?} told:\n{out}{err}"))?;
    Ok(Told { code: status.code(), out, err })
}

/// A page's body.
pub fn get(address: &str, path: &str) -> Result<String> {
    let address: SocketAddr = address.parse()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))
        .with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("reading {path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {head}\n{body}");
    Ok(body.to_owned())
}

/// A page of metrics in Prometheus' text format.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// The series of a family: what stands in braces, and the value.
    pub fn series(&self, name: &str) -> Vec<(&str, f64)> {
        let read = |line: &'_ str| -> Option<(usize, usize, f64)> {
            let (series, value) = line.rsplit_once(' ')?;
            let begin = series.find('{').unwrap_or(series.len());
            (series.get(..begin)? == name).then_some((begin, series.len(), value.parse().ok()?))
        };
        let lines = self.0.lines().filter_map(|line| read(line).map(|found| (line, found)));
        lines.map(|(line, (begin, end, value))| (&line[begin..end], value)).collect()
    }

    /// The value of the first series of a family with these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has =
            |series: &str| labels.iter().all(|(key, value)| series.contains(&format!("{key}=\"{value}\"")));
        self.series(name).into_iter().find(|(series, _)| has(series)).map(|(_, value)| value)
    }
}
