//! The incidents of a report as CSV (RFC 4180), a line each.

use std::io;

use csv::Writer;
use jiff::tz::TimeZone;

use crate::figures::{Report, Verdict};
use crate::month::at;

/// The lines, the names of the columns first.
///
/// # Errors
///
/// None in practice: it is written to memory.
pub fn incidents(report: &Report, zone: &TimeZone) -> io::Result<String> {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record([
        "incident",
        "time",
        "device",
        "severity",
        "detector",
        "found",
        "done",
        "latency_ms",
        "judged",
    ])?;
    for incident in &report.incidents {
        let (detectors, found): (Vec<_>, Vec<_>) = incident
            .found
            .iter()
            .map(|(detector, signature)| (detector.as_str(), signature.as_str()))
            .unzip();
        let judged = match incident.verdict {
            Verdict::Open => "",
            Verdict::False => "false",
            Verdict::True => "true",
            Verdict::Grave => "grave",
        };
        writer.write_record([
            &incident.id.to_string(),
            &at(incident.time_ns).to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            &guarded(&incident.device),
            &incident.severity.to_string(),
            &detectors.join("; "),
            &found.join("; "),
            incident.outcome.action(),
            &incident.latency_ms.map(|ms| format!("{ms:.3}")).unwrap_or_default(),
            judged,
        ])?;
    }
    let bytes = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// What a spreadsheet takes for the beginning of a formula, in full width too, or for the sign that it is none.
const BEGINS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\'', '＝', '＋', '－', '＠'];

/// A field that no spreadsheet takes for a formula.
pub fn guarded(field: &str) -> String {
    if field.starts_with(BEGINS) { format!("'{field}") } else { field.to_owned() }
}

/// The field as it was before it was [`guarded`].
pub fn bare(field: &str) -> &str {
    field.strip_prefix('\'').filter(|rest| rest.starts_with(BEGINS)).unwrap_or(field)
}
