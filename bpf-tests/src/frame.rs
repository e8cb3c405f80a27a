//! Frames, header by header.
//!
//! Lengths and the IPv4 header checksum are right unless a test makes them wrong; transport checksums are left 0, since
//! nobody here looks at them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Shortest Ethernet frame without its check sequence, in bytes.
const SHORTEST: usize = 60;

/// TCP flag.
pub const FIN: u8 = 0x01;
/// TCP flag.
pub const SYN: u8 = 0x02;
/// RST.
pub const RST: u8 = 0x04;
/// TCP flag.
pub const ACK: u8 = 0x10;

/// IPv4 flag "more fragments", as in the field of flags and offset.
pub const MORE_FRAGMENTS: u16 = 0x2000;

/// A MAC address of the rig: locally administered, told apart by its last byte.
pub const fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    /// Where the type of the next header goes, and whether it is an EtherType of two bytes.
    type_at: usize,
    /// Where the network header begins and its version.
    net: Option<(usize, u8)>,
    min: usize,
}

impl Frame {
    /// Ethernet header.
    pub fn ethernet(src: [u8; 6], dst: [u8; 6]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(dst);
        bytes.extend(src);
        bytes.extend([0, 0]);
        Self { bytes, type_at: 12, net: None, min: SHORTEST }
    }

    /// The EtherType (or 802.3 length) of what follows.
    pub fn ether_type(mut self, ether_type: u16) -> Self {
        self.bytes[self.type_at..self.type_at + 2].copy_from_slice(&ether_type.to_be_bytes());
        self
    }

    /// A VLAN tag of EtherType 0x8100.
    pub fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// A VLAN tag of any EtherType.
    pub fn tag(self, ether_type: u16, id: u16) -> Self {
        let mut frame = self.ether_type(ether_type);
        frame.bytes.extend(id.to_be_bytes());
        frame.type_at = frame.bytes.len();
        frame.bytes.extend([0, 0]);
        frame
    }

    /// An ARP message of Ethernet and IPv4.
    pub fn arp(self, operation: u16, sha: [u8; 6], spa: Ipv4Addr, tha: [u8; 6], tpa: Ipv4Addr) -> Self {
        let mut frame = self.ether_type(0x0806);
        frame.bytes.extend([0, 1, 8, 0, 6, 4]);
        frame.bytes.extend(operation.to_be_bytes());
        frame.bytes.extend(sha);
        frame.bytes.extend(spa.octets());
        frame.bytes.extend(tha);
        frame.bytes.extend(tpa.octets());
        frame
    }

    /// IPv4 header without options.
    pub fn ip4(self, src: Ipv4Addr, dst: Ipv4Addr) -> Self {
        self.ip4_with(src, dst, 0, &[])
    }

    /// IPv4 header with the field of flags and fragment offset, and options (a multiple of 4 bytes).
    pub fn ip4_with(self, src: Ipv4Addr, dst: Ipv4Addr, fragment: u16, options: &[u8]) -> Self {
        let mut frame = self.ether_type(0x0800);
        let at = frame.bytes.len();
        frame.bytes.extend([0x45 + (options.len() / 4) as u8, 0, 0, 0, 0x12, 0x34]);
        frame.bytes.extend(fragment.to_be_bytes());
        frame.bytes.extend([64, 0, 0, 0]);
        frame.bytes.extend(src.octets());
        frame.bytes.extend(dst.octets());
        frame.bytes.extend(options);
        frame.type_at = at + 9;
        frame.net = Some((at, 4));
        frame
    }

    /// IPv6 header.
    pub fn ip6(self, src: Ipv6Addr, dst: Ipv6Addr) -> Self {
        let mut frame = self.ether_type(0x86dd);
        let at = frame.bytes.len();
        frame.bytes.extend([0x60, 0, 0, 0, 0, 0, 59, 64]);
        frame.bytes.extend(src.octets());
        frame.bytes.extend(dst.octets());
        frame.type_at = at + 6;
        frame.net = Some((at, 6));
        frame
    }

    /// An IPv6 extension header: its protocol number and what it holds behind the next header's number.
    pub fn extension(mut self, proto: u8, body: &[u8]) -> Self {
        self.protocol(proto);
        self.type_at = self.bytes.len();
        self.bytes.push(59);
        self.bytes.extend(body);
        self
    }

    /// TCP header without options; window 8,192.
    pub fn tcp(mut self, sport: u16, dport: u16, flags: u8) -> Self {
        self.protocol(6);
        self.bytes.extend(sport.to_be_bytes());
        self.bytes.extend(dport.to_be_bytes());
        self.bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        self
    }

    /// UDP header of a message without content.
    pub fn udp(mut self, sport: u16, dport: u16) -> Self {
        self.protocol(17);
        self.bytes.extend(sport.to_be_bytes());
        self.bytes.extend(dport.to_be_bytes());
        self.bytes.extend([0, 8, 0, 0]);
        self
    }

    /// ICMP (or ICMPv6) header.
    pub fn icmp(mut self, kind: u8, code: u8) -> Self {
        let proto = if matches!(self.net, Some((_, 6))) { 58 } else { 1 };
        self.protocol(proto);
        self.bytes.extend([kind, code, 0, 0, 0, 0, 0, 0]);
        self
    }

    /// Bytes as they are.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// The protocol number of what follows.
    pub fn protocol(&mut self, proto: u8) {
        self.bytes[self.type_at] = proto;
    }

    /// Leaves the frame as short as its headers are.
    pub fn unpadded(mut self) -> Self {
        self.min = 0;
        self
    }

    /// The frame, with lengths and checksum filled in.
    pub fn build(mut self) -> Vec<u8> {
        match self.net {
            Some((at, 4)) => {
                let total = (self.bytes.len() - at) as u16;
                self.bytes[at + 2..at + 4].copy_from_slice(&total.to_be_bytes());
                let header = usize::from(self.bytes[at] & 0x0f) * 4;
                let sum = checksum(&self.bytes[at..at + header]);
                self.bytes[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
            }
            Some((at, _)) => {
                let payload = (self.bytes.len() - at - 40) as u16;
                self.bytes[at + 4..at + 6].copy_from_slice(&payload.to_be_bytes());
            }
            None => {}
        }
        if self.bytes.len() < self.min {
            self.bytes.resize(self.min, 0);
        }
        self.bytes
    }
}

/// Internet checksum (RFC 1071) of an even number of bytes whose own checksum field is 0.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_example_in_textbooks() {
        // RFC 1071, 3: 0001 f203 f4f5 f6f7 sum to ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }
}
