//! All that the engine has in mind, saved and loaded.

use std::io;

use sha2::Sha256;

use super::Engine;
use crate::detect::unusual::Unusual;
use crate::detect::{Detector, Finding, names};
use crate::inventory::DeviceKey;
use crate::state::{Parts, PartsMut, State, load_parts, save_parts};
use crate::time::Time;

/// Lists the parts of the engine, each of which must be named: those saved, and those that come from the settings.
macro_rules! parts {
    ($parts:ident, $parts_mut:ident { $($field:ident),* $(,)? } detectors keeps { $($kept:ident),* }) => {
        fn $parts(&self) -> Parts<'_> {
            let Self { $($field,)* detectors, $($kept: _,)* } = self;
            let mut parts: Parts<'_> = vec![$((stringify!($field), $field)),*];
            parts.extend(detectors.parts());
            parts
        }

        pub(super) fn $parts_mut(&mut self) -> PartsMut<'_> {
            let Self { $($field,)* detectors, $($kept: _,)* } = self;
            let mut parts: PartsMut<'_> = vec![$((stringify!($field), $field)),*];
            parts.extend(detectors.parts_mut());
            parts
        }
    };
}

impl Engine {
    parts!(parts, parts_mut {
        inventory, conversations, contacts, services, success, hearing, identities, groups, incidents, ledger, repeats, blocks,
        following, ports, waiting, reviews, windows, drill, recent, silenced, sighted_since, begun, heard_since,
        next_second_look, next_keep, sight,
    } detectors keeps { settings, found, notes, untold, next_told });
}

impl State for Engine {
    fn save(&self, out: &mut Vec<u8>) -> io::Result<()> {
        save_parts(&self.parts(), out)
    }

    fn load(&mut self, from: &mut &[u8]) -> io::Result<()> {
        load_parts(self.parts_mut(), from)
    }

    fn layout(&self, hash: &mut Sha256) {
        self.parts().iter().for_each(|(_, part)| part.layout(hash));
    }
}

/// The detectors.
pub(super) struct Detectors {
    /// In the order of the registry.
    pub registered: Vec<Box<dyn Detector>>,
    /// Away only while it is asked.
    pub unusual: Option<Box<Unusual>>,
}

impl Detectors {
    fn parts(&self) -> Parts<'_> {
        let registered = self.registered.iter().map(|detector| detector.as_ref() as &dyn State);
        let unusual = self.unusual.iter().map(|unusual| unusual.as_ref() as &dyn State);
        names().zip(registered.chain(unusual)).collect()
    }

    fn parts_mut(&mut self) -> PartsMut<'_> {
        let registered = self.registered.iter_mut().map(|detector| detector.as_mut() as &mut dyn State);
        let unusual = self.unusual.iter_mut().map(|unusual| unusual.as_mut() as &mut dyn State);
        names().zip(registered.chain(unusual)).collect()
    }

    /// A device was put under a pin or more by this finding.
    pub fn restricted(&mut self, finding: &Finding, now: Time, found: &mut Vec<Finding>) {
        for detector in &mut self.registered {
            detector.restricted(finding, now, found);
        }
    }

    /// The machine was off for so long, ns.
    pub fn rebooted(&mut self, off_ns: u64) {
        for detector in &mut self.registered {
            detector.rebooted(off_ns);
        }
    }

    /// What there was against a device is forgotten.
    pub fn absolve(&mut self, device: DeviceKey, now: Time) {
        for detector in &mut self.registered {
            detector.absolved(device, now);
        }
    }
}
