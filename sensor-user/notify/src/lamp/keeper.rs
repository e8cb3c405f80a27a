//! The thread of a lamp: keeps it lit as what is open wants it, also after a restart, and notices when it is not there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use sensor_core::time::{MINUTE, SECOND, Time};

use super::alarms::Alarms;
use super::{Wanted, looks_so, show};
use crate::error::SendError;
use crate::settings::Lamp;
use crate::state::{Failure, State};
use crate::worker::{Job, Reply};
use crate::{clock, outbox};

/// How often the lamp is thought of.
const STEP: Duration = Duration::from_millis(500);
/// How often it is looked whether it is there.
const LOOK: u64 = MINUTE;
/// After a failure it is tried again after this time, and longer each time...
const FIRST_RETRY: u64 = 2 * SECOND;
/// ...but not after longer than this.
const MAX_RETRY: u64 = MINUTE;
/// So many failures in a row are a failing lamp.
const FAILING: u32 = 3;
/// For how long a try lights it.
const TRY: Duration = Duration::from_secs(3);

/// A lamp.
pub struct LampKeeper {
    name: String,
    lamp: Lamp,
    alarms: Alarms,
    /// Where what is open is kept.
    file: Option<PathBuf>,
    state: Arc<State>,
    /// How it looks, as far as is known.
    shown: Option<Wanted>,
    /// New alarms since it showed last what was wanted.
    untold: u64,
    /// Until when it sounds.
    sounds_until: Time,
    next_look: Time,
    not_before: Time,
    failures: u32,
}

impl LampKeeper {
    /// A lamp that goes on with what was open.
    pub fn new(name: String, lamp: Lamp, file: Option<PathBuf>, state: Arc<State>) -> Self {
        let kept = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let open = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self {
            name,
            lamp,
            alarms: Alarms::load(open),
            file,
            state,
            shown: None,
            untold: 0,
            sounds_until: Time::at(0),
            next_look: Time::at(0),
            not_before: Time::at(0),
            failures: 0,
        }
    }

    /// Works until nobody gives jobs any more. The lamp stays as it is.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(STEP) {
                Ok(job) => {
                    self.take(job);
                    // What came together is shown together.
                    jobs.try_iter().for_each(|job| self.take(job));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.state.waiting.store(self.alarms.count() as u64, Ordering::Relaxed);
            self.step();
        }
    }

    fn take(&mut self, job: Job) {
        let open = self.alarms.clone();
        match job {
            Job::Tell(notice, ruled) => {
                if self.alarms.hear(&notice, ruled) {
                    self.untold += 1;
                    let now = clock::mono();
                    self.sounds_until = if self.lamp.buzzer_for_ns == 0 {
                        Time::LATEST
                    } else {
                        now.plus(self.lamp.buzzer_for_ns)
                    };
                    // A buzzer that stopped by itself sounds again for what is new.
                    self.not_before = self.not_before.min(now);
                }
            }
            Job::Acknowledge(order) => {
                let ended = self.alarms.acknowledge(order.incident);
                // What nobody was told of silences nothing.
                if ended > 0 || order.incident.is_none() {
                    self.sounds_until = Time::at(0);
                }
                order.done(ended, self.alarms.incidents());
            }
            Job::Test(_, reply) => self.test(reply),
        }
        if open != self.alarms {
            self.keep();
        }
        // What was over before the lamp was reached, it never told.
        self.untold = self.untold.min(self.alarms.count() as u64);
    }

    fn keep(&self) {
        let Some(file) = &self.file else { return };
        let kept = serde_json::to_vec(&self.alarms.save()).map_err(std::io::Error::from);
        if let Err(error) = kept.and_then(|bytes| outbox::write(file, &bytes)) {
            log::error!("{}: what the lamp shows would not survive a restart: {error}", self.name);
        }
    }

    fn wanted(&self, now: Time) -> Wanted {
        let mut look = self.lamp.looks.of(self.alarms.gravest());
        look.buzzer &= now < self.sounds_until;
        Wanted::new(look, self.lamp.looks.tiers())
    }

    /// Brings the lamp to what is wanted, or looks whether it is there.
    fn step(&mut self) {
        let now = clock::mono();
        if now < self.not_before {
            return;
        }
        let wanted = self.wanted(now);
        if self.shown == Some(wanted) && now < self.next_look {
            return self.count_told();
        }
        self.next_look = now.plus(LOOK);
        let result = match self.shown {
            Some(shown) if shown == wanted => match looks_so(&self.lamp.protocol, &wanted) {
                Ok(true) => Ok("it is there".to_owned()),
                // It was switched off and on, or somebody pressed its button.
                Ok(false) => show(&self.lamp.protocol, &wanted),
                Err(error) => Err(error),
            },
            _ => show(&self.lamp.protocol, &wanted),
        };
        let shows = result.is_ok();
        self.account(wanted, result);
        if shows {
            self.count_told();
        }
    }

    /// The lamp shows what is wanted: whoever sees it was told of all that is open.
    fn count_told(&mut self) {
        self.state.sent.fetch_add(std::mem::take(&mut self.untold), Ordering::Relaxed);
    }

    fn account(&mut self, wanted: Wanted, result: Result<String, SendError>) {
        let now = clock::mono();
        match result {
            Ok(said) => {
                self.shown = Some(wanted);
                (self.failures, self.not_before) = (0, Time::at(0));
                self.state.succeeded(clock::unix_ns(), said);
            }
            Err(error) => {
                log::warn!("{}: the lamp does not show what is open: {error}", self.name);
                self.shown = None;
                self.failures = if error.is_lasting() { self.failures + FAILING } else { self.failures + 1 };
                let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.saturating_sub(1).min(10));
                self.not_before = now.plus(doubled.min(MAX_RETRY));
                self.state.failed(Failure::now(&error));
            }
        }
        self.state.failing.store(self.failures >= FAILING, Ordering::Relaxed);
    }

    /// Lights it as for the gravest, for a moment.
    fn test(&mut self, reply: Reply) {
        let wanted = Wanted::new(self.lamp.looks.of(Some(crate::notice::HIGH)), self.lamp.looks.tiers());
        let shown = show(&self.lamp.protocol, &wanted);
        let told = shown.as_ref().map(|said| format!("{said}; lit for {} s", TRY.as_secs()));
        reply(told.map_err(ToString::to_string));
        if shown.is_ok() {
            thread::sleep(TRY);
        }
        self.account(wanted, shown);
    }
}
