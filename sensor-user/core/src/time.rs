//! Time as an argument: nanoseconds of one clock that never goes back.

use std::cell::Cell;
use std::io;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::Serialize;

/// Nanoseconds of a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000 * MILLISECOND;
/// Nanoseconds of a minute.
pub const MINUTE: u64 = 60 * SECOND;
/// Nanoseconds of an hour.
pub const HOUR: u64 = 60 * MINUTE;

/// A moment, in nanoseconds of CLOCK_MONOTONIC on the live sensor, of the capture's clock in a replay. What was before that
/// clock began (what was learned before the machine was started anew) is less than zero.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, BorshSerialize, BorshSchema,
)]
pub struct Time(i64);

impl Default for Time {
    /// Never yet.
    fn default() -> Self {
        Self::EARLIEST
    }
}

impl Time {
    /// Before all there is.
    pub const EARLIEST: Time = Time(i64::MIN);
    /// After all there is.
    pub const LATEST: Time = Time(i64::MAX);

    /// The moment at which the clock shows `ns`.
    pub const fn at(ns: u64) -> Time {
        Time(if ns > i64::MAX as u64 { i64::MAX } else { ns as i64 })
    }

    /// The same where it may be before the clock began.
    pub const fn of(ns: i64) -> Time {
        Time(ns)
    }

    /// What the clock shows then, ns; 0 if it has not begun.
    pub const fn ns(self) -> u64 {
        if self.0 < 0 { 0 } else { self.0 as u64 }
    }

    /// The same, less than 0 before the clock began.
    pub const fn signed(self) -> i64 {
        self.0
    }

    /// Nanoseconds since `earlier`, 0 if that is later.
    pub fn since(self, earlier: Time) -> u64 {
        if self.0 > earlier.0 { self.0.abs_diff(earlier.0) } else { 0 }
    }

    /// The moment `ns` later.
    pub const fn plus(self, ns: u64) -> Time {
        Time(self.0.saturating_add_unsigned(ns))
    }

    /// The moment `ns` earlier.
    pub const fn minus(self, ns: u64) -> Time {
        Time(self.0.saturating_sub_unsigned(ns))
    }

    /// The same moment by a clock that is ahead by `ns`. [`Time::EARLIEST`] and [`Time::LATEST`] are by any clock.
    pub fn by_clock_ahead(self, ns: i64) -> Time {
        if self == Self::EARLIEST || self == Self::LATEST { self } else { Time(self.0.saturating_add(ns)) }
    }
}

thread_local! {
    /// What is added to the times that are read.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// Reads what was saved by another clock, which the clock now is ahead of by `ns`: all times are given by the clock now. Borsh
/// has no other way to tell a type what it is read for.
pub fn read_by_clock_ahead<T>(ns: i64, read: impl FnOnce() -> T) -> T {
    let before = AHEAD.replace(ns);
    let value = read();
    AHEAD.set(before);
    value
}

impl BorshDeserialize for Time {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        Ok(Self(i64::deserialize_reader(reader)?).by_clock_ahead(AHEAD.get()))
    }
}
