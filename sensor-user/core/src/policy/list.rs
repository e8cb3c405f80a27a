//! The block list itself: entries by number, by what they are about, and by their end.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use sensor_ebpf::rule::{RULE_REFLEX, SLOTS};

use super::allow::FIRST_PIN;
use super::{Block, BlockId, BlockName, List, MAX_TARGETS, Target};
use crate::time::Time;

/// The block list. Several entries may be about the same target; the strictest holds.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Blocklist {
    blocks: BTreeMap<BlockId, Block>,
    by_target: BTreeSet<(Target, BlockId)>,
    by_end: BTreeSet<(Time, BlockId)>,
    /// Which of the kernel's counters of rules are in use.
    slots: BTreeSet<u32>,
    /// The lists of pinned devices in use.
    lists: BTreeSet<u16>,
    last_id: BlockId,
    last_list: u16,
}

impl Blocklist {
    /// All entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Block> {
        self.blocks.values()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The entry of that number.
    pub fn get(&self, id: BlockId) -> Option<&Block> {
        self.blocks.get(&id)
    }

    /// The entry of that name; of several about a target the strictest.
    pub fn find(&self, name: BlockName) -> Option<&Block> {
        match name {
            BlockName::Id(id) => self.blocks.get(&id),
            BlockName::Target(target) => self.about(target).max_by_key(|block| block.strictness()),
        }
    }

    /// All entries about a target.
    pub fn about(&self, target: Target) -> impl Iterator<Item = &Block> {
        let all = self.by_target.range((target, BlockId::MIN)..=(target, BlockId::MAX));
        all.filter_map(|(_, id)| self.blocks.get(id))
    }

    /// The networks, ports, VLANs and segments there are entries about, each with its entry.
    pub fn wide(&self) -> impl Iterator<Item = (Target, &Block)> {
        let all = self.by_target.range((Target::first_wide(), BlockId::MIN)..);
        all.filter_map(|(target, id)| Some((*target, self.blocks.get(id)?)))
    }

    /// A number no entry had before. No live entry shares its counter in the kernel; 0 and the reflex's are nobody's.
    pub fn next_id(&mut self) -> BlockId {
        // There are more counters than entries, so one is free.
        for _ in 0..=SLOTS {
            self.last_id = self.last_id.wrapping_add(1);
            if !matches!(self.last_id, 0 | RULE_REFLEX) && !self.slots.contains(&(self.last_id % SLOTS)) {
                break;
            }
        }
        self.last_id
    }

    /// Whether an entry of this number can be entered beside the others.
    pub fn has_room_for(&self, id: BlockId) -> bool {
        !matches!(id, 0 | RULE_REFLEX) && !self.slots.contains(&(id % SLOTS))
    }

    /// A number for the list of a pinned device, which no live entry has.
    pub fn next_list(&mut self) -> u16 {
        for _ in FIRST_PIN..=u16::MAX {
            self.last_list = self.last_list.checked_add(1).unwrap_or(FIRST_PIN).max(FIRST_PIN);
            if !self.lists.contains(&self.last_list) {
                break;
            }
        }
        self.last_list
    }

    /// Whether a pinned device's list has this number.
    pub fn has_list(&self, number: u16) -> bool {
        self.lists.contains(&number)
    }

    /// Entries in the lists of all pinned devices.
    pub fn pinned(&self) -> usize {
        self.blocks.values().map(|block| block.list.learned().len()).sum()
    }

    /// Enters or replaces an entry.
    pub fn put(&mut self, mut block: Block) -> &Block {
        self.last_id = self.last_id.max(block.id);
        self.take(block.id);
        block.targets.truncate(MAX_TARGETS);
        self.by_target.extend(block.targets.iter().map(|target| (*target, block.id)));
        self.by_end.extend(block.until.map(|until| (until, block.id)));
        self.slots.insert(block.id % SLOTS);
        if let List::Learned { number, .. } = &block.list {
            self.last_list = self.last_list.max(*number);
            self.lists.insert(*number);
        }
        self.blocks.entry(block.id).insert_entry(block).into_mut()
    }

    /// Takes an entry out.
    pub fn take(&mut self, id: BlockId) -> Option<Block> {
        let block = self.blocks.remove(&id)?;
        for target in &block.targets {
            self.by_target.remove(&(*target, id));
        }
        if let Some(until) = block.until {
            self.by_end.remove(&(until, id));
        }
        self.slots.remove(&(id % SLOTS));
        if let List::Learned { number, .. } = &block.list {
            self.lists.remove(number);
        }
        Some(block)
    }

    /// The entries whose time is up.
    pub fn lapsed(&self, now: Time) -> Vec<BlockId> {
        self.by_end.iter().take_while(|(end, _)| *end <= now).map(|(_, id)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Direction, Level, Origin};
    use super::*;

    fn block(id: BlockId, level: Level) -> Block {
        Block {
            id,
            targets: vec![Target::Vlan(7)],
            level,
            direction: Direction::Both,
            list: List::None,
            follows: false,
            origin: Origin::Incident(1),
            reason: String::new(),
            since: Time::at(0),
            until: None,
            would: false,
        }
    }

    #[test]
    fn no_two_entries_share_a_counter() {
        let mut list = Blocklist::default();
        list.put(block(2, Level::Isolate));
        list.put(block(SLOTS + 1, Level::Isolate));
        assert_eq!(list.next_id(), SLOTS + 3, "1 and 2 are in use");
        list.last_id = RULE_REFLEX - 1;
        assert_eq!(list.next_id(), 3, "neither the reflex's number, nor 0, 1 or 2");
        for _ in 0..SLOTS {
            let id = list.next_id();
            if list.len() < SLOTS as usize {
                assert!(list.has_room_for(id), "{id}");
                list.put(block(id, Level::Isolate));
            }
        }
        assert_eq!(list.slots.len(), list.len());
    }

    #[test]
    fn of_several_entries_the_strictest_holds() {
        let mut list = Blocklist::default();
        let would = Block { would: true, ..block(3, Level::Isolate) };
        for block in [block(1, Level::Throttle), block(2, Level::Pin), would] {
            list.put(block);
        }
        let name = BlockName::Target(Target::Vlan(7));
        let mut held = Vec::new();
        while let Some(id) = list.find(name).map(|block| block.id) {
            held.push(id);
            list.take(id);
        }
        assert_eq!(held, [2, 1, 3], "what is only counted comes last");
    }
}
