//! Letters, read whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use sensor_core::detect;
use sensor_core::model::features::Subject;

use super::*;
use crate::error::SendError;

/// 2026-01-31 22:30:00 UTC.
const TIME: i64 = 1_769_898_600_000_000_000;

fn device() -> Device {
    Device {
        mac: "04:92:26:00:00:15".to_owned(),
        ips: vec!["10.77.0.15".to_owned(), "fd77::15".to_owned()],
        more_ips: 1,
        maker: Some("ASUSTek <COMPUTER>".to_owned()),
        name: Some("visitor-laptop".to_owned()),
        class: None,
    }
}

fn place() -> Place {
    Place { port: Some("eth1".to_owned()), vlan: Some(20), segment: Some("radiology".to_owned()) }
}

fn notice(id: u64, severity: u8, what: What) -> Notice {
    let (device, place, incident) = (Some(device()), Some(place()), Some(3));
    Notice { id, unix_ns: TIME, severity, device, place, incident, what }
}

fn alert() -> Notice {
    notice(
        1,
        1,
        What::Alert {
            detector: "scan".to_owned(),
            signature: "ARP scan: asks for many addresses nobody has".to_owned(),
            evidence: vec![("failed_first_contacts".to_owned(), "20".to_owned())],
            nats: 14.0,
            action: "isolated".to_owned(),
            impact: Some(impact()),
        },
    )
}

fn impact() -> Impact {
    let lost = |uses, service: &str, peer: &str, vital| {
        let (service, peer) = (service.to_owned(), peer.to_owned());
        Lost { uses, service, peer, vital }
    };
    let lost =
        vec![lost(true, "tcp/104", "PACS (10.77.0.2)", true), lost(false, "tcp/22", "10.77.0.5", false)];
    Impact { peers: 3, services: 7, conversations: 1, lost }
}

fn entry(change: Step, would: bool) -> Entry {
    Entry {
        id: 12,
        change,
        targets: vec!["04:92:26:00:00:15".to_owned()],
        level: "isolate".to_owned(),
        direction: "both".to_owned(),
        until_ns: Some(TIME + 3_600_000_000_000),
        would,
        reason: "incident 3".to_owned(),
        latency_ns: Some(2_500_000),
    }
}

#[test]
fn an_isolation_says_which_where_what_how_sure_done_until_and_how_to_undo() {
    let notices = [alert(), notice(2, 1, What::Isolation(entry(Step::Added, false)))];
    let tokyo = TimeZone::fixed(jiff::tz::offset(9));
    let letter = letter(Language::Both, &notices, 0, &tokyo);
    assert_eq!(
        letter.subject,
        "[Sekisho] 隔離: visitor-laptop (10.77.0.15) / visitor-laptop (10.77.0.15) is cut off"
    );
    let want = "\
[高] 隔離: visitor-laptop (10.77.0.15)
  機器: visitor-laptop (10.77.0.15)
  アドレス: 04:92:26:00:00:15, 10.77.0.15, fd77::15, ほか 1 件
  メーカー: ASUSTek <COMPUTER>
  場所: ポート eth1、VLAN 20、区画 radiology
  検知内容: ARP スキャン: 使われていないアドレスを多数探っています: 失敗した初回接続 20
  確からしさ: 重大度「高」。根拠の合計は 14.0 nat: 異常はほぼ確実です (4 段階中の最高。13.8 nat 以上はすべて同じ段階です)。根拠の重みの多くは測定値ではなく想定値のため、確率ではなく目安です
  対応: 隔離 (エントリ 12、最初の根拠から 2.5 ミリ秒)
  期限: 2026-02-01 08:30:00
  理由: incident 3
  影響: 失われる通信: 相手 3 台、サービス 7 件 (現在通信中 1 件)
    PACS (10.77.0.2) の tcp/104 を利用 (維持が必要)
    10.77.0.5 に tcp/22 を提供
    ほか 5 件
  コマンド: 通信を再開させる: sekisho block remove --id 12
    詳しく見る: sekisho incidents 3
    誤検知の場合: sekisho incidents judge 3 false
    確認した (ランプを消す): sekisho notify ack 3
  日時: 2026-02-01 07:30:00
  インシデント番号: 3

-- 
ネットワークセンサー Sekisho からの自動通知です。コマンドは Sekisho 本体で実行してください。

========================================

[high] visitor-laptop (10.77.0.15) is cut off
  Device: visitor-laptop (10.77.0.15)
  Addresses: 04:92:26:00:00:15, 10.77.0.15, fd77::15, and 1 more
  Maker: ASUSTek <COMPUTER>
  Where: port eth1, VLAN 20, segment radiology
  What: ARP scan: asks for many addresses nobody has: failed first contacts 20
  How sure: severity high; the evidence adds up to 14.0 nats: that the device has gone bad is next to certain \
(the highest of 4 grades: more than 13.8 nats are no more). Most weights are assumed, not measured: this is a rule of thumb, \
not a probability
  Done: cut off (entry 12), 2.5 ms after the first evidence
  Until: 2026-02-01 08:30:00
  Reason: incident 3
  Lost by it: 7 services with 3 peers, 1 conversation now
    uses tcp/104 of PACS (10.77.0.2), which must go on
    serves tcp/22 to 10.77.0.5
    and 5 more
  Commands: let it talk again: sekisho block remove --id 12
    see more: sekisho incidents 3
    if it is a false alarm: sekisho incidents judge 3 false
    I know (lamp off): sekisho notify ack 3
  Time: 2026-02-01 07:30:00
  Incident: 3

-- 
Sekisho, the sensor of your network. Commands are for its shell.
";
    assert_eq!(letter.text(), want);
    let html = page(&letter);
    assert!(html.contains("ASUSTek &lt;COMPUTER&gt;") && !html.contains("<COMPUTER>"), "{html}");
    assert!(html.contains("sekisho block remove --id 12<br>see more"), "{html}");
    assert!(
        html.contains("1 conversation now<br>uses tcp/104 of PACS (10.77.0.2), which must go on<br>"),
        "{html}"
    );
}

#[test]
fn what_was_not_done_needs_no_undoing() {
    let would = [notice(2, 2, What::Isolation(entry(Step::Added, true)))];
    let released = [notice(2, 3, What::Isolation(entry(Step::Released, false)))];
    for notices in [would, released] {
        let text = letter(Language::Both, &notices, 0, &TimeZone::UTC).text();
        assert!(!text.contains("block remove"), "{text}");
    }
}

#[test]
fn what_came_back_is_not_told_as_lost() {
    let notices = [alert(), notice(2, 3, What::Isolation(entry(Step::Released, false)))];
    let text = letter(Language::Both, &notices, 0, &TimeZone::UTC).text();
    assert!(!text.contains("tcp/104"), "{text}");
}

#[test]
fn who_must_approve_is_given_both_commands() {
    let asked = What::Approval {
        step: "asked".to_owned(),
        level: "isolate".to_owned(),
        until_ns: TIME,
        acts: false,
        by: None,
    };
    let text = letter(Language::English, &[alert(), notice(3, 1, asked)], 0, &TimeZone::UTC).text();
    for want in [
        "a person must approve or deny it",
        "approve: sekisho incidents approve 3",
        "deny: sekisho incidents deny 3",
        "2026-01-31 22:30:00; if nobody says anything by then, nothing is done",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
}

#[test]
fn every_kind_has_a_line_in_both_languages() {
    let causes = ["records_lost", "unread", "coverage", "stopped"].map(str::to_owned).to_vec();
    let approval = |step: &str| What::Approval {
        step: step.to_owned(),
        level: "pin".to_owned(),
        until_ns: TIME,
        acts: true,
        by: Some("root".to_owned()),
    };
    let mut all = vec![
        What::Judgement { right: Some(true), by: "root".to_owned() },
        What::Judgement { right: Some(false), by: "root".to_owned() },
        What::Judgement { right: None, by: "root".to_owned() },
        What::Device { gateway: true },
        What::Blind { over: false, causes: causes.clone(), frames_lost: 5, records_lost: 7 },
        What::Blind { over: true, causes, frames_lost: 5, records_lost: 7 },
        What::Bypass { on: true, by: "root".to_owned() },
        What::Bypass { on: false, by: "root".to_owned() },
        What::Channel { name: "mail".to_owned(), error: Some("refused".to_owned()), trouble: None },
        What::Channel { name: "mail".to_owned(), error: None, trouble: None },
        What::Test { by: "root".to_owned() },
    ];
    all.extend(["asked", "approved", "denied", "lapsed", "lapsed_acts", "lost"].map(approval));
    for change in [Step::Added, Step::Extended, Step::Changed, Step::Released, Step::Expired] {
        all.extend([true, false].map(|would| What::Isolation(entry(change, would))));
    }
    let mut lines = std::collections::BTreeSet::new();
    let count = all.len();
    for what in all {
        let notice = notice(1, 2, what);
        let japanese = headline(JAPANESE, &notice);
        assert!(!japanese.is_ascii(), "{japanese}");
        lines.insert((headline(ENGLISH, &notice), japanese));
    }
    // Released and expired are the same whether it would have been or was.
    assert_eq!(lines.len(), count - 2);
}

#[test]
fn a_burst_is_one_letter_the_gravest_first_and_tells_what_it_leaves_out() {
    let mut notices: Vec<_> = (0..30).map(|n| Notice { incident: Some(n + 10), ..alert() }).collect();
    notices.iter_mut().for_each(|notice| notice.severity = 2);
    notices.push(alert());
    notices.push(Notice { incident: Some(12), ..alert() });
    let letter = letter(Language::English, &notices, 4, &TimeZone::UTC);
    let (_, sections) = &letter.parts[0];
    assert_eq!((sections.len(), letter.omitted), (20, 11));
    assert_eq!(sections.iter().map(|s| s.severity).take(3).collect::<Vec<_>>(), [1, 1, 2]);
    assert!(letter.subject.ends_with("and 30 more"), "{}", letter.subject);
    let text = letter.text();
    assert!(text.contains("and 11 more\n") && text.contains("4 earlier notices could not be told"), "{text}");
}

#[test]
fn how_sure_it_is_is_a_grade_and_never_a_multiple() {
    for (nats, want) in [
        (0.0, Grade::Hint),
        (6.9, Grade::Likely),
        (9.2, Grade::VeryLikely),
        (13.8, Grade::NextToCertain),
        (f64::INFINITY, Grade::NextToCertain),
        (f64::NAN, Grade::Hint),
    ] {
        assert_eq!(Grade::of(nats), want, "{nats}");
    }
    let (english, japanese) = ((ENGLISH.sure)(29.9, "high"), (JAPANESE.sure)(29.9, "高"));
    assert!(english.contains("Most weights are assumed") && !english.contains("times"), "{english}");
    assert!(japanese.contains("想定値") && !japanese.contains("倍"), "{japanese}");
}

/// The words of the detectors in the core: names of numbers, and what they see.
fn said_by_detectors() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut numbers, mut signatures) = (BTreeSet::new(), BTreeSet::new());
    let mut dirs = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/src/detect"))];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let code = lines.collect::<Vec<_>>().join("\n");
            let parts: Vec<_> = code.split('"').collect();
            for at in (1..parts.len() - 1).step_by(2) {
                let (before, word, after) = (parts[at - 1], parts[at], parts[at + 1]);
                let named = (before.ends_with('(') && after.starts_with(", ") && !after.starts_with(", |"))
                    || (before.ends_with("{ ") && after.starts_with(" }"));
                if word.contains(' ') && !word.contains('{') {
                    signatures.insert(word.to_owned());
                } else if named && !word.contains(' ') {
                    numbers.insert(word.to_owned());
                }
            }
        }
    }
    for subject in [Subject::Flow, Subject::Window] {
        numbers.extend(subject.labels().iter().map(|label| label.name.to_owned()));
    }
    (numbers, signatures)
}

#[test]
fn whatever_a_detector_says_has_japanese_words() {
    let (numbers, signatures) = said_by_detectors();
    assert!(numbers.contains("failed_services") && numbers.contains("ports"), "{numbers:?}");
    assert!(numbers.len() > 100 && signatures.len() > 45, "{} {}", numbers.len(), signatures.len());
    let without: Vec<_> = numbers.iter().filter(|name| ja_terms::number(name).is_none()).collect();
    assert_eq!(without, [""; 0]);
    let without: Vec<_> = signatures.iter().filter(|text| ja_terms::signature(text).is_none()).collect();
    assert_eq!(without, [""; 0]);
    let without: Vec<_> = detect::names().filter(|name| ja_terms::detector(name).is_none()).collect();
    assert_eq!(without, [""; 0]);
    // These are lists, or may be.
    for name in ["destinations", "examples", "ports", "protocols", "chain"] {
        let word = JAPANESE.number(name);
        assert!(!word.contains('数'), "{name} is called a number: {word}");
    }
}

#[test]
fn what_is_usual_is_said_in_japanese() {
    let unusual = include_str!("../../../core/src/detect/unusual.rs");
    assert!(unusual.contains("{}{unit}; usual {} to {}, half up to {} ({:.0} % of the score)"));
    for (value, want) in [
        (
            "7000 bytes; usual 0 to 1200, half up to 300 (61 % of the score)",
            "7000 bytes (普段は 0 から 1200、半数は 300 まで。点数の 61 % を占めます)",
        ),
        ("10.0.0.7 10.0.0.8", "10.0.0.7 10.0.0.8"),
    ] {
        assert_eq!((JAPANESE.value(value), ENGLISH.value(value)), (want.to_owned(), value.to_owned()));
    }
}

#[test]
fn why_an_entry_was_made_is_said_in_japanese_and_what_a_person_wrote_is_left() {
    let found = "lateral chain: turned to by a service for administration, it turns to a new host by one";
    let japanese = ja_terms::signature(found).unwrap();
    let all = format!("{found}, soon after its time was up, after 10.0.0.9 reached it, approved by tanaka");
    for (reason, want) in [
        (found, japanese.to_owned()),
        (
            &all,
            format!(
                "{japanese}。前回の制限の期限が来た直後です。10.0.0.9 から接続された後です。承認: tanaka"
            ),
        ),
        ("virus warning", "virus warning".to_owned()),
    ] {
        assert_eq!(JAPANESE.why(reason), want);
    }
}

#[test]
fn why_a_channel_fails_is_said_in_japanese() {
    let io = || std::io::Error::other("gone");
    let text = || "x".to_owned();
    for error in [
        SendError::Unreachable { peer: text(), source: io() },
        SendError::Broken { peer: text(), source: io() },
        SendError::Untrusted { peer: text(), what: text() },
        SendError::Refused { peer: text(), said: text(), lasting: true },
        SendError::Unexpected { peer: text(), wanted: "SNMP", said: text() },
        SendError::File { what: "key", path: "/k".into(), source: io() },
        SendError::Form(text()),
    ] {
        let (what, trouble) = (error.to_string(), Some(error.trouble()));
        let what = What::Channel { name: "it".to_owned(), error: Some(what.clone()), trouble };
        let said = headline(JAPANESE, &notice(1, 2, what));
        let (japanese, details) = said.split_once(" (").unwrap();
        let japanese = japanese.strip_prefix("通知先 it に通知できません: ").unwrap();
        assert!(!japanese.is_ascii() && details.ends_with(&format!("{error})")), "{said}");
    }
    // As a release wrote it that did not tell what kind of trouble it is.
    let old: What = serde_json::from_str(r#"{"type":"channel","name":"it","error":"refused"}"#).unwrap();
    assert!(matches!(old, What::Channel { trouble: None, .. }));
}
