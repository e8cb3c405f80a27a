//! Which features made a score, and what would have been usual.

use super::features::Label;
use super::{Model, Scratch, Usual};

/// A feature's part in a score.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cause {
    /// Its place in the row.
    pub at: usize,
    /// The feature.
    pub label: Label,
    /// Its part of the row's error, 0 to 1; all of them together are 1.
    pub part: f32,
    /// Its value.
    pub value: f32,
    /// What is usual.
    pub usual: Usual,
}

impl Model {
    /// The `most` features that have the greatest part in the score of a row, the greatest first.
    pub fn explain(&self, row: &[f32], most: usize, scratch: &mut Scratch) -> Vec<Cause> {
        self.measure.score(row, scratch);
        let sum: f32 = scratch.excess.iter().sum();
        let labels = self.labels();
        let known = labels.iter().zip(row).zip(&self.usual).zip(&scratch.excess).enumerate();
        let mut causes: Vec<Cause> = known
            .map(|(at, (((label, value), usual), excess))| {
                let part = if sum > 0.0 && sum.is_finite() { excess / sum } else { 0.0 };
                Cause { at, label: *label, part, value: *value, usual: *usual }
            })
            .collect();
        causes.sort_by(|a, b| b.part.total_cmp(&a.part));
        causes.truncate(most);
        causes
    }
}
