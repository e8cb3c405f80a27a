//! Look-ups in the flow tables, and how CPUs share their sets (see [`sensor_ebpf::table`]).
//!
//! The verdict is read before the key is compared, and a slot loses its key before another flow gets it: so a verdict is always
//! of the flow that was looked up. (This takes a processor that reads in order, as those of x86 do; on another a frame that
//! comes in just as its flow is forgotten may get the verdict of the next.)

use core::arch::asm;

use aya_ebpf::maps::Array;
use sensor_ebpf::account::{self, Key};
use sensor_ebpf::flow::{FlowValue, Judged};
use sensor_ebpf::table::{self, Place, Set, Slot, TableKey, WAYS};

use crate::hidden;
use crate::maps::settle;

/// A table of flows.
pub type Flows<K> = Array<Set<K>>;

/// Slots with the right tag that are looked at for a usual frame: nearly always it is the first. A flow in a later one is found
/// by the general way.
pub const FEW: u64 = 2;
/// All slots.
pub const ALL: u64 = WAYS as u64;

/// How often a CPU tries to get the lock of a set: another holds it for a tenth of a microsecond.
const TRIES: u64 = 16;

/// A flow, and the verdict it had when it was found.
pub struct Found {
    /// What is known of it.
    pub value: &'static mut FlowValue,
    /// The verdict, with the generation it was made from.
    pub judged: Judged,
}

/// Looks a flow up, in at most so many slots.
#[inline(always)]
pub fn find<const SLOTS: u64, K: TableKey>(table: &Flows<K>, key: &K, place: Place) -> Option<Found> {
    let set = table.get_ptr_mut(place.set)?;
    find_in::<SLOTS, K>(set, key, place.tag).map(|(found, _)| found)
}

#[inline(always)]
fn find_in<const SLOTS: u64, K: TableKey>(set: *mut Set<K>, key: &K, tag: u8) -> Option<(Found, u64)> {
    // SAFETY: a live map value, which other CPUs may write a word at a time.
    let mut left = table::marked(unsafe { (&raw const (*set).tags).read_volatile() }, tag);
    for _ in 0..times(SLOTS) {
        if left == 0 {
            break;
        }
        let way = table::first(left);
        // SAFETY: the entry of an array lives as long as the program; how CPUs share it is told at `FlowValue`.
        let slot = unsafe { &mut *slot(set, way) };
        let judged = slot.value.judged;
        // The key is read after that.
        settle(slot);
        if key.is(&slot.key) {
            return Some((Found { value: &mut slot.value, judged }, way));
        }
        left &= left.wrapping_sub(1);
    }
    None
}

/// How often a loop is gone through. Many times are hidden from LLVM, which would lay them out one after the other and run out of
/// stack.
#[inline(always)]
fn times(number: u64) -> u64 {
    if number > FEW { hidden(number) } else { number }
}

/// A slot of a set.
#[inline(always)]
fn slot<K>(set: *mut Set<K>, way: u64) -> *mut Slot<K> {
    // SAFETY: one of the eight.
    unsafe { (&raw mut (*set).slots).cast::<Slot<K>>().add((way & (WAYS as u64 - 1)) as usize) }
}

/// How entering a flow went.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It has a slot.
    New,
    /// It had one already: another CPU was first.
    Before,
    /// It has none: other CPUs kept the set locked.
    Busy,
}

/// Enters a flow with this value, whose frame came just now: in the place of one that is over if need be, or of the one that
/// was quiet longest.
#[inline(always)]
pub fn enter<K: TableKey + Key>(
    table: &Flows<K>,
    key: &K,
    place: Place,
    value: &FlowValue,
    jiffy_ns: u64,
) -> Entered {
    let Some(set) = table.get_ptr_mut(place.set) else { return Entered::Busy };
    enter_in(set, key, place.tag, value, jiffy_ns)
}

/// A function of its own, for the stack that it needs is free again when it is done.
#[inline(never)]
fn enter_in<K: TableKey + Key>(
    set: *mut Set<K>,
    key: &K,
    tag: u8,
    value: &FlowValue,
    jiffy_ns: u64,
) -> Entered {
    let now_j = value.last_j;
    let Some(change) = lock(set) else { return Entered::Busy };
    let entered = match find_in::<ALL, K>(set, key, tag) {
        Some((found, _)) if !account::is_over(found.value, key.lane(), now_j, jiffy_ns) => Entered::Before,
        over => {
            let way = over.map_or_else(|| readiest(set, now_j), |(_, way)| way);
            fill(set, way, key, tag, value);
            Entered::New
        }
    };
    unlock(set, change);
    entered
}

/// The slot to give to a new flow. The set is locked.
#[inline(always)]
fn readiest<K>(set: *mut Set<K>, now_j: u64) -> u64 {
    // SAFETY: a live map value.
    let tags = unsafe { (*set).tags };
    let mut best = 0u64;
    for way in 0..times(WAYS as u64) {
        // SAFETY: likewise.
        let value = unsafe { &(*slot(set, way)).value };
        let other = table::readiness(tags, way, value, now_j);
        // The larger of both; hidden, or LLVM would make a branch of it.
        let less = best.wrapping_sub(other);
        best = best.wrapping_sub(less & hidden((less as i64 >> 63) as u64));
    }
    best
}

/// Gives a slot of a locked set to a flow.
#[inline(always)]
fn fill<K: TableKey>(set: *mut Set<K>, way: u64, key: &K, tag: u8, value: &FlowValue) {
    // SAFETY: a live map value, which only the holder of the lock gives to another flow.
    let (tags, slot) = unsafe { (&mut (*set).tags, &mut *slot(set, way)) };
    // One after the other.
    *tags = table::with_tag(*tags, way, 0);
    slot.key = K::NOBODY;
    settle(slot);
    slot.value = *value;
    settle(slot);
    slot.key = *key;
    settle(slot);
    *tags = table::with_tag(*tags, way, tag);
}

/// Locks a set; gives the number of the change.
#[inline(always)]
fn lock<K>(set: *mut Set<K>) -> Option<u64> {
    for _ in 0..times(TRIES) {
        // SAFETY: a live map value.
        let before = unsafe { (&raw const (*set).entered).read_volatile() };
        let change = before.wrapping_add(1);
        // SAFETY: as above.
        if compare_exchange(unsafe { &mut (*set).entering }, before, change) == before {
            return Some(change);
        }
    }
    None
}

#[inline(always)]
fn unlock<K>(set: *mut Set<K>, change: u64) {
    // SAFETY: a live map value; all that was written before is seen before it, for an exchange is a full barrier.
    unsafe {
        asm!("{change} = xchg_64({to} + 0, {change})", change = inout(reg) change => _,
             to = in(reg) &raw mut (*set).entered, options(nostack));
    }
}

/// Writes `new` if the word is `old`; what it was.
#[inline(always)]
fn compare_exchange(word: &mut u64, old: u64, new: u64) -> u64 {
    let was;
    // SAFETY: one atomic operation on a live, aligned map value (linux 5.12).
    unsafe {
        asm!("r0 = cmpxchg_64({word} + 0, r0, {new})", word = in(reg) &raw mut *word, new = in(reg) new,
             inout("r0") old => was, options(nostack));
    }
    was
}
