//! Looking up the rules of a frame's two ends. Only on a new flow, and on a known one after the policy changed.

use aya_ebpf::maps::HashMap;
use sensor_ebpf::control::{ARMED_IP4, ARMED_IP6, ARMED_MAC};
use sensor_ebpf::parse::{Link, Net4, Net6};
use sensor_ebpf::rule::{self, Judgement, RuleValue};

use crate::maps;

/// The rules of a frame's source and destination address.
type Pair = (Option<RuleValue>, Option<RuleValue>);

/// The IP addresses of a frame: types apart, for the verifier would not follow one enum of both.
pub trait Ends {
    /// The rules of its addresses.
    fn rules(&self, armed: u32) -> Pair;
}

/// A frame without IP addresses.
pub struct NoEnds;

impl Ends for NoEnds {
    #[inline(always)]
    fn rules(&self, _armed: u32) -> Pair {
        (None, None)
    }
}

impl Ends for Net4 {
    #[inline(always)]
    fn rules(&self, armed: u32) -> Pair {
        if armed & ARMED_IP4 == 0 {
            return (None, None);
        }
        (get(&maps::RULES_IP4, &self.src), get(&maps::RULES_IP4, &self.dst))
    }
}

impl Ends for Net6 {
    #[inline(always)]
    fn rules(&self, armed: u32) -> Pair {
        if armed & ARMED_IP6 == 0 {
            return (None, None);
        }
        (get(&maps::RULES_IP6, &self.src), get(&maps::RULES_IP6, &self.dst))
    }
}

/// Judges a frame by the rules that are armed.
#[inline(always)]
pub fn judge(armed: u32, link: &Link, ends: &impl Ends, now_ns: u64) -> Judgement {
    if armed == 0 {
        return Judgement::default();
    }
    let mac = |key: &u64| if armed & ARMED_MAC != 0 { get(&maps::RULES_MAC, key) } else { None };
    let (src_ip, dst_ip) = ends.rules(armed);
    let source = rule::end(mac(&link.src), src_ip, now_ns);
    let destination = rule::end(mac(&link.dst), dst_ip, now_ns);
    rule::judge(source, destination)
}

#[inline(always)]
fn get<K>(rules: &HashMap<K, RuleValue>, key: &K) -> Option<RuleValue> {
    // SAFETY: the value is copied at once; a rule replaced meanwhile comes with a new generation, and the flow is judged
    // again then.
    unsafe { rules.get(key).copied() }
}
