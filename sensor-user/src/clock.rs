//! The two clocks of the machine, and how a moment of the core is told to people and machines.
//!
//! The core counts nanoseconds of a clock that is never set (CLOCK_MONOTONIC, or a capture's own). People and logs want
//! the date. Only this module reads a clock; whoever needs the time gets it as an argument.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use nix::time::{ClockId, clock_gettime};
use sensor_core::time::{SECOND, Time};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How EVE writes a moment: microseconds, and the offset without a colon.
const EVE: &str = "%Y-%m-%dT%H:%M:%S%.6f%z";

/// Both clocks at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// CLOCK_MONOTONIC: never set, starts anew with the machine.
    pub mono: Time,
    /// CLOCK_REALTIME, ns since 1970: may be set.
    pub unix_ns: i64,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        // clock_gettime fails for clocks the kernel does not have; this one it always has.
        let mono = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| {
            u64::try_from(t.tv_sec()).unwrap_or(0) * SECOND + u64::try_from(t.tv_nsec()).unwrap_or(0)
        });
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        Self { mono: Time::at(mono), unix_ns: i64::try_from(unix).unwrap_or(i64::MAX) }
    }

    /// The relation of the two clocks at this moment.
    pub fn clock(self) -> WallClock {
        WallClock { offset_ns: self.unix_ns.saturating_sub(self.mono.signed()) }
    }
}

/// Turns moments of the core into dates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WallClock {
    /// To be added to a [`Time`] to get ns since 1970.
    pub offset_ns: i64,
}

impl WallClock {
    /// For times that are ns since 1970 already, as those of captures are.
    pub const UNIX: WallClock = WallClock { offset_ns: 0 };

    /// The machine's clocks as they stand to each other now.
    pub fn live() -> Self {
        Now::read().clock()
    }

    /// The date of a moment.
    pub fn stamp(&self, time: Time) -> Stamp {
        let ns = i128::from(time.signed()) + i128::from(self.offset_ns);
        Stamp(ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }
}

/// A date and time of day: ns since 1970 (up to the year 2262). In JSON it is written as EVE does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stamp(pub i64);

impl Stamp {
    /// Now.
    pub fn now() -> Self {
        Self(Now::read().unix_ns)
    }

    /// Nanoseconds since `earlier`, 0 if that is later.
    pub fn since(self, earlier: Stamp) -> u64 {
        u64::try_from(i128::from(self.0) - i128::from(earlier.0)).unwrap_or(0)
    }

    /// The day it is in that time zone.
    pub fn date(self, zone: &TimeZone) -> Date {
        self.timestamp().to_zoned(zone.clone()).date()
    }

    /// As people of that time zone write it: `2026-01-31 14:05:09`.
    pub fn local(self, zone: &TimeZone) -> String {
        self.timestamp().to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// How far that zone is from UTC then: `+09:00`.
    pub fn offset(self, zone: &TimeZone) -> String {
        self.timestamp().to_zoned(zone.clone()).strftime("%:z").to_string()
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default()
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().to_zoned(TimeZone::UTC).strftime(EVE).fmt(f)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = |_| serde::de::Error::custom(format!("`{text}` is not a time stamp"));
        let time = jiff::fmt::strtime::parse(EVE, &text).and_then(|t| t.to_timestamp()).map_err(wrong)?;
        let ns = i64::try_from(time.as_nanosecond());
        ns.map(Stamp).map_err(|_| serde::de::Error::custom(format!("`{text}` is out of range")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_eve_does() {
        for (ns, want) in [
            (0, "1970-01-01T00:00:00.000000+0000"),
            (1_767_225_600_000_000_000, "2026-01-01T00:00:00.000000+0000"),
            (1_767_225_600_123_456_789, "2026-01-01T00:00:00.123456+0000"),
            (-1_000, "1969-12-31T23:59:59.999999+0000"),
            (i64::MAX, "2262-04-11T23:47:16.854775+0000"),
        ] {
            assert_eq!(Stamp(ns).to_string(), want);
        }
    }

    #[test]
    fn stamps_come_back_to_the_microsecond() {
        for ns in [0, 1_767_225_600_123_456_000, -1_000] {
            let json = serde_json::to_string(&Stamp(ns)).unwrap();
            assert_eq!(serde_json::from_str::<Stamp>(&json).unwrap(), Stamp(ns), "{json}");
        }
        assert!(serde_json::from_str::<Stamp>("\"yesterday\"").is_err());
    }

    #[test]
    fn local_time_follows_the_zone() {
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        assert_eq!(Stamp(1_767_225_600_000_000_000).local(&tokyo), "2026-01-01 09:00:00");
        assert_eq!(Stamp(0).offset(&tokyo), "+09:00");
    }

    #[test]
    fn the_clocks_relation_turns_moments_into_dates() {
        let now = Now { mono: Time::at(5_000), unix_ns: 1_000_000 };
        assert_eq!(now.clock().stamp(Time::at(6_000)), Stamp(1_001_000));
        assert_eq!(now.clock().stamp(Time::LATEST), Stamp(i64::MAX));
        assert_eq!(Stamp(5).since(Stamp(9)), 0);
    }

    #[test]
    fn the_monotonic_clock_goes_forward() {
        let (a, b) = (Now::read(), Now::read());
        assert!(a.mono.ns() > 0 && b.mono >= a.mono);
    }
}
