//! A row of the journal as a line of a pack: readable as JSON, and with all that its hash is over.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::chain::{self, hex, unhex};
use crate::entry::{Entry, Link, Record, is_chained};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Its place in the chain, its hash and the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    time_ns: i64,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<u8>,
    words: String,
    /// The event as it was written, to the byte.
    event: Box<RawValue>,
}

/// A row as a line; none if its event is no JSON.
pub fn line(record: &Record) -> Option<String> {
    let Record { entry, link, .. } = record.clone();
    let line = Line {
        record: link.map(|link| link.number),
        before: link.and_then(|link| link.before).map(|hash| hex(&hash)),
        hash: link.map(|link| hex(&link.hash)),
        time_ns: entry.time_ns,
        kind: entry.kind,
        incident: entry.incident,
        device: entry.device,
        mac: entry.mac,
        name: entry.name,
        severity: entry.severity,
        words: entry.words,
        event: RawValue::from_string(entry.body).ok()?,
    };
    serde_json::to_string(&line).ok()
}

/// Reads a line, and checks its hash.
///
/// # Errors
///
/// What does not fit.
pub fn check(text: &str) -> Result<Option<Link>, String> {
    let line: Line = serde_json::from_str(text).map_err(|error| format!("it is not understood: {error}"))?;
    let entry = Entry {
        time_ns: line.time_ns,
        kind: line.kind,
        incident: line.incident,
        device: line.device,
        mac: line.mac,
        name: line.name,
        severity: line.severity,
        body: line.event.get().to_owned(),
        words: line.words,
    };
    let Some(number) = line.record else {
        let fits = !is_chained(&entry.kind) && line.hash.is_none() && line.before.is_none();
        return if fits { Ok(None) } else { Err("it has no place in the chain".to_owned()) };
    };
    let read =
        |text: Option<String>| text.map(|text| unhex(&text).ok_or("its hash is none".to_owned())).transpose();
    let (before, hash) = (read(line.before)?, read(line.hash)?.ok_or("it has no hash")?);
    // The first row of a chain follows nothing that is a row.
    if let Some(before) = before
        && chain::link(&before, number, &entry) != hash
    {
        return Err(format!("record {number} does not fit its hash"));
    }
    Ok(Some(Link { number, hash, before }))
}
