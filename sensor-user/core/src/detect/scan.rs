//! Scan of many hosts: a sequential test on the outcome of first contacts.
//!
//! Signal: a device's contacts to destinations it never tried before, and whether they succeed.
//! Statistic: threshold random walk (Jung, Paxson, Berger, Balakrishnan, "Fast Portscan Detection Using Sequential
//! Hypothesis Testing", IEEE S&P 2004). Each outcome adds its log likelihood ratio: failure ln((1-t1)/(1-t0)), success
//! ln(t1/t0), with t0 and t1 the chance of success of a healthy device and of a scanner. The sum never falls below 0, so
//! that no credit is hoarded. It calls at ln((1-b)/a), a the accepted chance of a false call and b = 0.01 of a miss: with
//! the standard 0.8 and 0.2 that is 5 failures in a row for a = 0.001 and 10 for a = 0.000001.
//! What comes from outside the internal networks is told as an intrusion attempt from there. Whoever answers, or refuses,
//! what others try is never blamed for it: only who begins a conversation makes a contact.
//! Walks are apart for ARP, neighbour solicitations, ICMP echo, UDP to dark addresses by port, all else inside, and outside
//! for each service, so that a peer-to-peer program whose peers each have a port of their own is not one scan.
//! A healthy device's chance is measured by class ([`crate::success`]) for what is tried inside. Such a rate is kept within
//! bounds ([`usual`]), for it may be poisoned and devices are not all alike: a failure counts at least half and at most double
//! what it does by the settings, so that at worst 20 failures in a row isolate and a scan of which one in twenty answers is
//! over after 22. Once all is settled it makes a finding weightier, so that fewer failures may pin, but never an isolation quicker: for that the
//! sum by the settings must reach as far too. An alert needs as many failures as by the settings, only not as many for each
//! success.
//! An end host that asks by ARP for an address nobody has gets no further on its own link, so that this is a failure of the
//! walk inside too once all is settled, but none of those that must come together for a device to be isolated.
//! Cold start: none; the test needs no learning. Recovery: success pulls the sum down; a release forgets it.
//! A call isolates only if its last ten failures came within five minutes: devices that are switched off one by one
//! over a shift are no scan. Known false alarms: a program that looks for ten such devices at once; a PC that looks for five
//! old servers when it is started, which may be pinned. Held back:
//! - Echo: DHCP servers ping an address before they give it out, monitoring pings all day; it alerts.
//! - Outside on the web's ports: a PC on a closed network tries its maker's servers all day; it alerts, lowest severity, and
//!   not at all where three other devices did the same within a week: then that is how the network is.
//! - UDP: much of it is never answered; inside only refusals count, outside it alerts, lowest severity, for peer-to-peer
//!   programs look like this.
//! - UDP inside, to addresses nobody uses: ten at one port within a minute alert.
//! - Services that used to answer others: a server that died must not make its clients scanners ([`Health`]). If it is down
//!   for others too that counts nothing; if it only may be, it alerts and does not isolate.
//! - IPv6 neighbour solicitations, as with ARP, but they only alert: their headers name the address by its last 24 bits.
//! - ARP: a router asks for every address outsiders try, and answers may stay on their side of the bridge. Only dark
//!   addresses count, only at the rate of a sweep, and only an end host ([`Contact::end_host`]) is isolated by it. Twenty are
//!   needed until the device and the sensor were there for a day ([`Contact::settled`]): by then everybody was heard, for
//!   everybody broadcasts, and what a device asks for in vain every day is nothing new.
//!
//! Blind to: hit lists of hosts that all answer (see `lateral` and `fanout`).

use std::collections::VecDeque;
use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::clients::COMMON;
use super::{Detector, EXAMPLES, Finding, list, seconds};
use crate::contact::{Contact, Outcome};
use crate::event::Value;
use crate::evidence::{ALERTING, DECISIVE, Family, HINT};
use crate::flow::{ICMP, ICMP6, TCP, UDP};
use crate::health::Health;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::{ScanSettings, Settings};
use crate::state::state;
use crate::time::{HOUR, MINUTE, Time};

/// Walks kept, as a multiple of the number of devices.
const WALKS_PER_DEVICE: usize = 4;
/// Chance of missing a scanner that is accepted (Jung et al. use 0.01).
const MISS: f64 = 0.01;
/// ARP failures needed to isolate where not all is settled: double the walk's, for answers may be out of sight.
const ARP_FAILURES: u32 = 20;
/// A call isolates if so many of its failures...
const ISOLATING: usize = 10;
/// ...came within this time.
const AT_ONCE: u64 = 5 * MINUTE;
/// The walk's ratio counts as it is if so many of its failures did...
const SOON: usize = 5;
/// ...up to so many nats: what does not isolate is no proof.
const UNDECIDED: f64 = 11.0;
/// Nats at which a call is told again, though no graver: those of one chance in 10,000.
const LIKELY: f64 = 9.2;
/// What devices fail at outside says so long how the network is.
const SHUT_FOR: u64 = 7 * 24 * HOUR;
/// Ports of the web.
const WEB: [u16; 2] = [80, 443];
/// A walk among addresses nobody has starts anew when it did not end within this time: a sweep asks faster.
const ARP_WINDOW: u64 = MINUTE;
/// A scan that goes on is told again after this time.
const REARM: u64 = HOUR;

/// What a walk is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
enum Class {
    Arp,
    Neighbour,
    Echo,
    /// UDP to addresses inside that nobody uses, by port.
    Dark(u16),
    Inside,
    Outside(u8, u16),
}

impl Class {
    /// Whether a sweep is told by its speed alone.
    fn is_swift(self) -> bool {
        matches!(self, Self::Arp | Self::Neighbour | Self::Dark(_))
    }
}

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Walk {
    /// When it was begun, for a release to be told from.
    born: Time,
    /// By the success that was measured.
    sum: f64,
    /// By the success of the settings.
    standard: f64,
    failures: u32,
    successes: u32,
    first: Time,
    /// Failures at services that used to answer others.
    known_services: u32,
    /// When the last [`ISOLATING`] other failures came that may isolate, oldest first.
    recent: VecDeque<Time>,
    /// When the last [`SOON`] of any came, but those.
    soon: VecDeque<Time>,
    examples: Vec<IpAddr>,
    /// Gravest severity told, 4 for none.
    told: u8,
    told_at: Time,
    /// Weight told last, nats.
    told_weight: f64,
}

impl Walk {
    fn new(now: Time) -> Self {
        Self {
            born: now,
            sum: 0.0,
            standard: 0.0,
            failures: 0,
            successes: 0,
            first: now,
            known_services: 0,
            recent: VecDeque::new(),
            soon: VecDeque::new(),
            examples: Vec::new(),
            told: 4,
            told_at: now,
            told_weight: 0.0,
        }
    }

    /// Starts anew, but remembers what was told.
    fn restart(&mut self, now: Time) {
        let Self { told, told_at, told_weight, .. } = *self;
        *self = Self { told, told_at, told_weight, ..Self::new(now) };
    }
}

/// The detector.
pub struct Scan {
    walks: Lru<(DeviceKey, Class), Walk>,
    /// Who failed outside on a port of the web, the last ones.
    shut_out: [VecDeque<(DeviceKey, Time)>; WEB.len()],
    settings: ScanSettings,
}

state!(Scan { walks, shut_out } keeps { settings });

impl Scan {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        let walks = settings.limits.devices.saturating_mul(WALKS_PER_DEVICE);
        Self { walks: Lru::new(capacity(walks)), shut_out: Default::default(), settings: settings.scan }
    }

    /// Whether others fail outside on this port of the web too, so that it is the network that is closed.
    fn is_shut(&mut self, device: DeviceKey, class: Class, now: Time) -> bool {
        let Class::Outside(TCP, port) = class else { return false };
        let place = WEB.iter().position(|web| *web == port).and_then(|at| self.shut_out.get_mut(at));
        let Some(devices) = place else { return false };
        devices.retain(|(other, last)| *other != device && now.since(*last) < SHUT_FOR);
        let shut = devices.len() >= COMMON;
        if devices.len() > COMMON {
            devices.pop_front();
        }
        devices.push_back((device, now));
        shut
    }
}

/// The walk a contact belongs to; none if its outcome says nothing.
fn class(contact: &Contact, outcome: Outcome) -> Option<Class> {
    let id = &contact.id;
    let silent = outcome == Outcome::Silent;
    if !contact.new_peer || (outcome != Outcome::Answered && contact.health == Health::Down) {
        return None;
    }
    match (id.kind, id.proto) {
        (Kind::Arp, _) if silent && contact.alive => None,
        (Kind::Arp, _) => Some(Class::Arp),
        _ if contact.is_solicitation() => (!silent || !contact.alive).then_some(Class::Neighbour),
        (_, ICMP | ICMP6) => Some(Class::Echo),
        // A conversation that was under way when the sensor started is no probe unless it is refused.
        (_, TCP) if contact.midway && outcome != Outcome::Refused => None,
        // Much of UDP is never answered.
        (_, UDP) if silent && contact.internal => (!contact.alive).then_some(Class::Dark(id.dport)),
        _ if contact.internal => Some(Class::Inside),
        (_, proto) => Some(Class::Outside(proto, id.dport)),
    }
}

/// Whether this outcome is one of those by which the success of a class is measured: it counts in the walk of most that is
/// tried inside, and nobody outside makes it.
pub(crate) fn tests_first_contact(contact: &Contact, outcome: Outcome) -> bool {
    let Some(class) = class(contact, outcome) else { return false };
    !contact.from_outside && (class == Class::Inside || ends_on_own_link(class, contact, outcome))
}

/// Whether a device got no further, for the address is of its own link and nobody has it.
fn ends_on_own_link(class: Class, contact: &Contact, outcome: Outcome) -> bool {
    class == Class::Arp && outcome != Outcome::Answered && contact.end_host && contact.settled
}

/// The success that was measured, thousandths, as a chance within the bounds at which a failure counts half and double what
/// it does by the settings: by the standard 0.6 and 0.95.
fn usual(permille: u16, settings: &ScanSettings) -> f64 {
    let (scanner, benign) = (1.0 - settings.scanner_success, 1.0 - settings.benign_success);
    let (most, least) = ((scanner * benign).sqrt(), benign * benign / scanner);
    1.0 - (1.0 - f64::from(permille) / 1e3).clamp(least, most)
}

/// Adds a time to the last few.
fn keep_last(times: &mut VecDeque<Time>, most: usize, time: Time) {
    times.push_back(time);
    while times.len() > most {
        times.pop_front();
    }
}

/// Where the walk calls, for an accepted chance of a false call.
fn needed(alpha: f64) -> f64 {
    ((1.0 - MISS) / alpha).ln()
}

/// The walk's name for people.
fn signature(class: Class, from_outside: bool) -> &'static str {
    match class {
        Class::Inside | Class::Echo | Class::Dark(_) if from_outside => {
            "intrusion attempt from outside: first contacts to many hosts fail"
        }
        Class::Neighbour => "neighbour scan: asks for many IPv6 addresses nobody has",
        Class::Dark(_) => "network scan by UDP: one service of many addresses nobody has",
        Class::Arp => "ARP scan: asks for many addresses nobody has",
        Class::Echo => "ping sweep: many hosts do not answer",
        Class::Inside => "network scan: first contacts to many hosts fail",
        Class::Outside(..) => "outward scan: first contacts to many hosts fail on one service",
    }
}

impl Detector for Scan {
    fn outcome(&mut self, contact: &Contact, outcome: Outcome, now: Time, found: &mut Vec<Finding>) {
        let Some(class) = class(contact, outcome) else { return };
        self.step(class, contact, outcome, now, found);
        if ends_on_own_link(class, contact, outcome) {
            self.step(Class::Inside, contact, outcome, now, found);
        }
    }
}

impl Scan {
    /// A walk goes on by an outcome.
    fn step(
        &mut self,
        class: Class,
        contact: &Contact,
        outcome: Outcome,
        now: Time,
        found: &mut Vec<Finding>,
    ) {
        let settings = self.settings;
        let usual = match contact.success {
            Some(permille) if class == Class::Inside => usual(permille, &settings),
            _ => settings.benign_success,
        };
        let walk = self.walks.get_or_insert_mut((contact.device, class), || Walk::new(now));
        let again = walk.told < 4 && now.since(walk.told_at) > REARM;
        if walk.born < contact.clean_since || again {
            *walk = Walk::new(now);
        }
        if class.is_swift() && now.since(walk.first) > ARP_WINDOW {
            walk.restart(now);
        }
        if outcome == Outcome::Answered {
            walk.successes += 1;
            walk.sum += (settings.scanner_success / usual).ln();
            walk.standard += (settings.scanner_success / settings.benign_success).ln();
            if walk.sum <= 0.0 {
                // Back at the start: what came before says nothing any more.
                walk.restart(now);
            } else if walk.standard <= 0.0 {
                walk.standard = 0.0;
                walk.recent.clear();
                walk.soon.clear();
            }
            return;
        }
        if walk.failures == 0 {
            walk.first = contact.time;
        }
        walk.failures += 1;
        walk.sum += ((1.0 - settings.scanner_success) / (1.0 - usual)).ln();
        walk.standard += ((1.0 - settings.scanner_success) / (1.0 - settings.benign_success)).ln();
        if contact.health == Health::Known {
            walk.known_services += 1;
        } else {
            keep_last(&mut walk.soon, SOON, contact.time);
            if class == Class::Arp || contact.id.kind != Kind::Arp {
                keep_last(&mut walk.recent, ISOLATING, contact.time);
            }
        }
        if walk.examples.len() < EXAMPLES {
            walk.examples.push(contact.id.dst);
        }
        let severity = walk.severity(class, contact, &settings);
        if severity > 3 {
            return;
        }
        let weight = walk.weight(class, contact, severity);
        let weightier = weight >= LIKELY && walk.told_weight < LIKELY;
        if severity < walk.told || (severity == walk.told && weightier) {
            if severity < walk.told {
                walk.told_at = now;
            }
            (walk.told, walk.told_weight) = (severity, weight);
            let finding = walk.finding(class, contact, severity, now);
            if severity < 3 || !self.is_shut(contact.device, class, now) {
                found.push(finding);
            }
        }
    }
}

impl Walk {
    /// 1 if the call isolates, 2 or 3 if it alerts, 4 if there is none.
    fn severity(&self, class: Class, contact: &Contact, settings: &ScanSettings) -> u8 {
        let at_once = self.recent.len() == ISOLATING
            && self.recent.front().is_some_and(|first| contact.time.since(*first) <= AT_ONCE);
        let alerts = self.sum.min(self.by_failures(settings)) >= needed(settings.alert_alpha);
        let sure = self.likelihood() >= needed(settings.isolate_alpha);
        let isolates = sure && at_once;
        match class {
            Class::Arp if isolates && contact.end_host && self.is_enough(contact) => 1,
            Class::Arp | Class::Neighbour | Class::Dark(_) if sure => 2,
            Class::Inside if isolates => 1,
            Class::Outside(TCP, port) if isolates && !WEB.contains(&port) => 1,
            Class::Outside(UDP, _) if sure => 3,
            Class::Outside(TCP, port) if alerts && WEB.contains(&port) => 3,
            Class::Outside(TCP, _) if alerts => 2,
            Class::Echo | Class::Inside if alerts => 2,
            _ => 4,
        }
    }

    /// The log likelihood ratio by the success that was measured, or by that of the settings if that is less.
    fn likelihood(&self) -> f64 {
        self.sum.min(self.standard)
    }

    /// The log likelihood ratio by the settings, were there no successes.
    fn by_failures(&self, settings: &ScanSettings) -> f64 {
        f64::from(self.failures) * ((1.0 - settings.scanner_success) / (1.0 - settings.benign_success)).ln()
    }

    /// Whether there are enough failures by ARP to isolate.
    fn is_enough(&self, contact: &Contact) -> bool {
        contact.settled || self.failures >= ARP_FAILURES
    }

    /// Whether the last [`SOON`] failures came together.
    fn is_soon(&self, contact: &Contact) -> bool {
        self.soon.len() == SOON
            && self.soon.front().is_some_and(|first| contact.time.since(*first) <= AT_ONCE)
    }

    /// What the call says, nats: the walk's own log likelihood ratio, where nothing else is known to look like it. What is
    /// held back says no more than that it is to be told.
    fn weight(&self, class: Class, contact: &Contact, severity: u8) -> f64 {
        match class {
            _ if severity <= 1 => self.likelihood().max(DECISIVE),
            _ if severity >= 3 => HINT,
            Class::Arp | Class::Neighbour | Class::Dark(_) | Class::Echo => ALERTING,
            _ if !self.is_soon(contact) => ALERTING,
            // On the first day all is new to a device, also what it will never reach.
            _ if !contact.settled => self.likelihood().clamp(ALERTING, UNDECIDED),
            _ => self.sum.clamp(ALERTING, UNDECIDED),
        }
    }

    fn finding(&self, class: Class, contact: &Contact, severity: u8, now: Time) -> Finding {
        let mut evidence = vec![
            ("failed_first_contacts", Value::Count(u64::from(self.failures))),
            ("successful_first_contacts", Value::Count(u64::from(self.successes))),
            ("log_likelihood_ratio", Value::Number((self.sum * 100.0).round() / 100.0)),
            ("seconds", seconds(now.since(self.first))),
            ("destinations", list(&self.examples)),
        ];
        if let Some(permille) = contact.success.filter(|_| class == Class::Inside) {
            evidence.push(("usual_success", Value::Number(f64::from(permille) / 1e3)));
        }
        if self.known_services > 0 {
            evidence.push(("failed_known_services", Value::Count(u64::from(self.known_services))));
        }
        if let Class::Outside(_, port) | Class::Dark(port) = class {
            evidence.push(("dest_port", Value::Count(u64::from(port))));
        }
        Finding {
            detector: "scan",
            signature: signature(class, contact.from_outside),
            severity,
            family: Family::Scan,
            weight: self.weight(class, contact, severity),
            device: contact.device,
            flow: contact.id,
            evidence,
            first_evidence: self.first,
        }
    }
}
