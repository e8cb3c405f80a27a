//! All that the engine has in mind, saved and loaded.

use std::io;

use super::Engine;
use crate::detect::unusual::Unusual;
use crate::detect::{Detector, Finding};
use crate::inventory::DeviceKey;
use crate::state::{State, state};
use crate::time::Time;

state!(Engine {
    inventory, conversations, contacts, services, success, hearing, identities, groups, detectors, incidents, ledger, repeats, blocks,
    following, ports, waiting, reviews, windows, drill, recent, silenced, sighted_since, begun, heard_since, next_second_look,
    next_keep, sight,
} keeps { settings, found, notes, untold, next_told });

/// The detectors.
pub(super) struct Detectors {
    /// In the order of the registry.
    pub registered: Vec<Box<dyn Detector>>,
    /// Away only while it is asked.
    pub unusual: Option<Box<Unusual>>,
}

impl Detectors {
    /// A device was put under a pin or more by this finding.
    pub fn restricted(&mut self, finding: &Finding, now: Time, found: &mut Vec<Finding>) {
        for detector in &mut self.registered {
            detector.restricted(finding, now, found);
        }
    }

    /// What there was against a device is forgotten.
    pub fn absolve(&mut self, device: DeviceKey, now: Time) {
        for detector in &mut self.registered {
            detector.absolved(device, now);
        }
    }
}

impl State for Detectors {
    fn save(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.registered.iter().try_for_each(|detector| detector.as_ref().save(out))?;
        self.unusual.iter().try_for_each(|unusual| unusual.as_ref().save(out))
    }

    fn load(&mut self, from: &mut &[u8]) -> io::Result<()> {
        self.registered.iter_mut().try_for_each(|detector| detector.as_mut().load(from))?;
        self.unusual.iter_mut().try_for_each(|unusual| unusual.as_mut().load(from))
    }
}
