//! `sekisho verify`: intent = kernel = wire, as a check for Nagios and its kin.
//!
//! The intent is what the block list on the disk and the configuration say; the kernel is the pinned maps and the programs on
//! the ports; the wire is what leaves by the ports while it listens. It changes nothing, and needs no daemon: that there is
//! none is told.

mod kernel;
mod wire;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::cli::{Client, Output, VerifyArgs};
use crate::clock::Now;
use crate::config;
use crate::protocol::{Request, Status};
use crate::store::Store;
use crate::{detach, duration, label, say};

use kernel::Intent;
use wire::Wire;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A difference that a daemon is just about to make good is none: it is looked at again after this time, so often.
const AGAIN: Duration = Duration::from_millis(250);
const LOOKS: u32 = 3;
/// Problems told to people; the others are counted.
const TOLD: usize = 3;

/// How it stands. The number is the exit code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All is as decided.
    Ok = 0,
    /// It is, but somebody should look.
    Warning = 1,
    /// It is not.
    Critical = 2,
    /// It could not be found out.
    Unknown = 3,
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub state: State,
    /// What it is.
    pub what: String,
}

impl Problem {
    /// Isolation does not hold, or holds for the wrong ones.
    pub fn critical(what: impl Into<String>) -> Self {
        Self { state: State::Critical, what: what.into() }
    }

    /// It holds, but not as it should.
    pub fn warning(what: impl Into<String>) -> Self {
        Self { state: State::Warning, what: what.into() }
    }
}

/// All that was found out.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// How it stands.
    pub state: State,
    /// The bridge.
    pub bridge: String,
    /// Entries of the block list that hold.
    pub entries: usize,
    /// Rules there should be.
    pub rules: usize,
    /// Ports of the bridge.
    pub ports: usize,
    /// Ports with the program on them.
    pub filtered: usize,
    /// `answers`, `silent` or `dead`.
    pub daemon: &'static str,
    /// What left by the ports; none if nobody listened.
    pub wire: Option<Wire>,
    /// What is not as it should be, the worst first.
    pub problems: Vec<Problem>,
}

/// Runs the check, and tells its result.
pub fn run(args: &VerifyArgs) -> ExitCode {
    let (text, state) = match check(args) {
        Ok(report) if args.output.output == Output::Json => {
            (serde_json::to_string(&report).unwrap_or_default(), report.state)
        }
        Ok(report) => (human(&report), report.state),
        Err(error) if args.output.output == Output::Json => {
            let told = serde_json::json!({ "state": State::Unknown, "problems": [{ "state": State::Unknown,
                "what": format!("{error:#}") }] });
            (told.to_string(), State::Unknown)
        }
        Err(error) => (format!("SEKISHO UNKNOWN - {error:#}"), State::Unknown),
    };
    say::out(text);
    ExitCode::from(state as u8)
}

fn check(args: &VerifyArgs) -> Result<Report> {
    let bridge = bridge(args)?;
    let config = config::load(args.config.as_deref())?;
    let look = || -> Result<_> {
        let now = Now::read();
        let blocks = Store::peek(&args.state_dir, now)?;
        let entries = blocks.len();
        let intent = Intent::new(blocks, config.settings.clone(), now.mono);
        Ok((entries, kernel::compare(&args.pin_dir, &bridge, &intent, now.mono)?))
    };
    let mut looked = look()?;
    for _ in 1..LOOKS {
        if looked.1.problems.is_empty() {
            break;
        }
        std::thread::sleep(AGAIN);
        looked = look()?;
    }
    let (entries, mut found) = looked;
    let mut problems = std::mem::take(&mut found.problems);
    let (daemon, status) = daemon(&args.socket);
    match daemon {
        "answers" => {}
        "silent" => problems.push(Problem::warning("the daemon does not answer: nothing new is found")),
        _ => problems.push(Problem::warning("the daemon is dead: nothing new is found")),
    }
    if status.is_some_and(|status| status.live.blind.is_some()) {
        problems.push(Problem::warning("the sensor is blind: `sekisho status` says why"));
    }
    let wire = match args.wire_ns {
        0 => None,
        ns => Some(wire::listen(&found, Duration::from_nanos(ns)).context("listening on the ports")?),
    };
    if let Some(wire) = &wire {
        problems.extend(wire.problems());
    }
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.state));
    Ok(Report {
        state: problems.first().map_or(State::Ok, |problem| problem.state),
        bridge,
        entries,
        rules: found.rules.len(),
        ports: found.ports.len(),
        filtered: found.filtered,
        daemon,
        wire,
        problems,
    })
}

/// The bridge that is meant.
fn bridge(args: &VerifyArgs) -> Result<String> {
    if let Some(bridge) = &args.bridge {
        return Ok(bridge.clone());
    }
    let mut pinned = detach::pinned(&args.pin_dir)?;
    ensure!(pinned.len() <= 1, "{} are watched here: name one with --bridge", pinned.join(", "));
    pinned.pop().with_context(|| {
        format!(
            "nothing is loaded in {}: name the bridge with --bridge, or its pins with --pin-dir",
            args.pin_dir.display()
        )
    })
}

/// Whether the daemon is there, and what it says.
fn daemon(socket: &Path) -> (&'static str, Option<Status>) {
    let Ok(mut client) = Client::connect_for(socket, PATIENCE) else { return ("dead", None) };
    match client.ask(Request::Status) {
        Ok(answer) => ("answers", client.read(answer).ok()),
        Err(_) => ("silent", None),
    }
}

/// Three lines at most: how it stands, with numbers for a graph; what is wrong; what somebody should look at.
fn human(report: &Report) -> String {
    let word = match report.state {
        State::Ok => "OK",
        State::Warning => "WARNING",
        State::Critical => "CRITICAL",
        State::Unknown => "UNKNOWN",
    };
    let leaked = report.wire.as_ref().map(|wire| wire.leaked);
    let on_wire = report.wire.as_ref().map_or_else(String::new, |wire| {
        format!(
            ", {} leaked in {}",
            label::count(wire.leaked, "frame", "frames"),
            duration::show(wire.listened_ns)
        )
    });
    let mut text = format!(
        "SEKISHO {word} - {}: {}, {}, program on {} of {}{on_wire} | entries={} rules={} ports={} filtered={} leaked={}",
        label::plain(&report.bridge),
        label::count(report.entries as u64, "entry", "entries"),
        label::count(report.rules as u64, "rule", "rules"),
        report.filtered,
        label::count(report.ports as u64, "port", "ports"),
        report.entries,
        report.rules,
        report.ports,
        report.filtered,
        leaked.map_or("U".to_owned(), |leaked| leaked.to_string()),
    );
    for (state, word) in [(State::Critical, "wrong"), (State::Warning, "look")] {
        let told: Vec<_> = report.problems.iter().filter(|problem| problem.state == state).collect();
        if told.is_empty() {
            continue;
        }
        let shown: Vec<_> = told.iter().take(TOLD).map(|problem| label::plain(&problem.what)).collect();
        let more = told.len() - shown.len();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        text.push_str(&format!("\n{word}: {}{more}", shown.join("; ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(problems: Vec<Problem>) -> Report {
        Report {
            state: problems.first().map_or(State::Ok, |problem| problem.state),
            bridge: "br0".to_owned(),
            entries: 1,
            rules: 3,
            ports: 4,
            filtered: 4,
            daemon: "answers",
            wire: Some(Wire { listened_ns: 1_000_000_000, frames: 9, leaked: 0, ..Wire::default() }),
            problems,
        }
    }

    #[test]
    fn people_are_told_in_three_lines() {
        assert_eq!(
            human(&report(Vec::new())),
            "SEKISHO OK - br0: 1 entry, 3 rules, program on 4 of 4 ports, 0 frames leaked in 1s | entries=1 rules=3 \
             ports=4 filtered=4 leaked=0"
        );
        let mut problems: Vec<_> = (1..=5).map(|n| Problem::critical(format!("problem {n}"))).collect();
        problems.push(Problem::warning("the daemon is dead"));
        let text = human(&report(problems));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("SEKISHO CRITICAL - "), "{text}");
        assert_eq!(lines[1], "wrong: problem 1; problem 2; problem 3; and 2 more");
        assert_eq!(lines[2], "look: the daemon is dead");
    }
}
