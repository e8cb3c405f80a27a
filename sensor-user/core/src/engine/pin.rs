//! What a device did so far: what it may go on doing while it is pinned.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::addr::is_host;
use crate::flow::{TCP, UDP};
use crate::inventory::{Device, DeviceKey};
use crate::observation::Kind;
use crate::policy::{Allow, MAX_PIN, Service, Target};

use super::Engine;

/// What was learned so far.
#[derive(Default)]
struct Learned {
    seen: BTreeSet<Allow>,
    /// Pairs of peer and service among it.
    pairs: usize,
}

impl Learned {
    /// Adds a service that the device used, or served.
    fn add(&mut self, role: fn(Service) -> Allow, proto: u8, port: u16, peer: IpAddr) {
        if self.pairs >= MAX_PIN || !is_host(peer) {
            return;
        }
        let service = Service { proto, port, peer: Some(peer.to_canonical()) };
        if matches!(proto, TCP | UDP) {
            self.pairs += usize::from(self.seen.insert(role(service)));
        } else {
            // Without ports who asked and who answered are not told apart.
            let roles = [Allow::Use(service), Allow::Serve(service)].map(|allow| self.seen.insert(allow));
            self.pairs += usize::from(roles.contains(&true));
        }
    }
}

impl Engine {
    /// What the devices behind these targets did with success: the peers and services they used or served, the last first
    /// if there are more than [`MAX_PIN`]; and what every device needs.
    pub(super) fn learn(&self, targets: &[Target]) -> Vec<Allow> {
        let devices: Vec<&Device> =
            targets.iter().filter_map(|target| self.inventory.find(*target)).collect();
        let keys: BTreeSet<DeviceKey> = devices.iter().map(|device| device.key).collect();
        let mut ips: BTreeSet<IpAddr> = devices.iter().flat_map(|device| device.ips()).collect();
        ips.extend(targets.iter().filter_map(|target| match target {
            Target::Ip(ip) => Some(*ip),
            _ => None,
        }));
        let mut learned = Learned::default();
        for talk in self.conversations.talks().filter(|talk| talk.answered && talk.id.kind == Kind::Ip) {
            let id = &talk.id;
            let port = if matches!(id.proto, TCP | UDP) { id.dport } else { 0 };
            if ips.contains(&id.src) {
                learned.add(Allow::Use, id.proto, port, id.dst);
            } else if ips.contains(&id.dst) {
                learned.add(Allow::Serve, id.proto, port, id.src);
            }
        }
        for (who, server, proto, port) in self.contacts.answered_services() {
            if keys.contains(&who) {
                learned.add(Allow::Use, proto, port, server);
            } else if ips.contains(&server) {
                let clients = self.inventory.get(who).into_iter().flat_map(Device::ips);
                clients
                    .filter(|client| client.is_ipv4() == server.is_ipv4())
                    .for_each(|client| learned.add(Allow::Serve, proto, port, client));
            }
        }
        Allow::BASIC.into_iter().chain(learned.seen).collect()
    }
}
