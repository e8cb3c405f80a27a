//! Events as EVE-style objects. Keys stand in a fixed order, those all events share first.

use std::net::IpAddr;

use sensor_core::addr::Mac;
use sensor_core::event::{
    Action, Alert, Approval, Blind, DeviceRef, DeviceSeen, Dropped, Event, FlowEnded, Isolation, Judgement,
    Ordered, Timed, WindowChange,
};
use sensor_core::observation::{EndReason, FlowId, Kind};
use sensor_core::policy::Target;
use sensor_core::technique;
use sensor_core::time::{MILLISECOND, SECOND, Time};
use sensor_ebpf::event::DROP_SAMPLE;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::card;
use super::flow_id::{Fnv, flow_id};
use super::{EventType, ICMP, ICMP6, ReplayStats, TCP, Teller, has_ports, protocol};
use crate::protocol::KindInfo;

/// The event as an object.
pub fn event(teller: &Teller, timed: &Timed, latency_ns: Option<u64>) -> Value {
    let kind = EventType::of(&timed.event);
    let mut object = Map::new();
    object.insert("timestamp".into(), plain(&teller.clock.stamp(timed.time)));
    match &timed.event {
        Event::Device(seen) => device(teller, &mut object, seen),
        Event::Flow(ended) => flow(teller, &mut object, ended),
        Event::Alert(alert) => alert_event(teller, &mut object, alert),
        Event::Isolation(change) => isolation(teller, &mut object, change, latency_ns),
        Event::Bypass(change) => {
            object.insert("event_type".into(), kind.name().into());
            let action = if change.on { "on" } else { "off" };
            object.insert("bypass".into(), json!({ "action": action, "by": change.by }));
        }
        Event::Order(ordered) => order_event(teller, &mut object, ordered),
        Event::Approval(approval) => approval_event(teller, &mut object, approval),
        Event::Judgement(judgement) => judgement_event(teller, &mut object, judgement),
        Event::Window(change) => window_event(teller, &mut object, change),
        Event::Card(change) => {
            head(teller, &mut object, kind, None);
            card::fields(&mut object, change);
        }
        Event::Dropped(dropped) => drop_event(teller, &mut object, dropped),
        Event::Blind(blind) => blind_event(teller, &mut object, blind),
    }
    debug_assert_eq!(object.get("event_type"), Some(&Value::from(kind.name())));
    Value::Object(object)
}

/// What a replay ends with.
pub fn stats(teller: &Teller, stats: &ReplayStats) -> Value {
    json!({
        "timestamp": teller.clock.stamp(stats.time),
        "event_type": EventType::Stats.name(),
        "stats": {
            "files": stats.files,
            "truncated": stats.truncated,
            "frames": stats.frames,
            "bytes": stats.bytes,
            "parse": stats.parse,
            "flows": stats.flows,
            "devices": stats.devices,
            "alerts": stats.alerts,
            "isolations": stats.isolations,
            "seconds": stats.seconds,
        },
    })
}

/// A value of one of the plain types of the core, none of which can fail to be written.
fn plain<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// The fields of the flow an event is about, and where it came in.
fn head(teller: &Teller, object: &mut Map<String, Value>, kind: EventType, flow: Option<&FlowId>) {
    if let Some(id) = flow {
        object.insert("flow_id".into(), flow_id(id).into());
        in_iface(teller, object, id.port);
    }
    object.insert("event_type".into(), kind.name().into());
    let Some(id) = flow else { return };
    vlan(object, id.vlan);
    object.insert("src_ip".into(), plain(&id.src));
    if has_ports(id) {
        object.insert("src_port".into(), id.sport.into());
    }
    object.insert("dest_ip".into(), plain(&id.dst));
    if has_ports(id) {
        object.insert("dest_port".into(), id.dport.into());
    }
    object.insert("proto".into(), protocol(id).into());
    if id.kind == Kind::Ip && matches!(id.proto, ICMP | ICMP6) {
        object.insert("icmp_type".into(), (id.sport >> 8).into());
        object.insert("icmp_code".into(), (id.sport & 0xff).into());
    }
    if id.kind == Kind::Arp {
        let operation = match id.sport {
            1 => "request".into(),
            2 => "reply".into(),
            other => Value::from(other.to_string()),
        };
        object.insert("arp".into(), json!({ "opcode": operation }));
    }
}

fn in_iface(teller: &Teller, object: &mut Map<String, Value>, port: u8) {
    if let Some(name) = teller.ports.get(&port) {
        object.insert("in_iface".into(), name.as_str().into());
    }
}

fn vlan(object: &mut Map<String, Value>, vlan: u16) {
    if vlan != 0 {
        object.insert("vlan".into(), json!([vlan]));
    }
}

fn ether(object: &mut Map<String, Value>, smac: Option<Mac>, dmac: Option<Mac>) {
    let mut macs = Map::new();
    for (name, mac) in [("src_mac", smac), ("dest_mac", dmac)] {
        if let Some(mac) = mac {
            macs.insert(name.into(), plain(&mac));
        }
    }
    if !macs.is_empty() {
        object.insert("ether".into(), Value::Object(macs));
    }
}

/// The MAC addresses of a flow, as far as the device is one of its ends.
fn ether_of_device(object: &mut Map<String, Value>, id: &FlowId, device: &DeviceRef) {
    let own = |ip: IpAddr| device.ips.contains(&ip).then_some(device.mac);
    ether(object, own(id.src), own(id.dst));
}

fn device(teller: &Teller, object: &mut Map<String, Value>, seen: &DeviceSeen) {
    in_iface(teller, object, seen.port);
    head(teller, object, EventType::Device, None);
    vlan(object, seen.vlan);
    object.insert("device".into(), plain(&seen.device));
    object.insert("new".into(), seen.new.into());
    object.insert("gateway".into(), seen.gateway.into());
    if let Some(label) = &seen.label {
        object.insert("kind".into(), plain(&KindInfo::of(label)));
    }
}

fn flow(teller: &Teller, object: &mut Map<String, Value>, ended: &FlowEnded) {
    head(teller, object, EventType::Flow, Some(&ended.id));
    ether(object, Some(ended.smac), Some(ended.dmac));
    if let Some(inner) = &ended.inner {
        let mut tunnel = json!({
            "type": inner.wrapping,
            "inner_src_ip": inner.src,
            "inner_dest_ip": inner.dst,
            "inner_proto": inner.proto,
        });
        if inner.vlan != 0 {
            tunnel["inner_vlan"] = inner.vlan.into();
        }
        object.insert("tunnel".into(), tunnel);
    }
    let (there, back) = (&ended.to_server, &ended.to_client);
    let mut flow = json!({
        "pkts_toserver": there.packets,
        "pkts_toclient": back.packets,
        "bytes_toserver": there.bytes,
        "bytes_toclient": back.bytes,
        "start": teller.clock.stamp(ended.start),
        "end": teller.clock.stamp(ended.end),
        "age": ended.end.since(ended.start) / SECOND,
        "state": state(ended),
        "reason": ended.reason,
    });
    if there.drops + back.drops > 0 {
        flow["drops_toserver"] = there.drops.into();
        flow["drops_toclient"] = back.drops.into();
    }
    object.insert("flow".into(), flow);
    if ended.id.kind == Kind::Ip && ended.id.proto == TCP {
        let hex = |flags: u8| format!("{flags:02x}");
        let tcp = json!({
            "tcp_flags": hex(there.tcp_flags | back.tcp_flags),
            "tcp_flags_ts": hex(there.tcp_flags),
            "tcp_flags_tc": hex(back.tcp_flags),
        });
        object.insert("tcp".into(), tcp);
    }
}

/// EVE's word for how far a flow got.
fn state(ended: &FlowEnded) -> &'static str {
    if ended.reason == EndReason::Closed {
        "closed"
    } else if ended.to_client.packets > 0 {
        "established"
    } else {
        "new"
    }
}

fn alert_event(teller: &Teller, object: &mut Map<String, Value>, alert: &Alert) {
    head(teller, object, EventType::Alert, Some(&alert.flow));
    ether_of_device(object, &alert.flow, &alert.device);
    let blocked = alert.action == Action::Isolated;
    object.insert(
        "alert".into(),
        json!({
            "action": if blocked { "blocked" } else { "allowed" },
            "gid": 1,
            "signature_id": signature_id(alert.detector, alert.signature),
            "rev": 1,
            "signature": alert.signature,
            "category": category(alert.detector),
            "severity": alert.severity,
            "metadata": metadata(alert),
        }),
    );
    object.insert("device".into(), plain(&alert.device));
    let evidence = alert.evidence.iter().map(|(name, value)| ((*name).to_owned(), plain(value)));
    object.insert("evidence".into(), Value::Object(evidence.collect()));
    object.insert("family".into(), alert.family.name().into());
    object.insert("weight".into(), ((alert.weight * 100.0).round() / 100.0).into());
    object.insert("sum".into(), plain(&alert.sum));
    object.insert("why".into(), plain(&alert.why));
    object.insert("first_evidence".into(), plain(&teller.clock.stamp(alert.first_evidence)));
    object.insert("incident_id".into(), alert.incident.into());
    if let Some(ruling) = &alert.ruling {
        object.insert("decision".into(), plain(ruling));
    }
    if let Some(coverage) = &alert.coverage {
        object.insert("coverage".into(), plain(coverage));
    }
}

fn approval_event(teller: &Teller, object: &mut Map<String, Value>, approval: &Approval) {
    head(teller, object, EventType::Approval, None);
    if let Some(device) = &approval.device {
        object.insert("device".into(), plain(device));
    }
    object.insert(
        "approval".into(),
        json!({
            "action": approval.step,
            "level": approval.level,
            "until": teller.clock.stamp(approval.until),
            "otherwise": if approval.acts { "act" } else { "alert" },
            "by": approval.by,
        }),
    );
    object.insert("incident_id".into(), approval.incident.into());
}

fn judgement_event(teller: &Teller, object: &mut Map<String, Value>, judgement: &Judgement) {
    head(teller, object, EventType::Judgement, None);
    if let Some(device) = &judgement.device {
        object.insert("device".into(), plain(device));
    }
    let reviews = judgement
        .reviews
        .iter()
        .map(|review| json!({ "id": review.id, "detector": review.detector, "scope": review.scope }));
    let reviews: Vec<Value> = reviews.collect();
    let mut told = json!({ "verdict": judgement.judged, "by": judgement.by, "reviews": reviews });
    if !judgement.comment.is_empty() {
        told["comment"] = judgement.comment.as_str().into();
    }
    object.insert("judgement".into(), told);
    object.insert("incident_id".into(), judgement.incident.into());
}

fn order_event(teller: &Teller, object: &mut Map<String, Value>, ordered: &Ordered) {
    head(teller, object, EventType::Order, None);
    let with: Value = serde_json::from_str(&ordered.with).unwrap_or_default();
    // Orders about an incident have its number alone, or among other things.
    let number = Some(&with).filter(|_| ordered.order.starts_with("incident_"));
    let incident = number.and_then(|with| with.as_u64().or_else(|| with["incident"].as_u64()));
    object.insert(
        "order".into(),
        json!({
            "request": ordered.order,
            "with": with,
            "by": ordered.by,
            "outcome": if ordered.refused.is_none() { "done" } else { "refused" },
            "reason": ordered.refused,
        }),
    );
    if let Some(incident) = incident {
        object.insert("incident_id".into(), incident.into());
    }
}

fn window_event(teller: &Teller, object: &mut Map<String, Value>, change: &WindowChange) {
    head(teller, object, EventType::Window, None);
    let window = &change.window;
    object.insert(
        "window".into(),
        json!({
            "id": window.id,
            "action": change.step,
            "for": window.cover,
            "from": teller.clock.stamp(window.from),
            "until": teller.clock.stamp(window.until),
            "reason": window.reason,
            "by": change.by,
        }),
    );
}

fn drop_event(teller: &Teller, object: &mut Map<String, Value>, dropped: &Dropped) {
    let seen = &dropped.seen;
    head(teller, object, EventType::Drop, Some(&seen.id));
    ether(object, Some(seen.smac), Some(seen.dmac));
    if let Some(device) = &dropped.device {
        object.insert("device".into(), plain(device));
    }
    let mut told = json!({
        "len": seen.len,
        "ttl": seen.ttl,
        "reason": seen.reason,
        "would": seen.would,
        "sampled": DROP_SAMPLE,
    });
    if seen.rule_id != 0 {
        told["rule_id"] = seen.rule_id.into();
    }
    if seen.id.kind == Kind::Ip && seen.id.proto == TCP {
        told["tcp_flags"] = format!("{:02x}", seen.tcp_flags).into();
    }
    object.insert("drop".into(), told);
}

fn blind_event(teller: &Teller, object: &mut Map<String, Value>, blind: &Blind) {
    head(teller, object, EventType::Blind, None);
    let stamp = |time: Time| teller.clock.stamp(time);
    object.insert(
        "blind".into(),
        json!({
            "state": if blind.ended.is_none() { "begin" } else { "end" },
            "begin": stamp(blind.began),
            "end": blind.ended.map(stamp),
            "reasons": blind.causes,
            "frames": blind.frames,
            "frames_lost": blind.frames_lost,
            "records_lost": blind.records_lost,
            "stopped_ms": blind.stopped_ns / MILLISECOND,
        }),
    );
}

/// A number in 1000000 to 1999999, which Suricata leaves to local rules; the same as long as the words are.
fn signature_id(detector: &str, signature: &str) -> u64 {
    let mut hash = Fnv::default();
    hash.write(detector.as_bytes());
    hash.write(b":");
    hash.write(signature.as_bytes());
    1_000_000 + hash.0 % 1_000_000
}

/// What else there is to an alert; the technique as the rules of Emerging Threats write it.
fn metadata(alert: &Alert) -> Value {
    let mut metadata = json!({ "detector": [alert.detector], "decision": [alert.action] });
    if let Some(technique) = technique::of(alert.detector, alert.signature) {
        let word = |name: &str| [name.replace(' ', "_")];
        metadata["mitre_tactic_id"] = json!([technique.tactic_id]);
        metadata["mitre_tactic_name"] = json!(word(technique.tactic));
        metadata["mitre_technique_id"] = json!([technique.id]);
        metadata["mitre_technique_name"] = json!(word(technique.name));
    }
    metadata
}

/// The category of a detector's alerts, in the words of Suricata's classification where it has them.
fn category(detector: &str) -> &'static str {
    match detector {
        "scan" | "port_scan" => "Detection of a Network Scan",
        "lateral" | "exposed" => "Lateral Movement",
        "brute" => "Attempted User Privilege Gain",
        "beacon" => "Malware Command and Control Activity Detected",
        "flood" => "Detection of a Denial of Service Attack",
        _ => "Potentially Bad Traffic",
    }
}

fn isolation(teller: &Teller, object: &mut Map<String, Value>, change: &Isolation, latency_ns: Option<u64>) {
    head(teller, object, EventType::Isolation, change.flow.as_ref());
    if let (Some(flow), Some(device)) = (&change.flow, &change.device) {
        ether_of_device(object, flow, device);
    }
    if let Some(device) = &change.device {
        object.insert("device".into(), plain(device));
    }
    let stamp = |time: Option<Time>| time.map(|time| teller.clock.stamp(time));
    let mut isolation = json!({
        "id": change.id,
        "action": change.change,
        "target": target(&change.targets),
        "targets": change.targets,
        "level": change.level,
        "direction": change.direction,
        "until": stamp(change.until),
        "would": change.would,
        "reason": change.reason,
    });
    if let Some(ns) = latency_ns {
        // Whole microseconds: more digits would claim what the clocks cannot tell.
        isolation["latency_ms"] = (ns.div_euclid(1_000) as f64 / 1_000.0).into();
    }
    object.insert("isolation".into(), isolation);
    if let Some(incident) = change.incident {
        object.insert("incident_id".into(), incident.into());
    }
}

/// The first MAC and the first IP address among the targets, null if there is none.
fn target(targets: &[Target]) -> Value {
    let first = |wanted: fn(&Target) -> bool| targets.iter().find(|target| wanted(target)).map(plain);
    json!({
        "mac": first(|target| matches!(target, Target::Mac(_))),
        "ip": first(|target| matches!(target, Target::Ip(_))),
    })
}
