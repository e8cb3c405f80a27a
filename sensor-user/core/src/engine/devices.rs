//! What people say of devices, carried out: cards written and taken away.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::event::{CardChange, CardStep, DeviceRef, Event, Timed};
use crate::inventory::cards::{Card, DeviceId, Edit, MAX_CARDS};
use crate::inventory::{self, DeviceKey};
use crate::policy::{Save, Target};
use crate::time::{SECOND, Time};

use super::add::unknown;
use super::command::{CommandError, Mistakes, Reply};
use super::{Engine, Output};

/// Most devices in one order.
pub const MAX_EDITS: usize = MAX_CARDS;
/// Changes of cards told at once, and how long the next ones then wait, ns: whoever writes them down has room for so many.
const TOLD_AT_ONCE: usize = 1_024;
const TOLD_EVERY: u64 = SECOND / 2;

impl Engine {
    /// Takes up the devices an earlier run kept, and what people said of them. Call it once, before anything else is taken up.
    pub fn resume(&mut self, kept: Vec<inventory::kept::Kept>, cards: Vec<Card>) {
        self.inventory.resume(kept, cards, &mut self.identities, &self.settings);
        self.judge_kept();
    }

    /// Has the store keep what changed of devices, if it is time; at the `end` all of it.
    pub(super) fn keep_devices(&mut self, now: Time, end: bool, out: &mut Output) {
        if !end && now < self.next_keep {
            return;
        }
        self.next_keep = now.plus(inventory::kept::ROUND);
        let Self { inventory, ports, identities, settings, .. } = self;
        out.saves.extend(inventory.unsaved((now, end), ports, identities, settings));
    }

    /// Writes cards: all of them, or none. All are found by what is said of them before, so that names can be swapped.
    pub(super) fn describe_devices(
        &mut self,
        edits: &[(String, Edit)],
        by: &str,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        if edits.len() > MAX_EDITS {
            return Err(CommandError::Edits);
        }
        let keys = self.keys_named(edits);
        let named: BTreeSet<DeviceKey> = keys.iter().flatten().copied().collect();
        let parts: Vec<_> = keys
            .into_iter()
            .zip(edits)
            .map(|(key, (_, edit))| key.map(|key| self.spread(key, edit, &named)))
            .collect();
        let mut before: BTreeMap<DeviceId, Option<Card>> = BTreeMap::new();
        for (key, edit) in parts.iter().flatten().flatten() {
            self.free_name(*key, edit, &mut before);
        }
        let mut mistakes = Mistakes::default();
        for (at, (parts, (who, _))) in parts.into_iter().zip(edits).enumerate() {
            match parts {
                Ok(parts) => {
                    for (key, edit) in parts {
                        self.edit((at, who), key, &edit, &mut before, &mut mistakes);
                    }
                }
                Err(error) => mistakes.add(at, Some("device"), error),
            }
        }
        if !mistakes.told.is_empty() {
            for (id, card) in before {
                self.inventory.remove_card(id);
                card.into_iter().for_each(|card| self.inventory.put_card(card));
            }
            return Err(mistakes.into());
        }
        let mut changed = Vec::new();
        for (id, card) in before {
            let step = CardStep::Described;
            changed.extend(self.card_changed(id, card, (step, by), now, out));
        }
        Ok(Reply::Described(changed))
    }

    /// The devices an order is about.
    fn keys_named(&self, edits: &[(String, Edit)]) -> Vec<Result<DeviceKey, CommandError>> {
        // One is looked for; of many each would be.
        if let [(who, _)] = edits {
            return vec![self.key_named(who)];
        }
        let ids: HashMap<DeviceId, DeviceKey> =
            self.inventory.iter().map(|device| (device.id, device.key)).collect();
        edits.iter().map(|(who, _)| self.key_by(who, |id| ids.get(&id).copied())).collect()
    }

    /// Takes away the name of a device that is to have another: it is free for the others of the order.
    fn free_name(&mut self, key: DeviceKey, edit: &Edit, before: &mut BTreeMap<DeviceId, Option<Card>>) {
        let named = |card: &&Card| card.name.is_some() && edit.name.is_some();
        if let Some(card) = self.inventory.cards().of(key).filter(named).cloned() {
            self.inventory.put_card(Card { name: None, ..card.clone() });
            before.entry(card.id).or_insert(Some(card));
        }
    }

    /// Writes the card of one of the list, whatever is wrong with others: all mistakes are told at once.
    fn edit(
        &mut self,
        (at, who): (usize, &str),
        key: DeviceKey,
        edit: &Edit,
        before: &mut BTreeMap<DeviceId, Option<Card>>,
        mistakes: &mut Mistakes,
    ) {
        if let Some(Some(class)) = edit.class
            && !self.settings.classes.contains_key(&class)
        {
            let known = self.settings.classes.keys().copied().collect();
            mistakes.add(at, Some("class"), unknown("class", class, known));
        }
        let card = self.card_of_key(key);
        let edit = &self.news(&card, edit);
        let edited = match self.inventory.cards().edited(&card, edit) {
            Ok(edited) => edited,
            Err(error) => {
                let wrong = CommandError::Card { who: who.to_owned(), error: error.clone() };
                return mistakes.add(at, error.field(), wrong);
            }
        };
        before.entry(card.id).or_insert_with(|| self.inventory.cards().get(card.id).cloned());
        if edited.is_blank() {
            self.inventory.remove_card(card.id);
        } else {
            self.inventory.put_card(edited);
        }
    }

    /// An edit without what the configuration says already: a list that was exported and is read back changes nothing.
    fn news(&self, card: &Card, edit: &Edit) -> Edit {
        let device = self.ref_of(card);
        let same = card.name.is_none() && edit.name.is_some() && edit.name == device.name;
        let alike = card.class.is_none() && edit.class.is_some_and(|class| class == device.class);
        Edit {
            name: edit.name.clone().filter(|_| !same),
            class: edit.class.filter(|_| !alike),
            ..edit.clone()
        }
    }

    /// Forgets a device, and what is said of it. One that is still there is heard again as a new one.
    pub(super) fn forget_device(
        &mut self,
        who: &str,
        by: &str,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let card = self.card_of(who)?;
        let held = card.keys.iter().find(|key| self.blocks.about(target(**key)).next().is_some());
        if let Some(key) = held {
            return Err(CommandError::Held(target(*key)));
        }
        let device = self.ref_of(&card);
        self.inventory.remove_card(card.id);
        out.saves.push(Save::ForgetCard(card.id));
        for key in &card.keys {
            self.absolve(*key, now);
            out.saves.extend(self.repeats.forget(*key));
            self.identities.forget(*key);
            self.inventory.forget(*key, now);
            out.saves.push(Save::ForgetDevice(*key));
        }
        let change = CardChange {
            step: CardStep::Forgotten,
            device: device.clone(),
            card: card.into(),
            by: by.to_owned(),
            group: None,
        };
        out.events.push(Timed { time: now, event: Event::Card(change) });
        Ok(Reply::Described(vec![device]))
    }

    /// Saves and tells a card that is another one than before; who it is about.
    pub(super) fn card_changed(
        &mut self,
        id: DeviceId,
        before: Option<Card>,
        (step, by): (CardStep, &str),
        now: Time,
        out: &mut Output,
    ) -> Option<DeviceRef> {
        let after = self.inventory.cards().get(id).cloned();
        if after == before {
            return None;
        }
        out.saves.push(match &after {
            Some(card) => Save::Card(Box::new(card.clone())),
            None => Save::ForgetCard(id),
        });
        let card = after.or(before)?;
        let device = self.ref_of(&card);
        self.tell_card(card, (step, by), now, out);
        Some(device)
    }

    /// Tells of a card.
    pub(super) fn tell_card(
        &mut self,
        card: Card,
        (step, by): (CardStep, &str),
        now: Time,
        out: &mut Output,
    ) {
        let change = CardChange {
            step,
            device: self.ref_of(&card),
            card: Box::new(card),
            by: by.to_owned(),
            group: None,
        };
        self.untold.push_back(Timed { time: now, event: Event::Card(change) });
        self.tell_cards(now, false, out);
    }

    /// Tells what changed of cards, a part at a time; at the `end` all of it.
    pub(super) fn tell_cards(&mut self, now: Time, end: bool, out: &mut Output) {
        if now >= self.next_told.0 {
            self.next_told = (now.plus(TOLD_EVERY), TOLD_AT_ONCE);
        }
        let most = if end { usize::MAX } else { self.next_told.1 };
        let too_many = self.untold.len().saturating_sub(MAX_EDITS);
        let part = most.min(self.untold.len()).max(too_many);
        self.next_told.1 = self.next_told.1.saturating_sub(part);
        out.events.extend(self.untold.drain(..part));
    }

    /// The device of a card as it is named; one that was never heard by what the card says.
    pub(super) fn ref_of(&self, card: &Card) -> DeviceRef {
        let heard = card.keys.iter().find_map(|key| self.describe(*key));
        heard.unwrap_or_else(|| inventory::unheard(card, &self.settings))
    }

    /// The card of a device by its number, its name or an address; a new one, not entered yet, if it has none. A MAC address
    /// need not have been heard.
    pub(super) fn card_of(&mut self, who: &str) -> Result<Card, CommandError> {
        let key = self.key_named(who)?;
        Ok(self.card_of_key(key))
    }

    pub(super) fn card_of_key(&mut self, key: DeviceKey) -> Card {
        let card = self.inventory.cards().of(key).cloned();
        card.unwrap_or_else(|| self.inventory.new_card(key))
    }

    /// A device by its number, its name or an address.
    pub(super) fn key_named(&self, who: &str) -> Result<DeviceKey, CommandError> {
        self.key_by(who, |id| self.inventory.iter().find(|device| device.id == id).map(|device| device.key))
    }

    /// The same; `heard` finds one that was heard by its number.
    fn key_by(
        &self,
        who: &str,
        heard: impl Fn(DeviceId) -> Option<DeviceKey>,
    ) -> Result<DeviceKey, CommandError> {
        let not_known = || CommandError::NoDevice(who.to_owned());
        let of_card = |card: &Card| card.keys.first().copied();
        if let Ok(id) = who.parse::<DeviceId>() {
            return self
                .inventory
                .cards()
                .get(id)
                .and_then(of_card)
                .or_else(|| heard(id))
                .ok_or_else(not_known);
        }
        if let Ok(target) = who.parse::<Target>() {
            return match (self.inventory.find(target), target) {
                (Some(device), _) => Ok(device.key),
                (None, Target::Mac(mac)) if !mac.is_nobody() => Ok(DeviceKey::Local(mac)),
                _ => Err(not_known()),
            };
        }
        if let Some(key) = self.inventory.cards().called(who).and_then(of_card) {
            return Ok(key);
        }
        let mut named = self.settings.names.iter().filter(|(_, name)| name.eq_ignore_ascii_case(who));
        let key = named.find_map(|(target, _)| match (self.inventory.find(*target), target) {
            (Some(device), _) => Some(device.key),
            (None, Target::Mac(mac)) => Some(DeviceKey::Local(*mac)),
            _ => None,
        });
        key.ok_or_else(not_known)
    }
}

/// The address a device is known by.
pub(super) fn target(key: DeviceKey) -> Target {
    match key {
        DeviceKey::Local(mac) => Target::Mac(mac),
        DeviceKey::Routed(ip) => Target::Ip(ip),
    }
}
