//! The number that ties together all that is told about one conversation.

use std::net::IpAddr;

use sensor_core::flow::ends;
use sensor_core::observation::FlowId;

/// 53 bits: more would lose their last digits in JavaScript and jq.
const MASK: u64 = (1 << 53) - 1;

/// The same number for both directions of a conversation, on every run and machine.
pub fn flow_id(id: &FlowId) -> u64 {
    let mut hash = Fnv::default();
    for (ip, port) in ends(id) {
        hash.write(&wide(ip));
        hash.write(&port.to_be_bytes());
    }
    hash.write(&[id.proto, id.kind as u8]);
    hash.write(&id.vlan.to_be_bytes());
    hash.0 & MASK
}

fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): the same everywhere, unlike the standard library's hash.
pub struct Fnv(pub u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Takes in some bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use sensor_core::flow::ICMP;
    use sensor_core::observation::Kind;

    use super::*;

    fn flow(proto: u8, kind: Kind, sport: u16, dport: u16) -> FlowId {
        let (src, dst) = ("10.0.0.7".parse().unwrap(), "10.0.0.9".parse().unwrap());
        FlowId { src, dst, sport, dport, proto, kind, vlan: 0, port: 1 }
    }

    fn turned(id: FlowId, sport: u16, dport: u16) -> FlowId {
        FlowId { src: id.dst, dst: id.src, sport, dport, port: 2, ..id }
    }

    #[test]
    fn both_directions_have_one_number() {
        let tcp = flow(6, Kind::Ip, 40_000, 80);
        assert_eq!(flow_id(&tcp), flow_id(&turned(tcp, 80, 40_000)));
        let echo = flow(ICMP, Kind::Ip, 8 << 8, 0);
        assert_eq!(flow_id(&echo), flow_id(&turned(echo, 0, 0)));
        let arp = flow(0, Kind::Arp, 1, 0);
        assert_eq!(flow_id(&arp), flow_id(&turned(arp, 2, 0)));
    }

    #[test]
    fn what_differs_has_another_number() {
        let base = flow(6, Kind::Ip, 40_000, 80);
        let others = [
            FlowId { sport: 40_001, ..base },
            FlowId { proto: 17, ..base },
            FlowId { vlan: 5, ..base },
            FlowId { dst: "10.0.0.8".parse().unwrap(), ..base },
            FlowId { kind: Kind::Fragment, ..base },
        ];
        for other in others {
            assert_ne!(flow_id(&base), flow_id(&other), "{other:?}");
        }
    }

    #[test]
    fn the_number_is_the_same_on_every_run() {
        let mut hash = Fnv::default();
        hash.write(b"foobar");
        assert_eq!(hash.0, 0x8594_4171_f739_67e8, "the published test vector of FNV-1a");
        assert!(flow_id(&flow(6, Kind::Ip, 40_000, 80)) <= MASK);
    }
}
