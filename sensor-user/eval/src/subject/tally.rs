//! What was done to whom, and whether it was right.
//!
//! Right is what blames a host that an attack was sent from within a day before, by the simulator's own label; all else
//! is false.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use sensor_core::addr::Mac;
use sensor_core::event::{Alert, Change, DeviceRef, Isolation};
use sensor_core::flow::{RST, TCP};
use sensor_core::observation::{FlowId, FlowSeen, Kind, Observation};
use sensor_core::policy::Level;
use sensor_core::time::{HOUR, Time};

use crate::sim::calendar::DAY;
use crate::sim::site::{Class, HostId, Site};
use crate::sim::world::{Cause, Told};

/// Something that was told about a device, or done to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// An alert of the lowest severity.
    Hint,
    /// An alert.
    Alert,
    /// Throttled.
    Throttle,
    /// Pinned.
    Pin,
    /// Isolated.
    Isolate,
}

impl Step {
    /// All of them, in rising order.
    pub const ALL: [Step; 5] = [Step::Hint, Step::Alert, Step::Throttle, Step::Pin, Step::Isolate];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Step::Hint => "hint",
            Step::Alert => "alert",
            Step::Throttle => "throttle",
            Step::Pin => "pin",
            Step::Isolate => "isolate",
        }
    }

    fn of(level: Level) -> Self {
        match level {
            Level::Observe | Level::Throttle => Step::Throttle,
            Level::ExternalOnly | Level::Pin => Step::Pin,
            _ => Step::Isolate,
        }
    }
}

/// A false alarm.
#[derive(Clone, PartialEq, Debug)]
pub struct Wrong {
    /// When.
    pub time: Time,
    /// What was done.
    pub step: Step,
    /// To a host of which class; none: one that is not of the site.
    pub class: Option<Class>,
    /// By which detector, or of what an action was about.
    pub detector: &'static str,
    /// In which words.
    pub signature: String,
    /// The device.
    pub device: String,
    /// Why the device's last unusual flow was sent.
    pub cause: Cause,
    /// The numbers.
    pub numbers: String,
}

/// An attack that sends nothing for so long, ns, pauses: its device is switched off.
const PAUSE: u64 = 2 * HOUR;

/// A step that was taken against a host of an attack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Taken {
    /// When.
    pub time: Time,
    /// How many destinations the attack had reached by then.
    pub targets: usize,
    /// How long it had paused by then, ns.
    pub paused: u64,
}

/// One attack, as far as the sensor saw it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Attacked {
    /// When its first frame was sent.
    pub begun: Option<Time>,
    /// Distinct destinations that its frames reached so far.
    pub targets: BTreeSet<IpAddr>,
    /// When its last frame was sent, so far.
    last: Option<Time>,
    /// How long it has paused, ns.
    paused: u64,
    /// When each step was first taken against a host of it.
    pub steps: BTreeMap<Step, Taken>,
    /// Hosts it was sent from.
    pub hosts: BTreeSet<HostId>,
    /// Detectors that called it.
    pub called: BTreeSet<&'static str>,
    /// Frames of it that passed after its first host was pinned or isolated.
    pub leaked: u64,
}

/// The count of everything.
#[derive(Default)]
pub struct Tally {
    by_mac: HashMap<Mac, HostId>,
    by_ip: HashMap<IpAddr, HostId>,
    classes: Vec<Class>,
    routers: BTreeSet<IpAddr>,
    router: Mac,
    /// The last attack that was sent from a host, and when.
    guilty: HashMap<HostId, (u16, Time)>,
    /// Why a host's last unusual flow was sent, and when.
    causes: HashMap<HostId, (Cause, Time)>,
    /// False alarms.
    pub wrong: Vec<Wrong>,
    /// Attacks, by number.
    pub attacks: BTreeMap<u16, Attacked>,
    /// Right alerts of each detector.
    pub right: BTreeMap<&'static str, u64>,
    /// Pairs that talked before: who asked, whom, at which port, and was answered.
    learned: std::collections::HashSet<(HostId, IpAddr, u16)>,
    /// Harmless flows dropped of learned pairs, of others, and conversations cut short.
    pub cost: [u64; 3],
}

impl Tally {
    /// Takes over who has which address; addresses of before stay known.
    pub fn moved(&mut self, site: &Site) {
        for (id, host) in site.hosts.iter().enumerate() {
            self.by_mac.insert(host.mac, id);
            self.by_ip.insert(host.ip, id);
        }
        self.classes = site.hosts.iter().map(|host| host.class).collect();
        self.routers = site.segments.iter().map(|segment| segment.router).collect();
        self.router = site.router;
    }

    /// The MAC addresses of a flow's two ends.
    pub fn macs(&self, id: &FlowId) -> [Mac; 2] {
        let of = |ip| {
            let host = self.by_ip.get(&ip);
            host.and_then(|id| self.by_mac.iter().find(|(_, at)| *at == id))
                .map_or(self.router, |(mac, _)| *mac)
        };
        [of(id.src), of(id.dst)]
    }

    /// Who sent a frame.
    fn sender(&self, seen: &FlowSeen) -> Option<HostId> {
        let by_mac = self.by_mac.get(&seen.smac);
        by_mac.or_else(|| self.by_ip.get(&seen.id.src)).copied()
    }

    /// Notes a flow's beginning.
    pub fn flow(&mut self, told: &Told, seen: &FlowSeen, passes: bool) {
        if told.back {
            // Who was refused has no habit of it.
            if passes && seen.id.kind == Kind::Ip && seen.id.proto == TCP && seen.tcp_flags & RST == 0 {
                let asked = self.by_mac.get(&seen.dmac).or_else(|| self.by_ip.get(&seen.id.dst)).copied();
                self.learned.extend(asked.map(|host| (host, seen.id.src, seen.id.sport)));
            }
            return;
        }
        let sender = self.sender(seen);
        match told.cause {
            Cause::Attack(run) => self.attack(run, sender, seen, passes),
            cause => {
                let Some(sender) = sender else { return };
                if cause != Cause::Habit {
                    self.causes.insert(sender, (cause, seen.time));
                }
                if !passes {
                    let known = self.learned.contains(&(sender, seen.id.dst, seen.id.dport));
                    self.cost[usize::from(!known)] += 1;
                }
            }
        }
    }

    fn attack(&mut self, run: u16, sender: Option<HostId>, seen: &FlowSeen, passes: bool) {
        if let Some(sender) = sender {
            self.guilty.insert(sender, (run, seen.time));
        }
        let attacked = self.attacks.entry(run).or_default();
        attacked.begun.get_or_insert(seen.time);
        let silent = attacked.last.replace(seen.time).map_or(0, |last| seen.time.since(last));
        attacked.paused += if silent >= PAUSE { silent } else { 0 };
        attacked.hosts.extend(sender);
        if passes && !self.routers.contains(&seen.id.dst) {
            attacked.targets.insert(seen.id.dst);
            let held = attacked.steps.keys().any(|step| *step >= Step::Pin);
            attacked.leaked += u64::from(held);
        }
    }

    /// Notes that a conversation was dropped halfway. One that nobody answered is none.
    pub fn cut_short(&mut self, told: &Told) {
        let Observation::Progress(progress) = &told.observation else { return };
        let FlowId { src, dst, sport, dport, .. } = progress.id;
        let (client, server, port) = if told.back { (dst, src, sport) } else { (src, dst, dport) };
        let known = self.by_ip.get(&client).is_some_and(|host| self.learned.contains(&(*host, server, port)));
        if known && !matches!(told.cause, Cause::Attack(_)) {
            self.cost[2] += 1;
        }
    }

    fn host(&self, device: &DeviceRef) -> Option<HostId> {
        let by_mac = self.by_mac.get(&device.mac).copied();
        by_mac.or_else(|| device.ips.iter().find_map(|ip| self.by_ip.get(ip)).copied())
    }

    /// The attack a device is guilty of.
    fn run(&self, host: Option<HostId>, now: Time) -> Option<u16> {
        let (run, last) = self.guilty.get(&host?)?;
        (now.since(*last) < DAY).then_some(*run)
    }

    /// Notes an alert.
    pub fn alert(&mut self, now: Time, alert: &Alert) {
        let step = if alert.severity >= 3 { Step::Hint } else { Step::Alert };
        let host = self.host(&alert.device);
        if let Some(run) = self.run(host, now) {
            *self.right.entry(alert.detector).or_default() += 1;
            self.step(run, step, now);
            if let Some(attacked) = self.attacks.get_mut(&run) {
                attacked.called.insert(alert.detector);
            }
            return;
        }
        self.wrong.push(Wrong {
            time: now,
            step,
            class: self.class(host),
            detector: alert.detector,
            signature: alert.signature.to_owned(),
            device: name(&alert.device),
            cause: self.cause(host, now),
            numbers: format!("{:?} {:?}", alert.action, alert.evidence),
        });
    }

    /// Notes what is done to a device.
    pub fn isolation(&mut self, now: Time, isolation: &Isolation) {
        if !matches!(isolation.change, Change::Added | Change::Changed) {
            return;
        }
        let Some(device) = &isolation.device else { return };
        let (host, step) = (self.host(device), Step::of(isolation.level));
        if let Some(run) = self.run(host, now) {
            return self.step(run, step, now);
        }
        self.wrong.push(Wrong {
            time: now,
            step,
            class: self.class(host),
            detector: "action",
            signature: isolation.reason.clone(),
            device: name(device),
            cause: self.cause(host, now),
            numbers: String::new(),
        });
    }

    fn class(&self, host: Option<HostId>) -> Option<Class> {
        host.and_then(|host| self.classes.get(host)).copied()
    }

    /// Why a host's last unusual flow was sent, if that was within the hour.
    fn cause(&self, host: Option<HostId>, now: Time) -> Cause {
        let last = host.and_then(|host| self.causes.get(&host));
        last.filter(|(_, time)| now.since(*time) < HOUR).map_or(Cause::Habit, |(cause, _)| *cause)
    }

    fn step(&mut self, run: u16, step: Step, now: Time) {
        let Some(attacked) = self.attacks.get_mut(&run) else { return };
        let taken = Taken { time: now, targets: attacked.targets.len(), paused: attacked.paused };
        attacked.steps.entry(step).or_insert(taken);
    }
}

fn name(device: &DeviceRef) -> String {
    let ip = device.ips.first().map(ToString::to_string).unwrap_or_default();
    format!("{} {ip}", device.mac)
}

#[cfg(test)]
mod tests {
    use sensor_core::time::MINUTE;

    use super::*;
    use crate::sim::world::blank;

    #[test]
    fn a_pause_is_time_in_which_nothing_was_sent_for_hours() {
        let id = FlowId {
            src: IpAddr::from([10, 0, 0, 1]),
            dst: IpAddr::from([10, 0, 0, 2]),
            sport: 1,
            dport: 443,
            proto: TCP,
            kind: Kind::Ip,
            vlan: 0,
            port: 1,
        };
        let mut tally = Tally::default();
        let start = Time::at(DAY);
        // Every hour and a half, and a night between.
        for minutes in [0, 90, 180, 180 + 14 * 60, 270 + 14 * 60] {
            let time = start.plus(minutes * MINUTE);
            tally.attack(7, None, &blank(time, id), true);
            tally.step(7, if minutes > 300 { Step::Pin } else { Step::Hint }, time);
        }
        let attacked = &tally.attacks[&7];
        let paused = [Step::Hint, Step::Pin].map(|step| attacked.steps[&step].paused / HOUR);
        assert_eq!((paused, attacked.targets.len()), ([0, 14], 1));
    }
}
