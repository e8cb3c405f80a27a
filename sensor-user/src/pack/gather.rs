//! What there is of an incident, from the journal and what lies beside it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use sensor_flowlog::export::{Exporter, Format};
use sensor_flowlog::query::{self as scan, End};
use sensor_journal::{Query, Reader, Record, hex, verify};
use serde_json::{Value, json};

use super::{Conversations, Gathered, PackingError, Places, file_hash};
use crate::flows;
use crate::incident::assemble;
use crate::journal::events;
use crate::protocol::IncidentInfo;

/// What happened to the device so long before and after is told too, ns: a day.
const AROUND: i64 = 86_400_000_000_000;
/// Conversations are told from so long before to so long after, ns: an hour. Those of a day would leave no room for the incident.
const NEAR: i64 = 3_600_000_000_000;
/// Rows about the device besides those of the incident, at most.
const MAX_AROUND: u64 = 5_000;
/// Conversations, at most: some 25 MB.
const MAX_CONVERSATIONS: usize = 100_000;
/// Files of models looked at, at most.
const MAX_MODELS: usize = 1_000;

/// Gathers it.
///
/// # Errors
///
/// If there is no such incident, or the journal cannot be read.
pub fn gather(reader: &Reader, places: &Places, id: u64) -> Result<Gathered, PackingError> {
    let own = reader.of_incident(id)?;
    let incident = assemble(&events(&own)).map_err(|_| PackingError::NoIncident(id))?;
    let (from, to) = (incident.opened.0.saturating_sub(AROUND), incident.updated.0.saturating_add(AROUND));
    let around = Query { from_ns: Some(from), to_ns: Some(to), newest: Some(MAX_AROUND), ..Query::default() };
    let device = Query { devices: vec![incident.device.mac.clone()], ..around.clone() };
    // What the sensor did not see then, and what nobody was cut off for.
    let kinds = ["blind", "bypass", "window", "daemon", "journal"];
    let besides = Query { kinds: kinds.map(str::to_owned).to_vec(), ..around };
    let began = Query {
        to_ns: Some(incident.opened.0),
        kinds: vec!["daemon".to_owned()],
        newest: Some(2),
        ..Query::default()
    };
    let mut records: BTreeMap<(i64, i64), Record> = BTreeMap::new();
    let mut put = |all: Vec<Record>| {
        records.extend(all.into_iter().map(|record| ((record.entry.time_ns, record.id), record)));
    };
    put(own);
    put(reader.all(&device)?);
    put(reader.all(&besides)?);
    let began = reader.all(&began)?;
    let flows = conversations(&places.state_dir.join(flows::DIR), &incident);
    let daemon = events(&began).into_iter().rfind(|line| line["daemon"]["action"] == "start");
    put(began);
    Ok(Gathered {
        incident,
        records: records.into_values().collect(),
        daemon: daemon.map(|line| line["daemon"].clone()).unwrap_or_default(),
        chain: chain(reader)?,
        models: models(&places.models),
        flows,
    })
}

/// What the device did around the incident, by the log of conversations.
fn conversations(dir: &Path, incident: &IncidentInfo) -> Result<Conversations, String> {
    let device = &incident.device;
    // Behind a router it has the router's MAC address, as many others do.
    let ips: Vec<End> = device.ips.iter().filter_map(|ip| ip.parse().ok().map(End::Ip)).collect();
    let hosts =
        if ips.is_empty() { device.mac.parse().ok().map(End::Mac).into_iter().collect() } else { ips };
    if hosts.is_empty() {
        return Err("the device has no address".to_owned());
    }
    let (from, to) = (incident.opened.0.saturating_sub(NEAR), incident.updated.0.saturating_add(NEAR));
    let query = scan::Query { from: from / 1_000, to: to / 1_000, hosts, ..scan::Query::default() };
    let (mut csv, mut rows, mut left_out) = (Vec::new(), 0, 0);
    let mut exporter =
        Exporter::new(&mut csv, Format::Csv, HashMap::new()).map_err(|error| error.to_string())?;
    let scanned = scan::scan(dir, &query, &mut |found| {
        let kept = found.num_rows().min(MAX_CONVERSATIONS - rows);
        left_out += found.num_rows() - kept;
        rows += kept;
        if kept == 0 { Ok(()) } else { exporter.write(&found.slice(0, kept)) }
    });
    let unread = scanned.map_err(|error| error.to_string())?.unread.count;
    exporter.finish().map_err(|error| error.to_string())?;
    Ok(Conversations { csv, rows, left_out, unread })
}

/// Whether the chain is whole, for whoever reads the pack without the journal.
fn chain(reader: &Reader) -> Result<Value, PackingError> {
    let found = verify(reader, None, &[])?;
    let head =
        found.head.map(|head| json!({ "chain": head.chain, "record": head.link, "hash": hex(&head.hash) }));
    Ok(json!({
        "whole": found.faults.is_empty(),
        "records": found.records,
        "first": found.first,
        "head": head,
        "faults": found.faults,
        "doubts": found.doubts,
    }))
}

/// The files of models by name, with their hashes.
fn models(dir: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(dir).into_iter().flatten().take(MAX_MODELS);
    let mut models: Vec<_> = files
        .filter_map(|file| {
            let file = file.ok().filter(|file| file.path().extension().is_some_and(|end| end == "model"))?;
            let name = file.file_name().into_string().ok()?;
            Some((name, file_hash(&file.path())?))
        })
        .collect();
    models.sort();
    models
}
