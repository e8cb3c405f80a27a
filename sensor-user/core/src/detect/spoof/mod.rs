//! Spoofing: somebody claims to be somebody else on the link, or gives out addresses uncalled.
//!
//! Signals, each in a file of its own:
//! - `claims`: an address that two MAC addresses claim by ARP or IPv6 neighbour discovery *in turns*: second, first,
//!   second, within 5 minutes, so that both are alive. An address that changes hands once is none.
//! - `hops`: clients whose way out went by one MAC address and now goes by another, that claimed an address to them
//!   alone, behind everybody else's back. It shows a spoofed router that never asks by ARP itself.
//! - `places`: one MAC address at two ports in turns, and more new MAC addresses at a port than there can be devices.
//! - `dhcp`: answers of a DHCP server that was not there while the sensor learned who is.
//!
//! Statistic: counts, as given there; ARP has no noise that a likelihood would have to model. Cold start: `dhcp` learns
//! for a day; who claims an address first is taken for its owner, unless the other one carries the traffic of many.
//! Recovery: a quarrel is forgotten after 5 minutes; a release forgets it.
//! Severity: 2 if a router's address or place is taken, 3 if another's; 1 only on proof: a router's address, claimed in
//! turns five times, by a device of another make that has an address of its own, is no router and stayed at its port.
//! Even then it is cut off only if it asked from that address, for answers alone could be a proxy's.
//! Held back, for these look alike: virtual MAC addresses of VRRP, HSRP, GLBP and CARP, and whoever speaks these
//! protocols; DHCP reassignment and a new network card (the old holder is silent from then on); bridges that put their
//! own MAC address in the place of others' (they repeat each broadcast at once); devices of one maker on its factory
//! address; proxies, which answer and never quarrel; address probes, which name no sender.
//! Known false alarms: two routers without such a protocol; a box that keeps others out by answering ARP in their place;
//! a static address given twice (it is told, and is a fault).
//! Blind to a flood of answers at a client's switch that does not cross the bridge.

mod claims;
mod dhcp;
mod hops;
mod places;

use self::claims::Claims;
use self::dhcp::Dhcp;
use self::hops::Hops;
use self::places::Places;
use super::{Began, Detector, Finding, Went};
use crate::addr::{Mac, is_host};
use crate::event::Evidence;
use crate::evidence::{Family, by_severity};
use crate::flow::{ICMP6, UDP};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::{FlowId, FlowSeen, Kind};
use crate::settings::Settings;
use crate::state::state;
use crate::time::{MINUTE, Time};

/// A quarrel about an address, or a change of the way out, lasts no longer.
const QUARREL: u64 = 5 * MINUTE;
/// IP protocol number of VRRP and CARP (IANA).
const VRRP: u8 = 112;
/// Ports of HSRP, its second version, and GLBP.
const STANDBY: [u16; 3] = [1985, 2029, 3222];
/// ICMPv6 neighbour solicitation and advertisement (RFC 4861).
const NEIGHBOUR: [u16; 2] = [135, 136];

/// Whether a MAC address is one that several routers share: VRRP and CARP for IPv4 and IPv6 (RFC 9568 7.3), HSRP 1 and 2,
/// HSRP for IPv6, GLBP.
fn is_virtual(mac: Mac) -> bool {
    match mac.0 {
        [0, 0, 0x5e, 0, 1 | 2, _] | [0, 0, 0x0c, 0x07, 0xac, _] | [0, 0x05, 0x73, 0xa0, ..] => true,
        [0, 0, 0x0c, 0x9f, high, _] => high >> 4 == 0xf,
        [0, 0x07, 0xb4, 0, ..] => true,
        _ => false,
    }
}

/// MAC addresses that have something in common, bounded.
#[derive(Debug)]
struct Macs(Lru<Mac, ()>);

state!(Macs of one);

impl Macs {
    fn new(settings: &Settings) -> Self {
        Self(Lru::new(capacity(settings.limits.devices)))
    }

    fn note(&mut self, mac: Mac) {
        self.0.put(mac, ());
    }

    fn has(&self, mac: Mac) -> bool {
        self.0.contains(&mac)
    }
}

/// What is known of MAC addresses.
#[derive(Debug)]
struct Known {
    /// They carry many.
    gateways: Macs,
    /// They share an address with others by a protocol made for it.
    standby: Macs,
}

state!(Known { gateways, standby });

impl Known {
    fn is_gateway(&self, mac: Mac) -> bool {
        self.gateways.has(mac) || is_virtual(mac)
    }

    fn may_share(&self, mac: Mac) -> bool {
        self.standby.has(mac) || is_virtual(mac)
    }
}

/// The detector.
pub struct Spoof {
    known: Known,
    /// Who spoke last in a flow of ARP messages.
    speakers: Lru<FlowId, Mac>,
    claims: Claims,
    hops: Hops,
    places: Places,
    dhcp: Dhcp,
}

state!(Spoof { known, speakers, claims, hops, places, dhcp });

impl Spoof {
    /// A detector without memory, but for the gateways the settings name.
    pub fn new(settings: &Settings) -> Self {
        let mut known = Known { gateways: Macs::new(settings), standby: Macs::new(settings) };
        settings.gateways.iter().for_each(|mac| known.gateways.note(*mac));
        Self {
            known,
            speakers: Lru::new(capacity(settings.limits.devices)),
            claims: Claims::new(settings),
            hops: Hops::new(settings),
            places: Places::new(settings),
            dhcp: Dhcp::new(settings),
        }
    }
}

/// The MAC address that a message says its source address is at, if it says so.
fn claimed(seen: &FlowSeen) -> Option<Mac> {
    let id = &seen.id;
    let mac = match (id.kind, id.proto) {
        // Questions and answers alone; there are other messages.
        (Kind::Arp, _) if !matches!(id.sport, 1 | 2) => return None,
        (Kind::Arp, _) if seen.arp_sha != Mac::default() => seen.arp_sha,
        (Kind::Arp, _) => seen.smac,
        // A hop limit of 255 shows that no router passed it on.
        (Kind::Ip, ICMP6) if NEIGHBOUR.contains(&(id.sport >> 8)) && seen.ttl == 255 => seen.smac,
        _ => return None,
    };
    (is_host(id.src) && !mac.is_nobody()).then_some(mac)
}

/// Whether a flow is one of routers that share an address.
fn is_standby(seen: &FlowSeen) -> bool {
    let id = &seen.id;
    id.kind == Kind::Ip && (id.proto == VRRP || (id.proto == UDP && STANDBY.contains(&id.dport)))
}

impl Detector for Spoof {
    fn rebooted(&mut self, off_ns: u64) {
        self.dhcp.rebooted(off_ns);
        self.places.rebooted();
    }

    fn began(&mut self, began: &Began<'_>, found: &mut Vec<Finding>) {
        let seen = began.seen;
        if began.gateway {
            self.known.gateways.note(seen.smac);
        }
        if is_standby(seen) {
            self.known.standby.note(seen.smac);
        }
        self.places.began(began, found);
        self.dhcp.began(began, found);
        self.claims.sent(began);
        let Some(mac) = claimed(seen) else {
            return self.hops.began(began, &self.claims, &self.known, found);
        };
        if seen.id.kind == Kind::Arp {
            self.speakers.put(seen.id, mac);
        }
        let claim = claims::Claim {
            id: seen.id,
            mac,
            time: seen.time,
            sender: seen.smac,
            to_all: seen.dmac.is_nobody(),
            moved: self.places.has_moved(seen.smac, seen.time),
            clean_since: began.clean_since,
        };
        self.hops.claimed(&claim);
        self.claims.claimed(&claim, &self.known, found);
    }

    fn went(&mut self, went: &Went<'_>, found: &mut Vec<Finding>) {
        let id = went.progress.id;
        if id.kind != Kind::Arp || !is_host(id.src) {
            return;
        }
        let Some(mac) = self.speakers.get(&id).copied() else { return };
        let (time, clean_since) = (went.progress.last, went.clean_since);
        let moved = self.places.has_moved(mac, time);
        let claim = claims::Claim { id, mac, time, sender: mac, to_all: false, moved, clean_since };
        self.claims.claimed(&claim, &self.known, found);
    }
}

/// A finding about who sends by a MAC address.
fn finding(
    signature: &'static str,
    severity: u8,
    mac: Mac,
    flow: FlowId,
    first_evidence: Time,
    evidence: Evidence,
) -> Finding {
    let device = DeviceKey::Local(mac);
    let (family, weight) = (Family::Spoof, by_severity(severity));
    Finding { detector: "spoof", signature, severity, family, weight, device, flow, evidence, first_evidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_routers_share_are_known() {
        for (mac, want) in [
            ("00:00:5e:00:01:0a", true),
            ("00:00:5e:00:02:0a", true),
            ("00:00:0c:07:ac:01", true),
            ("00:00:0c:9f:f0:01", true),
            ("00:00:0c:9f:e0:01", false),
            ("00:05:73:a0:00:01", true),
            ("00:07:b4:00:01:02", true),
            ("00:00:5e:00:53:01", false),
            ("00:1b:21:00:00:01", false),
        ] {
            assert_eq!(is_virtual(mac.parse().unwrap()), want, "{mac}");
        }
    }
}
