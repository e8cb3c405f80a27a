//! Tier E1: a made-up site as real frames on a real bridge, with the real daemon and its program on the ports.
//!
//! The daemon knows the site: it takes up what one that watched for two days had learned before the machine was started anew.
//! Then, in real time, hosts of the site attack while the others go on with their work. What was reached and what was dropped
//! is counted where frames arrive, not by the daemon's word; that tells only when it alerted and decided. It decides as it is
//! shipped.

mod before;
mod cable;
mod told;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bpf_tests::daemon::{self, Site as Stand};
use bpf_tests::lab;
use sensor_core::addr::Mac;
use sensor_core::observation::Kind;
use sensor_core::time::{HOUR, MILLISECOND, MINUTE, Time};
use sensor_user::clock::Stamp;
use serde_json::Value;

use crate::attack::{self, KINDS};
use crate::sim::calendar::{DAY, START};
use crate::sim::chance::ns;
use crate::sim::site::{CORE, Class, Site};
use crate::sim::world::{Cause, World};
use crate::subject::tally::Step;
use before::{Watched, Wire};
use cable::{Cable, Plug, Sent};

pub use told::{machine, page, targets};

/// Ports of the bridge: the core's and those of the access switches.
const PORTS: u8 = CORE + 8;
/// When the frames begin: on a Wednesday, once offices are open.
const MORNING: Time = START.plus(2 * DAY + 9 * HOUR);
/// So much of the morning passes before the attacks, for so many seconds: the bridge finds out who is where, and of the
/// harmless there is more to count.
const HASTE: (u64, f64) = (12 * MINUTE, 12.0);
/// A round of attacks: which, and how many seconds after its begin. Those that take long begin first.
const ROUND: [(&str, f64); 9] = [
    ("hit list 1/s", 0.0),
    ("worm 5/s", 1.0),
    ("dense scan 5/s, 70 % alive", 2.0),
    ("scan 5/s, 30 % alive", 4.0),
    ("ARP scan 10/s", 6.0),
    ("sparse scan 50/s", 8.0),
    ("scan 5/s, 30 % alive", 10.0),
    ("ARP scan 10/s", 12.0),
    ("sparse scan 50/s", 14.0),
];
/// How long a round goes on, seconds.
const ROUND_LASTS: f64 = 26.0;
/// Hosts of a site on the wire, at least and at most. The seed makes it some more or less.
const HOSTS: (usize, usize) = (330, 500);
/// The world is let live so often.
const STEP: Duration = Duration::from_micros(300);

/// How much of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Extent {
    /// Seed of the site.
    pub seed: u64,
    /// Hosts, about.
    pub hosts: usize,
    /// Rounds of attacks.
    pub rounds: usize,
}

impl Extent {
    /// What fits into so many seconds: a round at least.
    pub fn within(seed: u64, hosts: usize, seconds: f64) -> Self {
        const SET_UP: f64 = 7.0;
        let rounds = ((seconds - SET_UP - HASTE.1) / ROUND_LASTS).max(1.0) as usize;
        Self { seed, hosts, rounds }
    }
}

/// A run of an attack, and what came of it on the wire.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// Which kind, by its place in [`KINDS`].
    pub kind: usize,
    /// Seconds from its first frame until each step was first taken against a host of it, by the daemon's word.
    pub steps: BTreeMap<Step, f64>,
    /// Seconds from its first frame to the first one of its first host that did not arrive.
    pub dropped: Option<f64>,
    /// Addresses that frames of it which arrived on the other side asked for or were for; once a host is pinned, only those they
    /// were for, since it may still ask by ARP.
    pub targets: usize,
    /// Hosts it came from.
    pub hosts: usize,
    /// Frames that must not arrive, and how many did: once one of an isolated host was dropped all from and to it, and once one of
    /// a pinned host was, those for hosts that it had not reached before, in these days or now.
    pub after: [usize; 2],
}

impl Run {
    /// Whether a host of it was pinned or isolated and its first one's frames stopped arriving.
    pub fn is_cut(&self) -> bool {
        self.dropped.is_some() && self.steps.keys().any(|step| *step >= Step::Pin)
    }
}

/// What came of a site on the wire.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// The seed.
    pub seed: u64,
    /// Hosts.
    pub hosts: usize,
    /// Seconds that frames were sent for.
    pub seconds: f64,
    /// Frames sent.
    pub frames: usize,
    /// Frames between hosts that did no harm, and how many of these did not arrive.
    pub harmless: [usize; 2],
    /// Restrictions of who did no harm, in the daemon's words.
    pub wronged: Vec<String>,
    /// Hosts that did no harm and were told of, management left out.
    pub suspected: usize,
    /// The attacks.
    pub runs: Vec<Run>,
}

/// Lets the sites of the first two seeds live on the wire, for so many seconds in all, or says why it could not.
pub fn measure(seeds: &[u64], hosts: usize, seconds: f64) -> Result<Vec<Seen>, String> {
    let seeds = seeds.get(..seeds.len().min(2)).unwrap_or_default();
    let each = seconds / seeds.len().max(1) as f64;
    let extent = |seed: &u64| Extent::within(*seed, hosts.clamp(HOSTS.0, HOSTS.1), each);
    seeds.iter().map(|seed| hold(&extent(seed)).map_err(|error| format!("{error:#}"))).collect()
}

/// Lets a site live on the wire. The daemon and its network are gone afterwards.
///
/// # Errors
///
/// If this is not root, if there is no product to run, or if the network cannot be made.
pub fn hold(extent: &Extent) -> Result<Seen> {
    daemon::site(PORTS, |stand| {
        let site = Site::new(extent.seed, extent.hosts);
        (1..=PORTS).try_for_each(|host| stand.lab.silence(host))?;
        as_they_are(&stand.lab.switch())?;
        let text = configuration(&site);
        stand.configure(&text)?;
        let cable = RefCell::new(Cable::new(stand.lab, PORTS)?);
        let watched = RefCell::new(Some(Watched::new(text)?));
        let mut sink = Wire { watched: &watched, plug: Plug(&cable) };
        let mut world = World::new(site, extent.seed, &mut sink);
        world.open();
        world.run(MORNING);
        if let Some(watched) = watched.take() {
            watched.leave(&stand.state_dir(), world.now)?;
        }
        let daemon = stand.start(&["--mode", "enforce"])?;
        let begun = Instant::now();
        let kinds = live(extent, &mut world, &cable)?;
        let seconds = begun.elapsed().as_secs_f64();
        let site = world.site.clone();
        let events = daemon.events()?;
        still_there(stand)?;
        Ok(sum_up(&site, &cable.into_inner(), &kinds, &events, extent.seed, seconds))
    })
}

/// Has the bridge forward frames as they are: where its netfilter is loaded, it cuts off what follows the IP packet, the number.
fn as_they_are(switch: &str) -> Result<()> {
    let off = "net.bridge.bridge-nf-call-iptables=0";
    lab::run("ip", &["netns", "exec", switch, "sysctl", "-q", "-e", "-w", off]).map(drop)
}

/// Silence is only worth something while the daemon lives.
fn still_there(stand: &Stand<'_>) -> Result<()> {
    stand.ask(&["status"]).context("the daemon did not live to the end").map(drop)
}

/// What the handbook asks for: router and management are named. The fuse is for one day at one site, not for so many
/// attacks in a minute.
fn configuration(site: &Site) -> String {
    let hosts = site.of(Class::Nms).iter().filter_map(|id| site.hosts.get(*id));
    let names: Vec<_> = hosts.map(|host| format!("\"{}\", \"{}\"", host.mac, host.ip)).collect();
    format!(
        "[network]\ngateways = [\"{}\"]\n[isolation]\nprotected = [{}]\nbudget = 1000\nbudget_share = 100\n",
        site.router,
        names.join(", ")
    )
}

/// A morning in haste, and in real time the attacks, while all others go on; returns the kind of each run.
fn live(extent: &Extent, world: &mut World<'_>, cable: &RefCell<Cable>) -> Result<Vec<usize>> {
    cable.borrow_mut().live = true;
    let (morning, seconds) = HASTE;
    pass(world, cable, seconds, morning as f64 / 1e9 / seconds, |_, _| ())?;
    let round =
        |round: usize| ROUND.iter().map(move |(name, after)| (round as f64 * ROUND_LASTS + after, *name));
    let mut due = (0..extent.rounds).flat_map(round).peekable();
    let mut kinds = Vec::new();
    let lasts = extent.rounds as f64 * ROUND_LASTS;
    pass(world, cable, lasts, 1.0, |world, elapsed| {
        while let Some((_, name)) = due.next_if(|(at, _)| *at <= elapsed) {
            launch(world, cable, name, &mut kinds);
        }
    })?;
    Ok(kinds)
}

/// Lets the world live for so many seconds, so many times as fast as the clock.
fn pass(
    world: &mut World<'_>,
    cable: &RefCell<Cable>,
    seconds: f64,
    speed: f64,
    mut also: impl FnMut(&mut World<'_>, f64),
) -> Result<()> {
    let (from, begun) = (world.now, Instant::now());
    loop {
        let elapsed = begun.elapsed().as_secs_f64();
        if elapsed >= seconds {
            return Ok(());
        }
        also(world, elapsed);
        let due = from.plus(ns(elapsed * speed));
        // In small steps: what is answered in a millisecond is answered in that order on the wire too.
        while world.now < due {
            world.run(due.min(world.now.plus(10 * MILLISECOND)));
        }
        let mut cable = cable.borrow_mut();
        cable.collect();
        cable.check()?;
        drop(cable);
        thread::sleep(STEP);
    }
}

/// Begins a run from a host that no attack came from yet.
fn launch(world: &mut World<'_>, cable: &RefCell<Cable>, name: &str, kinds: &mut Vec<usize>) {
    let Some((at, kind)) = KINDS.iter().enumerate().find(|(_, kind)| kind.name == name) else { return };
    let fresh = |mac: Mac| !cable.borrow().guilty.contains_key(&mac);
    let mut draw = || world.any_up(kind.from).filter(|host| fresh(world.mac(*host)));
    let host = (0..1_000).find_map(|_| draw());
    if let Some(host) = host {
        attack::start(world, kind, kinds.len() as u16, host);
        kinds.push(at);
    }
}

fn seconds(from: Stamp, to: Stamp) -> f64 {
    to.since(from) as f64 / 1e9
}

/// Whom an event is about: all names of the device, or of what is restricted.
fn about(event: &Value) -> BTreeSet<String> {
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    if event["event_type"] == "isolation" {
        return texts(&event["isolation"]["targets"]).into_iter().collect();
    }
    let mac = event["device"]["mac"].as_str().map(str::to_owned);
    texts(&event["device"]["ips"]).into_iter().chain(mac).collect()
}

/// What an event does to whom it is about, and when; none if it only would.
fn step(event: &Value) -> Option<(Step, Stamp)> {
    if event["isolation"]["would"] == true {
        return None;
    }
    let time = serde_json::from_value(event["timestamp"].clone()).ok()?;
    let step = match (event["event_type"].as_str()?, event["isolation"]["action"].as_str()) {
        ("alert", _) if event["alert"]["severity"].as_u64()? >= 3 => Step::Hint,
        ("alert", _) => Step::Alert,
        ("isolation", Some("added" | "changed")) => match event["isolation"]["level"].as_str()? {
            "observe" | "throttle" => Step::Throttle,
            "external-only" | "pin" => Step::Pin,
            _ => Step::Isolate,
        },
        _ => return None,
    };
    Some((step, time))
}

/// Since when a host is held, by the daemon's word.
#[derive(Clone, Copy, Default)]
struct Held {
    /// Pinned, or more.
    pinned: Option<Stamp>,
    isolated: Option<Stamp>,
}

impl Held {
    fn note(&mut self, step: Step, time: Stamp) {
        self.pinned.get_or_insert(time);
        if step == Step::Isolate {
            self.isolated.get_or_insert(time);
        }
    }
}

fn sum_up(site: &Site, cable: &Cable, kinds: &[usize], events: &[Value], seed: u64, seconds: f64) -> Seen {
    let guilty = &cable.guilty;
    let names = |mac: &Mac| -> Vec<String> {
        let host = site.hosts.iter().find(|host| host.mac == *mac);
        host.map(|host| vec![host.mac.to_string(), host.ip.to_string()]).unwrap_or_default()
    };
    let of_guilty: BTreeMap<String, u16> =
        guilty.iter().flat_map(|(mac, run)| names(mac).into_iter().map(|name| (name, *run))).collect();
    let managed: BTreeSet<String> = site
        .of(Class::Nms)
        .iter()
        .filter_map(|id| site.hosts.get(*id))
        .flat_map(|host| names(&host.mac))
        .collect();
    let (mut wronged, mut suspected) = (Vec::new(), BTreeSet::new());
    let mut steps: BTreeMap<u16, Vec<(Step, Stamp)>> = BTreeMap::new();
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    for event in events {
        let Some((step, time)) = step(event) else { continue };
        let whom = about(event);
        let acts = step >= Step::Throttle;
        let run = whom.iter().find_map(|name| of_guilty.get(name));
        // A restriction must be of the guilty alone.
        let innocent = whom.iter().any(|name| !of_guilty.contains_key(name));
        match run {
            Some(run) if !(acts && innocent) => {
                steps.entry(*run).or_default().push((step, time));
                if step >= Step::Pin {
                    whom.into_iter().for_each(|name| held.entry(name).or_default().note(step, time));
                }
            }
            _ if acts => wronged.push(format!("{whom:?}: {}", event["isolation"]["reason"])),
            _ if whom.is_disjoint(&managed) => drop(suspected.insert(whom)),
            _ => {}
        }
    }
    let harmless = cable.sent.iter().filter(|sent| !cable.is_from_guilty(sent) && !cable.is_for_guilty(sent));
    let lost = harmless.clone().filter(|sent| !sent.arrived).count();
    let runs = kinds.iter().enumerate().filter_map(|(run, kind)| {
        let run = run as u16;
        let held = |mac: &Mac| names(mac).iter().find_map(|name| held.get(name).copied()).unwrap_or_default();
        of_run(*kind, run, cable, steps.get(&run).map_or(&[][..], Vec::as_slice), held)
    });
    Seen {
        seed,
        hosts: site.hosts.len(),
        seconds,
        frames: cable.sent.len(),
        harmless: [harmless.count(), lost],
        wronged,
        suspected: suspected.len(),
        runs: runs.collect(),
    }
}

/// What came of a run; none if it never sent a frame.
fn of_run(
    kind: usize,
    run: u16,
    cable: &Cable,
    steps: &[(Step, Stamp)],
    held: impl Fn(&Mac) -> Held,
) -> Option<Run> {
    let hosts: BTreeSet<Mac> =
        cable.guilty.iter().filter(|(_, of)| **of == run).map(|(mac, _)| *mac).collect();
    let attack = |sent: &&Sent| sent.cause == Cause::Attack(run) && hosts.contains(&sent.macs[0]);
    let first = cable.sent.iter().find(attack)?;
    let begun = first.time;
    // The first frame from `since` on that did not arrive.
    let dropped = |mac: &Mac, since: Stamp| {
        // What is for another host that is cut off is dropped for that one's sake.
        let from = |sent: &&Sent| {
            sent.macs[0] == *mac && sent.time >= since && !sent.arrived && !cable.is_for_guilty(sent)
        };
        cable.sent.iter().find(from).map(|sent| sent.time)
    };
    let (mut targets, mut after) = (BTreeSet::new(), [0; 2]);
    for mac in &hosts {
        let held = held(mac);
        // That it is in force shows by a frame that does not arrive.
        let in_force = |decided: Option<Stamp>| decided.and_then(|at| dropped(mac, at.max(begun)));
        let (pinned, isolated) = (in_force(held.pinned), in_force(held.isolated));
        for sent in cable.sent.iter().filter(|sent| sent.time >= begun && sent.macs.contains(mac)) {
            let after_it = |since: Option<Stamp>| since.is_some_and(|since| sent.time > since);
            let contact = sent.id.kind == Kind::Ip;
            let new = attack(&sent) && !sent.back && sent.macs[0] == *mac && !targets.contains(&sent.id.dst);
            let known = cable.known.contains(&(*mac, sent.id.dst));
            let must_not = after_it(isolated) || (after_it(pinned) && new && contact && !known);
            after[0] += usize::from(must_not);
            after[1] += usize::from(must_not && sent.arrived);
            // A pinned one may still ask by ARP.
            if new && sent.arrived && (contact || !after_it(held.pinned)) {
                targets.insert(sent.id.dst);
            }
        }
    }
    let mut when = BTreeMap::new();
    for (step, time) in steps {
        let passed = seconds(begun, *time);
        let soonest = when.entry(*step).or_insert(passed);
        *soonest = passed.min(*soonest);
    }
    let dropped = dropped(&first.macs[0], begun).map(|time| seconds(begun, time));
    Some(Run { kind, steps: when, dropped, targets: targets.len(), hosts: hosts.len(), after })
}

#[cfg(test)]
mod tests {
    use sensor_core::observation::FlowId;
    use serde_json::json;

    use super::*;

    /// A frame of host `from` to host `to`, at a millisecond.
    fn sent(site: &Site, (from, to): (usize, usize), ms: i64, cause: Cause, arrived: bool) -> Sent {
        let (from, to) = (&site.hosts[from], &site.hosts[to]);
        let id = FlowId {
            src: from.ip,
            dst: to.ip,
            sport: 1,
            dport: 445,
            proto: 6,
            kind: Kind::Ip,
            vlan: 0,
            port: from.port,
        };
        let time = Stamp(1_000_000_000 + ms * 1_000_000);
        Sent { time, macs: [from.mac, to.mac], id, cause, back: false, arrived }
    }

    fn isolation(site: &Site, hosts: &[usize], ms: i64) -> Value {
        let targets: Vec<_> = hosts
            .iter()
            .flat_map(|host| [site.hosts[*host].mac.to_string(), site.hosts[*host].ip.to_string()])
            .collect();
        let time = serde_json::to_value(Stamp(1_000_000_000 + ms * 1_000_000)).expect("a date");
        json!({ "event_type": "isolation", "timestamp": time,
                "isolation": { "action": "added", "level": "isolate", "targets": targets, "reason": "scan" } })
    }

    #[test]
    fn what_arrives_is_counted_and_who_is_wronged() {
        let site = Site::new(2, 100);
        let (attack, worm) = (Cause::Attack(0), Cause::Attack(1));
        // Host 50 attacks 60 to 62, and is cut off after the second; 40 was cut off before, and 50 tried it in vain.
        let log = [
            ((40, 61), 0, worm, true),
            ((50, 60), 1_000, attack, true),
            ((50, 40), 1_100, attack, false),
            ((50, 61), 1_200, attack, true),
            ((50, 62), 1_300, attack, false),
            ((50, 63), 1_400, attack, true),
            ((70, 71), 1_500, Cause::Habit, true),
            ((70, 72), 1_600, Cause::Habit, false),
        ];
        let mut log = log.map(|(ends, ms, cause, arrived)| sent(&site, ends, ms, cause, arrived)).to_vec();
        // It is also tried behind the router.
        log[2].macs[1] = site.router;
        // Host 30 was pinned: what it reached before goes on, and it may ask by ARP; one new host more is one too many.
        let pinned = Cause::Attack(2);
        for (to, ms, arrived, kind) in [
            (80, 2_000, true, Kind::Ip),
            (81, 2_100, false, Kind::Ip),
            (80, 2_200, true, Kind::Ip),
            (82, 2_300, true, Kind::Arp),
            (82, 2_400, true, Kind::Ip),
        ] {
            let frame = sent(&site, (30, to), ms, pinned, arrived);
            log.push(Sent { id: FlowId { kind, ..frame.id }, ..frame });
        }
        let guilty = [(50, 0), (40, 1), (30, 2)].map(|(host, run)| (site.hosts[host].mac, run)).into();
        let cable = Cable::of(log, guilty);
        let mut pin = isolation(&site, &[30], 2_050);
        pin["isolation"]["level"] = "pin".into();
        let events = [(&[50][..], 1_250), (&[71], 1_300), (&[40, 72], 1)];
        let [cut, wrong, half] = events.map(|(hosts, ms)| isolation(&site, hosts, ms));
        let seen = sum_up(&site, &cable, &[2, 14, 3], &[cut, wrong, half, pin], 2, 1.0);
        assert_eq!((seen.harmless, seen.wronged.len()), ([2, 1], 2), "{:?}", seen.wronged);
        let run = &seen.runs[0];
        assert_eq!((run.targets, run.hosts, run.after), (3, 1, [1, 1]), "{run:?}");
        assert_eq!((run.dropped, run.steps[&Step::Isolate]), (Some(0.3), 0.25));
        assert!(run.is_cut() && !seen.runs[1].is_cut());
        let run = &seen.runs[2];
        assert_eq!((run.targets, run.after, run.is_cut()), (2, [1, 1], true), "{run:?}");
    }
}
