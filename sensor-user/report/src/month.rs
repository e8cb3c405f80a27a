//! Which month.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// A month of the calendar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Month {
    first: Date,
}

/// It is no month.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} is no month; write it as 2026-10")]
pub struct MonthError(String);

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Self, MonthError> {
        let wrong = || MonthError(text.to_owned());
        let (year, month) = text.split_once('-').ok_or_else(wrong)?;
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return Err(wrong());
        }
        let (year, month): (i16, i8) =
            (year.parse().map_err(|_| wrong())?, month.parse().map_err(|_| wrong())?);
        // What is counted in nanoseconds since 1970 goes from 1678 to 2261.
        if !(1970..2200).contains(&year) {
            return Err(wrong());
        }
        Date::new(year, month, 1).map(|first| Self { first }).map_err(|_| wrong())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.strftime("%Y-%m").fmt(f)
    }
}

impl Month {
    /// The one before that time, which is the last that is whole.
    pub fn before(time_ns: i64, zone: &TimeZone) -> Self {
        let today = at(time_ns).to_zoned(zone.clone()).date();
        let first = today.first_of_month();
        Self { first: first.checked_sub(1.month()).unwrap_or(first) }
    }

    /// From when until before when, ns since 1970.
    pub fn range(&self, zone: &TimeZone) -> (i64, i64) {
        let begin = |date: Date| {
            let begin = date.to_zoned(zone.clone()).map(|zoned| zoned.timestamp().as_nanosecond());
            begin.map_or(i64::MAX, |ns| i64::try_from(ns).unwrap_or(i64::MAX))
        };
        (begin(self.first), self.first.checked_add(1.month()).map_or(i64::MAX, begin))
    }

    /// Its days.
    pub fn days(&self) -> usize {
        usize::try_from(self.first.days_in_month()).unwrap_or(31)
    }

    /// Year and month.
    pub fn numbers(&self) -> (i16, i8) {
        (self.first.year(), self.first.month())
    }
}

/// A time; 1970 if it is out of range.
pub fn at(time_ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_that_of_the_calendar_where_people_are() {
        let zone = TimeZone::get("Asia/Tokyo").unwrap();
        let (from, to) = "2026-10".parse::<Month>().unwrap().range(&zone);
        assert_eq!(at(from).to_string(), "2026-09-30T15:00:00Z");
        assert_eq!((to - from) / 86_400_000_000_000, 31);
        assert_eq!(Month::before(from, &zone).to_string(), "2026-09");
        assert_eq!(Month::before(from - 1, &zone).to_string(), "2026-08");
        assert_eq!("2024-02".parse::<Month>().unwrap().days(), 29);
        for text in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "26-1",
            "2026-1",
            "-026-01",
            "2026-10-01",
            "99999-01",
            "0001-01",
            "1677-09",
            "2300-01",
        ] {
            assert_eq!(text.parse::<Month>(), Err(MonthError(text.to_owned())));
        }
    }
}
