//! What a rule is about: an address, a network, or a place.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::Serialize;

use crate::addr::{AddrError, Mac, Prefix};

/// Most bytes of a [`Name`].
pub const MAX_NAME: usize = 31;
/// Largest VLAN identifier in use (IEEE 802.1Q: 4095 is reserved).
pub const MAX_VLAN: u16 = 4_094;
/// Bits of an IPv6 prefix that IPv4 addresses, mapped into IPv6, begin with.
const MAPPED_BITS: u8 = 96;

/// The name of a port, a segment or an allow list: up to [`MAX_NAME`] visible ASCII characters without `/`, kept in
/// place so that what holds one is as easily copied as an address.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub struct Name([u8; MAX_NAME]);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
        std::str::from_utf8(self.0.get(..end).unwrap_or_default()).unwrap_or_default()
    }
}

impl FromStr for Name {
    type Err = AddrError;

    fn from_str(s: &str) -> Result<Self, AddrError> {
        let good = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if s.is_empty() || s.len() > MAX_NAME || !s.bytes().all(good) {
            return Err(AddrError::Name(s.to_owned()));
        }
        let mut bytes = [0; MAX_NAME];
        bytes.iter_mut().zip(s.bytes()).for_each(|(to, from)| *to = from);
        Ok(Self(bytes))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a rule is about.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub enum Target {
    /// A MAC address.
    Mac(Mac),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A network; of several an address lies in, the one with the longest prefix counts.
    Net(Prefix),
    /// A VLAN, by the outer tag.
    Vlan(u16),
    /// A bridge port, by the name of its interface.
    Port(Name),
    /// A named set of ports and VLANs.
    Segment(Name),
}

impl Target {
    /// The network `prefix`, as one writes it without doubt: nothing behind its bits, and IPv4 as IPv4.
    ///
    /// # Errors
    ///
    /// [`AddrError::Wide`] for an IPv6 network that all IPv4 addresses, mapped into IPv6, lie in.
    pub fn net(prefix: Prefix) -> Result<Self, AddrError> {
        let (address, bits) = (prefix.address(), prefix.bits());
        let IpAddr::V6(six) = address else { return Ok(Self::Net(Prefix::new(address, bits))) };
        if bits < MAPPED_BITS {
            let mapped = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
            let wide = Prefix::new(address, bits).contains(mapped.into());
            return if wide {
                Err(AddrError::Wide(prefix.to_string()))
            } else {
                Ok(Self::Net(Prefix::new(address, bits)))
            };
        }
        Ok(Self::Net(match six.to_ipv4_mapped() {
            Some(four) => Prefix::new(four.into(), bits - MAPPED_BITS),
            None => Prefix::new(address, bits),
        }))
    }

    /// Whether it is an address of one device, as against a network or a place where many may be.
    pub fn is_address(&self) -> bool {
        matches!(self, Self::Mac(_) | Self::Ip(_))
    }

    /// Whether it is a place: what can be cut.
    pub fn is_place(&self) -> bool {
        matches!(self, Self::Vlan(_) | Self::Port(_) | Self::Segment(_))
    }

    /// The first target, in order, that is not an address.
    pub(super) fn first_wide() -> Self {
        Self::Net(Prefix::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Mac(mac) => mac.fmt(f),
            Target::Ip(ip) => ip.fmt(f),
            Target::Net(net) => net.fmt(f),
            Target::Vlan(vlan) => write!(f, "vlan {vlan}"),
            Target::Port(name) => write!(f, "port {name}"),
            Target::Segment(name) => write!(f, "segment {name}"),
        }
    }
}

impl FromStr for Target {
    type Err = AddrError;

    /// Reads what [`fmt::Display`] writes; an IPv4 address written as IPv6 is the IPv4 address.
    fn from_str(s: &str) -> Result<Self, AddrError> {
        match s.split_once(' ') {
            Some(("vlan", id)) => return vlan(id).map(Target::Vlan),
            Some(("port", name)) => return name.parse().map(Target::Port),
            Some(("segment", name)) => return name.parse().map(Target::Segment),
            _ => {}
        }
        if s.contains('/') {
            return Self::net(s.parse()?);
        }
        if let Ok(mac) = s.parse() {
            return Ok(Target::Mac(mac));
        }
        let ip: IpAddr = s.parse().map_err(|_| AddrError::Target(s.to_owned()))?;
        Ok(Target::Ip(ip.to_canonical()))
    }
}

/// Reads a VLAN identifier.
///
/// # Errors
///
/// [`AddrError::Vlan`] unless it is 1 to [`MAX_VLAN`].
pub fn vlan(text: &str) -> Result<u16, AddrError> {
    text.parse().ok().filter(|id| (1..=MAX_VLAN).contains(id)).ok_or_else(|| AddrError::Vlan(text.to_owned()))
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_are_written() {
        for (text, shown) in [
            ("00-1B-21-0A-0B-0C", "00:1b:21:0a:0b:0c"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("fd00::7/64", "fd00::/64"),
            ("vlan 20", "vlan 20"),
            ("port eth0.7", "port eth0.7"),
            ("segment ward-3", "segment ward-3"),
        ] {
            assert_eq!(text.parse::<Target>().expect(text).to_string(), shown);
            assert_eq!(shown.parse::<Target>().expect(shown).to_string(), shown);
        }
        for wrong in
            ["", "vlan 0", "vlan 4095", "vlan x", "port ", "segment a b", "::/0", "::/80", "10.0.0.0/33"]
        {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
        let wide = "::/0".parse::<Target>().expect_err("too wide").to_string();
        assert!(wide.starts_with("`::/0` takes in all of IPv4 too"), "{wide}");
        assert!("a".repeat(MAX_NAME).parse::<Name>().is_ok());
        assert!("a".repeat(MAX_NAME + 1).parse::<Name>().is_err());
    }
}
