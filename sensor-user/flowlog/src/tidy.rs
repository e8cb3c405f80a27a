//! The thread that tidies: the files of an hour that is over become one, and the oldest hours go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::io::Errno;
use sensor_core::steady::Steady;

use crate::columns::{GROUP, SCHEMA, by_address, metadata};
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
const DAY_HOURS: usize = 24;
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
    /// The hour and the row group of its file that is read through next.
    inspects: (Hour, usize),
    /// The file system cannot exchange directories: files stay as they are.
    cannot_join: bool,
    failing: bool,
}

impl Tidier {
    /// A tidier of a shelf.
    pub fn new(shelf: Arc<Shelf>, keeping: Keeping, counts: Arc<Counts>, copies: bool) -> Self {
        Self {
            shelf,
            keeping,
            counts,
            copies,
            foreign: BTreeSet::new(),
            inspects: (Hour(i64::MIN), 0),
            cannot_join: false,
            failing: false,
        }
    }

    /// Tidies now and then, until `stops` is closed.
    pub fn run(mut self, stops: &Receiver<()>) {
        let stopped = |wait| !matches!(stops.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
        let (begun, mut steady) = (Instant::now(), Steady::default());
        loop {
            let now = now();
            let steady = steady.is(now.saturating_mul(1_000), begun.elapsed());
            let tidied = self.step(now, steady, &|| stopped(Duration::ZERO));
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

    /// Tidies as is due at that time; by age only if the clock is `steady`. What goes wrong in one hour keeps nobody from the
    /// others.
    pub fn step(&mut self, now: i64, steady: bool, stopped: &dyn Fn() -> bool) -> Result<(), FlowLogError> {
        let mut result = Ok(());
        let all = hours(self.shelf.root(), &mut |error| result = Err(error))?;
        let mut kept = BTreeMap::new();
        for (hour, dir) in all {
            // Of one that cannot be read it is not known how large it is, but it can grow too old.
            let there = files(&dir).unwrap_or_else(|error| {
                result = Err(error);
                Vec::new()
            });
            kept.insert(hour, there);
        }
        result = self.delete(&mut kept, now, steady).and(result);
        if !stopped() {
            result = self.inspect(&kept).and(result);
        }
        let every = i64::try_from(self.keeping.every_ns / 1_000).unwrap_or(i64::MAX);
        let settled = Hour::of(now.saturating_sub(SETTLES.saturating_add(every)));
        for (hour, there) in kept {
            if stopped() || self.cannot_join {
                break;
            }
            // One in the future is of a clock that was set back since, but for the next: that may be this one by now.
            let over = hour < settled || hour > Hour::of(now.saturating_add(HOUR));
            let done = there.is_empty() || (there.len() == 1 && there.iter().all(Kept::is_joined));
            if over && !done && !self.foreign.contains(&hour) {
                result = self.join(hour, &there, stopped).and(result);
            }
        }
        result
    }

    /// Reads the files of hours that are over through, one row group each time: nobody else would notice that one went bad before
    /// it is wanted.
    fn inspect(&mut self, kept: &BTreeMap<Hour, Vec<Kept>>) -> Result<(), FlowLogError> {
        let joined = kept.iter().filter_map(|(hour, there)| match &there[..] {
            [one] if one.is_joined() => Some((*hour, &one.path)),
            _ => None,
        });
        let (wanted, group) = self.inspects;
        let next = joined.clone().find(|(hour, _)| *hour >= wanted);
        let Some((hour, path)) = next.or_else(|| joined.clone().next()) else { return Ok(()) };
        let group = if hour == wanted { group } else { 0 };
        self.inspects = (Hour(hour.0 + 1), 0);
        match FlowLogError::guard(path, || read_group(path, group)) {
            Ok(true) => self.inspects = (hour, group + 1),
            Ok(false) => {}
            Err(FlowLogError::Unreadable { .. }) => return self.look_at(hour, path).map(drop),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Deletes the oldest hours, until what is left is as little as it should be. What there is too much of goes at once; what is
    /// too old only by a clock that is `steady`.
    fn delete(
        &self,
        kept: &mut BTreeMap<Hour, Vec<Kept>>,
        now: i64,
        steady: bool,
    ) -> Result<(), FlowLogError> {
        let size = |files: &Vec<Kept>| files.iter().map(|file| file.bytes).sum::<u64>();
        let mut bytes: u64 = kept.values().map(size).sum();
        let days = i64::try_from(self.keeping.days).unwrap_or(i64::MAX);
        let old = Hour::of(now.saturating_sub(days.saturating_mul(DAY)));
        let mut result = self.shelf.delete_damaged(|number, damaged| {
            let is_old = steady && number < old.begin();
            is_old || bytes.saturating_add(damaged) > self.keeping.max_bytes
        });
        let hours: Vec<Hour> = kept.keys().copied().collect();
        // The last day, by a clock that can be trusted; else the last hours that there are.
        let last = hours.len().checked_sub(DAY_HOURS).and_then(|at| hours.get(at)).copied();
        let day = if steady { Hour::of(now.saturating_sub(DAY)) } else { last.unwrap_or(Hour(i64::MIN)) };
        for hour in hours {
            let full = bytes > self.keeping.max_bytes && hour != Hour::of(now);
            // Others fill the disk: a day is kept all the same, and then nothing is added.
            let crowded =
                hour < day && self.shelf.free()? < self.keeping.reserve_bytes.saturating_add(bytes / 64);
            if !(full || crowded || (steady && hour < old)) {
                continue;
            }
            if let Err(error) = self.shelf.delete(hour) {
                result = Err(error);
                continue;
            }
            bytes -= kept.remove(&hour).map_or(0, |files| size(&files));
            self.counts.deleted.fetch_add(1, Ordering::Relaxed);
            if self.copies && !Mark::of(self.shelf.root(), hour).remove() {
                self.counts.never_copied.fetch_add(1, Ordering::Relaxed);
                log::warn!("{hour} of the log of conversations was deleted before it was copied elsewhere");
            }
        }
        let first = kept.keys().next().map_or(0, |hour| hour.begin() / 1_000_000);
        self.counts.bytes.store(bytes, Ordering::Relaxed);
        self.counts.oldest.store(first, Ordering::Relaxed);
        result
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
                Err(error @ FlowLogError::Unreadable { .. }) => {
                    // The others are joined the next time.
                    return if self.look_at(hour, &file.path)? { Ok(()) } else { Err(error) };
                }
                Err(error) => return Err(error),
            }
        }
        joined.group()?;
        let finished = joined.file.finish()?;
        // If a file came meanwhile it is joined the next time.
        match self.shelf.exchange((&workshop, &finished), hour, there) {
            Err(FlowLogError::Disk { source, .. }) if cannot_exchange(&source) => {
                let root = self.shelf.root().display();
                log::warn!(
                    "{root} is on a file system that cannot exchange directories ({source}): files of an hour stay many"
                );
                self.cannot_join = true;
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// Reads a file through, and sets it aside if it is damaged, so that it keeps nobody from the others: true then. If the disk
    /// does not give what is in it nothing is known of the file.
    fn look_at(&self, hour: Hour, path: &Path) -> Result<bool, FlowLogError> {
        match FlowLogError::guard(path, || read(path)) {
            Err(error @ FlowLogError::Unreadable { .. }) => {
                let aside = self.shelf.set_aside(hour, path)?;
                log::error!("{error}; it is set aside as {}", aside.display());
                self.counts.damaged.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            other => other.map(|()| false),
        }
    }
}

/// Linux refuses so what a file system does not know, as NFS does not (`renameat2(2)`).
fn cannot_exchange(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
    )
}

/// Reads a file to its end: first what the disk gives, then what it means.
fn read(path: &Path) -> Result<(), FlowLogError> {
    let failed = || FlowLogError::disk("read", path);
    let mut file = File::open(path).map_err(failed())?;
    // As many descriptors as whoever reads it needs.
    let _more = file.try_clone().map_err(failed())?;
    io::copy(&mut file, &mut io::sink()).map_err(failed())?;
    let metadata = metadata(&file, path)?;
    drain(ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata), path)
}

/// Reads a row group of a file; whether there is another after it.
fn read_group(path: &Path, group: usize) -> Result<bool, FlowLogError> {
    let file = File::open(path).map_err(FlowLogError::disk("read", path))?;
    let metadata = metadata(&file, path)?;
    let groups = metadata.metadata().num_row_groups();
    if group < groups {
        let rows = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        drain(rows.with_row_groups(vec![group]), path)?;
    }
    Ok(group + 1 < groups)
}

fn drain(rows: ParquetRecordBatchReaderBuilder<File>, path: &Path) -> Result<(), FlowLogError> {
    let wrong = FlowLogError::unreadable(path);
    let mut rows = rows.with_batch_size(READ).build().map_err(&wrong)?;
    rows.try_for_each(|rows| rows.map(drop)).map_err(|error| wrong(error.into()))
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
        let metadata = metadata(&file, path)?;
        if metadata.schema().fields() != SCHEMA.fields() {
            return Ok(false);
        }
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
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
