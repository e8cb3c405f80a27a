//! Reading the log: the conversations of a while, of a host, a port, a verdict. Only the hours are opened that may hold
//! some, and only the row groups read; one group at a time is in memory.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sensor_core::addr::{Mac, Prefix};

use crate::columns::{GROUP, fit, metadata};
use crate::error::{FlowLogError, Unread};
use crate::hour::Hour;
use crate::named::{Texts, numbers};
use crate::shelf::{files, hours};

/// A row lies in the hour in which it was logged, which is so many hours after the frames it counts at most: an hour for
/// one that goes on, and 20 minutes until a forgotten one is noticed.
const LATE: i64 = 2;
/// An hour that is joined while it is opened is opened again, so many times in all: it is joined once in half a minute at most.
const TRIES: usize = 100;
/// Files that are open besides those of an hour, at most.
const OTHERS: u64 = 256;

/// One end of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// An address.
    Ip(IpAddr),
    /// A network.
    Net(Prefix),
    /// A MAC address.
    Mac(Mac),
}

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// Conversations that went on at this time or later, microseconds since 1970.
    pub from: i64,
    /// And before this time.
    pub to: i64,
    /// One end is one of these; empty: any.
    pub hosts: Vec<End>,
    /// The other end is one of these; empty: any.
    pub peers: Vec<End>,
    /// One of the ports.
    pub port: Option<u16>,
    /// What became of it: `pass`, `drop` or `would_drop`.
    pub verdict: Option<&'static str>,
}

/// How much was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scanned {
    /// Files that were opened.
    pub files: usize,
    /// Row groups that were read.
    pub groups: usize,
    /// Row groups that were not, for their statistics say that there is nothing in them.
    pub skipped: usize,
    /// Rows found.
    pub rows: usize,
    /// What could not be read, or not to its end.
    pub unread: Unread,
}

/// Gives the conversations asked for to `found`, in the order in which they were logged. A file that cannot be read is noted,
/// and the others are.
///
/// # Errors
///
/// If there is no log, or `found` cannot write.
pub fn scan(
    root: &Path,
    query: &Query,
    found: &mut dyn FnMut(&RecordBatch) -> Result<(), FlowLogError>,
) -> Result<Scanned, FlowLogError> {
    if !root.is_dir() {
        return Err(FlowLogError::NoLog(root.to_owned()));
    }
    let last = Hour(Hour::of(query.to).0.saturating_add(LATE));
    let mut scanned = Scanned::default();
    if query.from >= query.to {
        return Ok(scanned);
    }
    let all = hours(root, &mut |error| scanned.unread.note(&error))?;
    for (_, dir) in all.range(Hour::of(query.from)..=last) {
        for (path, file) in open(dir, &mut scanned.unread) {
            scanned.files += 1;
            match FlowLogError::guard(&path, || scan_file(&path, &file, query, &mut scanned, found)) {
                Err(error @ FlowLogError::Output(_)) => return Err(error),
                Err(error) => scanned.unread.note(&error),
                Ok(()) => {}
            }
        }
    }
    Ok(scanned)
}

/// All files of an hour, opened at once: so they can be read although they are joined, or deleted, meanwhile. What cannot be
/// opened is noted; what is gone was deleted, or is in the file it was joined into.
pub(crate) fn open(dir: &Path, unread: &mut Unread) -> Vec<(PathBuf, File)> {
    let mut tries = 0;
    loop {
        let (before, mut noted) = (Held::of(dir), Unread::default());
        let opened = open_all(dir, &mut noted);
        tries += 1;
        // Files that were listed in one directory may have been looked for in the one that came in its place.
        if tries < TRIES && before.is_some_and(|before| !before.is_still(dir)) {
            continue;
        }
        unread.add(noted);
        return opened;
    }
}

fn open_all(dir: &Path, unread: &mut Unread) -> Vec<(PathBuf, File)> {
    let there = files(dir).unwrap_or_else(|error| {
        unread.note(&error);
        Vec::new()
    });
    make_room(there.len());
    let mut opened = Vec::with_capacity(there.len());
    for kept in there {
        match File::open(&kept.path) {
            Ok(file) => opened.push((kept.path, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => unread.note(&FlowLogError::disk("open", &kept.path)(error)),
        }
    }
    opened
}

/// A directory as it was: as long as this is there no other gets its number.
struct Held(File);

impl Held {
    fn of(dir: &Path) -> Option<Self> {
        File::open(dir).ok().map(Self)
    }

    /// Whether it has its place still.
    fn is_still(&self, dir: &Path) -> bool {
        let which = |there: io::Result<Metadata>| there.ok().map(|there| (there.dev(), there.ino()));
        which(self.0.metadata()) == which(dir.metadata())
    }
}

/// Has the process have so many files open: an hour that goes on may have more than the 1,024 that it may without asking.
fn make_room(files: usize) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = files as u64 + OTHERS;
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |most| wanted.min(most));
        // What is not given shows when files are opened.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit });
    }
}

fn scan_file(
    path: &Path,
    file: &File,
    query: &Query,
    scanned: &mut Scanned,
    found: &mut dyn FnMut(&RecordBatch) -> Result<(), FlowLogError>,
) -> Result<(), FlowLogError> {
    let wrong = FlowLogError::unreadable(path);
    let metadata = metadata(file, path)?;
    for (at, group) in metadata.metadata().row_groups().iter().enumerate() {
        if !may_hold(group, query) {
            scanned.skipped += 1;
            continue;
        }
        scanned.groups += 1;
        let file = file.try_clone().map_err(FlowLogError::disk("read", path))?;
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
            .with_row_groups(vec![at])
            .with_batch_size(GROUP);
        let filter = filter(query, reader.parquet_schema());
        let rows = reader.with_row_filter(filter).build().map_err(&wrong)?;
        let rows = rows.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(error.into()))?;
        let Some(first) = rows.first() else { continue };
        let rows = by_time(&fit(&concat_batches(&first.schema(), &rows)?)?)?;
        if rows.num_rows() > 0 {
            scanned.rows += rows.num_rows();
            found(&rows)?;
        }
    }
    Ok(())
}

/// Rows in the order in which they were logged.
fn by_time(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let times = numbers::<TimestampMicrosecondType>(rows, "logged_time")?;
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_by_key(|row| times.value(*row as usize));
    take_record_batch(rows, &UInt32Array::from(order))
}

/// Whether a row group may hold something, by its statistics.
fn may_hold(group: &RowGroupMetaData, query: &Query) -> bool {
    let statistics = |name: &str| {
        let column = group.columns().iter().find(|column| column.column_path().string() == name)?;
        column.statistics()
    };
    let late = match statistics("logged_time") {
        Some(Statistics::Int64(logged)) => logged.max_opt().is_none_or(|last| *last >= query.from),
        _ => true,
    };
    let early = match statistics("start_time") {
        Some(Statistics::Int64(start)) => start.min_opt().is_none_or(|first| *first < query.to),
        _ => true,
    };
    let verdict = match (query.verdict, statistics("verdict")) {
        (Some(wanted), Some(Statistics::ByteArray(verdict))) => {
            let range = verdict.min_opt().zip(verdict.max_opt());
            range.is_none_or(|(min, max)| (min.data()..=max.data()).contains(&wanted.as_bytes()))
        }
        _ => true,
    };
    late && early && verdict
}

/// What rows are read: those of the time first, of these those of the hosts, ports and verdicts.
fn filter(query: &Query, schema: &parquet::schema::types::SchemaDescriptor) -> RowFilter {
    let (from, to) = (query.from, query.to);
    let columns = ["start_time", "since_time", "end_time"];
    let mut predicates: Vec<Box<dyn ArrowPredicate>> =
        vec![Box::new(ArrowPredicateFn::new(ProjectionMask::columns(schema, columns), move |rows| {
            in_time(&rows, from, to)
        }))];
    let query = Wanted::new(query);
    if !query.columns.is_empty() {
        let mask = ProjectionMask::columns(schema, query.columns.iter().copied());
        predicates.push(Box::new(ArrowPredicateFn::new(mask, move |rows| query.of(&rows))));
    }
    RowFilter::new(predicates)
}

fn in_time(rows: &RecordBatch, from: i64, to: i64) -> Result<BooleanArray, ArrowError> {
    let column = |name| numbers::<TimestampMicrosecondType>(rows, name);
    let (start, since, end) = (column("start_time")?, column("since_time")?, column("end_time")?);
    let wanted = (0..rows.num_rows()).map(|row| {
        let begin = if since.is_null(row) { start.value(row) } else { since.value(row) };
        // One that was quiet since it was last told may end before that.
        begin < to && end.value(row).max(begin) >= from
    });
    Ok(wanted.collect::<Vec<_>>().into())
}

/// Ends by how they are looked up.
#[derive(Default)]
struct Ends {
    any: bool,
    texts: HashSet<String>,
    nets: Vec<Prefix>,
}

impl Ends {
    fn new(ends: &[End]) -> Self {
        let mut sorted = Self { any: ends.is_empty(), ..Self::default() };
        for end in ends {
            match end {
                End::Ip(ip) => drop(sorted.texts.insert(ip.to_string())),
                End::Mac(mac) => drop(sorted.texts.insert(mac.to_string())),
                End::Net(net) => sorted.nets.push(*net),
            }
        }
        sorted
    }

    fn holds(&self, text: &str) -> bool {
        self.any
            || self.texts.contains(text)
            || (!self.nets.is_empty()
                && text.parse().is_ok_and(|ip: IpAddr| self.nets.iter().any(|net| net.contains(ip))))
    }

    /// For each row, whether one of these columns is one of them.
    fn of(&self, rows: &RecordBatch, names: [&str; 2]) -> Result<Vec<bool>, ArrowError> {
        let mut held = vec![self.any; rows.num_rows()];
        if self.any {
            return Ok(held);
        }
        for name in names {
            let texts = Texts::of(rows, name)?;
            let words = texts.words().into_iter().map(|word| word.is_some_and(|word| self.holds(word)));
            let words: Vec<_> = words.collect();
            for (row, held) in held.iter_mut().enumerate() {
                *held |= texts.word(row).is_some_and(|word| words[word]);
            }
        }
        Ok(held)
    }
}

/// What is wanted besides the time, and the columns that tell.
struct Wanted {
    hosts: Ends,
    peers: Ends,
    port: Option<u16>,
    verdict: Option<&'static str>,
    columns: Vec<&'static str>,
}

impl Wanted {
    fn new(query: &Query) -> Self {
        let mut columns = Vec::new();
        if !query.hosts.is_empty() || !query.peers.is_empty() {
            columns.extend(["src_ip", "dest_ip", "src_mac", "dest_mac"]);
        }
        if query.port.is_some() {
            columns.extend(["src_port", "dest_port"]);
        }
        columns.extend(query.verdict.map(|_| "verdict"));
        let (hosts, peers) = (Ends::new(&query.hosts), Ends::new(&query.peers));
        Self { hosts, peers, port: query.port, verdict: query.verdict, columns }
    }

    fn of(&self, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let mut wanted = vec![true; rows.num_rows()];
        if !self.hosts.any || !self.peers.any {
            let (src, dest) = (["src_ip", "src_mac"], ["dest_ip", "dest_mac"]);
            let (from_host, to_host) = (self.hosts.of(rows, src)?, self.hosts.of(rows, dest)?);
            let (from_peer, to_peer) = (self.peers.of(rows, src)?, self.peers.of(rows, dest)?);
            for (row, wanted) in wanted.iter_mut().enumerate() {
                *wanted = (from_host[row] && to_peer[row]) || (to_host[row] && from_peer[row]);
            }
        }
        if let Some(port) = self.port {
            let (src, dest) = (numbers(rows, "src_port")?, numbers(rows, "dest_port")?);
            let is = |column: &arrow_array::Int32Array, row| {
                column.is_valid(row) && column.value(row) == i32::from(port)
            };
            for (row, wanted) in wanted.iter_mut().enumerate() {
                *wanted &= is(src, row) || is(dest, row);
            }
        }
        if let Some(verdict) = self.verdict {
            let is = Ends { texts: HashSet::from([verdict.to_owned()]), ..Ends::default() };
            let is = is.of(rows, ["verdict", "verdict"])?;
            wanted.iter_mut().zip(is).for_each(|(wanted, is)| *wanted &= is);
        }
        Ok(wanted.into())
    }
}
