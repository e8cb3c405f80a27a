//! The block list: who is restricted, how far, why, until when; and what the kernel is to do about it.
//!
//! Entries made by a person and by an incident live in one list, so that one command shows and undoes both.

mod allow;
pub mod class;
pub mod decide;
mod level;
mod list;
pub mod memory;
pub mod preview;
pub mod repeat;
pub mod review;
pub mod ruling;
mod target;
mod why;
pub mod window;

use std::fmt;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::Serialize;

use crate::inventory::DeviceKey;
use crate::inventory::cards::{Card, DeviceId};
use crate::inventory::kept::Kept;
use crate::time::Time;

pub(crate) use allow::FIRST_PIN;
pub use allow::{Allow, DEFAULT_LIST, MAX_LIST, MAX_LISTS, MAX_PIN, MAX_PINNED, Service};
pub use level::{Direction, Level};
pub use list::Blocklist;
pub use memory::{Memory, MemoryKey};
pub use target::{MAX_NAME, MAX_VLAN, Name, Target, vlan};
pub use why::Why;

/// Number of a block entry: the rule id in the kernel.
pub type BlockId = u32;

/// Most entries of the block list.
pub const MAX_BLOCKS: usize = 16_384;
/// Most targets of one entry.
pub const MAX_TARGETS: usize = 64;

/// What a restricted device may do all the same.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
#[serde(rename_all = "snake_case")]
pub enum List {
    /// The level says it all.
    #[default]
    None,
    /// A list of the configuration.
    Named(Name),
    /// What it did before it was pinned.
    Learned {
        /// The number of the list in the kernel.
        number: u16,
        /// What is allowed.
        #[serde(serialize_with = "sequence")]
        allowed: Arc<[Allow]>,
    },
}

fn sequence<S: serde::Serializer>(allowed: &Arc<[Allow]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(allowed.iter())
}

impl List {
    /// What was learned; nothing for other lists.
    pub fn learned(&self) -> &[Allow] {
        match self {
            List::Learned { allowed, .. } => allowed,
            _ => &[],
        }
    }

    /// How many pairs of peer and service were learned.
    pub fn pairs(&self) -> usize {
        self.learned().iter().filter(|allow| !Allow::BASIC.contains(allow)).count()
    }
}

/// Who made an entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A person, by this account.
    Manual(String),
    /// An incident.
    Incident(u64),
}

/// One entry of the block list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Block {
    /// Its number.
    pub id: BlockId,
    /// What it is about.
    pub targets: Vec<Target>,
    /// How much is restricted.
    pub level: Level,
    /// Which way.
    pub direction: Direction,
    /// What is allowed all the same.
    pub list: List,
    /// It is about a device: addresses the device takes are added, those another one takes are taken out.
    pub follows: bool,
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

impl Block {
    /// What to compare to find the strictest of several entries: whether it is enforced, its level, whether it is for both
    /// directions, its end.
    fn strictness(&self) -> (bool, Level, bool, Time, BlockId) {
        let both = self.direction == Direction::Both;
        (!self.would, self.level, both, self.until.unwrap_or(Time::LATEST), self.id)
    }
}

/// A rule of the kernel but for what it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Restriction {
    /// The entry it belongs to.
    pub id: BlockId,
    /// How much.
    pub level: Level,
    /// Which way.
    pub direction: Direction,
    /// Number of the allow list, 0 for none.
    pub list: u16,
    /// Until when.
    pub until: Option<Time>,
    /// Only count.
    pub would: bool,
}

/// An order to the data path. Orders are absolute, so that one carried out twice does no harm; they are carried out in
/// their order.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub enum Decision {
    /// Restrict this, and no other way than this.
    Restrict(Target, Restriction),
    /// Never drop on account of this.
    Protect(Target),
    /// No rule for this any more.
    Clear(Target),
    /// The allow list of this number is this.
    Allow(u16, Arc<[Allow]>),
    /// There is no allow list of this number any more.
    Forbid(u16),
    /// This entry is new: what its rule does is counted from here on.
    Begin(BlockId),
}

/// What the store is to remember.
#[derive(Clone, PartialEq, Debug)]
pub enum Save {
    /// Enter or replace this entry.
    Put(Block),
    /// Forget this entry.
    Forget(BlockId),
    /// Remember this, in place of what it was before.
    Keep(Memory),
    /// Remember it no more.
    Drop(MemoryKey),
    /// Keep this device, in place of what it was before.
    Device(Box<Kept>),
    /// Keep it no more.
    ForgetDevice(DeviceKey),
    /// Keep what is said of a device, in place of what was before.
    Card(Box<Card>),
    /// Nothing is said of it any more.
    ForgetCard(DeviceId),
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
