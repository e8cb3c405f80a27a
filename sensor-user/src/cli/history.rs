//! Incidents of earlier runs of the daemon, from the journal.

use std::collections::BTreeMap;

use super::args::{IncidentsArgs, Output};
use super::client::Client;
use super::events::StateArgs;
use super::{CliError, run, show};
use crate::incident::assemble;
use crate::journal::events;
use crate::protocol::{IncidentInfo, Request};

/// Incidents shown at once, at most; the newest.
const MOST: u64 = 1_000;

/// An incident of the journal.
///
/// # Errors
///
/// If there is none of that number, or the journal cannot be read.
pub fn one(state: &StateArgs, id: u64) -> Result<IncidentInfo, CliError> {
    let records = state.journal()?.of_incident(id)?;
    assemble(&events(&records)).map_err(|_| CliError::NoIncident(id))
}

/// All incidents of a span of time, the newest first: those of the journal, and what the daemon knows of them, if one runs.
///
/// # Errors
///
/// If neither can be asked.
pub fn all(args: &IncidentsArgs) -> Result<String, CliError> {
    let span = args.span.checked()?;
    let reader = args.state.journal()?;
    let (from, to) = (span.from.map_or(i64::MIN, |from| from.0), span.to.map_or(i64::MAX, |to| to.0));
    let mut found = BTreeMap::new();
    for id in reader.incidents(from, to, MOST)? {
        // One whose rows are of another release is told by its number in `sekisho events`.
        if let Ok(incident) = assemble(&events(&reader.of_incident(id)?)) {
            found.insert(id, incident);
        }
    }
    let live = live(args)?;
    found.extend(live.into_iter().filter(|one| span.holds(one.updated)).map(|one| (one.id, one)));
    let mut incidents: Vec<IncidentInfo> = found.into_values().collect();
    incidents.sort_by_key(|incident| std::cmp::Reverse((incident.updated, incident.id)));
    Ok(match args.ask.output.output {
        Output::Json => run::json(&serde_json::to_value(&incidents).unwrap_or_default()),
        Output::Human => show::incidents(&incidents, None, &run::here()),
    })
}

/// What the daemon knows; nothing if none runs.
fn live(args: &IncidentsArgs) -> Result<Vec<IncidentInfo>, CliError> {
    let mut client = match Client::connect(&args.ask.socket) {
        Err(CliError::NoDaemon { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let answer = client.ask(Request::Incidents)?;
    client.read(answer)
}
