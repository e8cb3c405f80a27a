//! The detectors: each looks at first contacts and their outcome, and says what it finds.
//!
//! A detector knows neither the others nor what is done about its findings. All of them are listed in [`REGISTRY`].

mod fanout;
mod lateral;
mod portscan;
mod scan;

use crate::contact::{Contact, Outcome};
use crate::event::{Evidence, Value};
use crate::inventory::DeviceKey;
use crate::observation::FlowId;
use crate::settings::Settings;
use crate::time::Time;

/// Most examples listed in a finding.
const EXAMPLES: usize = 8;

/// What a detector found.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// The detector's name.
    pub detector: &'static str,
    /// What it saw, in a few words.
    pub signature: &'static str,
    /// 1 (high) to 3 (low).
    pub severity: u8,
    /// Who is blamed.
    pub device: DeviceKey,
    /// The flow that tipped the scale.
    pub flow: FlowId,
    /// The numbers.
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

/// A detector. What it holds against a device from before [`Contact::clean_since`] counts as forgotten.
pub trait Detector: Send {
    /// A device makes a contact.
    fn contact(&mut self, _contact: &Contact, _found: &mut Vec<Finding>) {}

    /// A first contact has an outcome at `now`.
    fn outcome(&mut self, _contact: &Contact, _outcome: Outcome, _now: Time, _found: &mut Vec<Finding>) {}

    /// What is usual for a device, for those that learn it.
    fn usual(&self, _device: DeviceKey) -> Option<Usual> {
        None
    }
}

/// Builds one detector.
type Build = fn(&Settings) -> Box<dyn Detector>;

/// All detectors, in the order they are asked.
pub const REGISTRY: [Build; 4] = [
    |settings| Box::new(scan::Scan::new(settings)),
    |settings| Box::new(portscan::PortScan::new(settings)),
    |settings| Box::new(lateral::Lateral::new(settings)),
    |settings| Box::new(fanout::Fanout::new(settings)),
];

/// A list for evidence.
fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> Value {
    Value::List(items.into_iter().map(|item| item.to_string()).collect())
}

/// Seconds for evidence, to the millisecond.
fn seconds(ns: u64) -> Value {
    Value::Number((ns / crate::time::MILLISECOND) as f64 / 1e3)
}
