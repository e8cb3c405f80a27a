//! Lateral movement: a device turns to many hosts at once with a service meant for administration.
//!
//! Signal: first contacts inside the internal networks on file sharing, remote procedure call, remote desktop or remote
//! shell, to destinations that are not common servers of it. A worm with a list of living hosts is seen by this: none of
//! its contacts fails.
//! Statistic: distinct destinations of one service within a sliding window, against a limit that a device's own learned
//! most raises by a quarter and two. What has become a common server since is taken out of that most: else the morning on
//! which a PC met its file servers lets it meet a victim more ever after. Destinations nobody ever heard count half
//! until they answer: a PC that wakes with drives mapped to six servers of old is no worm.
//! Cold start: the limit alone; a destination counts as a common server once three devices used it. Recovery: the window
//! empties; a release forgets it.
//! Known false alarms: an administrator's machine (name it on the protected list), a PC that meets four file servers for
//! the first time within a minute on the sensor's first day. SSH and Telnet only alert: automation does just this.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::{Detector, EXAMPLES, Finding, list, seconds};
use crate::contact::{Contact, Outcome};
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::flow::TCP;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::{LateralSettings, Settings};
use crate::state::state;
use crate::time::Time;

/// Devices that must have used a service of a host for it to be a common server.
const COMMON: usize = 3;
/// A destination that nobody ever heard counts for so many of [`WHOLE`] parts of one that lives: a worm with a list meets the
/// living, and who meets seven dead ones is called by `scan` soon after anyway.
const DARK: u32 = 4;
/// Parts of one destination.
const WHOLE: u32 = 7;
/// Most destinations remembered of one window.
const MOST: usize = 64;

/// A service for administration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
enum Service {
    Files,
    Rpc,
    Desktop,
    Shell,
}

impl Service {
    fn of(port: u16) -> Option<Self> {
        match port {
            139 | 445 => Some(Service::Files),
            135 | 5985 | 5986 => Some(Service::Rpc),
            3389 | 5900 => Some(Service::Desktop),
            22 | 23 => Some(Service::Shell),
            _ => None,
        }
    }

    fn signature(self) -> &'static str {
        match self {
            Service::Files => "lateral movement: file sharing (SMB) to many new hosts",
            Service::Rpc => "lateral movement: remote procedure calls to many new hosts",
            Service::Desktop => "lateral movement: remote desktop to many new hosts",
            Service::Shell => "remote shell to many new hosts",
        }
    }
}

#[derive(Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Reach {
    /// When it was begun, for a release to be told from.
    born: Time,
    /// Destination, when it was first contacted, and what it counts for; oldest first.
    recent: Vec<(IpAddr, Time, u32)>,
    /// The most destinations of a window that brought no finding.
    usual: Vec<IpAddr>,
    told: bool,
}

/// The detector.
pub struct Lateral {
    reach: Lru<(DeviceKey, Service), Reach>,
    clients: Lru<(IpAddr, Service), Vec<DeviceKey>>,
    settings: LateralSettings,
}

state!(Lateral { reach, clients } keeps { settings });

impl Lateral {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        Self {
            reach: Lru::new(capacity(settings.limits.devices)),
            clients: Lru::new(capacity(settings.limits.devices)),
            settings: settings.lateral,
        }
    }

    /// Notes a client of a server; true if it was a common server before.
    fn note_client(&mut self, server: IpAddr, service: Service, client: DeviceKey) -> bool {
        let clients = self.clients.get_or_insert_mut((server, service), Vec::new);
        let common = clients.len() >= COMMON;
        if !common && !clients.contains(&client) {
            clients.push(client);
        }
        common
    }
}

/// How many of these are no common servers of a service.
fn uncommon(servers: &[IpAddr], service: Service, clients: &Lru<(IpAddr, Service), Vec<DeviceKey>>) -> u32 {
    let common = |ip: &&IpAddr| clients.peek(&(**ip, service)).is_some_and(|known| known.len() >= COMMON);
    servers.iter().filter(|ip| !common(ip)).count() as u32
}

impl Detector for Lateral {
    fn contact(&mut self, contact: &Contact, found: &mut Vec<Finding>) {
        let id = &contact.id;
        if id.kind != Kind::Ip || id.proto != TCP || !contact.internal || !contact.new_service {
            return;
        }
        let Some(service) = Service::of(id.dport) else { return };
        if self.note_client(id.dst, service, contact.device) {
            return;
        }
        let settings = self.settings;
        let fresh = || Reach { born: contact.time, ..Reach::default() };
        let reach = self.reach.get_or_insert_mut((contact.device, service), fresh);
        if reach.born < contact.clean_since {
            *reach = fresh();
        }
        let over = |time: Time| contact.time.since(time) >= settings.window_ns;
        if reach.recent.last().is_some_and(|(_, time, _)| over(*time)) {
            let before = std::mem::take(&mut reach.recent);
            if !std::mem::take(&mut reach.told)
                && before.len() > uncommon(&reach.usual, service, &self.clients) as usize
            {
                reach.usual = before.into_iter().map(|(ip, ..)| ip).collect();
            }
        }
        reach.recent.retain(|(_, time, _)| !over(*time));
        if reach.recent.iter().any(|(ip, ..)| *ip == id.dst) || reach.recent.len() >= MOST {
            return;
        }
        reach.recent.push((id.dst, contact.time, if contact.alive { WHOLE } else { DARK }));
        let usual = uncommon(&reach.usual, service, &self.clients);
        found.extend(reach.judge(contact, service, settings.limit, usual));
    }

    fn outcome(&mut self, contact: &Contact, outcome: Outcome, _: Time, found: &mut Vec<Finding>) {
        let id = &contact.id;
        if outcome != Outcome::Answered || id.kind != Kind::Ip || id.proto != TCP {
            return;
        }
        let Some(service) = Service::of(id.dport) else { return };
        let Some(reach) = self.reach.peek_mut(&(contact.device, service)) else { return };
        if reach.born < contact.clean_since {
            return;
        }
        let dark = |(ip, _, parts): &&mut (IpAddr, Time, u32)| *ip == id.dst && *parts == DARK;
        let Some((.., parts)) = reach.recent.iter_mut().find(dark) else { return };
        *parts = WHOLE;
        let usual = uncommon(&reach.usual, service, &self.clients);
        found.extend(reach.judge(contact, service, self.settings.limit, usual));
    }
}

impl Reach {
    /// What there is to say after a contact or its answer, once a window; `limit` is without what is usual.
    fn judge(&mut self, contact: &Contact, service: Service, limit: u32, usual: u32) -> Option<Finding> {
        let limit = if usual == 0 { limit } else { limit.max(usual + usual.div_ceil(4) + 2) };
        let counted: u32 = self.recent.iter().map(|(.., parts)| parts).sum();
        if self.told || counted < limit.saturating_mul(WHOLE) {
            return None;
        }
        self.told = true;
        Some(self.finding(contact, service, limit, usual))
    }

    fn finding(&self, contact: &Contact, service: Service, limit: u32, usual: u32) -> Finding {
        let time = |at: Option<&(IpAddr, Time, u32)>| at.map_or(contact.time, |(_, time, _)| *time);
        let (first, last) = (time(self.recent.first()), time(self.recent.last()));
        let severity = if service == Service::Shell { 2 } else { 1 };
        Finding {
            detector: "lateral",
            signature: if contact.from_outside {
                "intrusion attempt from outside: an administration service of many hosts"
            } else {
                service.signature()
            },
            severity,
            family: Family::Lateral,
            weight: by_severity(severity),
            device: contact.device,
            flow: contact.id,
            evidence: vec![
                ("new_destinations", Value::Count(self.recent.len() as u64)),
                ("limit", Value::Count(u64::from(limit))),
                ("usual", Value::Count(u64::from(usual))),
                ("dest_port", Value::Count(u64::from(contact.id.dport))),
                ("seconds", seconds(last.since(first))),
                ("destinations", list(self.recent.iter().take(EXAMPLES).map(|(ip, ..)| ip))),
            ],
            first_evidence: first,
        }
    }
}
