//! What the verdict depends on besides the rules, read back: segments, the reflex, internal networks, budgets.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::lpm_trie::Key;
use sensor_ebpf::control::{Config, Reflex};
use sensor_ebpf::rule::{Address, SCOPE_CAPACITY, SEGMENTS};

use super::error::BpfError;
use super::pod::Raw;
use super::rules::{Rules, unless_missing};

impl Rules {
    /// The segment of each port and VLAN that is in one, by its index. Takes about 2 ms.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn segments(&self) -> Result<BTreeMap<u32, u32>, BpfError> {
        let mut segments = BTreeMap::new();
        for scope in 0..SCOPE_CAPACITY {
            let segment = self.segment_of.get(&scope, 0);
            let segment = segment.map_err(|error| BpfError::map("reading the segments", error))?;
            if segment != 0 {
                segments.insert(scope, segment);
            }
        }
        Ok(segments)
    }

    /// The reflex of each segment, by its number.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn reflexes(&self) -> Result<Vec<Reflex>, BpfError> {
        let read = |segment| self.reflex.get(&segment, 0).map(|Raw(reflex)| reflex);
        let all: Result<_, _> = (0..SEGMENTS).map(read).collect();
        all.map_err(|error| BpfError::map("reading the reflex of the segments", error))
    }

    /// The internal prefixes: bits of 128, and the address.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn internal(&self) -> Result<BTreeSet<(u32, Address)>, BpfError> {
        let keys = self.internal.iter().map(|entry| {
            entry.map(|(key, _)| {
                let Raw(address) = key.data();
                (key.prefix_len(), address)
            })
        });
        keys.collect::<Result<_, _>>().map_err(|error| BpfError::map("reading the internal prefixes", error))
    }

    /// Takes an internal prefix out.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn remove_internal(&mut self, bits: u32, address: Address) -> Result<(), BpfError> {
        let done = self.internal.remove(&Key::new(bits, Raw(address)));
        unless_missing(|| "removing an internal prefix".to_owned(), done).map(drop)
    }

    /// Sets from when on hosts are charged for new destinations, ns of CLOCK_MONOTONIC.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn set_reflex_from(&mut self, reflex_from_ns: u64) -> Result<(), BpfError> {
        let config = self.config()?;
        self.write(Config { reflex_from_ns, ..config })
    }
}
