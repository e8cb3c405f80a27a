//! What a report says besides its incidents: who was there and is not any more, when nobody looked, and the figures.

use serde_json::{Value, json};

use super::{DAY, DRILL, day, gather, page, story, tokyo};
use crate::html::Language;
use crate::{Device, Event, Report, csv};

fn told(events: &[(i64, &str, Value)], known: Vec<Device>) -> Report {
    let mut gather = gather();
    for (time_ns, kind, body) in events {
        gather.event(&Event { time_ns: *time_ns, kind, incident: None, body });
    }
    gather.finish(Some(known), None)
}

/// A device that was heard, as the journal keeps it.
fn heard(id: u64, mac: &str, ip: &str) -> Value {
    json!({
        "device": { "id": id, "mac": mac, "ips": [ip], "maker": "Intel" },
        "new": true, "in_iface": "eth1", "kind": { "name": "printer" },
    })
}

fn known(id: u64, addresses: &[&str]) -> Device {
    let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
    Device { id, addresses, first_seen_ns: Some(day(2)), last_seen_ns: Some(day(20)), ..Device::default() }
}

#[test]
fn a_new_device_that_was_forgotten_since_is_told() {
    let (a, b, router) = ("00:1b:21:00:00:0a", "00:1b:21:00:00:0b", "00:1b:21:00:00:0c");
    let mut further = heard(9, a, "10.0.0.9");
    further["new"] = false.into();
    let report = told(
        &[
            (day(-1), "device", heard(1, "00:1b:21:00:00:01", "10.0.0.1")),
            (day(1), "device", heard(2, a, "10.0.0.2")),
            (day(2), "device", heard(3, b, "10.0.0.3")),
            // Forgotten, heard again with another number, and known by that.
            (day(3), "device", heard(4, "00:1b:21:00:00:04", "10.0.0.4")),
            // Two behind a router: one is known.
            (day(4), "device", heard(6, router, "10.9.0.6")),
            (day(4), "device", heard(7, router, "10.9.0.7")),
            (day(5), "device", further),
            (day(6), "order", json!({ "order": { "request": "drill_begin" } })),
            (day(6), "device", heard(8, DRILL, "10.0.0.8")),
            (day(7), "device", heard(10, a, "10.0.0.2")),
            (day(31), "device", heard(11, "00:1b:21:00:00:11", "10.0.0.11")),
        ],
        vec![
            known(3, &["00:1b:21:00:00:33"]),
            known(5, &["00:1b:21:00:00:04", "10.0.0.44"]),
            Device { gateway: true, ..known(12, &[router, "10.0.0.12"]) },
            known(6, &[router, "10.9.0.6"]),
        ],
    );
    let forgotten: Vec<_> = report.forgotten.iter().map(|device| (device.id, &device.name[..])).collect();
    assert_eq!(
        forgotten,
        [(7, &format!("Intel {router} (10.9.0.7)")[..]), (10, &format!("Intel {a} (10.0.0.2)"))]
    );
    assert_eq!(report.count_new(), Some(6));
    assert!(
        report.count_by(|device| device.kind.as_deref()).iter().all(|(kind, _)| kind.is_none()),
        "of now"
    );
    for (language, word) in
        [(Language::English, "forgotten since"), (Language::Japanese, "登録がなくなったもの")]
    {
        let page = page(&report, language, "box-1", day(40), &tokyo());
        assert!(page.contains(word) && page.contains("10.9.0.7"), "{page}");
    }
}

#[test]
fn more_new_devices_than_there_is_room_for_are_counted() {
    let mut gather = gather();
    for number in 0..crate::gather::MAX_NEW as u64 + 3 {
        let body =
            heard(number, &format!("02:00:00:00:{:02x}:{:02x}", number / 256, number % 256), "10.0.0.1");
        gather.event(&Event { time_ns: day(1), kind: "device", incident: None, body: &body });
    }
    let report = gather.finish(Some(Vec::new()), None);
    assert_eq!((report.forgotten.len(), report.more_forgotten), (crate::gather::MAX_NEW, 3));
}

#[test]
fn the_time_between_a_kill_and_the_next_start_was_not_seen() {
    let (hour, stamp) =
        (DAY / 24, |ns: i64| crate::month::at(ns).strftime("%Y-%m-%dT%H:%M:%S.000000+0000").to_string());
    let killed = |alive: Option<i64>| json!({ "journal": { "action": "killed", "alive": alive.map(stamp) } });
    let daemon = |action: &str| json!({ "daemon": { "action": action } });
    let blind = json!({ "blind": { "state": "begin", "begin": stamp(day(4) - hour), "end": null } });
    for start_first in [false, true] {
        let (start, note) = (day(4) + 3 * hour, day(4) + 3 * hour + i64::from(start_first));
        let mut events = vec![
            (day(0) + hour, "journal", killed(Some(day(0) - hour))),
            (day(0) + hour, "daemon", daemon("start")),
            (day(4) - hour, "blind", blind.clone()),
            (note, "journal", killed(Some(day(4)))),
            (start, "daemon", daemon("start")),
            // By an earlier release, which did not know.
            (day(6), "journal", killed(None)),
            (day(6), "journal", json!({ "journal": { "action": "pruned", "alive": stamp(day(5)) } })),
            // It said that it ends, and was killed then.
            (day(8), "daemon", daemon("stop")),
            (day(8) + hour, "journal", killed(Some(day(8)))),
            (day(8) + hour, "daemon", daemon("start")),
        ];
        events.sort_by_key(|(time, ..)| *time);
        let report = told(&events, Vec::new());
        assert_eq!((report.down_secs.round(), report.blind_secs), (5.0 * 3_600.0, 3_600.0), "{start_first}");
        let page = page(&report, Language::English, "box-1", day(40), &tokyo());
        assert!(page.contains("It did not run for 5.0 h"), "{page}");
    }
}

#[test]
fn the_figures_are_lines_too() {
    let text = csv::figures(&story(), &tokyo()).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("figure,of,value"));
    for line in [
        "month,,2026-10",
        "from,,2026-10-01T00:00:00+09:00",
        "incidents,,3",
        "incidents,grave,1",
        "incidents,open,1",
        "latency_ms,median,750.200",
        "restricted,,2",
        "restricted,2026-10-03,1",
        "restricted,2026-10-31,0",
        "isolated,,2",
        "blind_secs,,60.000",
        "seen_ratio,,0.999977",
        "changes,merged,1",
        "new_devices,,1",
        "new_devices,forgotten,0",
        "devices_by_kind,modality,1",
        "devices_by_kind,,1",
        "devices_by_maker,Intel,3",
        "bytes,radiology,2500000000",
        "dropped_conversations,,3",
        "hours_logged,,743",
        "weak_devices,,1",
    ] {
        assert!(lines.clone().any(|found| found == line), "{line} is missing:\n{text}");
    }
    let unknown = csv::figures(&gather().finish(None, None), &tokyo()).unwrap();
    for figure in ["new_devices", "devices_by_kind", "bytes", "latency_ms", "weak_devices"] {
        assert!(!unknown.contains(figure), "nothing is known of {figure}:\n{unknown}");
    }
}
