//! The journal written, read, spoilt, verified.

use std::fs;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::key::PublicKey;
use crate::note::KIND;
use crate::read::{Query, Reader};
use crate::verify::{Claim, Verified, verify};

const KEEPING: Keeping = Keeping { days: 400, rows: 1_000_000 };
const START: i64 = 1_767_225_600_000_000_000;
const SECOND: i64 = 1_000_000_000;

fn entry(number: i64) -> Entry {
    Entry {
        time_ns: START + number * SECOND,
        kind: if number % 3 == 2 { "device" } else { "alert" }.to_owned(),
        incident: Some(number as u64 / 10),
        mac: Some(format!("02:00:00:00:00:{number:02x}")),
        name: (number % 2 == 0).then(|| format!("Pump {number}")),
        severity: Some(1),
        body: format!("{{\"device\":{{\"ips\":[\"10.0.0.{number}\",\"fd00::{number:x}\"]}}}}"),
        words: format!("alert {number}"),
        ..Entry::default()
    }
}

fn open(dir: &TempDir) -> Journal {
    Journal::open(dir.path(), KEEPING, START).unwrap()
}

/// A journal of so many rows, closed in order.
fn filled(rows: i64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(&dir);
    let entries: Vec<_> = (0..rows).map(entry).collect();
    entries.chunks(rows as usize / 4 + 1).for_each(|batch| journal.write(batch).unwrap());
    journal.close().unwrap();
    dir
}

fn reader(dir: &TempDir) -> Reader {
    Reader::open(&dir.path().join(DATABASE)).unwrap()
}

fn verified(dir: &TempDir) -> Verified {
    verify(&reader(dir), None, &[]).unwrap()
}

#[track_caller]
fn check_whole(dir: &TempDir) {
    let found = verified(dir);
    assert_eq!((&found.faults[..], &found.doubts[..]), (&[][..], &[][..]), "{found:?}");
}

/// Notes of the journal itself, by what was done.
fn notes(dir: &TempDir) -> Vec<String> {
    let query = Query { kinds: vec!["journal".to_owned()], ..Query::default() };
    let action = |body: &str| -> String {
        let body: Value = serde_json::from_str(body).unwrap();
        body["journal"]["action"].as_str().unwrap().to_owned()
    };
    reader(dir).all(&query).unwrap().iter().map(|record| action(&record.entry.body)).collect()
}

#[test]
fn what_is_written_comes_back_and_is_whole() {
    let dir = filled(20);
    check_whole(&dir);
    let all = reader(&dir).all(&Query::default()).unwrap();
    let ours: Vec<_> = all.iter().filter(|record| record.entry.kind != "journal").collect();
    assert_eq!(
        ours.iter().map(|record| record.entry.clone()).collect::<Vec<_>>(),
        (0..20).map(entry).collect::<Vec<_>>()
    );
    for record in &all {
        assert_eq!(record.link.is_none(), record.entry.kind == "device", "{record:?}");
        if let Some(link) = record.link {
            assert_eq!(
                chain::link(
                    &link.before.unwrap_or(chain::beginning(&chain_of(&dir))),
                    link.number,
                    &record.entry
                ),
                link.hash
            );
        }
    }
    assert_eq!(notes(&dir), ["begun"]);
    open(&dir).close().unwrap();
    assert_eq!(notes(&dir), ["begun"], "an end in order leaves no trace");
}

fn chain_of(dir: &TempDir) -> String {
    fact(&reader(dir).db, "chain").unwrap().unwrap()
}

#[test]
fn rows_are_found_by_what_is_asked() {
    let dir = filled(30);
    let ask = |query: &Query| -> Vec<i64> {
        let records = reader(&dir).all(query).unwrap();
        let ours = records.iter().filter(|record| record.entry.kind != "journal");
        ours.map(|record| (record.entry.time_ns - START) / SECOND).collect()
    };
    let query = Query::default();
    assert_eq!(ask(&Query { from_ns: Some(START + 28 * SECOND), ..query.clone() }), [28, 29]);
    assert_eq!(ask(&Query { to_ns: Some(START + SECOND), ..query.clone() }), [0, 1]);
    assert_eq!(ask(&Query { newest: Some(2), ..query.clone() }), [28, 29]);
    assert_eq!(
        ask(&Query { incident: Some(2), kinds: vec!["device".to_owned()], ..query.clone() }),
        [20, 23, 26, 29]
    );
    for device in ["02:00:00:00:00:07", "10.0.0.7", "fd00::7"] {
        assert_eq!(ask(&Query { devices: vec![device.to_owned()], ..query.clone() }), [7], "{device}");
    }
    for device in ["pump 8", "FD00::8", "02:00:00:00:00:08"] {
        assert_eq!(ask(&Query { devices: vec![device.to_owned()], ..query.clone() }), [8], "{device}");
    }
    for device in ["", "%", "' OR 1 --", "10.0.0"] {
        assert_eq!(ask(&Query { devices: vec![device.to_owned()], ..query.clone() }), [0; 0], "{device}");
    }
    let never = Query { from_ns: Some(i64::MAX), to_ns: Some(i64::MIN), ..query };
    assert_eq!(ask(&never), [0; 0]);
    assert_eq!(reader(&dir).incidents(i64::MIN, i64::MAX, 2).unwrap(), [2, 1]);
    assert_eq!(reader(&dir).last_incident().unwrap(), 2);
}

/// What somebody does to a closed journal of 30 rows, and the first thing that must be told of it.
const SPOILT: [(&str, &str); 14] = [
    ("UPDATE event SET body = replace(body, 'ips', 'IPS') WHERE link = 7", "record 7 does not fit"),
    ("UPDATE event SET words = words || ' ' WHERE link = 1", "record 1 does not fit"),
    ("UPDATE event SET time_ns = time_ns + 1 WHERE link = 9", "record 9 does not fit"),
    ("UPDATE event SET incident = NULL WHERE link = 9", "record 9 does not fit"),
    ("UPDATE event SET device = 3 WHERE link = 9", "record 9 does not fit"),
    ("UPDATE event SET mac = NULL, name = mac WHERE link = 9", "record 9 does not fit"),
    ("UPDATE event SET severity = 3 WHERE link = 9", "record 9 does not fit"),
    ("UPDATE event SET hash = zeroblob(32) WHERE link = 9", "record 9 does not fit"),
    ("UPDATE event SET hash = NULL WHERE link = 9", "record 9 cannot be read"),
    ("DELETE FROM event WHERE link = 9", "record 9 is missing"),
    ("DELETE FROM event WHERE link >= 15", "the chain was cut off at its end: it ends with record 14"),
    (
        "UPDATE event SET link = -link WHERE link IN (5, 6); UPDATE event SET link = 11 + link WHERE link < 0",
        "record 5 does not fit",
    ),
    ("INSERT INTO event (time_ns, kind, body, words) VALUES (0, 'alert', '', '')", "is not in the chain"),
    ("UPDATE fact SET value = 'another' WHERE name = 'chain'", "another journal"),
];

#[test]
fn whatever_is_changed_is_told_by_the_first_record_that_does_not_fit() {
    for (sql, want) in SPOILT {
        let dir = filled(30);
        Connection::open(dir.path().join(DATABASE)).unwrap().execute_batch(sql).unwrap();
        let found = verified(&dir);
        assert!(found.faults.first().is_some_and(|fault| fault.contains(want)), "{sql}: {found:?}");
    }
}

/// Writes the chain anew from a row on, as somebody would who knows how it is made, but has not the key.
fn forge(dir: &TempDir, from: u64) {
    let records: Vec<_> = reader(dir).all(&Query::default()).unwrap();
    let db = Connection::open(dir.path().join(DATABASE)).unwrap();
    db.execute("UPDATE event SET words = 'forged' WHERE link = ?1", [from]).unwrap();
    let mut before = None;
    for record in records.into_iter().filter(|record| record.link.is_some_and(|link| link.number >= from)) {
        let (mut entry, link) = (record.entry, record.link.unwrap());
        if link.number == from {
            entry.words = "forged".to_owned();
        }
        let hash = chain::link(&before.or(link.before).unwrap(), link.number, &entry);
        db.execute("UPDATE event SET hash = ?1 WHERE link = ?2", params![hash, link.number]).unwrap();
        before = Some(hash);
    }
}

#[test]
fn a_chain_that_is_made_anew_does_not_fit_the_end_that_was_kept_or_written_down() {
    let dir = filled(30);
    let head = verified(&dir).head.unwrap();
    let claim: Claim = format!("{}:{}", head.link, &hex(&head.hash)[..12]).parse().unwrap();
    forge(&dir, 9);
    let found = verified(&dir);
    assert!(found.faults[0].contains(&format!("record {} is another one", head.link)), "{found:?}");
    // The head beside it is forged, or taken away: the one on paper still tells.
    let path = dir.path().join("journal.head");
    let text = fs::read_to_string(&path).unwrap();
    let forged = text.replace(&hex(&head.hash), &hex(&reader_hash(&dir, head.link)));
    assert_ne!(forged, text);
    fs::write(&path, &forged).unwrap();
    assert!(verified(&dir).faults[0].contains("not signed"), "{:?}", verified(&dir));
    fs::remove_file(&path).unwrap();
    let found = verified(&dir);
    assert!(found.faults.is_empty() && found.doubts[0].contains("--head"), "{found:?}");
    let found = verify(&reader(&dir), None, std::slice::from_ref(&claim)).unwrap();
    assert!(found.faults[0].contains("is another one"), "{found:?}");
    let early = Claim { link: 3, digits: claim.digits };
    assert!(verify(&reader(&dir), None, &[early]).unwrap().faults[0].contains("record 3 is another one"));
    let late = Claim { link: 1_000, digits: "00000000".to_owned() };
    assert!(verify(&reader(&dir), None, &[late]).unwrap().faults[0].contains("cut off"));
}

fn reader_hash(dir: &TempDir, link: u64) -> Hash {
    reader(dir).db.query_row("SELECT hash FROM event WHERE link = ?1", [link], |row| row.get(0)).unwrap()
}

#[test]
fn a_head_that_is_no_head_is_told() {
    for text in ["", "{}", "nothing", "{\"chain\":\"a\",\"link\":1,\"hash\":\"zz\",\"signature\":\"\"}"] {
        let dir = filled(3);
        fs::write(dir.path().join("journal.head"), text).unwrap();
        assert!(verified(&dir).faults[0].contains("cannot be read"), "{text}");
    }
}

#[test]
fn claims_are_read_as_people_write_them() {
    let claim = Claim { link: 12, digits: "9f86d081".to_owned() };
    for text in ["12:9f86d081", " 12 : 9F86 D081 "] {
        assert_eq!(text.parse(), Ok(claim.clone()), "{text}");
    }
    for text in
        ["", "12", "12:9f86d08", "x:9f86d081", "12:9f86d08g", &format!("1:{}", "a".repeat(65)), "-1:9f86d081"]
    {
        assert!(text.parse::<Claim>().unwrap_err().contains("like 1234:"), "{text}");
    }
}

#[test]
fn a_daemon_that_starts_over_a_journal_that_was_cut_off_says_so_for_good() {
    let dir = filled(30);
    let sql = "DELETE FROM event WHERE link >= 15";
    Connection::open(dir.path().join(DATABASE)).unwrap().execute_batch(sql).unwrap();
    open(&dir).close().unwrap();
    assert_eq!(notes(&dir), ["begun", "missing"]);
    let found = verified(&dir);
    assert!(found.faults.is_empty(), "{found:?}");
    assert!(found.doubts[0].contains("records are missing"), "{found:?}");
}

#[test]
fn a_broken_journal_is_set_aside_and_another_one_begun() {
    for what in ["header", "page", "text"] {
        let dir = filled(2_000);
        let path = dir.path().join(DATABASE);
        let mut bytes = fs::read(&path).unwrap();
        match what {
            "header" => bytes[..16].fill(b'x'),
            "page" => {
                let middle = bytes.len() / 2;
                bytes[middle..middle + 8_192].fill(0xa5);
            }
            _ => bytes = b"this is not a database".repeat(1_000),
        }
        fs::write(&path, &bytes).unwrap();
        open(&dir).close().unwrap();
        let found = verified(&dir);
        assert!(
            found.faults.is_empty() && found.doubts.iter().any(|doubt| doubt.contains("set aside")),
            "{what}: {found:?}"
        );
        assert_eq!(notes(&dir), ["begun", "set_aside"], "{what}");
        let aside = path.with_file_name(format!("{DATABASE}.broken-20260101T000000Z"));
        assert_eq!(fs::read(aside).unwrap(), bytes, "{what}");
        let begun = reader(&dir).all(&Query::default()).unwrap().remove(0).entry;
        let begun: Value = serde_json::from_str(&begun.body).unwrap();
        assert!(begun["journal"]["before"].is_string(), "it names the end of the one before: {begun}");
    }
}

#[test]
fn broken_journals_do_not_fill_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE);
    for number in 0..7 {
        fs::write(&path, "broken").unwrap();
        schema::set_aside(&path, START + (number / 2) * SECOND).unwrap();
    }
    let mut left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let want =
        ["01Z", "01Z-1", "02Z", "02Z-1", "03Z"].map(|end| format!("{DATABASE}.broken-20260101T0000{end}"));
    assert_eq!(left, want[1..], "the newest four");
}

#[test]
fn a_newer_journal_is_left_alone() {
    let dir = filled(3);
    let path = dir.path().join(DATABASE);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Journal::open(dir.path(), KEEPING, START).err().unwrap();
    assert!(matches!(error, JournalError::Newer { found: 99, .. }), "{error}");
    assert!(matches!(Reader::open(&path), Err(JournalError::Newer { .. })));
    assert!(error.to_string().contains("newer sekisho"), "{error}");
}

#[test]
fn without_a_journal_there_is_nothing_to_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE);
    assert!(matches!(Reader::open(&path), Err(JournalError::Nothing(_))));
    assert!(!path.exists(), "reading makes nothing");
    fs::write(&path, "").unwrap();
    assert!(matches!(Reader::open(&path), Err(JournalError::Nothing(_))));
    fs::write(&path, "no database at all, but longer than its header is: ".repeat(50)).unwrap();
    let error = Reader::open(&path).err().unwrap();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
}

#[test]
fn a_full_disk_changes_nothing_and_the_rest_is_written_later() {
    let dir = filled(3);
    let mut journal = open(&dir);
    let pages: i64 = journal.db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let limit = |journal: &Journal, pages: i64| {
        journal.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    };
    limit(&journal, pages);
    let batch: Vec<_> = (10..200).map(entry).collect();
    let before = journal.head().clone();
    let error = journal.write(&batch).unwrap_err();
    assert!(
        matches!(error, JournalError::Full(_)) && error.to_string().contains("free some space"),
        "{error}"
    );
    assert_eq!(journal.head(), &before);
    limit(&journal, 1 << 30);
    journal.write(&batch).unwrap();
    journal.close().unwrap();
    check_whole(&dir);
}

#[test]
fn what_is_taken_away_leaves_a_chain_that_can_be_verified() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = Keeping { days: 400, rows: 100 };
    let mut journal = Journal::open(dir.path(), keeping, START).unwrap();
    journal.write(&(0..6_000).map(entry).collect::<Vec<_>>()).unwrap();
    let gone = journal.prune(START, true).unwrap();
    // One in three is not in the chain.
    assert_eq!(gone, 3_901 + 1_900);
    journal.close().unwrap();
    let found = verified(&dir);
    assert!(found.faults.is_empty() && found.doubts.is_empty(), "{found:?}");
    assert_eq!((found.first, found.records), (3_902, 101), "100 and the row that tells of it");
    assert_eq!(notes(&dir), ["pruned"]);
    let kept = reader(&dir).all(&Query { kinds: vec!["device".to_owned()], ..Query::default() }).unwrap();
    assert_eq!((kept.len(), kept.last().unwrap().entry.time_ns), (100, entry(5_999).time_ns));

    // An end from before that is not known any more says nothing; the checkpoint's own still does.
    let claim = |text: &str| vec![text.parse::<Claim>().unwrap()];
    assert!(verify(&reader(&dir), None, &claim("5:00000000")).unwrap().faults.is_empty());
    assert!(!verify(&reader(&dir), None, &claim("3901:00000000")).unwrap().faults.is_empty());

    // Somebody else takes more away, and makes up a checkpoint.
    let db = Connection::open(dir.path().join(DATABASE)).unwrap();
    db.execute_batch(
        "
        UPDATE checkpoint SET link = 3950, hash = (SELECT hash FROM event WHERE link = 3950);
        DELETE FROM event WHERE link <= 3950",
    )
    .unwrap();
    assert!(
        verified(&dir).faults[0].contains("the checkpoint at record 3950 is not signed"),
        "{:?}",
        verified(&dir)
    );
    db.execute_batch("DELETE FROM checkpoint").unwrap();
    assert!(verified(&dir).faults[0].contains("record 1 is missing"), "{:?}", verified(&dir));
}

#[test]
fn a_clock_that_jumps_ahead_takes_little_away_and_never_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), KEEPING, START).unwrap();
    journal.write(&(0..6_000).map(entry).collect::<Vec<_>>()).unwrap();
    let year_2099 = START + 73 * 365 * 86_400 * SECOND;
    assert_eq!(journal.prune(year_2099, true).unwrap(), 4_000);
    assert_eq!(journal.prune(START, true).unwrap(), 0, "and nothing once it is right");
    for _ in 0..10 {
        journal.prune(year_2099, true).unwrap();
    }
    journal.close().unwrap();
    let found = verified(&dir);
    assert!(found.faults.is_empty() && found.records > 0, "{found:?}");
}

#[test]
fn old_rows_before_younger_ones_go_and_old_ones_after_them_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), Keeping { days: 1, rows: 1_000 }, START).unwrap();
    let row = |days: i64| Entry {
        time_ns: START + days * 86_400 * SECOND,
        kind: "alert".to_owned(),
        ..Entry::default()
    };
    journal.write(&[row(0), row(0), row(9), row(0), row(10)]).unwrap();
    journal.prune(START + 10 * 86_400 * SECOND, true).unwrap();
    journal.close().unwrap();
    check_whole(&dir);
    let alerts = reader(&dir).all(&Query { kinds: vec!["alert".to_owned()], ..Query::default() }).unwrap();
    assert_eq!(alerts.len(), 3);
}

#[test]
fn a_copy_is_verified_alone_and_by_the_right_key() {
    let dir = filled(10);
    let copy = tempfile::tempdir().unwrap();
    for name in [DATABASE, "journal.head", "audit.pub"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    // As it is opened where nothing can be written.
    let (db, layout) = crate::read::connect(&copy.path().join(DATABASE), "?immutable=1").unwrap();
    let rows: i64 = db.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!((layout, rows), (schema::LAYOUT, 11));
    assert_eq!(fs::read_dir(copy.path()).unwrap().count(), 3, "nothing is made beside it");
    check_whole(&copy);
    // With another box's key it does not fit.
    let other = PublicKey([7; 32]);
    assert!(!verify(&reader(&copy), Some(other), &[]).unwrap().faults.is_empty());
}

#[test]
fn whatever_a_row_holds_it_comes_back_and_keeps_no_other_from_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(&dir);
    let odd = |text: &str| Entry {
        kind: text.to_owned(),
        mac: Some(text.to_owned()),
        name: Some(text.to_owned()),
        body: text.to_owned(),
        words: text.to_owned(),
        ..Entry::default()
    };
    let texts = ["", "a\0b", "\u{1b}[31m", "💉 ' \" \\ %", &"long ".repeat(100_000)];
    let mut rows: Vec<_> = texts.iter().map(|text| odd(text)).collect();
    journal.write(&rows).unwrap();
    // What somebody gave as the number of an incident is the number of none.
    let order = Entry { incident: Some(u64::MAX), device: Some(u64::MAX), ..odd("order") };
    journal.write(&[entry(0), Entry { incident: Some(99), ..order.clone() }, order.clone()]).unwrap();
    assert_eq!(reader(&dir).last_incident().unwrap(), 0, "an order makes no incident");
    journal.close().unwrap();
    check_whole(&dir);
    let all = reader(&dir).all(&Query::default()).unwrap();
    let back: Vec<_> = all.into_iter().map(|record| record.entry).filter(|row| row.time_ns == 0).collect();
    rows.push(Entry { incident: Some(99), device: None, ..order.clone() });
    rows.push(Entry { incident: None, device: None, ..order });
    assert_eq!(back, rows);
}

#[test]
fn it_is_read_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(&dir);
    journal.write(&[entry(0)]).unwrap();
    let reader = reader(&dir);
    let mut count = 0;
    reader
        .each(&Query::default(), |_| {
            journal.write(&[entry(1)]).unwrap();
            count += 1;
            true
        })
        .unwrap();
    assert_eq!(count, 2);
    assert!(verify(&reader, None, &[]).unwrap().faults.is_empty());
}

#[test]
fn it_is_verified_while_a_daemon_writes_and_prunes() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), Keeping { days: 400, rows: 50 }, START).unwrap();
    journal.write(&[entry(0)]).unwrap();
    let path = dir.path().join(DATABASE);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..40 {
                journal.write(&(0..300).map(entry).collect::<Vec<_>>()).unwrap();
                journal.prune(START, true).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut times = 0;
        while !done.load(std::sync::atomic::Ordering::Relaxed) || times == 0 {
            let found = verify(&Reader::open(&path).unwrap(), None, &[]).unwrap();
            assert!(found.faults.is_empty(), "{found:?}");
            times += 1;
        }
    });
}

/// A kill can come long before the next start, and nothing happens in between: who starts knows since when nobody was there.
#[test]
fn one_that_was_killed_is_told_with_its_last_sign_of_life() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(&dir);
    for second in [30, 61, 100] {
        journal.lives(START + second * SECOND);
    }
    drop(journal);
    Journal::open(dir.path(), KEEPING, START + 9_000 * SECOND).unwrap().close().unwrap();
    let told = reader(&dir).all(&Query { kinds: vec![KIND.to_owned()], ..Query::default() }).unwrap();
    let told: Value = serde_json::from_str(&told.last().unwrap().entry.body).unwrap();
    assert_eq!(
        (&told["journal"]["action"], &told["journal"]["alive"]),
        (&"killed".into(), &stamp(START + 61 * SECOND).into())
    );
    // One that ended in order needs no sign.
    let before = notes(&dir).len();
    Journal::open(dir.path(), KEEPING, START + 9_001 * SECOND).unwrap().close().unwrap();
    assert_eq!(notes(&dir).len(), before);
}
