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
    out.extend([0x08, 0x00, 0x45, 0]);
    out.extend(total.to_be_bytes());
    out.extend([0, 1, 0, 0, ttl, id.proto, 0, 0]);
    out.extend(src.octets());
    out.extend(dst.octets());
    out.extend(upper);
}
