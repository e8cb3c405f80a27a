//! A device: its addresses, what it was seen to be, and how people know it.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::cards::{Card, DeviceId};
use crate::addr::{Mac, mark};
use crate::event::DeviceRef;
use crate::flow::{ICMP6, UDP};
use crate::observation::{FlowSeen, Kind};
use crate::policy::class::{self, Members};
use crate::policy::{Name, Target};
use crate::settings::Settings;
use crate::time::{HOUR, MINUTE, Time};

/// Most IP addresses kept for a device.
pub const MAX_IPS: usize = 64;
/// Addresses used within this time make a gateway.
const GATEWAY_WINDOW: u64 = HOUR;

/// Names a device.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub enum DeviceKey {
    /// It is on our segment.
    Local(Mac),
    /// It lives behind a gateway.
    Routed(IpAddr),
}

impl DeviceKey {
    /// The mark by which tables are searched for it.
    pub(crate) fn mark(&self) -> u32 {
        match self {
            Self::Local(Mac([_, _, c, d, e, f])) => u32::from_be_bytes([*c, *d, *e, *f]),
            Self::Routed(ip) => mark(*ip),
        }
    }
}

/// Much is looked up by it: it is hashed as the one number it fits into.
impl Hash for DeviceKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Local(Mac([a, b, c, d, e, f])) => {
                state.write_u64(u64::from_be_bytes([1, 0, *a, *b, *c, *d, *e, *f]))
            }
            Self::Routed(IpAddr::V4(ip)) => state.write_u64(u64::from(u32::from(*ip))),
            Self::Routed(IpAddr::V6(ip)) => state.write_u128(u128::from(*ip)),
        }
    }
}

/// An address of a device.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) last_seen: Time,
}

/// What people say of a device, as far as it takes to name and to judge it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Said {
    /// What it is called.
    pub name: Option<String>,
    /// Its class.
    pub class: Option<Name>,
    /// How much depends on it.
    pub criticality: Option<class::Criticality>,
    /// Whether it may be here.
    pub approved: bool,
}

/// A device.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Device {
    /// Its name.
    pub key: DeviceKey,
    /// Its number: several that are one by word of a person have the same.
    pub id: DeviceId,
    /// Its MAC address, or its gateway's.
    pub mac: Mac,
    /// Its IP addresses, lowest first: those it sent from.
    pub(super) addresses: Vec<Address>,
    /// Addresses that had to make room for newer ones.
    pub more_ips: u64,
    /// Addresses it named as its own by ARP or IPv6 neighbour discovery, which no one behind a router can.
    pub(super) claimed: Vec<IpAddr>,
    /// First seen.
    pub first_seen: Time,
    /// Last seen.
    pub last_seen: Time,
    /// When it was saved last; none: it is not kept.
    pub(super) saved: Option<Time>,
    /// What is kept of it changed since.
    pub(super) changed: bool,
    /// Index of the bridge port it was last seen on.
    pub port: u8,
    /// VLAN it was last seen on.
    pub vlan: u16,
    /// Whether its MAC address carries many.
    pub gateway: bool,
    /// Whether it forwards packets of others.
    pub forwards: bool,
    /// It had an answer to a TCP or UDP contact of its own.
    pub answered: bool,
    /// It gives out addresses (DHCP), and may ask for those before.
    pub(super) serves_dhcp: bool,
    /// What is held against it from before then is forgotten.
    pub clean_since: Time,
    /// Behind a gateway: its packets were seen to be forwarded (their time to live was counted down).
    pub(super) forwarded: bool,
    /// What people say of it.
    #[borsh(skip)]
    pub said: Said,
    /// Its class, by what people say, its addresses and the settings.
    #[borsh(skip)]
    pub class: Option<Name>,
}

impl Device {
    /// One of which no address is known yet, first seen at that port and in that VLAN, without a number.
    pub(super) fn blank(key: DeviceKey, mac: Mac, (port, vlan): (u8, u16), now: Time) -> Self {
        Self {
            key,
            id: 0,
            mac,
            addresses: Vec::new(),
            more_ips: 0,
            claimed: Vec::new(),
            first_seen: now,
            last_seen: now,
            saved: None,
            changed: true,
            port,
            vlan,
            gateway: false,
            forwards: false,
            answered: false,
            serves_dhcp: false,
            clean_since: Time::EARLIEST,
            forwarded: false,
            said: Said::default(),
            class: None,
        }
    }

    /// Whether it was heard for a minute.
    pub(super) fn lasts(&self) -> bool {
        self.last_seen.since(self.first_seen) >= MINUTE
    }

    /// Its IP addresses, lowest first.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().map(|address| address.ip)
    }

    /// Whether it is surely no router and no DHCP server: one IPv4 address, answers to contacts of its own, nothing
    /// forwarded or given out.
    pub fn is_end_host(&self) -> bool {
        let ip4 = self.ips().filter(|ip| ip.is_ipv4()).count();
        self.answered && ip4 == 1 && !self.forwards && !self.gateway && !self.serves_dhcp
    }

    /// Whether it names `ip` as its own on the link, as against one it forwards for.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.claimed.contains(&ip) || matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
    }

    /// Notes that it names an address as its own: it asks for others by ARP, or by an IPv6 neighbour solicitation whose hop
    /// limit of 255 shows that no router passed it on (RFC 4861 7.1.1). Answers do not count: proxies give them for others
    /// (RFC 1027).
    pub(super) fn note_claim(&mut self, ip: IpAddr, seen: &FlowSeen) -> bool {
        const SOLICITATION: u16 = 135;
        let arp = seen.id.kind == Kind::Arp && seen.arp_sha == seen.smac && seen.id.sport == 1;
        let ndp = seen.id.kind == Kind::Ip && seen.id.proto == ICMP6 && seen.id.sport >> 8 == SOLICITATION;
        let claims = arp || (ndp && seen.ttl == 255);
        // A spoofer may claim any number; more than the first few say nothing more.
        if claims && !self.claimed.contains(&ip) && self.claimed.len() < MAX_IPS {
            self.claimed.push(ip);
            self.changed = true;
        }
        claims
    }

    /// Adds an address; true if it is new. When there are too many the one not seen for longest goes.
    pub(super) fn add_ip(&mut self, ip: IpAddr, now: Time, members: &Members) -> bool {
        let at = match self.addresses.binary_search_by_key(&ip, |address| address.ip) {
            Ok(at) => {
                if let Some(address) = self.addresses.get_mut(at) {
                    address.last_seen = now;
                }
                return false;
            }
            Err(at) => at,
        };
        self.addresses.insert(at, Address { ip, last_seen: now });
        self.changed = true;
        if self.addresses.len() > MAX_IPS {
            self.more_ips += 1;
            let oldest = self.addresses.iter().enumerate().min_by_key(|(_, a)| a.last_seen).map(|(at, _)| at);
            oldest.map(|at| self.addresses.remove(at));
        }
        self.class = members.class(self);
        true
    }

    pub(super) fn judge_role(&mut self, seen: &FlowSeen, settings: &Settings) {
        if seen.id.kind == Kind::Arp {
            return;
        }
        let recent = |address: &&Address| {
            seen.time.since(address.last_seen) < GATEWAY_WINDOW
                && matches!(address.ip, IpAddr::V4(ip) if !ip.is_link_local())
        };
        let before = (self.gateway, self.forwards, self.serves_dhcp);
        self.gateway |= self.addresses.iter().filter(recent).count() >= settings.gateway_ips;
        // Whoever calls another address its own than the one it sends from, with a time to live counted down, forwards.
        let foreign = !self.claimed.is_empty() && !self.claimed.contains(&seen.id.src);
        self.forwards |= foreign && is_counted_down(seen.ttl);
        self.serves_dhcp |= seen.id.proto == UDP && seen.id.sport == 67;
        self.changed |= before != (self.gateway, self.forwards, self.serves_dhcp);
    }
}

/// Whether a time to live was counted down by routers: systems start at 64, 128 or 255, and up to eight hops are taken
/// off.
pub(super) fn is_counted_down(ttl: u8) -> bool {
    matches!(ttl, 56..=63 | 120..=127 | 247..=254)
}

/// What a card says, as far as it takes to name and to judge its device.
pub(super) fn said(card: Option<&Card>) -> Said {
    card.map_or_else(Said::default, |card| Said {
        name: card.name.clone(),
        class: card.class,
        criticality: card.criticality,
        approved: card.approved,
    })
}

/// The name, maker and addresses of a device.
pub fn describe(device: &Device, settings: &Settings) -> DeviceRef {
    let local = matches!(device.key, DeviceKey::Local(_));
    let by_mac = settings.names.get(&Target::Mac(device.mac)).filter(|_| local);
    let by_ip = || device.ips().find_map(|ip| settings.names.get(&Target::Ip(ip)));
    DeviceRef {
        id: device.id,
        mac: device.mac,
        ips: device.ips().collect(),
        maker: settings.makers.of(device.mac).filter(|_| local).map(str::to_owned),
        name: device.said.name.as_ref().or(by_mac).or_else(by_ip).cloned(),
        class: device.class,
    }
}

/// The same of one that was never heard, by what is said of it.
pub fn unheard(card: &Card, settings: &Settings) -> DeviceRef {
    let mac = card.keys.iter().find_map(|key| match key {
        DeviceKey::Local(mac) => Some(*mac),
        DeviceKey::Routed(_) => None,
    });
    let ips = card.keys.iter().filter_map(|key| match key {
        DeviceKey::Local(_) => None,
        DeviceKey::Routed(ip) => Some(*ip),
    });
    let named = mac.and_then(|mac| settings.names.get(&Target::Mac(mac)));
    DeviceRef {
        id: card.id,
        mac: mac.unwrap_or_default(),
        ips: ips.collect(),
        maker: mac.and_then(|mac| settings.makers.of(mac)).map(str::to_owned),
        name: card.name.as_ref().or(named).cloned(),
        class: card.class,
    }
}

/// Whether a device, or any address of it, is on the protected list.
pub fn is_protected(device: &Device, settings: &Settings) -> bool {
    let local = matches!(device.key, DeviceKey::Local(_));
    (local && settings.protected.contains(&Target::Mac(device.mac)))
        || device.ips().any(|ip| is_protected_ip(ip, settings))
}

/// Whether an address is on the protected list.
pub fn is_protected_ip(ip: IpAddr, settings: &Settings) -> bool {
    settings.protected.contains(&Target::Ip(ip)) || settings.protected_nets.iter().any(|net| net.contains(ip))
}
