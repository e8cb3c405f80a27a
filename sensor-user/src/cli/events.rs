//! `sekisho events`: what happened, from the journal; also while no daemon runs.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sensor_core::policy::Target;
use sensor_journal::{DATABASE, Query, Reader, Record};

use super::args::{DEFAULT_STATE_DIR, Output, OutputArgs};
use super::known::Known;
use super::show::Here;
use super::when::SpanArgs;
use super::{CliError, run};
use crate::clock::Stamp;
use crate::label;

/// Kinds of events that the journal keeps.
pub const KINDS: [&str; 12] = [
    "device",
    "inventory",
    "alert",
    "isolation",
    "bypass",
    "order",
    "approval",
    "judgement",
    "window",
    "blind",
    "daemon",
    "journal",
];

/// Where the journal is.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct StateArgs {
    /// Where the daemon keeps its journal and its record
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
}

impl StateArgs {
    /// The journal.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be read.
    pub fn journal(&self) -> Result<Reader, CliError> {
        Ok(Reader::open(&self.state_dir.join(DATABASE))?)
    }
}

/// `sekisho events`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
It reads the journal and changes nothing; no daemon need run. Flows are in the flow log, not here.

Examples:
  sekisho events --from 2d
  sekisho events --device \"MRI 2\" --kind alert,isolation
  sekisho events --from 2026-01-31 --to 2026-01-31 -o json")]
pub struct EventsArgs {
    /// When.
    #[command(flatten)]
    pub span: SpanArgs,
    /// About this device: its number, name, MAC address, or an IP address it had
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Of these kinds only
    #[arg(long = "kind", value_delimiter = ',', value_parser = kind(), value_name = "KIND,...")]
    pub kinds: Vec<String>,
    /// Of this incident
    #[arg(long, value_name = "NUMBER")]
    pub incident: Option<u64>,
    /// So many at most, the newest; 0: all
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub newest: u64,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
    /// How to show them.
    #[command(flatten)]
    pub output: OutputArgs,
}

fn kind() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(KINDS)
}

/// Shows the events that are asked for, line by line.
pub fn events(args: &EventsArgs, out: &mut impl Write) -> Result<(), CliError> {
    let span = args.span.checked()?;
    let journal = args.state.journal()?;
    let query = Query {
        from_ns: span.from.map(|from| from.0),
        to_ns: span.to.map(|to| to.0),
        kinds: args.kinds.clone(),
        devices: devices(args, &journal)?,
        incident: args.incident,
        newest: (args.newest > 0).then_some(args.newest),
    };
    let here = run::here();
    let human = args.output.output == Output::Human;
    let line =
        |record: &Record| if human { sentence(record, &here) } else { format!("{}\n", record.entry.body) };
    let count = each(&journal, &query, out, line)?;
    if human && count == 0 {
        writeln!(out, "No events.")?;
    }
    if human && query.newest.is_some_and(|newest| count >= newest) {
        writeln!(out, "These are the newest {count}; with --newest 0 all are shown.")?;
    }
    Ok(())
}

/// What rows may call the device that is asked for: as it is given, and the addresses that it is known by.
fn devices(args: &EventsArgs, journal: &Reader) -> Result<Vec<String>, CliError> {
    let Some(text) = args.device.as_deref().map(str::trim) else { return Ok(Vec::new()) };
    let mut devices = vec![text.to_owned()];
    // An address need not have been heard.
    if text.parse::<Target>().is_ok() {
        return Ok(devices);
    }
    // What the journal says can be shown also where there is no database, as of a copy.
    let known = Known::read(&args.state.state_dir).map(|known| known.called(text));
    let mut heard = false;
    journal.each(&Query { devices: devices.clone(), newest: Some(1), ..Query::default() }, |_| {
        heard = true;
        false
    })?;
    match known {
        Ok(known) if known.is_empty() && !heard => return Err(CliError::NoDevice(label::plain(text))),
        Ok(known) => devices.extend(known.iter().map(Target::to_string)),
        Err(error) if !heard => return Err(error),
        Err(_) => {}
    }
    Ok(devices)
}

/// Writes a line for each row. Gives how many.
pub fn each(
    reader: &Reader,
    query: &Query,
    out: &mut impl Write,
    line: impl Fn(&Record) -> String,
) -> Result<u64, CliError> {
    let (mut count, mut written) = (0, Ok(()));
    reader.each(query, |record| {
        count += 1;
        written = out.write_all(line(&record).as_bytes());
        written.is_ok()
    })?;
    written.map_err(|error: io::Error| CliError::Output(error))?;
    Ok(count)
}

/// A row as people read it.
pub fn sentence(record: &Record, here: &Here) -> String {
    let when = Stamp(record.entry.time_ns).local(&here.zone);
    format!("{when} {}\n", label::plain(&record.entry.words))
}
