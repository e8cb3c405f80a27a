//! Which rule of the configuration forbids a conversation.

use crate::contact::Contact;
use crate::flow::{TCP, UDP};
use crate::forbid::End;
use crate::inventory::DeviceKey;
use crate::observation::Kind;

use super::Engine;

impl Engine {
    /// The number of the first rule that forbids a contact. Whoever lives behind a router is in no segment: the router is.
    pub(super) fn forbidden(&self, contact: &Contact) -> Option<u16> {
        let (rules, id) = (&self.settings.forbid, &contact.id);
        if rules.is_empty() || id.kind != Kind::Ip {
            return None;
        }
        let local = matches!(contact.device, DeviceKey::Local(_));
        let from = End {
            ip: id.src,
            internal: !contact.from_outside,
            segment: self.segment_at(id.port, id.vlan).filter(|_| local),
        };
        let holder = self.inventory.holder(id.dst).filter(|device| matches!(device.key, DeviceKey::Local(_)));
        let segment = holder.and_then(|device| self.segment_at(device.port, device.vlan));
        let to = End { ip: id.dst, internal: contact.internal, segment };
        let port = if matches!(id.proto, TCP | UDP) { id.dport } else { 0 };
        let broken = rules.iter().position(|rule| rule.is_about(&from, &to, id.proto, port));
        broken.and_then(|number| u16::try_from(number).ok())
    }
}
