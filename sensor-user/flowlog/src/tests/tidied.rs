//! Files are joined and deleted, and what is damaged keeps nobody from the rest.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::traffic::EPOCH;
use super::{HOUR, KEEPING, Log, numbered, numbers};
use crate::Hour;
use crate::columns::GROUP;
use crate::error::FlowLogError;
use crate::log::Keeping;
use crate::query::{Query, scan};
use crate::shelf::{Shelf, files};

/// A moment so many hours after the log began, microseconds.
fn after(hours: i64) -> i64 {
    EPOCH / 1_000 + hours * HOUR
}

#[test]
fn the_files_of_an_hour_become_one_when_it_is_over() {
    let log = Log::new();
    for part in 0..5 {
        log.write(numbered(0, part * 1_000..(part + 1) * 1_000));
    }
    log.write(numbered(1, 5_000..6_000));
    let mut tidier = log.tidier(KEEPING);
    // An hour whose last file may still come is left alone.
    tidier.step(after(1), true, &|| false).unwrap();
    assert_eq!(log.files()["day=2026-11-28/hour=03"].len(), 5);
    tidier.step(after(3), true, &|| false).unwrap();
    let joined = log.files();
    assert_eq!(joined["day=2026-11-28/hour=03"], [format!("hour-{}.parquet", EPOCH / 1_000)]);
    assert_eq!(joined["day=2026-11-28/hour=04"].len(), 1);
    let mut all = numbers(log.path(), "bytes_toserver");
    all.sort_unstable();
    assert_eq!(all, (0..6_000).collect::<Vec<_>>());
    assert_eq!(fs::read_dir(log.path().join("_tmp")).unwrap().count(), 2, "the lock and who runs");
}

#[test]
fn a_file_that_comes_later_is_joined_too() {
    let log = Log::new();
    let mut tidier = log.tidier(KEEPING);
    for part in 0..3 {
        log.write(numbered(0, part * 100..(part + 1) * 100));
        tidier.step(after(5), true, &|| false).unwrap();
        assert_eq!(log.files()["day=2026-11-28/hour=03"].len(), 1);
    }
    let mut all = numbers(log.path(), "bytes_toserver");
    all.sort_unstable();
    assert_eq!(all, (0..300).collect::<Vec<_>>());
}

#[test]
fn a_file_that_comes_while_others_are_joined_is_not_lost() {
    let log = Log::new();
    for part in 0..2 {
        log.write(numbered(0, part * 100..(part + 1) * 100));
    }
    let late = std::cell::Cell::new(false);
    // Called between two files.
    let comes = || {
        if !late.replace(true) {
            log.write(numbered(0, 200..300));
        }
        false
    };
    let mut tidier = log.tidier(KEEPING);
    tidier.step(after(5), true, &comes).unwrap();
    tidier.step(after(5), true, &|| false).unwrap();
    let mut all = numbers(log.path(), "bytes_toserver");
    all.sort_unstable();
    assert_eq!(all, (0..300).collect::<Vec<_>>());
    assert_eq!(log.files()["day=2026-11-28/hour=03"].len(), 1);
}

#[test]
fn a_damaged_file_is_set_aside_and_the_others_are_joined() {
    let log = Log::new();
    for part in 0..3 {
        log.write(numbered(0, part * 100..(part + 1) * 100));
    }
    let dir = Hour::of(after(0)).dir(log.path());
    let there = files(&dir).unwrap();
    let bytes = fs::read(&there[1].path).unwrap();
    fs::write(&there[1].path, &bytes[..bytes.len() / 2]).unwrap();
    let mut tidier = log.tidier(KEEPING);
    tidier.step(after(5), true, &|| false).unwrap();
    assert_eq!(
        log.files()["day=2026-11-28/hour=03"].len(),
        2,
        "it is told, and the others are left for the next time"
    );
    tidier.step(after(5), true, &|| false).unwrap();
    assert_eq!(log.files()["day=2026-11-28/hour=03"].len(), 1);
    assert_eq!(numbers(log.path(), "bytes_toserver").len(), 200);
    assert_eq!(log.counts.damaged.load(Ordering::Relaxed), 1);
    assert_eq!(fs::read_dir(log.path().join("_damaged")).unwrap().count(), 1);
}

/// The file of an hour that is over is not read by anybody for long: what becomes of it is noticed all the same.
#[test]
fn the_file_of_an_hour_that_goes_bad_is_set_aside_and_told_once() {
    let log = Log::new();
    for hour in 0..4 {
        log.write(numbered(hour, 0..100));
        log.write(numbered(hour, 100..200));
    }
    let mut tidier = log.tidier(KEEPING);
    let mut step = || tidier.step(after(9), true, &|| false);
    step().unwrap();
    let path = |hour| files(&Hour::of(after(hour)).dir(log.path())).unwrap().remove(0).path;
    let (cut, changed) = (path(1), path(2));
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let mut bytes = fs::read(&changed).unwrap();
    let middle = bytes.len() / 2;
    bytes[100..middle].fill(0xa5);
    fs::write(&changed, bytes).unwrap();

    let all = Query { from: 0, to: i64::MAX, ..Query::default() };
    assert_eq!(scan(log.path(), &all, &mut |_| Ok(())).unwrap().unread.count, 2);
    (0..8).for_each(|_| step().unwrap());
    assert_eq!(log.counts.damaged.load(Ordering::Relaxed), 2);
    let aside = files(&log.path().join("_damaged")).unwrap();
    assert_eq!(aside.len(), 2);
    assert!(
        aside[0].path.ends_with(format!("day=2026-11-28,hour=04,hour-{}.parquet", after(1))),
        "{aside:?}"
    );
    let found = scan(log.path(), &all, &mut |_| Ok(())).unwrap();
    assert_eq!((found.rows, found.unread.count), (400, 0));
}

#[test]
fn a_file_is_read_through_to_its_last_row_group() {
    let log = Log::new();
    log.write(numbered(0, 0..GROUP as u64));
    log.write(numbered(0, 0..5_000));
    log.write(numbered(1, 0..100));
    log.write(numbered(1, 100..200));
    let mut tidier = log.tidier(KEEPING);
    let mut step = || tidier.step(after(9), true, &|| false).unwrap();
    step();
    let path = files(&Hour::of(after(0)).dir(log.path())).unwrap().remove(0).path;
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len() - 8;
    let footer = u32::from_le_bytes(bytes[length..length + 4].try_into().unwrap()) as usize;
    bytes[length - footer - 2_000..length - footer].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    step();
    assert_eq!(log.counts.damaged.load(Ordering::Relaxed), 0, "the first group is whole");
    step();
    assert_eq!(log.counts.damaged.load(Ordering::Relaxed), 1);
    (0..3).for_each(|_| step());
    assert_eq!(log.counts.damaged.load(Ordering::Relaxed), 1);
    assert_eq!(numbers(log.path(), "bytes_toserver").len(), 200);
}

#[test]
fn the_oldest_goes_when_there_is_too_much_or_it_is_too_old() {
    let log = Log::new();
    for hour in 0..30 {
        log.write(numbered(hour, 0..500));
    }
    let now = after(30);
    log.tidier(KEEPING).step(now, true, &|| false).unwrap();
    let bytes = log.counts.bytes.load(Ordering::Relaxed);
    assert_eq!(log.files().len(), 30);

    log.tidier(Keeping { days: 1, ..KEEPING }).step(now, true, &|| false).unwrap();
    let left = log.files();
    assert_eq!((left.len(), left.keys().next().unwrap().as_str()), (24, "day=2026-11-28/hour=09"));

    log.tidier(Keeping { max_bytes: bytes / 4, ..KEEPING }).step(now, true, &|| false).unwrap();
    let left = log.files();
    assert!((5..=8).contains(&left.len()), "{left:?}");
    assert_eq!(left.keys().last().unwrap(), "day=2026-11-29/hour=08", "the newest stay");
    assert!(!log.path().join("day=2026-11-28").exists(), "a day goes with its last hour");
    let oldest = log.counts.oldest.load(Ordering::Relaxed);
    assert_eq!(Hour(oldest / 3_600).to_string(), *left.keys().next().unwrap());

    // A disk that others fill: a day is kept, whatever comes.
    log.tidier(Keeping { reserve_bytes: u64::MAX, ..KEEPING }).step(now, true, &|| false).unwrap();
    assert_eq!(log.files(), left);
    log.tidier(Keeping { reserve_bytes: u64::MAX, ..KEEPING }).step(after(48), true, &|| false).unwrap();
    assert_eq!(log.files().len(), 6, "those of hour 24 and later");
}

#[test]
fn a_disk_with_no_room_to_spare_is_told_and_counted_and_left_alone() {
    let log = Log::new();
    log.write_as(Keeping { reserve_bytes: u64::MAX, ..KEEPING }, numbered(0, 0..1_000));
    assert_eq!(log.counts.lost_to_disk.load(Ordering::Relaxed), 1_000);
    assert!(log.files().is_empty());
    log.write(numbered(0, 1_000..1_100));
    assert_eq!(log.counts.written.load(Ordering::Relaxed), 100, "it goes on");
}

#[test]
fn two_do_not_write_to_one_log() {
    let log = Log::new();
    let second = Shelf::take(log.path());
    assert!(matches!(second, Err(FlowLogError::InUse(_))));
    let Log { dir, shelf, .. } = log;
    assert_eq!(Arc::strong_count(&shelf), 1);
    drop(shelf);
    assert!(Shelf::take(dir.path()).is_ok());
}

#[test]
fn a_clock_that_is_set_back_overwrites_nothing() {
    let log = Log::new();
    log.write(numbered(0, 0..100));
    log.write(numbered(5, 100..200));
    log.write(numbered(0, 200..300));
    assert_eq!(log.files()["day=2026-11-28/hour=03"].len(), 2);
    assert_eq!(numbers(log.path(), "bytes_toserver").len(), 300);
}

/// What a clock that was set says of the age of something is not believed at once: what is deleted is gone.
#[test]
fn a_clock_that_is_not_steady_deletes_nothing() {
    let log = Log::new();
    log.write(numbered(0, 0..100));
    let mut tidier = log.tidier(KEEPING);
    tidier.step(after(90_000), false, &|| false).unwrap();
    assert_eq!(log.files().len(), 1, "the clock is not believed");
    tidier.step(after(90_000), true, &|| false).unwrap();
    assert_eq!(log.files().len(), 0);
}

/// A disk is never full for want of trust in the clock: what there is too much of goes at once, and the last hours there are stay.
#[test]
fn what_is_too_much_goes_before_the_clock_is_trusted() {
    for now in [0, after(31), after(90_000)] {
        let log = Log::new();
        for hour in 0..30 {
            log.write(numbered(hour, 0..500));
        }
        log.tidier(KEEPING).step(now, false, &|| false).unwrap();
        let bytes = log.counts.bytes.load(Ordering::Relaxed);
        let crowded = Keeping { reserve_bytes: u64::MAX, ..KEEPING };
        log.tidier(crowded).step(now, false, &|| false).unwrap();
        let left = log.files();
        assert_eq!(
            (left.len(), left.keys().next().unwrap().as_str()),
            (24, "day=2026-11-28/hour=09"),
            "{now}"
        );
        log.tidier(Keeping { max_bytes: bytes / 4, ..KEEPING }).step(now, false, &|| false).unwrap();
        let left = log.files();
        assert!((5..=8).contains(&left.len()), "{now}: {left:?}");
        assert_eq!(left.keys().last().unwrap(), "day=2026-11-29/hour=08", "{now}: the newest stay");
    }
}

/// Whatever else lies there holds up nobody: not a pipe, nor a loop of links, nor a directory that looks like an hour.
#[test]
fn what_is_no_file_of_the_log_is_left_alone() {
    let log = Log::new();
    for hour in 0..3 {
        log.write(numbered(hour, 0..100));
        log.write(numbered(hour, 100..200));
    }
    let odd = log.path().join("day=2026-11-28/hour=03");
    assert!(Command::new("mkfifo").arg(odd.join("x.parquet")).status().unwrap().success());
    std::os::unix::fs::symlink("y.parquet", odd.join("y.parquet")).unwrap();
    fs::create_dir(odd.join("z.parquet")).unwrap();
    fs::create_dir(log.path().join("day=2026-11-28/hour=+4")).unwrap();
    fs::write(log.path().join("day=2026-11-27"), "a file").unwrap();
    let mut tidier = log.tidier(KEEPING);
    tidier.step(after(9), true, &|| false).unwrap();
    let left = log.files();
    assert_eq!(left.values().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1], "{left:?}");
    let found =
        scan(log.path(), &Query { from: 0, to: i64::MAX, ..Query::default() }, &mut |_| Ok(())).unwrap();
    assert_eq!((found.rows, found.unread.count), (600, 0));
}
