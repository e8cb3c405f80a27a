//! What need not be kept any more: by age and by number, a part at a time, and by age only if the clock can be trusted. Of the chain a signed checkpoint stays, so that the rest can be verified.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::chain::{Hash, hex};
use crate::journal::Keeping;

/// Rows that go at once for their age, at most.
const OLD_AT_ONCE: u64 = 2_000;
/// Rows that go at once because there are too many, at most.
const MANY_AT_ONCE: u64 = 20_000;
/// Rows by which the chain may be too long, so that not each row takes away another.
const SLACK: u64 = 1_000;
/// Nanoseconds of a day.
const DAY: u64 = 86_400_000_000_000;

/// Up to where the chain goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The last row that goes.
    pub link: u64,
    /// Its hash.
    pub hash: Hash,
}

/// What the signature of a checkpoint is over.
pub fn checkpoint(chain: &str, link: u64, hash: &Hash) -> String {
    format!("sekisho audit checkpoint\n{chain}\n{link}\n{}\n", hex(hash))
}

/// What is older than this goes, ns since 1970; nothing by a clock that is not to be trusted.
fn oldest(keeping: Keeping, now_ns: Option<i64>) -> i64 {
    let Some(now_ns) = now_ns else { return i64::MIN };
    let age = i64::try_from(keeping.days.saturating_mul(DAY)).unwrap_or(i64::MAX);
    now_ns.saturating_sub(age)
}

/// Takes away rows that are not in the chain. Gives how many.
pub fn unchained(
    transaction: &Transaction<'_>,
    keeping: Keeping,
    now_ns: Option<i64>,
) -> rusqlite::Result<u64> {
    let old = "
        DELETE FROM event WHERE id IN (SELECT id FROM event WHERE link IS NULL AND time_ns < ?1 ORDER BY id LIMIT ?2)";
    let old = transaction.execute(old, params![oldest(keeping, now_ns), OLD_AT_ONCE])?;
    let many = "
        DELETE FROM event WHERE id IN (
            SELECT id FROM event WHERE link IS NULL
                AND id <= (SELECT id FROM event WHERE link IS NULL ORDER BY id DESC LIMIT 1 OFFSET ?1)
            ORDER BY id LIMIT ?2)";
    let many = transaction.execute(many, params![keeping.rows, MANY_AT_ONCE])?;
    Ok((old + many) as u64)
}

/// Up to where the chain can go; none if all of it is to be kept. `last` is its last row, which stays.
pub fn cut(
    transaction: &Transaction<'_>,
    keeping: Keeping,
    now_ns: Option<i64>,
    last: u64,
) -> rusqlite::Result<Option<Cut>> {
    let first = "SELECT link FROM event WHERE link IS NOT NULL ORDER BY link LIMIT 1";
    let Some(first) = transaction.query_row(first, [], |row| row.get::<_, u64>(0)).optional()? else {
        return Ok(None);
    };
    // Ages need not be in order, for clocks are set: what is older than a row that stays, stays.
    let young = "
        SELECT link FROM event WHERE link IS NOT NULL AND link < ?2 AND time_ns >= ?1 ORDER BY link LIMIT 1";
    let reach = first.saturating_add(OLD_AT_ONCE);
    let young =
        transaction.query_row(young, params![oldest(keeping, now_ns), reach], |row| row.get(0)).optional()?;
    let by_age = young.unwrap_or(reach).saturating_sub(1);
    let number = last.saturating_sub(first).saturating_add(1);
    let by_number = if number > keeping.rows.saturating_add(SLACK) {
        let over = number.saturating_sub(keeping.rows).min(MANY_AT_ONCE);
        first.saturating_add(over).saturating_sub(1)
    } else {
        0
    };
    let to = by_age.max(by_number).min(last.saturating_sub(1));
    if to < first {
        return Ok(None);
    }
    let hash = "SELECT hash FROM event WHERE link = ?1";
    let hash = transaction.query_row(hash, [to], |row| row.get(0)).optional()?;
    Ok(hash.map(|hash| Cut { link: to, hash }))
}

/// Takes away the beginning of the chain, and leaves a checkpoint. Gives how many rows went.
pub fn chained(
    transaction: &Transaction<'_>,
    link: u64,
    hash: &Hash,
    signature: &[u8; 64],
) -> rusqlite::Result<u64> {
    let gone = transaction.execute("DELETE FROM event WHERE link <= ?1", [link])?;
    transaction.execute("DELETE FROM checkpoint", [])?;
    let put = "INSERT INTO checkpoint (link, hash, signature) VALUES (?1, ?2, ?3)";
    transaction.execute(put, params![link, hash, signature])?;
    Ok(gone as u64)
}
