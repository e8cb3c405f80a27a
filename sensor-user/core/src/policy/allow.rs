//! What a quarantined or pinned device may do all the same.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use sensor_ebpf::rule::{AllowKey, ROLE_ANY, ROLE_CLIENT, ROLE_NEIGHBOUR, ROLE_SERVER};
use serde::Serialize;

use crate::datapath;
use crate::flow::{ICMP, ICMP6, TCP, UDP};

/// Most entries of an allow list of the configuration.
pub const MAX_LIST: usize = 64;
/// Most allow lists of the configuration.
pub const MAX_LISTS: usize = 64;
/// Most pairs of peer and service one pinned device keeps.
pub const MAX_PIN: usize = 512;
/// Most entries of all pinned devices together: what the kernel's table has room for besides the lists of the
/// configuration.
pub const MAX_PINNED: usize = sensor_ebpf::rule::ALLOW_CAPACITY as usize - 2 * MAX_LIST * MAX_LISTS;
/// Lists of pinned devices are numbered from here; those of the configuration from 1.
pub(crate) const FIRST_PIN: u16 = 1_024;
/// The list of those quarantined without one being named.
pub const DEFAULT_LIST: &str = "default";

/// One thing that is allowed.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub enum Allow {
    /// ARP and IPv6 neighbour discovery.
    Neighbour,
    /// Anything with this peer.
    Any(IpAddr),
    /// To use a service.
    Use(Service),
    /// To offer a service.
    Serve(Service),
}

/// A service, and at whose address or to whom; none: anybody.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub struct Service {
    /// IP protocol number.
    pub proto: u8,
    /// Port, 0 for protocols without.
    pub port: u16,
    /// The other end.
    pub peer: Option<IpAddr>,
}

impl Allow {
    /// What a device needs to get an address (RFC 2131, RFC 8415).
    pub const DHCP: [Self; 2] = [
        Self::Use(Service { proto: UDP, port: 67, peer: None }),
        Self::Use(Service { proto: UDP, port: 547, peer: None }),
    ];

    /// What every device needs to be reached at all: neighbours and an address.
    pub const BASIC: [Self; 3] = [Self::Neighbour, Self::DHCP[0], Self::DHCP[1]];

    /// The kernel's key of it in the list of that number.
    pub fn key(&self, list: u16) -> AllowKey {
        let key = |role| AllowKey { list, role, ..AllowKey::default() };
        let with = |role, service: &Service| AllowKey {
            peer: service.peer.map(datapath::address).unwrap_or_default(),
            port: service.port.to_be(),
            proto: service.proto,
            ..key(role)
        };
        match self {
            Allow::Neighbour => key(ROLE_NEIGHBOUR),
            Allow::Any(peer) => AllowKey { peer: datapath::address(*peer), ..key(ROLE_ANY) },
            Allow::Use(service) => with(ROLE_CLIENT, service),
            Allow::Serve(service) => with(ROLE_SERVER, service),
        }
    }

    /// What a key of the kernel stands for; none if it is not understood.
    pub fn of_key(key: &AllowKey) -> Option<Self> {
        let peer = (key.peer != AllowKey::default().peer).then(|| datapath::ip(key.peer));
        let service = Service { proto: key.proto, port: u16::from_be(key.port), peer };
        match key.role {
            ROLE_NEIGHBOUR => Some(Allow::Neighbour),
            ROLE_ANY => peer.map(Allow::Any),
            ROLE_CLIENT => Some(Allow::Use(service)),
            ROLE_SERVER => Some(Allow::Serve(service)),
            _ => None,
        }
    }

    /// Reads one line of an allow list: `arp`, `dhcp`, `dns ADDRESS`, or what [`fmt::Display`] writes.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn line(text: &str) -> Result<Vec<Self>, String> {
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["dhcp"] => Ok(Self::DHCP.to_vec()),
            ["dns", server] => {
                let peer = Some(address(server)?);
                Ok([UDP, TCP].map(|proto| Self::Use(Service { proto, port: 53, peer })).to_vec())
            }
            _ => text.parse().map(|allow| vec![allow]),
        }
    }
}

const PROTOCOLS: [(&str, u8); 4] = [("tcp", TCP), ("udp", UDP), ("icmp", ICMP), ("icmp6", ICMP6)];

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, number)| *number == self.proto) {
            Some((name, _)) => f.write_str(name)?,
            None => write!(f, "proto-{}", self.proto)?,
        }
        if has_ports(self.proto) {
            write!(f, "/{}", self.port)?;
        }
        self.peer.map_or(Ok(()), |peer| write!(f, " {peer}"))
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allow::Neighbour => f.write_str("arp"),
            Allow::Any(peer) => peer.fmt(f),
            Allow::Use(service) => service.fmt(f),
            Allow::Serve(service) => write!(f, "serve {service}"),
        }
    }
}

impl FromStr for Allow {
    type Err = String;

    /// Reads what [`fmt::Display`] writes: `arp`, an address, or a service.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["arp"] => Ok(Allow::Neighbour),
            ["serve", what] => service(what, None).map(Allow::Serve),
            ["serve", what, peer] => service(what, Some(peer)).map(Allow::Serve),
            [one] if one.parse::<IpAddr>().is_ok() => address(one).map(Allow::Any),
            [what] => service(what, None).map(Allow::Use),
            [what, peer] => service(what, Some(peer)).map(Allow::Use),
            _ => Err(format!("`{text}` is not understood")),
        }
    }
}

fn has_ports(proto: u8) -> bool {
    matches!(proto, TCP | UDP)
}

/// An address of one device: a list for a group or for nobody would let nothing through.
fn address(text: &str) -> Result<IpAddr, String> {
    let ip = text.parse::<IpAddr>().map_err(|_| format!("`{text}` is not an IP address"))?.to_canonical();
    if crate::addr::is_host(ip) { Ok(ip) } else { Err(format!("{ip} belongs to no device")) }
}

fn service(what: &str, peer: Option<&str>) -> Result<Service, String> {
    let unknown = || format!("`{what}` is no service");
    let (name, port) = what.split_once('/').map_or((what, None), |(name, port)| (name, Some(port)));
    let named = PROTOCOLS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let proto = named.or_else(|| name.strip_prefix("proto-")?.parse().ok()).ok_or_else(unknown)?;
    let port = match port {
        Some(port) if has_ports(proto) => port.parse().ok().filter(|port| *port != 0).ok_or_else(unknown)?,
        None if !has_ports(proto) => 0,
        _ => return Err(unknown()),
    };
    Ok(Service { proto, port, peer: peer.map(address).transpose()? })
}

impl Serialize for Allow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_shown() {
        for (line, shown) in [
            ("arp", &["arp"][..]),
            ("dhcp", &["udp/67", "udp/547"]),
            ("dns 10.0.0.1", &["udp/53 10.0.0.1", "tcp/53 10.0.0.1"]),
            ("::ffff:10.0.0.1", &["10.0.0.1"]),
            ("tcp/104  10.0.0.1", &["tcp/104 10.0.0.1"]),
            ("udp/123", &["udp/123"]),
            ("serve tcp/104 fd00::7", &["serve tcp/104 fd00::7"]),
            ("icmp 10.0.0.1", &["icmp 10.0.0.1"]),
            ("proto-47 10.0.0.1", &["proto-47 10.0.0.1"]),
        ] {
            let read = Allow::line(line).expect(line);
            let texts: Vec<_> = read.iter().map(ToString::to_string).collect();
            assert_eq!(texts, shown, "{line}");
            for (allow, text) in read.iter().zip(&texts) {
                assert_eq!(text.parse(), Ok(*allow));
            }
        }
        for wrong in [
            "",
            "tcp",
            "tcp/0",
            "tcp/70000",
            "icmp/8",
            "ftp/21",
            "dns",
            "dns x",
            "224.0.0.1",
            "serve",
            "serve arp",
            "tcp/104 10.0.0.1 x",
            "dhcp 10.0.0.1",
            "tcp/80 10.0.0.0/8",
            "proto-256",
        ] {
            assert!(Allow::line(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_as_the_program_makes_them() {
        let peer = "10.0.0.1".parse().expect("an address");
        let key = Allow::Serve(Service { proto: TCP, port: 104, peer: Some(peer) }).key(7);
        let peer = datapath::address(peer);
        let want =
            AllowKey { peer, list: 7, port: 104_u16.to_be(), proto: 6, role: ROLE_SERVER, pad: [0; 2] };
        assert_eq!(key, want);
        assert_eq!(
            Allow::Neighbour.key(7),
            AllowKey { list: 7, role: ROLE_NEIGHBOUR, ..AllowKey::default() }
        );
    }
}
