//! Floods: far more begun towards one host than it can answer, or an address server asked in many names.
//!
//! Signal: conversations that begin (TCP, UDP, ICMP) by the MAC address that delivers them and the host they are for, and
//! whether they are answered; frames of single conversations that nobody answers; requests to DHCP servers by their
//! source addresses.
//! Statistic: in windows of ten seconds 2,000 beginnings towards one host of which less than a tenth is answered (an
//! ntopng alert takes 256 SYN a minute; a busy server's clients get answers); half a million unanswered small frames of
//! one conversation between two reports; 200 DHCP clients by one MAC address.
//! Who is to blame: source addresses can be made up, so nobody is blamed for being flooded, nor by an IP address. It is the
//! MAC address that delivers the frames: a device's own, if all came from one address of its; otherwise sources are forged,
//! or outside and this is their router, and the severity is the lowest.
//! Cold start: none. Recovery: the next window; a release forgets it.
//! Known false alarms: a load test; a boot storm of 200 devices behind one router. It alerts and never isolates by itself.

use std::net::IpAddr;

use lru::LruCache;

use super::{Began, Detector, Finding, Went, seconds};
use crate::addr::Mac;
use crate::event::Value;
use crate::flow::{ACK, ICMP, ICMP6, Role, SYN, TCP, UDP};
use crate::inventory::{DeviceKey, capacity};
use crate::observation::{FlowId, FlowSeen, Kind};
use crate::settings::Settings;
use crate::time::{SECOND, Time};

/// Length of a window.
const WINDOW: u64 = 10 * SECOND;
/// Beginnings towards one host within it that are too many...
const LIMIT: u32 = 2_000;
/// ...if not one in so many is answered.
const ANSWERED: u32 = 10;
/// Clients of DHCP servers by one MAC address within it that are too many.
const CLIENTS: u32 = 200;
/// Frames of one conversation between two reports that are too many, if nobody answers...
const FRAMES: u64 = 500_000;
/// ...and they have at most so many bytes each: larger ones are a stream.
const SMALL: u64 = 200;
/// Port of DHCP servers.
const DHCP: u16 = 67;

/// What floods.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

    fn signature(self) -> &'static str {
        match self {
            Self::Syn => "SYN flood: begins far more connections with one host than are answered",
            Self::Udp => "UDP flood: sends one host far more than is answered",
            Self::Icmp => "ICMP flood: sends one host far more than is answered",
            Self::Dhcp => "DHCP starvation: asks for addresses in many names",
        }
    }
}

#[derive(Debug)]
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
    rates: LruCache<(Mac, IpAddr, Way), Rate>,
    /// Conversations that were called.
    told: LruCache<FlowId, ()>,
}

impl Flood {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        let size = capacity(settings.limits.devices);
        Self { rates: LruCache::new(size), told: LruCache::new(size) }
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
            Role::Answers(id) => return self.answer(began, &id),
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
        let flooded = match way {
            Way::Dhcp => rate.begun >= CLIENTS && rate.source.is_none(),
            _ => rate.begun >= LIMIT && rate.answered < rate.begun / ANSWERED,
        };
        if flooded && !rate.told {
            rate.told = true;
            found.push(rate.finding(began, way));
        }
    }

    fn went(&mut self, went: &Went<'_>, found: &mut Vec<Finding>) {
        let (more, id) = (went.more, went.progress.id);
        let way = match id.proto {
            UDP => Way::Udp,
            ICMP | ICMP6 => Way::Icmp,
            _ => return,
        };
        let busy = more.packets >= FRAMES && more.bytes / more.packets <= SMALL;
        let told = self.told.contains(&id);
        if id.kind != Kind::Ip || !busy || !went.is_forward() || went.answered || told {
            return;
        }
        self.told.put(id, ());
        found.push(Finding {
            detector: "flood",
            signature: way.signature(),
            severity: 3,
            device: went.device,
            flow: id,
            evidence: vec![
                ("frames", Value::Count(more.packets)),
                ("bytes_a_frame", Value::Count(more.bytes / more.packets)),
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
        Finding {
            detector: "flood",
            signature: way.signature(),
            severity: if own || (way == Way::Dhcp && !began.gateway) { 2 } else { 3 },
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
