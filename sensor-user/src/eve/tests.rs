//! Tests of what is told, as data: an event, its object and its sentence.

use sensor_core::coverage::{BlindCause, Sighted};
use sensor_core::event::{
    Action, Alert, Blind, Change, DeviceRef, DeviceSeen, Dropped, Event, FlowEnded, Half, Isolation, Timed,
    Value as Number,
};
use sensor_core::evidence::{Family, Sum};
use sensor_core::identify::{self, Label};
use sensor_core::observation::{DropReason, DropSeen, EndReason, FlowId, Kind, Verdict};
use sensor_core::policy::{Direction, Level, Target, Why};
use sensor_core::time::{HOUR, SECOND, Time};
use sensor_core::tunnel::{Inner, Wrapping};
use serde_json::json;

use super::*;

/// 2026-01-01 00:00:00 UTC.
const START: Time = Time::at(1_767_225_600 * SECOND);

fn teller() -> Teller {
    let ports = BTreeMap::from([(1, "eth1".to_owned())]);
    Teller { clock: WallClock::UNIX, ports, zone: TimeZone::UTC }
}

fn device() -> DeviceRef {
    DeviceRef {
        id: 7,
        mac: "00:1b:21:0a:0b:0c".parse().unwrap(),
        ips: vec!["10.0.0.7".parse().unwrap(), "fe80::7".parse().unwrap()],
        maker: Some("Intel".to_owned()),
        name: None,
        class: None,
    }
}

fn id() -> FlowId {
    FlowId {
        src: "10.0.0.7".parse().unwrap(),
        dst: "10.0.0.9".parse().unwrap(),
        sport: 40_000,
        dport: 445,
        proto: 6,
        kind: Kind::Ip,
        vlan: 20,
        port: 1,
    }
}

fn alert(action: Action) -> Event {
    Event::Alert(Alert {
        incident: 3,
        detector: "scan",
        signature: "first contacts fail",
        severity: 1,
        device: device(),
        flow: id(),
        evidence: vec![
            ("failed_first_contacts", Number::Count(10)),
            ("seconds", Number::Number(0.5)),
            ("destinations", Number::List(vec!["10.0.0.9".to_owned()])),
        ],
        first_evidence: START,
        family: Family::Scan,
        weight: 13.82,
        sum: Sum { shares: vec![(Family::Scan, 13.82)] },
        why: Why::default(),
        action,
        ruling: None,
        coverage: None,
    })
}

fn isolation(change: Change) -> Isolation {
    Isolation {
        id: 5,
        change,
        device: Some(device()),
        targets: vec![Target::Mac(device().mac), Target::Ip("10.0.0.7".parse().unwrap())],
        level: Level::Isolate,
        direction: Direction::Both,
        until: Some(START.plus(HOUR)),
        would: false,
        reason: "10 failed first contacts".to_owned(),
        incident: Some(3),
        flow: Some(id()),
        first_evidence: Some(START),
    }
}

/// Compares keys, their order and values.
#[track_caller]
fn is_told(event: Event, latency_ns: Option<u64>, object: Value, sentence: &str) {
    let timed = Timed { time: START.plus(1_500_000_000), event };
    let got = serde_json::to_string_pretty(&teller().value(&timed, latency_ns)).unwrap();
    assert_eq!(got, serde_json::to_string_pretty(&object).unwrap());
    assert_eq!(teller().sentence(&timed, latency_ns), format!("2026-01-01 00:00:01 {sentence}"));
}

#[test]
fn a_device_is_told() {
    is_told(
        Event::Device(DeviceSeen {
            device: device(),
            new: true,
            port: 1,
            vlan: 20,
            gateway: false,
            label: None,
            relabelled: false,
        }),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "in_iface": "eth1",
            "event_type": "device",
            "vlan": [20],
            "device": { "id": 7, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7", "fe80::7"], "maker": "Intel" },
            "new": true,
            "gateway": false,
        }),
        "device    Intel 00:1b:21:0a:0b:0c (10.0.0.7) seen for the first time on eth1 in VLAN 20",
    );
}

#[test]
fn the_kind_of_a_device_is_told() {
    let reasons = vec!["sends by HL7 (TCP 2575)".to_owned()];
    let label = Some(Label { kind: identify::Kind::PatientMonitor, confidence: 0.917, reasons });
    let (port, vlan, gateway) = (1, 0, false);
    is_told(
        Event::Device(DeviceSeen {
            device: device(),
            new: false,
            port,
            vlan,
            gateway,
            label,
            relabelled: true,
        }),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "in_iface": "eth1",
            "event_type": "device",
            "device": { "id": 7, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7", "fe80::7"], "maker": "Intel" },
            "new": false,
            "gateway": false,
            "kind": { "name": "patient_monitor", "confidence": 0.92, "reasons": ["sends by HL7 (TCP 2575)"] },
        }),
        "device    Intel 00:1b:21:0a:0b:0c (10.0.0.7) is taken for another kind on eth1, patient monitor 92 %",
    );
}

#[test]
fn a_flow_is_told() {
    let half = |packets, bytes| Half { packets, bytes, drops: 0, tcp_flags: 0x1b };
    is_told(
        Event::Flow(FlowEnded {
            id: id(),
            smac: device().mac,
            dmac: "00:1b:21:0a:0b:0d".parse().unwrap(),
            inner: None,
            to_server: half(10, 1_500),
            to_client: half(8, 900),
            start: START,
            end: START.plus(2 * SECOND),
            reason: EndReason::Closed,
            verdict: Verdict::Pass,
            earlier: None,
            devices: [None; 2],
        }),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "flow_id": flow_id(&id()),
            "in_iface": "eth1",
            "event_type": "flow",
            "vlan": [20],
            "src_ip": "10.0.0.7",
            "src_port": 40_000,
            "dest_ip": "10.0.0.9",
            "dest_port": 445,
            "proto": "TCP",
            "ether": { "src_mac": "00:1b:21:0a:0b:0c", "dest_mac": "00:1b:21:0a:0b:0d" },
            "flow": {
                "pkts_toserver": 10,
                "pkts_toclient": 8,
                "bytes_toserver": 1_500,
                "bytes_toclient": 900,
                "start": "2026-01-01T00:00:00.000000+0000",
                "end": "2026-01-01T00:00:02.000000+0000",
                "age": 2,
                "state": "closed",
                "reason": "closed",
            },
            "tcp": { "tcp_flags": "1b", "tcp_flags_ts": "1b", "tcp_flags_tc": "1b" },
        }),
        "flow      TCP 10.0.0.7:40000 -> 10.0.0.9:445: 10 frames (1.5 kB) there, 8 (900 B) back, in 2s; closed",
    );
}

#[test]
fn a_tunnel_tells_what_is_within() {
    let inner = Inner {
        wrapping: Wrapping::Vxlan,
        src: "172.16.0.1".parse().unwrap(),
        dst: "172.16.0.2".parse().unwrap(),
        proto: 6,
        vlan: 30,
    };
    let half = Half { packets: 1, bytes: 100, drops: 0, tcp_flags: 0 };
    let ended = FlowEnded {
        id: FlowId { proto: 17, dport: 4_789, ..id() },
        smac: device().mac,
        dmac: device().mac,
        inner: Some(inner),
        to_server: half,
        to_client: Half::default(),
        start: START,
        end: START,
        reason: EndReason::Timeout,
        verdict: Verdict::Pass,
        earlier: None,
        devices: [None; 2],
    };
    let timed = Timed { time: START, event: Event::Flow(ended) };
    assert_eq!(
        teller().value(&timed, None)["tunnel"],
        json!({ "type": "vxlan", "inner_src_ip": "172.16.0.1", "inner_dest_ip": "172.16.0.2", "inner_proto": 6,
            "inner_vlan": 30 })
    );
    let sentence = teller().sentence(&timed, None);
    assert!(sentence.contains("10.0.0.9:4789 (within: 172.16.0.1 -> 172.16.0.2): 1 frame"), "{sentence}");
}

#[test]
fn a_dropped_frame_is_told_as_one_of_a_sample() {
    let seen = DropSeen {
        time: START,
        id: id(),
        smac: device().mac,
        dmac: "00:1b:21:0a:0b:0d".parse().unwrap(),
        len: 60,
        ttl: 64,
        tcp_flags: 2,
        would: false,
        reason: DropReason::Rule,
        rule_id: 5,
    };
    is_told(
        Event::Dropped(Dropped { seen, device: Some(device()) }),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "flow_id": flow_id(&id()),
            "in_iface": "eth1",
            "event_type": "drop",
            "vlan": [20],
            "src_ip": "10.0.0.7",
            "src_port": 40_000,
            "dest_ip": "10.0.0.9",
            "dest_port": 445,
            "proto": "TCP",
            "ether": { "src_mac": "00:1b:21:0a:0b:0c", "dest_mac": "00:1b:21:0a:0b:0d" },
            "device": { "id": 7, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7", "fe80::7"], "maker": "Intel" },
            "drop": {
                "len": 60,
                "ttl": 64,
                "reason": "rule",
                "would": false,
                "sampled": 1_024,
                "rule_id": 5,
                "tcp_flags": "02",
            },
        }),
        "drop      Intel 00:1b:21:0a:0b:0c (10.0.0.7): TCP 10.0.0.7:40000 -> 10.0.0.9:445 dropped, by entry 5 (one \
         frame in 1024 is told)",
    );
    let reflex = DropSeen { reason: DropReason::Reflex, rule_id: 0, ..seen };
    let timed = Timed { time: START, event: Event::Dropped(Dropped { seen: reflex, device: None }) };
    let told = &teller().value(&timed, None)["drop"];
    assert_eq!((&told["reason"], told.get("rule_id")), (&json!("reflex"), None));
    let sentence = teller().sentence(&timed, None);
    assert!(sentence.contains("dropped, over its budget of new destinations"), "{sentence}");
}

#[test]
fn blindness_is_told_at_its_beginning_and_at_its_end() {
    let blind = Blind {
        began: START,
        ended: None,
        causes: vec![BlindCause::RecordsLost, BlindCause::Stopped],
        frames: 1_000,
        frames_lost: 1,
        records_lost: 7,
        stopped_ns: 2 * SECOND,
    };
    let object = |state: &str, end: Value| {
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "event_type": "blind",
            "blind": {
                "state": state,
                "begin": "2026-01-01T00:00:00.000000+0000",
                "end": end,
                "reasons": ["records_lost", "stopped"],
                "frames": 1_000,
                "frames_lost": 1,
                "records_lost": 7,
                "stopped_ms": 2_000,
            },
        })
    };
    is_told(
        Event::Blind(blind.clone()),
        None,
        object("begin", Value::Null),
        "BLIND     more new flows than can be told; the daemon was stopped or too slow: silence means nothing now (1 \
         frame of 1000 and 7 records of new flows were lost so far)",
    );
    is_told(
        Event::Blind(Blind { ended: Some(START.plus(SECOND)), ..blind }),
        None,
        object("end", json!("2026-01-01T00:00:01.000000+0000")),
        "blind     over after 1s (more new flows than can be told; the daemon was stopped or too slow): 1 frame of 1000 \
         and 7 records of new flows were lost",
    );
}

#[test]
fn an_alert_says_how_much_was_seen() {
    let Event::Alert(mut told) = alert(Action::Isolated) else { panic!() };
    told.coverage = Some(Sighted {
        port: 1.0,
        bridge: 0.97,
        seconds: 300,
        frames_lost: 30,
        records_lost: 0,
        blind: true,
    });
    let timed = Timed { time: START, event: Event::Alert(told) };
    assert_eq!(
        teller().value(&timed, None)["coverage"],
        json!({ "port": 1.0, "bridge": 0.97, "seconds": 300, "frames_lost": 30, "records_lost": 0, "blind": true })
    );
    let sentence = teller().sentence(&timed, None);
    assert!(sentence.ends_with("isolated; seen was 97.00 % of what came lately"), "{sentence}");
}

#[test]
fn an_alert_says_what_was_earned_what_was_allowed_and_what_is_lost() {
    use sensor_core::policy::Service;
    use sensor_core::policy::preview::{Loss, Part, Preview};
    use sensor_core::policy::ruling::{Cause, Lowered, Ruling};
    let service = Service { proto: 6, port: 104, peer: Some("10.0.0.3".parse().unwrap()) };
    let (part, name) = (Part::Uses, Some("PACS".to_owned()));
    let lost = vec![Loss { part, service, name, live: true, vital: false }];
    let level = Level::Pin;
    let impact = Preview { level, peers: 1, services: 1, conversations: 2, lost, vital: vec![] };
    let class = Cause::Class { class: "icu".parse().unwrap() };
    let lowered = vec![Lowered { to: Some(level), why: class }];
    let Event::Alert(mut told) = alert(Action::Pinned) else { panic!() };
    told.ruling = Some(Ruling { earned: Level::Isolate, lowered, impact: Some(impact) });
    let timed = Timed { time: START, event: Event::Alert(told) };
    assert_eq!(
        teller().value(&timed, None)["decision"],
        json!({
            "earned": "isolate",
            "allowed": "pin",
            "lowered": [{ "to": "pin", "by": "class", "class": "icu" }],
            "impact": {
                "level": "pin", "peers": 1, "services": 1, "conversations": 2,
                "lost": [{
                    "part": "uses", "service": "tcp/104", "peer": "10.0.0.3", "name": "PACS", "live": true,
                    "vital": false,
                }],
                "vital": [],
            },
        })
    );
    let sentence = teller().sentence(&timed, None);
    assert!(
        sentence.ends_with(
            "; pinned to what it did before (earned isolate; pin at most: the class icu allows no more); lost by it: \
             1 service with 1 peer (2 conversations now): uses tcp/104 of PACS (10.0.0.3)"
        ),
        "{sentence}"
    );
}

#[test]
fn what_waits_for_a_person_is_told() {
    use sensor_core::event::{Approval, ApprovalStep};
    let approval = |step, by: Option<&str>| {
        Event::Approval(Approval {
            incident: 3,
            step,
            device: Some(device()),
            level: Level::Isolate,
            until: START.plus(HOUR),
            acts: false,
            by: by.map(str::to_owned),
        })
    };
    is_told(
        approval(ApprovalStep::Asked, None),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "event_type": "approval",
            "device": { "id": 7, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7", "fe80::7"], "maker": "Intel" },
            "approval": {
                "action": "asked",
                "level": "isolate",
                "until": "2026-01-01T01:00:00.000000+0000",
                "otherwise": "alert",
                "by": null,
            },
            "incident_id": 3,
        }),
        "approval  Intel 00:1b:21:0a:0b:0c (10.0.0.7) is to be cut off: `sekisho incidents approve 3` or `deny 3` until \
         2026-01-01 01:00:00, or nothing is done [incident 3]",
    );
    for (step, by, want) in [
        (ApprovalStep::Approved, Some("tanaka"), "is to be cut off: approved by tanaka"),
        (ApprovalStep::Denied, Some("tanaka"), "is not to be cut off: denied by tanaka"),
        (ApprovalStep::Lapsed, None, "is not cut off: nobody approved it in time"),
        (ApprovalStep::LapsedActs, None, "is to be cut off: nobody denied it in time"),
        (
            ApprovalStep::Lost,
            None,
            "was to be cut off: the question is gone, for in observe mode nothing is done",
        ),
    ] {
        let timed = Timed { time: START, event: approval(step, by) };
        let sentence = teller().sentence(&timed, None);
        assert!(sentence.contains(want), "{sentence}");
        assert_eq!(teller().value(&timed, None)["approval"]["action"], step.name());
    }
}

#[test]
fn a_judgement_is_told() {
    use sensor_core::event::{Judged, Judgement};
    use sensor_core::policy::review::{Review, Scope};
    let review = Review {
        id: 2,
        detector: "scan".to_owned(),
        scope: Scope::Class("icu".parse().unwrap()),
        incident: 3,
        since: START,
        by: "tanaka".to_owned(),
    };
    let said = |judged, reviews| {
        Event::Judgement(Judgement {
            judged,
            incident: 3,
            device: None,
            reviews,
            by: "tanaka".to_owned(),
            comment: String::new(),
        })
    };
    is_told(
        said(Judged::False, vec![review.clone()]),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "event_type": "judgement",
            "judgement": {
                "verdict": "false",
                "by": "tanaka",
                "reviews": [{ "id": 2, "detector": "scan", "scope": "class icu" }],
            },
            "incident_id": 3,
        }),
        "judgement incident 3 is false, by tanaka: on review is scan for class icu",
    );
    for (judged, reviews, want) in [
        (
            Judged::Grave,
            vec![],
            "judgement incident 3 is true and grave, by tanaka: counts again: no detector",
        ),
        (Judged::Right, vec![], "judgement incident 3 is true, by tanaka: counts again: no detector"),
        (
            Judged::Reviewed,
            vec![review],
            "judgement reviewed by tanaka: counts again: scan for class icu [incident 3]",
        ),
    ] {
        let timed = Timed { time: START, event: said(judged, reviews) };
        assert!(teller().sentence(&timed, None).ends_with(want), "{}", teller().sentence(&timed, None));
    }
}

#[test]
fn what_people_say_of_a_device_is_told() {
    use sensor_core::event::{CardChange, CardStep};
    use sensor_core::inventory::DeviceKey;
    use sensor_core::inventory::cards::Card;
    use sensor_core::policy::class::Criticality;
    let card = Card {
        id: 7,
        keys: vec![DeviceKey::Local(device().mac)],
        place: Some("OR 1".to_owned()),
        criticality: Some(Criticality::LifeCritical),
        approved: true,
        ..Card::default()
    };
    let step = CardStep::Described;
    is_told(
        Event::Card(CardChange {
            step,
            device: device(),
            card: Box::new(card),
            by: "sato".to_owned(),
            group: None,
        }),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "event_type": "inventory",
            "device": { "id": 7, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7", "fe80::7"], "maker": "Intel" },
            "inventory": {
                "action": "described",
                "id": 7,
                "addresses": ["00:1b:21:0a:0b:0c"],
                "name": null,
                "place": "OR 1",
                "owner": null,
                "note": null,
                "class": null,
                "criticality": "life-critical",
                "approved": true,
                "by": "sato",
            },
        }),
        "inventory Intel 00:1b:21:0a:0b:0c (number 7) is described anew, by sato",
    );
}

#[test]
fn who_is_one_by_evidence_is_told_with_the_evidence_and_why_no_longer() {
    use sensor_core::event::{CardChange, CardStep, Grouping};
    use sensor_core::identify::group::WhyTwo;
    use sensor_core::inventory::DeviceKey;
    use sensor_core::inventory::cards::Card;
    let other = DeviceRef { id: 9, name: Some("dock".to_owned()), ..device() };
    let told = |step, why| {
        let card = Card { id: 7, keys: vec![DeviceKey::Local(device().mac)], ..Card::default() };
        let group = Some(Grouping { with: vec![other.clone()], client_id: "0004ab".to_owned(), why });
        let event = Event::Card(CardChange {
            step,
            device: device(),
            card: card.into(),
            by: "sekisho".to_owned(),
            group,
        });
        let timed = Timed { time: START, event };
        let inventory = teller().value(&timed, None)["inventory"].clone();
        assert_eq!(
            (&inventory["with"][0]["id"], &inventory["dhcp_client_id"]),
            (&json!(9), &json!("0004ab"))
        );
        (teller().sentence(&timed, None), inventory["action"].clone(), inventory["why"].clone())
    };
    let (sentence, action, why) = told(CardStep::Grouped, None);
    let want = "inventory Intel 00:1b:21:0a:0b:0c (number 7) is counted as one device with dock (number 9): they ask by DHCP under one \
                client id and are heard by turns. It is evidence alone: each is held, spared and judged by itself, by sekisho";
    assert!(sentence.ends_with(want), "{sentence}");
    assert_eq!((action, why), (json!("grouped"), json!(null)));
    let (sentence, action, why) = told(CardStep::Dissolved, Some(WhyTwo::Together));
    let want = "(number 7) is no longer counted as one device with dock (number 9): they are heard at the same time, by sekisho";
    assert!(sentence.ends_with(want), "{sentence}");
    assert_eq!((action, why), (json!("dissolved"), json!("together")));
}

#[test]
fn a_judgement_is_told_with_its_comment() {
    use sensor_core::event::{Judged, Judgement};
    let (by, comment) = ("tanaka".to_owned(), "scan of the maker\n".to_owned());
    let said = Judgement { judged: Judged::False, incident: 3, device: None, reviews: vec![], by, comment };
    let timed = Timed { time: START, event: Event::Judgement(said) };
    assert_eq!(teller().value(&timed, None)["judgement"]["comment"], "scan of the maker\n");
    let want = "judgement incident 3 is false, by tanaka (scan of the maker ): on review is no detector";
    assert!(teller().sentence(&timed, None).ends_with(want), "{}", teller().sentence(&timed, None));
}

#[test]
fn an_order_is_told_with_who_gave_it_and_what_came_of_it() {
    use sensor_core::event::Ordered;
    let order = |order: &str, with: &str, refused: Option<&str>| {
        let (order, with, refused) = (order.to_owned(), with.to_owned(), refused.map(str::to_owned));
        Event::Order(Ordered { by: "tanaka".to_owned(), order, with, refused })
    };
    is_told(
        order("incident_judge", r#"{"incident":3,"right":true}"#, None),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "event_type": "order",
            "order": {
                "request": "incident_judge",
                "with": { "incident": 3, "right": true },
                "by": "tanaka",
                "outcome": "done",
                "reason": null,
            },
            "incident_id": 3,
        }),
        r#"order     by tanaka: incident judge {"incident":3,"right":true}: done"#,
    );
    is_told(
        order("block_remove", r#"{"id":3}"#, Some("there is no block entry for 3")),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "event_type": "order",
            "order": {
                "request": "block_remove",
                "with": { "id": 3 },
                "by": "tanaka",
                "outcome": "refused",
                "reason": "there is no block entry for 3",
            },
        }),
        r#"order     by tanaka: block remove {"id":3}: refused: there is no block entry for 3"#,
    );
    let approve = Timed { time: START, event: order("incident_approve", "7", None) };
    assert_eq!(teller().value(&approve, None)["incident_id"], 7);
}

#[test]
fn a_change_window_is_told() {
    use sensor_core::event::{WindowChange, WindowStep};
    use sensor_core::policy::window::{Cover, Window};
    use sensor_core::time::HOUR;
    let window = Window {
        id: 2,
        cover: Cover::Segment("icu".parse().unwrap()),
        from: START,
        until: START.plus(HOUR),
        reason: "new switch".to_owned(),
        since: START,
        by: "tanaka".to_owned(),
    };
    let change = |step, by: Option<&str>| {
        Event::Window(WindowChange { window: window.clone(), step, by: by.map(str::to_owned) })
    };
    is_told(
        change(WindowStep::Removed, Some("sato")),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "event_type": "window",
            "window": {
                "id": 2,
                "action": "removed",
                "for": "segment icu",
                "from": "2026-01-01T00:00:00.000000+0000",
                "until": "2026-01-01T01:00:00.000000+0000",
                "reason": "new switch",
                "by": "sato",
            },
        }),
        "window    change window 2 for segment icu is ended by sato: what is found acts again",
    );
    for (step, want) in [
        (WindowStep::Announced, "new switch"),
        (WindowStep::Opened, "what is found is told, and nothing is cut off by itself"),
        (WindowStep::Ended, "change window 2 for segment icu is over: what is found acts again"),
    ] {
        let timed = Timed { time: START, event: change(step, None) };
        assert!(teller().sentence(&timed, None).ends_with(want), "{}", teller().sentence(&timed, None));
    }
}

#[test]
fn an_alert_is_told() {
    is_told(
        alert(Action::Isolated),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "flow_id": flow_id(&id()),
            "in_iface": "eth1",
            "event_type": "alert",
            "vlan": [20],
            "src_ip": "10.0.0.7",
            "src_port": 40_000,
            "dest_ip": "10.0.0.9",
            "dest_port": 445,
            "proto": "TCP",
            "ether": { "src_mac": "00:1b:21:0a:0b:0c" },
            "alert": {
                "action": "blocked",
                "gid": 1,
                "signature_id": 1_887_559,
                "rev": 1,
                "signature": "first contacts fail",
                "category": "Detection of a Network Scan",
                "severity": 1,
                "metadata": {
                    "detector": ["scan"],
                    "decision": ["isolated"],
                    "mitre_tactic_id": ["TA0007"],
                    "mitre_tactic_name": ["Discovery"],
                    "mitre_technique_id": ["T1046"],
                    "mitre_technique_name": ["Network_Service_Discovery"],
                },
            },
            "device": { "id": 7, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7", "fe80::7"], "maker": "Intel" },
            "evidence": { "failed_first_contacts": 10, "seconds": 0.5, "destinations": ["10.0.0.9"] },
            "family": "scan",
            "weight": 13.82,
            "sum": { "nats": 13.82, "families": { "scan": 13.82 } },
            "why": { "level": null, "decisive": false, "without": {} },
            "first_evidence": "2026-01-01T00:00:00.000000+0000",
            "incident_id": 3,
        }),
        "alert     Intel 00:1b:21:0a:0b:0c (10.0.0.7): first contacts fail [high, incident 3]: 10 failed first contacts, \
         0.5 seconds, destinations 10.0.0.9; isolated",
    );
}

#[test]
fn only_what_was_cut_off_is_called_blocked() {
    for (action, want, words) in [
        (Action::None, "allowed", "told only"),
        (Action::Isolated, "blocked", "isolated"),
        (Action::WouldIsolate, "allowed", "would be isolated (observe mode)"),
        (Action::AlreadyIsolated, "allowed", "held already"),
        (Action::Pinned, "allowed", "pinned to what it did before"),
        (Action::WouldThrottle, "allowed", "would be throttled (observe mode)"),
        (Action::UngradedIsolate, "allowed", "would be isolated (not decisive by itself)"),
        (Action::Gateway, "allowed", "not isolated: it is a gateway"),
        (Action::Protected, "allowed", "not isolated: it is on the protected list"),
        (Action::NoOwnAddress, "allowed", "not isolated: no address is its own alone"),
    ] {
        let timed = Timed { time: START, event: alert(action.clone()) };
        assert_eq!(teller().value(&timed, None)["alert"]["action"], want, "{action:?}");
        assert!(teller().sentence(&timed, None).ends_with(&format!("; {words}")), "{action:?}");
    }
}

#[test]
fn an_isolation_is_told() {
    is_told(
        Event::Isolation(isolation(Change::Added)),
        Some(12_345_678),
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "flow_id": flow_id(&id()),
            "in_iface": "eth1",
            "event_type": "isolation",
            "vlan": [20],
            "src_ip": "10.0.0.7",
            "src_port": 40_000,
            "dest_ip": "10.0.0.9",
            "dest_port": 445,
            "proto": "TCP",
            "ether": { "src_mac": "00:1b:21:0a:0b:0c" },
            "device": { "id": 7, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7", "fe80::7"], "maker": "Intel" },
            "isolation": {
                "id": 5,
                "action": "added",
                "target": { "mac": "00:1b:21:0a:0b:0c", "ip": "10.0.0.7" },
                "targets": ["00:1b:21:0a:0b:0c", "10.0.0.7"],
                "level": "isolate",
                "direction": "both",
                "until": "2026-01-01T01:00:00.000000+0000",
                "would": false,
                "reason": "10 failed first contacts",
                "latency_ms": 12.345,
            },
            "incident_id": 3,
        }),
        "isolation Intel 00:1b:21:0a:0b:0c (10.0.0.7) is cut off until 2026-01-01 01:00:00 (59m 58s), 12.3 ms after the \
         first evidence: 10 failed first contacts [entry 5]",
    );
}

#[test]
fn an_entry_by_hand_has_no_flow_and_may_have_no_end() {
    let targets = vec![Target::Ip("2001:db8::7".parse().unwrap())];
    is_told(
        Event::Isolation(Isolation {
            device: None,
            targets,
            until: None,
            incident: None,
            flow: None,
            first_evidence: None,
            reason: String::new(),
            ..isolation(Change::Added)
        }),
        None,
        json!({
            "timestamp": "2026-01-01T00:00:01.500000+0000",
            "event_type": "isolation",
            "isolation": {
                "id": 5,
                "action": "added",
                "target": { "mac": null, "ip": "2001:db8::7" },
                "targets": ["2001:db8::7"],
                "level": "isolate",
                "direction": "both",
                "until": null,
                "would": false,
                "reason": "",
            },
        }),
        "isolation 2001:db8::7 is cut off until somebody releases it [entry 5]",
    );
}

#[test]
fn every_change_of_an_entry_has_its_words() {
    let who = "isolation Intel 00:1b:21:0a:0b:0c (10.0.0.7)";
    for (change, would, want) in [
        (
            Change::Added,
            true,
            "would be cut off until 2026-01-01 01:00:00 (1h): 10 failed first contacts [entry 5]",
        ),
        (
            Change::Extended,
            false,
            "is cut off longer, until 2026-01-01 01:00:00 (1h): 10 failed first contacts [entry 5]",
        ),
        (
            Change::Narrowed,
            false,
            "is cut off at 00:1b:21:0a:0b:0c, 10.0.0.7 alone now: another device has its other address [entry 5]",
        ),
        (
            Change::Changed,
            false,
            "is cut off now, until 2026-01-01 01:00:00 (1h): 10 failed first contacts [entry 5]",
        ),
        (Change::Followed, false, "is cut off at 00:1b:21:0a:0b:0c, 10.0.0.7 now [entry 5]"),
        (Change::Released, false, "was released and may talk again [entry 5]"),
        (Change::Expired, false, "may talk again: its time was up [entry 5]"),
    ] {
        let event = Event::Isolation(Isolation { would, ..isolation(change) });
        let sentence = teller().sentence(&Timed { time: START, event }, None);
        assert_eq!(sentence, format!("2026-01-01 00:00:00 {who} {want}"));
    }
}

#[test]
fn levels_and_directions_are_told() {
    for (level, direction, would, want) in [
        (Level::Throttle, Direction::Both, false, "is throttled until somebody"),
        (
            Level::ExternalOnly,
            Direction::From,
            false,
            "is kept from addresses outside as a sender until somebody",
        ),
        (Level::Quarantine, Direction::Both, true, "would be quarantined until somebody"),
        (
            Level::Observe,
            Direction::Both,
            true,
            "is watched (what would be cut off is counted) until somebody",
        ),
    ] {
        let targets = ["segment ward", "port eth1"].map(|text| text.parse().unwrap()).to_vec();
        let isolation =
            Isolation { level, direction, would, targets, until: None, ..isolation(Change::Added) };
        let timed = Timed { time: START, event: Event::Isolation(isolation) };
        let (sentence, object) = (teller().sentence(&timed, None), teller().value(&timed, None));
        assert!(sentence.contains(want), "{sentence}");
        let told = &object["isolation"];
        assert_eq!((&told["level"], &told["direction"]), (&json!(level.name()), &json!(direction.name())));
        assert_eq!(told["targets"], json!(["segment ward", "port eth1"]));
    }
}

#[test]
fn protocols_are_named_as_eve_does() {
    for (proto, kind, name, ports) in [
        (6, Kind::Ip, "TCP", true),
        (17, Kind::Ip, "UDP", true),
        (1, Kind::Ip, "ICMP", false),
        (58, Kind::Ip, "IPv6-ICMP", false),
        (0, Kind::Arp, "ARP", false),
        (132, Kind::Ip, "132", true),
        (17, Kind::Fragment, "UDP", false),
    ] {
        let flow = Some(FlowId { proto, kind, ..id() });
        let event = Event::Isolation(Isolation { flow, ..isolation(Change::Added) });
        let object = teller().value(&Timed { time: START, event }, None);
        assert_eq!(
            (object["proto"].as_str(), object.get("src_port").is_some()),
            (Some(name), ports),
            "{proto}"
        );
    }
}

#[test]
fn the_end_of_a_replay_is_told() {
    let stats = ReplayStats {
        time: START,
        files: 2,
        truncated: 1,
        frames: 1_000,
        bytes: 64_000,
        parse: BTreeMap::from([("ok", 990), ("short_ipv4", 10)]),
        flows: 50,
        devices: 4,
        alerts: 1,
        isolations: 1,
        seconds: 0.25,
    };
    assert_eq!(
        teller().stats(&stats),
        json!({
            "timestamp": "2026-01-01T00:00:00.000000+0000",
            "event_type": "stats",
            "stats": {
                "files": 2, "truncated": 1, "frames": 1_000, "bytes": 64_000, "parse": { "ok": 990, "short_ipv4": 10 },
                "flows": 50, "devices": 4, "alerts": 1, "isolations": 1, "seconds": 0.25,
            },
        })
    );
    assert_eq!(
        teller().stats_sentence(&stats),
        "2 files with 1000 frames (64.0 kB) in 0.25 s: 4 devices, 50 flows, 1 alert, 1 isolation; not fully parsed: 10 \
         (short_ipv4 10); damaged or cut short: 1 file"
    );
}

#[test]
fn kinds_of_events_are_read_by_name() {
    for kind in EventType::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    assert!("alerts".parse::<EventType>().is_err());
}
