//! What is told of devices beside their flows: frames of address configuration and discovery, in which a device says what it
//! is, and the beginnings of TCP connections, by which its system is known.
//!
//! Such a frame is told whole, up to [`HEARD_BYTES`], through a ring of its own that only these records fill. Each kind has a
//! budget on each CPU, so that a flood of one costs little and silences no other; what is over it, or finds the ring full, is
//! counted ([`HeardCell`]) and not told later: devices say these things again and again.

use crate::control::Rate;
use crate::flow::{KIND_IP, STATE_HEARD};
use crate::parse::{ETHER_LLDP, Link, PROTO_TCP, PROTO_UDP, Upper};

/// Bytes of the ring; a power of two of pages. Room for 990 records.
pub const RING_HEARD_BYTES: u32 = 1 << 20;
/// Bytes of a frame that are told: a DHCP message of the usual size is whole, and so are nearly all announcements.
pub const HEARD_BYTES: usize = 1_024;

/// `kind` of a [`HeardRecord`]: DHCP (RFC 2131).
pub const HEARD_DHCP: u8 = 1;
/// `kind`: DHCPv6 (RFC 8415).
pub const HEARD_DHCP6: u8 = 2;
/// `kind`: multicast DNS (RFC 6762).
pub const HEARD_MDNS: u8 = 3;
/// `kind`: SSDP (UPnP Device Architecture 2.0).
pub const HEARD_SSDP: u8 = 4;
/// `kind`: NetBIOS name and datagram services (RFC 1002).
pub const HEARD_NETBIOS: u8 = 5;
/// `kind`: LLDP (IEEE 802.1AB) or CDP.
pub const HEARD_NEIGHBOUR: u8 = 6;
/// `kind`: the frame that opens a TCP connection.
pub const HEARD_SYN: u8 = 7;
/// Entries of the table of budgets and counters; the index is the kind.
pub const HEARD_KINDS: u32 = 8;

/// The group address of CDP and its relatives, 01:00:0c:cc:cc:cc, as a [`crate::parse::MacKey`].
const CDP_GROUP: u64 = 0xcc_cc_cc_0c_00_01;
/// SYN and ACK (RFC 9293).
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// How many frames of each kind a CPU tells: 200 a second and 400 at once.
pub const HEARD_RATE: Rate = Rate { interval_ns: 5_000_000, burst_ns: 400 * 5_000_000 };

/// A frame that is told whole; 1,048 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeardRecord {
    /// What came before the bytes.
    pub head: HeardHead,
    /// The frame as it lies in memory; what is behind `head.have` has no meaning.
    pub bytes: [u64; HEARD_BYTES / 8],
}

/// What is known of such a frame, 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeardHead {
    /// `HEARD_*`.
    pub kind: u8,
    /// Low byte of [`crate::ABI`].
    pub abi: u8,
    /// Index of the bridge port.
    pub port: u8,
    /// Zero.
    pub pad: u8,
    /// Bytes of the frame.
    pub len: u32,
    /// ns of CLOCK_MONOTONIC (of the capture in a replay).
    pub time_ns: u64,
    /// Bytes of the frame that are told.
    pub have: u32,
    /// Zero.
    pub pad2: u32,
}

/// The budget of a kind on one CPU, and what became of its frames.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeardCell {
    /// See [`Rate::spend`].
    pub due_ns: u64,
    /// Frames told.
    pub told: u64,
    /// Frames over the budget.
    pub limited: u64,
    /// Frames that found the ring full.
    pub lost: u64,
}

impl HeardCell {
    /// Whether the budget has room for one more frame, which is counted if not.
    #[inline(always)]
    pub fn has_room(&mut self, now_ns: u64) -> bool {
        match HEARD_RATE.spend(self.due_ns, now_ns, HEARD_RATE.interval_ns) {
            Some(due_ns) => {
                self.due_ns = due_ns;
                true
            }
            None => {
                self.limited = self.limited.wrapping_add(1);
                false
            }
        }
    }

    /// Counts a frame that had room in the budget.
    #[inline(always)]
    pub fn count(&mut self, told: bool) {
        let counter = if told { &mut self.told } else { &mut self.lost };
        *counter = counter.wrapping_add(1);
    }

    /// Adds the counters of another CPU.
    pub fn add(&mut self, other: &Self) {
        self.told = self.told.wrapping_add(other.told);
        self.limited = self.limited.wrapping_add(other.limited);
        self.lost = self.lost.wrapping_add(other.lost);
    }
}

/// The name of a kind in metrics.
pub const fn name(kind: u8) -> &'static str {
    match kind {
        HEARD_DHCP => "dhcp",
        HEARD_DHCP6 => "dhcpv6",
        HEARD_MDNS => "mdns",
        HEARD_SSDP => "ssdp",
        HEARD_NETBIOS => "netbios",
        HEARD_NEIGHBOUR => "lldp_cdp",
        HEARD_SYN => "tcp_syn",
        _ => "none",
    }
}

/// Which kind an IP packet is of, if each of its flow is to be told; else 0.
#[inline(always)]
pub fn kind(upper: &Upper) -> u8 {
    if upper.proto != PROTO_UDP || upper.kind != KIND_IP {
        return 0;
    }
    match (u16::from_be(upper.sport), u16::from_be(upper.dport)) {
        (_, 67 | 68) => HEARD_DHCP,
        (_, 546 | 547) => HEARD_DHCP6,
        (_, 137 | 138) => HEARD_NETBIOS,
        (5_353, _) | (_, 5_353) => HEARD_MDNS,
        (1_900, _) | (_, 1_900) => HEARD_SSDP,
        _ => 0,
    }
}

/// The state a flow begins with: one whose packets are all told goes the general way, where that is done.
#[inline(always)]
pub fn state(upper: &Upper) -> u8 {
    if kind(upper) == 0 { 0 } else { STATE_HEARD }
}

/// The same of the first packet of a flow.
#[inline(always)]
pub fn kind_of_first(upper: &Upper) -> u8 {
    let opens = upper.proto == PROTO_TCP && upper.kind == KIND_IP && upper.tcp_flags & (SYN | ACK) == SYN;
    if opens { HEARD_SYN } else { kind(upper) }
}

/// The same of a frame that belongs to no flow.
#[inline(always)]
pub fn kind_of_link(link: &Link) -> u8 {
    if link.ether_type == ETHER_LLDP || link.dst == CDP_GROUP { HEARD_NEIGHBOUR } else { 0 }
}

const _: () = assert!(size_of::<HeardHead>() == 24);
const _: () = assert!(size_of::<HeardRecord>() == 24 + HEARD_BYTES);
const _: () = assert!(size_of::<HeardCell>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_budget_is_spent_and_comes_back() {
        let mut cell = HeardCell::default();
        let mut heard = |now_ns| (0..1_000).filter(|_| cell.has_room(now_ns)).count();
        assert_eq!([heard(SECOND), heard(2 * SECOND), heard(60 * SECOND)], [400, 200, 400]);
        assert_eq!(cell.limited, 2_000);
    }
}
