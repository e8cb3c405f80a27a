//! The table of ports: which interface has which index in flow keys, records and counters.

use std::os::fd::AsFd;

use aya::maps::{Array, Map, MapData};
use sensor_ebpf::control::{MAX_IFINDEX, Port};
use sensor_ebpf::flow::MAX_PORTS;

use super::counters::Counters;
use super::error::{BpfError, chain};
use super::pod::Raw;
use super::ports::BridgePort;
use super::sensor::{MapSource, open};
use super::sys;

/// The map of ports, and which of the indices 1..=255 are taken. 0 means "not registered" and is never given away.
pub struct PortTable {
    map: Array<MapData, Raw<Port>>,
    /// The interface that has the index.
    taken: [Option<u32>; MAX_PORTS as usize],
}

impl PortTable {
    /// Opens the table an earlier daemon may have left. Ports that are there keep their index; those that are gone lose
    /// theirs, with what was counted under it.
    ///
    /// # Errors
    ///
    /// [`BpfError::Object`] or [`BpfError::Map`].
    pub fn open(
        ebpf: &mut impl MapSource,
        ports: &[BridgePort],
        counters: &mut Counters,
    ) -> Result<Self, BpfError> {
        let Map::Array(map) = ebpf.map("PORTS")? else {
            return Err(BpfError::Object("no array PORTS".to_owned()));
        };
        let registered = registered(&map)?;
        let map = Array::try_from(Map::Array(map)).map_err(|error| BpfError::Object(chain(&error)))?;
        let mut table = Self { map, taken: [None; MAX_PORTS as usize] };
        for (ifindex, index) in registered {
            let slot = &mut table.taken[usize::from(index)];
            if slot.is_none() && ports.iter().any(|port| port.ifindex == ifindex) {
                *slot = Some(ifindex);
            } else {
                table.set(ifindex, 0)?;
                counters.take_port(index)?;
            }
        }
        Ok(table)
    }

    /// Opens the table that another process keeps.
    ///
    /// # Errors
    ///
    /// [`BpfError::Object`] or [`BpfError::Map`].
    pub fn attend(source: &mut impl MapSource) -> Result<Self, BpfError> {
        Ok(Self { map: open(source, "PORTS")?, taken: [None; MAX_PORTS as usize] })
    }

    /// The index that the keeper of the table gave a port, which is noted.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn look_up(&mut self, ifindex: u32) -> Result<Option<u8>, BpfError> {
        if ifindex >= MAX_IFINDEX {
            return Ok(None);
        }
        let Raw(port) =
            self.map.get(&ifindex, 0).map_err(|error| BpfError::map("reading the table of ports", error))?;
        if port.index == 0 {
            return Ok(None);
        }
        self.taken[usize::from(port.index)] = Some(ifindex);
        Ok(Some(port.index))
    }

    /// Forgets what was noted of an interface.
    pub fn forget(&mut self, ifindex: u32) {
        self.taken.iter_mut().filter(|slot| **slot == Some(ifindex)).for_each(|slot| *slot = None);
    }

    /// The interface that has an index.
    pub fn ifindex(&self, index: u8) -> Option<u32> {
        self.taken[usize::from(index)]
    }

    /// Gives a port its index. A port known from before keeps the one it had.
    ///
    /// # Errors
    ///
    /// [`BpfError::IfindexTooLarge`], [`BpfError::TooManyPorts`] or [`BpfError::Map`].
    pub fn register(&mut self, port: &BridgePort) -> Result<u8, BpfError> {
        if port.ifindex >= MAX_IFINDEX {
            return Err(BpfError::IfindexTooLarge { port: port.name.clone(), ifindex: port.ifindex });
        }
        let known = (1..=u8::MAX).find(|&index| self.ifindex(index) == Some(port.ifindex));
        let index = known
            .or_else(|| (1..=u8::MAX).find(|&index| self.ifindex(index).is_none()))
            .ok_or_else(|| BpfError::TooManyPorts { port: port.name.clone() })?;
        self.set(port.ifindex, index)?;
        self.taken[usize::from(index)] = Some(port.ifindex);
        Ok(index)
    }

    /// Takes the index of an interface back.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`]; it keeps the index then.
    pub fn unregister(&mut self, ifindex: u32) -> Result<(), BpfError> {
        self.set(ifindex, 0)?;
        self.forget(ifindex);
        Ok(())
    }

    fn set(&mut self, ifindex: u32, index: u8) -> Result<(), BpfError> {
        self.map
            .set(ifindex, Raw(Port { index, ..Port::default() }), 0)
            .map_err(|error| BpfError::map(format!("setting the port index of interface {ifindex}"), error))
    }
}

/// Copies the table of another release.
///
/// # Errors
///
/// [`BpfError::Object`] or [`BpfError::Map`].
pub fn copy(from: &MapData, to: MapData) -> Result<(), BpfError> {
    let mut map: Array<MapData, Raw<Port>> =
        Array::try_from(Map::Array(to)).map_err(|error| BpfError::Object(chain(&error)))?;
    for (ifindex, index) in registered(from)? {
        map.set(ifindex, Raw(Port { index, ..Port::default() }), 0)
            .map_err(|error| BpfError::map("copying the table of ports", error))?;
    }
    Ok(())
}

/// All interfaces in the table that have an index. In batches: one by one 65,536 calls would be a tenth of a second.
fn registered(map: &MapData) -> Result<Vec<(u32, u8)>, BpfError> {
    let mut found = Vec::new();
    let each = |ifindex: u32, port: Port| found.extend((port.index != 0).then_some((ifindex, port.index)));
    sys::each_entry(map.fd().as_fd(), each)
        .map_err(|error| BpfError::map("reading the table of ports", error))?;
    Ok(found)
}
