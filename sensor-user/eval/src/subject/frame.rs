//! The frame behind a record, as far as rules look at it.

use std::net::IpAddr;

use sensor_core::addr::Mac;
use sensor_core::flow::{ICMP, TCP, UDP};
use sensor_core::observation::{FlowId, Kind};

/// Writes the headers of a frame of a flow: Ethernet, a VLAN tag if there is one, ARP or IPv4 with TCP, UDP or ICMP. IPv6 is
/// not simulated.
pub fn write(out: &mut Vec<u8>, id: &FlowId, [smac, dmac]: [Mac; 2], ttl: u8, tcp_flags: u8) {
    out.clear();
    out.extend(dmac.0);
    out.extend(smac.0);
    if id.vlan != 0 {
        out.extend([0x81, 0x00]);
        out.extend(id.vlan.to_be_bytes());
    }
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (id.src, id.dst) else { return };
    if id.kind == Kind::Arp {
        out.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4]);
        out.extend(id.sport.to_be_bytes());
        out.extend(smac.0);
        out.extend(src.octets());
        out.extend([0; 6]);
        out.extend(dst.octets());
        return;
    }
    let mut upper = Vec::with_capacity(20);
    let ports = [id.sport.to_be_bytes(), id.dport.to_be_bytes()].concat();
    match id.proto {
        TCP => {
            upper.extend(ports);
            upper.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, tcp_flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        }
        UDP => {
            upper.extend(ports);
            upper.extend([0, 8, 0, 0]);
        }
        ICMP => {
            upper.extend(id.sport.to_be_bytes());
            upper.extend([0, 0, 0, 1, 0, 1]);
        }
        _ => {}
    }
    let total = (20 + upper.len()) as u16;
    out.extend([0x08, 0x00]);
    let at = out.len();
    out.extend([0x45, 0]);
    out.extend(total.to_be_bytes());
    out.extend([0, 1, 0, 0, ttl, id.proto, 0, 0]);
    out.extend(src.octets());
    out.extend(dst.octets());
    let sum = checksum(out.get(at..).unwrap_or_default()).to_be_bytes();
    for (byte, sum) in out.iter_mut().skip(at + 10).zip(sum) {
        *byte = sum;
    }
    out.extend(upper);
}

/// Internet checksum (RFC 1071) of a header whose own checksum field is 0: a bridge that looks after groups drops what is wrong.
fn checksum(header: &[u8]) -> u16 {
    let words =
        header.chunks_exact(2).map(|pair| pair.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
