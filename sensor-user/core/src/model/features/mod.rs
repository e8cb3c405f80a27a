//! What a model is told: one row of numbers for each conversation that ended, and one for each device and minute.
//!
//! Name, unit, scaling and value of each feature stand in one table, [`flow::FEATURES`] and [`window::FEATURES`]; its order
//! is that of the rows. Values are natural ones (bytes, seconds, counts), so that people can read them.
//!
//! No address, source port or time of day is in a row. A model would learn them by heart.
//!
//! Not there, because nothing the core is given holds it: classes of destinations, when a pair was first seen, how common a
//! port or destination is in the class, spread of frame sizes and of gaps between frames, time to the first answer, learned
//! time to live and SYN options, gateways, and hour and weekday (the core's time begins at the start of the machine).

mod distinct;
pub mod flow;
mod service;
mod watch;
pub mod window;

pub use service::Service;
pub use watch::Watch;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::scale::Form;

/// A feature, of rows made from `S`.
pub struct Feature<S: 'static> {
    /// Name, and how it is scaled.
    pub label: Label,
    value: fn(&S) -> f32,
}

/// How a feature is called, what it is measured in, and how it is scaled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// Its name, as events and files have it.
    pub name: &'static str,
    /// Its unit; empty of flags and counts.
    pub unit: &'static str,
    /// How it is scaled.
    pub form: Form,
}

/// What rows are about.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub enum Subject {
    /// A conversation that ended.
    Flow,
    /// A device in a stretch of time.
    Window,
}

impl Subject {
    /// The features of a row, in order.
    pub fn labels(self) -> Vec<Label> {
        match self {
            Subject::Flow => flow::FEATURES.iter().map(|feature| feature.label).collect(),
            Subject::Window => window::FEATURES.iter().map(|feature| feature.label).collect(),
        }
    }

    /// Nodes of the hidden layers of a model. The narrowest is about a fifth of the features.
    pub fn hidden(self) -> &'static [usize] {
        match self {
            Subject::Flow => &[32, 12, 32],
            Subject::Window => &[24, 8, 24],
        }
    }

    /// Its name, as files have it.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Flow => "flow",
            Subject::Window => "window",
        }
    }
}

const fn feature<S>(name: &'static str, unit: &'static str, form: Form, value: fn(&S) -> f32) -> Feature<S> {
    Feature { label: Label { name, unit, form }, value }
}

/// The row of something, by a table.
fn row<S, const N: usize>(table: &[Feature<S>; N], of: &S) -> [f32; N] {
    std::array::from_fn(|at| table.get(at).map_or(0.0, |feature| (feature.value)(of)))
}

/// 1 if it holds.
fn flag(holds: bool) -> f32 {
    f32::from(u8::from(holds))
}

/// A part of a whole, 0 of nothing.
fn part(part: f32, whole: f32) -> f32 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The natural logarithm of the ratio of two counts, each taken for one more than it is.
fn log_ratio(a: f32, b: f32) -> f32 {
    a.ln_1p() - b.ln_1p()
}
