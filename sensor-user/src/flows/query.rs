//! `sekisho flows query`: conversations of the log, told. It needs no daemon, and changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use sensor_core::addr::{Mac, Prefix};
use sensor_core::policy::Target;
use sensor_core::settings::Settings;
use sensor_flowlog::FlowLogError;
use sensor_flowlog::export::{Exporter, Format};
use sensor_flowlog::query::{End, Query, Scanned, scan};

use crate::clock::Stamp;

/// What `sekisho flows query` is given.
#[derive(Clone, Debug)]
pub struct FlowQuery {
    /// The directory of the log.
    pub dir: PathBuf,
    /// Since when.
    pub from: Stamp,
    /// Until when; none: now.
    pub to: Option<Stamp>,
    /// The addresses of devices that are asked for by number.
    pub numbers: BTreeMap<u64, Vec<Target>>,
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
        "{0:?} is neither an address nor a known device{1}; give an IP address, a network, a MAC address, or a name or number \
         that `sekisho devices` shows"
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

/// Tells what is asked for, on `out`. Gives how much was read, and what could not be.
///
/// # Errors
///
/// [`QueryError`].
pub fn query(
    ask: &FlowQuery,
    settings: &Settings,
    now: Stamp,
    zone: &TimeZone,
    out: impl Write + Send,
) -> Result<Scanned, QueryError> {
    let (from, to) = (ask.from, ask.to.unwrap_or(now));
    let told = |time: Stamp| time.local(zone);
    if from > now {
        return Err(QueryError::Future(told(from)));
    }
    if from >= to {
        return Err(QueryError::Backwards { from: told(from), to: told(to) });
    }
    if ask.format == Format::Parquet && io::stdout().is_terminal() {
        return Err(QueryError::Screen);
    }
    let ends = |text: &Option<String>| {
        text.as_deref().map_or(Ok(Vec::new()), |text| ends(text, &ask.numbers, settings))
    };
    let wanted = Query {
        from: from.0 / 1_000,
        to: to.0 / 1_000,
        hosts: ends(&ask.host)?,
        peers: ends(&ask.peer)?,
        port: ask.port,
        verdict: ask.verdict,
    };
    let mut exporter = Exporter::new(out, ask.format, names(settings))?;
    let scanned = scan(&ask.dir, &wanted, &mut |rows| exporter.write(rows))?;
    exporter.finish()?;
    Ok(scanned)
}

/// The names of the configuration, by address.
fn names(settings: &Settings) -> HashMap<String, String> {
    settings.names.iter().map(|(target, name)| (target.to_string(), name.clone())).collect()
}

/// The ends a text means.
fn ends(
    text: &str,
    numbers: &BTreeMap<u64, Vec<Target>>,
    settings: &Settings,
) -> Result<Vec<End>, QueryError> {
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
    let numbered = text.parse().ok().and_then(|id: u64| numbers.get(&id));
    let named: Vec<_> = named
        .map(|(target, _)| target)
        .chain(numbered.into_iter().flatten())
        .filter_map(|target| match target {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_asked_is_told() {
        let mut settings = Settings::default();
        settings.names.insert(Target::Ip("10.0.0.7".parse().unwrap()), "MRI 2, building A".to_owned());
        // 2026-11-28 05:30 UTC.
        let (now, zone) = (Stamp(1_795_843_800_000_000_000), TimeZone::UTC);
        let ago = |hours: i64| Stamp(now.0 - hours * 3_600_000_000_000);
        let dir = tempfile::tempdir().unwrap();
        let ask = |from: Stamp, to: Option<Stamp>, host: Option<&str>| {
            let ask = FlowQuery {
                dir: dir.path().to_owned(),
                from,
                to,
                numbers: [(17, vec![Target::Ip("10.0.0.7".parse().unwrap())])].into(),
                host: host.map(str::to_owned),
                peer: None,
                port: None,
                verdict: None,
                format: Format::Csv,
            };
            let told = query(&ask, &settings, now, &zone, Vec::new());
            told.map(|scanned| scanned.rows).map_err(|error| error.to_string())
        };
        let told = |result: Result<usize, String>| result.unwrap_err();
        assert_eq!(
            told(ask(ago(2), Some(ago(3)), None)),
            "--to 2026-11-28 02:30:00 is not after --from 2026-11-28 03:30:00; a range of time begins with \
             the earlier one"
        );
        assert_eq!(
            told(ask(ago(-24), None, None)),
            "--from 2026-11-29 05:30:00 is in the future: nothing can be in the log yet"
        );
        assert_eq!(
            told(ask(ago(2), None, Some("MRI 2 building A"))),
            "\"MRI 2 building A\" is neither an address nor a known device (did you mean \"MRI 2, building A\"?); give an IP \
             address, a network, a MAC address, or a name or number that `sekisho devices` shows"
        );
        for host in ["mri 2, building a", "17", "10.0.0.7", "10.0.0.0/8", "00:1b:21:0a:0b:0c", "fd00::7"] {
            assert_eq!(ask(ago(2), None, Some(host)), Ok(0), "{host}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9TZ:. +-]{0,30}") {
            let _ = ends(&text, &BTreeMap::new(), &Settings::default());
        }
    }
}
