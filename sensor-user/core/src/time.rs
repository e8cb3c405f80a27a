//! Time as an argument: nanoseconds of one clock that never goes back.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

/// Nanoseconds of a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000 * MILLISECOND;
/// Nanoseconds of a minute.
pub const MINUTE: u64 = 60 * SECOND;
/// Nanoseconds of an hour.
pub const HOUR: u64 = 60 * MINUTE;

/// A moment, in nanoseconds of CLOCK_MONOTONIC on the live sensor, of the capture's clock in a replay.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    Serialize,
    BorshSerialize,
    BorshDeserialize,
)]
pub struct Time(pub u64);

impl Time {
    /// Nanoseconds since `earlier`, 0 if that is later.
    pub fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `ns` later.
    pub fn plus(self, ns: u64) -> Time {
        Time(self.0.saturating_add(ns))
    }
}
