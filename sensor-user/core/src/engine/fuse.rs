//! The fuse: how many devices may be restricted automatically in a short time, so that a mistake that hits everybody, like a
//! broken switch or forged addresses, cuts off a few and calls a person.
//!
//! An infection that spreads is no such mistake. A device that another one, restricted a moment ago, had reached by a service
//! for the first time within a day before (by TCP or UDP, and was answered) is of its *infection tree*, and a tree counts as
//! one. Who merely was asked, by a scan that nobody answered, is not; nor are clients of a server that was restricted, or those
//! that a station polls since long and that answered before. So that a station that reached everybody on its first day cannot open the fuse for
//! all, trees have a bound too.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::inventory::{Device, DeviceKey};
use crate::policy::Level;
use crate::time::{HOUR, Time};

use super::{Begun, Engine};

/// A first contact so long ago did not infect anybody who is found now, ns.
const INFECTS_WITHIN: u64 = 24 * HOUR;
/// Devices of infection trees, as a multiple of the budget.
const TREES: usize = 10;

impl Engine {
    /// Whether a device must not be restricted automatically because too many were lately. Throttles have a fuse of their
    /// own, lest they use up that of isolations; a device that is raised counts once.
    pub(super) fn is_spent(&mut self, device: DeviceKey, level: Level, now: Time) -> bool {
        if self.is_drill(device, now) {
            return false;
        }
        let window = self.settings.budget_window_ns;
        while self.recent.front().is_some_and(|begun| now.since(begun.time) >= window) {
            self.recent.pop_front();
        }
        let alike = |begun: &&Begun| (begun.level >= Level::Pin) == (level >= Level::Pin);
        let alike: Vec<Begun> = self.recent.iter().filter(alike).copied().collect();
        if alike.iter().any(|begun| begun.device == device) {
            return false;
        }
        let count = |infected: bool| {
            let some = alike.iter().filter(|begun| begun.infected == infected);
            some.map(|begun| begun.device).collect::<BTreeSet<_>>().len()
        };
        let budget = self.settings.budget as usize;
        if budget > 0 && self.infected_by(device, now).is_some() {
            return count(true) >= budget.saturating_mul(TREES);
        }
        let roots = count(false);
        // The first needs no count of the devices: it is never more than may be.
        roots >= budget || (roots > 0 && roots >= self.share())
    }

    /// Whether a device is the made-up one of a fire drill: that spends nothing of the budget, for the house is as much in danger
    /// during a drill as ever, and needs none.
    pub(super) fn is_drill(&self, device: DeviceKey, now: Time) -> bool {
        self.drill.is_some_and(|(mac, until)| device == DeviceKey::Local(mac) && now < until)
    }

    /// The part of all devices that may be restricted, at least one. Whoever is outside, behind a router, is none of ours.
    fn share(&self) -> usize {
        let ours = |device: &&Device| match device.key {
            DeviceKey::Local(_) => true,
            DeviceKey::Routed(ip) => self.is_internal(ip),
        };
        let devices = self.inventory.iter().filter(ours).count();
        ((devices as f64 * self.settings.budget_share) as usize).max(1)
    }

    /// The device, restricted lately, that reached a service of this one for the first time before.
    pub(super) fn infected_by(&self, device: DeviceKey, now: Time) -> Option<DeviceKey> {
        let mut others =
            self.recent.iter().map(|begun| begun.device).filter(|other| *other != device).peekable();
        others.peek()?;
        let ips: BTreeSet<IpAddr> = match device {
            DeviceKey::Routed(ip) => BTreeSet::from([ip]),
            // All it speaks from, also where no ARP is seen that would show whose they are: who lies about them is found
            // out by what it does itself, and only itself.
            DeviceKey::Local(_) => self.inventory.get(device)?.ips().collect(),
        };
        let reached = self.contacts.reached_by(&ips, now.minus(INFECTS_WITHIN));
        others.find(|other| reached.contains(other))
    }
}
