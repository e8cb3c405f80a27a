//! The thread that writes: rows into files, files to their places.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;

use crate::columns::{Columns, GROUP, SCHEMA, properties};
use crate::error::FlowLogError;
use crate::hour::Hour;
use crate::log::{Counts, Keeping};
use crate::row::Chunk;
use crate::shelf::Shelf;

/// How hard the first file of a row is packed: it is read again, and packed harder, within two hours.
const PACKING: i32 = 1;
/// A file is begun anew after so many rows, however short the time: the end of a file is lost if the machine stops.
const MAX_ROWS: usize = 32 * GROUP;

/// A file that is being written. Unless it is finished it is removed.
pub struct Growing {
    path: PathBuf,
    writer: Option<ArrowWriter<BufWriter<File>>>,
    /// Rows in it.
    pub rows: usize,
}

impl Growing {
    /// Begins to write a file; `level` is how hard zstd tries.
    pub fn begin((path, file): (PathBuf, File), level: i32) -> Result<Self, FlowLogError> {
        let wrong = FlowLogError::unwritable(&path);
        let properties = properties(level).map_err(&wrong)?;
        let writer = ArrowWriter::try_new(BufWriter::new(file), Arc::clone(&SCHEMA), Some(properties));
        Ok(Self { writer: Some(writer.map_err(&wrong)?), path, rows: 0 })
    }

    /// Writes a row group.
    pub fn write(&mut self, group: &RecordBatch) -> Result<(), FlowLogError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let written = writer.write(group).and_then(|()| writer.flush());
        written.map_err(FlowLogError::unwritable(&self.path))?;
        self.rows += group.num_rows();
        Ok(())
    }

    /// Ends it, and waits until it is on the disk.
    pub fn finish(mut self) -> Result<PathBuf, FlowLogError> {
        let path = self.path.clone();
        let Some(writer) = self.writer.take() else { return Ok(path) };
        let done = writer.into_inner().map_err(FlowLogError::unwritable(&path)).and_then(|file| {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error);
            file.and_then(|file| file.sync_all()).map_err(FlowLogError::disk("write to the disk", &path))
        });
        match done {
            Ok(()) => Ok(path),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            // It is of no use without its end; what is left of it is cleared away at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes what comes.
pub struct Writer {
    shelf: Arc<Shelf>,
    keeping: Keeping,
    counts: Arc<Counts>,
    columns: Columns,
    file: Option<Growing>,
    /// The hour of the rows at hand.
    hour: Hour,
    /// The time of the first of them.
    first: i64,
    begun: Instant,
    /// The disk takes nothing.
    failing: bool,
}

impl Writer {
    /// A writer to a shelf.
    pub fn new(shelf: Arc<Shelf>, keeping: Keeping, counts: Arc<Counts>) -> Self {
        Self {
            shelf,
            keeping,
            counts,
            columns: Columns::default(),
            file: None,
            hour: Hour(0),
            first: 0,
            begun: Instant::now(),
            failing: false,
        }
    }

    /// Writes until nobody sends any more.
    pub fn run(mut self, chunks: &Receiver<Chunk>) {
        loop {
            let due = self.begun + Duration::from_nanos(self.keeping.every_ns);
            let wait =
                if self.is_empty() { Duration::MAX } else { due.saturating_duration_since(Instant::now()) };
            let chunk = match chunks.recv_timeout(wait) {
                Ok(chunk) => Some(chunk),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Some(chunk) = chunk {
                self.counts.waiting.fetch_sub(chunk.rows.len() as u64, Ordering::Relaxed);
                self.take(&chunk);
            }
            if !self.is_empty() && Instant::now() >= self.begun + Duration::from_nanos(self.keeping.every_ns)
            {
                self.end();
            }
        }
        self.end();
    }

    fn is_empty(&self) -> bool {
        self.columns.len() == 0 && self.file.is_none()
    }

    /// Takes in rows.
    pub fn take(&mut self, chunk: &Chunk) {
        for row in &chunk.rows {
            let hour = Hour::of(row.logged);
            if hour != self.hour {
                self.end();
            }
            if self.is_empty() {
                (self.hour, self.first, self.begun) = (hour, row.logged, Instant::now());
            }
            self.columns.push(row, &chunk.place);
            if self.columns.len() >= GROUP {
                self.group();
                if self.file.as_ref().is_some_and(|file| file.rows >= MAX_ROWS) {
                    self.end();
                }
            }
        }
    }

    /// Writes the rows at hand.
    fn group(&mut self) {
        let rows = self.columns.len();
        if rows > 0
            && let Err(error) = self.write_group()
        {
            let before = self.file.take().map_or(0, |file| file.rows);
            self.lost(before + rows, &error);
        }
    }

    fn write_group(&mut self) -> Result<(), FlowLogError> {
        let batch = self.columns.finish()?;
        let needed = self.keeping.reserve_bytes;
        let free = self.shelf.free()?;
        if free < needed {
            let full = io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{} MiB are free, and {} MiB are left to others", free >> 20, needed >> 20),
            );
            return Err(FlowLogError::disk("write to", self.shelf.root())(full));
        }
        if self.file.is_none() {
            let number = u64::try_from(self.first).unwrap_or(0);
            self.file = Some(Growing::begin(self.shelf.begin(number)?, PACKING)?);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write(&batch))
    }

    /// Gives what there is its place.
    fn end(&mut self) {
        self.group();
        let Some(file) = self.file.take() else { return };
        let rows = file.rows;
        let number = u64::try_from(self.first).unwrap_or(0);
        let placed = file.finish().and_then(|path| {
            let placed = self.shelf.place(&path, self.hour, number);
            placed.inspect_err(|_| drop(fs::remove_file(&path)))
        });
        match placed {
            Ok(path) => self.placed(rows, &path),
            Err(error) => self.lost(rows, &error),
        }
    }

    fn placed(&mut self, rows: usize, path: &Path) {
        self.counts.written.fetch_add(rows as u64, Ordering::Relaxed);
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut self.failing) {
            log::info!("the log of conversations goes on: {}", path.display());
        }
    }

    /// Told once, until it goes on.
    fn lost(&mut self, rows: usize, error: &FlowLogError) {
        let lost = self.counts.lost_to_disk.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64;
        if !std::mem::replace(&mut self.failing, true) {
            log::error!("conversations are not logged: {error} ({lost} are lost so far; it is tried again)");
        }
    }
}
