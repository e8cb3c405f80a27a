//! The log as a whole: written, killed, joined, deleted, copied, read.

mod copied;
mod kept;
mod killed;
mod meanwhile;
mod measure;
mod read;
mod readers;
mod tidied;
mod totals;
pub mod traffic;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::log::{Counts, Keeping};
use crate::row::{Chunk, Row};
use crate::shelf::{Shelf, files, hours};
use crate::tidy::Tidier;
use crate::writer::Writer;
use traffic::{Traffic, place};

/// Nothing is deleted.
const KEEPING: Keeping =
    Keeping { every_ns: 60_000_000_000, days: 3_650, max_bytes: u64::MAX, reserve_bytes: 0 };
/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;

/// A log in a directory of its own, with no threads.
struct Log {
    dir: tempfile::TempDir,
    shelf: Arc<Shelf>,
    counts: Arc<Counts>,
}

impl Log {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (shelf, cut_short) = Shelf::take(dir.path()).unwrap();
        assert!(!cut_short);
        Self { dir, shelf: Arc::new(shelf), counts: Arc::default() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn writer(&self, keeping: Keeping) -> Writer {
        Writer::new(Arc::clone(&self.shelf), keeping, Arc::clone(&self.counts))
    }

    /// Writes these into files of their own.
    fn write(&self, rows: Vec<Row>) {
        self.write_as(KEEPING, rows);
    }

    fn write_as(&self, keeping: Keeping, rows: Vec<Row>) {
        let (chunks, inbox) = sync_channel(1);
        chunks.send(Chunk { rows, place: Arc::new(place()) }).unwrap();
        drop(chunks);
        self.writer(keeping).run(&inbox);
    }

    fn tidier(&self, keeping: Keeping) -> Tidier {
        Tidier::new(Arc::clone(&self.shelf), keeping, Arc::clone(&self.counts), false)
    }

    /// The files, by hour.
    fn files(&self) -> BTreeMap<String, Vec<String>> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let all = hours(self.path(), &mut |error| panic!("{error}")).unwrap();
        all.iter()
            .map(|(hour, dir)| {
                (hour.to_string(), files(dir).unwrap().iter().map(|file| name(&file.path)).collect())
            })
            .collect()
    }
}

/// Everything in a file.
fn everything(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    reader.build().unwrap().collect::<Result<_, _>>().unwrap()
}

/// A column of numbers of all files of a log, in the order in which they lie.
fn numbers(root: &Path, column: &str) -> Vec<i64> {
    let mut all = Vec::new();
    for dir in hours(root, &mut |error| panic!("{error}")).unwrap().values() {
        for file in files(dir).unwrap() {
            for batch in everything(&file.path) {
                let column = batch.column_by_name(column).unwrap();
                all.extend(column.as_primitive::<Int64Type>().values());
            }
        }
    }
    all
}

/// Rows told in the course of an hour, each with its number as its bytes.
fn numbered(hour: i64, numbers: std::ops::Range<u64>) -> Vec<Row> {
    let count = numbers.end - numbers.start;
    let mut traffic = Traffic::new(numbers.start, 1_000);
    let one = |number: u64| {
        let mut row = traffic.row();
        let at =
            traffic::EPOCH / 1_000 + hour * HOUR + ((number - numbers.start) * HOUR as u64 / count) as i64;
        let took = row.logged - row.start;
        (row.logged, row.end, row.start) = (at, at, at - took.min(60_000_000));
        row.to_server.bytes = number;
        row
    };
    numbers.clone().map(one).collect()
}
