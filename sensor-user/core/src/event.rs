//! What comes out for people and machines to read: typed events, one for each thing that happened.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::Serialize;

use crate::addr::Mac;
use crate::coverage::{BlindCause, Sighted};
use crate::evidence::{Family, Sum};
use crate::identify::Label;
use crate::identify::group::WhyTwo;
use crate::inventory::cards::{Card, DeviceId};
use crate::observation::{self, DropSeen, EndReason, FlowId};
use crate::policy::review::Review;
use crate::policy::ruling::Ruling;
use crate::policy::window::Window;
use crate::policy::{BlockId, Direction, Level, Name, Target, Why};
use crate::time::Time;
use crate::tunnel::Inner;

/// A device as it is named in events.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeviceRef {
    /// Its number.
    pub id: DeviceId,
    /// Its MAC address; that of its router if it lives behind one.
    pub mac: Mac,
    /// Its IP addresses, lowest first.
    pub ips: Vec<IpAddr>,
    /// Maker by the OUI registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maker: Option<String>,
    /// The name the configuration gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The class the configuration puts it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Name>,
}

/// A number or list that explains a finding.
#[derive(Clone, PartialEq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
#[serde(untagged)]
pub enum Value {
    /// A count.
    Count(u64),
    /// A measure.
    Number(f64),
    /// Words.
    Text(String),
    /// A list, shortened to what a person reads.
    List(Vec<String>),
}

/// The numbers of a finding by name, in the order a person reads them.
pub type Evidence = Vec<(&'static str, Value)>;

/// What was done about a device, or why nothing was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Below the level that restricts.
    None,
    /// Throttled.
    Throttled,
    /// Pinned to what it did before.
    Pinned,
    /// Isolated.
    Isolated,
    /// Observe mode: it would have been throttled.
    WouldThrottle,
    /// Observe mode: it would have been pinned.
    WouldPin,
    /// Observe mode: it would have been isolated.
    WouldIsolate,
    /// Graded decisions are off: by the sum of its evidence it would be throttled.
    UngradedThrottle,
    /// The same: pinned.
    UngradedPin,
    /// The same: isolated.
    UngradedIsolate,
    /// It earned a restriction, and what lowers it leaves nothing of it: see the alert's ruling.
    Lowered,
    /// A person must approve it first.
    Waits,
    /// A person denied it.
    Denied,
    /// Nobody approved it in time.
    NotApproved,
    /// It is isolated already, or as restricted as it is to be.
    AlreadyIsolated,
    /// It is a gateway: its MAC carries many.
    Gateway,
    /// It is on the protected list.
    Protected,
    /// Too many automatic restrictions in the last minutes, and it is not of the infection tree of one of those; a person must
    /// decide.
    BudgetSpent,
    /// None of its addresses is its own alone, so that a rule would hit others.
    NoOwnAddress,
}

impl Action {
    /// A restriction by this level, carried out or only counted.
    pub(crate) fn of(level: Level, enforced: bool) -> Self {
        match (level, enforced) {
            (Level::Throttle, true) => Self::Throttled,
            (Level::Throttle, false) => Self::WouldThrottle,
            (Level::Pin, true) => Self::Pinned,
            (Level::Pin, false) => Self::WouldPin,
            (_, true) => Self::Isolated,
            (_, false) => Self::WouldIsolate,
        }
    }

    /// What the sum of the evidence would do, were it to act.
    pub(crate) fn ungraded(level: Level) -> Self {
        match level {
            Level::Throttle => Self::UngradedThrottle,
            Level::Pin => Self::UngradedPin,
            _ => Self::UngradedIsolate,
        }
    }

    /// Whether it is what the sum of the evidence would do, were it to act.
    pub(crate) fn is_ungraded(&self) -> bool {
        matches!(self, Self::UngradedThrottle | Self::UngradedPin | Self::UngradedIsolate)
    }

    /// Whether it came about by what was earned and allowed, as against by how things were already.
    pub fn is_ruled(&self) -> bool {
        !matches!(self, Self::None | Self::AlreadyIsolated)
    }

    /// Whether the device is restricted by it, or in observe mode would be: there is an entry for it.
    pub(crate) fn acts(&self) -> bool {
        self.level().is_some() && !self.is_ungraded()
    }

    /// The level the device is put under, or would be.
    pub(crate) fn level(&self) -> Option<Level> {
        match self {
            Self::Throttled | Self::WouldThrottle | Self::UngradedThrottle => Some(Level::Throttle),
            Self::Pinned | Self::WouldPin | Self::UngradedPin => Some(Level::Pin),
            Self::Isolated | Self::WouldIsolate | Self::UngradedIsolate => Some(Level::Isolate),
            _ => None,
        }
    }
}

/// A detector called a device.
#[derive(Clone, PartialEq, Debug)]
pub struct Alert {
    /// Number of the incident it belongs to.
    pub incident: u64,
    /// The detector's name.
    pub detector: &'static str,
    /// What it saw, in a few words.
    pub signature: &'static str,
    /// 1 (high) to 3 (low).
    pub severity: u8,
    /// Who is blamed.
    pub device: DeviceRef,
    /// The flow that tipped the scale.
    pub flow: FlowId,
    /// What it is evidence of.
    pub family: Family,
    /// How much it says, nats.
    pub weight: f64,
    /// The numbers.
    pub evidence: Evidence,
    /// When the first piece of evidence came.
    pub first_evidence: Time,
    /// What there is against the device with it.
    pub sum: Sum,
    /// What that earns, as a whole and without each family.
    pub why: Why,
    /// What was done about it.
    pub action: Action,
    /// Which level it earned, what was allowed and why, what is lost by it; none if it earned nothing.
    pub ruling: Option<Ruling>,
    /// How much was seen of what came lately; none in a replay.
    pub coverage: Option<Sighted>,
}

/// A device was seen for the first time, or an address of it was.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceSeen {
    /// The device.
    pub device: DeviceRef,
    /// Whether it is new, as against an address of a known one.
    pub new: bool,
    /// Index of the bridge port.
    pub port: u8,
    /// VLAN identifier, 0 if untagged.
    pub vlan: u16,
    /// Whether it is taken for a gateway.
    pub gateway: bool,
    /// What kind of device it is taken for.
    pub label: Option<Label>,
    /// Whether it is told because that is another kind than before.
    pub relabelled: bool,
}

/// Counters of one direction of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Half {
    /// Frames.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Frames dropped (or that would have been).
    pub drops: u64,
    /// TCP flags seen.
    pub tcp_flags: u8,
}

/// A conversation ended: both directions, joined.
#[derive(Clone, PartialEq, Debug)]
pub struct FlowEnded {
    /// The direction that began it.
    pub id: FlowId,
    /// MAC address of who began it.
    pub smac: Mac,
    /// MAC address it was sent to.
    pub dmac: Mac,
    /// The packet within, if it is a tunnel: of the first flow that showed one.
    pub inner: Option<Inner>,
    /// From who began it.
    pub to_server: Half,
    /// The answers.
    pub to_client: Half,
    /// First frame.
    pub start: Time,
    /// Last frame.
    pub end: Time,
    /// Why it ended.
    pub reason: EndReason,
    /// What became of its frames: of those dropped, if there are any.
    pub verdict: observation::Verdict,
    /// What was told of it while it went on; none unless it took long.
    pub earlier: Option<Box<Earlier>>,
    /// The devices that began it and that it was sent to, as far as they are known.
    pub devices: [Option<DeviceId>; 2],
}

/// The part of a conversation that was told already, while it went on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Earlier {
    /// Up to when.
    pub until: Time,
    /// From who began it.
    pub to_server: Half,
    /// The answers.
    pub to_client: Half,
}

/// What happened to a block entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Entered.
    Added,
    /// Made to last longer.
    Extended,
    /// Its level or direction is another one.
    Changed,
    /// An address its device took was added.
    Followed,
    /// An address was taken out of it, for another device has it now.
    Narrowed,
    /// Taken out by a person.
    Released,
    /// Its time was up.
    Expired,
}

/// A block entry changed.
#[derive(Clone, PartialEq, Debug)]
pub struct Isolation {
    /// The entry.
    pub id: BlockId,
    /// What happened to it.
    pub change: Change,
    /// The device, if it is about one that is known.
    pub device: Option<DeviceRef>,
    /// What it is about.
    pub targets: Vec<Target>,
    /// How much is restricted.
    pub level: Level,
    /// Which way.
    pub direction: Direction,
    /// Until when; none: until somebody takes it out.
    pub until: Option<Time>,
    /// Observe mode: nothing is dropped, only counted.
    pub would: bool,
    /// Why.
    pub reason: String,
    /// The incident behind it, if it was not entered by hand.
    pub incident: Option<u64>,
    /// The flow that tipped the scale.
    pub flow: Option<FlowId>,
    /// When the first evidence came, of what tipped the scale or of an alert of the same incident before it; none for one
    /// entered by hand.
    pub first_evidence: Option<Time>,
}

/// What became of a restriction that a person must approve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStep {
    /// It waits.
    Asked,
    /// A person approved it.
    Approved,
    /// A person denied it.
    Denied,
    /// Nobody said anything in time: it is not done.
    Lapsed,
    /// Nobody said anything in time: it is done.
    LapsedActs,
    /// Observe mode since then: nothing is done that could be approved.
    Lost,
}

impl ApprovalStep {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Asked, Self::Approved, Self::Denied, Self::Lapsed, Self::LapsedActs, Self::Lost];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Lapsed => "lapsed",
            Self::LapsedActs => "lapsed_acts",
            Self::Lost => "lost",
        }
    }
}

/// A restriction waits for a person, or that is over.
#[derive(Clone, PartialEq, Debug)]
pub struct Approval {
    /// The incident behind it.
    pub incident: u64,
    /// What became of it.
    pub step: ApprovalStep,
    /// The device, if it is still known.
    pub device: Option<DeviceRef>,
    /// The level that was asked for.
    pub level: Level,
    /// Until when somebody may say.
    pub until: Time,
    /// Whether it is done if nobody does.
    pub acts: bool,
    /// The account that said, if one did.
    pub by: Option<String>,
}

/// What a person says an incident was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was right to tell.
    True,
    /// It was nothing.
    False,
    /// It was right to tell, and grave: without that, harm would have come of it, or came.
    Grave,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::True, Self::False, Self::Grave];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Grave => "grave",
        }
    }

    /// Whether it was right to tell.
    pub const fn is_right(self) -> bool {
        !matches!(self, Self::False)
    }
}

/// What a person said of an incident.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Said {
    /// What it was.
    pub verdict: Verdict,
    /// The account that said so.
    pub by: String,
    /// In what words, if any.
    pub comment: String,
}

/// What a person said of detectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// The incident is a true one.
    Right,
    /// The incident is a true one, and grave.
    Grave,
    /// The incident is none.
    False,
    /// The detector was reviewed, and counts again.
    Reviewed,
}

/// A person judged an incident, or ended a review.
#[derive(Clone, PartialEq, Debug)]
pub struct Judgement {
    /// What was said.
    pub judged: Judged,
    /// The incident.
    pub incident: u64,
    /// Its device, if it is still known.
    pub device: Option<DeviceRef>,
    /// The reviews that began, or ended, with it.
    pub reviews: Vec<Review>,
    /// The account that said so.
    pub by: String,
    /// In what words, if any.
    pub comment: String,
}

/// What became of an announced change window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowStep {
    /// A person announced it.
    Announced,
    /// It is open.
    Opened,
    /// Its time is up.
    Ended,
    /// A person ended it, or called it off.
    Removed,
}

/// A change window was announced, opens, or is over.
#[derive(Clone, PartialEq, Debug)]
pub struct WindowChange {
    /// The window.
    pub window: Window,
    /// What became of it.
    pub step: WindowStep,
    /// The account, if a person did it.
    pub by: Option<String>,
}

/// What was done with what is said of a device: by a person, or by the engine itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CardStep {
    /// Something else is said of it.
    Described,
    /// Another address is the same device.
    Merged,
    /// It is a device of its own again, without an address it was one with.
    Split,
    /// It has another number: at the start another device had the same.
    Renumbered,
    /// It is counted as one with others, by evidence alone.
    Grouped,
    /// It no longer is.
    Dissolved,
    /// It is forgotten.
    Forgotten,
}

/// Who is counted as one device by evidence, or no longer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grouping {
    /// The others.
    pub with: Vec<DeviceRef>,
    /// The DHCP client identifier under which all of them ask.
    pub client_id: String,
    /// Why they no longer are; none: they are.
    pub why: Option<WhyTwo>,
}

/// What is said of a device changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardChange {
    /// What was done.
    pub step: CardStep,
    /// The device.
    pub device: DeviceRef,
    /// What is said of it now; what was, if it is forgotten or nothing is said any more.
    pub card: Box<Card>,
    /// The account that said so.
    pub by: String,
    /// With whom it is counted as one, or no longer is.
    pub group: Option<Grouping>,
}

/// The bypass was switched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BypassChange {
    /// Every verdict is "pass" now; or the rules hold again.
    pub on: bool,
    /// The account that did it.
    pub by: String,
}

/// Somebody gave an order: by a command, or in a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ordered {
    /// The account.
    pub by: String,
    /// What for, by the name of the request.
    pub order: String,
    /// With what, as JSON.
    pub with: String,
    /// Why it was refused; none: it was carried out.
    pub refused: Option<String>,
}

/// A frame was dropped, or would have been: one of a sample.
#[derive(Clone, PartialEq, Debug)]
pub struct Dropped {
    /// Which.
    pub seen: DropSeen,
    /// Who sent it, if that is a device that is known.
    pub device: Option<DeviceRef>,
}

/// Too little is seen for silence to mean anything.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Blind {
    /// Since when.
    pub began: Time,
    /// Until when; none: it goes on.
    pub ended: Option<Time>,
    /// Why, in the order in which the causes came.
    pub causes: Vec<BlindCause>,
    /// Frames that came in the moments in which a cause was there.
    pub frames: u64,
    /// Frames of these that were lost.
    pub frames_lost: u64,
    /// Records of new flows that were lost.
    pub records_lost: u64,
    /// For how long nobody read, ns.
    pub stopped_ns: u64,
}

/// Something happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A device or one of its addresses appeared.
    Device(DeviceSeen),
    /// A conversation ended.
    Flow(FlowEnded),
    /// A detector called a device.
    Alert(Alert),
    /// A block entry changed.
    Isolation(Isolation),
    /// A restriction waits for a person, or that is over.
    Approval(Approval),
    /// A person judged.
    Judgement(Judgement),
    /// A change window.
    Window(WindowChange),
    /// What people say of a device.
    Card(CardChange),
    /// The bypass was switched.
    Bypass(BypassChange),
    /// Somebody gave an order.
    Order(Ordered),
    /// A frame was dropped.
    Dropped(Dropped),
    /// Too little is seen, or again enough.
    Blind(Blind),
}

/// An event and its time.
#[derive(Clone, PartialEq, Debug)]
pub struct Timed {
    /// When.
    pub time: Time,
    /// What.
    pub event: Event,
}
