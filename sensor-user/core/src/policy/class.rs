//! Classes of devices: what they are to the house, and how far Sekisho goes with them by itself.
//!
//! The configuration says who belongs to a class: by MAC address, name, IP address or network. Where several fit, the
//! closest counts: the MAC address before the IP address or name, that before the longest network; then the first class
//! by its name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::Serialize;

use super::{Level, Name, Target};
use crate::addr::{Mac, Prefix};
use crate::inventory::{Device, DeviceKey};
use crate::settings::Settings;

/// Most classes.
pub const MAX_CLASSES: usize = 64;
/// Most members named for a class.
pub const MAX_MEMBERS: usize = 4_096;

/// What a class of devices is to the house.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Default,
    Serialize,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Criticality {
    /// Nothing special.
    #[default]
    Other,
    /// Many depend on it. It is throttled at most, unless the sequential test of first contacts stands at 1e-6: then it
    /// scans beyond doubt.
    Server,
    /// A life depends on it. It is pinned at most, never slowed down, and nobody is cut off from what it does with them.
    LifeCritical,
}

impl FromStr for Criticality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("{text} is not one of {}", known()))
    }
}

impl Criticality {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Other, Self::Server, Self::LifeCritical];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Server => "server",
            Self::LifeCritical => "life-critical",
        }
    }

    /// The strictest automatic restriction of such a class, unless it says otherwise.
    pub const fn highest(self) -> Level {
        match self {
            Self::Other => Level::Isolate,
            Self::Server => Level::Throttle,
            Self::LifeCritical => Level::Pin,
        }
    }
}

/// From which level on a person must approve what is done about a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Asks {
    /// As for all other devices.
    #[default]
    AsElsewhere,
    /// Nobody is asked.
    Never,
    /// From this level on.
    From(Level),
}

impl Asks {
    /// The level from which on a person is asked; none: nobody is.
    pub fn from(self, settings: &Settings) -> Option<Level> {
        match self {
            Self::AsElsewhere => settings.approve.from,
            Self::Never => None,
            Self::From(level) => Some(level),
        }
    }
}

/// A class of devices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Class {
    /// What it is to the house.
    pub kind: Criticality,
    /// No automatic restriction is stricter; none: its devices are only told about.
    pub highest: Option<Level>,
    /// From which level on a person must approve.
    pub approve: Asks,
    /// Its members by MAC address, IP address or network.
    pub members: BTreeSet<Target>,
    /// Its members by the names the configuration gives them, in lower case.
    pub names: BTreeSet<String>,
}

impl Class {
    /// A class of that kind without members.
    pub fn of_kind(kind: Criticality) -> Self {
        Self { kind, highest: Some(kind.highest()), ..Self::default() }
    }

    /// The strictest automatic restriction. `proven`: the sequential test of first contacts stands at 1e-6.
    pub fn allows(&self, proven: bool) -> Option<Level> {
        if proven && self.kind == Criticality::Server { Some(Level::Isolate) } else { self.highest }
    }
}

/// Who belongs to which class, to be looked up: devices may come by the thousand a second.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// By MAC address.
    macs: HashMap<Mac, Name>,
    /// By what is as close: an IP address, and a name that the settings give an address.
    near: HashMap<Target, Name>,
    /// By network: the longest first, of each length by its address.
    nets: BTreeMap<Reverse<u8>, HashMap<IpAddr, Name>>,
    /// All there are.
    known: BTreeSet<Name>,
}

impl Members {
    /// Those of the settings.
    pub fn new(settings: &Settings) -> Self {
        let mut members = Self { known: settings.classes.keys().copied().collect(), ..Self::default() };
        // Of several classes the first by name counts, which comes last here.
        for (name, class) in settings.classes.iter().rev() {
            for member in &class.members {
                match member {
                    Target::Mac(mac) => members.macs.insert(*mac, *name),
                    Target::Net(net) => {
                        members.nets.entry(Reverse(net.bits())).or_default().insert(net.address(), *name)
                    }
                    other => members.near.insert(*other, *name),
                };
            }
            let called = settings.names.iter().filter(|_| !class.names.is_empty());
            let called = called.filter(|(_, text)| class.names.contains(&text.to_lowercase()));
            members.near.extend(called.map(|(target, _)| (*target, *name)));
        }
        members
    }

    /// The class that a device fits most closely: the one a person put it in, if there still is such a class.
    pub fn class(&self, device: &Device) -> Option<Name> {
        if let Some(said) = device.said.class.filter(|said| self.known.contains(said)) {
            return Some(said);
        }
        let mac = Some(device.mac).filter(|_| matches!(device.key, DeviceKey::Local(_)));
        let by_mac = mac.and_then(|mac| self.macs.get(&mac));
        let near = || mac.map(Target::Mac).into_iter().chain(device.ips().map(Target::Ip));
        let by_net = || {
            self.nets.iter().find_map(|(Reverse(bits), nets)| {
                let in_nets = |ip| nets.get(&Prefix::new(ip, *bits).address()).filter(|_| *bits <= width(ip));
                device.ips().filter_map(in_nets).min()
            })
        };
        let by_near = || near().filter_map(|target| self.near.get(&target)).min();
        by_mac.or_else(by_near).or_else(by_net).copied()
    }
}

/// The bits of an address.
fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The class of a device, and what it is to the house.
pub fn class_of<'a>(device: &Device, settings: &'a Settings) -> Option<(Name, &'a Class)> {
    let name = device.class?;
    Some((name, settings.classes.get(&name)?))
}

/// Whether a device is one that lives depend on: by its class, or because a person said so of it.
pub fn is_life_critical(device: &Device, settings: &Settings) -> bool {
    device.said.criticality == Some(Criticality::LifeCritical)
        || class_of(device, settings).is_some_and(|(_, class)| class.kind == Criticality::LifeCritical)
}
