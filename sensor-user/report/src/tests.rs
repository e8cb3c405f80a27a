//! A month, from its events to its page.

mod around;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::html::{Language, page};
use crate::{Device, Event, Gather, Month, Passed, Report, Traffic, Verdict, csv};

const DAY: i64 = 86_400_000_000_000;
const HOSTILE: &str = "<script>alert(1)</script>";

fn tokyo() -> TimeZone {
    TimeZone::fixed(jiff::tz::offset(9))
}

fn october() -> Month {
    "2026-10".parse().unwrap()
}

/// The beginning of that day of the month, from 0.
fn day(day: i64) -> i64 {
    october().range(&tokyo()).0 + day * DAY
}

fn alert(name: &str, severity: u8, decision: &str) -> Value {
    json!({
        "alert": {
            "severity": severity, "signature": "network scan: first contacts to many hosts fail",
            "metadata": { "detector": ["scan"], "decision": [decision] },
        },
        "device": { "id": 7, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7"], "maker": "Intel", "name": name },
    })
}

fn isolation(action: &str, would: bool, latency_ms: f64) -> Value {
    held(action, "isolate", would, latency_ms)
}

fn held(action: &str, level: &str, would: bool, latency_ms: f64) -> Value {
    json!({ "isolation": { "action": action, "level": level, "would": would, "latency_ms": latency_ms } })
}

/// The name of a device that a drill makes up.
const DRILL: &str = "02:53:4b:00:00:04";

fn gather() -> Gather {
    Gather::new(october(), tokyo(), (day(-9), day(40)), vec![DRILL.to_owned()])
}

fn judged(verdict: &str) -> Value {
    json!({ "judgement": { "verdict": verdict } })
}

/// A month in which something happened, and what happened around it.
fn story() -> Report {
    let mut gather = gather();
    let blind = |state: &str, begin: &str, end: Option<&str>| json!({ "blind": { "state": state, "begin": begin, "end": end, "frames_lost": 3, "records_lost": 7 } });
    let events = [
        (day(-1), "alert", Some(1), alert("before", 1, "isolated")),
        (day(2), "alert", Some(2), alert("MRI 2", 2, "waits")),
        (day(2) + 1, "alert", Some(2), alert("MRI 2", 1, "isolated")),
        (day(2) + 2, "isolation", Some(2), isolation("added", false, 0.4)),
        (day(2) + 3, "isolation", Some(2), isolation("released", false, 0.0)),
        (day(4), "alert", Some(3), alert(HOSTILE, 1, "isolated")),
        (day(4) + 1, "isolation", Some(3), isolation("added", false, 1_500.0)),
        (day(4) + 2, "isolation", Some(3), isolation("expired", false, 0.0)),
        (day(5), "alert", Some(4), alert("printer", 3, "none")),
        (day(6), "isolation", None, isolation("added", false, 0.0)),
        (day(7), "isolation", Some(9), isolation("added", true, 0.0)),
        (day(8), "blind", None, blind("begin", "2026-10-08T15:00:00.000000+0000", None)),
        (
            day(8) + 1,
            "blind",
            None,
            blind("end", "2026-10-08T15:00:00.000000+0000", Some("2026-10-08T15:01:00.000000+0000")),
        ),
        (day(9), "bypass", None, json!({ "bypass": { "action": "on" } })),
        (day(9), "inventory", None, json!({ "inventory": { "action": "merged" } })),
        (day(31), "alert", Some(5), alert("after", 1, "isolated")),
        // Said later, of an incident of the month.
        (day(33), "judgement", Some(2), judged("grave")),
        (day(33), "judgement", Some(3), judged("false")),
        (day(34), "judgement", Some(1), judged("true")),
    ];
    for (time_ns, kind, incident, body) in &events {
        gather.event(&Event { time_ns: *time_ns, kind, incident: *incident, body });
    }
    let device = |id, kind: Option<&str>, first: i64, approved| Device {
        id,
        name: format!("device {id}"),
        maker: Some("Intel".to_owned()),
        kind: kind.map(str::to_owned),
        approved,
        first_seen_ns: Some(first),
        last_seen_ns: Some(day(20)),
        ..Device::default()
    };
    let spare = Device { id: 9, name: "spare".to_owned(), ..Device::default() };
    let weak = Device { weak: vec!["Telnet".to_owned()], ..device(8, Some("printer"), day(-99), true) };
    let devices =
        vec![device(7, Some("modality"), day(3), false), weak, device(10, None, day(-1), true), spare];
    let traffic = |segment: Option<&str>, bytes| Traffic {
        segment: segment.map(str::to_owned),
        conversations: 1_234_567,
        bytes,
        dropped: 3,
    };
    gather.finish(
        Some(devices),
        Some(Passed {
            segments: vec![traffic(Some("radiology"), 2_500_000_000), traffic(None, 999)],
            hours: 743,
            unread: 2,
        }),
    )
}

#[test]
fn a_month_is_what_happened_in_it_and_what_was_said_of_that_later() {
    let report = story();
    let incidents: Vec<_> = report
        .incidents
        .iter()
        .map(|i| (i.id, i.severity, i.outcome.action(), i.latency_ms, i.verdict))
        .collect();
    assert_eq!(
        incidents,
        [
            (2, 1, "isolated", Some(0.4), Verdict::Grave),
            (3, 1, "isolated", Some(1_500.0), Verdict::False),
            (4, 3, "none", None, Verdict::Open),
        ]
    );
    assert_eq!(report.incidents[0].device, "MRI 2 (10.0.0.7)");
    assert_eq!((report.precision(), report.latency_ms()), ((1, 2), Some((750.2, 1_500.0))));
    assert_eq!((report.restricted[2], report.restricted[4], report.restricted.iter().sum()), (1, 1, 2u64));
    assert_eq!((report.manual, report.would, report.released, report.expired), (1, 1, 1, 1));
    assert_eq!(
        (report.blind_times, report.blind_secs, report.frames_lost, report.records_lost),
        (1, 60.0, 3, 7)
    );
    assert_eq!((report.bypasses, report.changes["merged"]), (1, 1));
    let ids = |devices: Vec<&Device>| devices.iter().map(|device| device.id).collect::<Vec<_>>();
    assert_eq!((ids(report.new_devices().collect()), ids(report.unapproved().collect())), (vec![7], vec![7]));
    let kinds = report.count_by(|device| device.kind.as_deref());
    assert_eq!(kinds, [(Some("modality"), 1), (Some("printer"), 1), (None, 1)], "the spare was never heard");
}

#[test]
fn the_page_says_it_in_both_languages_and_needs_nothing_else() {
    for (language, words) in [
        (
            Language::Japanese,
            [
                "2026年10月",
                "正しい検知 (重大と判定)",
                "隔離しました",
                "対策が必要な機器",
                "2.5 GB",
                "1,234,567",
                "区画なし",
                "1 回、合計 60.0 秒",
                "744 時間のうち 743 時間",
                "2 個のファイルは読めず",
                "撮影装置",
            ],
        ),
        (
            Language::English,
            [
                "2026-10",
                "true and grave",
                "cut off",
                "Telnet",
                "2.5 GB",
                "1,234,567",
                "in no segment",
                "less than it should: 1, 60.0 s",
                "743 of 744 hours",
                "2 of its files could not be read",
                "modality",
            ],
        ),
    ] {
        let page = page(&story(), language, "box-1", day(40), &tokyo());
        for word in words.into_iter().chain(["MRI 2 (10.0.0.7)", "radiology", "99.997 %", "device 7"]) {
            assert!(page.contains(word), "{language:?} lacks {word}:\n{page}");
        }
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{language:?}");
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{language:?}: {outside}");
        }
        if let Some(dir) = std::env::var_os("SEKISHO_REPORT") {
            let file = std::path::Path::new(&dir).join(format!("{language:?}.html"));
            std::fs::write(file, page).unwrap();
        }
    }
}

#[test]
fn a_month_without_anything_is_told_as_that() {
    let report = gather().finish(Some(Vec::new()), None);
    let page = page(&report, Language::English, "box-1", day(40), &tokyo());
    for word in [
        "Nothing was found that called for attention",
        "There is no flow log of this month, so this is not known",
        "There was no time in which it saw less than it should",
        "100 %",
        "none was judged",
    ] {
        assert!(page.contains(word), "{word}:\n{page}");
    }
    assert_eq!((report.precision(), report.latency_ms()), ((0, 0), None));
    let unknown = gather().finish(None, None);
    for (language, word) in [(Language::English, "New devices"), (Language::Japanese, "新しい機器")] {
        let page = crate::html::page(&unknown, language, "box-1", day(40), &tokyo());
        assert!(!page.contains(word), "nothing is known of devices:\n{page}");
    }
}

fn told(events: &[(i64, &str, Option<u64>, Value)]) -> Report {
    let mut gather = gather();
    for (time_ns, kind, incident, body) in events {
        gather.event(&Event { time_ns: *time_ns, kind, incident: *incident, body });
    }
    gather.finish(None, None)
}

#[test]
fn what_a_person_was_asked_is_told_as_it_ended() {
    let approval = |step: &str| json!({ "approval": { "action": step } });
    for (steps, done) in [
        (&["asked"][..], "waits"),
        (&["asked", "denied"], "denied"),
        (&["asked", "lapsed"], "not_approved"),
        (&["asked", "approved"], "isolated"),
        (&["asked", "lapsed_acts"], "isolated"),
    ] {
        let mut events = vec![(day(1), "alert", Some(1), alert("a", 1, "waits"))];
        events.extend(steps.iter().map(|step| (day(1) + 1, "approval", Some(1), approval(step))));
        if done == "isolated" {
            events.push((day(2), "isolation", Some(1), isolation("added", false, 3_600_000.0)));
        }
        let report = told(&events);
        let [incident] = &report.incidents[..] else { panic!("{report:?}") };
        assert_eq!((incident.outcome.action(), incident.latency_ms), (done, None), "{steps:?}");
    }
}

#[test]
fn time_to_isolation_is_that_of_the_isolation_and_a_drill_is_none() {
    let mut drilled = alert("Sekisho fire drill", 1, "isolated");
    drilled["device"]["mac"] = DRILL.into();
    let order = |request: &str| json!({ "order": { "request": request, "with": { "good": true } } });
    let report = told(&[
        (day(1), "alert", Some(1), alert("a", 1, "throttled")),
        (day(1), "isolation", Some(1), held("added", "throttle", false, 5.0)),
        (day(1), "isolation", Some(1), held("changed", "isolate", false, 600_000.0)),
        (day(1), "isolation", Some(1), held("changed", "isolate", false, 700_000.0)),
        (day(2), "order", None, order("drill_begin")),
        (day(2), "alert", Some(2), drilled),
        (day(2), "isolation", Some(2), isolation("added", false, 1.0)),
        (day(2), "isolation", Some(2), isolation("released", false, 0.0)),
        (day(2), "order", None, order("drill_done")),
        (day(3), "alert", Some(3), alert("a", 1, "pinned")),
        (day(3), "isolation", Some(3), held("added", "pin", false, 2.0)),
    ]);
    let ids: Vec<_> = report.incidents.iter().map(|incident| incident.id).collect();
    assert_eq!(ids, [1, 3]);
    assert_eq!(report.latency_ms(), Some((600_000.0, 600_000.0)));
    assert_eq!((report.restricted.iter().sum::<u64>(), report.isolations, report.released), (2, 1, 0));
    assert_eq!(report.drills, (1, 1));
}

/// An attacker may take the MAC address of a drill's device.
#[test]
fn who_has_the_address_of_a_drill_while_there_is_none_is_told() {
    let mut taken = alert("a", 1, "isolated");
    taken["device"]["mac"] = DRILL.into();
    let order = |request: &str| json!({ "order": { "request": request, "with": null } });
    let new = json!({ "new": true, "device": { "id": 9, "mac": DRILL, "ips": ["10.0.0.9"] } });
    let minutes = |minutes: i64| day(2) + minutes * DAY / 1_440;
    let report = told(&[
        (day(1), "device", None, new),
        (day(1), "alert", Some(1), taken.clone()),
        (day(1), "isolation", Some(1), isolation("added", false, 1.0)),
        (minutes(0), "order", None, order("drill_begin")),
        (minutes(1), "alert", Some(2), taken.clone()),
        (minutes(2), "order", None, order("drill_done")),
        (minutes(3), "alert", Some(3), taken.clone()),
        // This drill was killed.
        (minutes(10), "order", None, order("drill_begin")),
        (minutes(11), "alert", Some(4), taken.clone()),
        (minutes(21), "alert", Some(5), taken),
        // The end of what it had brought about is of the drill all the same.
        (minutes(70), "isolation", Some(4), isolation("expired", false, 0.0)),
    ]);
    let ids: Vec<_> = report.incidents.iter().map(|incident| incident.id).collect();
    assert_eq!((ids, report.isolations, report.expired), (vec![1, 3, 5], 1, 0));
}

#[test]
fn an_incident_is_of_the_month_in_which_it_was_first_told() {
    let report = told(&[
        (day(-1), "alert", Some(1), alert("a", 1, "none")),
        (day(1), "alert", Some(1), alert("a", 1, "isolated")),
        (day(1), "isolation", Some(1), isolation("added", false, 1.0)),
        (day(30), "alert", Some(2), alert("b", 2, "none")),
        (day(32), "alert", Some(2), alert("b", 1, "isolated")),
    ]);
    let incidents: Vec<_> = report.incidents.iter().map(|one| (one.id, one.outcome.action())).collect();
    assert_eq!(incidents, [(2, "isolated")]);
    assert_eq!(
        (report.restricted[1], report.isolations),
        (1, 1),
        "what was done in the month is of the month"
    );
}

#[test]
fn what_was_not_seen_counts_as_far_as_it_lies_in_the_month() {
    let blind = |state: &str, begin: i64, end: Option<i64>| {
        let stamp = |ns: i64| crate::month::at(ns).strftime("%Y-%m-%dT%H:%M:%S.000000+0000").to_string();
        json!({ "blind": { "state": state, "begin": stamp(begin), "end": end.map(stamp) } })
    };
    let (hour, on) = (DAY / 24, |on: bool| json!({ "bypass": { "action": if on { "on" } else { "off" } } }));
    let daemon = |action: &str| json!({ "daemon": { "action": action } });
    let report = told(&[
        (day(0) - hour, "blind", None, blind("begin", day(0) - hour, None)),
        (day(0) - hour, "bypass", None, on(true)),
        (day(0) + hour, "blind", None, blind("begin", day(0) - hour, None)),
        (day(0) + hour, "blind", None, blind("end", day(0) - hour, Some(day(0) + hour))),
        (day(0) + hour, "bypass", None, on(false)),
        (day(3), "daemon", None, daemon("stop")),
        (day(3) + 2 * hour, "daemon", None, daemon("start")),
        (day(31) - hour, "blind", None, blind("begin", day(31) - hour, None)),
        (day(31) + hour, "blind", None, blind("end", day(31) - hour, Some(day(31) + hour))),
    ]);
    assert_eq!((report.blind_times, report.blind_secs), (2, 7_200.0));
    assert_eq!((report.bypasses, report.bypass_secs, report.down_secs), (0, 3_600.0, 7_200.0));
    let all = 31.0 * 86_400.0;
    assert!((report.seen() - (1.0 - 14_400.0 / all)).abs() < 1e-9, "{}", report.seen());
}

#[test]
fn incidents_are_lines_that_no_spreadsheet_takes_for_formulas() {
    for text in ["=1", "＝1", "'=1", "'", "-", "MRI 2", ""] {
        assert_eq!(csv::bare(&csv::guarded(text)), text);
    }
    let mut report = story();
    report.incidents[1].device = "=cmd|'x'!A0".to_owned();
    let text = csv::incidents(&report, &tokyo()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[1],
        "2,2026-10-03T00:00:00+09:00,MRI 2 (10.0.0.7),1,scan,network scan: first contacts to many hosts fail,isolated,0.400,grave"
    );
    assert!(lines[2].contains(",'=cmd|'x'!A0,"), "{}", lines[2]);
}

/// A scan that is seen in many ways is one line, and the page says of how much time it speaks and who said what.
#[test]
fn an_incident_is_told_once_and_figures_say_what_they_are_of() {
    let seen = |detector: &str, signature: &str| {
        let mut event = alert("MRI 2", 1, "isolated");
        event["alert"]["signature"] = signature.into();
        event["alert"]["metadata"]["detector"] = json!([detector]);
        (day(1), "alert", Some(2), event)
    };
    let events = [
        seen("scan", "network scan: first contacts to many hosts fail"),
        seen("scan", "ARP scan: asks for many addresses nobody has"),
        seen("scan", "ping sweep: many hosts do not answer"),
        seen("fanout", "fan-out: more destinations than usual"),
        (day(2), "inventory", None, json!({ "inventory": { "action": "merged" } })),
    ];
    let known = (day(1), day(1) + 120_000_000_000);
    let mut gather = Gather::new(october(), tokyo(), known, Vec::new());
    for (time_ns, kind, incident, body) in &events {
        let time_ns = (*time_ns).min(known.1 - 1);
        gather.event(&Event { time_ns, kind, incident: *incident, body });
    }
    let first_seen_ns = Some(day(1));
    let at = |place: Option<&str>| Device {
        place: place.map(str::to_owned),
        port: Some("p5".to_owned()),
        first_seen_ns,
        ..Device::default()
    };
    let report = gather.finish(Some(vec![at(None), at(Some("ward 3"))]), None);
    let pages = [Language::Japanese, Language::English]
        .map(|language| page(&report, language, "box-1", day(40), &tokyo()));
    for (page, words) in pages.iter().zip([
        [
            "<div>スキャン (多数の宛先を探る通信): 3 通り</div><div>通信先の急増: 普段より多くの宛先と通信しています</div>",
            "当月のうち記録のある 2 分に対する割合",
            "<td>ポート p5</td>",
            "担当者が複数のアドレスを 1 台の機器にまとめた: 1",
        ],
        [
            "<div>scan: in 3 ways</div><div>fan-out: more destinations than usual</div>",
            "of the 2 min recorded in this month",
            "<td>port p5</td>",
            "addresses were said to be one device, by a person: 1",
        ],
    ]) {
        for word in words.into_iter().chain(["<td>ward 3</td>"]) {
            assert!(page.contains(word), "{word}:\n{page}");
        }
        // On paper each table begins with its head on every page, and a long row is no reason for an empty one.
        assert_eq!(page.matches("<table").count(), page.matches("<thead><tr>").count());
        let held = page.split('}').filter(|rule| rule.contains("break-inside: avoid"));
        for selector in held.flat_map(|rule| rule.split('{').next().unwrap_or_default().split(',')) {
            assert_ne!(selector.trim(), "tr");
        }
    }
}

proptest! {
    /// The journal is a file: whatever its rows hold, there is a page.
    #[test]
    fn whatever_rows_hold_there_is_a_page(
        rows in prop::collection::vec((any::<i64>(), "alert|isolation|blind|judgement|bypass|inventory|device|journal|x", any::<u64>(), "\\PC{0,20}"), 0..20),
    ) {
        let mut gather = gather();
        for (time, kind, incident, text) in rows {
            let body = json!({
                "alert": { "severity": incident, "signature": text, "metadata": { "detector": [text], "decision": [text] } },
                "isolation": { "action": text, "would": text, "latency_ms": time },
                "blind": { "state": text, "begin": text, "end": text, "frames_lost": incident },
                "judgement": { "verdict": text },
                "device": { "name": text, "ips": [text], "mac": text, "id": incident },
                "new": true,
                "journal": { "action": "killed", "alive": text },
            });
            for time_ns in [time, day(time.rem_euclid(31))] {
                gather.event(&Event { time_ns, kind: &kind, incident: Some(incident % 3), body: &body });
            }
        }
        let report = gather.finish(Some(Vec::new()), None);
        prop_assert!(page(&report, Language::Japanese, "box", i64::MAX, &tokyo()).ends_with("</html>"));
        prop_assert!(csv::incidents(&report, &tokyo()).is_ok());
        prop_assert!(csv::figures(&report, &tokyo()).is_ok());
    }
}
