//! The flow tables: sets of eight flows each, in a plain array.
//!
//! A flow has its set by a keyed hash of its key, and any of the eight slots there. A look-up reads one word of tags, a byte
//! a slot, and as a rule one slot; nothing is chased from pointer to pointer, which costs a third of what the kernel's own
//! hash tables do. Nobody takes flows out: a flow that is over ([`crate::account::is_over`]) leaves its slot to the next that
//! needs one, and a full set forgets the flow that was quiet longest. User space only reads.
//!
//! CPUs enter flows under a lock of the set, and never wait long for it. Two of its words number the changes: `entering` is
//! written first and `entered` last, and they lie at the two ends of a set, so that whoever copies it from its beginning on
//! knows by them whether it was changed meanwhile.

use crate::flow::{FlowKey4, FlowKey6, FlowValue, Lane};

/// Slots of a set.
pub const WAYS: usize = 8;
/// Sets of the table of IPv4 and ARP flows.
pub const SETS4: u32 = 32_768;
/// Sets of the table of IPv6 flows.
pub const SETS6: u32 = 8_192;

/// A key that flows are looked up by.
pub trait TableKey: Copy {
    /// A key that no frame has: of a slot that is being written.
    const NOBODY: Self;

    /// Hashes it with a secret, so that nobody can have flows meet in one set who does not know it.
    fn hash(&self, secret: &Secret) -> u64;

    /// Whether it is that key. By words, for LLVM has arrays compared byte by byte, which takes as long as all the rest.
    fn is(&self, other: &Self) -> bool;
}

/// What the hash is keyed with.
pub type Secret = [u64; 5];

impl TableKey for FlowKey4 {
    const NOBODY: Self = FlowKey4::new(0, 0, Lane::NOBODY);

    #[inline(always)]
    fn hash(&self, secret: &Secret) -> u64 {
        let [a, b, ..] = *secret;
        finish(product(self.both(), a).wrapping_add(product(self.lane.word(), b)))
    }

    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        self.both() == other.both() && self.lane.word() == other.lane.word()
    }
}

impl TableKey for FlowKey6 {
    const NOBODY: Self = FlowKey6::new([0; 4], [0; 4], Lane::NOBODY);

    #[inline(always)]
    fn hash(&self, secret: &Secret) -> u64 {
        let [[a, b], [c, d]] = self.addresses;
        let [k, l, m, n, o] = *secret;
        let source = product(a, k).wrapping_add(product(b, l));
        let destination = product(c, m).wrapping_add(product(d, n));
        finish(source.wrapping_add(destination).wrapping_add(product(self.lane.word(), o)))
    }

    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        let ([[a, b], [c, d]], [[e, f], [g, h]]) = (self.addresses, other.addresses);
        let lanes = self.lane.word() ^ other.lane.word();
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) | lanes == 0
    }
}

/// One term of the hash NH of UMAC (RFC 4418): the sums of both halves with those of the secret, multiplied. Two keys that
/// differ have the same sum of such terms for one secret in 2^32.
#[inline(always)]
const fn product(word: u64, secret: u64) -> u64 {
    let low = (word as u32).wrapping_add(secret as u32);
    let high = ((word >> 32) as u32).wrapping_add((secret >> 32) as u32);
    (low as u64).wrapping_mul(high as u64)
}

/// Spreads the sum over all bits (Fibonacci hashing: Knuth, The Art of Computer Programming 6.4).
#[inline(always)]
const fn finish(sum: u64) -> u64 {
    let folded = sum ^ sum >> 32;
    let mixed = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// Where a flow belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Index of its set.
    pub set: u32,
    /// What its slot is marked with; never 0.
    pub tag: u8,
}

impl Place {
    /// Of a hash, in a table of so many sets.
    #[inline(always)]
    pub const fn of(hash: u64, sets: u32) -> Self {
        Self { set: ((hash >> 32).wrapping_mul(sets as u64) >> 32) as u32, tag: hash as u8 | 0x80 }
    }
}

/// A flow in the table. Of an IPv4 flow the first 64 bytes, a line of the processor's cache, are what a frame needs.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slot<K> {
    /// Its key.
    pub key: K,
    /// What is known of it.
    pub value: FlowValue,
}

/// A set of flows.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Set<K> {
    /// A byte a slot, from the lowest: its [`Place::tag`], 0 if it is free.
    pub tags: u64,
    /// Changes that are done.
    pub entered: u64,
    /// The slots.
    pub slots: [Slot<K>; WAYS],
    /// Changes that were begun.
    pub entering: u64,
}

impl<K: Copy> Set<K> {
    /// Whether nobody was writing it when it was copied.
    pub fn is_whole(&self) -> bool {
        self.entered == self.entering
    }

    /// Its flows.
    pub fn flows(&self) -> impl Iterator<Item = &Slot<K>> {
        let used = used(self.tags);
        self.slots
            .iter()
            .enumerate()
            .filter(move |(way, _)| used >> (8 * way) & 0x80 != 0)
            .map(|(_, slot)| slot)
    }
}

/// The lowest bit of each byte, and the highest.
const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The slots marked with a tag, as the highest bit of their bytes. Now and then one beyond the first is not, so keys must be
/// compared (the test for a zero byte of Mycroft, 1987).
#[inline(always)]
pub const fn marked(tags: u64, tag: u8) -> u64 {
    let differ = tags ^ LOW.wrapping_mul(tag as u64);
    differ.wrapping_sub(LOW) & !differ & HIGH
}

/// The slots that are used, likewise.
#[inline(always)]
pub const fn used(tags: u64) -> u64 {
    tags & HIGH
}

/// The first of some slots, below [`WAYS`]; 0 if there is none.
#[inline(always)]
pub const fn first(slots: u64) -> u64 {
    let lowest = (slots & slots.wrapping_neg()) >> 7;
    // The byte of its index is moved to the top.
    lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56
}

/// The tags with another one for a slot.
#[inline(always)]
pub const fn with_tag(tags: u64, way: u64, tag: u8) -> u64 {
    let shift = 8 * (way % WAYS as u64);
    tags & !(0xff << shift) | (tag as u64) << shift
}

/// How readily the slot `way` of a set is given to another flow, the more the larger: a free one first, then that of a closed
/// connection, then that of the flow which was quiet longest. The lowest three bits are the slot's number.
///
/// All by arithmetic: eight times a few branches would be too many ways for the verifier to go.
#[inline(always)]
pub const fn readiness(tags: u64, way: u64, value: &FlowValue, now_j: u64) -> u64 {
    let free = tags >> (8 * way + 7) & 1 ^ 1;
    // FIN or RST was seen.
    let closed = (value.tcp_flags as u64 | value.tcp_flags as u64 >> 2) & 1;
    let quiet = now_j.wrapping_sub(value.last_j);
    // Another CPU may be a jiffy ahead.
    let quiet = quiet & !((quiet as i64 >> 63) as u64);
    free << 62 | closed << 61 | (quiet << 3) & ((1 << 61) - 1) | way
}

const _: () = assert!(size_of::<Set<FlowKey4>>() == 64 + WAYS * 128 + 64);
const _: () = assert!(size_of::<Set<FlowKey6>>() == 64 + WAYS * 192 + 64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::mix;

    const SECRET: Secret =
        [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98, 77];

    fn secret(seed: u64) -> Secret {
        core::array::from_fn(|at| mix(seed, at as u64))
    }

    #[test]
    fn slots_are_found_by_their_tags() {
        let tags = u64::from_le_bytes([0x81, 0, 0xff, 0x81, 0x80, 0, 0x90, 0xff]);
        let ways = |slots: u64| (0..WAYS).filter(move |way| slots >> (8 * way) & 0x80 != 0);
        for (tag, expected) in [(0x81, &[0, 3][..]), (0xff, &[2, 7]), (0x90, &[6]), (0x91, &[])] {
            let found: Vec<usize> = ways(marked(tags, tag)).collect();
            assert!(expected.iter().all(|way| found.contains(way)), "{tag:x}: {found:?}");
            assert_eq!(expected.first().copied(), found.first().copied(), "{tag:x}: {found:?}");
        }
        assert_eq!(ways(used(tags)).collect::<Vec<_>>(), [0, 2, 3, 4, 6, 7]);
        for way in 0..WAYS {
            assert_eq!(first(0x80 << (8 * way) | 1 << 63), way as u64);
        }
        assert_eq!(first(0), 0);
    }

    #[test]
    fn all_tags_in_all_slots_are_found_and_can_be_taken_away() {
        for tag in 0x80..=0xff {
            for way in 0..WAYS as u64 {
                let tags = with_tag(0x8182_8384_8586_8788, way, tag);
                assert_eq!(tags >> (8 * way) & 0xff, u64::from(tag));
                assert!(marked(tags, tag) >> (8 * way) & 0x80 != 0);
                let less = with_tag(tags, way, 0);
                assert_eq!(used(less).count_ones(), 7);
                assert!(marked(less, tag) == 0 || first(marked(less, tag)) != way, "{tag:x} at {way}");
            }
        }
    }

    #[test]
    fn who_was_quiet_longest_goes_first_but_after_the_closed() {
        const NOW: u64 = 1 << 40;
        let value = |tcp_flags, last_j| FlowValue { tcp_flags, last_j, ..FlowValue::default() };
        let tags = 0x00ff_ffff_ffff_ffff;
        let order = [
            readiness(tags, 5, &value(0x12, NOW + 1), NOW),
            readiness(tags, 4, &value(0x12, NOW - 1), NOW),
            readiness(tags, 3, &value(0x1a, NOW - 90_000), NOW),
            readiness(tags, 2, &value(0x1a, 0), NOW),
            readiness(tags, 1, &value(0x11, NOW), NOW),
            readiness(tags, 0, &value(0x14, NOW - 5), NOW),
            readiness(tags, 7, &value(0, NOW), NOW),
        ];
        assert!(order.is_sorted(), "{order:x?}");
        assert_eq!(order.map(|readiness| readiness & 7), [5, 4, 3, 2, 1, 0, 7]);
    }

    /// Flows as networks and attackers make them: no more of them meet in a set than if each had its set by chance.
    #[test]
    fn flows_are_spread_over_the_sets_whatever_their_keys_have_in_common() {
        const SETS: u32 = 4_096;
        const FLOWS: u32 = SETS * 4;
        let lane =
            |sport: u32, dport: u32| Lane::new(sport.to_be() >> 16 | (dport.to_be() >> 16) << 16, 6, 1, 0);
        let host = |number: u32| (0x0a00_0000 + number).to_be();
        let low = |number: u32| [0xfd, 0, 0, number.to_be()];
        type Make<'a> = (&'a str, Box<dyn Fn(u32, &Secret) -> u64 + 'a>);
        let four = |src, dst, lane, secret: &Secret| FlowKey4::new(src, dst, lane).hash(secret);
        let kinds: [Make<'_>; 7] = [
            ("a scan of hosts", Box::new(|n, s| four(host(1), host(n), lane(40_000, 445), s))),
            ("a scan of ports", Box::new(|n, s| four(host(1), host(2), lane(40_000, n), s))),
            ("ports of a client", Box::new(|n, s| four(host(1), host(2), lane(n, 443), s))),
            ("forged sources", Box::new(|n, s| four(n.wrapping_mul(0x9e37_79b9), host(2), lane(1, 53), s))),
            ("both ends", Box::new(|n, s| four(host(n >> 7), host(n & 127), lane(40_000, 80), s))),
            ("every 4,096th host", Box::new(|n, s| four(host(1), host(n << 12), lane(40_000, 80), s))),
            ("IPv6", Box::new(|n, s| FlowKey6::new(low(1), low(n), lane(40_000, 80)).hash(s))),
        ];
        for (name, make) in &kinds {
            for seed in 0..20 {
                let secret = if seed == 0 { SECRET } else { secret(seed) };
                let mut sets = vec![0u32; SETS as usize];
                for number in 0..FLOWS {
                    sets[Place::of(make(number, &secret), SETS).set as usize] += 1;
                }
                let over: u32 = sets.iter().map(|flows| flows.saturating_sub(WAYS as u32)).sum();
                // By chance (Poisson, 4 a set) 0.8 % find their set full; the bound is twice that.
                assert!(over < FLOWS / 60, "{name}, secret {seed}: {over} of {FLOWS} flows found no slot");
            }
        }
    }

    #[test]
    fn tags_tell_the_flows_of_a_set_apart() {
        let mut tags = [0u32; 256];
        for number in 0..100_000u32 {
            let key = FlowKey4::new(number, 7, Lane::new(9, 17, 1, 0));
            let Place { set, tag } = Place::of(key.hash(&SECRET), SETS4);
            if set % 2 == 0 {
                tags[usize::from(tag)] += 1;
            }
        }
        assert!(tags[..0x80].iter().all(|count| *count == 0), "a tag is never 0");
        let (least, most) = (tags[0x80..].iter().min(), tags[0x80..].iter().max());
        assert!(least > Some(&250) && most < Some(&550), "{least:?} {most:?}");
    }
}
