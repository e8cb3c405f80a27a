//! What devices did so far with whom: what they may go on doing while they are pinned, and what they lose by a cut.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::addr::is_host;
use crate::flow::{TCP, UDP};
use crate::inventory::{Device, DeviceKey};
use crate::observation::Kind;
use crate::policy::preview::Part;
use crate::policy::{Allow, MAX_PIN, Service, Target};
use crate::time::Time;

use super::Engine;

/// A service that was used or served with success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Habit {
    /// Whether the device asked or answered. Without ports it is not known: then it counts as asked.
    pub part: Part,
    /// Which service, and with whom.
    pub service: Service,
    /// Conversations of it that go on.
    pub talks: u64,
    /// It began in the attack that is found now, or was first used in one the device was restricted for before.
    pub attack: bool,
}

impl Habit {
    /// What allows it.
    pub fn allowed_by(&self) -> Vec<Allow> {
        match self.part {
            // Without ports who asked and who answered are not told apart.
            _ if !matches!(self.service.proto, TCP | UDP) => {
                vec![Allow::Use(self.service), Allow::Serve(self.service)]
            }
            Part::Uses => vec![Allow::Use(self.service)],
            Part::Serves => vec![Allow::Serve(self.service)],
        }
    }
}

/// What was found so far, in the order it was found in.
#[derive(Default)]
struct Found {
    habits: Vec<Habit>,
    index: HashMap<(Part, Service), usize>,
}

impl Found {
    fn add(&mut self, part: Part, (proto, port): (u8, u16), peer: IpAddr, talks: u64, attack: bool) {
        if !is_host(peer) {
            return;
        }
        let ported = matches!(proto, TCP | UDP);
        let (part, port) = if ported { (part, port) } else { (Part::Uses, 0) };
        let service = Service { proto, port, peer: Some(peer.to_canonical()) };
        let at = *self.index.entry((part, service)).or_insert(self.habits.len());
        match self.habits.get_mut(at) {
            Some(habit) => {
                habit.talks += talks;
                habit.attack &= attack;
            }
            None => self.habits.push(Habit { part, service, talks, attack }),
        }
    }
}

impl Engine {
    /// What the devices behind these targets did with success: the services they used or served, the last first.
    /// What they do since `attack` is found to be one.
    pub(super) fn habits(&self, targets: &[Target], attack: Option<Time>, now: Time) -> Vec<Habit> {
        let devices = self.devices_behind(targets);
        let keys: BTreeSet<DeviceKey> = devices.iter().map(|device| device.key).collect();
        let mut ips: BTreeSet<IpAddr> = devices.iter().flat_map(|device| device.ips()).collect();
        ips.extend(targets.iter().filter_map(|target| match target {
            Target::Ip(ip) => Some(*ip),
            _ => None,
        }));
        let now_attacks = |began| attack.is_some_and(|attack| attack <= began);
        // Whom a device turned to, that is: who turns to it is its client all the same.
        let attacks = |device, began| {
            now_attacks(began) || self.repeats.attacks(device, now).iter().any(|attack| attack.has(began))
        };
        let mut found = Found::default();
        let talks = self.conversations.talks(&ips);
        for talk in talks.into_iter().filter(|talk| talk.id.kind == Kind::Ip) {
            let service = (talk.id.proto, talk.id.dport);
            if ips.contains(&talk.id.src) {
                let device = self.inventory.holder(talk.id.src).map(|device| device.key);
                let attack = device.map_or(now_attacks(talk.start), |device| attacks(device, talk.start));
                found.add(Part::Uses, service, talk.id.dst, 1, attack);
            } else if ips.contains(&talk.id.dst) {
                found.add(Part::Serves, service, talk.id.src, 1, now_attacks(talk.start));
            }
        }
        for tried in self.contacts.answered_services(&keys, &ips) {
            let service = (tried.proto, tried.port);
            if keys.contains(&tried.device) {
                found.add(Part::Uses, service, tried.server, 0, attacks(tried.device, tried.first));
            } else if ips.contains(&tried.server) {
                let clients = self.inventory.get(tried.device).into_iter().flat_map(Device::ips);
                clients
                    .filter(|client| client.is_ipv4() == tried.server.is_ipv4())
                    .for_each(|client| found.add(Part::Serves, service, client, 0, now_attacks(tried.first)));
            }
        }
        found.habits
    }

    /// The devices these targets are about.
    fn devices_behind(&self, targets: &[Target]) -> Vec<&Device> {
        let (ones, wide): (Vec<Target>, Vec<Target>) = targets.iter().partition(|t| t.is_address());
        let mut devices: Vec<&Device> = ones.iter().filter_map(|one| self.inventory.find(*one)).collect();
        if !wide.is_empty() {
            let hit = |device: &&Device| wide.iter().any(|target| self.is_hit(*target, device));
            devices.extend(self.inventory.iter().filter(hit));
        }
        devices
    }

    /// What the devices behind these targets may go on doing: [`MAX_PIN`] pairs of peer and service, and what every device
    /// needs. Of an attack, nothing: that is what they are pinned for, now or before. If there are more, what is inside
    /// comes first, then what goes on, then what was used last: a week of the web pushes no server out that is asked once a
    /// month.
    pub(super) fn learn(&self, targets: &[Target], attack: Option<Time>, now: Time) -> Vec<Allow> {
        let habits = self.habits(targets, attack, now);
        let mut old: Vec<&Habit> = habits.iter().filter(|habit| !habit.attack).collect();
        let inside = |habit: &Habit| habit.service.peer.is_none_or(|peer| self.is_internal(peer));
        old.sort_by_cached_key(|habit| (!inside(habit), habit.talks == 0));
        let learned: BTreeSet<Allow> = old.into_iter().take(MAX_PIN).flat_map(Habit::allowed_by).collect();
        Allow::BASIC.into_iter().chain(learned).collect()
    }
}
