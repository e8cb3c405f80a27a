//! The short way through the parser: the kind of frame that nearly all are, checked at fixed places by a few comparisons.
//!
//! It reads what the parser ([`crate::parse`]) reads, or nothing: whatever is not plain is left to the parser, also
//! everything that is wrong. So it may be gone first or not at all; a test holds the two against each other.

use crate::flow::{FlowKey4, FlowKey6, Lane, Macs, VLAN_MASK};
use crate::parse::{Cursor, ETHER_IPV6, ETHER_VLAN, PROTO_TCP, PROTO_UDP, Window};

/// A packet of TCP or UDP, of which nothing is odd, with what counts of a known flow; `WORDS` is 1 for IPv4, 4 for IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usual<const WORDS: usize> {
    /// Source and destination address, as they lie in the header.
    addresses: [u64; WORDS],
    /// Source and destination port, four bytes as they lie in the header.
    ports: u32,
    proto: u8,
    /// VLAN identifier, 0 if untagged.
    vlan: u16,
    /// TCP flags.
    pub tcp_flags: u8,
}

/// The MAC addresses of a frame.
#[inline(always)]
pub fn macs<C: Cursor>(at: C) -> Option<Macs> {
    let w = at.window(12)?;
    Some(Macs(w.u64(0), w.u32(8)))
}

impl<const WORDS: usize> Usual<WORDS> {
    #[inline(always)]
    const fn lane(&self, port: u8) -> Lane {
        Lane::new(self.ports, self.proto, port, self.vlan)
    }
}

impl Usual<1> {
    /// The key of its flow, if it came in by the port of that index.
    #[inline(always)]
    pub const fn key(&self, port: u8) -> FlowKey4 {
        let [addresses] = self.addresses;
        FlowKey4::of_header(addresses, self.lane(port))
    }
}

impl Usual<4> {
    /// The key of its flow, if it came in by the port of that index.
    #[inline(always)]
    pub const fn key(&self, port: u8) -> FlowKey6 {
        FlowKey6::of_header(self.addresses, self.lane(port))
    }
}

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Bytes of a VLAN tag.
const TAG: usize = 4;
/// Bytes of the shortest TCP header. Packets of UDP must be as long too: so one check of the frame's end does for both,
/// and what is shorter on a real network is padded to more.
const TRANSPORT: usize = 20;

/// Reads a usual packet of IPv4: untagged or with one 802.1Q tag, no options, no fragment. `len` is the frame's length.
#[inline(always)]
pub fn ipv4<C: Cursor>(at: C, len: usize) -> Option<Usual<1>> {
    ipv4_at::<C, ETHERNET>(at, len).or_else(|| ipv4_at::<C, { ETHERNET + TAG }>(at, len))
}

/// Reads a usual packet of IPv6: untagged or with one 802.1Q tag, no extension headers. `len` is the frame's length.
#[inline(always)]
pub fn ipv6<C: Cursor>(at: C, len: usize) -> Option<Usual<4>> {
    ipv6_at::<C, ETHERNET>(at, len).or_else(|| ipv6_at::<C, { ETHERNET + TAG }>(at, len))
}

#[inline(always)]
fn ipv4_at<C: Cursor, const IP: usize>(at: C, len: usize) -> Option<Usual<1>> {
    /// EtherType of IPv4, version 4, header of 20 bytes, any type of service.
    const START: u32 = u32::from_ne_bytes([0x08, 0x00, 0x45, 0]);
    const START_MASK: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0]);
    /// No fragment, any time to live, the protocol.
    const TCP: u32 = u32::from_ne_bytes([0, 0, 0, PROTO_TCP]);
    const UDP: u32 = u32::from_ne_bytes([0, 0, 0, PROTO_UDP]);
    const WHOLE_MASK: u32 = u32::from_ne_bytes([0x3f, 0xff, 0, 0xff]);

    let w = at.window(IP + 20 + TRANSPORT)?;
    if w.u32(IP - 2) & START_MASK != START {
        return None;
    }
    let vlan = vlan::<C::Window, IP>(w)?;
    let total = usize::from(u16::from_be(w.u16(IP + 2)));
    if total < 20 || IP + total > len {
        return None;
    }
    let proto = match w.u32(IP + 6) & WHOLE_MASK {
        TCP => PROTO_TCP,
        UDP => PROTO_UDP,
        _ => return None,
    };
    transport(w, IP + 20, proto, vlan, [w.u64(IP + 12)])
}

#[inline(always)]
fn ipv6_at<C: Cursor, const IP: usize>(at: C, len: usize) -> Option<Usual<4>> {
    let w = at.window(IP + 40 + TRANSPORT)?;
    if w.u16(IP - 2) != ETHER_IPV6.to_be() || w.u8(IP) >> 4 != 6 {
        return None;
    }
    let vlan = vlan::<C::Window, IP>(w)?;
    if IP + 40 + usize::from(u16::from_be(w.u16(IP + 4))) > len {
        return None;
    }
    let addresses = [w.u64(IP + 8), w.u64(IP + 16), w.u64(IP + 24), w.u64(IP + 32)];
    transport(w, IP + 40, w.u8(IP + 6), vlan, addresses)
}

/// The VLAN identifier of a frame whose IP header begins at `IP`; `None` if it may be link control, by the first four
/// bytes of the destination, or has another tag.
#[inline(always)]
fn vlan<W: Window, const IP: usize>(w: W) -> Option<u16> {
    const LINK_CONTROL: u32 = u32::from_ne_bytes([0x01, 0x80, 0xc2, 0x00]);
    if w.u32(0) == LINK_CONTROL {
        return None;
    }
    if IP == ETHERNET {
        return Some(0);
    }
    if w.u16(ETHERNET - 2) != ETHER_VLAN.to_be() {
        return None;
    }
    Some(u16::from_be(w.u16(ETHERNET)) & VLAN_MASK)
}

#[inline(always)]
fn transport<W: Window, const WORDS: usize>(
    w: W,
    at: usize,
    proto: u8,
    vlan: u16,
    addresses: [u64; WORDS],
) -> Option<Usual<WORDS>> {
    let tcp_flags = match proto {
        PROTO_TCP if w.u8(at + 12) >> 4 >= 5 => w.u8(at + 13),
        PROTO_UDP => 0,
        _ => return None,
    };
    Some(Usual { addresses, ports: w.u32(at), proto, vlan, tcp_flags })
}
