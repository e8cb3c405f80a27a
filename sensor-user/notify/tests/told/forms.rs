//! Whatever a notice holds: every form of it can be made, and is one of its kind.

use std::net::UdpSocket;
use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use sensor_notify::notice::{Device, Entry, Impact, Lost, Notice, Step, What};
use sensor_notify::place::Place;
use sensor_notify::send::{Send as _, syslog, trap, webhook};
use sensor_notify::settings::{Access, ENTERPRISE, Format, Language, Peer, Template, Trap};
use sensor_notify::words;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,40}", Just("a\r\nSubject: b\u{0}]\"\\|=<script>&".to_owned()), Just("あ".repeat(500))]
}

/// Also such as no sum should be. Those of eighths come back from JSON to the last bit.
fn nats() -> impl Strategy<Value = f64> {
    let odd = prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, f64::MAX]);
    prop_oneof![3 => (0..8_000u32).prop_map(|eighths| f64::from(eighths) / 8.0), 1 => odd]
}

fn device() -> impl Strategy<Value = Device> {
    (text(), prop::collection::vec(text(), 0..4), any::<usize>(), prop::option::of(text())).prop_map(
        |(mac, ips, more_ips, name)| Device {
            mac,
            ips,
            more_ips,
            maker: name.clone(),
            class: name.clone(),
            name,
        },
    )
}

fn impact(text: &str) -> Impact {
    let lost = Lost { uses: false, service: text.to_owned(), peer: text.to_owned(), vital: true };
    Impact { peers: u64::MAX, services: u64::MAX, conversations: 0, lost: vec![lost] }
}

fn what() -> impl Strategy<Value = What> {
    let step =
        prop::sample::select(vec![Step::Added, Step::Extended, Step::Changed, Step::Released, Step::Expired]);
    let entry = (any::<u32>(), step, text(), any::<Option<i64>>(), any::<bool>());
    prop_oneof![
        (text(), text(), nats()).prop_map(|(detector, signature, nats)| What::Alert {
            evidence: vec![(detector.clone(), signature.clone())],
            action: detector.clone(),
            impact: Some(impact(&signature)),
            detector,
            signature,
            nats,
        }),
        entry.prop_map(|(id, change, text, until_ns, would)| What::Isolation(Entry {
            id,
            change,
            targets: vec![text.clone()],
            level: text.clone(),
            direction: text.clone(),
            until_ns,
            would,
            reason: text,
            latency_ns: Some(u64::from(id)),
        })),
        (text(), any::<i64>(), any::<bool>()).prop_map(|(text, until_ns, acts)| What::Approval {
            step: text.clone(),
            level: text.clone(),
            until_ns,
            acts,
            by: Some(text),
        }),
        (any::<bool>(), text(), any::<u64>()).prop_map(|(over, cause, lost)| What::Blind {
            over,
            causes: vec![cause],
            frames_lost: lost,
            records_lost: lost,
        }),
        (text(), prop::option::of(text())).prop_map(|(name, error)| What::Channel {
            name,
            error,
            trouble: None
        }),
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    let place = (prop::option::of(text()), any::<Option<u16>>());
    let place = place.prop_map(|(port, vlan)| Place { segment: port.clone(), port, vlan });
    (
        any::<u64>(),
        any::<i64>(),
        any::<u8>(),
        prop::option::of(device()),
        prop::option::of(place),
        any::<Option<u64>>(),
        what(),
    )
        .prop_map(|(id, unix_ns, severity, device, place, incident, what)| Notice {
            id,
            unix_ns,
            severity,
            device,
            place,
            incident,
            what,
        })
}

proptest! {
    #[test]
    fn every_form_can_be_made(notices in prop::collection::vec(notice(), 1..4)) {
        let letter = words::letter(Language::Both, &notices, 1, &TimeZone::UTC);
        prop_assert!(!letter.text().is_empty());
        let page = words::page(&letter);
        prop_assert!(!page.contains("<script"), "{}", page);
        for notice in &notices {
            for template in [Template::Json, Template::Slack, Template::Teams] {
                prop_assert!(webhook::body(template, Language::Both, notice, &TimeZone::UTC).is_object());
            }
            for format in [Format::Rfc5424, Format::Cef] {
                let line = syslog::message(format, 0, ENTERPRISE, "host", notice);
                prop_assert!(!line.iter().any(|byte| *byte < b' '), "{}", String::from_utf8_lossy(&line));
            }
        }
    }

    #[test]
    fn every_trap_can_be_read(notices in prop::collection::vec(notice(), 1..4)) {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let peer = Peer { host: "127.0.0.1".to_owned(), port: receiver.local_addr().unwrap().port() };
        let trap = Trap { peer, access: Access::Community(None), enterprise: ENTERPRISE };
        let sent = trap::Trapper::new(trap).send(&notices, 0);
        prop_assert_eq!(sent.count, notices.len(), "{:?}", sent.said);
        for _ in notices {
            let mut bytes = [0; 65_536];
            let length = receiver.recv(&mut bytes).unwrap();
            let read = snmp2::Pdu::from_bytes(&bytes[..length]).unwrap();
            prop_assert_eq!(read.message_type, snmp2::MessageType::Trap);
            prop_assert!(read.varbinds.count() >= 5);
        }
    }

    /// What is kept comes back the same.
    #[test]
    fn notices_survive_the_disk(notice in notice().prop_filter("a number", |n| {
        !matches!(n.what, What::Alert { nats, .. } if !nats.is_finite())
    })) {
        let json = serde_json::to_vec(&notice).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Notice>(&json).unwrap(), notice);
    }
}
