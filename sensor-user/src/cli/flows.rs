//! `sekisho flows`: the log of conversations, read from the disk.

use std::io::{self, BufWriter};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use sensor_flowlog::export::Format;

use super::args::DEFAULT_STATE_DIR;
use super::known::Known;
use super::{CliError, when};
use crate::clock::Stamp;
use crate::config;
use crate::flows::{self, FlowQuery, QueryError};
use crate::say;

/// What to do with the log of conversations.
#[derive(Subcommand, Debug)]
pub enum FlowsTask {
    /// Show the conversations of a while
    #[command(after_long_help = "\
Needs no daemon, and changes nothing: also on a copy of the log. A row is a conversation that ended, or an hour of one that \
went on; all are shown that have frames in that time, in the order in which they ended. The columns are those of the Parquet \
files, named as EVE names them.

A time is local, or says its zone: \"2026-11-28 14:05\", 14:05 (today), 2026-11-28T05:05:00Z, or 2h (two hours ago).

Examples:
  sekisho flows query --from 2h --host \"MRI 2\"
  sekisho flows query --from \"2026-11-28 14:00\" --to \"2026-11-28 15:00\" --verdict drop
  sekisho flows query --from 2026-11-01 --host 10.0.0.7 --port 445 -o csv > smb.csv
  sekisho flows query --from 2026-11-28 -o parquet > today.parquet")]
    Query(FlowsQueryArgs),
}

/// How to tell rows.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// A sentence each, with local time
    #[default]
    Human,
    /// Comma-separated, times in UTC
    Csv,
    /// An object a line, times in UTC
    Json,
    /// A Parquet file
    Parquet,
}

/// What became of a conversation.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[value(rename_all = "snake_case")]
pub enum Became {
    /// All of it passed
    Pass,
    /// Frames of it were dropped
    Drop,
    /// Observe mode: frames of it would have been dropped
    WouldDrop,
}

impl Became {
    fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::WouldDrop => "would_drop",
        }
    }
}

/// `sekisho flows query`.
#[derive(Args, Clone, Debug)]
pub struct FlowsQueryArgs {
    /// Since when
    #[arg(long, value_name = "TIME", value_parser = when::from)]
    pub from: Stamp,
    /// Until when [default: now]
    #[arg(long, value_name = "TIME", value_parser = when::to)]
    pub to: Option<Stamp>,
    /// One end: an IP address, a network, a MAC address, or a device's name or number
    #[arg(long, value_name = "DEVICE")]
    pub host: Option<String>,
    /// The other end
    #[arg(long, value_name = "DEVICE")]
    pub peer: Option<String>,
    /// A TCP or UDP port, of either end
    #[arg(long, value_name = "NUMBER")]
    pub port: Option<u16>,
    /// What became of it
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub verdict: Option<Became>,
    /// Where the daemon keeps the log: its state directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// The daemon's configuration, for names; without this /etc/sekisho/sekisho.toml, if it is there
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to show them
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Form,
}

/// Carries it out.
pub fn flows(task: &FlowsTask) -> Result<bool, CliError> {
    let FlowsTask::Query(args) = task;
    let mut settings = config::load(args.config.as_deref())?.settings;
    // Without its database, as of a copy of the log, there are the names of the configuration.
    let known = Known::read(&args.state_dir);
    let said = known.iter().flat_map(Known::names);
    settings.names.extend(said.map(|(target, name)| (target, name.clone())));
    let number = |text: &Option<String>| text.as_deref().and_then(|text| text.trim().parse::<u64>().ok());
    let numbers = [number(&args.host), number(&args.peer)].into_iter().flatten();
    let numbered = |id| known.iter().flat_map(move |known| known.numbered(id)).collect();
    let ask = FlowQuery {
        dir: args.state_dir.join(flows::DIR),
        from: args.from,
        to: args.to,
        numbers: numbers.map(|id| (id, numbered(id))).collect(),
        host: args.host.clone(),
        peer: args.peer.clone(),
        port: args.port,
        verdict: args.verdict.map(Became::name),
        format: match args.output {
            Form::Human => Format::Human,
            Form::Csv => Format::Csv,
            Form::Json => Format::Json,
            Form::Parquet => Format::Parquet,
        },
    };
    // What is written to it is locked line by line: a locked one cannot go to another thread, as writers of Parquet may.
    let out = BufWriter::with_capacity(1 << 16, io::stdout());
    let scanned = match (flows::query(&ask, &settings, Stamp::now(), &TimeZone::system(), out), known) {
        // Who it is may be in the database that could not be read.
        (Err(QueryError::Unknown(..)), Err(error)) => return Err(error),
        (scanned, _) => scanned?,
    };
    if scanned.rows == 0 && args.output == Form::Human {
        say::out("no conversation in that time");
    }
    if scanned.unread.count > 0 {
        say::err(&scanned.unread);
    }
    Ok(scanned.unread.count == 0)
}
