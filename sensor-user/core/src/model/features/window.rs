//! The row of a device in a stretch of time.

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::distinct::{Distinct, Histogram, hash_ip, hash_net};
use super::{Feature, Service, feature, flag, log_ratio, part, row};
use crate::contact::{Contact, Outcome};
use crate::event::{FlowEnded, Half};
use crate::model::scale::Form::{Log, Plain};
use crate::observation::Kind;
use crate::time::Time;
use sensor_ebpf::flow::mix;

/// Features of a window.
pub const WIDTH: usize = 34;

/// Parts of a window in each of which a device is active or not.
const PARTS: u64 = 60;

/// What a device did in a window, in fixed memory. Conversations count when they begin, their packets and bytes when they
/// end. ARP has counts of its own: it asks for a destination before the packets do.
#[derive(Clone, Copy, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Tally {
    /// Conversations begun, and begun by others with the device.
    flows: [f32; 2],
    /// Sent, and received.
    packets: [f32; 2],
    bytes: [f32; 2],
    destinations: Distinct,
    pub(super) new_destinations: u32,
    ports: Distinct,
    services: Distinct,
    sources: Distinct,
    nets: Distinct,
    /// First contacts that have an outcome, and how many were silent or refused.
    pub(super) judged: u32,
    silent: u32,
    refused: u32,
    arp_targets: Distinct,
    /// ARP requests that have an outcome, and how many of them were silent.
    arp_judged: u32,
    arp_silent: u32,
    by_destination: Histogram,
    by_port: Histogram,
    /// By group, in the order of the features, the rest last.
    groups: [f32; 7],
    to_new_service: f32,
    outside: f32,
    /// Conversations that ended, and those of them with a group.
    ended: f32,
    to_group: f32,
    dns: f32,
    most_bytes: f32,
    bytes_to_new: f32,
    /// A bit for each part of the window.
    active: u64,
}

/// The features, in the order of the rows.
pub static FEATURES: [Feature<Tally>; WIDTH] = [
    feature("flows_out", "", Log, |tally| tally.flows[0]),
    feature("flows_in", "", Log, |tally| tally.flows[1]),
    feature("packets_out", "", Log, |tally| tally.packets[0]),
    feature("packets_in", "", Log, |tally| tally.packets[1]),
    feature("bytes_out", "bytes", Log, |tally| tally.bytes[0]),
    feature("bytes_in", "bytes", Log, |tally| tally.bytes[1]),
    feature("destinations", "", Log, |tally| tally.destinations.count()),
    feature("new_destinations", "", Log, |tally| tally.new_destinations as f32),
    feature("ports", "", Log, |tally| tally.ports.count()),
    feature("services", "", Log, |tally| tally.services.count()),
    feature("sources", "", Log, |tally| tally.sources.count()),
    feature("networks", "", Log, |tally| tally.nets.count()),
    feature("failed_contacts", "part", Plain, Tally::failed),
    feature("silent_contacts", "", Log, |tally| tally.silent as f32),
    feature("refused_contacts", "", Log, |tally| tally.refused as f32),
    feature("arp_targets", "", Log, |tally| tally.arp_targets.count()),
    feature("arp_silent", "part", Plain, |tally| part(tally.arp_silent as f32, tally.arp_judged as f32)),
    feature("destination_entropy", "bits", Plain, |tally| tally.by_destination.entropy()),
    feature("port_entropy", "bits", Plain, |tally| tally.by_port.entropy()),
    feature("files", "part", Plain, |tally| tally.of_flows(tally.groups[0])),
    feature("administration", "part", Plain, |tally| tally.of_flows(tally.groups[1])),
    feature("database", "part", Plain, |tally| tally.of_flows(tally.groups[2])),
    feature("web", "part", Plain, |tally| tally.of_flows(tally.groups[3])),
    feature("medical", "part", Plain, |tally| tally.of_flows(tally.groups[4])),
    feature("infrastructure", "part", Plain, |tally| tally.of_flows(tally.groups[5])),
    feature("other_services", "part", Plain, |tally| tally.of_flows(tally.groups[6])),
    feature("to_new_services", "part", Plain, |tally| tally.of_flows(tally.to_new_service)),
    feature("outside", "part", Plain, |tally| tally.of_flows(tally.outside)),
    feature("to_groups", "part", Plain, |tally| part(tally.to_group, tally.ended)),
    feature("dns", "", Log, |tally| tally.dns),
    feature("bytes_out_to_in", "ln", Plain, |tally| log_ratio(tally.bytes[0], tally.bytes[1])),
    feature("most_bytes_out", "bytes", Log, |tally| tally.most_bytes),
    feature("bytes_to_new", "bytes", Log, |tally| tally.bytes_to_new),
    feature("active", "sixtieths", Plain, |tally| tally.active.count_ones() as f32),
];

impl Tally {
    /// The row.
    pub fn row(&self) -> [f32; WIDTH] {
        row(&FEATURES, self)
    }

    /// Notes that the device did something at a time, of a window that began at `start`.
    pub(super) fn active(&mut self, time: Time, start: Time, window_ns: u64) {
        let at = u128::from(time.since(start)) * u128::from(PARTS) / u128::from(window_ns.max(1));
        self.active |= 1 << at.min(u128::from(PARTS - 1));
    }

    /// The device begins a conversation.
    pub(super) fn begins(&mut self, contact: &Contact) {
        let id = &contact.id;
        let destination = hash_ip(id.dst);
        if id.kind == Kind::Arp {
            return self.arp_targets.insert(destination);
        }
        self.flows[0] += 1.0;
        self.destinations.insert(destination);
        self.by_destination.insert(destination);
        self.nets.insert(hash_net(id.dst));
        self.new_destinations = self.new_destinations.saturating_add(u32::from(contact.new_peer));
        self.to_new_service += flag(contact.new_service);
        self.outside += flag(!contact.internal);
        let service = Service::of(id);
        let group = match service {
            Some(Service::Files) => 0,
            Some(Service::Administration) => 1,
            Some(Service::Database) => 2,
            Some(Service::Web) => 3,
            Some(Service::Medical) => 4,
            Some(Service::Infrastructure) => 5,
            _ => 6,
        };
        self.groups[group] += 1.0;
        if service.is_some() {
            let port = mix(u64::from(id.proto), u64::from(id.dport));
            self.ports.insert(port);
            self.by_port.insert(port);
            self.services.insert(mix(destination, port));
            self.dns += flag(id.dport == 53);
        }
    }

    /// Somebody begins a conversation with the device.
    pub(super) fn is_asked(&mut self, contact: &Contact) {
        if contact.id.kind != Kind::Arp {
            self.flows[1] += 1.0;
            self.sources.insert(hash_ip(contact.id.src));
        }
    }

    /// A first contact of the device has an outcome.
    pub(super) fn judge(&mut self, contact: &Contact, outcome: Outcome) {
        let silent = u32::from(outcome == Outcome::Silent);
        if contact.id.kind == Kind::Arp {
            self.arp_judged = self.arp_judged.saturating_add(1);
            self.arp_silent = self.arp_silent.saturating_add(silent);
            return;
        }
        self.judged = self.judged.saturating_add(1);
        self.silent = self.silent.saturating_add(silent);
        self.refused = self.refused.saturating_add(u32::from(outcome == Outcome::Refused));
    }

    /// A conversation the device began is over.
    pub(super) fn ends(&mut self, ended: &FlowEnded, new_peer: bool, to_group: bool) {
        self.carried([&ended.to_server, &ended.to_client]);
        let bytes = ended.to_server.bytes as f32;
        self.ended += 1.0;
        self.to_group += flag(to_group);
        self.most_bytes = self.most_bytes.max(bytes);
        self.bytes_to_new += if new_peer { bytes } else { 0.0 };
    }

    /// Counts what was sent and received.
    pub(super) fn carried(&mut self, halves: [&Half; 2]) {
        for ((packets, bytes), half) in self.packets.iter_mut().zip(&mut self.bytes).zip(halves) {
            *packets += half.packets as f32;
            *bytes += half.bytes as f32;
        }
    }

    /// First contacts that failed.
    pub(super) fn failures(&self) -> u32 {
        self.silent.saturating_add(self.refused)
    }

    fn failed(&self) -> f32 {
        part(self.failures() as f32, self.judged as f32)
    }

    fn of_flows(&self, count: f32) -> f32 {
        let [flows, _] = self.flows;
        part(count, flows)
    }
}
