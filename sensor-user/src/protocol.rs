//! What goes over the control socket: one JSON object a line, a request up, an answer down.
//!
//! Times are dates here, devices and ports have the names people know: an answer says all there is to say, and what
//! `-o json` prints is the answer as it came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Stamp;

/// Number of this protocol. Raise it when an old client would misunderstand a new daemon or the other way round.
pub const VERSION: u32 = 1;

/// Longest request, in bytes with its line end.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Most addresses in one request.
pub const MAX_TARGETS: usize = sensor_core::policy::MAX_TARGETS;

/// Longest reason, in bytes.
pub const MAX_REASON: usize = 1_024;

/// Where the daemon listens.
pub const DEFAULT_SOCKET: &str = "/run/sekisho/control.sock";

/// A line of a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// [`VERSION`].
    pub version: u32,
    /// What is asked, or the answer.
    #[serde(flatten)]
    pub body: T,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request", content = "with", deny_unknown_fields)]
pub enum Request {
    /// How the daemon does. Answer: [`Status`].
    Status,
    /// All devices. Answer: a list of [`DeviceInfo`].
    Devices,
    /// All incidents, newest first. Answer: a list of [`IncidentInfo`].
    Incidents,
    /// The block list, oldest first. Answer: a list of [`BlockInfo`].
    BlockList,
    /// Block somebody. Answer: [`Added`].
    BlockAdd(BlockAdd),
    /// Take an entry out. Answer: [`BlockInfo`], as it was.
    BlockRemove(BlockSelect),
}

/// Whom to block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockAdd {
    /// Addresses, networks and places: `00:1b:21:0a:0b:0c`, `10.0.0.7`, `10.0.0.0/8`, `vlan 20`, `port eth1`, `segment
    /// radiology`.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Devices, with all addresses they have and will have: by name, MAC or IP address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// How much; none: as the entry has it, or isolated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Which way; none: as the entry has it, or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Quarantine: the allow list of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// Also if somebody who is protected, or a gateway, is among them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// For how long, ns; none: until taken out.
    #[serde(default)]
    pub for_ns: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Which entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockSelect {
    /// That number.
    Id(u32),
    /// The one that covers this address, network or place.
    Target(String),
    /// The one that holds this device.
    Device(String),
}

/// What the daemon says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What was asked for.
    Ok(Value),
    /// Why not.
    Error(Refusal),
}

/// Why a request was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub kind: RefusalKind,
    /// For people, with what to do.
    pub message: String,
}

/// Kind of refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The request could not be understood.
    BadRequest,
    /// The request was understood, and must not be or cannot be carried out.
    Refused,
    /// The daemon has too much to do, or is stopping.
    Busy,
}

/// Whether a port's XDP program runs in the driver or after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the network stack: slower, but with every driver.
    Generic,
}

impl AttachMode {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            AttachMode::Native => "native",
            AttachMode::Generic => "generic",
        }
    }
}

/// A bridge port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortStatus {
    /// Its name.
    pub name: String,
    /// Its interface index.
    pub ifindex: u32,
    /// Its index in flow keys and counters.
    pub index: u8,
    /// How the program is attached.
    pub mode: AttachMode,
    /// Why it is not run in the driver, if it is not: `mtu`, `no_native` or `refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Features of the card that were switched off for the filter.
    #[serde(default)]
    pub offloads_off: Vec<String>,
    /// Features that should be off and could not be switched.
    #[serde(default)]
    pub offloads_on: Vec<String>,
    /// Frames received.
    pub packets: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Frames dropped by a rule.
    pub drops: u64,
}

/// A port that should be filtered and is not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnfilteredPort {
    /// Its name.
    pub name: String,
    /// What kind of problem: `busy`, `taken`, `no_room` or `failed`.
    pub problem: String,
    /// The problem in words.
    pub why: String,
}

/// How the daemon around the engine does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LiveStatus {
    /// The bridge.
    pub bridge: String,
    /// `observe` or `enforce`.
    pub mode: String,
    /// The release.
    pub version: String,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// The ports, by name.
    pub ports: Vec<PortStatus>,
    /// Ports of the bridge that are not filtered.
    #[serde(default)]
    pub unfiltered: Vec<UnfilteredPort>,
    /// Records that found the ring full.
    pub ring_lost: u64,
    /// Saves that failed.
    pub store_errors: u64,
    /// Where the maps are pinned.
    pub pins: String,
}

/// How everything does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// When this was so.
    pub time: Stamp,
    /// The daemon around the engine.
    #[serde(flatten)]
    pub live: LiveStatus,
    /// Counters of the engine by name.
    pub stats: BTreeMap<String, u64>,
}

/// A device, as it is named.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceName {
    /// Its MAC address.
    pub mac: String,
    /// Its IP addresses.
    pub ips: Vec<String>,
    /// Its maker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<String>,
    /// The name people gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// How it is named.
    #[serde(flatten)]
    pub device: DeviceName,
    /// Addresses beyond those listed.
    pub more_ips: u64,
    /// First seen.
    pub first_seen: Stamp,
    /// Last seen.
    pub last_seen: Stamp,
    /// The bridge port it was last seen on, if that is still there.
    pub port: Option<String>,
    /// VLAN it was last seen on, 0 if untagged.
    pub vlan: u16,
    /// Whether it is taken for a gateway.
    pub gateway: bool,
    /// Whether it is on the protected list.
    pub protected: bool,
    /// The block entry that holds it.
    pub block: Option<u32>,
    /// Distinct destinations in the fan-out window.
    pub destinations: u32,
    /// What is usual for it, if learned.
    pub usual_destinations: Option<u32>,
}

/// A finding of an incident.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FindingInfo {
    /// When.
    pub time: Stamp,
    /// The detector's name.
    pub detector: String,
    /// What it saw.
    pub signature: String,
    /// 1 (high) to 3 (low).
    pub severity: u8,
    /// The numbers.
    pub evidence: Map<String, Value>,
}

/// An incident.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IncidentInfo {
    /// Its number.
    pub id: u64,
    /// Who is blamed.
    pub device: DeviceName,
    /// Gravest severity so far.
    pub severity: u8,
    /// When it was opened.
    pub opened: Stamp,
    /// When the last finding came.
    pub updated: Stamp,
    /// What was done about it.
    pub action: String,
    /// Its findings.
    pub findings: Vec<FindingInfo>,
}

/// An entry of the block list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockInfo {
    /// Its number.
    pub id: u32,
    /// What it is about.
    pub targets: Vec<String>,
    /// The device they belong to, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceName>,
    /// How much is restricted.
    pub level: String,
    /// Which way: `from` it, `to` it, or `both`.
    #[serde(default = "both")]
    pub direction: String,
    /// Quarantine: the name of the allow list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// Pin: how many pairs of peer and service go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<u64>,
    /// Whether addresses its device takes are added.
    #[serde(default)]
    pub follows: bool,
    /// The account that entered it, if a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The incident behind it, if a person did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<u64>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Stamp,
    /// Until when; none: until somebody takes it out.
    pub until: Option<Stamp>,
    /// Observe mode: nothing is dropped, only counted.
    pub would: bool,
}

fn both() -> String {
    sensor_core::policy::Direction::Both.name().to_owned()
}

/// What an order to block brought about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Added {
    /// The entry as it is now.
    pub block: BlockInfo,
    /// Whether it was there before.
    pub extended: bool,
    /// Whom it hits.
    #[serde(default)]
    pub impact: ImpactInfo,
    /// Who among them is protected, and goes on.
    #[serde(default)]
    pub spared: Vec<String>,
}

/// Whom an entry hits, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ImpactInfo {
    /// Devices.
    pub devices: u64,
    /// Conversations of theirs that go on.
    pub conversations: u64,
}
