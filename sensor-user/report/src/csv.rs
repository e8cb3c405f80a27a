//! A report as CSV (RFC 4180): its incidents, or its figures, a line each.

use std::fmt::Display;
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
            &moment(incident.time_ns, zone),
            &guarded(&incident.device),
            &incident.severity.to_string(),
            &detectors.join("; "),
            &found.join("; "),
            incident.outcome.action(),
            &incident.latency_ms.map(|ms| format!("{ms:.3}")).unwrap_or_default(),
            judged,
        ])?;
    }
    text(writer)
}

fn text(writer: Writer<Vec<u8>>) -> io::Result<String> {
    let bytes = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// A moment with its offset.
fn moment(time_ns: i64, zone: &TimeZone) -> String {
    at(time_ns).to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// The figures of the month, each with what it is of, if there are several. What is not known has no line.
///
/// # Errors
///
/// None in practice: it is written to memory.
pub fn figures(report: &Report, zone: &TimeZone) -> io::Result<String> {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(["figure", "of", "value"])?;
    for (figure, of, value) in lines(report, zone) {
        writer.write_record([figure, &guarded(&of), &value])?;
    }
    text(writer)
}

fn lines(report: &Report, zone: &TimeZone) -> Vec<(&'static str, String, String)> {
    let mut lines = vec![("month", String::new(), report.month.to_string())];
    let mut add =
        |figure, of: &str, value: &dyn Display| lines.push((figure, of.to_owned(), value.to_string()));
    add("from", "", &moment(report.range.0, zone));
    add("to", "", &moment(report.range.1, zone));
    add("incidents", "", &report.count());
    for (of, verdict) in [
        ("grave", Verdict::Grave),
        ("true", Verdict::True),
        ("false", Verdict::False),
        ("open", Verdict::Open),
    ] {
        add("incidents", of, &report.judged(verdict));
    }
    if let Some((median, worst)) = report.latency_ms() {
        add("latency_ms", "median", &format!("{median:.3}"));
        add("latency_ms", "worst", &format!("{worst:.3}"));
    }
    add("restricted", "", &report.restricted.iter().sum::<u64>());
    for (day, count) in (1..).zip(&report.restricted) {
        add("restricted", &format!("{}-{day:02}", report.month), count);
    }
    for (figure, count) in [
        ("isolated", report.isolations),
        ("would_restrict", report.would),
        ("by_hand", report.manual),
        ("released", report.released),
        ("expired", report.expired),
        ("drills", report.drills.0),
        ("drills_good", report.drills.1),
        ("frames_lost", report.frames_lost),
        ("records_lost", report.records_lost),
        ("blind_times", report.blind_times),
        ("bypasses", report.bypasses),
    ] {
        add(figure, "", &count);
    }
    for (figure, seconds) in [
        ("blind_secs", report.blind_secs),
        ("down_secs", report.down_secs),
        ("bypass_secs", report.bypass_secs),
    ] {
        add(figure, "", &format!("{seconds:.3}"));
    }
    add("seen_ratio", "", &format!("{:.6}", (report.seen() * 1e6).floor() / 1e6));
    for (what, count) in &report.changes {
        add("changes", what, count);
    }
    if let Some(new) = report.count_new() {
        add("new_devices", "", &new);
        add("new_devices", "forgotten", &report.forgotten.len());
        add("unapproved_devices", "", &report.unapproved().count());
        for (kind, count) in report.count_by(|device| device.kind.as_deref()) {
            add("devices_by_kind", kind.unwrap_or_default(), &count);
        }
        for (maker, count) in report.count_by(|device| device.maker.as_deref()) {
            add("devices_by_maker", maker.unwrap_or_default(), &count);
        }
    }
    if let Some(passed) = &report.traffic {
        for traffic in &passed.segments {
            let segment = traffic.segment.as_deref().unwrap_or_default();
            add("conversations", segment, &traffic.conversations);
            add("bytes", segment, &traffic.bytes);
            add("dropped_conversations", segment, &traffic.dropped);
        }
        add("hours_logged", "", &passed.hours);
        add("unread_files", "", &passed.unread);
        if report.devices.is_some() {
            let weak = report.known().filter(|device| !device.weak.is_empty());
            add("weak_devices", "", &weak.count());
        }
    }
    lines
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
