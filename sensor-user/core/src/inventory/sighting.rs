//! What frames tell of the devices: who is there, with which addresses, and whose an address is.

use std::net::IpAddr;

use super::device::is_counted_down;
use super::{Device, DeviceKey, Inventory, Owner};
use crate::addr::{Mac, is_host};
use crate::event::DeviceSeen;
use crate::identify::heard::Heard;
use crate::lru::Lru;
use crate::observation::{FlowSeen, Verdict};
use crate::settings::Settings;
use crate::time::Time;

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

impl Inventory {
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
