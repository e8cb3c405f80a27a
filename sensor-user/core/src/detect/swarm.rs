//! Swarms: a device turns to many hosts outside on one service that is not the web's: a peer-to-peer program or bot.
//!
//! Signal: first contacts to hosts outside on one protocol and port, answered or not; a bot's peers mostly answer, so that
//! `scan` does not see it, and it takes its time, so that `fanout` does not.
//! Statistic: hosts within five minutes against 64, or twice the most of a window that brought no finding.
//! Cold start: the limit alone. Recovery: the next window; a release forgets it.
//! Known false alarms: peer-to-peer programs people want, a mail server. It alerts, lowest severity, and never isolates.
//! Left out: the web, names, time, mail between servers, and the relays of video calls.

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::{Detector, EXAMPLES, Finding, list, seconds};
use crate::contact::Contact;
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::flow::{TCP, UDP};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{MINUTE, Time};

/// Length of a window.
const WINDOW: u64 = 5 * MINUTE;
/// Hosts within it that are too many: a handful of relays and servers is usual, hundreds are a swarm.
const LIMIT: u32 = 64;
/// Services that take many hosts by nature.
const LEFT_OUT: [u16; 8] = [25, 53, 80, 123, 443, 853, 3478, 8080];

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Hosts {
    /// When it was begun, for a release to be told from.
    born: Time,
    window_start: Time,
    count: u32,
    /// Most in a window that brought no finding.
    usual: u32,
    examples: Vec<std::net::IpAddr>,
    told: bool,
}

/// The detector.
pub struct Swarm {
    hosts: Lru<(DeviceKey, u8, u16), Hosts>,
}

state!(Swarm { hosts });

impl Swarm {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        Self { hosts: Lru::new(capacity(settings.limits.devices)) }
    }
}

impl Detector for Swarm {
    fn contact(&mut self, contact: &Contact, found: &mut Vec<Finding>) {
        let id = &contact.id;
        let looked_at = id.kind == Kind::Ip && matches!(id.proto, TCP | UDP) && !LEFT_OUT.contains(&id.dport);
        if !looked_at || contact.internal || !contact.new_peer {
            return;
        }
        let now = contact.time;
        let fresh =
            || Hosts { born: now, window_start: now, count: 0, usual: 0, examples: Vec::new(), told: false };
        let hosts = self.hosts.get_or_insert_mut((contact.device, id.proto, id.dport), fresh);
        if hosts.born < contact.clean_since {
            *hosts = fresh();
        }
        if now.since(hosts.window_start) >= WINDOW {
            let usual = if hosts.told { hosts.usual } else { hosts.usual.max(hosts.count) };
            *hosts = Hosts { born: hosts.born, usual, ..fresh() };
        }
        hosts.count += 1;
        if hosts.examples.len() < EXAMPLES {
            hosts.examples.push(id.dst);
        }
        let limit = LIMIT.max(hosts.usual.saturating_mul(2));
        if hosts.count >= limit && !hosts.told {
            hosts.told = true;
            found.push(hosts.finding(contact, limit));
        }
    }
}

impl Hosts {
    fn finding(&self, contact: &Contact, limit: u32) -> Finding {
        Finding {
            detector: "swarm",
            signature: "swarm: many hosts outside on one service that is not the web's",
            severity: 3,
            family: Family::Novelty,
            weight: by_severity(3),
            device: contact.device,
            flow: contact.id,
            evidence: vec![
                ("destinations", Value::Count(u64::from(self.count))),
                ("limit", Value::Count(u64::from(limit))),
                ("usual", Value::Count(u64::from(self.usual))),
                ("dest_port", Value::Count(u64::from(contact.id.dport))),
                ("seconds", seconds(contact.time.since(self.window_start))),
                ("examples", list(&self.examples)),
            ],
            first_evidence: self.window_start,
        }
    }
}
