//! What a frame costs, beside what it costs xdp-filter: BPF_PROG_TEST_RUN of the loaded programs, in one run, by turns.
//!
//! All figures are ns a frame, net of a program that does nothing. A test run has the frame in the cache and no driver
//! below it, so that they are the price of the program alone.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aya::programs::Xdp;
use bpf_tests::cpu;
use bpf_tests::frame::{ACK, Frame, mac};
use bpf_tests::kernel::{TestSensor, XDP_DROP, XDP_PASS, run_times};
use bpf_tests::lab;
use bpf_tests::peer::{EmptyProgram, xdp_filter};
use nix::sched::{CloneFlags, unshare};
use sensor_ebpf::rule::{LEVEL_ISOLATE, RuleValue};
use sensor_user::bpf::RuleKey;
use serde_json::{Value, json};

/// Runs of a frame in a row; the kernel gives their mean.
const REPEAT: u32 = 300_000;
/// Turns of all subjects. The middle half of them counts.
const ROUNDS: usize = 41;
/// New flows measured, each by a single run.
const NEW_FLOWS: usize = 20_001;
/// Rules of the case with many.
const MANY_RULES: u32 = 10_000;

const DROPPED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
const ISOLATE: RuleValue = RuleValue::new(1, LEVEL_ISOLATE);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// A frame through a program.
struct Subject<'a> {
    name: &'static str,
    run: Box<dyn Fn() -> Result<(u32, u64)> + 'a>,
    verdict: u32,
    /// ns a frame, of each round.
    ns: Vec<f64>,
}

impl<'a> Subject<'a> {
    fn new(name: &'static str, verdict: u32, run: impl Fn() -> Result<(u32, u64)> + 'a) -> Self {
        Self { name, run: Box::new(run), verdict, ns: Vec::with_capacity(ROUNDS) }
    }

    fn of(name: &'static str, verdict: u32, program: &'a Xdp, frame: &'a [u8]) -> Self {
        Self::new(name, verdict, move || run_times(program, frame, REPEAT))
    }

    fn sensor(name: &'static str, verdict: u32, sensor: &'a TestSensor, frame: &'a [u8]) -> Self {
        Self::new(name, verdict, move || sensor.run_times(frame, REPEAT))
    }

    fn measure(&mut self) -> Result<()> {
        let (verdict, ns) = (self.run)()?;
        ensure!(verdict == self.verdict, "{}: verdict {verdict}, not {}", self.name, self.verdict);
        self.ns.push(ns as f64);
        Ok(())
    }
}

/// One line of the result.
struct Line {
    name: &'static str,
    net_ns: f64,
    /// Name and net ns of what it is compared with.
    peer: Option<(&'static str, f64)>,
    /// The ratio is to be at most this.
    aim: Option<f64>,
}

impl Line {
    fn ratio(&self) -> Option<f64> {
        self.peer.map(|(_, peer)| self.net_ns / peer)
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "net_ns": tenths(self.net_ns),
            "peer": self.peer.map(|(name, _)| name),
            "peer_net_ns": self.peer.map(|(_, ns)| tenths(ns)),
            "ratio": self.ratio().map(|ratio| (ratio * 1000.0).round() / 1000.0),
        })
    }

    fn missed(&self) -> bool {
        matches!((self.ratio(), self.aim), (Some(ratio), Some(aim)) if ratio > aim)
    }
}

fn tenths(ns: f64) -> f64 {
    (ns * 10.0).round() / 10.0
}

fn main() -> Result<()> {
    // Nothing of this is seen outside: xdp-filter's interface and pins end with the process.
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (are you root?)")?;
    lab::own_mounts()?;
    lab::mount_bpf(Path::new("/sys/fs/bpf"))?;
    // A flow belongs to the CPU its first frame came on, as network cards have it: all frames come on one here. What it
    // costs on another is a line of its own.
    let cpus = cpu::allowed()?;
    let (&home, &away) = cpus.first().zip(cpus.last()).context("no CPU")?;
    let mut lines = repeated(home, away)?;
    lines.push(new_flow()?);
    print(&lines);
    let path = write(&lines)?;
    println!("\nwritten to {}", path.display());
    // An aim that is missed is printed and no failure: timings of a shared machine gate nothing.
    Ok(())
}

fn tcp(src: Ipv4Addr) -> Vec<u8> {
    Frame::ethernet(mac(1), mac(2)).ip4(src, SERVER).tcp(40_000, 80, ACK).build()
}

/// The program with this many rules by IPv4 address, one of them for the dropped host.
fn sensor(rules: u32) -> Result<TestSensor> {
    let others =
        (1..rules).map(|number| Ipv4Addr::from_bits(Ipv4Addr::new(172, 16, 0, 0).to_bits() + number));
    let keys = others.chain([DROPPED]).map(|ip| (RuleKey::from(IpAddr::from(ip)), ISOLATE));
    let mut sensor = TestSensor::load()?;
    sensor.set_rules(&keys.collect::<Vec<_>>())?;
    Ok(sensor)
}

/// The frames that come again and again.
struct Frames {
    passing: Vec<u8>,
    tagged: Vec<u8>,
    passing6: Vec<u8>,
    dropped: Vec<u8>,
    /// Of a flow another CPU owns.
    shared: Vec<u8>,
}

impl Frames {
    fn new() -> Self {
        let client = Ipv4Addr::new(10, 0, 0, 1);
        let (client6, server6) =
            (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
        let link = || Frame::ethernet(mac(1), mac(2));
        Self {
            passing: tcp(client),
            tagged: link().vlan(10).ip4(client, SERVER).tcp(40_000, 80, ACK).build(),
            passing6: link().ip6(client6, server6).tcp(40_000, 80, ACK).build(),
            dropped: tcp(DROPPED),
            shared: tcp(Ipv4Addr::new(10, 0, 0, 3)),
        }
    }
}

/// What a frame costs that comes again and again on CPU `home`, and one whose flow belongs to CPU `away`.
fn repeated(home: usize, away: usize) -> Result<Vec<Line>> {
    lab::run("ip", &["link", "add", "bench0", "type", "veth", "peer", "name", "bench1"])?;
    lab::run("ip", &["link", "set", "bench0", "up"])?;
    let filter = xdp_filter("bench0", &DROPPED.to_string())?;
    let (empty, ours, many) = (EmptyProgram::load()?, sensor(1)?, sensor(MANY_RULES)?);
    let mut by_mac = TestSensor::load()?;
    by_mac
        .set_rules(&[(RuleKey::from(mac(99)), ISOLATE), (RuleKey::from(IpAddr::from(DROPPED)), ISOLATE)])?;
    let frames = Frames::new();
    cpu::pin(away)?;
    ours.run_times(&frames.shared, 1)?;
    cpu::pin(home)?;

    let peer = |name, verdict, frame| Subject::of(name, verdict, &filter, frame);
    let known = |name, sensor, frame| Subject::sensor(name, XDP_PASS, sensor, frame);
    let mut empty = Subject::of("empty program", XDP_PASS, empty.program()?, &frames.passing);
    let mut subjects = [
        peer(PEER_PASS, XDP_PASS, &frames.passing),
        peer(PEER_TAGGED, XDP_PASS, &frames.tagged),
        peer(PEER_PASS6, XDP_PASS, &frames.passing6),
        peer(PEER_DROP, XDP_DROP, &frames.dropped),
        known(KNOWN, &ours, &frames.passing),
        known(KNOWN_MANY, &many, &frames.passing),
        known(KNOWN_MAC, &by_mac, &frames.passing),
        known(KNOWN_TAGGED, &ours, &frames.tagged),
        known(KNOWN_AWAY, &ours, &frames.shared),
        known(KNOWN6, &ours, &frames.passing6),
        Subject::sensor(DROP, XDP_DROP, &ours, &frames.dropped),
        Subject::sensor(DROP_MAC, XDP_DROP, &by_mac, &frames.dropped),
    ];
    for _ in 0..ROUNDS {
        empty.measure()?;
        subjects.iter_mut().try_for_each(Subject::measure)?;
    }
    compare(&empty, &subjects)
}

/// Sets each subject against its peer, net of the empty program.
fn compare(empty: &Subject<'_>, subjects: &[Subject<'_>]) -> Result<Vec<Line>> {
    let gross = middle(&empty.ns);
    println!(
        "empty program: {gross:.1} ns gross, which is taken off all below; {ROUNDS} turns of {REPEAT} runs\n"
    );
    let net = |name: &str| -> Result<f64> {
        let subject = subjects.iter().find(|subject| subject.name == name).context("a known subject")?;
        let pairs = subject.ns.iter().zip(&empty.ns);
        Ok(middle(&pairs.map(|(ns, empty)| ns - empty).collect::<Vec<_>>()))
    };
    let line = |(name, peer, aim)| -> Result<Line> {
        Ok(Line { name, net_ns: net(name)?, peer: Some((peer, net(peer)?)), aim })
    };
    let lines = [
        (KNOWN, PEER_PASS, Some(0.6)),
        (KNOWN_MANY, PEER_PASS, Some(0.6)),
        (KNOWN_MAC, PEER_PASS, None),
        (KNOWN_TAGGED, PEER_TAGGED, None),
        (KNOWN_AWAY, PEER_PASS, None),
        (KNOWN6, PEER_PASS6, None),
        (DROP, PEER_DROP, Some(0.55)),
        (DROP_MAC, PEER_DROP, None),
    ];
    lines.into_iter().map(line).collect()
}

const KNOWN: &str = "known flow";
const KNOWN_MANY: &str = "known flow, 10,000 rules";
const KNOWN_MAC: &str = "known flow, rules by MAC too";
const KNOWN_TAGGED: &str = "known flow, VLAN";
const KNOWN_AWAY: &str = "known flow of another CPU";
const KNOWN6: &str = "known flow, IPv6";
const DROP: &str = "dropped host";
const DROP_MAC: &str = "dropped host, by MAC too";
const PEER_PASS: &str = "xdp-filter, all features, passing frame";
const PEER_TAGGED: &str = "xdp-filter, all features, passing VLAN frame";
const PEER_PASS6: &str = "xdp-filter, all features, passing IPv6 frame";
const PEER_DROP: &str = "xdp-filter, all features, dropped host";

/// What the first frame of a flow costs, its record included. Each is a run of its own, for a frame that comes again is
/// no new flow; so the program is out of the processor's caches, for the empty one as for this.
fn new_flow() -> Result<Line> {
    let (empty, mut ours) = (EmptyProgram::load()?, sensor(1)?);
    let mut ns = Vec::with_capacity(NEW_FLOWS);
    let before = ours.counters()?.flows_new;
    for number in 0..NEW_FLOWS {
        let [_, a, b, c] = (number as u32 + 1).to_be_bytes();
        let frame = tcp(Ipv4Addr::new(11, a, b, c));
        let (_, idle) = run_times(empty.program()?, &frame, 1)?;
        let (verdict, busy) = ours.run_times(&frame, 1)?;
        ensure!(verdict == XDP_PASS, "a new flow had verdict {verdict}");
        ns.push(busy as f64 - idle as f64);
        if number % 1024 == 0 {
            ours.records();
        }
    }
    let after = ours.counters()?;
    ensure!(
        after.flows_new - before == NEW_FLOWS as u64 && after.records_lost == 0,
        "not new flows: {after:?}"
    );
    Ok(Line { name: "new flow, with its record", net_ns: middle(&ns), peer: None, aim: None })
}

/// The mean of the middle half: as steady as a median, and finer than the whole ns the kernel tells.
fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = &sorted[sorted.len() / 4..sorted.len() - sorted.len() / 4];
    half.iter().sum::<f64>() / half.len() as f64
}

fn print(lines: &[Line]) {
    println!("{:<29} {:>8}  {:<46} {:>8} {:>6}  aim", "subject", "net ns", "peer", "net ns", "ratio");
    for line in lines {
        let (peer, peer_ns) =
            line.peer.map_or(("-", "-".to_owned()), |(name, ns)| (name, format!("{ns:.1}")));
        let ratio = line.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let aim = match line.aim {
            Some(aim) if line.missed() => format!("at most {aim}: MISSED"),
            Some(aim) => format!("at most {aim}: met"),
            None => String::new(),
        };
        println!("{:<29} {:>8.1}  {peer:<46} {peer_ns:>8} {ratio:>6}  {aim}", line.name, line.net_ns);
    }
}

/// Leaves the figures in the target folder.
fn write(lines: &[Line]) -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let path = target.join("bench.json");
    let lines: Vec<Value> = lines.iter().map(Line::json).collect();
    fs::write(&path, serde_json::to_string_pretty(&lines)? + "\n")
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path.canonicalize()?)
}
