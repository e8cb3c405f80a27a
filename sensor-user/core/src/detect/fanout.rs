//! Fan-out: more destinations than the device's own usual.
//!
//! Signal: distinct destinations a device opens conversations with in a sliding window, inside and outside the internal
//! networks apart.
//! Statistic: the count against a limit: the usual times a factor, but never below a floor. The usual is what nine in
//! ten of the last 64 windows stayed within, of those in which the device was heard and that brought no finding; so a few
//! windows of growing counts do not raise it. What 999 in 1,000 windows of its class stayed within (of all devices, where
//! the class has too few) is not too many either, up to twice the floor.
//! Cold start: until a device was heard over five windows four times the floor is the limit. Recovery: the window
//! slides; a release forgets it.
//! While flows are lost: the kernel goes on counting the destinations that are new to a host (its reflex), and that count is
//! held against the same limit.
//! Known false alarms: peer-to-peer programs, a monitoring station's first round. It alerts and never isolates alone.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use ndarray::Array2;

use super::others::Others;
use super::{Detector, Finding, Reached, Usual, seconds};
use crate::contact::Contact;
use crate::event::{Evidence, Value};
use crate::evidence::{Family, by_severity};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::FlowId;
use crate::settings::{FanoutSettings, Settings};
use crate::state::{declaration_as, definitions_as, load_array, save_array, state};
use crate::time::Time;

/// Windows until the usual counts as learned.
const LEARNED_AFTER: u32 = 5;
/// The limit of a device whose usual is not learned, in floors.
const COLD_FACTOR: u32 = 4;
/// Windows remembered.
const HISTORY: usize = 64;
/// Column of the history for destinations inside the internal networks.
const INSIDE: usize = 0;
/// Column for those outside.
const OUTSIDE: usize = 1;

/// Share of windows the usual covers.
const USUAL_SHARE: f32 = 0.9;

/// Destinations inside or outside, by count.
#[derive(Debug, Default, Clone, Copy, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Side {
    /// In the window now.
    count: u32,
    /// Most in this window so far.
    peak: u32,
    told: bool,
}

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Habit {
    /// When it was begun, for a release to be told from.
    born: Time,
    window_start: Time,
    windows: u32,
    /// Most destinations in each remembered window, [`HISTORY`] rows by inside and outside; a ring.
    #[borsh(
        serialize_with = "save_array",
        deserialize_with = "load_array::<_,HISTORY,2>",
        schema(with_funcs(
            declaration = "declaration_as::<History>",
            definitions = "definitions_as::<History>"
        ))
    )]
    history: Array2<f32>,
    usual: [u32; 2],
    sides: [Side; 2],
}

/// How it is laid out.
type History = [[f32; 2]; HISTORY];

/// The detector.
pub struct Fanout {
    habits: Lru<DeviceKey, Habit>,
    /// Who contacted whom in the window, and the column it is counted in: one table for all devices, so that made-up
    /// devices cannot fill the memory; by time, so that what leaves the window is at its end.
    recent: Lru<(DeviceKey, IpAddr), (Time, usize)>,
    /// Windows inside and outside.
    others: Others<2>,
    settings: FanoutSettings,
}

state!(Fanout { habits, recent, others } keeps { settings });

impl Fanout {
    /// A detector that has learned nothing.
    pub fn new(settings: &Settings) -> Self {
        Self {
            habits: Lru::new(capacity(settings.limits.devices)),
            recent: Lru::new(capacity(settings.limits.peers)),
            others: Others::new(),
            settings: settings.fanout,
        }
    }

    /// Takes one destination off a device's count.
    fn uncount(&mut self, device: DeviceKey, column: usize) {
        if let Some(side) = self.habits.peek_mut(&device).and_then(|habit| habit.sides.get_mut(column)) {
            side.count = side.count.saturating_sub(1);
        }
    }

    /// Counts a destination, and uncounts what left the window or had to make room.
    fn count(&mut self, contact: &Contact, column: usize) {
        let window_ns = self.settings.window_ns;
        while self.recent.peek_lru().is_some_and(|(_, (last, _))| contact.time.since(*last) >= window_ns) {
            if let Some(((device, _), (_, column))) = self.recent.pop_lru() {
                self.uncount(device, column);
            }
        }
        let key = (contact.device, contact.id.dst);
        let pushed = self.recent.push(key, (contact.time, column));
        if let Some(((device, dst), (_, column))) = pushed
            && (device, dst) != key
        {
            self.uncount(device, column);
        }
        let new = pushed.is_none_or(|(old, _)| old != key);
        if let Some(side) = self.habits.get_mut(&contact.device).and_then(|habit| habit.sides.get_mut(column))
        {
            side.count += u32::from(new);
            side.peak = side.peak.max(side.count);
        }
    }
}

impl Detector for Fanout {
    fn contact(&mut self, contact: &Contact, found: &mut Vec<Finding>) {
        // ARP asks for a destination before the packets do; counting both would count twice.
        if contact.is_resolution() {
            return;
        }
        let settings = self.settings;
        let column = if contact.internal { INSIDE } else { OUTSIDE };
        let habit = self.habits.get_or_insert_mut(contact.device, || Habit::new(contact.time));
        if habit.born < contact.clean_since {
            *habit = Habit { sides: habit.sides, ..Habit::new(contact.time) };
        }
        if let Some(peaks) = habit.roll(contact.time, settings.window_ns) {
            let peaks = peaks.into_iter().enumerate().filter_map(|(column, peak)| Some((column, peak?)));
            peaks.for_each(|(column, peak)| self.others.add(contact.class, column, peak));
        }
        self.count(contact, column);
        let Some(habit) = self.habits.peek_mut(&contact.device) else { return };
        let floor = if contact.internal { settings.internal_floor } else { settings.external_floor };
        let usual = habit.usual(column);
        let others = self.others.usual(contact.class, column).min(2 * floor);
        let limit = settings.limit(floor, usual).max(others);
        let start = habit.window_start;
        let Some(side) = habit.sides.get_mut(column) else { return };
        if side.count > limit && !side.told {
            side.told = true;
            let inside = ("inside", Value::Count(u64::from(contact.internal)));
            let seconds = ("seconds", seconds(contact.time.since(start)));
            let mut evidence = evidence(side.count, limit, usual, [seconds, inside]);
            evidence.push(("usual_of_others", Value::Count(u64::from(others))));
            let signature = "fan-out: more destinations than usual";
            found.push(finding(signature, (contact.device, contact.id), start, evidence));
        }
    }

    fn reached(&mut self, reached: &Reached, now: Time, found: &mut Vec<Finding>) {
        let settings = self.settings;
        let habit = self.habits.peek(&reached.device);
        let usual = habit.and_then(|habit| Some(habit.usual(INSIDE)? + habit.usual(OUTSIDE)?));
        let limit = settings.limit(settings.internal_floor, usual);
        if reached.count > limit {
            let seconds = ("seconds", seconds(now.since(reached.since)));
            let unread = ("while_flows_were_lost", Value::Count(1));
            let evidence = evidence(reached.count, limit, usual, [seconds, unread]);
            let signature = "fan-out: more new destinations than usual while flows were lost";
            found.push(finding(signature, (reached.device, reached.flow), reached.since, evidence));
        }
    }

    fn usual(&self, device: DeviceKey) -> Option<Usual> {
        let habit = self.habits.peek(&device)?;
        Some(Usual {
            now: habit.sides.iter().map(|side| side.count).sum(),
            usual: habit.usual(INSIDE).zip(habit.usual(OUTSIDE)).map(|(inside, outside)| inside + outside),
        })
    }
}

impl Habit {
    fn new(now: Time) -> Self {
        Self {
            born: now,
            window_start: now,
            windows: 0,
            history: Array2::zeros((HISTORY, 2)),
            usual: [0; 2],
            sides: [Side::default(); 2],
        }
    }

    /// Ends the window if it is over; gives the most there was on each side that brought no finding. Windows in which nothing
    /// was heard do not count.
    fn roll(&mut self, now: Time, window_ns: u64) -> Option<[Option<u32>; 2]> {
        if now.since(self.window_start) < window_ns {
            return None;
        }
        let row = self.windows as usize % HISTORY;
        let peaks = self.sides.each_mut().map(|side| {
            let peak = std::mem::replace(&mut side.peak, side.count);
            (!std::mem::take(&mut side.told)).then_some(peak)
        });
        for (most, peak) in self.history.row_mut(row).iter_mut().zip(peaks) {
            *most = peak.unwrap_or(0) as f32;
        }
        self.windows = self.windows.saturating_add(1);
        self.window_start = now;
        let known = (self.windows as usize).min(HISTORY);
        for (usual, column) in self.usual.iter_mut().zip(self.history.columns()) {
            let mut counts: Vec<f32> = column.iter().take(known).copied().collect();
            counts.sort_by(f32::total_cmp);
            let at = ((known as f32 * USUAL_SHARE).ceil() as usize).saturating_sub(1);
            *usual = counts.get(at).map_or(0, |count| *count as u32);
        }
        Some(peaks)
    }

    /// The usual count, once enough windows are known.
    fn usual(&self, column: usize) -> Option<u32> {
        self.usual.get(column).copied().filter(|_| self.windows >= LEARNED_AFTER)
    }
}

impl FanoutSettings {
    /// The most destinations there may be where so many are never too many, and the usual is this.
    fn limit(&self, floor: u32, usual: Option<u32>) -> u32 {
        match usual {
            Some(usual) => floor.max((f64::from(usual) * self.factor).ceil() as u32),
            None => floor.saturating_mul(COLD_FACTOR),
        }
    }
}

fn finding(
    signature: &'static str,
    (device, flow): (DeviceKey, FlowId),
    first_evidence: Time,
    evidence: Evidence,
) -> Finding {
    Finding {
        detector: "fanout",
        signature,
        severity: 2,
        family: Family::Novelty,
        weight: by_severity(2),
        device,
        flow,
        evidence,
        first_evidence,
    }
}

fn evidence(count: u32, limit: u32, usual: Option<u32>, more: [(&'static str, Value); 2]) -> Evidence {
    let mut evidence =
        vec![("destinations", Value::Count(u64::from(count))), ("limit", Value::Count(u64::from(limit)))];
    evidence.extend(more);
    evidence.extend(usual.map(|usual| ("usual", Value::Count(u64::from(usual)))));
    evidence
}
