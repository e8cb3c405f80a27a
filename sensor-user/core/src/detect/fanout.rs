//! Fan-out: more destinations than the device's own usual.
//!
//! Signal: distinct destinations a device opens conversations with in a sliding window, inside and outside the internal
//! networks apart.
//! Statistic: the count against a limit: the usual times a factor, but never below a floor. The usual is the most of
//! any past window of the same length that brought no finding, forgotten by 2 % a window so that it follows a device
//! that became quieter.
//! Cold start: until a device was heard over five windows four times the floor is the limit. Recovery: the window
//! slides; a release forgets it.
//! Known false alarms: peer-to-peer programs, a monitoring station's first round. It alerts and never isolates alone.

use std::net::IpAddr;

use lru::LruCache;

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
/// Share of the usual kept from window to window.
const KEEP: f64 = 0.98;

/// Inside or outside.
#[derive(Debug)]
struct Side {
    /// Destinations by when they were last contacted.
    recent: LruCache<IpAddr, Time>,
    /// Most in this window so far.
    peak: u32,
    usual: f64,
    told: bool,
}

#[derive(Debug)]
struct Habit {
    window_start: Time,
    windows: u32,
    inside: Side,
    outside: Side,
}

impl Side {
    fn new() -> Self {
        Self { recent: LruCache::unbounded(), peak: 0, usual: 0.0, told: false }
    }

    fn prune(&mut self, now: Time, window_ns: u64) {
        while self.recent.len() > MOST
            || self.recent.peek_lru().is_some_and(|(_, last)| now.since(*last) >= window_ns)
        {
            self.recent.pop_lru();
        }
    }

    fn roll(&mut self) {
        if !self.told {
            self.usual = (self.usual * KEEP).max(f64::from(self.peak));
        }
        self.told = false;
        self.peak = self.recent.len() as u32;
    }

    fn limit(&self, floor: u32, learned: bool, factor: f64) -> u32 {
        if learned {
            floor.max((self.usual * factor).ceil() as u32)
        } else {
            floor.saturating_mul(COLD_FACTOR)
        }
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
        let habit = self.habits.get_or_insert_mut(contact.device, || Habit {
            window_start: contact.time,
            windows: 0,
            inside: Side::new(),
            outside: Side::new(),
        });
        habit.roll(contact.time, settings.window_ns);
        let learned = habit.windows >= LEARNED_AFTER;
        let (side, floor) = if contact.internal {
            (&mut habit.inside, settings.internal_floor)
        } else {
            (&mut habit.outside, settings.external_floor)
        };
        side.recent.put(contact.id.dst, contact.time);
        side.prune(contact.time, settings.window_ns);
        let count = side.recent.len() as u32;
        side.peak = side.peak.max(count);
        let limit = side.limit(floor, learned, settings.factor);
        if count > limit && !side.told {
            side.told = true;
            found.push(side.finding(contact, count, limit, learned));
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
        let learned = habit.windows >= LEARNED_AFTER;
        let usual = habit.inside.usual.max(f64::from(habit.inside.peak)) + habit.outside.usual;
        Some(Usual {
            now: count(&habit.inside) + count(&habit.outside),
            usual: learned.then_some(usual.round() as u32),
        })
    }
}

impl Habit {
    fn roll(&mut self, now: Time, window_ns: u64) {
        let passed = now.since(self.window_start) / window_ns.max(1);
        if passed == 0 {
            return;
        }
        for side in [&mut self.inside, &mut self.outside] {
            side.prune(now, window_ns);
            side.roll();
        }
        self.windows = self.windows.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
        self.window_start = now;
    }
}

impl Side {
    fn finding(&self, contact: &Contact, count: u32, limit: u32, learned: bool) -> Finding {
        let first = self.recent.peek_lru().map_or(contact.time, |(_, time)| *time);
        let mut evidence = vec![
            ("destinations", Value::Count(u64::from(count))),
            ("limit", Value::Count(u64::from(limit))),
            ("seconds", seconds(contact.time.since(first))),
            ("inside", Value::Count(u64::from(contact.internal))),
        ];
        if learned {
            evidence.push(("usual", Value::Number(self.usual)));
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
