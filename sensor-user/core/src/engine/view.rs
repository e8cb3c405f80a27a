//! What may be seen of the engine.

use crate::event::DeviceRef;
use crate::identify::client::Alike;
use crate::incident::Incident;
use crate::inventory::{self, DeviceKey, Inventory};
use crate::policy::{Block, BlockName, Why};
use crate::settings::Mode;
use crate::snapshot::{
    ClassSuccess, DeviceView, EngineStats, FindingView, IncidentView, OneByEvidence, Perhaps, Snapshot,
};
use crate::time::Time;

use super::Engine;
use crate::detect::Finding;

impl Engine {
    /// Counters.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            devices: self.inventory.len() as u64,
            devices_evicted: self.inventory.evicted,
            flows_live: self.conversations.len() as u64,
            flows_new: self.conversations.begun,
            flows_evicted: self.conversations.evicted,
            contacts_waiting: self.contacts.len() as u64,
            contacts_evicted: self.contacts.evicted,
            services_evicted: self.contacts.services_evicted,
            client_ids_unwatched: self.groups.unwatched,
            incidents: self.incidents.opened,
            findings_silenced: self.silenced,
            blocks: self.blocks.iter().filter(|block| !block.would).count() as u64,
            blocks_would: self.blocks.iter().filter(|block| block.would).count() as u64,
            approvals_waiting: self.waiting.len() as u64,
            reviews: self.reviews.iter().count() as u64,
            windows_open: self.windows.open() as u64,
        }
    }

    /// The entries of the block list.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter()
    }

    /// All there is to see.
    pub fn snapshot(&self, now: Time) -> Snapshot {
        Snapshot {
            time: now,
            enforce: self.settings.mode == Mode::Enforce,
            devices: self.devices(now),
            incidents: self.incidents.newest_first().filter_map(|i| self.incident_view(i)).collect(),
            reviews: self.reviews.iter().cloned().collect(),
            windows: self.windows.iter().cloned().collect(),
            blocks: self.blocks.iter().cloned().collect(),
            cards: self.inventory.cards().iter().map(|card| (card.clone(), self.ref_of(card))).collect(),
            success: self.success.rates().map(|(class, rate)| ClassSuccess { class, rate }).collect(),
            stats: self.stats(),
        }
    }

    /// All devices, in order of name.
    pub fn devices(&self, now: Time) -> Vec<DeviceView> {
        let alike = self.identities.alike();
        self.inventory.sorted().into_iter().map(|device| self.device_view(device, &alike, now)).collect()
    }

    fn device_view(&self, device: &inventory::Device, alike: &Alike<'_>, now: Time) -> DeviceView {
        let DeviceRef { id, mac, ips, maker, name, class } = inventory::describe(device, &self.settings);
        let usual = self.detectors.registered.iter().find_map(|d| d.usual(device.key)).unwrap_or_default();
        let block = |target| self.blocks.find(BlockName::Target(target));
        DeviceView {
            id,
            mac,
            ips,
            more_ips: device.more_ips,
            maker,
            name,
            class,
            first_seen: device.first_seen,
            last_seen: device.last_seen,
            port: device.port,
            vlan: device.vlan,
            segment: self.segment_at(device.port, device.vlan),
            uplink: self.uplink(device, now).cloned(),
            label: self.label(device),
            names: self.identities.facts(device.key).map(|facts| facts.names.clone()).unwrap_or_default(),
            one: self.one(device.key),
            perhaps: self.perhaps(device, alike),
            gateway: device.gateway,
            protected: inventory::is_protected(device, &self.settings),
            block: Inventory::targets(device).find_map(block).map(|block| block.id),
            destinations: usual.now,
            usual_destinations: usual.usual,
        }
    }

    /// With whom a device is counted as one.
    fn one(&self, key: DeviceKey) -> Option<OneByEvidence> {
        let client_id = self.groups.of(key)?.to_string();
        let all: Vec<DeviceRef> =
            self.one_by_evidence(key).into_iter().filter_map(|key| self.describe(key)).collect();
        let number = all.first()?.id;
        let with = all.into_iter().filter(|device| DeviceKey::Local(device.mac) != key).collect();
        Some(OneByEvidence { number, with, client_id })
    }

    /// Who is perhaps the same device as another one; a gateway is nobody else, nor is who is not by word of a person.
    fn perhaps(&self, device: &inventory::Device, alike: &Alike<'_>) -> Vec<Perhaps> {
        let facts = self.identities.facts(device.key).filter(|_| !device.gateway);
        let others = alike.to(facts.map(|facts| &facts.clients[..]).unwrap_or_default());
        let mut perhaps: Vec<Perhaps> = Vec::new();
        for (other, id) in others.filter_map(|(key, id)| Some((self.inventory.get(key)?, id))) {
            let told = perhaps.iter().any(|perhaps| perhaps.device.id == other.id);
            let distinct = self.inventory.are_distinct(device.key, other.key);
            let one = self.groups.of(device.key).is_some_and(|by| self.groups.of(other.key) == Some(by));
            if other.id != device.id && !other.gateway && !told && !distinct && !one {
                let (device, client_id) = (inventory::describe(other, &self.settings), id.to_string());
                perhaps.push(Perhaps { device, client_id, against: self.groups.refuted(id) });
            }
        }
        perhaps
    }

    fn incident_view(&self, incident: &Incident) -> Option<IncidentView> {
        let finding = |(time, finding): &(Time, Finding)| FindingView {
            detector: finding.detector,
            signature: finding.signature,
            family: finding.family.name(),
            weight: finding.weight,
            severity: finding.severity,
            time: *time,
            evidence: finding.evidence.clone(),
        };
        Some(IncidentView {
            id: incident.id,
            device: self.describe(incident.device)?,
            severity: incident.severity,
            opened: incident.opened,
            updated: incident.updated,
            action: incident.action.clone(),
            ruling: incident.ruling.clone(),
            waits: self.waiting.get(&incident.id).map(|waiting| (waiting.level, waiting.until)),
            judged: incident.judged.clone(),
            coverage: incident.coverage,
            evidence: incident.evidence.clone(),
            why: Why::of(
                incident.findings.iter().map(|(_, finding)| finding),
                &incident.evidence,
                &self.settings,
            ),
            findings: incident.findings.iter().map(finding).collect(),
        })
    }
}
