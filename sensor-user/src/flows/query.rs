//! `sekisho flows query`: conversations of the log, told. It needs no daemon, and changes nothing.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use sensor_core::addr::{Mac, Prefix};
use sensor_core::policy::Target;
use sensor_core::settings::Settings;
use sensor_flowlog::FlowLogError;
use sensor_flowlog::export::{Exporter, Format};
use sensor_flowlog::query::{End, Query, scan};

use crate::duration;

/// What `sekisho flows query` is given.
#[derive(Clone, Debug)]
pub struct FlowQuery {
    /// The directory of the log.
    pub dir: PathBuf,
    /// Since when.
    pub from: String,
    /// Until when; none: now.
    pub to: Option<String>,
    /// One end.
    pub host: Option<String>,
    /// The other end.
    pub peer: Option<String>,
    /// A port.
    pub port: Option<u16>,
    /// What became of it.
    pub verdict: Option<&'static str>,
    /// How rows are told.
    pub format: Format,
}

/// Why a question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Not a time.
    #[error(
        "{0:?} is not a time; write it like \"2026-11-28 14:05\" (local time), 14:05 (today), 2026-11-28T05:05:00Z, or 2h (two \
         hours ago)"
    )]
    Time(String),
    /// It ends before it begins.
    #[error("--to {to} is not after --from {from}; a range of time begins with the earlier one")]
    Backwards {
        /// When it begins, as it was understood.
        from: String,
        /// When it ends.
        to: String,
    },
    /// It begins in the future.
    #[error("--from {0} is in the future: nothing can be in the log yet")]
    Future(String),
    /// Neither an address nor a name.
    #[error(
        "{0:?} is neither an address nor a device that the configuration names{1}; give an IP address, a network, a MAC \
         address, or a name from [names]"
    )]
    Unknown(String, String),
    /// Binary on a screen.
    #[error(
        "a Parquet file is nothing to look at; send it into a file: sekisho flows query ... -o parquet > flows.parquet"
    )]
    Screen,
    /// The log.
    #[error(transparent)]
    Log(#[from] FlowLogError),
}

impl QueryError {
    /// Whether it is that whoever reads has read enough, as `head` does.
    pub fn is_enough(&self) -> bool {
        matches!(self, Self::Log(FlowLogError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Tells what is asked for, on `out`. Gives the number of conversations.
///
/// # Errors
///
/// [`QueryError`].
pub fn query(
    ask: &FlowQuery,
    settings: &Settings,
    now: Timestamp,
    zone: &TimeZone,
    out: impl Write + Send,
) -> Result<usize, QueryError> {
    let from = moment(&ask.from, now, zone)?;
    let to = ask.to.as_deref().map_or(Ok(now), |to| moment(to, now, zone))?;
    let told =
        |moment: Timestamp| moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string();
    if from > now {
        return Err(QueryError::Future(told(from)));
    }
    if from >= to {
        return Err(QueryError::Backwards { from: told(from), to: told(to) });
    }
    if ask.format == Format::Parquet && io::stdout().is_terminal() {
        return Err(QueryError::Screen);
    }
    let ends = |text: &Option<String>| text.as_deref().map_or(Ok(Vec::new()), |text| ends(text, settings));
    let wanted = Query {
        from: from.as_microsecond(),
        to: to.as_microsecond(),
        hosts: ends(&ask.host)?,
        peers: ends(&ask.peer)?,
        port: ask.port,
        verdict: ask.verdict,
    };
    let mut exporter = Exporter::new(out, ask.format, names(settings))?;
    let scanned = scan(&ask.dir, &wanted, &mut |rows| exporter.write(rows))?;
    exporter.finish()?;
    Ok(scanned.rows)
}

/// The names of the configuration, by address.
fn names(settings: &Settings) -> HashMap<String, String> {
    settings.names.iter().map(|(target, name)| (target.to_string(), name.clone())).collect()
}

/// The ends a text means.
fn ends(text: &str, settings: &Settings) -> Result<Vec<End>, QueryError> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<std::net::IpAddr>() {
        return Ok(vec![End::Ip(ip.to_canonical())]);
    }
    if let Ok(mac) = text.parse::<Mac>() {
        return Ok(vec![End::Mac(mac)]);
    }
    if text.contains('/')
        && let Ok(net) = text.parse::<Prefix>()
    {
        return Ok(vec![End::Net(net)]);
    }
    let same = |name: &&String| name.to_lowercase() == text.to_lowercase();
    let named = settings.names.iter().filter(|(_, name)| same(name));
    let named: Vec<_> = named
        .filter_map(|(target, _)| match target {
            Target::Ip(ip) => Some(End::Ip(*ip)),
            Target::Mac(mac) => Some(End::Mac(*mac)),
            _ => None,
        })
        .collect();
    if named.is_empty() {
        let near = settings
            .names
            .values()
            .map(|name| (strsim::jaro_winkler(&name.to_lowercase(), &text.to_lowercase()), name))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        let near = near.map_or_else(String::new, |(_, name)| format!(" (did you mean {name:?}?)"));
        return Err(QueryError::Unknown(text.to_owned(), near));
    }
    Ok(named)
}

/// Reads a time: RFC 3339; local date, with or without time of day; time of day today; or how long ago.
fn moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, QueryError> {
    let wrong = || QueryError::Time(text.to_owned());
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Ok(ns) = duration::parse(text) {
        let ago = now.as_nanosecond() - i128::from(ns);
        return Timestamp::from_nanosecond(ago).map_err(|_| wrong());
    }
    // What names its zone in brackets would be taken for local time.
    let local = if text.contains('[') {
        return Err(wrong());
    } else if let Ok(local) = text.parse::<DateTime>() {
        local
    } else {
        let time = text.parse::<Time>().map_err(|_| wrong())?;
        now.to_zoned(zone.clone()).date().to_datetime(time)
    };
    // A time that is skipped, or there twice, when clocks are put forward or back: as everybody reads it.
    zone.to_ambiguous_timestamp(local).compatible().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        let now: Timestamp = "2026-11-28T05:30:00Z".parse().unwrap();
        for (text, want) in [
            ("2026-11-28T03:00:00Z", Some("2026-11-28T03:00:00Z")),
            ("2026-11-28T12:00:00+09:00", Some("2026-11-28T03:00:00Z")),
            ("2026-11-28 12:00", Some("2026-11-28T03:00:00Z")),
            ("2026-11-28T12:00:30", Some("2026-11-28T03:00:30Z")),
            ("2026-11-28", Some("2026-11-27T15:00:00Z")),
            ("14:05", Some("2026-11-28T05:05:00Z")),
            ("2h", Some("2026-11-28T03:30:00Z")),
            ("now", Some("2026-11-28T05:30:00Z")),
            ("2026-11-28T12:00[Asia/Tokyo]", None),
            ("2026-13-01", None),
            ("2026-02-30 10:00", None),
            ("25:00", None),
            ("yesterday", None),
            ("99999999999999w", None),
            ("", None),
        ] {
            let got = moment(text, now, &tokyo).ok().map(|moment| moment.to_string());
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        let mut settings = Settings::default();
        settings.names.insert(Target::Ip("10.0.0.7".parse().unwrap()), "MRI 2, building A".to_owned());
        let (now, zone) = ("2026-11-28T05:30:00Z".parse().unwrap(), TimeZone::UTC);
        let dir = tempfile::tempdir().unwrap();
        let ask = |from: &str, to: Option<&str>, host: Option<&str>| {
            let ask = FlowQuery {
                dir: dir.path().to_owned(),
                from: from.to_owned(),
                to: to.map(str::to_owned),
                host: host.map(str::to_owned),
                peer: None,
                port: None,
                verdict: None,
                format: Format::Csv,
            };
            query(&ask, &settings, now, &zone, Vec::new()).map_err(|error| error.to_string())
        };
        let told = |result: Result<usize, String>| result.unwrap_err();
        assert_eq!(
            told(ask("2h", Some("3h"), None)),
            "--to 2026-11-28 02:30:00 +00:00 is not after --from 2026-11-28 03:30:00 +00:00; a range of time begins with \
             the earlier one"
        );
        assert_eq!(
            told(ask("2026-11-29", None, None)),
            "--from 2026-11-29 00:00:00 +00:00 is in the future: nothing can be in the log yet"
        );
        assert_eq!(
            told(ask("2h", None, Some("MRI 2 building A"))),
            "\"MRI 2 building A\" is neither an address nor a device that the configuration names (did you mean \"MRI 2, \
             building A\"?); give an IP address, a network, a MAC address, or a name from [names]"
        );
        assert!(told(ask("noon", None, None)).starts_with("\"noon\" is not a time; write it like"));
        for host in ["mri 2, building a", "10.0.0.7", "10.0.0.0/8", "00:1b:21:0a:0b:0c", "fd00::7"] {
            assert_eq!(ask("2h", None, Some(host)), Ok(0), "{host}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9TZ:. +-]{0,30}") {
            let (now, zone) = ("2026-11-28T05:30:00Z".parse().unwrap(), TimeZone::UTC);
            let _ = moment(&text, now, &zone);
            let _ = ends(&text, &Settings::default());
        }
    }
}
