//! Packets a second on bridges of veth ports: dropped and forwarded.
//!
//! The generator is the kernel itself: BPF_PROG_TEST_RUN of a program that sends each frame out by the far end of a port's
//! cable. The port gets it as an XDP frame, as from a network card's driver: it makes an skb of what passes, whether there
//! is a program or not. (From a socket it would get an skb, which a veth port with an XDP program copies first: that is
//! the price of veth, and not of any program.)
//!
//! One CPU makes the frames and does all that becomes of them. Its time is what counts, so that other work of the machine
//! costs nobody packets; the generator's share of it is what remains with a program that drops all.

use std::any::Any;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::programs::XdpMode;
use bpf_tests::cpu::{self, Spent};
use bpf_tests::frame::{Frame, mac};
use bpf_tests::lab::{self, BRIDGE};
use bpf_tests::peer::{ebtables, nftables, xdp_filter};
use bpf_tests::small::Small;
use sensor_user::bpf::{Mode, Ports, Sensor};

use crate::report::{Aim, Line, Peer, Table, middle};
use crate::rules::{self, DROPPED};
use crate::stand::{IN, OUT, Stand, Traffic};

/// Turns of all cases.
const ROUNDS: usize = 25;
/// A turn is as many frames as go in about so many seconds of CPU time.
const TURN_SECS: f64 = 0.06;
/// Frames of the turns that find out how many that is.
const WARM_UP: u32 = 200_000;
/// Flows of the traffic of many: so many bits of the source port.
const MANY_BITS: u8 = 10;

const BARE: &str = "bare bridge";
const EMPTY: &str = "bridge, an empty program";
const OURS: &str = "bridge, Sekisho";
const FILTER: &str = "bridge, xdp-filter, all features";
const NFT: &str = "bridge, nftables' bridge table (prerouting)";
const EBTABLES: &str = "bridge, ebtables (nat PREROUTING)";
const CEILING: &str = "bridge, a program that drops all";

/// What a port holds, for as long as it is to.
type Held = Box<dyn Any>;

/// One bridge.
struct Subject {
    name: &'static str,
    stand: Stand,
    held: Held,
}

/// One kind of traffic over one bridge.
struct Case<'a> {
    subject: &'a Subject,
    frame: &'a [u8],
    /// Of 1,024 flows, not of one.
    varied: bool,
    /// Frames of a turn.
    times: u32,
    /// Packets a second, of each round.
    rates: Vec<f64>,
    /// Packets taken in.
    taken_in: u64,
}

impl<'a> Case<'a> {
    /// Warms up, and finds out how many frames a turn takes.
    fn new(subject: &'a Subject, frame: &'a [u8], varied: bool, spent: Spent) -> Result<Self> {
        let mut case = Self { subject, frame, varied, times: WARM_UP, rates: Vec::new(), taken_in: 0 };
        let rate = case.traffic(spent)?.rate;
        case.times = (rate * TURN_SECS) as u32;
        Ok(case)
    }

    fn traffic(&mut self, spent: Spent) -> Result<Traffic> {
        let traffic = self.subject.stand.traffic(self.frame, self.times, self.varied, spent)?;
        self.taken_in += traffic.taken_in;
        Ok(traffic)
    }

    /// One turn; all frames must arrive, or none.
    fn turn(&mut self, arrive: bool, spent: Spent) -> Result<()> {
        let traffic = self.traffic(spent)?;
        let expected = if arrive { traffic.taken_in } else { 0 };
        ensure!(
            traffic.arrived == expected,
            "{}: {traffic:?}, but {expected} should arrive",
            self.subject.name
        );
        self.rates.push(traffic.rate);
        Ok(())
    }
}

/// Packets dropped a second and packets forwarded a second.
pub fn dropped_and_forwarded(home: usize, _away: usize) -> Result<Vec<Table>> {
    cpu::pin(home)?;
    let spent = Spent::on(home)?;
    let subjects = [CEILING, FILTER, NFT, EBTABLES, OURS, BARE, EMPTY].map(Subject::new);
    let subjects: Vec<Subject> = subjects.into_iter().collect::<Result<_>>()?;
    let [dropped, passing] = [DROPPED, Ipv4Addr::new(10, 0, 0, 1)].map(udp);
    Ok(vec![drops(&subjects, &dropped, spent)?, forwards(&subjects, &passing, spent)?])
}

fn udp(src: Ipv4Addr) -> Vec<u8> {
    Frame::ethernet(mac(1), mac(2)).ip4(src, Ipv4Addr::new(10, 0, 0, 2)).udp(40_000, 9000).build()
}

fn drops(subjects: &[Subject], frame: &[u8], spent: Spent) -> Result<Table> {
    let cases = measure(
        subjects,
        frame,
        [
            (CEILING, false),
            (FILTER, false),
            (NFT, false),
            (EBTABLES, false),
            (OURS, false),
            (OURS, true),
            (FILTER, true),
        ],
        false,
        spent,
    )?;
    let taken_in: u64 = cases.iter().filter(|case| case.subject.name == OURS).map(|case| case.taken_in).sum();
    let told = counted_drops(subjects)?;
    ensure!(told == taken_in, "{taken_in} frames were dropped, but Sekisho counted {told}");
    let lines = [
        line(&cases, (OURS, FILTER), false, Some(Aim::RatioAtLeast(1.0)))?,
        line(&cases, (OURS, NFT), false, Some(Aim::RatioAtLeast(2.0)))?,
        line(&cases, (OURS, EBTABLES), false, Some(Aim::RatioAtLeast(2.0)))?,
        line(&cases, (OURS, CEILING), false, None)?,
        line(&cases, (OURS, FILTER), true, None)?,
    ];
    let notes = vec![
        "a second of the one CPU that makes 60-byte frames and takes them in; counted at the port they came in by and by"
            .to_owned(),
        format!("Sekisho, which must say the same; none reached the sink; {ROUNDS} turns, ratios turn by turn;"),
        "1,000 rules in every table of Sekisho's, one rule in the others'".to_owned(),
    ];
    Ok(Table {
        title: "Packets dropped a second on a veth bridge",
        notes,
        unit: "packets/s",
        lines: lines.into(),
    })
}

fn forwards(subjects: &[Subject], frame: &[u8], spent: Spent) -> Result<Table> {
    let cases = [(BARE, false), (OURS, false), (EMPTY, false), (FILTER, false), (BARE, true), (OURS, true)];
    let cases = measure(subjects, frame, cases, true, spent)?;
    let lines = [
        line(&cases, (OURS, BARE), false, Some(Aim::RatioAtLeast(0.95)))?,
        line(&cases, (EMPTY, BARE), false, None)?,
        line(&cases, (FILTER, BARE), false, None)?,
        line(&cases, (OURS, EMPTY), false, None)?,
        line(&cases, (OURS, BARE), true, None)?,
    ];
    let notes = vec![
        format!("a second of the one CPU that makes 60-byte frames, takes them in and forwards them; {ROUNDS} turns;"),
        "all reached the sink; a port gets them as XDP frames and makes an skb of each, with a program or without"
            .to_owned(),
    ];
    Ok(Table {
        title: "Packets forwarded a second by a veth bridge",
        notes,
        unit: "packets/s",
        lines: lines.into(),
    })
}

/// Takes turns: each case once a round.
fn measure<'a, const N: usize>(
    subjects: &'a [Subject],
    frame: &'a [u8],
    cases: [(&str, bool); N],
    arrive: bool,
    spent: Spent,
) -> Result<Vec<Case<'a>>> {
    let case = |(name, varied)| {
        let subject = subjects.iter().find(|subject| subject.name == name).context("a known subject")?;
        Case::new(subject, frame, varied, spent)
    };
    let mut cases: Vec<Case<'_>> = cases.into_iter().map(case).collect::<Result<_>>()?;
    for _ in 0..ROUNDS {
        cases.iter_mut().try_for_each(|case| case.turn(arrive, spent))?;
    }
    Ok(cases)
}

/// A case against another with the same traffic.
fn line(cases: &[Case<'_>], names: (&str, &str), varied: bool, aim: Option<Aim>) -> Result<Line> {
    let rates = |name: &str| {
        let case = cases.iter().find(|case| case.subject.name == name && case.varied == varied);
        case.map(|case| &case.rates).with_context(|| format!("{name} was not measured"))
    };
    let (ours, peer) = (rates(names.0)?, rates(names.1)?);
    let ratio = middle(&ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect::<Vec<_>>());
    let many = if varied { ", 1,024 flows" } else { "" };
    let peer = Peer { name: format!("{}{many}", names.1), value: middle(peer), ratio };
    Ok(Line { name: format!("{}{many}", names.0), value: middle(ours), peer: Some(peer), aim })
}

/// Frames that Sekisho says it dropped.
fn counted_drops(subjects: &[Subject]) -> Result<u64> {
    let sensors = subjects.iter().filter_map(|subject| subject.held.downcast_ref::<Sensor>());
    let mut drops = 0;
    for sensor in sensors {
        for port in sensor.attachments.attached() {
            drops += sensor.counters.port(port.index)?.drop_packets;
        }
    }
    Ok(drops)
}

impl Subject {
    /// Builds the bridge and puts on it what is to be measured.
    fn new(name: &'static str) -> Result<Self> {
        let stand = Stand::new(&lab::mac(2), MANY_BITS)?;
        let dropped = DROPPED.to_string();
        let held: Held = match name {
            CEILING => Box::new(attached([Small::drop()?, Small::drop()?])?),
            EMPTY => Box::new(attached([Small::pass()?, Small::pass()?])?),
            FILTER => Box::new([xdp_filter(IN, &dropped)?, xdp_filter(OUT, &dropped)?]),
            NFT => Box::new(nftables(&dropped)?),
            EBTABLES => Box::new(ebtables(&dropped)?),
            OURS => Box::new(sekisho()?),
            _ => Box::new(()),
        };
        Ok(Self { name, stand, held })
    }
}

/// Puts programs on both ports.
fn attached(mut programs: [Small; 2]) -> Result<[Small; 2]> {
    for (small, port) in programs.iter_mut().zip([IN, OUT]) {
        small.program_mut()?.attach(port, XdpMode::Driver)?;
    }
    Ok(programs)
}

/// Has the product on this namespace's bridge, with many rules.
fn sekisho() -> Result<Sensor> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ports = Ports::open(BRIDGE).await?;
        let mut sensor = Sensor::load(Path::new("/sys/fs/bpf/sekisho"), &ports)?;
        for port in ports.list() {
            let port = sensor.attachments.attach(&port)?;
            ensure!(port.mode == Mode::Native, "{port:?}");
        }
        rules::set(&mut sensor.rules, &rules::everywhere(1000))?;
        Ok(sensor)
    })
}
