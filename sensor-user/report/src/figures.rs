//! What a report says.

use std::collections::BTreeMap;

use crate::month::Month;
use crate::outcome::Outcome;

/// What a person said of an incident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Nobody said anything yet.
    Open,
    /// It was nothing.
    False,
    /// It was a true one.
    True,
    /// A true and grave one.
    Grave,
}

/// An incident.
#[derive(Clone, PartialEq, Debug)]
pub struct Incident {
    /// Its number.
    pub id: u64,
    /// When it was first told, ns since 1970.
    pub time_ns: i64,
    /// Its device, as people know it.
    pub device: String,
    /// Gravest, 1 (high) to 3 (low).
    pub severity: u8,
    /// What was found: detector and signature, each once.
    pub found: Vec<(String, String)>,
    /// What became of it.
    pub outcome: Outcome,
    /// From the first piece of evidence to the first drop of all that the device sends, ms; none if it was not cut off, or a
    /// person was asked before.
    pub latency_ms: Option<f64>,
    /// What a person said of it.
    pub verdict: Verdict,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Device {
    /// Its number.
    pub id: u64,
    /// As people know it.
    pub name: String,
    /// Its maker.
    pub maker: Option<String>,
    /// What kind of device it is.
    pub kind: Option<String>,
    /// Where it stands: as people say, or the switch it is behind.
    pub place: Option<String>,
    /// The port of the box it is at.
    pub port: Option<String>,
    /// Whether it may be here.
    pub approved: bool,
    /// First seen, ns since 1970; none if never.
    pub first_seen_ns: Option<i64>,
    /// Last seen, ns since 1970; none if never.
    pub last_seen_ns: Option<i64>,
    /// Services it offers that are known to be weak.
    pub weak: Vec<String>,
    /// Its MAC and IP addresses.
    pub addresses: Vec<String>,
    /// Whether others are behind it, which have its MAC address.
    pub gateway: bool,
}

/// What passed in a segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// The segment's name; none: what is in no segment.
    pub segment: Option<String>,
    /// Conversations.
    pub conversations: u64,
    /// Bytes, both ways.
    pub bytes: u64,
    /// Conversations of which frames were dropped.
    pub dropped: u64,
}

/// What passed, by the log of conversations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Passed {
    /// By segment.
    pub segments: Vec<Traffic>,
    /// Hours of which there is something in the log.
    pub hours: u64,
    /// Files that could not be read.
    pub unread: usize,
}

/// A month.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// Which.
    pub month: Month,
    /// Incidents, oldest first.
    pub incidents: Vec<Incident>,
    /// Incidents beyond those.
    pub more_incidents: u64,
    /// Entries of the block list that incidents made and that were enforced, by day of the month from 0.
    pub restricted: Vec<u64>,
    /// Incidents whose device was cut off, at once or in the end.
    pub isolations: u64,
    /// Those that observe mode only counted.
    pub would: u64,
    /// Entries that people made.
    pub manual: u64,
    /// Entries that a person took out, and those whose time was up.
    pub released: u64,
    /// See there.
    pub expired: u64,
    /// Changes of devices that were noticed: by the name of the detector or of the step, how many.
    pub changes: BTreeMap<String, u64>,
    /// Seconds in which too little was seen.
    pub blind_secs: f64,
    /// How many times.
    pub blind_times: u64,
    /// Seconds in which no daemon ran, to a minute if it was killed.
    pub down_secs: f64,
    /// Frames and records that were lost in these.
    pub frames_lost: u64,
    /// See there.
    pub records_lost: u64,
    /// Times the bypass was switched on.
    pub bypasses: u64,
    /// Seconds in which it was on.
    pub bypass_secs: f64,
    /// Fire drills, and how many of them went well.
    pub drills: (u64, u64),
    /// All devices that are known now, or of which something is said; none if the daemon did not tell.
    pub devices: Option<Vec<Device>>,
    /// Devices that were new in the month and are not known any more, the first first; empty if it is not known which are.
    pub forgotten: Vec<Device>,
    /// New devices beyond those there was room for, of which it is not known whether they are known still.
    pub more_forgotten: u64,
    /// What passed; none if there is no log of conversations of that time.
    pub traffic: Option<Passed>,
    /// From when until before when something is known of it, ns since 1970.
    pub range: (i64, i64),
}

impl Report {
    /// How many incidents there were.
    pub fn count(&self) -> u64 {
        self.incidents.len() as u64 + self.more_incidents
    }

    /// Hours of which something can be known.
    pub fn hours(&self) -> u64 {
        let ns = self.range.1.saturating_sub(self.range.0).max(0).unsigned_abs();
        ns.div_ceil(3_600_000_000_000)
    }

    /// The time of which something is recorded, ms.
    pub fn recorded_ms(&self) -> f64 {
        self.range.1.saturating_sub(self.range.0).max(0) as f64 / 1e6
    }

    /// How many incidents people said that of.
    pub fn judged(&self, verdict: Verdict) -> usize {
        self.incidents.iter().filter(|incident| incident.verdict == verdict).count()
    }

    /// Of the incidents that were judged, how many are true, and how many there are.
    pub fn precision(&self) -> (usize, usize) {
        let right = self.judged(Verdict::True) + self.judged(Verdict::Grave);
        (right, right + self.judged(Verdict::False))
    }

    /// Time from the first piece of evidence to the drop, ms: median and worst; none if nothing was cut.
    pub fn latency_ms(&self) -> Option<(f64, f64)> {
        let mut all: Vec<f64> = self.incidents.iter().filter_map(|incident| incident.latency_ms).collect();
        all.sort_by(f64::total_cmp);
        let worst = *all.last()?;
        let middle = all.len() / 2;
        let upper = *all.get(middle)?;
        let median =
            if all.len() % 2 == 1 { upper } else { (upper + all.get(middle.saturating_sub(1))?) / 2.0 };
        Some((median, worst))
    }

    /// Devices that were first seen in the month, and are known still.
    pub fn new_devices(&self) -> impl Iterator<Item = &Device> {
        let (from, to) = self.range;
        self.known().filter(move |device| device.first_seen_ns.is_some_and(|at| at >= from && at < to))
    }

    /// How many devices were new in the month; none if it is not known.
    pub fn count_new(&self) -> Option<u64> {
        self.devices.as_ref()?;
        Some(self.new_devices().count() as u64 + self.forgotten.len() as u64 + self.more_forgotten)
    }

    /// Devices that were there in the month, and that nobody said may be here.
    pub fn unapproved(&self) -> impl Iterator<Item = &Device> {
        let (from, to) = self.range;
        let there = move |device: &&Device| {
            device.last_seen_ns.is_some_and(|at| at >= from) && device.first_seen_ns.is_none_or(|at| at < to)
        };
        self.known().filter(|device| !device.approved).filter(there)
    }

    /// The devices that are known.
    pub fn known(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().flatten()
    }

    /// How many devices there are of each, the most first; those of which it is not known come as none.
    pub fn count_by(&self, what: impl Fn(&Device) -> Option<&str>) -> Vec<(Option<&str>, u64)> {
        let mut counts: BTreeMap<Option<&str>, u64> = BTreeMap::new();
        for device in self.known().filter(|device| device.last_seen_ns.is_some()) {
            *counts.entry(what(device)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(name, count)| (name.is_none(), std::cmp::Reverse(*count)));
        counts
    }

    /// The part of the time in which enough was seen, 0 to 1.
    pub fn seen(&self) -> f64 {
        let seconds = (self.range.1.saturating_sub(self.range.0)) as f64 / 1e9;
        let lost = self.blind_secs + self.down_secs;
        if seconds <= 0.0 { 0.0 } else { (1.0 - lost / seconds).clamp(0.0, 1.0) }
    }
}
