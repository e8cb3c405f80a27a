//! A bridge in a network namespace of its own, with a generator before one port and a sink behind another.
//!
//! The namespaces have no names: the kernel removes them, with all that is in them, when the process ends, however it ends.

use std::fs::{self, File};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions};
use bpf_tests::cpu::Spent;
use bpf_tests::lab::{BRIDGE, run};
use bpf_tests::small::Small;
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;

/// The port that traffic comes in by.
pub const IN: &str = "in";
/// The port that it leaves by.
pub const OUT: &str = "out";
/// The far end of the cable to `IN`.
const GENERATOR: &str = "gen";
/// The far end of the cable to `OUT`.
const SINK: &str = "sink";
/// Frames that go through the generator at once.
const BATCH: u32 = 64;

/// The bridge: frames go `gen` -> `in` -> bridge -> `out` -> `sink`.
pub struct Stand {
    netns: File,
    /// Sends frames as they are.
    plain: Small,
    /// Draws the source port of each frame anew.
    varied: Small,
}

/// What came of some traffic.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Packets that port `in` took in, a second of CPU time.
    pub rate: f64,
    /// Packets that port `in` took in.
    pub taken_in: u64,
    /// Packets that reached the sink.
    pub arrived: u64,
}

impl Stand {
    /// Builds it, and stays in its namespace. `far` is the MAC address that lives behind the sink; varied traffic has so
    /// many bits of the source port drawn.
    pub fn new(far: &str, port_bits: u8) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
        let netns = File::open("/proc/thread-self/ns/net").context("opening the network namespace")?;
        // Nobody but the generator says a word, and no frame is shown to the firewall of the IP layer.
        for (key, value) in [
            ("net/ipv6/conf/all/disable_ipv6", "1"),
            ("net/ipv6/conf/default/disable_ipv6", "1"),
            ("net/bridge/bridge-nf-call-iptables", "0"),
        ] {
            fs::write(format!("/proc/sys/{key}"), value).with_context(|| format!("setting {key}"))?;
        }
        ip(&format!("link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0"))?;
        ip(&format!("link set {BRIDGE} up"))?;
        for (port, far_end) in [(IN, GENERATOR), (OUT, SINK)] {
            ip(&format!("link add {port} type veth peer name {far_end}"))?;
            ip(&format!("link set {port} master {BRIDGE}"))?;
        }
        // A port takes frames from another's XDP program only with NAPI, which comes with GRO. An XDP program on the port
        // brings it too: so the stands with one differ from the one without by the program alone.
        run("ethtool", &["-K", IN, "gro", "on"])?;
        for interface in [IN, OUT, GENERATOR, SINK] {
            ip(&format!("link set {interface} up"))?;
        }
        run("bridge", &["fdb", "add", far, "dev", OUT, "master", "static"])?;
        let generator = index(GENERATOR)?;
        let (plain, varied) = (Small::generator(generator, 0)?, Small::generator(generator, port_bits)?);
        Ok(Self { netns, plain, varied })
    }

    /// Goes into its namespace.
    pub fn enter(&self) -> Result<()> {
        setns(self.netns.as_fd(), CloneFlags::CLONE_NEWNET).context("entering a network namespace")
    }

    /// Has the kernel send a frame so many times. The CPU this thread is kept on takes the frames in as well, batch by
    /// batch before more are made: so there is no queue that could run over.
    pub fn traffic(&self, frame: &[u8], times: u32, varied: bool, spent: Spent) -> Result<Traffic> {
        self.enter()?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = times;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let generator = if varied { &self.varied } else { &self.plain };
        let (before, started) = (received()?, spent.so_far()?);
        generator.program()?.test_run(options).context("generating traffic")?;
        let took = spent.so_far()? - started;
        let [taken_in, arrived] = received()?;
        let taken_in = taken_in - before[0];
        Ok(Traffic { rate: taken_in as f64 / took.as_secs_f64(), taken_in, arrived: arrived - before[1] })
    }
}

/// Packets that port `in` and the sink of this network namespace received.
fn received() -> Result<[u64; 2]> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").context("reading counters")?;
    let packets = |interface: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
        let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        packets.with_context(|| format!("no counters of {interface}"))
    };
    Ok([packets(IN)?, packets(SINK)?])
}

/// The index of an interface of this network namespace.
fn index(interface: &str) -> Result<u32> {
    let listed: Value = serde_json::from_str(&ip(&format!("-json link show {interface}"))?)?;
    let index = listed[0]["ifindex"].as_u64().with_context(|| format!("no index of {interface}"))?;
    Ok(u32::try_from(index)?)
}

fn ip(arguments: &str) -> Result<String> {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}
