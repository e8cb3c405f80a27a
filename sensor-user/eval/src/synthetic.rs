//! The made-up tiers: what they are asked for, all seeds of them, and their targets.

use std::io::{self, Write as _};

use sensor_core::settings::Mode;

use crate::attack::KINDS;
use crate::figure::{poisson_upper, quantile, share_lower};
use crate::held::Target;
use crate::runs::{self, Ran, Trial};
use crate::sim::site::Class;
use crate::subject::tally::{Step, Wrong};
use crate::years::{self, Extent, Lived};

/// All that was simulated.
pub struct Simulated {
    /// Sites that lived without an attack, by seed.
    pub lived: Vec<Lived>,
    /// Attacks, of all seeds.
    pub ran: Vec<Ran>,
}

/// Simulates the site of a seed.
pub fn simulate(seed: u64, extent: &Extent, trial: &Trial) -> (Lived, Vec<Ran>) {
    let lived = years::live(seed, extent);
    // A long run may be ended before its report: what is known so far is told.
    let done = |step| lived.wrong.iter().filter(|wrong| wrong.step == step).count();
    let (hosts, isolations, pins) = (lived.hosts.iter().sum::<usize>(), done(Step::Isolate), done(Step::Pin));
    let _ = writeln!(
        io::stderr(),
        "seed {seed}: {} days of {hosts} hosts without an attack are over: {isolations} isolations, {pins} pins",
        extent.days
    );
    (lived, runs::attack(seed, trial, Mode::Enforce))
}

/// False alarms by what was done, of all classes or all but management, which is on the protected list.
pub fn wrong(lived: &[Lived], with_nms: bool) -> impl Iterator<Item = &Wrong> {
    let all = lived.iter().flat_map(|lived| &lived.wrong);
    all.filter(move |wrong| with_nms || wrong.class != Some(Class::Nms))
}

/// Host-days, of all classes.
pub fn host_days(lived: &[Lived]) -> f64 {
    lived.iter().map(|lived| lived.hosts.iter().sum::<usize>() as f64 * lived.days as f64).sum()
}

/// What is asked of how soon an attack is called: a step, for which kinds, and by when or after how many targets.
struct Asked {
    name: &'static str,
    what: &'static str,
    kinds: &'static [&'static str],
    step: Step,
    /// Seconds within which it has to come.
    seconds: f64,
    share: f64,
    /// Most targets, in the median and in 99 of 100 runs.
    targets: Option<(f64, f64)>,
}

/// By which precision is measured: so many isolations a year, one of which may be wrong...
const ISOLATIONS_A_YEAR: f64 = 39.0;
/// ...on a network of so many devices.
const DEVICES: f64 = 2_000.0;
const SPARSE: &[&str] = &["sparse scan 50/s", "sparse scan 1/s"];
const HITS: &[&str] = &["dense scan 5/s, 70 % alive", "hit list 1/s"];
const SLOW: &[&str] = &["scan 1 per min, 30 % alive", "hit list 1 per min"];
const SLOWEST: &[&str] = &["scan 1 per 10 min, 30 % alive", "hit list 1 per 10 min"];
const BEACONS: &[&str] =
    &["beacon 5 min, jitter 0", "beacon 5 min, jitter 20 %", "beacon 5 min, jitter 50 %"];

const fn asked(
    name: &'static str,
    what: &'static str,
    kinds: &'static [&'static str],
    (step, seconds, share): (Step, f64, f64),
    targets: Option<(f64, f64)>,
) -> Asked {
    Asked { name, what, kinds, step, seconds, share, targets }
}

/// Section by section what the detection is to reach.
const ASKED: [Asked; 11] = [
    asked("sparse_scan", "random scan, 5 % alive", SPARSE, (Step::Pin, 600.0, 0.99), Some((7.0, 10.0))),
    asked(
        "scan_30",
        "scan, 30 % alive",
        &["scan 5/s, 30 % alive"],
        (Step::Pin, 600.0, 0.99),
        Some((8.0, 14.0)),
    ),
    asked("dense_hits", "dense scan and hit list", HITS, (Step::Pin, 600.0, 0.99), Some((14.0, 20.0))),
    asked("slow", "one new target a minute", SLOW, (Step::Pin, 900.0, 0.99), None),
    asked("slowest", "one new target in 10 minutes", SLOWEST, (Step::Alert, 86_400.0, 0.9), None),
    asked("beacon_6h", "beacon of 5 min, in 6 h", BEACONS, (Step::Hint, 21_600.0, 0.95), None),
    asked("beacon_24h", "beacon of 5 min, in 24 h", BEACONS, (Step::Hint, 86_400.0, 0.99), None),
    asked(
        "exfil_medical",
        "100 MB from a medical device, in 60 s",
        &["exfiltration 100 MB, medical"],
        (Step::Alert, 60.0, 0.99),
        None,
    ),
    asked(
        "ransomware",
        "ransomware on file servers, in 5 min",
        &["ransomware on file servers"],
        (Step::Alert, 300.0, 0.95),
        None,
    ),
    asked("chain_2", "lateral chain, depth 2", &["lateral chain, depth 2"], (Step::Hint, 7_200.0, 0.9), None),
    asked(
        "chain_3",
        "lateral chain, depth 3",
        &["lateral chain, depth 3"],
        (Step::Hint, 7_200.0, 0.98),
        None,
    ),
];

/// The runs of kinds of these names.
pub fn of_kinds<'a>(ran: &'a [Ran], names: &'a [&'a str]) -> Vec<&'a Ran> {
    let named = |ran: &&Ran| KINDS.get(ran.kind).is_some_and(|kind| names.contains(&kind.name));
    ran.iter().filter(named).collect()
}

fn target(name: String, what: String, (figure, of): (f64, f64), bound: f64, at_least: bool) -> Target {
    Target { name, what, figure, of, bound, at_least, proven: None, gates: false }
}

/// The targets.
pub fn targets(simulated: &Simulated) -> Vec<Target> {
    let mut all = false_alarms(simulated);
    if simulated.ran.is_empty() {
        return all;
    }
    for asked in &ASKED {
        let ran = of_kinds(&simulated.ran, asked.kinds);
        if ran.is_empty() {
            continue;
        }
        let caught = ran.iter().filter(|ran| ran.within(asked.step, asked.seconds)).count();
        let share = caught as f64 / ran.len().max(1) as f64;
        let what = format!("{}: share with {} in time", asked.what, asked.step.name());
        let name = format!("e3.{}.caught", asked.name);
        let mut caught_share = target(name, what, (share, ran.len() as f64), asked.share, true);
        caught_share.proven = Some(share_lower(caught, ran.len()));
        all.push(caught_share);
        let Some((median, most)) = asked.targets else { continue };
        let counts: Vec<f64> =
            ran.iter().filter_map(|ran| ran.reached(asked.step)).map(|(_, targets)| targets as f64).collect();
        for (part, bound, word) in [(0.5, median, "median"), (0.99, most, "p99")] {
            let name = format!("e3.{}.targets_{word}", asked.name);
            let what = format!("{}: targets until {}, {word}", asked.what, asked.step.name());
            // Who was never caught reached all.
            let figure =
                if counts.is_empty() { f64::from(u16::MAX) } else { quantile(&counts, part).unwrap_or(0.0) };
            all.push(target(name, what, (figure, counts.len() as f64), bound, false));
        }
    }
    let worms = of_kinds(&simulated.ran, &["worm 5/s"]);
    if worms.is_empty() {
        return all;
    }
    let few = worms.iter().filter(|ran| ran.attacked.hosts.len() <= 2).count();
    let name = "e3.worm.contained".to_owned();
    let what = "worm: share of runs with at most one further host infected".to_owned();
    let share = few as f64 / worms.len().max(1) as f64;
    let mut contained = target(name, what, (share, worms.len() as f64), 0.95, true);
    contained.proven = Some(share_lower(few, worms.len()));
    all.push(contained);
    all
}

fn false_alarms(simulated: &Simulated) -> Vec<Target> {
    let lived = &simulated.lived[..];
    let days = host_days(lived);
    let count = |step: Step, exact: bool| {
        let actions =
            wrong(lived, false).filter(|wrong| (wrong.detector == "action") == (step >= Step::Throttle));
        actions.filter(|wrong| if exact { wrong.step == step } else { wrong.step >= step }).count() as u64
    };
    let rate = |name: &str, what: &str, events: u64, unit: f64, bound: f64| {
        let per = |events: f64| events * unit / days.max(1.0);
        let mut rate =
            target(format!("e2.{name}"), what.to_owned(), (per(events as f64), days), bound, false);
        rate.proven = Some(per(poisson_upper(events)));
        rate
    };
    let month = 365.0 / 12.0;
    let isolations = count(Step::Isolate, true);
    // How many of a year's isolations are right at least, at 95 %: none that is wrong on few days proves little.
    let wrong_a_year = poisson_upper(isolations) / days.max(1.0) * 365.0 * DEVICES;
    let precision = target(
        "e2.precision".to_owned(),
        "share of isolations that are right, of 39 a year on 2,000 devices, at 95 %".to_owned(),
        ((1.0 - wrong_a_year / ISOLATIONS_A_YEAR).max(0.0), days),
        0.975,
        true,
    );
    let dropped: u64 = lived.iter().map(|lived| lived.cost[0] + lived.cost[2]).sum();
    vec![
        rate("level_4", "false isolations per 1000 host-days", isolations, 1e3, 0.0014),
        precision,
        rate("level_3", "false pins per 1000 host-days", count(Step::Pin, true), 1e3, 0.01),
        rate("alerts", "false alerts per host-month, hints left out", count(Step::Alert, false), month, 0.02),
        target(
            "e2.learned_dropped".to_owned(),
            "harmless flows of known pairs dropped or cut short".to_owned(),
            (dropped as f64, days),
            0.0,
            false,
        ),
    ]
}
