//! First contacts and their outcome: what the scan detectors live on.
//!
//! A contact is the first flow of a device to a destination and service it never tried before. It is *answered* when the
//! destination's flow back begins, *refused* when that begins with a TCP reset or the destination itself sends an ICMP
//! error, and *silent* when nothing came in time. An ARP request for an address nobody was ever seen to use (a *dark*
//! one) is given little time: on a local network an answer comes within milliseconds.
//!
//! An IPv6 neighbour solicitation is a contact to the group of those whose address ends alike (RFC 4291 2.7.1), since that
//! is all its headers name; an advertisement from an address of that group answers it.
//!
//! Who floods the network with contacts must not hide a scan of somebody else's, or its own: one MAC address has no more
//! than a part of the room in which contacts wait, and what comes when that is taken is not judged, rather than what came
//! before it. So of any flood as many are judged as there is room for, each time-out.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use hashbrown::DefaultHashBuilder;

use crate::addr::{Mac, mark};
use crate::flow::{ACK, FIN, ICMP, ICMP6, RST, SYN, TCP, UDP};
use crate::health::Health;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::{FlowId, FlowSeen, Kind, Verdict};
use crate::patience::{AnswerTimes, LEAST};
use crate::policy::Name;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, Time};
use crate::tried::{self, AllTried};

/// A first contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Contact {
    /// Who makes it.
    pub device: DeviceKey,
    /// Of which class that is.
    pub class: Option<Name>,
    /// The flow that makes it.
    pub id: FlowId,
    /// When.
    pub time: Time,
    /// The device never tried this destination before by this kind of traffic (ARP, ICMP, TCP, UDP, other IP).
    pub new_peer: bool,
    /// The device never tried this service of this destination before. Only these wait for an outcome.
    pub new_service: bool,
    /// The destination lies in an internal network.
    pub internal: bool,
    /// Somebody was seen to send from the destination.
    pub alive: bool,
    /// The device and the sensor know each other for so long ([`SETTLED`]) that what is new to it is not so because
    /// everything is.
    pub settled: bool,
    /// The beginning of the conversation was missed.
    pub midway: bool,
    /// A TCP flag combination no stack opens a connection with (NULL, FIN, Xmas).
    pub odd_flags: bool,
    /// The device is an end host: it has one IPv4 address, had an answer to a TCP or UDP contact of its own, gives out no
    /// addresses and does not forward packets of others.
    pub end_host: bool,
    /// It comes from outside the internal networks.
    pub from_outside: bool,
    /// The number of the rule that forbids it, from 0.
    pub forbidden: Option<u16>,
    /// Of a contact that failed: what is known of its service.
    pub health: Health,
    /// Of a contact with an outcome: how often first contacts inside succeed in the device's class, thousandths, if that
    /// was measured (see [`crate::success`]).
    pub success: Option<u16>,
    /// What a detector holds against the device from before then is forgotten.
    pub clean_since: Time,
}

impl Contact {
    /// Whether it only asks where an address is on the link, which comes before what is meant for it.
    pub fn is_resolution(&self) -> bool {
        matches!(way(&self.id), Way::Arp | Way::Neighbour)
    }

    /// Whether it is an IPv6 neighbour solicitation.
    pub fn is_solicitation(&self) -> bool {
        way(&self.id) == Way::Neighbour
    }
}

/// What came of a contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The destination answered.
    Answered,
    /// The destination said no.
    Refused,
    /// Nothing came in time.
    Silent,
}

/// For so long everything is new to a device, or to the sensor, ns.
pub const SETTLED: u64 = 24 * HOUR;
/// One MAC address has at most this part of the room in which contacts wait: one in so many.
const SHARE: usize = 8;

/// ICMPv6 types of a neighbour solicitation and advertisement (RFC 4861).
const SOLICITATION: u16 = 135;
const ADVERTISEMENT: u16 = 136;

/// The group that is asked for an address (RFC 4291 2.7.1).
fn solicited(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let [.., a, b, c] = ip.octets();
    let low = [u16::from_be_bytes([0xff, a]), u16::from_be_bytes([b, c])];
    Some(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, low[0], low[1]).into())
}

/// Whether an address is such a group.
fn is_solicited(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if matches!(ip.segments(), [0xff02, 0, 0, 0, 0, 1, high, _] if high >> 8 == 0xff))
}

/// Kind of traffic by which a destination is a peer of its own.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub(crate) enum Way {
    /// A question for an address on the link.
    Arp,
    /// The same by IPv6.
    Neighbour,
    /// ICMP and ICMPv6.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Any other protocol on IP.
    Other,
}

fn way(id: &FlowId) -> Way {
    match (id.kind, id.proto) {
        (Kind::Arp, _) => Way::Arp,
        (Kind::Ip, ICMP6) if id.sport >> 8 == SOLICITATION => Way::Neighbour,
        (_, ICMP | ICMP6) => Way::Icmp,
        (_, TCP) => Way::Tcp,
        (_, UDP) => Way::Udp,
        _ => Way::Other,
    }
}

/// What an answer is matched by: an ICMP error quotes no more than this.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
struct Waiting {
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    kind: Kind,
    vlan: u16,
    service: u16,
}

/// The service a flow asks for: the destination port, if its protocol has ports.
fn service(id: &FlowId) -> u16 {
    if matches!(way(id), Way::Tcp | Way::Udp) { id.dport } else { 0 }
}

fn waiting_key(id: &FlowId) -> Waiting {
    Waiting { src: id.src, dst: id.dst, proto: id.proto, kind: id.kind, vlan: id.vlan, service: service(id) }
}

/// A service that answered whoever tried it.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Who tried it.
    pub device: DeviceKey,
    /// At which address.
    pub server: IpAddr,
    /// IP protocol number.
    pub proto: u8,
    /// Port; 0 if the protocol has none.
    pub port: u16,
    /// When it was tried first, or answered first, if that was later than a first contact's time allows.
    pub first: Time,
}

/// The queue of TCP inside, where the wait is as long as answers take.
const TCP_INSIDE: usize = 3;
/// The same to addresses nobody was seen to use.
const TCP_DARK: usize = 4;
/// The queue of what was judged before its time was up.
const JUDGED: usize = 5;

/// A contact that waits.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Pending {
    contact: Contact,
    /// Until when: it is judged then, or forgotten if it was.
    deadline: Time,
    /// It was judged by silence; an answer that is only late takes that back.
    judged: bool,
    /// Who sent it, on this link.
    smac: Mac,
}

/// First contacts that wait for their outcome, and the peers every device ever tried.
#[derive(Debug)]
pub struct Contacts {
    peers: AllTried<tried::Peer>,
    services: AllTried<tried::Service>,
    waiting: HashMap<Waiting, Pending, DefaultHashBuilder>,
    /// How many wait of each MAC address.
    senders: HashMap<Mac, usize, DefaultHashBuilder>,
    /// Groups in which somebody who was heard is asked for.
    groups: Lru<IpAddr, ()>,
    /// One queue for each time-out, so that each is in order of time: dark by ARP, internal, external, TCP inside, the same
    /// dark, and those of both which were judged before their time was up.
    queues: [VecDeque<(Time, Waiting)>; 6],
    /// How long answers inside take.
    times: AnswerTimes,
    limit: usize,
    internal_answer_ns: u64,
    /// Contacts not judged because too many waited, or answers were lost.
    pub evicted: u64,
    /// Services inside that answered a device, forgotten because there were too many.
    pub services_evicted: u64,
}

state!(Contacts { peers, services, waiting, senders, groups, queues, times, evicted, services_evicted } keeps { limit, internal_answer_ns });

impl Contacts {
    /// An empty table, bounded by the settings.
    pub fn new(settings: &Settings) -> Self {
        Self {
            peers: AllTried::peers(settings.limits.peers),
            services: AllTried::services(settings.limits.peers),
            waiting: HashMap::default(),
            senders: HashMap::default(),
            groups: Lru::new(capacity(settings.limits.devices)),
            queues: Default::default(),
            times: AnswerTimes::default(),
            internal_answer_ns: settings.internal_answer_ns,
            limit: settings.limits.contacts.max(1),
            evicted: 0,
            services_evicted: 0,
        }
    }

    /// Goes on with whom every device ever tried, and how long answers take, as an earlier run knew it. What that waited for it
    /// leaves: the answers may have gone by unheard.
    pub fn take_up(&mut self, before: Self) {
        let Self { peers, services, groups, times, .. } = before;
        (self.peers, self.services, self.groups, self.times) = (peers, services, groups, times);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the next one's time is up, at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.queues.iter().filter_map(|queue| queue.front().map(|(deadline, _)| *deadline)).min()
    }

    /// Makes a contact of the first flow of a conversation; none if it is not one (multicast, an answer, an error).
    pub fn make(
        &mut self,
        device: DeviceKey,
        seen: &FlowSeen,
        facts: Facts,
        settings: &Settings,
    ) -> Option<Contact> {
        let id = seen.id;
        let flags = seen.tcp_flags;
        let asks = match (id.kind, id.proto) {
            (Kind::Arp, _) => id.sport == 1 && id.src != id.dst,
            (Kind::Ip, ICMP) => id.sport >> 8 == 8,
            (Kind::Ip, ICMP6) if id.sport >> 8 == SOLICITATION => {
                is_solicited(id.dst) && crate::addr::is_host(id.src)
            }
            (Kind::Ip, ICMP6) => id.sport >> 8 == 128,
            (Kind::Ip, TCP) => flags & RST == 0,
            // What a DHCP server sends to a client is an answer, though the question was broadcast by nobody.
            (Kind::Ip, UDP) => (id.sport, id.dport) != (67, 68),
            (Kind::Ip, _) => true,
            (Kind::Fragment, _) => false,
        };
        // ARP is broadcast by nature; all else to a group address is not meant for one destination.
        let way = way(&id);
        let to_group = way != Way::Arp && (seen.dmac.is_nobody() || !crate::addr::is_host(id.dst));
        let asks_link = way == Way::Neighbour;
        if !asks || (to_group && !asks_link) || (way == Way::Arp && !crate::addr::is_host(id.dst)) {
            return None;
        }
        let is_internal = |ip| settings.internal.iter().any(|net| net.contains(ip));
        let since = facts.clean_since;
        let internal = asks_link || is_internal(id.dst);
        let new_peer = self.peers.is_new((device, id.dst, way), internal, seen.time, since);
        // Of the rare protocols, each is a service of its own.
        let service = if way == Way::Other { u16::from(id.proto) } else { service(&id) };
        let new_service = self.services.is_new((device, id.dst, way, service), internal, seen.time, since);
        let opens = flags & SYN != 0 && flags & (ACK | FIN) == 0;
        let contact = Contact {
            device,
            class: facts.class,
            id,
            time: seen.time,
            new_peer,
            new_service,
            internal,
            alive: facts.alive || (asks_link && self.groups.contains(&id.dst)),
            settled: facts.settled,
            midway: id.proto == TCP && flags & ACK != 0,
            odd_flags: id.proto == TCP && id.kind == Kind::Ip && flags & ACK == 0 && !opens,
            end_host: facts.end_host,
            from_outside: id.kind == Kind::Ip && !is_internal(id.src),
            forbidden: None,
            health: Health::Unknown,
            success: None,
            clean_since: facts.clean_since,
        };
        // A dropped contact reaches nobody: that nobody answers it says nothing.
        if new_service && seen.verdict != Verdict::Drop {
            self.wait(contact, seen.smac, settings);
        }
        Some(contact)
    }

    fn wait(&mut self, contact: Contact, smac: Mac, settings: &Settings) {
        let key = waiting_key(&contact.id);
        // Tried anew: the outcome is that of the last try.
        self.take(&key);
        let of_sender = self.senders.get(&smac).copied().unwrap_or(0);
        if self.waiting.len() >= self.limit || of_sender >= self.limit.div_ceil(SHARE) {
            self.evicted += 1;
            return;
        }
        let (queue, patience) = match (contact.id.kind, contact.internal) {
            (Kind::Arp, _) if !contact.alive => (0, settings.dark_answer_ns),
            (_, true) if contact.id.proto == TCP => {
                let dark = contact.settled && !contact.alive;
                let (queue, least) =
                    if dark { (TCP_DARK, settings.dark_answer_ns / 4) } else { (TCP_INSIDE, LEAST) };
                (queue, self.times.patience(least, settings.internal_answer_ns))
            }
            (_, true) => (1, settings.internal_answer_ns),
            (_, false) => (2, settings.external_answer_ns),
        };
        // Who was waited for longer, before the wait became shorter, comes first.
        let last = self.queues[queue].back().map(|(deadline, _)| *deadline);
        let deadline = last.max(Some(contact.time.plus(patience))).unwrap_or_default();
        self.waiting.insert(key, Pending { contact, deadline, judged: false, smac });
        *self.senders.entry(smac).or_default() += 1;
        self.queues[queue].push_back((deadline, key));
    }

    /// Takes out a contact that waits.
    fn take(&mut self, key: &Waiting) -> Option<(Contact, Time)> {
        let Pending { contact, deadline, smac, judged: _ } = self.waiting.remove(key)?;
        if let Entry::Occupied(mut sender) = self.senders.entry(smac) {
            *sender.get_mut() -= 1;
            if *sender.get() == 0 {
                sender.remove();
            }
        }
        Some((contact, deadline))
    }

    /// The contact that `answer`, the first flow back of the conversation begun by `id`, is the outcome of.
    pub fn answered(&mut self, id: &FlowId, answer: &FlowSeen) -> Option<(Contact, Outcome)> {
        let (contact, _) = self.take(&waiting_key(id))?;
        if id.proto == TCP && contact.internal {
            self.times.note(answer.time.since(contact.time));
        }
        if id.proto == TCP && answer.tcp_flags & RST != 0 {
            return Some((contact, Outcome::Refused));
        }
        self.note_answered((contact.device, contact.internal), id, None);
        Some((contact, Outcome::Answered))
    }

    /// Notes that a conversation of a device was answered, and not by a refusal, though it is no first contact any more: who was
    /// switched off when a device first turned to it, or was slow to answer, is known to it as well as any other from then on.
    /// `internal`: what it turned to lies inside.
    pub fn accepted(&mut self, device: DeviceKey, id: &FlowId, internal: bool, answer: &FlowSeen) {
        self.note_answered((device, internal), id, Some(answer.time));
    }

    /// What a flow of a device asked for answers it: `late`, if it did not when it was tried first.
    fn note_answered(&mut self, (device, internal): (DeviceKey, bool), id: &FlowId, late: Option<Time>) {
        let (dst, way) = (id.dst, way(id));
        let service = if way == Way::Other { u16::from(id.proto) } else { service(id) };
        self.peers.answers((device, dst, way), internal, late);
        let forgotten = self.services.answers((device, dst, way, service), internal, late);
        self.services_evicted += u64::from(forgotten);
    }

    /// Notes that an address is in use; if it was asked for, gives the contact that this is the answer of.
    pub fn advertised(&mut self, seen: &FlowSeen) -> Option<(Contact, Outcome)> {
        let id = &seen.id;
        if !crate::addr::is_host(id.src) {
            return None;
        }
        let group = solicited(id.src)?;
        self.groups.put(group, ());
        if id.kind != Kind::Ip || id.proto != ICMP6 || id.sport >> 8 != ADVERTISEMENT {
            return None;
        }
        let asked =
            Waiting { src: id.dst, dst: group, proto: ICMP6, kind: Kind::Ip, vlan: id.vlan, service: 0 };
        let (contact, _) = self.take(&asked)?;
        self.note_answered((contact.device, contact.internal), &contact.id, None);
        Some((contact, Outcome::Answered))
    }

    /// Who turned to a service of any of these addresses for the first time since then, by TCP or UDP, and was answered.
    pub fn reached_by(&self, at: &BTreeSet<IpAddr>, since: Time) -> BTreeSet<DeviceKey> {
        let marks = at.iter().copied().map(mark).collect();
        let reached = self.services.answered(&marks).filter(|((_, dst, way, _), tried)| {
            let meant = matches!(way, Way::Tcp | Way::Udp) && at.contains(dst);
            meant && tried.first >= since
        });
        reached.map(|((device, ..), _)| *device).collect()
    }

    /// The services that answered whoever tried them, of some devices or at some addresses; the last tried first.
    pub fn answered_services(&self, by: &BTreeSet<DeviceKey>, at: &BTreeSet<IpAddr>) -> Vec<Answered> {
        let marks = by.iter().map(DeviceKey::mark).chain(at.iter().copied().map(mark)).collect();
        let asked = |device, dst| by.contains(device) || at.contains(dst);
        let answered = self.services.answered(&marks);
        let mut tried: Vec<_> = answered.filter(|((device, dst, ..), _)| asked(device, dst)).collect();
        tried.sort_by_key(|((device, dst, way, service), tried)| {
            (Reverse(tried.last), *device, *dst, *way, *service)
        });
        let answered = tried.into_iter().filter_map(|((device, dst, way, service), tried)| {
            let (proto, port) = match way {
                Way::Arp | Way::Neighbour => return None,
                Way::Icmp if dst.is_ipv4() => (ICMP, 0),
                Way::Icmp => (ICMP6, 0),
                Way::Tcp => (TCP, *service),
                Way::Udp => (UDP, *service),
                Way::Other => (u8::try_from(*service).ok()?, 0),
            };
            Some(Answered { device: *device, server: *dst, proto, port, first: tried.first })
        });
        answered.collect()
    }

    /// The contact that an ICMP error of the destination itself is the outcome of.
    pub fn refused_by_icmp(&mut self, error: &FlowSeen) -> Option<(Contact, Outcome)> {
        let id = &error.id;
        let unreachable = match id.proto {
            ICMP => id.sport >> 8 == 3,
            ICMP6 => id.sport >> 8 == 1,
            _ => false,
        };
        if id.kind != Kind::Ip || !unreachable {
            return None;
        }
        let asked = |proto| {
            let (src, dst, vlan, service) = (id.dst, id.src, id.vlan, id.dport);
            Waiting { src, dst, proto, kind: Kind::Ip, vlan, service }
        };
        let (contact, _) = [UDP, TCP].into_iter().find_map(|proto| self.take(&asked(proto)))?;
        Some((contact, Outcome::Refused))
    }

    /// The next contact whose time is up by `now`, oldest first; call until none is left.
    pub fn lapsed(&mut self, now: Time) -> Option<(Contact, Time)> {
        loop {
            let queue = self
                .queues
                .iter_mut()
                .filter(|queue| queue.front().is_some_and(|(deadline, _)| *deadline <= now))
                .min_by_key(|queue| queue.front().map(|front| front.0))?;
            let (deadline, key) = queue.pop_front()?;
            // It may have been answered, or made anew with a later deadline.
            let Some(pending) = self.waiting.get_mut(&key).filter(|pending| pending.deadline == deadline)
            else {
                continue;
            };
            if pending.judged {
                self.take(&key);
                continue;
            }
            let (contact, end) = (pending.contact, pending.contact.time.plus(self.internal_answer_ns));
            if !contact.internal || contact.id.proto != TCP || end <= deadline {
                return self.take(&key);
            }
            // The answer may only be late.
            (pending.judged, pending.deadline) = (true, end);
            self.queues[JUDGED].push_back((end, key));
            return Some((contact, deadline));
        }
    }
}

/// What the device table knows about a contact.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Of which class the device is.
    pub class: Option<Name>,
    /// Somebody was seen to send from the destination.
    pub alive: bool,
    /// See [`Contact::settled`].
    pub settled: bool,
    /// The device is an end host (see [`Contact::end_host`]).
    pub end_host: bool,
    /// See [`Contact::clean_since`].
    pub clean_since: Time,
}
