//! Detectors that the operator switched off, everywhere or in some segments: they go on learning, and say nothing.

use std::collections::BTreeMap;

use crate::detect::Finding;
use crate::settings::Off;

use super::Engine;

impl Engine {
    /// The detectors that are switched off, and where.
    pub fn detectors_off(&self) -> &BTreeMap<&'static str, Off> {
        &self.settings.detectors_off
    }

    /// Whether a finding's detector is switched off where its device did what it found. Counts it, if so.
    pub(super) fn is_silenced(&mut self, finding: &Finding) -> bool {
        let off = match self.settings.detectors_off.get(finding.detector) {
            None => false,
            Some(Off::Everywhere) => true,
            Some(Off::In(segments)) => {
                let segment = self.segment_at(finding.flow.port, finding.flow.vlan);
                segment.is_some_and(|segment| segments.contains(&segment))
            }
        };
        self.silenced += u64::from(off);
        off
    }
}
