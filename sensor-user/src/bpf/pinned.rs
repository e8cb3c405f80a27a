//! The maps of a program that is loaded already, by their pins: for whoever may use them, but loads nothing.

use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData};
use sensor_ebpf::ABI;

use super::error::{BpfError, chain};
use super::object::{self, OBJECT};
use super::pins::{self, Pins, pin_error};
use super::sensor::MapSource;

/// The pinned maps of a bridge.
pub struct PinnedMaps {
    dir: PathBuf,
}

impl PinnedMaps {
    /// Finds the maps of a bridge and makes sure that each is of the shape this program knows.
    ///
    /// # Errors
    ///
    /// [`BpfError::NotLoaded`] if there are none, [`BpfError::OtherAbi`] if they are of another release,
    /// [`BpfError::Pin`] if they cannot be looked at.
    pub fn open(pin_dir: &Path, bridge: &str) -> Result<Self, BpfError> {
        let root = pins::root(pin_dir, bridge);
        let dir = pins::maps_of(&root, ABI);
        match dir.read_dir() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(match pins::abis(&root)?.pop() {
                    Some(found) => BpfError::OtherAbi { path: root, found },
                    None => BpfError::NotLoaded { bridge: bridge.to_owned(), pin_dir: pin_dir.to_owned() },
                });
            }
            Err(error) => return Err(pin_error("reading", &dir)(error)),
        }
        Self::check(root, dir)
    }

    /// The same, of pins that are open.
    pub fn of(pins: &Pins) -> Result<Self, BpfError> {
        Self::check(pins.root().to_owned(), pins::maps_of(pins.root(), ABI))
    }

    fn check(root: PathBuf, dir: PathBuf) -> Result<Self, BpfError> {
        for wanted in object::pinned_maps(OBJECT)? {
            if pins::shape_of_pin(&wanted, &dir.join(&wanted.name)).as_ref() != Some(&wanted) {
                return Err(BpfError::OtherAbi { path: root, found: ABI });
            }
        }
        Ok(Self { dir })
    }
}

impl MapSource for PinnedMaps {
    fn map(&mut self, name: &str) -> Result<Map, BpfError> {
        let fault = |error| BpfError::Object(format!("map {name}: {}", chain(&error)));
        MapData::from_pin(self.dir.join(name)).and_then(Map::from_map_data).map_err(fault)
    }
}
