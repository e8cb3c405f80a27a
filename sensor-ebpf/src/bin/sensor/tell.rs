//! Telling user space: one record a new flow, and of dropped frames a sample, through a ring.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use sensor_ebpf::account::{self, Frame, Key};
use sensor_ebpf::event::{
    FlowRecord, INNER_BYTES, RECORD_DROP, RECORD_FLOW, RECORD_TUNNEL, TunnelRecord, WAKE_NS,
};
use sensor_ebpf::flow::KIND_ARP;
use sensor_ebpf::heard::{HEARD_BYTES, HEARD_KINDS, HeardHead, HeardRecord};
use sensor_ebpf::judge::Judgement;

use crate::{Env, hidden, maps, now_ns};

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

/// Submits a frame whole, if its kind has room in its budget. A function of its own, for frames of these kinds are few.
#[inline(never)]
pub fn whole(ctx: *mut xdp_md, kind: u64, port: u64, len: u64) -> u32 {
    let Some(cell) = maps::heard(kind as u32 & (HEARD_KINDS - 1)) else { return 0 };
    let now_ns = now_ns();
    if cell.has_room(now_ns) {
        cell.count(copy(ctx, kind as u8, port as u8, len as u32, now_ns));
    }
    0
}

#[inline(always)]
fn copy(ctx: *mut xdp_md, kind: u8, port: u8, len: u32, now_ns: u64) -> bool {
    let Some(mut entry) = maps::RING_HEARD.reserve::<HeardRecord>(0) else { return false };
    let record = entry.as_mut_ptr();
    let most = if len > HEARD_BYTES as u32 { HEARD_BYTES as u32 } else { len };
    // As for tunnels: one less, in 64 bits.
    let less = hidden(u64::from(most).wrapping_sub(1));
    let mut have = 0;
    if less < HEARD_BYTES as u64 {
        let wanted = (less + 1) as u32;
        // SAFETY: memory of the ring's; at most the bytes of the field are written (linux 5.18). What is behind them is left as it
        // is: it was told before.
        let read = unsafe { bpf_xdp_load_bytes(ctx, 0, (&raw mut (*record).bytes).cast::<c_void>(), wanted) };
        have = if read == 0 { wanted } else { 0 };
    }
    let head =
        HeardHead { kind, abi: sensor_ebpf::ABI as u8, port, pad: 0, len, time_ns: now_ns, have, pad2: 0 };
    // SAFETY: memory of the ring's, aligned to 8 bytes.
    unsafe { ptr::write(&raw mut (*record).head, head) };
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
