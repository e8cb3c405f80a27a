//! What may be written after `sekisho`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use sensor_core::addr::{Mac, Prefix};
use sensor_core::policy::{BlockId, Direction, Level, Name};
use sensor_core::settings::Mode;

use crate::bpf::DEFAULT_PIN_DIR;
use crate::duration;
use crate::eve::EventType;
use crate::protocol::DEFAULT_SOCKET;

/// Where the daemon keeps its database.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/sekisho";

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
}

/// What asks a running daemon, or checks its configuration.
#[derive(Subcommand, Debug)]
pub enum ClientTask {
    /// Cut somebody off, let them talk again, or show who is held
    #[command(subcommand)]
    Block(BlockTask),
    /// Show how the running daemon does
    Status(AskArgs),
    /// Show the devices on the network
    Devices(AskArgs),
    /// Show what was found
    Incidents(IncidentsArgs),
    /// Check a configuration and show every problem
    Check(CheckArgs),
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
    /// Tell only these events: device, flow, alert, isolation, stats [default: all; people are spared the flows]
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
            (true, Output::Human) => all.filter(|kind| *kind != EventType::Flow).collect(),
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
    /// Where the block list is kept
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
pub struct IncidentsArgs {
    /// Show this one with all its numbers
    #[arg(value_name = "NUMBER")]
    pub id: Option<u64>,
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

/// `sekisho block`.
#[derive(Subcommand, Debug)]
pub enum BlockTask {
    /// Cut somebody off, or restrict what they may do
    #[command(after_long_help = "\
DEVICE is a name from the configuration, or a MAC or IP address of a device that was seen: the entry covers all its \
addresses and follows it to new ones. --mac, --ip and the others are just what they say. Of several networks an address \
lies in, the longest prefix counts.

Levels, in rising order:
  observe        nothing is dropped; what `isolate` would drop is counted
  throttle       so many new destinations and bytes a second (the configuration's [throttle])
  external-only  nothing to or from addresses outside (network.internal)
  pin            only the peers and services it used or served so far
  quarantine     only what an allow list of the configuration names
  isolate        nothing from it, nothing to it
  cut            a port, VLAN or segment goes dark, link control included

An entry of a person is enforced in observe mode too. Adding somebody again makes the entry last longer, and changes its \
level and direction if they are given. Entries survive a restart of the daemon and of the machine. What is protected \
(isolation.protected) goes on in all cases.

Examples:
  sekisho block add 10.0.0.7 --for 4h --reason \"virus warning, ticket 1234\"
  sekisho block add \"MRI 2\" --level pin     it goes on with what it did so far
  sekisho block add 10.0.0.7 --level quarantine --allow repair
  sekisho block add --mac 00:1b:21:0a:0b:0c  until it is taken out by hand
  sekisho block add --net 10.3.0.0/16 --level external-only --direction from
  sekisho block add --segment radiology --level cut --force")]
    Add(Box<BlockAddArgs>),
    /// Show who is held, how, until when and why
    List(AskArgs),
    /// Let somebody talk again, whoever or whatever cut them off
    #[command(after_long_help = "\
Examples:
  sekisho block remove 10.0.0.7
  sekisho block remove --vlan 20
  sekisho block remove --id 12")]
    Remove(BlockRemoveArgs),
}

/// `sekisho block add`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("who").required(true).multiple(true)
    .args(["device", "ip", "mac", "net", "vlan", "port", "segment"])))]
pub struct BlockAddArgs {
    /// Device to hold, by name, MAC or IP address (several may be given)
    #[arg(value_name = "DEVICE")]
    pub device: Vec<String>,
    /// IPv4 or IPv6 address (may be repeated)
    #[arg(long, value_name = "IP")]
    pub ip: Vec<IpAddr>,
    /// MAC address (may be repeated)
    #[arg(long, value_name = "MAC")]
    pub mac: Vec<Mac>,
    /// Network, like 10.3.0.0/16 or fd03::/48 (may be repeated)
    #[arg(long, value_name = "PREFIX")]
    pub net: Vec<Prefix>,
    /// VLAN, by the number of the outer tag (may be repeated)
    #[arg(long, value_parser = vlan, value_name = "ID")]
    pub vlan: Vec<u16>,
    /// Bridge port, by the name of its interface (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub port: Vec<Name>,
    /// Segment of the configuration (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub segment: Vec<Name>,
    /// How much [default: as the entry has it, else isolate]
    #[arg(long, value_parser = level(), value_name = "LEVEL")]
    pub level: Option<Level>,
    /// Which frames: those from it, to it, or both [default: as the entry has it, else both]
    #[arg(long, value_parser = direction(), value_name = "DIRECTION")]
    pub direction: Option<Direction>,
    /// With --level quarantine: the allow list of the configuration [default: default]
    #[arg(long, value_name = "NAME")]
    pub allow: Option<Name>,
    /// For how long, like 90s, 4h, 2d or 1h30m; without this until it is removed
    #[arg(long = "for", value_parser = length, value_name = "TIME")]
    pub for_ns: Option<u64>,
    /// Why, for those who look at the list later
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub reason: String,
    /// Also if a protected device or a gateway is among them, or one was taken for a gateway by mistake
    #[arg(long)]
    pub force: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `sekisho block remove`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").required(true)
    .args(["device", "ip", "mac", "net", "vlan", "port", "segment", "id"])))]
pub struct BlockRemoveArgs {
    /// The entry that holds this device, by name, MAC or IP address
    #[arg(value_name = "DEVICE")]
    pub device: Option<String>,
    /// The entry that holds this IP address
    #[arg(long, value_name = "IP")]
    pub ip: Option<IpAddr>,
    /// The entry that holds this MAC address
    #[arg(long, value_name = "MAC")]
    pub mac: Option<Mac>,
    /// The entry about this network
    #[arg(long, value_name = "PREFIX")]
    pub net: Option<Prefix>,
    /// The entry about this VLAN
    #[arg(long, value_parser = vlan, value_name = "ID")]
    pub vlan: Option<u16>,
    /// The entry about this bridge port
    #[arg(long, value_name = "NAME")]
    pub port: Option<Name>,
    /// The entry about this segment
    #[arg(long, value_name = "NAME")]
    pub segment: Option<Name>,
    /// The entry of this number
    #[arg(long, value_name = "NUMBER")]
    pub id: Option<BlockId>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Longest block that ends by itself.
const LONGEST: u64 = 3_650 * duration::DAY;

fn length(text: &str) -> Result<u64, String> {
    match duration::parse(text) {
        Ok(0) => Err("a block of no length blocks nobody".to_owned()),
        Ok(ns) if ns > LONGEST => {
            Err("longer than ten years; leave --for away for `until removed`".to_owned())
        }
        other => other.map_err(|error| error.to_string()),
    }
}

fn vlan(text: &str) -> Result<u16, String> {
    sensor_core::policy::vlan(text).map_err(|error| error.to_string())
}

fn level() -> impl TypedValueParser<Value = Level> {
    PossibleValuesParser::new(Level::ALL.map(Level::name)).try_map(|text| text.parse::<Level>())
}

fn direction() -> impl TypedValueParser<Value = Direction> {
    PossibleValuesParser::new(Direction::ALL.map(Direction::name)).try_map(|text| text.parse::<Direction>())
}

fn mode() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(["observe", "enforce"]).try_map(|text| text.parse::<Mode>())
}

fn event_type() -> impl TypedValueParser<Value = EventType> {
    PossibleValuesParser::new(EventType::ALL.map(EventType::name)).try_map(|text| text.parse::<EventType>())
}
