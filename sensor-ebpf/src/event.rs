//! Ring records: what the kernel tells user space as it happens.

/// Bytes of the ring for flow records; a power of two of pages.
pub const RING_FLOW_BYTES: u32 = 8 << 20;
/// Bytes of the ring for control records (ARP), apart so that a flood of new flows cannot starve them.
pub const RING_CONTROL_BYTES: u32 = 1 << 20;
/// A CPU wakes the reader once in this time at most, half a millisecond; a power of two of ns.
pub const WAKE_NS: u64 = 1 << 19;

/// `kind` of a [`FlowRecord`]: a flow began.
pub const RECORD_FLOW: u8 = 1;
/// `kind`: likewise, and behind the record come [`INNER_BYTES`] bytes of the packet, from its transport header on: it
/// is a tunnel, and there lies the packet within.
pub const RECORD_TUNNEL: u8 = 2;
/// `kind`: a frame was dropped, or would have been; one in [`DROP_SAMPLE`] of a port is told.
pub const RECORD_DROP: u8 = 3;

/// One dropped frame in so many is told, of a port and a CPU, beginning with the first; a power of two.
pub const DROP_SAMPLE: u64 = 1_024;
/// Bytes of a tunnel's packet that are told: enough for UDP, VXLAN, an Ethernet header with two tags and IPv6.
pub const INNER_BYTES: usize = 80;

/// A flow began (or an ARP speaker changed its MAC address), or a frame was dropped; 96 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowRecord {
    /// `RECORD_*`.
    pub kind: u8,
    /// Low byte of [`crate::ABI`].
    pub abi: u8,
    /// Outer VLAN identifier and kind of flow, as in the flow's key; host byte order.
    pub vlan: u16,
    /// Inner VLAN identifier of a double-tagged frame, else 0; host byte order.
    pub vlan_inner: u16,
    /// EtherType, host byte order.
    pub ether_type: u16,
    /// ns of CLOCK_MONOTONIC (of the capture in a replay).
    pub time_ns: u64,
    /// Source address, IPv4 mapped into IPv6 (RFC 4291 2.5.5.2).
    pub src: [u8; 16],
    /// Destination address, likewise.
    pub dst: [u8; 16],
    /// Source port (see [`crate::flow::FlowKey4::sport`]), network byte order.
    pub sport: u16,
    /// Destination port, network byte order.
    pub dport: u16,
    /// IP protocol number.
    pub proto: u8,
    /// Index of the bridge port.
    pub port: u8,
    /// Time to live.
    pub ttl: u8,
    /// TCP flags of this frame.
    pub tcp_flags: u8,
    /// Source MAC address.
    pub smac: [u8; 6],
    /// Destination MAC address.
    pub dmac: [u8; 6],
    /// ARP: sender hardware address; else zero.
    pub arp_sha: [u8; 6],
    /// TCP window, host byte order.
    pub window: u16,
    /// Bytes of the frame.
    pub len: u32,
    /// The rule behind the verdict, 0 for none.
    pub rule_id: u32,
    /// `VERDICT_*` of the flow.
    pub verdict: u8,
    /// Zero.
    pub pad: [u8; 3],
    /// Tunnel: bytes that lie behind the record; the others are zero.
    pub inner_len: u32,
}

/// The record of a tunnel, 176 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TunnelRecord {
    /// The flow, with [`RECORD_TUNNEL`].
    pub flow: FlowRecord,
    /// The packet from its transport header on, as it lies in memory.
    pub inner: [u64; INNER_BYTES / 8],
}

const _: () = assert!(size_of::<TunnelRecord>() == 176);
const _: () = assert!(size_of::<FlowRecord>() == 96 && align_of::<FlowRecord>() == 8);
