//! Scan of many ports of one host.
//!
//! Signal: services of one destination a device never tried before, that are refused or (TCP and rare protocols) not
//! answered; and TCP probes with flags no stack opens a connection with (NULL, FIN, Xmas).
//! Statistic: points within a sliding window for each pair of device and destination: a failed service is one, an
//! illegal probe four. Zeek's classic rule is 15 failed ports in 5 minutes.
//! Cold start: none. Recovery: points lapse with the window; a release forgets them.
//! Known false alarms: the first client of a host all of whose services went down and that nobody used before. Held back:
//! services that used to answer others and are down ([`Health`]) do not count, and if they only may be, alert; UDP without answer does not count,
//! for one-way streams choose a new port each; silent TCP ports from 1,024 on of a host that answered before only alert,
//! for a firewall in front of passive FTP or RPC looks like this.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::{Detector, EXAMPLES, Finding, list, seconds};
use crate::contact::{Contact, Outcome};
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::flow::{ICMP, ICMP6, TCP, UDP};
use crate::health::Health;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::{PortScanSettings, Settings};
use crate::state::state;
use crate::time::Time;

/// Pairs watched, as a multiple of the number of devices.
const PAIRS_PER_DEVICE: usize = 4;
/// Points of a probe with an illegal flag combination.
const ODD_POINTS: u32 = 4;

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Pair {
    /// When it was begun, for a release to be told from.
    born: Time,
    /// The destination answered a contact of this device.
    answered: bool,
    /// All points.
    points: u32,
    /// Points that may isolate.
    hard_points: u32,
    failed: u32,
    odd: u32,
    first: Time,
    examples: Vec<u16>,
    told: u8,
}

/// The detector.
pub struct PortScan {
    pairs: Lru<(DeviceKey, IpAddr), Pair>,
    settings: PortScanSettings,
}

state!(PortScan { pairs } keeps { settings });

impl PortScan {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        let pairs = settings.limits.devices.saturating_mul(PAIRS_PER_DEVICE);
        Self { pairs: Lru::new(capacity(pairs)), settings: settings.port_scan }
    }
}

/// Whether the outcome of a contact says that the destination does not offer the service.
fn failed(contact: &Contact, outcome: Outcome) -> bool {
    match (contact.id.proto, outcome) {
        (_, Outcome::Answered) => false,
        (ICMP | ICMP6, _) => false,
        (UDP, Outcome::Silent) => false,
        (_, Outcome::Refused) => true,
        (TCP, Outcome::Silent) => !contact.midway,
        (_, Outcome::Silent) => true,
    }
}

impl Detector for PortScan {
    fn outcome(&mut self, contact: &Contact, outcome: Outcome, now: Time, found: &mut Vec<Finding>) {
        // That a service is down says nothing of who asks for it.
        let down = contact.health == Health::Down && !contact.odd_flags;
        if contact.id.kind != Kind::Ip || contact.is_resolution() || down {
            return;
        }
        let failed = failed(contact, outcome);
        let settings = self.settings;
        let fresh = || Pair::new(contact.time);
        let pair = self.pairs.get_or_insert_mut((contact.device, contact.id.dst), fresh);
        if pair.born < contact.clean_since {
            *pair = fresh();
        }
        if now.since(pair.first) > settings.window_ns {
            *pair = Pair { answered: pair.answered, ..fresh() };
        }
        pair.answered |= outcome == Outcome::Answered;
        if !failed && !contact.odd_flags {
            return;
        }
        let points = if contact.odd_flags { ODD_POINTS } else { 1 };
        let firewalled = pair.answered && outcome == Outcome::Silent && contact.id.dport >= 1024;
        let soft = !contact.odd_flags && (firewalled || contact.health == Health::Known);
        pair.failed += u32::from(failed);
        pair.odd += u32::from(contact.odd_flags);
        pair.points += points;
        pair.hard_points += if soft { 0 } else { points };
        let port = if matches!(contact.id.proto, TCP | UDP) {
            contact.id.dport
        } else {
            u16::from(contact.id.proto)
        };
        if pair.examples.len() < EXAMPLES {
            pair.examples.push(port);
        }
        let severity = match (pair.points, pair.hard_points) {
            (_, hard) if hard >= settings.isolate => 1,
            (all, _) if all >= settings.alert => 2,
            _ => 4,
        };
        if severity < pair.told {
            pair.told = severity;
            found.push(pair.finding(contact, severity, now));
        }
    }
}

impl Pair {
    fn new(now: Time) -> Self {
        Self {
            born: now,
            answered: false,
            points: 0,
            hard_points: 0,
            failed: 0,
            odd: 0,
            first: now,
            examples: Vec::new(),
            told: 4,
        }
    }

    fn finding(&self, contact: &Contact, severity: u8, now: Time) -> Finding {
        let ports = matches!(contact.id.proto, TCP | UDP);
        Finding {
            detector: "port_scan",
            signature: match (ports, contact.from_outside) {
                (true, false) => "port scan: many services of one host refused",
                (true, true) => "intrusion attempt from outside: many services of one host refused",
                (false, false) => "protocol scan: many IP protocols of one host tried",
                (false, true) => "intrusion attempt from outside: many IP protocols of one host tried",
            },
            severity,
            family: Family::Scan,
            weight: by_severity(severity),
            device: contact.device,
            flow: contact.id,
            evidence: vec![
                ("target", Value::Text(contact.id.dst.to_string())),
                ("failed_services", Value::Count(u64::from(self.failed))),
                ("illegal_flag_probes", Value::Count(u64::from(self.odd))),
                ("seconds", seconds(now.since(self.first))),
                (if ports { "ports" } else { "protocols" }, list(&self.examples)),
            ],
            first_evidence: self.first,
        }
    }
}
