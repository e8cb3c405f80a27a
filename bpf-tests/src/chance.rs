//! Policies made up by chance, the same for the same seed: rules of all kinds and levels for the hosts of a capture, with what
//! belongs to them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use sensor_core::datapath::{Datapath, RuleKey};
use sensor_ebpf::account::{self, Key};
use sensor_ebpf::control::{REFLEX_COUNT, REFLEX_ENFORCE, REFLEX_OFF, Rate, Reflex};
use sensor_ebpf::counter::Reason;
use sensor_ebpf::parse::{self, ETHER_ARP, ETHER_IPV4, MacKey, Slice};
use sensor_ebpf::rule::{
    Address, AllowKey, FLAG_BOTH, FLAG_FROM, FLAG_OBSERVE, FLAG_TO, LEVEL_CUT, LEVEL_PROTECT, LEVEL_THROTTLE,
    MAPPED, MAPPED_BITS, ROLE_NEIGHBOUR, RuleValue, scope_of_port, scope_of_segment, scope_of_vlan,
};

use crate::capture;
use crate::kernel::{PORT, TestSensor};

/// A generator of numbers, xorshift64* (Marsaglia 2003, Vigna 2014).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// One that gives the same numbers for the same seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.number() >> 11) as usize % n
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these, if there is any.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }
}

/// Who speaks in a capture, and of what.
#[derive(Debug, Default)]
pub struct Cast {
    /// MAC addresses.
    pub macs: Vec<MacKey>,
    /// IP addresses.
    pub ips: Vec<Address>,
    /// VLAN identifiers, 0 for frames without.
    pub vlans: Vec<u16>,
    /// Peer, protocol and ports of packets.
    pub services: Vec<(Address, u8, [u16; 2])>,
}

impl Cast {
    /// Reads the capture for it.
    pub fn of(path: &Path) -> Self {
        let (mut macs, mut ips) = (BTreeSet::new(), BTreeSet::new());
        let (mut vlans, mut services) = (BTreeSet::new(), BTreeSet::new());
        // A damaged file is read as far as it goes.
        let _ = capture::frames(path, |bytes| {
            let (link, at, reason) = parse::link(Slice(bytes));
            macs.extend([link.src, link.dst].into_iter().filter(|mac| mac & 1 == 0));
            vlans.insert(link.vlan);
            if reason != Reason::None {
                return Ok(());
            }
            let (found, upper) = match link.ether_type {
                ETHER_IPV4 | ETHER_ARP => {
                    let net = if link.ether_type == ETHER_IPV4 { parse::ipv4(at, 0) } else { parse::arp(at) };
                    let Ok(net) = net else { return Ok(()) };
                    (account::key4(&net, &link, PORT).ips(), net.upper)
                }
                _ => {
                    let Ok(net) = parse::ipv6(at, 0) else { return Ok(()) };
                    (account::key6(&net, &link, PORT).ips(), net.upper)
                }
            };
            ips.extend(found);
            services.insert((found[1], upper.proto, [upper.sport, upper.dport]));
            Ok(())
        });
        Self {
            macs: macs.into_iter().collect(),
            ips: ips.into_iter().collect(),
            vlans: vlans.into_iter().collect(),
            services: services.into_iter().take(4_096).collect(),
        }
    }
}

/// A whole policy.
#[derive(Debug, Default)]
pub struct Made {
    /// Rules; their numbers count from 1.
    pub rules: Vec<(RuleKey, RuleValue)>,
    /// What the lists 1 and 2 allow.
    pub allow: Vec<AllowKey>,
    /// Internal prefixes.
    pub internal: Vec<(u32, Address)>,
    /// Segments of ports and VLANs.
    pub segments: Vec<(u32, u32)>,
    /// The reflex of each segment.
    pub reflex: Vec<(u32, Reflex)>,
    /// Budgets of throttled devices.
    pub throttle: [Rate; 2],
}

/// A budget of so many that does not fill again while anybody looks.
pub const fn budget(number: u64) -> Rate {
    const FOREVER: u64 = 1 << 46;
    Rate { interval_ns: FOREVER, burst_ns: FOREVER * number }
}

impl Made {
    /// Makes one up for the speakers of a capture. With `budgets` there are throttled devices and reflexes too.
    pub fn up(cast: &Cast, chance: &mut Chance, budgets: bool) -> Self {
        let mut made = Self::default();
        for _ in 0..=chance.below(12) {
            let Some(key) = key(cast, chance) else { continue };
            let rule = rule(&key, made.rules.len() as u32 + 1, chance, budgets);
            made.rules.retain(|(other, _)| *other != key);
            made.rules.push((key, rule));
        }
        // Some were replaced: no two have one number.
        for (number, (_, rule)) in made.rules.iter_mut().enumerate() {
            rule.rule_id = number as u32 + 1;
        }
        for _ in 0..chance.below(12) {
            made.allow.extend(allowance(cast, chance));
        }
        for _ in 0..chance.below(4) {
            made.internal.extend(chance.of(&cast.ips).copied().map(|ip| prefix(ip, chance)));
        }
        for vlan in &cast.vlans {
            if chance.once_in(3) {
                made.segments.push((scope_of_vlan(*vlan), 1 + chance.below(3) as u32));
            }
        }
        if budgets {
            made.segments.push((scope_of_port(PORT), 1));
            for segment in 0..4 {
                let mode = [REFLEX_OFF, REFLEX_COUNT, REFLEX_ENFORCE, REFLEX_ENFORCE][chance.below(4)];
                let rate = budget(chance.below(12) as u64);
                made.reflex.push((segment, Reflex { rate, mode, pad: 0 }));
            }
            made.throttle = [budget(chance.below(6) as u64), budget(chance.below(64) as u64)];
        }
        made
    }

    /// The numbers of the rules.
    pub fn rule_ids(&self) -> Vec<u32> {
        self.rules.iter().map(|(_, rule)| rule.rule_id).collect()
    }

    /// The same with every rule in observe mode.
    pub fn observed(&self) -> Vec<(RuleKey, RuleValue)> {
        let observe = |rule: &RuleValue| RuleValue { flags: rule.flags | FLAG_OBSERVE, ..*rule };
        self.rules.iter().map(|(key, rule)| (*key, observe(rule))).collect()
    }

    /// Has the kernel hold it, with these rules.
    pub fn install(&self, sensor: &mut TestSensor, rules: &[(RuleKey, RuleValue)]) -> Result<()> {
        let kernel = &mut sensor.maps.rules;
        for key in kernel.allowed()? {
            kernel.allow(key, false)?;
        }
        for key in &self.allow {
            kernel.allow(*key, true)?;
        }
        for (bits, address) in &self.internal {
            kernel.add_internal(*bits, *address)?;
        }
        for (scope, segment) in &self.segments {
            kernel.set_segment(*scope, *segment)?;
        }
        for (segment, reflex) in &self.reflex {
            kernel.set_reflex(*segment, *reflex)?;
        }
        let [new, kib] = self.throttle;
        kernel.set_throttle(new, kib)?;
        for id in self.rule_ids() {
            sensor.maps.counters.clear_rule(id)?;
        }
        sensor.set_rules(rules)
    }

    /// Takes it back from the kernel, the rules too.
    pub fn remove(&self, sensor: &mut TestSensor) -> Result<()> {
        for (scope, _) in &self.segments {
            sensor.maps.rules.set_segment(*scope, 0)?;
        }
        for (segment, _) in &self.reflex {
            sensor.maps.rules.set_reflex(*segment, Reflex::default())?;
        }
        sensor.empty_internal()?;
        sensor.forget(&self.rule_ids())?;
        sensor.clear()?;
        ensure!(sensor.maps.rules.list()?.is_empty(), "rules are left");
        Ok(())
    }

    /// Has the twin hold it.
    pub fn install_twin(&self, twin: &mut Datapath) {
        for (key, rule) in &self.rules {
            twin.rules.set(*key, Some(*rule));
        }
        twin.rules.allow.extend(&self.allow);
        twin.rules.internal.clone_from(&self.internal);
        twin.rules.segments.extend(self.segments.iter().copied());
        twin.rules.reflex.extend(self.reflex.iter().copied());
        twin.throttle = self.throttle;
        twin.commit();
    }
}

/// What a rule is about.
fn key(cast: &Cast, chance: &mut Chance) -> Option<RuleKey> {
    Some(match chance.below(8) {
        0 | 1 => RuleKey::Mac(*chance.of(&cast.macs)?),
        2 | 3 => RuleKey::Ip(*chance.of(&cast.ips)?),
        4 | 5 => {
            let (bits, address) = prefix(*chance.of(&cast.ips)?, chance);
            RuleKey::Net { bits, address }
        }
        6 => RuleKey::Scope(scope_of_vlan(*chance.of(&cast.vlans)?)),
        _ if chance.once_in(4) => RuleKey::Scope(scope_of_port(PORT)),
        _ => RuleKey::Scope(scope_of_segment(1 + chance.below(3) as u32)),
    })
}

/// A rule of any level. Those for whole places are more often to protect, or little would be left to see.
fn rule(key: &RuleKey, rule_id: u32, chance: &mut Chance, budgets: bool) -> RuleValue {
    let lowest = if budgets { LEVEL_THROTTLE } else { LEVEL_THROTTLE + 1 };
    let mut level = lowest + chance.below(usize::from(LEVEL_CUT - lowest) + 1) as u8;
    if chance.once_in(if matches!(key, RuleKey::Scope(_)) { 2 } else { 8 }) {
        level = LEVEL_PROTECT;
    }
    let direction = [FLAG_BOTH, FLAG_BOTH, FLAG_FROM, FLAG_TO][chance.below(4)];
    let observe = if chance.once_in(3) { FLAG_OBSERVE } else { 0 };
    let list = 1 + chance.below(2) as u16;
    RuleValue { until_ns: 0, rule_id, level, flags: direction | observe, list }
}

/// A prefix an address lies in.
fn prefix(ip: Address, chance: &mut Chance) -> (u32, Address) {
    let least = if ip[0] == 0 && ip[1] as u32 == MAPPED { MAPPED_BITS } else { 1 };
    let bits = least + chance.below((129 - least) as usize) as u32;
    let word = |word: u64, bits: u32| word & u64::MAX.checked_shl(64 - bits.min(64)).unwrap_or(0).to_be();
    (bits, [word(ip[0], bits), word(ip[1], bits.saturating_sub(64))])
}

/// Something a list allows.
fn allowance(cast: &Cast, chance: &mut Chance) -> Option<AllowKey> {
    let list = 1 + chance.below(2) as u16;
    let role = chance.below(4) as u8;
    if role == ROLE_NEIGHBOUR {
        return Some(AllowKey { list, role, ..AllowKey::default() });
    }
    let (peer, proto, ports) = *chance.of(&cast.services)?;
    let (proto, port) = if role == 0 { (0, 0) } else { (proto, ports[chance.below(2)]) };
    let peer = if role != 0 && chance.once_in(3) { [0; 2] } else { peer };
    Some(AllowKey { peer, list, port, proto, role, pad: [0; 2] })
}
