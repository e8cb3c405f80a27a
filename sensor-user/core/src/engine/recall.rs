//! What an earlier run remembered besides the block list.

use std::io;

use crate::detect;
use crate::event::CardStep;
use crate::policy::memory::Counter;
use crate::policy::{Memory, MemoryKey, Save};
use crate::settings::Mode;
use crate::state::load_known_parts;
use crate::time::{Time, read_by_clock_ahead};

use super::{Engine, Output};

/// What an earlier run had in mind when it was saved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastState {
    /// When that was, by the clock of its boot.
    pub saved: Time,
    /// By how much the clock now is ahead of that one, ns: 0 within one boot.
    pub ahead_ns: i64,
    /// The bytes.
    pub state: Vec<u8>,
}

impl Engine {
    /// Takes up what an earlier run had learned, and the evidence it had, as it was when it was saved: whom devices talk to,
    /// what is usual. Contacts it was in the middle of are not taken up; nor is what is held against somebody who was released
    /// since. Another build may have saved it: what that laid out in another way begins anew, and is named in what is returned.
    /// Call it once, after [`Engine::resume`].
    ///
    /// # Errors
    ///
    /// If these bytes are none of an engine, or whom devices talk to is laid out in another way; then nothing is taken up.
    pub fn take_up(&mut self, last: &LastState, now: Time) -> io::Result<Vec<&'static str>> {
        let mut before = Self::new(self.settings.clone());
        let mut state = &last.state[..];
        let mut anew =
            read_by_clock_ahead(last.ahead_ns, || load_known_parts(before.parts_mut(), &mut state))?;
        // A sensor that believes to be settled, and knows none of this, takes everybody for a scanner.
        if let Some(missing) =
            ["contacts", "services", "success", "begun"].iter().find(|name| anew.contains(name))
        {
            return Err(io::Error::other(format!("another build wrote {missing} in another way")));
        }
        let saved = last.saved.by_clock_ahead(last.ahead_ns);
        self.inventory.forgive_as(&before.inventory);
        let Self { contacts, services, success, detectors, ledger, windows, begun, heard_since, .. } = before;
        self.contacts.take_up(contacts);
        (self.services, self.success, self.detectors) = (services, success, detectors);
        (self.ledger, self.begun) = (ledger, begun);
        self.windows.take_up(windows);
        if last.ahead_ns == 0 {
            self.heard_since = heard_since;
        } else {
            // While the machine was off nobody learned, and addresses may have changed hands.
            let off_ns = now.since(saved);
            self.begun = begun.map(|begun| begun.plus(off_ns));
            self.detectors.rebooted(off_ns);
        }
        for device in self.inventory.iter().filter(|device| device.clean_since >= saved) {
            self.ledger.absolve(device.key);
            self.detectors.absolve(device.key, device.clean_since);
        }
        // Who was forgiven is in the inventory.
        anew.retain(|name| {
            ["ledger", "windows", "inventory"].contains(name)
                || detect::names().any(|detector| detector == *name)
        });
        Ok(anew)
    }

    /// Takes up what a store remembered, goes on with its numbers, and with the conversations there were before `now`. Call
    /// it once, after [`Engine::restore`].
    pub fn recall(&mut self, mut memories: Vec<Memory>, now: Time, out: &mut Output) {
        self.conversations.watch_from(now);
        // Numbers first: what comes after them may need new ones.
        memories.sort_by_key(|memory| !matches!(memory, Memory::Last(..)));
        for memory in memories {
            match memory {
                Memory::Last(Counter::Incidents, number) => self.incidents.skip_to(number),
                Memory::Last(Counter::Reviews, number) => {
                    self.reviews.skip_to(u32::try_from(number).unwrap_or(u32::MAX));
                }
                Memory::Last(Counter::Devices, number) => self.inventory.skip_to(number),
                // A detector that there is no more.
                Memory::Review(review) if !detect::names().any(|name| name == review.detector) => {
                    out.saves.push(Save::Drop(MemoryKey::Review(review.id)));
                }
                Memory::Last(Counter::Windows, number) => {
                    self.windows.skip_to(u32::try_from(number).unwrap_or(u32::MAX));
                }
                Memory::Review(review) => self.reviews.recall(review),
                Memory::Window(window) => self.windows.recall(window),
                // Like the entries that were only counted: nobody had a reason to say that they were wrong.
                Memory::Past(device, past)
                    if past.forgotten <= now || (past.would && self.settings.mode == Mode::Enforce) =>
                {
                    out.saves.push(Save::Drop(MemoryKey::Past(device)));
                }
                Memory::Past(device, past) => {
                    let saves = self.repeats.recall(device, past);
                    out.saves.extend(saves.into_iter().filter(|save| matches!(save, Save::Drop(_))));
                }
                Memory::Shared(shared) => self.groups.recall(*shared),
                // The daemon's, not the engine's.
                Memory::Drilled(_) => {}
                Memory::Asked(asked) => self.recall_asked(*asked, now, out),
            }
        }
        for key in self.inventory.renumber() {
            self.save_devices(&[key], now, out);
            let card = self.card_of_key(key);
            self.tell_card(card, (CardStep::Renumbered, "sekisho"), now, out);
        }
        // The settings may be others.
        self.settle_groups(now, out);
        self.turn_windows(now, out);
        self.reserve_numbers(out);
    }

    /// Has the numbers of the next incidents remembered as given: an order by number must never hit another incident, also
    /// if the daemon dies before anything else is written.
    pub(super) fn reserve_numbers(&mut self, out: &mut Output) {
        if let Some(last) = self.incidents.reserve() {
            out.saves.push(Save::Keep(Memory::Last(Counter::Incidents, last)));
        }
    }
}
