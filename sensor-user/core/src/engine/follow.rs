//! Entries about a device follow it: a new address of it is added, one that another device took is taken out.
//!
//! A device is its MAC address, wherever that turns up: another port or VLAN changes nothing. An address it names as its
//! own, and that is its own alone, is added when frames with it pass (by a weaker level than isolation). While its frames
//! are dropped nothing is added, for it could name the addresses of others, silent ones too, and have them cut off; its
//! MAC address is held all the same. What it then calls itself is remembered as evidence.
//!
//! The device itself may come back by another MAC address. It is taken for the same if that address was never seen
//! before, appears within a minute after the last frame of the old one, on the same port, where nobody else was heard for
//! an hour, and speaks from an address of the device. Whoever else speaks from such an address is its next holder, and is
//! left alone: the address is taken out. A spare put at the place of a device and given its address after more than a
//! minute is a next holder.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::addr::is_host;
use crate::event::{Change, Event, Timed};
use crate::inventory::{self, DeviceKey};
use crate::observation::{FlowSeen, Verdict};
use crate::policy::{Block, BlockId, MAX_TARGETS, Target};
use crate::time::{HOUR, MINUTE, SECOND, Time};

use super::hold::tell;
use super::{Engine, Output};

/// A device that changes its MAC address is heard again within this time.
const RETURNS_WITHIN: u64 = MINUTE;
/// A port where nobody else was heard for this long is the device's alone.
const ALONE_FOR: u64 = HOUR;
/// Addresses a held device called itself that are remembered, for each entry.
const MAX_SHOWN: usize = 16;
/// The device table is searched at most so often a second, lest made-up addresses take all the time.
const MAX_LOOKS: u32 = 16;

/// What is remembered of devices that are followed.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub(super) struct Following {
    /// What held devices called themselves in frames that were dropped.
    shown: BTreeMap<BlockId, Vec<IpAddr>>,
    by_ip: BTreeSet<(IpAddr, BlockId)>,
    looks: u32,
    looks_since: Time,
}

impl Following {
    fn show(&mut self, id: BlockId, ip: IpAddr) {
        let shown = self.shown.entry(id).or_default();
        if shown.len() < MAX_SHOWN && self.by_ip.insert((ip, id)) {
            shown.push(ip);
        }
    }

    /// The entries whose device called itself so.
    fn who_showed(&self, ip: IpAddr) -> impl Iterator<Item = BlockId> {
        self.by_ip.range((ip, BlockId::MIN)..=(ip, BlockId::MAX)).map(|(_, id)| *id)
    }

    /// Forgets an entry.
    pub(super) fn forget(&mut self, id: BlockId) {
        for ip in self.shown.remove(&id).unwrap_or_default() {
            self.by_ip.remove(&(ip, id));
        }
    }

    /// Whether the device table may be searched once more.
    fn may_look(&mut self, now: Time) -> bool {
        if now.since(self.looks_since) >= SECOND {
            (self.looks, self.looks_since) = (0, now);
        }
        self.looks += 1;
        self.looks <= MAX_LOOKS
    }
}

impl Engine {
    /// Brings the entries about devices up to date with a sighting.
    pub(super) fn follow(&mut self, seen: &FlowSeen, out: &mut Output) {
        if self.blocks.is_empty() || seen.smac.is_nobody() || !is_host(seen.id.src) {
            return;
        }
        let (mac, address) = (Target::Mac(seen.smac), Target::Ip(seen.id.src));
        let held = |target| {
            let about = self.blocks.about(target).filter(|block| block.follows);
            about.map(|block| block.id).collect::<BTreeSet<_>>()
        };
        let own = held(mac);
        let mut others = held(address);
        others.extend(self.following.who_showed(seen.id.src));
        for id in &own {
            self.widen(*id, seen, out);
        }
        for id in others.difference(&own) {
            self.meet(*id, seen, out);
        }
    }

    /// The device of an entry spoke: adds addresses it has meanwhile.
    fn widen(&mut self, id: BlockId, seen: &FlowSeen, out: &mut Output) {
        let Some(device) = self.inventory.get(DeviceKey::Local(seen.smac)) else { return };
        if device.gateway {
            return;
        }
        if seen.verdict == Verdict::Drop {
            if self.inventory.sender(seen.id.src).is_none_or(|mac| mac == seen.smac) {
                self.following.show(id, seen.id.src);
            }
            return;
        }
        let Some(block) = self.blocks.get(id) else { return };
        let room = MAX_TARGETS.saturating_sub(block.targets.len());
        let own = self.inventory.own_ips(device).map(Target::Ip);
        let new = own.filter(|ip| !block.targets.contains(ip) && self.refuse(*ip, false).is_none());
        let new: Vec<_> = new.take(room).collect();
        if !new.is_empty() {
            let mut block = block.clone();
            block.targets.extend(new);
            self.moved(block, Change::Followed, seen, out);
        }
    }

    /// Somebody else speaks from an address of the device of an entry: that device under another MAC address, or the next
    /// holder of the address.
    fn meet(&mut self, id: BlockId, seen: &FlowSeen, out: &mut Output) {
        let Some(block) = self.blocks.get(id) else { return };
        let is_device = block.targets.iter().any(|target| matches!(target, Target::Mac(_)));
        if !is_device {
            return;
        }
        let mut block = block.clone();
        match self.is_same_device(&block, seen) {
            None => {}
            Some(true) => {
                block.targets.push(Target::Mac(seen.smac));
                self.moved(block, Change::Followed, seen, out);
            }
            Some(false) => {
                let before = block.targets.len();
                block.targets.retain(|target| *target != Target::Ip(seen.id.src));
                if block.targets.len() < before {
                    self.inventory.share(seen.id.src);
                    self.moved(block, Change::Narrowed, seen, out);
                }
            }
        }
    }

    /// Whether a MAC address is a new one of the device of an entry; none if that must not be looked up now.
    fn is_same_device(&mut self, block: &Block, seen: &FlowSeen) -> Option<bool> {
        let new = self.inventory.get(DeviceKey::Local(seen.smac))?;
        let mac = Target::Mac(seen.smac);
        // Who else is there is not known before a while has passed.
        if self.heard_since.is_none_or(|since| seen.time.since(since) < ALONE_FOR) {
            return Some(false);
        }
        if new.gateway || inventory::is_protected(new, &self.settings) || self.refuse(mac, false).is_some() {
            return Some(false);
        }
        let macs = block.targets.iter().filter(|target| matches!(target, Target::Mac(_)));
        let replaces = |old: &inventory::Device| {
            let gap = new.first_seen.since(old.last_seen);
            old.port == new.port && new.first_seen >= old.last_seen && gap <= RETURNS_WITHIN
        };
        if !macs.filter_map(|mac| self.inventory.find(*mac)).any(replaces) {
            return Some(false);
        }
        let port = new.port;
        if block.targets.len() >= MAX_TARGETS || !self.following.may_look(seen.time) {
            return None;
        }
        let stranger = |device: &inventory::Device| {
            device.port == port
                && device.mac != seen.smac
                && !block.targets.contains(&Target::Mac(device.mac))
                && seen.time.since(device.last_seen) < ALONE_FOR
        };
        Some(!self.inventory.iter().any(stranger))
    }

    /// Puts an entry whose targets changed in the place of the old one, and tells of it.
    fn moved(&mut self, block: Block, change: Change, seen: &FlowSeen, out: &mut Output) {
        let device = (change == Change::Followed).then_some(DeviceKey::Local(seen.smac));
        let isolation = tell(&block, change, device.and_then(|key| self.describe(key)));
        self.enter(block, out);
        out.events.push(Timed { time: seen.time, event: Event::Isolation(isolation) });
    }
}
