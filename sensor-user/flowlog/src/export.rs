//! Telling rows that were found: as sentences, CSV, JSON lines, or a Parquet file again. Each row group is written before
//! the next is read.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, PrimitiveArray, RecordBatch};
use arrow_schema::{ArrowError, DataType};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use serde_json::{Map, Value};

use crate::columns::{SCHEMA, properties};
use crate::error::{FlowLogError, io_error};
use crate::named::Texts;

/// How hard a Parquet file is packed.
const PACKING: i32 = 3;
/// A date and time as machines read it, to the microsecond.
const MACHINE: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

/// How rows are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A sentence each, with local time.
    Human,
    /// Comma-separated, with the names of the columns as first line.
    Csv,
    /// An object a line.
    Json,
    /// A file like those of the log.
    Parquet,
}

/// One value of a row.
enum Cell<'a> {
    None,
    Time(i64),
    Int(i64),
    Part(f64),
    Text(&'a str),
}

/// A column, as what it is.
enum Column<'a> {
    Time(&'a PrimitiveArray<TimestampMicrosecondType>),
    Short(&'a PrimitiveArray<Int32Type>),
    Long(&'a PrimitiveArray<Int64Type>),
    Part(&'a PrimitiveArray<Float64Type>),
    Text(Texts<'a>),
}

impl<'a> Column<'a> {
    fn new(column: &'a dyn Array) -> Result<Self, ArrowError> {
        let known = match column.data_type() {
            DataType::Timestamp(..) => column.as_primitive_opt().map(Self::Time),
            DataType::Int32 => column.as_primitive_opt().map(Self::Short),
            DataType::Int64 => column.as_primitive_opt().map(Self::Long),
            DataType::Float64 => column.as_primitive_opt().map(Self::Part),
            DataType::Dictionary(..) => Texts::new(column).map(Self::Text),
            _ => None,
        };
        known.ok_or_else(|| ArrowError::SchemaError(format!("{} is no type of this log", column.data_type())))
    }

    fn cell(&self, row: usize) -> Cell<'a> {
        match self {
            Self::Time(times) if times.is_valid(row) => Cell::Time(times.value(row)),
            Self::Short(numbers) if numbers.is_valid(row) => Cell::Int(numbers.value(row).into()),
            Self::Long(numbers) if numbers.is_valid(row) => Cell::Int(numbers.value(row)),
            Self::Part(numbers) if numbers.is_valid(row) => Cell::Part(numbers.value(row)),
            Self::Text(texts) => texts.get(row).map_or(Cell::None, Cell::Text),
            _ => Cell::None,
        }
    }
}

fn columns(rows: &RecordBatch) -> Result<Vec<Column<'_>>, ArrowError> {
    rows.columns().iter().map(|column| Column::new(column.as_ref())).collect()
}

fn moment(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or_default()
}

/// Tells rows.
pub struct Exporter<W: Write + Send> {
    to: To<W>,
    names: HashMap<String, String>,
    zone: TimeZone,
}

enum To<W: Write + Send> {
    Human(W),
    Csv(Box<csv::Writer<W>>, bool),
    Json(W),
    Parquet(Box<ArrowWriter<W>>),
}

impl<W: Write + Send> Exporter<W> {
    /// Tells rows to `to`; `names` are those of addresses, for people.
    ///
    /// # Errors
    ///
    /// If it cannot be written to.
    pub fn new(to: W, format: Format, names: HashMap<String, String>) -> Result<Self, FlowLogError> {
        let to = match format {
            Format::Human => To::Human(to),
            Format::Csv => To::Csv(Box::new(csv::Writer::from_writer(to)), false),
            Format::Json => To::Json(to),
            Format::Parquet => {
                let properties = properties(PACKING).map_err(wrong)?;
                let writer = ArrowWriter::try_new(to, Arc::clone(&SCHEMA), Some(properties));
                To::Parquet(Box::new(writer.map_err(wrong)?))
            }
        };
        Ok(Self { to, names, zone: TimeZone::system() })
    }

    /// Tells these.
    ///
    /// # Errors
    ///
    /// If they cannot be written, or are none of this log.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), FlowLogError> {
        match &mut self.to {
            To::Parquet(writer) => writer.write(rows).and_then(|()| writer.flush()).map_err(wrong),
            To::Csv(writer, begun) => {
                if !std::mem::replace(begun, true) {
                    header(writer)?;
                }
                csv(writer, rows)
            }
            To::Json(to) => json(to, rows),
            To::Human(to) => human(to, rows, &self.names, &self.zone),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// If the end cannot be written.
    pub fn finish(self) -> Result<(), FlowLogError> {
        match self.to {
            To::Parquet(writer) => writer.close().map(drop).map_err(wrong),
            To::Csv(mut writer, begun) => {
                if !begun {
                    header(&mut writer)?;
                }
                writer.flush().map_err(FlowLogError::Output)
            }
            To::Json(mut to) | To::Human(mut to) => to.flush().map_err(FlowLogError::Output),
        }
    }
}

/// Says what the system said, so that whoever reads no more is known for that.
fn wrong(error: ParquetError) -> FlowLogError {
    FlowLogError::Output(io_error(error).unwrap_or_else(io::Error::other))
}

fn unwritten(error: csv::Error) -> FlowLogError {
    FlowLogError::Output(match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    })
}

fn header<W: Write>(writer: &mut csv::Writer<W>) -> Result<(), FlowLogError> {
    let names = SCHEMA.fields().iter().map(|field| field.name());
    writer.write_record(names).map_err(unwritten)
}

fn csv<W: Write>(writer: &mut csv::Writer<W>, rows: &RecordBatch) -> Result<(), FlowLogError> {
    let columns = columns(rows)?;
    for row in 0..rows.num_rows() {
        let written = columns.iter().try_for_each(|column| match column.cell(row) {
            Cell::None => writer.write_field(""),
            Cell::Time(micros) => writer.write_field(moment(micros).strftime(MACHINE).to_string()),
            Cell::Int(number) => writer.write_field(number.to_string()),
            Cell::Part(number) => writer.write_field(number.to_string()),
            Cell::Text(text) => writer.write_field(text),
        });
        let written = written.and_then(|()| writer.write_record(None::<&[u8]>));
        written.map_err(unwritten)?;
    }
    Ok(())
}

fn json<W: Write>(to: &mut W, rows: &RecordBatch) -> Result<(), FlowLogError> {
    let (schema, columns) = (rows.schema(), columns(rows)?);
    for row in 0..rows.num_rows() {
        let mut object = Map::new();
        for (field, column) in schema.fields().iter().zip(&columns) {
            let value = match column.cell(row) {
                Cell::None => continue,
                Cell::Time(micros) => moment(micros).strftime(MACHINE).to_string().into(),
                Cell::Int(number) => number.into(),
                Cell::Part(number) => number.into(),
                Cell::Text(text) => text.into(),
            };
            object.insert(field.name().clone(), value);
        }
        writeln!(to, "{}", Value::Object(object)).map_err(FlowLogError::Output)?;
    }
    Ok(())
}

/// A row's values by the names of their columns.
struct Named<'a> {
    columns: HashMap<String, Column<'a>>,
    row: usize,
}

impl<'a> Named<'a> {
    fn int(&self, name: &str) -> Option<i64> {
        match self.columns.get(name)?.cell(self.row) {
            Cell::Int(number) | Cell::Time(number) => Some(number),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        match self.columns.get(name)?.cell(self.row) {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An end of the conversation: its address, port and name.
    fn end(&self, [ip, port, mac]: [&str; 3], names: &HashMap<String, String>) -> String {
        let address = self.text(ip).unwrap_or_default();
        let port = self.int(port).map_or_else(String::new, |port| format!(":{port}"));
        let address = if address.contains(':') && !port.is_empty() {
            format!("[{address}]{port}")
        } else {
            format!("{address}{port}")
        };
        let name = [ip, mac].iter().find_map(|column| names.get(self.text(column)?));
        name.map_or_else(|| address.clone(), |name| format!("{name} ({address})"))
    }

    /// What went one way.
    fn half(&self, packets: &str, bytes: &str, way: &str) -> String {
        let packets = self.int(packets).unwrap_or(0);
        let frames = if packets == 1 { "frame" } else { "frames" };
        format!("{packets} {frames} ({}) {way}", size(self.int(bytes).unwrap_or(0)))
    }
}

fn size(bytes: i64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 1_000.0 {
            let digits = usize::from(unit != "B" && size < 100.0);
            return format!("{size:.digits$} {unit}");
        }
        size /= 1_000.0;
    }
    format!("{size:.1} TB")
}

fn human<W: Write>(
    to: &mut W,
    rows: &RecordBatch,
    names: &HashMap<String, String>,
    zone: &TimeZone,
) -> Result<(), FlowLogError> {
    let schema = rows.schema();
    let columns = schema.fields().iter().map(|field| field.name().clone()).zip(columns(rows)?).collect();
    let mut named = Named { columns, row: 0 };
    for row in 0..rows.num_rows() {
        named.row = row;
        // A terminal must not obey what is in a file.
        let plain = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
        let sentence: String = sentence(&named, names, zone).chars().map(plain).collect();
        writeln!(to, "{sentence}").map_err(FlowLogError::Output)?;
    }
    Ok(())
}

/// A row in words.
fn sentence(row: &Named<'_>, names: &HashMap<String, String>, zone: &TimeZone) -> String {
    let start = row.int("start_time").unwrap_or(0);
    let begin = row.int("since_time").unwrap_or(start);
    let seconds = row.int("end_time").unwrap_or(begin).saturating_sub(begin).max(0) as f64 / 1e6;
    let when = moment(begin).to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
    let dropped =
        row.int("drops_toserver").unwrap_or(0).saturating_add(row.int("drops_toclient").unwrap_or(0));
    let dropped = match row.text("verdict") {
        Some("drop") => format!("; {dropped} DROPPED"),
        Some("would_drop") => format!("; {dropped} would have been dropped"),
        _ => String::new(),
    };
    format!(
        "{when} {:<4} {} -> {}: {}, {}, in {seconds:.1}s; {}{dropped}",
        row.text("proto").unwrap_or("?"),
        row.end(["src_ip", "src_port", "src_mac"], names),
        row.end(["dest_ip", "dest_port", "dest_mac"], names),
        row.half("pkts_toserver", "bytes_toserver", "there"),
        row.half("pkts_toclient", "bytes_toclient", "back"),
        match row.text("reason") {
            Some("active") => "goes on",
            Some("timeout") => "quiet",
            Some("shutdown") => "still going on when Sekisho stopped",
            Some("evicted") => "forgotten, the table was full",
            Some(other) => other,
            None => "",
        },
    )
}
