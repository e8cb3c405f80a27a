//! The maps of the program. Their names are what the daemon and the pins call them.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use sensor_ebpf::account;
use sensor_ebpf::control::{Clock, Config, MAX_IFINDEX, Port};
use sensor_ebpf::counter::{PortCell, REASON_CAPACITY};
use sensor_ebpf::event::{RING_CONTROL_BYTES, RING_FLOW_BYTES};
use sensor_ebpf::flow::{
    FLOW4_CAPACITY, FLOW6_CAPACITY, FlowKey4, FlowKey6, FlowValue, MAX_PORTS, VERDICT_PASS,
};
use sensor_ebpf::rule::{RULE_CAPACITY, RuleValue};

/// Switches set by the daemon.
#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
/// Interface index to port index.
#[map]
pub static PORTS: Array<Port> = Array::with_max_entries(MAX_IFINDEX, 0);
/// Counters by port index.
#[map]
pub static PORT_COUNTERS: PerCpuArray<PortCell> = PerCpuArray::with_max_entries(MAX_PORTS, 0);
/// Frames by `Reason`.
#[map]
pub static REASONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASON_CAPACITY, 0);
/// IPv4 and ARP flows.
#[map]
pub static FLOW4: LruHashMap<FlowKey4, FlowValue> = LruHashMap::with_max_entries(FLOW4_CAPACITY, 0);
/// IPv6 flows.
#[map]
pub static FLOW6: LruHashMap<FlowKey6, FlowValue> = LruHashMap::with_max_entries(FLOW6_CAPACITY, 0);
/// Rules by MAC address.
#[map]
pub static RULES_MAC: HashMap<u64, RuleValue> = HashMap::with_max_entries(RULE_CAPACITY, 0);
/// Rules by IPv4 address.
#[map]
pub static RULES_IP4: HashMap<u32, RuleValue> = HashMap::with_max_entries(RULE_CAPACITY, 0);
/// Rules by IPv6 address.
#[map]
pub static RULES_IP6: HashMap<[u64; 2], RuleValue> = HashMap::with_max_entries(RULE_CAPACITY, 0);
/// Flow records.
#[map]
pub static RING_FLOW: RingBuf = RingBuf::with_byte_size(RING_FLOW_BYTES, 0);
/// ARP records.
#[map]
pub static RING_CONTROL: RingBuf = RingBuf::with_byte_size(RING_CONTROL_BYTES, 0);
/// The jiffy in which this CPU last woke the reader.
#[map]
pub static WOKEN: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);
/// What `sekisho_clock` reads.
#[map]
pub static CLOCK: Array<Clock> = Array::with_max_entries(1, 0);

/// Counters of a port on this CPU.
#[inline(always)]
pub fn port_cell(port: u8) -> Option<&'static mut PortCell> {
    // SAFETY: the slot is this CPU's own, and XDP does not interrupt itself on a CPU.
    PORT_COUNTERS.get_ptr_mut(u32::from(port)).map(|cell| unsafe { &mut *cell })
}

/// The number of this CPU (Linux knows 8,192 at most).
#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_smp_processor_id() }
}

/// Counts a frame of this verdict in its flow.
#[inline(always)]
pub fn count(value: &mut FlowValue, len: u64, verdict: u8) {
    if u32::from(value.owner) == cpu() {
        return account::count(value, len, verdict);
    }
    let frames = if verdict == VERDICT_PASS { &mut value.other_passed } else { &mut value.other_dropped };
    atomic_add(frames, 1);
    atomic_add(&mut value.other_bytes, len);
}

/// Adds to a counter other CPUs may add to at the same moment.
#[inline(always)]
fn atomic_add(counter: &mut u64, more: u64) {
    // SAFETY: one atomic add on a live, aligned map value.
    unsafe {
        asm!("lock *(u64 *)({counter} + 0) += {more}", counter = in(reg) counter, more = in(reg) more,
             options(nostack));
    }
}
