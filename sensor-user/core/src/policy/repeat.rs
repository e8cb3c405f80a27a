//! Who was restricted before: a device that does it again is held longer, and soon after its time was up it is on
//! probation.
//!
//! Remembered of as many devices as the device table has, and over a restart. Forgotten after [`FORGOTTEN`] without, and at
//! once when a person releases the device: they know better. Who only says that it was no attack has that part forgotten.

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::evidence::{ALERTING, Family};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::state::state;
use crate::time::{HOUR, Time};

use super::{Level, Memory, MemoryKey, Save};

/// A device that was not restricted for so long starts anew, ns.
pub const FORGOTTEN: u64 = 30 * 24 * HOUR;
/// For so long after its time was up a device is on probation, ns.
const PROBATION: u64 = HOUR;
/// Attacks remembered of a device at most; of more the first is forgotten.
pub const MAX_ATTACKS: usize = 8;
/// An attack is no longer than this, ns: what is told of for longer under a throttle, or in observe mode, is much rather usual.
const LONGEST: u64 = HOUR;

/// The time in which a device did what it was restricted for: whom it first reached then, it attacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Attack {
    /// Its beginning, as far as it is known.
    pub from: Time,
    /// When the device was restricted for it, or, where that let it go on, restricted more or longer.
    pub to: Time,
}

impl Attack {
    /// Whether what began then is part of it.
    pub fn has(&self, began: Time) -> bool {
        self.from <= began && began < self.to
    }
}

/// The last automatic restriction of a device.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Past {
    /// Isolations, one after another.
    pub isolations: u32,
    /// The strictest level of the last entry.
    pub level: Level,
    /// What that was for.
    pub family: Family,
    /// Nothing of it was carried out: observe mode.
    pub would: bool,
    /// When it is forgotten: [`FORGOTTEN`] after its time is up.
    pub forgotten: Time,
    /// The last [`MAX_ATTACKS`] attacks, one for each restriction, the first first.
    pub attacks: Vec<Attack>,
}

impl Past {
    /// Whether its time is not up.
    fn lasts(&self, now: Time) -> bool {
        now.plus(FORGOTTEN) < self.forgotten
    }
}

/// The last automatic restrictions of devices.
#[derive(Debug)]
pub struct Repeats(Lru<DeviceKey, Past>);

state!(Repeats of one);

impl Repeats {
    /// None, and room for so many devices.
    pub fn new(devices: usize) -> Self {
        Self(Lru::new(capacity(devices)))
    }

    fn past(&self, device: DeviceKey, now: Time) -> Option<&Past> {
        self.0.peek(&device).filter(|past| now < past.forgotten)
    }

    /// How often a device was isolated before.
    pub fn isolations(&self, device: DeviceKey, now: Time) -> usize {
        self.past(device, now).map_or(0, |past| past.isolations as usize)
    }

    /// What a device was restricted for before.
    pub fn attacks(&self, device: DeviceKey, now: Time) -> &[Attack] {
        self.past(device, now).map_or(&[], |past| &past.attacks)
    }

    /// Notes that a device was put under a level, or is held longer, for what it does since `attack`, if that is known; or
    /// that it `would` be. Gives what is to be remembered of it.
    pub fn note(
        &mut self,
        device: DeviceKey,
        (level, family, would): (Level, Family, bool),
        attack: Option<Time>,
        now: Time,
        until: Time,
    ) -> Vec<Save> {
        let past = self.past(device, now);
        let lasting = past.filter(|past| past.lasts(now));
        let isolated = past.map_or(0, |past| past.isolations);
        let would = would && past.is_none_or(|past| past.would);
        let mut attacks = past.map(|past| past.attacks.clone()).unwrap_or_default();
        let goes_on = |last: &&mut Attack| lasting.is_some() && now.since(last.from) <= LONGEST;
        match attacks.last_mut().filter(goes_on) {
            Some(last) => last.to = now,
            None => attacks.push(Attack { from: attack.unwrap_or(now), to: now }),
        }
        attacks.drain(..attacks.len().saturating_sub(MAX_ATTACKS));
        let begins = level >= Level::Isolate && lasting.is_none_or(|past| past.level < Level::Isolate);
        let level = lasting.map_or(level, |past| past.level.max(level));
        let forgotten = until.plus(FORGOTTEN);
        let forgotten = lasting.map_or(forgotten, |past| past.forgotten.max(forgotten));
        let isolations = isolated.saturating_add(u32::from(begins));
        self.recall(device, Past { isolations, level, family, would, forgotten, attacks })
    }

    /// Takes up what was noted of a device. Gives what is to be remembered: of another one nothing, if that had to make room.
    pub fn recall(&mut self, device: DeviceKey, past: Past) -> Vec<Save> {
        let out = self.0.push(device, past.clone()).map(|(other, _)| other).filter(|other| *other != device);
        let out = out.map(|other| Save::Drop(MemoryKey::Past(other)));
        out.into_iter().chain([Save::Keep(Memory::Past(device, past))]).collect()
    }

    /// The level that evidence of a family takes a device straight back to, because its time was up only just before. A
    /// hint is not enough.
    pub fn probation(&self, device: DeviceKey, family: Family, weight: f64, now: Time) -> Option<Level> {
        let past = self.past(device, now)?;
        let soon = !past.lasts(now) && now.plus(FORGOTTEN) < past.forgotten.plus(PROBATION);
        (soon && past.family == family && weight >= ALERTING).then_some(past.level)
    }

    /// A person says that what the device was called for was no attack. Gives what is to be remembered.
    pub fn absolve(&mut self, device: DeviceKey) -> Option<Save> {
        let past = self.0.peek_mut(&device).filter(|past| !past.attacks.is_empty())?;
        past.attacks.clear();
        Some(Save::Keep(Memory::Past(device, past.clone())))
    }

    /// A person released the device. Gives what is to be remembered.
    pub fn forget(&mut self, device: DeviceKey) -> Option<Save> {
        self.0.pop(&device).map(|_| Save::Drop(MemoryKey::Past(device)))
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
        let at = |minutes| Time::at(minutes * MINUTE);
        let count = |repeats: &Repeats, minutes| repeats.isolations(DEVICE, at(minutes));
        repeats.note(DEVICE, (Level::Throttle, Family::Scan, false), None, at(0), at(10));
        assert_eq!(count(&repeats, 0), 0);
        repeats.note(DEVICE, (Level::Isolate, Family::Scan, false), None, at(1), at(61));
        repeats.note(DEVICE, (Level::Isolate, Family::Scan, false), None, at(2), at(62));
        assert_eq!(count(&repeats, 2), 1, "one that lasts is one");
        repeats.note(DEVICE, (Level::Isolate, Family::Lateral, false), None, at(70), at(200));
        assert_eq!(count(&repeats, 70), 2);
        let month = 30 * 24 * 60;
        assert_eq!((count(&repeats, 199 + month), count(&repeats, 200 + month)), (2, 0));
        assert_eq!(repeats.forget(DEVICE), Some(Save::Drop(MemoryKey::Past(DEVICE))));
        assert_eq!(repeats.forget(DEVICE), None);
        assert_eq!(count(&repeats, 71), 0);
    }

    #[test]
    fn probation_is_for_an_hour_for_the_same_and_for_more_than_a_hint() {
        let mut repeats = Repeats::new(4);
        let at = |minutes| Time::at(minutes * MINUTE);
        repeats.note(DEVICE, (Level::Pin, Family::Scan, false), None, at(0), at(60));
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

    #[test]
    fn each_restriction_has_its_attack_which_goes_on_where_it_is_let() {
        let mut repeats = Repeats::new(4);
        let at = |minutes| Time::at(minutes * MINUTE);
        let noted = |repeats: &mut Repeats, level, attack: Option<u64>, now| {
            repeats.note(DEVICE, (level, Family::Scan, false), attack.map(at), at(now), at(now + 10));
            let attacks = repeats.attacks(DEVICE, at(now)).iter();
            attacks
                .map(|attack| [attack.from, attack.to].map(|time| time.since(at(0)) / MINUTE))
                .collect::<Vec<_>>()
        };
        assert_eq!(noted(&mut repeats, Level::Throttle, Some(95), 100), [[95, 100]]);
        assert_eq!(noted(&mut repeats, Level::Pin, Some(103), 108), [[95, 108]], "raised");
        assert_eq!(
            noted(&mut repeats, Level::Pin, None, 200),
            [[95, 108], [200, 200]],
            "since when is not known"
        );
        assert_eq!(noted(&mut repeats, Level::Pin, Some(202), 205), [[95, 108], [200, 205]]);
        for time in (209..=265).step_by(8) {
            noted(&mut repeats, Level::Pin, Some(time - 1), time);
        }
        assert_eq!(
            noted(&mut repeats, Level::Pin, Some(272), 273),
            [[95, 108], [200, 257], [264, 273]],
            "renewed"
        );
        let [first, ..] = repeats.attacks(DEVICE, at(206)) else { panic!() };
        assert_eq!([94, 95, 107, 108].map(|minutes| first.has(at(minutes))), [false, true, true, false]);
        for time in (300..).step_by(100).take(MAX_ATTACKS) {
            noted(&mut repeats, Level::Pin, Some(time - 5), time);
        }
        let attacks = repeats.attacks(DEVICE, at(1_000));
        assert_eq!((attacks.len(), attacks[0].from), (MAX_ATTACKS, at(295)));
        repeats.forget(DEVICE);
        assert_eq!(repeats.attacks(DEVICE, at(1_000)), []);
    }

    #[test]
    fn what_was_noted_is_remembered_and_what_makes_room_forgotten() {
        let mut repeats = Repeats::new(1);
        let other = DeviceKey::Local(crate::addr::Mac([2, 0, 0, 0, 0, 2]));
        let saves =
            repeats.note(DEVICE, (Level::Isolate, Family::Scan, false), None, Time::at(0), Time::at(HOUR));
        let [Save::Keep(Memory::Past(DEVICE, past))] = &saves[..] else { panic!("{saves:?}") };
        let mut next = Repeats::new(1);
        next.recall(DEVICE, past.clone());
        assert_eq!(next.isolations(DEVICE, Time::at(2 * HOUR)), 1);
        let soon = Time::at(HOUR + MINUTE);
        assert_eq!(next.probation(DEVICE, Family::Scan, ALERTING, soon), Some(Level::Isolate));
        let saves = next.note(other, (Level::Pin, Family::Scan, false), None, Time::at(0), Time::at(HOUR));
        assert_eq!(saves[0], Save::Drop(MemoryKey::Past(DEVICE)));
    }

    #[test]
    fn what_was_up_before_the_machine_started_is_no_probation() {
        let mut repeats = Repeats::new(1);
        // Ten days ago, by a clock that began a minute ago.
        let past = Past {
            isolations: 2,
            level: Level::Isolate,
            family: Family::Scan,
            would: false,
            forgotten: Time::at(FORGOTTEN - 240 * HOUR),
            attacks: Vec::new(),
        };
        repeats.recall(DEVICE, past);
        let now = Time::at(MINUTE);
        assert_eq!(repeats.isolations(DEVICE, now), 2);
        assert_eq!(repeats.probation(DEVICE, Family::Scan, ALERTING, now), None);
    }
}
