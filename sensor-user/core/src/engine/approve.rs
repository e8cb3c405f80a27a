//! Restrictions that wait for a person, where that is configured: asked, approved or denied, or settled when nobody said
//! anything in time. At most [`MAX_WAITING`] wait; what comes after is told only. They wait over a restart, and what was
//! refused stays refused.

use std::collections::BTreeMap;

use crate::detect::Finding;
use crate::event::{Action, Approval, ApprovalStep, Change, Event, Timed};
use crate::incident::QUIET;
use crate::policy::class::class_of;
use crate::policy::memory::{Asked, Refused};
use crate::policy::ruling::{Cause, Ruling};
use crate::policy::{BlockId, Level, Memory, MemoryKey, Origin, Save};
use crate::settings::{Mode, Otherwise};
use crate::time::Time;

use super::command::{CommandError, Reply};
use super::{Engine, Output};

/// Most restrictions that wait.
pub const MAX_WAITING: usize = 256;

/// Those that wait, by incident.
pub(super) type Waitings = BTreeMap<u64, Asked>;

impl Engine {
    /// Whether a restriction that was decided must wait for a person: then the action is that it does.
    pub(super) fn ask(
        &self,
        incident: u64,
        finding: &Finding,
        (action, ruling): (Action, &mut Ruling),
    ) -> Action {
        let Some(level) = action.level().filter(|level| self.asks(finding, *level)) else { return action };
        if self.incidents.get(incident).is_some_and(|incident| incident.denied >= Some(level)) {
            return Action::Denied;
        }
        if !self.waiting.contains_key(&incident) && self.waiting.len() >= MAX_WAITING {
            ruling.lower(None, Cause::Waiting);
            return Action::Lowered;
        }
        Action::Waits
    }

    /// Whether a level is one that a person must approve for this device. In observe mode nothing is done that could be.
    fn asks(&self, finding: &Finding, level: Level) -> bool {
        let device = self.inventory.get(finding.device);
        let class = device.and_then(|device| class_of(device, &self.settings));
        let from = class.map_or(self.settings.approve.from, |(_, class)| class.approve.from(&self.settings));
        self.settings.mode == Mode::Enforce && from.is_some_and(|from| level >= from)
    }

    /// Whether a person was not asked for this level yet.
    pub(super) fn is_unasked(&self, incident: u64, action: &Action, level: Option<Level>) -> bool {
        *action == Action::Waits && self.waiting.get(&incident).map(|waiting| waiting.level) < level
    }

    /// Asks a person, and does what is to be done meanwhile. Who is asked for more has no more time for it.
    pub(super) fn wait(
        &mut self,
        incident: u64,
        finding: &Finding,
        level: Level,
        now: Time,
        out: &mut Output,
    ) {
        let Some(known) = self.inventory.get(finding.device).map(|device| self.inventory.known(device))
        else {
            return;
        };
        let approve = self.settings.approve;
        let old = self.waiting.get(&incident).cloned();
        let until = old.as_ref().map_or(now.plus(approve.within_ns), |old| old.until);
        let mut meanwhile = old.and_then(|old| old.meanwhile);
        let mild = approve.meanwhile.filter(|mild| *mild < level);
        if let (Some(mild), Some(device)) = (mild, self.describe(finding.device))
            && self.consider(finding, mild, now).acts()
        {
            let before: Vec<BlockId> = self.blocks.iter().map(|block| block.id).collect();
            self.restrict(finding, incident, device, mild, now, out);
            let new = self.blocks.iter().map(|block| block.id).find(|id| !before.contains(id));
            meanwhile = meanwhile.or(new);
        }
        let finding = finding.clone();
        let waiting = Asked { incident, finding, known, level, until, meanwhile, refused: None };
        self.tell_approval(&waiting, (ApprovalStep::Asked, None), now, out);
        out.saves.push(Save::Keep(Memory::Asked(Box::new(waiting.clone()))));
        self.waiting.insert(incident, waiting);
    }

    /// A person approves what waits.
    pub(super) fn approve(
        &mut self,
        incident: u64,
        by: &str,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let waiting = self.waiting.remove(&incident).ok_or(CommandError::NotWaiting(incident))?;
        let action = self.may(&waiting.finding, waiting.level);
        self.tell_approval(&waiting, (ApprovalStep::Approved, Some(by)), now, out);
        if let Some(incident) = self.incidents.get_mut(incident) {
            incident.approved_by = Some(by.to_owned());
        }
        self.settle_waiting(&waiting, action.clone(), now, out);
        Ok(Reply::Approved { incident, level: waiting.level, action })
    }

    /// A person denies what waits: what holds the device meanwhile is taken back, and for this incident no such level is
    /// asked for again.
    pub(super) fn deny(
        &mut self,
        incident: u64,
        by: &str,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let waiting = self.waiting.remove(&incident).ok_or(CommandError::NotWaiting(incident))?;
        self.tell_approval(&waiting, (ApprovalStep::Denied, Some(by)), now, out);
        // The number may be another entry's by now, if that ended and the daemon was started anew.
        let own = |id: &BlockId| {
            self.blocks.get(*id).is_some_and(|block| block.origin == Origin::Incident(incident))
        };
        if let Some(id) = waiting.meanwhile.filter(own) {
            self.take_out(id, Change::Released, now, out);
            self.detectors.absolve(waiting.finding.device, now);
            out.saves.extend(self.repeats.absolve(waiting.finding.device));
        }
        let level = waiting.level;
        self.refuse_for_good(waiting, Refused::Denied, now, out);
        Ok(Reply::Denied { incident, level })
    }

    /// Settles what waited too long. What was decided since it was asked for counts: it goes no further than is allowed now.
    pub(super) fn settle_lapsed(&mut self, now: Time, out: &mut Output) {
        let lapsed = self.waiting.iter().filter(|(_, waiting)| waiting.until <= now);
        for incident in lapsed.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(waiting) = self.waiting.remove(&incident) else { continue };
            let allowed = self.rule(&waiting.finding, waiting.level, now).allowed();
            let acts = allowed.filter(|_| self.settings.approve.otherwise == Otherwise::Act);
            let Some(level) = acts else {
                self.lapse(waiting, now, out);
                continue;
            };
            self.tell_approval(&waiting, (ApprovalStep::LapsedActs, None), now, out);
            let action = self.consider(&waiting.finding, level, now);
            self.settle_waiting(&waiting, action, now, out);
        }
    }

    /// Nobody said anything in time, and it is not done.
    fn lapse(&mut self, waiting: Asked, now: Time, out: &mut Output) {
        self.tell_approval(&waiting, (ApprovalStep::Lapsed, None), now, out);
        self.refuse_for_good(waiting, Refused::NotApproved, now, out);
    }

    /// Takes up what was asked for in an earlier run, with its incident. What lapsed while no daemon ran is not done, for nobody
    /// could say anything meanwhile; nor is anything in observe mode.
    pub(super) fn recall_asked(&mut self, asked: Asked, now: Time, out: &mut Output) {
        let (id, finding) = (asked.incident, &asked.finding);
        if self.settings.mode == Mode::Observe || (asked.refused.is_some() && asked.until <= now) {
            out.saves.push(Save::Drop(MemoryKey::Asked(id)));
            if asked.refused.is_none() {
                self.tell_approval(&asked, (ApprovalStep::Lost, None), now, out);
            }
            return;
        }
        self.inventory.recall(finding.device, &asked.known, &finding.flow, now, &self.settings);
        let incident = self.incidents.recall(id, finding, now);
        incident.action = asked.refused.map_or(Action::Waits, action);
        incident.denied = asked.refused.map(|_| asked.level);
        if asked.refused.is_some() {
            return;
        }
        if asked.until <= now {
            self.lapse(asked, now, out);
        } else {
            self.waiting.insert(id, asked);
        }
    }

    fn settle_waiting(&mut self, waiting: &Asked, action: Action, now: Time, out: &mut Output) {
        let level = action.level().filter(|_| action.acts());
        if let Some(incident) = self.incidents.get_mut(waiting.incident) {
            incident.action = action;
        }
        if let (Some(level), Some(device)) = (level, self.describe(waiting.finding.device)) {
            self.restrict(&waiting.finding, waiting.incident, device, level, now, out);
            self.conclude(now, out);
        }
        out.saves.push(Save::Drop(MemoryKey::Asked(waiting.incident)));
    }

    /// Not done, and not asked for again while the incident goes on. Over a restart that is remembered as long as an incident
    /// lasts without a finding.
    fn refuse_for_good(&mut self, waiting: Asked, refused: Refused, now: Time, out: &mut Output) {
        if let Some(incident) = self.incidents.get_mut(waiting.incident) {
            incident.denied = Some(waiting.level);
            incident.action = action(refused);
        }
        let asked = Asked { refused: Some(refused), until: now.plus(QUIET), ..waiting };
        out.saves.push(Save::Keep(Memory::Asked(Box::new(asked))));
    }

    fn tell_approval(
        &self,
        waiting: &Asked,
        (step, by): (ApprovalStep, Option<&str>),
        now: Time,
        out: &mut Output,
    ) {
        let approval = Approval {
            incident: waiting.incident,
            step,
            device: self.describe(waiting.finding.device),
            level: waiting.level,
            until: waiting.until,
            acts: self.settings.approve.otherwise == Otherwise::Act,
            by: by.map(str::to_owned),
        };
        out.events.push(Timed { time: now, event: Event::Approval(approval) });
    }
}

/// How a refusal is told of an incident.
fn action(refused: Refused) -> Action {
    match refused {
        Refused::Denied => Action::Denied,
        Refused::NotApproved => Action::NotApproved,
    }
}
