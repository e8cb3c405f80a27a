//! What may be written after `sekisho block`.

use std::net::IpAddr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Subcommand};
use sensor_core::addr::{Mac, Prefix};
use sensor_core::policy::{BlockId, Direction, Level, Name};

use super::args::AskArgs;
use crate::duration;

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
  sekisho block add 10.0.0.7 --preview       what would be lost; nothing is done
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
    /// Change nothing: only show what would be lost
    #[arg(long)]
    pub preview: bool,
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
