//! What plain methods make of a device's minutes: the rows of numbers that the product's own models are given.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use sensor_core::addr::Mac;
use sensor_core::contact::{Contact, Outcome};
use sensor_core::event::FlowEnded;
use sensor_core::health::Health;
use sensor_core::inventory::DeviceKey;
use sensor_core::model::features::{Subject, Watch};
use sensor_core::model::reservoir::{Reservoir, Rows};
use sensor_core::observation::FlowId;
use sensor_core::time::{MINUTE, Time};

use super::learned::{Learned, Row};
use super::rivals::Rival;
use crate::sim::world::Cause;

/// Devices and conversations that are watched, more than any site here has.
const MOST: (usize, usize) = (20_000, 200_000);
/// Rows that are learned from.
const ROWS: usize = 20_000;
/// Minutes of an attack that are kept.
const MOST_MINUTES: usize = 200;
/// A minute in which an attack was sent is the attack's.
const RECENT: u64 = 2 * MINUTE;

/// A contact as the sites make them: nothing is missed, odd or forbidden. `first` says whether the destination and the
/// service are new to the device.
pub fn contact(mac: Mac, id: FlowId, time: Time, first: [bool; 2], alive: bool) -> Contact {
    let [new_peer, new_service] = first;
    Contact {
        class: None,
        device: DeviceKey::Local(mac),
        id,
        time,
        new_peer,
        new_service,
        internal: matches!(id.dst, IpAddr::V4(ip) if ip.is_private()),
        alive,
        midway: false,
        odd_flags: false,
        end_host: true,
        settled: true,
        from_outside: false,
        forbidden: None,
        health: Health::Unknown,
        success: None,
        clean_since: Time::EARLIEST,
    }
}

/// A score of a device's minute.
pub struct Scored {
    /// By which method.
    pub rival: Rival,
    /// Of whom.
    pub src: IpAddr,
    /// Why what it did was done.
    pub cause: Cause,
    /// How odd it is.
    pub score: f64,
}

/// A minute of a device.
pub struct Minute {
    /// Whose.
    pub device: DeviceKey,
    /// Its row.
    pub row: Row,
}

/// The methods, what they learn from until `learned`, and what their thresholds are set on until `calibrated`.
pub struct Minutes {
    watch: Watch,
    rows: Reservoir,
    calibration: Reservoir,
    learned: Time,
    calibrated: Time,
    models: Option<Learned>,
    /// Minutes of each attack.
    attacks: BTreeMap<u16, Vec<Minute>>,
    /// The address of each device, and the last attack it was sent from.
    who: HashMap<DeviceKey, (IpAddr, Option<(Cause, Time)>)>,
}

impl Minutes {
    /// Nothing learned yet; what comes before `learned` is learned from.
    pub fn new(learned: Time, calibrated: Time) -> Self {
        let reservoir = |seed| Reservoir::new(ROWS, Subject::Window.labels().len(), seed);
        Self {
            watch: Watch::new(MOST.0, MOST.1, MINUTE),
            rows: reservoir(1),
            calibration: reservoir(2),
            learned,
            calibrated,
            models: None,
            attacks: BTreeMap::new(),
            who: HashMap::new(),
        }
    }

    /// Rows that were learned from, rows that thresholds are set on, and the minutes of each attack.
    pub fn kept(&self) -> (&Rows, &Rows, &BTreeMap<u16, Vec<Minute>>) {
        (self.rows.rows(), self.calibration.rows(), &self.attacks)
    }

    /// A device makes a contact.
    pub fn contact(&mut self, contact: &Contact, cause: Cause) {
        let (ip, last) = self.who.entry(contact.device).or_insert((contact.id.src, None));
        *ip = contact.id.src;
        if matches!(cause, Cause::Attack(_)) {
            *last = Some((cause, contact.time));
        }
        self.watch.contact(contact, None);
    }

    /// It has an outcome.
    pub fn outcome(&mut self, contact: &Contact, outcome: Outcome, now: Time) {
        self.watch.outcome(contact, outcome, now);
    }

    /// A conversation ended.
    pub fn ended(&mut self, ended: &FlowEnded, now: Time) {
        self.watch.ended(ended, None, None, now);
    }

    /// The scores of minutes that are over.
    pub fn due(&mut self, now: Time) -> Vec<Scored> {
        let mut scored = Vec::new();
        while let Some((device, row)) = self.watch.due(now) {
            if now < self.learned {
                self.rows.offer(device, now, &row);
                continue;
            }
            let rows = &self.rows;
            let models = self.models.get_or_insert_with(|| Learned::new(rows.rows(), 1));
            let Some((src, last)) = self.who.get(&device).copied() else { continue };
            let attack = last.filter(|(_, time)| now.since(*time) < RECENT).map(|(cause, _)| cause);
            let cause = attack.unwrap_or(Cause::Habit);
            for (rival, score) in models.scores(device, &row) {
                scored.push(Scored { rival, src, cause, score });
            }
            models.observe(device, &row);
            if let Cause::Attack(run) = cause {
                let minutes = self.attacks.entry(run).or_default();
                if minutes.len() < MOST_MINUTES {
                    minutes.push(Minute { device, row });
                }
            } else if now < self.calibrated {
                self.calibration.offer(device, now, &row);
            }
        }
        scored
    }
}

#[cfg(test)]
mod tests {
    use sensor_core::observation::Kind;

    use super::*;

    /// A device turns to so many hosts at once.
    fn turn(minutes: &mut Minutes, device: u8, hosts: u8, time: Time, cause: Cause) {
        for host in 0..hosts {
            let src = IpAddr::from([10, 0, 0, device]);
            let dst = IpAddr::from([10, 0, 1, host]);
            let id = FlowId { src, dst, sport: 1, dport: 80, proto: 6, kind: Kind::Ip, vlan: 0, port: 1 };
            let mac = Mac([2, 0, 0, 0, 0, device]);
            let contact = contact(mac, id, time, [false, false], true);
            minutes.contact(&contact, cause);
        }
    }

    #[test]
    fn a_minute_unlike_the_others_scores_most() {
        let learned = Time::at(200 * MINUTE);
        let mut minutes = Minutes::new(learned, learned);
        let mut scored = Vec::new();
        for at in 0..300 {
            let time = Time::at(at * MINUTE);
            scored.extend(minutes.due(time));
            for device in 1..=10 {
                // A forest knows no more of what is large than it saw: now and then it is some.
                let hosts =
                    if (at + u64::from(device)).is_multiple_of(47) { 40 } else { (at % 4) as u8 + device };
                turn(&mut minutes, device, hosts, time, Cause::Habit);
            }
            if at == 250 {
                turn(&mut minutes, 3, 120, time, Cause::Attack(7));
            }
        }
        assert_eq!(scored.len(), 3 * 10 * 100, "of the minutes after the learning");
        for (rival, part) in [(Rival::Forest, 0.9), (Rival::Pca, 1.0), (Rival::Network, 0.99)] {
            let of: Vec<_> = scored.iter().filter(|scored| scored.rival == rival).collect();
            let odd = of.iter().find(|scored| scored.cause == Cause::Attack(7)).expect("scored");
            assert_eq!(odd.src, IpAddr::from([10, 0, 0, 3]));
            let below = of.iter().filter(|scored| scored.score <= odd.score).count();
            assert!(below as f64 >= part * of.len() as f64, "{rival:?}: {below} of {}", of.len());
        }
    }
}
