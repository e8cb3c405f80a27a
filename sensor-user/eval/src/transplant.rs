//! Tier E3, real attacks: what an attacker did in a capture, done by a host of a simulated site that goes on with its work.
//!
//! Times, lengths, flags, ports and answers are the capture's. The attacker's addresses become those of the host; whom it
//! turned to gets an address of its own that is new to the site, behind the router if that is where it was; what is outside
//! stays what it is. An attack that is cut off stops.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use sensor_core::addr::Mac;
use sensor_core::datapath::Datapath;
use sensor_core::observation::{FlowId, Observation};
use sensor_core::settings::{Mode, Settings};
use sensor_core::time::{HOUR, MINUTE, SECOND, Time};
use sensor_user::source::pcap::{self, CaptureError};

use crate::expect::Grade;
use crate::figure::share_lower;
use crate::held::{Held, Target};
use crate::runs::{Ran, Trial};
use crate::sim::calendar::{DAY, START};
use crate::sim::site::{CORE, Class, HostId, Site};
use crate::sim::world::{Cause, Script, World};
use crate::subject::product::{Product, settings};
use crate::subject::tally::Step;

/// Of a capture no more is taken than this, so that one long one does not outlast all others...
const LONGEST: u64 = 2 * HOUR;
/// ...and no more records than this.
const MOST: usize = 50_000;
/// Frames of the attacker in a row that are dropped until it gives up.
const GIVES_UP: u32 = 20;
/// Between the beginnings of two attacks.
const APART: u64 = 20 * MINUTE;
/// Flow tables are read this often.
const SWEEP: u64 = 5 * SECOND;
/// A PC that nothing was grafted on is drawn for so often.
const DRAWS: usize = 200;
/// Index of the port the data path has.
const PORT: u8 = 1;

/// What an attacker did in a capture.
pub struct Graft {
    /// The capture, below the folder.
    pub file: String,
    attacker: IpAddr,
    mac: Mac,
    /// MAC addresses that carry several: routers.
    routers: BTreeSet<Mac>,
    begun: Time,
    /// In order of time, each with whether it is an answer.
    records: Vec<(Observation, bool)>,
}

/// What attackers did in the captures in which they must be called, and were.
pub fn grafts(held: &[Held], data: &Path) -> Result<Vec<Graft>, CaptureError> {
    let mut grafts = Vec::new();
    for one in held.iter().filter(|one| one.blamed && !one.right.is_empty()) {
        let Some(expected) = one.expected.as_ref().filter(|expected| expected.grade == Grade::Must) else {
            continue;
        };
        let ip = expected.blame.iter().find_map(|name| name.parse::<Ipv4Addr>().ok());
        if let Some(ip) = ip {
            grafts.extend(take(&one.file, &data.join(&one.file), ip.into())?);
        }
    }
    Ok(grafts)
}

/// Takes what an attacker did out of a capture; none if it did nothing.
fn take(file: &str, path: &Path, attacker: IpAddr) -> Result<Option<Graft>, CaptureError> {
    let mut datapath = Datapath::new(PORT);
    datapath.set_up(&Settings::default());
    let mut all: Vec<Observation> = Vec::new();
    let (mut now, mut begun, mut next, mut progress) = (Time::at(0), None, Time::at(0), Vec::new());
    let of_attacker = |id: &FlowId| id.src == attacker || id.dst == attacker;
    pcap::read(path, |frame| {
        now = now.max(Time::at(frame.unix_ns));
        let first = *begun.get_or_insert(now);
        if now.since(first) > LONGEST || all.len() >= MOST {
            return;
        }
        if now >= next {
            next = now.plus(SWEEP);
            datapath.sweep(now, false, &mut progress);
        }
        all.extend(progress.drain(..).filter(|one| of_attacker(&one.id)).map(Observation::Progress));
        let records = datapath.frame(frame.bytes, frame.len, now).iter();
        let seen = records.filter_map(|record| Observation::decode(&record.flow, Some(&record.inner)));
        all.extend(seen.filter(|one| matches!(one, Observation::Flow(seen) if of_attacker(&seen.id))));
    })?;
    datapath.sweep(now, true, &mut progress);
    all.extend(progress.drain(..).filter(|one| of_attacker(&one.id)).map(Observation::Progress));

    let mut behind: BTreeMap<Mac, BTreeSet<IpAddr>> = BTreeMap::new();
    let (mut mac, mut asked, mut records) = (None, HashSet::new(), Vec::new());
    for one in all {
        let back = match &one {
            Observation::Flow(seen) => {
                behind.entry(seen.smac).or_default().insert(seen.id.src);
                if seen.id.src == attacker {
                    mac.get_or_insert(seen.smac);
                }
                let back = asked.contains(&reverse(&seen.id)) || seen.id.src != attacker;
                asked.insert(seen.id);
                back
            }
            Observation::Progress(progress) => progress.id.src != attacker,
            Observation::Drop(_) => continue,
        };
        records.push((one, back));
    }
    let Some(mac) = mac else { return Ok(None) };
    let routers = behind.into_iter().filter(|(_, ips)| ips.len() > 1).map(|(mac, _)| mac).collect();
    let begun = records.first().map_or(now, |(one, _)| time(one));
    Ok(Some(Graft { file: file.to_owned(), attacker, mac, routers, begun, records }))
}

fn time(one: &Observation) -> Time {
    match one {
        Observation::Flow(seen) => seen.time,
        Observation::Progress(progress) => progress.time,
        Observation::Drop(seen) => seen.time,
    }
}

/// The other direction of a conversation.
fn reverse(id: &FlowId) -> FlowId {
    FlowId { src: id.dst, dst: id.src, sport: id.dport, dport: id.sport, ..*id }
}

/// A graft under way.
struct Growing {
    graft: Arc<Graft>,
    cause: Cause,
    host: HostId,
    begun: Time,
    at: usize,
    /// The addresses of whom it turned to, by those of the capture.
    ips: HashMap<IpAddr, IpAddr>,
    macs: HashMap<Mac, Mac>,
    /// Conversations whose beginning was dropped.
    dropped: HashSet<FlowId>,
    in_a_row: u32,
}

impl Growing {
    fn new(graft: Arc<Graft>, run: u16, world: &World<'_>, host: HostId) -> Self {
        let own = (graft.mac, world.mac(host));
        Self {
            ips: HashMap::from([(graft.attacker, world.ip(host))]),
            macs: HashMap::from([own]),
            graft,
            cause: Cause::Attack(run),
            host,
            begun: world.now,
            at: 0,
            dropped: HashSet::new(),
            in_a_row: 0,
        }
    }

    /// The address of the site for one of the capture: addresses of groups and of the world outside stay.
    fn ip(&mut self, ip: IpAddr) -> IpAddr {
        let new = self.ips.len();
        let Cause::Attack(run) = self.cause else { return ip };
        match ip {
            IpAddr::V4(v4) if v4.is_private() => *self.ips.entry(ip).or_insert_with(|| {
                let [high, low] = (new as u16).to_be_bytes();
                Ipv4Addr::new(10, 240 + (run % 16) as u8, high.wrapping_add((run / 16) as u8 * 16), low)
                    .into()
            }),
            _ => *self.ips.get(&ip).unwrap_or(&ip),
        }
    }

    fn mac(&mut self, mac: Mac, router: Mac) -> Mac {
        let new = self.macs.len() as u16;
        let Cause::Attack(run) = self.cause else { return mac };
        if mac.is_nobody() || mac.0[0] & 1 == 1 {
            return mac;
        }
        if self.graft.routers.contains(&mac) && mac != self.graft.mac {
            return router;
        }
        let ([a, b], [c, d]) = (run.to_be_bytes(), new.to_be_bytes());
        *self.macs.entry(mac).or_insert(Mac([0x06, 0x47, a, b, c, d]))
    }

    fn id(&mut self, id: FlowId, vlan: u16, port: u8) -> FlowId {
        FlowId { src: self.ip(id.src), dst: self.ip(id.dst), vlan, port, ..id }
    }

    /// When something of the capture is due here.
    fn due(&self, time: Time) -> Time {
        self.begun.plus(time.since(self.graft.begun))
    }
}

impl Script for Growing {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        let (vlan, own, router) = world.place(self.host)?;
        let graft = Arc::clone(&self.graft);
        while let Some((one, back)) = graft.records.get(self.at) {
            if self.in_a_row >= GIVES_UP {
                return None;
            }
            let due = self.due(time(one));
            if due > world.now {
                return Some(due);
            }
            self.at += 1;
            let from_host = match one {
                Observation::Flow(seen) => seen.id.src == graft.attacker,
                Observation::Progress(progress) => progress.id.src == graft.attacker,
                Observation::Drop(_) => continue,
            };
            let port = if from_host { own } else { CORE };
            match *one {
                Observation::Flow(seen) => {
                    // Nobody answers what did not arrive.
                    if *back && self.dropped.contains(&reverse(&seen.id)) {
                        continue;
                    }
                    let told = sensor_core::observation::FlowSeen {
                        time: world.now,
                        id: self.id(seen.id, vlan, port),
                        smac: self.mac(seen.smac, router),
                        dmac: self.mac(seen.dmac, router),
                        arp_sha: self.mac(seen.arp_sha, router),
                        vlan_inner: 0,
                        ..seen
                    };
                    let passed = world.graft(Observation::Flow(told), *back, self.cause);
                    if !passed {
                        self.dropped.insert(seen.id);
                    }
                    if from_host {
                        self.in_a_row = if passed { 0 } else { self.in_a_row + 1 };
                    }
                }
                Observation::Progress(progress) => {
                    if self.dropped.contains(&progress.id) || self.dropped.contains(&reverse(&progress.id)) {
                        continue;
                    }
                    let told = sensor_core::observation::FlowProgress {
                        time: world.now,
                        id: self.id(progress.id, vlan, port),
                        first: self.due(progress.first),
                        last: self.due(progress.last),
                        ..progress
                    };
                    world.graft(Observation::Progress(told), *back, self.cause);
                }
                Observation::Drop(_) => {}
            }
        }
        None
    }
}

/// Lets each attack grow on a PC of the site of a seed, one each 20 minutes; what came of them, in their order.
pub fn grow(seed: u64, grafts: &[Arc<Graft>], trial: &Trial) -> Vec<Ran> {
    let site = Site::new(seed, trial.hosts);
    let mut product = Product::new(&settings(&site, Mode::Enforce));
    let until = {
        let mut world = World::new(site, seed, &mut product);
        world.open();
        let first = START.plus(trial.learned * DAY);
        let used = Rc::new(RefCell::new(HashSet::new()));
        for (run, graft) in grafts.iter().enumerate() {
            let (graft, time) = (Arc::clone(graft), first.plus(run as u64 * APART));
            let used = Rc::clone(&used);
            world.after(time.since(world.now), move |world| {
                // One that nothing was grafted on: whoever is cut off for another attack does this one in vain.
                let mut drawn = (0..DRAWS).filter_map(|_| world.any_up(&[Class::Pc]));
                let host = drawn.find(|host| used.borrow_mut().insert(*host));
                if let Some(host) = host {
                    let growing = Growing::new(graft, run as u16, world, host);
                    world.play(world.now, Box::new(growing));
                }
            });
        }
        let until = first.plus(grafts.len() as u64 * APART + LONGEST + HOUR);
        world.run(until);
        until
    };
    product.pass(until);
    let mut attacks = product.tally.attacks;
    let ran = |run: usize| Some(Ran { kind: run, attacked: attacks.remove(&(run as u16))? });
    (0..grafts.len()).filter_map(ran).collect()
}

/// What is asked of them.
pub fn target(ran: &[Ran]) -> Target {
    let called = ran.iter().filter(|ran| ran.reached(Step::Hint).is_some()).count();
    Target {
        name: "e3.transplant".to_owned(),
        what: "attacks of captures that are called on a made-up site too".to_owned(),
        figure: called as f64 / ran.len().max(1) as f64,
        of: ran.len() as f64,
        bound: 0.95,
        at_least: true,
        proven: Some(share_lower(called, ran.len())),
        gates: false,
    }
}

/// The page.
pub fn page(grafts: &[Arc<Graft>], ran: &[Ran]) -> String {
    use std::fmt::Write;
    let mut text = "\n## E3: attacks of captures, done by PCs of sites at work\n\nRuns in which each step was taken, the longest time \
                    until then, and the most destinations reached by then. Rates are those of the capture.\n\n| capture | runs |"
        .to_owned();
    for step in Step::ALL {
        let _ = write!(text, " {} |", step.name());
    }
    text.push_str(" called by |\n|---|---|---|---|---|---|---|---|\n");
    for (kind, graft) in grafts.iter().enumerate() {
        let of: Vec<&Ran> = ran.iter().filter(|ran| ran.kind == kind).collect();
        let _ = write!(text, "| {} | {} |", graft.file, of.len());
        for step in Step::ALL {
            let reached: Vec<_> = of.iter().filter_map(|ran| ran.reached(step)).collect();
            let seconds = reached.iter().map(|(seconds, _)| *seconds).fold(0.0, f64::max);
            let targets = reached.iter().map(|(_, targets)| *targets).max();
            let _ = match targets {
                Some(targets) => write!(text, " {}: {seconds:.1} s, {targets} |", reached.len()),
                None => write!(text, " - |"),
            };
        }
        let called: BTreeSet<&str> = of.iter().flat_map(|ran| ran.attacked.called.iter().copied()).collect();
        let _ = writeln!(text, " {} |", called.into_iter().collect::<Vec<_>>().join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use sensor_core::flow::{RST, SYN};
    use sensor_core::observation::{FlowSeen, Kind};

    use super::*;
    use crate::sim::world::blank;

    /// A host that tries one port of others every 100 ms, and is refused.
    fn scan(targets: u8) -> Graft {
        let (attacker, mac) = (IpAddr::from([192, 168, 1, 66]), Mac([2, 0, 0, 0, 0, 66]));
        let mut records = Vec::new();
        for n in 1..=targets {
            let dst = IpAddr::from([192, 168, 1, n]);
            let id = FlowId {
                src: attacker,
                dst,
                sport: 40_000,
                dport: 22,
                proto: 6,
                kind: Kind::Ip,
                vlan: 0,
                port: 1,
            };
            let (dmac, time) = (Mac([2, 0, 0, 0, 0, n]), Time::at(u64::from(n) * SECOND / 10));
            let asks = FlowSeen { smac: mac, dmac, tcp_flags: SYN, ..blank(time, id) };
            let refuses =
                FlowSeen { id: reverse(&asks.id), smac: asks.dmac, dmac: mac, tcp_flags: RST, ..asks };
            records.extend([(Observation::Flow(asks), false), (Observation::Flow(refuses), true)]);
        }
        let begun = time(&records[0].0);
        Graft { file: "scan".to_owned(), attacker, mac, routers: BTreeSet::new(), begun, records }
    }

    #[test]
    fn a_scan_is_a_scan_elsewhere_too_and_stops_when_it_is_cut_off() {
        let trial = Trial { hosts: 60, learned: 0, kinds: Vec::new(), each: 1 };
        let ran = grow(1, &[Arc::new(scan(100))], &trial);
        let attacked = &ran[0].attacked;
        let (_, targets) = ran[0].reached(Step::Isolate).expect("cut off");
        assert!((10..20).contains(&targets), "{attacked:?}");
        assert!(attacked.called.contains("scan") && attacked.leaked <= 1, "{attacked:?}");
        assert!(attacked.targets.iter().all(|ip| ip.to_string().starts_with("10.240.")), "{attacked:?}");
        let few = grow(1, &[Arc::new(scan(3))], &trial);
        assert_eq!(few[0].reached(Step::Hint), None, "three refusals are none");
        assert_eq!((target(&ran).figure, target(&few).figure), (1.0, 0.0));
    }
}
