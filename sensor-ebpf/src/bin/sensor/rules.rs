//! Looking up the rules of a frame's two ends. Only on a new flow, and on a known one after the policy changed.

use aya_ebpf::maps::HashMap;
use sensor_ebpf::control::{ARMED_IP4, ARMED_IP6, ARMED_MAC, Config};
use sensor_ebpf::flow::FlowKey6;
use sensor_ebpf::parse::{Link, Net4};
use sensor_ebpf::rule::{self, Judgement, RuleValue};

use crate::maps;

/// The rules of a frame's source and destination address.
type Pair = (RuleValue, RuleValue);

/// The IP addresses of a frame: types apart, for the verifier would not follow one enum of both.
pub trait Ends {
    /// The rules of its addresses.
    fn rules(&self, config: &Config) -> Pair;
}

/// A frame without IP addresses.
pub struct NoEnds;

impl Ends for NoEnds {
    #[inline(always)]
    fn rules(&self, _config: &Config) -> Pair {
        Pair::default()
    }
}

impl Ends for Net4 {
    #[inline(always)]
    fn rules(&self, config: &Config) -> Pair {
        if config.armed & ARMED_IP4 == 0 {
            return Pair::default();
        }
        (get(&maps::RULES_IP4, &self.src, config), get(&maps::RULES_IP4, &self.dst, config))
    }
}

/// The key itself, not the packet: its addresses need not lie on the stack a second time, of which older kernels (6.1)
/// allow this way but 512 bytes in all.
impl Ends for FlowKey6 {
    #[inline(always)]
    fn rules(&self, config: &Config) -> Pair {
        if config.armed & ARMED_IP6 == 0 {
            return Pair::default();
        }
        let [src, dst] = &self.addresses;
        (get(&maps::RULES_IP6, src, config), get(&maps::RULES_IP6, dst, config))
    }
}

/// Judges a frame by the rules that are armed.
#[inline(always)]
pub fn judge(config: &Config, link: &Link, ends: &impl Ends, now_ns: u64) -> Judgement {
    if config.armed == 0 {
        return Judgement::default();
    }
    let (mut src_mac, mut dst_mac) = Pair::default();
    if config.armed & ARMED_MAC != 0 {
        src_mac = get(&maps::RULES_MAC, &link.src, config);
        dst_mac = get(&maps::RULES_MAC, &link.dst, config);
    }
    let (src_ip, dst_ip) = ends.rules(config);
    let source = veiled(rule::end(src_mac, src_ip, now_ns), config);
    let destination = veiled(rule::end(dst_mac, dst_ip, now_ns), config);
    Judgement { by_mac: config.armed & ARMED_MAC != 0, ..rule::judge(source, destination) }
}

/// The rule of a key, all zero if there is none.
#[inline(always)]
fn get<K>(rules: &HashMap<K, RuleValue>, key: &K, config: &Config) -> RuleValue {
    // SAFETY: the value is copied at once; a rule replaced meanwhile comes with a new generation, and the flow is judged
    // again then.
    let rule = unsafe { rules.get(key).copied() };
    veiled(rule.unwrap_or_default(), config)
}

/// Hides from the verifier whether there is a rule (see `veil`): four rules would make a hundred ways to follow.
#[inline(always)]
fn veiled(mut rule: RuleValue, config: &Config) -> RuleValue {
    rule.class ^= config.zero as u8;
    rule.flags ^= config.zero as u8;
    rule.rule_id ^= config.zero;
    rule.until_ns ^= u64::from(config.zero);
    rule
}
