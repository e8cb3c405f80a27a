//! From findings to incidents, and from those to what is done about a device, or why nothing is.

use crate::detect::{Finding, is_advisory};
use crate::event::{Action, Alert, Event, Timed};
use crate::inventory::{self, DeviceKey};
use crate::policy::ruling::Ruling;
use crate::policy::{Level, MAX_BLOCKS, Target, Why, decide};
use crate::settings::Mode;
use crate::time::Time;

use super::{Engine, Output};

impl Engine {
    /// Turns findings into incidents, and those into decisions.
    pub(super) fn conclude(&mut self, now: Time, out: &mut Output) {
        // What is done about one device may tell something of another.
        while !self.found.is_empty() {
            for finding in std::mem::take(&mut self.found) {
                self.conclude_one(&finding, now, out);
            }
        }
    }

    /// Turns a finding into an incident, and that into a decision.
    fn conclude_one(&mut self, finding: &Finding, now: Time, out: &mut Output) {
        if self.is_silenced(finding) {
            return;
        }
        let evidence = match self.review_of(finding) {
            Some(_) => self.ledger.sum(finding.device, now),
            None => self.ledger.add(finding, now),
        };
        let (id, news) = self.incidents.add(finding, evidence, now);
        self.reserve_numbers(out);
        let (action, ruling) = self.weigh(id, finding, now, out);
        let allowed = ruling.as_ref().and_then(Ruling::allowed);
        let rose = self.incidents.rises(id, &action) || self.is_unasked(id, &action, allowed);
        if news || rose || action.acts() {
            self.act(id, finding, (action, ruling), now, out);
        }
    }

    /// Looks again at incidents that found the budget spent.
    pub(super) fn look_again(&mut self, now: Time, out: &mut Output) {
        for (id, finding) in self.incidents.unspent(now) {
            let (action, ruling) = self.weigh(id, &finding, now, out);
            if action.acts() || action == Action::Waits {
                self.act(id, &finding, (action, ruling), now, out);
            }
        }
        self.conclude(now, out);
    }

    /// What is to be done about a device by what there is against it with this finding, and how that came about.
    fn weigh(
        &mut self,
        incident: u64,
        finding: &Finding,
        now: Time,
        out: &mut Output,
    ) -> (Action, Option<Ruling>) {
        let graves = self.settings.isolate_severity;
        let decisive = finding.severity <= graves && !is_advisory(finding.detector);
        let sum = self.ledger.sum(finding.device, now);
        let probation = self.probation(finding, now);
        let earned = decide::earned(&sum, decisive).max(probation);
        let Some(earned) = earned.filter(|_| graves > 0) else { return (Action::None, None) };
        let mut ruling = self.rule(finding, earned, now);
        // On the first day all is new to a device, and much of what it looks for may never answer.
        let known = probation.is_some() || self.is_settled(finding.device, now);
        let acts = decisive || (self.settings.decide.graded && known);
        let action = match ruling.allowed() {
            None if acts => Action::Lowered,
            None => Action::None,
            Some(_) => match self.step_down(incident, finding, (&mut ruling, acts), now) {
                action if acts => self.ask(incident, finding, (action, &mut ruling)),
                action if action.acts() => action.level().map_or(Action::None, Action::ungraded),
                _ => Action::None,
            },
        };
        if let (Action::AlreadyIsolated, Some(level)) = (&action, ruling.allowed()) {
            self.renew(finding, level, now, out);
        }
        (action, Some(ruling))
    }

    /// The level that a finding takes a device straight back to, whose time was up only just before.
    pub(super) fn probation(&self, finding: &Finding, now: Time) -> Option<Level> {
        self.repeats.probation(finding.device, finding.family, finding.weight, now)
    }

    /// Tells of a finding and carries out what was decided about it.
    fn act(
        &mut self,
        id: u64,
        finding: &Finding,
        (action, ruling): (Action, Option<Ruling>),
        now: Time,
        out: &mut Output,
    ) {
        let Some(device) = self.describe(finding.device) else { return };
        if action != Action::None {
            self.incidents.set_action(id, action.clone());
        }
        if let Some(ruling) = &ruling {
            self.windows.note(ruling, finding.device);
        }
        let coverage = self.sighted(finding.flow.port);
        if let Some(incident) = self.incidents.get_mut(id) {
            incident.coverage = coverage;
            // What a device that is held already earns says less than why it is held.
            if ruling.is_some() && (action.is_ruled() || incident.ruling.is_none()) {
                incident.ruling.clone_from(&ruling);
            }
        }
        let sum = self.ledger.sum(finding.device, now);
        let findings = self.incidents.get(id).map(|incident| incident.findings.as_slice());
        let findings = findings.unwrap_or_default().iter().map(|(_, finding)| finding);
        let why = Why::of(findings, &sum, &self.settings);
        let level = action.level().filter(|_| action.acts());
        let allowed = ruling.as_ref().and_then(Ruling::allowed);
        let asked = allowed.filter(|_| self.is_unasked(id, &action, allowed));
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
                ruling,
                coverage,
            }),
        });
        if let Some(level) = level {
            self.restrict(finding, id, device, level, now, out);
        } else if let Some(level) = asked {
            self.wait(id, finding, level, now, out);
        }
    }

    /// Whether a device is to be put under a level, and if not, why.
    pub(super) fn consider(&mut self, finding: &Finding, level: Level, now: Time) -> Action {
        match self.may(finding, level) {
            action if !action.acts() => action,
            _ if self.is_spent(finding.device, level, now) => Action::BudgetSpent,
            action => action,
        }
    }

    /// The same, whatever was done about others lately.
    pub(super) fn may(&self, finding: &Finding, level: Level) -> Action {
        let Some(device) = self.inventory.get(finding.device) else { return Action::NoOwnAddress };
        if matches!(finding.device, DeviceKey::Local(_)) && device.gateway {
            return Action::Gateway;
        }
        let others = self.inventory.others(device);
        if inventory::is_protected(device, &self.settings)
            || others.iter().any(|other| self.is_barred(*other))
        {
            return Action::Protected;
        }
        let targets: Vec<Target> = self.inventory.cut(device, finding.flow.src);
        if targets.is_empty() {
            return Action::NoOwnAddress;
        }
        if targets.iter().all(|target| self.is_under(*target, level)) {
            return Action::AlreadyIsolated;
        }
        if self.blocks.len() >= MAX_BLOCKS {
            return Action::BudgetSpent;
        }
        Action::of(level, self.settings.mode == Mode::Enforce)
    }
}
