//! What the settings ask of a data path besides the rules: segments, budgets, internal networks, allow lists; and how
//! what people name becomes keys and values of its tables.

use std::collections::{BTreeMap, BTreeSet};

use sensor_ebpf::control::{REFLEX_COUNT, REFLEX_ENFORCE, REFLEX_OFF, Rate, Reflex};
use sensor_ebpf::rule::{
    Address, AllowKey, FLAG_OBSERVE, LEVEL_PROTECT, RuleValue, SEGMENTS, scope_of_port, scope_of_segment,
    scope_of_vlan,
};

use super::key::{RuleKey, net};
use crate::policy::{Name, Restriction, Target};
use crate::settings::{ReflexMode, ReflexSettings, Segment, Settings};
use crate::time::SECOND;

/// The index of each port by its name.
pub type PortIndices = BTreeMap<Name, u8>;

/// What the settings ask of a data path.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Throttled devices: new destinations, and KiB.
    pub throttle: [Rate; 2],
    /// The reflex of each segment, by its number.
    pub reflex: Vec<Reflex>,
    /// Internal prefixes: bits of 128, and the address.
    pub internal: BTreeSet<(u32, Address)>,
    /// The allow lists of the configuration.
    pub allow: BTreeSet<AllowKey>,
    /// Hosts are not charged for new destinations for so long after the first start, ns.
    pub grace_ns: u64,
    segments: BTreeMap<Name, (u32, Segment)>,
}

/// The rule of a restriction.
pub fn value(by: &Restriction) -> RuleValue {
    let observe = if by.would { FLAG_OBSERVE } else { 0 };
    RuleValue {
        // 0 means "never" to the kernel.
        until_ns: by.until.map_or(0, |until| until.ns().max(1)),
        flags: by.direction.flags() | observe,
        list: by.list,
        ..RuleValue::new(by.id, by.level.number())
    }
}

/// The rule of what is protected.
pub fn protection() -> RuleValue {
    RuleValue::new(0, LEVEL_PROTECT)
}

/// So many a second, with a burst.
fn rate(per_second: u32, burst: u32) -> Rate {
    let interval_ns = SECOND / u64::from(per_second.max(1));
    Rate { interval_ns, burst_ns: interval_ns * u64::from(burst.max(1)) }
}

fn reflex(settings: &ReflexSettings) -> Reflex {
    let mode = match settings.mode {
        ReflexMode::Off => REFLEX_OFF,
        ReflexMode::Count => REFLEX_COUNT,
        ReflexMode::Enforce => REFLEX_ENFORCE,
    };
    Reflex { rate: rate(settings.per_second, settings.burst), mode, pad: 0 }
}

impl Plan {
    /// What these settings ask.
    pub fn new(settings: &Settings) -> Self {
        let throttle = &settings.throttle;
        let mut plan = Self {
            throttle: [
                rate(throttle.new_per_second, throttle.new_burst),
                rate(throttle.kib_per_second, throttle.kib_burst),
            ],
            internal: settings.internal.iter().map(net).collect(),
            grace_ns: settings.reflex_grace_ns,
            reflex: vec![Reflex::default(); SEGMENTS as usize],
            ..Self::default()
        };
        plan.reflex.first_mut().into_iter().for_each(|slot| *slot = reflex(&settings.reflex));
        for (number, _, list) in settings.lists() {
            plan.allow.extend(list.iter().map(|allow| allow.key(number)));
        }
        for (name, segment) in &settings.segments {
            let Some(number) = settings.segment(*name) else { continue };
            if let Some(slot) = plan.reflex.get_mut(number as usize) {
                *slot = reflex(&segment.budget(&settings.reflex));
            }
            plan.segments.insert(*name, (number, segment.clone()));
        }
        plan
    }

    /// The key of a target; none for a port that is not there, or a segment the configuration does not name.
    pub fn key(&self, target: Target, ports: &PortIndices) -> Option<RuleKey> {
        Some(match target {
            Target::Mac(mac) => mac.into(),
            Target::Ip(ip) => ip.into(),
            Target::Net(prefix) => (&prefix).into(),
            Target::Vlan(vlan) => RuleKey::Scope(scope_of_vlan(vlan)),
            Target::Port(name) => RuleKey::Scope(scope_of_port(*ports.get(&name)?)),
            Target::Segment(name) => RuleKey::Scope(scope_of_segment(self.segments.get(&name)?.0)),
        })
    }

    /// The name of the segment with that number.
    pub fn segment_name(&self, number: u32) -> Option<Name> {
        self.segments.iter().find(|(_, segment)| segment.0 == number).map(|(name, _)| *name)
    }

    /// The segment of each port and VLAN that is in one, by its index.
    pub fn segment_of(&self, ports: &PortIndices) -> BTreeMap<u32, u32> {
        let mut all = BTreeMap::new();
        for (number, segment) in self.segments.values() {
            let places = segment.ports.iter().filter_map(|name| ports.get(name)).map(|i| scope_of_port(*i));
            let places = places.chain(segment.vlans.iter().map(|vlan| scope_of_vlan(*vlan)));
            all.extend(places.map(|place| (place, *number)));
        }
        all
    }
}
