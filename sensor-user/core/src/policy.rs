//! The block list: who is cut off, why, until when; and what the kernel is to do about it.
//!
//! Entries made by a person and by an incident live in one list, so that one command shows and undoes both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Serialize;

use crate::addr::{AddrError, Mac};
use crate::time::Time;

/// Number of a block entry: the rule id in the kernel.
pub type BlockId = u32;

/// Most entries of the block list.
pub const MAX_BLOCKS: usize = 16_384;
/// Most addresses one entry covers.
pub const MAX_TARGETS: usize = 64;

/// What a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    /// A MAC address.
    Mac(Mac),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Mac(mac) => mac.fmt(f),
            Target::Ip(ip) => ip.fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = AddrError;

    /// Reads what [`fmt::Display`] writes; an IPv4 address written as IPv6 is the IPv4 address.
    fn from_str(s: &str) -> Result<Self, AddrError> {
        if let Ok(mac) = s.parse() {
            return Ok(Target::Mac(mac));
        }
        let ip: IpAddr = s.parse().map_err(|_| AddrError::Target(s.to_owned()))?;
        Ok(Target::Ip(ip.to_canonical()))
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How much is cut off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing from it, nothing to it.
    Isolate,
}

impl Level {
    /// The level's name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Isolate => "isolate",
        }
    }
}

/// Who made an entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A person, by this account.
    Manual(String),
    /// An incident.
    Incident(u64),
}

/// One entry of the block list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Block {
    /// Its number.
    pub id: BlockId,
    /// The addresses cut off.
    pub targets: Vec<Target>,
    /// How much.
    pub level: Level,
    /// Who made it.
    pub origin: Origin,
    /// Why, with the numbers.
    pub reason: String,
    /// Since when.
    pub since: Time,
    /// Until when; none: until somebody takes it out.
    pub until: Option<Time>,
    /// Observe mode: nothing is dropped, only counted.
    pub would: bool,
}

/// An order to the data path. Orders are absolute, so that one carried out twice does no harm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Cut this off.
    Isolate {
        /// Whom.
        target: Target,
        /// The entry it belongs to.
        id: BlockId,
        /// Until when.
        until: Option<Time>,
        /// Only count.
        would: bool,
    },
    /// Never drop on account of this.
    Protect(Target),
    /// No rule for this any more.
    Clear(Target),
}

/// What the store is to remember.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Save {
    /// Enter or replace this entry.
    Put(Block),
    /// Forget this entry.
    Forget(BlockId),
}

/// How to name an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockName {
    /// By number.
    Id(BlockId),
    /// By an address it covers.
    Target(Target),
}

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockName::Id(id) => write!(f, "number {id}"),
            BlockName::Target(target) => target.fmt(f),
        }
    }
}

/// The block list.
#[derive(Debug, Default)]
pub struct Blocklist {
    blocks: BTreeMap<BlockId, Block>,
    by_target: BTreeMap<Target, BlockId>,
    by_end: BTreeSet<(Time, BlockId)>,
    last_id: BlockId,
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

    /// The entry of that name.
    pub fn find(&self, name: BlockName) -> Option<&Block> {
        let id = match name {
            BlockName::Id(id) => id,
            BlockName::Target(target) => *self.by_target.get(&target)?,
        };
        self.blocks.get(&id)
    }

    /// A number no entry had before.
    pub fn next_id(&mut self) -> BlockId {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        self.last_id
    }

    /// Enters or replaces an entry. Addresses that another entry holds stay with that one.
    pub fn put(&mut self, mut block: Block) -> &Block {
        self.last_id = self.last_id.max(block.id);
        self.take(block.id);
        block.targets.retain(|target| !self.by_target.contains_key(target));
        block.targets.truncate(MAX_TARGETS);
        self.by_target.extend(block.targets.iter().map(|target| (*target, block.id)));
        self.by_end.extend(block.until.map(|until| (until, block.id)));
        self.blocks.entry(block.id).insert_entry(block).into_mut()
    }

    /// Takes an entry out.
    pub fn take(&mut self, id: BlockId) -> Option<Block> {
        let block = self.blocks.remove(&id)?;
        for target in &block.targets {
            self.by_target.remove(target);
        }
        if let Some(until) = block.until {
            self.by_end.remove(&(until, id));
        }
        Some(block)
    }

    /// The entries whose time is up.
    pub fn lapsed(&self, now: Time) -> Vec<BlockId> {
        self.by_end.iter().take_while(|(end, _)| *end <= now).map(|(_, id)| *id).collect()
    }
}

/// The orders that bring an entry about.
pub fn decisions(block: &Block) -> impl Iterator<Item = Decision> {
    block.targets.iter().map(|target| Decision::Isolate {
        target: *target,
        id: block.id,
        until: block.until,
        would: block.would,
    })
}
