//! What the verdict depends on besides the rules, read back: segments, the reflex, internal networks, budgets, places.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::IterableMap;
use aya::maps::lpm_trie::Key;
use sensor_ebpf::control::{Config, Reflex};
use sensor_ebpf::rule::Address;

use super::error::BpfError;
use super::pod::Raw;
use super::rules::{Rules, read, unless_missing};

impl Rules {
    /// Has the program forget who lived at ports that no longer have their index: they are known anew where they are heard next,
    /// also by those who may move nobody.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn forget_places(&mut self, kept: &BTreeSet<u8>) -> Result<(), BpfError> {
        let is_gone = |place: u32| !kept.iter().any(|index| u32::from(*index) == place);
        let mut gone: Vec<u64> = Vec::new();
        read(self.places.map(), "looking through the places", |mac: u64, place| {
            gone.extend(is_gone(place).then_some(mac));
        })?;
        gone.iter().try_for_each(|mac| {
            unless_missing(|| "forgetting a place".to_owned(), self.places.remove(mac)).map(drop)
        })
    }

    /// The segment of each port and VLAN that is in one, by its index.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn segments(&self) -> Result<BTreeMap<u32, u32>, BpfError> {
        let mut segments = BTreeMap::new();
        read(self.segment_of.map(), "reading the segments", |scope: u32, segment: u32| {
            if segment != 0 {
                segments.insert(scope, segment);
            }
        })?;
        Ok(segments)
    }

    /// The reflex of each segment, by its number.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn reflexes(&self) -> Result<Vec<Reflex>, BpfError> {
        let mut all = Vec::new();
        // An array is read in its order.
        read(self.reflex.map(), "reading the reflex of the segments", |_: u32, reflex| all.push(reflex))?;
        Ok(all)
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
