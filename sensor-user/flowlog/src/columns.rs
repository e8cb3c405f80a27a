//! The columns of a file: their names and types, and how rows become them.
//!
//! Names are those of EVE where it has one. Types are those every reader takes: times in microseconds UTC (Spark reads no
//! nanoseconds), numbers with a sign, addresses as text, which is packed by its dictionary. Within a row group rows lie by
//! address and not by time: that takes a third less room, and a group is short anyway.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::hash::Hash;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{Float64Builder, Int32Builder, Int64Builder, TimestampMicrosecondBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_select::take::take_record_batch;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sensor_core::addr::Mac;
use sensor_core::flow::{ICMP, ICMP6, TCP, UDP};
use sensor_core::observation::{EndReason, FlowId, Kind, Verdict};
use sensor_core::tunnel::Wrapping;

use crate::error::FlowLogError;
use crate::named::Texts;
use crate::row::{Place, Row};

/// Rows of a group. Half as many take 4 % more room, twice as many 3 % less, and twice the memory of who writes and reads.
pub const GROUP: usize = 65_536;
/// A dictionary may be so large: a scan names 65,536 addresses.
const DICTIONARY: usize = 4 << 20;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Time,
    Text,
    Short,
    Long,
    Part,
}

use Type::{Long, Part, Short, Text, Time};

/// All columns: name, type, and whether a row may have none. One that is added may be missing in files of earlier releases, so
/// a row must be able to have none.
const COLUMNS: [(&str, Type, bool); 32] = [
    ("logged_time", Time, false),
    ("start_time", Time, false),
    ("since_time", Time, true),
    ("end_time", Time, false),
    ("src_ip", Text, false),
    ("src_port", Short, true),
    ("dest_ip", Text, false),
    ("dest_port", Short, true),
    ("proto", Text, false),
    ("icmp_type", Short, true),
    ("icmp_code", Short, true),
    ("src_mac", Text, false),
    ("dest_mac", Text, false),
    ("vlan", Short, true),
    ("in_iface", Text, true),
    ("segment", Text, true),
    ("src_device", Long, true),
    ("dest_device", Long, true),
    ("pkts_toserver", Long, false),
    ("bytes_toserver", Long, false),
    ("drops_toserver", Long, false),
    ("tcp_flags_ts", Short, true),
    ("pkts_toclient", Long, false),
    ("bytes_toclient", Long, false),
    ("drops_toclient", Long, false),
    ("tcp_flags_tc", Short, true),
    ("reason", Text, false),
    ("verdict", Text, false),
    ("coverage", Part, true),
    ("tunnel", Text, true),
    ("inner_src_ip", Text, true),
    ("inner_dest_ip", Text, true),
];

impl Type {
    fn arrow(self) -> DataType {
        match self {
            Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Text => DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()),
            Short => DataType::Int32,
            Long => DataType::Int64,
            Part => DataType::Float64,
        }
    }
}

/// The columns as Arrow knows them.
pub static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = COLUMNS.iter().map(|(name, kind, nullable)| Field::new(*name, kind.arrow(), *nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
});

/// How files are written; `level` is how hard zstd tries.
///
/// # Errors
///
/// If there is no such level.
pub fn properties(level: i32) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("Sekisho ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
        .set_max_row_group_row_count(Some(GROUP))
        .set_dictionary_page_size_limit(DICTIONARY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for (name, kind, _) in COLUMNS {
        if kind == Time || name == "src_port" {
            let path = ColumnPath::from(name);
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
    }
    Ok(properties.build())
}

/// What a file says of itself.
///
/// # Errors
///
/// If it is no file of ours. One whose row groups claim more rows than any of ours has is none: a few bytes may stand for
/// millions of equal rows.
pub fn metadata(file: &File, path: &Path) -> Result<ArrowReaderMetadata, FlowLogError> {
    let wrong = FlowLogError::unreadable(path);
    let metadata = ArrowReaderMetadata::load(file, ArrowReaderOptions::new()).map_err(&wrong)?;
    let mut groups = metadata.metadata().row_groups().iter();
    match groups.find(|group| !(0..=GROUP as i64).contains(&group.num_rows())) {
        Some(group) => Err(wrong(ParquetError::General(format!(
            "one of its row groups claims {} rows, where {GROUP} are the most",
            group.num_rows()
        )))),
        None => Ok(metadata),
    }
}

/// A column of texts: each is kept once.
struct Words<K> {
    keys: Int32Builder,
    seen: HashMap<K, i32>,
    words: Vec<String>,
}

impl<K> Default for Words<K> {
    fn default() -> Self {
        Self { keys: Int32Builder::new(), seen: HashMap::new(), words: Vec::new() }
    }
}

impl<K: Hash + Eq + Display> Words<K> {
    fn push(&mut self, word: Option<K>) {
        let Self { keys, seen, words } = self;
        keys.append_option(word.map(|word| {
            let next = words.len() as i32;
            *seen.entry(word).or_insert_with_key(|word| {
                words.push(word.to_string());
                next
            })
        }));
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.seen.clear();
        let words = StringArray::from(std::mem::take(&mut self.words));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(self.keys.finish(), Arc::new(words))?))
    }
}

/// Rows on their way to be columns.
#[derive(Default)]
pub struct Columns {
    rows: usize,
    times: [TimestampMicrosecondBuilder; 4],
    ips: [Words<IpAddr>; 4],
    macs: [Words<Mac>; 2],
    /// Protocol, port, segment.
    places: [Words<String>; 3],
    /// Reason, verdict, wrapping.
    words: [Words<&'static str>; 3],
    /// Ports, ICMP type and code, VLAN, TCP flags.
    shorts: [Int32Builder; 7],
    /// Devices; frames, bytes and drops each way.
    longs: [Int64Builder; 8],
    coverage: Float64Builder,
}

impl Columns {
    /// Rows taken in since the last [`Columns::finish`].
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Takes in a row.
    pub fn push(&mut self, row: &Row, place: &Place) {
        self.rows += 1;
        let times = [Some(row.logged), Some(row.start), row.since, Some(row.end)];
        self.times.iter_mut().zip(times).for_each(|(to, time)| to.append_option(time));
        let id = &row.id;
        let inner = row.inner.as_deref();
        let ips = [Some(id.src), Some(id.dst), inner.map(|inner| inner.src), inner.map(|inner| inner.dst)];
        self.ips.iter_mut().zip(ips).for_each(|(to, ip)| to.push(ip));
        self.macs.iter_mut().zip([row.smac, row.dmac]).for_each(|(to, mac)| to.push(Some(mac)));
        let places =
            [Some(protocol(id)), place.ports.get(&id.port).cloned(), place.segment(id).map(str::to_owned)];
        self.places.iter_mut().zip(places).for_each(|(to, word)| to.push(word));
        let words =
            [Some(reason(row.reason)), Some(verdict(row.verdict)), inner.map(|i| wrapping(i.wrapping))];
        self.words.iter_mut().zip(words).for_each(|(to, word)| to.push(word));
        self.shorts.iter_mut().zip(shorts(row)).for_each(|(to, number)| to.append_option(number));
        let (there, back) = (&row.to_server, &row.to_client);
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let [src, dest] = row.devices.map(|device| device.map(whole));
        let counts = [there.packets, there.bytes, there.drops, back.packets, back.bytes, back.drops];
        let counts = counts.map(|count| Some(whole(count)));
        let longs = [src, dest].into_iter().chain(counts);
        self.longs.iter_mut().zip(longs).for_each(|(to, number)| to.append_option(number));
        self.coverage.append_option(row.coverage);
    }

    /// The rows as columns, by address and then in the order they came in; and begins anew.
    ///
    /// # Errors
    ///
    /// If the columns do not fit together.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let utc = |builder: &mut TimestampMicrosecondBuilder| builder.finish().with_timezone("UTC");
        let [logged, start, since, end] = self.times.each_mut().map(|b| Arc::new(utc(b)) as ArrayRef);
        let [src_ip, dest_ip, inner_src, inner_dest] = self.ips.each_mut().map(Words::finish);
        let [src_mac, dest_mac] = self.macs.each_mut().map(Words::finish);
        let [proto, port, segment] = self.places.each_mut().map(Words::finish);
        let [reason, verdict, tunnel] = self.words.each_mut().map(Words::finish);
        let [src_port, dest_port, icmp_type, icmp_code, vlan, flags_there, flags_back] =
            self.shorts.each_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let [src_device, dest_device, packets, bytes, drops, packets_back, bytes_back, drops_back] =
            self.longs.each_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let coverage = Arc::new(self.coverage.finish()) as ArrayRef;
        let columns = vec![
            logged,
            start,
            since,
            end,
            src_ip?,
            src_port,
            dest_ip?,
            dest_port,
            proto?,
            icmp_type,
            icmp_code,
            src_mac?,
            dest_mac?,
            vlan,
            port?,
            segment?,
            src_device,
            dest_device,
            packets,
            bytes,
            drops,
            flags_there,
            packets_back,
            bytes_back,
            drops_back,
            flags_back,
            reason?,
            verdict?,
            coverage,
            tunnel?,
            inner_src?,
            inner_dest?,
        ];
        by_address(&RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
    }
}

/// The numbers of a row that not every protocol has.
fn shorts(row: &Row) -> [Option<i32>; 7] {
    let id = &row.id;
    let icmp = id.kind == Kind::Ip && matches!(id.proto, ICMP | ICMP6);
    let ports = id.kind == Kind::Ip && !icmp && (id.sport, id.dport) != (0, 0);
    let tcp = id.kind == Kind::Ip && id.proto == TCP;
    let when = |is: bool, number: u16| is.then_some(i32::from(number));
    [
        when(ports, id.sport),
        when(ports, id.dport),
        when(icmp, id.sport >> 8),
        when(icmp, id.sport & 0xff),
        when(id.vlan != 0, id.vlan),
        when(tcp, u16::from(row.to_server.tcp_flags)),
        when(tcp, u16::from(row.to_client.tcp_flags)),
    ]
}

/// The protocol as EVE writes it.
fn protocol(id: &FlowId) -> String {
    match (id.kind, id.proto) {
        (Kind::Arp, _) => "ARP".to_owned(),
        (_, ICMP) => "ICMP".to_owned(),
        (_, TCP) => "TCP".to_owned(),
        (_, UDP) => "UDP".to_owned(),
        (_, ICMP6) => "IPv6-ICMP".to_owned(),
        (_, other) => other.to_string(),
    }
}

fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Closed => "closed",
        EndReason::Timeout => "timeout",
        EndReason::Shutdown => "shutdown",
        EndReason::Evicted => "evicted",
        EndReason::Active => "active",
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Drop => "drop",
        Verdict::WouldDrop => "would_drop",
    }
}

fn wrapping(wrapping: Wrapping) -> &'static str {
    match wrapping {
        Wrapping::Ipip => "ipip",
        Wrapping::Ip6 => "ip6",
        Wrapping::Gre => "gre",
        Wrapping::Vxlan => "vxlan",
        Wrapping::Geneve => "geneve",
    }
}

/// Rows with the columns of this release, by their names: a column that is missing has no value, one too many is left out.
///
/// # Errors
///
/// If one is missing that each row has, or is of another type.
pub fn fit(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let none = |field: &Field| new_null_array(field.data_type(), rows.num_rows());
    let column =
        |field: &Arc<Field>| rows.column_by_name(field.name()).cloned().unwrap_or_else(|| none(field));
    RecordBatch::try_new(Arc::clone(&SCHEMA), SCHEMA.fields().iter().map(column).collect())
}

/// The rows of a group in the order in which they lie in it.
///
/// # Errors
///
/// If a column is missing.
pub fn by_address(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let [src, dest] = ["src_ip", "dest_ip"].map(|name| ranks(batch, name));
    let (src, dest) = (src?, dest?);
    let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
    // Stable: those with the same addresses stay in the order of time.
    order.sort_by_key(|row| (src[*row as usize], dest[*row as usize]));
    take_record_batch(batch, &UInt32Array::from(order))
}

/// The place of each row's text among all texts of its column.
fn ranks(batch: &RecordBatch, name: &str) -> Result<Vec<u32>, ArrowError> {
    let texts = Texts::of(batch, name)?;
    let words = texts.words();
    let mut order: Vec<u32> = (0..words.len() as u32).collect();
    order.sort_by_key(|word| words[*word as usize]);
    let mut rank = vec![0; words.len()];
    order.iter().enumerate().for_each(|(at, word)| rank[*word as usize] = at as u32);
    Ok((0..batch.num_rows()).map(|row| texts.word(row).map_or(0, |word| rank[word])).collect())
}
