//! The log of conversations, as the daemon keeps it and as `sekisho flows` reads it; and what is sent of them to a
//! collector. How it lies on the disk is for the crate `sensor-flowlog` to know.

mod ipfix;
mod query;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sensor_core::coverage::{Coverage, Sight};
use sensor_core::event::{Event, FlowEnded, Timed};
use sensor_core::policy::Name;
use sensor_core::settings::Segment;
use sensor_core::time::Time;
use sensor_flowlog::lake::Lake;
use sensor_flowlog::{Counts, FlowLog, Keeping, Place, Row};

use crate::clock::{Stamp, WallClock};
use ipfix::Sender;

pub use query::{FlowQuery, QueryError, query};

/// The directory of the log, in the state directory.
pub const DIR: &str = "flows";

/// A clock that differs by more than this was set, ns.
const SET: u64 = 10_000_000;

/// What the configuration says of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowSettings {
    /// Whether there is one.
    pub keep: bool,
    /// What is older than so many days is deleted.
    pub days: u64,
    /// GiB on the disk, at most.
    pub max_gib: u64,
    /// MiB of the disk that are left to others.
    pub reserve_mib: u64,
    /// Time between files, ns.
    pub every_ns: u64,
    /// Where finished hours are copied; empty: nowhere.
    pub copy_to: String,
    /// The name of this box there; empty: its host name.
    pub box_name: String,
    /// S3: the server; empty: Amazon's.
    pub s3_endpoint: String,
    /// S3: the region.
    pub s3_region: String,
    /// S3: the account.
    pub s3_key_id: String,
    /// S3: the file that holds its secret.
    pub s3_secret_file: PathBuf,
    /// Where conversations are sent as IPFIX; none: nowhere.
    pub ipfix_collector: Option<SocketAddr>,
    /// The observation domain there.
    pub ipfix_domain: u32,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            keep: true,
            days: 90,
            max_gib: 20,
            reserve_mib: 1_024,
            every_ns: sensor_core::time::MINUTE,
            copy_to: String::new(),
            box_name: String::new(),
            s3_endpoint: String::new(),
            s3_region: "us-east-1".to_owned(),
            s3_key_id: String::new(),
            s3_secret_file: PathBuf::new(),
            ipfix_collector: None,
            ipfix_domain: 0,
        }
    }
}

impl FlowSettings {
    fn keeping(&self) -> Keeping {
        Keeping {
            every_ns: self.every_ns,
            days: self.days,
            max_bytes: self.max_gib.saturating_mul(1 << 30),
            reserve_bytes: self.reserve_mib.saturating_mul(1 << 20),
        }
    }

    /// Where finished hours go.
    fn lake(&self) -> Option<Lake> {
        if self.copy_to.is_empty() {
            return None;
        }
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        Some(Lake {
            url: self.copy_to.clone(),
            name: if self.box_name.is_empty() { host() } else { self.box_name.clone() },
            endpoint: Some(self.s3_endpoint.clone()).filter(|endpoint| !endpoint.is_empty()),
            region: self.s3_region.clone(),
            key_id: self.s3_key_id.clone(),
            secret_file: self.s3_secret_file.clone(),
        })
    }
}

/// Keeps the log of a running daemon, and tells a collector.
pub struct Flows {
    log: Option<FlowLog>,
    ipfix: Option<Sender>,
    segments: BTreeMap<Name, Segment>,
    /// The part that was seen lately, by port.
    coverage: BTreeMap<u8, f64>,
    /// The names of the ports, also of those that left: their conversations end later.
    ports: BTreeMap<u8, String>,
    /// Their numbers in the kernel.
    interfaces: BTreeMap<u8, u32>,
    /// What the clock was ahead of the monotonic one when a row was last logged, ns.
    ahead_ns: i64,
}

impl Flows {
    /// Takes up the log in a directory, which is made if it is not there, and turns to the collector. What cannot be had is
    /// told, and done without.
    pub fn start(dir: &Path, settings: &FlowSettings, segments: BTreeMap<Name, Segment>) -> Self {
        let log = settings.keep.then(|| FlowLog::start(dir, settings.keeping(), settings.lake()));
        let log = log.and_then(|log| {
            log.inspect_err(|error| log::error!("conversations are not logged: {error}")).ok()
        });
        let ipfix = settings.ipfix_collector.and_then(|collector| {
            let sender = Sender::new(collector, settings.ipfix_domain);
            let wrong =
                |error: &_| log::error!("nothing is sent to the collector of IPFIX, {collector}: {error}");
            sender.inspect_err(wrong).ok()
        });
        let (coverage, ports, interfaces) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { log, ipfix, segments, coverage, ports, interfaces, ahead_ns: 0 }
    }

    /// What is counted of the log, if there is one.
    pub fn counts(&self) -> Option<&Counts> {
        self.log.as_ref().map(FlowLog::counts)
    }

    /// Messages sent to the collector, and those that could not be.
    pub fn messages(&self) -> [u64; 2] {
        self.ipfix.as_ref().map_or([0; 2], |ipfix| [ipfix.sent, ipfix.failed])
    }

    /// How the ports are called from now on, and their numbers in the kernel, by index.
    pub fn set_ports(&mut self, ports: &BTreeMap<u8, String>, interfaces: BTreeMap<u8, u32>) {
        self.ports.extend(ports.clone());
        self.interfaces.extend(interfaces);
        let (mut vlans, mut port_segments) = (BTreeMap::new(), BTreeMap::new());
        for (name, segment) in &self.segments {
            vlans.extend(segment.vlans.iter().map(|vlan| (*vlan, name.to_string())));
            let here =
                self.ports.iter().filter(|(_, port)| segment.ports.iter().any(|own| own.as_str() == **port));
            port_segments.extend(here.map(|(index, _)| (*index, name.to_string())));
        }
        if let Some(log) = &mut self.log {
            log.set_place(Place { ports: self.ports.clone(), vlans, port_segments });
        }
        if let Some(ipfix) = &mut self.ipfix {
            ipfix.set_interfaces(self.interfaces.clone());
        }
    }

    /// How much was seen lately: to be called every second, and hands over what waits.
    pub fn look(&mut self, sight: &Sight, now: Stamp) {
        self.coverage = sight.ports.iter().map(|(port, seen)| (*port, four_digits(seen))).collect();
        if let Some(log) = &mut self.log {
            log.hand_over();
        }
        if let Some(ipfix) = &mut self.ipfix {
            ipfix.flush(now.0 / 1_000);
        }
    }

    /// Something happened. The end of a conversation is logged.
    pub fn told(&mut self, timed: &Timed, clock: WallClock) {
        if let Event::Flow(ended) = &timed.event {
            self.push(ended.clone(), timed.time, clock);
        }
    }

    /// Logs a conversation that ended, or a part of one that goes on.
    pub fn push(&mut self, flow: FlowEnded, now: Time, clock: WallClock) {
        let coverage = self.coverage.get(&flow.id.port).copied();
        // The two clocks are read one after the other, so that what is between them wavers; a conversation of several rows has
        // one beginning.
        if self.ahead_ns.abs_diff(clock.offset_ns) > SET {
            self.ahead_ns = clock.offset_ns;
        }
        let row = Row::new(flow, now, self.ahead_ns, coverage);
        if let Some(ipfix) = &mut self.ipfix {
            ipfix.push(&row);
        }
        if let Some(log) = &mut self.log {
            log.push(row);
        }
    }

    /// Has everything written and sent, and waits for it a little.
    pub fn close(mut self) {
        if let Some(ipfix) = &mut self.ipfix {
            ipfix.flush(Stamp::now().0 / 1_000);
        }
        if let Some(log) = self.log {
            log.close();
        }
    }
}

/// Rounded down: what is not all is never shown as all.
fn four_digits(seen: &Coverage) -> f64 {
    (seen.ratio() * 1e4).floor() / 1e4
}
