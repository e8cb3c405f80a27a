//! How often first contacts of healthy devices succeed, measured for each class of devices and for those of no class.
//!
//! The sequential test of first contacts (`detect::scan`) assumes that four of five succeed. A class whose devices often
//! find others switched off does worse, and would be called too soon; one whose devices nearly always reach what they ask
//! for makes a scan plainer.
//!
//! Each device has a share: how many of its last [`SHARE`] contacts were answered and how many failed, halved when full, so
//! that what is old fades. Once an hour the rate of a class is the median of its devices' rates: no busy device outweighs
//! the others, and to move it far an attacker needs half of the class. Shares of devices that something is held against are
//! forgotten then. A device counts from [`CONTACTS`] contacts on, and a class with fewer than [`DEVICES`] such devices has no
//! rate: for it that of all devices counts, unless it is worse than what the settings assume, for one class that does badly
//! says nothing of the others. How far a rate goes is bounded where it is used.
//!
//! There are as many shares as devices; the one not used for longest is forgotten first.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::Serialize;

use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::policy::Name;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, Time};

/// Most contacts of a device that count.
const SHARE: u16 = 64;
/// Contacts from which on a device counts.
pub const CONTACTS: u16 = 8;
/// Devices that count, from which on a class has a rate.
pub const DEVICES: usize = 5;
/// Rates are measured so often.
const EACH: u64 = HOUR;

/// What came of the last first contacts of a device.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Share {
    answered: u16,
    failed: u16,
}

impl Share {
    fn note(&mut self, answered: bool) {
        if self.answered + self.failed >= SHARE {
            self.answered /= 2;
            self.failed /= 2;
        }
        if answered {
            self.answered += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Thousandths answered; none if there are too few.
    fn rate(&self) -> Option<u16> {
        let all = self.answered + self.failed;
        (all >= CONTACTS).then(|| (u32::from(self.answered) * 1_000 / u32::from(all)) as u16)
    }
}

/// How often first contacts of a class succeed.
#[derive(
    Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub struct Rate {
    /// Half of its devices do so well at least, thousandths; none if too few devices made enough contacts.
    pub permille: Option<u16>,
    /// Its devices that made enough contacts.
    pub devices: u64,
}

impl Rate {
    /// That of devices with these rates.
    fn of(mut rates: Vec<u16>) -> Self {
        rates.sort_unstable();
        // Of an even number the lower one, for the devices' sake.
        let median = rates.get(rates.len().saturating_sub(1) / 2).copied();
        Self { permille: median.filter(|_| rates.len() >= DEVICES), devices: rates.len() as u64 }
    }
}

/// How often first contacts succeed, by class.
#[derive(Debug)]
pub struct Success {
    shares: Lru<DeviceKey, Share>,
    rates: BTreeMap<Option<Name>, Rate>,
    /// That of all devices.
    all: Rate,
    /// What the settings assume, thousandths.
    assumed: f64,
    next: Time,
}

state!(Success { shares, rates, all, next } keeps { assumed });

impl Success {
    /// Nothing is measured.
    pub fn new(settings: &Settings) -> Self {
        Self {
            shares: Lru::new(capacity(settings.limits.devices)),
            rates: BTreeMap::new(),
            all: Rate::default(),
            assumed: settings.scan.benign_success * 1e3,
            next: Time::EARLIEST,
        }
    }

    /// Notes what came of a first contact of a device that nothing is held against.
    pub fn note(&mut self, device: DeviceKey, answered: bool) {
        self.shares.get_or_insert_mut(device, Share::default).note(answered);
    }

    /// How often first contacts of a class succeed, or else of all devices, thousandths; none if that is not known.
    pub fn of(&self, class: Option<Name>) -> Option<u16> {
        let all = self.all.permille.filter(|permille| f64::from(*permille) >= self.assumed);
        self.rates.get(&class).and_then(|rate| rate.permille).or(all)
    }

    /// Whether it is time to [measure](Self::measure).
    pub fn is_due(&self, now: Time) -> bool {
        now >= self.next
    }

    /// Measures all classes. `look` tells a device's class; none if the device is forgotten, or not to be learned from.
    pub fn measure(&mut self, now: Time, look: impl Fn(DeviceKey) -> Option<Option<Name>>) {
        self.next = now.plus(EACH);
        let mut classes: BTreeMap<Option<Name>, Vec<u16>> = BTreeMap::new();
        for (device, share) in self.shares.iter_mut() {
            let Some(class) = look(*device) else {
                (share.answered, share.failed) = (0, 0);
                continue;
            };
            if let Some(rate) = share.rate() {
                classes.entry(class).or_default().push(rate);
            }
        }
        self.all = Rate::of(classes.values().flatten().copied().collect());
        self.rates = classes.into_iter().map(|(class, rates)| (class, Rate::of(rates))).collect();
    }

    /// The classes of which a device made enough contacts; no name: the devices of no class.
    pub fn rates(&self) -> impl Iterator<Item = (Option<Name>, Rate)> {
        self.rates.iter().map(|(class, rate)| (*class, *rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Mac;

    fn device(n: u8) -> DeviceKey {
        DeviceKey::Local(Mac([2, 0, 0, 0, 0, n]))
    }

    /// The rate of devices of no class that answered and failed so often, answers first.
    fn rate(devices: &[(u16, u16)]) -> Rate {
        let mut success = Success::new(&Settings::default());
        for (n, (answered, failed)) in (0..).zip(devices) {
            (0..*answered).for_each(|_| success.note(device(n), true));
            (0..*failed).for_each(|_| success.note(device(n), false));
        }
        success.measure(Time::at(0), |_| Some(None));
        success.rates().next().map_or(Rate { permille: None, devices: 0 }, |(_, rate)| rate)
    }

    #[test]
    fn a_rate_is_the_median_of_devices_that_made_enough_contacts() {
        for (what, devices, want) in [
            ("none", &[][..], (None, 0)),
            ("too few devices", &[(8, 2); 4], (None, 4)),
            ("enough", &[(8, 2); 5], (Some(800), 5)),
            ("one made too few contacts", &[(8, 2), (8, 2), (8, 2), (8, 2), (7, 0)], (None, 4)),
            ("two of five fail", &[(9, 1), (9, 1), (9, 1), (0, 60), (0, 60)], (Some(900), 5)),
            (
                "of an even number the lower",
                &[(9, 1), (9, 1), (9, 1), (5, 5), (5, 5), (5, 5)],
                (Some(500), 6),
            ),
            ("what is old fades", &[(640, 64); 5], (Some(250), 5)),
        ] {
            let rate = rate(devices);
            assert_eq!((rate.permille, rate.devices), want, "{what}");
        }
    }
}
