//! What goes over the control socket: one JSON object a line, a request up, an answer down.
//!
//! Times are dates here, devices and ports have the names people know: an answer says all there is to say, and what
//! `-o json` prints is the answer as it came.

mod device;

use std::collections::BTreeMap;

use sensor_core::identify::Label;
use sensor_core::time::Time;
use sensor_ebpf::counter::Reason;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bpf::Bypass;
use crate::clock::{Stamp, WallClock};
use crate::control::user_name;

pub use device::{CardInfo, DeviceDistinct, DeviceEdit, DeviceMerge, DrillDone, PerhapsInfo, Regrouped};

/// Number of this protocol. Raise it when an old client would misunderstand a new daemon or the other way round.
pub const VERSION: u32 = 1;

/// Longest request, in bytes with its line end.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Longest list that is sent in parts, in bytes.
pub const MAX_LIST: usize = 32 << 20;

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
    /// Say something of devices, of all or of none, and of those in parts before it. Answer: a list of [`DeviceName`], those
    /// that changed.
    DeviceEdit(Vec<DeviceEdit>),
    /// A part of a list that is longer than a request: it holds when [`Request::DeviceEdit`] comes over the same connection.
    /// Answer: how many devices wait for that.
    DeviceEditPart(Vec<DeviceEdit>),
    /// Two are one device. Answer: [`Regrouped`].
    DeviceMerge(DeviceMerge),
    /// Two are not one device, whatever speaks for it. Answer: a list of [`DeviceName`], those that changed.
    DeviceDistinct(DeviceDistinct),
    /// This address is a device of its own. Answer: [`Regrouped`].
    DeviceSplit(String),
    /// Forget a device, and what is said of it. Answer: a list of [`DeviceName`].
    DeviceForget(String),
    /// All incidents, newest first. Answer: a list of [`IncidentInfo`].
    Incidents,
    /// Do what waits for approval in this incident. Answer: [`Approved`].
    IncidentApprove(u64),
    /// Do not do it. Answer: [`Approved`], without an action.
    IncidentDeny(u64),
    /// An incident was true, or false. Answer: [`JudgedInfo`].
    IncidentJudge(IncidentJudge),
    /// The detectors on review. Answer: a list of [`ReviewInfo`].
    Reviews,
    /// The detector on this review counts again. Answer: [`ReviewInfo`], as it was.
    ReviewEnd(u32),
    /// The change windows that are open or to come. Answer: a list of [`WindowInfo`].
    Windows,
    /// Announce a change window. Answer: [`WindowInfo`].
    WindowAdd(WindowAdd),
    /// End a change window, or call it off. Answer: [`WindowInfo`], as it was.
    WindowRemove(u32),
    /// The block list, oldest first. Answer: a list of [`BlockInfo`].
    BlockList,
    /// Block somebody. Answer: [`Added`].
    BlockAdd(BlockAdd),
    /// Take an entry out. Answer: [`BlockInfo`], as it was.
    BlockRemove(BlockSelect),
    /// Take every verdict to "pass" (true), or back to the rules. Answer: [`BypassInfo`].
    Bypass(bool),
    /// A fire drill begins. Answer: an empty list.
    DrillBegin,
    /// A fire drill is over. Answer: true.
    DrillDone(DrillDone),
    /// What was learned. Answer: [`ModelList`].
    Models,
    /// Train new models. Answer, at once: a list of [`TrainInfo`].
    ModelTrain,
    /// The same of one class of devices, or of `all`.
    ModelTrainClass(String),
    /// Put a model in force, or have others measured by it. Answer: [`ModelInfo`].
    ModelPromote(ModelPromote),
    /// The last scores of a device, by name, MAC or IP address. Answer: [`Scores`].
    ModelScores(String),
    /// The channels that people are told by. Answer: a list of [`NotifyChannel`].
    NotifyList,
    /// Have a channel tell a test. Answer: [`NotifyTested`], when its server said something.
    NotifyTest(String),
    /// A person knows of an incident, or of all of them: lamps go dark. Answer: true. Refused if no lamp shows the incident.
    NotifyAck(Option<u64>),
}

/// A channel that people are told by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotifyChannel {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind: `mail`, `lamp`, `webhook`, `trap`, `syslog`.
    pub kind: String,
    /// Whether it fails, so that the others were told.
    pub failing: bool,
    /// Notices that wait; of a lamp: what is open.
    pub waiting: u64,
    /// Notices that were told since the start.
    pub sent: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Notices that were given up since the start.
    pub lost: u64,
    /// When it last went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Stamp>,
    /// What its server said then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_answer: Option<String>,
    /// When it last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_time: Option<Stamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What came of a test.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotifyTested {
    /// The channel.
    pub channel: String,
    /// What its server said.
    pub answer: String,
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
    /// What is wrong with a list of devices, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<MistakeInfo>,
    /// So many mistakes besides.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_mistakes: usize,
}

impl Refusal {
    /// One that is no list of mistakes.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), mistakes: Vec::new(), more_mistakes: 0 }
    }
}

/// One thing that is wrong with a list of devices.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MistakeInfo {
    /// The place in the list with its parts, from 0.
    pub at: usize,
    /// The key of [`DeviceEdit`] it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is wrong, and what to do.
    pub what: String,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
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

/// What became of the frames that reached a port, since the program was put on it: `arrived` is the sum of all that was
/// accounted for, ignored and lost, and of what is pending.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Frames its NIC counted, those it had no room for included.
    pub arrived: u64,
    /// Bytes its NIC counted since its interface was made, as its driver counts them.
    pub nic_bytes: Option<u64>,
    /// Frames that were read in flows (`flows`), or dropped without one (`refused`): their host was over its budget, or all it
    /// sends is dropped.
    pub accounted: BTreeMap<String, u64>,
    /// Frames that belong to no flow, by reason.
    pub ignored: BTreeMap<String, u64>,
    /// Frames the NIC had no room for (`missed`), the program never saw (`unseen`), that found no room in the flow table
    /// (`no_entry`), or whose flow was forgotten before it was read (`unread`).
    pub lost: BTreeMap<String, u64>,
    /// Frames that are counted but not read yet; 0 when it was quiet for some seconds.
    pub pending: i64,
    /// The part that was seen in the last minutes, 0 to 1: of the frames or of the records of new flows, whichever is less.
    pub coverage: f64,
    /// The same in bytes, as the program counts them.
    pub bytes: LedgerBytes,
}

impl Ledger {
    /// All kinds with all their reasons.
    pub fn parts() -> impl Iterator<Item = (&'static str, &'static str)> {
        let ignored = Reason::ALL.into_iter().filter(|reason| reason.is_without_flow()).map(Reason::name);
        let accounted = ACCOUNTED.map(|reason| ("accounted", reason));
        let lost = LOST.map(|reason| ("lost", reason));
        accounted.into_iter().chain(ignored.map(|reason| ("ignored", reason))).chain(lost)
    }

    /// Frames accounted for, ignored and lost.
    pub fn sums(&self) -> [u64; 3] {
        [&self.accounted, &self.ignored, &self.lost].map(|parts| parts.values().sum())
    }
}

/// Reasons of frames accounted for.
const ACCOUNTED: [&str; 2] = ["flows", "refused"];
/// Reasons of frames lost.
const LOST: [&str; 4] = ["missed", "unseen", "no_entry", "unread"];

/// Bytes of whole frames, without preamble and checksum: `seen` is the sum of the others once all was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LedgerBytes {
    /// Of all frames the program saw.
    pub seen: u64,
    /// Of those read in flows.
    pub flows: u64,
    /// Of those that belong to no flow.
    pub ignored: u64,
    /// Of those that were judged, but are in no flow.
    pub unentered: u64,
    /// Of those whose flow was forgotten before it was read.
    pub unread: u64,
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

/// Too little is seen for silence to mean anything.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlindInfo {
    /// Since when.
    pub since: Stamp,
    /// Why.
    pub reasons: Vec<String>,
    /// Frames lost since.
    pub frames_lost: u64,
    /// Records of new flows lost since.
    pub records_lost: u64,
}

/// A bridge port.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
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
    /// Frames dropped by a rule or a budget since the program was loaded.
    pub drops: u64,
    /// Their bytes.
    #[serde(default)]
    pub drop_bytes: u64,
    /// Frames that would have been dropped: observe mode.
    #[serde(default)]
    pub would_drops: u64,
    /// What became of all that reached it.
    #[serde(default)]
    pub ledger: Ledger,
}

/// Whether every verdict is taken to "pass", whatever the rules say.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BypassInfo {
    /// It is.
    pub on: bool,
    /// When it was switched last; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Stamp>,
    /// The account that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Bypass {
    /// In the words of the protocol.
    pub fn info(self) -> BypassInfo {
        let changed = self.since_ns != 0;
        BypassInfo {
            on: self.on,
            since: changed.then(|| WallClock::live().stamp(Time(self.since_ns))),
            by: changed.then(|| user_name(self.by)),
        }
    }
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
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LiveStatus {
    /// The bridge.
    pub bridge: String,
    /// `observe` or `enforce`.
    pub mode: String,
    /// Whether every verdict is taken to "pass".
    #[serde(default)]
    pub bypass: BypassInfo,
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
    /// Events lost because nobody took them from standard output, the oldest first.
    #[serde(default)]
    pub events_lost: u64,
    /// Gaps in the record, for the disk was too slow or too full.
    #[serde(default)]
    pub record_cut_short: u64,
    /// Events that the journal had no room for.
    #[serde(default)]
    pub journal_lost: u64,
    /// Writes of the journal that failed; what they were for is tried again.
    #[serde(default)]
    pub journal_errors: u64,
    /// Events that the file of `[eve]` did not take, the oldest first.
    #[serde(default)]
    pub eve_lost: u64,
    /// Where the maps are pinned.
    pub pins: String,
    /// Whether too little is seen; none: enough.
    #[serde(default)]
    pub blind: Option<BlindInfo>,
    /// What the rules of each entry of the block list did, by its number (as a text, as JSON has it).
    #[serde(default)]
    pub rules: BTreeMap<String, Hits>,
    /// Frames that passed although a rule forbids it.
    #[serde(default)]
    pub leaks: u64,
    /// Detectors that are switched off, and the segments they are off in; `everywhere` for all.
    #[serde(default)]
    pub detectors_off: BTreeMap<String, Vec<String>>,
}

/// How everything does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// When this was so.
    pub time: Stamp,
    /// The daemon around the engine.
    #[serde(flatten)]
    pub live: LiveStatus,
    /// Counters of the engine by name.
    pub stats: BTreeMap<String, u64>,
    /// Entries of the block list that hold, by level.
    #[serde(default)]
    pub restricted: BTreeMap<String, u64>,
    /// How often first contacts succeed, of each class of which a device made enough.
    #[serde(default)]
    pub success: Vec<SuccessInfo>,
}

/// How often first contacts inside succeed in a class.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SuccessInfo {
    /// The class; none: the devices of no class.
    pub class: Option<String>,
    /// Half of its devices do so well at least, thousandths; none if too few made enough contacts.
    pub permille: Option<u16>,
    /// Its devices that made enough contacts.
    pub devices: u64,
}

/// A device, as it is named.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceName {
    /// Its number, which it keeps; several addresses that are one device have the same.
    #[serde(default)]
    pub id: u64,
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
    /// Its class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// The kind a device is taken for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KindInfo {
    /// Its name.
    pub name: String,
    /// How sure that is, 0 to 1.
    pub confidence: Value,
    /// Why, the weightiest first.
    pub reasons: Vec<String>,
}

impl KindInfo {
    /// As a label says; the confidence to a hundredth, which is more than it is good for.
    pub fn of(label: &Label) -> Self {
        let confidence = (label.confidence * 100.0).round() / 100.0;
        Self {
            name: label.kind.name().to_owned(),
            confidence: confidence.into(),
            reasons: label.reasons.clone(),
        }
    }
}

/// A switch, by its own word.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SwitchInfo {
    /// Its name.
    pub name: Option<String>,
    /// The port of it that leads to the bridge.
    pub port: Option<String>,
    /// What it is.
    pub platform: Option<String>,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// How it is named.
    #[serde(flatten)]
    pub device: DeviceName,
    /// Addresses beyond those listed.
    pub more_ips: u64,
    /// What people say of it.
    #[serde(flatten)]
    pub card: CardInfo,
    /// First seen; none if it never was.
    pub first_seen: Option<Stamp>,
    /// Last seen; none if it was not since it was entered.
    pub last_seen: Option<Stamp>,
    /// The bridge port it was last seen on, if that is still there.
    pub port: Option<String>,
    /// VLAN it was last seen on, 0 if untagged.
    pub vlan: u16,
    /// The segment it lives in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// The switch by which it is reached, if that was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<SwitchInfo>,
    /// What kind of device it is taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<KindInfo>,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Other devices that are perhaps the same one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub perhaps_same: Vec<PerhapsInfo>,
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
    /// What it is evidence of.
    #[serde(default)]
    pub family: String,
    /// How much it says, nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Value>,
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

/// A model of what is usual.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The class of devices.
    pub class: String,
    /// What its rows are about: a conversation (`flow`), or a minute of a device (`window`).
    pub subject: String,
    /// The beginning of its hash.
    pub hash: String,
    /// The name of its file.
    pub file: String,
    /// When it was made.
    pub made: Stamp,
    /// Rows it was made from.
    pub rows: u64,
    /// Rows of these that were left out as odd.
    pub rows_left_out: u64,
    /// Devices they came from.
    pub devices: u32,
    /// Devices of these that were set aside as odd.
    pub devices_left_out: u32,
    /// `promised`, or `guessed`: then it only learns, and never alerts.
    pub threshold: String,
    /// The score over a device's own level from which on it alerts.
    pub limit: f64,
    /// False alarms for each row that were accepted; none if it is guessed.
    pub rate: Option<f64>,
    /// Whether it is the one that is asked.
    pub in_force: bool,
    /// Whether new ones are compared with it, to find devices that change bit by bit.
    pub golden: bool,
}

/// What a model is chosen for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPromote {
    /// Its hash, or the beginning of it.
    pub hash: String,
    /// New ones are compared with it from now on; else it is put in force.
    #[serde(default)]
    pub golden: bool,
}

/// What was learned.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModelList {
    /// The models, the newest first.
    pub models: Vec<ModelInfo>,
    /// Rows of all devices there are to learn from, by subject.
    pub rows: BTreeMap<String, u64>,
    /// The same of each class that is learned from.
    #[serde(default)]
    pub classes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Rows a training needs.
    pub rows_needed: u64,
    /// The subject of the model that is being trained.
    pub training: Option<String>,
    /// The class of that.
    #[serde(default)]
    pub training_class: Option<String>,
}

/// What comes of an order to train.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrainInfo {
    /// The class of devices.
    pub class: String,
    /// What the model is about.
    pub subject: String,
    /// Rows there are to learn from.
    pub rows: u64,
    /// Whether it will be trained.
    pub will_train: bool,
    /// What will happen, in words that go on after "the model".
    pub what: String,
}

/// A score of a device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScoreInfo {
    /// When.
    pub time: Stamp,
    /// What was scored.
    pub subject: String,
    /// The class of devices the model is of.
    pub class: String,
    /// The score: the logarithm of its mean error.
    pub score: f64,
    /// The score over the device's own level.
    pub over_own_level: f64,
    /// The part of what was learned from that scores no more, 0 to 1.
    pub rank: f64,
    /// The limit for the score over its own level.
    pub limit: Option<f64>,
    /// It is over the limit.
    pub over_limit: bool,
}

/// The last scores of a device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Scores {
    /// The device.
    pub device: DeviceName,
    /// Its scores, the newest first.
    pub scores: Vec<ScoreInfo>,
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
