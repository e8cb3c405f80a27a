//! What goes over the control socket: one JSON object a line, a request up, an answer down.
//!
//! Times are dates here, devices and ports have the names people know: an answer says all there is to say, and what
//! `-o json` prints is the answer as it came.

mod block;
mod device;
mod incident;
mod model;
mod notify;
mod status;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use block::{Added, BlockAdd, BlockInfo, BlockSelect, Hits, ImpactInfo};
pub use device::{
    CardInfo, DeviceDistinct, DeviceEdit, DeviceInfo, DeviceMerge, DeviceName, DrillDone, KindInfo, OneInfo,
    PerhapsInfo, Regrouped, SwitchInfo,
};
pub use incident::{
    Approved, FindingInfo, IncidentInfo, IncidentJudge, JudgedInfo, ReviewInfo, VerdictInfo, WaitInfo,
    WindowAdd, WindowInfo, WindowWho,
};
pub use model::{ModelInfo, ModelList, ModelPromote, ScoreInfo, Scores, TrainInfo};
pub use notify::{NotifyChannel, NotifyTested};
pub use status::{
    AttachMode, BlindInfo, BypassInfo, Ledger, LedgerBytes, LiveStatus, PortStatus, Status, SuccessInfo,
    UnfilteredPort,
};

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
