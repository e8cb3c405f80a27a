//! How much of what reached the ports was seen, and when so little was that nothing may be concluded from silence.
//!
//! The counts come from whoever runs the data path. A capture has none: it is what it is.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::Serialize;

use crate::event::Blind;
use crate::time::{SECOND, Time};

/// What was seen over some time, of a port or of all of them.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub struct Coverage {
    /// How long it is about, seconds.
    pub seconds: u64,
    /// Frames that reached the ports.
    pub frames: u64,
    /// Frames of these nobody knows more of than that they came.
    pub frames_lost: u64,
    /// Records of new flows that were told, or were to be told.
    pub records: u64,
    /// Records of these that found no room.
    pub records_lost: u64,
}

impl Coverage {
    /// The part that was seen, 0 to 1: of the frames or of the records, whichever is less. 1 if there was nothing to be seen.
    pub fn ratio(&self) -> f64 {
        let seen =
            |all: u64, lost: u64| if lost == 0 { 1.0 } else { 1.0 - lost.min(all) as f64 / all as f64 };
        let frames = seen(self.frames.max(self.frames_lost), self.frames_lost);
        frames.min(seen(self.records.max(self.records_lost), self.records_lost))
    }

    /// Adds what was seen elsewhere in the same time.
    pub fn add(&mut self, other: &Self) {
        self.seconds = self.seconds.max(other.seconds);
        self.frames += other.frames;
        self.frames_lost += other.frames_lost;
        self.records += other.records;
        self.records_lost += other.records_lost;
    }
}

/// What an alert says of how much was seen: of the port its flow came in by, and of the bridge, by whose other ports the
/// answers would have come.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Sighted {
    /// The part seen on the port, 0 to 1, in four digits.
    pub port: f64,
    /// The part seen on all ports.
    pub bridge: f64,
    /// How long this is about, seconds.
    pub seconds: u64,
    /// Frames lost on the bridge in that time.
    pub frames_lost: u64,
    /// Records lost.
    pub records_lost: u64,
    /// Whether too little is seen at this moment for silence to mean anything.
    pub blind: bool,
}

/// Four digits, rounded down: what is not all is never shown as all.
fn four_digits(ratio: f64) -> f64 {
    (ratio * 1e4).floor() / 1e4
}

/// What was seen over the last minutes, port by port.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Sight {
    /// By index of the port.
    pub ports: BTreeMap<u8, Coverage>,
    /// Whether too little is seen at this moment.
    pub blind: bool,
}

impl Sight {
    /// What is to be said of a flow that came in by a port.
    pub fn of(&self, port: u8) -> Sighted {
        let mut bridge = Coverage::default();
        self.ports.values().for_each(|port| bridge.add(port));
        Sighted {
            port: four_digits(self.ports.get(&port).map_or(1.0, Coverage::ratio)),
            bridge: four_digits(bridge.ratio()),
            seconds: bridge.seconds,
            frames_lost: bridge.frames_lost,
            records_lost: bridge.records_lost,
            blind: self.blind,
        }
    }
}

/// Why too little is seen.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Serialize,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum BlindCause {
    /// Records of new flows found no room.
    RecordsLost,
    /// Flows were forgotten by the table before they were read.
    Unread,
    /// Of the frames of a moment too many were lost.
    Coverage,
    /// Nobody read for a while.
    Stopped,
}

impl BlindCause {
    /// All causes.
    pub const ALL: [Self; 4] = [Self::RecordsLost, Self::Unread, Self::Coverage, Self::Stopped];

    /// Its name in metrics and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RecordsLost => "records_lost",
            Self::Unread => "unread",
            Self::Coverage => "coverage",
            Self::Stopped => "stopped",
        }
    }
}

/// What was counted since the last look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interval {
    /// What was seen, and what was not.
    pub coverage: Coverage,
    /// Frames of these lost because their flows were forgotten unread.
    pub unread: u64,
    /// For how long nobody read, ns; 0 if all went as it should.
    pub stopped_ns: u64,
}

/// It is over when no cause was there for so long. Flows forgotten unread are noticed at the end of a sweep, of which there is
/// one in five seconds at least.
pub const HOLD: u64 = 10 * SECOND;

/// Tells when too little is seen, and when that is over.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Least part that must be seen.
    limit: f64,
    now: Option<Blind>,
    /// When a cause was there last.
    last: Time,
}

impl Watch {
    /// A watch that calls for less than this part seen, 0 to 1.
    pub fn new(limit: f64) -> Self {
        Self { limit, now: None, last: Time::EARLIEST }
    }

    /// What is so now; none: enough is seen.
    pub fn blind(&self) -> Option<&Blind> {
        self.now.as_ref()
    }

    /// Takes what was counted from `since` to `now`. Something comes back when it begins, when another cause comes to it, and
    /// when it is over.
    pub fn look(&mut self, since: Time, now: Time, interval: &Interval) -> Option<Blind> {
        let causes = self.causes(interval);
        if causes.is_empty() {
            let over = self.now.is_some() && now.since(self.last) >= HOLD;
            let blind = if over { self.now.take() } else { None };
            return blind.map(|blind| Blind { ended: Some(self.last), ..blind });
        }
        self.last = now;
        let begun = self.now.is_none();
        let blind = self.now.get_or_insert_with(|| Blind {
            began: since,
            ended: None,
            causes: Vec::new(),
            frames: 0,
            frames_lost: 0,
            records_lost: 0,
            stopped_ns: 0,
        });
        let Coverage { frames, frames_lost, records_lost, .. } = interval.coverage;
        blind.frames += frames;
        blind.frames_lost += frames_lost;
        blind.records_lost += records_lost;
        blind.stopped_ns += interval.stopped_ns;
        let new: Vec<_> = causes.into_iter().filter(|cause| !blind.causes.contains(cause)).collect();
        let news = begun || !new.is_empty();
        blind.causes.extend(new);
        news.then(|| blind.clone())
    }

    fn causes(&self, interval: &Interval) -> Vec<BlindCause> {
        let Interval { coverage, unread, stopped_ns } = interval;
        [
            (BlindCause::RecordsLost, coverage.records_lost > 0),
            (BlindCause::Unread, *unread > 0),
            (BlindCause::Coverage, coverage.ratio() < self.limit),
            (BlindCause::Stopped, *stopped_ns > 0),
        ]
        .into_iter()
        .filter_map(|(cause, is)| is.then_some(cause))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(frames: u64, frames_lost: u64) -> Interval {
        Interval { coverage: Coverage { frames, frames_lost, ..Coverage::default() }, ..Interval::default() }
    }

    #[test]
    fn the_part_seen_is_that_of_the_frames_or_of_the_records_whichever_is_less() {
        let cases: [([u64; 4], f64); 7] = [
            ([0, 0, 0, 0], 1.0),
            ([100, 0, 10, 0], 1.0),
            ([100, 1, 10, 0], 0.99),
            ([100, 0, 10, 5], 0.5),
            ([100, 90, 10, 5], 0.1),
            // More lost than came, as far as is known: nothing was seen.
            ([0, 5, 0, 0], 0.0),
            ([0, 0, 0, 5], 0.0),
        ];
        for ([frames, frames_lost, records, records_lost], expected) in cases {
            let coverage = Coverage { seconds: 1, frames, frames_lost, records, records_lost };
            assert!((coverage.ratio() - expected).abs() < 1e-9, "{coverage:?}: {}", coverage.ratio());
        }
    }

    #[test]
    fn what_is_not_all_is_not_shown_as_all() {
        let sight = Sight {
            ports: BTreeMap::from([(
                1,
                Coverage { frames: 1_000_000, frames_lost: 1, ..Coverage::default() },
            )]),
            blind: false,
        };
        assert_eq!((sight.of(1).port, sight.of(1).bridge), (0.9999, 0.9999));
        assert_eq!(sight.of(2).port, 1.0);
    }

    #[test]
    fn each_cause_is_told_once_and_the_end_when_none_is_left() {
        let mut watch = Watch::new(0.99);
        let second = |n: u64| Time::at(n * SECOND);
        assert_eq!(watch.look(second(0), second(1), &lost(1_000, 10)), None, "99 % is enough");
        let begun = watch.look(second(1), second(2), &lost(1_000, 11)).expect("told");
        assert_eq!((begun.began, begun.ended, begun.causes), (second(1), None, vec![BlindCause::Coverage]));
        assert_eq!(watch.look(second(2), second(3), &lost(1_000, 500)), None, "known already");
        let more = Interval { unread: 5, ..lost(1_000, 5) };
        let told = watch.look(second(3), second(4), &more).expect("another cause");
        assert_eq!(told.causes, [BlindCause::Coverage, BlindCause::Unread]);
        for n in 4..13 {
            assert_eq!(watch.look(second(n), second(n + 1), &lost(1_000, 0)), None);
            assert!(watch.blind().is_some(), "after {n} s");
        }
        let over = watch.look(second(13), second(14), &lost(1_000, 0)).expect("over");
        assert_eq!((over.began, over.ended), (second(1), Some(second(4))));
        assert_eq!((over.frames, over.frames_lost), (3_000, 516));
        assert!(watch.blind().is_none());
        assert_eq!(watch.look(second(14), second(15), &lost(1_000, 0)), None);
        let stopped = Interval { stopped_ns: SECOND, ..Interval::default() };
        assert_eq!(watch.look(second(15), second(16), &stopped).expect("told").causes, [BlindCause::Stopped]);
    }
}
