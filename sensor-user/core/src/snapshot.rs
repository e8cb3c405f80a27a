//! What may be read of the engine: for the control socket, the metrics and pages.

use std::net::IpAddr;

use serde::Serialize;

use crate::addr::Mac;
use crate::event::{DeviceRef, Evidence};
use crate::identify::Label;
use crate::identify::group::WhyTwo;
use crate::identify::neighbour::Neighbour;
use crate::inventory::cards::{Card, DeviceId};
use crate::policy::review::Review;
use crate::policy::window::Window;
use crate::policy::{Block, Name};
use crate::success::Rate;
use crate::time::Time;

/// One device.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct DeviceView {
    /// Its number: several that are one by word of a person have the same.
    pub id: DeviceId,
    /// Its MAC address.
    pub mac: Mac,
    /// Its IP addresses.
    pub ips: Vec<IpAddr>,
    /// Addresses beyond those kept.
    pub more_ips: u64,
    /// Maker by the OUI registry.
    pub maker: Option<String>,
    /// The name the configuration gives it.
    pub name: Option<String>,
    /// The class the configuration puts it in.
    pub class: Option<Name>,
    /// First seen.
    pub first_seen: Time,
    /// Last seen.
    pub last_seen: Time,
    /// Index of the bridge port it was last seen on.
    pub port: u8,
    /// VLAN it was last seen on, 0 if untagged.
    pub vlan: u16,
    /// The segment it lives in.
    pub segment: Option<Name>,
    /// The switch by which it is reached, by its own word, and the port of it that leads to us.
    pub uplink: Option<Neighbour>,
    /// What kind of device it is taken for, how sure that is, and why.
    pub label: Option<Label>,
    /// What it calls itself.
    pub names: Vec<String>,
    /// With whom it is counted as one device, by evidence.
    pub one: Option<OneByEvidence>,
    /// Other devices that are perhaps the same one.
    pub perhaps: Vec<Perhaps>,
    /// Whether it is taken for a gateway.
    pub gateway: bool,
    /// Whether it is on the protected list.
    pub protected: bool,
    /// The block entry that holds it, if any.
    pub block: Option<u32>,
    /// Distinct destinations in the fan-out window.
    pub destinations: u32,
    /// What is usual for it, if it was learned.
    pub usual_destinations: Option<u32>,
}

/// Several that are counted as one device, by evidence alone. Each is held, spared and judged by itself.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OneByEvidence {
    /// The number by which they are counted: that of the one known first.
    pub number: DeviceId,
    /// The others.
    pub with: Vec<DeviceRef>,
    /// The DHCP client identifier under which all of them ask.
    pub client_id: String,
}

/// Evidence that a device is the same as another one. Only a person says that it is.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Perhaps {
    /// The other one.
    pub device: DeviceRef,
    /// The DHCP client identifier under which both ask.
    pub client_id: String,
    /// What speaks against it, if they were found to be two.
    pub against: Option<WhyTwo>,
}

/// One incident.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct IncidentView {
    /// Its number.
    pub id: u64,
    /// Who is blamed.
    pub device: crate::event::DeviceRef,
    /// Gravest severity so far, 1 (high) to 3 (low).
    pub severity: u8,
    /// When it was opened.
    pub opened: Time,
    /// When the last finding came.
    pub updated: Time,
    /// What was done about it.
    pub action: crate::event::Action,
    /// Which level was earned last, what was allowed and why, what is lost by it; none if nothing was earned.
    pub ruling: Option<crate::policy::ruling::Ruling>,
    /// The level that waits for a person, and until when.
    pub waits: Option<(crate::policy::Level, Time)>,
    /// What a person said of it.
    pub judged: Option<crate::event::Said>,
    /// How much was seen when its last alert was told; none if nobody said.
    pub coverage: Option<crate::coverage::Sighted>,
    /// What the evidence against its device added up to with its last finding.
    pub evidence: crate::evidence::Sum,
    /// What that earns, as a whole and without each family.
    pub why: crate::policy::Why,
    /// Its findings: detector, signature, severity, numbers.
    pub findings: Vec<FindingView>,
}

/// One finding of an incident.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FindingView {
    /// The detector's name.
    pub detector: &'static str,
    /// What it saw.
    pub signature: &'static str,
    /// What it is evidence of.
    pub family: &'static str,
    /// How much it says, nats.
    pub weight: f64,
    /// 1 (high) to 3 (low).
    pub severity: u8,
    /// When.
    pub time: Time,
    /// The numbers.
    #[serde(serialize_with = "evidence_map")]
    pub evidence: Evidence,
}

/// Serializes evidence as an object, in its order.
pub fn evidence_map<S: serde::Serializer>(evidence: &Evidence, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(evidence.iter().map(|(name, value)| (name, value)))
}

/// How often first contacts succeed in a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ClassSuccess {
    /// The class; none: the devices of no class.
    pub class: Option<Name>,
    /// How often.
    #[serde(flatten)]
    pub rate: Rate,
}

/// Counters of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct EngineStats {
    /// Devices known.
    pub devices: u64,
    /// Devices forgotten because the table was full.
    pub devices_evicted: u64,
    /// Conversations in the table.
    pub flows_live: u64,
    /// Conversations that began.
    pub flows_new: u64,
    /// Conversations ended because the table was full.
    pub flows_evicted: u64,
    /// First contacts that wait for an answer.
    pub contacts_waiting: u64,
    /// First contacts dropped unjudged because the table was full.
    pub contacts_evicted: u64,
    /// Services inside that a device used, forgotten because the table was full.
    pub services_evicted: u64,
    /// DHCP client identifiers that several devices share and that were not watched, for the table was full; again each minute.
    pub client_ids_unwatched: u64,
    /// Incidents opened.
    pub incidents: u64,
    /// Findings of detectors that are switched off where they were made.
    pub findings_silenced: u64,
    /// Block entries that hold.
    pub blocks: u64,
    /// Block entries that only count.
    pub blocks_would: u64,
    /// Restrictions that wait for a person.
    pub approvals_waiting: u64,
    /// Detectors on review, each for a class or a device.
    pub reviews: u64,
    /// Change windows that are open.
    pub windows_open: u64,
}

/// All of it at one moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Snapshot {
    /// When.
    pub time: Time,
    /// Whether decisions are carried out.
    pub enforce: bool,
    /// Devices, by MAC address.
    pub devices: Vec<DeviceView>,
    /// Incidents, newest first.
    pub incidents: Vec<IncidentView>,
    /// Detectors on review, oldest first.
    pub reviews: Vec<Review>,
    /// Announced change windows, oldest first.
    pub windows: Vec<Window>,
    /// The block list.
    pub blocks: Vec<Block>,
    /// What people say of devices, by number, and who that is.
    #[serde(skip)]
    pub cards: Vec<(Card, DeviceRef)>,
    /// How often first contacts succeed, of each class of which a device made enough.
    pub success: Vec<ClassSuccess>,
    /// Counters.
    pub stats: EngineStats,
}
