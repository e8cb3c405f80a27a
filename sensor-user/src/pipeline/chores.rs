//! What the loop does now and then: sweeps, counters, models, the comparing of rules.
//!
//! All of it is done a part at a time, with a look at the rings between: what comes meanwhile may be the evidence against a
//! scanner.

use std::collections::BTreeMap;

use sensor_core::observation::Observation;
use sensor_core::time::{SECOND, Time};

use super::sweep::Start;
use super::tally::Count;
use super::{Parts, Pipeline};
use crate::clock::{Now, Stamp};
use crate::telemetry::Repair;
use crate::{journal, models};

/// Parts of a sweep that are read in a round of the loop.
const SWEEPS: usize = 4;
/// Counters are read, and the kernel's rules compared with those decided, this often.
const SAMPLE: u64 = SECOND;
/// Comparing rules may take one part in so many of the loop's time: with very many rules it is done less often.
const RECONCILE_SHARE: u64 = 50;
/// The sweep at the end takes no longer, ns.
const FAREWELL: u64 = 2 * SECOND;

impl Pipeline {
    /// Does what is due.
    pub(super) fn chores(&mut self) {
        for _ in 0..SWEEPS {
            let now = Now::read().mono;
            if !self.parts.sweeper.is_due(now) {
                break;
            }
            self.sweep(now);
            self.catch_up();
        }
        let now = Now::read().mono;
        if now >= self.next_sample {
            self.next_sample = now.plus(SAMPLE);
            self.keep_ports();
            self.parts.keeper.retry();
            if let Some(models) = &mut self.parts.models {
                models.step(Now::read(), &mut self.parts.engine, &mut self.out);
            }
            self.note_models();
            self.watch_bypass();
            self.catch_up();
            self.look(Now::read().mono);
            self.catch_up();
            self.sample(Now::read().mono);
            self.catch_up();
        }
        if now >= self.next_reconcile {
            let now = Now::read().mono;
            self.reconcile(true);
            let took = Now::read().mono.since(now);
            self.next_reconcile = now.plus(SAMPLE.max(took.saturating_mul(RECONCILE_SHARE)));
        }
    }

    /// Has the journal know which models decide.
    fn note_models(&mut self) {
        let models = models::all_in_force(&self.parts.engine);
        let new = models.iter().filter(|model| !self.models.contains(model));
        if let Some(journal) = &self.parts.journal {
            new.for_each(|(class, subject, hash)| {
                journal.add(journal::model(Stamp::now(), class, subject, hash));
            });
        }
        self.models = models;
    }

    /// Reads on in the flow tables.
    fn sweep(&mut self, now: Time) {
        let entered = if self.parts.sweeper.is_going() { 0 } else { self.entered() };
        let Parts { sweeper, attachments, engine, counters, enforcer, .. } = &mut self.parts;
        if !sweeper.is_going() {
            sweeper.leaks.begin(now, &enforcer.wanted(), enforcer.is_bypassed());
        }
        let out = &mut self.out;
        let start = || {
            let mut counted = BTreeMap::new();
            for port in attachments.attached() {
                counted.insert(port.index, Count::in_flows(&counters.port(port.index)?));
            }
            Ok(Start { clock: attachments.clock()?, counted, entered })
        };
        let swept = sweeper.step(now, start, |progress| {
            engine.observe(&Observation::Progress(progress), out);
        });
        let kept = match swept {
            Ok(true) => self.accounts.keep(counters, sweeper),
            other => other.map(drop),
        };
        self.check(kept);
        self.carry_out(None);
    }

    /// Reads what came in flows since the last sweep: the next daemon takes it for what this one has told.
    pub(super) fn sweep_once_more(&mut self) {
        let enough = Now::read().mono.plus(FAREWELL);
        let mut sweeps = if self.parts.sweeper.is_going() { 2 } else { 1 };
        while sweeps > 0 && Now::read().mono < enough {
            self.catch_up();
            self.sweep(Now::read().mono);
            self.record();
            sweeps -= u32::from(!self.parts.sweeper.is_going());
        }
    }

    /// Repairs rules that differ from those decided; unless that is no `surprise`, it is told.
    pub(super) fn reconcile(&mut self, surprise: bool) {
        match self.parts.enforcer.reconcile() {
            Ok(count) if count == 0 || !surprise => {}
            Ok(count) => {
                log::warn!("{count} rules in the kernel were not as decided; they were repaired");
                self.parts.metrics.repaired(Repair::Rule, count);
            }
            Err(error) => self.check(Err(error)),
        }
    }
}
