//! Moments as people write them: a date, a date and a time, or how long ago.

use clap::Args;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::CliError;
use crate::clock::Stamp;
use crate::duration;

/// A span of time.
#[derive(Args, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpanArgs {
    /// From this time on: 2026-01-31, "2026-01-31 14:05", 2026-01-31T14:05:09Z, or how long ago, like 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = from)]
    pub from: Option<Stamp>,
    /// Up to this time, written the same way; a date alone is meant with its whole day
    #[arg(long, value_name = "TIME", value_parser = to)]
    pub to: Option<Stamp>,
}

impl SpanArgs {
    /// The same, if it can be.
    ///
    /// # Errors
    ///
    /// If it ends before it begins, or begins in the future.
    pub fn checked(self) -> Result<Self, CliError> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from > to => Err(CliError::Span { from, to }),
            (Some(from), _) if from > Stamp::now() => Err(CliError::Future(from)),
            _ => Ok(self),
        }
    }

    /// Whether neither end is given.
    pub fn is_open(self) -> bool {
        self == Self::default()
    }

    /// Whether a moment is in it.
    pub fn holds(self, time: Stamp) -> bool {
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time <= to)
    }
}

/// The beginning of a span: a date alone is meant from midnight on.
pub(super) fn from(text: &str) -> Result<Stamp, String> {
    read(text, Time::midnight(), Stamp::now(), &TimeZone::system())
}

/// The end of a span: a date alone is meant with its whole day.
pub(super) fn to(text: &str) -> Result<Stamp, String> {
    read(text, Time::MAX, Stamp::now(), &TimeZone::system())
}

/// Reads a moment; a date alone is meant at `hour`.
fn read(text: &str, hour: Time, now: Stamp, zone: &TimeZone) -> Result<Stamp, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    let in_zone = |time: DateTime| time.to_zoned(zone.clone()).map(|zoned: Zoned| zoned.timestamp()).ok();
    let today = || now.date(zone);
    // What names its zone in brackets would be taken for local time.
    let plain = Some(text).filter(|text| !text.contains('['));
    let time = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| {
            text.parse::<Date>()
                .ok()
                .filter(|_| text.len() <= 10)
                .and_then(|date| in_zone(date.to_datetime(hour)))
        })
        .or_else(|| plain?.parse::<DateTime>().ok().and_then(in_zone))
        .or_else(|| plain?.parse::<Time>().ok().and_then(|time| in_zone(today().to_datetime(time))));
    if let Some(time) = time {
        let ns = i64::try_from(time.as_nanosecond());
        return ns
            .map(Stamp)
            .map_err(|_| format!("{text} is out of range: the years 1678 to 2262 can be asked for"));
    }
    let ago = duration::parse(text).map_err(|_| {
        format!("`{text}` is no time; write it like 2026-01-31, \"2026-01-31 14:05\", 14:05 (today), 2026-01-31T14:05:09Z, or 7d for seven days ago")
    })?;
    let ago = i64::try_from(ago).map_err(|_| format!("{text} ago is out of range"))?;
    Ok(Stamp(now.0.saturating_sub(ago)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        let now = Stamp(1_767_225_600_000_000_000);
        for (text, want) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000+0000"),
            ("2026-01-01T09:00:00+09:00", "2026-01-01T00:00:00.000000+0000"),
            ("2026-01-31", "2026-01-30T15:00:00.000000+0000"),
            ("2026-01-31 14:05", "2026-01-31T05:05:00.000000+0000"),
            (" 2026-01-31T14:05:09 ", "2026-01-31T05:05:09.000000+0000"),
            ("2d", "2025-12-30T00:00:00.000000+0000"),
            ("1h30m", "2025-12-31T22:30:00.000000+0000"),
            ("14:05", "2026-01-01T05:05:00.000000+0000"),
            ("now", "2026-01-01T00:00:00.000000+0000"),
            ("2026-01-01T09:00:00+09:00", "2026-01-01T00:00:00.000000+0000"),
        ] {
            let read = read(text, Time::midnight(), now, &tokyo).map(|stamp| stamp.to_string());
            assert_eq!(read.as_deref(), Ok(want), "{text}");
        }
        let end = read("2026-01-31", Time::MAX, now, &tokyo).unwrap();
        assert_eq!(end.to_string(), "2026-01-31T14:59:59.999999+0000", "the whole day");
    }

    #[test]
    fn what_is_no_moment_is_told() {
        let now = Stamp(0);
        for (text, want) in [
            ("", "is no time"),
            ("yesterday", "is no time"),
            ("2026-02-30", "is no time"),
            ("2026-01-31 25:00", "is no time"),
            ("25:00", "is no time"),
            ("2026-01-31T14:05[Asia/Tokyo]", "is no time"),
            ("7", "is no time"),
            ("-1h", "is no time"),
            ("3000-01-01T00:00:00Z", "out of range"),
            ("0001-01-01", "out of range"),
            ("999999999w", "is no time"),
        ] {
            let error = read(text, Time::midnight(), now, &TimeZone::UTC).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_span_that_ends_before_it_begins_is_none() {
        let span = |from, to| SpanArgs { from: Some(Stamp(from)), to: Some(Stamp(to)) };
        assert!(span(1, 1).checked().is_ok() && span(2, 1).checked().is_err());
        assert!(span(1, 3).holds(Stamp(1)) && span(1, 3).holds(Stamp(3)) && !span(1, 3).holds(Stamp(4)));
        let tomorrow = SpanArgs { from: Some(Stamp(Stamp::now().0 + 86_400_000_000_000)), to: None };
        let error = tomorrow.checked().unwrap_err().to_string();
        assert!(error.ends_with(" is in the future: nothing can be in the journal yet"), "{error}");
        assert!(SpanArgs::default().checked().unwrap().is_open());
    }
}
