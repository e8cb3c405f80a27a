//! Whether a model still fits, whether a new one may take its place, and who is teaching it to look away.
//!
//! The model of the commissioning is kept for good, as the *golden* one; from time to time a *challenger* is trained on
//! what is new. A host that changes bit by bit, so that each challenger takes it for usual while the golden model finds it
//! odder and odder, is poisoning the training, or has slowly become something else. Somebody should look at it. (One that
//! changes so fast that it stands out from the others is set aside by the training, and told by that.) If most hosts part at
//! once, the network has changed, and it is time for a new golden model.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use super::reservoir::Rows;
use super::{Model, Scratch};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;

/// Change of the scores from which on a challenger needs a person's yes, as an index of population stability (0.1 to 0.25
/// is taken for some change: Siddiqi, Credit Risk Scorecards, 2006).
pub const MOST_SHIFT: f64 = 0.1;
/// Rise of the threshold from which on it needs one: a tenth, as a logarithm.
pub const MOST_RISE: f64 = 0.095_31;
/// Gap of a host's ranks that may be chance, in each comparison.
const ALLOWANCE: f64 = 0.1;
/// Sum of gaps beyond it that is told.
pub const LIMIT: f64 = 0.5;
/// Fewest rows of a host that say anything.
const LEAST_ROWS: usize = 30;

/// A challenger against the model in use.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Comparison {
    /// How far the scores of new rows by the model in use are from those it was trained on (index of population stability
    /// over tenths).
    pub shift: f64,
    /// Rise of the threshold over the median score, as a logarithm.
    pub rise: f64,
}

impl Comparison {
    /// Compares on new rows.
    pub fn new(in_use: &Model, challenger: &Model, rows: &Rows) -> Self {
        let rise = challenger.threshold.at() - in_use.threshold.at();
        Self { shift: shift(in_use, rows), rise }
    }

    /// Whether the challenger may take over by itself, if no incident was open in the time its rows come from.
    pub fn may_take_over(&self) -> bool {
        self.shift < MOST_SHIFT && self.rise < MOST_RISE
    }
}

/// The index of population stability: the sum over tenths of (new part - old part) ln(new part / old part).
fn shift(model: &Model, rows: &Rows) -> f64 {
    let mut counts = [0.5_f64; 10];
    let mut scratch = Scratch::default();
    for row in rows.values().rows() {
        let tenth = (model.rank(model.measure.score(row, &mut scratch)) * 10.0).ceil() as usize;
        if let Some(count) = counts.get_mut(tenth.saturating_sub(1)) {
            *count += 1.0;
        }
    }
    let all: f64 = counts.iter().sum();
    counts.iter().map(|count| count / all).map(|part| (part - 0.1) * (part / 0.1).ln()).sum()
}

/// Watches for hosts that the golden model finds odder and odder while the challengers do not: a cumulative sum (Page 1954)
/// for each of the gap between its mean ranks by both.
#[derive(Debug)]
pub struct Poisoning {
    sums: Lru<DeviceKey, f64>,
}

/// A host whose ranks part.
#[derive(Clone, Copy, PartialEq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Parting {
    /// Who.
    pub host: DeviceKey,
    /// Mean rank of its rows by the golden model, 0 to 1; 0.5 is usual.
    pub golden: f64,
    /// The same by the challenger.
    pub challenger: f64,
    /// The sum of gaps beyond what may be chance, over all comparisons.
    pub sum: f64,
}

impl Poisoning {
    /// Watches at most so many hosts; who was not compared for longest is forgotten.
    pub fn new(hosts: usize) -> Self {
        Self { sums: Lru::new(capacity(hosts)) }
    }

    /// The hosts it watches and their sums, who was not compared for longest first; to be kept over a restart.
    pub fn sums(&self) -> impl Iterator<Item = (DeviceKey, f64)> + '_ {
        self.sums.oldest_first().map(|(host, sum)| (*host, *sum))
    }

    /// Takes up the sum of a host. What no comparison can give is left out.
    pub fn restore(&mut self, host: DeviceKey, sum: f64) {
        if sum.is_finite() && sum >= 0.0 {
            self.sums.put(host, sum);
        }
    }

    /// Takes in a comparison on new rows, one for each challenger that is trained: the hosts that are to be looked at.
    pub fn compare(&mut self, golden: &Model, challenger: &Model, rows: &Rows) -> Vec<Parting> {
        let mut scratch = Scratch::default();
        let mut ranks: BTreeMap<DeviceKey, ([f64; 2], usize)> = BTreeMap::new();
        for (row, host) in rows.values().rows().into_iter().zip(rows.hosts()) {
            let (sums, count) = ranks.entry(*host).or_default();
            for (sum, model) in sums.iter_mut().zip([golden, challenger]) {
                *sum += model.rank(model.measure.score(row, &mut scratch));
            }
            *count += 1;
        }
        let mut parting = Vec::new();
        for (host, (sums, count)) in ranks.into_iter().filter(|(_, (_, count))| *count >= LEAST_ROWS) {
            let [golden, challenger] = sums.map(|sum| sum / count as f64);
            let sum = self.sums.get_or_insert_mut(host, || 0.0);
            *sum = (*sum + golden - challenger - ALLOWANCE).max(0.0);
            if *sum > LIMIT {
                parting.push(Parting { host, golden, challenger, sum: *sum });
            }
        }
        parting
    }
}
