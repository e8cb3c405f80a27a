//! What is said of the trained models over the control socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DeviceName;
use crate::clock::Stamp;

/// A model of what is usual.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The class of devices.
    pub class: String,
    /// What its rows are about: a conversation (`flow`), or a minute of a device (`window`).
    pub subject: String,
    /// The beginning of its hash.
    pub hash: String,
    /// The name of its file.
    pub file: String,
    /// When it was made.
    pub made: Stamp,
    /// Rows it was made from.
    pub rows: u64,
    /// Rows of these that were left out as odd.
    pub rows_left_out: u64,
    /// Devices they came from.
    pub devices: u32,
    /// Devices of these that were set aside as odd.
    pub devices_left_out: u32,
    /// `promised`, or `guessed`: then it only learns, and never alerts.
    pub threshold: String,
    /// The score over a device's own level from which on it alerts.
    pub limit: f64,
    /// False alarms for each row that were accepted; none if it is guessed.
    pub rate: Option<f64>,
    /// Whether it is the one that is asked.
    pub in_force: bool,
    /// Whether new ones are compared with it, to find devices that change bit by bit.
    pub golden: bool,
}

/// What a model is chosen for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPromote {
    /// Its hash, or the beginning of it.
    pub hash: String,
    /// New ones are compared with it from now on; else it is put in force.
    #[serde(default)]
    pub golden: bool,
}

/// What was learned.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModelList {
    /// The models, the newest first.
    pub models: Vec<ModelInfo>,
    /// Rows of all devices there are to learn from, by subject.
    pub rows: BTreeMap<String, u64>,
    /// The same of each class that is learned from.
    #[serde(default)]
    pub classes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Rows a training needs.
    pub rows_needed: u64,
    /// The subject of the model that is being trained.
    pub training: Option<String>,
    /// The class of that.
    #[serde(default)]
    pub training_class: Option<String>,
}

/// What comes of an order to train.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrainInfo {
    /// The class of devices.
    pub class: String,
    /// What the model is about.
    pub subject: String,
    /// Rows there are to learn from.
    pub rows: u64,
    /// Whether it will be trained.
    pub will_train: bool,
    /// What will happen, in words that go on after "the model".
    pub what: String,
}

/// A score of a device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScoreInfo {
    /// When.
    pub time: Stamp,
    /// What was scored.
    pub subject: String,
    /// The class of devices the model is of.
    pub class: String,
    /// The score: the logarithm of its mean error.
    pub score: f64,
    /// The score over the device's own level.
    pub over_own_level: f64,
    /// The part of what was learned from that scores no more, 0 to 1.
    pub rank: f64,
    /// The limit for the score over its own level.
    pub limit: Option<f64>,
    /// It is over the limit.
    pub over_limit: bool,
}

/// The last scores of a device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Scores {
    /// The device.
    pub device: DeviceName,
    /// Its scores, the newest first.
    pub scores: Vec<ScoreInfo>,
}
