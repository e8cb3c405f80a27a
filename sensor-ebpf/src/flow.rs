//! Keys and values of the flow tables.
//!
//! A flow is one direction of a conversation as it came in by one port: on a bridge the two directions arrive by
//! different ports and CPUs, so that a key for both would be written by two cores. User space joins the halves.

/// Most ports (bridge members) a sensor can tell apart; index 0 is "a port nobody registered".
pub const MAX_PORTS: u32 = 256;
/// Entries of the IPv4 flow table (least recently used goes when it is full).
pub const FLOW4_CAPACITY: u32 = 262_144;
/// Entries of the IPv6 flow table.
pub const FLOW6_CAPACITY: u32 = 65_536;

/// The bits of `vlan` that hold the VLAN identifier (IEEE 802.1Q, 12 bits); the four above hold the kind of flow.
pub const VLAN_MASK: u16 = 0x0fff;
/// Kind of flow: IP packets with the ports of their transport header, or 0.
pub const KIND_IP: u16 = 0;
/// Kind of flow: ARP; addresses are the protocol addresses, `sport` the operation (1 asks, 2 answers), `proto` 0.
pub const KIND_ARP: u16 = 1 << 12;
/// Kind of flow: second and later fragments, which have no ports.
pub const KIND_FRAGMENT: u16 = 2 << 12;
/// The bits of `vlan` that hold the kind of flow.
pub const KIND_MASK: u16 = 0xf000;

/// Key of an IPv4 or ARP flow, 16 bytes. All multi-byte fields but `vlan` are in network byte order.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey4 {
    /// Source address.
    pub src: u32,
    /// Destination address.
    pub dst: u32,
    /// Source port; for ICMP type and code (type in the first byte), for ARP the operation.
    pub sport: u16,
    /// Destination port; for an ICMP error that of the packet it answers.
    pub dport: u16,
    /// IP protocol number.
    pub proto: u8,
    /// Index of the bridge port it came in by.
    pub port: u8,
    /// Outer VLAN identifier (0: untagged) and kind of flow (`KIND_*`), host byte order.
    pub vlan: u16,
}

/// Key of an IPv6 flow, 40 bytes; fields as in [`FlowKey4`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey6 {
    /// Source address.
    pub src: [u32; 4],
    /// Destination address.
    pub dst: [u32; 4],
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// IP protocol number, after the extension headers.
    pub proto: u8,
    /// Index of the bridge port it came in by.
    pub port: u8,
    /// Outer VLAN identifier and kind of flow, host byte order.
    pub vlan: u16,
}

/// The flow's record was submitted to the ring; without it the next packet tries again.
pub const STATE_TOLD: u8 = 1;

/// Verdict: the frame goes to the bridge.
pub const VERDICT_PASS: u8 = 0;
/// Verdict: the frame is dropped.
pub const VERDICT_DROP: u8 = 1;
/// Verdict: a rule in observe mode matched; the frame goes on and is counted as one that would have been dropped.
pub const VERDICT_WOULD_DROP: u8 = 2;

/// Value of a flow, 64 bytes: one cache line.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowValue {
    /// Frames, those dropped included.
    pub packets: u64,
    /// Bytes of whole frames as XDP sees them (no preamble, no FCS).
    pub bytes: u64,
    /// When the flow began, ns of CLOCK_MONOTONIC (of the capture in a replay).
    pub first_ns: u64,
    /// When its last frame came, in jiffies.
    pub last_j: u32,
    /// The cached verdict lapses then, in jiffies; 0: never.
    pub until_j: u32,
    /// Generation of the policy the verdict was made from.
    pub generation: u32,
    /// Frames dropped (or that would have been).
    pub drops: u32,
    /// The rule behind the verdict, 0 for none.
    pub rule_id: u32,
    /// Source MAC address of the first frame.
    pub smac: [u8; 6],
    /// Destination MAC address of the first frame.
    pub dmac: [u8; 6],
    /// `VERDICT_*`.
    pub verdict: u8,
    /// All TCP flags seen, or-ed (RFC 9293 header byte 13).
    pub tcp_flags: u8,
    /// `STATE_*` bits.
    pub state: u8,
    /// Time to live (hop limit) of the first frame.
    pub ttl: u8,
    /// Zero.
    pub pad: [u8; 4],
}

const _: () = assert!(size_of::<FlowKey4>() == 16);
const _: () = assert!(size_of::<FlowKey6>() == 40);
const _: () = assert!(size_of::<FlowValue>() == 64 && align_of::<FlowValue>() == 8);
