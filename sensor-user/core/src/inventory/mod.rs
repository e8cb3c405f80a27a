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
pub mod kept;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroUsize;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::addr::{Mac, is_host, mark};
use crate::event::{DeviceRef, DeviceSeen};
use crate::flow::{ICMP6, UDP};
use crate::identify::heard::Heard;
use crate::lru::Lru;
use crate::observation::{FlowId, FlowSeen, Kind, Verdict};
use crate::policy::class::{self, Members};
use crate::policy::memory::Known;
use crate::policy::{Name, Target};
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, MINUTE, Time};
use cards::{Card, Cards, DeviceId};

/// Most IP addresses kept for a device.
pub const MAX_IPS: usize = 64;
/// Addresses used within this time make a gateway.
const GATEWAY_WINDOW: u64 = HOUR;
/// IP addresses whose owner is remembered, as a multiple of the number of devices.
const OWNERS_PER_DEVICE: usize = 4;
/// Most devices that people had forgotten and that are remembered as such.
const MAX_FORGIVEN: usize = 1_024;
/// Index of the port of a device that was not heard since the start. No port has it.
pub const NO_PORT: u8 = u8::MAX;

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
struct Address {
    ip: IpAddr,
    last_seen: Time,
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
    addresses: Vec<Address>,
    /// Addresses that had to make room for newer ones.
    pub more_ips: u64,
    /// Addresses it named as its own by ARP or IPv6 neighbour discovery, which no one behind a router can.
    claimed: Vec<IpAddr>,
    /// First seen.
    pub first_seen: Time,
    /// Last seen.
    pub last_seen: Time,
    /// When it was saved last; none: it is not kept.
    saved: Option<Time>,
    /// What is kept of it changed since.
    changed: bool,
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
    serves_dhcp: bool,
    /// What is held against it from before then is forgotten.
    pub clean_since: Time,
    /// Behind a gateway: its packets were seen to be forwarded (their time to live was counted down).
    forwarded: bool,
    /// What people say of it.
    #[borsh(skip)]
    pub said: Said,
    /// Its class, by what people say, its addresses and the settings.
    #[borsh(skip)]
    pub class: Option<Name>,
}

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

/// What a sighting told.
#[derive(Debug, Default)]
pub struct Sighting {
    /// The device that sent the frame.
    pub device: Option<DeviceKey>,
    /// A device or an address that is new.
    pub news: Option<DeviceSeen>,
    /// The device's MAC address was found to be a gateway just now.
    pub became_gateway: bool,
}

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

    /// Notes who sent a frame. Of a dropped frame only that it was sent: whoever is cut off could name any address.
    pub fn see(&mut self, seen: &FlowSeen, settings: &Settings) -> Sighting {
        let mut sighting = Sighting::default();
        if seen.smac.is_nobody() {
            return sighting;
        }
        let local = DeviceKey::Local(seen.smac);
        let new = self.touch(local, seen, settings);
        sighting.device = Some(local);
        // RARP and ARP probes name no address of the sender.
        let ip = Some(seen.id.src).filter(|ip| is_host(*ip) && seen.verdict != Verdict::Drop);
        let Some(ip) = ip else {
            sighting.news = new.then(|| self.news(local, true, settings)).flatten();
            return sighting;
        };
        let claims = self.devices.peek_mut(&local).is_some_and(|device| device.note_claim(ip, seen));
        self.note_owner(ip, seen.smac, claims);
        self.confirm(seen);
        let Some(device) = self.devices.peek_mut(&local) else { return sighting };
        if device.gateway && !device.is_own(ip) {
            let key = DeviceKey::Routed(ip);
            sighting.device = Some(key);
            sighting.news = self.see_behind(key, ip, seen, settings);
            return sighting;
        }
        let was_gateway = device.gateway;
        let new_ip = device.add_ip(ip, seen.time, &self.members);
        device.judge_role(seen, settings);
        sighting.became_gateway = device.gateway && !was_gateway;
        if new || new_ip || sighting.became_gateway {
            sighting.news = self.news(local, new, settings);
        }
        sighting
    }

    /// Notes that a device on this link was heard that may have sent no flow yet; true if it is new.
    pub fn hear(&mut self, heard: &Heard, settings: &Settings) -> bool {
        let key = DeviceKey::Local(heard.mac);
        if let Some(device) = self.devices.get_mut(&key) {
            device.last_seen = device.last_seen.max(heard.time);
            return false;
        }
        let device = self.admit(key, heard.mac, (heard.port, heard.vlan), heard.time, settings);
        self.enter(key, device);
        true
    }

    /// Notes an address behind a gateway.
    fn see_behind(
        &mut self,
        key: DeviceKey,
        ip: IpAddr,
        seen: &FlowSeen,
        settings: &Settings,
    ) -> Option<DeviceSeen> {
        let new = self.touch(key, seen, settings);
        if let Some(device) = self.devices.peek_mut(&key) {
            device.forwarded |= is_counted_down(seen.ttl);
            device.add_ip(ip, seen.time, &self.members);
        }
        if new { self.news(key, true, settings) } else { None }
    }

    fn note_owner(&mut self, ip: IpAddr, mac: Mac, claims: bool) {
        let gateway = |devices: &Lru<DeviceKey, Device>, mac| {
            devices.peek(&DeviceKey::Local(mac)).is_some_and(|d| d.gateway)
        };
        match self.owners.get_mut(&ip) {
            Some(owner) if owner.mac == mac => {}
            // Seen on both sides of its router: whoever names it as its own on the link is the owner.
            Some(owner) if claims && gateway(&self.devices, owner.mac) => {
                *owner = Owner { mac, shared: false, confirmed: false };
            }
            Some(_) if gateway(&self.devices, mac) => {}
            Some(owner) => {
                owner.shared = true;
                if let Some(device) = self.devices.peek_mut(&DeviceKey::Local(owner.mac)) {
                    device.changed = true;
                }
            }
            None => {
                self.owners.put(ip, Owner { mac, shared: false, confirmed: false });
            }
        }
    }

    /// Notes that somebody sends to an address by the MAC address of its owner.
    fn confirm(&mut self, seen: &FlowSeen) {
        if let Some(owner) = self.owners.peek_mut(&seen.id.dst)
            && owner.mac == seen.dmac
        {
            owner.confirmed = true;
        }
    }

    /// Enters or refreshes a device; true if it is new.
    fn touch(&mut self, key: DeviceKey, seen: &FlowSeen, settings: &Settings) -> bool {
        if let Some(device) = self.devices.get_mut(&key) {
            device.last_seen = device.last_seen.max(seen.time);
            let place = (seen.id.port, seen.id.vlan, seen.smac);
            device.changed |= (device.port, device.vlan, device.mac) != place;
            (device.port, device.vlan, device.mac) = place;
            return false;
        }
        let device = self.admit(key, seen.smac, (seen.id.port, seen.id.vlan), seen.time, settings);
        self.enter(key, device);
        true
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

    /// Notes that somebody answered by TCP or UDP what was asked from this address, which is reached by this MAC address.
    pub fn note_answer(&mut self, mac: Mac, ip: IpAddr) {
        let local = DeviceKey::Local(mac);
        let routed = self.devices.peek(&local).is_some_and(|device| device.gateway && !device.is_own(ip));
        let key = if routed { DeviceKey::Routed(ip) } else { local };
        if let Some(device) = self.devices.peek_mut(&key)
            && !device.answered
            && device.ips().any(|own| own == ip)
        {
            (device.answered, device.changed) = (true, true);
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

    /// Notes that a device was heard.
    pub fn refresh(&mut self, ip: IpAddr, time: Time) {
        let Some(owner) = self.owners.peek(&ip).copied() else { return };
        for key in [DeviceKey::Routed(ip), DeviceKey::Local(owner.mac)] {
            if let Some(device) = self.devices.peek_mut(&key) {
                device.last_seen = device.last_seen.max(time);
            }
        }
    }
}

impl Device {
    /// One of which no address is known yet, first seen at that port and in that VLAN, without a number.
    fn blank(key: DeviceKey, mac: Mac, (port, vlan): (u8, u16), now: Time) -> Self {
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
    fn lasts(&self) -> bool {
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
    fn note_claim(&mut self, ip: IpAddr, seen: &FlowSeen) -> bool {
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
    fn add_ip(&mut self, ip: IpAddr, now: Time, members: &Members) -> bool {
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

    fn judge_role(&mut self, seen: &FlowSeen, settings: &Settings) {
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
fn is_counted_down(ttl: u8) -> bool {
    matches!(ttl, 56..=63 | 120..=127 | 247..=254)
}

/// What a card says, as far as it takes to name and to judge its device.
fn said(card: Option<&Card>) -> Said {
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
