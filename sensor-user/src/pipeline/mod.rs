//! The loop of the live daemon: one closed set of events, one owner of the engine.
//!
//! Everything that happens comes in as an [`Event`] and is handled to its end before the next. What the engine decides is
//! written to the kernel's maps first, then told, then remembered. Nothing here waits for a disk, a reader of standard
//! output or a client.

mod account;
mod bypass;
mod chores;
mod counted;
mod keeper;
mod leak;
mod learned;
mod ledger;
mod notices;
mod ports;
mod printer;
mod reached;
mod sweep;
mod tally;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use sensor_core::engine::{Command, Engine, Output};
use sensor_core::event::{Event as Told, Timed};
use sensor_core::identify::heard::Heard;
use sensor_core::policy::{Decision, Memory, Save};
use sensor_core::time::{MILLISECOND, Time};
use sensor_journal::Keeper as JournalKeeper;
use sensor_notify::Notifier;
use tokio::sync::{mpsc, oneshot};

use crate::bpf::{Attachments, BpfError, Bypass, Counters, PortEvent, Ports, PortsError, Record, Rings};
use crate::clock::{Now, Stamp, WallClock};
use crate::control::{Ask, View};
use crate::enforce::Enforcer;
use crate::eve::{EventType, Teller};
use crate::flows::Flows;
use crate::journal;
use crate::models::{self, Models};
use crate::protocol::Hits;
use crate::record::Recorder;
use crate::telemetry::Metrics;
use crate::urgency;
use ledger::Accounts;
use reached::Reached;

pub use counted::{detectors_off, parse_results};
pub use keeper::Keeper;
pub use ports::tell_port;
pub use printer::Printer;
pub use sweep::{Start, Sweeper};
pub use tally::{Count, PortTally, Read, Tally};

/// Records handled between looks at anything else: more than both rings hold.
const BATCH: usize = 131_072;
/// Frames that are told whole and handled in between: as many as their ring holds.
const HEARD_BATCH: usize = 1_024;
/// With so many records at once a ring may have been full: the control ring, the smaller, holds 10,000.
const CROWD: usize = 4_096;
/// A record is this much younger than its time stamp at most, ns: the program stamps it before it submits it.
const SUBMITTED_WITHIN: u64 = 2 * MILLISECOND;
/// Time between ticks while contacts wait for an answer: a contact to a dark address fails within 50 ms.
const BUSY_TICK: Duration = Duration::from_millis(10);
/// Time between ticks while a sweep goes on: each reads on a little.
const SWEEP_TICK: Duration = Duration::from_millis(1);
/// Time between ticks otherwise.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// Why the loop ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The bridge was removed.
    #[error("the bridge {0} is gone; start again when it is back")]
    BridgeGone(String),
    /// The ports cannot be followed any more.
    #[error(transparent)]
    Ports(#[from] PortsError),
}

/// What can happen.
enum Event {
    /// The rings may hold records.
    Records,
    /// Time passed.
    Tick,
    /// A client wants something.
    Ask(Ask),
    /// A port joined, left or has another name.
    Port(Result<PortEvent, PortsError>),
    /// The daemon is to stop.
    Shutdown,
}

/// How events are told on standard output.
pub struct Telling {
    /// As JSON lines instead of sentences.
    pub json: bool,
    /// The kinds told.
    pub kinds: Vec<EventType>,
    /// Where the lines go.
    pub printer: Printer,
    /// The file they go to besides, if one is configured.
    pub log: Option<EveLog>,
}

/// A file of events as JSON lines.
pub struct EveLog {
    /// The kinds told.
    pub kinds: Vec<EventType>,
    /// Where the lines go.
    pub printer: Printer,
}

/// All parts of a running daemon that the loop owns.
pub struct Parts {
    /// The thinking.
    pub engine: Engine,
    /// The kernel's rules.
    pub enforcer: Enforcer,
    /// The programs on the ports.
    pub attachments: Attachments,
    /// The flow tables.
    pub sweeper: Sweeper,
    /// The kernel's counters.
    pub counters: Counters,
    /// The kernel's records.
    pub rings: Rings,
    /// The bridge's ports.
    pub ports: Ports,
    /// What Prometheus reads.
    pub metrics: Metrics,
    /// The store.
    pub keeper: Keeper,
    /// What is learned; none if it cannot be kept.
    pub models: Option<Models>,
    /// The record; none if it is switched off, or cannot be kept.
    pub recorder: Option<Recorder>,
    /// Those who are told; none if the configuration names no channel.
    pub notifier: Option<Notifier>,
    /// The journal; none if its thread cannot be started.
    pub journal: Option<JournalKeeper>,
    /// The log of conversations; none if it is switched off, or cannot be kept.
    pub flows: Option<Flows>,
    /// Standard output.
    pub telling: Telling,
    /// Requests of clients.
    pub asks: mpsc::Receiver<Ask>,
    /// Where the maps are pinned.
    pub pin_dir: PathBuf,
    /// Whether decisions are carried out.
    pub enforce: bool,
    /// The least part of what comes that must be seen, 0 to 1.
    pub coverage: f64,
}

/// The loop.
pub struct Pipeline {
    parts: Parts,
    teller: Teller,
    out: Output,
    batch: Vec<Record>,
    started: Time,
    next_sample: Time,
    next_reconcile: Time,
    /// The models in force, as the journal has them.
    models: Vec<(String, String, String)>,
    /// The bypass as it was told last, and when it is to be told again.
    bypass: Bypass,
    next_reminder: Time,
    /// Records that found a ring full, when last looked at.
    lost: u64,
    /// Whether the last reading of the maps failed, so that a lasting fault is logged once.
    faulty: bool,
    /// What became of the frames of each port.
    accounts: Accounts,
    /// What hosts asked for.
    reached: Reached,
    /// What the rules of each entry did when last looked at, and all of them together since the start.
    hits: (BTreeMap<u32, Hits>, Hits),
}

impl Pipeline {
    /// A loop over these parts; `out` is what the engine's start brought.
    pub fn new(parts: Parts, out: Output) -> Self {
        let now = Now::read().mono;
        let mut pipeline = Self {
            accounts: Accounts::new(parts.coverage),
            reached: Reached::default(),
            models: models::all_in_force(&parts.engine),
            parts,
            teller: Teller::new(WallClock::live()),
            out,
            batch: Vec::new(),
            started: now,
            next_sample: now,
            next_reconcile: now,
            bypass: Bypass::default(),
            next_reminder: now,
            lost: 0,
            faulty: false,
            hits: (BTreeMap::new(), Hits::default()),
        };
        pipeline.name_ports();
        pipeline.open_accounts();
        pipeline
    }

    /// How long to wait for anything to happen.
    fn tick(&self) -> Duration {
        if self.parts.sweeper.is_going() {
            SWEEP_TICK
        } else if self.parts.engine.is_waiting() {
            BUSY_TICK
        } else {
            IDLE_TICK
        }
    }

    /// Runs until `shutdown` is ready.
    ///
    /// # Errors
    ///
    /// [`PipelineError`]; what the kernel enforces stays enforced.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), PipelineError> {
        urgency::first();
        let mut shutdown = std::pin::pin!(shutdown);
        let mut wait_for_rings = true;
        loop {
            let tick = self.tick();
            let Parts { rings, ports, asks, .. } = &mut self.parts;
            let event = tokio::select! {
                () = &mut shutdown => Event::Shutdown,
                Some(ask) = asks.recv() => Event::Ask(ask),
                port = ports.next() => Event::Port(port),
                result = rings.wait(), if wait_for_rings => match result {
                    Ok(()) => Event::Records,
                    Err(error) => {
                        log::error!("cannot wait for the kernel's records: {error}; looking at every tick instead");
                        wait_for_rings = false;
                        Event::Records
                    }
                },
                () = tokio::time::sleep(tick) => Event::Tick,
            };
            self.catch_up();
            match event {
                Event::Shutdown => break,
                Event::Ask(ask) => self.answer(ask),
                Event::Port(change) => self.port(change?)?,
                Event::Records | Event::Tick => {}
            }
            self.chores();
            self.record();
        }
        self.sweep_once_more();
        let now = Now::read();
        self.parts.engine.finish(now.mono, &mut self.out);
        self.carry_out(None);
        if let Some(recorder) = self.parts.recorder.take() {
            recorder.close(now, &mut self.parts.engine, &self.teller);
        }
        if let Some(flows) = self.parts.flows.take() {
            flows.close();
        }
        if let Some(models) = &mut self.parts.models {
            models.close(&self.parts.engine);
        }
        if let Some(notifier) = self.parts.notifier.take() {
            notifier.close();
        }
        if let Some(journal) = &self.parts.journal {
            journal.add(journal::ended(Stamp::now()));
        }
        Ok(())
    }

    /// Reads the rings until they are empty and lets the engine judge what waited too long.
    ///
    /// The order matters: an answer that lies in a ring must not be taken for silence. So all records go in first, those
    /// of both rings in order of time, and time passes only up to when the reading began.
    fn catch_up(&mut self) {
        let now = Now::read().mono;
        self.batch.clear();
        let count = self.parts.rings.read(BATCH, &mut self.batch);
        self.batch.sort_by_key(|record| record.time_ns);
        if count >= CROWD {
            self.look_for_loss();
        }
        let batch = std::mem::take(&mut self.batch);
        for seen in batch.iter().filter_map(Record::observation) {
            self.parts.engine.observe(&seen, &mut self.out);
            self.carry_out(None);
        }
        self.batch = batch;
        self.listen();
        if count < BATCH {
            self.parts.engine.tick(now.minus(SUBMITTED_WITHIN), &mut self.out);
            self.carry_out(None);
        }
    }

    /// Reads what devices say of themselves. That is in no hurry, so each time no more than a part.
    fn listen(&mut self) {
        let Parts { rings, engine, .. } = &mut self.parts;
        let out = &mut self.out;
        rings.read_heard(HEARD_BATCH, |head, bytes| {
            if let Some(heard) = Heard::decode(head, bytes) {
                engine.hear(&heard, out);
            }
        });
        self.carry_out(None);
    }

    /// If a ring was full, answers may be lost with it: then silence says nothing.
    fn look_for_loss(&mut self) {
        let lost = self.counted().iter().map(|(_, counters)| counters.records_lost).sum();
        if lost > self.lost {
            log::warn!(
                "{} records found a ring full; contacts that wait for an answer are not judged",
                lost - self.lost
            );
            self.parts.engine.lost_sight(Now::read().mono);
        }
        self.lost = lost;
    }

    /// Goes on with the record, when all that came is carried out and told.
    fn record(&mut self) {
        self.carry_out(None);
        let Parts { recorder, engine, .. } = &mut self.parts;
        if let Some(recorder) = recorder {
            recorder.step(Now::read(), engine, &self.teller);
        }
    }

    /// Carries out what the engine wants: first the kernel, then the people, then the store.
    fn carry_out(&mut self, done: Option<oneshot::Sender<oneshot::Receiver<()>>>) {
        let out = std::mem::take(&mut self.out);
        if !out.decisions.is_empty() {
            self.parts.sweeper.leaks.suspend();
        }
        for decision in &out.decisions {
            if let Decision::Begin(id) = decision {
                self.hits.0.remove(id);
                let cleared = self.parts.counters.clear_rule(*id);
                self.check(cleared);
            }
        }
        if let Err(error) = self.parts.enforcer.apply(&out.decisions) {
            log::error!("{error}; it is tried again every second");
        }
        let now = Now::read().mono;
        for timed in &out.events {
            let latency_ns = latency(timed, now);
            self.parts.metrics.event(timed);
            if let Some(ns) = latency_ns {
                self.parts.metrics.isolated_after(Duration::from_nanos(ns));
            }
            self.tell(timed, latency_ns);
        }
        if let Some(flows) = &mut self.parts.flows {
            out.parts.into_iter().for_each(|part| flows.push(part, now, WallClock::live()));
        }
        if !out.saves.is_empty() {
            let saved = self.parts.keeper.save(out.saves);
            if let Some(done) = done {
                // A client that left does not wait.
                let _ = done.send(saved);
            }
        }
    }

    fn tell(&mut self, timed: &Timed, latency_ns: Option<u64>) {
        self.teller.clock = WallClock::live();
        if let Some(recorder) = &mut self.parts.recorder {
            recorder.told(timed, &self.teller);
        }
        if let Some(notifier) = &mut self.parts.notifier {
            notifier.tell(timed, self.teller.clock.offset_ns, &self.teller.ports, latency_ns);
        }
        if let Some(flows) = &mut self.parts.flows {
            flows.told(timed, self.teller.clock);
        }
        let kind = EventType::of(&timed.event);
        let Parts { telling, journal, .. } = &self.parts;
        let prints = telling.kinds.contains(&kind);
        if prints && !telling.json {
            telling.printer.print(self.teller.sentence(timed, latency_ns));
        }
        let log = telling.log.as_ref().filter(|log| log.kinds.contains(&kind));
        let journal = journal.as_ref().filter(|_| journal::may_keep(kind));
        if !(prints && telling.json) && log.is_none() && journal.is_none() {
            return;
        }
        let value = self.teller.value(timed, latency_ns);
        if prints && telling.json {
            telling.printer.print(value.to_string());
        }
        if let Some(log) = log {
            log.printer.print(value.to_string());
        }
        if let Some(journal) = journal.filter(|_| journal::is_kept(kind, &value)) {
            let words = self.teller.words(timed, latency_ns);
            journal.add(journal::entry(self.teller.clock.stamp(timed.time), &value, words));
        }
    }

    fn answer(&mut self, ask: Ask) {
        let now = Now::read().mono;
        match ask {
            Ask::Snapshot(reply) => {
                let view = View { snapshot: self.parts.engine.snapshot(now), live: self.live(now) };
                // A client that left does not wait.
                let _ = reply.send(view);
            }
            Ask::Model(ask, reply) => self.ask_models(ask, reply),
            Ask::Notify(ask, by, reply) => self.ask_notifier(ask, by, reply),
            Ask::Note(ordered) => self.tell(&Timed { time: now, event: Told::Order(ordered) }, None),
            Ask::Bypass(on, by, reply) => {
                // A client that left does not wait.
                let _ = reply.send(self.switch_bypass(on, by));
            }
            Ask::Drilled(good, reply) => {
                if good {
                    self.parts.metrics.drilled(Now::read().unix_ns);
                    drop(self.parts.keeper.save(vec![Save::Keep(Memory::Drilled(now))]));
                }
                // It is always carried out.
                let _ = self.parts.engine.command(now, Command::Drill(None), &mut self.out);
                self.carry_out(None);
                // A client that left does not wait.
                let _ = reply.send(());
            }
            Ask::Command(command, reply) => {
                let result = self.parts.engine.command(now, command, &mut self.out);
                let (done, saved) = oneshot::channel();
                self.carry_out(Some(done));
                // The answer goes out when the change is on the disk, without the loop waiting for it.
                tokio::spawn(async move {
                    if let Ok(saved) = saved.await {
                        let _ = saved.await;
                    }
                    let _ = reply.send(result);
                });
            }
        }
    }

    /// Logs a fault of the maps when it begins.
    fn check(&mut self, result: Result<(), BpfError>) {
        if let Err(error) = &result
            && !self.faulty
        {
            log::error!("{error}");
        }
        self.faulty = result.is_err();
    }
}

/// The time from the first piece of evidence of an isolation to now, when it holds in the kernel.
fn latency(timed: &Timed, now: Time) -> Option<u64> {
    let Told::Isolation(isolation) = &timed.event else { return None };
    isolation.first_evidence.map(|first| now.since(first).max(MILLISECOND / 1_000))
}
