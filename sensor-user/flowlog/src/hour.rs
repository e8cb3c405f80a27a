//! Hours of the log: which one a moment is in, and where it lies.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Microseconds of an hour.
const MICROS: i64 = 3_600_000_000;

/// An hour, UTC, counted from 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hour(pub i64);

impl Hour {
    /// The hour a moment is in, given in microseconds since 1970.
    pub fn of(micros: i64) -> Self {
        Self(micros.div_euclid(MICROS))
    }

    /// Its first microsecond.
    pub fn begin(self) -> i64 {
        self.0.saturating_mul(MICROS)
    }

    /// The directory of its files.
    pub fn dir(self, root: &Path) -> PathBuf {
        root.join(self.to_string())
    }

    /// Reads the names of the two directories.
    pub fn parse(day: &str, hour: &str) -> Option<Self> {
        let path = format!("{day}/{hour}");
        let day: jiff::civil::Date = day.strip_prefix("day=")?.parse().ok()?;
        let hour: i8 = hour.strip_prefix("hour=").filter(|digits| digits.len() == 2)?.parse().ok()?;
        let time = jiff::civil::Time::new(hour, 0, 0, 0).ok()?;
        let moment = day.to_datetime(time).to_zoned(TimeZone::UTC).ok()?;
        let hour_of = Self(moment.timestamp().as_second().div_euclid(3_600));
        // Dates and numbers can be written in other ways: only one is the log's.
        (hour_of.to_string() == path).then_some(hour_of)
    }
}

/// As the path is: `day=2026-11-28/hour=03`.
impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Beyond the year 9999 it is the last hour of that.
        let moment = Timestamp::from_second(self.0.saturating_mul(3_600));
        let moment = moment.unwrap_or(if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX });
        moment.to_zoned(TimeZone::UTC).strftime("day=%Y-%m-%d/hour=%H").fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_lies_where_its_date_says() {
        for (micros, want) in [
            (0, "day=1970-01-01/hour=00"),
            (-1, "day=1969-12-31/hour=23"),
            (1_795_834_799_999_999, "day=2026-11-28/hour=02"),
            (1_795_834_800_000_000, "day=2026-11-28/hour=03"),
        ] {
            assert_eq!(Hour::of(micros).to_string(), want, "{micros}");
        }
    }

    #[test]
    fn what_is_no_hour_is_left_alone() {
        for (day, hour) in [
            ("day=2026-11-28", "hour=24"),
            ("day=2026-11-28", "hour=3"),
            ("day=2026-11-28", "hour=+3"),
            ("day=20261128", "hour=03"),
            ("day=2026-02-30", "hour=03"),
            ("2026-11-28", "hour=03"),
            ("_tmp", "write"),
            ("", ""),
        ] {
            assert_eq!(Hour::parse(day, hour), None, "{day}/{hour}");
        }
    }

    proptest! {
        #[test]
        fn the_path_of_an_hour_reads_back(hour in -700_000i64..20_000_000) {
            let path = Hour(hour).to_string();
            let (day, name) = path.split_once('/').unwrap();
            // Years beyond four digits, or before year 0, have no such path.
            if day.len() == "day=2026-11-28".len() {
                prop_assert_eq!(Hour::parse(day, name), Some(Hour(hour)));
            }
        }

        #[test]
        fn any_moment_has_an_hour(micros in any::<i64>()) {
            let hour = Hour::of(micros);
            prop_assert!(hour.begin() <= micros || hour.begin() == i64::MIN);
            let _ = hour.to_string();
        }
    }
}
