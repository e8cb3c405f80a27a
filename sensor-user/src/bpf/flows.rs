//! The flow tables: swept for what grew, emptied of what ended.
//!
//! aya reads a table entry by entry, and begins anew when the entry it stands on is evicted meanwhile: ten times
//! slower at best, and endless under load. So tables are read in batches here.

use std::os::fd::AsFd;

use aya::maps::{Map, MapData, MapError};
use sensor_ebpf::flow::{FlowKey4, FlowKey6, FlowValue};

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

/// Entries read by one call.
const CHUNK: usize = 4096;

/// How far a sweep of both tables has come.
#[derive(Debug)]
pub struct Sweep {
    stage: Stage,
    cursor: Option<u32>,
    /// Entries to read by one call; grows when a bucket of the table has more.
    chunk: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    V4,
    V6,
    Done,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { stage: Stage::V4, cursor: None, chunk: CHUNK }
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

    /// How many flows each table has room for: IPv4 and ARP, IPv6.
    pub fn capacity(&self) -> [u32; 2] {
        [self.v4.capacity, self.v6.capacity]
    }

    /// Reads all flows. A table at its bound takes 0.14 s; see [`Flows::sweep_some`] for doing other things meanwhile.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn sweep(&mut self, mut each: impl FnMut(FlowKey, &FlowValue)) -> Result<(), BpfError> {
        let mut sweep = Sweep::default();
        while self.sweep_some(&mut sweep, &mut each)? {}
        Ok(())
    }

    /// Reads the next few thousand flows (2 ms); false when there are no more. A flow that stays in the table is seen
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
        let (finished, next) = match sweep.stage {
            Stage::V4 => (self.v4.read(sweep, |key, value| each(FlowKey::V4(*key), value))?, Stage::V6),
            Stage::V6 => (self.v6.read(sweep, |key, value| each(FlowKey::V6(*key), value))?, Stage::Done),
            Stage::Done => return Ok(false),
        };
        if finished {
            *sweep = Sweep { stage: next, ..Sweep::default() };
        }
        Ok(sweep.stage != Stage::Done)
    }

    /// Takes a flow out of its table; `None` if it was not there (any more).
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn take(&mut self, key: &FlowKey) -> Result<Option<FlowValue>, BpfError> {
        match key {
            FlowKey::V4(key) => self.v4.take(key),
            FlowKey::V6(key) => self.v6.take(key),
        }
    }
}

/// One table, with room for what is read at once.
struct Table<K> {
    name: &'static str,
    map: MapData,
    capacity: u32,
    keys: Vec<K>,
    values: Vec<FlowValue>,
}

impl<K: Wire> Table<K> {
    /// Opens a table and makes sure its keys and values are of the sizes the kernel will read and write.
    fn open(ebpf: &mut impl MapSource, name: &'static str) -> Result<Self, BpfError> {
        let Map::LruHashMap(map) = ebpf.map(name)? else {
            return Err(BpfError::Object(format!("no LRU hash map {name}")));
        };
        let info = map.info().map_err(|error| BpfError::map(format!("asking about {name}"), error))?;
        let wanted = (size_of::<K>() as u32, size_of::<FlowValue>() as u32);
        if (info.key_size(), info.value_size()) != wanted {
            return Err(BpfError::Object(format!(
                "map {name} has keys and values of other sizes than {wanted:?}"
            )));
        }
        Ok(Self { name, capacity: info.max_entries(), map, keys: Vec::new(), values: Vec::new() })
    }

    fn share(&self) -> Result<Self, BpfError> {
        let fault = |error: MapError| BpfError::map(format!("sharing {}", self.name), error);
        let fd = self.map.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| BpfError::Object(format!("sharing {}: {error}", self.name)))?;
        let map = MapData::from_fd(fd).map_err(fault)?;
        Ok(Self { name: self.name, map, capacity: self.capacity, keys: Vec::new(), values: Vec::new() })
    }

    /// Reads the next entries; true when they were the last.
    fn read(&mut self, sweep: &mut Sweep, mut each: impl FnMut(&K, &FlowValue)) -> Result<bool, BpfError> {
        self.keys.resize(sweep.chunk, K::default());
        self.values.resize(sweep.chunk, FlowValue::default());
        let end = sys::lookup_batch(self.map.fd().as_fd(), sweep.cursor, &mut self.keys, &mut self.values)
            .map_err(|error| BpfError::map(format!("sweeping {}", self.name), error))?;
        let (count, finished) = match end {
            BatchEnd::More(count, next) => {
                sweep.cursor = Some(next);
                (count, false)
            }
            BatchEnd::Last(count) => (count, true),
            BatchEnd::TooSmall => {
                sweep.chunk *= 2;
                (0, false)
            }
        };
        self.keys.iter().zip(&self.values).take(count).for_each(|(key, value)| each(key, value));
        Ok(finished)
    }

    fn take(&mut self, key: &K) -> Result<Option<FlowValue>, BpfError> {
        sys::take(self.map.fd().as_fd(), key)
            .map_err(|error| BpfError::map(format!("taking a flow out of {}", self.name), error))
    }
}
