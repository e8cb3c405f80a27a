//! Block entries as they come and go: what the data path, the store and people are told of each.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::detect::Finding;
use crate::event::{Change, DeviceRef, Event, Isolation, Timed};
use crate::inventory::DeviceKey;
use crate::observation::{FlowSeen, Verdict};
use crate::policy::decide;
use crate::policy::{
    Block, BlockId, BlockName, Decision, Direction, Level, List, MAX_TARGETS, Origin, Restriction, Save,
    Target,
};
use crate::settings::Mode;
use crate::time::Time;

use super::{Begun, Engine, Output};

impl Engine {
    /// Takes up the entries a store remembered, and orders what the settings protect. Call it once, first.
    pub fn restore(&mut self, blocks: Vec<Block>, out: &mut Output) {
        let gateway =
            |target: &Target| matches!(target, Target::Mac(m) if self.settings.gateways.contains(m));
        // A gateway is kept from isolation by the policy; a rule for its MAC would let its isolated hosts pass.
        let protected = self.settings.protected.iter().filter(|target| !gateway(target)).copied();
        let nets = self.settings.protected_nets.iter().filter_map(|net| Target::net(*net).ok());
        out.decisions.extend(protected.chain(nets).map(Decision::Protect));
        for mut block in blocks {
            if let Origin::Incident(number) = block.origin {
                self.incidents.skip_to(number);
            }
            // What an incident brought about in enforce mode is only counted in observe mode; a person's word holds.
            let automatic = matches!(block.origin, Origin::Incident(_));
            let only_counted = automatic && block.would && self.settings.mode == Mode::Enforce;
            block.would = block.level == Level::Observe || (automatic && self.settings.mode == Mode::Observe);
            // What was only counted so far is judged anew, or it would shield its device from being cut off.
            if only_counted || block.targets.iter().any(|target| self.is_barred(*target)) {
                // Protected since it was entered, or only counted so far.
                out.saves.push(Save::Forget(block.id));
                continue;
            }
            self.make_room(&mut block, out);
            if let List::Learned { number, allowed } = &block.list {
                out.decisions.push(Decision::Allow(*number, allowed.clone()));
            }
            self.recent.extend(begun(&block));
            let targets = self.blocks.put(block).targets.clone();
            self.settle(targets, out);
        }
    }

    /// Gives a remembered entry numbers of its own if another one has them.
    fn make_room(&mut self, block: &mut Block, out: &mut Output) {
        let (id, mut renumbered) = (block.id, false);
        if !self.blocks.has_room_for(id) {
            block.id = self.blocks.next_id();
            out.saves.push(Save::Forget(id));
            renumbered = true;
        }
        if let List::Learned { number, .. } = &mut block.list
            && (*number < crate::policy::FIRST_PIN || self.blocks.has_list(*number))
        {
            *number = self.blocks.next_list();
            renumbered = true;
        }
        if renumbered {
            out.saves.push(Save::Put(block.clone()));
        }
    }

    /// Orders the rules of these targets to be as the list has them.
    fn settle(&self, targets: impl IntoIterator<Item = Target>, out: &mut Output) {
        for target in targets.into_iter().collect::<BTreeSet<_>>() {
            let strictest = self.blocks.find(BlockName::Target(target));
            out.decisions.push(match strictest {
                Some(block) => Decision::Restrict(target, self.restriction(block)),
                None => Decision::Clear(target),
            });
        }
    }

    fn restriction(&self, block: &Block) -> Restriction {
        let list = match &block.list {
            List::None => 0,
            List::Named(name) => self.settings.list(*name),
            List::Learned { number, .. } => *number,
        };
        Restriction {
            id: block.id,
            level: block.level,
            direction: block.direction,
            list,
            until: block.until,
            would: block.would,
        }
    }

    /// Enters or replaces an entry. What it allows is there before its rules are, and goes after them.
    pub(super) fn enter(&mut self, block: Block, out: &mut Output) {
        let old = self.blocks.get(block.id).cloned();
        if old.is_none() {
            out.decisions.push(Decision::Begin(block.id));
        }
        if let List::Learned { number, allowed } = &block.list
            && old.as_ref().is_none_or(|old| old.list != block.list)
        {
            out.decisions.push(Decision::Allow(*number, allowed.clone()));
        }
        out.saves.push(Save::Put(block.clone()));
        let mut targets = block.targets.clone();
        let list = block.list.clone();
        self.blocks.put(block);
        let Some(old) = old else { return self.settle(targets, out) };
        targets.extend(old.targets);
        self.settle(targets, out);
        if let List::Learned { number, .. } = &old.list
            && old.list != list
        {
            out.decisions.push(Decision::Forbid(*number));
        }
    }

    /// Puts the device of a finding under a level. The entry it has by itself for a weaker one is raised in place. What
    /// detectors find by that is to be concluded.
    pub(super) fn restrict(
        &mut self,
        finding: &Finding,
        incident: u64,
        device: DeviceRef,
        level: Level,
        now: Time,
        out: &mut Output,
    ) {
        let Some(known) = self.inventory.get(finding.device) else { return };
        let mut targets = self.inventory.cut(known, finding.flow.src);
        if targets.iter().any(|target| matches!(target, Target::Mac(_))) {
            targets.extend(self.merged_with(known));
        }
        let weaker = self.own_entry(&targets).filter(|block| block.level < level).cloned();
        targets.retain(|target| !self.is_under(*target, level));
        let before = self.repeats.isolations(finding.device, now);
        let until = now.plus(decide::lasts(level, &self.settings.isolate_for_ns, before));
        let (mut block, change) = match weaker {
            Some(block) => (block, Change::Changed),
            None => (self.automatic(incident, now), Change::Added),
        };
        let missing: Vec<_> = targets.into_iter().filter(|target| !block.targets.contains(target)).collect();
        block.targets.extend(missing);
        block.targets.truncate(MAX_TARGETS);
        block.follows |= block.targets.iter().any(|target| matches!(target, Target::Mac(_)));
        block.level = level;
        let attack = self.attack_since(finding, now);
        // There was room for a pin when it was decided.
        let Ok(list) = self.list_for(&block, None, attack, now) else { return };
        block.list = list;
        finding.signature.clone_into(&mut block.reason);
        if self.probation(finding, now).is_some() {
            block.reason.push_str(", soon after its time was up");
        }
        let infected_by = self.infected_by(finding.device, now);
        if let Some(other) = infected_by.and_then(|other| self.describe(other)) {
            let name = other.ips.first().map_or_else(|| other.mac.to_string(), ToString::to_string);
            block.reason.push_str(&format!(", after {name} reached it"));
        }
        if let Some(by) = self.incidents.get(incident).and_then(|incident| incident.approved_by.as_ref()) {
            block.reason.push_str(&format!(", approved by {by}"));
        }
        block.origin = Origin::Incident(incident);
        let until = block.until.map_or(until, |old| old.max(until));
        block.until = Some(until);
        let graded = (level, finding.family, block.would);
        out.saves.extend(self.repeats.note(finding.device, graded, attack, now, until));
        if !self.is_drill(finding.device, now) {
            let (device, infected) = (finding.device, infected_by.is_some());
            self.recent.push_back(Begun { time: now, device, level, infected });
            if level >= Level::Pin {
                self.detectors.restricted(finding, now, &mut self.found);
            }
        }
        let mut isolation = tell(&block, change, Some(device));
        self.enter(block, out);
        isolation.flow = Some(finding.flow);
        let alerted = self.incidents.get(incident).and_then(|incident| incident.first_evidence);
        isolation.first_evidence =
            Some(alerted.map_or(finding.first_evidence, |first| first.min(finding.first_evidence)));
        out.events.push(Timed { time: now, event: Event::Isolation(isolation) });
    }

    /// An entry of an incident, about nobody yet.
    fn automatic(&mut self, incident: u64, now: Time) -> Block {
        Block {
            id: self.blocks.next_id(),
            targets: Vec::new(),
            level: Level::Throttle,
            direction: Direction::Both,
            list: List::None,
            follows: false,
            origin: Origin::Incident(incident),
            reason: String::new(),
            since: now,
            until: None,
            would: self.settings.mode == Mode::Observe,
        }
    }

    /// The strictest entry that incidents made for one of these.
    fn own_entry(&self, targets: &[Target]) -> Option<&Block> {
        let would = self.settings.mode == Mode::Observe;
        let about = targets.iter().flat_map(|target| self.blocks.about(*target));
        let own = about.filter(|block| matches!(block.origin, Origin::Incident(_)) && block.would == would);
        own.max_by_key(|block| (block.level, std::cmp::Reverse(block.id)))
    }

    /// New evidence of a device that is throttled or pinned already by itself: that lasts longer. An isolation ends when it
    /// was said to.
    pub(super) fn renew(&mut self, finding: &Finding, earned: Level, now: Time, out: &mut Output) {
        let Some(known) = self.inventory.get(finding.device) else { return };
        let targets = self.inventory.cut(known, finding.flow.src);
        let Some(block) = self.own_entry(&targets) else { return };
        let until = now.plus(decide::lasts(block.level, &[], 0));
        let longer = block.until.is_some_and(|old| old < until);
        if block.level >= Level::Isolate || block.level > earned || !longer {
            return;
        }
        let block = Block { until: Some(until), ..block.clone() };
        let graded = (block.level, finding.family, block.would);
        let attack = self.attack_since(finding, now);
        out.saves.extend(self.repeats.note(finding.device, graded, attack, now, until));
        let isolation = tell(&block, Change::Extended, self.describe(finding.device));
        self.enter(block, out);
        out.events.push(Timed { time: now, event: Event::Isolation(isolation) });
    }

    /// Takes an entry out and everything back that it brought about; the device starts with a clean slate.
    pub(super) fn release(
        &mut self,
        id: BlockId,
        change: Change,
        now: Time,
        out: &mut Output,
    ) -> Option<Block> {
        let key = self.blocks.get(id).and_then(|block| self.key_of(block));
        let block = self.take_out(id, change, now, out)?;
        if change == Change::Released {
            // Several that are one device were held as one.
            let held = block.targets.iter().filter_map(|target| self.inventory.find(*target));
            let held: BTreeSet<DeviceKey> = held.map(|device| device.key).collect();
            out.saves.extend(held.into_iter().filter_map(|key| self.repeats.forget(key)));
        }
        if let Some(key) = key {
            self.absolve(key, now);
        }
        Some(block)
    }

    /// Forgets what there is against a device so far.
    pub(super) fn absolve(&mut self, key: DeviceKey, now: Time) {
        self.incidents.close(key);
        self.ledger.absolve(key);
        self.detectors.absolve(key, now);
        self.inventory.absolve(key, now);
        // Who was released stays so, also if the daemon dies right now.
        self.next_keep = now;
    }

    /// Takes an entry out; what there is against its device stays.
    pub(super) fn take_out(
        &mut self,
        id: BlockId,
        change: Change,
        now: Time,
        out: &mut Output,
    ) -> Option<Block> {
        let block = self.blocks.take(id)?;
        self.following.forget(id);
        self.settle(block.targets.iter().copied(), out);
        if let List::Learned { number, .. } = &block.list {
            out.decisions.push(Decision::Forbid(*number));
        }
        out.saves.push(Save::Forget(id));
        let device = self.key_of(&block).and_then(|key| self.describe(key));
        out.events.push(Timed { time: now, event: Event::Isolation(tell(&block, change, device)) });
        Some(block)
    }

    /// The device an entry is about, if one is known.
    fn key_of(&self, block: &Block) -> Option<DeviceKey> {
        block.targets.iter().find_map(|target| self.inventory.find(*target)).map(|device| device.key)
    }

    /// Whether an entry puts a target under a level already, or under a stricter one, or, in observe mode, would.
    pub(super) fn is_under(&self, target: Target, level: Level) -> bool {
        let counts = self.settings.mode == Mode::Observe;
        self.blocks.about(target).any(|block| {
            block.level >= level && block.direction == Direction::Both && (!block.would || counts)
        })
    }

    /// Whether the sender of a flow is cut off: what it still tries says nothing new. (A flow that is dropped because of
    /// its destination is a contact like any other, but waits for no answer.)
    pub(super) fn is_cut(&self, seen: &FlowSeen) -> bool {
        let cut = |target| self.blocks.about(target).any(|block| !block.would);
        seen.verdict == Verdict::Drop
            && (cut(Target::Mac(seen.smac))
                || cut(Target::Ip(seen.id.src))
                || self.is_somewhere_held(seen.id.src, seen.id.port, seen.id.vlan))
    }

    /// Whether an address, or the device that has it, is restricted by any entry.
    pub(super) fn is_held(&self, ip: IpAddr) -> bool {
        let held = |target| self.blocks.about(target).any(|block| !block.would);
        if held(Target::Ip(ip)) {
            return true;
        }
        let Some(device) = self.inventory.holder(ip) else { return false };
        held(Target::Mac(device.mac)) || self.is_somewhere_held(ip, device.port, device.vlan)
    }

    /// Whether an address is restricted by an entry for a network or a place.
    fn is_somewhere_held(&self, ip: IpAddr, port: u8, vlan: u16) -> bool {
        self.blocks.wide().any(|(target, block)| !block.would && self.lies_in(target, ip, port, vlan))
    }
}

/// What a remembered entry means to the fuse: a daemon that dies again and again must not cut off more than one that runs.
fn begun(block: &Block) -> Option<Begun> {
    let device = block.targets.iter().find_map(|target| match target {
        Target::Mac(mac) => Some(DeviceKey::Local(*mac)),
        Target::Ip(ip) => Some(DeviceKey::Routed(*ip)),
        _ => None,
    });
    let device = device.filter(|_| matches!(block.origin, Origin::Incident(_)))?;
    Some(Begun { time: block.since, device, level: block.level, infected: false })
}

/// The event of a change to a block entry.
pub(super) fn tell(block: &Block, change: Change, device: Option<DeviceRef>) -> Isolation {
    Isolation {
        id: block.id,
        change,
        device,
        targets: block.targets.clone(),
        level: block.level,
        direction: block.direction,
        until: block.until,
        would: block.would,
        reason: block.reason.clone(),
        incident: match block.origin {
            Origin::Incident(id) => Some(id),
            Origin::Manual(_) => None,
        },
        flow: None,
        first_evidence: None,
    }
}
