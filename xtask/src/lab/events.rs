//! Follows the JSON lines of `sekisho run` and tells them in plain words as they come.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::net::HOSTS;
use crate::ui::{self, Style, paint};

/// The event stream, and what was learned from it.
pub struct Events {
    file: File,
    /// The beginning of a line whose end is not written yet.
    partial: Vec<u8>,
    clock: Instant,
    /// Devices seen, by MAC address: how often an event named them.
    pub devices: BTreeMap<String, Value>,
    /// Findings, in order.
    pub alerts: Vec<Value>,
    /// Isolations added and ended, in order.
    pub isolations: Vec<Value>,
}

impl Events {
    /// Follows a file from its beginning.
    pub fn follow(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            file,
            partial: Vec::new(),
            clock: Instant::now(),
            devices: BTreeMap::new(),
            alerts: Vec::new(),
            isolations: Vec::new(),
        })
    }

    /// Times are told from here on.
    pub fn restart_clock(&mut self) {
        self.clock = Instant::now();
    }

    /// Reads and tells what has come since the last call.
    pub fn pump(&mut self) -> Result<()> {
        self.file.read_to_end(&mut self.partial).context("cannot read the events")?;
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.partial.split_off(end + 1);
        let lines = std::mem::replace(&mut self.partial, rest);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line)
                .with_context(|| format!("no JSON from `sekisho run`: {}", String::from_utf8_lossy(line)))?;
            self.take(event);
        }
        Ok(())
    }

    fn take(&mut self, event: Value) {
        match text(&event, "/event_type") {
            "device" => self.device(event),
            "alert" => self.alert(event),
            "isolation" => self.isolation(event),
            // Flows and statistics come all the time and would bury the story.
            _ => {}
        }
    }

    fn tell(&self, word: &str, style: Style, text: &str) {
        let time = format!("{:>8.3} s", self.clock.elapsed().as_secs_f32());
        ui::line(&format!("{}  {} {text}", paint(Style::Dim, &time), paint(style, &format!("{word:<9}"))));
    }

    fn device(&mut self, event: Value) {
        let mac = text(&event, "/device/mac").to_owned();
        if !self.devices.contains_key(&mac) {
            let maker = text(&event, "/device/maker");
            self.tell("device", Style::Good, &format!("{:<15} {mac}  {maker}", name_of(&event)));
        }
        self.devices.insert(mac, event);
    }

    fn alert(&mut self, event: Value) {
        let severity = event.pointer("/alert/severity").and_then(Value::as_u64).unwrap_or_default();
        let what = text(&event, "/alert/signature");
        self.tell("finding", Style::Warn, &format!("{}: {what} (severity {severity})", name_of(&event)));
        for line in evidence(&event) {
            ui::line(&format!("{:22}{line}", ""));
        }
        self.alerts.push(event);
    }

    fn isolation(&mut self, event: Value) {
        let who = name_of(&event);
        match text(&event, "/isolation/action") {
            "added" => {
                let until = text(&event, "/isolation/until");
                self.tell("ISOLATED", Style::Bad, &format!("{who}, until {until}"));
            }
            "released" => self.tell("released", Style::Good, &who),
            action => self.tell(action, Style::Dim, &who),
        }
        self.isolations.push(event);
    }

    /// What the last finding about a device says it had tried.
    pub fn tried(&self, name: &str) -> Option<String> {
        self.alerts.iter().rfind(|alert| name_of(alert) == name).and_then(tried)
    }

    /// The first isolation of the device with this MAC address.
    pub fn isolation_of(&self, mac: &str) -> Option<&Value> {
        self.isolations.iter().find(|event| {
            text(event, "/isolation/action") == "added"
                && (text(event, "/device/mac") == mac || text(event, "/isolation/target/mac") == mac)
        })
    }
}

/// How many destinations (or services of one host) a finding says were tried, in words.
fn tried(alert: &Value) -> Option<String> {
    let count = |name: &str| alert.pointer(&format!("/evidence/{name}")).and_then(Value::as_u64);
    if let Some(services) = count("failed_services") {
        return Some(format!("{services} services of {}", text(alert, "/evidence/target")));
    }
    let destinations = count("failed_first_contacts")
        .map(|failed| failed + count("successful_first_contacts").unwrap_or(0))
        .or_else(|| count("new_destinations"))?;
    Some(format!("{destinations} destinations"))
}

/// A string in an event, empty if it is not there.
pub fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The lab's name for the device that an event is about, or its addresses.
pub fn name_of(event: &Value) -> String {
    let mac = [text(event, "/device/mac"), text(event, "/isolation/target/mac")];
    let ip = [text(event, "/isolation/target/ip"), text(event, "/device/ips/0"), text(event, "/src_ip")];
    let known =
        HOSTS.iter().find(|host| mac.contains(&host.mac) || ip.contains(&host.v4) || ip.contains(&host.v6));
    match known {
        Some(host) => host.name.to_owned(),
        None => mac.into_iter().chain(ip).find(|name| !name.is_empty()).unwrap_or("somebody").to_owned(),
    }
}

/// The numbers of a finding, a few to a line.
fn evidence(event: &Value) -> Vec<String> {
    const WIDTH: usize = 76;
    let Some(Value::Object(numbers)) = event.get("evidence") else { return Vec::new() };
    let mut lines: Vec<String> = Vec::new();
    for (name, value) in numbers {
        let item = format!("{} {}", name.replace('_', " "), plain(value));
        match lines.last_mut() {
            Some(line) if line.len() + item.len() + 2 <= WIDTH => *line += &format!(", {item}"),
            _ => lines.push(item),
        }
    }
    lines
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.3}", number.as_f64().unwrap_or_default()),
        Value::Array(list) if list.len() > 4 => {
            let shown: Vec<String> = list[..3].iter().map(plain).collect();
            format!("{} and {} more", shown.join(" "), list.len() - 3)
        }
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
