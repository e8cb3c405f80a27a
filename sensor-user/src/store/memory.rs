//! What the engine remembers besides the block list as a row of the database, and back.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sensor_core::addr::Mac;
use sensor_core::detect::{self, Finding};
use sensor_core::event::Value as Number;
use sensor_core::evidence::Family;
use sensor_core::identify::client::ClientId;
use sensor_core::identify::group::{Shared, WhyTwo};
use sensor_core::inventory::DeviceKey;
use sensor_core::observation::{FlowId, Kind};
use sensor_core::policy::memory::{Asked, Counter, Known, Refused};
use sensor_core::policy::repeat::{Attack, FORGOTTEN, MAX_ATTACKS, Past};
use sensor_core::policy::review::{Review, Scope};
use sensor_core::policy::window::{Cover, Window};
use sensor_core::policy::{Memory, MemoryKey, Target};
use sensor_core::time::Time;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::row::Span;
use crate::clock::Now;

/// The kind of rows that cannot be understood.
pub const ASIDE: &str = "aside";

/// A row.
#[derive(Clone, PartialEq, Debug)]
pub struct MemoryRow {
    pub kind: String,
    pub key: String,
    pub value: String,
    pub span: Span,
}

/// Kind and name of what a row is about.
pub fn names(key: &MemoryKey) -> (&'static str, String) {
    match key {
        MemoryKey::Review(id) => ("review", id.to_string()),
        MemoryKey::Asked(incident) => ("asked", incident.to_string()),
        MemoryKey::Past(device) => ("past", target(*device).to_string()),
        MemoryKey::Window(id) => ("window", id.to_string()),
        MemoryKey::Last(counter) => ("last", counter.name().to_owned()),
        MemoryKey::Drilled => ("drill", String::new()),
        MemoryKey::Shared(id) => ("shared", id.to_string()),
    }
}

impl MemoryRow {
    /// What is remembered as a row, written at `now` in this boot.
    pub fn new(memory: &Memory, boot_id: &str, now: Now) -> Self {
        let (kind, key) = names(&memory.key());
        let (value, since, until) = match memory {
            Memory::Review(review) => (review_value(review), review.since, None),
            Memory::Asked(asked) => (asked_value(asked), asked.finding.first_evidence, Some(asked.until)),
            Memory::Past(_, past) => {
                // Noted last, as far as it is known; it is over FORGOTTEN before it is forgotten.
                let over = past.forgotten.minus(FORGOTTEN);
                (past_value(past), past.attacks.last().map_or(over, |attack| attack.to), Some(past.forgotten))
            }
            Memory::Window(window) => (window_value(window), window.since, Some(window.until)),
            Memory::Last(_, number) => (json!(number), now.mono, None),
            Memory::Drilled(time) => (Value::Null, *time, None),
            Memory::Shared(shared) => (shared_value(shared), now.mono, None),
        };
        let span = Span::new(since, until, boot_id, now);
        Self { kind: kind.to_owned(), key, value: value.to_string(), span }
    }

    /// What is remembered, in times of this boot. `lasting` are names that live as long as the program. Fails with what cannot
    /// be understood.
    pub fn read(
        &self,
        boot_id: &str,
        now: Now,
        lasting: &mut BTreeSet<&'static str>,
    ) -> Result<Memory, String> {
        let value: Value = serde_json::from_str(&self.value).map_err(|error| format!("value: {error}"))?;
        let (since, until) = self.span.times(boot_id, now);
        let until = || until.ok_or("there is no end");
        match self.kind.as_str() {
            "review" => Ok(Memory::Review(Review {
                id: self.number()?,
                detector: field(&value, "detector")?,
                scope: scope(&field::<String>(&value, "scope")?)?,
                incident: field(&value, "incident")?,
                since,
                by: field(&value, "by")?,
            })),
            "asked" => {
                let asked = self.asked(&value, since, until()?, lasting)?;
                Ok(Memory::Asked(Box::new(asked)))
            }
            "past" => {
                let forgotten = until()?;
                let past = Past {
                    isolations: field(&value, "isolations")?,
                    level: field::<String>(&value, "level")?.parse()?,
                    family: family(&value)?,
                    // An earlier release did not say.
                    would: field::<Option<bool>>(&value, "would")?.unwrap_or_default(),
                    forgotten,
                    attacks: attacks(&value, forgotten)?,
                };
                Ok(Memory::Past(device(&self.key)?, past))
            }
            "window" => {
                let until = until()?;
                let length: u64 = field(&value, "length_ns")?;
                let from = until.minus(length);
                let (reason, by) = (field(&value, "reason")?, field(&value, "by")?);
                let (id, cover) = (self.number()?, cover(&value)?);
                Ok(Memory::Window(Window { id, cover, from, until, reason, since, by }))
            }
            "drill" => Ok(Memory::Drilled(since)),
            "shared" => {
                let id =
                    ClientId::try_from(self.key.clone()).map_err(|error| format!("{}: {error}", self.key))?;
                let members: Vec<String> = field(&value, "members")?;
                let members = members.iter().map(|text| device(text)).collect::<Result<_, String>>()?;
                let refuted: Option<String> = field(&value, "refuted")?;
                let by_name = |name: &String| {
                    let known = WhyTwo::LASTING.into_iter().find(|why| why.name() == name);
                    known.ok_or_else(|| format!("refuted: {name} is not known"))
                };
                let refuted = refuted.as_ref().map(by_name).transpose()?;
                Ok(Memory::Shared(Box::new(Shared { id, members, refuted })))
            }
            "last" => {
                let counter = Counter::ALL.into_iter().find(|counter| counter.name() == self.key);
                let counter = counter.ok_or_else(|| format!("numbers of {} are not known", self.key))?;
                Ok(Memory::Last(counter, value.as_u64().ok_or("it is no number")?))
            }
            other => Err(format!("the kind {other} is not known")),
        }
    }

    fn number<T: std::str::FromStr>(&self) -> Result<T, String> {
        self.key.parse().map_err(|_| format!("{} is not a number", self.key))
    }

    fn asked(
        &self,
        value: &Value,
        since: Time,
        until: Time,
        lasting: &mut BTreeSet<&'static str>,
    ) -> Result<Asked, String> {
        let detector: String = field(value, "detector")?;
        let detector = detect::names().find(|name| *name == detector);
        let refused: Option<String> = field(value, "refused")?;
        let by_name = |name: &String| {
            let known = Refused::ALL.into_iter().find(|refused| refused.name() == name);
            known.ok_or_else(|| format!("refused: {name} is not known"))
        };
        let evidence = value["evidence"].as_array().ok_or("there is no evidence")?;
        let finding = Finding {
            detector: detector.ok_or("there is no such detector")?,
            signature: name(field(value, "signature")?, lasting),
            severity: field(value, "severity")?,
            family: family(value)?,
            weight: field(value, "weight")?,
            device: device(&field::<String>(value, "device")?)?,
            flow: flow(&value["flow"])?,
            evidence: evidence.iter().map(|pair| number(pair, lasting)).collect::<Result<_, String>>()?,
            first_evidence: since,
        };
        Ok(Asked {
            incident: self.number()?,
            finding,
            known: Known {
                // An earlier release did not write it.
                id: value["device_id"].as_u64().unwrap_or(0),
                mac: mac(&field::<String>(value, "mac")?)?,
                ips: field(value, "ips")?,
                claimed: field(value, "claimed")?,
            },
            level: field::<String>(value, "level")?.parse()?,
            until,
            meanwhile: field(value, "meanwhile")?,
            refused: refused.as_ref().map(by_name).transpose()?,
        })
    }
}

fn review_value(review: &Review) -> Value {
    let Review { detector, scope, incident, by, .. } = review;
    json!({ "detector": detector, "scope": scope.to_string(), "incident": incident, "by": by })
}

fn shared_value(shared: &Shared) -> Value {
    let members: Vec<String> = shared.members.iter().map(|key| target(*key).to_string()).collect();
    json!({ "members": members, "refuted": shared.refuted.map(WhyTwo::name) })
}

/// The times of attacks go by the end, which is kept by both clocks.
fn past_value(past: &Past) -> Value {
    let before = |time: Time| past.forgotten.since(time);
    let attacks: Vec<_> =
        past.attacks.iter().map(|attack| [before(attack.from), before(attack.to)]).collect();
    json!({
        "isolations": past.isolations,
        "level": past.level.name(),
        "family": past.family.name(),
        "would": past.would,
        "attacks_before_end_ns": attacks,
    })
}

/// The attacks of what is forgotten then. An earlier release wrote none.
fn attacks(value: &Value, forgotten: Time) -> Result<Vec<Attack>, String> {
    let before: Option<Vec<[u64; 2]>> = field(value, "attacks_before_end_ns")?;
    let mut attacks = before.unwrap_or_default();
    attacks.drain(..attacks.len().saturating_sub(MAX_ATTACKS));
    Ok(attacks
        .into_iter()
        .map(|at| at.map(|ns| forgotten.minus(ns)))
        .map(|[from, to]| Attack { from, to })
        .collect())
}

/// Its beginning goes by its end, which is kept by both clocks.
fn window_value(window: &Window) -> Value {
    let (cover, length) = (window.cover.to_string(), window.until.since(window.from));
    let targets: Vec<String> = match &window.cover {
        Cover::Device(_, targets) => targets.iter().map(ToString::to_string).collect(),
        Cover::Everybody | Cover::Segment(_) => Vec::new(),
    };
    json!({ "cover": cover, "targets": targets, "length_ns": length, "reason": window.reason, "by": window.by })
}

fn cover(value: &Value) -> Result<Cover, String> {
    let text: String = field(value, "cover")?;
    if text == "everybody" {
        return Ok(Cover::Everybody);
    }
    if let Some(name) = text.strip_prefix("segment ") {
        return name.parse().map(Cover::Segment).map_err(|error| format!("cover: {error}"));
    }
    let called = text.strip_prefix("device ").ok_or_else(|| format!("the cover {text} is not known"))?;
    let targets: Vec<String> = field(value, "targets")?;
    let targets = targets.iter().map(|text| text.parse().map_err(|error| format!("cover: {error}")));
    Ok(Cover::Device(called.to_owned(), targets.collect::<Result<_, String>>()?))
}

fn asked_value(asked: &Asked) -> Value {
    let Asked { finding, known, .. } = asked;
    let FlowId { src, dst, sport, dport, proto, kind, vlan, port } = finding.flow;
    json!({
        "detector": finding.detector,
        "signature": finding.signature,
        "severity": finding.severity,
        "family": finding.family.name(),
        "weight": finding.weight,
        "device": target(finding.device).to_string(),
        "flow": {
            "src": src, "dst": dst, "sport": sport, "dport": dport, "proto": proto, "kind": kind, "vlan": vlan, "port": port,
        },
        "evidence": finding.evidence,
        "device_id": known.id,
        "mac": known.mac.to_string(),
        "ips": known.ips,
        "claimed": known.claimed,
        "level": asked.level.name(),
        "meanwhile": asked.meanwhile,
        "refused": asked.refused.map(Refused::name),
    })
}

fn field<T: DeserializeOwned>(value: &Value, name: &str) -> Result<T, String> {
    serde_json::from_value(value[name].clone()).map_err(|error| format!("{name}: {error}"))
}

fn family(value: &Value) -> Result<Family, String> {
    let name: String = field(value, "family")?;
    Family::ALL
        .into_iter()
        .find(|family| family.name() == name)
        .ok_or_else(|| format!("there is no family {name}"))
}

fn flow(value: &Value) -> Result<FlowId, String> {
    let kind = match field::<String>(value, "kind")?.as_str() {
        "Ip" => Kind::Ip,
        "Arp" => Kind::Arp,
        "Fragment" => Kind::Fragment,
        other => return Err(format!("flow: the kind {other} is not known")),
    };
    Ok(FlowId {
        src: field(value, "src")?,
        dst: field(value, "dst")?,
        sport: field(value, "sport")?,
        dport: field(value, "dport")?,
        proto: field(value, "proto")?,
        kind,
        vlan: field(value, "vlan")?,
        port: field(value, "port")?,
    })
}

/// A name and a number of a finding.
fn number(pair: &Value, lasting: &mut BTreeSet<&'static str>) -> Result<(&'static str, Number), String> {
    let (called, value): (String, Value) =
        serde_json::from_value(pair.clone()).map_err(|error| format!("evidence: {error}"))?;
    let number = match &value {
        Value::Number(count) if count.is_u64() => Number::Count(count.as_u64().unwrap_or_default()),
        Value::Number(measure) => Number::Number(measure.as_f64().unwrap_or_default()),
        Value::String(text) => Number::Text(text.clone()),
        list => {
            Number::List(serde_json::from_value(list.clone()).map_err(|error| format!("evidence: {error}"))?)
        }
    };
    Ok((name(called, lasting), number))
}

/// The name as one that lives as long as the program, as the names in findings do. Of each there is one, and they are only
/// made at the start.
fn name(text: String, lasting: &mut BTreeSet<&'static str>) -> &'static str {
    if let Some(known) = lasting.get(text.as_str()) {
        return known;
    }
    let new: &'static str = text.leak();
    lasting.insert(new);
    new
}

fn scope(text: &str) -> Result<Scope, String> {
    if let Some(class) = text.strip_prefix("class ") {
        return class.parse().map(Scope::Class).map_err(|error| format!("scope: {error}"));
    }
    let device = text.strip_prefix("device ").ok_or_else(|| format!("the scope {text} is not known"))?;
    device.parse().map(Scope::Device).map_err(|error| format!("scope: {error}"))
}

fn mac(text: &str) -> Result<Mac, String> {
    text.parse().map_err(|error| format!("mac: {error}"))
}

fn target(device: DeviceKey) -> Target {
    match device {
        DeviceKey::Local(mac) => Target::Mac(mac),
        DeviceKey::Routed(ip) => Target::Ip(ip),
    }
}

/// A device by its MAC address, or by its IP address behind a gateway.
fn device(text: &str) -> Result<DeviceKey, String> {
    let ip = text.parse::<IpAddr>().map(DeviceKey::Routed);
    ip.or_else(|_| text.parse::<Mac>().map(DeviceKey::Local)).map_err(|error| format!("device: {error}"))
}
