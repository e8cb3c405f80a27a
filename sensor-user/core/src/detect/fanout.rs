//! Fan-out: more destinations than the device's own usual.
//!
//! Signal: distinct destinations a device opens conversations with in a sliding window, inside and outside the internal
//! networks apart.
//! Statistic: the count against a limit: the usual times a factor, but never below a floor. The usual is the most of
//! the last 64 windows of the same length in which the device was heard and that brought no finding.
//! Cold start: until a device was heard over five windows four times the floor is the limit. Recovery: the window
//! slides; a release forgets it.
//! Known false alarms: peer-to-peer programs, a monitoring station's first round. It alerts and never isolates alone.

use std::net::IpAddr;

use lru::LruCache;
use ndarray::Array2;

use super::{Detector, Finding, Usual, seconds};
use crate::contact::Contact;
use crate::event::Value;
use crate::inventory::{DeviceKey, capacity};
use crate::observation::Kind;
use crate::settings::{FanoutSettings, Settings};
use crate::time::Time;

/// Most destinations counted; beyond it "at least so many" is enough.
const MOST: usize = 4_096;
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

/// Destinations inside or outside.
#[derive(Debug)]
struct Side {
    /// Destinations by when they were last contacted.
    recent: LruCache<IpAddr, Time>,
    /// Most in this window so far.
    peak: u32,
    told: bool,
}

#[derive(Debug)]
struct Habit {
    window_start: Time,
    windows: u32,
    /// Most destinations in each remembered window, [`HISTORY`] rows by inside and outside; a ring.
    history: Array2<f32>,
    sides: [Side; 2],
}

impl Side {
    fn new() -> Self {
        Self { recent: LruCache::unbounded(), peak: 0, told: false }
    }

    fn prune(&mut self, now: Time, window_ns: u64) {
        while self.recent.len() > MOST
            || self.recent.peek_lru().is_some_and(|(_, last)| now.since(*last) >= window_ns)
        {
            self.recent.pop_lru();
        }
    }

    /// Ends a window: its most, unless it brought a finding.
    fn roll(&mut self, now: Time, window_ns: u64) -> f32 {
        self.prune(now, window_ns);
        let peak = std::mem::replace(&mut self.peak, self.recent.len() as u32);
        if std::mem::take(&mut self.told) { 0.0 } else { peak as f32 }
    }
}

/// The detector.
pub struct Fanout {
    habits: LruCache<DeviceKey, Habit>,
    settings: FanoutSettings,
}

impl Fanout {
    /// A detector that has learned nothing.
    pub fn new(settings: &Settings) -> Self {
        Self { habits: LruCache::new(capacity(settings.limits.devices)), settings: settings.fanout }
    }
}

impl Detector for Fanout {
    fn contact(&mut self, contact: &Contact, found: &mut Vec<Finding>) {
        // ARP asks for a destination before the packets do; counting both would count twice.
        if contact.id.kind == Kind::Arp {
            return;
        }
        let settings = self.settings;
        let habit = self.habits.get_or_insert_mut(contact.device, || Habit::new(contact.time));
        habit.roll(contact.time, settings.window_ns);
        let column = if contact.internal { INSIDE } else { OUTSIDE };
        let floor = if contact.internal { settings.internal_floor } else { settings.external_floor };
        let usual = habit.usual(column);
        let limit = match usual {
            Some(usual) => floor.max((f64::from(usual) * settings.factor).ceil() as u32),
            None => floor.saturating_mul(COLD_FACTOR),
        };
        let Some(side) = habit.sides.get_mut(column) else { return };
        side.recent.put(contact.id.dst, contact.time);
        side.prune(contact.time, settings.window_ns);
        let count = side.recent.len() as u32;
        side.peak = side.peak.max(count);
        if count > limit && !side.told {
            side.told = true;
            found.push(side.finding(contact, count, limit, usual));
        }
    }

    fn forget(&mut self, device: DeviceKey) {
        self.habits.pop(&device);
    }

    fn usual(&self, device: DeviceKey, now: Time) -> Option<Usual> {
        let habit = self.habits.peek(&device)?;
        let count = |side: &Side| {
            side.recent.iter().take_while(|(_, last)| now.since(**last) < self.settings.window_ns).count()
                as u32
        };
        Some(Usual {
            now: habit.sides.iter().map(count).sum(),
            usual: habit.usual(INSIDE).zip(habit.usual(OUTSIDE)).map(|(inside, outside)| inside + outside),
        })
    }
}

impl Habit {
    fn new(now: Time) -> Self {
        let sides = [Side::new(), Side::new()];
        Self { window_start: now, windows: 0, history: Array2::zeros((HISTORY, 2)), sides }
    }

    /// Ends the window if it is over. Windows in which nothing was heard do not count.
    fn roll(&mut self, now: Time, window_ns: u64) {
        if now.since(self.window_start) < window_ns {
            return;
        }
        let row = self.windows as usize % HISTORY;
        for (most, side) in self.history.row_mut(row).iter_mut().zip(&mut self.sides) {
            *most = side.roll(now, window_ns);
        }
        self.windows = self.windows.saturating_add(1);
        self.window_start = now;
    }

    /// The most destinations of the remembered windows, once there are enough of them.
    fn usual(&self, column: usize) -> Option<u32> {
        let most = self.history.column(column).iter().copied().fold(0.0, f32::max);
        (self.windows >= LEARNED_AFTER).then_some(most as u32)
    }
}

impl Side {
    fn finding(&self, contact: &Contact, count: u32, limit: u32, usual: Option<u32>) -> Finding {
        let first = self.recent.peek_lru().map_or(contact.time, |(_, time)| *time);
        let mut evidence = vec![
            ("destinations", Value::Count(u64::from(count))),
            ("limit", Value::Count(u64::from(limit))),
            ("seconds", seconds(contact.time.since(first))),
            ("inside", Value::Count(u64::from(contact.internal))),
        ];
        if let Some(usual) = usual {
            evidence.push(("usual", Value::Count(u64::from(usual))));
        }
        Finding {
            detector: "fanout",
            signature: "fan-out: more destinations than usual",
            severity: 2,
            device: contact.device,
            flow: contact.id,
            evidence,
            first_evidence: first,
        }
    }
}
