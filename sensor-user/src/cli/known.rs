//! Devices by the names and numbers that people know them by, from the daemon's database: no daemon need run.

use std::collections::BTreeSet;
use std::path::Path;

use sensor_core::inventory::DeviceKey;
use sensor_core::inventory::cards::Card;
use sensor_core::inventory::kept::Kept;
use sensor_core::policy::Target;

use super::CliError;
use crate::clock::Now;
use crate::store::Store;

/// The devices of a state directory.
pub struct Known {
    kept: Vec<Kept>,
    cards: Vec<Card>,
}

impl Known {
    /// Reads them; none if there never was a daemon.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn read(state_dir: &Path) -> Result<Self, CliError> {
        let (kept, cards) = Store::peek_devices(state_dir, Now::read())?;
        Ok(Self { kept, cards })
    }

    /// The names that people gave, by address.
    pub fn names(&self) -> impl Iterator<Item = (Target, &String)> {
        self.cards.iter().flat_map(|card| {
            card.name.iter().flat_map(|name| card.keys.iter().map(move |key| (target(*key), name)))
        })
    }

    /// The addresses a device is known by, by its number.
    pub fn numbered(&self, id: u64) -> Vec<Target> {
        let cards = self.cards.iter().filter(|card| card.id == id).flat_map(|card| card.keys.clone());
        let kept = self.kept.iter().filter(|kept| kept.id == id).map(|kept| kept.key);
        let keys: BTreeSet<_> = cards.chain(kept).map(target).collect();
        keys.into_iter().collect()
    }

    /// The same of one that people call so, by number or name.
    pub fn called(&self, text: &str) -> Vec<Target> {
        if let Ok(id) = text.parse() {
            return self.numbered(id);
        }
        let named = self.names().filter(|(_, name)| name.to_lowercase() == text.to_lowercase());
        named.map(|(target, _)| target).collect()
    }
}

fn target(key: DeviceKey) -> Target {
    match key {
        DeviceKey::Local(mac) => Target::Mac(mac),
        DeviceKey::Routed(ip) => Target::Ip(ip),
    }
}
