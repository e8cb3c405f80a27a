//! Small networks, told flow by flow: what the engine makes of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its own words is to fail")]

mod announced;
mod approved;
mod beacons;
mod blocked;
mod called;
mod chains;
mod classes;
mod evidence;
mod exposed;
mod floods;
mod followed;
mod fuse;
mod graded;
mod grouped;
mod guesses;
mod identified;
mod identity;
mod judged;
mod known;
mod levels;
mod novelty;
mod outages;
mod patience;
mod policy;
mod previewed;
mod repeated;
mod rewritten;
mod sent;
mod sites;
mod spared;
mod spoofed;
mod success;
mod switched;
mod unusual;

use std::collections::BTreeMap;
use std::net::IpAddr;

use sensor_core::addr::Mac;
use sensor_core::engine::{Add, Command, CommandError, Engine, LastState, Output, Reply, Which, Who};
use sensor_core::event::{Action, Change, Event, Value};
use sensor_core::observation::{EndReason, FlowId, FlowProgress, FlowSeen, Kind, Observation, Verdict};
use sensor_core::policy::ruling::{Cause, Ruling};
use sensor_core::policy::{Block, Decision, Direction, Level, Restriction, Save, Target};
use sensor_core::settings::{DecideSettings, Mode, Settings};
use sensor_core::state::State;
use sensor_core::time::{HOUR, MILLISECOND, SECOND, Time, read_by_clock_ahead};

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const RST_ACK: u8 = 0x14;

/// A network under the eyes of an engine.
struct Lan {
    engine: Engine,
    settings: Settings,
    now: Time,
    out: Output,
    sport: u16,
    /// Where frames come in: the index of the port, and the VLAN.
    place: (u8, u16),
}

fn enforcing() -> Settings {
    Settings { mode: Mode::Enforce, ..Settings::default() }
}

/// The same, where only what is decisive by itself acts.
fn decisive() -> Settings {
    Settings { decide: DecideSettings { highest: Level::Isolate, graded: false }, ..enforcing() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An order to block a target.
fn block(target: Target) -> Add {
    Add {
        who: vec![Who::Target(target)],
        reason: "test".to_owned(),
        owner: "root".to_owned(),
        ..Add::default()
    }
}

/// An order to block a device.
fn block_device(name: &str) -> Add {
    Add { who: vec![Who::Device(name.to_owned())], ..block(Target::Vlan(1)) }
}

/// What was saved, as it is read by a clock that is ahead.
fn by_clock_ahead<T: State>(ns: i64, mut read: T) -> T {
    let mut bytes = Vec::new();
    read.save(&mut bytes).unwrap();
    read_by_clock_ahead(ns, || read.load(&mut &bytes[..])).unwrap();
    read
}

/// The MAC address of host n.
fn mac(n: u8) -> Mac {
    Mac([0, 0x1b, 0x21, 0, 0, n])
}

/// The IP address of host n.
fn host(n: u8) -> IpAddr {
    ip(&format!("10.0.0.{n}"))
}

impl Lan {
    fn new(settings: Settings) -> Self {
        let (now, out) = (Time::at(SECOND), Output::default());
        let mut lan =
            Lan { engine: Engine::new(settings.clone()), settings, now, out, sport: 40_000, place: (1, 0) };
        lan.engine.restore(Vec::new(), &mut lan.out);
        lan
    }

    /// A new daemon, by what was to be remembered of this one, and by settings that may be others.
    fn restarted(&self, change: impl FnOnce(Settings) -> Settings) -> Lan {
        self.started(change, self.now, 0)
    }

    /// The same at a time by a clock that is ahead.
    fn started(&self, change: impl FnOnce(Settings) -> Settings, now: Time, ahead_ns: i64) -> Lan {
        let (mut blocks, mut memories) = (BTreeMap::new(), BTreeMap::new());
        let (mut devices, mut cards) = (BTreeMap::new(), BTreeMap::new());
        for save in &self.out.saves {
            match save.clone() {
                Save::Put(block) => drop(blocks.insert(block.id, block)),
                Save::Forget(id) => drop(blocks.remove(&id)),
                Save::Keep(memory) => drop(memories.insert(memory.key(), memory)),
                Save::Drop(key) => drop(memories.remove(&key)),
                Save::Device(kept) => drop(devices.insert(kept.key, *kept)),
                Save::ForgetDevice(key) => drop(devices.remove(&key)),
                Save::Card(card) => drop(cards.insert(card.id, *card)),
                Save::ForgetCard(id) => drop(cards.remove(&id)),
            }
        }
        let blocks = by_clock_ahead(ahead_ns, blocks);
        let memories: Vec<_> = by_clock_ahead(ahead_ns, memories.into_values().collect());
        for kept in devices.values_mut() {
            for time in [&mut kept.first_seen, &mut kept.last_seen, &mut kept.clean_since] {
                *time = time.by_clock_ahead(ahead_ns);
            }
        }
        let mut out = Output::default();
        out.saves.extend(blocks.values().cloned().map(Save::Put));
        out.saves.extend(memories.iter().cloned().map(Save::Keep));
        let settings = change(self.settings.clone());
        let mut engine = Engine::new(settings.clone());
        out.saves.extend(devices.values().cloned().map(|kept| Save::Device(Box::new(kept))));
        out.saves.extend(cards.values().cloned().map(|card| Save::Card(Box::new(card))));
        engine.resume(devices.into_values().collect(), cards.into_values().collect());
        engine.restore(blocks.into_values().collect(), &mut out);
        engine.recall(memories, now, &mut out);
        Lan { engine, settings, out, now, sport: 40_000, place: (1, 0) }
    }

    /// The same after the daemon was started anew, with what this one had learned by now.
    fn next(&self) -> Lan {
        self.next_at(self.now, 0)
    }

    /// The same after the machine was started anew, and was off for so long.
    fn rebooted(&self, off: u64) -> Lan {
        let now = Time::at(30 * SECOND);
        self.next_at(now, now.minus(off).signed() - self.now.signed())
    }

    fn next_at(&self, now: Time, ahead_ns: i64) -> Lan {
        let (mut next, mut state) = (self.started(|settings| settings, now, ahead_ns), Vec::new());
        self.engine.save(&mut state).unwrap();
        let last = LastState { saved: self.now, ahead_ns, state };
        assert!(next.engine.take_up(&last, now).unwrap().is_empty());
        next
    }

    fn pass(&mut self, ns: u64) {
        self.now = self.now.plus(ns);
        self.engine.tick(self.now, &mut self.out);
    }

    fn see(&mut self, macs: (Mac, Mac), ips: (IpAddr, IpAddr), ports: (u16, u16), proto: u8, flags: u8) {
        self.see_as(macs, ips, ports, proto, flags, Verdict::Pass, 64);
    }

    #[expect(clippy::too_many_arguments, reason = "a frame has that many headers")]
    fn see_as(
        &mut self,
        macs: (Mac, Mac),
        ips: (IpAddr, IpAddr),
        ports: (u16, u16),
        proto: u8,
        flags: u8,
        verdict: Verdict,
        ttl: u8,
    ) {
        let id = FlowId {
            src: ips.0,
            dst: ips.1,
            sport: ports.0,
            dport: ports.1,
            proto,
            kind: if proto == 0 { Kind::Arp } else { Kind::Ip },
            vlan: self.place.1,
            port: self.place.0,
        };
        let seen = FlowSeen {
            time: self.now,
            id,
            smac: macs.0,
            dmac: macs.1,
            arp_sha: if proto == 0 { macs.0 } else { Mac::default() },
            vlan_inner: 0,
            ether_type: if proto == 0 { 0x0806 } else { 0x0800 },
            window: 1024,
            len: 60,
            ttl,
            tcp_flags: flags,
            verdict,
            rule_id: 0,
            inner: None,
        };
        self.engine.observe(&Observation::Flow(seen), &mut self.out);
    }

    /// Host n asks by ARP for host m.
    fn arp(&mut self, n: u8, m: u8) {
        self.see((mac(n), Mac([0xff; 6])), (host(n), host(m)), (1, 0), 0, 0);
    }

    /// Hosts that were all heard by ARP, as on a network that is in use.
    fn populate(&mut self, hosts: std::ops::RangeInclusive<u8>) {
        for n in hosts {
            self.arp(n, 254);
            self.pass(MILLISECOND);
        }
        self.arp(254, 1);
        self.pass(SECOND);
    }

    /// Host n opens a TCP connection to host m, which answers with `answer` flags if it answers.
    fn tcp(&mut self, n: u8, m: u8, port: u16, answer: Option<u8>) {
        self.sport = self.sport.checked_add(1).unwrap_or(40_000);
        let sport = self.sport;
        self.see((mac(n), mac(m)), (host(n), host(m)), (sport, port), TCP, SYN);
        self.pass(MILLISECOND / 5);
        if let Some(flags) = answer {
            self.see((mac(m), mac(n)), (host(m), host(n)), (port, sport), TCP, flags);
        }
    }

    /// Host n opens a connection with a host behind the router of that MAC address, which answers.
    fn tcp_by(&mut self, n: u8, router: Mac, far: IpAddr) {
        self.sport += 1;
        let sport = self.sport;
        self.see((mac(n), router), (host(n), far), (sport, 443), TCP, SYN);
        self.see((router, mac(n)), (far, host(n)), (443, sport), TCP, SYN_ACK);
        self.pass(100 * MILLISECOND);
    }

    /// How a flow of host n's went on: all frames and bytes since `first`; over, if it is.
    fn went(&mut self, ips: (IpAddr, IpAddr), ports: (u16, u16), first: Time, bytes: u64, over: bool) {
        let (vlan, port) = (self.place.1, self.place.0);
        let id = FlowId {
            src: ips.0,
            dst: ips.1,
            sport: ports.0,
            dport: ports.1,
            proto: TCP,
            kind: Kind::Ip,
            vlan,
            port,
        };
        let progress = FlowProgress {
            time: self.now,
            id,
            smac: Mac::default(),
            dmac: Mac::default(),
            packets: bytes / 200 + 2,
            bytes,
            drops: 0,
            verdict: Verdict::Pass,
            first,
            last: self.now,
            tcp_flags: if over { 0x1b } else { 0x1a },
            end: over.then_some(EndReason::Closed),
        };
        self.engine.observe(&Observation::Progress(progress), &mut self.out);
    }

    /// A whole TCP conversation of host n with a host that is reached by the MAC address of m: bytes sent and received,
    /// and how long it takes.
    fn session(&mut self, (n, m): (u8, u8), server: IpAddr, port: u16, (up, down): (u64, u64), ns: u64) {
        self.sport = if self.sport > 60_000 { 40_000 } else { self.sport + 1 };
        let (sport, first) = (self.sport, self.now);
        self.see((mac(n), mac(m)), (host(n), server), (sport, port), TCP, SYN);
        self.see((mac(m), mac(n)), (server, host(n)), (port, sport), TCP, SYN_ACK);
        self.pass(ns);
        self.went((host(n), server), (sport, port), first, up, true);
        self.went((server, host(n)), (port, sport), first, down, true);
    }

    /// The alerts so far: detector, severity, last byte of the MAC address of who is blamed.
    fn alerts(&self) -> Vec<(&'static str, u8, u8)> {
        let alert = |event: &Event| match event {
            Event::Alert(alert) => Some((alert.detector, alert.severity, alert.device.mac.0[5])),
            _ => None,
        };
        self.out.events.iter().filter_map(|timed| alert(&timed.event)).collect()
    }

    /// The devices isolated so far, by number.
    fn isolated(&self) -> Vec<u8> {
        let change = |event: &Event| match event {
            Event::Isolation(isolation) if isolation.change == Change::Added => {
                isolation.device.as_ref().map(|device| device.mac.0[5])
            }
            _ => None,
        };
        self.out.events.iter().filter_map(|timed| change(&timed.event)).collect()
    }

    /// Gives an order that must be carried out.
    fn add(&mut self, add: Add) -> Block {
        let reply = self.engine.command(self.now, Command::Add(add), &mut self.out).unwrap();
        let Reply::Added { block, .. } = reply else { panic!("{reply:?}") };
        block
    }

    /// Gives an order that must be refused.
    fn refused(&mut self, add: Add) -> CommandError {
        self.engine.command(self.now, Command::Add(add), &mut self.out).unwrap_err()
    }

    fn actions(&self) -> Vec<Action> {
        let action = |event: &Event| match event {
            Event::Alert(alert) => Some(alert.action.clone()),
            _ => None,
        };
        self.out.events.iter().filter_map(|timed| action(&timed.event)).collect()
    }

    /// What was ruled with the last alert but those about a device that is held already: the level that was earned, the one allowed, and why.
    fn ruling(&self) -> Ruling {
        let ruling = |event: &Event| match event {
            Event::Alert(alert) if alert.action.is_ruled() => alert.ruling.clone(),
            _ => None,
        };
        self.out.events.iter().rev().find_map(|timed| ruling(&timed.event)).unwrap()
    }

    fn cut(&self) -> Vec<Target> {
        let mut cut = Vec::new();
        for decision in &self.out.decisions {
            match decision {
                Decision::Restrict(target, Restriction { would: false, .. }) if !cut.contains(target) => {
                    cut.push(*target);
                }
                Decision::Clear(target) => cut.retain(|t| t != target),
                _ => {}
            }
        }
        cut
    }

    /// Host 66 sweeps addresses nobody has.
    fn sweep(&mut self) {
        for m in 100..130 {
            self.tcp(66, m, 445, None);
            self.pass(MILLISECOND);
        }
        self.pass(SECOND);
    }
}

/// A day and more of a ward in which PCs 1 to 40 work with a file server, 101.
fn ward(settings: Settings) -> Lan {
    let mut lan = Lan::new(settings);
    lan.populate(1..=120);
    for pc in 1..=40 {
        lan.tcp(pc, 101, 445, Some(SYN_ACK));
        lan.pass(sensor_core::time::MINUTE);
    }
    lan.pass(25 * HOUR);
    lan
}
