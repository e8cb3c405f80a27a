//! Whom a target reaches: the devices and conversations it hits, and those among them that must not be.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::addr;
use crate::flow::Talk;
use crate::inventory::{self, Device, DeviceKey};
use crate::policy::{Name, Target};

use super::Engine;
use super::command::{CommandError, Impact};

impl Engine {
    /// Whether an address at a port and in a VLAN lies in a network or place.
    pub(super) fn lies_in(&self, target: Target, ip: IpAddr, port: u8, vlan: u16) -> bool {
        match target {
            Target::Mac(_) => false,
            Target::Ip(own) => own == ip,
            Target::Net(net) => net.contains(ip),
            _ => self.is_at(target, port, vlan),
        }
    }

    /// Whether a port and a VLAN are a place, or in it.
    fn is_at(&self, target: Target, port: u8, vlan: u16) -> bool {
        match target {
            Target::Vlan(id) => vlan == id,
            Target::Port(name) => self.ports.get(&port) == Some(&name),
            Target::Segment(name) => self.segment_at(port, vlan) == Some(name),
            Target::Mac(_) | Target::Ip(_) | Target::Net(_) => false,
        }
    }

    /// The segment of a port and a VLAN: that of the VLAN if it is in one, else the port's.
    pub(super) fn segment_at(&self, port: u8, vlan: u16) -> Option<Name> {
        let segments = &self.settings.segments;
        let of_vlan = segments.iter().find(|(_, segment)| segment.vlans.contains(&vlan));
        let port = self.ports.get(&port);
        let of_port = || segments.iter().find(|(_, segment)| port.is_some_and(|p| segment.ports.contains(p)));
        of_vlan.or_else(of_port).map(|(name, _)| *name)
    }

    /// Whether a device is hit by what is done to a target.
    pub(super) fn is_hit(&self, target: Target, device: &Device) -> bool {
        match target {
            Target::Mac(mac) => device.mac == mac,
            Target::Ip(ip) => device.ips().any(|own| own == ip),
            Target::Net(net) => device.ips().any(|own| net.contains(own)),
            _ => self.is_at(target, device.port, device.vlan),
        }
    }

    fn is_talk_hit(&self, target: Target, talk: &Talk) -> bool {
        let id = &talk.id;
        match target {
            Target::Mac(mac) => mac == talk.smac || mac == talk.dmac,
            Target::Ip(ip) => ip == id.src || ip == id.dst,
            Target::Net(net) => net.contains(id.src) || net.contains(id.dst),
            _ => {
                let other = self.inventory.get(DeviceKey::Local(talk.dmac));
                self.is_at(target, id.port, id.vlan)
                    || other.is_some_and(|device| self.is_at(target, device.port, id.vlan))
            }
        }
    }

    /// How many devices and conversations these targets hit.
    pub(super) fn impact(&self, targets: &[Target]) -> Impact {
        let device = |device: &&Device| targets.iter().any(|target| self.is_hit(*target, device));
        let talk = |talk: &Talk| targets.iter().any(|target| self.is_talk_hit(*target, talk));
        Impact {
            devices: self.inventory.iter().filter(device).count() as u64,
            conversations: self.conversations.all().filter(talk).count() as u64,
        }
    }

    /// Whether a target is on the protected list, or the address of a gateway that the configuration names.
    pub(super) fn is_barred(&self, target: Target) -> bool {
        matches!(self.refuse(target, true), Some(CommandError::Protected(_) | CommandError::Gateway(_)))
    }

    /// Why a target must not be blocked, if so. `force` overrides that it was found to be a gateway.
    pub(super) fn refuse(&self, target: Target, force: bool) -> Option<CommandError> {
        let nobody = match target {
            Target::Mac(mac) => mac.is_nobody(),
            Target::Ip(ip) => !addr::is_host(ip),
            Target::Net(net) => net.address().is_multicast() || net.address().is_loopback(),
            Target::Vlan(_) | Target::Port(_) | Target::Segment(_) => false,
        };
        if nobody {
            return Some(CommandError::Nobody(target));
        }
        let settings = &self.settings;
        let listed = settings.protected.contains(&target)
            || match target {
                Target::Ip(ip) => inventory::is_protected_ip(ip, settings),
                Target::Net(net) => settings.protected_nets.iter().any(|listed| listed.covers(&net)),
                _ => false,
            };
        let device = match target {
            Target::Mac(_) => self.inventory.find(target),
            Target::Ip(ip) => self.inventory.gateway_with(ip),
            _ => None,
        };
        if listed || device.is_some_and(|device| inventory::is_protected(device, settings)) {
            return Some(CommandError::Protected(target));
        }
        if matches!(target, Target::Mac(mac) if settings.gateways.contains(&mac)) {
            return Some(CommandError::Gateway(target));
        }
        let found = !force && device.is_some_and(|device| device.gateway);
        found.then_some(CommandError::Gateway(target))
    }

    /// Who in a network or place is protected, or a gateway: their names, the protected first.
    pub(super) fn among(&self, target: Target) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut protected, mut gateways) = (BTreeSet::new(), BTreeSet::new());
        if target.is_address() {
            return (protected, gateways);
        }
        let settings = &self.settings;
        if let Target::Net(net) = target {
            let one = |listed: &&Target| matches!(listed, Target::Ip(ip) if net.contains(*ip));
            protected.extend(settings.protected.iter().filter(one).map(ToString::to_string));
            let nets = settings.protected_nets.iter().filter(|listed| net.covers(listed));
            protected.extend(nets.map(ToString::to_string));
        }
        for device in self.inventory.iter().filter(|device| self.is_hit(target, device)) {
            let known = inventory::describe(device, settings);
            let first = device.ips().next().map(|ip| ip.to_string());
            let name = known.name.or(first).unwrap_or_else(|| device.mac.to_string());
            if inventory::is_protected(device, settings) {
                protected.insert(name);
            } else if device.gateway {
                gateways.insert(name);
            }
        }
        (protected, gateways)
    }
}
