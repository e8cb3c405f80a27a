//! The end of the log that is held by whoever tells of conversations: it takes rows and never waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::FlowLogError;
use crate::lake::{self, Lake};
use crate::row::{Chunk, Place, Row};
use crate::shelf::Shelf;
use crate::tidy::Tidier;
use crate::writer::Writer;

/// Rows that are handed over together.
const PORTION: usize = 1_024;
/// Portions that may wait for the disk: some 30 MB, six seconds of 20,000 conversations each.
const WAITING: usize = 128;
/// A log that cannot be taken up is tried again so much later.
const AGAIN: Duration = Duration::from_secs(60);
/// How long the end waits for the disk.
const FAREWELL: Duration = Duration::from_secs(5);

/// How the log is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keeping {
    /// Time between files, ns: so much is lost if the machine stops.
    pub every_ns: u64,
    /// What is older than so many days is deleted.
    pub days: u64,
    /// Bytes on the disk, at most: then the oldest is deleted.
    pub max_bytes: u64,
    /// Bytes of the disk that are left to others.
    pub reserve_bytes: u64,
}

/// What there is to count.
#[derive(Default, Debug)]
pub struct Counts {
    /// Rows that are on the disk.
    pub written: AtomicU64,
    /// Rows that wait for the disk.
    pub waiting: AtomicU64,
    /// Rows that found the queue full.
    pub lost_to_queue: AtomicU64,
    /// Rows the disk did not take.
    pub lost_to_disk: AtomicU64,
    /// Files that got their place.
    pub files: AtomicU64,
    /// 1 if the last daemon did not end by itself, so that what it had not written yet is lost.
    pub cut_short: AtomicU64,
    /// Files that could not be read, and were set aside.
    pub damaged: AtomicU64,
    /// Bytes there are.
    pub bytes: AtomicU64,
    /// The oldest hour there is, s since 1970; 0: none.
    pub oldest: AtomicI64,
    /// Hours deleted, for they were too old or too much.
    pub deleted: AtomicU64,
    /// Finished hours copied elsewhere.
    pub copied: AtomicU64,
    /// Attempts of that which failed.
    pub copy_failures: AtomicU64,
    /// Hours that wait for it.
    pub copy_waiting: AtomicU64,
    /// Hours that were deleted before they were copied.
    pub never_copied: AtomicU64,
}

/// Takes rows of a running daemon.
pub struct FlowLog {
    chunks: Option<SyncSender<Chunk>>,
    ended: Receiver<()>,
    counts: Arc<Counts>,
    rows: Vec<Row>,
    place: Arc<Place>,
    /// Something was lost before it was handed over, and that was told.
    losing: bool,
}

impl FlowLog {
    /// Keeps the log in a directory, which is made if it is not there; finished hours are copied to `lake`, if there is one.
    /// As long as the directory cannot be used, or another daemon uses it, rows are counted as lost, and it is tried again.
    ///
    /// # Errors
    ///
    /// If no thread started.
    pub fn start(root: &Path, keeping: Keeping, lake: Option<Lake>) -> Result<Self, FlowLogError> {
        let counts = Arc::new(Counts::default());
        let keeper = Keeper { root: root.to_owned(), keeping, lake, counts: Arc::clone(&counts) };
        let (chunks, inbox) = sync_channel(WAITING);
        let (done, ended) = sync_channel::<()>(0);
        spawn(root, "flows", move || {
            let _done = done;
            keeper.run(&inbox);
        })?;
        Ok(Self {
            chunks: Some(chunks),
            ended,
            counts,
            rows: Vec::with_capacity(PORTION),
            place: Arc::default(),
            losing: false,
        })
    }

    /// What is counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How places are called from now on.
    pub fn set_place(&mut self, place: Place) {
        if *self.place != place {
            self.hand_over();
            self.place = Arc::new(place);
        }
    }

    /// Takes a row.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
        if self.rows.len() >= PORTION {
            self.hand_over();
        }
    }

    /// Hands over what was taken, to be called every second or so.
    pub fn hand_over(&mut self) {
        let Some(chunks) = self.chunks.as_ref().filter(|_| !self.rows.is_empty()) else { return };
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(PORTION));
        let count = rows.len() as u64;
        let chunk = Chunk { rows, place: Arc::clone(&self.place) };
        self.counts.waiting.fetch_add(count, Ordering::Relaxed);
        let why = match chunks.try_send(chunk) {
            Ok(()) => {
                self.losing = false;
                return;
            }
            Err(TrySendError::Full(_)) => "the disk is too slow, and too many wait for it",
            Err(TrySendError::Disconnected(_)) => "who writes them came to an end; restart sekisho",
        };
        self.counts.waiting.fetch_sub(count, Ordering::Relaxed);
        let lost = self.counts.lost_to_queue.fetch_add(count, Ordering::Relaxed) + count;
        if !std::mem::replace(&mut self.losing, true) {
            log::warn!("conversations are not logged: {why} ({lost} are lost so far)");
        }
    }

    /// Has everything written, and waits for it a little.
    pub fn close(mut self) {
        self.hand_over();
        self.chunks = None;
        // It says nothing, and ends.
        if self.ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Timeout) {
            log::warn!("the disk is too slow: the last conversations are not all in the log");
        }
    }
}

fn spawn(root: &Path, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), FlowLogError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(drop).map_err(FlowLogError::disk("start a thread for", root))
}

/// Takes up the log, and writes.
struct Keeper {
    root: PathBuf,
    keeping: Keeping,
    lake: Option<Lake>,
    counts: Arc<Counts>,
}

impl Keeper {
    /// Writes what comes, until nobody sends any more.
    fn run(self, inbox: &Receiver<Chunk>) {
        let mut failing = false;
        loop {
            match self.take_up() {
                Ok((shelf, _others)) => {
                    if failing {
                        log::info!("conversations are logged in {} from now on", self.root.display());
                    }
                    Writer::new(Arc::clone(&shelf), self.keeping, Arc::clone(&self.counts)).run(inbox);
                    return shelf.finished();
                }
                Err(error) if !failing => {
                    log::error!("conversations are not logged: {error}; it is tried again each minute");
                }
                Err(_) => {}
            }
            failing = true;
            let again = Instant::now() + AGAIN;
            loop {
                match inbox.recv_timeout(again.saturating_duration_since(Instant::now())) {
                    Ok(chunk) => {
                        let rows = chunk.rows.len() as u64;
                        self.counts.waiting.fetch_sub(rows, Ordering::Relaxed);
                        self.counts.lost_to_disk.fetch_add(rows, Ordering::Relaxed);
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// Takes up the log, and starts those who tidy and copy. They end when what comes back is dropped.
    fn take_up(&self) -> Result<(Arc<Shelf>, [Sender<()>; 2]), FlowLogError> {
        let Self { root, keeping, lake, counts } = self;
        let (shelf, cut_short) = Shelf::take(root)?;
        let shelf = Arc::new(shelf);
        if cut_short {
            counts.cut_short.store(1, Ordering::Relaxed);
            log::warn!(
                "the last daemon was killed, or the power failed: conversations of its last {} s may be missing in the log",
                keeping.every_ns / 1_000_000_000,
            );
        }
        let (stop_tidier, stops) = channel();
        let tidier = Tidier::new(Arc::clone(&shelf), *keeping, Arc::clone(counts), lake.is_some());
        spawn(root, "flows-tidy", move || tidier.run(&stops))?;
        let (stop_lake, stops) = channel();
        if let Some(lake) = lake.clone() {
            let (shelf, counts) = (Arc::clone(&shelf), Arc::clone(counts));
            spawn(root, "flows-lake", move || lake::run(&lake, &shelf, &counts, &stops))?;
        }
        Ok((shelf, [stop_tidier, stop_lake]))
    }
}
