//! Keys of the kernel's rules, as both data paths hold them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use sensor_ebpf::parse::{MacKey, mac_bytes};
use sensor_ebpf::reflex;
use sensor_ebpf::rule::{Address, MAPPED_BITS, scope_of_segment, scope_of_vlan};

use crate::addr::{Mac, Prefix};

/// What a rule of the kernel is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum RuleKey {
    /// A MAC address, as the program has it.
    Mac(MacKey),
    /// An IP address.
    Ip(Address),
    /// A prefix.
    Net {
        /// Its bits, of 128: an IPv4 prefix has 96 more than people write.
        bits: u32,
        /// Its address, with zeros behind the prefix.
        address: Address,
    },
    /// A port, a VLAN or a segment, by its index.
    Scope(u32),
}

/// An IP address as the rules have it; an IPv4 address mapped into IPv6 is that IPv4 address.
pub fn address(ip: IpAddr) -> Address {
    let bytes = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let (halves, _) = bytes.as_chunks::<8>();
    let mut address = [0; 2];
    address.iter_mut().zip(halves).for_each(|(word, half)| *word = u64::from_ne_bytes(*half));
    address
}

/// What the kernel finds the budget of a host by.
pub fn host(ip: IpAddr, Mac([a, b, c, d, e, f]): Mac, port: u8) -> u64 {
    reflex::host(address(ip), u64::from_le_bytes([a, b, c, d, e, f, 0, 0]), port)
}

/// The IP address of a rule.
pub fn ip([high, low]: Address) -> IpAddr {
    let mut bytes = [0; 16];
    let (first, last) = bytes.split_at_mut(8);
    first.copy_from_slice(&high.to_ne_bytes());
    last.copy_from_slice(&low.to_ne_bytes());
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// The bits of a prefix, of 128, and its address.
pub fn net(prefix: &Prefix) -> (u32, Address) {
    let mapped = if prefix.address().is_ipv4() { MAPPED_BITS } else { 0 };
    (u32::from(prefix.bits()) + mapped, address(prefix.address()))
}

impl From<Mac> for RuleKey {
    fn from(Mac([a, b, c, d, e, f]): Mac) -> Self {
        Self::Mac(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }
}

impl From<[u8; 6]> for RuleKey {
    fn from(mac: [u8; 6]) -> Self {
        Self::from(Mac(mac))
    }
}

impl From<IpAddr> for RuleKey {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(address(ip))
    }
}

impl From<&Prefix> for RuleKey {
    fn from(prefix: &Prefix) -> Self {
        let (bits, address) = net(prefix);
        Self::Net { bits, address }
    }
}

impl fmt::Display for RuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Mac(mac) => Mac(mac_bytes(mac)).fmt(f),
            Self::Ip(address) => ip(address).fmt(f),
            Self::Net { bits, address } => {
                let ip = ip(address);
                let mapped = if ip.is_ipv4() { MAPPED_BITS } else { 0 };
                write!(f, "{ip}/{}", bits.saturating_sub(mapped))
            }
            Self::Scope(index) if index < scope_of_vlan(0) => write!(f, "port {index}"),
            Self::Scope(index) if index < scope_of_segment(0) => {
                write!(f, "VLAN {}", index - scope_of_vlan(0))
            }
            Self::Scope(index) => write!(f, "segment {}", index - scope_of_segment(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_the_program_reads_them_and_as_people_write_them() {
        let mapped = |a: [u8; 4]| sensor_ebpf::rule::mapped(u32::from_ne_bytes(a));
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        let prefix = |text: &str| RuleKey::from(&text.parse::<Prefix>().expect("a prefix"));
        let six =
            [u64::from_ne_bytes([0xfd, 0, 0, 0, 0, 0, 0, 0]), u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 7])];
        let cases: [(RuleKey, RuleKey, &str); 8] = [
            (RuleKey::from([2, 0, 0, 0, 0, 0x0a]), RuleKey::Mac(0x0a00_0000_0002), "02:00:00:00:00:0a"),
            (parse("10.0.0.7").into(), RuleKey::Ip(mapped([10, 0, 0, 7])), "10.0.0.7"),
            (parse("::ffff:10.0.0.7").into(), RuleKey::Ip(mapped([10, 0, 0, 7])), "10.0.0.7"),
            (parse("fd00::7").into(), RuleKey::Ip(six), "fd00::7"),
            (prefix("10.0.0.0/8"), RuleKey::Net { bits: 104, address: mapped([10, 0, 0, 0]) }, "10.0.0.0/8"),
            (prefix("fd00::7/128"), RuleKey::Net { bits: 128, address: six }, "fd00::7/128"),
            (RuleKey::Scope(scope_of_vlan(20)), RuleKey::Scope(276), "VLAN 20"),
            (RuleKey::Scope(scope_of_segment(3)), RuleKey::Scope(4_355), "segment 3"),
        ];
        for (got, expected, text) in cases {
            assert_eq!(got, expected);
            assert_eq!(got.to_string(), text);
        }
    }
}
