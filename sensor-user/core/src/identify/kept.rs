//! What is kept of what was seen of a device: with it the device is known for the same after the machine was started anew,
//! and is not told again.

use super::facts::Facts;
use super::judge::judge;
use super::{Identities, Identity, Kind, Known, Uplink};
use crate::inventory::DeviceKey;
use crate::time::Time;

/// What was seen of a device, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeptIdentity {
    /// What was seen of it.
    pub facts: Facts,
    /// The kind it was told as.
    pub told: Option<Kind>,
    /// How often it was told that it is taken for another kind.
    pub times: u8,
}

impl Identities {
    /// What is to be kept of a device.
    pub(crate) fn kept(&self, key: DeviceKey) -> KeptIdentity {
        let Some(Identity { facts, told, times, .. }) = self.devices.peek(&key) else {
            return KeptIdentity::default();
        };
        let told = told.and_then(|place| Kind::ALL.get(usize::from(place)).copied());
        KeptIdentity { facts: facts.clone(), told, times: *times }
    }

    /// Takes up what was kept of a device.
    pub(crate) fn take_up(&mut self, key: DeviceKey, kept: KeptIdentity) {
        if kept == KeptIdentity::default() {
            return;
        }
        let KeptIdentity { facts, told, times } = kept;
        let identity =
            Identity { facts: facts.bounded(), told: told.map(|kind| kind as u8), times, label: None };
        self.devices.put(key, identity);
    }

    /// Judges what kind a device is by what was kept of it, without telling: it is asked for often.
    pub(crate) fn look(&mut self, key: DeviceKey, known: Known<'_>) {
        if let Some(identity) = self.devices.peek_mut(&key) {
            identity.label = Some(judge(&identity.facts, known));
        }
    }

    /// Takes a device that was kept for the switch that is plugged into a port, if it said that it is one.
    pub(crate) fn place(&mut self, key: DeviceKey, port: u8, last: Time) {
        let neighbour = self.facts(key).and_then(|facts| facts.neighbour.clone());
        let later = |uplink: &Uplink| uplink.last >= last;
        if let Some(neighbour) = neighbour.filter(|said| said.is_switch())
            && !self.uplinks.get(&port).is_some_and(later)
        {
            self.uplinks.insert(port, Uplink { neighbour, last });
        }
    }
}
