//! Several addresses that are one device by evidence: found, told, and told to be two again.
//!
//! Nothing that restricts or spares a device may look at it: see [`group`](crate::identify::group).

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{CardChange, CardStep, DeviceRef, Event, Grouping, Timed};
use crate::identify::client::{ClientId, MAX_ALIKE};
use crate::identify::group::WhyTwo;
use crate::inventory::cards::{Card, DeviceId, Edit};
use crate::inventory::{self, DeviceKey};
use crate::policy::{Memory, MemoryKey, Save, Target};
use crate::time::Time;

use super::devices::target;
use super::{Engine, Output};

/// Who says so.
const BY: &str = "sekisho";

/// The texts of an edit, and of a card.
type Word = (fn(&mut Edit) -> &mut Option<String>, fn(&Card) -> Option<&String>);
const WORDS: [Word; 4] = [
    (|edit| &mut edit.name, |card| card.name.as_ref()),
    (|edit| &mut edit.place, |card| card.place.as_ref()),
    (|edit| &mut edit.owner, |card| card.owner.as_ref()),
    (|edit| &mut edit.note, |card| card.note.as_ref()),
];

/// Who asks under which identifier of a machine.
type Sharing = BTreeMap<ClientId, Vec<DeviceKey>>;

impl Engine {
    /// Looks who was heard, if it is time, and who is one device by that.
    pub(super) fn watch_groups(&mut self, now: Time, out: &mut Output) {
        let Some(since) = self.groups.turn(now) else { return };
        let sharing = self.sharing();
        for (id, keys) in &sharing {
            if let Some(gone) = self.groups.watch(id, |id| sharing.contains_key(id), now) {
                out.saves.push(Save::Drop(MemoryKey::Shared(gone)));
            }
            let heard = keys.iter().filter_map(|key| self.inventory.get(*key));
            let heard = heard.filter(|device| device.last_seen >= since).map(|device| device.id).collect();
            if self.groups.listen(id, &heard, now) {
                self.group(id, keys, now, out);
            }
        }
        self.review_groups(&sharing, now, out);
    }

    /// Ends the groups that are none any more: for what was heard, or for what people said just now.
    pub(super) fn settle_groups(&mut self, now: Time, out: &mut Output) {
        if self.groups.is_empty() {
            return;
        }
        let sharing = self.sharing();
        self.review_groups(&sharing, now, out);
    }

    /// Who asks under which identifier of a machine, of those who are here to stay: made-up addresses are gone before. Those behind a
    /// router are not among them, for their identifiers are not heard.
    fn sharing(&self) -> Sharing {
        let stays = self.inventory.iter().filter(|device| self.inventory.stays(device));
        let keys = stays.map(|device| device.key).filter(|key| matches!(key, DeviceKey::Local(_)));
        self.identities.sharing(keys)
    }

    /// Has those who ask under an identifier be one device, unless something speaks against it.
    fn group(&mut self, id: &ClientId, keys: &[DeviceKey], now: Time, out: &mut Output) {
        self.groups.count(id, keys.len());
        let keys = &self.undisputed(keys);
        let elsewhere = keys.iter().any(|key| self.groups.of(*key).is_some_and(|by| by != id));
        let barred = self.groups.refuted(id).is_some() || self.bar(keys).is_some();
        if elsewhere || barred || self.numbers(keys).len() < 2 || self.groups.members(id) == keys {
            return;
        }
        self.groups.regroup(id, keys.to_vec());
        self.save_devices(keys, now, out);
        self.tell_group((id, keys), None, now, out);
    }

    fn review_groups(&mut self, sharing: &Sharing, now: Time, out: &mut Output) {
        for id in self.groups.ids() {
            let keys = sharing.get(&id).map(|keys| &keys[..]).unwrap_or_default();
            self.groups.count(&id, keys.len());
            let members = self.groups.members(&id).iter().copied();
            let left: Vec<_> = members.filter(|key| keys.contains(key)).collect();
            let stay = self.undisputed(&left);
            // Of those who were merged or forgotten that was told.
            let ends = self.numbers(&stay).len() < 2;
            let parted = (ends && stay.len() < left.len()).then_some(WhyTwo::Distinct);
            let why = self.groups.refuted(&id).or_else(|| self.bar(&stay)).or(parted);
            self.groups.regroup(&id, if ends || why.is_some() { Vec::new() } else { stay });
            if why.is_some() && left.len() > 1 {
                self.tell_group((&id, &left), why, now, out);
            }
            if self.groups.take_changed(&id) {
                self.keep_group(&id, out);
            }
            if self.groups.kept(&id).is_none() && keys.is_empty() {
                self.groups.forget(&id);
            }
        }
    }

    /// Why these must not be one device by evidence, if so: what people say goes before, and who is spared or carries others is
    /// always shown by itself.
    fn bar(&self, keys: &[DeviceKey]) -> Option<WhyTwo> {
        for (at, key) in keys.iter().enumerate() {
            let Some(device) = self.inventory.get(*key) else { continue };
            let card = self.inventory.cards().of(*key).cloned();
            let card = card.unwrap_or_else(|| Card { keys: vec![*key], ..Card::default() });
            let others = keys.get(at + 1..).unwrap_or_default();
            if device.gateway {
                return Some(WhyTwo::Gateway);
            }
            if inventory::is_protected(device, &self.settings) {
                return Some(WhyTwo::Protected);
            }
            if self.inventory.is_vital(&card, &self.settings) {
                return Some(WhyTwo::Vital);
            }
            let name = |key| self.describe(key).and_then(|device| device.name);
            let names =
                |other: &DeviceKey| name(*key).zip(name(*other)).is_some_and(|(one, other)| one != other);
            let disagrees = |other: &DeviceKey| {
                self.inventory
                    .cards()
                    .of(*other)
                    .is_some_and(|other| other.id != card.id && card.contradicts(other))
            };
            if others.iter().any(disagrees) || others.iter().any(names) {
                return Some(WhyTwo::Said);
            }
        }
        None
    }

    /// Those of these of whom no person said that they are two: who is said to be none of the most others is left out.
    fn undisputed(&self, keys: &[DeviceKey]) -> Vec<DeviceKey> {
        let mut keys = keys.to_vec();
        // Of more nobody is one.
        while keys.len() <= MAX_ALIKE {
            let others = |key| keys.iter().filter(|other| self.inventory.are_distinct(key, **other)).count();
            let most = keys.iter().enumerate().map(|(at, key)| (others(*key), at)).max();
            let Some((1.., at)) = most else { break };
            keys.remove(at);
        }
        keys
    }

    /// The numbers of these, lowest first: those that a person merged have one.
    fn numbers(&self, keys: &[DeviceKey]) -> BTreeSet<DeviceId> {
        keys.iter().filter_map(|key| self.inventory.get(*key)).map(|device| device.id).collect()
    }

    /// Which of these ask under an identifier of a machine that a device asks under too.
    pub(super) fn sharing_with(
        &self,
        key: DeviceKey,
        others: impl Iterator<Item = DeviceKey>,
    ) -> Vec<DeviceKey> {
        let keys = std::iter::once(key).chain(others);
        let with = self.identities.sharing(keys).into_values().filter(|keys| keys.contains(&key));
        let with: BTreeSet<_> = with.flatten().filter(|other| *other != key).collect();
        with.into_iter().collect()
    }

    /// All that are one device with this one by evidence, itself among them, the oldest number first; nobody if it is none.
    pub(super) fn one_by_evidence(&self, key: DeviceKey) -> Vec<DeviceKey> {
        let Some(id) = self.groups.of(key) else { return Vec::new() };
        let mut keys = self.groups.members(id).to_vec();
        keys.sort_by_key(|key| (self.inventory.get(*key).map(|device| device.id), *key));
        keys
    }

    /// Who is counted as one with any of these by evidence, and is not among them.
    pub(super) fn beside(&self, targets: &[Target]) -> Vec<DeviceRef> {
        let keys = targets.iter().filter_map(|target| self.inventory.find(*target)).map(|device| device.key);
        let others: BTreeSet<_> = keys.flat_map(|key| self.one_by_evidence(key)).collect();
        let goes_on = |key: &DeviceKey| !targets.contains(&target(*key));
        others.into_iter().filter(goes_on).filter_map(|key| self.describe(key)).collect()
    }

    /// An edit of several that are counted as one, by the number by which they are: the words go to whoever has some, and all may be
    /// here or none. Class and criticality stay with the one that is named, for they restrict and spare. An order that names another
    /// of them too says of each what it says.
    pub(super) fn spread(
        &self,
        key: DeviceKey,
        edit: &Edit,
        named: &BTreeSet<DeviceKey>,
    ) -> Vec<(DeviceKey, Edit)> {
        let all = self.one_by_evidence(key);
        let others: Vec<_> = all.iter().copied().filter(|other| *other != key).collect();
        if all.first() != Some(&key) || others.iter().any(|other| named.contains(other)) {
            return vec![(key, edit.clone())];
        }
        let mut own = edit.clone();
        let mut theirs = vec![Edit::default(); others.len()];
        let cards: Vec<_> = others.iter().map(|other| self.inventory.cards().of(*other)).collect();
        let mine = self.inventory.cards().of(key);
        let shown = all.iter().find_map(|key| self.describe(*key)?.name);
        if edit.name == shown {
            own.name = None;
        }
        for (word, said) in WORDS {
            let Some(text) = word(&mut own).clone() else { continue };
            let has = |card: Option<&Card>| card.and_then(said).is_some();
            let holders = cards.iter().zip(&mut theirs).filter(|(card, _)| has(**card));
            let mut held = false;
            for (_, edit) in holders {
                (*word(edit), held) = (Some(text.clone()), true);
            }
            if held && !has(mine) {
                *word(&mut own) = None;
            }
        }
        let approves = |card: Option<&Card>| card.is_some_and(|card| card.approved);
        let approved = cards.iter().copied().chain([mine]).all(approves);
        let approve = edit.approved.filter(|wanted| *wanted != approved);
        own.approved = approve;
        theirs.iter_mut().for_each(|edit| edit.approved = approve);
        let theirs = others.into_iter().zip(theirs).filter(|(_, edit)| *edit != Edit::default());
        std::iter::once((key, own)).chain(theirs).collect()
    }

    fn keep_group(&self, id: &ClientId, out: &mut Output) {
        out.saves.push(match self.groups.kept(id) {
            Some(shared) => Save::Keep(Memory::Shared(Box::new(shared))),
            None => Save::Drop(MemoryKey::Shared(id.clone())),
        });
    }

    fn tell_group(
        &mut self,
        (id, keys): (&ClientId, &[DeviceKey]),
        why: Option<WhyTwo>,
        now: Time,
        out: &mut Output,
    ) {
        let mut devices: Vec<DeviceRef> = keys.iter().filter_map(|key| self.describe(*key)).collect();
        devices.sort_by_key(|device| (device.id, device.mac));
        let Some(key) = devices.first().map(|device| DeviceKey::Local(device.mac)) else { return };
        let device = devices.remove(0);
        let card = self.card_of_key(key);
        let step = if why.is_some() { CardStep::Dissolved } else { CardStep::Grouped };
        let group = Some(Grouping { with: devices, client_id: id.to_string(), why });
        let change = CardChange { step, device, card: Box::new(card), by: BY.to_owned(), group };
        self.untold.push_back(Timed { time: now, event: Event::Card(change) });
        self.tell_cards(now, false, out);
    }
}
