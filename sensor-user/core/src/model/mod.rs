//! What is usual for a class of devices, learned from their own traffic.
//!
//! A [`Model`] gives a row of features ([`features`]) a score: how badly a network that knows the usual rows of the class
//! ([`network`]) gives it back. What a score is worth stands in its [`tail`]. Models are made by [`train`] from what a
//! [`reservoir`] holds, kept in files ([`mod@file`]), and watched by [`drift`]. All of it works on what it is given and keeps no
//! state elsewhere, so that rows can be scored in one thread while another trains on a copy of the reservoir.

pub mod baseline;
pub mod drift;
pub mod explain;
pub mod features;
pub mod file;
pub mod network;
pub mod random;
pub mod reservoir;
pub mod reservoir_file;
pub mod scale;
pub mod tail;
pub mod train;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use features::{Label, Subject};
use network::{Network, Work};
use scale::Scaler;
use tail::Tail;

/// The least usual squared error, in scaled units: a feature that is always given back exactly is not infinitely telling.
pub const LEAST_ERROR: f32 = 0.01;
/// Parts of the training scores at whose upper ends [`Model::ranks`] stand: tenths, and the last ones finer.
pub const RANKS: [f64; 12] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 0.999, 1.0];
/// The place of the median in [`RANKS`].
const MEDIAN: usize = 4;
/// Steps of a host's level, in units of the score, from the first to all that come after the hundredth.
const LEVEL_STEPS: [f32; 2] = [1.0, 0.01];

/// How rows are measured: scaled, passed through the network, compared.
#[derive(Clone, PartialEq, Debug)]
pub struct Measure {
    /// Scaling of the features.
    pub scaler: Scaler,
    /// The network.
    pub network: Network,
    /// The usual squared error of each feature in scaled units, at least [`LEAST_ERROR`].
    pub errors: Vec<f32>,
}

/// Buffers for scoring; keep them, so that nothing is allocated for each row.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    scaled: Vec<f32>,
    work: Work,
    /// Squared error of each feature of the last row in parts of the usual.
    excess: Vec<f32>,
}

impl Measure {
    /// The score of a row: the natural logarithm of its mean squared error, that of each feature in units of its usual one.
    /// 0 is about usual. The row must be as long as the network has inputs.
    pub fn score<'a>(&self, row: impl IntoIterator<Item = &'a f32>, scratch: &mut Scratch) -> f32 {
        scratch.scaled.resize(self.network.inputs(), 0.0);
        self.scaler.scale(row, &mut scratch.scaled);
        let output = self.network.forward(&scratch.scaled, &mut scratch.work);
        let gaps = output.iter().zip(&scratch.scaled).map(|(output, scaled)| output - scaled);
        scratch.excess.clear();
        scratch.excess.extend(gaps.zip(&self.errors).map(|(gap, usual)| gap * gap / usual));
        let mean = scratch.excess.iter().sum::<f32>() / self.errors.len().max(1) as f32;
        // The weights of a hostile file may drive it anywhere.
        if mean.is_finite() { mean.max(f32::MIN_POSITIVE).ln() } else { f32::MAX.ln() }
    }
}

/// What is usual for a feature in its own unit, of the rows learned from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Usual {
    /// 1 in 1,000 is less.
    pub low: f32,
    /// Half are less.
    pub middle: f32,
    /// 1 in 1,000 is greater.
    pub high: f32,
}

/// From where on a score is an alarm. Scores count over their host's level.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Threshold {
    /// For a stated rate of false alarms.
    Promised {
        /// The threshold.
        at: f64,
        /// Events for each row of those that pass it.
        rate: f64,
        /// The tail that says so.
        tail: Tail,
    },
    /// Half as much again as the greatest score seen, for too few were seen to promise anything. Such an alarm is worth a
    /// line in the log and nothing more.
    Guessed {
        /// The threshold.
        at: f64,
    },
}

impl Threshold {
    /// The threshold.
    pub fn at(&self) -> f64 {
        match *self {
            Threshold::Promised { at, .. } | Threshold::Guessed { at } => at,
        }
    }
}

/// What a model was made of, for people.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Facts {
    /// When, as who made it says: seconds since 1970.
    pub made_secs: u64,
    /// Seed of the training.
    pub seed: u64,
    /// Rows that were given.
    pub rows: u64,
    /// Rows that were left out of the learning.
    pub left_out: u64,
    /// Hosts they came from.
    pub hosts: u32,
    /// Hosts that were set aside.
    pub set_aside: u32,
    /// Passes over the rows.
    pub epochs: u32,
    /// Loss on hosts that were not learned from.
    pub loss: f32,
}

/// What is usual for a class of devices.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// What the rows are about.
    pub subject: Subject,
    /// Name of the class.
    pub class: String,
    /// The measure.
    pub measure: Measure,
    /// What is usual for each feature.
    pub usual: Vec<Usual>,
    /// Scores of the rows learned from: as great as these are the parts [`RANKS`] at most.
    pub ranks: [f32; RANKS.len()],
    /// Lowest and highest level of the hosts learned from.
    pub levels: [f32; 2],
    /// The threshold.
    pub threshold: Threshold,
    /// What it was made of.
    pub facts: Facts,
}

/// A host's level: the running median of its scores, by steps up and down (Robbins and Monro 1951). It is a host's way of
/// being odd every day.
#[derive(Clone, Copy, PartialEq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Level {
    value: f32,
    seen: u16,
}

/// What a model says of a row.
#[derive(Clone, Copy, PartialEq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Judgement {
    /// The score.
    pub score: f32,
    /// The score over the host's level; no host is allowed a level beyond those of the hosts learned from.
    pub over: f32,
    /// Events as odd as this for each row, 1 if it is not odd at all or no rate can be promised.
    pub rate: f64,
    /// It passes the threshold.
    pub alarm: bool,
}

impl Model {
    /// The level of a host of which nothing is known.
    pub fn level(&self) -> Level {
        Level { value: self.ranks[MEDIAN], seen: 0 }
    }

    /// Judges a row of a host; must be as long as [`Subject::labels`].
    pub fn judge(&self, row: &[f32], level: &Level, scratch: &mut Scratch) -> Judgement {
        let score = self.measure.score(row, scratch);
        let [low, high] = self.levels;
        let over = score - level.value.max(low).min(high);
        let rate = match &self.threshold {
            Threshold::Promised { tail, .. } => tail.rate_of(f64::from(over)),
            Threshold::Guessed { .. } => 1.0,
        };
        Judgement { score, over, rate, alarm: f64::from(over) >= self.threshold.at() }
    }

    /// The part of the rows learned from whose score is at most this, 0 to 1, between the known ranks in proportion.
    pub fn rank(&self, score: f32) -> f64 {
        let at = self.ranks.partition_point(|rank| *rank < score);
        let (Some(high), Some(above)) = (self.ranks.get(at), RANKS.get(at)) else { return 1.0 };
        let Some(before) = at.checked_sub(1) else { return RANKS[0] / 2.0 };
        let part = f64::from((score - self.ranks[before]) / (high - self.ranks[before]));
        RANKS[before] + (above - RANKS[before]) * part.clamp(0.0, 1.0)
    }

    /// The features of its rows.
    pub fn labels(&self) -> Vec<Label> {
        self.subject.labels()
    }
}

impl Level {
    /// The level.
    pub fn value(&self) -> f32 {
        self.value
    }

    /// Scores taken in, up to 65,535.
    pub fn seen(&self) -> u16 {
        self.seen
    }

    /// Takes in one more score. Leave out what comes while an incident of the host is open.
    pub fn observe(&mut self, score: f32) {
        self.seen = self.seen.saturating_add(1);
        let [first, last] = LEVEL_STEPS;
        let step = (first / f32::from(self.seen)).max(last);
        self.value += if score > self.value { step } else { -step };
    }
}
