//! What the data path says besides flows: frames it dropped, and how much of what came was seen.

use super::{Engine, Input, Output};
use crate::coverage::{Sight, Sighted};
use crate::event::{Blind, Dropped, Event, Timed};
use crate::inventory;
use crate::observation::DropSeen;
use crate::policy::Target;
use crate::time::Time;

impl Engine {
    /// Notes how much was seen over the last minutes. Alerts say so from then on; without it they say nothing of it.
    pub fn sight(&mut self, sight: Sight) {
        self.note(|| Input::Sight(sight.clone()));
        self.sight = Some(sight);
    }

    /// Tells that too little is seen, or that this is over. (Whether silence says nothing for it is for
    /// [`Engine::lost_sight`]: a reader that was stopped may have missed nothing.)
    pub fn blind(&mut self, blind: Blind, now: Time, out: &mut Output) {
        self.note(|| Input::Blind(blind.clone(), now));
        out.events.push(Timed { time: now, event: Event::Blind(blind) });
    }

    /// How much was seen of the port a flow came in by.
    pub(super) fn sighted(&self, port: u8) -> Option<Sighted> {
        self.sight.as_ref().map(|sight| sight.of(port))
    }

    /// Tells of a dropped frame. It is one of a sample, and no contact: nothing is learned from it.
    pub(super) fn dropped(&self, seen: &DropSeen, out: &mut Output) {
        let sender = self.inventory.find(Target::Mac(seen.smac));
        let device = sender.or_else(|| self.inventory.find(Target::Ip(seen.id.src)));
        let device = device.map(|device| inventory::describe(device, &self.settings));
        let event = Event::Dropped(Dropped { seen: *seen, device });
        out.events.push(Timed { time: seen.time, event });
    }
}
