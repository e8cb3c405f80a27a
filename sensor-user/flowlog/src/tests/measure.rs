//! What it costs. Prints; nothing here is asserted but what the product promises.

use std::time::{Duration, Instant};

use super::traffic::{Traffic, place};
use super::{KEEPING, Log};
use crate::FlowLog;
use crate::query::{Query, scan};

#[test]
#[ignore = "prints what it measures"]
fn speed_and_size() {
    for rate in [100, 2_000, 20_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = FlowLog::start(dir.path(), KEEPING, None).unwrap();
        log.set_place(place());
        let mut traffic = Traffic::new(1, rate);
        let rows: usize = (rate as usize * 600).min(2_000_000);
        let all: Vec<_> = (0..rows).map(|_| traffic.row()).collect();
        let begun = Instant::now();
        let mut pushed = Duration::ZERO;
        let waits = std::sync::atomic::Ordering::Relaxed;
        for row in all {
            let one = Instant::now();
            log.push(row);
            pushed += one.elapsed();
            if log.counts().lost_to_queue.load(waits) > 0 {
                panic!("lost");
            }
            // As fast as it goes, but no faster.
            while log.counts().waiting.load(waits) > 100_000 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        log.close();
        let took = begun.elapsed().as_secs_f64();
        let mut bytes = 0;
        let everything = Query { from: 0, to: i64::MAX, ..Query::default() };
        let scanned = scan(dir.path(), &everything, &mut |_| Ok(())).unwrap();
        for file in walk(dir.path()) {
            bytes += std::fs::metadata(file).unwrap().len();
        }
        println!(
            "{rate} a second: {rows} rows in {took:.1} s, {:.0} rows a second; {:.1} bytes a row in {} files; push {:.0} ns",
            rows as f64 / took,
            bytes as f64 / rows as f64,
            scanned.files,
            pushed.as_nanos() as f64 / rows as f64,
        );
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else if path.extension().is_some_and(|end| end == "parquet") {
            found.push(path);
        }
    }
    found
}

/// 30 days of a busy house: 50 conversations a second all day, 130 million of them.
#[test]
#[ignore = "writes 2.5 GB, and prints what it measures"]
fn an_hour_of_thirty_days() {
    let dir = std::env::var_os("SEKISHO_TEST_FLOWS").map(std::path::PathBuf::from);
    let log = Log::new();
    let root = dir.as_deref().unwrap_or(log.path());
    if !root.join("day=2026-11-28").exists() {
        let own = || log.shelf.clone();
        let shelf = dir.as_deref().map_or_else(own, |dir| crate::shelf::Shelf::take(dir).unwrap().0.into());
        let begun = Instant::now();
        for day in 0..30 {
            for hour in 0..24 {
                let first = (day * 24 + hour) as u64 * 180_000;
                let rows = super::numbered(day * 24 + hour, first..first + 180_000);
                let log = Log {
                    dir: tempfile::tempdir().unwrap(),
                    shelf: shelf.clone(),
                    counts: Default::default(),
                };
                log.write(rows);
            }
        }
        println!("made in {:.0} s", begun.elapsed().as_secs_f64());
    }
    let bytes: u64 = walk(root).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    println!("{} files, {:.2} GB", walk(root).len(), bytes as f64 / 1e9);
    let begin = super::traffic::EPOCH / 1_000 + 300 * super::HOUR;
    let hour = Query { from: begin, to: begin + super::HOUR, ..Query::default() };
    let host = Query { hosts: vec![crate::query::End::Ip("10.1.0.7".parse().unwrap())], ..hour.clone() };
    let month = Query { from: 0, to: i64::MAX, ..host.clone() };
    for (name, query) in [("an hour", &hour), ("an hour of a host", &host), ("30 days of a host", &month)] {
        let begun = Instant::now();
        let mut exporter =
            crate::export::Exporter::new(std::io::sink(), crate::export::Format::Csv, Default::default())
                .unwrap();
        let scanned = scan(root, query, &mut |rows| exporter.write(rows)).unwrap();
        println!("{name} as CSV: {:.2} s, {scanned:?}", begun.elapsed().as_secs_f64());
    }
    println!("{} MB of memory at most", peak() >> 10);
}

/// The most memory this process had, KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What it takes to join the files of an hour, and how small they become.
#[test]
#[ignore = "prints what it measures"]
fn an_hour_is_joined() {
    for rate in [10, 100, 500] {
        let log = Log::new();
        let mut traffic = Traffic::new(1, rate);
        for _minute in 0..60 {
            log.write((0..rate * 60).map(|_| traffic.row()).collect());
        }
        let size = |log: &Log| {
            walk(log.path()).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum::<u64>()
        };
        let before = size(&log);
        let begun = Instant::now();
        log.tidier(KEEPING).step(super::traffic::EPOCH / 1_000 + 5 * super::HOUR, true, &|| false).unwrap();
        let (took, rows) = (begun.elapsed().as_secs_f64(), rate * 3_600);
        println!(
            "{rate} a second: {:.1} bytes a row in 60 files, {:.1} in one; {rows} rows joined in {took:.2} s",
            before as f64 / rows as f64,
            size(&log) as f64 / rows as f64
        );
    }
}

/// What it takes to add up an hour, and to look whether a row group of it is whole, of 100 conversations a second.
#[test]
#[ignore = "prints what it measures"]
fn an_hour_is_added_up_and_a_group_of_it_read_through() {
    let log = Log::new();
    for part in 0..4 {
        log.write(super::numbered(0, part * 90_000..(part + 1) * 90_000));
    }
    let now = super::traffic::EPOCH / 1_000 + 5 * super::HOUR;
    let mut tidier = log.tidier(KEEPING);
    tidier.step(now, true, &|| false).unwrap();
    for _ in 0..3 {
        let begun = Instant::now();
        tidier.step(now, true, &|| false).unwrap();
        let read = begun.elapsed();
        let begun = Instant::now();
        crate::totals::totals(log.path(), (0, i64::MAX), &[21], &mut |_| {}).unwrap();
        println!("a group is read through in {read:?}, the hour is added up in {:?}", begun.elapsed());
    }
}
