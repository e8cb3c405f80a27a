//! One device with several network cards, by evidence: a laptop in its dock and out of it. The addresses ask under one
//! identifier of a machine, and are heard by turns, never at once.
//!
//! It is evidence by which people see and count devices, and no more: whoever borrows an identifier is counted as its owner, but
//! neither is held, spared or judged for the other.
//!
//! Clones of one disk image ask under one identifier too. They are found by being on together: once a minute it is looked who was
//! heard since, by the times the device table has. A hand-over takes up to a minute (the cable is in, the radio still says good-bye),
//! and so touches two such rounds at most: several heard in three rounds in a row were on together for a whole minute besides. Of
//! quiet ones each round may hear another: nobody carries a laptop to and fro more than three times an hour. Those who were found to
//! be two that way are never one by that identifier again; a laptop that leaves its radio on in the dock is among them.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::Serialize;

use super::client::{ClientId, MAX_ALIKE};
use crate::inventory::DeviceKey;
use crate::inventory::cards::DeviceId;
use crate::state::state;
use crate::time::{HOUR, MINUTE, Time};

/// How often it is looked who was heard, ns.
const ROUND: u64 = MINUTE;
/// Several heard in so many rounds in a row are on together.
const TOGETHER: u8 = 3;
/// Rounds within [`MOVING`] in which it may change who is heard: three times to and fro, two rounds each.
const MOVES: usize = 6;
const MOVING: u64 = HOUR;
/// One must be heard alone for so long until they are taken for one device, ns.
const ALONE: u64 = 2 * ROUND;
/// Most identifiers that are watched, or remembered as those of several.
pub const MAX_WATCHED: usize = 4_096;

/// Why several are not one device, though they ask under one identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhyTwo {
    /// They are on together.
    Together,
    /// Too many have it.
    Image,
    /// One carries others.
    Gateway,
    /// One is protected.
    Protected,
    /// A life depends on one.
    Vital,
    /// A person said that they are two.
    Distinct,
    /// People say different things of them.
    Said,
}

impl WhyTwo {
    /// Those that hold for good, whatever comes.
    pub const LASTING: [Self; 2] = [Self::Together, Self::Image];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Image => "image",
            Self::Gateway => "gateway",
            Self::Protected => "protected",
            Self::Vital => "vital",
            Self::Distinct => "distinct",
            Self::Said => "said",
        }
    }

    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Together => "they are heard at the same time",
            Self::Image => "so many ask under their identifier that it is that of a disk image",
            Self::Gateway => "one of them is a gateway",
            Self::Protected => "one of them is protected",
            Self::Vital => "a life depends on one of them",
            Self::Distinct => "a person said that they are two",
            Self::Said => "people say different things of them",
        }
    }
}

/// What is kept of an identifier.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Shared {
    /// The identifier.
    pub id: ClientId,
    /// Who is one device by it; nobody if it is that of several.
    pub members: Vec<DeviceKey>,
    /// Why nobody ever is.
    pub refuted: Option<WhyTwo>,
}

/// An identifier that several share.
#[derive(Clone, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Watch {
    members: Vec<DeviceKey>,
    refuted: Option<WhyTwo>,
    /// One of these changed since they were kept.
    changed: bool,
    /// Who was heard in the last round in which one alone was.
    last: Option<DeviceId>,
    /// Rounds in a row in which several were heard.
    together: u8,
    /// When it last changed who is heard.
    moves: Vec<Time>,
}

impl Watch {
    fn refute(&mut self, why: WhyTwo) {
        self.changed |= self.refuted.is_none();
        self.refuted.get_or_insert(why);
    }

    /// Takes in who was heard in a round; whether it is one alone, and was before.
    fn listen(&mut self, heard: &BTreeSet<DeviceId>, now: Time) -> bool {
        self.moves.retain(|at| now.since(*at) < MOVING);
        let several = heard.len() > 1;
        let alone = heard.first().copied().filter(|_| !several);
        self.together = if several { self.together.saturating_add(1) } else { 0 };
        if several || (self.last.is_some() && alone.is_some() && alone != self.last) {
            self.moves.push(now);
        }
        if !heard.is_empty() {
            self.last = alone;
        }
        if self.together >= TOGETHER || self.moves.len() > MOVES {
            self.refute(WhyTwo::Together);
        }
        alone.is_some() && self.moves.last().is_none_or(|at| now.since(*at) >= ALONE)
    }
}

/// All identifiers that several share.
#[derive(Debug, Default)]
pub struct Groups {
    watched: BTreeMap<ClientId, Watch>,
    by_member: BTreeMap<DeviceKey, ClientId>,
    /// When the last round was.
    turned: Option<Time>,
    /// Times that an identifier was not watched for want of room.
    pub unwatched: u64,
}

state!(Groups { watched, by_member, turned, unwatched });

impl Groups {
    /// Begins a round, if it is time for one; since when it counts who was heard.
    pub(crate) fn turn(&mut self, now: Time) -> Option<Time> {
        if self.turned.is_some_and(|at| now.since(at) < ROUND) {
            return None;
        }
        self.turned.replace(now)
    }

    /// Takes up what an earlier run kept.
    pub(crate) fn recall(&mut self, shared: Shared) {
        if self.watched.len() >= MAX_WATCHED {
            self.unwatched += 1;
            return;
        }
        let watch = Watch { refuted: shared.refuted, ..Watch::default() };
        self.watched.insert(shared.id.clone(), watch);
        self.regroup(&shared.id, shared.members);
        self.take_changed(&shared.id);
    }

    /// Watches an identifier that several have now. If there is no room, one that nobody has any more gives way, which is given back.
    pub(crate) fn watch(
        &mut self,
        id: &ClientId,
        had: impl Fn(&ClientId) -> bool,
        now: Time,
    ) -> Option<ClientId> {
        if self.watched.contains_key(id) {
            return None;
        }
        let full = self.watched.len() >= MAX_WATCHED;
        let gone = self.watched.keys().find(|id| full && !had(id)).cloned();
        match &gone {
            Some(gone) => self.forget(gone),
            None if full => {
                self.unwatched += 1;
                return None;
            }
            None => {}
        }
        // That another asks is a hand-over.
        self.watched.insert(id.clone(), Watch { moves: vec![now], ..Watch::default() });
        gone
    }

    /// Whether none is watched.
    pub(crate) fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// All identifiers that are watched.
    pub(crate) fn ids(&self) -> Vec<ClientId> {
        self.watched.keys().cloned().collect()
    }

    /// Takes in which of the devices with an identifier were heard in this round; whether they are heard by turns, as one device is.
    pub(crate) fn listen(&mut self, id: &ClientId, heard: &BTreeSet<DeviceId>, now: Time) -> bool {
        let watch = self.watched.get_mut(id).filter(|watch| watch.refuted.is_none());
        watch.is_some_and(|watch| watch.listen(heard, now))
    }

    /// Notes that too many have an identifier.
    pub(crate) fn count(&mut self, id: &ClientId, having: usize) {
        if let Some(watch) = self.watched.get_mut(id).filter(|_| having > MAX_ALIKE) {
            watch.refute(WhyTwo::Image);
        }
    }

    /// Why those who have an identifier are surely several.
    pub fn refuted(&self, id: &ClientId) -> Option<WhyTwo> {
        self.watched.get(id)?.refuted
    }

    /// Who is one device by an identifier.
    pub fn members(&self, id: &ClientId) -> &[DeviceKey] {
        self.watched.get(id).map(|watch| &watch.members[..]).unwrap_or_default()
    }

    /// By which identifier a device is one with others.
    pub fn of(&self, key: DeviceKey) -> Option<&ClientId> {
        self.by_member.get(&key)
    }

    /// Has these be one device by an identifier, and nobody else. None of them may be one by another.
    pub(crate) fn regroup(&mut self, id: &ClientId, members: Vec<DeviceKey>) {
        let Some(watch) = self.watched.get_mut(id) else { return };
        for key in &watch.members {
            self.by_member.remove(key);
        }
        self.by_member.extend(members.iter().map(|key| (*key, id.clone())));
        watch.changed |= watch.members != members;
        watch.members = members;
    }

    /// Whether what is to be kept of an identifier changed since it was asked for.
    pub(crate) fn take_changed(&mut self, id: &ClientId) -> bool {
        self.watched.get_mut(id).is_some_and(|watch| std::mem::take(&mut watch.changed))
    }

    /// What is to be kept of an identifier; none if there is nothing.
    pub(crate) fn kept(&self, id: &ClientId) -> Option<Shared> {
        let Watch { members, refuted, .. } = self.watched.get(id)?;
        let shared = Shared { id: id.clone(), members: members.clone(), refuted: *refuted };
        (!members.is_empty() || refuted.is_some()).then_some(shared)
    }

    /// No longer watches an identifier.
    pub(crate) fn forget(&mut self, id: &ClientId) {
        self.regroup(id, Vec::new());
        self.watched.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is heard in each minute, and what is said of them then: `+` one device, `-` never one, `.` nothing.
    #[test]
    fn who_is_heard_by_turns_is_one_and_who_is_heard_together_never() {
        let cases = [
            ("docked once", "1 12 2 2 2", "...++"),
            ("the hand-over touches two rounds", "1 12 12 2 2 2", "....++"),
            ("back after three minutes", "1 12 2 2 12 1 1", "...+..+"),
            ("to and fro three times", "12 12 2 12 12 1 12 2 2", "........+"),
            ("both on", "12 12 12 1", "..--"),
            ("quiet, and both on", "1 2 0 1 2 0 1 2 1 2 1", "........---"),
            ("both away", "1 0 0 0", "...."),
        ];
        for (what, rounds, want) in cases {
            let mut watch = Watch { moves: vec![Time::at(0)], ..Watch::default() };
            let mut got = String::new();
            for (minute, heard) in rounds.split(' ').enumerate() {
                let now = Time::at((minute as u64 + 1) * MINUTE);
                let heard = heard.bytes().filter(|byte| *byte != b'0').map(|byte| byte.into()).collect();
                let alone = watch.listen(&heard, now);
                got.push(match watch.refuted {
                    Some(_) => '-',
                    None if alone => '+',
                    None => '.',
                });
            }
            assert_eq!(got, want, "{what}");
        }
    }

    #[test]
    fn there_is_an_end_to_what_is_watched_and_who_has_gone_gives_way() {
        let id = |n: u32| ClientId::of_duid(&[&[0, 2, 0, 0, 0, 0][..], &n.to_be_bytes()].concat()).unwrap();
        let mut groups = Groups::default();
        for n in 1..=MAX_WATCHED as u32 {
            assert_eq!(groups.watch(&id(n), |_| true, Time::at(0)), None);
        }
        assert_eq!((groups.watch(&id(9_999), |_| true, Time::at(0)), groups.unwatched), (None, 1));
        assert_eq!(groups.watch(&id(9_999), |had| *had != id(7), Time::at(0)), Some(id(7)));
        groups.recall(Shared { id: id(7), members: Vec::new(), refuted: Some(WhyTwo::Image) });
        assert_eq!((groups.ids().len(), groups.refuted(&id(7)), groups.unwatched), (MAX_WATCHED, None, 2));
    }
}
