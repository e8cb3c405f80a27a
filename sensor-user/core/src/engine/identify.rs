//! What kind of device is it: what devices say and serve goes to their identities, and what comes of it is told.

use super::{Engine, Input, Output};
use crate::addr::is_host;
use crate::event::{DeviceSeen, Event, Timed};
use crate::flow::{RST, TCP, UDP};
use crate::identify::heard::Heard;
use crate::identify::neighbour::Neighbour;
use crate::identify::{Known, Label};
use crate::inventory::{Device, DeviceKey};
use crate::observation::{FlowId, FlowSeen, Kind};
use crate::time::Time;

impl Engine {
    /// Takes in what a device said of itself.
    pub fn hear(&mut self, heard: &Heard, out: &mut Output) {
        let own = heard.ip.filter(|ip| is_host(*ip));
        let speaker = own.and_then(|ip| self.inventory.speaker(heard.mac, ip)).map(|device| device.key);
        let local = DeviceKey::Local(heard.mac);
        // Somebody behind a gateway who sent no flow yet: the gateway did not say it.
        if own.is_some() && speaker.is_none() && self.inventory.get(local).is_some() {
            return;
        }
        let key = speaker.unwrap_or(local);
        // Devices say the same for ever. What is no news changes nothing at all, and so need not be noted down.
        if self.inventory.get(key).is_some() && !self.identities.is_news(key, heard) {
            return;
        }
        self.note(|| Input::Heard(Box::new(heard.clone())));
        let new = speaker.is_none() && self.inventory.hear(heard, &self.settings);
        let more = self.identities.hear(key, heard);
        if new {
            if let Some(news) = self.inventory.news(key, true, &self.settings) {
                self.tell_device(Some(key), news, heard.time, out);
            }
        } else if more {
            self.tell_kind(key, heard.time, out);
        }
    }

    /// Notes who served and who was served. Only what was answered is a service, and only inside: of hosts outside, the router's
    /// address is all that is seen.
    pub(super) fn note_service(
        &mut self,
        asked: &FlowId,
        server: Option<DeviceKey>,
        answer: &FlowSeen,
        out: &mut Output,
    ) {
        let refused = asked.proto == TCP && answer.tcp_flags & RST != 0;
        if asked.kind != Kind::Ip || !matches!(asked.proto, TCP | UDP) || refused {
            return;
        }
        let client = self.inventory.holder(asked.src).map(|device| device.key);
        if let Some(client) = client.filter(|_| self.is_internal(asked.src))
            && self.identities.used(client, asked)
        {
            self.tell_kind(client, answer.time, out);
        }
        if let Some(server) = server.filter(|_| self.is_internal(asked.dst))
            && self.identities.served(server, asked)
        {
            self.tell_kind(server, answer.time, out);
        }
    }

    /// Tells of a device with the kind it is taken for.
    pub(super) fn tell_device(
        &mut self,
        key: Option<DeviceKey>,
        mut news: DeviceSeen,
        now: Time,
        out: &mut Output,
    ) {
        if let Some(device) = key.and_then(|key| self.inventory.get(key)) {
            let known = known(device, news.device.maker.as_deref());
            news.label = self.identities.told(device.key, known);
        }
        out.events.push(Timed { time: now, event: Event::Device(news) });
    }

    /// Something new was seen of a device: has it kept, and tells if the device is taken for another kind than before.
    fn tell_kind(&mut self, key: DeviceKey, now: Time, out: &mut Output) {
        self.inventory.note_identity(key);
        let Some(device) = self.inventory.get(key) else { return };
        let maker = self.maker(device);
        let label = self.identities.news(key, known(device, maker.as_deref()));
        if let Some((label, news)) = label.zip(self.inventory.news(key, false, &self.settings)) {
            let event = Event::Device(DeviceSeen { label: Some(label), relabelled: true, ..news });
            out.events.push(Timed { time: now, event });
        }
    }

    /// Judges what kind each device is by what was kept of it.
    pub(super) fn judge_kept(&mut self) {
        let Self { inventory, identities, settings, .. } = self;
        for device in inventory.iter() {
            let maker = crate::inventory::describe(device, settings).maker;
            identities.look(device.key, known(device, maker.as_deref()));
        }
    }

    /// What kind a device is.
    pub(super) fn label(&self, device: &Device) -> Option<Label> {
        let maker = self.maker(device);
        self.identities.label(device.key, known(device, maker.as_deref()))
    }

    fn maker(&self, device: &Device) -> Option<String> {
        crate::inventory::describe(device, &self.settings).maker
    }

    /// The switch by which a device is reached, if it was heard.
    pub(super) fn uplink(&self, device: &Device, now: Time) -> Option<&Neighbour> {
        self.identities.uplink(device.port, now)
    }
}

fn known<'a>(device: &Device, maker: Option<&'a str>) -> Known<'a> {
    let local = matches!(device.key, DeviceKey::Local(_));
    Known {
        maker,
        made_up: local && device.mac.is_local(),
        carries: local && (device.gateway || device.forwards),
    }
}
