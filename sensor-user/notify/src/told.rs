//! From the engine's events to notices: what each says, and how grave it is. What comes from the network is bounded here.

use sensor_core::addr::Mac;
use sensor_core::event::{
    Action, Alert, Approval, ApprovalStep, Blind, BypassChange, Change, DeviceRef, DeviceSeen, Evidence,
    Isolation, Judged, Judgement, Value,
};
use sensor_core::policy::preview::{Loss, Part, Preview};
use sensor_core::policy::{Direction, Level, Service};

use crate::error::Trouble;
use crate::notice::{Device, Entry, HIGH, Impact, LOW, Lost, MEDIUM, Step, What, plain, unix_ns};

/// Most lost services that are told.
const MAX_LOST: usize = 6;
/// Most addresses of a device, targets of an entry and numbers of a finding that are told.
const MAX_LIST: usize = 16;

/// What is said of an event, before it has its number, its time and its place.
pub(crate) struct Told {
    pub severity: u8,
    pub device: Option<Device>,
    pub mac: Option<Mac>,
    pub incident: Option<u64>,
    pub what: What,
}

impl Told {
    fn of_box(severity: u8, what: What) -> Self {
        Self { severity, device: None, mac: None, incident: None, what }
    }

    fn of_device(severity: u8, device: Option<&DeviceRef>, incident: Option<u64>, what: What) -> Self {
        Self { severity, device: device.map(named), mac: device.map(|d| d.mac), incident, what }
    }

    pub fn alert(alert: &Alert) -> Self {
        let what = What::Alert {
            detector: alert.detector.to_owned(),
            signature: alert.signature.to_owned(),
            evidence: numbers(&alert.evidence),
            nats: alert.sum.total(),
            action: name_of(&alert.action),
            impact: alert.ruling.as_ref().and_then(|ruling| ruling.impact.as_ref()).and_then(impact),
        };
        Self::of_device(alert.severity.clamp(HIGH, LOW), Some(&alert.device), Some(alert.incident), what)
    }

    pub fn isolation(change: &Isolation, offset_ns: i64, latency_ns: Option<u64>) -> Self {
        let step = match change.change {
            Change::Added => Step::Added,
            Change::Extended => Step::Extended,
            Change::Changed | Change::Followed | Change::Narrowed => Step::Changed,
            Change::Released => Step::Released,
            Change::Expired => Step::Expired,
        };
        // What a person entered, that person knows of.
        let automatic = change.incident.is_some();
        let severity = match (step, change.level) {
            (Step::Added | Step::Changed, Level::Isolate | Level::Cut) if automatic && !change.would => HIGH,
            (Step::Added | Step::Changed, _) if automatic => MEDIUM,
            _ => LOW,
        };
        let entry = Entry {
            id: change.id,
            change: step,
            targets: change.targets.iter().take(MAX_LIST).map(ToString::to_string).collect(),
            level: change.level.name().to_owned(),
            direction: direction(change.direction).to_owned(),
            until_ns: change.until.map(|until| unix_ns(until, offset_ns)),
            would: change.would,
            reason: plain(&change.reason),
            latency_ns,
        };
        Self::of_device(severity, change.device.as_ref(), change.incident, What::Isolation(entry))
    }

    pub fn approval(approval: &Approval, offset_ns: i64) -> Self {
        let severity = match approval.step {
            ApprovalStep::Asked | ApprovalStep::LapsedActs => HIGH,
            ApprovalStep::Lapsed | ApprovalStep::Lost => MEDIUM,
            ApprovalStep::Approved | ApprovalStep::Denied => LOW,
        };
        let what = What::Approval {
            step: approval.step.name().to_owned(),
            level: approval.level.name().to_owned(),
            until_ns: unix_ns(approval.until, offset_ns),
            acts: approval.acts,
            by: approval.by.as_deref().map(plain),
        };
        Self::of_device(severity, approval.device.as_ref(), Some(approval.incident), what)
    }

    pub fn judgement(judgement: &Judgement) -> Self {
        let right = match judgement.judged {
            Judged::Right | Judged::Grave => Some(true),
            Judged::False => Some(false),
            Judged::Reviewed => None,
        };
        let what = What::Judgement { right, by: plain(&judgement.by) };
        Self::of_device(LOW, judgement.device.as_ref(), Some(judgement.incident), what)
    }

    pub fn device(seen: &DeviceSeen) -> Self {
        Self::of_device(LOW, Some(&seen.device), None, What::Device { gateway: seen.gateway })
    }

    pub fn blind(blind: &Blind) -> Self {
        let over = blind.ended.is_some();
        let what = What::Blind {
            over,
            causes: blind.causes.iter().map(|cause| cause.name().to_owned()).collect(),
            frames_lost: blind.frames_lost,
            records_lost: blind.records_lost,
        };
        Self::of_box(if over { LOW } else { MEDIUM }, what)
    }

    pub fn bypass(change: &BypassChange) -> Self {
        let what = What::Bypass { on: change.on, by: plain(&change.by) };
        Self::of_box(if change.on { HIGH } else { LOW }, what)
    }

    pub fn channel(name: &str, error: Option<String>, trouble: Option<Trouble>) -> Self {
        let severity = if error.is_some() { MEDIUM } else { LOW };
        Self::of_box(severity, What::Channel { name: name.to_owned(), error, trouble })
    }

    pub fn test(by: &str) -> Self {
        Self::of_box(LOW, What::Test { by: plain(by) })
    }
}

/// A device, by what helps to find it.
fn named(device: &DeviceRef) -> Device {
    Device {
        mac: device.mac.to_string(),
        ips: device.ips.iter().take(MAX_LIST).map(ToString::to_string).collect(),
        more_ips: device.ips.len().saturating_sub(MAX_LIST),
        maker: device.maker.as_deref().map(plain),
        name: device.name.as_deref().map(plain),
        class: device.class.as_ref().map(ToString::to_string),
    }
}

/// The numbers of a finding, as words.
fn numbers(evidence: &Evidence) -> Vec<(String, String)> {
    let one = |(name, value): &(&'static str, Value)| {
        let value = match value {
            Value::Count(count) => count.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Text(text) => plain(text),
            Value::List(list) => plain(&list.join(" ")),
        };
        ((*name).to_owned(), value)
    };
    evidence.iter().take(MAX_LIST).map(one).collect()
}

/// What is lost by a restriction.
fn impact(preview: &Preview) -> Option<Impact> {
    let lost = |loss: &Loss| {
        let peer = loss.service.peer.map(|peer| peer.to_string()).unwrap_or_default();
        Lost {
            uses: loss.part == Part::Uses,
            service: Service { peer: None, ..loss.service }.to_string(),
            peer: loss.name.as_ref().map_or(peer.clone(), |name| format!("{} ({peer})", plain(name))),
            vital: loss.vital,
        }
    };
    let Preview { peers, services, conversations, .. } = *preview;
    let lost = preview.lost.iter().take(MAX_LOST).map(lost).collect();
    (services > 0).then_some(Impact { peers, services, conversations, lost })
}

fn name_of(action: &Action) -> String {
    serde_json::to_value(action).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::From => "from",
        Direction::To => "to",
        Direction::Both => "both",
    }
}
