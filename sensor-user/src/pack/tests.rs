//! Packs made from a journal as a daemon leaves it, and the commands that show it.

use std::fs;

use clap::Parser;
use jiff::tz::TimeZone;
use sensor_core::detect;
use sensor_core::event::{
    Action, Alert, Change, DeviceRef, Event, Isolation, Judged, Judgement, Timed, Value as Number,
};
use sensor_core::evidence::{Family, Sum};
use sensor_core::observation::{FlowId, Kind};
use sensor_core::policy::{Direction, Level, Target, Why};
use sensor_core::time::{HOUR, SECOND, Time};
use sensor_journal::{Journal, Keeping};
use tempfile::TempDir;

use super::words::Tongue;
use super::*;
use crate::cli::{Cli, ClientTask, Task};
use crate::clock::WallClock;
use crate::eve::{EventType, Teller};
use crate::journal::{self, Began};

const HOSTILE: &str = "<script>alert('MRI')</script>";

fn device() -> DeviceRef {
    DeviceRef {
        id: 7,
        mac: "00:1b:21:0a:0b:0c".parse().unwrap(),
        ips: vec!["10.0.0.7".parse().unwrap()],
        maker: Some("Intel".to_owned()),
        name: Some(HOSTILE.to_owned()),
        class: None,
    }
}

/// What happened around incident 3, in the clock of the year 1970.
fn story() -> Vec<Timed> {
    let flow = FlowId {
        src: "10.0.0.7".parse().unwrap(),
        dst: "10.0.0.9".parse().unwrap(),
        sport: 40_000,
        dport: 445,
        proto: 6,
        kind: Kind::Ip,
        vlan: 0,
        port: 1,
    };
    let alert = Alert {
        incident: 3,
        detector: "scan",
        signature: "first contacts fail",
        severity: 1,
        device: device(),
        flow,
        family: Family::Scan,
        weight: 14.5,
        evidence: vec![
            ("failed_first_contacts", Number::Count(20)),
            ("log_likelihood_ratio", Number::Number(27.73)),
        ],
        first_evidence: Time::at(HOUR),
        sum: Sum { shares: vec![(Family::Scan, 14.5)] },
        why: Why::default(),
        action: Action::Isolated,
        ruling: None,
        coverage: None,
    };
    let isolation = |change| Isolation {
        id: 7,
        change,
        device: Some(device()),
        targets: vec![Target::Mac("00:1b:21:0a:0b:0c".parse().unwrap())],
        level: Level::Isolate,
        direction: Direction::Both,
        until: Some(Time::at(2 * HOUR)),
        would: false,
        reason: "scan".to_owned(),
        incident: Some(3),
        flow: None,
        first_evidence: None,
    };
    let judgement = Judgement {
        judged: Judged::Grave,
        incident: 3,
        device: Some(device()),
        reviews: vec![],
        by: "tanaka".to_owned(),
        comment: "マルウェアを確認".to_owned(),
    };
    let at = |seconds: u64, event| Timed { time: Time::at(HOUR + seconds * SECOND), event };
    vec![
        at(0, Event::Alert(alert)),
        at(0, Event::Isolation(isolation(Change::Added))),
        at(60, Event::Judgement(judgement)),
        at(90, Event::Isolation(isolation(Change::Released))),
    ]
}

/// A state directory with a journal of it.
fn state() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), Keeping { days: 400, rows: 10_000 }, 0).unwrap();
    let models = vec![("all".to_owned(), "flow".to_owned(), "abcd1234".to_owned())];
    let began = Began { bridge: "br0", enforce: true, config: "mode = \"enforce\"\n", models };
    let teller = Teller::new(WallClock::UNIX);
    let entry = |timed: &Timed| {
        let event = teller.value(timed, None);
        assert!(journal::is_kept(EventType::of(&timed.event), &event));
        journal::entry(Stamp(timed.time.ns() as i64), &event, teller.words(timed, None))
    };
    let rows: Vec<_> =
        std::iter::once(journal::began(Stamp(1), &began)).chain(story().iter().map(entry)).collect();
    journal.write(&rows).unwrap();
    journal.close().unwrap();
    fs::create_dir(dir.path().join("models")).unwrap();
    fs::write(dir.path().join("models/all-flow.model"), "model").unwrap();
    fs::write(dir.path().join("models/rows"), "what is learned from").unwrap();
    dir
}

fn made(dir: &TempDir, id: u64) -> Result<Vec<u8>, PackingError> {
    let maker = Maker { by: "root".to_owned(), host: "box".to_owned(), made: Stamp(5_000_000_000) };
    let places = Places { state_dir: dir.path().to_owned(), models: dir.path().join("models") };
    make(&places, id, &maker, &TimeZone::fixed(jiff::tz::offset(9)))
}

fn gathered(dir: &TempDir) -> Gathered {
    let reader = Reader::open(&dir.path().join(sensor_journal::DATABASE)).unwrap();
    gather(&reader, &Places { state_dir: dir.path().to_owned(), models: dir.path().join("models") }, 3)
        .unwrap()
}

#[test]
fn a_pack_has_all_there_is_and_verifies() {
    let dir = state();
    let pack = made(&dir, 3).unwrap();
    let key = SigningKey::open(dir.path()).unwrap().public();
    let checked = pack::check(&pack, Some(key));
    assert_eq!(checked.faults, [""; 0]);
    // The beginning of the journal and of the daemon, and what happened.
    assert_eq!((checked.files, checked.records), (5, 6));
    let manifest = &checked.manifest;
    assert_eq!((&manifest["incident"], &manifest["host"]), (&json!(3), &json!("box")));
    assert_eq!(
        (&manifest["chain"]["whole"], &manifest["chain"]["head"]["record"]),
        (&json!(true), &json!(6))
    );
    let found = gathered(&dir);
    assert_eq!(found.incident.action, "isolated");
    assert!(found.incident.judged.unwrap().grave);
    assert_eq!(found.daemon["config_sha256"], hex(&sensor_journal::sha256(b"mode = \"enforce\"\n")));
    assert_eq!(found.daemon["models"][0]["hash"], "abcd1234");
    assert_eq!(found.models, [("all-flow.model".to_owned(), hex(&sensor_journal::sha256(b"model")))]);
    assert!(matches!(made(&dir, 4), Err(PackingError::NoIncident(4))));
}

#[test]
fn the_report_is_in_two_languages_and_obeys_nobody() {
    let dir = state();
    let maker = Maker { by: "root".to_owned(), host: "box".to_owned(), made: Stamp(0) };
    let key = SigningKey::open(dir.path()).unwrap().public();
    let page = report::html(&gathered(&dir), &maker, &key, &TimeZone::fixed(jiff::tz::offset(9)));
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
    for words in [
        "インシデント報告書 #3",
        "スキャン (多数の宛先を探る通信)",
        "監視装置</td><td>Sekisho を開始",
        "記録</td><td>記録を開始",
        "スキャン (多数の宛先を探る通信) 14.500",
        "隔離：開始 [7]",
        "隔離：担当者が解除 [7]",
        "正しい検知 (重大と判定) (tanaka) マルウェアを確認",
        "改ざんなし",
        "Incident report #3",
        "failed first contacts</th><td>20",
        "失敗した初回接続</th><td>20",
        "log likelihood ratio</th><td>27.730",
        "1970-01-01 10:00:00",
        "+09:00",
        "whole: none changed, none missing",
        "not included: there is no log of conversations",
        &key.to_string(),
    ] {
        assert!(page.contains(words), "{words} is missing:\n{page}");
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "it needs nothing else");
    if let Some(file) = std::env::var_os("SEKISHO_REPORT") {
        fs::write(file, page).unwrap();
    }
}

#[test]
fn a_journal_that_does_not_fit_is_said_in_the_report() {
    let dir = state();
    let mut found = gathered(&dir);
    found.chain = json!({ "whole": false, "faults": ["record 2 does not fit"], "head": {} });
    let maker = Maker { by: "root".to_owned(), host: "box".to_owned(), made: Stamp(0) };
    let key = SigningKey::open(dir.path()).unwrap().public();
    let page = report::html(&found, &maker, &key, &TimeZone::UTC);
    assert!(page.contains("不整合あり: record 2 does not fit") && page.contains("DOES NOT FIT"), "{page}");
}

#[test]
fn everything_has_japanese_words() {
    let foreign = |text: &str| text.is_ascii();
    let without: Vec<_> =
        detect::names().filter(|name| foreign(&Tongue::Ja.phrases().signature(name, "x"))).collect();
    assert_eq!(without, [""; 0]);
    let kinds = EventType::ALL.into_iter().filter(|kind| journal::may_keep(*kind)).map(EventType::name);
    let without: Vec<_> =
        kinds.chain(["daemon", "journal"]).filter(|kind| foreign(Tongue::Ja.kind(kind))).collect();
    assert_eq!(without, [""; 0]);
    let teller = Teller::new(WallClock::UNIX);
    for timed in story() {
        let event = teller.value(&timed, None);
        let words = Tongue::Ja.event(&event, "-");
        assert!(!foreign(&words), "{event}: {words}");
    }
    let without: Vec<_> =
        Family::ALL.iter().filter(|family| foreign(Tongue::Ja.family(family.name()))).collect();
    assert_eq!(without, [&Family::Scan; 0]);
    // What the journal says of itself, by its source: all that is noted.
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/journal/src");
    let mut actions = 0;
    for file in ["journal.rs", "keeper.rs"] {
        let text = fs::read_to_string(format!("{source}/{file}")).unwrap();
        for call in text.split("note(now").skip(1) {
            let action = call.split('"').nth(1).unwrap();
            let event = json!({ "event_type": "journal", "journal": { "action": action } });
            let words = Tongue::Ja.event(&event, "journal   -");
            assert!(!foreign(&words), "{event}: {words}");
            actions += 1;
        }
    }
    assert!(actions >= 6, "{actions}");
    for action in ["announced", "opened", "ended", "removed"] {
        let event = json!({ "event_type": "window", "window": { "action": action } });
        assert!(!foreign(&Tongue::Ja.event(&event, "window    -")), "{event}");
    }
}

/// What a command prints, without a daemon.
fn command(dir: &TempDir, line: &str) -> Result<String, String> {
    let path = dir.path().display();
    let line = line.replace("@", &path.to_string());
    let words = line.split_whitespace().chain(["--state-dir", dir.path().to_str().unwrap()]);
    let Task::Client(task) = Cli::try_parse_from(words).map_err(|error| error.to_string())?.task else {
        panic!("{line}")
    };
    let mut out = Vec::new();
    let done = match &task {
        ClientTask::Audit(task) => crate::cli::audit(task, &mut out).map(|code| format!("({code})")),
        other => crate::cli::answer(other, &mut out).map(|_| String::new()),
    };
    done.map(|code| String::from_utf8(out).unwrap() + &code).map_err(|error| error.to_string())
}

#[test]
fn the_journal_is_shown_without_a_daemon() {
    let dir = state();
    let shown = |line: &str| command(&dir, line).unwrap();
    let reader = Reader::open(&dir.path().join(sensor_journal::DATABASE)).unwrap();
    let numbers: Vec<_> = reader.of_incident(3).unwrap().iter().map(|record| record.entry.device).collect();
    assert!(numbers.iter().all(|number| *number == Some(7)), "{numbers:?}");
    let events = shown("sekisho events --kind isolation -o json");
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let actions: Vec<_> = events.iter().map(|event| event["isolation"]["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["added", "released"]);
    assert_eq!(shown("sekisho events --device 10.0.0.7 --from 1970-01-01T01:00:30Z").lines().count(), 2);
    assert_eq!(shown("sekisho events --device 10.0.0.8"), "No events.\n");
    assert!(shown("sekisho events --newest 1").contains("These are the newest 1; with --newest 0"));
    let list = shown("sekisho incidents --all -o json --socket @/none");
    let list: Vec<IncidentInfo> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.iter().map(|one| one.id).collect::<Vec<_>>(), [3]);
    assert!(shown("sekisho incidents --to 1970-01-01T00:59:00Z --socket @/none").contains("No incidents."));
    let one = shown("sekisho incidents 3 --socket @/none");
    assert!(one.contains("judged   true and grave, by tanaka: マルウェアを確認"), "{one}");
    let list = shown("sekisho audit list");
    assert!(
        list.contains("judgement incident 3 is true and grave") && !list.contains("first contacts"),
        "{list}"
    );
    let verified = shown("sekisho audit verify");
    assert!(
        verified.starts_with("The record of decisions is whole: 6 records, from 1 on.\nhead 6:"),
        "{verified}"
    );
    assert!(verified.ends_with("(0)"), "{verified}");
    let head = verified.lines().nth(1).unwrap().trim_start_matches("head ");
    assert!(shown(&format!("sekisho audit verify --head {head}")).ends_with("(0)"));
    assert!(
        shown("sekisho audit verify --head 6:00000000").contains("DOES NOT FIT: record 6 is another one")
    );
    let key = SigningKey::open(dir.path()).unwrap().public();
    assert_eq!(shown("sekisho audit key"), format!("{key}\n(0)"));
}

#[test]
fn what_cannot_be_shown_is_told() {
    let dir = state();
    for (line, want) in [
        ("sekisho events --from 1h --to 2h", "the time ends before it begins"),
        ("sekisho incidents --from 2026-02-01 --to 2026-01-01", "the time ends before it begins"),
        ("sekisho audit list --from 1h --to 2h", "the time ends before it begins"),
        ("sekisho events --from yesterday", "is no time"),
        ("sekisho events --kind flow", "invalid value 'flow'"),
        ("sekisho incidents 4 --socket @/none", "there is no incident 4"),
        ("sekisho incidents pack 4 -f @/p.zip", "there is no incident 4 in the journal"),
        ("sekisho audit verify --head 6", "write it as"),
        ("sekisho audit verify --key 12", "64 hexadecimal digits"),
        ("sekisho audit verify @/none.db", "there is no journal at"),
        ("sekisho audit verify-pack @/none.zip", "cannot read"),
    ] {
        let error = command(&dir, line).unwrap_err();
        assert!(error.contains(want), "{line}: {error}");
    }
    let empty = tempfile::tempdir().unwrap();
    for line in
        ["sekisho events", "sekisho audit verify", "sekisho incidents --all", "sekisho incidents pack 3"]
    {
        let error = command(&empty, line).unwrap_err();
        assert!(error.contains("no daemon has run with this state directory"), "{line}: {error}");
    }
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "nothing is made by looking");
}

#[test]
fn a_journal_that_is_gone_is_no_journal_that_never_was() {
    for empty in [false, true] {
        let dir = state();
        let path = dir.path().join(sensor_journal::DATABASE);
        fs::remove_file(&path).unwrap();
        if empty {
            fs::write(&path, "").unwrap();
        }
        let told = command(&dir, "sekisho audit verify").unwrap();
        assert!(told.contains("DOES NOT FIT: the journal") && told.contains("had 6 records"), "{told}");
        assert!(told.ends_with("(2)"), "{told}");
        let error = command(&dir, "sekisho events").unwrap_err();
        assert!(error.contains("is gone") && !error.contains("no daemon has run"), "{error}");
        // The daemon begins another, and that there was one before is told as long as that is kept.
        Journal::open(dir.path(), Keeping { days: 400, rows: 10_000 }, 0).unwrap().close().unwrap();
        let told = command(&dir, "sekisho audit verify").unwrap();
        assert!(told.contains("look: record 1: begun; the one before it ended with record 6"), "{told}");
        assert!(told.ends_with("(1)"), "{told}");
    }
}

#[test]
fn a_key_that_was_lost_is_told_and_packs_go_on_being_made() {
    let dir = state();
    let shown = |line: &str| command(&dir, line).unwrap();
    let old = SigningKey::open(dir.path()).unwrap().public();
    shown("sekisho incidents pack 3 -f @/old.zip");
    fs::remove_file(dir.path().join("audit.key")).unwrap();
    let missing = format!("look: the signing key of {old} is missing in");
    for line in ["sekisho audit key", "sekisho audit verify"] {
        assert!(shown(line).contains(&missing), "{}", shown(line));
    }

    shown("sekisho incidents pack 3 -f @/new.zip");
    let new = SigningKey::open(dir.path()).unwrap().public();
    assert_ne!(old, new);
    let key = shown("sekisho audit key");
    assert!(key.starts_with(&format!("{new}\nlook: {old} was lost")), "{key}");
    assert!(shown(&format!("sekisho audit verify-pack @/old.zip --key {old}")).ends_with("(0)"));
    assert!(shown("sekisho audit verify-pack @/new.zip").ends_with("(0)"));
    let verified = shown("sekisho audit verify");
    assert!(
        verified.contains(&format!("look: journal.head is signed with {old}, which was lost")),
        "{verified}"
    );
    assert!(verified.ends_with("(1)"), "{verified}");
    // Who wrote down the old key is told that others have signed since.
    let head_of_new = || shown(&format!("sekisho audit verify --key {old}"));
    assert!(head_of_new().ends_with("(0)"), "{}", head_of_new());

    Journal::open(dir.path(), Keeping { days: 400, rows: 10_000 }, 0).unwrap().close().unwrap();
    assert!(shown("sekisho audit list").contains("a new key was made, for the one before was lost"));
    let verified = shown("sekisho audit verify");
    assert!(
        verified.contains("look: record 7: a new key was made") && verified.ends_with("(1)"),
        "{verified}"
    );
    assert!(head_of_new().contains("DOES NOT FIT: journal.head is not signed with the key"));
}

#[test]
fn a_pack_is_written_once_and_verified_by_command() {
    let dir = state();
    let told = command(&dir, "sekisho incidents pack 3 -f @/p.zip").unwrap();
    assert!(told.starts_with("Incident 3 is packed in"), "{told}");
    let error = command(&dir, "sekisho incidents pack 3 -f @/p.zip").unwrap_err();
    assert!(error.contains("cannot write the pack") && error.contains("exists"), "{error}");
    let good = command(&dir, "sekisho audit verify-pack @/p.zip").unwrap();
    assert!(good.contains("The pack of incident 3 is as it was made") && good.ends_with("(0)"), "{good}");
    // Where there is no key, nobody knows whose it is.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join("p.zip"), elsewhere.path().join("p.zip")).unwrap();
    let doubtful = command(&elsewhere, "sekisho audit verify-pack @/p.zip").unwrap();
    assert!(doubtful.contains("whose key that is") && doubtful.ends_with("(1)"), "{doubtful}");
    let mut bytes = fs::read(dir.path().join("p.zip")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(dir.path().join("p.zip"), bytes).unwrap();
    let bad = command(&dir, "sekisho audit verify-pack @/p.zip").unwrap();
    assert!(bad.contains("DOES NOT FIT: ") && bad.ends_with("(2)"), "{bad}");
}
