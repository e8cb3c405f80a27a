//! From the level that the evidence earned to the one that is allowed: each step down has its reason, which is told.

use crate::detect::Finding;
use crate::event::Action;
use crate::incident::Looked;
use crate::policy::class::{Class, Criticality, class_of};
use crate::policy::preview::Preview;
use crate::policy::ruling::{Cause, Ruling};
use crate::policy::{Level, MAX_PIN, MAX_PINNED};
use crate::time::{SECOND, Time};

use super::Engine;

/// Entries of a pinned device's list besides pairs, at most: what every device needs, and both roles of one pair.
const PIN_SPARE: usize = 8;
/// What a restriction would cut is looked at again after this time, ns: it takes a walk through all conversations.
const LOOK_AGAIN: u64 = 10 * SECOND;
/// The detector whose test may stand alone against a server, and the chance of a false call it must stand at.
const PROOF: (&str, f64) = ("scan", 1e-6);

impl Engine {
    /// What is allowed of the level that the evidence earned, by what holds for the device.
    pub(super) fn rule(&self, finding: &Finding, earned: Level, now: Time) -> Ruling {
        let mut ruling = Ruling::new(earned);
        ruling.lower(Some(self.settings.decide.highest), Cause::Highest);
        if let Some(review) = self.review_of(finding) {
            ruling.lower(None, Cause::Review { review });
        }
        if let Some(window) = self.window_of(finding, now) {
            ruling.lower(None, Cause::Window { window });
        }
        let device = self.inventory.get(finding.device);
        if let Some((class, rules)) = device.and_then(|device| class_of(device, &self.settings)) {
            ruling.lower(rules.allows(self.is_proven(finding)), Cause::Class { class });
        }
        if let Some(criticality) = device.and_then(|device| device.said.criticality) {
            let highest = Class::of_kind(criticality).allows(self.is_proven(finding));
            ruling.lower(highest, Cause::Criticality { criticality });
        }
        self.lower_further(finding, &mut ruling);
        ruling
    }

    /// Whether a finding is the sequential test's own, at one chance in a million or less.
    fn is_proven(&self, finding: &Finding) -> bool {
        let (detector, alpha) = PROOF;
        finding.detector == detector && finding.severity == 1 && self.settings.scan.isolate_alpha <= alpha
    }

    /// A pin steps down to a throttle if the kernel's table of what pinned devices may do has no room. A throttle slows down
    /// what a life depends on, which a pin does not: where that is what the class is for, it is told only, unless the class
    /// asks for no more than a throttle.
    fn lower_further(&self, finding: &Finding, ruling: &mut Ruling) {
        let full = self.blocks.pinned() + MAX_PIN + PIN_SPARE > MAX_PINNED;
        if full && ruling.allowed() == Some(Level::Pin) {
            ruling.lower(Some(Level::Throttle), Cause::Room);
        }
        let device = self.inventory.get(finding.device);
        let class = device.and_then(|device| class_of(device, &self.settings));
        let spared = class.filter(|(_, class)| {
            class.kind == Criticality::LifeCritical
                && class.highest.is_some_and(|highest| highest > Level::Throttle)
        });
        if ruling.allowed() != Some(Level::Throttle) {
            return;
        }
        if let Some((class, _)) = spared {
            ruling.lower(None, Cause::Class { class });
        }
        let said = device.and_then(|device| device.said.criticality);
        if let Some(criticality) = said.filter(|said| *said == Criticality::LifeCritical) {
            ruling.lower(None, Cause::Criticality { criticality });
        }
    }

    /// What is to be done about a device, with a look at what it cuts: a conversation with a vital peer takes it a level
    /// down, and what is lost by the level that is left is noted. `acts`: it will be carried out, not only told.
    pub(super) fn step_down(
        &mut self,
        incident: u64,
        finding: &Finding,
        (ruling, acts): (&mut Ruling, bool),
        now: Time,
    ) -> Action {
        let Some(from) = ruling.allowed() else { return Action::Lowered };
        let known = self.incidents.get(incident).and_then(|incident| incident.looked.as_ref());
        let known = known.filter(|looked| looked.from == from && now.since(looked.time) < LOOK_AGAIN);
        if let Some(looked) = known.filter(|looked| !acts || !looked.lowered.is_empty()).cloned() {
            ruling.lowered.extend(looked.lowered);
            let Some(level) = ruling.allowed() else { return Action::Lowered };
            let action = self.consider(finding, level, now);
            ruling.impact = looked.impact.filter(|_| action.acts());
            return action;
        }
        let before = ruling.lowered.len();
        let action = loop {
            let Some(level) = ruling.allowed() else { break Action::Lowered };
            let action = self.consider(finding, level, now);
            if !action.acts() {
                break action;
            }
            let preview = self.preview_cut(finding, level, now);
            let Some(milder) = milder(level).filter(|_| !preview.vital.is_empty()) else {
                ruling.impact = Some(preview);
                break action;
            };
            ruling.lower(Some(milder), Cause::Service { peers: preview.vital });
            self.lower_further(finding, ruling);
        };
        let lowered: Vec<_> = ruling.lowered.iter().skip(before).cloned().collect();
        if let Some(incident) = self.incidents.get_mut(incident)
            && (ruling.impact.is_some() || !lowered.is_empty())
        {
            incident.looked = Some(Looked { time: now, from, lowered, impact: ruling.impact.clone() });
        }
        action
    }

    /// What an automatic restriction would cut.
    fn preview_cut(&self, finding: &Finding, level: Level, now: Time) -> Preview {
        let attack = self.attack_since(finding, now);
        let device = self.inventory.get(finding.device);
        let targets = device.map(|device| self.inventory.cut(device, finding.flow.src)).unwrap_or_default();
        let allowed = if level == Level::Pin { self.learn(&targets, attack, now) } else { Vec::new() };
        self.preview(&targets, level, &allowed, attack, now)
    }
}

/// The level below, of those that are put on automatically; none below the last that cuts nothing.
fn milder(level: Level) -> Option<Level> {
    match level {
        Level::Cut | Level::Isolate | Level::Quarantine => Some(Level::Pin),
        Level::Pin => Some(Level::Throttle),
        _ => None,
    }
}
