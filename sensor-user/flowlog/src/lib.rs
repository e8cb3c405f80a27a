//! The log of conversations: what went on between whom, in Parquet files that other programs read as they lie.
//!
//! ```text
//! flows/day=2026-11-28/hour=03/part-1795834810000000.parquet   an hour that goes on: a file each minute
//! flows/day=2026-11-28/hour=02/hour-1795831200000000.parquet   an hour that is over: one file
//! flows/_tmp/                                                  files that are being written
//! ```
//!
//! A row is a conversation that ended, or an hour of one that goes on; it lies in the hour (UTC) in which it was logged. A
//! file gets its place by being renamed, when it is whole and on the disk: what has a place can be read. [`FlowLog`] is the
//! end of the one who tells, which never waits; a thread ([`writer`]) writes, another ([`tidy`]) joins the files of each hour
//! that is over and deletes the oldest, a third ([`lake`]) copies finished hours elsewhere. [`query`] reads, and needs none
//! of these. Nothing here knows what conversations mean.

mod columns;
mod error;
pub mod export;
mod hour;
pub mod ipfix;
pub mod lake;
mod log;
mod named;
pub mod query;
mod row;
mod shelf;
mod tidy;
pub mod totals;
mod writer;

pub use error::{FlowLogError, Unread};
pub use hour::Hour;
pub use log::{Counts, FlowLog, Keeping};
pub use row::{Place, Row};

#[cfg(test)]
mod tests;
