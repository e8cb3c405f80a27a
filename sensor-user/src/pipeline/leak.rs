//! Frames that passed although their rule forbids it: none, unless somebody meddled with the kernel's maps.
//!
//! Each reading of a flow that counted more frames passed than the one before is judged by the rules that were in force in all
//! the time between. What cannot be known for sure is not counted: rules younger than a second, addresses that hosts share.

use std::collections::BTreeMap;

use sensor_core::datapath::{RuleKey, Rules};
use sensor_core::time::{SECOND, Time};
use sensor_ebpf::account::Key;
use sensor_ebpf::flow::{FlowValue, KIND_ARP, KIND_MASK, VERDICT_DROP};
use sensor_ebpf::judge::{ASK_ARP, ASK_IP, End, Question, judge};
use sensor_ebpf::rule::{FLAG_BOTH, FLAG_OBSERVE, LEVEL_ISOLATE, LEVEL_PROTECT, RuleValue};

use super::tally::{Read, passed};
use crate::bpf::FlowKey;

/// A rule holds for all frames this long after it was decided.
const GRACE: u64 = SECOND;

/// The watch for leaks.
#[derive(Debug, Default)]
pub struct Leaks {
    /// The rules that are wanted, and since when they are so.
    since: BTreeMap<RuleKey, (RuleValue, Time)>,
    /// Those that were in force since the last sweep began.
    rules: Rules,
    active: bool,
    /// When the last sweep began, and the one that goes on.
    begun: [Option<Time>; 2],
    frames: u64,
}

/// Whether a rule says with certainty what may not pass, or what may.
fn is_plain(rule: &RuleValue) -> bool {
    let isolates = rule.level >= LEVEL_ISOLATE && rule.flags & (FLAG_BOTH | FLAG_OBSERVE) == FLAG_BOTH;
    rule.level == LEVEL_PROTECT || isolates
}

impl Leaks {
    /// Frames that leaked.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// A sweep begins. `wanted` are the rules as decided; with `bypass` all is to pass.
    pub fn begin(&mut self, now: Time, wanted: &BTreeMap<RuleKey, RuleValue>, bypass: bool) {
        let [_, last] = self.begun;
        self.begun = [last, Some(now)];
        let was = std::mem::take(&mut self.since);
        // An entry that was made to last longer is the same.
        let alike =
            |a: &RuleValue, b: &RuleValue| (a.rule_id, a.level, a.flags) == (b.rule_id, b.level, b.flags);
        let since = |key: &RuleKey, rule: &RuleValue| match was.get(key) {
            Some((before, since)) if alike(before, rule) => *since,
            _ => now,
        };
        self.since = wanted
            .iter()
            .filter(|(_, rule)| is_plain(rule))
            .map(|(key, rule)| (*key, (*rule, since(key, rule))))
            .collect();
        self.rules = Rules::default();
        let Some(last) = last else { return };
        let settled = |since: Time| since.plus(GRACE) <= last;
        for (key, (rule, since)) in &self.since {
            // Protection holds at once: what it lets pass is no leak.
            if settled(*since) || rule.level == LEVEL_PROTECT {
                self.rules.set(*key, Some(*rule));
            }
        }
        let isolates = |(rule, since): &(RuleValue, Time)| rule.level != LEVEL_PROTECT && settled(*since);
        self.active = !bypass && self.since.values().any(isolates);
    }

    /// Rules changed: the sweep that goes on says nothing more.
    pub fn suspend(&mut self) {
        self.active = false;
    }

    /// Takes the reading of a flow, and the one before.
    pub fn look(&mut self, now: Time, key: &FlowKey, value: &FlowValue, before: Option<&Read>) {
        let [Some(last), _] = self.begun else { return };
        let more = match before {
            Some(read) => passed(value).wrapping_sub(read.passed),
            None if value.first_ns >= last.ns() => passed(value),
            None => 0,
        };
        if self.active && more > 0 && self.forbids(now, key, value) {
            self.frames += more;
        }
    }

    fn forbids(&self, now: Time, key: &FlowKey, value: &FlowValue) -> bool {
        let (lane, ips) = match key {
            FlowKey::V4(key) => (key.lane, key.ips()),
            FlowKey::V6(key) => (key.lane, key.ips()),
        };
        let is_arp = lane.vlan() & KIND_MASK == KIND_ARP;
        // A flow is of its IP addresses; it has the MAC addresses of its first frame. So these count only with addresses that
        // hosts do not share, and not for ARP, where an address may move.
        let own = !is_arp && ips.iter().all(|ip| is_own(*ip));
        let macs = if own { [value.macs().src(), value.macs().dst()] } else { [0; 2] };
        let ask = Question {
            now_ns: now.ns(),
            macs,
            ips,
            armed: self.rules.armed(),
            ports: [lane.sport(), lane.dport()],
            vlan: lane.vlan() & !KIND_MASK,
            port: lane.port(),
            proto: lane.proto(),
            kind: if is_arp { ASK_ARP } else { ASK_IP },
            ..Question::default()
        };
        judge(&ask, &self.rules, &mut [End::default(); 2]).verdict == VERDICT_DROP
    }
}

/// Whether an address is one host's: neither unspecified, nor a group's or everybody's.
fn is_own(address: sensor_ebpf::rule::Address) -> bool {
    match sensor_core::datapath::ip(address) {
        std::net::IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        std::net::IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use sensor_core::datapath;
    use sensor_ebpf::flow::{FlowKey4, Lane, Macs};

    use super::super::tally::Tally;
    use super::*;

    const ISOLATED: [u8; 4] = [10, 0, 0, 7];
    const OTHER: [u8; 4] = [10, 0, 0, 9];

    fn key(src: [u8; 4], dst: [u8; 4]) -> FlowKey {
        let lane = Lane::new(0, 17, 1, 0);
        FlowKey::V4(FlowKey4::new(u32::from_ne_bytes(src), u32::from_ne_bytes(dst), lane))
    }

    fn value(passed: u64, dropped: u64) -> FlowValue {
        let mut value =
            FlowValue { first_ns: 1, owner_passed: passed, owner_dropped: dropped, ..FlowValue::default() };
        value.set_macs(Macs::new(1, 2));
        value
    }

    fn second(n: u64) -> Time {
        Time::at(n * SECOND)
    }

    fn wanted(rule: RuleValue) -> BTreeMap<RuleKey, RuleValue> {
        BTreeMap::from([(RuleKey::from(IpAddr::from(ISOLATED)), rule)])
    }

    /// Sweeps at 0, 5, 10... s; the flow has passed these numbers of frames at each. What leaked.
    fn leaked(
        flow: &FlowKey,
        passed: &[u64],
        rules: impl Fn(u64) -> (BTreeMap<RuleKey, RuleValue>, bool),
    ) -> u64 {
        let (mut leaks, mut tally) = (Leaks::default(), Tally::default());
        for (n, passed) in passed.iter().enumerate() {
            let now = second(5 * n as u64);
            let (wanted, bypass) = rules(n as u64);
            leaks.begin(now, &wanted, bypass);
            let value = value(*passed, 3);
            let before = tally.see(1, flow, &value);
            leaks.look(now, flow, &value, before.as_ref());
            tally.finish(&BTreeMap::new());
        }
        leaks.frames()
    }

    #[test]
    fn what_passes_after_the_rule_holds_is_a_leak_at_either_end() {
        let isolate = RuleValue::new(1, LEVEL_ISOLATE);
        let always = |_| (wanted(isolate), false);
        for flow in [key(ISOLATED, OTHER), key(OTHER, ISOLATED)] {
            // The rule is there from the sweep at 0 s; what passed by the sweep at 10 s may be older than it.
            assert_eq!(leaked(&flow, &[10, 20, 20], always), 0, "nothing passes any more");
            assert_eq!(leaked(&flow, &[10, 20, 20, 24], always), 4);
        }
        assert_eq!(leaked(&key(OTHER, [10, 0, 0, 8]), &[10, 20, 30, 40], always), 0, "another's");
        assert_eq!(leaked(&key(ISOLATED, OTHER), &[10, 20, 30, 40], |_| (BTreeMap::new(), false)), 0);
        assert_eq!(
            leaked(&key(ISOLATED, OTHER), &[10, 20, 30, 40], |_| (wanted(isolate), true)),
            0,
            "bypass"
        );
        let released = |n| (if n < 3 { wanted(isolate) } else { BTreeMap::new() }, false);
        assert_eq!(leaked(&key(ISOLATED, OTHER), &[10, 10, 10, 40, 50], released), 0, "released");
        let lapsed = RuleValue { until_ns: second(12).ns(), ..isolate };
        assert_eq!(
            leaked(&key(ISOLATED, OTHER), &[10, 10, 10, 40, 50], |_| (wanted(lapsed), false)),
            0,
            "lapsed"
        );
        let observed = RuleValue { flags: FLAG_BOTH | FLAG_OBSERVE, ..isolate };
        assert_eq!(
            leaked(&key(ISOLATED, OTHER), &[10, 20, 30, 40], |_| (wanted(observed), false)),
            0,
            "observed"
        );
        // The protection of the other end does not free an isolated one.
        let both = |_| {
            let mut both = wanted(isolate);
            both.insert(RuleKey::from(IpAddr::from(ISOLATED)), RuleValue::new(0, LEVEL_PROTECT));
            (both, false)
        };
        assert_eq!(leaked(&key(ISOLATED, OTHER), &[10, 20, 30, 40], both), 0, "protected");
    }

    #[test]
    fn a_mac_rule_counts_only_for_addresses_that_hosts_do_not_share() {
        let rule = |_| (BTreeMap::from([(RuleKey::Mac(1), RuleValue::new(1, LEVEL_ISOLATE))]), false);
        assert_eq!(leaked(&key(ISOLATED, OTHER), &[1, 1, 1, 9], rule), 8);
        assert_eq!(leaked(&key([0; 4], [255; 4]), &[1, 1, 1, 9], rule), 0, "DHCP of anybody");
        assert_eq!(datapath::ip(datapath::address(IpAddr::from(ISOLATED))), IpAddr::from(ISOLATED));
    }

    #[test]
    fn a_change_of_rules_ends_what_can_be_said_by_this_sweep() {
        let mut leaks = Leaks::default();
        let rules = wanted(RuleValue::new(1, LEVEL_ISOLATE));
        for n in 0..4 {
            leaks.begin(second(5 * n), &rules, false);
        }
        let flow = FlowValue { first_ns: second(14).ns(), ..value(7, 0) };
        leaks.suspend();
        leaks.look(second(15), &key(ISOLATED, OTHER), &flow, None);
        assert_eq!(leaks.frames(), 0);
        leaks.begin(second(20), &rules, false);
        leaks.look(second(20), &key(ISOLATED, OTHER), &FlowValue { first_ns: second(16).ns(), ..flow }, None);
        assert_eq!(leaks.frames(), 7);
    }
}
