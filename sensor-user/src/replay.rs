//! `sekisho replay`: captures through the same thinking, told in the same words.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use sensor_core::event::{Change, Event};
use sensor_core::settings::{Mode, Settings};
use sensor_core::time::Time;

use crate::app::configure;
use crate::clock::WallClock;
use crate::eve::{EventType, ReplayStats, Teller};
use crate::pipeline::parse_results;
use crate::source::replay::{self, Outcome};

/// Names a capture ends with, when a folder is searched.
const ENDINGS: [&str; 3] = ["pcap", "pcapng", "cap"];

/// What `sekisho replay` is given.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// Captures, and folders of them.
    pub paths: Vec<PathBuf>,
    /// The configuration; none: the usual file, if it is there.
    pub config: Option<PathBuf>,
    /// Decide as in enforce mode.
    pub enforce: bool,
    /// JSON lines instead of sentences.
    pub json: bool,
    /// The kinds of events told.
    pub events: Vec<EventType>,
}

/// The captures among `paths`, folders searched through, in order of their names.
fn captures(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            search(path, &mut found)?;
            anyhow::ensure!(
                found.len() > before,
                "there is no capture (.pcap, .pcapng, .cap) in {}",
                path.display()
            );
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn search(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let reading = || format!("cannot read the folder {}", dir.display());
    let mut entries: Vec<_> =
        fs::read_dir(dir).with_context(reading)?.collect::<io::Result<_>>().with_context(reading)?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        // A link is not followed, so that a ring of them ends.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            search(&path, found)?;
        } else if path.extension().is_some_and(|e| ENDINGS.iter().any(|known| e.eq_ignore_ascii_case(known)))
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Replays; false if a capture was damaged, and what was readable of it was used.
///
/// # Errors
///
/// If the configuration is wrong, or a file cannot be opened or is no capture.
pub fn run(options: &ReplayOptions) -> Result<bool> {
    let mut settings = configure(options.config.as_deref(), Some(Mode::Observe))?.settings;
    if options.enforce {
        settings.mode = Mode::Enforce;
    }
    let captures = captures(&options.paths)?;
    let begun = Instant::now();
    let mut teller = Lines { out: BufWriter::new(io::stdout().lock()), gone: false };
    let mut stats = ReplayStats::default();
    let mut sound = true;
    for path in &captures {
        let outcome = one(path, &settings, options, &mut teller, &mut stats)?;
        if let Some(problem) = &outcome.summary.problem {
            teller.flush();
            log::error!("{problem}");
            stats.truncated += 1;
            sound = false;
        }
        if outcome.summary.not_ethernet > 0 {
            teller.flush();
            log::warn!(
                "{}: {} records are not Ethernet; left out",
                path.display(),
                outcome.summary.not_ethernet
            );
        }
        count(&outcome, &mut stats);
    }
    stats.seconds = begun.elapsed().as_secs_f64();
    if options.events.contains(&EventType::Stats) {
        let words = Teller::new(WallClock::UNIX);
        teller.line(&if options.json {
            words.stats(&stats).to_string()
        } else {
            words.stats_sentence(&stats)
        });
    }
    teller.flush();
    Ok(sound)
}

/// Standard output; once its reader is gone, nothing more is written.
struct Lines<W: Write> {
    out: BufWriter<W>,
    gone: bool,
}

impl<W: Write> Lines<W> {
    fn line(&mut self, line: &str) {
        self.gone = self.gone
            || writeln!(self.out, "{line}").is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
    }

    fn flush(&mut self) {
        self.gone = self.gone || self.out.flush().is_err();
    }
}

fn one(
    path: &Path,
    settings: &Settings,
    options: &ReplayOptions,
    lines: &mut Lines<impl Write>,
    stats: &mut ReplayStats,
) -> Result<Outcome> {
    let mut teller = Teller::new(WallClock::UNIX);
    let mut last = Time::at(0);
    let outcome = replay::run(path, settings, |timed, ahead_ns| {
        last = last.max(timed.time);
        match &timed.event {
            Event::Alert(_) => stats.alerts += 1,
            Event::Isolation(isolation) if isolation.change == Change::Added => stats.isolations += 1,
            _ => {}
        }
        if lines.gone || !options.events.contains(&EventType::of(&timed.event)) {
            return;
        }
        teller.clock = WallClock { offset_ns: ahead_ns };
        if options.json {
            let mut value = teller.value(timed, None);
            value["pcap_filename"] = path.display().to_string().into();
            lines.line(&value.to_string());
        } else {
            lines.line(&teller.sentence(timed, None));
        }
    })?;
    stats.time = stats.time.max(last);
    Ok(outcome)
}

fn count(outcome: &Outcome, stats: &mut ReplayStats) {
    stats.files += 1;
    stats.frames += outcome.counters.packets;
    stats.bytes += outcome.counters.bytes;
    stats.flows += outcome.stats.flows_new;
    stats.devices += outcome.stats.devices;
    let mut parse: BTreeMap<&'static str, u64> = std::mem::take(&mut stats.parse);
    for (reason, more) in parse_results(outcome.counters.packets, &outcome.reasons) {
        *parse.entry(reason).or_default() += more;
    }
    stats.parse = parse;
}
