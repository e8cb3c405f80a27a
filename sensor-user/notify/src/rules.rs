//! Who is told: notices held against the rules.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::notice::{Kind, MEDIUM, Notice};
use crate::settings::{Rule, Settings};

/// The channels that are told of a notice, at the time of day that it is in that zone.
pub fn channels<'a>(settings: &'a Settings, notice: &Notice, zone: &TimeZone) -> BTreeSet<&'a str> {
    match (&notice.what, notice.kind()) {
        // All others: whom the failing one told must not be left without.
        (crate::notice::What::Channel { name, .. }, _) => {
            settings.channels.keys().filter(|channel| *channel != name).map(String::as_str).collect()
        }
        _ if settings.rules.is_empty() => {
            let told = notice.severity <= MEDIUM;
            settings.channels.keys().filter(|_| told).map(String::as_str).collect()
        }
        (_, kind) => {
            let moment = Moment::of(notice.unix_ns, zone);
            let fits = settings.rules.iter().filter(|rule| fits(rule, notice, kind, moment));
            fits.flat_map(|rule| &rule.channels).map(String::as_str).collect()
        }
    }
}

/// A moment of the week.
#[derive(Clone, Copy)]
struct Moment {
    /// From Monday.
    day: usize,
    /// From midnight.
    minute: u16,
}

impl Moment {
    fn of(unix_ns: i64, zone: &TimeZone) -> Self {
        let time = Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or_default();
        let time = time.to_zoned(zone.clone());
        let day = usize::try_from(time.weekday().to_monday_zero_offset()).unwrap_or(0);
        let minute = u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        Self { day, minute }
    }
}

fn fits(rule: &Rule, notice: &Notice, kind: Kind, moment: Moment) -> bool {
    notice.severity <= rule.severity
        && (rule.kinds.is_empty() || rule.kinds.contains(&kind))
        // What has no place may be anywhere.
        && (rule.segments.is_empty()
            || notice.place.is_none()
            || notice.segment().is_some_and(|segment| rule.segments.contains(segment)))
        && is_time(rule, moment)
}

/// Whether a rule holds at that moment. The hours after midnight belong to the day they began on.
fn is_time(rule: &Rule, moment: Moment) -> bool {
    let today = rule.days[moment.day % 7];
    let Some((from, until)) = rule.hours else { return today };
    let minute = moment.minute;
    if from < until {
        return today && (from..until).contains(&minute);
    }
    let yesterday = rule.days[(moment.day + 6) % 7];
    (today && minute >= from) || (yesterday && minute < until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::{HIGH, LOW, What};
    use crate::place::Place;
    use crate::settings::{Channel, ENTERPRISE, Language, Means, Peer, Trap};

    /// Saturday 2026-01-31 22:30 UTC.
    const SATURDAY_NIGHT: i64 = 1_769_898_600_000_000_000;
    const HOUR_NS: i64 = 3_600_000_000_000;

    fn settings(rules: Vec<Rule>) -> Settings {
        let trap = Trap {
            peer: Peer { host: "127.0.0.1".to_owned(), port: 162 },
            access: crate::settings::Access::Community(None),
            enterprise: ENTERPRISE,
        };
        let channel = Channel { means: Means::Trap(trap), language: Language::English };
        let channels = ["day", "night", "all"].map(|name| (name.to_owned(), channel.clone())).into();
        Settings { channels, rules, ..Settings::default() }
    }

    fn notice(severity: u8, segment: Option<&str>, unix_ns: i64) -> Notice {
        let place = segment.map(|name| Place { segment: Some(name.to_owned()), ..Place::default() });
        let what = What::Bypass { on: true, by: "root".to_owned() };
        Notice { id: 1, unix_ns, severity, device: None, place, incident: None, what }
    }

    fn rule(channel: &str, change: impl FnOnce(&mut Rule)) -> Rule {
        let mut rule = Rule { channels: [channel.to_owned()].into(), ..Rule::default() };
        change(&mut rule);
        rule
    }

    #[test]
    fn rules_choose_by_severity_segment_and_time() {
        let weekdays = [true, true, true, true, true, false, false];
        let rules = vec![
            rule("day", |rule| {
                rule.days = weekdays;
                rule.hours = Some((8 * 60, 18 * 60));
            }),
            rule("night", |rule| {
                rule.days[6] = false;
                rule.hours = Some((22 * 60, 6 * 60));
                rule.severity = HIGH;
            }),
            rule("all", |rule| {
                rule.severity = LOW;
                rule.segments = ["radiology".to_owned()].into();
            }),
        ];
        let settings = settings(rules);
        let cases: [(&str, Notice, &[&str]); 7] = [
            ("high, on Saturday night", notice(HIGH, Some("wards"), SATURDAY_NIGHT), &["night"]),
            ("medium, then", notice(2, Some("wards"), SATURDAY_NIGHT), &[]),
            (
                "after midnight it is still Saturday's",
                notice(HIGH, Some("wards"), SATURDAY_NIGHT + 4 * HOUR_NS),
                &["night"],
            ),
            ("Sunday's night is none", notice(HIGH, Some("wards"), SATURDAY_NIGHT + 24 * HOUR_NS), &[]),
            ("Monday noon", notice(2, Some("wards"), SATURDAY_NIGHT + 38 * HOUR_NS), &["day"]),
            ("low, where all is told", notice(LOW, Some("radiology"), SATURDAY_NIGHT), &["all"]),
            ("without a place, anywhere", notice(LOW, None, SATURDAY_NIGHT), &["all"]),
        ];
        for (name, notice, want) in cases {
            let got: Vec<_> = channels(&settings, &notice, &TimeZone::UTC).into_iter().collect();
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn the_time_of_day_is_that_of_the_zone() {
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        let settings = settings(vec![rule("day", |rule| rule.hours = Some((7 * 60, 8 * 60)))]);
        let notice = notice(HIGH, None, SATURDAY_NIGHT);
        assert_eq!(channels(&settings, &notice, &tokyo).len(), 1);
        assert_eq!(channels(&settings, &notice, &TimeZone::UTC).len(), 0);
    }

    #[test]
    fn without_rules_all_are_told_of_what_is_not_low() {
        let settings = settings(Vec::new());
        for (severity, want) in [(HIGH, 3), (2, 3), (LOW, 0)] {
            assert_eq!(channels(&settings, &notice(severity, None, 0), &TimeZone::UTC).len(), want);
        }
    }

    #[test]
    fn the_others_are_told_of_a_failing_channel_whatever_the_rules_say() {
        let settings = settings(vec![rule("day", |rule| rule.severity = HIGH)]);
        let what = What::Channel { name: "day".to_owned(), error: Some("refused".to_owned()), trouble: None };
        let notice = Notice { what, ..notice(2, None, 0) };
        let got: Vec<_> = channels(&settings, &notice, &TimeZone::UTC).into_iter().collect();
        assert_eq!(got, ["all", "night"]);
    }
}
