//! From the events of a month to its figures.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::figures::{Device, Incident, Report, Traffic, Verdict};
use crate::month::{Month, at};

/// Most incidents told one by one.
pub const MAX_INCIDENTS: usize = 10_000;
/// Most things found that are told of an incident.
const MAX_FOUND: usize = 8;
/// Actions from the weakest to the strictest; what is not among them is weaker than all.
const ACTIONS: [&str; 8] = [
    "waits",
    "budget_spent",
    "would_throttle",
    "would_pin",
    "would_isolate",
    "throttled",
    "pinned",
    "isolated",
];

/// An event that was kept.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// When, ns since 1970.
    pub time_ns: i64,
    /// Its `event_type`.
    pub kind: &'a str,
    /// The incident it belongs to.
    pub incident: Option<u64>,
    /// All of it.
    pub body: &'a Value,
}

/// Takes in the events of a month, oldest first.
pub struct Gather {
    report: Report,
    zone: TimeZone,
    incidents: BTreeMap<u64, Incident>,
}

impl Gather {
    /// Of that month, where people are.
    pub fn new(month: Month, zone: TimeZone) -> Self {
        let report = Report {
            month,
            incidents: Vec::new(),
            more_incidents: 0,
            restricted: vec![0; month.days()],
            would: 0,
            manual: 0,
            released: 0,
            expired: 0,
            changes: BTreeMap::new(),
            blind_secs: 0.0,
            blind_times: 0,
            frames_lost: 0,
            records_lost: 0,
            bypasses: 0,
            devices: Vec::new(),
            traffic: None,
            range: month.range(&zone),
        };
        Self { report, zone, incidents: BTreeMap::new() }
    }

    /// Takes in an event. Of one after the month only what a person says of an incident of the month counts.
    pub fn event(&mut self, event: &Event<'_>) {
        if event.kind == "judgement" {
            return self.judged(event);
        }
        let (from, to) = self.report.range;
        if event.time_ns < from || event.time_ns >= to {
            return;
        }
        match event.kind {
            "alert" => self.alert(event),
            "isolation" => self.isolation(event),
            "blind" => self.blind(event.body),
            "bypass" if event.body["bypass"]["action"] == "on" => self.report.bypasses += 1,
            "inventory" => self.change(event.body["inventory"]["action"].as_str()),
            _ => {}
        }
    }

    /// The report, with what is known of devices and traffic.
    pub fn finish(self, devices: Vec<Device>, traffic: Option<Vec<Traffic>>) -> Report {
        let mut incidents: Vec<Incident> = self.incidents.into_values().collect();
        incidents.sort_by_key(|incident| (incident.time_ns, incident.id));
        Report { incidents, devices, traffic, ..self.report }
    }

    fn alert(&mut self, event: &Event<'_>) {
        let alert = &event.body["alert"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let detector = text(&alert["metadata"]["detector"][0]);
        if detector == "identity" {
            self.change(Some("identity"));
        }
        let Some(id) = event.incident else { return };
        if !self.incidents.contains_key(&id) && self.incidents.len() >= MAX_INCIDENTS {
            self.report.more_incidents += 1;
            return;
        }
        let severity =
            alert["severity"].as_u64().and_then(|severity| u8::try_from(severity).ok()).unwrap_or(3);
        let incident = self.incidents.entry(id).or_insert_with(|| Incident {
            id,
            time_ns: event.time_ns,
            device: device(&event.body["device"]),
            severity,
            found: Vec::new(),
            action: String::new(),
            latency_ms: None,
            verdict: Verdict::Open,
        });
        incident.severity = incident.severity.min(severity);
        let found = (detector, text(&alert["signature"]));
        if incident.found.len() < MAX_FOUND && !incident.found.contains(&found) {
            incident.found.push(found);
        }
        let action = text(&alert["metadata"]["decision"][0]);
        if incident.action.is_empty() || rank(&action) > rank(&incident.action) {
            incident.action = action;
        }
    }

    fn isolation(&mut self, event: &Event<'_>) {
        let told = &event.body["isolation"];
        let would = told["would"].as_bool().unwrap_or(false);
        match (told["action"].as_str(), event.incident) {
            (Some("added"), None) => self.report.manual += 1,
            (Some("added"), Some(_)) if would => self.report.would += 1,
            (Some("added"), Some(id)) => {
                let day = at(event.time_ns).to_zoned(self.zone.clone()).day();
                let day = usize::try_from(day.saturating_sub(1)).unwrap_or(0);
                if let Some(count) = self.report.restricted.get_mut(day) {
                    *count += 1;
                }
                let latency = told["latency_ms"].as_f64().filter(|ms| ms.is_finite());
                if let Some(incident) = self.incidents.get_mut(&id) {
                    incident.latency_ms = incident.latency_ms.or(latency);
                }
            }
            (Some("released"), _) if !would => self.report.released += 1,
            (Some("expired"), _) if !would => self.report.expired += 1,
            _ => {}
        }
    }

    fn judged(&mut self, event: &Event<'_>) {
        let verdict = match event.body["judgement"]["verdict"].as_str() {
            Some("true" | "right") => Verdict::True,
            Some("grave") => Verdict::Grave,
            Some("false") => Verdict::False,
            _ => return,
        };
        if let Some(incident) = event.incident.and_then(|id| self.incidents.get_mut(&id)) {
            incident.verdict = verdict;
        }
    }

    fn blind(&mut self, body: &Value) {
        let told = &body["blind"];
        let time = |name: &str| told[name].as_str().and_then(stamp);
        if told["state"] == "begin" {
            self.report.blind_times += 1;
            return;
        }
        let count = |name: &str| told[name].as_u64().unwrap_or(0);
        self.report.frames_lost = self.report.frames_lost.saturating_add(count("frames_lost"));
        self.report.records_lost = self.report.records_lost.saturating_add(count("records_lost"));
        if let (Some(begin), Some(end)) = (time("begin"), time("end")) {
            // What began before the month counts from its beginning.
            let begin = begin.max(self.report.range.0);
            self.report.blind_secs += end.saturating_sub(begin).max(0) as f64 / 1e9;
        }
    }

    fn change(&mut self, what: Option<&str>) {
        let known = ["identity", "described", "merged", "split", "forgotten"];
        if let Some(what) = what.filter(|what| known.contains(what)) {
            *self.report.changes.entry(what.to_owned()).or_default() += 1;
        }
    }
}

fn rank(action: &str) -> usize {
    ACTIONS.iter().position(|known| *known == action).map_or(0, |at| at + 1)
}

/// A device as people know it: by name, else by maker and MAC address, and its first address.
fn device(told: &Value) -> String {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mac = text(&told["mac"]).unwrap_or_default();
    let name = text(&told["name"]).unwrap_or_else(|| match text(&told["maker"]) {
        Some(maker) => format!("{maker} {mac}"),
        None => mac,
    });
    match text(&told["ips"][0]) {
        Some(ip) => format!("{name} ({ip})"),
        None => name,
    }
}

/// A time as events write it.
fn stamp(text: &str) -> Option<i64> {
    let time = Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}
