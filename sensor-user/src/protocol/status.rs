//! How the daemon and its ports do, as the control socket tells it.

use std::collections::BTreeMap;

use sensor_core::time::Time;
use sensor_ebpf::counter::Reason;
use serde::{Deserialize, Serialize};

use super::Hits;
use crate::bpf::Bypass;
use crate::clock::{Stamp, WallClock};
use crate::control::user_name;

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
            since: changed.then(|| WallClock::live().stamp(Time::at(self.since_ns))),
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
