//! The record: what the engine had in mind now and then, and all that came in since, so that a decision can be made anew
//! by the same thinking, weeks later, and held against the one that was told.
//!
//! It lies in *segments*: files that begin with the engine's state, its configuration and its models, and go on with each
//! input and the lines told of incidents. Any one of them can be replayed by itself ([`again`]). The oldest are deleted
//! first, those without an incident before those with one. Beside a segment with incidents lies a list of their numbers.
//!
//! The loop is held up by the saving of the state alone, and only when a segment begins; all else is done by a thread
//! ([`writer`]). Where that cannot keep up, or the disk is full, the segment ends, which is counted, and a new one begins
//! a little later: there is never a segment with something missing in the middle.

pub mod again;
mod read;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use sensor_core::detect::unusual::InForce;
use sensor_core::engine::{Engine, LastState};
use sensor_core::event::{CardStep, Change, Event, Timed};
use sensor_core::state::{State, THINKING};
use sensor_core::time::{HOUR, MINUTE, SECOND, Time};

use crate::clock::Now;
use crate::eve::Teller;
use crate::store;

pub use read::RecordError;

/// The directory of the record, in the state directory.
pub const DIR: &str = "record";
/// What a segment's file begins with.
const MAGIC: &[u8; 16] = b"SEKISHO RECORD 3";
/// Ending of a segment's file.
const SEGMENT: &str = "segment";
/// Ending of the file with the numbers of its incidents.
const INCIDENTS: &str = "incidents";
/// Bytes of inputs in a segment, before they are packed: then the next one begins.
const MAX_SEGMENT: usize = 512 << 20;
/// Bytes of inputs that are handed over together.
const PORTION: usize = 256 << 10;
/// Inputs are handed over at least so often.
const HAND_OVER: u64 = SECOND;
/// Bytes that may wait for the disk, a state not counted.
const MAX_WAITING: usize = 128 << 20;
/// Portions that may wait for the disk.
const WAITING: usize = 1_024;
/// After a segment that had to end a new one begins after this time: a disk that is full is not tried all the time.
const PAUSE: u64 = MINUTE;
/// A machine was off for no longer than this, ns: services that answered, and what devices do day by day, are known for a week.
const LONGEST_OFF: u64 = 3 * 24 * HOUR;
/// How long the end waits for the disk.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a segment begins with.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
struct Begin {
    /// The thinking that saved the state: [`THINKING`].
    thinking: String,
    /// The release of that.
    release: String,
    /// The machine's boot, whose clock the times are of.
    boot_id: String,
    /// When it was saved.
    saved: Time,
    /// The date of that, ns since 1970.
    saved_unix_ns: i64,
    /// The text of the configuration.
    config: String,
    /// Whether decisions were carried out.
    enforce: bool,
    models: Vec<InForce>,
    /// The names of the ports, by index.
    ports: BTreeMap<u8, String>,
    /// What the engine had in mind.
    state: Vec<u8>,
}

/// A line that was told of an incident.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Told {
    incident: u64,
    /// What the date was ahead of the engine's clock, ns.
    offset_ns: i64,
    line: String,
}

/// A piece of a segment.
#[derive(BorshSerialize, BorshDeserialize)]
enum Piece {
    /// Its first.
    Begin(Box<Begin>),
    /// Inputs, one behind the other.
    Inputs(Vec<u8>),
    /// What was told.
    Told(Told),
}

/// How the record is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keeping {
    /// Time between the beginnings of segments, ns.
    pub every_ns: u64,
    /// Bytes on the disk, at most.
    pub max_bytes: u64,
}

/// What there is to count.
#[derive(Default)]
struct Counts {
    /// Bytes that wait for the disk.
    waiting: AtomicUsize,
    /// Segments that ended early, for the disk was too slow or full.
    cut_short: AtomicU64,
    /// Set by the thread when it could not write: the segment is gone.
    failed: AtomicU64,
}

/// Keeps the record of a running daemon.
pub struct Recorder {
    pieces: Option<SyncSender<Piece>>,
    ended: Receiver<()>,
    counts: Arc<Counts>,
    boot_id: String,
    config: String,
    enforce: bool,
    every_ns: u64,
    /// When the last segment began.
    begun: Time,
    /// When the next one does.
    next: Time,
    /// A segment is open, and nothing is missing in it.
    open: bool,
    /// Bytes of inputs in it.
    written: usize,
    inputs: Vec<u8>,
    /// What was told of incidents by these inputs.
    told: Vec<Told>,
    hand_over: Time,
    /// Failures of the thread that were seen.
    failed: u64,
}

impl Recorder {
    /// Takes up the record in a directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the directory cannot be used, or no thread started.
    pub fn start(dir: &Path, keeping: Keeping, config: String, enforce: bool) -> io::Result<Self> {
        Self::start_in_boot(dir, store::boot_id(), keeping, config, enforce)
    }

    /// The same as if the machine was in that boot: by its clock the times are that it is given.
    ///
    /// # Errors
    ///
    /// As [`Recorder::start`].
    pub fn start_in_boot(
        dir: &Path,
        boot_id: String,
        keeping: Keeping,
        config: String,
        enforce: bool,
    ) -> io::Result<Self> {
        let counts = Arc::new(Counts::default());
        let (pieces, inbox) = sync_channel(WAITING);
        let (done, ended) = sync_channel::<()>(0);
        writer::start(dir, keeping.max_bytes, Arc::clone(&counts), inbox, done)?;
        Ok(Self {
            pieces: Some(pieces),
            ended,
            counts,
            boot_id,
            config,
            enforce,
            every_ns: keeping.every_ns,
            begun: Time::EARLIEST,
            next: Time::EARLIEST,
            open: false,
            written: 0,
            inputs: Vec::new(),
            told: Vec::new(),
            hand_over: Time::EARLIEST,
            failed: 0,
        })
    }

    /// Segments that ended early so far, for the disk was too slow or full.
    pub fn cut_short(&self) -> u64 {
        self.counts.cut_short.load(Ordering::Relaxed)
    }

    /// Takes over what came in since the last time, and begins a segment if that is due. To be called after everything
    /// that was told is handed to [`Recorder::told`].
    pub fn step(&mut self, now: Now, engine: &mut Engine, teller: &Teller) {
        match engine.fetch_notes() {
            None => engine.take_notes(),
            Some(notes) => {
                self.inputs.extend(notes.bytes);
                if notes.missing > 0 {
                    self.cut();
                }
            }
        }
        let failed = self.counts.failed.load(Ordering::Relaxed);
        if failed != self.failed {
            self.failed = failed;
            self.cut();
        }
        if self.inputs.len() >= PORTION || now.mono >= self.hand_over || !self.told.is_empty() {
            self.hand_over(now.mono);
        }
        if now.mono >= self.next || (self.open && self.written >= MAX_SEGMENT) {
            self.hand_over(now.mono);
            self.begin(now, engine, teller);
        }
    }

    /// Something was told. If it is about an incident it belongs to the record. What was forgiven must not come back with what
    /// was saved before: then the next segment begins soon.
    pub fn told(&mut self, timed: &Timed, teller: &Teller) {
        if forgives(&timed.event) {
            self.next = self.next.min(self.begun.plus(PAUSE));
        }
        if !self.open || !is_of_incident(&timed.event) {
            return;
        }
        let line = teller.value(timed, None);
        let Some(incident) = line["incident_id"].as_u64() else { return };
        self.told.push(Told { incident, offset_ns: teller.clock.offset_ns, line: line.to_string() });
    }

    /// Has everything written, with what the engine has in mind at the end, and waits for it a little.
    pub fn close(mut self, now: Now, engine: &mut Engine, teller: &Teller) {
        self.inputs.extend(engine.fetch_notes().unwrap_or_default().bytes);
        self.hand_over(now.mono);
        self.begin(now, engine, teller);
        self.pieces = None;
        // It says nothing, and ends.
        let _ = self.ended.recv_timeout(FAREWELL);
    }

    fn begin(&mut self, now: Now, engine: &Engine, teller: &Teller) {
        (self.begun, self.next) = (now.mono, now.mono.plus(self.every_ns));
        let mut state = Vec::new();
        if let Err(error) = engine.save(&mut state) {
            log::error!("the record cannot go on: what the engine has in mind cannot be saved: {error}");
            return self.cut();
        }
        let begin = Begin {
            thinking: THINKING.to_owned(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: self.boot_id.clone(),
            saved: now.mono,
            saved_unix_ns: now.unix_ns,
            config: self.config.clone(),
            enforce: self.enforce,
            models: engine.scopes().into_iter().filter_map(|scope| engine.model(scope)).cloned().collect(),
            ports: teller.ports.clone(),
            state,
        };
        (self.open, self.written) = (true, 0);
        self.send(Piece::Begin(Box::new(begin)), 0);
        if !self.open {
            self.next = now.mono.plus(PAUSE.min(self.every_ns));
        }
    }

    fn hand_over(&mut self, now: Time) {
        self.hand_over = now.plus(HAND_OVER);
        let inputs = std::mem::take(&mut self.inputs);
        if self.open && !inputs.is_empty() {
            self.written += inputs.len();
            let bytes = inputs.len();
            self.send(Piece::Inputs(inputs), bytes);
        }
        for told in std::mem::take(&mut self.told) {
            self.send(Piece::Told(told), 0);
        }
    }

    fn send(&mut self, piece: Piece, bytes: usize) {
        let Some(pieces) = self.pieces.as_ref().filter(|_| self.open) else { return };
        let waiting = self.counts.waiting.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > MAX_WAITING || pieces.try_send(piece).is_err() {
            self.counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.cut();
        }
    }

    /// Ends the segment: something would be missing in it.
    fn cut(&mut self) {
        if self.open {
            self.open = false;
            self.next = self.next.min(self.hand_over.plus(PAUSE));
            let count = self.counts.cut_short.fetch_add(1, Ordering::Relaxed) + 1;
            log::warn!(
                "the record of decisions has a gap: the disk is too slow or full; it goes on in a minute ({count} so far)"
            );
        }
    }
}

/// What the last daemon had in mind when it was last saved; none if there is nothing. What cannot be read is told.
pub fn last_state(dir: &Path, now: Now, told: impl FnMut(&RecordError)) -> Option<LastState> {
    last_state_in_boot(dir, &store::boot_id(), now, told)
}

fn last_state_in_boot(
    dir: &Path,
    boot_id: &str,
    now: Now,
    mut told: impl FnMut(&RecordError),
) -> Option<LastState> {
    // The last one may have just begun when the power failed.
    for path in read::newest_first(dir).into_iter().take(2) {
        match read::Pieces::open(&path).and_then(|mut pieces| pieces.next()) {
            Ok(Some(Piece::Begin(begin))) => {
                let ahead_ns = begin.ahead_ns(boot_id, now);
                return Some(LastState { saved: begin.saved, ahead_ns, state: begin.state });
            }
            Ok(Some(_)) => return None,
            Ok(None) => {}
            Err(error) => told(&error),
        }
    }
    None
}

impl Begin {
    /// By how much the clock in the boot `boot_id` is ahead, ns, if it shows `now`. What time went by between two boots is told by
    /// the date alone. If that is not set yet none went by; and never more than [`LONGEST_OFF`], lest a wrong date makes all
    /// that was learned too old.
    fn ahead_ns(&self, boot_id: &str, now: Now) -> i64 {
        if self.boot_id == boot_id && !boot_id.is_empty() {
            return 0;
        }
        let off = now.unix_ns.saturating_sub(self.saved_unix_ns).max(0).unsigned_abs().min(LONGEST_OFF);
        now.mono.minus(off).signed().saturating_sub(self.saved.signed())
    }
}

/// Whether somebody may have a cleaner slate by an event.
fn forgives(event: &Event) -> bool {
    let released = |change: &Change| matches!(change, Change::Released | Change::Expired);
    match event {
        Event::Isolation(isolation) => released(&isolation.change),
        Event::Card(card) => card.step == CardStep::Forgotten,
        Event::Approval(_) | Event::Judgement(_) | Event::Window(_) => true,
        _ => false,
    }
}

/// Whether an event may be about an incident.
fn is_of_incident(event: &Event) -> bool {
    matches!(event, Event::Alert(_) | Event::Isolation(_) | Event::Approval(_) | Event::Judgement(_))
}
