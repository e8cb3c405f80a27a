//! What hosts of a lab do to each other: talk, ping, scan.

use std::env;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

use crate::lab::Lab;

/// How long a host waits for another.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pings of one way in [`pings`].
const PINGS: u32 = 10;

/// How many times as long as on a usual machine things may take: more than once in an emulated one
/// (`SEKISHO_TEST_SLOWNESS`).
pub fn slowness() -> u32 {
    env::var("SEKISHO_TEST_SLOWNESS").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Looks until `probe` finds something, which may take [`slowness`] times the `patience`.
///
/// # Errors
///
/// What `probe` fails with, or that it found nothing in time; `what` names it.
pub fn until<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let patience = patience * slowness();
    let started = Instant::now();
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        ensure!(started.elapsed() < patience, "waited {patience:?} in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Pings ten times in each way (from a host, to an address), all ways at once; returns how many were answered.
pub fn pings(lab: &Lab, ways: &[(u8, &str)]) -> Result<Vec<u32>> {
    let started: Result<Vec<_>> = ways.iter().map(|way| lab.start_ping(way.0, way.1, PINGS, 20)).collect();
    started?.into_iter().map(|ping| ping.finish().map(|(_, answered)| answered)).collect()
}

/// Checks that each way (from a host, to an address) is open, or that each is closed: no ping is lost, or none answered.
pub fn check_ways(lab: &Lab, when: &str, open: bool, ways: &[(u8, &str)]) -> Result<()> {
    let answered = pings(lab, ways)?;
    let expected = if open { PINGS } else { 0 };
    for (way, answered) in ways.iter().zip(answered) {
        ensure!(
            answered == expected,
            "{when}: host {} pings {}: {answered} of {PINGS} answered, expected {expected}",
            way.0,
            way.1
        );
    }
    Ok(())
}

/// A TCP service on a host, until dropped.
#[derive(Debug)]
pub struct Service {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Listens on a host, in both families; answers each connection with what it said.
    pub fn start(lab: &Lab, host: u8, port: u16) -> Result<Self> {
        let any = format!("[::]:{port}");
        let listener = on_host(lab, host, move || TcpListener::bind(any).context("listening"))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    // One that scans goes away without a word.
                    Ok((stream, _)) => drop(echo(stream)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(5));
                    }
                    Err(_) => return,
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It cannot panic.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut word = [0; 5];
    stream.read_exact(&mut word)?;
    Ok(stream.write_all(&word)?)
}

/// Says a word to a service and hears it back.
pub fn exchange(lab: &Lab, host: u8, address: &str) -> Result<()> {
    let address: SocketAddr = address.parse()?;
    on_host(lab, host, move || {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).context("connecting")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"hello")?;
        let mut word = [0; 5];
        stream.read_exact(&mut word).context("hearing the answer")?;
        Ok(())
    })
}

/// Runs `work` in a host's network namespace. A socket made there stays of that host.
pub fn on_host<T: Send>(lab: &Lab, host: u8, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = lab.host(host);
    let joined = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let netns = File::open(format!("/run/netns/{namespace}")).context("opening the namespace")?;
            setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).context("entering the namespace")?;
            work()
        });
        thread.join()
    });
    joined.unwrap_or_else(|_| bail!("the work on host {host} panicked"))
}

/// nmap on a host, ended when dropped.
#[derive(Debug)]
pub struct Scan {
    child: Child,
}

impl Scan {
    /// Starts it; no names are looked up.
    pub fn start(lab: &Lab, host: u8, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lab.host(host), "nmap", "-n"]).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self { child: child.context("starting nmap")? })
    }

    /// Whether it came to its end, and it must have been a good one.
    pub fn ended(&mut self) -> Result<bool> {
        let Some(status) = self.child.try_wait().context("looking after nmap")? else { return Ok(false) };
        ensure!(status.success(), "nmap failed: {status}");
        Ok(true)
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        // `ip netns exec` became nmap. One that ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
