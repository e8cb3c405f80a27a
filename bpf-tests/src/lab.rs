//! A network of namespaces: a bridge and hosts on it, on which the sensor works as it does for real.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{self, Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{panic, thread};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// The bridge's name, in every lab the same.
pub const BRIDGE: &str = "br0";

/// Tells labs of one process apart.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A switch with hosts. Host `n` (from 1) has the addresses 10.77.0.n, fd77::n and 02:00:00:00:00:0n, and is cabled to
/// port `p<n>` of the switch.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    hosts: u8,
}

impl Lab {
    /// Builds the network; all hosts are on the bridge, and know each other's MAC addresses.
    pub fn new(hosts: u8) -> Result<Self> {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let lab = Self { prefix: format!("skt{}-{number}", process::id()), hosts };
        run("ip", &["netns", "add", &lab.switch()])?;
        lab.ip(&format!("link add {BRIDGE} type bridge forward_delay 0"))?;
        lab.ip(&format!("link set {BRIDGE} up"))?;
        for host in 1..=hosts {
            lab.add_host(host)?;
            lab.join(host)?;
        }
        for host in 1..=hosts {
            for peer in (1..=hosts).filter(|peer| *peer != host) {
                lab.host_ip(host, &format!("neigh replace 10.77.0.{peer} lladdr {} dev eth0", mac(peer)))?;
                lab.host_ip(host, &format!("neigh replace fd77::{peer:x} lladdr {} dev eth0", mac(peer)))?;
            }
        }
        Ok(lab)
    }

    /// The switch's namespace.
    pub fn switch(&self) -> String {
        format!("{}-sw", self.prefix)
    }

    /// A host's namespace.
    pub fn host(&self, host: u8) -> String {
        format!("{}-h{host}", self.prefix)
    }

    /// Runs ip(8) on the switch.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.ip_in(&self.switch(), arguments)
    }

    /// Runs ip(8) on a host.
    pub fn host_ip(&self, host: u8, arguments: &str) -> Result<String> {
        self.ip_in(&self.host(host), arguments)
    }

    fn ip_in(&self, namespace: &str, arguments: &str) -> Result<String> {
        let mut all = vec!["-n", namespace];
        all.extend(arguments.split_whitespace());
        run("ip", &all)
    }

    fn add_host(&self, host: u8) -> Result<()> {
        run("ip", &["netns", "add", &self.host(host)])?;
        let peer = format!("peer name eth0 netns {}", self.host(host));
        self.ip(&format!("link add p{host} type veth {peer}"))?;
        self.host_ip(host, &format!("link set eth0 address {}", mac(host)))?;
        self.host_ip(host, &format!("addr add 10.77.0.{host}/24 dev eth0"))?;
        self.host_ip(host, &format!("addr add fd77::{host:x}/64 dev eth0 nodad"))?;
        self.host_ip(host, "link set eth0 up")?;
        self.ip(&format!("link set p{host} up")).map(drop)
    }

    /// Makes a host's port one of the bridge.
    pub fn join(&self, host: u8) -> Result<()> {
        self.ip(&format!("link set p{host} master {BRIDGE}")).map(drop)
    }

    /// Takes a host's port from the bridge.
    pub fn leave(&self, host: u8) -> Result<()> {
        self.ip(&format!("link set p{host} nomaster")).map(drop)
    }

    /// Starts a ping from a host to an address: so many, so many ms apart.
    pub fn start_ping(&self, host: u8, address: &str, count: u32, gap_ms: u32) -> Result<Ping> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host), "ping", "-n", "-q", "-W", "1"]);
        command.args(["-c", &count.to_string(), "-i", &format!("0.{gap_ms:03}"), address]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting ping")?;
        Ok(Ping { child })
    }

    /// Pings five times; returns how many of them were answered.
    pub fn ping(&self, host: u8, address: &str) -> Result<u32> {
        self.start_ping(host, address, 5, 20)?.finish().map(|(_, received)| received)
    }

    /// Has all hosts forget each other's MAC addresses, so that they ask for them as hosts do in life.
    pub fn unlearn(&self) -> Result<()> {
        (1..=self.hosts)
            .try_for_each(|host| self.host_ip(host, "neigh flush dev eth0 nud permanent").map(drop))
    }

    /// Gives a host another MAC address. Its neighbours must ask for it: see [`Lab::unlearn`].
    pub fn set_mac(&self, host: u8, address: &str) -> Result<()> {
        self.host_ip(host, &format!("link set eth0 address {address}")).map(drop)
    }

    /// Makes a host's port one whose driver does not run XDP programs: veth has none with fewer queues to receive by than
    /// its other end has to send by (veth_xdp_set in drivers/net/veth.c).
    pub fn no_native(&self, host: u8) -> Result<()> {
        run("ip", &["netns", "exec", &self.host(host), "ethtool", "-L", "eth0", "tx", "2"]).map(drop)
    }

    /// Switches IPv6 off on a host, which then says nothing of its own accord.
    pub fn silence(&self, host: u8) -> Result<()> {
        let off = "net.ipv6.conf.all.disable_ipv6=1";
        run("ip", &["netns", "exec", &self.host(host), "sysctl", "-q", "-w", off]).map(drop)
    }

    /// Runs `work` on the switch: in its network namespace, with a path for pins on a BPF file system of its own, where
    /// nothing is yet.
    pub fn on_switch<T: Send>(&self, work: impl FnOnce(&Path) -> Result<T> + Send) -> Result<T> {
        in_namespace(&self.switch(), work)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let hosts = (1..=self.hosts).map(|host| self.host(host));
        for namespace in hosts.chain([self.switch()]) {
            // One that was never made cannot be removed; there is nobody to tell.
            let _ = run("ip", &["netns", "del", &namespace]);
        }
    }
}

/// A ping under way.
#[derive(Debug)]
pub struct Ping {
    child: Child,
}

impl Ping {
    /// Whether it came to its end.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("looking after ping")?.is_some())
    }

    /// Waits for its end; returns how many were sent and how many answered.
    pub fn finish(self) -> Result<(u32, u32)> {
        let output = self.child.wait_with_output().context("waiting for ping")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let summary = text.lines().find(|line| line.contains("packets transmitted"));
        let Some(summary) = summary else { bail!("ping failed: {}", told(&output)) };
        let number =
            |at: usize| summary.split(", ").nth(at).and_then(|part| part.split(' ').next()?.parse().ok());
        number(0).zip(number(1)).with_context(|| format!("not understood: {summary}"))
    }
}

/// The MAC address of a host as text.
pub fn mac(host: u8) -> String {
    format!("02:00:00:00:00:{host:02x}")
}

/// Runs `work` in a thread in a network namespace, with a path on a BPF file system of its own. Both end with the
/// thread, however it ends.
pub fn in_namespace<T: Send>(namespace: &str, work: impl FnOnce(&Path) -> Result<T> + Send) -> Result<T> {
    let dir = tempfile::tempdir().context("making a mount point")?;
    let joined = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let netns = File::open(format!("/run/netns/{namespace}")).context("opening the namespace")?;
            own_mounts()?;
            mount_bpf(dir.path())?;
            setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).context("entering the namespace")?;
            work(&dir.path().join("pins"))
        });
        thread.join()
    });
    joined.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}

/// Gives this thread mounts of its own, which nobody else sees.
pub fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace (are you root?)")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("making mounts private")
}

/// Mounts a BPF file system.
pub fn mount_bpf(path: &Path) -> Result<()> {
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting a BPF file system at {}", path.display()))
}

/// Runs a program to its end; its output, or what it complained of.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {program}"))?;
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), told(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a program that failed had to say.
fn told(output: &Output) -> String {
    let both =
        [&output.stderr[..], &output.stdout[..]].map(|text| String::from_utf8_lossy(text).trim().to_owned());
    format!("{} ({})", both.join(" "), output.status)
}

/// Whether a namespace's interface has an XDP program, by ip(8): an independent witness.
pub fn has_xdp(listing: &str) -> bool {
    listing.contains("prog/xdp")
}
