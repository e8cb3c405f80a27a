//! What was seen of a device: everything bounded, and nothing of it a judgement.

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::bytes::add;
use super::client::ClientId;
use super::heard::Said;
use super::neighbour::Neighbour;
use super::syn::Syn;
use crate::addr::Mac;

/// Of each kind of words, most that are kept.
const MAX_WORDS: usize = 16;
/// Identifiers by which it asks for an address that are kept: its firmware's, its system's, that of an earlier system.
const MAX_CLIENTS: usize = 4;
/// Names of a host that are kept.
const MAX_NAMES: usize = 4;
/// Beginnings of TCP connections that are kept.
const MAX_SYNS: usize = 4;
/// Services served, and services used, that are kept.
const MAX_SERVICES: usize = 32;

/// A service: IP protocol number and port.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
    Serialize,
    Deserialize,
)]
pub struct Service {
    /// IP protocol number.
    pub proto: u8,
    /// Port.
    pub port: u16,
}

/// What a device asks for by DHCP.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Default,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
    Serialize,
    Deserialize,
)]
#[serde(default)]
pub struct Asks {
    /// Options, in its order.
    pub options: Vec<u8>,
    /// Vendor class.
    pub vendor: Option<String>,
}

/// What was seen of a device.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Default,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
    Serialize,
    Deserialize,
)]
#[serde(default)]
pub struct Facts {
    /// What it calls itself, in DHCP, multicast DNS, NetBIOS.
    pub names: Vec<String>,
    /// What it says of itself in words: products, systems.
    pub texts: Vec<String>,
    /// Types of services and devices it announces.
    pub offers: Vec<String>,
    /// Types of services it looks for.
    pub looks_for: Vec<String>,
    /// How it asks for an address.
    pub dhcp: Option<Asks>,
    /// Under which identifiers it asks.
    pub clients: Vec<ClientId>,
    /// It gives out addresses.
    pub gives_addresses: bool,
    /// Last bytes of the NetBIOS names that are its own, and of its groups.
    pub netbios: Vec<u8>,
    /// What it says to whom it is plugged into.
    pub neighbour: Option<Neighbour>,
    /// How it opens TCP connections.
    pub syns: Vec<Syn>,
    /// What it served: somebody asked, and it answered.
    pub serves: Vec<Service>,
    /// What others answered it.
    pub uses: Vec<Service>,
}

fn note<T: PartialEq>(list: &mut Vec<T>, one: T, most: usize) -> bool {
    if list.len() >= most || list.contains(&one) {
        return false;
    }
    list.push(one);
    true
}

impl Facts {
    /// Without what is more than is kept of anything.
    pub(super) fn bounded(mut self) -> Self {
        for words in [&mut self.texts, &mut self.offers, &mut self.looks_for] {
            words.truncate(MAX_WORDS);
        }
        self.names.truncate(MAX_NAMES);
        self.clients.truncate(MAX_CLIENTS);
        self.netbios.truncate(MAX_NAMES);
        self.syns.truncate(MAX_SYNS);
        self.serves.truncate(MAX_SERVICES);
        self.uses.truncate(MAX_SERVICES);
        self
    }

    /// Notes what a device of this MAC address said; whether that is new.
    pub fn hear(&mut self, mac: Mac, said: &Said) -> bool {
        match said {
            Said::Dhcp(said) if said.server => !std::mem::replace(&mut self.gives_addresses, true),
            // Passed on by a relay: said by somebody else.
            Said::Dhcp(said) if said.client != mac => false,
            Said::Dhcp(said) => {
                let new =
                    add(&mut self.names, said.host_name.clone(), MAX_NAMES) | self.asks_as(&said.client_id);
                // A release, for one, asks for nothing.
                if said.asks.is_empty() {
                    return new;
                }
                let asks = Asks { options: said.asks.clone(), vendor: said.vendor.clone() };
                self.asks(asks) | new
            }
            Said::Dhcp6(said) if said.server => !std::mem::replace(&mut self.gives_addresses, true),
            Said::Dhcp6(said) => {
                let text = add(&mut self.texts, said.vendor.clone(), MAX_WORDS);
                add(&mut self.names, said.host_name.clone(), MAX_NAMES) | text | self.asks_as(&said.duid)
            }
            Said::Mdns(said) => {
                let mut new = false;
                for (list, more, most) in [
                    (&mut self.names, &said.hosts, MAX_NAMES),
                    (&mut self.offers, &said.offers, MAX_WORDS),
                    (&mut self.looks_for, &said.looks_for, MAX_WORDS),
                    (&mut self.texts, &said.texts, MAX_WORDS),
                ] {
                    more.iter().for_each(|text| new |= add(list, text.clone(), most));
                }
                new
            }
            Said::Ssdp(said) => {
                let kinds = if said.asks { &mut self.looks_for } else { &mut self.offers };
                let kind = said.kind.clone().filter(|kind| kind.starts_with("urn:"));
                add(kinds, kind, MAX_WORDS) | add(&mut self.texts, said.server.clone(), MAX_WORDS)
            }
            Said::NetBios(said) => {
                // A group's name is not the device's, but being in the group of the controllers is.
                let name = !said.group && add(&mut self.names, said.name.clone(), MAX_NAMES);
                note(&mut self.netbios, said.suffix, MAX_NAMES) | name
            }
            Said::Neighbour(said) => {
                let new = self.neighbour.as_ref() != Some(said);
                self.neighbour = Some(said.clone());
                new
            }
            Said::Syn(said) => note(&mut self.syns, said.clone(), MAX_SYNS),
        }
    }

    /// Whoever starts from the network asks otherwise than its system does later: the list that is longer says more.
    fn asks(&mut self, asks: Asks) -> bool {
        let says_more = self.dhcp.as_ref().is_none_or(|known| {
            let size = |asks: &Asks| (asks.vendor.is_some(), asks.options.len());
            size(known) < size(&asks)
        });
        if says_more {
            self.dhcp = Some(asks);
        }
        says_more
    }

    fn asks_as(&mut self, id: &Option<ClientId>) -> bool {
        id.as_ref().is_some_and(|id| note(&mut self.clients, id.clone(), MAX_CLIENTS))
    }

    /// Notes a service it served; whether that is new.
    pub fn add_served(&mut self, service: Service) -> bool {
        note(&mut self.serves, service, MAX_SERVICES)
    }

    /// Notes a service it used; whether that is new.
    pub fn add_used(&mut self, service: Service) -> bool {
        note(&mut self.uses, service, MAX_SERVICES)
    }
}
