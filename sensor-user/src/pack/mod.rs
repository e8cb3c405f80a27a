//! `sekisho incidents pack`: all there is of an incident as one signed archive, for those who must know what happened and were
//! not there.
//!
//! What is in it is gathered here; `sensor_journal::pack` makes the archive, and verifies it.

mod gather;
mod report;
#[cfg(test)]
mod tests;
mod words;

use std::path::{Path, PathBuf};

use sensor_journal::pack::{self, PackError, Part};
use sensor_journal::{JournalError, Reader, Record, SigningKey, hex};
use serde_json::{Map, Value, json};

use crate::clock::Stamp;
use crate::protocol::IncidentInfo;

pub use gather::gather;

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub enum PackingError {
    /// There is no such incident.
    #[error("there is no incident {0} in the journal; `sekisho incidents --all` shows those there are")]
    NoIncident(u64),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The archive cannot be made.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// What goes into a pack.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// The incident.
    pub incident: IncidentInfo,
    /// The rows of the journal, oldest first.
    pub records: Vec<Record>,
    /// What the daemon began with last before it: its release, mode, the hash of its configuration, its models.
    pub daemon: Value,
    /// Whether the chain of the journal is whole, and its end.
    pub chain: Value,
    /// The hashes of the files of models that are kept now, by name.
    pub models: Vec<(String, String)>,
    /// The conversations of the device, or why there are none.
    pub flows: Result<Conversations, String>,
}

/// Conversations of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conversations {
    /// As CSV.
    pub csv: Vec<u8>,
    /// How many there are in it.
    pub rows: usize,
    /// How many there are besides, for want of room.
    pub left_out: usize,
    /// Files of the log that could not be read.
    pub unread: usize,
}

/// Who makes a pack, when, where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Maker {
    /// The account.
    pub by: String,
    /// The machine.
    pub host: String,
    /// When.
    pub made: Stamp,
}

/// Where the daemon keeps what goes into a pack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// Its state directory.
    pub state_dir: PathBuf,
    /// Its models.
    pub models: PathBuf,
}

/// Makes a pack of an incident.
///
/// # Errors
///
/// If there is no such incident, or what there is cannot be read or packed.
pub fn make(
    places: &Places,
    id: u64,
    maker: &Maker,
    zone: &jiff::tz::TimeZone,
) -> Result<Vec<u8>, PackingError> {
    let reader = Reader::open(&places.state_dir.join(sensor_journal::DATABASE))?;
    let gathered = gather(&reader, places, id)?;
    let key = SigningKey::open(&places.state_dir)?;
    Ok(pack::seal(facts(&gathered, maker), &parts(&gathered, maker, &key, zone), &key)?)
}

/// What the manifest says of it.
fn facts(gathered: &Gathered, maker: &Maker) -> Map<String, Value> {
    let facts = json!({
        "incident": gathered.incident.id,
        "made": maker.made,
        "by": maker.by,
        "host": maker.host,
        "release": env!("CARGO_PKG_VERSION"),
        "chain": gathered.chain,
        "flows": match &gathered.flows {
            Ok(Conversations { rows, left_out, unread, .. }) => {
                json!({ "rows": rows, "left_out": left_out, "unread_files": unread })
            }
            Err(why) => why.as_str().into(),
        },
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// The files of a pack.
fn parts(gathered: &Gathered, maker: &Maker, key: &SigningKey, zone: &jiff::tz::TimeZone) -> Vec<Part> {
    let part = |name: &str, bytes: Vec<u8>| Part { name: name.to_owned(), bytes };
    let pretty = |value: &Value| format!("{value:#}\n").into_bytes();
    let incident = serde_json::to_value(&gathered.incident).unwrap_or_default();
    let events: String = gathered.records.iter().filter_map(pack::line).map(|line| line + "\n").collect();
    let models: Map<String, Value> =
        gathered.models.iter().map(|(name, hash)| (name.clone(), hash.as_str().into())).collect();
    let hashes = json!({ "daemon": gathered.daemon, "model_files_sha256": models });
    let report = report::html(gathered, maker, &key.public(), zone);
    let flows = match &gathered.flows {
        Ok(Conversations { csv, .. }) => part("flows.csv", csv.clone()),
        Err(why) => part("flows.txt", format!("No flows are in this pack: {why}.\n").into_bytes()),
    };
    vec![
        part("report.html", report.into_bytes()),
        part("incident.json", pretty(&incident)),
        part(pack::EVENTS, events.into_bytes()),
        part("hashes.json", pretty(&hashes)),
        flows,
    ]
}

/// The name of the file a pack is written to, if none is given.
pub fn file_name(id: u64, made: Stamp) -> String {
    let stamp = made.to_string();
    format!("sekisho-incident-{id}-{}.zip", stamp.get(..10).unwrap_or_default())
}

/// The hash of a file; none if it cannot be read.
fn file_hash(path: &Path) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| hex(&sensor_journal::sha256(&bytes)))
}
