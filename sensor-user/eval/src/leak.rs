//! The leak test: whether attacks on the made-up sites can be told by what no attack is made of.
//!
//! A tree of depth 4 sees of the first frame of each conversation only its time to live, source port, window, MAC address
//! and the time of day, and is asked whether that was an attack. If it can tell (area under its curve of 0.6 or more), the
//! sites are labelled by accident and what is found on them is worth nothing (Arp et al., Dos and Don'ts of Machine
//! Learning in Computer Security, USENIX Security 2022). (The sites have no IP identification.)
//!
//! Compared are an attack's frames and as many that the same hosts sent by habit in the same days: else the tree would know
//! which hosts are attacked from. It learns from one half of the attacks and is asked about the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sensor_core::observation::{Kind, Observation};
use sensor_core::time::{HOUR, MINUTE, Time};

use crate::attack;
use crate::held::Target;
use crate::runs::Trial;
use crate::sim::calendar::{DAY, START};
use crate::sim::site::Site;
use crate::sim::world::{Cause, Sink, Told, World};

/// What the tree sees, in this order.
const COLUMNS: usize = 5;
/// Depth of the tree.
const DEPTH: usize = 4;
/// Frames of each attack and of each host, at most.
const EACH: usize = 64;
/// Places at which a column is tried to be cut.
const CUTS: usize = 32;
/// What the area has to be under.
const LEAST: f64 = 0.6;

/// One frame.
#[derive(Clone, Copy)]
struct Sample {
    row: [f32; COLUMNS],
    attack: bool,
}

/// Frames, spread evenly over all that were offered: every one at first, then every second, every fourth, ...
struct Kept {
    samples: Vec<Sample>,
    /// How many are offered for one that is kept.
    every: usize,
    /// How many were offered.
    offered: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self { samples: Vec::new(), every: 1, offered: 0 }
    }
}

impl Kept {
    fn offer(&mut self, sample: Sample) {
        if self.offered.is_multiple_of(self.every) {
            self.samples.push(sample);
        }
        self.offered += 1;
        if self.samples.len() >= 2 * EACH {
            self.samples = self.samples.iter().step_by(2).copied().collect();
            self.every *= 2;
        }
    }
}

/// Takes down what hosts send, and drops nothing.
struct Watcher {
    since: Time,
    habits: BTreeMap<IpAddr, Kept>,
    attacks: BTreeMap<u16, (BTreeSet<IpAddr>, Kept)>,
}

impl Sink for Watcher {
    fn told(&mut self, told: &Told) -> bool {
        let Observation::Flow(seen) = &told.observation else { return true };
        if told.back || seen.id.kind != Kind::Ip || seen.time < self.since {
            return true;
        }
        let [.., high, low] = seen.smac.0;
        let row = [
            f32::from(seen.ttl),
            f32::from(seen.id.sport),
            f32::from(seen.window),
            f32::from(u16::from_be_bytes([high, low])),
            (seen.time.since(START) % DAY / MINUTE) as f32,
        ];
        let (kept, attack) = match told.cause {
            Cause::Attack(run) => {
                let (hosts, kept) = self.attacks.entry(run).or_default();
                hosts.insert(seen.id.src);
                (kept, true)
            }
            _ => (self.habits.entry(seen.id.src).or_default(), false),
        };
        kept.offer(Sample { row, attack });
        true
    }
}

/// A tree.
enum Tree {
    /// The part of attacks among those that end here.
    Leaf(f64),
    /// Those with at most this value in this column go left.
    Cut(usize, f32, Box<[Tree; 2]>),
}

impl Tree {
    fn learn(samples: &mut [Sample], depth: usize) -> Self {
        let attacks = samples.iter().filter(|sample| sample.attack).count();
        let leaf = Self::Leaf(attacks as f64 / samples.len().max(1) as f64);
        if depth == 0 || attacks == 0 || attacks == samples.len() {
            return leaf;
        }
        let mut best: Option<(f64, usize, f32)> = None;
        for column in 0..COLUMNS {
            let mut values: Vec<f32> = samples.iter().map(|sample| sample.row[column]).collect();
            values.sort_by(f32::total_cmp);
            let mut cuts: Vec<f32> =
                (1..CUTS).filter_map(|cut| values.get(values.len() * cut / CUTS)).copied().collect();
            cuts.dedup();
            for cut in cuts {
                let impurity = impurity(samples, column, cut);
                if best.is_none_or(|(least, ..)| impurity < least) {
                    best = Some((impurity, column, cut));
                }
            }
        }
        let Some((_, column, cut)) = best else { return leaf };
        samples.sort_by(|a, b| a.row[column].total_cmp(&b.row[column]));
        let at = samples.partition_point(|sample| sample.row[column] <= cut);
        if at == 0 || at == samples.len() {
            return leaf;
        }
        let (left, right) = samples.split_at_mut(at);
        Self::Cut(column, cut, Box::new([Self::learn(left, depth - 1), Self::learn(right, depth - 1)]))
    }

    fn score(&self, row: &[f32; COLUMNS]) -> f64 {
        match self {
            Self::Leaf(part) => *part,
            Self::Cut(column, cut, children) => {
                let [left, right] = children.as_ref();
                if row[*column] <= *cut { left.score(row) } else { right.score(row) }
            }
        }
    }
}

/// Gini's impurity of both sides of a cut, in frames.
fn impurity(samples: &[Sample], column: usize, cut: f32) -> f64 {
    let mut sides = [[0.0_f64; 2]; 2];
    for sample in samples {
        sides[usize::from(sample.row[column] > cut)][usize::from(sample.attack)] += 1.0;
    }
    sides.iter().map(|[good, bad]| 2.0 * good * bad / (good + bad).max(1.0)).sum()
}

/// The area under the curve: the part of pairs of an attack and none in which the attack has the greater score.
fn area(scored: &mut [(f64, bool)]) -> f64 {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins, mut attacks) = (0.0, 0.0, 0.0);
    for alike in scored.chunk_by(|a, b| a.0 == b.0) {
        let bad = alike.iter().filter(|(_, attack)| *attack).count() as f64;
        let good = alike.len() as f64 - bad;
        wins += bad * (below + good / 2.0);
        (below, attacks) = (below + good, attacks + bad);
    }
    if below * attacks == 0.0 { 0.5 } else { wins / (below * attacks) }
}

/// So many of them, spread over all their time.
fn spread(samples: &[Sample], count: usize) -> impl Iterator<Item = Sample> {
    (0..count).filter_map(move |at| samples.get(at * samples.len() / count)).copied()
}

/// The area under the curve on the sites of these seeds together.
pub fn look(seeds: &[u64], trial: &Trial) -> f64 {
    let mut halves: [Vec<Sample>; 2] = [Vec::new(), Vec::new()];
    for seed in seeds {
        let first = START.plus(trial.learned * DAY);
        let mut watcher = Watcher { since: first, habits: BTreeMap::new(), attacks: BTreeMap::new() };
        let mut world = World::new(Site::new(*seed, trial.hosts), *seed, &mut watcher);
        world.open();
        let planned = attack::plan(&mut world, &trial.kinds, trial.each, first);
        world.run(planned.last().map_or(first, |last| last.time).plus(HOUR));
        for (at, (hosts, attacks)) in watcher.attacks.into_values().enumerate() {
            let habits = hosts.iter().filter_map(|host| watcher.habits.remove(host));
            let habits: Vec<Sample> = habits.flat_map(|kept| kept.samples).collect();
            let each = habits.len().min(attacks.samples.len()).min(EACH);
            if let Some(half) = halves.get_mut(at % 2) {
                half.extend([habits, attacks.samples].iter().flat_map(|samples| spread(samples, each)));
            }
        }
    }
    let [learned, asked] = &mut halves;
    let tree = Tree::learn(learned, DEPTH);
    let mut scored: Vec<_> = asked.iter().map(|sample| (tree.score(&sample.row), sample.attack)).collect();
    area(&mut scored)
}

/// What is asked of it.
pub fn target(area: f64) -> Target {
    Target {
        name: "leak".to_owned(),
        what: "area under the curve of a tree that sees only what no attack is made of".to_owned(),
        figure: area,
        of: 1.0,
        bound: LEAST,
        at_least: false,
        proven: None,
        gates: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(count: u16, column: impl Fn(u16, bool) -> f32) -> Vec<Sample> {
        let one = |at: u16| {
            let attack = at.is_multiple_of(2);
            let mixed = |by: u16| f32::from(at.wrapping_mul(by) >> 4);
            Sample { row: [column(at, attack), mixed(40_503), mixed(25_717), mixed(9_973), 0.0], attack }
        };
        (0..count).map(one).collect()
    }

    fn found(mut learned: Vec<Sample>, asked: &[Sample]) -> f64 {
        let tree = Tree::learn(&mut learned, DEPTH);
        let mut scored: Vec<_> =
            asked.iter().map(|sample| (tree.score(&sample.row), sample.attack)).collect();
        area(&mut scored)
    }

    #[test]
    fn what_is_kept_is_spread_over_all_that_was_offered() {
        for offered in [1, 127, 128, 1_000, 20_000_u16] {
            let mut kept = Kept::default();
            for at in 0..offered {
                let row = [f32::from(at), 0.0, 0.0, 0.0, 0.0];
                kept.offer(Sample { row, attack: false });
            }
            let at: Vec<f32> = kept.samples.iter().map(|sample| sample.row[0]).collect();
            assert!(
                at.len() >= EACH.min(usize::from(offered)) && at.len() < 2 * EACH,
                "{offered}: {}",
                at.len()
            );
            assert!(at.windows(2).all(|pair| pair[1] - pair[0] == kept.every as f32), "{offered}");
            assert!(f32::from(offered) - at[at.len() - 1] <= kept.every as f32, "{offered}");
        }
    }

    #[test]
    fn a_label_that_leaks_is_found_and_none_is_not() {
        let leaks = |_, attack| if attack { 63.0 } else { 64.0 };
        let all = samples(4_000, leaks);
        assert_eq!(found(all[..2_000].to_vec(), &all[2_000..]), 1.0);
        let some = |at: u16, attack| if attack && at.is_multiple_of(3) { 63.0 } else { 64.0 };
        let some = samples(4_000, some);
        assert!(found(some[..2_000].to_vec(), &some[2_000..]) > LEAST);
        let none = samples(8_000, |at, _| f32::from(at.wrapping_mul(31_421) >> 6));
        assert!(found(none[..4_000].to_vec(), &none[4_000..]) < 0.55);
    }

    #[test]
    fn the_area_counts_what_is_alike_as_half() {
        let mut scored = [(0.5, true), (0.5, false), (0.1, false), (0.9, true)];
        assert_eq!(area(&mut scored), 0.875);
        assert_eq!(area(&mut [(0.3, true)]), 0.5, "nothing to compare with");
    }
}
