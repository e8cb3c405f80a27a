//! `sekisho check`: the configuration test.

use std::io::Write;
use std::path::{Path, PathBuf};

use sensor_core::policy::{Level, decide};
use sensor_core::settings::{Mode, Settings};
use serde_json::json;

use super::CliError;
use super::args::{CheckArgs, Output};
use crate::config::{self, Config, ConfigError};
use crate::{duration, label};

/// Checks a configuration. Gives whether it is good.
pub fn check(args: &CheckArgs, out: &mut impl Write) -> Result<bool, CliError> {
    let file: PathBuf = args.file.clone().unwrap_or_else(|| config::DEFAULT_PATH.into());
    let result = config::load(args.file.as_deref());
    match (args.output.output, result) {
        (Output::Human, Ok(config)) => {
            writeln!(out, "{}", summary(&file, &config))?;
            Ok(true)
        }
        (Output::Json, Ok(_)) => {
            writeln!(out, "{}", json!({ "file": file, "problems": [] }))?;
            Ok(true)
        }
        (Output::Json, Err(ConfigError::Wrong { file, problems })) => {
            writeln!(out, "{}", json!({ "file": file, "problems": problems }))?;
            Ok(false)
        }
        (_, Err(error)) => Err(error.into()),
    }
}

/// How long the strictest automatic restriction lasts, the first time and the next ones.
fn times(settings: &Settings) -> String {
    let level = settings.decide.highest;
    let steps = &settings.isolate_for_ns[..];
    let lasts = |before: usize| duration::show(decide::lasts(level, steps, before));
    let more: Vec<_> = (1..steps.len()).map(lasts).collect();
    if level < Level::Isolate || more.is_empty() {
        return lasts(0);
    }
    format!("{} (when it happens again {})", lasts(0), more.join(", "))
}

/// What the configuration comes down to.
fn summary(file: &Path, config: &Config) -> String {
    let settings = &config.settings;
    let first = if file.exists() {
        format!("{} is good.", file.display())
    } else {
        format!("There is no {}; the defaults hold.", file.display())
    };
    let mode = match settings.mode {
        Mode::Observe => "observe: nothing is cut off by itself, only what would be is told".to_owned(),
        Mode::Enforce if settings.isolate_severity == 0 => {
            "enforce, but severity 0: nothing is cut off by itself".to_owned()
        }
        Mode::Enforce => format!(
            "enforce: devices with an incident of severity {} or graver are {} for {}, at most {} and {} of all devices within {}{}",
            settings.isolate_severity,
            match settings.decide.highest {
                Level::Throttle => "throttled",
                Level::Pin => "pinned",
                _ => "cut off",
            },
            times(settings),
            settings.budget,
            label::percent(settings.budget_share),
            duration::show(settings.budget_window_ns),
            if settings.decide.graded { "; what adds up to a level acts too" } else { "" },
        ),
    };
    let protected = settings.protected.len() + settings.protected_nets.len();
    format!(
        "{first}\nMode {mode}.\n{}, {}, {} of devices.",
        label::count(protected as u64, "protected address or network", "protected addresses and networks"),
        label::count(settings.gateways.len() as u64, "named gateway", "named gateways"),
        label::count(settings.names.len() as u64, "name", "names"),
    )
}
