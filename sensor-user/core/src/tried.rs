//! What every device ever tried: its peers and their services, those that answered apart from those that did not.
//!
//! They are kept in three tables, so that none pushes out what matters more: who answered inside is what a device needs and
//! goes on having while it is pinned; the web of some thousand people would push it out, and so would a scan, of which
//! nearly all is in vain.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroUsize;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::addr::mark;
use crate::contact::Way;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::{Lru, Marks};
use crate::state::state;
use crate::time::Time;

/// A device, an address it tried, and by what.
pub type Peer = (DeviceKey, IpAddr, Way);
/// The same, and the port, or the protocol's number if it has none.
pub type Service = (DeviceKey, IpAddr, Way, u16);

/// What is known of what a device tried.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Tried {
    /// The first time; the first since it was tried in vain and released; when it first answered, if that was later than the
    /// first contact's time allows.
    pub first: Time,
    /// The last time.
    pub last: Time,
}

/// What devices tried, each a [`Peer`] or a [`Service`].
#[derive(Debug)]
pub struct AllTried<K> {
    /// What answered, inside.
    inside: Lru<K, Tried>,
    /// What answered, outside.
    outside: Lru<K, Tried>,
    /// What never answered.
    in_vain: Lru<K, Tried>,
}

state!(AllTried<Peer> { inside, outside, in_vain });
state!(AllTried<Service> { inside, outside, in_vain });

impl AllTried<Peer> {
    /// None, and room for so many.
    pub fn peers(limit: usize) -> Self {
        Self::new(limit, Lru::new)
    }
}

impl AllTried<Service> {
    /// None, and room for so many.
    pub fn services(limit: usize) -> Self {
        let marks: Marks<Service> = |(device, dst, ..)| [device.mark(), mark(*dst)];
        Self::new(limit, |room| Lru::searched(room, marks))
    }

    /// What answered at any of these addresses, or, by devices, to any of these.
    pub fn answered(&self, marks: &BTreeSet<u32>) -> impl Iterator<Item = (&Service, &Tried)> {
        self.inside.marked(marks).chain(self.outside.marked(marks))
    }
}

impl<K: Hash + Eq> AllTried<K> {
    /// Two thirds of the room are for what answers inside.
    fn new(limit: usize, table: impl Fn(NonZeroUsize) -> Lru<K, Tried>) -> Self {
        Self {
            inside: table(capacity(limit / 3 * 2)),
            outside: table(capacity(limit / 6)),
            in_vain: Lru::new(capacity(limit / 6)),
        }
    }

    /// Notes that something is tried; true if that is new: it never was before, or in vain before the device was released.
    pub fn is_new(&mut self, key: K, internal: bool, now: Time, clean_since: Time) -> bool {
        // What is internal may have been configured anew since.
        let (mut likely, mut other) = (&mut self.inside, &mut self.outside);
        if !internal {
            std::mem::swap(&mut likely, &mut other);
        }
        if let Some(known) = likely.get_mut(&key) {
            known.last = now;
            return false;
        }
        if let Some(known) = other.pop(&key) {
            likely.put(key, Tried { last: now, ..known });
            return false;
        }
        let Some(known) = self.in_vain.get_mut(&key) else {
            self.in_vain.put(key, Tried { first: now, last: now });
            return true;
        };
        let anew = known.last < clean_since;
        known.last = now;
        if anew {
            known.first = now;
        }
        anew
    }

    /// Notes that something answers that was tried; `late`, if it did not when it was tried first. True if something else that
    /// answered inside was forgotten for it.
    pub fn answers(&mut self, key: K, internal: bool, late: Option<Time>) -> bool {
        let Some(tried) = self.in_vain.pop(&key) else { return false };
        let table = if internal { &mut self.inside } else { &mut self.outside };
        let forgotten = internal && table.is_full();
        table.put(key, Tried { first: late.unwrap_or(tried.first), ..tried });
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Mac;

    const DEVICE: DeviceKey = DeviceKey::Local(Mac([2, 0, 0, 0, 0, 1]));

    fn peer(net: u8, n: u32) -> Peer {
        let [_, a, b, c] = n.to_be_bytes();
        (DEVICE, IpAddr::from([net, a, b, c]), Way::Tcp)
    }

    #[test]
    fn neither_the_web_nor_a_scan_pushes_out_who_answers_inside() {
        let mut all = AllTried::peers(96);
        let mut now = Time::at(1);
        let mut tries = |all: &mut AllTried<Peer>, key: Peer| {
            now = now.plus(1);
            all.is_new(key, key.1 < IpAddr::from([11, 0, 0, 0]), now, Time::at(0))
        };
        for n in 0..64 {
            assert!(tries(&mut all, peer(10, n)));
            assert!(!all.answers(peer(10, n), true, None));
        }
        for n in 0..16 {
            assert!(tries(&mut all, peer(198, n)));
            all.answers(peer(198, n), false, None);
        }
        // A scan, inside and outside.
        for n in 1_000..2_000 {
            assert!(tries(&mut all, peer(10, n)) && tries(&mut all, peer(198, n)));
        }
        let known = |all: &AllTried<Peer>| [&all.inside, &all.outside, &all.in_vain].map(Lru::len);
        assert_eq!(known(&all), [64, 16, 16]);
        assert!((0..64).all(|n| !tries(&mut all, peer(10, n))));
        assert!((0..16).all(|n| !tries(&mut all, peer(198, n))));
        // The web.
        for n in 5_000..6_000 {
            assert!(tries(&mut all, peer(198, n)));
            all.answers(peer(198, n), false, None);
        }
        assert!((0..64).all(|n| !tries(&mut all, peer(10, n))));
        assert_eq!(known(&all), [64, 16, 15], "what answered is in vain no more");
        assert!(tries(&mut all, peer(10, 64)) && all.answers(peer(10, 64), true, None), "told");
        assert!(tries(&mut all, peer(10, 0)), "the first is forgotten");
    }

    #[test]
    fn what_answered_is_known_on_whichever_side_it_is_since() {
        let mut all = AllTried::peers(64);
        let [then, now, later] = [1, 5, 9].map(Time::at);
        assert!(all.is_new(peer(10, 1), false, then, Time::at(0)));
        all.answers(peer(10, 1), false, Some(now));
        assert!(!all.is_new(peer(10, 1), true, later, Time::at(7)), "in vain it was not");
        let tried = all.inside.peek(&peer(10, 1)).copied();
        assert!(matches!(tried, Some(Tried { first, last }) if (first, last) == (now, later)), "{tried:?}");
        all.answers(peer(10, 2), true, None);
        assert_eq!((all.inside.len(), all.outside.len()), (1, 0), "nobody tried the other");
    }

    #[test]
    fn what_was_in_vain_is_new_again_to_who_was_released() {
        let mut all = AllTried::peers(64);
        let [then, released, later] = [1, 5, 9].map(Time::at);
        assert!(all.is_new(peer(10, 1), true, then, Time::at(0)));
        assert!(!all.is_new(peer(10, 1), true, then, Time::at(0)));
        assert!(all.is_new(peer(10, 1), true, later, released));
        assert!(!all.is_new(peer(10, 1), true, later, released));
    }
}
