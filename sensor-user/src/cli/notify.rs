//! `sekisho notify`: who is told, and how that goes.

use std::time::Duration;

use clap::{Args, Subcommand};
use sensor_core::policy::Name;

use super::args::{AskArgs, Output};
use super::client::Client;
use super::show::Here;
use super::table::{column, numbers, table};
use super::{CliError, run};
use crate::label;
use crate::protocol::{NotifyChannel, NotifyTested, Request};

/// How long a try may take: a little longer than the daemon gives it.
const TRY_PATIENCE: Duration = Duration::from_secs(65);

/// `sekisho notify ...`.
#[derive(Subcommand, Debug)]
pub enum NotifyTask {
    /// Show the channels, what waits, and what went well or wrong last
    List(AskArgs),
    /// Have a channel tell a test now, and show what its server says
    #[command(after_long_help = "\
It goes the way of every notice: the running daemon sends it, with its configuration of when it was started. A lamp is lit for some \
seconds as for the gravest, and sounds. Exit code 0 if the server took it, 1 if not.

Examples:
  sekisho notify test it-mail")]
    Test(NotifyTestArgs),
    /// Say that you know of an incident, or of all there is: lamps go dark, until something new happens
    #[command(after_long_help = "\
It releases nobody and judges nothing; see `sekisho block remove` and `sekisho incidents judge`, which also has lamps go dark. \
Exit code 1 if no lamp shows that incident.

Examples:
  sekisho notify ack 12
  sekisho notify ack")]
    Ack(NotifyAckArgs),
}

/// `sekisho notify test`.
#[derive(Args, Debug)]
pub struct NotifyTestArgs {
    /// The channel, by its name in the configuration
    #[arg(value_name = "NAME")]
    pub name: Name,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho notify ack`.
#[derive(Args, Debug)]
pub struct NotifyAckArgs {
    /// The number of the incident; without it all
    #[arg(value_name = "INCIDENT")]
    pub incident: Option<u64>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Carries it out; gives what is shown.
pub fn notify(task: &NotifyTask) -> Result<String, CliError> {
    match task {
        NotifyTask::List(args) => run::ask(args, Request::NotifyList, |list: Vec<_>, at| channels(&list, at)),
        NotifyTask::Test(args) => {
            let mut client = Client::connect_for(&args.ask.socket, TRY_PATIENCE)?;
            let answer = client.ask(Request::NotifyTest(args.name.to_string()))?;
            if args.ask.output.output == Output::Json {
                return Ok(run::json(&answer));
            }
            let NotifyTested { channel, answer } = client.read(answer)?;
            Ok(format!("{} took it and says: {}\n", label::plain(&channel), label::plain(&answer)))
        }
        NotifyTask::Ack(args) => {
            let mut client = Client::connect_for(&args.ask.socket, TRY_PATIENCE)?;
            let answer = client.ask(Request::NotifyAck(args.incident))?;
            Ok(match (args.ask.output.output, args.incident) {
                (Output::Json, _) => run::json(&answer),
                (Output::Human, Some(id)) => {
                    format!("You know of incident {id}: lamps do not show it any more.\n")
                }
                (Output::Human, None) => "You know of all there is: lamps go dark.\n".to_owned(),
            })
        }
    }
}

fn channels(list: &[NotifyChannel], here: &Here) -> String {
    if list.is_empty() {
        return "Nobody is told: the configuration has no channel (see [notify.channels]).\n".to_owned();
    }
    let row = |channel: &NotifyChannel| {
        let date =
            |stamp: Option<crate::clock::Stamp>| stamp.map_or("-".to_owned(), |at| at.local(&here.zone));
        let error = channel.last_error.as_ref().map(|why| format!("{} {why}", date(channel.last_error_time)));
        [
            channel.name.clone(),
            channel.kind.clone(),
            state(channel).to_owned(),
            channel.waiting.to_string(),
            channel.sent.to_string(),
            channel.lost.to_string(),
            date(channel.last_success),
            error.unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    let columns = [
        column("CHANNEL", 8),
        column("KIND", 7),
        column("STATE", 7),
        numbers("WAIT"),
        numbers("SENT"),
        numbers("LOST"),
        column("LAST SUCCESS", 19),
        column("LAST ERROR", 12),
    ];
    table(columns, &rows, here.width)
}

/// How a channel does, as far as attempts since the start of the daemon show: before the first nobody knows.
fn state(channel: &NotifyChannel) -> &'static str {
    match (channel.last_success, channel.last_error_time) {
        _ if channel.failing => "FAILS",
        (None, None) => "untried",
        (success, Some(error)) if success.is_none_or(|success| success < error) => "retries",
        _ => "ok",
    }
}
