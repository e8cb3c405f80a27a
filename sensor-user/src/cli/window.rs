//! `sekisho window`: announced change windows.

use clap::{ArgGroup, Args, Subcommand};
use sensor_core::policy::Name;
use sensor_core::policy::window::{AHEAD, LONGEST};

use super::args::AskArgs;
use super::show::Here;
use super::table::{column, numbers, table};
use super::{CliError, run};
use crate::protocol::{Request, WindowAdd, WindowInfo, WindowWho};
use crate::{duration, label};

/// `sekisho window ...`.
#[derive(Subcommand, Debug)]
pub enum WindowTask {
    /// Announce a change: for a time nothing is cut off by itself, only told
    #[command(after_long_help = "\
For what looks like an attack and is none: a renumbering, a new server, a vulnerability scan. While the window is open, \
detection goes on and all it finds is told, but no device it is for is restricted by itself, nor held longer. Who is held \
already stays held, what a person enters with `sekisho block add` is enforced, and the kernel's budget of new destinations \
([reflex] of the configuration) goes on. It ends by itself, lasts over a restart, and setting the clock changes nothing.

DEVICE is a name from the configuration, or a MAC or IP address; one that was not seen yet may be given.

Examples:
  sekisho window add 10.0.0.9 --for 2h --reason \"vulnerability scan, ticket 1234\"
  sekisho window add --segment radiology --in 6h --for 4h --reason \"renumbering\"
  sekisho window add --everybody --for 1h --reason \"new core switch\"
  sekisho window list
  sekisho window remove 1")]
    Add(WindowAddArgs),
    /// Show the windows that are open or to come
    List(AskArgs),
    /// End a window, or call it off, by its number
    Remove(WindowRemoveArgs),
}

/// `sekisho window add`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("who").required(true).args(["device", "segment", "everybody"])))]
pub struct WindowAddArgs {
    /// For this device
    #[arg(value_name = "DEVICE")]
    pub device: Option<String>,
    /// For all devices of this segment of the configuration
    #[arg(long, value_name = "NAME")]
    pub segment: Option<Name>,
    /// For all devices
    #[arg(long)]
    pub everybody: bool,
    /// How long it lasts, like 90m or 4h; 72h at most
    #[arg(long = "for", value_parser = length, value_name = "TIME")]
    pub for_ns: u64,
    /// In how long it begins, 30d at most; without this at once
    #[arg(long = "in", value_parser = ahead, value_name = "TIME", default_value = "0s", hide_default_value = true)]
    pub in_ns: u64,
    /// Why, for those who wonder why nothing was cut off
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho window remove`.
#[derive(Args, Debug)]
pub struct WindowRemoveArgs {
    /// The number of the window
    #[arg(value_name = "NUMBER")]
    pub id: u32,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

fn length(text: &str) -> Result<u64, String> {
    match duration::parse(text) {
        Ok(0) => Err("a window of no length is none".to_owned()),
        Ok(ns) if ns > LONGEST => Err("longer than 72h; announce another one when it is over".to_owned()),
        other => other.map_err(|error| error.to_string()),
    }
}

fn ahead(text: &str) -> Result<u64, String> {
    match duration::parse(text) {
        Ok(ns) if ns > AHEAD => Err("more than 30d ahead".to_owned()),
        other => other.map_err(|error| error.to_string()),
    }
}

/// Carries it out; gives what is shown.
pub fn window(task: &WindowTask) -> Result<String, CliError> {
    match task {
        WindowTask::Add(args) => {
            let who = match (&args.device, args.segment) {
                (Some(device), _) => WindowWho::Device(device.clone()),
                (None, Some(segment)) => WindowWho::Segment(segment.to_string()),
                // clap requires one of them.
                (None, None) => WindowWho::Everybody,
            };
            let (in_ns, for_ns, reason) = (args.in_ns, args.for_ns, args.reason.clone());
            run::ask(&args.ask, Request::WindowAdd(WindowAdd { who, in_ns, for_ns, reason }), added)
        }
        WindowTask::List(args) => run::ask(args, Request::Windows, |list: Vec<_>, at| windows(&list, at)),
        WindowTask::Remove(args) => {
            run::ask(&args.ask, Request::WindowRemove(args.id), |gone: WindowInfo, _| {
                let who = label::plain(&gone.who);
                format!("Window {} for {who} is over: what is found there acts again.\n", gone.id)
            })
        }
    }
}

fn added(window: WindowInfo, here: &Here) -> String {
    let (id, who) = (window.id, label::plain(&window.who));
    let (from, until) = (window.from.local(&here.zone), window.until.local(&here.zone));
    let when = if window.open { format!("until {until}") } else { format!("from {from} until {until}") };
    format!(
        "Window {id} for {who}, {when}: what is found is told, and nothing is cut off by itself.\n\
         `sekisho window remove {id}` ends it.\n"
    )
}

fn windows(list: &[WindowInfo], here: &Here) -> String {
    if list.is_empty() {
        return "No change window is announced.\n".to_owned();
    }
    let row = |window: &WindowInfo| {
        [
            window.id.to_string(),
            if window.open { "open" } else { "to come" }.to_owned(),
            window.who.clone(),
            window.from.local(&here.zone),
            window.until.local(&here.zone),
            window.by.clone(),
            window.reason.clone(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    let columns = [
        numbers("ID"),
        column("STATE", 7),
        column("FOR", 12),
        column("FROM", 19),
        column("UNTIL", 19),
        column("BY", 8),
        column("REASON", 12),
    ];
    table(columns, &rows, here.width)
}
