//! Novelty: more destinations inside that a device never turned to than is usual, over an hour or a day.
//!
//! It sees what is slow: malware with a list of living hosts that takes one a minute fails nowhere (`scan`), stays below the
//! counts of a minute (`fanout`, `lateral`), and still meets more new hosts in an hour than its device did in any.
//! Signal: first TCP contacts to hosts inside, with services of theirs that hardly anybody else uses (three others make one
//! common), and ARP requests of an end host for addresses nobody has, for on its own link a device gets no further with those;
//! apart from these, first contacts to services one administers by.
//! Statistic: the count in an hour and in a day against the larger of two usuals: the most of the device's own windows that
//! brought no finding, and what 999 in 1,000 windows of the devices of its class stayed within, or of all devices where the
//! class has too few windows. A quarter and two more are let off, and floors: 8 an hour, 12 a day; services for
//! administration, of which nobody needs many: 5 an hour, 8 a day.
//! The window moves on by halves, so that what comes in a row is seen whole whenever it begins. The usual of others counts for
//! at most twice the floor, and each device's window is in it once a half, so that a few that are taken over cannot raise it
//! beyond that.
//! Cold start: for a day after the sensor began, and after a device was first heard, everything is new, and nothing is
//! called. Recovery: the window ends; a release forgets it.
//! Held back: what others use too (a server that moved, a new one), what was under way when the sensor began, who comes from
//! outside; and who asked the link which devices there are (WS-Discovery, as Windows does when somebody opens the network
//! neighbourhood) and turns to those at the port they answer that at, within a minute.
//! Known false alarms: an administrator's first round after the first day; a renumbering, for its first three clients. It
//! alerts, severity 2, and never isolates.
//! Papers: Williamson, HP Labs 2002 (few new hosts are usual); Zou et al. 2003 (lists of living hosts).

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::clients::Clients;
use super::others::Others;
use super::{ADMINISTRATION, Began, Detector, EXAMPLES, Finding, list, seconds};
use crate::addr::is_host;
use crate::contact::Contact;
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::flow::{TCP, UDP};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, MINUTE, Time};

/// For so long everything is new.
const LEARNING: u64 = 24 * HOUR;
/// Port of WS-Discovery, by which Windows asks a group who is there...
const DISCOVERY: u16 = 3702;
/// ...and those that it finds what they are, within this time.
const DISCOVERED: [u16; 2] = [5357, 5358];
const ASKED_FOR: u64 = MINUTE;

/// What is counted over what.
#[derive(Debug)]
struct Span {
    length_ns: u64,
    floor: u32,
    /// Only services for administration.
    administration: bool,
    signature: &'static str,
    family: Family,
}

/// All that is counted.
const SPANS: [Span; 4] = [
    Span {
        length_ns: HOUR,
        floor: 8,
        administration: false,
        signature: "novelty: many hosts inside within an hour that it never turned to",
        family: Family::Novelty,
    },
    Span {
        length_ns: 24 * HOUR,
        floor: 12,
        administration: false,
        signature: "novelty: many hosts inside within a day that it never turned to",
        family: Family::Novelty,
    },
    Span {
        length_ns: HOUR,
        floor: 5,
        administration: true,
        signature: "slow lateral movement: a service for administration of many new hosts within an hour",
        family: Family::Lateral,
    },
    Span {
        length_ns: 24 * HOUR,
        floor: 8,
        administration: true,
        signature: "slow lateral movement: a service for administration of many new hosts within a day",
        family: Family::Lateral,
    },
];

/// What came in half a window.
#[derive(Clone, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Half {
    count: u32,
    told: bool,
    examples: Vec<std::net::IpAddr>,
}

/// A device's window of one span. It moves on by halves, so that what comes in a row is seen whole whenever it begins.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Window {
    /// When the second half begins.
    start: Time,
    halves: [Half; 2],
    /// Most in a window that brought no finding...
    usual: u32,
    /// ...and in the last one, half of which goes on: what begins in it must not excuse itself.
    last: u32,
}

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Habit {
    /// When it was begun, for a release to be told from.
    born: Time,
    first: Time,
    /// When it last asked a group who is there.
    asked: Option<Time>,
    windows: [Window; SPANS.len()],
}

/// The detector.
pub struct Novelty {
    habits: Lru<DeviceKey, Habit>,
    clients: Clients,
    /// By span.
    others: Others<{ SPANS.len() }>,
    /// The first contact.
    since: Option<Time>,
}

state!(Novelty { habits, clients, others, since });

impl Novelty {
    /// A detector that has learned nothing.
    pub fn new(settings: &Settings) -> Self {
        let devices = settings.limits.devices;
        Self {
            habits: Lru::new(capacity(devices)),
            clients: Clients::new(devices),
            others: Others::new(),
            since: None,
        }
    }
}

impl Detector for Novelty {
    fn rebooted(&mut self, off_ns: u64) {
        self.since = self.since.map(|since| since.plus(off_ns));
    }

    fn began(&mut self, began: &Began<'_>, _found: &mut Vec<Finding>) {
        let id = &began.seen.id;
        if id.kind == Kind::Ip && id.proto == UDP && id.dport == DISCOVERY && !is_host(id.dst) {
            let now = began.seen.time;
            self.habits.get_or_insert_mut(began.device, || Habit::new(now)).asked = Some(now);
        }
    }

    fn contact(&mut self, contact: &Contact, found: &mut Vec<Finding>) {
        let now = contact.time;
        let since = *self.since.get_or_insert(now);
        if !is_looked_at(contact) {
            return;
        }
        let habit = self.habits.get_or_insert_mut(contact.device, || Habit::new(now));
        if habit.born < contact.clean_since {
            habit.forget(now);
        }
        for (at, (window, span)) in habit.windows.iter_mut().zip(&SPANS).enumerate() {
            if let Some(count) = window.roll(now, span) {
                self.others.add(contact.class, at, count);
            }
        }
        if !is_news(contact, habit, &mut self.clients) {
            return;
        }
        let administers = contact.id.kind == Kind::Ip && ADMINISTRATION.contains(&contact.id.dport);
        let learned = now.since(since) >= LEARNING && now.since(habit.first) >= LEARNING;
        for (at, (window, span)) in habit.windows.iter_mut().zip(&SPANS).enumerate() {
            let counts = if span.administration { administers } else { contact.new_peer };
            if !counts {
                continue;
            }
            let [_, half] = &mut window.halves;
            half.count += 1;
            if half.examples.len() < EXAMPLES {
                half.examples.push(contact.id.dst);
            }
            let others = self.others.usual(contact.class, at).min(2 * span.floor);
            let usual = window.usual.max(others);
            let limit = span.floor.max(usual + usual.div_ceil(4) + 2);
            if learned && !window.is_told() && window.count() >= limit {
                window.halves[1].told = true;
                found.push(finding(contact, span, window, limit, others));
            }
        }
    }
}

/// Whether a contact may count.
fn is_looked_at(contact: &Contact) -> bool {
    match (contact.id.kind, contact.id.proto) {
        (Kind::Arp, _) => contact.end_host && !contact.alive,
        (Kind::Ip, TCP) => contact.internal && !contact.midway && !contact.from_outside,
        _ => false,
    }
}

/// Whether a contact is to what is new to the device, is nobody else's habit, and was not just found by asking who is
/// there.
fn is_news(contact: &Contact, habit: &Habit, clients: &mut Clients) -> bool {
    let id = &contact.id;
    let asked = habit.asked.is_some_and(|asked| contact.time.since(asked) < ASKED_FOR);
    let discovers = DISCOVERED.contains(&id.dport) && asked;
    let port = if id.kind == Kind::Arp { 0 } else { id.dport };
    contact.new_service && !discovers && !clients.is_common((id.dst, port), contact.device, contact.time)
}

impl Habit {
    fn new(now: Time) -> Self {
        let window = Window { start: now, halves: Default::default(), usual: 0, last: 0 };
        Self { born: now, first: now, asked: None, windows: std::array::from_fn(|_| window.clone()) }
    }

    /// Forgets what was counted, and not what is usual.
    fn forget(&mut self, now: Time) {
        self.born = now;
        for window in &mut self.windows {
            *window = Window { start: now, halves: Default::default(), usual: window.usual, last: 0 };
        }
    }
}

impl Window {
    fn count(&self) -> u32 {
        self.halves.iter().map(|half| half.count).sum()
    }

    fn is_told(&self) -> bool {
        self.halves.iter().any(|half| half.told)
    }

    /// Moves on if half of it is over; gives its count if that says what is usual.
    fn roll(&mut self, now: Time, span: &Span) -> Option<u32> {
        let half = span.length_ns / 2;
        let gone = now.since(self.start);
        if gone < half {
            return None;
        }
        let (count, told) = (self.count(), self.is_told());
        if !told {
            self.usual = self.usual.max(self.last);
        }
        self.last = if told { 0 } else { count };
        self.halves.rotate_left(1);
        self.halves[1] = Half::default();
        self.start = self.start.plus(half);
        if gone >= 2 * half {
            (self.start, self.halves[0]) = (now, Half::default());
            self.usual = self.usual.max(std::mem::take(&mut self.last));
        }
        (!told).then_some(count)
    }
}

fn finding(contact: &Contact, span: &Span, window: &Window, limit: u32, others: u32) -> Finding {
    let [before, _] = &window.halves;
    let since = if before.count > 0 { window.start.minus(span.length_ns / 2) } else { window.start };
    let examples = window.halves.iter().flat_map(|half| &half.examples).take(EXAMPLES);
    Finding {
        detector: "novelty",
        signature: span.signature,
        severity: 2,
        family: span.family,
        weight: by_severity(2),
        device: contact.device,
        flow: contact.id,
        evidence: vec![
            ("new_destinations", Value::Count(u64::from(window.count()))),
            ("limit", Value::Count(u64::from(limit))),
            ("usual", Value::Count(u64::from(window.usual))),
            ("usual_of_others", Value::Count(u64::from(others))),
            ("dest_port", Value::Count(u64::from(contact.id.dport))),
            ("seconds", seconds(contact.time.since(since))),
            ("destinations", list(examples)),
        ],
        first_evidence: since,
    }
}
