//! Lengths of time as people write them: `500ms`, `90s`, `4h`, `1h30m`, `2d`.

use sensor_core::time::{HOUR, MILLISECOND, MINUTE, SECOND};

/// Nanoseconds of a day.
pub const DAY: u64 = 24 * HOUR;

/// Units, longest first.
const UNITS: [(&str, u64); 6] =
    [("w", 7 * DAY), ("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", MILLISECOND)];

/// Why a text is not a length of time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("the length of time is empty; write it like 4h, 90s or 1h30m")]
    Empty,
    /// A number alone.
    #[error("`{0}` has no unit; write {0}s for seconds, {0}m for minutes or {0}h for hours")]
    NoUnit(String),
    /// A unit that is not known.
    #[error("`{0}` is not a unit of time; the units are ms, s, m (minutes), h, d and w")]
    Unit(String),
    /// Something that is not a whole number.
    #[error("`{0}` is not a length of time; write it with whole numbers like 4h, 90s or 1h30m")]
    Number(String),
    /// More than 64 bits of nanoseconds (584 years).
    #[error("`{0}` is too long")]
    TooLong(String),
}

/// Reads a length of time, in ns.
pub fn parse(text: &str) -> Result<u64, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(DurationError::Number(text.to_owned()));
        }
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            let wrong = if after.is_empty() { DurationError::NoUnit } else { DurationError::Number };
            return Err(wrong(if after.is_empty() { number.to_owned() } else { text.to_owned() }));
        }
        let ns = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| DurationError::Unit(unit.to_owned()))?
            .1;
        let too_long = || DurationError::TooLong(text.to_owned());
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(ns)).ok_or_else(too_long)?;
        total = total.checked_add(part).ok_or_else(too_long)?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// Shows a length of time by its two longest units, rounded down: `2d 4h`, `1h 30m`, `50ms`.
pub fn show(ns: u64) -> String {
    let mut parts = Vec::new();
    let mut rest = ns;
    for (unit, length) in UNITS {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// As [`show`], rounded to the nearest: what is left of 4 hours a moment later is still `4h`.
pub fn about(ns: u64) -> String {
    let finest =
        UNITS.iter().position(|(_, length)| ns >= *length).and_then(|longest| UNITS.get(longest + 1));
    show(ns.saturating_add(finest.map_or(0, |(_, length)| length / 2)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_read() {
        for (text, want) in [
            ("500ms", Some(500 * MILLISECOND)),
            ("90s", Some(90 * SECOND)),
            ("4h", Some(4 * HOUR)),
            ("2d", Some(2 * DAY)),
            ("1w", Some(7 * DAY)),
            ("1h30m", Some(90 * MINUTE)),
            (" 1 h 30 m ", Some(90 * MINUTE)),
            ("0s", Some(0)),
            ("", None),
            ("   ", None),
            ("4", None),
            ("4 hours", None),
            ("1.5h", None),
            ("-4h", None),
            ("h", None),
            ("1h30", None),
            ("99999999999999999999h", None),
            ("300000000d", None),
            ("４h", None),
        ] {
            assert_eq!(parse(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, want) in [
            ("4", "`4` has no unit; write 4s for seconds, 4m for minutes or 4h for hours"),
            ("4 hours", "`hours` is not a unit of time; the units are ms, s, m (minutes), h, d and w"),
            ("1.5h", "`1.5h` is not a length of time; write it with whole numbers like 4h, 90s or 1h30m"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), want, "{text:?}");
        }
    }

    #[test]
    fn lengths_are_shown() {
        for (ns, want) in [
            (0, "0s"),
            (MILLISECOND - 1, "0s"),
            (50 * MILLISECOND, "50ms"),
            (90 * MINUTE, "1h 30m"),
            (HOUR, "1h"),
            (HOUR + SECOND, "1h"),
            (2 * DAY + 4 * HOUR + MINUTE, "2d 4h"),
            (8 * DAY, "1w 1d"),
        ] {
            assert_eq!(show(ns), want, "{ns}");
        }
    }

    #[test]
    fn what_is_left_is_rounded() {
        for (ns, want) in [
            (4 * HOUR - MILLISECOND, "4h"),
            (4 * HOUR - 29 * SECOND, "4h"),
            (4 * HOUR - 31 * SECOND, "3h 59m"),
            (90 * SECOND + 600 * MILLISECOND, "1m 31s"),
            (DAY - SECOND, "1d"),
            (0, "0s"),
            (u64::MAX, &show(u64::MAX)),
        ] {
            assert_eq!(about(ns), want, "{ns}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn two_units_come_back_as_they_went(hours in 1u64..24, minutes in 0u64..60) {
            let ns = hours * HOUR + minutes * MINUTE;
            prop_assert_eq!(parse(&show(ns)), Ok(ns));
        }
    }
}
