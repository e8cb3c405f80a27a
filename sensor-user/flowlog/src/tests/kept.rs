//! What the log does with its directory, and when it cannot keep up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use super::traffic::{EPOCH, Traffic, place};
use super::{HOUR, KEEPING, Log, numbered};
use crate::{Counts, FlowLog};

/// Its members may read the log without being root.
#[test]
fn the_group_may_read_what_is_in_the_log_and_nobody_else() {
    let log = Log::new();
    for hour in 0..2 {
        log.write(numbered(hour, 0..100));
        log.write(numbered(hour, 100..200));
    }
    log.tidier(KEEPING).step(EPOCH / 1_000 + 3 * HOUR / 2, true, &|| false).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut seen = 0;
    for hour in ["03", "04"] {
        let dir = log.path().join("day=2026-11-28").join(format!("hour={hour}"));
        assert_eq!(mode(&dir), 0o750, "{}", dir.display());
        for file in fs::read_dir(&dir).unwrap() {
            let path = file.unwrap().path();
            assert_eq!(mode(&path), 0o640, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 3, "one hour is joined, and one is not: {seen}");
}

fn count(counts: &Counts) -> [u64; 3] {
    [counts.written.load(Relaxed), counts.lost_to_queue.load(Relaxed), counts.lost_to_disk.load(Relaxed)]
}

/// Whoever tells of conversations never waits for the disk: what finds no room is counted.
#[test]
fn what_comes_faster_than_the_disk_takes_it_is_lost_and_counted() {
    const ROWS: u64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let mut log = FlowLog::start(dir.path(), KEEPING, None).unwrap();
    log.set_place(place());
    let row = Traffic::new(1, 1_000).row();
    (0..ROWS).for_each(|_| log.push(row.clone()));
    log.hand_over();
    let begun = Instant::now();
    while log.counts().waiting.load(Relaxed) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", count(log.counts()));
        thread::sleep(Duration::from_millis(10));
    }
    let lost = log.counts().lost_to_queue.load(Relaxed);
    assert!(lost > 0 && lost < ROWS, "{lost} lost");
    log.close();
    assert_eq!(super::numbers(dir.path(), "pkts_toserver").len() as u64, ROWS - lost);
}

#[test]
fn a_directory_that_another_daemon_uses_is_left_to_it_and_what_is_lost_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let first = FlowLog::start(dir.path(), KEEPING, None).unwrap();
    let begun = Instant::now();
    while !dir.path().join("_tmp/running").exists() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(5));
    }
    let mut second = FlowLog::start(dir.path(), KEEPING, None).unwrap();
    let mut traffic = Traffic::new(1, 10);
    (0..10).for_each(|_| second.push(traffic.row()));
    second.hand_over();
    while count(second.counts()) != [0, 0, 10] {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", count(second.counts()));
        thread::sleep(Duration::from_millis(5));
    }
    second.close();
    assert!(dir.path().join("_tmp/running").exists(), "the first goes on");
    first.close();
    assert!(!dir.path().join("_tmp/running").exists(), "it ended by itself");
}
