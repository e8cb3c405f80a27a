//! The commands that ask the daemon: request, answer, output.

use std::io::Write;

use jiff::tz::TimeZone;
use sensor_core::addr::Prefix;
use sensor_core::policy::Target;
use sensor_journal::JournalError;
use serde_json::Value;

use super::args::{AskArgs, ClientTask, IncidentsArgs, Output};
use super::block::{BlockAddArgs, BlockRemoveArgs, BlockTask};
use super::client::Client;
use super::{
    CliError, audit, bypass, check, devices, events, flows, history, incidents, model, notify, report, show,
    table, window,
};
use crate::clock::Stamp;
use crate::protocol::{Added, BlockAdd, BlockInfo, BlockSelect, IncidentInfo, Request, Status};

/// Carries a command out. Gives whether all is well.
pub fn run(task: &ClientTask, out: &mut impl Write) -> Result<bool, CliError> {
    let text = match task {
        ClientTask::Check(args) => return check::check(args, out),
        ClientTask::Events(args) => return events::events(args, out).map(|()| true),
        ClientTask::Audit(task) => return audit::audit(task, out).map(|code| code == 0),
        ClientTask::Flows(task) => return flows::flows(task),
        ClientTask::Report(args) => return report::report(args),
        ClientTask::Model(task) => model::model(task)?,
        ClientTask::Notify(task) => notify::notify(task)?,
        ClientTask::Bypass(args) => bypass::bypass(args, &here())?,
        ClientTask::Status(args) => ask(args, Request::Status, |status, at| show::status(&status, at))?,
        ClientTask::Devices(args) => devices::devices(args)?,
        ClientTask::Incidents(args) => incidents(args)?,
        ClientTask::Window(task) => window::window(task)?,
        ClientTask::Block(BlockTask::List(args)) => {
            ask(args, Request::BlockList, |blocks: Vec<_>, at| show::blocks(&blocks, at))?
        }
        ClientTask::Block(BlockTask::Add(args)) => add(args)?,
        ClientTask::Block(BlockTask::Remove(args)) => remove(args)?,
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(true)
}

/// Where and when people read.
pub fn here() -> show::Here {
    show::Here { now: Stamp::now(), zone: TimeZone::system(), width: table::screen_width() }
}

/// A program's output: one line.
pub fn json(value: &Value) -> String {
    format!("{value}\n")
}

/// Asks one thing, and shows its answer in the way it is wanted.
pub fn ask<T: serde::de::DeserializeOwned>(
    args: &AskArgs,
    request: Request,
    human: impl Fn(T, &show::Here) -> String,
) -> Result<String, CliError> {
    let mut client = Client::connect(&args.socket)?;
    let answer = client.ask(request)?;
    match args.output.output {
        Output::Json => Ok(json(&answer)),
        Output::Human => Ok(human(client.read(answer)?, &here())),
    }
}

fn incidents(args: &IncidentsArgs) -> Result<String, CliError> {
    if let Some(task) = &args.task {
        return incidents::say(task);
    }
    if args.id.is_none() && (args.all || !args.span.is_open()) {
        return history::all(args);
    }
    let mut client = match (Client::connect(&args.ask.socket), args.id) {
        (Err(CliError::NoDaemon { .. }), Some(id)) if args.state.journal().is_ok() => {
            return former(args, id);
        }
        (other, _) => other?,
    };
    let answer = client.ask(Request::Incidents)?;
    let Some(id) = args.id else {
        if args.ask.output.output == Output::Json {
            return Ok(json(&answer));
        }
        // That nothing was found says something only if enough was seen.
        let status = client.ask(Request::Status)?;
        let status: Status = client.read(status)?;
        let incidents: Vec<_> = client.read(answer)?;
        let shown = show::incidents(&incidents, status.live.blind.as_ref(), &here());
        // A daemon that was just started has none, which says nothing of yesterday.
        return Ok(shown + "`sekisho incidents --all` shows those of earlier runs too.\n");
    };
    let one = answer.as_array().into_iter().flatten().find(|i| i["id"].as_u64() == Some(id));
    let Some(one) = one else { return former(args, id) };
    match args.ask.output.output {
        Output::Json => Ok(json(one)),
        Output::Human => {
            let incident: IncidentInfo = client.read(one.clone())?;
            Ok(show::incident(&incident, &here()))
        }
    }
}

/// An incident that the daemon does not know any more.
fn former(args: &IncidentsArgs, id: u64) -> Result<String, CliError> {
    let incident = match history::one(&args.state, id) {
        Err(CliError::Journal(JournalError::Nothing(_))) => return Err(CliError::NoIncident(id)),
        other => other?,
    };
    Ok(match args.ask.output.output {
        Output::Json => json(&serde_json::to_value(&incident).unwrap_or_default()),
        Output::Human => show::incident(&incident, &here()),
    })
}

fn add(args: &BlockAddArgs) -> Result<String, CliError> {
    let ips = args.ip.iter().map(|ip| Target::Ip(ip.to_canonical()).to_string());
    let macs = args.mac.iter().map(|mac| Target::Mac(*mac).to_string());
    // The daemon says what is wrong with a network.
    let nets = args.net.iter().map(Prefix::to_string);
    let vlans = args.vlan.iter().map(|vlan| Target::Vlan(*vlan).to_string());
    let ports = args.port.iter().map(|port| Target::Port(*port).to_string());
    let segments = args.segment.iter().map(|segment| Target::Segment(*segment).to_string());
    let request = BlockAdd {
        targets: ips.chain(macs).chain(nets).chain(vlans).chain(ports).chain(segments).collect(),
        devices: args.device.clone(),
        level: args.level.map(|level| level.to_string()),
        direction: args.direction.map(|direction| direction.to_string()),
        allow: args.allow.map(|list| list.to_string()),
        force: args.force,
        preview: args.preview,
        for_ns: args.for_ns,
        reason: args.reason.clone(),
    };
    let mut client = Client::connect(&args.ask.socket)?;
    let answer = client.ask(Request::BlockAdd(request))?;
    if args.ask.output.output == Output::Json {
        return Ok(json(&answer));
    }
    let added: Added = client.read(answer)?;
    // The order is carried out; that the daemon cannot say its mode as well must not look as if it was not.
    let status = client.ask(Request::Status).and_then(|answer| client.read::<Status>(answer));
    let observes = status.is_ok_and(|status| status.live.mode == "observe");
    Ok(show::added(&added, observes, &here()))
}

fn remove(args: &BlockRemoveArgs) -> Result<String, CliError> {
    let ip = args.ip.map(|ip| Target::Ip(ip.to_canonical()).to_string());
    let mac = args.mac.map(|mac| Target::Mac(mac).to_string());
    let net = args.net.map(|net| net.to_string());
    let vlan = args.vlan.map(|vlan| Target::Vlan(vlan).to_string());
    let port = args.port.map(|port| Target::Port(port).to_string());
    let segment = args.segment.map(|segment| Target::Segment(segment).to_string());
    let target = ip.or(mac).or(net).or(vlan).or(port).or(segment).map(BlockSelect::Target);
    let id = args.id.map(BlockSelect::Id);
    let device = args.device.clone().map(BlockSelect::Device);
    // clap requires one of them.
    let select = id.or(target).or(device).unwrap_or(BlockSelect::Id(0));
    let mut client = Client::connect(&args.ask.socket)?;
    // While the entry is there the list knows its device.
    let list = match args.ask.output.output {
        Output::Human => client.ask(Request::BlockList)?,
        Output::Json => Value::Null,
    };
    let answer = client.ask(Request::BlockRemove(select))?;
    if args.ask.output.output == Output::Json {
        return Ok(json(&answer));
    }
    let mut removed: BlockInfo = client.read(answer)?;
    let known: Vec<BlockInfo> = client.read(list)?;
    removed.device = known.into_iter().find(|block| block.id == removed.id).and_then(|block| block.device);
    Ok(show::removed(&removed))
}
