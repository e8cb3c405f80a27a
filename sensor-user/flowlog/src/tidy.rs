//! The thread that tidies: the files of an hour that is over become one, and the oldest hours go.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::columns::{GROUP, SCHEMA, by_address};
use crate::error::FlowLogError;
use crate::hour::Hour;
use crate::lake::Mark;
use crate::log::{Counts, Keeping};
use crate::shelf::{Kept, Shelf, files, hours};
use crate::writer::Growing;

/// How hard the file of an hour is packed.
const PACKING: i32 = 9;
/// Time between looks.
const EVERY: Duration = Duration::from_secs(30);
/// An hour is taken for over when no file of it can come any more, but for a clock that is set: so long after it, and the
/// time between two files, microseconds.
const SETTLES: i64 = 60_000_000;
/// Microseconds of an hour and of a day.
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// Rows read at once.
const READ: usize = 8_192;

/// Microseconds since 1970.
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// Tidies a shelf.
pub struct Tidier {
    shelf: Arc<Shelf>,
    keeping: Keeping,
    counts: Arc<Counts>,
    /// Whether finished hours are copied elsewhere.
    copies: bool,
    /// Hours that another release wrote, with other columns.
    foreign: BTreeSet<Hour>,
    failing: bool,
}

impl Tidier {
    /// A tidier of a shelf.
    pub fn new(shelf: Arc<Shelf>, keeping: Keeping, counts: Arc<Counts>, copies: bool) -> Self {
        Self { shelf, keeping, counts, copies, foreign: BTreeSet::new(), failing: false }
    }

    /// Tidies now and then, until `stops` is closed.
    pub fn run(mut self, stops: &Receiver<()>) {
        let stopped = |wait| !matches!(stops.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
        loop {
            let tidied = self.step(now(), &|| stopped(Duration::ZERO));
            if let Err(error) = &tidied
                && !self.failing
            {
                log::error!("the log of conversations is not tidied: {error}; it is tried again");
            }
            self.failing = tidied.is_err();
            if stopped(EVERY) {
                return;
            }
        }
    }

    /// Tidies as is due at that time.
    pub fn step(&mut self, now: i64, stopped: &dyn Fn() -> bool) -> Result<(), FlowLogError> {
        self.delete(now)?;
        let settled =
            now.saturating_sub(SETTLES + i64::try_from(self.keeping.every_ns / 1_000).unwrap_or(i64::MAX));
        let mut result = Ok(());
        for (hour, dir) in hours(self.shelf.root())?.range(..Hour::of(settled)) {
            if stopped() {
                break;
            }
            let there = files(dir)?;
            let done = there.is_empty() || (there.len() == 1 && there.iter().all(Kept::is_joined));
            if !done && !self.foreign.contains(hour) {
                // One that cannot be joined keeps nobody else from it.
                result = self.join(*hour, &there, stopped).and(result);
            }
        }
        result
    }

    /// Deletes the oldest hours, until what is left is as little as it should be.
    fn delete(&self, now: i64) -> Result<(), FlowLogError> {
        let root = self.shelf.root();
        let mut kept = Vec::new();
        for (hour, dir) in hours(root)? {
            kept.push((hour, files(&dir)?.iter().map(|file| file.bytes).sum::<u64>()));
        }
        let mut bytes: u64 = kept.iter().map(|(_, bytes)| bytes).sum();
        let days = i64::try_from(self.keeping.days).unwrap_or(i64::MAX);
        let oldest = Hour::of(now.saturating_sub(days.saturating_mul(DAY)));
        let mut left = kept.iter().peekable();
        while let Some((hour, size)) = left.peek() {
            let full = bytes > self.keeping.max_bytes && *hour < Hour::of(now);
            // Others fill the disk: a day is kept all the same, and then nothing is added.
            let crowded = *hour < Hour::of(now.saturating_sub(DAY))
                && self.shelf.free()? < self.keeping.reserve_bytes.saturating_add(bytes / 64);
            if *hour >= oldest && !full && !crowded {
                break;
            }
            self.shelf.delete(*hour)?;
            self.counts.deleted.fetch_add(1, Ordering::Relaxed);
            if self.copies && !Mark::of(root, *hour).remove() {
                self.counts.never_copied.fetch_add(1, Ordering::Relaxed);
                log::warn!("{hour} of the log of conversations was deleted before it was copied elsewhere");
            }
            bytes -= size;
            left.next();
        }
        let first = left.peek().map_or(0, |(hour, _)| hour.begin() / 1_000_000);
        self.counts.bytes.store(bytes, Ordering::Relaxed);
        self.counts.oldest.store(first, Ordering::Relaxed);
        Ok(())
    }

    /// Makes one file of those of an hour.
    fn join(&mut self, hour: Hour, there: &[Kept], stopped: &dyn Fn() -> bool) -> Result<(), FlowLogError> {
        let size: u64 = there.iter().map(|file| file.bytes).sum();
        if self.shelf.free()? < size.saturating_add(self.keeping.reserve_bytes) {
            return Ok(());
        }
        let workshop = self.shelf.workshop()?;
        let number = there.first().map_or(0, |first| first.number);
        let mut joined = Joined {
            file: Growing::begin(self.shelf.begin_in(&workshop, number)?, PACKING)?,
            waiting: Vec::new(),
            rows: 0,
        };
        for file in there {
            if stopped() {
                return Ok(());
            }
            match FlowLogError::guard(&file.path, || joined.add(&file.path)) {
                Ok(true) => {}
                Ok(false) => {
                    log::info!(
                        "{hour} of the log was written by another release: its files stay as they are"
                    );
                    self.foreign.insert(hour);
                    return Ok(());
                }
                Err(error) => return Err(self.look_at(error, hour, &file.path)),
            }
        }
        joined.group()?;
        let finished = joined.file.finish()?;
        // If a file came meanwhile it is joined the next time.
        self.shelf.exchange((&workshop, &finished), hour, there).map(drop)
    }

    /// Sets a file aside that is damaged, so that the others can be joined the next time.
    fn look_at(&self, error: FlowLogError, hour: Hour, path: &Path) -> FlowLogError {
        if let FlowLogError::Unreadable { .. } = error {
            match self.shelf.set_aside(hour, path) {
                Ok(aside) => log::error!("{error}; it is set aside as {}", aside.display()),
                Err(error) => return error,
            }
            self.counts.damaged.fetch_add(1, Ordering::Relaxed);
        }
        error
    }
}

/// The file of an hour on its way.
struct Joined {
    file: Growing,
    waiting: Vec<RecordBatch>,
    rows: usize,
}

impl Joined {
    /// Adds the rows of a file; false if its columns are others.
    fn add(&mut self, path: &Path) -> Result<bool, FlowLogError> {
        let wrong = FlowLogError::unreadable(path);
        let file = File::open(path).map_err(FlowLogError::disk("open", path))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(&wrong)?;
        if reader.schema().fields() != SCHEMA.fields() {
            return Ok(false);
        }
        for batch in reader.with_batch_size(READ).build().map_err(&wrong)? {
            let batch = batch.map_err(|error| wrong(error.into()))?;
            let (mut from, rows) = (0, batch.num_rows());
            while from < rows {
                let room = (GROUP - self.rows).min(rows - from);
                self.waiting.push(batch.slice(from, room));
                self.rows += room;
                from += room;
                if self.rows == GROUP {
                    self.group()?;
                }
            }
        }
        Ok(true)
    }

    /// Writes the rows that wait.
    fn group(&mut self) -> Result<(), FlowLogError> {
        if self.rows == 0 {
            return Ok(());
        }
        let group = concat_batches(&SCHEMA, &self.waiting)?;
        self.waiting.clear();
        self.rows = 0;
        self.file.write(&by_address(&group)?)
    }
}
