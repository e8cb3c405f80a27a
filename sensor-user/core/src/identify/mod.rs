//! What kind of device is it? From what devices say of themselves when they ask for an address and look for others, from how
//! they open connections, from what they serve and use, and from their maker. Nothing else of what they send is looked at.
//!
//! [`heard`] reads frames that were told whole, [`facts`] keeps what was seen of a device, [`rules`] says what that means, and
//! [`judge`] adds it up. Devices lie about themselves as they like: a label is for people to find their way by, and nothing is
//! restricted or spared by it.

mod bytes;
pub mod client;
pub mod dhcp;
pub mod facts;
pub mod group;
pub mod heard;
pub mod judge;
pub mod kept;
pub mod kind;
pub mod makers;
pub mod mdns;
pub mod neighbour;
pub mod netbios;
pub mod rules;
pub mod ssdp;
pub mod syn;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::FlowId;
use crate::state::state;
use crate::time::{HOUR, MINUTE, Time};

use facts::{Facts, Service};
use heard::{Heard, Said};
pub use judge::Known;
pub use kind::{Kind, Label};
use neighbour::Neighbour;

/// How often it is told that a device is taken for another kind: one that says always something else is told no more.
const MAX_TOLD: u8 = 8;
/// A switch that was not heard for so long is gone; LLDP comes twice a minute.
const SWITCH_GONE: u64 = HOUR;
/// That a switch is still there is noted this often.
const SWITCH_AGAIN: u64 = 10 * MINUTE;

/// A device, as far as it is identified.
#[derive(Clone, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Identity {
    facts: Facts,
    /// The kind it was told as, by its place in [`Kind::ALL`], and how often one was told.
    told: Option<u8>,
    times: u8,
    /// What it was taken for when that was last looked at; none if it was not since the start.
    #[borsh(skip)]
    label: Option<Option<Label>>,
}

/// A switch that is plugged into one of our ports.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Uplink {
    neighbour: Neighbour,
    last: Time,
}

/// What was seen of all devices.
#[derive(Debug)]
pub struct Identities {
    devices: Lru<DeviceKey, Identity>,
    /// By the index of our port: there are 255 at most.
    uplinks: BTreeMap<u8, Uplink>,
}

state!(Identities { devices, uplinks });

impl Identities {
    /// An empty table for at most `limit` devices.
    pub fn new(limit: usize) -> Self {
        Self { devices: Lru::new(capacity(limit)), uplinks: BTreeMap::new() }
    }

    /// What was seen of a device.
    pub fn facts(&self, key: DeviceKey) -> Option<&Facts> {
        self.devices.peek(&key).map(|identity| &identity.facts)
    }

    /// Whether what a device said is anything new: a switch must be heard now and then, or it is gone.
    pub fn is_news(&self, key: DeviceKey, heard: &Heard) -> bool {
        if matches!(&heard.said, Said::Neighbour(neighbour) if neighbour.is_switch()) {
            let last = self.uplinks.get(&heard.port).map(|uplink| uplink.last);
            if last.is_none_or(|last| heard.time.since(last) >= SWITCH_AGAIN) {
                return true;
            }
        }
        match self.devices.peek(&key) {
            Some(identity) => identity.facts.clone().hear(heard.mac, &heard.said),
            None => Facts::default().hear(heard.mac, &heard.said),
        }
    }

    /// Takes in what a device said; whether that is new.
    pub fn hear(&mut self, key: DeviceKey, heard: &Heard) -> bool {
        if let Said::Neighbour(neighbour) = &heard.said
            && neighbour.is_switch()
        {
            let uplink = Uplink { neighbour: neighbour.clone(), last: heard.time };
            self.uplinks.insert(heard.port, uplink);
        }
        self.of(key).facts.hear(heard.mac, &heard.said)
    }

    /// Notes that a device answered another, which asked for this flow.
    pub fn served(&mut self, server: DeviceKey, asked: &FlowId) -> bool {
        self.of(server).facts.add_served(Service { proto: asked.proto, port: asked.dport })
    }

    /// Notes that a device was answered.
    pub fn used(&mut self, client: DeviceKey, asked: &FlowId) -> bool {
        self.of(client).facts.add_used(Service { proto: asked.proto, port: asked.dport })
    }

    /// Forgets what was seen of a device: it was of others, whose packets it passed on.
    pub fn forget(&mut self, key: DeviceKey) {
        self.devices.pop(&key);
    }

    fn of(&mut self, key: DeviceKey) -> &mut Identity {
        self.devices.get_or_insert_mut(key, Identity::default)
    }

    /// What kind a device is, as it was when something new was last known of it.
    pub fn label(&self, key: DeviceKey, known: Known<'_>) -> Option<Label> {
        match self.devices.peek(&key) {
            Some(Identity { label: Some(label), .. }) => label.clone(),
            Some(identity) => judge::judge(&identity.facts, known),
            None => judge::judge(&Facts::default(), known),
        }
    }

    /// Judges anew what kind a device is, which is told.
    pub fn told(&mut self, key: DeviceKey, known: Known<'_>) -> Option<Label> {
        let identity = self.of(key);
        let label = judge::judge(&identity.facts, known);
        identity.told = label.as_ref().map(|label| label.kind as u8).or(identity.told);
        identity.label = Some(label.clone());
        label
    }

    /// The same, if it is to be told: it is another kind than was told before.
    pub fn news(&mut self, key: DeviceKey, known: Known<'_>) -> Option<Label> {
        let identity = self.of(key);
        let before = identity.told;
        let label = self.told(key, known);
        let identity = self.of(key);
        if identity.told == before || identity.times >= MAX_TOLD {
            return None;
        }
        identity.times += 1;
        label
    }

    /// The switch that is plugged into the port of this index.
    pub fn uplink(&self, port: u8, now: Time) -> Option<&Neighbour> {
        self.uplinks
            .get(&port)
            .filter(|uplink| now.since(uplink.last) < SWITCH_GONE)
            .map(|uplink| &uplink.neighbour)
    }
}
