//! A daemon that is killed while it writes, many times over.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sensor_journal::{DATABASE, Entry, Journal, JournalError, Keeping, Query, Reader, verify};

/// Where the process that is killed writes; none: this is the test.
const DIR: &str = "SEKISHO_TEST_JOURNAL";
const KEEPING: Keeping = Keeping { days: 400, rows: 500 };
const TIMES: u64 = 100;

/// Writes without an end, and tells after each batch how far it is.
fn write_until_killed(dir: &Path) -> Result<(), JournalError> {
    let mut journal = Journal::open(dir, KEEPING, 0)?;
    println!("at {}", journal.head().link);
    for number in 0_u64.. {
        let entry = |part: u64| Entry {
            kind: "alert".to_owned(),
            incident: Some(number),
            body: "x".repeat((number * 37 % 5_000) as usize),
            words: format!("{part}"),
            ..Entry::default()
        };
        let batch: Vec<_> = (0..number % 7 + 1).map(entry).collect();
        journal.write(&batch)?;
        println!("at {}", journal.head().link);
        if number % 50 == 49 {
            journal.prune(0, true)?;
        }
    }
    Ok(())
}

#[test]
fn killed_while_writing_it_is_whole_and_what_was_written_is_there() {
    if let Some(dir) = env::var_os(DIR) {
        return write_until_killed(&PathBuf::from(dir)).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for time in 0..TIMES {
        let test = "killed_while_writing_it_is_whole_and_what_was_written_is_there";
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Killed after another length of time each time, from within the opening to some hundred batches.
        let end = Instant::now() + Duration::from_micros(2_000 + time * time * 15);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = |line: &str| line.rsplit_once("at ").and_then(|(_, link)| link.parse().ok());
        while Instant::now() < end {
            let Some(line) = lines.next() else { break };
            last = told(&line.unwrap()).unwrap_or(last);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        last = lines.map_while(Result::ok).filter_map(|line| told(&line)).last().unwrap_or(last);
        let Ok(reader) = Reader::open(&dir.path().join(DATABASE)) else {
            assert_eq!(last, 0, "killed before there was anything");
            continue;
        };
        let found = verify(&reader, None, &[]).unwrap();
        assert!(found.faults.is_empty(), "time {time}: {found:?}");
        assert!(found.head.unwrap().link >= last, "time {time}: written up to {last}");
    }
    assert!(last > 100, "much was written: {last}");
    Journal::open(dir.path(), KEEPING, 0).unwrap().close().unwrap();
    let reader = Reader::open(&dir.path().join(DATABASE)).unwrap();
    let notes = reader.all(&Query { kinds: vec!["journal".to_owned()], ..Query::default() }).unwrap();
    assert!(notes.last().unwrap().entry.words.contains("was killed"), "it is told: {:?}", notes.last());
    let broken = std::fs::read_dir(dir.path())
        .unwrap()
        .filter_map(|file| file.unwrap().file_name().into_string().ok());
    assert_eq!(broken.filter(|name| name.contains("broken")).count(), 0);
}
