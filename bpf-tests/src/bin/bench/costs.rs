//! What a frame costs: BPF_PROG_TEST_RUN of the loaded programs.
//!
//! All figures are ns a frame, net of a program that does nothing. A test run has the frame in the cache and no driver
//! below it, so that they are the price of the program alone.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use aya::programs::Xdp;
use bpf_tests::cpu;
use bpf_tests::frame::{ACK, Frame, mac};
use bpf_tests::kernel::{TestSensor, XDP_DROP, XDP_PASS, run_times};
use bpf_tests::lab;
use bpf_tests::peer::xdp_filter;
use bpf_tests::small::Small;

use crate::report::{Aim, Line, Peer, Table, middle};
use crate::rules::{self, DROPPED};

/// Runs of a frame in a row. Their mean is taken from the thread's CPU time, for the kernel tells it in whole ns; what a
/// call costs besides goes with the empty program's.
const REPEAT: u32 = 300_000;
/// Turns of all subjects. The middle half of them counts.
const ROUNDS: usize = 41;
/// New flows measured, each by a single run.
const NEW_FLOWS: usize = 20_001;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

const KNOWN: &str = "known flow";
const KNOWN_ONE: &str = "known flow, 1 rule a table";
const KNOWN_MANY: &str = "known flow, 10,000 rules a table";
const KNOWN_IP4: &str = "known flow, rules by IPv4 address alone";
const KNOWN_TAGGED: &str = "known flow, VLAN";
const KNOWN_AWAY: &str = "known flow of another CPU";
const KNOWN6: &str = "known flow, IPv6";
const DROP: &str = "dropped host";
const DROP_ONE: &str = "dropped host, 1 rule a table";
const DROP_MANY: &str = "dropped host, 10,000 rules a table";
const DROP_UNSEALED: &str = "dropped host, each frame in its flow";
const PEER_PASS: &str = "xdp-filter, all features, passing frame";
const PEER_TAGGED: &str = "xdp-filter, all features, passing VLAN frame";
const PEER_PASS6: &str = "xdp-filter, all features, passing IPv6 frame";
const PEER_DROP: &str = "xdp-filter, all features, dropped host";

/// A line: the subject, its peer, the ratio aimed at.
type Comparison = (&'static str, &'static str, Option<Aim>);

const COMPARISONS: [Comparison; 9] = [
    (KNOWN, PEER_PASS, Some(Aim::RatioAtMost(0.5))),
    (KNOWN_MANY, KNOWN_ONE, Some(Aim::RatioAtMost(1.1))),
    (KNOWN_IP4, PEER_PASS, None),
    (KNOWN_TAGGED, PEER_TAGGED, None),
    (KNOWN_AWAY, PEER_PASS, None),
    (KNOWN6, PEER_PASS6, None),
    (DROP, PEER_DROP, Some(Aim::RatioAtMost(0.45))),
    (DROP_MANY, DROP_ONE, Some(Aim::RatioAtMost(1.1))),
    (DROP_UNSEALED, PEER_DROP, None),
];

/// A frame through a program.
struct Subject<'a> {
    name: &'static str,
    run: Box<dyn Fn() -> Result<u32> + 'a>,
    verdict: u32,
    /// ns a frame, of each round.
    ns: Vec<f64>,
}

impl<'a> Subject<'a> {
    fn new(name: &'static str, verdict: u32, run: impl Fn() -> Result<u32> + 'a) -> Self {
        Self { name, run: Box::new(run), verdict, ns: Vec::with_capacity(ROUNDS) }
    }

    fn of(name: &'static str, verdict: u32, program: &'a Xdp, frame: &'a [u8]) -> Self {
        Self::new(name, verdict, move || Ok(run_times(program, frame, REPEAT)?.0))
    }

    fn sensor(name: &'static str, verdict: u32, sensor: &'a TestSensor, frame: &'a [u8]) -> Self {
        Self::new(name, verdict, move || Ok(sensor.run_times(frame, REPEAT)?.0))
    }

    fn measure(&mut self) -> Result<()> {
        let before = cpu::own_time()?;
        let verdict = (self.run)()?;
        let took = cpu::own_time()? - before;
        ensure!(verdict == self.verdict, "{}: verdict {verdict}, not {}", self.name, self.verdict);
        self.ns.push(took.as_nanos() as f64 / f64::from(REPEAT));
        Ok(())
    }
}

fn tcp(src: Ipv4Addr) -> Vec<u8> {
    Frame::ethernet(mac(1), mac(2)).ip4(src, SERVER).tcp(40_000, 80, ACK).build()
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
        let (client6, server6) =
            (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
        let link = || Frame::ethernet(mac(1), mac(2));
        Self {
            passing: tcp(CLIENT),
            tagged: link().vlan(10).ip4(CLIENT, SERVER).tcp(40_000, 80, ACK).build(),
            passing6: link().ip6(client6, server6).tcp(40_000, 80, ACK).build(),
            dropped: tcp(DROPPED),
            shared: tcp(Ipv4Addr::new(10, 0, 0, 3)),
        }
    }
}

/// What a frame costs that comes again and again on CPU `home`, and one whose flow belongs to CPU `away`.
pub fn repeated(home: usize, away: usize) -> Result<Vec<Table>> {
    lab::run("ip", &["link", "add", "bench0", "type", "veth", "peer", "name", "bench1"])?;
    lab::run("ip", &["link", "set", "bench0", "up"])?;
    let filter = xdp_filter("bench0", &DROPPED.to_string())?;
    let empty = Small::pass()?;
    let [one, ours, many] = [1, 1000, 10_000].map(|number| rules::sensor(&rules::everywhere(number)));
    let (one, ours, many, ip4) = (one?, ours?, many?, rules::sensor(&rules::dropped_host())?);
    let unsealed = rules::unsealed(&rules::everywhere(1000))?;
    let frames = Frames::new();
    cpu::pin(away)?;
    ours.run_times(&frames.shared, 1)?;
    cpu::pin(home)?;

    let peer = |name, verdict, frame| Subject::of(name, verdict, &filter, frame);
    let known = |name, sensor, frame| Subject::sensor(name, XDP_PASS, sensor, frame);
    let dropped = |name, sensor| Subject::sensor(name, XDP_DROP, sensor, &frames.dropped);
    let mut empty = Subject::of("empty program", XDP_PASS, empty.program()?, &frames.passing);
    let mut subjects = [
        peer(PEER_PASS, XDP_PASS, &frames.passing),
        peer(PEER_TAGGED, XDP_PASS, &frames.tagged),
        peer(PEER_PASS6, XDP_PASS, &frames.passing6),
        peer(PEER_DROP, XDP_DROP, &frames.dropped),
        known(KNOWN, &ours, &frames.passing),
        known(KNOWN_ONE, &one, &frames.passing),
        known(KNOWN_MANY, &many, &frames.passing),
        known(KNOWN_IP4, &ip4, &frames.passing),
        known(KNOWN_TAGGED, &ours, &frames.tagged),
        known(KNOWN_AWAY, &ours, &frames.shared),
        known(KNOWN6, &ours, &frames.passing6),
        dropped(DROP, &ours),
        dropped(DROP_ONE, &one),
        dropped(DROP_MANY, &many),
        dropped(DROP_UNSEALED, &unsealed),
    ];
    for _ in 0..ROUNDS {
        empty.measure()?;
        subjects.iter_mut().try_for_each(Subject::measure)?;
    }
    compare(&empty, &subjects).map(|table| vec![table])
}

/// Sets each subject against its peer, net of the empty program.
fn compare(empty: &Subject<'_>, subjects: &[Subject<'_>]) -> Result<Table> {
    let net = |name: &str| -> Result<f64> {
        let subject = subjects.iter().find(|subject| subject.name == name).context("a known subject")?;
        let pairs = subject.ns.iter().zip(&empty.ns);
        Ok(middle(&pairs.map(|(ns, empty)| ns - empty).collect::<Vec<_>>()))
    };
    let line = |(name, peer, aim): Comparison| -> Result<Line> {
        let (value, peer_value) = (net(name)?, net(peer)?);
        let peer = Peer { name: peer.to_owned(), value: peer_value, ratio: value / peer_value };
        Ok(Line { name: name.to_owned(), value, peer: Some(peer), aim })
    };
    let gross = middle(&empty.ns);
    Ok(Table {
        title: "A frame in the program, the same again and again (BPF_PROG_TEST_RUN, net of an empty program)",
        notes: vec![
            format!("the empty program: {gross:.1} ns gross; {ROUNDS} turns of {REPEAT} runs"),
            "1,000 rules in every table (MAC, IPv4, IPv6, prefixes, VLANs), where nothing else is said"
                .to_owned(),
        ],
        unit: "ns",
        lines: COMPARISONS.into_iter().map(line).collect::<Result<_>>()?,
    })
}

/// What the first frame of a flow costs, its record included. Each is a run of its own, for a frame that comes again is
/// no new flow; so the program is out of the processor's caches, for the empty one as for this.
pub fn new_flow(home: usize, _away: usize) -> Result<Vec<Table>> {
    cpu::pin(home)?;
    let (empty, mut ours) = (Small::pass()?, rules::sensor(&rules::everywhere(1000))?);
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
    Ok(vec![Table {
        title: "A frame in the program, the first of its flow (BPF_PROG_TEST_RUN, net of an empty program)",
        notes: vec![format!("{NEW_FLOWS} runs of one frame each, with cold caches")],
        unit: "ns",
        lines: vec![Line::alone("new flow, with its record", middle(&ns), None)],
    }])
}
