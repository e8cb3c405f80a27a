//! The configuration file: read, checked whole, and turned into plain settings.
//!
//! Every problem of a file is told at once, each with its line, its key and what to write instead. [`keys`] is the one
//! list of what may stand in the file. Nothing here carries a setting out.

mod approve;
mod check;
mod classes;
mod files;
mod flows;
mod item;
mod keys;
mod notify;
mod notify_rules;
mod places;
mod problem;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use sensor_core::settings::Settings;
use sensor_journal::Keeping;

use crate::eve::EventType;

use crate::flows::FlowSettings;

pub use files::files;
pub use keys::{KEYS, Key};
pub use problem::{Problem, told};

/// Where the daemon looks for its configuration.
pub const DEFAULT_PATH: &str = "/etc/sekisho/sekisho.toml";

/// What the operator decided.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The text it was read from.
    pub text: String,
    /// What concerns the thinking.
    pub settings: Settings,
    /// What concerns the daemon around it.
    pub daemon: DaemonSettings,
}

/// Settings of the daemon around the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DaemonSettings {
    /// Where the metrics are served; none: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// The list of makers.
    pub oui_file: PathBuf,
    /// The group whose members may use the control socket.
    pub socket_group: String,
    /// Time between trainings of models, hours; 0: only by order.
    pub train_hours: u64,
    /// Where models are kept; none: in the state directory.
    pub model_dir: Option<PathBuf>,
    /// Time between snapshots of the record, minutes; 0: there is no record.
    pub record_minutes: u64,
    /// MiB of the record on the disk, at most.
    pub record_max_mib: u64,
    /// Who is told, and how.
    pub notify: sensor_notify::Settings,
    /// How much the journal keeps.
    pub journal: Keeping,
    /// The file of events.
    pub eve: EveSettings,
    /// The log of conversations.
    pub flows: FlowSettings,
}

/// The file of events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EveSettings {
    /// Which; none: there is none.
    pub file: Option<PathBuf>,
    /// The kinds of events in it.
    pub kinds: Vec<EventType>,
    /// MiB after which another one is begun; 0: only by order.
    pub max_mib: u64,
    /// So many old ones are kept.
    pub keep: u64,
}

impl Default for EveSettings {
    fn default() -> Self {
        let kinds = EventType::ALL.into_iter().filter(|kind| *kind != EventType::Stats);
        Self { file: None, kinds: kinds.collect(), max_mib: 256, keep: 4 }
    }
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            metrics_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9935))),
            oui_file: PathBuf::from(crate::makers::DEFAULT_PATH),
            socket_group: "sekisho".to_owned(),
            train_hours: 24,
            model_dir: None,
            record_minutes: 30,
            record_max_mib: 1_024,
            notify: sensor_notify::Settings::default(),
            journal: Keeping { days: 400, rows: 500_000 },
            eve: EveSettings::default(),
            flows: FlowSettings::default(),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}: {source}{}", unreadable_hint(.source))]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it is wrong.
    #[error("{}", problem::report(.file, .problems))]
    Wrong {
        /// Which file.
        file: PathBuf,
        /// Everything that is wrong in it, by line.
        problems: Vec<Problem>,
    },
}

fn unreadable_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; name the right file with --config",
        io::ErrorKind::PermissionDenied => "; run as root",
        _ => "",
    }
}

/// Reads the file given, which must exist; or else the one at [`DEFAULT_PATH`], which need not.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let path = file.unwrap_or(Path::new(DEFAULT_PATH));
    match fs::read(path) {
        Ok(bytes) => parse(&bytes).map_err(|problems| ConfigError::Wrong { file: path.to_owned(), problems }),
        Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(source) => Err(ConfigError::Unreadable { file: path.to_owned(), source }),
    }
}

/// A configuration with one key changed: `key = value`, the key with its sections. A value that is no TOML is taken for a
/// text.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn change(config: Config, key: &str, value: &str) -> Result<Config, Vec<Problem>> {
    let as_it_is = check::over(config.clone(), &format!("{key} = {value}"));
    match as_it_is {
        Err(problems) if problems.iter().any(|problem| problem.what.starts_with(check::UNREADABLE)) => {
            check::over(config, &format!("{key} = {value:?}"))
        }
        other => other,
    }
}

/// Reads the text of a configuration; on failure gives everything that is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Config, Vec<Problem>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => check::check(text).map(|config| Config { text: text.to_owned(), ..config }),
        Err(error) => Err(vec![Problem {
            line: bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1,
            key: String::new(),
            what: "the file is not UTF-8 text".to_owned(),
            hint: "save it as UTF-8".to_owned(),
        }]),
    }
}
