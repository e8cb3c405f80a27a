//! The one frame parser: Ethernet, 802.1Q/802.1ad, 802.3 with SNAP, PPPoE, MPLS, ARP, IPv4, IPv6, TCP, UDP, ICMP.
//!
//! It is generic over how bytes are read: the kernel checks each step against the end of the packet ([`Cursor`] in the
//! program), user space reads a slice ([`Slice`]). Ports are only ever read behind the header length the packet
//! states, never at a fixed offset. What cannot be read is named by a [`Reason`] and never invented.

use crate::counter::Reason;
use crate::flow::{KIND_ARP, KIND_FRAGMENT, KIND_IP, VLAN_MASK, double};

/// `n` bytes that are known to be there. Offsets must be below `n`.
pub trait Window: Copy {
    /// The byte at `at`.
    fn u8(self, at: usize) -> u8;
    /// Two bytes at `at` as they lie in memory (network byte order).
    fn u16(self, at: usize) -> u16;
    /// Four bytes at `at` as they lie in memory.
    fn u32(self, at: usize) -> u32;
    /// Eight bytes at `at` as they lie in memory.
    fn u64(self, at: usize) -> u64;
}

/// A place in a packet.
pub trait Cursor: Copy {
    /// Bytes known to be there.
    type Window: Window;
    /// The next `n` bytes, if the packet has them.
    fn window(self, n: usize) -> Option<Self::Window>;
    /// `n` bytes on (at most 4,095). The new place may lie behind the end; reading there fails.
    fn skip(self, n: usize) -> Self;
    /// `n` bytes on, at most 15: the verifier allows places up to 65,535 alone, and counts each step at its most.
    fn step(self, n: usize) -> Self;
    /// Bytes from here to the end, 0 if behind it.
    fn remaining(self) -> usize;
    /// The number given. In the kernel the verifier forgets what it knows of it, so that ways that led to different
    /// numbers are followed as one from here on.
    fn forget(self, n: usize) -> usize;
}

/// [`Cursor`] and [`Window`] of user space: a slice. Reading behind the end gives 0, never a panic.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a>(pub &'a [u8]);

impl Window for Slice<'_> {
    fn u8(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn u16(self, at: usize) -> u16 {
        u16::from_ne_bytes([self.u8(at), self.u8(at + 1)])
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes([self.u8(at), self.u8(at + 1), self.u8(at + 2), self.u8(at + 3)])
    }

    fn u64(self, at: usize) -> u64 {
        double(self.u32(at), self.u32(at + 4))
    }
}

impl Cursor for Slice<'_> {
    type Window = Self;

    fn window(self, n: usize) -> Option<Self> {
        self.0.get(..n).map(Slice)
    }

    fn skip(self, n: usize) -> Self {
        Slice(self.0.get(n..).unwrap_or(&[]))
    }

    fn step(self, n: usize) -> Self {
        self.skip(n)
    }

    fn remaining(self) -> usize {
        self.0.len()
    }

    fn forget(self, n: usize) -> usize {
        n
    }
}

/// EtherType of IPv4.
pub const ETHER_IPV4: u16 = 0x0800;
/// EtherType of ARP (RFC 826).
pub const ETHER_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHER_IPV6: u16 = 0x86dd;
pub(crate) const ETHER_VLAN: u16 = 0x8100;
const ETHER_QINQ: u16 = 0x88a8;
/// QinQ as vendors tagged it before IEEE 802.1ad.
const ETHER_QINQ_OLD: u16 = 0x9100;
/// Smaller values of the type field are IEEE 802.3 lengths.
const ETHER_MIN: u16 = 0x0600;
/// PPPoE session (RFC 2516).
const ETHER_PPPOE: u16 = 0x8864;
/// MPLS (RFC 3032).
const ETHER_MPLS: u16 = 0x8847;
/// MPLS with an upstream-assigned label (RFC 5332).
const ETHER_MPLS_UPSTREAM: u16 = 0x8848;
/// Precision Time Protocol (IEEE 1588).
const ETHER_PTP: u16 = 0x88f7;
/// Slow protocols: LACP (IEEE 802.3 annex 57A).
const ETHER_SLOW: u16 = 0x8809;
/// 802.1X.
const ETHER_EAPOL: u16 = 0x888e;
/// LLDP (IEEE 802.1AB).
pub(crate) const ETHER_LLDP: u16 = 0x88cc;

/// Most headers between the Ethernet header and the packet: tags, labels, SNAP, PPPoE.
const MAX_SHIMS: usize = 8;

/// IP protocol number of ICMP.
pub const PROTO_ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const PROTO_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTO_UDP: u8 = 17;
/// IP protocol number of IPv4 in IP (RFC 2003).
pub const PROTO_IPIP: u8 = 4;
/// IP protocol number of IPv6 in IP (RFC 4213).
pub const PROTO_IPV6: u8 = 41;
/// IP protocol number of GRE (RFC 2784).
pub const PROTO_GRE: u8 = 47;
/// IP protocol number of ICMPv6.
pub const PROTO_ICMP6: u8 = 58;

/// Longest chain of IPv6 extension headers followed.
const MAX_EXTENSIONS: usize = 6;

/// A MAC address in the low 48 bits, its first byte lowest: the key of the MAC rules.
pub type MacKey = u64;

/// The Ethernet header and its VLAN tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Source address.
    pub src: MacKey,
    /// Destination address.
    pub dst: MacKey,
    /// EtherType behind the tags, host byte order.
    pub ether_type: u16,
    /// Identifier of the first VLAN tag that has one, 0 if untagged (or priority-tagged).
    pub vlan: u16,
    /// Identifier of the next VLAN tag that has one, 0 if there is none.
    pub vlan_inner: u16,
}

/// What lies above the addresses, for IP and ARP alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upper {
    /// Source port (ICMP: type and code; ARP: operation), network byte order.
    pub sport: u16,
    /// Destination port (ICMP error: that of the packet it answers), network byte order.
    pub dport: u16,
    /// `KIND_*`.
    pub kind: u16,
    /// TCP window, host byte order.
    pub window: u16,
    /// IP protocol, after IPv6 extension headers.
    pub proto: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// Time to live.
    pub ttl: u8,
    /// What is wrong with the packet although its addresses could be read: a [`Reason`] as its number.
    pub fault: u8,
    /// 1: the first fragment of a packet.
    pub first: u8,
    /// Fragments: the packet's identification, as it lies in the header.
    pub fragment_id: u32,
    /// Tunnels: bytes of the frame from the transport header on; else 0.
    pub tunnel: u32,
}

impl Upper {
    const fn new(kind: u16, proto: u8, ttl: u8) -> Self {
        Self {
            sport: 0,
            dport: 0,
            kind,
            window: 0,
            proto,
            tcp_flags: 0,
            ttl,
            fault: Reason::None as u8,
            first: 0,
            fragment_id: 0,
            tunnel: 0,
        }
    }

    const fn faulty(mut self, fault: Reason) -> Self {
        self.fault = fault as u8;
        self
    }
}

/// An IPv4 packet or an ARP message: addresses in network byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net4 {
    /// Source (ARP: sender protocol) address.
    pub src: u32,
    /// Destination (ARP: target protocol) address.
    pub dst: u32,
    /// ARP: sender hardware address.
    pub arp_sha: MacKey,
    /// The rest.
    pub upper: Upper,
}

/// An IPv6 packet: addresses in network byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net6 {
    /// Source address.
    pub src: [u32; 4],
    /// Destination address.
    pub dst: [u32; 4],
    /// The rest.
    pub upper: Upper,
}

/// The six bytes at `at` as a [`MacKey`].
#[inline(always)]
fn mac<W: Window>(w: W, at: usize) -> MacKey {
    // Two loads of the whole address: x86 and the BPF machine are both little-endian here.
    u64::from(u32::from_le(w.u32(at))) | (u64::from(u16::from_le(w.u16(at + 4))) << 32)
}

/// A [`MacKey`] as the six bytes on the wire.
#[inline(always)]
pub fn mac_bytes(mac: MacKey) -> [u8; 6] {
    let [a, b, c, d, e, f, _, _] = mac.to_le_bytes();
    [a, b, c, d, e, f]
}

/// Whether a frame is link control: of a protocol that is, and to one of its group addresses. To the 16 of bridges (01:80:c2:00:00:0x,
/// IEEE 802.1Q table 8-1): STP, LACP, LLDP, 802.1X and PTP; PTP also to 01:1b:19:00:00:00 (IEEE 1588 annex F). Anything else to them
/// is a frame like others: the kernel's bridge floods what goes to the first one if it does not speak STP.
#[inline(always)]
fn is_link_control<C: Cursor>(link: &Link, at: C) -> bool {
    const BRIDGE_GROUP: u64 = 0x00_00_00_c2_80_01;
    const PTP_GROUP: u64 = 0x00_00_00_19_1b_01;
    if link.dst & 0xf0_ff_ff_ff_ff_ff != BRIDGE_GROUP {
        return link.ether_type == ETHER_PTP && link.dst == PTP_GROUP;
    }
    match link.ether_type {
        ETHER_SLOW | ETHER_EAPOL | ETHER_LLDP | ETHER_PTP => true,
        length if length < ETHER_MIN => {
            // LLC of STP: SAP 0x42 both ways, unnumbered information.
            at.window(3).is_some_and(|w| w.u16(0) == 0x4242 && w.u8(2) == 3)
        }
        _ => false,
    }
}

/// Reads the Ethernet header and what lies before the packet: VLAN tags, SNAP, PPPoE, MPLS labels. The cursor comes back
/// behind them.
///
/// The link is filled as far as it could be read. A [`Reason`] other than `None` says why there is no more to parse.
#[inline(always)]
pub fn link<C: Cursor>(at: C) -> (Link, C, Reason) {
    let mut link = Link::default();
    let Some(w) = at.window(14) else { return (link, at, Reason::ShortEthernet) };
    link.dst = mac(w, 0);
    link.src = mac(w, 6);
    link.ether_type = u16::from_be(w.u16(12));
    let mut at = at.step(14);
    let mut deep = true;
    for _ in 0..=MAX_SHIMS {
        if !is_shim(link.ether_type) {
            deep = false;
            break;
        }
        let length = if is_vlan(link.ether_type) {
            let Some(w) = at.window(4) else { return (link, at, Reason::ShortVlan) };
            let vlan = u16::from_be(w.u16(0)) & VLAN_MASK;
            // A tag without an identifier gives a priority alone: hosts go by the next one.
            if link.vlan == 0 {
                link.vlan = at.forget(usize::from(vlan)) as u16;
            } else if link.vlan_inner == 0 {
                link.vlan_inner = at.forget(usize::from(vlan)) as u16;
            }
            link.ether_type = u16::from_be(w.u16(2));
            4
        } else {
            let (ether_type, length) = at.window(8).map_or((0, 0), |w| shim(w, link.ether_type));
            if length == 0 {
                deep = false;
                break;
            }
            link.ether_type = at.forget(usize::from(ether_type)) as u16;
            length
        };
        at = at.step(length);
    }
    let reason = match link.ether_type {
        _ if deep => Reason::DeepLink,
        ETHER_IPV4 | ETHER_IPV6 | ETHER_ARP => Reason::None,
        _ if is_link_control(&link, at) => Reason::LinkControl,
        length if length < ETHER_MIN => Reason::Length8023,
        _ => Reason::OtherEtherType,
    };
    (link, at, reason)
}

#[inline(always)]
fn is_vlan(ether_type: u16) -> bool {
    matches!(ether_type, ETHER_VLAN | ETHER_QINQ | ETHER_QINQ_OLD)
}

#[inline(always)]
fn is_mpls(ether_type: u16) -> bool {
    matches!(ether_type, ETHER_MPLS | ETHER_MPLS_UPSTREAM)
}

/// Whether a packet may lie behind a further header of this type.
#[inline(always)]
fn is_shim(ether_type: u16) -> bool {
    is_vlan(ether_type) || is_mpls(ether_type) || ether_type == ETHER_PPPOE || ether_type < ETHER_MIN
}

/// Reads a header other than a VLAN tag: the EtherType of what follows, and the header's length; 0 if nothing follows that
/// could be read.
#[inline(always)]
fn shim<W: Window>(w: W, ether_type: u16) -> (u16, usize) {
    if ether_type == ETHER_PPPOE {
        // Version 1, type 1, code 0, then the PPP protocol: IPv4 0x0021, IPv6 0x0057 (RFC 2516, RFC 1332, RFC 5072).
        return match (w.u16(0) == 0x1100_u16.to_be(), u16::from_be(w.u16(6))) {
            (true, 0x0021) => (ETHER_IPV4, 8),
            (true, 0x0057) => (ETHER_IPV6, 8),
            _ => (ether_type, 0),
        };
    }
    if ether_type < ETHER_MIN {
        // LLC of SNAP with the organization code 0: an EtherType follows (RFC 1042).
        const SNAP: u32 = u32::from_ne_bytes([0xaa, 0xaa, 0x03, 0]);
        let snap = w.u32(0) == SNAP && w.u16(4) == 0;
        return if snap { (u16::from_be(w.u16(6)), 8) } else { (ether_type, 0) };
    }
    // MPLS: behind the label at the bottom of the stack only the packet itself says what it is.
    if w.u8(2) & 1 == 0 {
        return (ether_type, 4);
    }
    match w.u8(4) >> 4 {
        4 => (ETHER_IPV4, 4),
        6 => (ETHER_IPV6, 4),
        _ => (ether_type, 0),
    }
}

/// Reads an ARP message of Ethernet and IPv4 (RFC 826).
#[inline(always)]
pub fn arp<C: Cursor>(at: C) -> Result<Net4, Reason> {
    let w = at.window(28).ok_or(Reason::ShortArp)?;
    let (hardware, protocol) = (u16::from_be(w.u16(0)), u16::from_be(w.u16(2)));
    if hardware != 1 || protocol != ETHER_IPV4 || w.u8(4) != 6 || w.u8(5) != 4 {
        return Err(Reason::OtherArp);
    }
    let mut upper = Upper::new(KIND_ARP, 0, 0);
    upper.sport = w.u16(6);
    Ok(Net4 { src: w.u32(14), dst: w.u32(24), arp_sha: mac(w, 8), upper })
}

/// Reads an IPv4 packet (RFC 791). `beyond` are bytes of the frame that do not lie where the cursor reads.
#[inline(always)]
pub fn ipv4<C: Cursor>(at: C, beyond: usize) -> Result<Net4, Reason> {
    let w = at.window(20).ok_or(Reason::ShortIp4)?;
    let header = usize::from(w.u8(0) & 0x0f) * 4;
    if w.u8(0) >> 4 != 4 || header < 20 {
        return Err(Reason::BadIp4);
    }
    let total = usize::from(u16::from_be(w.u16(2)));
    let fragment = u16::from_be(w.u16(6));
    let (proto, ttl) = (w.u8(9), w.u8(8));
    let mut net = Net4 { src: w.u32(12), dst: w.u32(16), arp_sha: 0, upper: Upper::new(KIND_IP, proto, ttl) };
    // A total length of 0 is what segmentation offload hands over; the frame's own length holds then.
    let lying = total != 0 && (total < header || total > at.remaining() + beyond);
    net.upper.fragment_id = u32::from(w.u16(4));
    // More fragments follow, and none came before.
    net.upper.first = u8::from(fragment & 0x3fff == 0x2000);
    if fragment & 0x1fff == 0 {
        net.upper = transport(at.skip(header), net.upper);
    } else {
        net.upper.kind = KIND_FRAGMENT;
    }
    if lying {
        net.upper.fault = Reason::LengthIp4 as u8;
    }
    Ok(net)
}

/// Reads an IPv6 packet (RFC 8200) and its extension headers. `beyond` are bytes of the frame that do not lie where the
/// cursor reads.
#[inline(always)]
pub fn ipv6<C: Cursor>(at: C, beyond: usize) -> Result<Net6, Reason> {
    let w = at.window(40).ok_or(Reason::ShortIp6)?;
    if w.u8(0) >> 4 != 6 {
        return Err(Reason::BadIp6);
    }
    let lying = usize::from(u16::from_be(w.u16(4))) + 40 > at.remaining() + beyond;
    let upper = Upper::new(KIND_IP, w.u8(6), w.u8(7));
    let mut net = Net6 {
        src: [w.u32(8), w.u32(12), w.u32(16), w.u32(20)],
        dst: [w.u32(24), w.u32(28), w.u32(32), w.u32(36)],
        upper: extensions(at.skip(40), upper),
    };
    if lying && net.upper.fault == Reason::None as u8 {
        net.upper.fault = Reason::LengthIp6 as u8;
    }
    Ok(net)
}

/// Whether a protocol number is an IPv6 extension header (RFC 7045): hop-by-hop options 0, routing 43, fragment 44,
/// authentication 51, destination options 60; mobility 135, host identity 139, shim6 140. As bits, because the verifier
/// follows each way through a chain of comparisons for itself, and there are six headers.
#[inline(always)]
fn is_extension(proto: u8) -> bool {
    const LOW: u64 = 1 | 1 << 43 | 1 << 44 | 1 << 51 | 1 << 60;
    const HIGH: u64 = 1 << (135 - 128) | 1 << (139 - 128) | 1 << (140 - 128);
    let bits = match proto {
        0..64 => LOW,
        128..192 => HIGH,
        _ => return false,
    };
    bits >> (proto & 63) & 1 == 1
}

/// Follows IPv6 extension headers (RFC 8200 4.1) to the transport header.
#[inline(always)]
fn extensions<C: Cursor>(mut at: C, mut upper: Upper) -> Upper {
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    for _ in 0..MAX_EXTENSIONS {
        let proto = upper.proto;
        if !is_extension(proto) {
            break;
        }
        let Some(w) = at.window(8) else { return upper.faulty(Reason::ShortExtension) };
        upper.proto = w.u8(0);
        // In units of 8 bytes less one; the fragment header's second byte is reserved, its length fixed.
        let length = if proto == FRAGMENT { 0 } else { usize::from(w.u8(1)) };
        // Authentication alone counts in units of 4 bytes less two (RFC 4302 2.2).
        at = at.skip(if proto == AUTHENTICATION { (length + 2) * 4 } else { (length + 1) * 8 });
        if proto == FRAGMENT {
            let fragment = u16::from_be(w.u16(2));
            upper.fragment_id = w.u32(4);
            upper.first = u8::from(fragment & 0xfff9 == 1);
            if fragment & 0xfff8 != 0 {
                upper.kind = KIND_FRAGMENT;
                break;
            }
        }
    }
    // One call behind the loop, not one in each round: the verifier would follow every one of them.
    if upper.kind == KIND_FRAGMENT {
        upper
    } else if is_extension(upper.proto) {
        upper.faulty(Reason::DeepExtension)
    } else {
        transport(at, upper)
    }
}

/// Reads the transport header of `upper.proto`.
#[inline(always)]
fn transport<C: Cursor>(at: C, mut upper: Upper) -> Upper {
    match upper.proto {
        PROTO_TCP => {
            let Some(w) = at.window(20) else { return upper.faulty(Reason::ShortTransport) };
            upper.sport = w.u16(0);
            upper.dport = w.u16(2);
            upper.tcp_flags = w.u8(13);
            upper.window = u16::from_be(w.u16(14));
            if w.u8(12) >> 4 < 5 {
                return upper.faulty(Reason::BadTcp);
            }
            upper
        }
        PROTO_UDP => {
            let Some(w) = at.window(8) else { return upper.faulty(Reason::ShortTransport) };
            upper.sport = w.u16(0);
            upper.dport = w.u16(2);
            if is_tunnel_port(upper.dport) {
                upper.tunnel = at.remaining() as u32;
            }
            upper
        }
        PROTO_IPIP | PROTO_IPV6 | PROTO_GRE => {
            upper.tunnel = at.remaining() as u32;
            upper
        }
        PROTO_ICMP | PROTO_ICMP6 => {
            let Some(w) = at.window(4) else { return upper.faulty(Reason::ShortTransport) };
            upper.sport = w.u16(0);
            let error = match upper.proto {
                PROTO_ICMP => matches!(w.u8(0), 3 | 11 | 12),
                _ => matches!(w.u8(0), 1..=4),
            };
            if error {
                upper.dport = quoted_port(at.skip(8));
            }
            upper
        }
        _ => upper,
    }
}

/// Whether UDP to this port (network byte order) carries Ethernet frames: VXLAN (RFC 7348; Linux also on 8472), GENEVE
/// (RFC 8926).
#[inline(always)]
fn is_tunnel_port(port: u16) -> bool {
    matches!(u16::from_be(port), 4_789 | 6_081 | 8_472)
}

/// The destination port of the packet an ICMP error quotes, 0 if there is none: so that each refused UDP port of a
/// scan is a flow of its own and is told.
#[inline(always)]
fn quoted_port<C: Cursor>(at: C) -> u16 {
    // The shorter of the two headers is checked for both: what is read lies in there.
    let Some(w) = at.window(20) else { return 0 };
    let (proto, header) =
        if w.u8(0) >> 4 == 4 { (w.u8(9), usize::from(w.u8(0) & 0x0f) * 4) } else { (w.u8(6), 40) };
    if proto != PROTO_TCP && proto != PROTO_UDP {
        return 0;
    }
    at.skip(header).window(4).map_or(0, |w| w.u16(2))
}
