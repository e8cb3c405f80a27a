//! What passed in a while, added up by segment, and who offers what to whom: of the log's hours only a few columns are read.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::path::Path;

use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BooleanArray, PrimitiveArray, RecordBatch};
use arrow_schema::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ParquetRecordBatchReaderBuilder, RowFilter};
use sensor_core::inventory::cards::DeviceId;

use crate::columns::metadata;
use crate::error::{FlowLogError, Unread};
use crate::hour::Hour;
use crate::named::{Texts, numbers};
use crate::query::open;
use crate::shelf::hours;

/// Flags of TCP that answer a connection that is let in.
const SYN_ACK: i32 = 0x12;
/// Why a row was written of a conversation that goes on, and what became of one that frames were dropped of.
const ACTIVE: &str = "active";
const DROP: &str = "drop";
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
/// Those that tell what is a part of a conversation that matters, and those that are read of such a part.
const PART: [&str; 3] = ["reason", "verdict", "since_time"];
const PARTS: [&str; 11] = [
    "logged_time",
    "segment",
    "reason",
    "verdict",
    "start_time",
    "src_ip",
    "src_port",
    "dest_ip",
    "dest_port",
    "proto",
    "vlan",
];
/// Conversations that go on of which it is kept that frames were dropped; of more it is not. The daemon follows 262,144 at a
/// time unless it is told otherwise, and those that it was killed with never end.
const MAX_DROPPED: usize = 1 << 20;

/// What passed in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Total {
    /// Conversations that ended.
    pub conversations: u64,
    /// Of these, those of which frames were dropped, in whichever part.
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
    /// Conversations that go on and of which frames were dropped in an earlier part.
    dropped: HashSet<u64>,
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
        let again = file.try_clone().map_err(FlowLogError::disk("read", path))?;
        let metadata = metadata(&file, path)?;
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
        let mask = ProjectionMask::columns(reader.parquet_schema(), COLUMNS);
        for rows in reader.with_projection(mask).build().map_err(&wrong)? {
            self.add(&rows.map_err(|error| wrong(error.into()))?, time, ports)?;
        }
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(again, metadata);
        let [part, mask] = [&PART[..], &PARTS]
            .map(|names| ProjectionMask::columns(reader.parquet_schema(), names.iter().copied()));
        let filter = RowFilter::new(vec![Box::new(ArrowPredicateFn::new(part, |rows| is_part(&rows)))]);
        for rows in reader.with_projection(mask).with_row_filter(filter).build().map_err(&wrong)? {
            self.add_parts(&rows.map_err(|error| wrong(error.into()))?, time)?;
        }
        Ok(())
    }

    fn add(&mut self, rows: &RecordBatch, (from, to): (i64, i64), ports: &[u16]) -> Result<(), ArrowError> {
        let whole = |name| numbers::<Int64Type>(rows, name);
        let short = |name| numbers::<Int32Type>(rows, name);
        let text = |name| Texts::of(rows, name);
        let logged = numbers::<TimestampMicrosecondType>(rows, "logged_time")?;
        let (segment, reason, verdict) = (text("segment")?, text("reason")?, text("verdict")?);
        let (there, back) = (whole("bytes_toserver")?, whole("bytes_toclient")?);
        let (device, port, flags) = (whole("dest_device")?, short("dest_port")?, short("tcp_flags_tc")?);
        for row in (0..rows.num_rows()).filter(|row| (from..to).contains(&logged.value(*row))) {
            let total = self.segments.entry(segment.get(row).map(str::to_owned)).or_default();
            for bytes in [there.value(row), back.value(row)] {
                total.bytes = total.bytes.saturating_add(bytes.max(0).unsigned_abs());
            }
            // One that goes on is told in parts, and counts when it ends.
            if reason.get(row) != Some(ACTIVE) {
                total.conversations += 1;
                total.dropped += u64::from(verdict.get(row) == Some(DROP));
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

    /// Counts conversations of which no frame was dropped in their last part, and of which some were in an earlier one.
    fn add_parts(&mut self, rows: &RecordBatch, (from, to): (i64, i64)) -> Result<(), ArrowError> {
        let time = |name| numbers::<TimestampMicrosecondType>(rows, name);
        let short = |name| numbers::<Int32Type>(rows, name);
        let text = |name| Texts::of(rows, name);
        let (logged, start) = (time("logged_time")?, time("start_time")?);
        let (segment, reason, verdict) = (text("segment")?, text("reason")?, text("verdict")?);
        let (src, dest, proto) = (text("src_ip")?, text("dest_ip")?, text("proto")?);
        let (src_port, dest_port, vlan) = (short("src_port")?, short("dest_port")?, short("vlan")?);
        for row in (0..rows.num_rows()).filter(|row| (from..to).contains(&logged.value(*row))) {
            let mut which = DefaultHasher::new();
            (start.value(row), [src, dest, proto].map(|text| text.get(row))).hash(&mut which);
            let number = |column: &PrimitiveArray<Int32Type>| column.is_valid(row).then(|| column.value(row));
            [src_port, dest_port, vlan].map(number).hash(&mut which);
            let which = which.finish();
            if reason.get(row) == Some(ACTIVE) {
                if self.dropped.len() < MAX_DROPPED {
                    self.dropped.insert(which);
                }
            } else if self.dropped.remove(&which) && verdict.get(row) != Some(DROP) {
                self.segments.entry(segment.get(row).map(str::to_owned)).or_default().dropped += 1;
            }
        }
        Ok(())
    }
}

/// Parts that frames were dropped of, and last parts.
fn is_part(rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
    let (reason, verdict) = (Texts::of(rows, "reason")?, Texts::of(rows, "verdict")?);
    let since = numbers::<TimestampMicrosecondType>(rows, "since_time")?;
    let is = (0..rows.num_rows()).map(|row| {
        let goes_on = reason.get(row) == Some(ACTIVE);
        if goes_on { verdict.get(row) == Some(DROP) } else { since.is_valid(row) }
    });
    Ok(is.collect::<Vec<_>>().into())
}
