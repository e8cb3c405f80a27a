//! What passed in a while, added up by segment, and who offers what to whom: of the log's hours only a few columns are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sensor_core::inventory::cards::DeviceId;

use crate::error::{FlowLogError, Unread};
use crate::hour::Hour;
use crate::query::open;
use crate::shelf::hours;

/// Flags of TCP that answer a connection that is let in.
const SYN_ACK: i32 = 0x12;
/// The columns that are read.
const COLUMNS: [&str; 9] = [
    "logged_time",
    "segment",
    "reason",
    "verdict",
    "bytes_toserver",
    "bytes_toclient",
    "dest_device",
    "dest_port",
    "tcp_flags_tc",
];

/// What passed in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Total {
    /// Conversations that ended.
    pub conversations: u64,
    /// Of these, those of which frames were dropped.
    pub dropped: u64,
    /// Bytes, both ways.
    pub bytes: u64,
}

/// What passed in a while.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// By segment; none: what is in no segment.
    pub segments: BTreeMap<Option<String>, Total>,
    /// TCP ports of those asked for at which a device answered, by its number.
    pub served: BTreeMap<DeviceId, BTreeSet<u16>>,
    /// Hours of which there is something.
    pub hours: u64,
    /// What could not be read, or not to its end: it is missing.
    pub unread: Unread,
}

/// Adds up what was logged from `from` on and before `to` (microseconds since 1970). `ports` are those of which it is wanted who
/// serves them; `progress` is told the part that is done, 0 to 1.
///
/// # Errors
///
/// If there is no log.
pub fn totals(
    root: &Path,
    (from, to): (i64, i64),
    ports: &[u16],
    progress: &mut dyn FnMut(f64),
) -> Result<Totals, FlowLogError> {
    if !root.is_dir() {
        return Err(FlowLogError::NoLog(root.to_owned()));
    }
    let mut totals = Totals::default();
    if from >= to {
        return Ok(totals);
    }
    let all = hours(root, &mut |error| totals.unread.note(&error))?;
    let wanted: Vec<_> = all.range(Hour::of(from)..=Hour::of(to - 1)).map(|(_, dir)| dir).collect();
    totals.hours = wanted.len() as u64;
    for (at, dir) in wanted.iter().enumerate() {
        for (path, file) in open(dir, &mut totals.unread) {
            let added = FlowLogError::guard(&path, || totals.add_file(&path, file, (from, to), ports));
            added.unwrap_or_else(|error| totals.unread.note(&error));
        }
        progress((at + 1) as f64 / wanted.len() as f64);
    }
    Ok(totals)
}

impl Totals {
    fn add_file(
        &mut self,
        path: &Path,
        file: File,
        time: (i64, i64),
        ports: &[u16],
    ) -> Result<(), FlowLogError> {
        let wrong = FlowLogError::unreadable(path);
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(&wrong)?;
        let mask = ProjectionMask::columns(reader.parquet_schema(), COLUMNS);
        for rows in reader.with_projection(mask).build().map_err(&wrong)? {
            self.add(&rows.map_err(|error| wrong(error.into()))?, time, ports)?;
        }
        Ok(())
    }

    fn add(&mut self, rows: &RecordBatch, (from, to): (i64, i64), ports: &[u16]) -> Result<(), ArrowError> {
        let missing = |name: &str| ArrowError::SchemaError(format!("the column {name} is missing"));
        let column = |name: &str| rows.column_by_name(name).ok_or_else(|| missing(name));
        let whole = |name: &str| {
            let column = column(name)?.as_primitive_opt::<Int64Type>();
            column.ok_or_else(|| missing(name))
        };
        let short = |name: &str| {
            let column = column(name)?.as_primitive_opt::<Int32Type>();
            column.ok_or_else(|| missing(name))
        };
        let logged = column("logged_time")?.as_primitive_opt::<TimestampMicrosecondType>();
        let logged = logged.ok_or_else(|| missing("logged_time"))?;
        let (segment, reason) = (Words::of(column("segment")?)?, Words::of(column("reason")?)?);
        let verdict = Words::of(column("verdict")?)?;
        let (there, back) = (whole("bytes_toserver")?, whole("bytes_toclient")?);
        let (device, port, flags) = (whole("dest_device")?, short("dest_port")?, short("tcp_flags_tc")?);
        for row in (0..rows.num_rows()).filter(|row| (from..to).contains(&logged.value(*row))) {
            let total = self.segments.entry(segment.at(row).map(str::to_owned)).or_default();
            for bytes in [there.value(row), back.value(row)] {
                total.bytes = total.bytes.saturating_add(bytes.max(0).unsigned_abs());
            }
            // One that goes on is told in parts, and counts when it ends.
            if reason.at(row) != Some("active") {
                total.conversations += 1;
                total.dropped += u64::from(verdict.at(row) == Some("drop"));
            }
            let let_in = flags.is_valid(row) && flags.value(row) & SYN_ACK == SYN_ACK;
            if !let_in || device.is_null(row) || port.is_null(row) {
                continue;
            }
            if let Some(port) = u16::try_from(port.value(row)).ok().filter(|port| ports.contains(port)) {
                let device = device.value(row).max(0).unsigned_abs();
                self.served.entry(device).or_default().insert(port);
            }
        }
        Ok(())
    }
}

/// A column of words, each kept once.
struct Words<'a> {
    keys: &'a arrow_array::Int32Array,
    words: &'a StringArray,
}

impl<'a> Words<'a> {
    fn of(column: &'a dyn Array) -> Result<Self, ArrowError> {
        let wrong = || ArrowError::SchemaError("a column is not of words".to_owned());
        let column = column.as_dictionary_opt::<Int32Type>().ok_or_else(wrong)?;
        let words = column.values().as_string_opt::<i32>().ok_or_else(wrong)?;
        Ok(Self { keys: column.keys(), words })
    }

    fn at(&self, row: usize) -> Option<&'a str> {
        if self.keys.is_null(row) {
            return None;
        }
        let key = usize::try_from(self.keys.value(row)).ok()?;
        (key < self.words.len() && self.words.is_valid(key)).then(|| self.words.value(key))
    }
}
