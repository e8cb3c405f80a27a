//! Two that a person finds to be one device, or one that is found to be two: their cards, and the entries about them.
//!
//! An entry about one of two that are merged is about the other too from then on, as if it were entered now; but never about what is
//! protected, a gateway, or what a life depends on. One for an address alone stays that. Whoever is parted from a device that is cut
//! off stays cut off, by an entry of its own: nobody is let go by accident, and either can be let go alone.

use std::collections::BTreeSet;
use std::fmt;

use crate::event::{CardStep, Change, Event, Timed};
use crate::inventory::DeviceKey;
use crate::inventory::cards::{Card, CardError, Cards};
use crate::policy::class::Criticality;
use crate::policy::{Block, BlockId, List, MAX_BLOCKS, MAX_PINNED, MAX_TARGETS, Save, Target};
use crate::time::Time;

use super::command::{CommandError, Reply};
use super::devices::target;
use super::hold::tell;
use super::{Engine, Output};

/// What a person must know of a merge or a split besides who is concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remark {
    /// An entry is about these too now.
    Extended(BlockId, Vec<Target>),
    /// An entry is not about these, though it is about others of the device; why not.
    Spared(BlockId, Vec<Target>, &'static str),
    /// An entry is about these alone, and stays so.
    Alone(BlockId, Vec<Target>),
    /// These are still held by this entry.
    Held(BlockId, Vec<Target>),
    /// This entry still is about both; why.
    Joint(BlockId, &'static str),
    /// How much depends on each of the two is in doubt.
    Doubt,
    /// The name was given to another device meanwhile.
    Nameless(String),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |targets: &[Target]| targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Extended(id, targets) => write!(f, "entry {id} is about {} too now", list(targets)),
            Self::Spared(id, targets, why) => write!(f, "entry {id} is not about {}: {why}", list(targets)),
            Self::Alone(id, targets) => {
                write!(f, "entry {id} was made for {} alone, and stays so", list(targets))
            }
            Self::Held(id, targets) => write!(
                f,
                "{} is still on the block list, by entry {id}; `sekisho block remove --id {id}` ends that alone",
                list(targets)
            ),
            Self::Joint(id, why) => write!(
                f,
                "entry {id} is still about both, for {why}; `sekisho block remove --id {id}` ends it for both"
            ),
            Self::Doubt => write!(
                f,
                "of which of them the class and criticality were said is not known: in doubt they hold for both. Put it right with \
                 `sekisho devices set`"
            ),
            Self::Nameless(name) => {
                write!(f, "{name} is the name of another device meanwhile: one of them is without a name now")
            }
        }
    }
}

impl Engine {
    /// Says that two are one device: the card of the first goes on.
    pub(super) fn merge_devices(
        &mut self,
        (into, other): (&str, &str),
        by: &str,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let (into, other) = self.two_cards(into, other)?;
        for key in into.keys.iter().chain(&other.keys) {
            if self.inventory.get(*key).is_some_and(|device| device.gateway) {
                return Err(CommandError::MergesGateway(target(*key)));
            }
        }
        let merged = self
            .one_card(&into, &other)
            .map_err(|error| CommandError::Card { who: into.id.to_string(), error })?;
        if self.inventory.remove_card(other.id).is_some() {
            out.saves.push(Save::ForgetCard(other.id));
        }
        let before = self.inventory.cards().get(into.id).cloned();
        self.inventory.put_card(merged.clone());
        self.save_devices(&merged.keys, now, out);
        let changed = self.card_changed(into.id, before, (CardStep::Merged, by), now, out);
        let remarks = self.join_entries(&merged, now, out);
        Ok(Reply::Regrouped { devices: changed.into_iter().collect(), remarks })
    }

    /// Says that two are not one device, whatever speaks for it; until they are merged.
    pub(super) fn tell_apart(
        &mut self,
        (one, other): (&str, &str),
        by: &str,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let (one, other) = self.two_cards(one, other)?;
        let card = self.inventory.cards().parted_from(&one, &other.keys);
        let card = card.map_err(|error| CommandError::Card { who: one.id.to_string(), error })?;
        let before = self.inventory.cards().get(one.id).cloned();
        self.inventory.put_card(card);
        let changed = self.card_changed(one.id, before, (CardStep::Described, by), now, out);
        Ok(Reply::Described(changed.into_iter().collect()))
    }

    /// The cards of two that are not one already.
    fn two_cards(&mut self, one: &str, other: &str) -> Result<(Card, Card), CommandError> {
        let (one, other) = (self.card_of(one)?, self.card_of(other)?);
        if one.id == other.id { Err(CommandError::SameDevice(one.id)) } else { Ok((one, other)) }
    }

    /// The card of two that are one: if a life depends on one of them, it does on both.
    fn one_card(&self, into: &Card, other: &Card) -> Result<Card, CardError> {
        let mut merged = Cards::merged(into, other)?;
        if [into, other].iter().any(|card| self.inventory.is_vital(card, &self.settings)) {
            merged.criticality = Some(Criticality::LifeCritical);
        }
        Ok(merged)
    }

    /// Says that an address is a device of its own: it is what it was before it was merged, and so are the others.
    pub(super) fn split_device(
        &mut self,
        address: &str,
        by: &str,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let key = self.key_named(address)?;
        let card = self.inventory.cards().of(key).filter(|card| card.keys.len() > 1).cloned();
        if card.is_none() && self.groups.of(key).is_some() {
            return self.leave_group(key, by, now, out);
        }
        let card = card.ok_or_else(|| CommandError::NotMerged(address.to_owned()))?;
        let (mut parts, doubt) = card.parted(|part| self.inventory.is_vital(part, &self.settings));
        for part in parts.iter_mut().filter(|part| part.id == 0) {
            part.id = self.inventory.next_id();
        }
        let first = card.keys.first() == Some(&key);
        let (mut own, others): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| part.keys.contains(&key));
        // What is found by evidence must not undo it.
        let alike = self.sharing_with(key, others.iter().flat_map(|part| part.keys.iter().copied()));
        own.iter_mut().for_each(|part| part.part_from(&alike));
        // They were within the bound together.
        let rest = others.into_iter().reduce(|into, other| self.one_card(&into, &other).unwrap_or(into));
        let mut apart: Vec<Card> = rest.into_iter().chain(own).collect();
        if first {
            apart.reverse();
        }
        self.inventory.remove_card(card.id);
        out.saves.push(Save::ForgetCard(card.id));
        let mut remarks: Vec<Remark> = doubt.then_some(Remark::Doubt).into_iter().collect();
        let mut devices = Vec::new();
        for mut part in apart {
            if let Some(name) = part.name.take_if(|name| self.inventory.cards().called(name).is_some()) {
                remarks.push(Remark::Nameless(name));
            }
            self.inventory.settle_card(part.clone());
            self.save_devices(&part.keys, now, out);
            out.saves.extend(self.inventory.cards().get(part.id).cloned().map(Box::new).map(Save::Card));
            devices.push(self.ref_of(&part));
            self.tell_card(part, (CardStep::Split, by), now, out);
        }
        remarks.extend(self.part_entries(key, &card, now, out));
        Ok(Reply::Regrouped { devices, remarks })
    }

    /// Says that an address is a device of its own, and none of those it was one with by evidence.
    fn leave_group(
        &mut self,
        key: DeviceKey,
        by: &str,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let card = self.card_of_key(key);
        let others = self.one_by_evidence(key).into_iter().filter(|other| !card.keys.contains(other));
        let parted = self.inventory.cards().parted_from(&card, &others.collect::<Vec<_>>());
        let parted = parted.map_err(|error| CommandError::Card { who: card.id.to_string(), error })?;
        let before = self.inventory.cards().get(card.id).cloned();
        self.inventory.put_card(parted);
        let changed = self.card_changed(card.id, before, (CardStep::Split, by), now, out);
        Ok(Reply::Regrouped { devices: changed.into_iter().collect(), remarks: Vec::new() })
    }

    /// Has the store keep these devices, with the numbers they have now.
    pub(super) fn save_devices(&mut self, keys: &[DeviceKey], now: Time, out: &mut Output) {
        let Self { inventory, ports, identities, settings, .. } = self;
        out.saves.extend(inventory.save_now(keys, now, ports, identities, settings));
    }

    /// The entries about any of these addresses.
    fn entries_about(&self, keys: &[DeviceKey]) -> BTreeSet<BlockId> {
        let targets = keys.iter().flat_map(|key| self.inventory.belongings(*key));
        targets
            .flat_map(|target| self.blocks.about(target).map(|block| block.id).collect::<Vec<_>>())
            .collect()
    }

    /// Makes what is cut off by one address of a merged device cut off by all.
    fn join_entries(&mut self, card: &Card, now: Time, out: &mut Output) -> Vec<Remark> {
        let vital = card.criticality == Some(Criticality::LifeCritical);
        let mut remarks = Vec::new();
        for id in self.entries_about(&card.keys) {
            let Some(block) = self.blocks.get(id).cloned() else { continue };
            let missing = card.keys.iter().filter(|key| !block.targets.contains(&target(**key)));
            let missing: Vec<DeviceKey> = missing.copied().collect();
            let is_device = card
                .keys
                .iter()
                .any(|key| matches!(key, DeviceKey::Local(_)) && block.targets.contains(&target(*key)));
            if !block.follows || !is_device {
                remarks.push(Remark::Alone(id, block.targets));
            } else if !missing.is_empty() {
                remarks.extend(self.extend_entry(block, &missing, vital, now, out));
            }
        }
        remarks
    }

    /// Makes an entry be about these too, as far as that may be. `vital`: a life depends on them.
    fn extend_entry(
        &mut self,
        mut block: Block,
        keys: &[DeviceKey],
        vital: bool,
        now: Time,
        out: &mut Output,
    ) -> Vec<Remark> {
        let (mut new, mut remarks) = (Vec::new(), Vec::new());
        let spared = |targets, why| Remark::Spared(block.id, targets, why);
        for key in keys {
            let targets = self.inventory.belongings(*key);
            // One that lived behind a gateway, and has no address that is its alone.
            if targets.is_empty() {
                continue;
            }
            let barred = targets.iter().any(|target| self.refuse(*target, false).is_some());
            if vital {
                remarks.push(spared(
                    targets,
                    "a life depends on it. To cut it off all the same, enter it by its address",
                ));
            } else if barred {
                remarks.push(spared(targets, "it is protected, or a gateway"));
            } else {
                let missing =
                    |target: &Target| !block.targets.contains(target) && !self.is_covered(*target, &block);
                new.extend(targets.into_iter().filter(missing));
            }
        }
        // The MAC addresses first: they hold the device whatever it calls itself.
        new.sort_by_key(|target| !matches!(target, Target::Mac(_)));
        let left = new.split_off(new.len().min(MAX_TARGETS.saturating_sub(block.targets.len())));
        if !left.is_empty() {
            remarks.push(spared(left, "an entry has no room for more addresses"));
        }
        if new.is_empty() {
            return remarks;
        }
        if let List::Learned { allowed, .. } = &block.list {
            let more: Vec<_> =
                self.learn(&new, None, now).into_iter().filter(|allow| !allowed.contains(allow)).collect();
            // Both lists are there for a moment.
            if self.blocks.pinned() + allowed.len() + more.len() > MAX_PINNED {
                remarks.push(spared(new, "what pinned devices may do fills the table"));
                return remarks;
            }
            let allowed = [&allowed[..], &more].concat().into();
            block.list = List::Learned { number: self.blocks.next_list(), allowed };
        }
        block.targets.extend(&new);
        remarks.insert(0, Remark::Extended(block.id, new));
        let device = keys.first().and_then(|key| self.describe(*key));
        let isolation = tell(&block, Change::Followed, device);
        self.enter(block, out);
        out.events.push(Timed { time: now, event: Event::Isolation(isolation) });
        remarks
    }

    /// Gives an address that was parted from a device the entries about that for its own: each can then be taken out alone.
    fn part_entries(&mut self, key: DeviceKey, card: &Card, now: Time, out: &mut Output) -> Vec<Remark> {
        let belongings = self.inventory.belongings(key);
        let mut remarks = Vec::new();
        for id in self.entries_about(&card.keys) {
            let Some(mut old) = self.blocks.get(id).cloned() else { continue };
            let mut new = old.clone();
            new.targets.retain(|target| belongings.contains(target));
            old.targets.retain(|target| !belongings.contains(target));
            if !old.follows || new.targets.is_empty() || old.targets.is_empty() {
                let Some(block) = self.blocks.get(id) else { continue };
                remarks.push(Remark::Held(id, block.targets.clone()));
                continue;
            }
            if self.blocks.len() >= MAX_BLOCKS {
                remarks.push(Remark::Joint(id, "the block list is full"));
                continue;
            }
            if let List::Learned { number, allowed } = &mut new.list {
                if self.blocks.pinned() + allowed.len() > MAX_PINNED {
                    remarks.push(Remark::Joint(id, "what pinned devices may do fills the table"));
                    continue;
                }
                *number = self.blocks.next_list();
            }
            new.id = self.blocks.next_id();
            for block in [&new, &old] {
                remarks.push(Remark::Held(block.id, block.targets.clone()));
            }
            let device = self.describe(key);
            // The new one first: nothing is let go in between.
            for (block, change, device) in [(new, Change::Added, device), (old, Change::Narrowed, None)] {
                let isolation = tell(&block, change, device);
                self.enter(block, out);
                out.events.push(Timed { time: now, event: Event::Isolation(isolation) });
            }
        }
        remarks
    }
}
