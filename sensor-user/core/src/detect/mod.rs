//! The detectors: each looks at first contacts and their outcome, at flows as they begin and go on, or at conversations
//! that ended, and says what it finds. All are told who was restricted, and who is absolved of what there was.
//!
//! A detector knows neither the others nor what is done about its findings. All of them are listed in [`REGISTRY`], but
//! for [`unusual`], which learns from all devices and must be told of which it may.

mod beacon;
mod brute;
mod chain;
mod clients;
mod exfil;
mod exposed;
mod fanout;
mod flood;
mod identity;
mod lateral;
mod novelty;
mod others;
mod policy;
mod portscan;
mod rewrite;
mod scan;
mod spoof;
mod spread;
mod swarm;
pub mod unusual;

pub(crate) use scan::tests_first_contact;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::contact::{Contact, Outcome};
use crate::event::{Evidence, FlowEnded, Half, Value};
use crate::evidence::Family;
use crate::flow::Role;
use crate::inventory::DeviceKey;
use crate::observation::{FlowId, FlowProgress, FlowSeen};
use crate::settings::Settings;
use crate::state::{Named, State, declaration_as, definitions_as, evidence, word};
use crate::time::Time;

/// Services one administers by: SSH, Telnet, RPC, file sharing, remote desktop, VNC, WinRM.
const ADMINISTRATION: [u16; 9] = [22, 23, 135, 139, 445, 3389, 5900, 5985, 5986];
/// Most examples listed in a finding.
const EXAMPLES: usize = 8;

/// What a detector found.
#[derive(Clone, PartialEq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Finding {
    /// The detector's name.
    #[borsh(
        deserialize_with = "word",
        schema(with_funcs(
            declaration = "declaration_as::<String>",
            definitions = "definitions_as::<String>"
        ))
    )]
    pub detector: &'static str,
    /// What it saw, in a few words.
    #[borsh(
        deserialize_with = "word",
        schema(with_funcs(
            declaration = "declaration_as::<String>",
            definitions = "definitions_as::<String>"
        ))
    )]
    pub signature: &'static str,
    /// 1 (high) to 3 (low).
    pub severity: u8,
    /// What it is evidence of.
    pub family: Family,
    /// How much it says, nats (see [`crate::evidence`]).
    pub weight: f64,
    /// Who is blamed.
    pub device: DeviceKey,
    /// The flow that tipped the scale.
    pub flow: FlowId,
    /// The numbers.
    #[borsh(
        deserialize_with = "evidence",
        schema(with_funcs(
            declaration = "declaration_as::<Named>",
            definitions = "definitions_as::<Named>"
        ))
    )]
    pub evidence: Evidence,
    /// When the first piece of evidence came.
    pub first_evidence: Time,
}

/// What is usual for a device, as one detector learned it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usual {
    /// Distinct destinations in the window now.
    pub now: u32,
    /// The usual, if learned.
    pub usual: Option<u32>,
}

/// A flow that was not dropped began: one direction of a conversation, or an ARP speaker under another MAC address.
#[derive(Clone, Copy, Debug)]
pub struct Began<'a> {
    /// The flow.
    pub seen: &'a FlowSeen,
    /// Who sent it.
    pub device: DeviceKey,
    /// What it means to its conversation.
    pub role: Role,
    /// The sender's MAC address carries many.
    pub gateway: bool,
    /// The destination lies in an internal network.
    pub internal: bool,
    /// See [`Contact::clean_since`].
    pub clean_since: Time,
}

/// One direction of a conversation went on.
#[derive(Clone, Copy, Debug)]
pub struct Went<'a> {
    /// What the data path told of it.
    pub progress: &'a FlowProgress,
    /// What came since it was last told.
    pub more: Half,
    /// Both sides spoke.
    pub answered: bool,
    /// The direction that began the conversation.
    pub id: FlowId,
    /// Who began it.
    pub device: DeviceKey,
    /// The destination of who began it lies in an internal network.
    pub internal: bool,
    /// See [`Contact::clean_since`].
    pub clean_since: Time,
}

impl Went<'_> {
    /// Whether this is the direction of who began the conversation.
    pub fn is_forward(&self) -> bool {
        self.progress.id.src == self.id.src
    }
}

/// A conversation ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Both its directions.
    pub flow: &'a FlowEnded,
    /// Who began it.
    pub device: DeviceKey,
    /// Its destination lies in an internal network.
    pub internal: bool,
    /// See [`Contact::clean_since`].
    pub clean_since: Time,
}

/// Destinations that are new to a device, by a count that goes on while flows are not told of.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    /// Who asked for them.
    pub device: DeviceKey,
    /// From where; its destination is nobody in particular.
    pub flow: FlowId,
    /// How many.
    pub count: u32,
    /// Since when.
    pub since: Time,
}

/// A detector. What it holds against a device from before [`Contact::clean_since`] counts as forgotten.
pub trait Detector: State + Send {
    /// A device makes a contact.
    fn contact(&mut self, _contact: &Contact, _found: &mut Vec<Finding>) {}

    /// A first contact has an outcome at `now`.
    fn outcome(&mut self, _contact: &Contact, _outcome: Outcome, _now: Time, _found: &mut Vec<Finding>) {}

    /// A flow began.
    fn began(&mut self, _began: &Began<'_>, _found: &mut Vec<Finding>) {}

    /// A conversation went on.
    fn went(&mut self, _went: &Went<'_>, _found: &mut Vec<Finding>) {}

    /// A conversation ended; this is told at `now`, seconds after its last frame.
    fn ended(&mut self, _ended: &Ended<'_>, _now: Time, _found: &mut Vec<Finding>) {}

    /// Flows were lost, and meanwhile a device asked for new destinations.
    fn reached(&mut self, _reached: &Reached, _now: Time, _found: &mut Vec<Finding>) {}

    /// A device was put under a pin or more by itself, by this finding last, or would be in observe mode.
    fn restricted(&mut self, _finding: &Finding, _now: Time, _found: &mut Vec<Finding>) {}

    /// What there was against a device is forgotten: what it did before says nothing of others either.
    fn absolved(&mut self, _device: DeviceKey, _now: Time) {}

    /// The machine was off for so long, ns: nothing was learned meanwhile, and its ports may have other numbers now.
    fn rebooted(&mut self, _off_ns: u64) {}

    /// What is usual for a device, for those that learn it.
    fn usual(&self, _device: DeviceKey) -> Option<Usual> {
        None
    }
}

/// Whether a detector's findings only advise: whatever the settings say, they isolate nobody.
pub fn is_advisory(detector: &str) -> bool {
    [unusual::NAME, policy::NAME, identity::NAME].contains(&detector)
}

/// Builds one detector.
type Build = fn(&Settings) -> Box<dyn Detector>;

/// All detectors by name, in the order they are asked.
pub const REGISTRY: [(&str, Build); 16] = [
    ("scan", |settings| Box::new(scan::Scan::new(settings))),
    ("port_scan", |settings| Box::new(portscan::PortScan::new(settings))),
    ("lateral", |settings| Box::new(lateral::Lateral::new(settings))),
    ("chain", |settings| Box::new(chain::Chain::new(settings))),
    ("exposed", |settings| Box::new(exposed::Exposed::new(settings))),
    ("fanout", |settings| Box::new(fanout::Fanout::new(settings))),
    ("novelty", |settings| Box::new(novelty::Novelty::new(settings))),
    ("swarm", |settings| Box::new(swarm::Swarm::new(settings))),
    ("spoof", |settings| Box::new(spoof::Spoof::new(settings))),
    ("brute", |settings| Box::new(brute::Brute::new(settings))),
    ("beacon", |settings| Box::new(beacon::Beacon::new(settings))),
    ("exfil", |settings| Box::new(exfil::Exfil::new(settings))),
    ("rewrite", |settings| Box::new(rewrite::Rewrite::new(settings))),
    ("flood", |settings| Box::new(flood::Flood::new(settings))),
    (policy::NAME, |settings| Box::new(policy::Policy::new(settings))),
    (identity::NAME, |settings| Box::new(identity::Identity::new(settings))),
];

/// The names of all detectors, those of [`REGISTRY`] first.
pub fn names() -> impl Iterator<Item = &'static str> {
    REGISTRY.iter().map(|(name, _)| *name).chain([unusual::NAME])
}

/// A list for evidence.
fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> Value {
    Value::List(items.into_iter().map(|item| item.to_string()).collect())
}

/// Seconds for evidence, to the millisecond.
fn seconds(ns: u64) -> Value {
    Value::Number((ns / crate::time::MILLISECOND) as f64 / 1e3)
}
