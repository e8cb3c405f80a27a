//! What happened, told as EVE-style JSON for machines and as one sentence for people.
//!
//! EVE is the format of Suricata's logs, which the tools of the field read; the names of fields are its names. Kinds of
//! events it does not have (device, isolation, approval and so on) have an `event_type` of their own. Times are UTC in JSON and local in
//! sentences. Nothing here writes anything out.

pub mod card;
mod flow_id;
mod human;
mod json;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use sensor_core::event::{Event, Timed};
use sensor_core::observation::{FlowId, Kind};
use sensor_core::time::Time;
use serde_json::Value;

use crate::clock::WallClock;

pub use flow_id::flow_id;

/// Protocol number of ICMP.
const ICMP: u8 = 1;
/// Protocol number of TCP.
const TCP: u8 = 6;
/// Protocol number of UDP.
const UDP: u8 = 17;
/// Protocol number of ICMPv6.
const ICMP6: u8 = 58;

/// Kind of event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EventType {
    /// A device or an address of it appeared.
    Device,
    /// A conversation ended.
    Flow,
    /// A detector called a device.
    Alert,
    /// A block entry changed.
    Isolation,
    /// The bypass was switched.
    Bypass,
    /// Somebody gave an order.
    Order,
    /// A restriction waits for a person, or that is over.
    Approval,
    /// A person judged an incident, or ended a review.
    Judgement,
    /// A change window was announced, opens, or is over.
    Window,
    /// What people say of a device changed.
    Inventory,
    /// A frame was dropped: one of a sample.
    Drop,
    /// Too little is seen, or again enough.
    Blind,
    /// Counters at the end of a replay.
    Stats,
}

impl EventType {
    /// All kinds.
    pub const ALL: [EventType; 13] = [
        EventType::Device,
        EventType::Flow,
        EventType::Alert,
        EventType::Isolation,
        EventType::Bypass,
        EventType::Order,
        EventType::Approval,
        EventType::Judgement,
        EventType::Window,
        EventType::Inventory,
        EventType::Drop,
        EventType::Blind,
        EventType::Stats,
    ];

    /// Whether people are spared it unless they ask: there may be very many.
    pub fn is_many(self) -> bool {
        matches!(self, EventType::Flow | EventType::Drop)
    }

    /// The kind of an event.
    pub fn of(event: &Event) -> Self {
        match event {
            Event::Device(_) => EventType::Device,
            Event::Flow(_) => EventType::Flow,
            Event::Alert(_) => EventType::Alert,
            Event::Isolation(_) => EventType::Isolation,
            Event::Bypass(_) => EventType::Bypass,
            Event::Order(_) => EventType::Order,
            Event::Approval(_) => EventType::Approval,
            Event::Judgement(_) => EventType::Judgement,
            Event::Window(_) => EventType::Window,
            Event::Card(_) => EventType::Inventory,
            Event::Dropped(_) => EventType::Drop,
            Event::Blind(_) => EventType::Blind,
        }
    }

    /// Its name, the `event_type` of EVE.
    pub fn name(self) -> &'static str {
        match self {
            EventType::Device => "device",
            EventType::Flow => "flow",
            EventType::Alert => "alert",
            EventType::Isolation => "isolation",
            EventType::Bypass => "bypass",
            EventType::Order => "order",
            EventType::Approval => "approval",
            EventType::Judgement => "judgement",
            EventType::Window => "window",
            EventType::Inventory => "inventory",
            EventType::Drop => "drop",
            EventType::Blind => "blind",
            EventType::Stats => "stats",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EventType {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        EventType::ALL.into_iter().find(|kind| kind.name() == s).ok_or_else(|| {
            let there = EventType::ALL.map(EventType::name).join(", ");
            format!("`{s}` is no kind of event; there are {there}")
        })
    }
}

/// What a replay ends with.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ReplayStats {
    /// The time of the last frame.
    pub time: Time,
    /// Files read.
    pub files: u64,
    /// Files that ended within a packet, or were damaged; what was readable of them is counted.
    pub truncated: u64,
    /// Frames read.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Results of parsing by reason, `ok` among them.
    pub parse: BTreeMap<&'static str, u64>,
    /// Conversations.
    pub flows: u64,
    /// Devices.
    pub devices: u64,
    /// Alerts.
    pub alerts: u64,
    /// Block entries made (or that would have been).
    pub isolations: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Tells what happened.
#[derive(Clone, Debug)]
pub struct Teller {
    /// Turns moments into dates.
    pub clock: WallClock,
    /// Names of the bridge ports by their index; replays have none.
    pub ports: BTreeMap<u8, String>,
    zone: TimeZone,
}

impl Teller {
    /// Tells times by that clock, to people in the time zone of this machine.
    pub fn new(clock: WallClock) -> Self {
        Self { clock, ports: BTreeMap::new(), zone: TimeZone::system() }
    }

    /// The event as an EVE-style object. `latency_ns` is the time from the first piece of evidence to the drop in the
    /// kernel, which only the live daemon knows, and only for new isolations.
    pub fn value(&self, timed: &Timed, latency_ns: Option<u64>) -> Value {
        json::event(self, timed, latency_ns)
    }

    /// The event as one line for people, with the local time.
    pub fn sentence(&self, timed: &Timed, latency_ns: Option<u64>) -> String {
        let when = self.clock.stamp(timed.time).local(&self.zone);
        format!("{when} {}", self.words(timed, latency_ns))
    }

    /// The event in words, without its time.
    pub fn words(&self, timed: &Timed, latency_ns: Option<u64>) -> String {
        human::event(self, timed, latency_ns)
    }

    /// What a replay ends with, as an EVE-style object.
    pub fn stats(&self, stats: &ReplayStats) -> Value {
        json::stats(self, stats)
    }

    /// What a replay ends with, as one line for people.
    pub fn stats_sentence(&self, stats: &ReplayStats) -> String {
        human::stats(stats)
    }
}

/// The name of a flow's protocol, as EVE writes it.
fn protocol(id: &FlowId) -> String {
    match (id.kind, id.proto) {
        (Kind::Arp, _) => "ARP".to_owned(),
        (_, ICMP) => "ICMP".to_owned(),
        (_, TCP) => "TCP".to_owned(),
        (_, UDP) => "UDP".to_owned(),
        (_, ICMP6) => "IPv6-ICMP".to_owned(),
        (_, other) => other.to_string(),
    }
}

/// Whether a flow's port fields are ports: of ICMP and ARP they are types, and later fragments have none.
fn has_ports(id: &FlowId) -> bool {
    id.kind == Kind::Ip && !matches!(id.proto, ICMP | ICMP6) && (id.sport, id.dport) != (0, 0)
}
