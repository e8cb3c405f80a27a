//! From the events of a month to its figures.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::figures::{Device, Incident, Passed, Report, Verdict};
use crate::month::{Month, at};
use crate::outcome::Outcome;

/// Most incidents told one by one.
pub const MAX_INCIDENTS: usize = 10_000;
/// Most new devices of which it is kept who they were.
pub const MAX_NEW: usize = 10_000;
/// Most things found that are told of an incident.
const MAX_FOUND: usize = 8;
/// So long a drill lasts at most, as the engine has it, ns: what was killed never says that it is over.
const DRILL: i64 = 600_000_000_000;

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

/// Takes in the events of a month, and those around it, oldest first.
pub struct Gather {
    report: Report,
    zone: TimeZone,
    /// MAC addresses of the made-up devices of fire drills.
    drills: Vec<String>,
    /// Until when a drill goes on, ns since 1970.
    drill_until: i64,
    incidents: BTreeMap<u64, Incident>,
    /// Incidents of drills.
    drilled: BTreeSet<u64>,
    /// Incidents that are not of this month.
    others: BTreeSet<u64>,
    /// Incidents of the month there was no room for.
    more: BTreeSet<u64>,
    /// Incidents whose device was cut off.
    cut: BTreeSet<u64>,
    /// Devices that were new in the month, by their MAC and first IP address: behind a router many have the same MAC address.
    new: BTreeMap<(String, Option<String>), Device>,
    /// Times in which too little was seen, by their beginnings: until when; none while they go on.
    blind: BTreeMap<i64, Option<i64>>,
    /// Since when the bypass is on.
    bypass_on: Option<i64>,
    /// Since when no daemon runs.
    down_since: Option<i64>,
}

impl Gather {
    /// Of that month, where people are. `known` is from when until before when something is known at all, ns since 1970;
    /// `drills` are the MAC addresses of what drills make up.
    pub fn new(month: Month, zone: TimeZone, known: (i64, i64), drills: Vec<String>) -> Self {
        let (from, to) = month.range(&zone);
        let report = Report {
            month,
            incidents: Vec::new(),
            more_incidents: 0,
            restricted: vec![0; month.days()],
            isolations: 0,
            would: 0,
            manual: 0,
            released: 0,
            expired: 0,
            changes: BTreeMap::new(),
            blind_secs: 0.0,
            blind_times: 0,
            down_secs: 0.0,
            frames_lost: 0,
            records_lost: 0,
            bypasses: 0,
            bypass_secs: 0.0,
            drills: (0, 0),
            devices: None,
            forgotten: Vec::new(),
            more_forgotten: 0,
            traffic: None,
            range: (from.max(known.0), to.min(known.1)),
        };
        Self {
            report,
            zone,
            drills,
            drill_until: i64::MIN,
            incidents: BTreeMap::new(),
            drilled: BTreeSet::new(),
            others: BTreeSet::new(),
            more: BTreeSet::new(),
            cut: BTreeSet::new(),
            new: BTreeMap::new(),
            blind: BTreeMap::new(),
            bypass_on: None,
            down_since: None,
        }
    }

    /// Takes in an event. What began before the month matters as far as it goes on; an incident is of the month in which it was
    /// first told, whatever becomes of it later.
    pub fn event(&mut self, event: &Event<'_>) {
        let (from, to) = self.report.range;
        let within = event.time_ns >= from && event.time_ns < to;
        if event.kind == "order" && event.body["order"]["request"] == "drill_begin" {
            self.drill_until = event.time_ns.saturating_add(DRILL);
        }
        match event.kind {
            "alert" => self.alert(event, within),
            "isolation" => self.isolation(event, within),
            "judgement" => self.judged(event),
            "blind" => self.blind(event, within),
            "bypass" => self.bypass(event, within),
            "daemon" => self.daemon(event),
            "journal" => self.killed(event),
            "device" if within && !self.is_drill(event) => self.appeared(event),
            "order" if event.body["order"]["request"] == "drill_done" => {
                self.drill_until = i64::MIN;
                self.report.drills.0 += u64::from(within);
                let good = event.body["order"]["with"]["good"] == true;
                self.report.drills.1 += u64::from(within && good);
            }
            "inventory" if within && !self.is_drill(event) => {
                self.change(event.body["inventory"]["action"].as_str());
            }
            _ => {}
        }
        if let Some(incident) = event.incident.and_then(|id| self.incidents.get_mut(&id)) {
            incident.outcome.event(event.kind, event.body);
        }
    }

    /// The report, with what is known of devices and traffic.
    pub fn finish(self, devices: Option<Vec<Device>>, traffic: Option<Passed>) -> Report {
        let mut incidents: Vec<Incident> = self.incidents.into_values().collect();
        incidents.sort_by_key(|incident| (incident.time_ns, incident.id));
        let (from, to) = self.report.range;
        let length = |begin: i64, end: i64| end.min(to).saturating_sub(begin.max(from)).max(0) as f64 / 1e9;
        let blind = self.blind.iter().map(|(begin, end)| length(*begin, end.unwrap_or(to)));
        let blind: Vec<f64> = blind.filter(|seconds| *seconds > 0.0).collect();
        let forgotten = match &devices {
            Some(known) => forgotten(self.new, known),
            None => Vec::new(),
        };
        let mut report = Report { incidents, devices, forgotten, traffic, ..self.report };
        report.more_incidents = self.more.len() as u64;
        report.blind_times = blind.len() as u64;
        // The sum of none is -0.
        report.blind_secs = 0.0 + blind.iter().sum::<f64>();
        report.down_secs += self.down_since.map_or(0.0, |since| length(since, to));
        report.bypass_secs += self.bypass_on.map_or(0.0, |since| length(since, to));
        report
    }

    /// The part of a time that lies in the month, s.
    fn seconds(&self, begin: i64, end: i64) -> f64 {
        let (from, to) = self.report.range;
        end.min(to).saturating_sub(begin.max(from)).max(0) as f64 / 1e9
    }

    /// Whether it is about what a drill makes up. Whoever takes its MAC address at another time is not.
    fn is_drill(&self, event: &Event<'_>) -> bool {
        let mac = event.body["device"]["mac"].as_str();
        event.time_ns <= self.drill_until
            && mac.is_some_and(|mac| self.drills.iter().any(|drill| drill == mac))
    }

    fn alert(&mut self, event: &Event<'_>, within: bool) {
        let drill = self.is_drill(event);
        let alert = &event.body["alert"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let detector = text(&alert["metadata"]["detector"][0]);
        if within && !drill && detector == "identity" {
            self.change(Some("identity"));
        }
        let Some(id) = event.incident else { return };
        if !self.incidents.contains_key(&id) {
            if drill {
                self.drilled.insert(id);
            } else if !within {
                self.others.insert(id);
            }
            if drill || !within || self.others.contains(&id) {
                return;
            }
            if self.incidents.len() >= MAX_INCIDENTS {
                self.more.insert(id);
                return;
            }
        }
        let severity =
            alert["severity"].as_u64().and_then(|severity| u8::try_from(severity).ok()).unwrap_or(3);
        let incident = self.incidents.entry(id).or_insert_with(|| Incident {
            id,
            time_ns: event.time_ns,
            device: device(&event.body["device"]),
            severity,
            found: Vec::new(),
            outcome: Outcome::default(),
            latency_ms: None,
            verdict: Verdict::Open,
        });
        incident.severity = incident.severity.min(severity);
        let found = (detector, text(&alert["signature"]));
        if incident.found.len() < MAX_FOUND && !incident.found.contains(&found) {
            incident.found.push(found);
        }
    }

    fn isolation(&mut self, event: &Event<'_>, within: bool) {
        let told = &event.body["isolation"];
        let would = told["would"].as_bool().unwrap_or(false);
        let drill = self.is_drill(event) || event.incident.is_some_and(|id| self.drilled.contains(&id));
        if !within || drill {
            return;
        }
        match (told["action"].as_str(), event.incident) {
            (Some("added"), None) => self.report.manual += 1,
            (Some("added"), Some(_)) if would => self.report.would += 1,
            (Some(step @ ("added" | "changed")), Some(id)) if !would => {
                if step == "added" {
                    self.restricted(event.time_ns);
                }
                self.enforced(id, told);
            }
            (Some("released"), _) if !would => self.report.released += 1,
            (Some("expired"), _) if !would => self.report.expired += 1,
            _ => {}
        }
    }

    fn restricted(&mut self, time_ns: i64) {
        let day = at(time_ns).to_zoned(self.zone.clone()).day();
        let day = usize::try_from(day.saturating_sub(1)).unwrap_or(0);
        if let Some(count) = self.report.restricted.get_mut(day) {
            *count += 1;
        }
    }

    /// An entry of the block list was made for an incident, or made stricter. How long it took is told of the first that cut
    /// the device off, unless a person was asked, who took the time.
    fn enforced(&mut self, id: u64, told: &Value) {
        let first = told["level"] == "isolate" && self.cut.insert(id);
        self.report.isolations += u64::from(first);
        let incident = self.incidents.get_mut(&id).filter(|one| first && !one.outcome.is_approved());
        if let Some(incident) = incident {
            incident.latency_ms = told["latency_ms"].as_f64().filter(|ms| ms.is_finite());
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

    fn blind(&mut self, event: &Event<'_>, within: bool) {
        let told = &event.body["blind"];
        let time = |name: &str| told[name].as_str().and_then(stamp);
        let Some(begin) = time("begin") else { return };
        let end = time("end");
        if told["state"] != "begin" && within {
            let count = |name: &str| told[name].as_u64().unwrap_or(0);
            self.report.frames_lost = self.report.frames_lost.saturating_add(count("frames_lost"));
            self.report.records_lost = self.report.records_lost.saturating_add(count("records_lost"));
        }
        let until = self.blind.entry(begin).or_default();
        *until = end.or(*until);
    }

    fn bypass(&mut self, event: &Event<'_>, within: bool) {
        let on = event.body["bypass"]["action"] == "on";
        if on {
            self.report.bypasses += u64::from(within && self.bypass_on.is_none());
            self.bypass_on.get_or_insert(event.time_ns);
        } else if let Some(since) = self.bypass_on.take() {
            self.report.bypass_secs += self.seconds(since, event.time_ns);
        }
    }

    /// While no daemon runs, rules hold, and nothing is found.
    fn daemon(&mut self, event: &Event<'_>) {
        match event.body["daemon"]["action"].as_str() {
            Some("stop") => {
                self.down_since = Some(event.time_ns);
                self.blind_ends(event.time_ns);
            }
            Some("start") => {
                if let Some(since) = self.down_since.take() {
                    self.report.down_secs += self.seconds(since, event.time_ns);
                }
                self.blind_ends(event.time_ns);
            }
            _ => {}
        }
    }

    /// The daemon before was killed, or the power failed: since its last sign of life none ran.
    fn killed(&mut self, event: &Event<'_>) {
        let told = &event.body["journal"];
        let since = told["alive"].as_str().and_then(stamp);
        let Some(since) = since.filter(|_| told["action"] == "killed" && self.down_since.is_none()) else {
            return;
        };
        self.report.down_secs += self.seconds(since, event.time_ns);
        // Also what was taken to end with the next start, which may be told before this.
        for until in self.blind.range_mut(..=since).map(|(_, until)| until) {
            let later = until.is_none_or(|until| until > since && until <= event.time_ns);
            *until = if later { Some(since) } else { *until };
        }
    }

    /// A device was heard that was not known.
    fn appeared(&mut self, event: &Event<'_>) {
        let (body, text) = (event.body, |value: &Value| value.as_str().map(str::to_owned));
        let told = &body["device"];
        let Some(mac) = text(&told["mac"]).filter(|_| body["new"] == true) else { return };
        let ip = text(&told["ips"][0]);
        let device = Device {
            id: told["id"].as_u64().unwrap_or(0),
            name: device(told),
            maker: text(&told["maker"]),
            kind: text(&body["kind"]["name"]),
            port: text(&body["in_iface"]),
            first_seen_ns: Some(event.time_ns),
            addresses: [mac.clone()].into_iter().chain(ip.clone()).collect(),
            ..Device::default()
        };
        if self.new.len() < MAX_NEW || self.new.contains_key(&(mac.clone(), ip.clone())) {
            self.new.insert((mac, ip), device);
        } else {
            self.report.more_forgotten += 1;
        }
    }

    /// What was blind ended with the daemon.
    fn blind_ends(&mut self, time_ns: i64) {
        for until in self.blind.values_mut() {
            *until = until.or(Some(time_ns));
        }
    }

    fn change(&mut self, what: Option<&str>) {
        let known =
            ["identity", "described", "merged", "split", "renumbered", "grouped", "dissolved", "forgotten"];
        if let Some(what) = what.filter(|what| known.contains(what)) {
            *self.report.changes.entry(what.to_owned()).or_default() += 1;
        }
    }
}

/// Of the devices that were new, those that nobody knows any more: by number, by MAC address, or by MAC and IP address if several
/// have that MAC address, as those behind a router.
fn forgotten(new: BTreeMap<(String, Option<String>), Device>, known: &[Device]) -> Vec<Device> {
    let ids: BTreeSet<u64> = known.iter().map(|device| device.id).collect();
    let mut by_address: BTreeMap<&str, Vec<&Device>> = BTreeMap::new();
    for device in known {
        device.addresses.iter().for_each(|address| by_address.entry(address).or_default().push(device));
    }
    let is_known = |device: &Device| {
        let mac = device.addresses.first().map_or("", String::as_str);
        let has_all = |one: &&Device| device.addresses.iter().all(|address| one.addresses.contains(address));
        match by_address.get(mac).map(Vec::as_slice) {
            _ if ids.contains(&device.id) => true,
            Some([one]) if !one.gateway => true,
            same => same.into_iter().flatten().any(has_all),
        }
    };
    let mut forgotten: Vec<Device> = new.into_values().filter(|device| !is_known(device)).collect();
    forgotten.sort_by_key(|device| (device.first_seen_ns, device.id));
    forgotten
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
