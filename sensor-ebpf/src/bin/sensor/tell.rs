//! Telling user space: one record a new flow, through a ring.

use sensor_ebpf::account::{self, Frame, Key};
use sensor_ebpf::event::FlowRecord;
use sensor_ebpf::flow::KIND_ARP;
use sensor_ebpf::rule::Judgement;

use crate::{Env, maps};

/// Ring flags (linux/bpf.h): whether the reader is woken.
const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;

/// Submits the record of a flow; false if the ring is full.
#[inline(always)]
pub fn flow<K: Key>(
    env: &mut Env<'_>,
    key: &K,
    judgement: Judgement,
    frame: &Frame<'_>,
    now_ns: u64,
) -> bool {
    let ring = if frame.upper.kind == KIND_ARP { &maps::RING_CONTROL } else { &maps::RING_FLOW };
    let Some(mut entry) = ring.reserve::<FlowRecord>(0) else {
        env.counters.records_lost += 1;
        return false;
    };
    // SAFETY: memory of the ring's, of any bytes; the record is made of integers and is written whole.
    account::record(unsafe { entry.assume_init_mut() }, key, judgement, frame, now_ns);
    entry.submit(wakeup(env.now.jiffies));
    env.counters.records_sent += 1;
    true
}

/// Wakes the reader at most once a jiffy and CPU: a wake-up costs 5 us, a hundred times the record itself. What comes
/// later in the jiffy is found by the reader's own timer.
#[inline(always)]
fn wakeup(jiffies: u32) -> u64 {
    match maps::WOKEN.get_ptr_mut(0) {
        // SAFETY: the slot is this CPU's own.
        Some(woken) if unsafe { *woken } != jiffies => {
            // SAFETY: as above.
            unsafe { *woken = jiffies };
            BPF_RB_FORCE_WAKEUP
        }
        _ => BPF_RB_NO_WAKEUP,
    }
}
