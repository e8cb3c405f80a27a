//! `sekisho explain`: why an incident was decided as it was, and the same decision made anew.
//!
//! An incident is put together from the lines of a log of events that bear its number: its alerts and isolations. The
//! daemon's record, or a capture, gives such lines anew, by the same code and the clock of then, so that a decision made
//! anew can be held against the one told byte for byte.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use sensor_core::settings::{Mode, Settings};
use serde_json::{Value, json};

use crate::app::configure;
use crate::cli::{Output, WhyArgs, here, json as line, show};
use crate::clock::WallClock;
use crate::config;
use crate::eve::Teller;
use crate::incident::assemble;
use crate::protocol::IncidentInfo;
use crate::record;
use crate::record::again::{self, Again};
use crate::say;
use crate::source::replay;

/// Most lines of one incident: each is an alert or a change of the block list.
const MAX_LINES: usize = 10_000;
/// Bytes of a line of a log, at most; the longest alerts have some ten thousand.
const MAX_LINE: u64 = 1 << 20;

/// A decision made anew.
struct Anew {
    /// The lines on record; none if there is none.
    recorded: Option<Vec<Value>>,
    lines: Vec<Value>,
    /// A change of the configuration, and the lines with it.
    what_if: Option<(String, Vec<Value>)>,
}

/// Explains; false if a decision made anew differs from the one on record.
///
/// # Errors
///
/// If there is no such incident, a file cannot be read, or the configuration is wrong.
pub fn run(args: &WhyArgs) -> Result<bool> {
    let mut out = io::stdout().lock();
    let mut show = |incident: &IncidentInfo, json: &Value| {
        let text = match args.ask.output.output {
            Output::Json => line(json),
            Output::Human => show::explained(incident, &here()),
        };
        out.write_all(text.as_bytes()).context("cannot write the output")
    };
    let logged = args.log.as_deref().map(|log| read_log(log, args.id)).transpose()?;
    let Some(source) = &args.replay else {
        let incident = match logged {
            Some(lines) => assemble(&lines)?,
            None => args.incident()?,
        };
        let value = serde_json::to_value(&incident)?;
        show(&incident, &value)?;
        return Ok(true);
    };
    let Anew { recorded, lines: anew, what_if } = match source {
        Some(capture) => from_capture(args, capture, logged)?,
        None => from_record(args, logged)?,
    };
    let same = recorded.as_ref().map(|recorded| *recorded == anew);
    let incident_anew = assemble(&anew)?;
    let value = json!({
        "incident": incident_anew,
        "same": same,
        "what_if": what_if.as_ref().map(|(change, lines)| json!({ "change": change, "events": lines })),
    });
    show(&incident_anew, &value)?;
    if args.ask.output.output == Output::Human {
        let differs = recorded.as_ref().map(|recorded| difference(recorded, &anew));
        let text = [differs, what_if.map(|(change, lines)| compared(&change, &anew, &lines))];
        let text: String = text.into_iter().flatten().collect();
        out.write_all(text.as_bytes()).context("cannot write the output")?;
    }
    Ok(same != Some(false))
}

/// Makes a decision anew from a capture, by the configuration of now.
fn from_capture(args: &WhyArgs, capture: &Path, recorded: Option<Vec<Value>>) -> Result<Anew> {
    let mut config = configure(args.config.as_deref(), Some(Mode::Observe))?;
    if args.enforce {
        config.settings.mode = Mode::Enforce;
    }
    let of_incident = |line: &Value| line["incident_id"] == args.id;
    let lines = replayed(capture, &config.settings, of_incident)?;
    if lines.is_empty() {
        bail!("the replay of {} has no incident {}", capture.display(), args.id);
    }
    let what_if = match &args.what_if {
        None => None,
        Some((key, value)) => {
            let changed = config::change(config, key, value).map_err(|problems| wrong(&problems))?;
            let mac = lines.first().map(|line| line["device"]["mac"].clone()).unwrap_or_default();
            let lines = replayed(capture, &changed.settings, |line| line["device"]["mac"] == mac)?;
            Some((format!("{key} = {value}"), lines))
        }
    };
    Ok(Anew { recorded, lines, what_if })
}

/// Makes a decision anew from the record, by all that was in force then.
fn from_record(args: &WhyArgs, logged: Option<Vec<Value>>) -> Result<Anew> {
    ensure!(
        args.config.is_none() && !args.enforce && logged.is_none(),
        "--config, --enforce and --log are of use with a capture: the record has its own; give the capture after --replay"
    );
    let dir = args.state.state_dir.join(record::DIR);
    let decide = |change: Option<(&str, &str)>| {
        let mut bar = Bar::default();
        let again = again::decide(&dir, args.id, change, |part| bar.show(part));
        bar.clear();
        again
    };
    let Again { recorded, anew } = decide(None)?;
    let what_if = match &args.what_if {
        None => None,
        Some((key, value)) => Some((format!("{key} = {value}"), decide(Some((key, value)))?.anew)),
    };
    Ok(Anew { recorded: Some(recorded), lines: anew, what_if })
}

/// How far a long work is, on a terminal.
#[derive(Default)]
struct Bar {
    percent: Option<u32>,
}

impl Bar {
    fn show(&mut self, part: f64) {
        let percent = (part * 100.0) as u32;
        if io::stderr().is_terminal() && self.percent != Some(percent) {
            self.percent = Some(percent);
            say::progress(format_args!("deciding anew: {percent} %"));
        }
    }

    fn clear(&self) {
        if self.percent.is_some() {
            say::progress("");
        }
    }
}

fn wrong(problems: &[config::Problem]) -> anyhow::Error {
    anyhow!("what-if: {}", config::told(problems))
}

/// What a log is, for those who named something else.
const NO_LOG: &str = "a log has what `sekisho run -o json` or `sekisho replay -o json` printed";

/// The lines of a log that are about an incident.
fn read_log(path: &Path, id: u64) -> Result<Vec<Value>> {
    let file = File::open(path).with_context(|| format!("cannot open the log {}", path.display()))?;
    let mark = format!("\"incident_id\":{id}");
    let (mut file, mut text, mut lines) = (BufReader::new(file), String::new(), Vec::new());
    loop {
        text.clear();
        let read = file.by_ref().take(MAX_LINE).read_line(&mut text);
        if read.with_context(|| format!("cannot read the log {}", path.display()))? == 0 {
            break;
        }
        let whole = text.ends_with('\n') || (text.len() as u64) < MAX_LINE;
        ensure!(whole, "{} has a line of more than {MAX_LINE} bytes; {NO_LOG}", path.display());
        if !text.contains(&mark) {
            continue;
        }
        let mut value: Value = serde_json::from_str(&text)
            .with_context(|| format!("a line of the log {} is no JSON: {text}", path.display()))?;
        // An order is no part of a decision: what came of it is.
        if value["incident_id"] == id && value["event_type"] != "order" {
            ensure!(lines.len() < MAX_LINES, "incident {id} has more than {MAX_LINES} lines");
            forget_file(&mut value);
            lines.push(value);
        }
    }
    ensure!(!lines.is_empty(), "{} has no incident {id}; {NO_LOG}", path.display());
    Ok(lines)
}

/// The name of a capture is no part of a decision.
fn forget_file(line: &mut Value) {
    line.as_object_mut().map(|object| object.remove("pcap_filename"));
}

/// The lines a replay gives, those wanted.
fn replayed(path: &Path, settings: &Settings, wanted: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
    let mut teller = Teller::new(WallClock::UNIX);
    let mut lines = Vec::new();
    replay::run(path, settings, |timed, ahead_ns| {
        teller.clock = WallClock { offset_ns: ahead_ns };
        if lines.len() >= MAX_LINES {
            return;
        }
        let line = teller.value(timed, None);
        if !line["incident_id"].is_null() && wanted(&line) {
            lines.push(line);
        }
    })?;
    Ok(lines)
}

/// Whether the decision is the one on record, for people.
fn difference(recorded: &[Value], anew: &[Value]) -> String {
    if recorded == anew {
        return format!("\nMade anew, the decision is the same, byte for byte: {} lines.\n", anew.len());
    }
    let none = Value::Null;
    let at = recorded.iter().zip(anew).take_while(|(old, new)| old == new).count();
    let (old, new) = (recorded.get(at).unwrap_or(&none), anew.get(at).unwrap_or(&none));
    format!(
        "\nMade anew, the decision DIFFERS, first in its line {}:\n  on record {old}\n  anew      {new}\n",
        at + 1
    )
}

/// What a changed configuration makes of it, for people.
fn compared(change: &str, anew: &[Value], changed: &[Value]) -> String {
    let decisions = |lines: &[Value]| -> Vec<String> {
        let words = |line: &Value| {
            let signature = line["alert"]["signature"].as_str()?;
            let decision = line["alert"]["metadata"]["decision"][0].as_str()?;
            let time = line["timestamp"].as_str()?;
            Some(format!("  {time} {signature}: {}", show::done(decision)))
        };
        lines.iter().filter_map(words).collect()
    };
    let (before, after) = (decisions(anew), decisions(changed));
    let text = |lines: &[String]| match lines {
        [] => "  nothing is found\n".to_owned(),
        lines => lines.iter().map(|line| format!("{}\n", crate::label::plain(line))).collect(),
    };
    let same = if before == after { "That changes nothing.\n" } else { "" };
    format!("\nAs configured:\n{}With {change}:\n{}{same}", text(&before), text(&after))
}
