//! The end of the log that is held by whoever tells of conversations: it takes rows and never waits.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

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
    /// Files an earlier daemon left unfinished.
    pub unfinished: AtomicU64,
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
    /// Closed when the tidier and the copier are to end.
    _stop: [Sender<()>; 2],
    counts: Arc<Counts>,
    rows: Vec<Row>,
    place: Arc<Place>,
    /// Something found the queue full, and that was told.
    full: bool,
}

impl FlowLog {
    /// Takes up the log in a directory, which is made if it is not there; finished hours are copied to `lake`, if there is
    /// one.
    ///
    /// # Errors
    ///
    /// If the directory cannot be used, another daemon uses it, or no thread started.
    pub fn start(root: &Path, keeping: Keeping, lake: Option<Lake>) -> Result<Self, FlowLogError> {
        let (shelf, left) = Shelf::take(root)?;
        let (shelf, counts) = (Arc::new(shelf), Arc::new(Counts::default()));
        counts.unfinished.store(left.files, Ordering::Relaxed);
        if left.files > 0 {
            log::warn!(
                "the last daemon ended in the middle of writing: the conversations of its last {} s are not in the log \
                 ({} unfinished files, {} bytes, removed)",
                keeping.every_ns / 1_000_000_000,
                left.files,
                left.bytes
            );
        }
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
            spawned.map(drop).map_err(|error: io::Error| FlowLogError::Disk {
                what: "start a thread for",
                path: root.to_owned(),
                source: error,
            })
        };
        let (chunks, inbox) = sync_channel(WAITING);
        let (done, ended) = sync_channel::<()>(0);
        let writer = Writer::new(Arc::clone(&shelf), keeping, Arc::clone(&counts));
        spawn(
            "flows",
            Box::new(move || {
                let _done = done;
                writer.run(&inbox);
            }),
        )?;
        let (stop_tidier, tidier_stops) = channel();
        let (stop_lake, lake_stops) = channel();
        let tidier = Tidier::new(Arc::clone(&shelf), keeping, Arc::clone(&counts), lake.is_some());
        spawn("flows-tidy", Box::new(move || tidier.run(&tidier_stops)))?;
        if let Some(lake) = lake {
            let (shelf, counts) = (Arc::clone(&shelf), Arc::clone(&counts));
            spawn("flows-lake", Box::new(move || lake::run(&lake, &shelf, &counts, &lake_stops)))?;
        }
        Ok(Self {
            chunks: Some(chunks),
            ended,
            _stop: [stop_tidier, stop_lake],
            counts,
            rows: Vec::with_capacity(PORTION),
            place: Arc::default(),
            full: false,
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
        match chunks.try_send(chunk) {
            Ok(()) => self.full = false,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.waiting.fetch_sub(count, Ordering::Relaxed);
                let lost = self.counts.lost_to_queue.fetch_add(count, Ordering::Relaxed) + count;
                if !std::mem::replace(&mut self.full, true) {
                    log::warn!(
                        "conversations are not logged: the disk is too slow, and too many wait for it ({lost} are lost so \
                         far)"
                    );
                }
            }
        }
    }

    /// Has everything written, and waits for it a little.
    pub fn close(mut self) {
        self.hand_over();
        self.chunks = None;
        // It says nothing, and ends.
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}
