//! The simulation itself: what happens when, and what the sensor sees of it.
//!
//! What the world tells are the records the data path would: a flow's beginning in each direction, how it went on and its
//! end, at the port and with the MAC addresses it would have there. Whoever takes them says whether the frame went
//! through, so that an isolated host gets no answers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;

use sensor_core::addr::Mac;
use sensor_core::flow::UDP;
use sensor_core::observation::{FlowId, FlowSeen, Kind, Observation, Verdict};
use sensor_core::time::{MILLISECOND, MINUTE, Time};

use super::calendar::START;
use super::chance::Chance;
use super::site::{Class, HostId, Site};
use super::talk::{Fate, Leg, Open, Talk};

/// A host asks again by ARP for whom it did not ask for so long.
const ARP_AGE: u64 = 30 * MINUTE;
/// Broadcast.
pub const EVERYBODY: Mac = Mac([0xff; 6]);

/// Why something is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// It is what the host does.
    Habit,
    /// Something harmless and unusual, by its place in the list of those.
    Confounder(u8),
    /// An attack, by its number.
    Attack(u16),
}

/// One thing the data path tells.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// What.
    pub observation: Observation,
    /// The conversation it belongs to.
    pub talk: u64,
    /// It is from who answers to who asked.
    pub back: bool,
    /// Why it was sent.
    pub cause: Cause,
}

/// Takes what the data path tells.
pub trait Sink {
    /// One record. Returns whether the frame behind it went through.
    fn told(&mut self, told: &Told) -> bool;

    /// Hosts have these addresses from now on.
    fn moved(&mut self, _site: &Site) {}
}

/// Something with a plan of its own: a confounder or an attack.
pub trait Script {
    /// Does what is due; returns when the next thing is, or none if it is over.
    fn step(&mut self, world: &mut World<'_>) -> Option<Time>;
}

/// What is due at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Item {
    /// A habit of a host, if it was not switched off since.
    Habit {
        /// Whose.
        host: u32,
        /// Which, of its class.
        habit: u8,
        /// The time it was switched on for.
        boot: u16,
    },
    /// A host is switched on or off.
    Power {
        /// Which.
        host: u32,
        /// On.
        on: bool,
    },
    /// The answer to a conversation's first frame is due.
    Back(u32),
    /// A conversation is to be told of.
    Went(u32),
    /// A script's next step.
    Script(u32),
}

/// The world.
pub struct World<'a> {
    /// The time.
    pub now: Time,
    /// Who is there.
    pub site: Site,
    /// Draws of what hosts do.
    pub chance: Chance,
    /// Records that get lost, 0 to 1.
    pub loss: f64,
    /// Answers towards the hosts of this segment are not seen.
    pub one_way: Option<usize>,
    /// Days of an hour's shift of the clocks, 0 or 1 hour, ns.
    pub clock_shift: u64,
    pub(super) boots: Vec<u16>,
    /// Conversations told so far.
    pub talks: u64,
    queue: BinaryHeap<Reverse<(Time, u64, Item)>>,
    queued: u64,
    open: Vec<Option<Open>>,
    free: Vec<u32>,
    arp: HashMap<(HostId, IpAddr), Time>,
    by_ip: HashMap<IpAddr, HostId>,
    scripts: Vec<Option<Box<dyn Script>>>,
    over: Vec<u32>,
    sink: &'a mut dyn Sink,
    sport: u16,
}

impl<'a> World<'a> {
    /// A site at its first midnight.
    pub fn new(site: Site, seed: u64, sink: &'a mut dyn Sink) -> Self {
        let by_ip = site.hosts.iter().enumerate().map(|(id, host)| (host.ip, id)).collect();
        sink.moved(&site);
        Self {
            now: START,
            boots: vec![0; site.hosts.len()],
            site,
            chance: Chance::new(seed, 2),
            loss: 0.0,
            one_way: None,
            clock_shift: 0,
            talks: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            open: Vec::new(),
            free: Vec::new(),
            arp: HashMap::new(),
            by_ip,
            scripts: Vec::new(),
            over: Vec::new(),
            sink,
            sport: 0,
        }
    }

    /// Runs until a time.
    pub fn run(&mut self, until: Time) {
        while let Some(Reverse((time, _, item))) = self.queue.peek().copied() {
            if time >= until {
                break;
            }
            self.queue.pop();
            self.now = time;
            self.due(item);
        }
        self.now = until;
    }

    fn due(&mut self, item: Item) {
        match item {
            Item::Habit { host, habit, boot } => self.habit(host as usize, habit, boot),
            Item::Power { host, on } => self.power(host as usize, on),
            Item::Back(at) => self.back(at),
            Item::Went(at) => self.went(at),
            Item::Script(at) => {
                let Some(mut script) = self.scripts.get_mut(at as usize).and_then(Option::take) else {
                    return;
                };
                match (script.step(self), self.scripts.get_mut(at as usize)) {
                    (Some(next), Some(place)) => {
                        *place = Some(script);
                        self.at(next, Item::Script(at));
                    }
                    _ => self.over.push(at),
                }
            }
        }
    }

    pub(super) fn at(&mut self, time: Time, item: Item) {
        self.queued += 1;
        self.queue.push(Reverse((time.max(self.now), self.queued, item)));
    }

    /// Begins a script at a time.
    pub fn play(&mut self, time: Time, script: Box<dyn Script>) {
        let at = match self.over.pop() {
            Some(at) => at,
            None => {
                self.scripts.push(None);
                self.scripts.len() as u32 - 1
            }
        };
        if let Some(place) = self.scripts.get_mut(at as usize) {
            *place = Some(script);
        }
        self.at(time, Item::Script(at));
    }

    /// Does something once, so much later, ns.
    pub fn after(&mut self, ns: u64, what: impl FnOnce(&mut World<'_>) + 'static) {
        let time = self.now.plus(ns);
        self.play(time, Box::new(Once(Some(what))));
    }

    /// The host that has an address, whether it is up or not.
    pub fn holder(&self, ip: IpAddr) -> Option<HostId> {
        self.by_ip.get(&ip).copied()
    }

    /// Adds a host, as [`Site::add`] does, and switches it on.
    pub fn settle(&mut self, add: impl FnOnce(&mut Site) -> HostId) -> HostId {
        let id = add(&mut self.site);
        self.boots.resize(self.site.hosts.len(), 0);
        self.register(id);
        id
    }

    fn register(&mut self, id: HostId) {
        if let Some(host) = self.site.hosts.get(id) {
            self.by_ip.insert(host.ip, id);
        }
        self.sink.moved(&self.site);
    }

    /// The MAC address of a host; nobody's if there is none.
    pub fn mac(&self, id: HostId) -> Mac {
        self.site.hosts.get(id).map_or(Mac::default(), |host| host.mac)
    }

    /// The address of a host; the unspecified one if there is none.
    pub fn ip(&self, id: HostId) -> IpAddr {
        self.site.hosts.get(id).map_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |host| host.ip)
    }

    /// Whether a host is switched on.
    pub fn is_up(&self, id: HostId) -> bool {
        self.site.hosts.get(id).is_some_and(|host| host.up)
    }

    /// The class of any host of these; none if there is none.
    pub fn class_of_any(&mut self, classes: &[Class]) -> Option<Class> {
        let of: Vec<Class> =
            classes.iter().flat_map(|class| self.site.of(*class).iter().map(|_| *class)).collect();
        self.chance.pick(&of)
    }

    /// A host of these classes that is up; none if there is none.
    pub fn any_up(&mut self, classes: &[Class]) -> Option<HostId> {
        let all = classes.iter().flat_map(|class| self.site.of(*class));
        let of: Vec<HostId> = all.filter(|id| self.is_up(**id)).copied().collect();
        self.chance.pick(&of)
    }

    /// Gives a host a new address.
    pub fn renumber(&mut self, id: HostId) {
        let Some(segment) = self.site.hosts.get(id).map(|host| host.segment) else { return };
        let ip = self.site.fresh_ip(segment);
        if let Some(host) = self.site.hosts.get_mut(id) {
            self.by_ip.remove(&host.ip);
            host.ip = ip;
        }
        self.register(id);
    }

    /// Gives an address to another host: the other half of a pair takes over.
    pub fn take_over(&mut self, id: HostId, ip: IpAddr) {
        if let Some(host) = self.site.hosts.get_mut(id) {
            host.ip = ip;
        }
        self.register(id);
    }

    pub(super) fn tell(&mut self, told: &Told) -> bool {
        if self.loss > 0.0 && self.chance.happens(self.loss) {
            return true;
        }
        self.sink.told(told)
    }

    /// Where a host is: its VLAN, its port, and its router's MAC address; none if there is no such host.
    pub fn place(&self, id: HostId) -> Option<(u16, u8, Mac)> {
        let host = self.site.hosts.get(id)?;
        Some((self.vlan(host.segment), host.port, self.site.router))
    }

    /// Tells of something that comes from elsewhere. Returns whether the frame behind it went through.
    pub fn graft(&mut self, observation: Observation, back: bool, cause: Cause) -> bool {
        self.talks += 1;
        let talk = self.talks;
        self.tell(&Told { observation, talk, back, cause })
    }

    /// Tells of a frame that is part of no conversation of ours, such as an ARP message.
    pub fn frame(&mut self, seen: FlowSeen, cause: Cause) -> bool {
        self.graft(Observation::Flow(seen), false, cause)
    }

    /// Asks by ARP for an address of the host's own segment, unless it did lately. Returns what came of it.
    fn resolve(&mut self, from: HostId, ip: IpAddr, cause: Cause) -> Fate {
        let Some(host) = self.site.hosts.get(from) else { return Fate::Silent };
        let (mac, own, port, segment) = (host.mac, host.ip, host.port, host.segment);
        let router = self.site.segments.get(segment).is_some_and(|segment| segment.router == ip);
        let target = self.by_ip.get(&ip).and_then(|id| self.site.hosts.get(*id)).filter(|host| host.up);
        let answer = match target {
            _ if router => Some((self.site.router, super::site::CORE)),
            target => target.map(|host| (host.mac, host.port)),
        };
        let last = self.arp.get(&(from, ip)).copied();
        if answer.is_some() && last.is_some_and(|last| self.now.since(last) < ARP_AGE) {
            return Fate::Answered;
        }
        self.arp.insert((from, ip), self.now);
        let passes = self.arp((mac, port), (own, ip), EVERYBODY, 1, segment, cause);
        if let Some((answerer, at)) = answer
            && at != port
        {
            // Who answers does no harm.
            self.arp((answerer, at), (ip, own), mac, 2, segment, Cause::Habit);
        }
        match answer {
            _ if !passes => Fate::Dropped,
            Some(_) => Fate::Answered,
            None => Fate::Silent,
        }
    }

    /// Tells of an ARP message; `operation` 1 asks, 2 answers.
    pub fn arp(
        &mut self,
        (smac, port): (Mac, u8),
        (src, dst): (IpAddr, IpAddr),
        dmac: Mac,
        operation: u16,
        segment: usize,
        cause: Cause,
    ) -> bool {
        let leg = Leg { vlan: self.vlan(segment), ports: [port; 2], macs: [smac, dmac], ttls: [0; 2] };
        let id =
            FlowId { src, dst, sport: operation, dport: 0, proto: 0, kind: Kind::Arp, vlan: leg.vlan, port };
        let seen = FlowSeen { arp_sha: smac, ether_type: 0x0806, ..leg.seen(self.now, id, 0, false) };
        self.frame(seen, cause)
    }

    pub(super) fn vlan(&self, segment: usize) -> u16 {
        self.site.segments.get(segment).map_or(0, |segment| segment.vlan)
    }

    /// A source port: each conversation has another one.
    pub(super) fn source_port(&mut self) -> u16 {
        self.sport = (self.sport + 1) % 16_000;
        49_152 + self.sport
    }

    /// A datagram to a group, which nobody answers.
    pub fn shout(&mut self, from: HostId, group: IpAddr, port: u16, cause: Cause) {
        let Some(host) = self.site.hosts.get(from) else { return };
        let IpAddr::V4(to) = group else { return };
        let [_, b, c, d] = to.octets();
        let dmac = if to.is_multicast() { Mac([1, 0, 0x5e, b & 0x7f, c, d]) } else { EVERYBODY };
        let leg = Leg {
            vlan: self.vlan(host.segment),
            ports: [host.port; 2],
            macs: [host.mac, dmac],
            ttls: [host.ttl.min(64); 2],
        };
        let id = FlowId {
            src: host.ip,
            dst: group,
            sport: port,
            dport: port,
            proto: UDP,
            kind: Kind::Ip,
            vlan: leg.vlan,
            port: host.port,
        };
        let seen = leg.seen(self.now, id, 0, false);
        self.frame(seen, cause);
    }

    pub(super) fn keep(&mut self, open: Open) -> u32 {
        match self.free.pop() {
            Some(at) => {
                if let Some(place) = self.open.get_mut(at as usize) {
                    *place = Some(open);
                }
                at
            }
            None => {
                self.open.push(Some(open));
                self.open.len() as u32 - 1
            }
        }
    }

    fn back(&mut self, at: u32) {
        let Some(mut open) = self.open.get_mut(at as usize).and_then(Option::take) else { return };
        open.alive = open.answers(self);
        self.put(at, open);
    }

    fn went(&mut self, at: u32) {
        let Some(mut open) = self.open.get_mut(at as usize).and_then(Option::take) else { return };
        if !open.alive {
            self.free.push(at);
            return;
        }
        match open.goes_on(self) {
            Some(next) => {
                self.put(at, open);
                self.at(next, Item::Went(at));
            }
            None => self.free.push(at),
        }
    }

    fn put(&mut self, at: u32, open: Open) {
        if let Some(place) = self.open.get_mut(at as usize) {
            *place = Some(open);
        }
    }

    /// Begins a conversation now.
    pub fn begin(&mut self, talk: &Talk) -> Fate {
        let host = self.site.hosts.get(talk.from).filter(|host| host.up);
        let Some(segment) = host.map(|host| host.segment) else { return Fate::Unseen };
        let here = self.site.segment_of(talk.to);
        let hop = match self.site.segments.get(segment) {
            Some(_) if here == Some(segment) => talk.to,
            Some(segment) => segment.router,
            None => return Fate::Unseen,
        };
        // Who is not on the link gets no frame.
        match self.resolve(talk.from, hop, talk.cause) {
            Fate::Answered => {}
            fate => return fate,
        }
        let Some(mut open) = Open::new(self, talk, here) else { return Fate::Unseen };
        let fate = open.asks(self);
        if fate == Fate::Dropped {
            return fate;
        }
        let (answered, rtt, next) = (open.is_answered(), open.rtt, open.first_news(self.now));
        let at = self.keep(open);
        if answered {
            self.at(self.now.plus(rtt), Item::Back(at));
        }
        self.at(next.max(self.now.plus(rtt + MILLISECOND)), Item::Went(at));
        fate
    }
}

/// Something that is done once.
struct Once<F>(Option<F>);

impl<F: FnOnce(&mut World<'_>)> Script for Once<F> {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if let Some(what) = self.0.take() {
            what(world);
        }
        None
    }
}

/// A frame of nothing in particular.
pub(crate) fn blank(time: Time, id: FlowId) -> FlowSeen {
    FlowSeen {
        time,
        id,
        smac: Mac::default(),
        dmac: Mac::default(),
        arp_sha: Mac::default(),
        vlan_inner: 0,
        ether_type: 0x0800,
        window: 64_240,
        len: 74,
        ttl: 64,
        tcp_flags: 0,
        verdict: Verdict::Pass,
        rule_id: 0,
        inner: None,
    }
}
