//! Telling user space: one record a new flow, and of dropped frames a sample, through a ring.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use sensor_ebpf::account::{self, Frame, Key};
use sensor_ebpf::event::{
    FlowRecord, INNER_BYTES, RECORD_DROP, RECORD_FLOW, RECORD_TUNNEL, TunnelRecord, WAKE_NS,
};
use sensor_ebpf::flow::KIND_ARP;
use sensor_ebpf::judge::Judgement;

use crate::{Env, hidden, maps};

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
    let told = if frame.upper.tunnel == 0 {
        plain(RECORD_FLOW, key, judgement, frame, now_ns)
    } else {
        tunnel(env, key, judgement, frame, now_ns)
    };
    if told {
        env.cell.passed.records_sent += 1;
    } else {
        env.cell.passed.records_lost += 1;
    }
    told
}

/// Submits the record of a dropped frame. It is a sample, so one that finds the ring full is not missed.
#[inline(always)]
pub fn dropped<K: Key>(key: &K, judgement: Judgement, frame: &Frame<'_>, now_ns: u64) {
    plain(RECORD_DROP, key, judgement, frame, now_ns);
}

#[inline(always)]
fn plain<K: Key>(kind: u8, key: &K, judgement: Judgement, frame: &Frame<'_>, now_ns: u64) -> bool {
    let ring = if frame.upper.kind == KIND_ARP { &maps::RING_CONTROL } else { &maps::RING_FLOW };
    let Some(mut entry) = ring.reserve::<FlowRecord>(0) else { return false };
    // SAFETY: memory of the ring's, of any bytes; the record is made of integers and is written whole.
    account::record(unsafe { entry.assume_init_mut() }, kind, key, judgement, frame, now_ns);
    entry.submit(wakeup(now_ns));
    true
}

/// Submits the record of a tunnel's flow, with the beginning of the packet within.
#[inline(always)]
fn tunnel<K: Key>(env: &mut Env<'_>, key: &K, judgement: Judgement, frame: &Frame<'_>, now_ns: u64) -> bool {
    let Some(mut entry) = maps::RING_FLOW.reserve::<TunnelRecord>(0) else { return false };
    // SAFETY: as above; the packet's bytes are cleared before they are read.
    let record = unsafe { entry.assume_init_mut() };
    account::record(&mut record.flow, RECORD_TUNNEL, key, judgement, frame, now_ns);
    record.inner = [0; INNER_BYTES / 8];
    let left = frame.upper.tunnel;
    let at = env.linear.wrapping_sub(left);
    let most = if left > INNER_BYTES as u32 { INNER_BYTES as u32 } else { left };
    // One less, for the verifier wants to see that it is not 0; in 64 bits, for older ones (6.1) follow no others so well.
    let less = hidden(u64::from(most).wrapping_sub(1));
    if less < INNER_BYTES as u64 {
        let len = (less + 1) as u32;
        // SAFETY: at most the bytes of the field are written (linux 5.18); of a frame that has less nothing is.
        let read =
            unsafe { bpf_xdp_load_bytes(env.ctx, at, record.inner.as_mut_ptr().cast::<c_void>(), len) };
        record.flow.inner_len = if read == 0 { len } else { 0 };
    }
    entry.submit(wakeup(now_ns));
    true
}

/// Wakes the reader at most once in a span of [`WAKE_NS`] and CPU: a wake-up costs 5 us, a hundred times the record itself.
/// What comes later in the span is found by the reader's own timer.
#[inline(always)]
fn wakeup(now_ns: u64) -> u64 {
    let span = (now_ns / WAKE_NS) as u32;
    match maps::WOKEN.get_ptr_mut(0) {
        // SAFETY: the slot is this CPU's own.
        Some(woken) if unsafe { *woken } != span => {
            // SAFETY: as above.
            unsafe { *woken = span };
            BPF_RB_FORCE_WAKEUP
        }
        _ => BPF_RB_NO_WAKEUP,
    }
}
