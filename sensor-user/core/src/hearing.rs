//! Where answers go another way: on a link of which the sensor sees but one direction, silence says nothing.
//!
//! Such a place, a VLAN or a port's part of one, is *deaf* while three devices there opened connections with services that used to answer
//! others, two servers at least, the first of them a second ago, and nobody there was answered by anybody since. A server
//! that died makes nobody deaf, for it is one; nor does a scan, whatever the number of scanners: what they try never
//! answered, and what does answer them ends it. Only TCP counts, for whoever wants to be taken for deaf could send what a
//! service of UDP does not answer.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::{FlowId, Kind};
use crate::state::state;
use crate::time::{SECOND, Time};

/// Places kept; of made-up VLANs the one that was silent longest is forgotten.
const PLACES: usize = 4_096;
/// So many devices without an answer show that none is seen...
const DEVICES: usize = 3;
/// ...if they asked so many servers...
const SERVERS: usize = 2;
/// ...and the first of them waits for so long, ns.
const PATIENCE: u64 = SECOND;

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Place {
    /// When the first of them asked.
    since: Time,
    devices: Vec<DeviceKey>,
    servers: Vec<IpAddr>,
}

/// Who waits for an answer, by VLAN, and by port and VLAN: answers go another way where another router sends them, or
/// behind one switch alone.
#[derive(Debug)]
pub struct Hearing(Lru<(Option<u8>, u16), Place>);

state!(Hearing of one);

/// The places a conversation belongs to.
fn places(id: &FlowId) -> [(Option<u8>, u16); 2] {
    [(None, id.vlan), (Some(id.port), id.vlan)]
}

fn note<T: PartialEq>(known: &mut Vec<T>, item: T, most: usize) {
    if known.len() < most && !known.contains(&item) {
        known.push(item);
    }
}

impl Default for Hearing {
    /// Nobody waits.
    fn default() -> Self {
        Self(Lru::new(capacity(PLACES)))
    }
}

impl Hearing {
    /// A device opens a connection with a service that used to answer.
    pub fn asked(&mut self, id: &FlowId, device: DeviceKey, now: Time) {
        for place in places(id) {
            let fresh = || Place { since: now, devices: Vec::new(), servers: Vec::new() };
            let place = self.0.get_or_insert_mut(place, fresh);
            note(&mut place.devices, device, DEVICES);
            note(&mut place.servers, id.dst, SERVERS);
        }
    }

    /// Who began this conversation was answered. By ARP that says nothing: on the link answers are seen, whatever way the
    /// others go.
    pub fn answered(&mut self, id: &FlowId) {
        if id.kind != Kind::Ip {
            return;
        }
        for place in places(id) {
            self.0.pop(&place);
        }
    }

    /// Whether answers to who began this conversation would not be seen.
    pub fn is_deaf(&self, id: &FlowId, now: Time) -> bool {
        places(id).iter().filter_map(|place| self.0.peek(place)).any(|place| {
            let enough = place.devices.len() >= DEVICES && place.servers.len() >= SERVERS;
            enough && now.since(place.since) >= PATIENCE
        })
    }
}
