//! What is kept of devices over a restart, and when.
//!
//! A device is kept once it was heard for a minute, or something is said of it: a flood of made-up addresses is over before,
//! and does not fill the disk. What changes of a device it is to be known by is saved within a minute; that it was heard,
//! each hour and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::cards::{Card, DeviceId};
use super::device::Address;
use super::{Device, DeviceKey, Inventory, NO_PORT, Owner};
use crate::addr::Mac;
use crate::identify::Identities;
use crate::identify::kept::KeptIdentity;
use crate::lru::Lru;
use crate::policy::{Name, Save};
use crate::settings::Settings;
use crate::time::{HOUR, MINUTE, Time};

/// The devices are looked through for what is to be saved this often, ns.
pub(crate) const ROUND: u64 = MINUTE;
/// That it was heard is saved this often, ns.
const HEARD: u64 = HOUR;
/// Devices saved at once, but at the end: the rest comes with the next round.
const AT_ONCE: usize = 4_096;
/// Numbers remembered as given ahead of those that were: a flood of made-up addresses takes many.
const AHEAD: DeviceId = 65_536;

/// An address of a device, as it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptAddress {
    /// The address.
    pub ip: IpAddr,
    /// The device named it as its own on the link.
    pub claimed: bool,
    /// The device was the first that sent from it.
    pub owned: bool,
    /// It is the device's alone.
    pub alone: bool,
    /// Others were seen to send to it there.
    pub confirmed: bool,
}

/// What a device was found to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Roles {
    /// Its MAC address carries many.
    pub gateway: bool,
    /// It forwards packets of others.
    pub forwards: bool,
    /// It had an answer to a TCP or UDP contact of its own.
    pub answered: bool,
    /// It gives out addresses.
    pub serves_dhcp: bool,
    /// Behind a gateway: its packets were seen to be forwarded.
    pub forwarded: bool,
}

/// A device, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Its name in the table.
    pub key: DeviceKey,
    /// Its number.
    pub id: DeviceId,
    /// Its MAC address, or its gateway's.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<KeptAddress>,
    /// First seen.
    pub first_seen: Time,
    /// Last seen.
    pub last_seen: Time,
    /// What is held against it from before then is forgotten.
    pub clean_since: Time,
    /// The bridge port it was last seen on, if that has a name.
    pub port: Option<Name>,
    /// The VLAN it was last seen in.
    pub vlan: u16,
    /// What it was found to be.
    pub roles: Roles,
    /// What was seen of it, by which it is identified.
    pub identity: KeptIdentity,
}

impl Inventory {
    /// What is to be saved at `now`; at the `end` all of it.
    pub(crate) fn unsaved(
        &mut self,
        (now, end): (Time, bool),
        ports: &BTreeMap<u8, Name>,
        identities: &Identities,
        settings: &Settings,
    ) -> Vec<Save> {
        let mut saves: Vec<Save> = self.forgotten.drain(..).map(Save::ForgetDevice).collect();
        let most = if end { usize::MAX } else { AT_ONCE };
        let Self { devices, owners, cards, .. } = self;
        let due = devices.values_mut().filter(|device| {
            let released = device.clean_since > Time::EARLIEST;
            let known = released || device.saved.is_some() || cards.of(device.key).is_some();
            let heard = device.saved.is_none_or(|saved| {
                device.last_seen > saved && (end || device.last_seen.since(saved) >= HEARD)
            });
            (known || device.lasts()) && (device.changed || heard)
        });
        saves.extend(due.take(most).map(|device| save(device, now, ports, owners, identities, settings)));
        if self.last_id + AHEAD / 2 >= self.reserved {
            self.reserved = self.last_id + AHEAD;
            saves.push(last(self.reserved));
        }
        saves
    }

    /// The same of these devices alone, at once: their numbers changed, and their cards say so.
    pub(crate) fn save_now(
        &mut self,
        keys: &[DeviceKey],
        now: Time,
        ports: &BTreeMap<u8, Name>,
        identities: &Identities,
        settings: &Settings,
    ) -> Vec<Save> {
        let Self { devices, owners, forgotten, .. } = self;
        forgotten.retain(|key| !keys.contains(key) || !devices.contains(key));
        let mut saves = Vec::new();
        for key in keys {
            let device = devices.peek_mut(key);
            saves.extend(device.map(|device| save(device, now, ports, owners, identities, settings)));
        }
        saves
    }

    /// Sees to it that no two devices have one number that are not one by their card: a release that saved the card first and the
    /// number later could leave them so. Gives those that have a new one. The last number given must be known.
    pub(crate) fn renumber(&mut self) -> Vec<DeviceKey> {
        let since = |device: &Device| (device.first_seen, device.key);
        let mut known: Vec<_> = self.devices.iter().map(|(_, device)| since(device)).collect();
        // The one that was known first keeps it.
        known.sort();
        let mut taken: BTreeSet<DeviceId> = self.cards.iter().map(|card| card.id).collect();
        let mut renumbered = Vec::new();
        for (_, key) in known {
            let card = self.cards.of(key).map(|card| card.id);
            let Some(id) = self.devices.peek(&key).map(|device| device.id) else { continue };
            if card == Some(id) || (card.is_none() && id != 0 && taken.insert(id)) {
                continue;
            }
            let id = card.unwrap_or_else(|| self.next_id());
            if let Some(device) = self.devices.peek_mut(&key) {
                (device.id, device.changed) = (id, true);
            }
            renumbered.extend(card.is_none().then_some(key));
        }
        renumbered
    }

    /// Takes up what an earlier run kept; what there is no room for is forgotten.
    pub(crate) fn resume(
        &mut self,
        kept: Vec<Kept>,
        cards: Vec<Card>,
        identities: &mut Identities,
        settings: &Settings,
    ) {
        for card in cards {
            self.last_id = self.last_id.max(card.id);
            self.cards.put(card);
        }
        let mut kept = kept;
        // The table forgets whom it took in first.
        kept.sort_by_key(|device| (device.last_seen, device.id));
        for mut device in kept {
            identities.take_up(device.key, std::mem::take(&mut device.identity));
            self.last_id = self.last_id.max(device.id);
            self.take_up(device, settings);
        }
        // All of it is on the disk up to here.
        self.reserved = self.reserved.max(self.last_id);
    }

    /// Numbers up to this were given.
    pub fn skip_to(&mut self, number: DeviceId) {
        self.last_id = self.last_id.max(number);
    }

    fn take_up(&mut self, kept: Kept, settings: &Settings) {
        let Kept { key, mac, roles, .. } = kept;
        let mut device = Device::blank(key, mac, (NO_PORT, kept.vlan), kept.first_seen);
        device.id = kept.id;
        (device.last_seen, device.saved) = (kept.last_seen, Some(kept.last_seen));
        let named = matches!(key, DeviceKey::Local(mac) if settings.gateways.contains(&mac));
        device.gateway = roles.gateway || named;
        (device.forwards, device.answered, device.changed) = (roles.forwards, roles.answered, false);
        (device.serves_dhcp, device.forwarded) = (roles.serves_dhcp, roles.forwarded);
        device.clean_since = kept.clean_since;
        for address in kept.addresses.into_iter().take(super::MAX_IPS) {
            device.addresses.push(Address { ip: address.ip, last_seen: kept.last_seen });
            if address.claimed {
                device.claimed.push(address.ip);
            }
            if !address.owned {
                continue;
            }
            let owner = Owner { mac, shared: !address.alone, confirmed: address.confirmed };
            match self.owners.peek_mut(&address.ip) {
                // Two that were kept speak from it.
                Some(other) if other.mac != mac => other.shared = true,
                _ => drop(self.owners.put(address.ip, owner)),
            }
        }
        device.addresses.sort_by_key(|address| address.ip);
        device.addresses.dedup_by_key(|address| address.ip);
        if let Some(port) = kept.port {
            self.unplaced.push((key, port));
        }
        self.enter(key, device);
    }

    /// Tells which port has which index: where devices were that were not heard since.
    pub(crate) fn place(&mut self, ports: &BTreeMap<u8, Name>, identities: &mut Identities) {
        let indices: BTreeMap<Name, u8> = ports.iter().map(|(index, name)| (*name, *index)).collect();
        for (key, port) in std::mem::take(&mut self.unplaced) {
            let Some(device) = self.devices.peek_mut(&key).filter(|device| device.port == NO_PORT) else {
                continue;
            };
            match indices.get(&port) {
                Some(index) => {
                    device.port = *index;
                    identities.place(key, *index, device.last_seen);
                }
                None => self.unplaced.push((key, port)),
            }
        }
    }
}

fn save(
    device: &mut Device,
    now: Time,
    ports: &BTreeMap<u8, Name>,
    owners: &Lru<IpAddr, Owner>,
    identities: &Identities,
    settings: &Settings,
) -> Save {
    (device.changed, device.saved) = (false, Some(now));
    let mut kept = kept(device, ports, |ip| owners.peek(&ip));
    kept.identity = identities.kept(device.key);
    // What the configuration says it may say no more.
    kept.roles.gateway &= !settings.gateways.contains(&device.mac);
    Save::Device(Box::new(kept))
}

/// The numbers up to this may have been given.
fn last(number: DeviceId) -> Save {
    Save::Keep(crate::policy::Memory::Last(crate::policy::memory::Counter::Devices, number))
}

fn kept<'a>(
    device: &Device,
    ports: &BTreeMap<u8, Name>,
    owner: impl Fn(IpAddr) -> Option<&'a Owner>,
) -> Kept {
    let address = |ip| {
        let owner = owner(ip).filter(|owner| owner.mac == device.mac);
        KeptAddress {
            ip,
            claimed: device.claimed.contains(&ip),
            owned: owner.is_some(),
            alone: owner.is_some_and(|owner| !owner.shared),
            confirmed: owner.is_some_and(|owner| owner.confirmed),
        }
    };
    Kept {
        key: device.key,
        id: device.id,
        mac: device.mac,
        addresses: device.ips().map(address).collect(),
        first_seen: device.first_seen,
        last_seen: device.last_seen,
        clean_since: device.clean_since,
        port: ports.get(&device.port).copied(),
        vlan: device.vlan,
        roles: Roles {
            gateway: device.gateway,
            forwards: device.forwards,
            answered: device.answered,
            serves_dhcp: device.serves_dhcp,
            forwarded: device.forwarded,
        },
        identity: KeptIdentity::default(),
    }
}
