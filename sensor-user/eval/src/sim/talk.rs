//! Conversations: what the sensor sees of each, where, and when.

use std::net::IpAddr;

use sensor_core::addr::Mac;
use sensor_core::flow::{ACK, FIN, ICMP, RST, SYN, TCP};
use sensor_core::observation::{EndReason, FlowId, FlowProgress, FlowSeen, Kind, Observation, Verdict};
use sensor_core::time::{MILLISECOND, MINUTE, SECOND, Time};

use super::service::Answer;
use super::site::{CORE, HostId};
use super::world::{Cause, Told, World, blank};

/// A lasting conversation is told of so often; the engine forgets one it heard nothing of for 20 minutes.
const NEWS: u64 = 10 * MINUTE;

/// What somebody wants of somebody.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// Who begins it.
    pub from: HostId,
    /// With whom.
    pub to: IpAddr,
    /// IP protocol.
    pub proto: u8,
    /// The service; of ICMP nothing.
    pub port: u16,
    /// Bytes sent.
    pub up: u64,
    /// Bytes received, if it is answered.
    pub down: u64,
    /// How long it lasts, ns.
    pub lasts: u64,
    /// How often it is told of, ns; 0: as seldom as will do.
    pub news: u64,
    /// How it is taken; none: as the host there takes it.
    pub answer: Option<Answer>,
    /// Why.
    pub cause: Cause,
}

impl Talk {
    /// A short exchange of little.
    pub fn probe(from: HostId, to: IpAddr, proto: u8, port: u16, cause: Cause) -> Self {
        Self {
            from,
            to,
            proto,
            port,
            up: 200,
            down: 200,
            lasts: 50 * MILLISECOND,
            news: 0,
            answer: None,
            cause,
        }
    }
}

/// What became of a conversation's first frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It did not cross the sensor.
    Unseen,
    /// It will be answered.
    Answered,
    /// It will be refused.
    Refused,
    /// Nobody will answer.
    Silent,
    /// A rule dropped it.
    Dropped,
}

/// One crossing of the sensor: the way there; the way back is the same turned round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leg {
    pub vlan: u16,
    /// Ports by which the frames there and back come in.
    pub ports: [u8; 2],
    /// Of who sends the frames there, and who receives them.
    pub macs: [Mac; 2],
    /// Time to live there and back.
    pub ttls: [u8; 2],
}

impl Leg {
    /// Who sends the frames of a direction, and who receives them.
    fn ways(&self, back: bool) -> [Mac; 2] {
        let [there, here] = self.macs;
        if back { [here, there] } else { [there, here] }
    }

    /// The first frame of a direction.
    pub fn seen(&self, time: Time, id: FlowId, tcp_flags: u8, back: bool) -> FlowSeen {
        let [smac, dmac] = self.ways(back);
        let [out, home] = self.ttls;
        FlowSeen { smac, dmac, ttl: if back { home } else { out }, tcp_flags, ..blank(time, id) }
    }
}

/// A conversation under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    id: FlowId,
    legs: [Option<Leg>; 2],
    talk: Talk,
    serial: u64,
    answer: Answer,
    pub rtt: u64,
    start: Time,
    pub alive: bool,
    blind: bool,
    /// The segment in which the router asks for the other end by ARP, since nobody has its address.
    sought: Option<usize>,
}

/// What both ends are, as far as frames show it.
struct Ends {
    macs: [Mac; 2],
    ports: [u8; 2],
    ttls: [u8; 2],
}

impl Open {
    /// None if nothing of it crosses the sensor.
    pub fn new(world: &mut World<'_>, talk: &Talk, there: Option<usize>) -> Option<Self> {
        let from = world.site.hosts.get(talk.from)?.clone();
        let to = world.holder(talk.to).and_then(|id| world.site.hosts.get(id)).cloned();
        let answer = match &to {
            _ if talk.answer.is_some() => talk.answer.unwrap_or(Answer::Yes),
            Some(host) if host.up => world.site.answer(host, talk.proto, talk.port),
            None if there.is_none() => outside(world, talk),
            _ => Answer::Silence,
        };
        let ends = Ends {
            macs: [from.mac, to.as_ref().map_or(Mac::default(), |to| to.mac)],
            ports: [from.port, to.as_ref().map_or(CORE, |to| to.port)],
            ttls: [from.ttl, to.as_ref().map_or(56, |to| to.ttl)],
        };
        let legs = legs(world, &ends, from.segment, there);
        if legs.iter().all(Option::is_none) {
            return None;
        }
        let away = there.filter(|there| *there != from.segment);
        let sought = away.filter(|_| legs[1].is_none() && to.is_none());
        world.talks += 1;
        let icmp = talk.proto == ICMP;
        let sport = if icmp { 8 << 8 } else { world.source_port() };
        let dport = if icmp { 0 } else { talk.port };
        let id = FlowId {
            src: from.ip,
            dst: talk.to,
            sport,
            dport,
            proto: talk.proto,
            kind: Kind::Ip,
            vlan: 0,
            port: 0,
        };
        let near = if there.is_some() { 0.3 } else { 12.0 };
        let rtt = (world.chance.log_normal(near, 0.6) * MILLISECOND as f64) as u64;
        let blind = world.one_way.is_some_and(|segment| segment == from.segment);
        let (serial, start) = (world.talks, world.now);
        Some(Self { id, legs, talk: *talk, serial, answer, rtt, start, alive: true, blind, sought })
    }

    /// The first frame there.
    pub fn asks(&mut self, world: &mut World<'_>) -> Fate {
        let flags = if self.talk.proto == TCP { SYN } else { 0 };
        if !self.tell(world, flags, false) {
            return Fate::Dropped;
        }
        if let Some(there) = self.sought {
            seek(world, &self.talk, there);
        }
        match self.answer {
            Answer::Yes => Fate::Answered,
            Answer::No => Fate::Refused,
            Answer::Silence => Fate::Silent,
        }
    }

    pub fn is_answered(&self) -> bool {
        self.answer != Answer::Silence
    }

    /// The first frame back; false if it was dropped.
    pub fn answers(&mut self, world: &mut World<'_>) -> bool {
        match (self.answer, self.talk.proto) {
            (Answer::No, TCP) => self.tell(world, RST | ACK, true),
            (Answer::No, _) => self.refuses(world),
            (_, TCP) => self.tell(world, SYN | ACK, true),
            _ => self.tell(world, 0, true),
        }
    }

    /// An ICMP error: port unreachable.
    fn refuses(&mut self, world: &mut World<'_>) -> bool {
        let error = FlowId {
            src: self.id.dst,
            dst: self.id.src,
            sport: 3 << 8 | 3,
            dport: self.id.dport,
            proto: ICMP,
            ..self.id
        };
        let mut passes = true;
        for leg in self.legs.iter().rev().flatten() {
            let id = FlowId { vlan: leg.vlan, port: leg.ports[1], ..error };
            let seen = leg.seen(world.now, id, 0, true);
            let observation = Observation::Flow(seen);
            passes = passes
                && world.tell(&Told { observation, talk: self.serial, back: true, cause: self.talk.cause });
        }
        passes
    }

    /// One direction's first frame, at each crossing on its way.
    fn tell(&self, world: &mut World<'_>, flags: u8, back: bool) -> bool {
        if back && self.blind {
            return true;
        }
        let legs = self.legs.iter().flatten();
        let legs: Vec<&Leg> = if back { legs.rev().collect() } else { legs.collect() };
        legs.into_iter().all(|leg| {
            let seen = leg.seen(world.now, self.at(leg, back), flags, back);
            let observation = Observation::Flow(seen);
            world.tell(&Told { observation, talk: self.serial, back, cause: self.talk.cause })
        })
    }

    /// A direction's flow at a crossing.
    fn at(&self, leg: &Leg, back: bool) -> FlowId {
        let id = self.id;
        if !back {
            return FlowId { vlan: leg.vlan, port: leg.ports[0], ..id };
        }
        // An echo reply is of type 0.
        let (sport, dport) = if id.proto == ICMP { (0, 0) } else { (id.dport, id.sport) };
        FlowId { src: id.dst, dst: id.src, sport, dport, vlan: leg.vlan, port: leg.ports[1], ..id }
    }

    fn over_at(&self) -> Time {
        self.start.plus(if self.answer == Answer::Yes { self.talk.lasts } else { 3 * SECOND })
    }

    /// How long after the last frame the data path tells that it is over, ns.
    fn told_after(&self) -> u64 {
        match (self.talk.proto, self.answer) {
            (TCP, Answer::Silence) => 30 * SECOND,
            (TCP, _) => 5 * SECOND,
            _ => MINUTE,
        }
    }

    /// When it is told of next.
    fn next_news(&self, now: Time) -> Time {
        let over = self.over_at().plus(self.told_after());
        let news = if self.talk.news == 0 { NEWS } else { self.talk.news };
        over.min(now.plus(news))
    }

    pub fn first_news(&self, now: Time) -> Time {
        self.next_news(now)
    }

    /// Tells how it went on, or that it is over; returns when it is told of again.
    pub fn goes_on(&mut self, world: &mut World<'_>) -> Option<Time> {
        let over = world.now >= self.over_at().plus(self.told_after());
        let part = if over {
            1.0
        } else {
            let lasts = self.talk.lasts.max(1) as f64;
            (world.now.since(self.start) as f64 / lasts).min(1.0)
        };
        let backs: &[bool] =
            if self.answer == Answer::Silence || self.blind { &[false] } else { &[false, true] };
        for back in backs {
            for leg in self.legs.iter().flatten() {
                // An ICMP error is a flow of its own.
                if *back && self.answer == Answer::No && self.talk.proto != TCP {
                    continue;
                }
                let progress = self.progress(world.now, leg, *back, part, over);
                let observation = Observation::Progress(progress);
                let cause = self.talk.cause;
                if !world.tell(&Told { observation, talk: self.serial, back: *back, cause }) {
                    return None;
                }
            }
        }
        (!over).then(|| self.next_news(world.now))
    }

    fn progress(&self, now: Time, leg: &Leg, back: bool, part: f64, over: bool) -> FlowProgress {
        let said = self.answer == Answer::Yes;
        let whole = match (back, said) {
            (false, true) => self.talk.up,
            (true, true) => self.talk.down,
            _ => 60,
        };
        let bytes = ((whole as f64 * part) as u64).max(60);
        let tcp_flags = match (self.talk.proto, self.answer) {
            (TCP, Answer::Yes) if over => SYN | ACK | FIN | 0x08,
            (TCP, Answer::Yes) => SYN | ACK | 0x08,
            (TCP, Answer::No) if back => RST | ACK,
            (TCP, _) => SYN,
            _ => 0,
        };
        let closed = self.talk.proto == TCP && self.answer != Answer::Silence;
        let end = over.then_some(if closed { EndReason::Closed } else { EndReason::Timeout });
        let [smac, dmac] = leg.ways(back);
        FlowProgress {
            time: now,
            id: self.at(leg, back),
            smac,
            dmac,
            packets: bytes / 600 + if said { 4 } else { 1 },
            bytes,
            drops: 0,
            verdict: Verdict::Pass,
            first: self.start,
            last: if over { self.over_at().min(now) } else { now },
            tcp_flags,
            end,
        }
    }
}

/// How the world outside takes a contact: the web answers, if there is a way out.
fn outside(world: &mut World<'_>, talk: &Talk) -> Answer {
    let allowed = world.site.open || matches!(talk.cause, Cause::Attack(_));
    if allowed && !world.chance.happens(0.02) { Answer::Yes } else { Answer::Silence }
}

/// Where frames of these ends cross the sensor: in the segment of the one, behind the router in that of the other.
fn legs(world: &World<'_>, ends: &Ends, from: usize, there: Option<usize>) -> [Option<Leg>; 2] {
    let [mac, peer] = ends.macs;
    let [port, far] = ends.ports;
    let [ttl, back] = ends.ttls;
    if there == Some(from) {
        let leg = Leg { vlan: world.vlan(from), ports: [port, far], macs: [mac, peer], ttls: [ttl, back] };
        return [(port != far).then_some(leg), None];
    }
    let router = world.site.router;
    let first = (port != CORE).then(|| Leg {
        vlan: world.vlan(from),
        ports: [port, CORE],
        macs: [mac, router],
        ttls: [ttl, back.saturating_sub(1)],
    });
    let second = there.filter(|_| far != CORE && peer != Mac::default()).map(|there| Leg {
        vlan: world.vlan(there),
        ports: [CORE, far],
        macs: [router, peer],
        ttls: [ttl.saturating_sub(1), back],
    });
    [first, second]
}

/// The router asks by ARP for an address nobody has.
fn seek(world: &mut World<'_>, talk: &Talk, there: usize) {
    let Some(router) = world.site.segments.get(there).map(|segment| segment.router) else { return };
    let sender = (world.site.router, CORE);
    world.arp(sender, (router, talk.to), super::world::EVERYBODY, 1, there, talk.cause);
}
