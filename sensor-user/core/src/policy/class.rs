//! Classes of devices: what they are to the house, and how far Sekisho goes with them by itself.
//!
//! The configuration says who belongs to a class: by MAC address, name, IP address or network. Where several fit, the
//! closest counts: the MAC address before the IP address or name, that before the longest network; then the first class
//! by its name.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Level, Name, Target};
use crate::inventory::{Device, DeviceKey};
use crate::settings::Settings;

/// Most classes.
pub const MAX_CLASSES: usize = 64;
/// Most members named for a class.
pub const MAX_MEMBERS: usize = 4_096;

/// What a class of devices is to the house.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing special.
    #[default]
    Other,
    /// Many depend on it. It is throttled at most, unless the sequential test of first contacts stands at 1e-6: then it
    /// scans beyond doubt.
    Server,
    /// A life depends on it. It is pinned at most, and nobody is cut off from what it does with them.
    LifeCritical,
}

impl Kind {
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
    pub kind: Kind,
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
    pub fn of_kind(kind: Kind) -> Self {
        Self { kind, highest: Some(kind.highest()), ..Self::default() }
    }

    /// The strictest automatic restriction. `proven`: the sequential test of first contacts stands at 1e-6.
    pub fn allows(&self, proven: bool) -> Option<Level> {
        if proven && self.kind == Kind::Server { Some(Level::Isolate) } else { self.highest }
    }

    /// How closely a device fits; none: not at all.
    fn fit(&self, device: &Device, names: &BTreeMap<Target, String>) -> Option<(u8, u8)> {
        let local = matches!(device.key, DeviceKey::Local(_));
        let mac = Some(Target::Mac(device.mac)).filter(|_| local);
        if mac.is_some_and(|mac| self.members.contains(&mac)) {
            return Some((3, 0));
        }
        let called = |target: Target| {
            let name = names.get(&target).filter(|_| !self.names.is_empty());
            name.is_some_and(|name| self.names.contains(&name.to_lowercase()))
        };
        let own = |target: Target| self.members.contains(&target) || called(target);
        if mac.is_some_and(called) || device.ips().map(Target::Ip).any(own) {
            return Some((2, 0));
        }
        let bits = self.members.iter().filter_map(|member| match member {
            Target::Net(net) => device.ips().any(|ip| net.contains(ip)).then(|| net.bits()),
            _ => None,
        });
        bits.max().map(|bits| (1, bits))
    }
}

/// The class of a device.
pub fn class_of<'a>(device: &Device, settings: &'a Settings) -> Option<(Name, &'a Class)> {
    let fits = settings.classes.iter().filter_map(|(name, class)| {
        let fit = class.fit(device, &settings.names)?;
        Some((fit, std::cmp::Reverse(*name), class))
    });
    let closest = fits.max_by_key(|(fit, name, _)| (*fit, *name));
    closest.map(|(_, std::cmp::Reverse(name), class)| (name, class))
}

/// Whether a device is one that lives depend on.
pub fn is_life_critical(device: &Device, settings: &Settings) -> bool {
    class_of(device, settings).is_some_and(|(_, class)| class.kind == Kind::LifeCritical)
}
