//! How a frame is judged by the rules. The program and the replay of captures both go through here.
//!
//! A frame has two ends. At each end the rules for its MAC address, its IP address, the longest prefix of that, its
//! bridge port, its VLAN and its segment come together, and the strictest one holds. Protection goes before all that say less
//! exactly who is meant: a protected MAC address is never restricted; a protected IP address is not restricted by prefix,
//! port, VLAN or segment, but by a rule for the MAC address, or an isolated host would get through by borrowing a protected
//! address (user space never isolates a MAC address that carries a protected one); a protected prefix not by port, VLAN or
//! segment, and a protected one of these not by another of them. One end that may not is enough to drop the frame.
//!
//! Rules in observe mode are judged in just the same way after those enforced, and only counted.

use crate::flow::{VERDICT_DROP, VERDICT_PASS, VERDICT_RATE, VERDICT_WOULD_DROP, VERDICT_WOULD_RATE};
use crate::parse::{MacKey, PROTO_ICMP6};
use crate::rule::{
    Address, AllowKey, FLAG_FROM, FLAG_OBSERVE, FLAG_TO, LEVEL_CUT, LEVEL_EXTERNAL_ONLY, LEVEL_ISOLATE,
    LEVEL_NONE, LEVEL_PIN, LEVEL_PROTECT, LEVEL_THROTTLE, MAPPED, ROLE_ANY, ROLE_CLIENT, ROLE_NEIGHBOUR,
    ROLE_SERVER, RuleValue, scope_of_port, scope_of_segment, scope_of_vlan,
};

/// `kind` of a [`Question`]: an IP packet.
pub const ASK_IP: u8 = 0;
/// `kind`: ARP.
pub const ASK_ARP: u8 = 1;
/// `kind`: a frame whose IP addresses are not known.
pub const ASK_LINK: u8 = 2;
/// `kind`: link control, which only a cut stops.
pub const ASK_CONTROL: u8 = 3;

/// Armed bit: the map of rules by MAC address is not empty.
pub const ARMED_MAC: u32 = 1;
/// Armed bit: the map of rules by IP address is not empty.
pub const ARMED_IP: u32 = 2;
/// Armed bit: the map of rules by prefix is not empty.
pub const ARMED_NET: u32 = 4;
/// Armed bit: there is a rule for a port, a VLAN or a segment.
pub const ARMED_SCOPE: u32 = 8;
/// Armed bit: new destinations are counted, for the reflex of a segment or a throttled device.
pub const ARMED_REFLEX: u32 = 16;
/// Armed bit: one of the rules restricts somebody, so that not all of them protect or are only observed.
pub const ARMED_ENFORCED: u32 = 32;
/// The bits for which a frame is judged at all.
pub const ARMED_RULES: u32 = ARMED_MAC | ARMED_IP | ARMED_NET | ARMED_SCOPE;

/// A verdict made by where the destination lives is made anew after this long, ns: the destination may have moved, or somebody
/// used its MAC address elsewhere, and it must not stay cut off for that.
const PLACE_HOLDS: u64 = 1_000_000_000;

/// What is known of a frame that is to be judged; index 0 is its source, 1 its destination.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Question {
    /// ns of CLOCK_MONOTONIC.
    pub now_ns: u64,
    /// MAC addresses.
    pub macs: [MacKey; 2],
    /// IP addresses; zero if there are none.
    pub ips: [Address; 2],
    /// `ARMED_*` bits.
    pub armed: u32,
    /// Ports, network byte order; ICMP: type and code, type in the first byte, as source port.
    pub ports: [u16; 2],
    /// VLAN identifier, 0 if untagged.
    pub vlan: u16,
    /// Index of the bridge port it came in by.
    pub port: u8,
    /// IP protocol.
    pub proto: u8,
    /// `ASK_*`.
    pub kind: u8,
    /// Zero.
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<Question>() == 72);

/// What the policy says of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Judgement {
    /// The rule behind it, 0 for none.
    pub rule_id: u32,
    /// It lapses then, ns of CLOCK_MONOTONIC; 0: never.
    pub until_ns: u64,
    /// `VERDICT_*`.
    pub verdict: u8,
    /// MAC addresses had a say in it.
    pub by_mac: bool,
    /// The source is protected.
    pub spared: bool,
    /// All that the source sends from there is dropped (see [`crate::seal`]).
    pub seals: bool,
    /// A rule restricts the source, whatever it may still send.
    pub held: bool,
}

/// The rule maps, as a judge asks them.
pub trait Policy {
    /// The rule for a MAC address; all zero if there is none.
    fn mac(&self, mac: &MacKey) -> RuleValue;
    /// The rule for an IP address.
    fn ip(&self, ip: &Address) -> RuleValue;
    /// The rule for the longest prefix of an IP address.
    fn net(&self, ip: &Address) -> RuleValue;
    /// The rule for a port, VLAN or segment, by its index.
    fn scope(&self, index: u32) -> RuleValue;
    /// The segment of a port or VLAN by its index, 0 for none.
    fn segment(&self, index: u32) -> u32;
    /// Index of the bridge port a MAC address lives at, 0 if that is not known.
    fn place(&self, mac: &MacKey) -> u32;
    /// Whether an address is within the internal prefixes.
    fn is_internal(&self, ip: &Address) -> bool;
    /// Whether something is allowed.
    fn allows(&self, key: &AllowKey) -> bool;
    /// Does nothing. In the kernel the verifier forgets what it knows of an end, so that it need not follow each rule there
    /// may be for itself.
    fn settle(&self, _end: &mut End) {}
}

/// The rules that hold for one end of a frame.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct End {
    /// The strictest that is enforced.
    enforced: RuleValue,
    /// The strictest that is only observed.
    observed: RuleValue,
    /// The one looked at.
    candidate: RuleValue,
    /// 1: it is protected.
    spared: u64,
}

impl End {
    /// Takes in a rule, if it holds now and in this direction; true if it protects.
    #[inline(always)]
    fn add(&mut self, rule: RuleValue, ask: &Question, direction: u8, policy: &impl Policy) -> bool {
        self.candidate = rule;
        policy.settle(self);
        let rule = &self.candidate;
        // A level nobody knows of restricts nobody.
        let unknown = rule.level < LEVEL_THROTTLE || rule.level > LEVEL_PROTECT;
        if unknown || (rule.until_ns != 0 && ask.now_ns >= rule.until_ns) {
            return false;
        }
        if rule.level == LEVEL_PROTECT {
            self.spared = 1;
            return true;
        }
        if rule.flags & direction == 0 {
            return false;
        }
        let slot = if rule.flags & FLAG_OBSERVE == 0 { &mut self.enforced } else { &mut self.observed };
        if rule.level > slot.level {
            *slot = *rule;
        }
        policy.settle(self);
        false
    }

    /// Whether a place is protected, and with it this end from the rules for places.
    #[inline(always)]
    fn is_spared(&mut self, scope: u32, ask: &Question, policy: &impl Policy) -> bool {
        self.candidate = policy.scope(scope);
        policy.settle(self);
        let RuleValue { level, until_ns, .. } = self.candidate;
        let spared = level == LEVEL_PROTECT && (until_ns == 0 || ask.now_ns < until_ns);
        self.spared |= u64::from(spared);
        spared
    }
}

/// The segment of frames of a port and a VLAN: that of the VLAN if it has one, else the port's.
#[inline(always)]
pub fn segment(policy: &impl Policy, port: u32, vlan: u16) -> u32 {
    let of_vlan = policy.segment(scope_of_vlan(vlan));
    if of_vlan != 0 { of_vlan } else { policy.segment(scope_of_port(port as u8)) }
}

/// The verdict on a frame. `ends` is where its two ends are put together.
#[inline(always)]
pub fn judge(ask: &Question, policy: &impl Policy, ends: &mut [End; 2]) -> Judgement {
    let [source, destination] = ends;
    gather(source, ask, policy, 0);
    gather(destination, ask, policy, 1);
    policy.settle(source);
    policy.settle(destination);
    let placed = ask.armed & ARMED_SCOPE != 0;
    let mut judgement = Judgement {
        by_mac: placed || ask.armed & ARMED_MAC != 0,
        spared: source.spared != 0,
        held: source.enforced.level != LEVEL_NONE,
        ..Judgement::default()
    };
    if forbids(&source.enforced, ask, policy, 0) {
        decide(&mut judgement, &source.enforced, VERDICT_DROP);
        judgement.seals = source.enforced.level >= LEVEL_ISOLATE;
    } else if forbids(&destination.enforced, ask, policy, 1) {
        decide(&mut judgement, &destination.enforced, VERDICT_DROP);
        hurry(&mut judgement, ask, placed);
    } else if throttles(&source.enforced, ask) {
        decide(&mut judgement, &source.enforced, VERDICT_RATE);
    } else if throttles(&destination.enforced, ask) {
        decide(&mut judgement, &destination.enforced, VERDICT_RATE);
        hurry(&mut judgement, ask, placed);
    } else if forbids(&source.observed, ask, policy, 0) {
        decide(&mut judgement, &source.observed, VERDICT_WOULD_DROP);
    } else if forbids(&destination.observed, ask, policy, 1) {
        decide(&mut judgement, &destination.observed, VERDICT_WOULD_DROP);
        hurry(&mut judgement, ask, placed);
    } else if throttles(&source.observed, ask) {
        decide(&mut judgement, &source.observed, VERDICT_WOULD_RATE);
    } else if throttles(&destination.observed, ask) {
        decide(&mut judgement, &destination.observed, VERDICT_WOULD_RATE);
        hurry(&mut judgement, ask, placed);
    } else {
        judgement.verdict = VERDICT_PASS;
    }
    judgement
}

#[inline(always)]
fn decide(judgement: &mut Judgement, rule: &RuleValue, verdict: u8) {
    judgement.rule_id = rule.rule_id;
    judgement.until_ns = rule.until_ns;
    judgement.verdict = verdict;
}

/// Makes a judgement that may be by the place of the destination lapse soon.
#[inline(always)]
fn hurry(judgement: &mut Judgement, ask: &Question, placed: bool) {
    let soon = ask.now_ns.wrapping_add(PLACE_HOLDS);
    if placed && (judgement.until_ns == 0 || judgement.until_ns > soon) {
        judgement.until_ns = soon;
    }
}

/// Whether an address is one of IPv4.
#[inline(always)]
fn is_mapped([high, low]: Address) -> bool {
    high == 0 && low as u32 == MAPPED
}

/// Whether a packet is router or neighbour discovery (RFC 4861: ICMPv6 of types 133 to 137), which is to IPv6 what ARP is to
/// IPv4.
#[inline(always)]
pub fn is_discovery(ask: &Question) -> bool {
    ask.proto == PROTO_ICMP6 && matches!(ask.ports[0] as u8, 133..=137) && !is_mapped(ask.ips[0])
}

/// Whether an address is one of no network: of a group, of everybody, of the link alone (169.254/16, fe80::/10), or of somebody
/// who has none yet. Nothing leaves the place for it.
#[inline(always)]
fn is_near(ip: Address) -> bool {
    let [high, low] = ip;
    if is_mapped(ip) {
        let four = (low >> 32) as u32;
        let (first, second) = (four as u8, (four >> 8) as u8);
        return matches!(first, 224..=239)
            || (first == 169 && second == 254)
            || four == 0
            || four == u32::MAX;
    }
    let (first, second) = (high as u8, (high >> 8) as u8);
    first == 0xff || (first == 0xfe && second & 0xc0 == 0x80) || (high == 0 && low == 0)
}

/// The rules of one end.
#[inline(always)]
fn gather(end: &mut End, ask: &Question, policy: &impl Policy, at: usize) {
    *end = End::default();
    policy.settle(end);
    let direction = if at == 0 { FLAG_FROM } else { FLAG_TO };
    // No host has the address of a group, and a rule for one would cut all hosts off from each other.
    let group = at == 1 && ask.macs[1] & 1 != 0;
    if ask.armed & ARMED_MAC != 0 && !group && end.add(policy.mac(&ask.macs[at]), ask, direction, policy) {
        return;
    }
    if ask.kind == ASK_IP || ask.kind == ASK_ARP {
        if ask.armed & ARMED_IP != 0 && end.add(policy.ip(&ask.ips[at]), ask, direction, policy) {
            return;
        }
        if ask.armed & ARMED_NET != 0 && end.add(policy.net(&ask.ips[at]), ask, direction, policy) {
            return;
        }
    }
    if ask.armed & ARMED_SCOPE != 0 {
        scopes(end, ask, policy, at, direction);
    }
}

/// Adds the rules for the place of an end, unless one of them protects it. Where a destination lives is known if it was heard.
#[inline(always)]
fn scopes(end: &mut End, ask: &Question, policy: &impl Policy, at: usize, direction: u8) {
    let port = if at == 0 { u32::from(ask.port) } else { policy.place(&ask.macs[1]) };
    let segment = segment(policy, port, ask.vlan);
    let (vlan, port, segment) =
        (scope_of_vlan(ask.vlan), scope_of_port(port as u8), scope_of_segment(segment));
    if end.is_spared(vlan, ask, policy)
        || end.is_spared(port, ask, policy)
        || end.is_spared(segment, ask, policy)
    {
        return;
    }
    if at == 0 {
        // A frame is in one VLAN, at both ends.
        end.add(policy.scope(vlan), ask, FLAG_FROM | FLAG_TO, policy);
    }
    // Port 0 is one nobody registered or knows, segment 0 none.
    if port != scope_of_port(0) {
        end.add(policy.scope(port), ask, direction, policy);
    }
    if segment != scope_of_segment(0) {
        end.add(policy.scope(segment), ask, direction, policy);
    }
}

/// Whether the rule of an end lets the frame pass within a budget. Link control is nobody's load.
#[inline(always)]
fn throttles(rule: &RuleValue, ask: &Question) -> bool {
    rule.level == LEVEL_THROTTLE && ask.kind != ASK_CONTROL
}

/// Whether the rule of an end forbids the frame.
#[inline(always)]
fn forbids(rule: &RuleValue, ask: &Question, policy: &impl Policy, at: usize) -> bool {
    if rule.level == LEVEL_NONE || rule.level == LEVEL_THROTTLE {
        return false;
    }
    if ask.kind == ASK_CONTROL {
        return rule.level == LEVEL_CUT;
    }
    if rule.level >= LEVEL_ISOLATE {
        return true;
    }
    if rule.level == LEVEL_EXTERNAL_ONLY {
        let other = &ask.ips[1 - at];
        return ask.kind == ASK_IP && !is_near(*other) && !policy.is_internal(other);
    }
    debug_assert!(rule.level >= LEVEL_PIN, "levels between are listed above");
    !allowed(rule.list, ask, policy, at)
}

/// Whether a list allows a frame of which the end at `at` is the device that is held.
#[inline(always)]
fn allowed(list: u16, ask: &Question, policy: &impl Policy, at: usize) -> bool {
    let mut key = AllowKey { list, role: ROLE_NEIGHBOUR, ..AllowKey::default() };
    if ask.kind == ASK_ARP || is_discovery(ask) {
        return policy.allows(&key);
    }
    if ask.kind == ASK_LINK {
        return false;
    }
    key.peer = ask.ips[1 - at];
    key.role = ROLE_ANY;
    if policy.allows(&key) {
        return true;
    }
    key.proto = ask.proto;
    service(&mut key, ask, policy, at) || {
        key.peer = [0; 2];
        service(&mut key, ask, policy, at)
    }
}

/// Whether a key's peer may be used, or served, at the ports of a frame.
#[inline(always)]
fn service(key: &mut AllowKey, ask: &Question, policy: &impl Policy, at: usize) -> bool {
    key.role = ROLE_CLIENT;
    key.port = ask.ports[1 - at];
    if policy.allows(key) {
        return true;
    }
    key.role = ROLE_SERVER;
    key.port = ask.ports[at];
    policy.allows(key)
}
