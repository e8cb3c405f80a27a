//! What the operator decides, checked and in plain units. Read from a file by the daemon, never by the core.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::addr::{Mac, Prefix};
use crate::forbid::Forbid;
use crate::identify::makers::Makers;
use crate::policy::class::Class;
use crate::policy::{Allow, DEFAULT_LIST, Level, MAX_LISTS, Name, Target};
use crate::time::{HOUR, MILLISECOND, MINUTE, SECOND};

/// Whether decisions are carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Everything but the drop: decisions are made, counted and told as "would".
    Observe,
    /// Decisions are carried out.
    Enforce,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "observe" => Ok(Mode::Observe),
            "enforce" => Ok(Mode::Enforce),
            other => Err(format!("`{other}` is neither observe nor enforce")),
        }
    }
}

/// Bounds of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Devices; when full the one not seen for longest is forgotten.
    pub devices: usize,
    /// Conversations; when full the one not touched for longest is ended as evicted.
    pub flows: usize,
    /// First contacts that wait for their answer; when full the next is not judged.
    pub contacts: usize,
    /// Pairs of device and peer remembered, in all; when full the one not contacted for longest is forgotten.
    pub peers: usize,
    /// Incidents kept; when full the oldest is forgotten.
    pub incidents: usize,
}

/// When a sequential test of first contacts calls a scan (see `detect::scan`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ScanSettings {
    /// Probability that a first contact of a healthy device succeeds.
    pub benign_success: f64,
    /// Probability that one of a scanner does.
    pub scanner_success: f64,
    /// Chance of calling a healthy device that is accepted for an alert.
    pub alert_alpha: f64,
    /// The same for a call that isolates.
    pub isolate_alpha: f64,
}

/// When a count of destinations is out of the usual (see `detect::fanout`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FanoutSettings {
    /// Length of the sliding window, ns.
    pub window_ns: u64,
    /// Destinations inside the internal networks that are never too many.
    pub internal_floor: u32,
    /// Destinations outside that are never too many.
    pub external_floor: u32,
    /// The usual is multiplied by this to give the limit.
    pub factor: f64,
}

/// When new peers on a service for administration are too many (see `detect::lateral`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LateralSettings {
    /// Length of the sliding window, ns.
    pub window_ns: u64,
    /// Never-seen destinations within it that are too many.
    pub limit: u32,
}

/// When refused ports of one host are too many (see `detect::portscan`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PortScanSettings {
    /// Length of the sliding window, ns.
    pub window_ns: u64,
    /// Points for an alert: a refused or unanswered port is one, a probe with an illegal TCP flag combination four.
    pub alert: u32,
    /// Points for a call that isolates.
    pub isolate: u32,
}

/// When what a device sends to a host that is new to it is too much (see `detect::exfil`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExfilSettings {
    /// Bytes sent beyond those received, to a host outside the internal networks.
    pub outside_bytes: u64,
    /// The same inside.
    pub inside_bytes: u64,
}

/// How far what a device is found out for goes (see `policy::decide`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecideSettings {
    /// No automatic restriction is stricter than this.
    pub highest: Level,
    /// Also the sum of findings acts that are not decisive by themselves, once device and sensor know each other for a day;
    /// else what it would do is told.
    pub graded: bool,
}

/// What is done when nobody approved in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Otherwise {
    /// What was asked for.
    Act,
    /// Nothing: it is told.
    Alert,
}

/// Which automatic restrictions a person must approve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApproveSettings {
    /// From this level on; none: nobody is asked.
    pub from: Option<Level>,
    /// For how long a person may think, ns.
    pub within_ns: u64,
    /// What is done then.
    pub otherwise: Otherwise,
    /// What is done meanwhile, if it is less.
    pub meanwhile: Option<Level>,
}

/// What is done about hosts over their budget of new destinations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReflexMode {
    /// New destinations are not counted.
    Off,
    /// Hosts over their budget are counted.
    Count,
    /// What a host over its budget sends to new destinations is dropped.
    Enforce,
}

/// The budget of new destinations of each host, which the kernel keeps by itself (Williamson's virus throttle, HP Labs
/// 2002).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReflexSettings {
    /// What is done.
    pub mode: ReflexMode,
    /// New destinations a second that are never too many.
    pub per_second: u32,
    /// New destinations at once.
    pub burst: u32,
}

/// What a throttled device may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThrottleSettings {
    /// New destinations a second.
    pub new_per_second: u32,
    /// New destinations at once.
    pub new_burst: u32,
    /// KiB a second, both ways together.
    pub kib_per_second: u32,
    /// KiB at once.
    pub kib_burst: u32,
}

/// A named set of ports and VLANs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// Its ports, by interface name.
    pub ports: Vec<Name>,
    /// Its VLANs; a frame's VLAN goes before its port.
    pub vlans: Vec<u16>,
    /// What is done about its hosts over their budget; none: as about hosts of no segment.
    pub reflex: Option<ReflexMode>,
    /// New destinations a second; none: likewise.
    pub per_second: Option<u32>,
    /// New destinations at once; none: likewise.
    pub burst: Option<u32>,
}

impl Segment {
    /// The budget of its hosts, where that of hosts of no segment is `general`.
    pub fn budget(&self, general: &ReflexSettings) -> ReflexSettings {
        ReflexSettings {
            mode: self.reflex.unwrap_or(general.mode),
            per_second: self.per_second.unwrap_or(general.per_second),
            burst: self.burst.unwrap_or(general.burst),
        }
    }
}

/// Where a detector is switched off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Off {
    /// Everywhere.
    Everywhere,
    /// In these segments.
    In(BTreeSet<Name>),
}

/// Most segments: the kernel tells 64 apart, and one of them is "none".
pub const MAX_SEGMENTS: usize = sensor_ebpf::rule::SEGMENTS as usize - 1;
/// Most internal networks: what the kernel's table has room for.
pub const MAX_INTERNAL: usize = sensor_ebpf::rule::INTERNAL_CAPACITY as usize;

/// All settings of the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether decisions are carried out.
    pub mode: Mode,
    /// An incident of this severity or graver (1 is the gravest) isolates; 0: none does.
    pub isolate_severity: u8,
    /// How long an automatic isolation lasts, ns: the first of a device, the second and so on; the last for all further.
    pub isolate_for_ns: Vec<u64>,
    /// Levels of automatic restrictions.
    pub decide: DecideSettings,
    /// Which of them a person must approve.
    pub approve: ApproveSettings,
    /// At most so many automatic isolations...
    pub budget: u32,
    /// ...and at most this part of all devices, 0 to 1, but one...
    pub budget_share: f64,
    /// ...within this time, ns.
    pub budget_window_ns: u64,
    /// Networks that count as inside.
    pub internal: Vec<Prefix>,
    /// MAC addresses that are gateways, besides those found.
    pub gateways: BTreeSet<Mac>,
    /// A MAC address that sends from so many IPv4 addresses is a gateway.
    pub gateway_ips: usize,
    /// Never isolated.
    pub protected: BTreeSet<Target>,
    /// Networks whose addresses are never isolated.
    pub protected_nets: Vec<Prefix>,
    /// Names people know devices by.
    pub names: BTreeMap<Target, String>,
    /// Makers, from the registry.
    pub makers: Makers,
    /// A contact to an internal address nobody was seen to use fails after this time without answer, ns.
    pub dark_answer_ns: u64,
    /// The same for an internal address in use, ns.
    pub internal_answer_ns: u64,
    /// The same outside, ns.
    pub external_answer_ns: u64,
    /// The least part of what comes that must be seen, 0 to 1: with less, silence means nothing.
    pub coverage: f64,
    /// Named sets of ports and VLANs.
    pub segments: BTreeMap<Name, Segment>,
    /// Classes of devices.
    pub classes: BTreeMap<Name, Class>,
    /// What is forbidden, at most [`MAX_FORBID`](crate::forbid::MAX_FORBID) rules; the first that is about it counts.
    pub forbid: Vec<Forbid>,
    /// Detectors that are switched off, by name.
    pub detectors_off: BTreeMap<&'static str, Off>,
    /// Allow lists of quarantined devices.
    pub allow: BTreeMap<Name, Vec<Allow>>,
    /// Throttled devices.
    pub throttle: ThrottleSettings,
    /// Hosts of no segment.
    pub reflex: ReflexSettings,
    /// Hosts are not charged for new destinations for so long after the first start, ns.
    pub reflex_grace_ns: u64,
    /// Bounds.
    pub limits: Limits,
    /// Sequential test.
    pub scan: ScanSettings,
    /// Destination count.
    pub fanout: FanoutSettings,
    /// Administration services.
    pub lateral: LateralSettings,
    /// Ports of one host.
    pub port_scan: PortScanSettings,
    /// Bytes sent to new hosts.
    pub exfil: ExfilSettings,
}

impl Default for Settings {
    fn default() -> Self {
        let net4 = |a, b, bits| Prefix::new(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), bits);
        let net6 = |a, bits| Prefix::new(IpAddr::V6(Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0)), bits);
        Self {
            mode: Mode::Observe,
            isolate_severity: 1,
            // The first is long enough for a person to come: what isolates is decisive, and rarely a mistake.
            isolate_for_ns: vec![HOUR, 24 * HOUR, 7 * 24 * HOUR],
            decide: DecideSettings { highest: Level::Isolate, graded: true },
            approve: ApproveSettings {
                from: None,
                within_ns: 15 * MINUTE,
                otherwise: Otherwise::Alert,
                meanwhile: None,
            },
            budget: 5,
            budget_share: 0.01,
            budget_window_ns: 10 * MINUTE,
            // RFC 1918, RFC 3927, RFC 4193, RFC 4291 2.5.6.
            internal: vec![
                net4(10, 0, 8),
                net4(172, 16, 12),
                net4(192, 168, 16),
                net4(169, 254, 16),
                net6(0xfc00, 7),
                net6(0xfe80, 10),
            ],
            gateways: BTreeSet::new(),
            gateway_ips: 4,
            protected: BTreeSet::new(),
            protected_nets: Vec::new(),
            names: BTreeMap::new(),
            makers: Makers::default(),
            dark_answer_ns: 50 * MILLISECOND,
            internal_answer_ns: SECOND,
            external_answer_ns: 3 * SECOND,
            coverage: 0.99,
            segments: BTreeMap::new(),
            classes: BTreeMap::new(),
            forbid: Vec::new(),
            detectors_off: BTreeMap::new(),
            allow: BTreeMap::new(),
            // A PC with a browser open goes to a dozen new destinations at once; a worm goes to hundreds a second.
            throttle: ThrottleSettings {
                new_per_second: 1,
                new_burst: 20,
                kib_per_second: 128,
                kib_burst: 512,
            },
            reflex: ReflexSettings { mode: ReflexMode::Count, per_second: 5, burst: 100 },
            reflex_grace_ns: MINUTE,
            limits: Limits {
                devices: 65_536,
                flows: 262_144,
                contacts: 65_536,
                peers: 786_432,
                incidents: 4_096,
            },
            // Jung et al. 2004, section 6: success 0.8 and 0.2, and alpha 0.01 for an alert.
            scan: ScanSettings {
                benign_success: 0.8,
                scanner_success: 0.2,
                alert_alpha: 1e-3,
                isolate_alpha: 1e-6,
            },
            fanout: FanoutSettings {
                window_ns: MINUTE,
                internal_floor: 25,
                external_floor: 100,
                factor: 2.0,
            },
            lateral: LateralSettings { window_ns: MINUTE, limit: 4 },
            port_scan: PortScanSettings { window_ns: 5 * MINUTE, alert: 8, isolate: 20 },
            // Between 5 MB, which a device alone seldom sends anywhere new, and 200 MB, which a PC does now and then.
            exfil: ExfilSettings { outside_bytes: 50_000_000, inside_bytes: 500_000_000 },
        }
    }
}

impl Settings {
    /// The number of a segment in the kernel: 1 and on, in order of name.
    pub fn segment(&self, name: Name) -> Option<u32> {
        let at = self.segments.keys().take(MAX_SEGMENTS).position(|known| *known == name)?;
        u32::try_from(at + 1).ok()
    }

    /// The allow lists by number: 1 and on, in order of name; the one called [`DEFAULT_LIST`] is there also if the
    /// configuration has none of that name.
    pub fn lists(&self) -> impl Iterator<Item = (u16, Name, &[Allow])> {
        let default = DEFAULT_LIST.parse::<Name>().ok().filter(|name| !self.allow.contains_key(name));
        let given = self.allow.iter().map(|(name, list)| (*name, list.as_slice()));
        let mut all: Vec<_> = given.chain(default.map(|name| (name, &Allow::BASIC[..]))).collect();
        all.sort_by_key(|(name, _)| *name);
        (1..).zip(all).take(MAX_LISTS + 1).map(|(number, (name, list))| (number, name, list))
    }

    /// The number of an allow list; of one that is not there any more the default one's.
    pub fn list(&self, name: Name) -> u16 {
        let number = |wanted: &str| {
            self.lists().find(|(_, known, _)| known.as_str() == wanted).map(|(number, _, _)| number)
        };
        number(name.as_str()).or_else(|| number(DEFAULT_LIST)).unwrap_or(0)
    }
}
