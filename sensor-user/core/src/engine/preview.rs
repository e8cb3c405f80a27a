//! What a restriction takes away, looked at before it is put on.
//!
//! A device has what it used or served so far (see `habit`). A restriction takes from that what its level forbids. The
//! peer is *vital* if it is on the protected list or a life depends on it: an automatic restriction that cuts its
//! conversations steps down. What the device began within the last minutes, while it already gave evidence, is the attack
//! and no service, and so is what it began while it attacked before: else malware would be kept from being cut off by what it
//! attacks.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::detect::Finding;
use crate::flow::{ICMP, ICMP6};
use crate::inventory;
use crate::policy::class::is_life_critical;
use crate::policy::preview::{Loss, MAX_LISTED, MAX_NAMED, Preview};
use crate::policy::{Allow, Block, Level, List, Service, Target};
use crate::time::{MINUTE, Time};

use super::Engine;
use super::habit::Habit;

/// What a device began longer ago than this is no part of an attack that is found now, ns.
const ATTACK: u64 = 10 * MINUTE;

impl Engine {
    /// Since when what the device of a finding began is part of the attack. None if that is not known: what was there
    /// before the sensor first looked is how the network is.
    pub(super) fn attack_since(&self, finding: &Finding, now: Time) -> Option<Time> {
        let recent = now.minus(ATTACK);
        let heard = self.begun.is_some_and(|begun| begun <= recent);
        heard.then(|| finding.first_evidence.max(recent))
    }

    /// What a restriction of these targets takes away. `allowed` goes on at a pin or a quarantine.
    pub(super) fn preview(
        &self,
        targets: &[Target],
        level: Level,
        allowed: &[Allow],
        attack: Option<Time>,
        now: Time,
    ) -> Preview {
        let mut lost = Vec::new();
        let (mut peers, mut vital) = (BTreeSet::new(), BTreeSet::new());
        let mut conversations = 0;
        let allowed: BTreeSet<Allow> = allowed.iter().copied().collect();
        for habit in self.habits(targets, attack, now) {
            let Some(peer) = habit.service.peer else { continue };
            if self.goes_on(&habit, peer, level, &allowed) {
                continue;
            }
            peers.insert(peer);
            conversations += habit.talks;
            // Nobody's life depends on a ping, which any device may send to any other.
            let echo = matches!(habit.service.proto, ICMP | ICMP6);
            let (live, is_vital) = (habit.talks > 0, !habit.attack && !echo && self.is_vital(peer));
            if live && is_vital {
                vital.insert(self.name_of(peer).unwrap_or_else(|| peer.to_string()));
            }
            let (part, service) = (habit.part, habit.service);
            lost.push(Loss { part, service, name: None, live, vital: is_vital });
        }
        let services = lost.len() as u64;
        // Equals stay in their order: the last used first.
        lost.sort_by_key(|loss| Reverse((loss.vital && loss.live, loss.live)));
        lost.truncate(MAX_LISTED);
        for loss in &mut lost {
            loss.name = loss.service.peer.and_then(|peer| self.name_of(peer));
        }
        let vital = vital.into_iter().take(MAX_NAMED).collect();
        Preview { level, peers: peers.len() as u64, services, conversations, lost, vital }
    }

    /// What an entry takes away, as it is to be.
    pub(super) fn preview_of(&self, block: &Block, now: Time) -> Preview {
        let allowed = match &block.list {
            List::Named(name) => self.settings.lists().find(|(_, known, _)| known == name).map(|list| list.2),
            List::Learned { allowed, .. } => Some(&allowed[..]),
            List::None => None,
        };
        self.preview(&block.targets, block.level, allowed.unwrap_or_default(), None, now)
    }

    /// Whether a habit goes on under a level.
    fn goes_on(&self, habit: &Habit, peer: IpAddr, level: Level, allowed: &BTreeSet<Allow>) -> bool {
        match level {
            Level::Observe | Level::Throttle => true,
            Level::ExternalOnly => self.is_internal(peer),
            Level::Pin | Level::Quarantine => {
                let anybody = Habit { service: Service { peer: None, ..habit.service }, ..*habit };
                let mut ways = habit.allowed_by();
                ways.extend(anybody.allowed_by());
                ways.push(Allow::Any(peer));
                ways.iter().any(|way| allowed.contains(way))
            }
            Level::Isolate | Level::Cut => false,
        }
    }

    /// Whether nobody may be cut off automatically from what they do with an address.
    fn is_vital(&self, ip: IpAddr) -> bool {
        inventory::is_protected_ip(ip, &self.settings)
            || self.inventory.holder(ip).is_some_and(|device| {
                inventory::is_protected(device, &self.settings) || is_life_critical(device, &self.settings)
            })
    }

    fn name_of(&self, ip: IpAddr) -> Option<String> {
        let device = self.inventory.holder(ip);
        let known = device.and_then(|device| inventory::describe(device, &self.settings).name);
        known.or_else(|| self.settings.names.get(&Target::Ip(ip)).cloned())
    }
}
