//! From findings to incidents, and from those to what is done about a device, or why nothing is.

use crate::detect::{Finding, is_advisory};
use crate::event::{Action, Alert, Event, Timed};
use crate::inventory::{self, DeviceKey};
use crate::policy::decide::{self, Course};
use crate::policy::{Level, MAX_BLOCKS, MAX_PIN, MAX_PINNED, Target, Why};
use crate::settings::Mode;
use crate::time::Time;

use super::{Engine, Output};

impl Engine {
    /// Turns findings into incidents, and those into decisions.
    pub(super) fn conclude(&mut self, now: Time, out: &mut Output) {
        for finding in std::mem::take(&mut self.found) {
            if self.is_silenced(&finding) {
                continue;
            }
            let evidence = self.ledger.add(&finding, now);
            let (id, news) = self.incidents.add(&finding, evidence, now);
            let action = self.weigh(&finding, now, out);
            let rose = self.incidents.rises(id, &action);
            if news || rose || action.acts() {
                self.act(id, &finding, action, now, out);
            }
        }
    }

    /// Looks again at incidents that found the budget spent.
    pub(super) fn look_again(&mut self, now: Time, out: &mut Output) {
        for (id, finding) in self.incidents.unspent(now) {
            let action = self.weigh(&finding, now, out);
            if action.acts() {
                self.act(id, &finding, action, now, out);
            }
        }
    }

    /// What is to be done about a device by what there is against it with this finding.
    fn weigh(&mut self, finding: &Finding, now: Time, out: &mut Output) -> Action {
        let graves = self.settings.isolate_severity;
        if graves == 0 {
            return Action::None;
        }
        let sum = self.ledger.sum(finding.device, now);
        let probation = self.probation(finding, now);
        let decisive = finding.severity <= graves && !is_advisory(finding.detector);
        match decide::course(&sum, decisive, probation, &self.settings.decide) {
            Course::Tell => Action::None,
            Course::Act(level) => {
                let action = self.consider(finding, self.affordable(level), now);
                if action == Action::AlreadyIsolated {
                    self.renew(finding, level, now, out);
                }
                action
            }
            Course::Would(level) => match self.consider(finding, level, now) {
                action if action.acts() => Action::ungraded(level),
                _ => Action::None,
            },
        }
    }

    /// The level that a finding takes a device straight back to, whose time was up only just before.
    pub(super) fn probation(&self, finding: &Finding, now: Time) -> Option<Level> {
        self.repeats.probation(finding.device, finding.family, finding.weight, now)
    }

    /// A pin steps down to a throttle if the kernel's table of what pinned devices may do has no room.
    fn affordable(&self, level: Level) -> Level {
        let full = level == Level::Pin && self.blocks.pinned() + MAX_PIN + PIN_SPARE > MAX_PINNED;
        if full { Level::Throttle } else { level }
    }

    /// Tells of a finding and carries out what was decided about it.
    fn act(&mut self, id: u64, finding: &Finding, action: Action, now: Time, out: &mut Output) {
        let Some(device) = self.describe(finding.device) else { return };
        if action != Action::None {
            self.incidents.set_action(id, action.clone());
        }
        let coverage = self.sighted(finding.flow.port);
        self.incidents.set_coverage(id, coverage);
        let sum = self.ledger.sum(finding.device, now);
        let findings = self.incidents.get(id).map(|incident| incident.findings.as_slice());
        let findings = findings.unwrap_or_default().iter().map(|(_, finding)| finding);
        let why = Why::of(findings, &sum, &self.settings);
        let level = action.level().filter(|_| action.acts());
        out.events.push(Timed {
            time: now,
            event: Event::Alert(Alert {
                incident: id,
                detector: finding.detector,
                signature: finding.signature,
                severity: finding.severity,
                device: device.clone(),
                flow: finding.flow,
                family: finding.family,
                weight: finding.weight,
                evidence: finding.evidence.clone(),
                first_evidence: finding.first_evidence,
                sum,
                why,
                action,
                coverage,
            }),
        });
        if let Some(level) = level {
            self.restrict(finding, id, device, level, now, out);
        }
    }

    /// Whether a device is to be put under a level, and if not, why.
    fn consider(&mut self, finding: &Finding, level: Level, now: Time) -> Action {
        let Some(device) = self.inventory.get(finding.device) else { return Action::NoOwnAddress };
        if matches!(finding.device, DeviceKey::Local(_)) && device.gateway {
            return Action::Gateway;
        }
        if inventory::is_protected(device, &self.settings) {
            return Action::Protected;
        }
        let targets: Vec<Target> = self.inventory.cut(device, finding.flow.src);
        if targets.is_empty() {
            return Action::NoOwnAddress;
        }
        if targets.iter().all(|target| self.is_under(*target, level)) {
            return Action::AlreadyIsolated;
        }
        if self.is_spent(finding.device, level, now) || self.blocks.len() >= MAX_BLOCKS {
            return Action::BudgetSpent;
        }
        Action::of(level, self.settings.mode == Mode::Enforce)
    }
}

/// Entries of a pinned device's list besides pairs, at most: what every device needs, and both roles of one pair.
const PIN_SPARE: usize = 8;
