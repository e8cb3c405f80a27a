//! Policy: a device does what the operator forbids, or what it never did in a long and steady life.
//!
//! Signals: conversations that a `[[forbid]]` rule of the configuration is about; first contacts to networks (the first 24
//! bits of an IPv4 address, 64 of IPv6) that a device never turned to.
//! Statistic: a forbidden conversation is one fact. A network is called if the device has turned to no new one for a week,
//! and to 8 at most since it was first heard, as monitors, pumps and modalities do; a PC meets new ones each day and is
//! never called.
//! Cold start: rules hold at once; networks are learned for a week, anew after each restart. Recovery: the new network is
//! one of its own from then on, and begins another week; a rule's breach is told once a day for a device.
//! Held back: networks of the link (private use by IPv4 link-local and IPv6 fe80::), groups, what was under way when the
//! sensor began, gateways.
//! Known false alarms: a device that is moved to another server after a quiet week, a yearly remote service. It only
//! advises, severity 3: evidence that weighs with other evidence.
//! Paper: Barrera et al., IDIoT (2017), for the idea that devices of one purpose have few destinations.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::{Detector, Finding, seconds};
use crate::addr::Prefix;
use crate::contact::Contact;
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::forbid::Forbid;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, Time};

/// The detector's name.
pub const NAME: &str = "policy";
/// A device that turned to no new network for so long is steady.
const STEADY: u64 = 7 * 24 * HOUR;
/// Most networks of a device that is called; of one with more no more are remembered.
const MOST: usize = 8;
/// A breach that goes on is told again after this time.
const REARM: u64 = 24 * HOUR;
/// Severity of its findings, the least there is.
const SEVERITY: u8 = 3;

/// The networks of a device.
#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Habit {
    networks: Vec<Prefix>,
    /// When it turned to a new one last.
    changed: Time,
}

/// The detector.
pub struct Policy {
    habits: Lru<DeviceKey, Habit>,
    /// When the breach of a rule by a device was told.
    told: Lru<(DeviceKey, u16), Time>,
    rules: Vec<Forbid>,
}

state!(Policy { habits, told } keeps { rules });

impl Policy {
    /// A detector that has learned nothing.
    pub fn new(settings: &Settings) -> Self {
        let size = capacity(settings.limits.devices);
        Self { habits: Lru::new(size), told: Lru::new(size), rules: settings.forbid.clone() }
    }

    /// The rule that a contact breaks, if that is to be told.
    fn breach(&mut self, contact: &Contact) -> Option<Finding> {
        let number = contact.forbidden?;
        let rule = self.rules.get(usize::from(number))?;
        let key = (contact.device, number);
        let told = self
            .told
            .get(&key)
            .is_some_and(|told| *told >= contact.clean_since && contact.time.since(*told) < REARM);
        if told {
            return None;
        }
        self.told.put(key, contact.time);
        let evidence = vec![
            ("rule", Value::Text(rule.to_string())),
            ("dest_ip", Value::Text(contact.id.dst.to_string())),
            ("dest_port", Value::Count(u64::from(contact.id.dport))),
        ];
        Some(finding(contact, "policy: uses a service that is forbidden to it", contact.time, evidence))
    }

    /// Notes the network a device turns to; gives a finding if that is news of a steady device.
    fn turn(&mut self, contact: &Contact) -> Option<Finding> {
        let network = network(contact.id.dst)?;
        let now = contact.time;
        let fresh = || Habit { networks: Vec::new(), changed: now };
        let habit = self.habits.get_or_insert_mut(contact.device, fresh);
        if habit.networks.contains(&network) {
            return None;
        }
        let (quiet, known) = (now.since(habit.changed), habit.networks.len());
        habit.changed = now;
        // One that has more than are remembered is not steady, whatever comes.
        if known > MOST {
            return None;
        }
        habit.networks.push(network);
        if known == 0 || known > MOST || quiet < STEADY {
            return None;
        }
        let evidence = vec![
            ("network", Value::Text(network.to_string())),
            ("networks_before", Value::Count(known as u64)),
            ("steady_seconds", seconds(quiet)),
            ("dest_port", Value::Count(u64::from(contact.id.dport))),
        ];
        let signature = "policy: a steady device turns to a network it never turned to";
        Some(finding(contact, signature, now, evidence))
    }
}

/// The network of an address that says something: not the link's own.
fn network(ip: IpAddr) -> Option<Prefix> {
    let bits = match ip {
        IpAddr::V4(v4) if v4.is_link_local() => return None,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => return None,
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 64,
    };
    Some(Prefix::new(Prefix::new(ip, bits).address(), bits))
}

impl Detector for Policy {
    fn contact(&mut self, contact: &Contact, found: &mut Vec<Finding>) {
        if contact.id.kind != Kind::Ip || contact.is_resolution() {
            return;
        }
        found.extend(self.breach(contact));
        if contact.new_peer && !contact.midway && !contact.from_outside {
            found.extend(self.turn(contact));
        }
    }
}

fn finding(
    contact: &Contact,
    signature: &'static str,
    first_evidence: Time,
    evidence: crate::event::Evidence,
) -> Finding {
    Finding {
        detector: NAME,
        signature,
        severity: SEVERITY,
        family: Family::Policy,
        weight: by_severity(SEVERITY),
        device: contact.device,
        flow: contact.id,
        evidence,
        first_evidence,
    }
}
