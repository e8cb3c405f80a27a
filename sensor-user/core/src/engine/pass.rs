//! Flows as they begin, go on and end: what the detectors are told of them.

use std::net::IpAddr;

use crate::detect::{Began, Ended, Went};
use crate::event::{Event, FlowEnded, Timed};
use crate::flow::Role;
use crate::inventory::DeviceKey;
use crate::inventory::cards::DeviceId;
use crate::observation::{FlowProgress, FlowSeen, Verdict};
use crate::time::Time;

use super::{Engine, Output};

impl Engine {
    pub(super) fn is_internal(&self, ip: IpAddr) -> bool {
        self.settings.internal.iter().any(|net| net.contains(ip))
    }

    /// Tells of a new flow. What was dropped reached nobody, and whoever is cut off could name any address.
    pub(super) fn began(&mut self, seen: &FlowSeen, role: Role, device: Option<DeviceKey>) {
        let known = device.and_then(|key| self.inventory.get(key));
        let Some(known) = known.filter(|_| seen.verdict != Verdict::Drop) else { return };
        let began = Began {
            seen,
            device: known.key,
            role,
            gateway: known.gateway,
            internal: self.is_internal(seen.id.dst),
            clean_since: known.clean_since,
        };
        for detector in &mut self.detectors.registered {
            detector.began(&began, &mut self.found);
        }
    }

    /// Notes how a flow went on.
    pub(super) fn progress(&mut self, progress: &FlowProgress, out: &mut Output) {
        self.inventory.refresh(progress.id.src, progress.last);
        let Some(passage) = self.conversations.progress(progress) else { return };
        let id = passage.id;
        let known = self.inventory.speaker(passage.smac, id.src).filter(|_| passage.more.packets > 0);
        if let Some(known) = known {
            let (device, clean_since) = (known.key, known.clean_since);
            let (more, answered, internal) = (passage.more, passage.answered, self.is_internal(id.dst));
            let went = Went { progress, more, answered, id, device, internal, clean_since };
            for detector in &mut self.detectors.registered {
                detector.went(&went, &mut self.found);
            }
        }
        if let Some(part) = passage.part {
            let devices = self.at_ends(&part);
            out.parts.push(FlowEnded { devices, ..part });
        }
        if let Some(ended) = passage.ended {
            self.ended(ended, progress.time, out);
        }
        self.conclude(progress.time, out);
    }

    /// The devices at both ends of a conversation, by number.
    fn at_ends(&self, flow: &FlowEnded) -> [Option<DeviceId>; 2] {
        let at = |mac, ip| self.inventory.speaker(mac, ip);
        let peer = self.inventory.holder(flow.id.dst).or_else(|| at(flow.dmac, flow.id.dst));
        [at(flow.smac, flow.id.src), peer].map(|device| device.map(|device| device.id))
    }

    /// Tells of a conversation that ended.
    pub(super) fn ended(&mut self, flow: FlowEnded, now: Time, out: &mut Output) {
        if let Some(known) = self.inventory.speaker(flow.smac, flow.id.src) {
            let (device, clean_since) = (known.key, known.clean_since);
            let internal = self.is_internal(flow.id.dst);
            let ended = Ended { flow: &flow, device, internal, clean_since };
            for detector in &mut self.detectors.registered {
                detector.ended(&ended, now, &mut self.found);
            }
        }
        let device = self.inventory.speaker(flow.smac, flow.id.src).map(|device| device.key);
        let peer = self.inventory.holder(flow.id.dst).map(|peer| peer.key);
        self.ask_unusual(now, |unusual, look, found| unusual.ended(&flow, [device, peer], now, look, found));
        let devices = self.at_ends(&flow);
        out.events.push(Timed { time: now, event: Event::Flow(FlowEnded { devices, ..flow }) });
        self.conclude(now, out);
    }
}
