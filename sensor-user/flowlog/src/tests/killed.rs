//! Power cuts: a writer is killed in the middle, again and again. Every file that has its place can be read, at most what
//! came in the last interval is lost, and that is told.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::traffic::{Random, Traffic, place};
use super::{KEEPING, Log, numbered, numbers};
use crate::log::{FlowLog, Keeping};
use crate::shelf::Shelf;

/// Where a child works: set for it alone.
const PLACE: &str = "SEKISHO_TEST_FLOWLOG";
/// The number of its first row.
const FIRST: &str = "SEKISHO_TEST_FIRST";
/// Time between files in these tests, ms.
const EVERY: u64 = 40;

fn child(test: &str, place: &Path, first: u64) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new(program)
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(PLACE, place)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the one that is killed"]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(PLACE) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let keeping = Keeping { every_ns: EVERY * 1_000_000, ..KEEPING };
    let mut log = FlowLog::start(dir.as_ref(), keeping, None).unwrap();
    log.set_place(place());
    let mut traffic = Traffic::new(1, 20_000);
    let (begun, mut number) = (Instant::now(), first);
    let mut out = std::io::stdout();
    loop {
        for _ in 0..100 {
            let mut row = traffic.row();
            row.to_server.bytes = number;
            number += 1;
            log.push(row);
        }
        log.hand_over();
        writeln!(out, "\nat {} {number}", begun.elapsed().as_millis()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_hundred_power_cuts_while_writing_lose_the_last_interval_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(3);
    let (mut first, mut kept) = (0, 0);
    for cut in 0..100 {
        let mut child = child("tests::killed::writes_until_it_is_killed", dir.path(), first);
        let out = BufReader::new(child.stdout.take().unwrap());
        let lasts = Duration::from_millis(20 + random.below(150));
        let (mut told, mut begun) = (Vec::new(), None);
        for line in out.lines().map_while(Result::ok) {
            let Some((ms, number)) = line.strip_prefix("at ").and_then(|line| line.split_once(' ')) else {
                continue;
            };
            told.push((ms.parse::<u64>().unwrap(), number.parse::<u64>().unwrap()));
            let begun = *begun.get_or_insert_with(Instant::now);
            if begun.elapsed() >= lasts {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        // The next start tells of what was lost.
        let (shelf, cut_short) = Shelf::take(dir.path()).unwrap();
        assert!(cut_short, "cut {cut}: untold");
        shelf.finished();
        drop(shelf);
        let mut all: Vec<_> =
            numbers(dir.path(), "bytes_toserver").into_iter().filter(|n| *n as u64 >= first).collect();
        all.sort_unstable();
        let (last, next) = *told.last().expect("it wrote something");
        assert_eq!(
            all,
            (first as i64..first as i64 + all.len() as i64).collect::<Vec<_>>(),
            "cut {cut}: a gap"
        );
        // What was pushed before the last interval, and the time a busy machine takes to write a file, is there.
        let safe = told.iter().rev().find(|(ms, _)| *ms + EVERY + 400 < last).map_or(first, |told| told.1);
        assert!(first + all.len() as u64 >= safe, "cut {cut}: {} of {safe} rows, at {last} ms", all.len());
        kept += all.len();
        first = next + 1_000;
    }
    assert!(kept > 10_000, "{kept}");
}

#[test]
#[ignore = "the one that is killed"]
fn joins_until_it_is_killed() {
    let Some(dir) = std::env::var_os(PLACE) else { return };
    let (shelf, _) = Shelf::take(dir.as_ref()).unwrap();
    let mut log = Log { dir: tempfile::tempdir().unwrap(), shelf: shelf.into(), counts: Default::default() };
    println!("\nbegun");
    for number in 0.. {
        // Each file has the same rows, so that one too many or too few shows.
        log.write(numbered(0, 0..2_000));
        if number % 3 == 2 {
            let mut tidier = log.tidier(KEEPING);
            tidier.step(i64::MAX / 2, true, &|| false).unwrap();
        }
        log.counts = Default::default();
    }
}

#[test]
fn power_cuts_while_joining_neither_lose_nor_double_a_row() {
    let mut random = Random(4);
    for cut in 0..30 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = child("tests::killed::joins_until_it_is_killed", dir.path(), 0);
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        out.find(|line| line == "begun").expect("it begins");
        std::thread::sleep(Duration::from_millis(random.below(600)));
        child.kill().unwrap();
        child.wait().unwrap();
        drop(Shelf::take(dir.path()).unwrap());
        let mut counted = vec![0; 2_000];
        numbers(dir.path(), "bytes_toserver").into_iter().for_each(|number| counted[number as usize] += 1);
        assert!(counted.windows(2).all(|pair| pair[0] == pair[1]), "cut {cut}: {counted:?}");
    }
}
