//! `sekisho devices`: who is on the network, and what people say of them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::args::{AskArgs, Output};
use super::client::Client;
use super::counted::{counted, number};
use super::csv::Problems;
use super::{CliError, csv, run, show};
use crate::label;
use crate::protocol::{
    DeviceDistinct, DeviceEdit, DeviceInfo, DeviceMerge, DeviceName, MAX_REQUEST, Refusal, Regrouped, Request,
};

/// Largest file that is imported, bytes.
const MAX_FILE: u64 = 64 << 20;
/// A part of a list has so many bytes, but for its last device: they fit into a request.
const PART: usize = MAX_REQUEST / 2;

/// `sekisho devices`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevicesArgs {
    /// What to do with one, instead of showing all.
    #[command(subcommand)]
    pub task: Option<DevicesTask>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho devices ...`.
#[derive(Subcommand, Debug)]
pub enum DevicesTask {
    /// Show one with all there is to know
    Show(DeviceArgs),
    /// Say what a device is called, where it stands, whose it is
    #[command(after_long_help = "\
DEVICE is its number, its name, or a MAC or IP address. A MAC address need not have been heard yet. An empty text takes an \
entry away. What is said lasts, over restarts and when the device is not there. A name is given once. Of several addresses that are \
one device by evidence alone, words are said of the device by its number, --approved of all of them, and --class and --criticality of \
the address that has that number alone, for they restrict and spare.

Examples:
  sekisho devices set 10.0.0.7 --name \"MRI 2\" --place \"building A, room 12\" --owner radiology
  sekisho devices set \"MRI 2\" --criticality life-critical --approved
  sekisho devices set 17 --note \"\"")]
    Set(SetArgs),
    /// Say that a device may be here
    Approve(DeviceArgs),
    /// Say that two are one device, which is cut off as one
    #[command(after_long_help = "\
A laptop on its dock and off it, a server with two network cards: what is cut off by one address is cut off by all. The number \
and the entries of the first go on. The block list's entries about one are about the other too, but never about what is protected or what a life depends on; one for an address alone (--ip, --mac) stays that. If a life depends on one, it does on both. Never merge a gateway.

Example:
  sekisho devices merge \"ward laptop 3\" 00:1b:21:0a:0b:0c")]
    Merge(MergeArgs),
    /// Say that two are not one device, though they ask for addresses as one
    #[command(after_long_help = "\
`sekisho devices` no longer shows them as perhaps the same, and never counts them as one by evidence. `sekisho devices merge` \
undoes it.

Example:
  sekisho devices distinct 17 23")]
    Distinct(DistinctArgs),
    /// Say that an address is a device of its own again
    #[command(after_long_help = "\
It has the number back that it had before it was merged, and what was said of it; so have the others. A class or criticality that was \
said of them while they were one holds for all of them then. Who is cut off stays cut off, each by an entry of its own. An address \
that was one with others by evidence is never that again, until it is merged with them.

Example:
  sekisho devices split 00:1b:21:0a:0b:0c")]
    Split(DeviceArgs),
    /// Forget a device, and what is said of it
    #[command(after_long_help = "\
What is held against it is forgotten too. So of several addresses that are one device by evidence alone, only the one that is named \
is forgotten; the number is that of the one known first.

Example:
  sekisho devices forget 17")]
    Forget(DeviceArgs),
    /// Write all devices as CSV, for stock-taking
    #[command(after_long_help = "\
Columns: id, name, mac, addresses, maker, kind, sure (0 to 1), class, criticality, place, owner, note, approved, port, vlan, segment, \
switch, first_seen, last_seen, state, one_by_evidence. Several addresses that are one device are one line, by the number of the one \
known first: one_by_evidence says by which DHCP client id, unless a person merged them. What `import` reads can be changed in between. A text that a spreadsheet would take for a formula begins with an \
apostrophe, which `import` takes away. With -o json the list is as `sekisho devices -o json` shows it; with -f the file is CSV all \
the same, and what was written is told.

Examples:
  sekisho devices export > devices.csv
  sekisho devices export --excel -f devices.csv")]
    Export(ExportArgs),
    /// Read from CSV what people say of devices
    #[command(after_long_help = "\
The first line names the columns, in any order. One of id, mac and addresses says which device it is (the first of them that is not \
empty); name, place, owner, note, class, criticality and approved (yes or no) are read, where there is such a column; an empty field \
takes the entry away. The others that `export` writes are left alone. Every line is checked before anything is sent; what only the \
daemon knows (whether there is such a device, such a class, the name is free) it says then, and takes over all lines or none: two \
devices can swap their names. A line of several addresses that are one by evidence is read as `sekisho devices set` says. Every mistake is told with its line and column. Several addresses are of one device, or the line is \
refused.

Examples:
  sekisho devices import devices.csv
  sekisho devices import --check - < devices.csv")]
    Import(ImportArgs),
}

/// One device.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// Its number, its name, or a MAC or IP address
    #[arg(value_name = "DEVICE")]
    pub device: String,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// How much depends on a device.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Criticality {
    /// A life depends on it: pinned at most, never slowed down
    LifeCritical,
    /// Many depend on it: throttled at most, unless it scans beyond doubt
    Server,
    /// Nothing special
    Other,
    /// Nothing is said: its class counts
    None,
}

/// `sekisho devices set`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true).multiple(true)
    .args(["name", "place", "owner", "note", "class", "criticality", "approved", "unapproved"])))]
pub struct SetArgs {
    /// Its number, its name, or a MAC or IP address
    #[arg(value_name = "DEVICE")]
    pub device: String,
    /// What it is called
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Where it stands
    #[arg(long, value_name = "TEXT")]
    pub place: Option<String>,
    /// Whose it is
    #[arg(long, value_name = "TEXT")]
    pub owner: Option<String>,
    /// What else there is to say
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Its class, one of the configuration's, in place of the one its addresses give it
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,
    /// How much depends on it, besides what its class says
    #[arg(long, value_enum, value_name = "HOW")]
    pub criticality: Option<Criticality>,
    /// It may be here
    #[arg(long)]
    pub approved: bool,
    /// It may not, or that is not known
    #[arg(long, conflicts_with = "approved")]
    pub unapproved: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho devices merge`.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// The device whose number and entries go on
    #[arg(value_name = "DEVICE")]
    pub into: String,
    /// The other one
    #[arg(value_name = "OTHER")]
    pub device: String,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho devices distinct`.
#[derive(Args, Debug)]
pub struct DistinctArgs {
    /// The one
    #[arg(value_name = "DEVICE")]
    pub device: String,
    /// The other one
    #[arg(value_name = "OTHER")]
    pub other: String,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho devices export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Where to write it; without this to standard output
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Begin with a byte order mark, without which Excel shows no Japanese
    #[arg(long)]
    pub excel: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho devices import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Only check it, and say what would be sent
    #[arg(long)]
    pub check: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Carries it out; gives what is shown.
pub fn devices(args: &DevicesArgs) -> Result<String, CliError> {
    let Some(task) = &args.task else {
        return run::ask(&args.ask, Request::Devices, |list: Vec<_>, at| show::devices(&list, at));
    };
    match task {
        DevicesTask::Show(args) => one(args),
        DevicesTask::Set(args) => change(&args.ask, Request::DeviceEdit(vec![edit(args)]), "Noted"),
        DevicesTask::Approve(args) => {
            let edit =
                DeviceEdit { device: args.device.clone(), approved: Some(true), ..DeviceEdit::default() };
            change(&args.ask, Request::DeviceEdit(vec![edit]), "Approved")
        }
        DevicesTask::Merge(args) => {
            let merge = DeviceMerge { into: args.into.clone(), device: args.device.clone() };
            regroup(&args.ask, Request::DeviceMerge(merge), "One device now")
        }
        DevicesTask::Distinct(args) => {
            let distinct = DeviceDistinct { device: args.device.clone(), other: args.other.clone() };
            change(&args.ask, Request::DeviceDistinct(distinct), "Noted")
        }
        DevicesTask::Split(args) => {
            regroup(&args.ask, Request::DeviceSplit(args.device.clone()), "Devices of their own now")
        }
        DevicesTask::Forget(args) => {
            change(&args.ask, Request::DeviceForget(args.device.clone()), "Forgotten")
        }
        DevicesTask::Export(args) => export(args),
        DevicesTask::Import(args) => import(args),
    }
}

fn edit(args: &SetArgs) -> DeviceEdit {
    let criticality = args.criticality.map(|criticality| match criticality {
        Criticality::LifeCritical => "life-critical",
        Criticality::Server => "server",
        Criticality::Other => "other",
        Criticality::None => "",
    });
    DeviceEdit {
        device: args.device.clone(),
        name: args.name.clone(),
        place: args.place.clone(),
        owner: args.owner.clone(),
        note: args.note.clone(),
        class: args.class.clone(),
        criticality: criticality.map(str::to_owned),
        approved: (args.approved || args.unapproved).then_some(args.approved),
    }
}

/// Asks for a change, and says of whom it is.
fn change(ask: &AskArgs, request: Request, done: &str) -> Result<String, CliError> {
    run::ask(ask, request, |devices: Vec<DeviceName>, _| changed(&devices, done))
}

/// The same, with what a person must know besides.
fn regroup(ask: &AskArgs, request: Request, done: &str) -> Result<String, CliError> {
    run::ask(ask, request, |answer: Regrouped, _| {
        let remarks = answer.remarks.iter().map(|remark| format!("Note: {}.\n", label::plain(remark)));
        std::iter::once(changed(&answer.devices, done)).chain(remarks).collect()
    })
}

fn changed(devices: &[DeviceName], done: &str) -> String {
    if devices.is_empty() {
        return "Nothing changed: it was so already.\n".to_owned();
    }
    let name = |device: &DeviceName| format!("{} (number {})", show::name(device), device.id);
    format!("{done}: {}.\n", devices.iter().map(name).collect::<Vec<_>>().join(", "))
}

fn one(args: &DeviceArgs) -> Result<String, CliError> {
    let mut client = Client::connect(&args.ask.socket)?;
    let answer = client.ask(Request::Devices)?;
    let devices: Vec<DeviceInfo> = client.read(answer.clone())?;
    let wanted = args.device.trim();
    // All addresses that are counted with one that is called so.
    let numbers: BTreeSet<u64> = devices.iter().filter(|info| is(info, wanted)).map(number).collect();
    let at: Vec<usize> = (0..devices.len()).filter(|at| numbers.contains(&number(&devices[*at]))).collect();
    if at.is_empty() {
        return Err(CliError::NoDevice(label::plain(wanted)));
    }
    Ok(match args.ask.output.output {
        Output::Json => run::json(&Value::from_iter(at.iter().map(|at| answer[*at].clone()))),
        Output::Human => {
            let shown = at.iter().map(|at| show::device(&devices[*at], &run::here()));
            shown.collect::<Vec<_>>().join("\n")
        }
    })
}

/// Whether a person may call a device so.
fn is(info: &DeviceInfo, wanted: &str) -> bool {
    let device = &info.device;
    device.name.as_deref().is_some_and(|name| name.to_lowercase() == wanted.to_lowercase())
        || device.id.to_string() == wanted
        || device.mac.eq_ignore_ascii_case(wanted)
        || device.ips.iter().any(|ip| ip == wanted)
}

fn export(args: &ExportArgs) -> Result<String, CliError> {
    let mut client = Client::connect(&args.ask.socket)?;
    let answer = client.ask(Request::Devices)?;
    let devices: Vec<DeviceInfo> = client.read(answer.clone())?;
    let json = args.ask.output.output == Output::Json;
    let written = counted(&devices).len();
    let text = csv::export(&devices, args.excel)?;
    let Some(file) = &args.file else { return Ok(if json { run::json(&answer) } else { text }) };
    let failed = |source| CliError::File { doing: "write", path: file.clone(), source };
    crate::disk::write(file, text.as_bytes()).map_err(failed)?;
    if json {
        return Ok(run::json(&json!({ "file": file, "devices": written })));
    }
    Ok(format!("{} written to {}.\n", label::count(written as u64, "device", "devices"), file.display()))
}

fn import(args: &ImportArgs) -> Result<String, CliError> {
    let wrong = |problems: Problems| CliError::Csv { path: args.file.clone(), what: problems.to_string() };
    let rows = csv::import(&read(&args.file)?).map_err(wrong)?;
    let all = label::count(rows.len() as u64, "device", "devices");
    let json = args.ask.output.output == Output::Json;
    if args.check {
        return Ok(match json {
            true => run::json(&json!({ "file": args.file, "devices": rows.len(), "problems": [] })),
            false => format!(
                "{} has no mistake: {all}. Whether they are known, and their class is, the daemon says.\n",
                args.file.display()
            ),
        });
    }
    let mut client = Client::connect(&args.ask.socket)?;
    if rows.iter().any(|row| row.addresses.len() > 1) {
        let answer = client.ask(Request::Devices)?;
        let devices: Vec<DeviceInfo> = client.read(answer)?;
        csv::of_one_device(&rows, &devices).map_err(wrong)?;
    }
    let mut changed = 0;
    for request in requests(rows.iter().map(|row| row.edit.clone())) {
        let answer = client.ask(request).map_err(|error| match error {
            CliError::Refused(refusal) if !refusal.mistakes.is_empty() => wrong(csv::placed(refusal, &rows)),
            CliError::Refused(Refusal { message, kind, .. }) => {
                CliError::Refused(Refusal::new(kind, format!("{message}; nothing was changed")))
            }
            other => other,
        })?;
        changed = answer.as_array().map_or(0, Vec::len);
    }
    Ok(match json {
        true => run::json(&json!({ "devices": rows.len(), "changed": changed })),
        false => format!("{all} read, {changed} changed.\n"),
    })
}

/// A list as requests, of which the last has it carried out.
pub(super) fn requests(edits: impl Iterator<Item = DeviceEdit>) -> Vec<Request> {
    let (mut parts, mut bytes) = (Vec::<Vec<DeviceEdit>>::new(), PART);
    for edit in edits {
        if bytes >= PART {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += serde_json::to_vec(&edit).map_or(0, |text| text.len());
        if let Some(part) = parts.last_mut() {
            part.push(edit);
        }
    }
    let last = parts.pop().map(Request::DeviceEdit);
    parts.into_iter().map(Request::DeviceEditPart).chain(last).collect()
}

fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File { doing: "read", path: file.to_owned(), source };
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(MAX_FILE + 1).read_to_end(&mut bytes)
    } else {
        fs::File::open(file).and_then(|from| from.take(MAX_FILE + 1).read_to_end(&mut bytes))
    };
    read.map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failed(io::Error::other("it is larger than 64 MiB")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Envelope, VERSION};

    #[test]
    fn a_list_of_any_length_is_sent_whole_in_requests_that_fit() {
        for count in [0, 1, 40, 5_000] {
            let note = Some("記".repeat(256));
            let edit =
                |n: usize| DeviceEdit { device: n.to_string(), note: note.clone(), ..DeviceEdit::default() };
            let all: Vec<_> = (0..count).map(edit).collect();
            let requests = requests(all.iter().cloned());
            let ends = |request: &Request| matches!(request, Request::DeviceEdit(_));
            assert_eq!(requests.iter().position(ends), requests.len().checked_sub(1), "{count}");
            let mut sent = Vec::new();
            for request in requests {
                let line = serde_json::to_vec(&Envelope { version: VERSION, body: request.clone() }).unwrap();
                assert!(line.len() < MAX_REQUEST, "{}", line.len());
                let (Request::DeviceEdit(part) | Request::DeviceEditPart(part)) = request else { continue };
                sent.extend(part);
            }
            assert!(sent == all, "{count}");
        }
    }
}
