//! What is said of incidents over the control socket: what they are, how people judged them, and what follows from that.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::DeviceName;
use crate::clock::Stamp;

/// What an incident was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentJudge {
    /// Its number.
    pub incident: u64,
    /// It was a true one.
    pub right: bool,
    /// And a grave one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grave: bool,
    /// In what words, if any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// What came of what a person said to an incident.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approved {
    /// Its number.
    pub incident: u64,
    /// The level that was asked for.
    pub level: String,
    /// What was done about its device, or why nothing; none if it was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// What came of a judgement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JudgedInfo {
    /// The incident.
    pub incident: u64,
    /// It was a true one.
    pub right: bool,
    /// And a grave one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grave: bool,
    /// The reviews that began with it if it was not, or ended if it was.
    pub reviews: Vec<ReviewInfo>,
}

/// A detector on review.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReviewInfo {
    /// Its number.
    pub id: u32,
    /// The detector.
    pub detector: String,
    /// About whom it only alerts: `class icu` or `device 00:1b:21:0a:0b:0c`.
    pub scope: String,
    /// The incident that was judged false.
    pub incident_id: u64,
    /// Since when.
    pub since: Stamp,
    /// The account that judged.
    pub by: String,
}

/// For whom a change window is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowWho {
    /// All devices.
    Everybody,
    /// All devices of this segment.
    Segment(String),
    /// This device: by name, MAC or IP address.
    Device(String),
}

/// A change window to be announced.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowAdd {
    /// For whom.
    pub who: WindowWho,
    /// In how long it begins, ns.
    #[serde(default)]
    pub in_ns: u64,
    /// How long it lasts, ns.
    pub for_ns: u64,
    /// Why.
    pub reason: String,
}

/// An announced change window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WindowInfo {
    /// Its number.
    pub id: u32,
    /// For whom: `everybody`, `segment icu` or `device MRI 2`.
    #[serde(rename = "for")]
    pub who: String,
    /// It is open; else it is to come.
    pub open: bool,
    /// From when on.
    pub from: Stamp,
    /// Until when.
    pub until: Stamp,
    /// Why.
    pub reason: String,
    /// When it was announced.
    pub since: Stamp,
    /// The account that announced it.
    pub by: String,
}

/// What waits for a person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WaitInfo {
    /// The level that was asked for.
    pub level: String,
    /// Until when somebody may say.
    pub until: Stamp,
}

/// What a person said of an incident.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VerdictInfo {
    /// It is a true one.
    pub right: bool,
    /// And a grave one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grave: bool,
    /// The account.
    pub by: String,
    /// In what words, if any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
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
    /// What it is evidence of.
    #[serde(default)]
    pub family: String,
    /// How much it says, nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Value>,
    /// The technique of MITRE ATT&CK that it looks like: `T1046 Network Service Discovery (Discovery)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub technique: Option<String>,
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
    /// Which level was `earned` last, which was `allowed`, what `lowered` it, and what is lost by it (`impact`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Value>,
    /// What waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<WaitInfo>,
    /// What a person said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<VerdictInfo>,
    /// How much was seen when its last alert was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Value>,
    /// What the evidence against its device added up to with its last finding: `nats`, and of those by family `families`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Value>,
    /// What that earns: `level`, whether a finding is `decisive` by itself, and the level `without` each family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Value>,
    /// Its findings.
    pub findings: Vec<FindingInfo>,
}
