//! What was read of the flow tables: of each flow what its last reading had, and sums by port.
//!
//! A flow that a full table forgets takes along what it counted since its last reading. Which frames those were nobody can say,
//! but how many: the frames the program counted in flows, less those that were read.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};

use sensor_core::time::Time;
use sensor_ebpf::counter::PortCounters;
use sensor_ebpf::flow::FlowValue;

use crate::bpf::{FlowKey, Marks};

/// Frames and their bytes. Sums wrap, so that differences are right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Frames.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Count {
    /// What the program counted in flows.
    pub fn in_flows(counters: &PortCounters) -> Self {
        let c = counters;
        Self {
            packets: c.packets.wrapping_sub(c.ignored_packets).wrapping_sub(c.unentered_packets),
            bytes: c.bytes.wrapping_sub(c.ignored_bytes).wrapping_sub(c.unentered_bytes),
        }
    }

    fn of(value: &FlowValue) -> Self {
        Self { packets: value.packets(), bytes: value.bytes() }
    }

    /// Adds to it.
    pub fn add(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }

    /// What is left of it without `other`.
    pub fn less(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_sub(other.packets),
            bytes: self.bytes.wrapping_sub(other.bytes),
        }
    }

    /// The larger of each; a difference below 0 counts as 0.
    fn at_least(self, other: Self) -> Self {
        let larger = |a: u64, b: u64| if (b as i64) > 0 { a.max(b) } else { a };
        Self { packets: larger(self.packets, other.packets), bytes: larger(self.bytes, other.bytes) }
    }
}

/// What a flow's last reading had.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    count: Count,
    /// Frames of these that passed.
    pub passed: u64,
    port: u8,
}

impl Read {
    /// Whether the flow counted nothing since.
    pub fn has_all_of(&self, value: &FlowValue) -> bool {
        self.count == Count::of(value)
    }
}

/// What was read of one port's flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortTally {
    /// Of flows that are over, or that a full table forgot: what their last readings had.
    pub closed: Count,
    /// Of flows in the tables, by the last sweep.
    pub live: Count,
    /// Counted by the program in flows that were forgotten before it was read.
    pub unread: Count,
    /// Of flows in the tables, by the sweep that goes on.
    pub(super) next: Count,
    /// Of flows that are over, by the sweep that goes on.
    pub(super) ending: Count,
    /// Of flows in the tables by the last sweep, to which the one that goes on has not come yet.
    pub(super) missing: Count,
    /// Flows that began earlier are of the port that had this index before.
    pub since: Time,
}

impl PortTally {
    /// What was read.
    pub fn read(&self) -> Count {
        let mut read = self.closed;
        read.add(self.live);
        read
    }
}

/// The numbers of flows are well mixed already.
#[derive(Clone, Copy, Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only numbers are ever hashed; this is for completeness.
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct BuildAsIs;

impl BuildHasher for BuildAsIs {
    type Hasher = AsIs;

    fn build_hasher(&self) -> AsIs {
        AsIs::default()
    }
}

/// All that was read. As large as the flow tables are full: 40 bytes a flow, twice, so that the end of a sweep need not go
/// through all of them.
#[derive(Debug, Default)]
pub struct Tally {
    /// By the last sweep, of flows to which the one that goes on has not come yet; by a number of the flow. It is made with a
    /// key of this process, so that nobody can make two flows meet.
    before: HashMap<u64, Read, BuildAsIs>,
    /// By the sweep that goes on.
    reads: HashMap<u64, Read, BuildAsIs>,
    keyed: RandomState,
    ports: BTreeMap<u8, PortTally>,
}

impl Tally {
    /// The number of a flow. The same ends that speak again after their flow was forgotten are another flow.
    fn number(&self, key: &FlowKey, value: &FlowValue) -> u64 {
        self.keyed.hash_one((key, value.first_ns))
    }

    /// Of one port.
    pub fn port(&self, index: u8) -> PortTally {
        self.ports.get(&index).copied().unwrap_or_default()
    }

    /// All ports.
    pub fn ports(&self) -> impl Iterator<Item = (u8, &PortTally)> {
        self.ports.iter().map(|(index, tally)| (*index, tally))
    }

    /// Takes up what an earlier daemon knew of a port.
    pub fn restore(&mut self, index: u8, marks: &Marks) {
        self.forget(index);
        let count = |[packets, bytes]: [u64; 2]| Count { packets, bytes };
        let (closed, unread) = (count(marks.closed), count(marks.unread));
        self.ports.insert(
            index,
            PortTally { closed, unread, since: Time::at(marks.since_ns), ..PortTally::default() },
        );
    }

    /// Forgets a port.
    pub fn forget(&mut self, index: u8) {
        if self.ports.remove(&index).is_some() {
            for reads in [&mut self.before, &mut self.reads] {
                reads.retain(|_, read| read.port != index);
            }
        }
    }

    /// Notes a reading of a flow that goes on; gives the one before.
    pub fn see(&mut self, port: u8, key: &FlowKey, value: &FlowValue) -> Option<Read> {
        self.note(port, key, value, false)
    }

    /// Notes the last reading of a flow that is over; gives the one before.
    pub fn close(&mut self, port: u8, key: &FlowKey, value: &FlowValue) -> Option<Read> {
        self.note(port, key, value, true)
    }

    fn note(&mut self, port: u8, key: &FlowKey, value: &FlowValue, over: bool) -> Option<Read> {
        let number = self.number(key, value);
        let tally = self.ports.entry(port).or_default();
        if value.first_ns < tally.since.ns() {
            return None;
        }
        let before = self.before.remove(&number);
        if let Some(before) = before {
            tally.missing = tally.missing.less(before.count);
        }
        let count = Count::of(value);
        if over {
            tally.ending.add(count);
            return before;
        }
        tally.next.add(count);
        let twice = self.reads.insert(number, Read { count, passed: passed(value), port });
        if let Some(twice) = twice {
            tally.next = tally.next.less(twice.count);
        }
        twice.or(before)
    }

    /// Gives a sweep up that could not be finished. What it read is read anew by the next.
    pub fn give_up(&mut self) {
        for tally in self.ports.values_mut() {
            (tally.next, tally.ending) = (Count::default(), Count::default());
        }
        for (number, read) in self.reads.drain() {
            self.ports.entry(read.port).or_default().missing.add(read.count);
            self.before.insert(number, read);
        }
    }

    /// Ends a sweep. `counted` is what the program had counted in the flows of each port when it began.
    pub fn finish(&mut self, counted: &BTreeMap<u8, Count>) {
        self.before.clear();
        std::mem::swap(&mut self.before, &mut self.reads);
        for tally in self.ports.values_mut() {
            tally.live = std::mem::take(&mut tally.next);
            // To what is still missing no sweep will come: it was forgotten.
            tally.closed.add(std::mem::replace(&mut tally.missing, tally.live));
            tally.closed.add(std::mem::take(&mut tally.ending));
        }
        for (index, counted) in counted {
            let tally = self.ports.entry(*index).or_default();
            tally.unread = tally.unread.at_least(counted.less(tally.read()));
        }
    }
}

/// Frames of a flow that passed.
pub fn passed(value: &FlowValue) -> u64 {
    value.packets().wrapping_sub(value.drops())
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::flow::{FlowKey4, Lane};

    use super::*;

    fn flow(number: u32) -> FlowKey {
        FlowKey::V4(FlowKey4::new(number, 7, Lane::new(0, 17, 1, 0)))
    }

    fn value(first_ns: u64, packets: u64) -> FlowValue {
        FlowValue { first_ns, owner_passed: packets, owner_bytes: packets * 100, ..FlowValue::default() }
    }

    fn counted(packets: u64) -> BTreeMap<u8, Count> {
        BTreeMap::from([(1, Count { packets, bytes: packets * 100 })])
    }

    fn tally() -> Tally {
        let mut tally = Tally::default();
        tally.restore(1, &Marks::default());
        tally
    }

    #[track_caller]
    fn check(tally: &Tally, read: u64, unread: u64) {
        let port = tally.port(1);
        let of = |packets| Count { packets, bytes: packets * 100 };
        assert_eq!((port.read(), port.unread), (of(read), of(unread)));
    }

    #[test]
    fn what_is_in_the_tables_and_what_was_taken_out_was_read() {
        let mut tally = tally();
        tally.see(1, &flow(1), &value(5, 10));
        tally.see(1, &flow(2), &value(6, 1));
        tally.finish(&counted(11));
        check(&tally, 11, 0);
        let read = tally.see(1, &flow(1), &value(5, 15)).unwrap();
        assert_eq!(read.passed, 10);
        assert_eq!([10, 15].map(|packets| read.has_all_of(&value(5, packets))), [true, false]);
        tally.close(1, &flow(2), &value(6, 3));
        tally.finish(&counted(18));
        check(&tally, 18, 0);
    }

    #[test]
    fn what_a_forgotten_flow_counted_since_its_last_reading_is_unread() {
        let mut tally = tally();
        tally.see(1, &flow(1), &value(5, 10));
        tally.finish(&counted(10));
        // It counted 4 more before it was forgotten; another came and went between two sweeps with 2.
        tally.finish(&counted(16));
        check(&tally, 10, 6);
        // The same ends again are another flow, though it counted more than the first.
        assert!(tally.see(1, &flow(1), &value(9, 20)).is_none());
        tally.finish(&counted(36));
        check(&tally, 30, 6);
    }

    #[test]
    fn frames_that_come_while_the_sweep_goes_on_are_no_loss_and_make_none_good() {
        let mut tally = tally();
        tally.see(1, &flow(1), &value(5, 12));
        tally.finish(&counted(10));
        check(&tally, 12, 0);
        // 100 were lost, of which the sweep is sure of 90 until it is quiet.
        tally.see(1, &flow(1), &value(5, 30));
        tally.finish(&counted(120));
        check(&tally, 30, 90);
        tally.see(1, &flow(1), &value(5, 30));
        tally.finish(&counted(130));
        check(&tally, 30, 100);
    }

    #[test]
    fn what_a_sweep_read_that_was_given_up_is_read_by_the_next() {
        let mut tally = tally();
        tally.see(1, &flow(1), &value(5, 10));
        tally.see(1, &flow(2), &value(6, 5));
        tally.finish(&counted(15));
        // The second is forgotten in the end, the third comes to nothing.
        tally.see(1, &flow(1), &value(5, 12));
        tally.see(1, &flow(3), &value(7, 1));
        tally.give_up();
        assert_eq!(tally.see(1, &flow(1), &value(5, 20)).map(|read| read.passed), Some(12));
        tally.finish(&counted(26));
        check(&tally, 26, 0);
    }

    #[test]
    fn nothing_is_left_of_a_port_that_left() {
        let mut tally = tally();
        tally.see(1, &flow(1), &value(5, 10));
        tally.finish(&counted(10));
        tally.see(1, &flow(1), &value(5, 12));
        tally.forget(1);
        tally.restore(1, &Marks::default());
        assert!(tally.see(1, &flow(1), &value(5, 14)).is_none());
        tally.finish(&counted(14));
        check(&tally, 14, 0);
    }

    #[test]
    fn a_new_daemon_goes_on_where_the_last_one_was() {
        let mut tally = Tally::default();
        let of = |packets| [packets, packets * 100];
        tally.restore(1, &Marks { closed: of(50), unread: of(7), ..Marks::default() });
        tally.see(1, &flow(1), &value(5, 10));
        // 60 of 70 were read or are there, 7 were lost before, and 3 while nobody read.
        tally.finish(&counted(70));
        check(&tally, 60, 10);
    }

    #[test]
    fn flows_of_the_port_that_had_the_index_before_are_none_of_a_ports() {
        let mut tally = Tally::default();
        tally.restore(1, &Marks { since_ns: 6, ..Marks::default() });
        assert!(tally.see(1, &flow(1), &value(5, 10)).is_none());
        tally.see(1, &flow(2), &value(7, 3));
        tally.finish(&counted(3));
        check(&tally, 3, 0);
        tally.close(1, &flow(1), &value(5, 10));
        tally.close(1, &flow(2), &value(7, 4));
        tally.finish(&counted(4));
        check(&tally, 4, 0);
    }
}
