//! The command line: its commands, and those of them that ask a running daemon or check the configuration.
//!
//! Exit codes: 0 done, 1 failed, 2 not understood (clap's own). What went wrong goes to standard error.

mod args;
mod audit;
mod block;
mod bypass;
mod check;
mod client;
mod counted;
mod csv;
mod device;
mod devices;
mod events;
mod explain;
mod flows;
mod history;
mod incidents;
mod kernel_args;
mod known;
mod model;
mod notify;
mod pack;
mod report;
mod run;
mod seen;
pub(crate) mod show;
pub mod table;
#[cfg(test)]
mod tests;
mod when;
mod window;

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use sensor_journal::JournalError;

use crate::bpf::BpfError;
use crate::clock::Stamp;
use crate::config::ConfigError;
use crate::flows::QueryError;
use crate::pack::PackingError;
use crate::protocol::Refusal;
use crate::say;
use crate::store::StoreError;

pub(crate) use client::Client;

pub use audit::{AuditTask, KeyArgs, ListArgs, VerifyPackArgs, audit};
pub use events::{EventsArgs, StateArgs};
pub use pack::PackArgs;
pub use when::SpanArgs;

pub use args::{
    AskArgs, CheckArgs, Cli, ClientTask, DEFAULT_STATE_DIR, DetachArgs, DoctorArgs, DrillArgs, IncidentsArgs,
    MetricsListen, Output, OutputArgs, ReplayArgs, RunArgs, Task, TellArgs, VerifyArgs,
};
pub use devices::{
    DeviceArgs, DevicesArgs, DevicesTask, DistinctArgs, ExportArgs, ImportArgs, MergeArgs, SetArgs,
};
pub use incidents::{IncidentArgs, IncidentsTask, JudgeArgs, ReviewArgs, Verdict};
pub use kernel_args::{BypassArgs, BypassState, LoadArgs, UpgradeArgs};

pub use explain::WhyArgs;
pub use flows::{FlowsQueryArgs, FlowsTask};
pub(crate) use run::{here, json, run as answer};

pub use model::{ExplainArgs, ModelTask, PromoteArgs};

pub use block::{BlockAddArgs, BlockRemoveArgs, BlockTask};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nobody listens.
    #[error(
        "no daemon answers on {path}; start one with `systemctl start sekisho` or `sekisho run --bridge NAME`, or name \
         its socket with --socket"
    )]
    NoDaemon {
        /// The socket.
        path: PathBuf,
    },
    /// Not in the group.
    #[error(
        "you may not use {path}: run as root, or let root put you in the group sekisho (adduser NAME sekisho) and log \
         in again"
    )]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke, or took too long.
    #[error("the daemon on {path} does not answer: {source}")]
    Connection {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What came back is no answer.
    #[error(
        "what answers on {path} is not understood ({what}); the sekisho command and the daemon must be of one release"
    )]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The daemon refuses.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// There is no such device.
    #[error("no device is known as {0}; `sekisho devices` shows those there are")]
    NoDevice(String),
    /// A file cannot be read or written.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of devices has mistakes.
    #[error("{path} is not taken over; nothing was changed:\n{what}")]
    Csv {
        /// The file.
        path: PathBuf,
        /// The mistakes, a line each.
        what: String,
    },
    /// The journal has nothing of a month.
    #[error("there is nothing of {month}: the journal begins {since}, and a month is told when it has begun")]
    NoMonth {
        /// The month.
        month: String,
        /// Since when there is a journal.
        since: String,
    },
    /// Binary on a screen.
    #[error("a PDF is nothing to look at here; name a file with -f")]
    Screen,
    /// Nothing prints.
    #[error(
        "no Chromium is here to print the page; install it (apt-get install chromium), or print the page (-o html) in any browser"
    )]
    NoPrinter,
    /// The page was not printed.
    #[error("Chromium did not print the page: {0}; print it (-o html) in any browser")]
    Printer(String),
    /// The log of conversations cannot be read.
    #[error(transparent)]
    FlowLog(#[from] sensor_flowlog::FlowLogError),
    /// There is no such incident.
    #[error("there is no incident {0}; `sekisho incidents` shows those there are")]
    NoIncident(u64),
    /// A time that ends before it begins.
    #[error("the time ends before it begins: it is from {from} to {to}; exchange --from and --to")]
    Span {
        /// Its beginning.
        from: Stamp,
        /// Its end.
        to: Stamp,
    },
    /// A time that is not yet.
    #[error("--from {0} is in the future: nothing can be in the journal yet")]
    Future(Stamp),
    /// The daemon's database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A pack cannot be made.
    #[error(transparent)]
    Pack(#[from] PackingError),
    /// The models had no part in an incident.
    #[error(
        "no model had a part in incident {0}: it has no finding of the detector `unusual`; `sekisho incidents {0}` shows \
         what it has"
    )]
    NoModelFinding(u64),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The kernel's side cannot be used.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// No bridge has anything pinned.
    #[error(
        "nothing is loaded in {0}: start with `sekisho run --bridge NAME`, or name another place with --pin-dir"
    )]
    NothingLoaded(PathBuf),
    /// Somebody else switches it back.
    #[error("the bypass of {bridge} does not stay {wanted}: somebody switches it back")]
    BypassContested {
        /// The bridge.
        bridge: String,
        /// `on` or `off`.
        wanted: &'static str,
    },
    /// The log of conversations cannot be read.
    #[error(transparent)]
    Flows(#[from] QueryError),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Carries out a command that needs no daemon of its own.
pub fn run(task: &ClientTask) -> ExitCode {
    if let ClientTask::Audit(task) = task {
        return audit::carry_out(task);
    }
    match answer(task, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads has read enough, as `head` does.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(CliError::Flows(error)) if error.is_enough() => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Tells why a command failed.
pub fn fail(error: &dyn Display) -> ExitCode {
    say::err(format_args!("sekisho: {error}"));
    ExitCode::FAILURE
}
