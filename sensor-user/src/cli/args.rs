//! What may be written after `sekisho`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sensor_core::settings::Mode;

use super::audit::AuditTask;
use super::block::BlockTask;
use super::devices::DevicesArgs;
use super::events::{EventsArgs, StateArgs};
use super::explain::WhyArgs;
use super::flows::FlowsTask;
use super::incidents::IncidentsTask;
use super::kernel_args::{BypassArgs, LoadArgs, UpgradeArgs};
use super::model::ModelTask;
use super::notify::NotifyTask;
use super::report::ReportArgs;
use super::when::SpanArgs;
use super::window::WindowTask;
use crate::bpf::DEFAULT_PIN_DIR;
use crate::duration;
use crate::eve::EventType;
use crate::protocol::DEFAULT_SOCKET;

/// Where the daemon keeps its database.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/sekisho";

/// What `sekisho-load.path` watches.
const DEFAULT_REQUEST: &str = "/run/sekisho/load";

/// Watches a bridge, and cuts off devices that stop behaving like themselves.
#[derive(Parser, Debug)]
#[command(name = "sekisho", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_long_help = "\
Examples:
  sekisho doctor                               whether it will work here
  sekisho run --bridge br0                     watch the bridge br0, as its configuration says
  sekisho status                               how the running daemon does
  sekisho devices                              who is on the network
  sekisho incidents                            what was found
  sekisho block add 10.0.0.7 --for 4h --reason \"virus warning\"
  sekisho block list
  sekisho block remove 10.0.0.7
  sekisho flows query --from 2h --host 10.0.0.7  whom it talked with
  sekisho replay capture.pcap                  what would have been found in a capture

Exit codes: 0 done, 1 failed, 2 the command line was not understood.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub task: Task,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Task {
    /// Watch a bridge: the daemon
    Run(RunArgs),
    /// Find in captures what would have been found on the wire
    Replay(ReplayArgs),
    /// Explain an incident: why, with its numbers, and what would be done without each kind of evidence
    #[command(after_long_help = "\
The incident is asked of the running daemon, or, if that does not know it any more, read from the journal; or read from a log of \
events (`sekisho run -o json`, `sekisho replay -o json`), or found in a capture.

With --replay the decision is made anew: from the record the daemon keeps, by what it had in mind, its configuration and its models of \
then; or from a capture, by the configuration of now. It must be the same as the one told (or in the log), byte for byte, or the exit \
code is 1. With --what-if it is made anew with one key of the configuration changed.

Examples:
  sekisho explain 3
  sekisho explain 3 --replay
  sekisho explain 3 --replay --what-if decide.highest=pin
  sekisho explain 3 --log eve.json --replay monday.pcap
  sekisho explain 3 --replay monday.pcap --what-if detect.scan.isolate_alpha=0.001")]
    Explain(WhyArgs),
    /// What needs no daemon of its own.
    #[command(flatten)]
    Client(ClientTask),
    /// Look whether Sekisho will work here, and how well, without changing anything
    #[command(after_long_help = "\
It says of the machine and of each port what is as it should be and what is not, and what to do about it. It can be run \
before the first start, and beside a running daemon.

Exit codes, as Nagios has them: 0 all is well, 1 it works less well than it could, 2 it does not work.")]
    Doctor(DoctorArgs),
    /// Take the program off the ports, and remove every trace a stopped daemon left in the kernel
    #[command(after_long_help = "\
A daemon that stops leaves its isolations in force: a device that is cut off stays so until its time is up. This \
command ends them all, detaches the program from every port, and puts back the offloads that were switched off there. \
Stop the daemon first.")]
    Detach(DetachArgs),
    /// Load and attach the program for a daemon without privileges, and end
    #[command(after_long_help = "\
Puts the program on all ports of the bridge and gives the maps to a group; rules that are there stay in force. Needs \
CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and to belong to the group (or CAP_CHOWN). Then `sekisho run` needs no privilege \
at all. It may be run again at any time, also while that daemon runs: it puts the program on ports that joined meanwhile, \
or lost it, and clears up after those that left.")]
    Load(LoadArgs),
    /// Replace the program on all ports by that of this release, at once and without losing a frame
    #[command(after_long_help = "\
Stop the daemon first, for it owns what is replaced: traffic passes and what is isolated stays so. Rules, their time, and \
counters go over, also from an older release with other maps. If anything fails, all ports get the program back that they \
had. The daemon of a new release does the same when it starts; this proves it before.

With --prove two more ports are made on the bridge and removed again. A numbered stream of packets goes from the one to \
the other, and one of a device that is isolated, before, during and after the swap. One packet lost or one leaked: \
exit code 1, and all is as before.

Examples:
  systemctl stop sekisho && sekisho upgrade --bridge br0 --prove && systemctl start sekisho")]
    Upgrade(UpgradeArgs),
    /// Play a fire drill: a device of its own begins to scan, and must be found, isolated, told and released
    #[command(after_long_help = "\
Two ports are made on the bridge and removed again. Between them, and to nobody else, a made-up device scans; the running daemon \
finds it, cuts it off and tells people as it would anybody; then it is released, and all is as before but for the incident. Each stage \
is timed. Every channel must tell of it: one that the rules never give an isolation to, or not at this hour, is named as silent, and that is a failure. It spends nothing of isolation.budget. Needs root, and 169.254.0.0/16 among network.internal, as by default. One that went well sets the metric \
sekisho_drill_last_success_timestamp_seconds; sekisho-drill.timer plays one each week.

Exit codes: 0 all went well, 1 a stage failed, which is named.

Examples:
  sekisho drill
  sekisho drill -o json")]
    Drill(DrillArgs),
    /// Check that whoever is isolated is: the block list, the kernel's rules and the wire agree
    #[command(after_long_help = "\
Ends as a Nagios check does: 0 all is as decided, 1 it is but somebody should look (no daemon runs, say), 2 it is not, \
3 it could not be found out. It needs no daemon, and changes nothing.

Examples:
  sekisho verify
  sekisho verify --wire 10s -o json")]
    Verify(VerifyArgs),
}

/// What asks a running daemon, or checks its configuration.
#[derive(Subcommand, Debug)]
pub enum ClientTask {
    /// Cut somebody off, let them talk again, or show who is held
    #[command(subcommand)]
    Block(BlockTask),
    /// Show how the running daemon does
    Status(AskArgs),
    /// Show the devices on the network, and say what they are: names, places, owners
    #[command(after_long_help = "\
Examples:
  sekisho devices
  sekisho devices show \"MRI 2\"
  sekisho devices set 10.0.0.7 --name \"MRI 2\" --place \"building A, room 12\"
  sekisho devices export > devices.csv")]
    Devices(DevicesArgs),
    /// Show what was found; approve what waits, and say what was false
    Incidents(IncidentsArgs),
    /// Show what happened: alerts, isolations, orders and more, from the journal; also while no daemon runs
    Events(EventsArgs),
    /// Show who decided what, and verify the record of it and packs of incidents
    #[command(subcommand)]
    Audit(AuditTask),
    /// Announce a change, so that nothing is cut off by itself for a time
    #[command(subcommand)]
    Window(WindowTask),
    /// Show what was learned to be usual, have it learned anew, and what it says of a device
    #[command(subcommand)]
    Model(ModelTask),
    /// Show who is told and how that goes, try it, and say that you know (which has lamps go dark)
    #[command(subcommand)]
    Notify(NotifyTask),
    /// In an emergency: take every verdict to "pass" at once, and back
    #[command(after_long_help = "\
While it is on, nothing is dropped: whoever is cut off gets through. Nothing is forgotten: the daemon goes on watching and \
deciding, entries go on and expire, and all hold again the moment it is off. It works whether or not a daemon runs or \
answers, survives a restart of the daemon, and is told until it is off: in the log every minute, by `sekisho status`, by the \
metric sekisho_bypass.

Examples:
  sekisho bypass on
  sekisho bypass status
  sekisho bypass off")]
    Bypass(BypassArgs),
    /// Check a configuration and show every problem
    Check(CheckArgs),
    /// Read the log of conversations: who talked with whom, when, how much, and what became of it
    #[command(subcommand)]
    Flows(FlowsTask),
    /// Write the report of a month, for people who are no analysts
    #[command(after_long_help = "\
What was found, what was judged of it, what was done and how fast; new and unapproved devices, devices by kind and maker, weak ones; what \
passed by segment; what could not be seen. In Japanese unless --lang en. The incidents come from the journal, traffic and weak devices \
from the log of conversations, the devices as they are now from the daemon. Judge incidents first: `sekisho incidents judge`.

Examples:
  sekisho report -f report.html
  sekisho report --month 2026-10 --lang en -o pdf -f 2026-10.pdf
  sekisho report --month 2026-10 -o csv --excel -f incidents.csv")]
    Report(ReportArgs),
}

/// How to show the result.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Output {
    /// For people
    #[default]
    Human,
    /// For programs
    Json,
}

/// How to show the result.
#[derive(Args, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OutputArgs {
    /// How to show the result
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
}

/// What to tell of what happens, and how.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct TellArgs {
    /// Tell only these events: device, flow, alert, isolation, bypass, order, approval, judgement, window, drop, blind, stats [default: all; people are spared
    /// flow and drop]
    #[arg(long, value_delimiter = ',', value_parser = event_type(), value_name = "EVENT,...")]
    pub events: Vec<EventType>,
    /// How.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl TellArgs {
    /// Whether to tell it as JSON.
    pub fn json(&self) -> bool {
        self.output.output == Output::Json
    }

    /// The kinds of events to tell.
    pub fn kinds(&self) -> Vec<EventType> {
        let all = EventType::ALL.into_iter();
        match (self.events.is_empty(), self.output.output) {
            (false, _) => self.events.clone(),
            (true, Output::Json) => all.collect(),
            (true, Output::Human) => all.filter(|kind| !kind.is_many()).collect(),
        }
    }
}

/// Where metrics are to be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetricsListen(pub Option<SocketAddr>);

impl FromStr for MetricsListen {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "off" => Ok(Self(None)),
            _ => s
                .parse()
                .map(|address| Self(Some(address)))
                .map_err(|_| "write an address and port like 127.0.0.1:9935, or off".to_owned()),
        }
    }
}

/// `sekisho run`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  sekisho run --bridge br0
  sekisho run --bridge br0 --mode enforce -o json >> eve.json")]
pub struct RunArgs {
    /// The bridge to watch; all its ports are, also those that join later
    #[arg(long, value_name = "NAME")]
    pub bridge: String,
    /// Configuration; without this /etc/sekisho/sekisho.toml, if it is there
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the block list, and what else must survive a restart, is kept
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// Where to listen for commands
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Where to serve metrics, or off; instead of what the configuration says
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<MetricsListen>,
    /// Whether to carry decisions out; instead of what the configuration says
    #[arg(long, value_parser = mode(), value_name = "MODE")]
    pub mode: Option<Mode>,
    /// Where to pin the kernel's side; each network namespace needs its own
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pub pin_dir: PathBuf,
    /// Take other XDP programs off the ports, instead of refusing to start
    #[arg(long)]
    pub replace: bool,
    /// Without privileges: the file to write when the program has to be attached to a port (see `sekisho load`)
    #[arg(long, value_name = "FILE", default_value = DEFAULT_REQUEST)]
    pub request: PathBuf,
    /// What to tell of what happens, on standard output.
    #[command(flatten)]
    pub tell: TellArgs,
}

/// `sekisho replay`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  sekisho replay monday.pcap
  sekisho replay captures/ -o json --events alert,isolation
  sekisho replay attack.pcapng --enforce       as it would have gone with the drops")]
pub struct ReplayArgs {
    /// Captures (pcap or pcapng), or directories of them
    #[arg(required = true, value_name = "FILE|DIR")]
    pub inputs: Vec<PathBuf>,
    /// Drop what an isolated device sends, as the daemon does in enforce mode
    #[arg(long)]
    pub enforce: bool,
    /// Configuration; without this the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to tell of what is found.
    #[command(flatten)]
    pub tell: TellArgs,
}

/// Which daemon to ask, and how to show its answer.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct AskArgs {
    /// Where the daemon listens
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// How to show its answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `sekisho incidents`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct IncidentsArgs {
    /// What to say to one, instead of showing them.
    #[command(subcommand)]
    pub task: Option<IncidentsTask>,
    /// Show this one with all its numbers; one of an earlier run is read from the journal
    #[arg(value_name = "NUMBER")]
    pub id: Option<u64>,
    /// Show also those of earlier runs, from the journal
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// Of the journal, when.
    #[command(flatten)]
    pub span: SpanArgs,
    /// Where the journal is.
    #[command(flatten)]
    pub state: StateArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho drill`.
#[derive(Args, Debug)]
pub struct DrillArgs {
    /// People must be told within this time: mails of a burst are gathered first
    #[arg(long = "within", value_parser = duration::parse, value_name = "TIME", default_value = "2m")]
    pub within_ns: u64,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Configuration; without this /etc/sekisho/sekisho.toml
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How to show the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `sekisho doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// The bridge; without this all there are
    #[arg(long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// Where the kernel's side will be pinned
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pub pin_dir: PathBuf,
    /// How to show the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `sekisho detach`.
#[derive(Args, Debug)]
pub struct DetachArgs {
    /// The bridge; without this all that are pinned there
    #[arg(long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// Where the kernel's side is pinned
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pub pin_dir: PathBuf,
    /// How to show the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `sekisho verify`.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct VerifyArgs {
    /// The bridge; without this the one that is pinned there
    #[arg(long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// For how long to listen on the ports for frames of isolated devices; 0s not at all
    #[arg(long = "wire", value_parser = listen, value_name = "TIME", default_value = "1s")]
    pub wire_ns: u64,
    /// The daemon's configuration; without this /etc/sekisho/sekisho.toml, if it is there
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the daemon keeps the block list
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// Where the daemon listens
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Where the kernel's side is pinned
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pub pin_dir: PathBuf,
    /// How to show the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

fn listen(text: &str) -> Result<u64, String> {
    match duration::parse(text) {
        Ok(ns) if ns > duration::DAY => Err("longer than a day".to_owned()),
        other => other.map_err(|error| error.to_string()),
    }
}

fn mode() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(["observe", "enforce"]).try_map(|text| text.parse::<Mode>())
}

fn event_type() -> impl TypedValueParser<Value = EventType> {
    PossibleValuesParser::new(EventType::ALL.map(EventType::name)).try_map(|text| text.parse::<EventType>())
}
