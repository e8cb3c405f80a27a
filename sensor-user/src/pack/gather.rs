//! What there is of an incident, from the journal and what lies beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sensor_journal::{Query, Reader, Record, hex, verify};
use serde_json::{Value, json};

use super::{Gathered, PackingError, Places, file_hash};
use crate::incident::assemble;
use crate::journal::events;

/// What happened to the device so long before and after is told too, ns: a day.
const AROUND: i64 = 86_400_000_000_000;
/// Rows about the device besides those of the incident, at most.
const MAX_AROUND: u64 = 5_000;
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
    let device = Query { device: Some(incident.device.mac.clone()), ..around.clone() };
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
    let daemon = events(&began).into_iter().rfind(|line| line["daemon"]["action"] == "start");
    put(began);
    Ok(Gathered {
        incident,
        records: records.into_values().collect(),
        daemon: daemon.map(|line| line["daemon"].clone()).unwrap_or_default(),
        chain: chain(reader)?,
        models: models(&places.models),
        flows: Err("this release keeps no log of flows".to_owned()),
    })
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
