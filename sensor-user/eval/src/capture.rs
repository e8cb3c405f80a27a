//! One capture through the product's own replay: who was blamed, by what, and who was cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use sensor_core::addr::Mac;
use sensor_core::event::{Change, DeviceRef, Event, Isolation, Timed};
use sensor_core::policy::Target;
use sensor_core::settings::{Mode, Settings};
use sensor_user::source::pcap::CaptureError;
use sensor_user::source::replay::{self, Outcome};

/// An alert, as far as it is held against an expectation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Call {
    /// The detector.
    pub detector: &'static str,
    /// What it saw.
    pub signature: &'static str,
    /// 1 is the gravest.
    pub severity: u8,
    /// MAC and IP addresses of the device blamed.
    pub names: BTreeSet<String>,
}

/// Everything a capture brought, by names a table can hold.
pub struct Seen {
    /// Counters of the replay.
    pub outcome: Outcome,
    /// Alerts, in order of time.
    pub calls: Vec<Call>,
    /// Addresses of each device isolated, in order of time.
    pub isolated: Vec<BTreeSet<String>>,
    /// Whom the isolations hit: what they are about, and for a MAC address the IP addresses it was the first to use.
    pub cut: BTreeSet<String>,
    /// All events, printed.
    pub log: String,
}

/// A replay on its way.
#[derive(Default)]
struct Notes {
    calls: Vec<Call>,
    isolated: Vec<BTreeSet<String>>,
    cut: BTreeSet<String>,
    /// Who was the first to use an address.
    owners: BTreeMap<IpAddr, Mac>,
    log: String,
}

/// All addresses of a device.
fn names(device: &DeviceRef) -> BTreeSet<String> {
    let ips = device.ips.iter().map(ToString::to_string);
    ips.chain([device.mac.to_string()]).collect()
}

impl Notes {
    fn note(&mut self, timed: &Timed) {
        self.log += &format!("{timed:?}\n");
        match &timed.event {
            Event::Device(seen) => {
                for ip in &seen.device.ips {
                    self.owners.entry(*ip).or_insert(seen.device.mac);
                }
            }
            Event::Alert(alert) => self.calls.push(Call {
                detector: alert.detector,
                signature: alert.signature,
                severity: alert.severity,
                names: names(&alert.device),
            }),
            Event::Isolation(isolation) if isolation.change == Change::Added => self.isolation(isolation),
            _ => {}
        }
    }

    fn isolation(&mut self, isolation: &Isolation) {
        self.isolated.extend(isolation.device.as_ref().map(names));
        for target in &isolation.targets {
            self.cut.insert(target.to_string());
            if let Target::Mac(mac) = target {
                let own = self.owners.iter().filter(|(_, owner)| *owner == mac);
                self.cut.extend(own.map(|(ip, _)| ip.to_string()));
            }
        }
    }
}

impl Seen {
    /// Everybody who was blamed.
    pub fn blamed(&self) -> BTreeSet<&str> {
        self.calls.iter().flat_map(|call| &call.names).map(String::as_str).collect()
    }

    /// The calls that blame one of these.
    pub fn calls_of<'a>(&'a self, who: &'a [String]) -> impl Iterator<Item = &'a Call> {
        self.calls.iter().filter(|call| who.iter().any(|name| call.names.contains(name)))
    }
}

/// Replays a capture with the default settings in that mode.
pub fn run(path: &Path, mode: Mode) -> Result<Seen, CaptureError> {
    let settings = Settings { mode, ..Settings::default() };
    let mut notes = Notes::default();
    let outcome = replay::run(path, &settings, |timed: &Timed, _| notes.note(timed))?;
    let Notes { calls, isolated, cut, log, .. } = notes;
    Ok(Seen { outcome, calls, isolated, cut, log })
}
