//! A bounded table that forgets what was used least recently.
//!
//! It does what the `lru` crate does, and two things more that this core needs: its order of use can be saved and loaded
//! with it ([`crate::state`]), and it is made for tables of a hundred thousand entries of which each use misses the
//! cache: the order of use lies apart from the entries, eight bytes each, so that a use touches the entry alone and not
//! its two neighbours in the order; and entries lie in blocks that are never moved, so that no growth copies them all.
//!
//! Of a table that is [searched](Lru::searched) by a part of its keys, two marks of each key lie together, eight bytes an
//! entry: to find those of a device among half a million takes 0.4 ms, where to look at each entry takes tens.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Entries in a block.
const BLOCK: usize = 512;
/// Marks that are looked at together.
const TOGETHER: usize = 64;
/// No entry.
const NONE: u32 = u32::MAX;

/// The places before and after an entry in the order of use. Of a place that is free, `older` is the next free one.
#[derive(Clone, Copy, Debug)]
struct Link {
    newer: u32,
    older: u32,
}

/// Hashes keys made of addresses and numbers: bytes that are as many as those of a number are hashed as one, which takes a
/// third of the time.
#[derive(Clone, Debug, Default)]
struct KeyHash(DefaultHashBuilder);

struct KeyHasher(<DefaultHashBuilder as BuildHasher>::Hasher);

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0.build_hasher())
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        match *bytes {
            [a, b, c, d] => self.0.write_u32(u32::from_ne_bytes([a, b, c, d])),
            [a, b, c, d, e, f] => self.0.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, 0, 0])),
            _ => match bytes.try_into() {
                Ok(sixteen) => self.0.write_u128(u128::from_ne_bytes(sixteen)),
                Err(_) => self.0.write(bytes),
            },
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.0.write_u8(number);
    }

    fn write_u16(&mut self, number: u16) {
        self.0.write_u16(number);
    }

    fn write_u32(&mut self, number: u32) {
        self.0.write_u32(number);
    }

    fn write_u64(&mut self, number: u64) {
        self.0.write_u64(number);
    }

    fn write_u128(&mut self, number: u128) {
        self.0.write_u128(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.0.write_usize(number);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

/// Two parts of a key by which entries are searched for; keys that share a part share its mark.
pub type Marks<K> = fn(&K) -> [u32; 2];

/// A bounded table that forgets what was used least recently.
#[derive(Debug)]
pub struct Lru<K, V> {
    /// Places by the hash of their keys. It is keyed anew in each process: nobody outside can make keys collide.
    index: HashTable<u32>,
    hasher: KeyHash,
    blocks: Vec<Vec<Option<(K, V)>>>,
    links: Vec<Link>,
    /// What the table is searched by, and the marks by place; those of a free place are of an entry that left.
    marks: Option<(Marks<K>, Vec<[u32; 2]>)>,
    newest: u32,
    oldest: u32,
    free: u32,
    capacity: usize,
}

impl<K: Hash + Eq, V> Lru<K, V> {
    /// An empty table for at most `capacity` entries.
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self {
            index: HashTable::new(),
            hasher: KeyHash::default(),
            blocks: Vec::new(),
            links: Vec::new(),
            marks: None,
            newest: NONE,
            oldest: NONE,
            free: NONE,
            capacity: capacity.get().min(NONE as usize - 1),
        }
    }

    /// The same, to be searched by parts of its keys.
    pub fn searched(capacity: NonZeroUsize, marks: Marks<K>) -> Self {
        Self { marks: Some((marks, Vec::new())), ..Self::new(capacity) }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether the next new entry takes the place of another.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// Whether there is such an entry. It does not count as a use.
    pub fn contains(&self, key: &K) -> bool {
        self.find(key).is_some()
    }

    /// An entry, looked at without using it.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.at(self.find(key)?).map(|(_, value)| value)
    }

    /// An entry to change, without using it.
    pub fn peek_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.find(key)?;
        self.at_mut(place)
    }

    /// Uses an entry.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        self.get_mut(key).map(|value| &*value)
    }

    /// Uses an entry, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.find(key)?;
        self.touch(place);
        self.at_mut(place)
    }

    /// Uses an entry, which is made if there is none.
    pub fn get_or_insert_mut(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let hash = self.hasher.hash_one(&key);
        let place = match self.find_hashed(hash, &key) {
            Some(place) => {
                self.touch(place);
                place
            }
            None => {
                self.make_room();
                self.insert(hash, key, make())
            }
        };
        // A place that was found or made just now holds an entry.
        match self.at_mut(place) {
            Some(value) => value,
            None => unreachable!("place {place} is empty"),
        }
    }

    /// Enters a value; the one that was there under the same key comes back.
    pub fn put(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        if let Some(place) = self.find_hashed(hash, &key) {
            self.touch(place);
            return self.at_mut(place).map(|old| std::mem::replace(old, value));
        }
        self.make_room();
        self.insert(hash, key, value);
        None
    }

    /// Enters a value; what had to leave for it comes back: the one under the same key, or the least recently used one.
    pub fn push(&mut self, key: K, value: V) -> Option<(K, V)> {
        let hash = self.hasher.hash_one(&key);
        let left = match self.find_hashed(hash, &key) {
            Some(place) => self.remove(place),
            None => self.make_room(),
        };
        self.insert(hash, key, value);
        left
    }

    /// Takes an entry out.
    pub fn pop(&mut self, key: &K) -> Option<V> {
        let place = self.find(key)?;
        self.remove(place).map(|(_, value)| value)
    }

    /// The least recently used entry, looked at without using it.
    pub fn peek_lru(&self) -> Option<(&K, &V)> {
        self.at(self.oldest).map(|(key, value)| (key, value))
    }

    /// Takes the least recently used entry out.
    pub fn pop_lru(&mut self) -> Option<(K, V)> {
        self.remove(self.oldest)
    }

    /// Takes all entries out.
    pub fn clear(&mut self) {
        self.index.clear();
        self.blocks.clear();
        self.links.clear();
        if let Some((_, marks)) = &mut self.marks {
            marks.clear();
        }
        (self.newest, self.oldest, self.free) = (NONE, NONE, NONE);
    }

    /// All entries, the last used first.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.walk(self.newest, |link| link.older)
    }

    /// All entries, the least recently used first.
    pub fn oldest_first(&self) -> impl Iterator<Item = (&K, &V)> {
        self.walk(self.oldest, |link| link.newer)
    }

    /// All entries as they lie in memory, in no order of use: a table is looked through in a fraction of the time.
    pub fn unordered(&self) -> impl Iterator<Item = (&K, &V)> {
        self.blocks.iter().flatten().flatten().map(|(key, value)| (key, value))
    }

    /// The entries of which a part has one of these marks, in no order of use; and others whose marks happen to be the
    /// same. None of a table that is not searched.
    pub fn marked(&self, wanted: &BTreeSet<u32>) -> impl Iterator<Item = (&K, &V)> {
        let wanted: Vec<u32> = wanted.iter().copied().collect();
        let marks = self.marks.iter().flat_map(|(_, marks)| marks.chunks(TOGETHER));
        let near = (0..).step_by(TOGETHER).zip(marks).filter({
            let wanted = wanted.clone();
            // Without a branch for each: the processor compares several at once.
            move |(_, marks)| {
                wanted.iter().any(|want| {
                    marks.iter().fold(false, |hit, [one, other]| hit | (one == want) | (other == want))
                })
            }
        });
        let found = near
            .flat_map(|(first, marks)| (first..).zip(marks))
            .filter(move |(_, marks)| marks.iter().any(|mark| wanted.binary_search(mark).is_ok()));
        found.filter_map(|(place, _)| self.at(place).map(|(key, value)| (key, value)))
    }

    /// All values, to change them, in no order of use.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.iter_mut().map(|(_, value)| value)
    }

    /// All entries, their values to change, in no order of use.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.blocks.iter_mut().flatten().flatten().map(|(key, value)| (&*key, value))
    }

    fn walk(&self, first: u32, next: fn(&Link) -> u32) -> impl Iterator<Item = (&K, &V)> {
        let following = move |place: &u32| self.links.get(*place as usize).map(next);
        let places = std::iter::successors(Some(first), following).take_while(|place| *place != NONE);
        places.filter_map(|place| self.at(place).map(|(key, value)| (key, value)))
    }

    fn find(&self, key: &K) -> Option<u32> {
        self.find_hashed(self.hasher.hash_one(key), key)
    }

    fn find_hashed(&self, hash: u64, key: &K) -> Option<u32> {
        let same = |place: &u32| self.at(*place).is_some_and(|(other, _)| other == key);
        self.index.find(hash, same).copied()
    }

    /// Takes the least recently used entry out of a table that is full.
    fn make_room(&mut self) -> Option<(K, V)> {
        if self.len() < self.capacity { None } else { self.pop_lru() }
    }

    fn at(&self, place: u32) -> Option<&(K, V)> {
        self.blocks.get(place as usize / BLOCK)?.get(place as usize % BLOCK)?.as_ref()
    }

    fn at_mut(&mut self, place: u32) -> Option<&mut V> {
        let entry = self.blocks.get_mut(place as usize / BLOCK)?.get_mut(place as usize % BLOCK)?;
        entry.as_mut().map(|(_, value)| value)
    }

    /// Enters what is not there, as the last used; there must be room for it.
    fn insert(&mut self, hash: u64, key: K, value: V) -> u32 {
        let place = self.vacant();
        if let Some((mark, marks)) = &mut self.marks {
            let new = mark(&key);
            match marks.get_mut(place as usize) {
                Some(old) => *old = new,
                None => marks.push(new),
            }
        }
        if let Some(entry) = self
            .blocks
            .get_mut(place as usize / BLOCK)
            .and_then(|block| block.get_mut(place as usize % BLOCK))
        {
            *entry = Some((key, value));
        }
        let (blocks, hasher) = (&self.blocks, &self.hasher);
        let hash_of = |place: &u32| {
            let entry =
                blocks.get(*place as usize / BLOCK).and_then(|block| block.get(*place as usize % BLOCK));
            entry.and_then(Option::as_ref).map_or(0, |(key, _)| hasher.hash_one(key))
        };
        self.index.insert_unique(hash, place, hash_of);
        self.link(place);
        place
    }

    /// A place without an entry.
    fn vacant(&mut self) -> u32 {
        let free = self.free;
        if let Some(link) = self.links.get(free as usize) {
            self.free = link.older;
            return free;
        }
        // `capacity` keeps the number of places below `NONE`.
        let place = self.links.len() as u32;
        self.links.push(Link { newer: NONE, older: NONE });
        match self.blocks.last_mut().filter(|block| block.len() < BLOCK) {
            Some(block) => block.push(None),
            None => {
                // The first block of a small table grows; all others are made whole.
                let mut block = if self.blocks.is_empty() { Vec::new() } else { Vec::with_capacity(BLOCK) };
                block.push(None);
                self.blocks.push(block);
            }
        }
        place
    }

    fn remove(&mut self, place: u32) -> Option<(K, V)> {
        let entry = self.blocks.get_mut(place as usize / BLOCK)?.get_mut(place as usize % BLOCK)?.take()?;
        if let Ok(indexed) = self.index.find_entry(self.hasher.hash_one(&entry.0), |other| *other == place) {
            indexed.remove();
        }
        self.unlink(place);
        let free = self.free;
        self.set(place, |link| link.older = free);
        self.free = place;
        Some(entry)
    }

    /// Makes an entry the last used.
    fn touch(&mut self, place: u32) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    fn link(&mut self, place: u32) {
        let newest = self.newest;
        self.set(place, |link| *link = Link { newer: NONE, older: newest });
        self.set(newest, |link| link.newer = place);
        self.newest = place;
        if self.oldest == NONE {
            self.oldest = place;
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(Link { newer, older }) = self.links.get(place as usize).copied() else { return };
        self.set(newer, |link| link.older = older);
        self.set(older, |link| link.newer = newer);
        if self.newest == place {
            self.newest = older;
        }
        if self.oldest == place {
            self.oldest = newer;
        }
    }

    fn set(&mut self, place: u32, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(place as usize) {
            change(link);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// The same by a list that is searched through.
    #[derive(Default)]
    struct Plain(VecDeque<(u8, u32)>, usize);

    impl Plain {
        fn pop(&mut self, key: u8) -> Option<u32> {
            let at = self.0.iter().position(|(other, _)| *other == key)?;
            self.0.remove(at).map(|(_, value)| value)
        }

        fn push(&mut self, key: u8, value: u32) -> Option<(u8, u32)> {
            let left = match self.pop(key) {
                Some(old) => Some((key, old)),
                None if self.0.len() >= self.1 => self.0.pop_back(),
                None => None,
            };
            self.0.push_front((key, value));
            left
        }

        fn get(&mut self, key: u8) -> Option<u32> {
            let value = self.pop(key)?;
            self.0.push_front((key, value));
            Some(value)
        }
    }

    proptest! {
        #[test]
        fn it_forgets_what_was_used_least_recently(
            capacity in 1_usize..12,
            steps in prop::collection::vec((0_u8..7, 0_u8..20, any::<u32>()), 0..400),
        ) {
            let parts: Marks<u8> = |key| [u32::from(*key / 4), u32::from(*key % 4) + 10];
            let mut table = Lru::searched(NonZeroUsize::new(capacity).unwrap(), parts);
            let mut plain = Plain(VecDeque::new(), capacity);
            for (step, key, value) in steps {
                match step {
                    0 => prop_assert_eq!(table.push(key, value), plain.push(key, value)),
                    1 => prop_assert_eq!(table.put(key, value), plain.push(key, value).filter(|(old, _)| *old == key).map(|(_, old)| old)),
                    2 => prop_assert_eq!(table.pop(&key), plain.pop(key)),
                    3 => prop_assert_eq!(table.get(&key).copied(), plain.get(key)),
                    4 => {
                        let expected = plain.get(key).unwrap_or_else(|| { plain.push(key, value); value });
                        prop_assert_eq!(*table.get_or_insert_mut(key, || value), expected);
                    }
                    5 => prop_assert_eq!(table.pop_lru(), plain.0.pop_back()),
                    _ => {
                        if let Some(old) = table.peek_mut(&key) { *old = value; }
                        if let Some(old) = plain.0.iter_mut().find(|(other, _)| *other == key) { old.1 = value; }
                    }
                }
                let all: Vec<_> = table.iter().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(&all, &plain.0.iter().copied().collect::<Vec<_>>());
                let back: Vec<_> = table.oldest_first().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(back, all.iter().rev().copied().collect::<Vec<_>>());
                prop_assert_eq!(table.len(), all.len());
                prop_assert_eq!(table.peek_lru().map(|(key, _)| *key), all.last().map(|(key, _)| *key));
                for wanted in [&[][..], &[2], &[11], &[1, 3, 12]] {
                    let wanted = wanted.iter().copied().collect();
                    let found: BTreeSet<u8> = table.marked(&wanted).map(|(key, _)| *key).collect();
                    let has = |key: &u8| parts(key).iter().any(|part| wanted.contains(part));
                    prop_assert_eq!(found, all.iter().map(|(key, _)| *key).filter(has).collect::<BTreeSet<_>>());
                }
                prop_assert!((0..20).all(|key| table.contains(&key) == all.iter().any(|(other, _)| *other == key)));
            }
        }
    }

    #[test]
    fn many_entries_lie_in_many_blocks() {
        let marks: Marks<usize> = |number| [(number % 1_000) as u32, 1_000];
        let mut table = Lru::searched(NonZeroUsize::new(3 * BLOCK).unwrap(), marks);
        for number in 0..5 * BLOCK {
            table.put(number, number);
        }
        assert_eq!((table.len(), table.blocks.len()), (3 * BLOCK, 3));
        assert!((2 * BLOCK..5 * BLOCK).all(|number| table.peek(&number) == Some(&number)));
        let marked = |wanted: &[u32]| {
            let wanted = wanted.iter().copied().collect();
            table.marked(&wanted).map(|(number, _)| *number).collect::<BTreeSet<_>>()
        };
        assert_eq!(marked(&[24, 99]), [1_024, 2_024, 1_099, 2_099].into());
        assert_eq!(marked(&[1_000]).len(), 3 * BLOCK);
        table.values_mut().for_each(|value| *value += 1);
        assert_eq!(table.peek_lru(), Some((&(2 * BLOCK), &(2 * BLOCK + 1))));
        table.clear();
        assert!(table.is_empty() && table.pop_lru().is_none());
    }
}
