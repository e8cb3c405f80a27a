//! How services inside do: one that used to answer and does no more must not make scanners of its clients.
//!
//! A service is an address, TCP or UDP, and a port. It is *known* for a week after it answered anybody, old client or new.
//! When a first contact to a known service fails, that is the service's fault rather than the client's:
//! - [`Health::Down`] if two others failed too since it last answered, or if it was silent and its host was not heard for
//!   five minutes. Such a failure says nothing.
//! - [`Health::Known`] if so far nobody else failed: it may be down since a moment, or not answer this client. Such a
//!   failure is enough to alert, and not to isolate.
//! - [`Health::Unknown`] if it answered somebody else while this contact waited, or never did: then it is the client.
//!
//! Only what answered is entered, so that no number of scanners excuses each other: what they try never did. The bound is
//! the number of devices; what was not used for longest is forgotten first, and its failures count as before.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::contact::{Contact, Outcome};
use crate::flow::{TCP, UDP};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::{FlowId, Kind};
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, MINUTE, Time};

/// A service is known for so long after it answered.
const KNOWN: u64 = 7 * 24 * HOUR;
/// So many others that fail show that it is down.
const OTHERS: usize = 2;
/// A host that was not heard for so long is off: one that is on asks for others, or renews its address.
const QUIET: u64 = 5 * MINUTE;

/// What is known of a service that a contact failed at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub enum Health {
    /// It never answered, or answers others.
    #[default]
    Unknown,
    /// It used to answer.
    Known,
    /// It used to answer, and answers nobody any more.
    Down,
}

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct State {
    answered: Time,
    /// Some of those who failed since then.
    failed: Vec<DeviceKey>,
}

/// How services do.
#[derive(Debug)]
pub struct Services(Lru<(IpAddr, u8, u16), State>);

state!(Services of one);

/// The service a flow asks for, if it is one that is looked at.
fn service(id: &FlowId) -> Option<(IpAddr, u8, u16)> {
    let looked_at = id.kind == Kind::Ip && matches!(id.proto, TCP | UDP);
    looked_at.then_some((id.dst, id.proto, id.dport))
}

impl Services {
    /// None is known.
    pub fn new(settings: &Settings) -> Self {
        Self(Lru::new(capacity(settings.limits.devices)))
    }

    /// Whether what this flow asks for used to answer.
    pub fn knows(&self, id: &FlowId, now: Time) -> bool {
        let state = service(id).and_then(|service| self.0.peek(&service));
        state.is_some_and(|state| now.since(state.answered) < KNOWN)
    }

    /// Notes that what this flow asked for answered.
    pub fn answered(&mut self, id: &FlowId, now: Time) {
        let Some(service) = service(id) else { return };
        let state = self.0.get_or_insert_mut(service, || State { answered: now, failed: Vec::new() });
        state.answered = now;
        state.failed.clear();
    }

    /// What a contact's failure says of its service; `heard` is when its host was heard last.
    pub fn failed(&mut self, contact: &Contact, outcome: Outcome, heard: Option<Time>) -> Health {
        let state = service(&contact.id).and_then(|service| self.0.peek_mut(&service));
        let Some(state) = state.filter(|state| contact.time.since(state.answered) < KNOWN) else {
            return Health::Unknown;
        };
        if state.answered >= contact.time {
            return Health::Unknown;
        }
        if state.failed.len() <= OTHERS && !state.failed.contains(&contact.device) {
            state.failed.push(contact.device);
        }
        let others = state.failed.iter().filter(|device| **device != contact.device).count();
        let off = heard.is_some_and(|heard| contact.time.since(heard) >= QUIET);
        if others >= OTHERS || (off && outcome == Outcome::Silent) { Health::Down } else { Health::Known }
    }
}
