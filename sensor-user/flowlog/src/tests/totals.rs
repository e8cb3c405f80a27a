//! What passed is added up.

use sensor_core::observation::{EndReason, Verdict};

use super::traffic::EPOCH;
use super::{HOUR, Log, numbered};
use crate::Row;
use crate::totals::{Total, totals};

/// Parts of a conversation that goes on for as many hours: what became of each.
fn parts(number: u64, verdicts: &[Verdict], ends: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let first = numbered(0, number..number + 1).remove(0);
    for (hour, verdict) in verdicts.iter().enumerate() {
        let passed = hour as i64 * HOUR;
        let is_last = ends && hour + 1 == verdicts.len();
        rows.push(Row {
            logged: first.logged + passed,
            end: first.end + passed,
            since: (hour > 0).then_some(first.end + passed - HOUR),
            reason: if is_last { EndReason::Closed } else { EndReason::Active },
            verdict: *verdict,
            ..first.clone()
        });
    }
    rows
}

#[test]
fn a_conversation_that_was_told_in_parts_counts_once_and_as_dropped_if_any_part_was() {
    use Verdict::{Drop, Pass, WouldDrop};
    let log = Log::new();
    for (number, (verdicts, ends)) in [
        (&[Drop][..], true),
        (&[Pass, Pass], true),
        (&[Drop, Pass], true),
        (&[Pass, Drop, Pass], true),
        (&[Drop, Drop, Drop], true),
        (&[WouldDrop, Pass], true),
        (&[Drop, Pass], false),
    ]
    .into_iter()
    .enumerate()
    {
        parts(number as u64 + 1, verdicts, ends).into_iter().for_each(|row| log.write(vec![row]));
    }
    let all = totals(log.path(), (0, i64::MAX), &[], &mut |_| {}).unwrap();
    let sum = all.segments.values().fold(Total::default(), |sum, one| Total {
        conversations: sum.conversations + one.conversations,
        dropped: sum.dropped + one.dropped,
        bytes: sum.bytes + one.bytes,
    });
    assert_eq!((sum.conversations, sum.dropped), (6, 4));
    assert_eq!((all.hours, all.unread.count), (3, 0));
    // What was told before the time in question is of another month.
    let later = totals(log.path(), (EPOCH / 1_000 + HOUR, i64::MAX), &[], &mut |_| {}).unwrap();
    let dropped: u64 = later.segments.values().map(|one| one.dropped).sum();
    assert_eq!(dropped, 2, "one whose drops were in the second hour, and one whose last part had some");
}
