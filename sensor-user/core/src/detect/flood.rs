//! Floods: far more begun towards one host than it can answer, or an address server asked in many names.
//!
//! Signal: conversations that begin (TCP, UDP, ICMP) by the MAC address that delivers them and the host they are for, and
//! whether they are answered; frames of single conversations that nobody answers; requests to DHCP servers by their
//! source addresses.
//! Statistic: in windows of ten seconds 1,000 beginnings (UDP 2,000) towards one host of which less than a tenth is
//! answered (ntopng alerts at 256 SYN a minute; a busy server's clients get answers); between two reports, five seconds
//! apart, 5,000 frames of one ICMP conversation or one that never gets beyond SYN, or 50,000 small ones of UDP that
//! nobody answers; in ten seconds 200 DHCP clients by one MAC address.
//! Who is to blame: source addresses can be made up, so nobody is blamed for being flooded, nor by an IP address. It is the
//! MAC address that delivers the frames: a device's own, if all came from one address of its; otherwise sources are forged,
//! or outside and this is their router, and the severity is the lowest.
//! Cold start: none. Recovery: the next window; a release forgets it.
//! Known false alarms: a load test; a boot storm of 200 devices behind one router. It alerts and never isolates by itself.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::{Began, Detector, Finding, Went, seconds};
use crate::addr::Mac;
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::flow::{ACK, ICMP, ICMP6, Role, SYN, TCP, UDP};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::{FlowId, FlowSeen, Kind};
use crate::settings::Settings;
use crate::state::state;
use crate::time::{SECOND, Time};

/// Length of a window.
const WINDOW: u64 = 10 * SECOND;
/// ...if not one in so many beginnings is answered.
const ANSWERED: u32 = 10;
/// UDP frames of at most so many bytes: larger ones are a stream.
const SMALL: u64 = 200;
/// Port of DHCP servers.
const DHCP: u16 = 67;

/// What floods.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
enum Way {
    Syn,
    Udp,
    Icmp,
    Dhcp,
}

impl Way {
    fn of(seen: &FlowSeen) -> Option<Self> {
        let id = &seen.id;
        match (id.kind, id.proto) {
            (Kind::Ip, TCP) if seen.tcp_flags & (SYN | ACK) == SYN => Some(Self::Syn),
            (Kind::Ip, UDP) if id.dport == DHCP && id.sport != DHCP => Some(Self::Dhcp),
            (Kind::Ip, UDP) => Some(Self::Udp),
            (Kind::Ip, ICMP | ICMP6) => Some(Self::Icmp),
            _ => None,
        }
    }

    /// Beginnings within a window, and frames of one conversation between two reports, that are too many.
    fn limits(self) -> (u32, u64) {
        match self {
            Self::Syn | Self::Icmp => (1_000, 5_000),
            // A logger or a probe may begin anew for each datagram, and streams have thousands of them a second.
            Self::Udp => (2_000, 50_000),
            Self::Dhcp => (200, u64::MAX),
        }
    }

    fn signature(self) -> &'static str {
        match self {
            Self::Syn => "SYN flood: begins far more connections with one host than are answered",
            Self::Udp => "UDP flood: sends one host far more than is answered",
            Self::Icmp => "ICMP flood: sends one host far more than is answered",
            Self::Dhcp => "DHCP starvation: asks for addresses in many names",
        }
    }
}

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Rate {
    window_start: Time,
    begun: u32,
    answered: u32,
    /// The source address, as long as it is one.
    source: Option<IpAddr>,
    told: bool,
}

impl Rate {
    fn new(now: Time, source: IpAddr) -> Self {
        Self { window_start: now, begun: 0, answered: 0, source: Some(source), told: false }
    }
}

/// The detector.
pub struct Flood {
    rates: Lru<(Mac, IpAddr, Way), Rate>,
    /// Conversations that were called.
    told: Lru<FlowId, ()>,
}

state!(Flood { rates, told });

impl Flood {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        let size = capacity(settings.limits.devices);
        Self { rates: Lru::new(size), told: Lru::new(size) }
    }

    /// Notes an answer to `id`, by the MAC address that delivered the question.
    fn answer(&mut self, began: &Began<'_>, id: &FlowId) {
        let way = match id.proto {
            TCP => Way::Syn,
            UDP => Way::Udp,
            _ => Way::Icmp,
        };
        if let Some(rate) = self.rates.peek_mut(&(began.seen.dmac, id.dst, way)) {
            rate.answered += 1;
        }
    }
}

impl Detector for Flood {
    fn began(&mut self, began: &Began<'_>, found: &mut Vec<Finding>) {
        let seen = began.seen;
        match began.role {
            Role::Opens => {}
            Role::Answers(id, _) => return self.answer(began, &id),
            Role::OpensMidway | Role::Continues => return,
        }
        let Some(way) = Way::of(seen) else { return };
        // A group has no one to be flooded; a DHCP server is asked by broadcast.
        let host = match way {
            Way::Dhcp => IpAddr::V4(std::net::Ipv4Addr::BROADCAST),
            _ if seen.dmac.is_nobody() => return,
            _ => seen.id.dst,
        };
        let fresh = || Rate::new(seen.time, seen.id.src);
        let rate = self.rates.get_or_insert_mut((seen.smac, host, way), fresh);
        if seen.time.since(rate.window_start) >= WINDOW || rate.window_start < began.clean_since {
            *rate = fresh();
        }
        if rate.source.is_some_and(|source| source != seen.id.src) {
            rate.source = None;
        }
        rate.begun += 1;
        let unanswered = match way {
            Way::Dhcp => rate.source.is_none(),
            _ => rate.answered < rate.begun / ANSWERED,
        };
        let flooded = rate.begun >= way.limits().0 && unanswered;
        if flooded && !rate.told {
            rate.told = true;
            found.push(rate.finding(began, way));
        }
    }

    fn went(&mut self, went: &Went<'_>, found: &mut Vec<Finding>) {
        let (more, id) = (went.more, went.progress.id);
        let size = more.bytes / more.packets.max(1);
        let way = match id.proto {
            TCP if went.progress.tcp_flags == SYN && !went.answered => Way::Syn,
            UDP if size <= SMALL && !went.answered => Way::Udp,
            // Nobody needs so many answers either.
            ICMP | ICMP6 => Way::Icmp,
            _ => return,
        };
        let busy = more.packets >= way.limits().1;
        if id.kind != Kind::Ip || !busy || !went.is_forward() || self.told.contains(&id) {
            return;
        }
        self.told.put(id, ());
        found.push(Finding {
            detector: "flood",
            signature: way.signature(),
            severity: 3,
            family: Family::Flood,
            weight: by_severity(3),
            device: went.device,
            flow: id,
            evidence: vec![
                ("frames", Value::Count(more.packets)),
                ("bytes_a_frame", Value::Count(size)),
                ("dest_ip", Value::Text(id.dst.to_string())),
            ],
            first_evidence: went.progress.first,
        });
    }
}

impl Rate {
    fn finding(&self, began: &Began<'_>, way: Way) -> Finding {
        let seen = began.seen;
        // One address, and the MAC address carries no others: it is the device's own doing.
        let own = self.source.is_some() && !began.gateway;
        let severity = if own || (way == Way::Dhcp && !began.gateway) { 2 } else { 3 };
        Finding {
            detector: "flood",
            signature: way.signature(),
            severity,
            family: Family::Flood,
            weight: by_severity(severity),
            device: DeviceKey::Local(seen.smac),
            flow: seen.id,
            evidence: vec![
                ("begun", Value::Count(u64::from(self.begun))),
                ("answered", Value::Count(u64::from(self.answered))),
                ("seconds", seconds(seen.time.since(self.window_start))),
                ("one_source", Value::Count(u64::from(self.source.is_some()))),
                ("dest_ip", Value::Text(seen.id.dst.to_string())),
                ("dest_port", Value::Count(u64::from(seen.id.dport))),
            ],
            first_evidence: self.window_start,
        }
    }
}
