//! MAC addresses and IP prefixes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::{Serialize, Serializer};

/// A MAC address, bytes as on the wire.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it is a group address (broadcast or multicast) or all zero: nobody's own.
    pub fn is_nobody(self) -> bool {
        self.0[0] & 1 == 1 || self.0 == [0; 6]
    }

    /// Whether it was made up by the device's software (IEEE 802c, the U/L bit) instead of assigned to a maker.
    pub fn is_local(self) -> bool {
        self.0[0] & 2 == 2
    }

    /// The first three bytes: the maker's number in the OUI registry.
    pub fn oui(self) -> u32 {
        u32::from_be_bytes([0, self.0[0], self.0[1], self.0[2]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The mark by which tables are searched for an IP address.
pub(crate) fn mark(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let bits = u128::from(ip);
            (bits ^ bits >> 32 ^ bits >> 64 ^ bits >> 96) as u32
        }
    }
}

/// An address that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddrError {
    /// Not a MAC address.
    #[error("`{0}` is not a MAC address; write it like 00:1b:21:0a:0b:0c")]
    Mac(String),
    /// Not a prefix.
    #[error("`{0}` is not a network; write it like 10.0.0.0/8 or fd00::/8")]
    Prefix(String),
    /// Neither a MAC nor an IP address.
    #[error("`{0}` is neither a MAC nor an IP address; write it like 00:1b:21:0a:0b:0c, 10.0.0.7 or fd00::7")]
    Target(String),
    /// Not a VLAN.
    #[error("`{0}` is not a VLAN; give its number, 1 to 4094")]
    Vlan(String),
    /// Not a name.
    #[error("`{0}` is not a name; names have up to 31 letters, digits and signs, no spaces")]
    Name(String),
    /// All of IPv4 lies in it.
    #[error(
        "`{0}` takes in all of IPv4 too, which is ::ffff:0:0/96 in IPv6; give a narrower one, such as 2000::/3"
    )]
    Wide(String),
}

impl FromStr for Mac {
    type Err = AddrError;

    /// Reads six hexadecimal bytes separated by `:` or `-`.
    fn from_str(s: &str) -> Result<Self, AddrError> {
        let wrong = || AddrError::Mac(s.to_owned());
        let mut bytes = [0; 6];
        let mut parts = s.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Mac(bytes)) }
    }
}

/// A network: an address and the number of its leading bits that count.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub struct Prefix {
    addr: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The network of the leading `bits` of `addr`; more bits than the address has mean all of them.
    pub fn new(addr: IpAddr, bits: u8) -> Self {
        Self { addr, bits: bits.min(if addr.is_ipv4() { 32 } else { 128 }) }
    }

    /// Its address, with zeros behind its bits.
    pub fn address(&self) -> IpAddr {
        match self.addr {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((ip.to_bits() & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6((ip.to_bits() & mask).into())
            }
        }
    }

    /// Its length, of 32 or 128.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether all of `other` lies in the network.
    pub fn covers(&self, other: &Prefix) -> bool {
        self.bits <= other.bits && self.contains(other.addr)
    }

    /// Whether `ip` lies in the network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                (net.to_bits() ^ ip.to_bits()) & mask == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                (net.to_bits() ^ ip.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = AddrError;

    /// Reads `address/bits`, or a lone address as the network of just itself.
    fn from_str(s: &str) -> Result<Self, AddrError> {
        let wrong = || AddrError::Prefix(s.to_owned());
        let (addr, bits) = s.split_once('/').map_or((s, None), |(addr, bits)| (addr, Some(bits)));
        let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Prefix { addr, bits }) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.bits)
    }
}

/// Whether an address can belong to one device: not unspecified, broadcast, multicast or loopback.
pub fn is_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_loopback())
                && ip.octets()[0] != 0
                && ip.octets()[0] < 240
        }
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_read_and_shown() {
        for (text, want) in [
            ("00:1b:21:0a:0b:0c", Some("00:1b:21:0a:0b:0c")),
            ("00-1B-21-0A-0B-0C", Some("00:1b:21:0a:0b:0c")),
            ("00:1b:21:0a:0b", None),
            ("00:1b:21:0a:0b:0c:0d", None),
            ("0:1b:21:0a:0b:0c", None),
            ("zz:1b:21:0a:0b:0c", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Mac>().ok().map(|m| m.to_string()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn prefixes_hold_their_addresses() {
        for (net, ip, want) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.5", false),
            ("fd00::/8", "fdab::1", true),
            ("::/0", "2001:db8::1", true),
            ("::/0", "1.2.3.4", false),
        ] {
            let net: Prefix = net.parse().unwrap();
            assert_eq!(net.contains(ip.parse().unwrap()), want, "{net} {ip}");
        }
        for wrong in ["10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/", "x"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }
}
