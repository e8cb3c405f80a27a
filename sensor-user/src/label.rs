//! How devices, addresses and amounts are named to people.
//!
//! Names and reasons come from people and files; a terminal must not obey what is in them.

use sensor_core::policy::{Direction, Level};

/// What to call a device: the name people gave it, else its maker and MAC address, else the MAC address.
pub fn device(name: Option<&str>, maker: Option<&str>, mac: &str) -> String {
    match (name, maker) {
        (Some(name), _) => plain(name),
        (None, Some(maker)) => format!("{} {mac}", plain(maker)),
        (None, None) => mac.to_owned(),
    }
}

/// What is done to somebody: `is ...`.
pub fn held(level: Level, direction: Direction) -> String {
    let held = match level {
        Level::Observe => "watched (what would be cut off is counted)",
        Level::Throttle => "throttled",
        Level::ExternalOnly => "kept from addresses outside",
        Level::Pin => "pinned to what it did before",
        Level::Quarantine => "quarantined",
        Level::Isolate => "cut off",
        Level::Cut => "cut off, link control too,",
    };
    match direction {
        Direction::Both => held.to_owned(),
        Direction::From => format!("{held} as a sender"),
        Direction::To => format!("{held} as a receiver"),
    }
}

/// The kind a device is taken for, and how sure that is: `patient monitor 93 %`. The name is as in JSON.
pub fn kind(name: &str, confidence: f64) -> String {
    let words = match name {
        "pacs" | "hl7" | "plc" | "nas" | "pc" => plain(name).to_uppercase(),
        _ => plain(name).replace('_', " "),
    };
    format!("{words} {:.0} %", confidence * 100.0)
}

/// The text with control characters (colours, cursor movement, line ends) replaced by a space.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An amount of bytes, by powers of 1000: `1.5 kB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1 device`, `2 devices`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A part of something in percent; what is not all is never shown as all.
pub fn percent(ratio: f64) -> String {
    if ratio >= 1.0 { "100 %".to_owned() } else { format!("{:.2} %", (ratio * 1e4).floor() / 1e2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_wins_over_the_maker() {
        let mac = "00:1b:21:0a:0b:0c";
        assert_eq!(device(Some("MRI 2"), Some("Siemens"), mac), "MRI 2");
        assert_eq!(device(None, Some("Siemens"), mac), "Siemens 00:1b:21:0a:0b:0c");
        assert_eq!(device(None, None, mac), mac);
    }

    #[test]
    fn terminals_are_not_told_what_to_do() {
        assert_eq!(plain("a\x1b[31mb\r\nc\u{9b}"), "a [31mb  c ");
    }

    #[test]
    fn amounts_are_short() {
        for (n, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_500, "1.5 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (3_200_000_000, "3.2 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(n), want, "{n}");
        }
    }
}
