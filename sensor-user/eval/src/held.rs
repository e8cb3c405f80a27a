//! Captures held against what is known of them: tier E0 of the evaluation.

use std::collections::BTreeSet;
use std::path::Path;

use sensor_core::settings::Mode;
use sensor_user::source::pcap::CaptureError;

use crate::capture::{self, Call, Seen};
use crate::expect::{self, Expected, Grade};

/// The part of the lines graded `should` that has to be met.
const SHOULD_SHARE: f64 = 0.8;

/// One capture and what came of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    /// The capture, below the folder.
    pub file: String,
    /// Its line of the table; none: it has none.
    pub expected: Option<Expected>,
    /// It lies in a folder in which nobody does harm.
    pub benign: bool,
    /// Somebody who is to be blamed was, or nobody is to be.
    pub blamed: bool,
    /// Somebody was cut off who must never be.
    pub hit: Option<String>,
    /// The calls that blame whom they should; of a capture in which nobody is to be blamed none.
    pub right: Vec<Call>,
    /// All other calls.
    pub other: Vec<Call>,
    /// Devices cut off in enforce mode.
    pub isolated: Vec<BTreeSet<String>>,
    /// Devices that would have been cut off in observe mode.
    pub would_isolate: usize,
    /// Frames.
    pub frames: u64,
    /// Frames the data path did not account for.
    pub lost: u64,
}

impl Held {
    /// Whether the line is met.
    pub fn met(&self) -> bool {
        self.blamed && self.hit.is_none()
    }

    /// Devices cut off, in the mode in which there were more.
    pub fn isolations(&self) -> usize {
        self.isolated.len().max(self.would_isolate)
    }

    fn new(file: &str, expected: Option<&Expected>, enforce: &Seen, observe: &Seen) -> Self {
        let blame = expected.map_or(&[][..], |expected| &expected.blame[..]);
        let right: Vec<Call> = enforce.calls_of(blame).cloned().collect();
        let other = enforce.calls.iter().filter(|call| !right.contains(call)).cloned().collect();
        let hit = expected.and_then(|expected| {
            expected.never.hit(&enforce.cut).or_else(|| expected.never.hit(&observe.cut)).map(str::to_owned)
        });
        let frames = enforce.outcome.summary.frames;
        Self {
            file: file.to_owned(),
            expected: expected.cloned(),
            benign: expect::is_benign(file),
            blamed: blame.is_empty() || !right.is_empty(),
            hit,
            right,
            other,
            isolated: enforce.isolated.clone(),
            would_isolate: observe.isolated.len(),
            frames,
            lost: frames.abs_diff(enforce.outcome.counters.packets),
        }
    }
}

/// Replays a capture in both modes and holds it against its line.
pub fn hold(data: &Path, file: &str, expected: Option<&Expected>) -> Result<Held, CaptureError> {
    let path = data.join(file);
    let [enforce, observe] = [Mode::Enforce, Mode::Observe].map(|mode| capture::run(&path, mode));
    Ok(Held::new(file, expected, &enforce?, &observe?))
}

/// A figure with its bound.
#[derive(Clone, PartialEq, Debug)]
pub struct Target {
    /// Its name in the report.
    pub name: String,
    /// What it says, for people.
    pub what: String,
    /// What was found.
    pub figure: f64,
    /// Of so many.
    pub of: f64,
    /// What it has to be; at least that if `at_least`, else at most.
    pub bound: f64,
    /// Which way the bound is.
    pub at_least: bool,
    /// The figure that is still likely at 95 %, one-sided: the least of a share, the greatest of a rate.
    pub proven: Option<f64>,
    /// The evaluation fails without it; else it is an aim, and reported.
    pub gates: bool,
}

impl Target {
    /// Whether it is reached. A rate that is to be low has to be proven low.
    pub fn pass(&self) -> bool {
        if self.at_least {
            return self.figure >= self.bound;
        }
        self.proven.unwrap_or(self.figure) <= self.bound
    }
}

/// How many lines of a grade are met, and how many there are.
pub fn met(held: &[Held], grade: Grade) -> (usize, usize) {
    let graded = |held: &&Held| held.expected.as_ref().is_some_and(|expected| expected.grade == grade);
    let all: Vec<_> = held.iter().filter(graded).collect();
    (all.iter().filter(|held| held.met()).count(), all.len())
}

/// The figures that decide whether the evaluation is passed.
pub fn targets(held: &[Held]) -> Vec<Target> {
    let ((must, musts), (should, shoulds)) = (met(held, Grade::Must), met(held, Grade::Should));
    let guarded = held.iter().filter(|held| held.expected.is_some());
    let hits = guarded.clone().filter(|held| held.hit.is_some()).count();
    let benign = held.iter().filter(|held| held.benign);
    let isolations: usize = benign.clone().map(Held::isolations).sum();
    let lost: u64 = held.iter().map(|held| held.lost).sum();
    let frames: u64 = held.iter().map(|held| held.frames).sum();
    let at_least = |name: &str, what: &str, figure: usize, of: usize, bound: f64| Target {
        name: name.to_owned(),
        what: what.to_owned(),
        figure: figure as f64,
        of: of as f64,
        bound,
        at_least: true,
        proven: None,
        gates: true,
    };
    let none = |name: &str, what: &str, figure: f64, of: f64| Target {
        at_least: false,
        figure,
        of,
        ..at_least(name, what, 0, 0, 0.0)
    };
    let enough = (shoulds as f64 * SHOULD_SHARE).ceil();
    vec![
        at_least("e0.must", "lines graded must that are met", must, musts, musts as f64),
        at_least("e0.should", "lines graded should that are met (four in five)", should, shoulds, enough),
        none(
            "e0.never",
            "captures in which somebody was cut off who must never be",
            hits as f64,
            guarded.count() as f64,
        ),
        none(
            "e0.benign_isolations",
            "isolations in captures in which nobody does harm",
            isolations as f64,
            benign.count() as f64,
        ),
        none("e0.frames_lost", "frames not accounted for", lost as f64, frames as f64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expect::Never;

    fn held(grade: Grade, blamed: bool, hit: Option<&str>) -> Held {
        let expected = Expected { file: "a".to_owned(), blame: Vec::new(), never: Never::Anybody, grade };
        Held {
            file: "malware/a.pcap".to_owned(),
            expected: Some(expected),
            benign: false,
            blamed,
            hit: hit.map(str::to_owned),
            right: Vec::new(),
            other: Vec::new(),
            isolated: Vec::new(),
            would_isolate: 0,
            frames: 1,
            lost: 0,
        }
    }

    fn failed(held: &[Held]) -> Vec<String> {
        targets(held).into_iter().filter(|target| !target.pass()).map(|target| target.name).collect()
    }

    #[test]
    fn what_is_missed_fails_the_evaluation() {
        let good = held(Grade::Must, true, None);
        let shoulds = |met: usize| {
            (0..5).map(|at| held(Grade::Should, at < met, None)).chain([good.clone()]).collect::<Vec<_>>()
        };
        let benign = Held { benign: true, would_isolate: 1, ..good.clone() };
        for (name, held, want) in [
            ("all is met", vec![good.clone(), held(Grade::Weak, false, None)], vec![]),
            ("a must is missed", vec![good.clone(), held(Grade::Must, false, None)], vec!["e0.must"]),
            ("the wrong one is cut off", vec![held(Grade::Weak, true, Some("10.0.0.1"))], vec!["e0.never"]),
            ("four of five", shoulds(4), vec![]),
            ("three of five", shoulds(3), vec!["e0.should"]),
            ("the innocent would be cut off", vec![benign], vec!["e0.benign_isolations"]),
            ("frames are lost", vec![Held { lost: 1, ..good.clone() }], vec!["e0.frames_lost"]),
        ] {
            assert_eq!(failed(&held), want, "{name}");
        }
    }
}
