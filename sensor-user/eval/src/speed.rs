//! Tier E4 and speed: what a record costs the engine, how much memory 10,000 devices take, and a scan under a flood.
//!
//! Figures are of one run on one machine, by CPU time beside wall time, and the only part of the report that differs from
//! run to run.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use sensor_core::addr::Mac;
use sensor_core::flow::SYN;
use sensor_core::observation::{FlowId, FlowSeen, Kind, Observation};
use sensor_core::settings::Mode;
use sensor_core::state::State;
use sensor_core::time::{SECOND, Time};
use serde_json::{Value, json};

use crate::held::Target;
use crate::sim::calendar::START;
use crate::sim::site::{Class, Site};
use crate::sim::world::{Cause, Sink, Told, World, blank};
use crate::subject::product::{Product, settings, time};
use crate::subject::tally::Step;

/// Kitsune-py's packets a second, measured.
const KITSUNE: f64 = 2_832.0;
/// New flows a second of the flood, and its seconds.
const FLOOD: (u64, u64) = (100_000, 10);

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Records a second of CPU time, and of wall time.
    rates: [f64; 2],
    /// Packets behind these records, a second of CPU time.
    packets: f64,
    /// Resident memory that the engine took for [`Measured::devices`] devices, bytes.
    memory: f64,
    devices: f64,
    /// Of the flood: seconds of CPU time for each of its seconds, and whether the scanner was cut off and nobody else.
    flood: (f64, bool),
    /// Seconds the saving of what the engine has in mind takes, and its bytes.
    saved: (f64, usize),
}

/// Takes down what is told, to tell it again.
struct Recorder(Vec<Told>);

impl Sink for Recorder {
    fn told(&mut self, told: &Told) -> bool {
        self.0.push(*told);
        true
    }
}

/// CPU time of this thread, seconds; 0 where the kernel does not say.
fn cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

/// Resident memory, bytes.
fn resident() -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0
}

/// What a site tells in its first hours.
fn record(hosts: usize, hours: f64) -> (Site, Vec<Told>) {
    let site = Site::new(2, hosts);
    let mut recorder = Recorder(Vec::new());
    let mut world = World::new(site.clone(), 2, &mut recorder);
    world.open();
    world.run(START.plus((hours * 3_600.0) as u64 * SECOND));
    (site, recorder.0)
}

/// Measures. Call it before anything else takes memory.
pub fn measure() -> Measured {
    let (site, told) = record(10_000, 9.5);
    let mut product = Product::new(&settings(&site, Mode::Enforce));
    product.moved(&site);
    let before = resident();
    let (wall, cpu_before) = (Instant::now(), cpu());
    for told in &told {
        product.take_in(told);
    }
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu() - cpu_before);
    let memory = resident() - before;
    let packets: u64 = told
        .iter()
        .map(|told| match &told.observation {
            Observation::Progress(progress) if progress.end.is_some() => progress.packets,
            _ => 0,
        })
        .sum();
    let records = told.len() as f64;
    let devices = product.engine().stats().devices as f64;
    let (mut state, before) = (Vec::new(), Instant::now());
    let saved = product.engine().save(&mut state).map_or(f64::NAN, |()| before.elapsed().as_secs_f64());
    Measured {
        rates: [records / cpu.max(1e-9), records / wall],
        packets: packets as f64 / cpu.max(1e-9),
        memory,
        devices,
        flood: flood(),
        saved: (saved, state.len()),
    }
}

/// A flood from forged sources towards a server, while a PC scans.
fn flood() -> (f64, bool) {
    let (site, told) = record(500, 9.5);
    let mut product = Product::new(&settings(&site, Mode::Enforce));
    product.moved(&site);
    for told in &told {
        product.told(told);
    }
    let pick = |class: Class, at: usize| site.of(class).get(at).and_then(|id| site.hosts.get(*id));
    let (Some(flooder), Some(scanner), Some(server)) =
        (pick(Class::Pc, 3), pick(Class::Pc, 4), pick(Class::Server, 5))
    else {
        return (f64::INFINITY, false);
    };
    let begun = told.last().map_or(START, |told| time(&told.observation));
    let before = cpu();
    let (rate, seconds) = FLOOD;
    for at in 0..rate * seconds {
        let time = begun.plus(at * SECOND / rate);
        let forged = Ipv4Addr::from(0x0a00_0000 | (at as u32).wrapping_mul(2_654_435_761) >> 8);
        let flow =
            syn(time, (forged.into(), server.ip), (flooder.mac, server.mac), (at as u16, 80), flooder.port);
        product.told(&flow);
        if at % (rate / 5) == 0 {
            let dark = Ipv4Addr::from(0x0afa_0000 + at as u32 / 1_000);
            let macs = (scanner.mac, site.router);
            let mut scan = syn(time, (scanner.ip, dark.into()), macs, (40_000, 22), scanner.port);
            scan.cause = Cause::Attack(1);
            product.told(&scan);
        }
    }
    let spent = (cpu() - before) / seconds as f64;
    product.pass(begun.plus((seconds + 5) * SECOND));
    let caught = product.tally.attacks.get(&1).is_some_and(|run| run.steps.contains_key(&Step::Isolate));
    let others = product.tally.wrong.iter().any(|wrong| wrong.step >= Step::Throttle);
    (spent, caught && !others)
}

fn syn(
    time: Time,
    (src, dst): (IpAddr, IpAddr),
    (smac, dmac): (Mac, Mac),
    (sport, dport): (u16, u16),
    port: u8,
) -> Told {
    let id = FlowId { src, dst, sport, dport, proto: 6, kind: Kind::Ip, vlan: 0, port };
    let seen = FlowSeen { smac, dmac, tcp_flags: SYN, ..blank(time, id) };
    Told { observation: Observation::Flow(seen), talk: 0, back: false, cause: Cause::Habit }
}

/// What is asked of them.
pub fn targets(measured: &Measured) -> Vec<Target> {
    let target = |name: &str, what: &str, figure: f64, bound: f64, at_least: bool| Target {
        name: name.to_owned(),
        what: what.to_owned(),
        figure,
        of: 1.0,
        bound,
        at_least,
        proven: None,
        gates: false,
    };
    let (load, right) = measured.flood;
    vec![
        target("speed.records", "flow records a second of one core", measured.rates[0], 300_000.0, true),
        target(
            "speed.kitsune",
            "packets behind them, in Kitsune-py's speed",
            measured.packets / KITSUNE,
            1_000.0,
            true,
        ),
        target("memory.10000", "MB of the engine at 10,000 devices", measured.memory / 1e6, 400.0, false),
        target("e4.load", "cores that 100,000 new flows a second take", load, 1.0, false),
        target(
            "e4.right",
            "in that flood the scanner is cut off, and nobody else",
            f64::from(u8::from(right)),
            1.0,
            true,
        ),
    ]
}

/// The page.
pub fn page(measured: &Measured) -> String {
    let mut text = "\n## Speed and memory (this machine, this run)\n\n".to_owned();
    let [cpu, wall] = measured.rates;
    let _ = writeln!(
        text,
        "{cpu:.0} records a second of CPU time, {wall:.0} of wall time; {:.0} devices take {:.0} MB. What the engine \
         has in mind of them is saved in {:.0} ms, as {:.0} MB.",
        measured.devices,
        measured.memory / 1e6,
        measured.saved.0 * 1e3,
        measured.saved.1 as f64 / 1e6,
    );
    text
}

/// The same for machines.
pub fn machine(measured: &Measured) -> Value {
    json!({
        "records_per_cpu_second": measured.rates[0],
        "records_per_second": measured.rates[1],
        "packets_per_cpu_second": measured.packets,
        "devices": measured.devices,
        "memory_bytes": measured.memory,
        "flood_cores": measured.flood.0,
        "save_seconds": measured.saved.0,
        "save_bytes": measured.saved.1,
    })
}
