//! Policy rules: what the rule maps hold.
//!
//! How a frame is judged by them is told, and done, in [`crate::judge`].

/// Entries of each map of rules by MAC or IP address.
pub const RULE_CAPACITY: u32 = 65_536;
/// Entries of the map of rules by prefix. A trie gets slower with each (about 60 ns at 1,000), but is only asked for new
/// flows.
pub const NET_CAPACITY: u32 = 4_096;
/// Entries of the map of internal prefixes.
pub const INTERNAL_CAPACITY: u32 = 1_024;
/// Entries of the map of what quarantined and pinned devices may do.
pub const ALLOW_CAPACITY: u32 = 65_536;
/// Counters of rules; a rule has the one its number gives, modulo this. User space never lets two rules share one.
pub const SLOTS: u32 = 16_384;
/// Segments that can be told apart, with 0 for "none".
pub const SEGMENTS: u32 = 64;

/// Level: no rule.
pub const LEVEL_NONE: u8 = 0;
/// Level: passes within a budget of new destinations and of bytes.
pub const LEVEL_THROTTLE: u8 = 2;
/// Level: nothing to or from addresses outside the internal prefixes.
pub const LEVEL_EXTERNAL_ONLY: u8 = 3;
/// Level: only what it was seen to do before, as the allow map says.
pub const LEVEL_PIN: u8 = 4;
/// Level: only what the allow map says.
pub const LEVEL_QUARANTINE: u8 = 5;
/// Level: nothing from it, nothing to it.
pub const LEVEL_ISOLATE: u8 = 6;
/// Level: as isolated, and link control is dropped too.
pub const LEVEL_CUT: u8 = 7;
/// Level: never dropped on account of this end, whatever other rule there is.
pub const LEVEL_PROTECT: u8 = 8;

/// Flag: observe only; the frame passes and is counted as one that would have been dropped.
pub const FLAG_OBSERVE: u8 = 1;
/// Flag: the rule holds for frames from its target.
pub const FLAG_FROM: u8 = 2;
/// Flag: the rule holds for frames to its target.
pub const FLAG_TO: u8 = 4;
/// Flags of a rule that holds both ways.
pub const FLAG_BOTH: u8 = FLAG_FROM | FLAG_TO;

/// `rule_id` of a record about a frame that was over its host's budget of new destinations.
pub const RULE_REFLEX: u32 = u32::MAX;

/// Value of a rule, 16 bytes. Keys: a MAC address in the low 48 bits of a u64 (first byte lowest), an IP address as
/// [`Address`], a prefix of one, or the index of a scope.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RuleValue {
    /// The rule lapses then, ns of CLOCK_MONOTONIC; 0: never.
    pub until_ns: u64,
    /// Number of the block entry it belongs to.
    pub rule_id: u32,
    /// `LEVEL_*`.
    pub level: u8,
    /// `FLAG_*` bits.
    pub flags: u8,
    /// Quarantine and pin: number of the list in the allow map.
    pub list: u16,
}

impl RuleValue {
    /// A rule for both directions that never lapses.
    pub const fn new(rule_id: u32, level: u8) -> Self {
        Self { until_ns: 0, rule_id, level, flags: FLAG_BOTH, list: 0 }
    }

    /// Whether it restricts anybody: neither protection nor only observed, and of a level that is known.
    pub const fn is_enforced(&self) -> bool {
        self.level >= LEVEL_THROTTLE && self.level <= LEVEL_CUT && self.flags & FLAG_OBSERVE == 0
    }
}

/// An IP address as the rules have it: 16 bytes as they lie in a header, in two words; IPv4 mapped into IPv6 (RFC 4291
/// 2.5.5.2).
pub type Address = [u64; 2];

/// An IPv4 address (network byte order) as an [`Address`].
#[inline(always)]
pub const fn mapped(ip: u32) -> Address {
    [0, MAPPED as u64 | (ip as u64) << 32]
}

/// What stands before an IPv4 address in the second word of its [`Address`].
pub const MAPPED: u32 = 0xffff_0000;

/// Bits of a mapped IPv4 address before the address itself.
pub const MAPPED_BITS: u32 = 96;

/// Role in an [`AllowKey`]: whatever is spoken with this peer.
pub const ROLE_ANY: u8 = 0;
/// Role: the device uses the peer's service at this port.
pub const ROLE_CLIENT: u8 = 1;
/// Role: the device serves the peer at this port.
pub const ROLE_SERVER: u8 = 2;
/// Role: ARP and neighbour discovery; peer, protocol and port are 0.
pub const ROLE_NEIGHBOUR: u8 = 3;

/// One thing a quarantined or pinned device may do, 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct AllowKey {
    /// With whom; zero: anybody.
    pub peer: Address,
    /// Number of the list it belongs to.
    pub list: u16,
    /// Port of the service, network byte order; 0 with [`ROLE_ANY`].
    pub port: u16,
    /// IP protocol; 0 with [`ROLE_ANY`].
    pub proto: u8,
    /// `ROLE_*`.
    pub role: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// Index of a bridge port in the maps by scope.
pub const fn scope_of_port(port: u8) -> u32 {
    port as u32
}

/// Index of a VLAN in the maps by scope.
pub const fn scope_of_vlan(vlan: u16) -> u32 {
    256 + (vlan as u32 & 0xfff)
}

/// Index of a segment in the maps by scope.
pub const fn scope_of_segment(segment: u32) -> u32 {
    256 + 4_096 + segment % SEGMENTS
}

/// Entries of the maps by scope: ports, VLANs, segments.
pub const SCOPE_CAPACITY: u32 = 256 + 4_096 + SEGMENTS;

/// What a rule did, of one CPU.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RuleCounters {
    /// Frames dropped.
    pub drop_packets: u64,
    /// Bytes dropped.
    pub drop_bytes: u64,
    /// Frames that would have been dropped, had the rule been enforced.
    pub would_drop_packets: u64,
    /// Bytes that would have been dropped.
    pub would_drop_bytes: u64,
}

impl RuleCounters {
    /// Counts a frame that the rule drops, or would drop.
    #[inline(always)]
    pub fn count(&mut self, dropped: bool, len: u64) {
        let (packets, bytes) = if dropped {
            (&mut self.drop_packets, &mut self.drop_bytes)
        } else {
            (&mut self.would_drop_packets, &mut self.would_drop_bytes)
        };
        *packets = packets.wrapping_add(1);
        *bytes = bytes.wrapping_add(len);
    }
}

const _: () = assert!(size_of::<RuleValue>() == 16);
const _: () = assert!(size_of::<AllowKey>() == 24);
const _: () = assert!(size_of::<RuleCounters>() == 32);
