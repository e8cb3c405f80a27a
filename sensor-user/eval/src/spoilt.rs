//! What it costs those that learn if attackers were there while they learned.
//!
//! Learning is repeated on the same rows with some of attackers' minutes among them, and the threshold set anew each time to the
//! same budget: so much of the minutes of the calibration days passes, in which nobody attacked. Runs of attacks are dealt in two:
//! the minutes of every second run spoil, those of the others are found or not.

use std::collections::BTreeMap;
use std::fmt::Write;

use sensor_core::inventory::DeviceKey;
use sensor_core::model::reservoir::Rows;
use sensor_core::time::{MINUTE, Time};
use serde_json::{Value, json};

use crate::attack::{KINDS, Planned, Way};
use crate::contest::Contest;
use crate::figure::quantile;
use crate::held::Target;
use crate::sim::calendar::START;
use crate::subject::learned::{Learned, Row};
use crate::subject::minutes::{Minute, Minutes};
use crate::subject::rivals::Rival;

/// The part of harmless minutes that may pass.
const BUDGET: f64 = 0.001;
/// How training is spoilt, and how many points of the attacks' minutes it may cost the network, if that is asked.
const CASES: [(&str, Spoil, Option<f64>); 4] = [
    ("nothing spoilt", Spoil::Part(0.0), None),
    ("1 % of the rows", Spoil::Part(0.01), Some(2.0)),
    ("5 % of the rows", Spoil::Part(0.05), Some(5.0)),
    ("one host from the first day", Spoil::Host, None),
];
/// Trainings of each case, each from another seed: what one finds of rare families differs by ten points from the next.
const TRAININGS: u64 = 3;
/// Those that learn.
const LEARNERS: [Rival; 3] = [Rival::Network, Rival::Pca, Rival::Forest];
/// Families of attacks, in the order of the table.
const FAMILIES: [&str; 8] = [
    "scans",
    "worm",
    "ransomware",
    "beacons",
    "exfiltration",
    "password guessing",
    "lateral chains",
    "pretence",
];

/// How training is spoilt.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Spoil {
    /// So much of the rows is of attackers, each run of attacks giving as much.
    Part(f64),
    /// The host with the most rows did nothing but attack.
    Host,
}

fn family(way: Way) -> &'static str {
    let at = match way {
        Way::Sweep(..) | Way::Vertical(_) => 0,
        Way::Worm => 1,
        Way::Ransomware => 2,
        Way::Beacon(..) | Way::Relay => 3,
        Way::Exfil(..) => 4,
        Way::Brute(_) => 5,
        Way::Chain(_) => 6,
        Way::Rogue | Way::Spoof | Way::Mimicry => 7,
    };
    FAMILIES.get(at).copied().unwrap_or_default()
}

/// Of each case, learner and family: the part of its minutes that passed, for each run and training.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Spoilt(BTreeMap<(usize, Rival, &'static str), Vec<f64>>);

impl Spoilt {
    /// Repeats the learning of one site. What was learned from ended at `learned`.
    pub fn measure(minutes: &Minutes, planned: &[Planned], learned: Time) -> Self {
        let (rows, calibration, attacks) = minutes.kept();
        let family = |run: &u16| {
            let kind = planned.iter().find(|planned| planned.run == *run)?.kind;
            KINDS.get(kind).map(|kind| family(kind.way))
        };
        let (spoil, found): (Vec<_>, Vec<_>) = attacks.iter().partition(|(run, _)| *run % 2 == 1);
        let spoil: Vec<&[Minute]> = spoil.into_iter().map(|(_, minutes)| minutes.as_slice()).collect();
        let mut all = BTreeMap::new();
        for (case, (_, how, _)) in CASES.iter().enumerate() {
            let spoilt = match how {
                Spoil::Part(part) => with_part(rows, &spoil, *part, learned),
                Spoil::Host => with_host(rows, &spoil),
            };
            for seed in 1..=TRAININGS {
                let mut models = Learned::new(&spoilt, seed);
                let thresholds = thresholds(&mut models, calibration);
                for (run, minutes) in &found {
                    let Some(family) = family(run) else { continue };
                    for (rival, part) in passed(&mut models, minutes, &thresholds) {
                        all.entry((case, rival, family)).or_insert_with(Vec::new).push(part);
                    }
                }
            }
        }
        Self(all)
    }
}

/// The rows, and so much of them besides, of attackers: of one run after the other, minute by minute.
fn with_part(rows: &Rows, spoil: &[&[Minute]], part: f64, learned: Time) -> Rows {
    let mut all = rows.clone();
    let wanted = (rows.len() as f64 * part / (1.0 - part)).round() as usize;
    let each = wanted.div_ceil(spoil.len().max(1));
    let apart = learned.since(START) / (spoil.len() as u64 + 1);
    for (at, minutes) in spoil.iter().enumerate() {
        let begun = START.plus(at as u64 * apart);
        let left = wanted - (at * each).min(wanted);
        // A short attack is repeated.
        for (minute, Minute { device, row }) in minutes.iter().cycle().take(each.min(left)).enumerate() {
            all.push(*device, begun.plus(minute as u64 * MINUTE), row);
        }
    }
    all
}

/// The rows, but those of the host with the most are of attackers.
fn with_host(rows: &Rows, spoil: &[&[Minute]]) -> Rows {
    let mut counts: BTreeMap<DeviceKey, usize> = BTreeMap::new();
    for host in rows.hosts() {
        *counts.entry(*host).or_default() += 1;
    }
    let most = counts.iter().max_by_key(|(_, count)| **count).map(|(host, _)| *host);
    let mut attack = spoil.iter().flat_map(|minutes| minutes.iter()).cycle();
    let mut all = Rows::new(rows.values().ncols());
    for ((host, time), row) in rows.hosts().iter().zip(rows.times()).zip(rows.values().rows()) {
        let other = if Some(*host) == most { attack.next() } else { None };
        match other {
            Some(Minute { row, .. }) => all.push(*host, *time, row),
            None => all.push(*host, *time, &row.to_vec()),
        };
    }
    all
}

/// What each learner's score has to be over, so that no more of the harmless minutes pass. They are judged as they come, and
/// their devices' own levels are known afterwards.
fn thresholds(models: &mut Learned, calibration: &Rows) -> BTreeMap<Rival, f64> {
    let mut minutes: Vec<(Time, DeviceKey, Row)> = calibration
        .hosts()
        .iter()
        .zip(calibration.times())
        .zip(calibration.values().rows())
        .filter_map(|((host, time), row)| Some((*time, *host, row.to_vec().try_into().ok()?)))
        .collect();
    minutes.sort_by_key(|(time, host, _)| (*time, *host));
    let mut scores: BTreeMap<Rival, Vec<f64>> = BTreeMap::new();
    for (_, host, row) in &minutes {
        for (rival, score) in models.scores(*host, row) {
            scores.entry(rival).or_default().push(score);
        }
        models.observe(*host, row);
    }
    let of = |scores: Vec<f64>| quantile(&scores, 1.0 - BUDGET).unwrap_or(f64::MAX);
    scores.into_iter().map(|(rival, scores)| (rival, of(scores))).collect()
}

/// The part of an attack's minutes that passes.
fn passed(models: &mut Learned, minutes: &[Minute], over: &BTreeMap<Rival, f64>) -> BTreeMap<Rival, f64> {
    let mut passed = BTreeMap::new();
    for Minute { device, row } in minutes {
        for (rival, score) in models.scores(*device, row) {
            let passes = over.get(&rival).is_some_and(|over| score > *over);
            *passed.entry(rival).or_insert(0.0) += f64::from(u8::from(passes)) / minutes.len() as f64;
        }
    }
    passed
}

/// Percent of the minutes of attacks that pass, each run counting the same, and of how many runs; of one family or all.
fn found(contests: &[Contest], case: usize, rival: Rival, family: Option<&str>) -> (f64, usize) {
    let of = |key: &(usize, Rival, &'static str)| {
        key.0 == case && key.1 == rival && family.is_none_or(|family| family == key.2)
    };
    let all = contests.iter().flat_map(|contest| &contest.spoilt.0).filter(|(key, _)| of(key));
    let parts: Vec<f64> = all.flat_map(|(_, parts)| parts).copied().collect();
    (100.0 * parts.iter().sum::<f64>() / parts.len().max(1) as f64, parts.len() / TRAININGS as usize)
}

/// What spoilt training may cost the network.
pub fn targets(contests: &[Contest]) -> Vec<Target> {
    let asked = CASES.iter().enumerate().filter_map(|(case, (name, _, most))| Some((case, *name, (*most)?)));
    let target = |(case, name, bound): (usize, &str, f64)| {
        let [(clean, runs), (spoilt, _)] = [0, case].map(|case| found(contests, case, Rival::Network, None));
        Target {
            name: format!("model.spoilt_{bound:.0}"),
            what: format!(
                "points of attacks' minutes the network loses if {name} it learned from are attackers'"
            ),
            figure: clean - spoilt,
            of: runs as f64,
            bound,
            at_least: false,
            proven: None,
            gates: false,
        }
    };
    asked.map(target).collect()
}

/// The table.
pub fn page(contests: &[Contest]) -> String {
    let mut text = format!(
        "\n## Spoilt training\n\nThe learning of the contest repeated with attackers' minutes among its rows. Percent of the minutes of \
         other runs that pass, each run counting the same, in the mean of {TRAININGS} trainings, where {:.1} % of the harmless minutes of the calibration days do; \
         the network as the product trains and judges with it.\n\n| family | runs |",
        BUDGET * 100.0
    );
    for rival in LEARNERS {
        for (name, ..) in CASES {
            let _ = write!(text, " {}: {name} |", short(rival));
        }
    }
    let _ = writeln!(text, "\n|---|---|{}", "---|".repeat(LEARNERS.len() * CASES.len()));
    for family in FAMILIES.map(Some).into_iter().chain([None]) {
        let (_, runs) = found(contests, 0, Rival::Forest, family);
        let _ = write!(text, "| {} | {runs} |", family.unwrap_or("**all**"));
        for rival in LEARNERS {
            for case in 0..CASES.len() {
                let _ = write!(text, " {:.1} |", found(contests, case, rival, family).0);
            }
        }
        text.push('\n');
    }
    text
}

/// The same for machines.
pub fn machine(contests: &[Contest]) -> Value {
    let rows = CASES.iter().enumerate().flat_map(|(case, (name, ..))| {
        LEARNERS.map(|rival| {
            let of = |family: &str| found(contests, case, rival, Some(family)).0;
            let families: BTreeMap<_, _> = FAMILIES.map(|family| (family, of(family))).into();
            let (all, runs) = found(contests, case, rival, None);
            json!({ "training": name, "learner": short(rival), "runs": runs, "percent": all, "families": families })
        })
    });
    rows.collect()
}

fn short(rival: Rival) -> &'static str {
    match rival {
        Rival::Network => "network",
        Rival::Pca => "components",
        _ => "forest",
    }
}

#[cfg(test)]
mod tests {
    use sensor_core::addr::Mac;
    use sensor_core::model::features::window;

    use super::*;

    const DAY: Time = Time::at(START.ns() + 1_440 * MINUTE);

    fn device(at: u8) -> DeviceKey {
        DeviceKey::Local(Mac([2, 0, 0, 0, 0, at]))
    }

    /// Hosts 1 to 10, host 7 with twice as many minutes as the others, and two attacks of other hosts, one of them short.
    fn site() -> (Rows, [Vec<Minute>; 2]) {
        let mut rows = Rows::new(window::WIDTH);
        for at in 0..1_100_u64 {
            let host = if at < 1_000 { at % 10 + 1 } else { 7 };
            rows.push(device(host as u8), START.plus(at * MINUTE), &[0.0; window::WIDTH]);
        }
        let attack = |host, count| {
            (0..count).map(|_| Minute { device: device(host), row: [1.0; window::WIDTH] }).collect()
        };
        (rows, [attack(21, 500), attack(22, 1)])
    }

    /// How many of the rows of each host are an attack's.
    fn spoilt(rows: &Rows) -> BTreeMap<DeviceKey, usize> {
        let values = rows.values();
        let odd = rows.hosts().iter().zip(values.rows()).filter(|(_, row)| row.iter().all(|v| *v == 1.0));
        odd.fold(BTreeMap::new(), |mut all, (host, _)| {
            *all.entry(*host).or_default() += 1;
            all
        })
    }

    #[test]
    fn training_is_spoilt_as_much_as_is_said() {
        let (rows, attacks) = site();
        let spoil: Vec<&[Minute]> = attacks.iter().map(Vec::as_slice).collect();
        for (part, each) in [(0.0, 0), (0.01, 6), (0.05, 29)] {
            let all = with_part(&rows, &spoil, part, DAY);
            let odd: usize = spoilt(&all).values().sum();
            assert!((odd as f64 / all.len() as f64 - part).abs() < 0.001, "{part}: {odd} of {}", all.len());
            // The short attack is repeated; the last gives the rest.
            assert_eq!(spoilt(&all).get(&device(21)).copied().unwrap_or_default(), each);
            assert!(all.times().iter().skip(rows.len()).all(|time| *time < DAY));
        }
        let all = with_host(&rows, &spoil);
        assert_eq!((all.len(), spoilt(&all)), (rows.len(), BTreeMap::from([(device(7), 200)])));
    }
}
