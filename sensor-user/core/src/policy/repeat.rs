//! Who was restricted before: a device that does it again is held longer, and soon after its time was up it is on
//! probation.
//!
//! Remembered in memory only, of as many devices as the device table has: a restart begins anew. Forgotten after
//! [`FORGOTTEN`] without, and at once when a person releases the device: they know better.

use lru::LruCache;

use crate::evidence::{ALERTING, Family};
use crate::inventory::{DeviceKey, capacity};
use crate::time::{HOUR, Time};

use super::Level;

/// A device that was not restricted for so long starts anew, ns.
const FORGOTTEN: u64 = 30 * 24 * HOUR;
/// For so long after its time was up a device is on probation, ns.
const PROBATION: u64 = HOUR;

/// The last automatic restriction of a device.
#[derive(Clone, Copy, Debug)]
struct Past {
    /// Isolations, one after another.
    isolations: usize,
    /// The strictest level of the last entry, and what it was for.
    level: Level,
    family: Family,
    /// When its time is up.
    until: Time,
}

/// The last automatic restrictions of devices.
#[derive(Debug)]
pub struct Repeats(LruCache<DeviceKey, Past>);

impl Repeats {
    /// None, and room for so many devices.
    pub fn new(devices: usize) -> Self {
        Self(LruCache::new(capacity(devices)))
    }

    fn past(&self, device: DeviceKey, now: Time) -> Option<&Past> {
        self.0.peek(&device).filter(|past| now.since(past.until) < FORGOTTEN)
    }

    /// How often a device was isolated before.
    pub fn isolations(&self, device: DeviceKey, now: Time) -> usize {
        self.past(device, now).map_or(0, |past| past.isolations)
    }

    /// Notes that a device was put under a level, or is held longer.
    pub fn note(&mut self, device: DeviceKey, level: Level, family: Family, now: Time, until: Time) {
        let past = self.past(device, now).copied();
        let lasting = past.filter(|past| now < past.until);
        let isolated = past.map_or(0, |past| past.isolations);
        let begins = level >= Level::Isolate && lasting.is_none_or(|past| past.level < Level::Isolate);
        let level = lasting.map_or(level, |past| past.level.max(level));
        let until = lasting.map_or(until, |past| past.until.max(until));
        self.0.put(device, Past { isolations: isolated + usize::from(begins), level, family, until });
    }

    /// The level that evidence of a family takes a device straight back to, because its time was up only just before. A
    /// hint is not enough.
    pub fn probation(&self, device: DeviceKey, family: Family, weight: f64, now: Time) -> Option<Level> {
        let past = self.past(device, now)?;
        let soon = past.until <= now && now.since(past.until) < PROBATION;
        (soon && past.family == family && weight >= ALERTING).then_some(past.level)
    }

    /// A person released the device.
    pub fn forget(&mut self, device: DeviceKey) {
        self.0.pop(&device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MINUTE;

    const DEVICE: DeviceKey = DeviceKey::Local(crate::addr::Mac([2, 0, 0, 0, 0, 1]));

    #[test]
    fn isolations_are_counted_one_after_another_and_forgotten_after_a_month() {
        let mut repeats = Repeats::new(4);
        let at = |minutes| Time(minutes * MINUTE);
        let count = |repeats: &Repeats, minutes| repeats.isolations(DEVICE, at(minutes));
        repeats.note(DEVICE, Level::Throttle, Family::Scan, at(0), at(10));
        assert_eq!(count(&repeats, 0), 0);
        repeats.note(DEVICE, Level::Isolate, Family::Scan, at(1), at(61));
        repeats.note(DEVICE, Level::Isolate, Family::Scan, at(2), at(62));
        assert_eq!(count(&repeats, 2), 1, "one that lasts is one");
        repeats.note(DEVICE, Level::Isolate, Family::Lateral, at(70), at(200));
        assert_eq!(count(&repeats, 70), 2);
        let month = 30 * 24 * 60;
        assert_eq!((count(&repeats, 199 + month), count(&repeats, 200 + month)), (2, 0));
        repeats.forget(DEVICE);
        assert_eq!(count(&repeats, 71), 0);
    }

    #[test]
    fn probation_is_for_an_hour_for_the_same_and_for_more_than_a_hint() {
        let mut repeats = Repeats::new(4);
        let at = |minutes| Time(minutes * MINUTE);
        repeats.note(DEVICE, Level::Pin, Family::Scan, at(0), at(60));
        for (family, weight, minutes, want) in [
            (Family::Scan, ALERTING, 59, None),
            (Family::Scan, ALERTING, 60, Some(Level::Pin)),
            (Family::Scan, ALERTING, 119, Some(Level::Pin)),
            (Family::Scan, ALERTING, 120, None),
            (Family::Scan, 2.3, 61, None),
            (Family::Brute, ALERTING, 61, None),
        ] {
            let got = repeats.probation(DEVICE, family, weight, at(minutes));
            assert_eq!(got, want, "{family:?} {weight} {minutes}");
        }
    }
}
