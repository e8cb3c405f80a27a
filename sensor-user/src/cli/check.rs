//! `sekisho check`: the configuration test.

use std::io::Write;
use std::path::{Path, PathBuf};

use sensor_core::policy::class::{Asks, Class};
use sensor_core::policy::ruling;
use sensor_core::policy::{Level, Name, decide};
use sensor_core::settings::{ApproveSettings, Mode, Otherwise, Settings};
use serde_json::{Value, json};

use super::CliError;
use super::args::{CheckArgs, Output};
use crate::config::{self, Config, ConfigError};
use crate::{duration, label};

/// Checks a configuration. Gives whether it is good.
pub fn check(args: &CheckArgs, out: &mut impl Write) -> Result<bool, CliError> {
    let file: PathBuf = args.file.clone().unwrap_or_else(|| config::DEFAULT_PATH.into());
    let result = config::load(args.file.as_deref()).and_then(|config| match config::files(&config) {
        problems if problems.is_empty() => Ok(config),
        problems => Err(ConfigError::Wrong { file: file.clone(), problems }),
    });
    match (args.output.output, result) {
        (Output::Human, Ok(config)) => {
            writeln!(out, "{}", summary(&file, &config))?;
            Ok(true)
        }
        (Output::Json, Ok(Config { settings, daemon, .. })) => {
            let classes: Vec<_> =
                settings.classes.iter().map(|(name, class)| class_value(*name, class)).collect();
            let approve = approve_value(&settings.approve);
            let channels: Vec<_> = daemon
                .notify
                .channels
                .iter()
                .map(|(name, channel)| json!({ "name": name, "kind": channel.means.kind() }))
                .collect();
            let notify = json!({ "channels": channels, "rules": daemon.notify.rules.len() });
            let value = json!({
                "file": file, "problems": [], "classes": classes, "approve": approve, "notify": notify,
            });
            writeln!(out, "{value}")?;
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

/// From which level on a person must approve: `none` for nobody.
fn from(level: Option<Level>) -> &'static str {
    level.map_or("none", Level::name)
}

fn class_value(name: Name, class: &Class) -> Value {
    json!({
        "name": name.as_str(),
        "kind": class.kind.name(),
        "highest": ruling::name(class.highest),
        "approve": match class.approve {
            Asks::AsElsewhere => "as elsewhere",
            Asks::Never => "none",
            Asks::From(level) => level.name(),
        },
        "members": class.members.len() + class.names.len(),
    })
}

fn approve_value(approve: &ApproveSettings) -> Value {
    json!({
        "from": from(approve.from),
        "within": duration::show(approve.within_ns),
        "otherwise": if approve.otherwise == Otherwise::Act { "act" } else { "alert" },
        "meanwhile": approve.meanwhile.map_or("nothing", Level::name),
    })
}

/// A line for each class.
fn classes(settings: &Settings) -> String {
    let line = |(name, class): (&Name, &Class)| {
        let highest = match class.highest {
            None => "is only told about".to_owned(),
            Some(level) => format!("{} at most", level.name()),
        };
        let asks = match class.approve {
            Asks::AsElsewhere => String::new(),
            Asks::Never => "; nobody must approve".to_owned(),
            Asks::From(level) => format!("; from {} on a person must approve", level.name()),
        };
        let members = label::count((class.members.len() + class.names.len()) as u64, "member", "members");
        format!("Class {name} ({}, {members}): {highest}{asks}.\n", class.kind.name())
    };
    settings.classes.iter().map(line).collect()
}

/// Who must approve what; nothing if nobody must.
fn approvals(settings: &Settings) -> String {
    let ApproveSettings { from, within_ns, otherwise, meanwhile } = settings.approve;
    let by_class = settings.classes.values().any(|class| matches!(class.approve, Asks::From(_)));
    if from.is_none() && !by_class {
        return String::new();
    }
    let what = match from {
        Some(level) => format!("what is {} or stricter must be approved by a person", level.name()),
        None => "a person must approve where a class says so".to_owned(),
    };
    let then = if otherwise == Otherwise::Act { "it is done" } else { "it is only told" };
    let meanwhile = meanwhile.map_or(String::new(), |level| format!("; meanwhile {}", level.name()));
    let idle = if settings.mode == Mode::Observe { " (in enforce mode)" } else { "" };
    format!("Approval{idle}: {what}, within {}, or {then}{meanwhile}.\n", duration::show(within_ns))
}

/// Who is told; nothing of what is secret.
fn told(notify: &sensor_notify::Settings) -> String {
    if notify.channels.is_empty() {
        return "Nobody is told of what happens: there is no channel (see [notify.channels]).\n".to_owned();
    }
    let channels: Vec<_> =
        notify.channels.iter().map(|(name, channel)| format!("{name} ({})", channel.means.kind())).collect();
    let rules = match notify.rules.len() {
        0 => "of what is of medium severity or graver".to_owned(),
        count => format!("by {}", label::count(count as u64, "rule", "rules")),
    };
    format!("Told are {}, {rules}.\n", channels.join(", "))
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
        "{first}\nMode {mode}.\n{}{}{}{}, {}, {} of devices.",
        approvals(settings),
        classes(settings),
        told(&config.daemon.notify),
        label::count(protected as u64, "protected address or network", "protected addresses and networks"),
        label::count(settings.gateways.len() as u64, "named gateway", "named gateways"),
        label::count(settings.names.len() as u64, "name", "names"),
    )
}
