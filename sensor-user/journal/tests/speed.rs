//! How fast the journal is, to be read by people:
//! `cargo test --release -p sensor-journal --test speed -- --ignored --nocapture`

use std::fs;
use std::time::Instant;

use sensor_journal::{DATABASE, Entry, Journal, Keeping, Query, Reader, verify};

const ROWS: u64 = 500_000;
const BATCH: u64 = 500;

#[test]
#[ignore = "prints what it measures"]
fn rows_a_second_and_bytes_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), Keeping { days: 400, rows: 2 * ROWS }, 0).unwrap();
    let entry = |number: u64| Entry {
        time_ns: number as i64 * 1_000_000_000,
        kind: "alert".to_owned(),
        incident: Some(number / 10),
        mac: Some(format!("02:00:00:00:{:02x}:{:02x}", number / 256 % 256, number % 256)),
        severity: Some(1),
        // As long as an alert with its decision.
        body: format!("{{\"event_type\":\"alert\",\"number\":{number},\"pad\":\"{}\"}}", "x".repeat(1_400)),
        words: "alert     a device with a name (10.0.0.7): what it did [high, incident 12]: 20 numbers"
            .to_owned(),
        ..Entry::default()
    };
    let began = Instant::now();
    for first in (0..ROWS).step_by(BATCH as usize) {
        journal.write(&(first..first + BATCH).map(entry).collect::<Vec<_>>()).unwrap();
    }
    let took = began.elapsed().as_secs_f64();
    journal.close().unwrap();
    let path = dir.path().join(DATABASE);
    let bytes = fs::metadata(&path).unwrap().len();
    println!(
        "written: {:.0} rows a second in batches of {BATCH}, {} bytes a row",
        ROWS as f64 / took,
        bytes / ROWS
    );
    let reader = Reader::open(&path).unwrap();
    let timed = |what: &str, work: &dyn Fn() -> usize| {
        let began = Instant::now();
        let count = work();
        println!("{what}: {count} in {:.2} s", began.elapsed().as_secs_f64());
    };
    timed("verified", &|| verify(&reader, None, &[]).unwrap().records as usize);
    let hour = Query { from_ns: Some(3_600_000_000_000), to_ns: Some(7_200_000_000_000), ..Query::default() };
    timed("rows of an hour", &|| reader.all(&hour).unwrap().len());
    let ip = Query { devices: vec!["10.0.0.7".to_owned()], ..Query::default() };
    timed("rows of an IP address in all of it", &|| reader.all(&ip).unwrap().len());
    timed("the newest incidents", &|| reader.incidents(i64::MIN, i64::MAX, 1_000).unwrap().len());
    drop(reader);
    let began = Instant::now();
    Journal::open(dir.path(), Keeping { days: 400, rows: 2 * ROWS }, 0).unwrap();
    println!("opened, with a look whether it is whole: {:.2} s", began.elapsed().as_secs_f64());
}
