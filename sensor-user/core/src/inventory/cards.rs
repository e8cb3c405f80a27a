//! What people say of devices: one card a device, which outlives its being heard, and may come before it.
//!
//! A card also says which MAC addresses (or, behind a gateway, IP addresses) are one device: a laptop on its dock and off it.
//! Only a person says so, never what is heard: a device that borrows another's identifier must not draw it into its own
//! isolation. Those that are counted as one by evidence ([`group`](crate::identify::group)) have a card each.

use std::collections::{BTreeMap, HashMap};

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::DeviceKey;
use crate::policy::Name;
use crate::policy::class::Criticality;

/// Number of a device. It is given once, and goes on over restarts.
pub type DeviceId = u64;

/// Most cards.
pub const MAX_CARDS: usize = 65_536;
/// Most addresses that are one device.
pub const MAX_KEYS: usize = 16;
/// Most addresses of others of which a device is said to be none.
pub const MAX_DISTINCT: usize = 64;
/// Longest name, place or owner, in characters.
pub const MAX_WORDS: usize = 64;
/// Longest note, in characters.
pub const MAX_NOTE: usize = 256;

/// What people say of a device.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Card {
    /// The device's number.
    pub id: DeviceId,
    /// By which addresses it is known, first the one it was entered by.
    pub keys: Vec<DeviceKey>,
    /// What it is called.
    pub name: Option<String>,
    /// Where it stands.
    pub place: Option<String>,
    /// Whose it is.
    pub owner: Option<String>,
    /// What else there is to say.
    pub note: Option<String>,
    /// Its class, in place of the one its addresses give it.
    pub class: Option<Name>,
    /// How much depends on it, besides what its class says.
    pub criticality: Option<Criticality>,
    /// Whether it may be here.
    pub approved: bool,
    /// What each of several addresses was by itself, in their order: it is that again once they are parted.
    pub parts: Vec<Card>,
    /// Other devices that it is not, though they may ask under its identifier.
    pub distinct: Vec<DeviceKey>,
}

/// The texts of a card.
const WORDS: [fn(&mut Card) -> &mut Option<String>; 4] =
    [|card| &mut card.name, |card| &mut card.place, |card| &mut card.owner, |card| &mut card.note];

impl Card {
    /// Whether it says nothing.
    pub fn is_blank(&self) -> bool {
        let words = [&self.name, &self.place, &self.owner, &self.note];
        self.keys.len() <= 1
            && words.iter().all(|text| text.is_none())
            && self.class.is_none()
            && self.criticality.is_none()
            && !self.approved
            && self.distinct.is_empty()
    }

    /// Whether something is said otherwise of another one.
    pub(crate) fn contradicts(&self, other: &Card) -> bool {
        fn differ<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
            one.is_some() && other.is_some() && one != other
        }
        differ(&self.name, &other.name)
            || differ(&self.place, &other.place)
            || differ(&self.owner, &other.owner)
            || differ(&self.note, &other.note)
            || differ(&self.class, &other.class)
            || differ(&self.criticality, &other.criticality)
    }

    /// Takes over what it does not say itself.
    fn complete(&mut self, other: Card) {
        let fill = |mine: &mut Option<String>, theirs| *mine = mine.take().or(theirs);
        fill(&mut self.name, other.name);
        fill(&mut self.place, other.place);
        fill(&mut self.owner, other.owner);
        fill(&mut self.note, other.note);
        self.class = self.class.or(other.class);
        // Of two words about how much depends on it the one that spares it more counts.
        self.criticality = self.criticality.max(other.criticality);
    }

    /// Notes that it is none of these.
    pub(crate) fn part_from(&mut self, keys: &[DeviceKey]) {
        let new: Vec<_> = keys.iter().filter(|key| !self.distinct.contains(key)).copied().collect();
        self.distinct.extend(new);
    }

    /// What each of its addresses was by itself.
    fn parts(&self) -> Vec<Card> {
        if !self.parts.is_empty() {
            return self.parts.clone();
        }
        // One address, or several that an earlier release merged: it did not keep of which something was said. In doubt how much
        // depends on it holds for all; number 0 is one that is still to be given.
        let part = |(at, key): (usize, &DeviceKey)| {
            let keys = vec![*key];
            match at {
                0 => Card { keys, ..self.clone() },
                _ => {
                    let Card { class, criticality, .. } = *self;
                    Card { keys, class, criticality, ..Card::default() }
                }
            }
        };
        self.keys.iter().enumerate().map(part).collect()
    }

    /// What each of its addresses is once they are parted, and whether it is in doubt how much depends on each. `vital` says
    /// whether a life depends on the device of a card.
    ///
    /// A text that was changed since they were merged goes to the address it was said of before, or to the first. Another class or
    /// criticality goes to all of them, but spares none less than before.
    pub fn parted(&self, vital: impl Fn(&Card) -> bool) -> (Vec<Card>, bool) {
        let (mut parts, mut whole) = (self.parts(), self.clone());
        let mut doubt =
            parts.iter().any(|part| part.id == 0 && (part.class.is_some() || part.criticality.is_some()));
        let (class, approved) =
            (parts.iter().find_map(|part| part.class), parts.first().map(|part| part.approved));
        let critical =
            |part: &Card| if vital(part) { Some(Criticality::LifeCritical) } else { part.criticality };
        let criticality = parts.iter().map(critical).max().flatten();
        for word in WORDS {
            let said = parts.iter_mut().position(|part| word(part).is_some()).unwrap_or(0);
            parts.get_mut(said).into_iter().for_each(|part| word(part).clone_from(word(&mut whole)));
        }
        for part in &mut parts {
            part.part_from(&self.distinct);
            if approved != Some(self.approved) {
                part.approved = self.approved;
            }
            if self.criticality != criticality {
                part.criticality = part.criticality.max(self.criticality);
                doubt = true;
            }
            if self.class != class {
                let other = Card { class: self.class.or(part.class), ..part.clone() };
                if vital(&other) || !vital(part) {
                    *part = other;
                }
                doubt = true;
            }
        }
        (parts, doubt)
    }
}

/// What is to be changed of a card; what is none stays. An empty text, or an inner none, takes the entry away.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Edit {
    /// What it is called.
    pub name: Option<String>,
    /// Where it stands.
    pub place: Option<String>,
    /// Whose it is.
    pub owner: Option<String>,
    /// What else there is to say.
    pub note: Option<String>,
    /// Its class.
    pub class: Option<Option<Name>>,
    /// How much depends on it.
    pub criticality: Option<Option<Criticality>>,
    /// Whether it may be here.
    pub approved: Option<bool>,
}

/// Why a card cannot say something.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CardError {
    /// Too long.
    #[error("the {field} is longer than {most} characters")]
    Long {
        /// Which entry.
        field: &'static str,
        /// How long it may be.
        most: usize,
    },
    /// Something that is no text.
    #[error("the {0} holds a character that cannot be shown; write letters, digits, signs and spaces")]
    Control(&'static str),
    /// A name that could be taken for something else.
    #[error("{0} cannot be a name, for it is a number or an address; put a word before it")]
    Ambiguous(String),
    /// Somebody else's name.
    #[error(
        "{name} is the name of device {id} already; names are given once, for `sekisho block add {name}` must mean one"
    )]
    Taken {
        /// The name.
        name: String,
        /// Who has it.
        id: DeviceId,
    },
    /// No room.
    #[error(
        "there are {MAX_CARDS} devices that something is said of already; `sekisho devices forget` makes room"
    )]
    Full,
    /// Too many addresses.
    #[error("{MAX_KEYS} addresses are one device at most")]
    Keys,
    /// Too many others.
    #[error("it is said to be none of {MAX_DISTINCT} others already")]
    Distinct,
}

impl CardError {
    /// The entry it is about, if it is about one.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Long { field, .. } | Self::Control(field) => Some(field),
            Self::Ambiguous(_) | Self::Taken { .. } => Some("name"),
            Self::Full | Self::Keys | Self::Distinct => None,
        }
    }
}

/// All cards.
#[derive(Debug, Default)]
pub struct Cards {
    all: BTreeMap<DeviceId, Card>,
    by_key: HashMap<DeviceKey, DeviceId>,
    by_name: HashMap<String, DeviceId>,
}

impl Cards {
    /// The card of an address.
    pub fn of(&self, key: DeviceKey) -> Option<&Card> {
        self.get(*self.by_key.get(&key)?)
    }

    /// The card of a device.
    pub fn get(&self, id: DeviceId) -> Option<&Card> {
        self.all.get(&id)
    }

    /// The card of that name, in whatever case.
    pub fn called(&self, name: &str) -> Option<&Card> {
        self.get(*self.by_name.get(&name.to_lowercase())?)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Card> {
        self.all.values()
    }

    /// Puts a card in the place of the one of its number. Whatever addresses and name it has are its own from then on.
    pub fn put(&mut self, card: Card) {
        self.remove(card.id);
        for key in &card.keys {
            self.by_key.insert(*key, card.id);
        }
        if let Some(name) = &card.name {
            self.by_name.insert(name.to_lowercase(), card.id);
        }
        self.all.insert(card.id, card);
    }

    /// Takes a card away.
    pub fn remove(&mut self, id: DeviceId) -> Option<Card> {
        let card = self.all.remove(&id)?;
        for key in card.keys.iter().filter(|key| self.by_key.get(key) == Some(&id)).collect::<Vec<_>>() {
            self.by_key.remove(key);
        }
        let name = card.name.as_ref().map(|name| name.to_lowercase());
        if let Some(name) = name.filter(|name| self.by_name.get(name) == Some(&id)) {
            self.by_name.remove(&name);
        }
        Some(card)
    }

    /// The card as it is after an edit, without a change to anything.
    ///
    /// # Errors
    ///
    /// [`CardError`].
    pub fn edited(&self, card: &Card, edit: &Edit) -> Result<Card, CardError> {
        if !self.all.contains_key(&card.id) && self.all.len() >= MAX_CARDS {
            return Err(CardError::Full);
        }
        let mut card = card.clone();
        let set = |to: &mut Option<String>, from: &Option<String>, field, most| {
            let Some(from) = from else { return Ok(()) };
            *to = text(from, field, most)?;
            Ok(())
        };
        set(&mut card.name, &edit.name, "name", MAX_WORDS)?;
        set(&mut card.place, &edit.place, "place", MAX_WORDS)?;
        set(&mut card.owner, &edit.owner, "owner", MAX_WORDS)?;
        set(&mut card.note, &edit.note, "note", MAX_NOTE)?;
        card.class = edit.class.unwrap_or(card.class);
        card.criticality = edit.criticality.unwrap_or(card.criticality);
        card.approved = edit.approved.unwrap_or(card.approved);
        if let Some(name) = edit.name.as_ref().and(card.name.as_ref()) {
            let number = name.bytes().all(|byte| byte.is_ascii_digit());
            if number || name.parse::<crate::policy::Target>().is_ok() {
                return Err(CardError::Ambiguous(name.clone()));
            }
            if let Some(other) = self.called(name).filter(|other| other.id != card.id) {
                return Err(CardError::Taken { name: name.clone(), id: other.id });
            }
        }
        Ok(card)
    }

    /// The card of two that are found to be one device, without a change to anything.
    ///
    /// # Errors
    ///
    /// [`CardError::Keys`].
    pub fn merged(into: &Card, other: &Card) -> Result<Card, CardError> {
        let mut card = into.clone();
        card.keys.extend(&other.keys);
        if card.keys.len() > MAX_KEYS {
            return Err(CardError::Keys);
        }
        card.parts = [into.parts(), other.parts()].concat();
        card.complete(other.clone());
        card.part_from(&other.distinct);
        card.distinct.retain(|key| !card.keys.contains(key));
        Ok(card)
    }

    /// The card of a device that is found to be another one than these, without a change to anything.
    ///
    /// # Errors
    ///
    /// [`CardError::Full`] and [`CardError::Distinct`].
    pub fn parted_from(&self, card: &Card, keys: &[DeviceKey]) -> Result<Card, CardError> {
        let mut card = self.edited(card, &Edit::default())?;
        card.part_from(keys);
        if card.distinct.len() > MAX_DISTINCT { Err(CardError::Distinct) } else { Ok(card) }
    }
}

/// A text without the spaces around it; none if nothing is left.
fn text(from: &str, field: &'static str, most: usize) -> Result<Option<String>, CardError> {
    let text = from.trim();
    if text.chars().count() > most {
        return Err(CardError::Long { field, most });
    }
    if text.chars().any(|c| c.is_control() || is_direction(c)) {
        return Err(CardError::Control(field));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// Whether a character turns the direction of those around it, so that a text reads as another one.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl crate::state::State for Cards {
    fn save(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let all: Vec<&Card> = self.iter().collect();
        all.serialize(out)
    }

    fn load(&mut self, from: &mut &[u8]) -> std::io::Result<()> {
        *self = Self::default();
        Vec::<Card>::deserialize(from)?.into_iter().for_each(|card| self.put(card));
        Ok(())
    }

    fn layout(&self, hash: &mut sha2::Sha256) {
        Vec::<Card>::default().layout(hash);
    }
}
