//! Policy rules: what the drop maps hold, and how a frame's two ends are judged.
//!
//! Each end of a frame (source, destination) is judged by its MAC address and its IP address. Within one end a MAC
//! that is isolated wins over an address that is protected, so that an isolated host cannot get through by borrowing a
//! protected address; a protected MAC wins over an isolated address. User space never isolates a MAC that carries a
//! protected address. One isolated end is enough to drop.

/// Entries of each rule map.
pub const RULE_CAPACITY: u32 = 65_536;

/// Class: never dropped on account of this end.
pub const CLASS_PROTECT: u8 = 1;
/// Class: nothing from it, nothing to it.
pub const CLASS_ISOLATE: u8 = 2;

/// Flag: observe only; the frame passes and is counted as one that would have been dropped.
pub const FLAG_OBSERVE: u8 = 1;

/// Value of a rule, 16 bytes. Keys: a MAC address in the low 48 bits of a u64 (first byte lowest), an IPv4 address in
/// network byte order, or 16 bytes of IPv6.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RuleValue {
    /// The rule lapses then, ns of CLOCK_MONOTONIC; 0: never.
    pub until_ns: u64,
    /// Number of the block entry it belongs to.
    pub rule_id: u32,
    /// `CLASS_*`.
    pub class: u8,
    /// `FLAG_*` bits.
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 2],
}

const _: () = assert!(size_of::<RuleValue>() == 16);

/// What the policy says of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Judgement {
    /// The rule behind it, 0 for none.
    pub rule_id: u32,
    /// It lapses then, ns of CLOCK_MONOTONIC; 0: never.
    pub until_ns: u64,
    /// `VERDICT_*`.
    pub verdict: u8,
    /// Rules by MAC address were looked up for it.
    pub by_mac: bool,
}

/// A rule, or none (all zero) if it lapsed.
#[inline(always)]
fn live(rule: RuleValue, now_ns: u64) -> RuleValue {
    if rule.until_ns == 0 || now_ns < rule.until_ns { rule } else { RuleValue::default() }
}

/// The rule that holds for one end of a frame, judged by its MAC and its IP rule. All zero means "no rule".
#[inline(always)]
pub fn end(mac: RuleValue, ip: RuleValue, now_ns: u64) -> RuleValue {
    let mac = live(mac, now_ns);
    let ip = live(ip, now_ns);
    let mac_decides = mac.class == CLASS_PROTECT
        || (mac.class == CLASS_ISOLATE && (mac.flags & FLAG_OBSERVE == 0 || ip.class == 0));
    if mac_decides { mac } else { ip }
}

/// The verdict on a flow from the rules of its two ends. An enforced rule wins over an observed one. Whether MAC
/// addresses were looked up is for the caller to say.
#[inline(always)]
pub fn judge(source: RuleValue, destination: RuleValue) -> Judgement {
    let cut = |rule: &RuleValue| rule.class == CLASS_ISOLATE;
    let enforced = |rule: &RuleValue| cut(rule) && rule.flags & FLAG_OBSERVE == 0;
    let rule = if enforced(&source) {
        source
    } else if enforced(&destination) {
        destination
    } else if cut(&source) {
        source
    } else if cut(&destination) {
        destination
    } else {
        return Judgement::default();
    };
    let verdict = if rule.flags & FLAG_OBSERVE == 0 {
        crate::flow::VERDICT_DROP
    } else {
        crate::flow::VERDICT_WOULD_DROP
    };
    Judgement { rule_id: rule.rule_id, until_ns: rule.until_ns, verdict, by_mac: false }
}
