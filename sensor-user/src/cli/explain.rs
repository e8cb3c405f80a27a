//! `sekisho explain`: what may be written after it, and the asking of the daemon.

use std::path::PathBuf;

use clap::Args;
use sensor_journal::JournalError;

use super::args::AskArgs;
use super::client::Client;
use super::events::StateArgs;
use super::{CliError, history};
use crate::protocol::{IncidentInfo, Request};

/// `sekisho explain`.
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// The number of the incident
    #[arg(value_name = "NUMBER")]
    pub id: u64,
    /// Read it from this log of events (JSON lines) instead of asking the daemon
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Make the decision anew: from the daemon's record, by its state, configuration and models of then, or from this
    /// capture
    #[arg(long, value_name = "CAPTURE", num_args = 0..=1)]
    pub replay: Option<Option<PathBuf>>,
    /// Make it anew with this key of the configuration changed
    #[arg(long, requires = "replay", value_name = "KEY=VALUE", value_parser = assignment)]
    pub what_if: Option<(String, String)>,
    /// Of a capture: the configuration; without this /etc/sekisho/sekisho.toml, if it is there
    #[arg(long, requires = "replay", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Of a capture: drop what an isolated device sends, as the daemon does in enforce mode
    #[arg(long, requires = "replay")]
    pub enforce: bool,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it like detect.scan.isolate_alpha=0.001")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl WhyArgs {
    /// The incident as the running daemon knows it, or, of one it does not know any more, as the journal has it.
    ///
    /// # Errors
    ///
    /// [`CliError`], also if there is no such incident.
    pub fn incident(&self) -> Result<IncidentInfo, CliError> {
        match self.ask_daemon() {
            Err(error @ (CliError::NoIncident(_) | CliError::NoDaemon { .. })) => {
                match history::one(&self.state, self.id) {
                    Err(CliError::Journal(JournalError::Nothing(_))) => Err(error),
                    found => found,
                }
            }
            answer => answer,
        }
    }

    fn ask_daemon(&self) -> Result<IncidentInfo, CliError> {
        let mut client = Client::connect(&self.ask.socket)?;
        let answer = client.ask(Request::Incidents)?;
        let incidents: Vec<IncidentInfo> = client.read(answer)?;
        incidents.into_iter().find(|incident| incident.id == self.id).ok_or(CliError::NoIncident(self.id))
    }
}
