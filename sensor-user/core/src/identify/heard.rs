//! A frame that was told whole, read: who says what.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSerialize};
use sensor_ebpf::account::ip6_bytes;
use sensor_ebpf::counter::Reason;
use sensor_ebpf::heard::{
    HEARD_DHCP, HEARD_DHCP6, HEARD_MDNS, HEARD_NEIGHBOUR, HEARD_NETBIOS, HEARD_SSDP, HEARD_SYN, HeardHead,
};
use sensor_ebpf::parse::{self, Cursor, ETHER_ARP, ETHER_IPV4, Link, Slice, mac_bytes};
use sensor_ebpf::{ABI, heard};

use super::dhcp::{self, Dhcp, Dhcp6};
use super::mdns::{self, Mdns};
use super::neighbour::{self, Neighbour};
use super::netbios::{self, NetBios};
use super::ssdp::{self, Ssdp};
use super::syn::{self, Syn};
use crate::addr::Mac;
use crate::time::Time;

/// What was said.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Said {
    /// DHCP.
    Dhcp(Dhcp),
    /// DHCPv6.
    Dhcp6(Dhcp6),
    /// Multicast DNS.
    Mdns(Mdns),
    /// SSDP.
    Ssdp(Ssdp),
    /// NetBIOS.
    NetBios(NetBios),
    /// LLDP or CDP.
    Neighbour(Neighbour),
    /// The beginning of a TCP connection.
    Syn(Syn),
}

/// A frame of address configuration or discovery, or one that opens a TCP connection.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Heard {
    /// When.
    pub time: Time,
    /// Index of the bridge port.
    pub port: u8,
    /// Outer VLAN identifier, 0 if untagged.
    pub vlan: u16,
    /// Source MAC address.
    pub mac: Mac,
    /// Source address, if it is an IP packet.
    pub ip: Option<IpAddr>,
    /// What.
    pub said: Said,
}

impl Heard {
    /// Reads a frame as it was told; `bytes` begin with its Ethernet header. None if it is of another ABI, or says nothing that is
    /// understood.
    pub fn decode(head: &HeardHead, bytes: &[u8]) -> Option<Self> {
        if head.abi != ABI as u8 {
            return None;
        }
        let bytes = bytes.get(..head.have as usize).unwrap_or(bytes);
        let (link, at, reason) = parse::link(Slice(bytes));
        let (ip, said) = match reason {
            Reason::None => packet(head.kind, &link, at)?,
            _ if head.kind == HEARD_NEIGHBOUR => {
                (None, Said::Neighbour(neighbour::neighbour(link.ether_type, at.0)?))
            }
            _ => return None,
        };
        let mac = Mac(mac_bytes(link.src));
        let heard = Self { time: Time::at(head.time_ns), port: head.port, vlan: link.vlan, mac, ip, said };
        (!mac.is_nobody()).then_some(heard)
    }
}

/// What an IP packet says.
fn packet(kind: u8, link: &Link, at: Slice<'_>) -> Option<(Option<IpAddr>, Said)> {
    let beyond = usize::from(u16::MAX);
    let (ip, upper, header) = match link.ether_type {
        ETHER_ARP => return None,
        ETHER_IPV4 => {
            let net = parse::ipv4(at, beyond).ok()?;
            let header = usize::from(at.0.first()? & 0x0f) * 4;
            (IpAddr::from(net.src.to_ne_bytes()), net.upper, header)
        }
        _ => {
            let net = parse::ipv6(at, beyond).ok()?;
            // Behind extension headers these protocols are not spoken.
            let plain = at.0.get(6) == Some(&net.upper.proto);
            (IpAddr::from(ip6_bytes(net.src)), net.upper, plain.then_some(40)?)
        }
    };
    if heard::kind_of_first(&upper) != kind {
        return None;
    }
    let transport = at.skip(header).0;
    let payload = transport.get(8..).unwrap_or_default();
    let said = match kind {
        HEARD_SYN => Said::Syn(syn::syn(upper.ttl, transport)?),
        HEARD_DHCP => Said::Dhcp(dhcp::dhcp(payload)?),
        HEARD_DHCP6 => Said::Dhcp6(dhcp::dhcp6(payload)?),
        HEARD_MDNS => Said::Mdns(mdns::mdns(payload)?),
        HEARD_SSDP => Said::Ssdp(ssdp::ssdp(payload)?),
        HEARD_NETBIOS => {
            let datagram = u16::from_be(upper.dport) == 138;
            let read = if datagram { netbios::datagram } else { netbios::name_service };
            Said::NetBios(read(payload)?)
        }
        _ => return None,
    };
    Some((Some(ip), said))
}
