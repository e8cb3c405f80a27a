//! What the journal keeps of what is told, and what the daemon asks it.
//!
//! The journal itself is the crate `sensor-journal`, which does not know what an event means. Here events become rows.

use std::path::Path;

use sensor_core::engine::Former;
use sensor_journal::{DATABASE, Entry, Query, Reader, Record, hex, sha256};
use serde_json::{Value, json};

use crate::clock::Stamp;
use crate::eve::EventType;

/// Rows of an incident that are looked at for who found it, at most.
const MAX_ALERTS: u64 = 1_000;

/// Whether events of a kind are kept: there are too many flows and samples of drops.
pub fn may_keep(kind: EventType) -> bool {
    !matches!(kind, EventType::Flow | EventType::Drop | EventType::Stats)
}

/// Whether an event is kept: of those of a kind that is, each further address of a device is not.
pub fn is_kept(kind: EventType, event: &Value) -> bool {
    may_keep(kind) && (kind != EventType::Device || event["new"] == true)
}

/// An event as a row: as it was told as JSON and in words.
pub fn entry(time: Stamp, event: &Value, words: String) -> Entry {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let device = &event["device"];
    Entry {
        time_ns: time.0,
        kind: text(&event["event_type"]).unwrap_or_default(),
        incident: event["incident_id"].as_u64(),
        device: device["id"].as_u64(),
        mac: text(&device["mac"]),
        name: text(&device["name"]),
        severity: event["alert"]["severity"].as_u64().and_then(|severity| u8::try_from(severity).ok()),
        body: event.to_string(),
        words,
    }
}

/// What the daemon began with.
#[derive(Clone, Debug)]
pub struct Began<'a> {
    /// The bridge.
    pub bridge: &'a str,
    /// Whether decisions are carried out.
    pub enforce: bool,
    /// The text of its configuration.
    pub config: &'a str,
    /// The models in force: their class, subject and hash.
    pub models: Vec<(String, String, String)>,
}

/// The events of rows.
pub fn events(records: &[Record]) -> Vec<Value> {
    records.iter().filter_map(|record| serde_json::from_str(&record.entry.body).ok()).collect()
}

/// That the daemon began, as a row.
pub fn began(time: Stamp, began: &Began<'_>) -> Entry {
    let Began { bridge, enforce, config, models } = began;
    let mode = if *enforce { "enforce" } else { "observe" };
    let config = hex(&sha256(config.as_bytes()));
    let version = env!("CARGO_PKG_VERSION");
    let models = models
        .iter()
        .map(|(class, subject, hash)| json!({ "class": class, "subject": subject, "hash": hash }));
    let event = json!({
        "timestamp": time,
        "event_type": "daemon",
        "daemon": {
            "action": "start",
            "version": version,
            "bridge": bridge,
            "mode": mode,
            "config_sha256": config,
            "models": models.collect::<Value>(),
        },
    });
    let short = config.get(..12).unwrap_or_default();
    let words =
        format!("daemon    Sekisho {version} began on {bridge} in {mode} mode (configuration {short})");
    entry(time, &event, words)
}

/// That a model is in force from now on, as a row.
pub fn model(time: Stamp, class: &str, subject: &str, hash: &str) -> Entry {
    let model = json!({ "class": class, "subject": subject, "hash": hash });
    let event = json!({
        "timestamp": time,
        "event_type": "daemon",
        "daemon": { "action": "model", "model": model },
    });
    let short = hash.get(..12).unwrap_or(hash);
    entry(time, &event, format!("daemon    the model of a {subject} ({class}) is {short} from now on"))
}

/// That the daemon ended in order, as a row.
pub fn ended(time: Stamp) -> Entry {
    let event = json!({ "timestamp": time, "event_type": "daemon", "daemon": { "action": "stop" } });
    entry(time, &event, "daemon    Sekisho ended".to_owned())
}

/// The highest number of an incident in the journal of a state directory: the next one has a higher one, also if the store has
/// forgotten which there were.
pub fn last_incident(dir: &Path) -> Option<u64> {
    let last = Reader::open(&dir.join(DATABASE)).and_then(|reader| reader.last_incident());
    last.ok().filter(|last| *last > 0)
}

/// What there is of an incident of an earlier run in the journal of a state directory.
pub fn former(dir: &Path, incident: u64) -> Option<Former> {
    let reader = Reader::open(&dir.join(DATABASE)).ok()?;
    let query = Query {
        incident: Some(incident),
        kinds: vec![EventType::Alert.name().to_owned()],
        newest: Some(MAX_ALERTS),
        ..Query::default()
    };
    let alerts = reader.all(&query).ok()?;
    let alerts = events(&alerts);
    let device = &alerts.last()?["device"];
    let ips = device["ips"].as_array().into_iter().flatten();
    let mut detectors: Vec<String> = alerts
        .iter()
        .filter_map(|alert| alert["alert"]["metadata"]["detector"][0].as_str().map(str::to_owned))
        .collect();
    detectors.sort();
    detectors.dedup();
    Some(Former {
        mac: device["mac"].as_str().and_then(|mac| mac.parse().ok()),
        ips: ips.filter_map(|ip| ip.as_str()?.parse().ok()).collect(),
        detectors,
    })
}
