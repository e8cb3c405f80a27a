//! What is said of the block list over the control socket.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DeviceName;
use crate::clock::Stamp;

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
    /// Only say what would come of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
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

/// What the rules of an entry did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Hits {
    /// Frames dropped.
    pub dropped: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
    /// Frames that would have been dropped: observe mode.
    pub would_drop: u64,
    /// Their bytes.
    pub would_drop_bytes: u64,
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
    /// What its rules did; none in the answer to an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hits: Option<Hits>,
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
    /// Which services are lost by it, as in the `impact` of an incident's decision.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub lost: Value,
    /// Who among them is protected, and goes on.
    #[serde(default)]
    pub spared: Vec<String>,
    /// Who is counted as one device with them, by evidence alone, and goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<DeviceName>,
    /// It is entered; false: that was only looked at.
    #[serde(default = "yes")]
    pub entered: bool,
}

fn yes() -> bool {
    true
}

/// Whom an entry hits, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ImpactInfo {
    /// Devices.
    pub devices: u64,
    /// Conversations of theirs that go on.
    pub conversations: u64,
}
