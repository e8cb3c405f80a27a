//! The device table: who lives on the network, by MAC address, with all IP addresses.
//!
//! A device is a MAC address and every IP address it sends from. A *gateway* is a MAC address that carries many: then
//! each address behind it is a device of its own, and the gateway itself is never cut off. A gateway is one that is
//! named, or that sent IP packets from [`Settings::gateway_ips`] IPv4 addresses within an hour. A device that merely
//! forwards (it sends packets whose time to live was counted down, from an address it does not ask ARP for) is marked as
//! well, because
//! a router asks by ARP for every dark address outsiders try.
//!
//! Each device has a number, which it keeps ([`kept`]), and a card of what people say of it ([`cards`]): that also joins
//! what is one device with several MAC addresses.

pub mod cards;
mod device;
pub mod kept;
mod sighting;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::num::NonZeroUsize;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::addr::Mac;
use crate::event::DeviceSeen;
use crate::lru::Lru;
use crate::observation::FlowId;
use crate::policy::class::{self, Members};
use crate::policy::memory::Known;
use crate::policy::{Name, Target};
use crate::settings::Settings;
use crate::state::state;
use crate::time::Time;
use cards::{Card, Cards, DeviceId};
use device::said;
pub use device::{Device, DeviceKey, MAX_IPS, Said, describe, is_protected, is_protected_ip, unheard};
pub use sighting::Sighting;

/// IP addresses whose owner is remembered, as a multiple of the number of devices.
const OWNERS_PER_DEVICE: usize = 4;
/// Most devices that people had forgotten and that are remembered as such.
const MAX_FORGIVEN: usize = 1_024;
/// Index of the port of a device that was not heard since the start. No port has it.
pub const NO_PORT: u8 = u8::MAX;

/// Who sends from an IP address.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Owner {
    mac: Mac,
    /// Another MAC address sent from it too.
    shared: bool,
    /// Somebody was seen to send to it by that MAC address: it is not just made up by the sender.
    confirmed: bool,
}

/// The device table.
#[derive(Debug)]
pub struct Inventory {
    devices: Lru<DeviceKey, Device>,
    owners: Lru<IpAddr, Owner>,
    members: Members,
    cards: Cards,
    /// The last number given, and up to which they are remembered as given.
    last_id: DeviceId,
    reserved: DeviceId,
    /// Who was forgotten, and is still kept.
    forgotten: Vec<DeviceKey>,
    /// Who was forgotten by word of a person, and when: the detectors remember them.
    forgiven: VecDeque<(DeviceKey, Time)>,
    /// Who was kept with the name of a port that is not known yet.
    unplaced: Vec<(DeviceKey, Name)>,
    /// Devices forgotten because the table was full.
    pub evicted: u64,
}

state!(Inventory { devices, owners, cards, last_id, reserved, forgotten, forgiven, unplaced, evicted } keeps { members }
    then classify);

/// `n`, at least 1.
pub(crate) fn capacity(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN)
}

impl Inventory {
    /// An empty table, bounded by the settings.
    pub fn new(settings: &Settings) -> Self {
        let devices = settings.limits.devices;
        Self {
            devices: Lru::new(capacity(devices)),
            owners: Lru::new(capacity(devices.saturating_mul(OWNERS_PER_DEVICE))),
            members: Members::new(settings),
            cards: Cards::default(),
            last_id: 0,
            reserved: 0,
            forgotten: Vec::new(),
            forgiven: VecDeque::new(),
            unplaced: Vec::new(),
            evicted: 0,
        }
    }

    /// The device that speaks from an address by that MAC address.
    pub fn speaker(&self, mac: Mac, ip: IpAddr) -> Option<&Device> {
        let local = self.devices.peek(&DeviceKey::Local(mac))?;
        let behind = local.gateway && !local.is_own(ip);
        if behind { self.devices.peek(&DeviceKey::Routed(ip)) } else { Some(local) }
    }

    /// The device of that name.
    pub fn get(&self, key: DeviceKey) -> Option<&Device> {
        self.devices.peek(&key)
    }

    /// All devices, in order of name.
    pub fn sorted(&self) -> Vec<&Device> {
        let mut devices: Vec<_> = self.devices.iter().map(|(_, device)| device).collect();
        devices.sort_by_key(|device| device.key);
        devices
    }

    /// How many devices are known.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether no device is known.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Whether somebody was seen to send from `ip`.
    pub fn alive(&self, ip: IpAddr) -> bool {
        self.owners.contains(&ip)
    }

    /// The device that has `ip`, if one alone does.
    pub fn holder(&self, ip: IpAddr) -> Option<&Device> {
        if let Some(routed) = self.devices.peek(&DeviceKey::Routed(ip)) {
            return Some(routed);
        }
        let owner = self.owners.peek(&ip).filter(|owner| !owner.shared)?;
        self.devices.peek(&DeviceKey::Local(owner.mac)).filter(|device| device.ips().any(|own| own == ip))
    }

    /// The device a block target names.
    pub fn find(&self, target: Target) -> Option<&Device> {
        match target {
            Target::Mac(mac) => self.devices.peek(&DeviceKey::Local(mac)),
            Target::Ip(ip) => self.holder(ip),
            Target::Net(_) | Target::Vlan(_) | Target::Port(_) | Target::Segment(_) => None,
        }
    }

    /// All devices, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().map(|(_, device)| device)
    }

    /// The MAC address that was first seen to send from an address.
    pub fn sender(&self, ip: IpAddr) -> Option<Mac> {
        self.owners.peek(&ip).map(|owner| owner.mac)
    }

    /// Takes over whom people had forgotten in an earlier run.
    pub fn forgive_as(&mut self, before: &Self) {
        self.forgiven.clone_from(&before.forgiven);
    }

    /// Notes that somebody else speaks from an address too.
    pub fn share(&mut self, ip: IpAddr) {
        if let Some(owner) = self.owners.peek_mut(&ip) {
            owner.shared = true;
        }
    }

    /// The addresses a device names as its own on the link, and that are its own alone.
    pub fn own_ips(&self, device: &Device) -> impl Iterator<Item = IpAddr> {
        device.ips().filter(|ip| device.is_own(*ip) && self.owns(device, *ip))
    }

    /// Whether an address is a device's own alone.
    fn owns(&self, device: &Device, ip: IpAddr) -> bool {
        self.owners.peek(&ip).is_some_and(|owner| owner.mac == device.mac && !owner.shared)
    }

    /// What to cut to isolate a device that is guilty by what it sent from `guilty`, so that nobody else is hit.
    ///
    /// Its MAC address is cut only if it names the guilty address as its own on the link: no one behind a router can bring
    /// that about, so that nobody can talk us into cutting the router. Then all addresses it so names and that are its own
    /// alone are cut too. Otherwise it is the guilty address, if it is the device's own alone and was not made up (others
    /// send to it there); behind a gateway also only if its packets were seen to be forwarded, for it could be the
    /// gateway's own.
    pub fn cut(&self, device: &Device, guilty: IpAddr) -> Vec<Target> {
        let confirmed = self.owners.peek(&guilty).is_some_and(|owner| owner.confirmed);
        match device.key {
            DeviceKey::Local(mac) if device.is_own(guilty) => {
                std::iter::once(Target::Mac(mac)).chain(self.own_ips(device).map(Target::Ip)).collect()
            }
            DeviceKey::Routed(_) if !device.forwarded => Vec::new(),
            _ if confirmed && self.owns(device, guilty) => vec![Target::Ip(guilty)],
            _ => Vec::new(),
        }
    }

    /// The gateway whose own address `ip` is, if it is one's.
    pub fn gateway_with(&self, ip: IpAddr) -> Option<&Device> {
        let owner = self.owners.peek(&ip)?;
        self.devices.peek(&DeviceKey::Local(owner.mac)).filter(|device| device.gateway && device.is_own(ip))
    }

    /// What people say of devices.
    pub fn cards(&self) -> &Cards {
        &self.cards
    }

    /// Whether a person said that two are not one device.
    pub fn are_distinct(&self, one: DeviceKey, other: DeviceKey) -> bool {
        let says = |one, other| self.cards.of(one).is_some_and(|card| card.distinct.contains(&other));
        says(one, other) || says(other, one)
    }

    /// Puts a card in the place of the one of its number: its devices are what it says from then on.
    pub fn put_card(&mut self, card: Card) {
        let keys = card.keys.clone();
        self.last_id = self.last_id.max(card.id);
        self.cards.put(card);
        keys.into_iter().for_each(|key| self.apply_card(key));
    }

    /// Takes a card away; its devices have a number of their own from then on, the first of them the one they had.
    pub fn remove_card(&mut self, id: DeviceId) -> Option<Card> {
        let card = self.cards.remove(id)?;
        for (at, key) in card.keys.iter().enumerate() {
            let id = if at == 0 { id } else { self.next_id() };
            if let Some(device) = self.devices.peek_mut(key) {
                (device.id, device.changed) = (id, true);
            }
            self.apply_card(*key);
        }
        Some(card)
    }

    /// Puts a card that may say nothing: then there is none, and only the number of its device is its.
    pub fn settle_card(&mut self, card: Card) {
        for key in &card.keys {
            if let Some(device) = self.devices.peek_mut(key) {
                (device.id, device.changed) = (card.id, true);
            }
        }
        if card.is_blank() {
            card.keys.iter().for_each(|key| self.apply_card(*key));
        } else {
            self.put_card(card);
        }
    }

    /// Whether a life depends on the device of a card, heard or not: by the card, or by the class of an address.
    pub fn is_vital(&self, card: &Card, settings: &Settings) -> bool {
        card.keys.iter().any(|key| {
            let mac = if let DeviceKey::Local(mac) = key { *mac } else { Mac::default() };
            let blank = || Device::blank(*key, mac, (NO_PORT, 0), Time::at(0));
            let mut device = self.devices.peek(key).cloned().unwrap_or_else(blank);
            device.said = said(Some(card));
            device.class = self.members.class(&device);
            class::is_life_critical(&device, settings)
        })
    }

    /// A card for a device that has none; it is not entered yet.
    pub fn new_card(&mut self, key: DeviceKey) -> Card {
        let id = self.devices.peek(&key).map(|device| device.id);
        Card { id: id.unwrap_or_else(|| self.next_id()), keys: vec![key], ..Card::default() }
    }

    /// Forgets a device. If it is heard again it is a new one, and what is held against it from before `now` is forgotten.
    pub fn forget(&mut self, key: DeviceKey, now: Time) {
        self.forgiven.retain(|(one, _)| *one != key);
        if self.forgiven.len() >= MAX_FORGIVEN {
            self.forgiven.pop_front();
        }
        self.forgiven.push_back((key, now));
        if self.devices.pop(&key).is_some_and(|device| device.saved.is_some()) {
            self.forgotten.push(key);
        }
    }

    fn apply_card(&mut self, key: DeviceKey) {
        let Self { devices, cards, members, .. } = self;
        let Some(device) = devices.peek_mut(&key) else { return };
        let card = cards.of(key);
        if let Some(card) = card {
            device.changed |= device.id != card.id;
            device.id = card.id;
        }
        device.said = said(card);
        device.class = members.class(device);
    }

    /// What else belongs to a device by word of a person: its other MAC addresses, heard or not, and the addresses that are
    /// theirs alone. Gateways are left out: they carry others.
    pub fn others(&self, device: &Device) -> Vec<Target> {
        let keys = self.cards.of(device.key).map(|card| &card.keys[..]).unwrap_or_default();
        keys.iter().filter(|key| **key != device.key).flat_map(|key| self.belongings(*key)).collect()
    }

    /// What is cut off of a device, heard or not, by one of its keys: see [`Inventory::others`].
    pub fn belongings(&self, key: DeviceKey) -> Vec<Target> {
        match (key, self.devices.peek(&key)) {
            (DeviceKey::Local(_), Some(device)) if device.gateway => Vec::new(),
            (DeviceKey::Local(mac), device) => {
                let ips = device.into_iter().flat_map(|device| self.own_ips(device)).map(Target::Ip);
                std::iter::once(Target::Mac(mac)).chain(ips).collect()
            }
            (DeviceKey::Routed(ip), Some(device)) if self.owns(device, ip) => vec![Target::Ip(ip)],
            (DeviceKey::Routed(_), _) => Vec::new(),
        }
    }

    /// Whether a device is here to stay, as against a made-up address: it was heard for a minute, or something is said of it.
    pub(crate) fn stays(&self, device: &Device) -> bool {
        device.lasts() || self.cards.of(device.key).is_some()
    }

    /// All addresses of a device that a block entry could be about.
    pub fn targets(device: &Device) -> impl Iterator<Item = Target> {
        let mac = matches!(device.key, DeviceKey::Local(_)).then_some(Target::Mac(device.mac));
        mac.into_iter().chain(device.ips().map(Target::Ip))
    }

    /// What there is to know of a device after a restart, as far as it takes to restrict it.
    pub fn known(&self, device: &Device) -> Known {
        let ips: Vec<IpAddr> = device.ips().filter(|ip| self.owns(device, *ip)).collect();
        let claimed = ips.iter().copied().filter(|ip| device.claimed.contains(ip)).collect();
        Known { id: device.id, mac: device.mac, ips, claimed }
    }

    /// Takes up a device that was known in an earlier run. What others say of its addresses since then counts as ever.
    pub fn recall(&mut self, key: DeviceKey, known: &Known, at: &FlowId, now: Time, settings: &Settings) {
        if self.devices.contains(&key) {
            return;
        }
        let mut device = self.admit(key, known.mac, (at.port, at.vlan), now, settings);
        if known.id != 0 && self.cards.of(key).is_none() {
            device.id = known.id;
        }
        device.claimed.clone_from(&known.claimed);
        // Only such a one can have been found out behind a gateway.
        device.forwarded = matches!(key, DeviceKey::Routed(_));
        for ip in &known.ips {
            device.add_ip(*ip, now, &self.members);
            if !self.owners.contains(ip) {
                self.owners.put(*ip, Owner { mac: known.mac, shared: false, confirmed: true });
            }
        }
        self.enter(key, device);
    }

    /// One that was not known, with a number.
    fn admit(&mut self, key: DeviceKey, mac: Mac, at: (u8, u16), now: Time, settings: &Settings) -> Device {
        let mut device = Device::blank(key, mac, at, now);
        device.gateway = matches!(key, DeviceKey::Local(mac) if settings.gateways.contains(&mac));
        let said = self.cards.of(key).map(|card| card.id);
        device.id = said.unwrap_or_else(|| self.next_id());
        let forgiven = self.forgiven.iter().find(|(one, _)| *one == key);
        device.clean_since = forgiven.map_or(Time::EARLIEST, |(_, when)| *when);
        device
    }

    /// The next number.
    pub(crate) fn next_id(&mut self) -> DeviceId {
        self.last_id += 1;
        self.last_id
    }

    /// Enters a device, which may take the place of another one.
    fn enter(&mut self, key: DeviceKey, mut device: Device) {
        device.said = said(self.cards.of(key));
        device.class = self.members.class(&device);
        let Some((old, gone)) = self.devices.push(key, device) else { return };
        self.evicted += 1;
        if gone.saved.is_some() && old != key {
            self.forgotten.push(old);
        }
    }

    /// What there is to tell of a device.
    pub(crate) fn news(&self, key: DeviceKey, new: bool, settings: &Settings) -> Option<DeviceSeen> {
        let device = self.get(key)?;
        Some(DeviceSeen {
            device: describe(device, settings),
            new,
            port: device.port,
            vlan: device.vlan,
            gateway: device.gateway,
            label: None,
            relabelled: false,
        })
    }

    /// Notes that something new was seen of a device, by which it is identified.
    pub(crate) fn note_identity(&mut self, key: DeviceKey) {
        if let Some(device) = self.devices.peek_mut(&key) {
            device.changed = true;
        }
    }

    /// Forgets what is held against a device: it was released.
    pub fn absolve(&mut self, key: DeviceKey, now: Time) {
        if let Some(device) = self.devices.peek_mut(&key) {
            (device.clean_since, device.changed) = (now, true);
        }
    }

    /// Looks up what is said of each device and its class, for the settings may not be those by which they were saved.
    fn classify(&mut self) {
        let Self { members, cards, .. } = self;
        for device in self.devices.values_mut() {
            device.said = said(cards.of(device.key));
            device.class = members.class(device);
        }
    }
}
