//! The flow tables, swept for what grew and what ended.
//!
//! They are arrays of sets (see [`sensor_ebpf::table`]), which are read in batches: aya reads them one by one, with two system
//! calls for each.

use std::os::fd::AsFd;

use aya::maps::{Map, MapData, MapError};
use sensor_ebpf::flow::{FlowKey4, FlowKey6, FlowValue};
use sensor_ebpf::table::{Set, Slot, WAYS};

use super::error::BpfError;
use super::pod::Wire;
use super::sensor::MapSource;
use super::sys::{self, BatchEnd};

/// Key of a flow of either table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlowKey {
    /// IPv4 or ARP.
    V4(FlowKey4),
    /// IPv6.
    V6(FlowKey6),
}

/// Sets read by one call: 16 KiB.
const CHUNK: usize = 16;
/// Calls, and flows, after which a sweep lets other things be done: what lies in the rings meanwhile waits, and it may be the
/// evidence against a scanner.
const CALLS: usize = 64;
const MANY: usize = 128;
/// How often a set is read that was being written, which takes a tenth of a microsecond.
const TRIES: usize = 16;

/// How far a sweep of both tables has come.
#[derive(Debug)]
pub struct Sweep {
    stage: Stage,
    cursor: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    V4,
    V6,
    Done,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { stage: Stage::V4, cursor: None }
    }
}

/// Both flow tables.
pub struct Flows {
    v4: Table<FlowKey4>,
    v6: Table<FlowKey6>,
}

impl Flows {
    pub(super) fn open(ebpf: &mut impl MapSource) -> Result<Self, BpfError> {
        Ok(Self { v4: Table::open(ebpf, "FLOW4")?, v6: Table::open(ebpf, "FLOW6")? })
    }

    /// Another hand on the same tables.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn share(&self) -> Result<Self, BpfError> {
        Ok(Self { v4: self.v4.share()?, v6: self.v6.share()? })
    }

    /// How many sets each table has: IPv4 and ARP, IPv6.
    pub fn sets(&self) -> [u32; 2] {
        [self.v4.sets, self.v6.sets]
    }

    /// How many flows each table has room for, likewise.
    pub fn capacity(&self) -> [u32; 2] {
        self.sets().map(|sets| sets.saturating_mul(WAYS as u32))
    }

    /// Reads all flows, those that are over too; see [`Flows::sweep_some`] for doing other things meanwhile.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn sweep(&mut self, mut each: impl FnMut(FlowKey, &FlowValue)) -> Result<(), BpfError> {
        let mut sweep = Sweep::default();
        while self.sweep_some(&mut sweep, &mut each)? {}
        Ok(())
    }

    /// Reads the next few hundred flows (a millisecond at most); false when there are no more. A flow that stays in the table is seen
    /// once, one that comes or goes meanwhile once or not at all.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn sweep_some(
        &mut self,
        sweep: &mut Sweep,
        mut each: impl FnMut(FlowKey, &FlowValue),
    ) -> Result<bool, BpfError> {
        let mut flows = 0;
        for _ in 0..CALLS {
            let cursor = &mut sweep.cursor;
            let mut count = |key: FlowKey, value: &FlowValue| {
                flows += 1;
                each(key, value);
            };
            let (finished, next) = match sweep.stage {
                Stage::V4 => {
                    (self.v4.read(cursor, |slot| count(FlowKey::V4(slot.key), &slot.value))?, Stage::V6)
                }
                Stage::V6 => {
                    (self.v6.read(cursor, |slot| count(FlowKey::V6(slot.key), &slot.value))?, Stage::Done)
                }
                Stage::Done => return Ok(false),
            };
            if finished {
                *sweep = Sweep { stage: next, cursor: None };
            }
            if flows >= MANY {
                break;
            }
        }
        Ok(sweep.stage != Stage::Done)
    }
}

/// One table, with room for what is read at once.
struct Table<K> {
    name: &'static str,
    map: MapData,
    sets: u32,
    indices: Vec<u32>,
    read: Vec<Set<K>>,
}

impl<K: Copy + Default> Table<K>
where
    Set<K>: Wire,
{
    /// Opens a table and makes sure its sets are of the size the kernel will write.
    fn open(ebpf: &mut impl MapSource, name: &'static str) -> Result<Self, BpfError> {
        let Map::Array(map) = ebpf.map(name)? else {
            return Err(BpfError::Object(format!("no array {name}")));
        };
        let info = map.info().map_err(|error| BpfError::map(format!("asking about {name}"), error))?;
        if info.value_size() as usize != size_of::<Set<K>>() {
            return Err(BpfError::Object(format!(
                "map {name} has sets of {} bytes, not of {}",
                info.value_size(),
                size_of::<Set<K>>()
            )));
        }
        Ok(Self::of(name, map, info.max_entries()))
    }

    fn of(name: &'static str, map: MapData, sets: u32) -> Self {
        Self { name, map, sets, indices: vec![0; CHUNK], read: vec![Set::default(); CHUNK] }
    }

    fn share(&self) -> Result<Self, BpfError> {
        let fault = |error: MapError| BpfError::map(format!("sharing {}", self.name), error);
        let fd = self.map.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| BpfError::Object(format!("sharing {}: {error}", self.name)))?;
        Ok(Self::of(self.name, MapData::from_fd(fd).map_err(fault)?, self.sets))
    }

    /// Reads the next sets; true when they were the last.
    fn read(&mut self, cursor: &mut Option<u32>, mut each: impl FnMut(&Slot<K>)) -> Result<bool, BpfError> {
        let fault = |error| BpfError::map(format!("sweeping {}", self.name), error);
        let map = self.map.fd().as_fd();
        let end = sys::lookup_batch(map, *cursor, &mut self.indices, &mut self.read).map_err(fault)?;
        let (count, finished) = match end {
            BatchEnd::More(count, next) => {
                *cursor = Some(next);
                (count, false)
            }
            BatchEnd::Last(count) => (count, true),
            // Only tables with buckets have any that are too large.
            BatchEnd::TooSmall => (0, true),
        };
        for (index, set) in self.indices.iter().zip(&mut self.read).take(count) {
            let mut tries = 0;
            while !set.is_whole() {
                tries += 1;
                if tries > TRIES {
                    return Err(BpfError::Object(format!(
                        "set {index} of {} is written without end",
                        self.name
                    )));
                }
                *set = sys::lookup(map, index).map_err(fault)?.unwrap_or_default();
            }
            set.flows().for_each(&mut each);
        }
        Ok(finished)
    }
}
