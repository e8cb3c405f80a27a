//! Attacks on a simulated site: one table of kinds, each with how it goes about it.
//!
//! Start, host and targets are drawn; each run has a number, under which everything sent for it is labelled. A run stops
//! soon after its frames are dropped: the sensor has cut it off.

mod call;
mod odd;
mod spread;
mod sweep;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use sensor_core::flow::{ICMP, TCP, UDP};
use sensor_core::time::{HOUR, MINUTE, SECOND, Time};

use crate::sim::habits::activity;
use crate::sim::site::{Class, HostId};
use crate::sim::world::{Cause, Script, World};

/// So long after the last run began most of what it does is done, ns: a weekend in which its host is off is over, and a day after it.
pub const AFTER_LAST: u64 = 96 * HOUR;
/// Frames in a row that are dropped until an attack gives up.
const GIVES_UP: u32 = 20;

/// How an attack goes about it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Way {
    /// Contacts to new hosts: protocol (0: by ARP alone), seconds between two, part of the targets that is alive, how many.
    Sweep(u8, f64, f64, usize),
    /// Ports of one host, so many a second.
    Vertical(f64),
    /// Probes five hosts a second, of which 30 % are alive and 5 % fall.
    Worm,
    /// Reads and writes everything on the file servers.
    Ransomware,
    /// Calls home every so many seconds, with a jitter of this part.
    Beacon(f64, f64),
    /// The same to another host inside, every minute.
    Relay,
    /// So many bytes to a host outside that is new, within so many seconds, in so many pieces.
    Exfil(u64, f64, u32),
    /// Guesses passwords of one server at this port, one a second.
    Brute(u16),
    /// From host to host by administration services, so many steps.
    Chain(usize),
    /// A device nobody knows comes and looks around.
    Rogue,
    /// Somebody at another port pretends to be a pump.
    Spoof,
    /// Takes files from the host's own server, as every day, only more.
    Mimicry,
}

/// A kind of attack.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Kind {
    /// Its name in the report.
    pub name: &'static str,
    /// How.
    pub way: Way,
    /// From which hosts.
    pub from: &'static [Class],
    /// How long it goes on at most, ns.
    pub lasts: u64,
}

const PC: &[Class] = &[Class::Pc];
const MEDICAL: &[Class] = &[Class::Monitor, Class::Pump, Class::Modality, Class::Analyser];
const ANY: &[Class] = &[Class::Pc, Class::Pc, Class::Modality, Class::Camera, Class::Printer];

const fn kind(name: &'static str, way: Way, from: &'static [Class], lasts: u64) -> Kind {
    Kind { name, way, from, lasts }
}

use Way::{Beacon, Brute, Chain, Exfil, Mimicry, Ransomware, Relay, Rogue, Spoof, Sweep, Vertical, Worm};

/// All kinds.
pub const KINDS: [Kind; 35] = [
    kind("sparse scan 50/s", Sweep(TCP, 0.02, 0.05, 300), ANY, 10 * MINUTE),
    kind("sparse scan 1/s", Sweep(TCP, 1.0, 0.05, 120), ANY, 10 * MINUTE),
    kind("scan 5/s, 30 % alive", Sweep(TCP, 0.2, 0.3, 200), ANY, 10 * MINUTE),
    kind("dense scan 5/s, 70 % alive", Sweep(TCP, 0.2, 0.7, 200), ANY, 10 * MINUTE),
    kind("scan 1 per 10 s, 30 % alive", Sweep(TCP, 10.0, 0.3, 100), ANY, 20 * MINUTE),
    kind("scan 1 per min, 30 % alive", Sweep(TCP, 60.0, 0.3, 60), ANY, HOUR),
    kind("scan 1 per 10 min, 30 % alive", Sweep(TCP, 600.0, 0.3, 144), ANY, 24 * HOUR),
    kind("ARP scan 10/s", Sweep(0, 0.1, 0.3, 254), ANY, 10 * MINUTE),
    kind("UDP sweep 10/s", Sweep(UDP, 0.1, 0.3, 200), ANY, 10 * MINUTE),
    kind("ping sweep 10/s", Sweep(ICMP, 0.1, 0.3, 200), ANY, 10 * MINUTE),
    kind("vertical scan 10/s", Vertical(0.1), ANY, 10 * MINUTE),
    kind("hit list 1/s", Sweep(TCP, 1.0, 0.98, 120), ANY, 10 * MINUTE),
    kind("hit list 1 per min", Sweep(TCP, 60.0, 0.98, 60), ANY, HOUR),
    kind("hit list 1 per 10 min", Sweep(TCP, 600.0, 0.98, 144), ANY, 24 * HOUR),
    kind("worm 5/s", Worm, PC, 10 * MINUTE),
    kind("ransomware on file servers", Ransomware, PC, 20 * MINUTE),
    kind("beacon 30 s, jitter 0", Beacon(30.0, 0.0), ANY, 6 * HOUR),
    kind("beacon 30 s, jitter 50 %", Beacon(30.0, 0.5), ANY, 6 * HOUR),
    kind("beacon 5 min, jitter 0", Beacon(300.0, 0.0), ANY, 24 * HOUR),
    kind("beacon 5 min, jitter 20 %", Beacon(300.0, 0.2), ANY, 24 * HOUR),
    kind("beacon 5 min, jitter 50 %", Beacon(300.0, 0.5), ANY, 24 * HOUR),
    kind("beacon 5 min, jitter 80 %", Beacon(300.0, 0.8), ANY, 24 * HOUR),
    kind("beacon 1 h, jitter 20 %", Beacon(3_600.0, 0.2), ANY, 48 * HOUR),
    kind("relay inside, 1 min", Relay, ANY, 6 * HOUR),
    kind("exfiltration 100 MB, medical", Exfil(100_000_000, 20.0, 1), MEDICAL, 10 * MINUTE),
    kind("exfiltration 1 GB", Exfil(1_000_000_000, 300.0, 4), PC, HOUR),
    kind("exfiltration 400 MB drip, 2 d", Exfil(400_000_000, 172_800.0, 96), ANY, 48 * HOUR),
    kind("password guessing, SSH", Brute(22), PC, 10 * MINUTE),
    kind("password guessing, RDP", Brute(3389), PC, 10 * MINUTE),
    kind("password guessing, SMB", Brute(445), PC, 10 * MINUTE),
    kind("lateral chain, depth 2", Chain(2), PC, HOUR),
    kind("lateral chain, depth 3", Chain(3), PC, HOUR),
    kind("rogue device looks around", Rogue, PC, 10 * MINUTE),
    kind("MAC spoof of a pump", Spoof, &[Class::Pump], 30 * MINUTE),
    kind("mimicry (expected miss)", Mimicry, PC, 4 * HOUR),
];

/// The kinds, by their place in [`KINDS`], whose name has this part; all, if it is empty.
pub fn named(part: &str) -> Vec<usize> {
    (0..).zip(&KINDS).filter(|(_, kind)| kind.name.contains(part)).map(|(at, _)| at).collect()
}

/// What of an attack is under way.
pub(crate) struct Run {
    /// Its number.
    cause: Cause,
    /// From where.
    host: HostId,
    /// Until when.
    until: Time,
    /// Frames in a row that were dropped.
    dropped: u32,
}

impl Run {
    /// Whether it is over: its time is up or it was cut off.
    fn is_over(&self, world: &World<'_>) -> bool {
        world.now >= self.until || self.dropped >= GIVES_UP
    }

    /// Begins a conversation; returns what became of it.
    fn begin(&mut self, world: &mut World<'_>, talk: &crate::sim::talk::Talk) -> crate::sim::talk::Fate {
        let fate = world.begin(talk);
        self.dropped = if fate == crate::sim::talk::Fate::Dropped { self.dropped + 1 } else { 0 };
        fate
    }
}

/// A run that is planned.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Planned {
    /// Its number.
    pub run: u16,
    /// Which kind, by its place in [`KINDS`].
    pub kind: usize,
    /// When it begins.
    pub time: Time,
}

/// Between the beginnings of two runs, ns, at least: the fuse lets few devices be cut off in ten minutes.
const APART: u64 = 20 * MINUTE;
/// The runs are spread over so many times the time that they would take at that distance.
const SPREAD: usize = 5;

/// Plans each of these kinds so many times from a time on; returns what is planned, by time. An infection begins where something is
/// done, so that few begin at night and on weekends where people work: were they as many, the hour would tell them.
pub fn plan(world: &mut World<'_>, kinds: &[usize], each: usize, from: Time) -> Vec<Planned> {
    let mut kinds = kinds.repeat(each);
    world.chance.shuffle(&mut kinds);
    let slots = kinds.len() * SPREAD;
    let mut taken = BTreeMap::new();
    for kind in kinds {
        let Some(class) = KINDS.get(kind).and_then(|kind| world.class_of_any(kind.from)) else { continue };
        let slot = loop {
            let slot = world.chance.below(slots);
            let time = from.plus(slot as u64 * APART);
            if !taken.contains_key(&slot) && world.chance.happens(activity(class, time)) {
                break slot;
            }
        };
        taken.insert(slot, (kind, class));
    }
    let used = Rc::new(RefCell::new(BTreeSet::new()));
    let mut planned = Vec::new();
    for (run, (slot, (kind, class))) in (0..).zip(taken) {
        let time = from.plus(slot as u64 * APART);
        planned.push(Planned { run, kind, time });
        let used = Rc::clone(&used);
        world.after(time.since(world.now), move |world| {
            launch(world, kind, class, run, &mut used.borrow_mut());
        });
    }
    planned
}

/// Begins a run from a host that no attack came from, if there is one: who was cut off once is cut off longer, and may be still.
fn launch(world: &mut World<'_>, kind: usize, class: Class, run: u16, used: &mut BTreeSet<HostId>) {
    let Some(kind) = KINDS.get(kind) else { return };
    let host = (0..200).filter_map(|_| world.any_up(&[class])).find(|host| !used.contains(host));
    let Some(host) = host else { return };
    used.insert(host);
    let before = world.site.hosts.len();
    start(world, kind, run, host);
    // What an attacker plugged in is known to the sensor by that.
    used.extend(before..world.site.hosts.len());
}

/// Begins a run of a kind from a host.
pub fn start(world: &mut World<'_>, kind: &Kind, run: u16, host: HostId) {
    let cause = Cause::Attack(run);
    let run = Run { cause, host, until: world.now.plus(kind.lasts), dropped: 0 };
    let script: Box<dyn Script> = match kind.way {
        Sweep(proto, every, alive, count) => {
            Box::new(sweep::Sweep::new(world, run, (proto, every, alive, count)))
        }
        Vertical(every) => Box::new(sweep::Vertical::new(world, run, every)),
        Worm => Box::new(spread::Worm::new(run)),
        Ransomware => Box::new(spread::Ransomware(run)),
        Chain(depth) => Box::new(spread::Chain::new(run, depth)),
        Beacon(every, jitter) => Box::new(call::Beacon::new(world, run, every, jitter)),
        Relay => Box::new(call::Beacon::relay(world, run)),
        Exfil(bytes, lasts, pieces) => Box::new(call::Exfil::new(world, run, bytes, lasts, pieces)),
        Brute(port) => Box::new(call::Brute::new(world, run, port)),
        Rogue => Box::new(odd::rogue(world, run)),
        Spoof => Box::new(odd::Spoof::new(run)),
        Mimicry => Box::new(odd::Mimicry(run)),
    };
    world.play(world.now, script);
}

/// A second later, at the soonest that anything is tried again.
fn soon(world: &World<'_>) -> Option<Time> {
    Some(world.now.plus(SECOND))
}
