//! What lies in a tunnel: the addresses of the packet within, as far as its first bytes tell them.
//!
//! The data path judges a tunnel by its outer header and hands over the packet from its transport header on. Nothing here
//! is followed any deeper than one packet within: a tunnel in a tunnel is named as what it is.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use sensor_ebpf::event::INNER_BYTES;
use serde::Serialize;

use crate::flow::UDP;

/// The first bytes of a tunnel's packet, as a record holds them.
pub type Words = [u64; INNER_BYTES / 8];

/// How a packet is wrapped.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Serialize,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Wrapping {
    /// IPv4 in IP (RFC 2003).
    Ipip,
    /// IPv6 in IP (RFC 4213, RFC 2473).
    Ip6,
    /// GRE (RFC 2784, RFC 2890).
    Gre,
    /// VXLAN (RFC 7348).
    Vxlan,
    /// GENEVE (RFC 8926).
    Geneve,
}

/// The packet within a tunnel.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Serialize,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
)]
pub struct Inner {
    /// How it is wrapped.
    pub wrapping: Wrapping,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol number (IPv6: of the next header); 0 for ARP.
    pub proto: u8,
    /// The innermost VLAN identifier before the packet, 0 if there is none.
    pub vlan: u16,
}

/// Protocol numbers (IANA) of what wraps without UDP.
const IPIP: u8 = 4;
const IP6: u8 = 41;
const GRE: u8 = 47;

/// EtherTypes.
const ETHER_IPV4: u16 = 0x0800;
const ETHER_ARP: u16 = 0x0806;
const ETHER_IPV6: u16 = 0x86dd;
/// Transparent Ethernet bridging: an Ethernet frame in GRE (RFC 1701) or GENEVE.
const ETHER_BRIDGING: u16 = 0x6558;

/// VLAN tags looked behind.
const MAX_TAGS: usize = 2;

/// Reads the packet within a tunnel of IP protocol `proto` to UDP port `dport`; `bytes` begin with the transport header.
/// None if there is no IP packet (or ARP message) to be seen.
pub fn inner(proto: u8, dport: u16, bytes: &[u8]) -> Option<Inner> {
    match proto {
        IPIP => packet(Wrapping::Ipip, ETHER_IPV4, bytes, 0),
        IP6 => packet(Wrapping::Ip6, ETHER_IPV6, bytes, 0),
        GRE => gre(bytes),
        UDP => {
            let payload = bytes.get(8..)?;
            if dport == 6_081 { geneve(payload) } else { vxlan(payload) }
        }
        _ => None,
    }
}

/// The bytes of a record's words, as many as it says it has.
pub fn bytes(words: &Words, len: u32) -> ([u8; INNER_BYTES], usize) {
    let mut bytes = [0; INNER_BYTES];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    (bytes, (len as usize).min(INNER_BYTES))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// GRE: checksum, key and sequence number are there as the flags say.
fn gre(bytes: &[u8]) -> Option<Inner> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    let flags = u16_at(bytes, 0)?;
    // Version 1 is PPTP's; RFC 1701's source routes are of no fixed length, and long gone.
    if flags & 7 != 0 || flags & ROUTING != 0 {
        return None;
    }
    let fields = (flags & (CHECKSUM | KEY | SEQUENCE)).count_ones() as usize;
    let payload = bytes.get(4 + 4 * fields..)?;
    of_type(Wrapping::Gre, u16_at(bytes, 2)?, payload)
}

fn vxlan(bytes: &[u8]) -> Option<Inner> {
    /// The flag that a network identifier is there, which it always must be.
    const VNI: u8 = 0x08;
    if bytes.first()? & VNI == 0 {
        return None;
    }
    frame(Wrapping::Vxlan, bytes.get(8..)?)
}

fn geneve(bytes: &[u8]) -> Option<Inner> {
    let first = *bytes.first()?;
    if first >> 6 != 0 {
        return None;
    }
    let options = usize::from(first & 0x3f) * 4;
    of_type(Wrapping::Geneve, u16_at(bytes, 2)?, bytes.get(8 + options..)?)
}

fn of_type(wrapping: Wrapping, ether_type: u16, bytes: &[u8]) -> Option<Inner> {
    if ether_type == ETHER_BRIDGING { frame(wrapping, bytes) } else { packet(wrapping, ether_type, bytes, 0) }
}

/// An Ethernet frame.
fn frame(wrapping: Wrapping, bytes: &[u8]) -> Option<Inner> {
    let (mut at, mut vlan) = (12, 0);
    for _ in 0..MAX_TAGS {
        if !matches!(u16_at(bytes, at)?, 0x8100 | 0x88a8 | 0x9100) {
            break;
        }
        vlan = u16_at(bytes, at + 2)? & 0x0fff;
        at += 4;
    }
    packet(wrapping, u16_at(bytes, at)?, bytes.get(at + 2..)?, vlan)
}

fn packet(wrapping: Wrapping, ether_type: u16, bytes: &[u8], vlan: u16) -> Option<Inner> {
    let four = |at: usize| Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<4>()?));
    let six = |at: usize| Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<16>()?));
    let version = bytes.first()? >> 4;
    let (src, dst, proto) = match (ether_type, version) {
        (ETHER_IPV4, 4) => (four(12)?, four(16)?, *bytes.get(9)?),
        (ETHER_IPV6, 6) => (six(8)?, six(24)?, *bytes.get(6)?),
        // Of Ethernet and IPv4 alone.
        (ETHER_ARP, _) if bytes.starts_with(&[0, 1, 8, 0, 6, 4]) => (four(14)?, four(24)?, 0),
        _ => return None,
    };
    Some(Inner { wrapping, src, dst, proto, vlan })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four(proto: u8) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, proto, 0, 0];
        bytes.extend([10, 1, 0, 1, 10, 1, 0, 2]);
        bytes
    }

    fn six(proto: u8) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, proto, 64];
        bytes.extend([0xfd; 16]);
        bytes.extend([0xfe; 16]);
        bytes
    }

    fn ethernet(tags: &[[u8; 4]], ether_type: u16, packet: &[u8]) -> Vec<u8> {
        [&[2; 12][..], tags.concat().as_slice(), &ether_type.to_be_bytes(), packet].concat()
    }

    fn udp(payload: &[u8]) -> Vec<u8> {
        [&[0; 8][..], payload].concat()
    }

    #[test]
    fn each_wrapping_shows_what_is_within() {
        let vxlan = |frame: Vec<u8>| udp(&[&[8, 0, 0, 0, 0, 0, 7, 0][..], &frame].concat());
        let geneve = |first: u8, kind: [u8; 2], rest: &[u8]| {
            udp(&[&[first, 0, kind[0], kind[1], 0, 0, 7, 0][..], rest].concat())
        };
        let tag = [0x81, 0, 0, 20];
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[2; 6], &[10, 1, 0, 1], &[0; 6], &[10, 1, 0, 2]].concat();
        let gre = |flags: u16, fields: usize, kind: u16, rest: Vec<u8>| {
            [&flags.to_be_bytes()[..], &kind.to_be_bytes(), &vec![9; 4 * fields], &rest].concat()
        };
        #[expect(clippy::type_complexity, reason = "a table")]
        let cases: [(&str, u8, u16, Vec<u8>, Wrapping, bool, u8, u16); 14] = [
            ("ipip", IPIP, 0, four(6), Wrapping::Ipip, true, 6, 0),
            ("6in4", IP6, 0, six(17), Wrapping::Ip6, false, 17, 0),
            ("gre", GRE, 0, gre(0, 0, 0x0800, four(6)), Wrapping::Gre, true, 6, 0),
            ("gre key", GRE, 0, gre(0x2000, 1, 0x86dd, six(6)), Wrapping::Gre, false, 6, 0),
            ("gre all", GRE, 0, gre(0xb000, 3, 0x0800, four(17)), Wrapping::Gre, true, 17, 0),
            (
                "gre frame",
                GRE,
                0,
                gre(0x2000, 1, 0x6558, ethernet(&[tag], 0x0800, &four(1))),
                Wrapping::Gre,
                true,
                1,
                20,
            ),
            ("vxlan", UDP, 4_789, vxlan(ethernet(&[], 0x0800, &four(6))), Wrapping::Vxlan, true, 6, 0),
            ("linux vxlan", UDP, 8_472, vxlan(ethernet(&[], 0x86dd, &six(6))), Wrapping::Vxlan, false, 6, 0),
            (
                "vxlan tag",
                UDP,
                4_789,
                vxlan(ethernet(&[tag], 0x0800, &four(6))),
                Wrapping::Vxlan,
                true,
                6,
                20,
            ),
            (
                "vxlan two tags",
                UDP,
                4_789,
                vxlan(ethernet(&[[0x88, 0xa8, 0, 5], tag], 0x86dd, &six(6))),
                Wrapping::Vxlan,
                false,
                6,
                20,
            ),
            ("vxlan arp", UDP, 4_789, vxlan(ethernet(&[], 0x0806, &arp)), Wrapping::Vxlan, true, 0, 0),
            (
                "geneve",
                UDP,
                6_081,
                geneve(0, [0x65, 0x58], &ethernet(&[], 0x0800, &four(6))),
                Wrapping::Geneve,
                true,
                6,
                0,
            ),
            (
                "geneve options",
                UDP,
                6_081,
                geneve(2, [0x65, 0x58], &[vec![7; 8], ethernet(&[], 0x0800, &four(6))].concat()),
                Wrapping::Geneve,
                true,
                6,
                0,
            ),
            ("geneve ip", UDP, 6_081, geneve(0, [0x86, 0xdd], &six(6)), Wrapping::Geneve, false, 6, 0),
        ];
        for (name, proto, dport, bytes, wrapping, is_four, inner_proto, vlan) in cases {
            let (src, dst) = if is_four {
                ("10.1.0.1".parse().expect("an address"), "10.1.0.2".parse().expect("an address"))
            } else {
                (IpAddr::from([0xfd; 16]), IpAddr::from([0xfe; 16]))
            };
            let expected = Inner { wrapping, src, dst, proto: inner_proto, vlan };
            assert_eq!(inner(proto, dport, &bytes), Some(expected), "{name}");
            // Whatever the length at which it is cut, it is read to its end or not at all.
            for len in 0..bytes.len() {
                let got = inner(proto, dport, &bytes[..len]);
                assert!(got.is_none() || got == Some(expected), "{name} cut to {len}: {got:?}");
            }
        }
    }

    #[test]
    fn what_is_no_packet_within_is_not_taken_for_one() {
        let cases: [(&str, u8, u16, Vec<u8>); 7] = [
            ("ipip of a wrong version", IPIP, 0, six(6)),
            ("gre version 1", GRE, 0, [&[0, 1, 8, 0][..], &four(6)].concat()),
            ("gre with routes", GRE, 0, [&[0x40, 0, 8, 0][..], &four(6)].concat()),
            ("gre of something else", GRE, 0, [&[0, 0, 0x88, 0x0b][..], &four(6)].concat()),
            (
                "vxlan without an identifier",
                UDP,
                4_789,
                udp(&[&[0; 8][..], &ethernet(&[], 0x0800, &four(6))].concat()),
            ),
            ("geneve of version 1", UDP, 6_081, udp(&[&[0x40, 0, 8, 0, 0, 0, 0, 0][..], &four(6)].concat())),
            ("no tunnel", 6, 0, four(6)),
        ];
        for (name, proto, dport, bytes) in cases {
            assert_eq!(inner(proto, dport, &bytes), None, "{name}");
        }
    }
}
