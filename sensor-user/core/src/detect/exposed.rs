//! Exposed: who answered a device that was restricted as a scanner goes on by the service that was spreading.
//!
//! What spreads by itself gives each host it takes a few targets before that is found out by what it does itself. By then
//! it is known who spread it and whom that reached, so that for those the first target is enough.
//! Signal: a first contact inside by TCP of a host that answered, within an hour before and at the same port, a first
//! contact of a device that was restricted by itself (pin or more) for its first contacts (scan, lateral, novelty). The port
//! is that of the finding; where that is no TCP (ARP, ping), the one at which the device was answered last. What the host
//! did between being reached and that restriction counts, and is told with it. A common server of the service (three
//! others use it) is no target, nor is who reached the host.
//! Statistic: none; that a healthy host does this within the hour is assumed to be as unlikely as what pins
//! ([`crate::policy::decide::PIN`]). Each time it was reached is told once.
//! Cold start: nothing counts that is done within a day after the sensor began, or after the host was first heard:
//! everything is new to it. Recovery: an hour; a release of the one who reached the host, or a person's word that the finding
//! against it is false, takes back that it was exposed, and a release of the host forgets it.
//! Known false alarms: a PC that was reached by a device which was restricted by mistake, and turns to another PC by the
//! same service for the first time within the hour. It pins at most, and what is pinned by mistake is of the tree of whom
//! it was exposed by, so that the fuse holds.
//! In observe mode a restriction that would be counts, and what follows from it would be as well.
//! Papers: Xie et al., "Worm Origin Identification Using Random Moonwalks", IEEE S&P 2005 (a worm's contacts make a tree,
//! in which each is caused by the one that reached its host); Ho et al., "Hopper", USENIX Security 2021.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::clients::Clients;
use super::{Detector, Finding, list, seconds};
use crate::contact::{Contact, Outcome};
use crate::event::Value;
use crate::evidence::Family;
use crate::flow::TCP;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, Time};

/// Who was reached is exposed for so long.
const EXPOSED_FOR: u64 = HOUR;
/// Devices kept that reached a service of a host, the last ones.
const MOST: usize = 4;
/// Families that look at first contacts.
const FIRST_CONTACTS: [Family; 3] = [Family::Scan, Family::Lateral, Family::Novelty];
/// Nats of a finding: those that pin (9.2, one chance in 10,000), and what fades of them in an hour.
const WEIGHT: f64 = 9.5;

/// A host was reached.
#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Reached {
    by: DeviceKey,
    /// The address of that device.
    from: IpAddr,
    time: Time,
    /// The first contact by which the host went on since.
    went_on: Option<Box<Contact>>,
    told: bool,
}

/// What is held against a device that was restricted, or was once.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Standing {
    /// What it did before is forgotten.
    clean_since: Time,
    /// The ports it spread by, and when it was restricted for that.
    spread: Vec<(u16, Time)>,
}

/// The detector.
pub struct Exposed {
    /// By address and port, for that is all a contact says of whom it is to; the last one last.
    reached: Lru<(IpAddr, u16), Vec<Reached>>,
    standings: Lru<DeviceKey, Standing>,
    clients: Clients,
}

state!(Exposed { reached, standings, clients });

impl Exposed {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        let devices = settings.limits.devices;
        Self {
            reached: Lru::new(capacity(devices)),
            standings: Lru::new(capacity(devices)),
            clients: Clients::new(devices),
        }
    }

    /// The port that a device spread by, as far as a finding tells.
    fn port(&self, finding: &Finding) -> Option<u16> {
        if finding.flow.kind == Kind::Ip && finding.flow.proto == TCP {
            return Some(finding.flow.dport);
        }
        let all = self.reached.unordered();
        let by_it = all.flat_map(|((_, port), reached)| reached.iter().map(|reached| (reached, *port)));
        let by_it = by_it.filter(|(reached, _)| reached.by == finding.device);
        by_it.max_by_key(|(reached, port)| (reached.time, *port)).map(|(_, port)| port)
    }
}

impl Standing {
    /// Whether a device that stands like this exposed whom it reached at a port then.
    fn exposes(&self, port: u16, reached: Time, now: Time) -> bool {
        let lately = |(spread, at): &(u16, Time)| *spread == port && now.since(*at) < EXPOSED_FOR;
        reached >= self.clean_since && self.spread.iter().any(lately)
    }
}

impl Reached {
    /// Whether a contact of the host may come of this.
    fn leads_to(&self, contact: &Contact) -> bool {
        let soon = self.time < contact.time && contact.time.since(self.time) < EXPOSED_FOR;
        soon && self.time >= contact.clean_since && self.from != contact.id.dst
    }

    /// What there is to say of the host, once.
    fn tell(&mut self) -> Option<Finding> {
        let contact = self.went_on.as_ref().filter(|_| !self.told)?;
        self.told = true;
        Some(finding(contact, self.from, self.time))
    }
}

/// Whether a contact may spread something: a first contact inside by TCP.
fn is_looked_at(contact: &Contact) -> bool {
    let tcp = contact.id.kind == Kind::Ip && contact.id.proto == TCP && !contact.midway;
    tcp && contact.new_service && contact.internal && !contact.from_outside
}

impl Detector for Exposed {
    fn contact(&mut self, contact: &Contact, found: &mut Vec<Finding>) {
        let id = &contact.id;
        if !is_looked_at(contact) || self.clients.is_common((id.dst, id.dport), contact.device, contact.time)
        {
            return;
        }
        let Some(reached) = self.reached.peek_mut(&(id.src, id.dport)) else { return };
        for reached in reached.iter_mut().filter(|reached| contact.settled && reached.leads_to(contact)) {
            reached.went_on.get_or_insert_with(|| Box::new(*contact));
            let by = self.standings.peek(&reached.by);
            if by.is_some_and(|by| by.exposes(id.dport, reached.time, contact.time)) {
                found.extend(reached.tell());
            }
        }
    }

    fn outcome(&mut self, contact: &Contact, outcome: Outcome, _now: Time, _found: &mut Vec<Finding>) {
        if outcome != Outcome::Answered || !is_looked_at(contact) {
            return;
        }
        let id = &contact.id;
        let reached = self.reached.get_or_insert_mut((id.dst, id.dport), Vec::new);
        reached.retain(|other| other.by != contact.device);
        if reached.len() >= MOST {
            reached.remove(0);
        }
        let (by, from, time) = (contact.device, id.src, contact.time);
        reached.push(Reached { by, from, time, went_on: None, told: false });
    }

    fn restricted(&mut self, finding: &Finding, now: Time, found: &mut Vec<Finding>) {
        let port = self.port(finding).filter(|_| FIRST_CONTACTS.contains(&finding.family));
        let Some(port) = port else { return };
        let standing = self.standings.get_or_insert_mut(finding.device, Standing::default);
        standing.spread.retain(|(other, at)| *other != port && now.since(*at) < EXPOSED_FOR);
        standing.spread.push((port, now));
        let clean_since = standing.clean_since;
        let forgotten = |contact: &Contact| {
            let standing = self.standings.peek(&contact.device);
            standing.is_some_and(|standing| contact.time < standing.clean_since)
        };
        let at_port = self.reached.iter_mut().filter(|((_, other), _)| *other == port);
        let at_port = at_port.flat_map(|(_, reached)| reached);
        let exposed = at_port.filter(|reached| {
            let by_it = reached.by == finding.device && reached.time >= clean_since;
            by_it
                && now.since(reached.time) < EXPOSED_FOR
                && !reached.went_on.as_deref().is_some_and(forgotten)
        });
        let mut told: Vec<Finding> = exposed.filter_map(Reached::tell).collect();
        // The table is in an order that a replay does not have.
        told.sort_by_key(|finding| (finding.first_evidence, finding.flow.src));
        found.extend(told);
    }

    fn absolved(&mut self, device: DeviceKey, now: Time) {
        self.standings.put(device, Standing { clean_since: now, spread: Vec::new() });
    }
}

fn finding(contact: &Contact, from: IpAddr, reached: Time) -> Finding {
    Finding {
        detector: "exposed",
        signature: "exposed: reached by a device that was restricted as a scanner, it goes on by the same service",
        severity: 2,
        family: Family::Lateral,
        weight: WEIGHT,
        device: contact.device,
        flow: contact.id,
        evidence: vec![
            ("chain", list([from, contact.id.src, contact.id.dst])),
            ("dest_port", Value::Count(u64::from(contact.id.dport))),
            ("seconds", seconds(contact.time.since(reached))),
        ],
        first_evidence: reached,
    }
}
