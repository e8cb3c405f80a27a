//! Lateral chain: who was just turned to by a service for administration turns to another host by one.
//!
//! One step says nothing: an administrator does it daily. That the host it led to goes on by such a service, to another
//! host that is new to it, is how an intruder moves; nothing of it fails, and no host meets many.
//! Signal: first contacts inside by a service for administration that were answered, to hosts of which hardly anybody else
//! uses it (three others that are no attackers make it common). A step that leaves a host within a day after one reached it makes a chain
//! longer. The way back to who came, or to any host of the chain, is none.
//! Statistic: the length of the chain: two steps are a hint, three and more alert. Each length is told once a day.
//! Cold start: nothing is a step that is taken within a day after the sensor began, or after the device that takes it was
//! first heard: everything is new to it. Recovery: a step is forgotten after a day; a release
//! forgets what led to the device.
//! Known false alarms: a jump host on which an administrator begins to work, until three use it; software that is handed on
//! from PC to PC. It never isolates.
//! Paper: Ho et al., "Hopper: Modeling and Detecting Lateral Movement", USENIX Security 2021 (paths of logins; it has
//! them from logs, which say who logged in).

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::clients::Clients;
use super::{ADMINISTRATION, Detector, EXAMPLES, Finding, list, seconds};
use crate::contact::{Contact, Outcome};
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::flow::TCP;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, Time};

/// A step leads on for so long, and what was told is told again after it.
const DAY: u64 = 24 * HOUR;
/// Steps that make a chain.
const CHAIN: usize = 2;
/// Steps that alert.
const LONG: usize = 3;

/// How an address was reached.
#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Reached {
    time: Time,
    /// When the chain's first step was taken.
    first: Time,
    /// The hosts that led to it, the first one first, at most [`EXAMPLES`].
    path: Vec<IpAddr>,
}

/// The detector.
pub struct Chain {
    /// By address, for that is all a contact says of whom it is to.
    reached: Lru<IpAddr, Reached>,
    /// Steps of the longest chain told of a device, and when.
    told: Lru<DeviceKey, (usize, Time)>,
    clients: Clients,
}

state!(Chain { reached, told, clients });

impl Chain {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        let devices = settings.limits.devices;
        Self {
            reached: Lru::new(capacity(devices)),
            told: Lru::new(capacity(devices)),
            clients: Clients::new(devices),
        }
    }

    /// What led to who makes a contact, if that still counts.
    fn led_to(&self, contact: &Contact) -> Option<&Reached> {
        let reached = self.reached.peek(&contact.id.src)?;
        let counts = reached.time >= contact.clean_since && contact.time.since(reached.time) < DAY;
        (counts && reached.time < contact.time).then_some(reached)
    }
}

impl Detector for Chain {
    fn outcome(&mut self, contact: &Contact, outcome: Outcome, _now: Time, found: &mut Vec<Finding>) {
        let (id, now) = (&contact.id, contact.time);
        let administers = id.kind == Kind::Ip && id.proto == TCP && ADMINISTRATION.contains(&id.dport);
        if !administers || outcome != Outcome::Answered || !contact.internal || contact.from_outside {
            return;
        }
        let common = self.clients.is_common((id.dst, id.dport), contact.device, now);
        if common || contact.midway || !contact.settled {
            return;
        }
        let (mut path, first) =
            self.led_to(contact).map_or((Vec::new(), now), |led| (led.path.clone(), led.first));
        if path.contains(&id.dst) {
            return;
        }
        if path.len() < EXAMPLES {
            path.push(id.src);
        }
        let steps = path.len();
        let (told, at) = self.told.get(&contact.device).copied().unwrap_or((0, now));
        if steps >= CHAIN && (steps > told || now.since(at) >= DAY) {
            self.told.put(contact.device, (steps, now));
            found.push(finding(contact, &path, first));
        }
        let longer = |old: &Reached| now.since(old.time) >= DAY || old.path.len() <= steps;
        if self.reached.peek(&id.dst).is_none_or(longer) {
            self.reached.put(id.dst, Reached { time: now, first, path });
        }
    }

    fn restricted(&mut self, finding: &Finding, now: Time, _found: &mut Vec<Finding>) {
        self.clients.doubt(finding.device, now);
    }
}

fn finding(contact: &Contact, path: &[IpAddr], first: Time) -> Finding {
    let severity = if path.len() >= LONG { 2 } else { 3 };
    Finding {
        detector: "chain",
        signature: "lateral chain: turned to by a service for administration, it turns to a new host by one",
        severity,
        family: Family::Lateral,
        weight: by_severity(severity),
        device: contact.device,
        flow: contact.id,
        evidence: vec![
            ("steps", Value::Count(path.len() as u64)),
            ("chain", list(path.iter().chain([&contact.id.dst]))),
            ("dest_port", Value::Count(u64::from(contact.id.dport))),
            ("seconds", seconds(contact.time.since(first))),
        ],
        first_evidence: first,
    }
}
