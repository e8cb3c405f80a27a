//! Restrictions that wait for a person, where that is configured: asked, approved or denied, or settled when nobody said
//! anything in time. At most [`MAX_WAITING`] wait; what comes after is told only. They are of this run: the end of it is
//! their end, which is told.

use std::collections::BTreeMap;

use crate::detect::Finding;
use crate::event::{Action, Approval, ApprovalStep, Change, Event, Timed};
use crate::policy::class::class_of;
use crate::policy::ruling::{Cause, Ruling};
use crate::policy::{BlockId, Level};
use crate::settings::{Mode, Otherwise};
use crate::time::Time;

use super::command::{CommandError, Reply};
use super::{Engine, Output};

/// Most restrictions that wait.
pub const MAX_WAITING: usize = 256;

/// A restriction that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    finding: Finding,
    /// What was asked for.
    pub level: Level,
    /// Until when somebody may say.
    pub until: Time,
    /// What holds the device meanwhile, if anything.
    meanwhile: Option<BlockId>,
}

/// Those that wait, by incident.
pub(super) type Waitings = BTreeMap<u64, Waiting>;

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
        let waiting = Waiting { finding: finding.clone(), level, until, meanwhile };
        self.tell_approval(incident, &waiting, (ApprovalStep::Asked, None), now, out);
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
        self.tell_approval(incident, &waiting, (ApprovalStep::Approved, Some(by)), now, out);
        if let Some(incident) = self.incidents.get_mut(incident) {
            incident.approved_by = Some(by.to_owned());
        }
        self.settle_waiting(incident, &waiting, action.clone(), now, out);
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
        self.tell_approval(incident, &waiting, (ApprovalStep::Denied, Some(by)), now, out);
        if let Some(id) = waiting.meanwhile {
            self.take_out(id, Change::Released, now, out);
        }
        self.refuse_for_good(incident, waiting.level, Action::Denied);
        Ok(Reply::Denied { incident, level: waiting.level })
    }

    /// Settles what waited too long.
    pub(super) fn settle_lapsed(&mut self, now: Time, out: &mut Output) {
        let lapsed = self.waiting.iter().filter(|(_, waiting)| waiting.until <= now);
        for incident in lapsed.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(waiting) = self.waiting.remove(&incident) else { continue };
            match self.settings.approve.otherwise {
                Otherwise::Act => {
                    self.tell_approval(incident, &waiting, (ApprovalStep::LapsedActs, None), now, out);
                    let action = self.consider(&waiting.finding, waiting.level, now);
                    self.settle_waiting(incident, &waiting, action, now, out);
                }
                Otherwise::Alert => {
                    self.tell_approval(incident, &waiting, (ApprovalStep::Lapsed, None), now, out);
                    self.refuse_for_good(incident, waiting.level, Action::NotApproved);
                }
            }
        }
    }

    /// Tells that what waits is forgotten: the run ends.
    pub(super) fn lose_waiting(&mut self, now: Time, out: &mut Output) {
        for (incident, waiting) in std::mem::take(&mut self.waiting) {
            self.tell_approval(incident, &waiting, (ApprovalStep::Lost, None), now, out);
        }
    }

    fn settle_waiting(&mut self, id: u64, waiting: &Waiting, action: Action, now: Time, out: &mut Output) {
        let level = action.level().filter(|_| action.acts());
        if let Some(incident) = self.incidents.get_mut(id) {
            incident.action = action;
        }
        if let (Some(level), Some(device)) = (level, self.describe(waiting.finding.device)) {
            self.restrict(&waiting.finding, id, device, level, now, out);
        }
    }

    fn refuse_for_good(&mut self, incident: u64, level: Level, action: Action) {
        if let Some(incident) = self.incidents.get_mut(incident) {
            incident.denied = Some(level);
            incident.action = action;
        }
    }

    fn tell_approval(
        &self,
        incident: u64,
        waiting: &Waiting,
        (step, by): (ApprovalStep, Option<&str>),
        now: Time,
        out: &mut Output,
    ) {
        let approval = Approval {
            incident,
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
