//! A query while files are joined and deleted.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use arrow_array::types::Int64Type;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::traffic::EPOCH;
use super::{HOUR, KEEPING, Log, numbered};
use crate::error::{FlowLogError, Unread};
use crate::log::Keeping;
use crate::named::numbers;
use crate::query::{Query, open, scan};
use crate::totals::totals;

/// Hours there are at first; of these the last ones stay.
const HOURS: i64 = 8;
const STAYS: i64 = 5;
/// Rows of an hour at first, in files of ten.
const ROWS: u64 = 50;
/// How often all is tidied.
const ROUNDS: i64 = 30;

fn rows_of(hour: i64) -> std::ops::Range<u64> {
    hour as u64 * 1_000..hour as u64 * 1_000 + ROWS
}

/// The numbers of all rows that a query finds.
fn found(log: &Log) -> Vec<i64> {
    let mut all = Vec::new();
    let query = Query { from: 0, to: i64::MAX, ..Query::default() };
    let scanned = scan(log.path(), &query, &mut |rows| {
        all.extend(numbers::<Int64Type>(rows, "bytes_toserver").map_err(FlowLogError::Columns)?.values());
        Ok(())
    });
    assert_eq!(scanned.unwrap().unread.to_string(), "0 parts of the log could not be read: ");
    all
}

#[test]
fn a_query_has_all_rows_once_while_files_are_joined_and_deleted() {
    let log = Log::new();
    for hour in 0..HOURS {
        for part in rows_of(hour).step_by(10) {
            log.write(numbered(hour, part..part + 10));
        }
    }
    let stay: HashSet<i64> = (STAYS..HOURS).flat_map(rows_of).map(|row| row as i64).collect();
    let done = AtomicBool::new(false);
    let queries = thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut queries = 0;
            while !done.load(Ordering::Relaxed) {
                let all = found(&log);
                let once: HashSet<i64> = all.iter().copied().collect();
                assert_eq!(once.len(), all.len(), "a row comes twice");
                assert!(once.is_superset(&stay), "{:?} are missing", stay.difference(&once));
                let summed = totals(log.path(), (0, i64::MAX), &[], &mut |_| {}).unwrap();
                assert_eq!(summed.unread.count, 0, "{}", summed.unread);
                queries += 1;
            }
            queries
        });
        // An hour that was joined gets another file each time, and is joined again; the oldest hours go one by one.
        for round in 0..ROUNDS {
            for hour in (0..HOURS).filter(|hour| *hour >= STAYS * round / ROUNDS) {
                let row = hour as u64 * 1_000 + ROWS + round as u64;
                log.write(numbered(hour, row..row + 1));
            }
            let now = EPOCH / 1_000 + (24 + STAYS * round / ROUNDS) * HOUR;
            log.tidier(Keeping { days: 1, ..KEEPING }).step(now, true, &|| asked.is_finished()).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        asked.join().unwrap()
    });
    assert!(queries > 5, "{queries}");
    assert_eq!(log.files().len() as i64, HOURS - STAYS * (ROUNDS - 1) / ROUNDS);
}

/// What a query opens lies in the directory that was there, or in the one that came in its place, and never in both by halves.
#[test]
fn an_hour_that_is_exchanged_while_it_is_opened_is_opened_whole() {
    const EXCHANGES: usize = 3_000;
    let root = tempfile::tempdir().unwrap();
    let (hour, other) = (root.path().join("hour=03"), root.path().join("joining"));
    let fill = |dir: &Path, names: &[&str]| {
        fs::create_dir(dir).unwrap();
        names.iter().for_each(|name| fs::write(dir.join(name), "").unwrap());
    };
    let forms = [&["part-1.parquet", "part-2.parquet", "part-3.parquet"][..], &["hour-1.parquet"]];
    fill(&hour, forms[0]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut unread = Unread::default();
                let there = open(&hour, &mut unread);
                let names = there.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap());
                let names: Vec<_> = names.collect();
                assert!(forms.contains(&&names[..]) && unread.count == 0, "{names:?} {unread}");
            }
        });
        for turn in 1..=EXCHANGES {
            fill(&other, forms[turn % 2]);
            renameat_with(CWD, &other, CWD, &hour, RenameFlags::EXCHANGE).unwrap();
            fs::remove_dir_all(&other).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}
