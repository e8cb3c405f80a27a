//! The maps of the program. Their names are what the daemon and the pins call them.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use sensor_ebpf::account::{self, Moment};
use sensor_ebpf::control::{
    Bucket, Clock, Config, FRAGMENT_CAPACITY, HOST_CAPACITY, MAX_IFINDEX, PAIR_CAPACITY, PLACE_CAPACITY,
    Port, Reflex,
};
use sensor_ebpf::counter::{PortCell, REASON_CAPACITY};
use sensor_ebpf::event::{RING_CONTROL_BYTES, RING_FLOW_BYTES};
use sensor_ebpf::flow::{FlowKey4, FlowKey6, FlowValue, FragmentKey, MAX_PORTS, VERDICT_DROP, VERDICT_PASS};
use sensor_ebpf::heard::{HEARD_KINDS, HeardCell, RING_HEARD_BYTES};
use sensor_ebpf::judge::{End, Judgement, Question};
use sensor_ebpf::parse::{Link, Upper};
use sensor_ebpf::rule::{
    ALLOW_CAPACITY, Address, AllowKey, INTERNAL_CAPACITY, NET_CAPACITY, RULE_CAPACITY, RuleCounters,
    RuleValue, SCOPE_CAPACITY, SEGMENTS, SLOTS,
};
use sensor_ebpf::seal::{Host, SEAL_CAPACITY, Seal};
use sensor_ebpf::table::{SETS4, SETS6};

use crate::flows::Flows;

/// Flag of a map (linux/bpf.h): its entries begin at a page, so that what is aligned in one is aligned in memory.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// What is kept off the stack, of which older kernels (6.1) allow 512 bytes in all. And what was written here and read again
/// is no more to the verifier than some bytes: so it does not follow every outcome of the parser (a constant here, a byte
/// of the packet there) through all of the accounting for itself, which multiplies to a million steps.
#[repr(C)]
pub struct Scratch {
    /// The frame.
    pub packet: Packet,
    /// What becomes of it.
    pub work: Work,
}

/// A parsed frame.
#[repr(C)]
pub struct Packet {
    /// Its link header.
    pub link: Link,
    /// Bytes of that, and of all that lies before the packet within.
    pub header: u32,
    /// Zero.
    pub pad: u32,
    /// What lies above its addresses.
    pub upper: Upper,
    /// ARP sender hardware address, else 0.
    pub arp_sha: u64,
    /// Its flow, of IPv4 and ARP.
    pub key4: FlowKey4,
    /// Its flow, of IPv6.
    pub key6: FlowKey6,
}

/// What becomes of a frame.
#[repr(C)]
pub struct Work {
    /// What it is judged by.
    pub ask: Question,
    /// The rules of its two ends.
    pub ends: [End; 2],
    /// How it is judged.
    pub judgement: Judgement,
    /// The flow that is entered.
    pub value: FlowValue,
    /// What is looked up in a trie.
    pub prefix: Key<Address>,
}

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
pub static FLOW4: Flows<FlowKey4> = Flows::with_max_entries(SETS4, BPF_F_MMAPABLE);
/// IPv6 flows.
#[map]
pub static FLOW6: Flows<FlowKey6> = Flows::with_max_entries(SETS6, BPF_F_MMAPABLE);
/// Rules by MAC address.
#[map]
pub static RULES_MAC: HashMap<u64, RuleValue> = HashMap::with_max_entries(RULE_CAPACITY, 0);
/// Rules by IP address.
#[map]
pub static RULES_IP: HashMap<Address, RuleValue> = HashMap::with_max_entries(RULE_CAPACITY, 0);
/// Rules by prefix.
#[map]
pub static RULES_NET: LpmTrie<Address, RuleValue> = LpmTrie::with_max_entries(NET_CAPACITY, 0);
/// Rules by port, VLAN and segment.
#[map]
pub static RULES_SCOPE: Array<RuleValue> = Array::with_max_entries(SCOPE_CAPACITY, 0);
/// The segment of a port, or of a VLAN, by the same index.
#[map]
pub static SEGMENT_OF: Array<u32> = Array::with_max_entries(SCOPE_CAPACITY, 0);
/// The reflex of each segment.
#[map]
pub static REFLEX: Array<Reflex> = Array::with_max_entries(SEGMENTS, 0);
/// Internal prefixes.
#[map]
pub static INTERNAL: LpmTrie<Address, u32> = LpmTrie::with_max_entries(INTERNAL_CAPACITY, 0);
/// What quarantined and pinned devices may do.
#[map]
pub static ALLOW: HashMap<AllowKey, u32> = HashMap::with_max_entries(ALLOW_CAPACITY, 0);
/// What each rule did.
#[map]
pub static RULE_COUNTERS: PerCpuArray<RuleCounters> = PerCpuArray::with_max_entries(SLOTS, 0);
/// What throttled devices spent.
#[map]
pub static THROTTLED: Array<Bucket> = Array::with_max_entries(SLOTS, 0);
/// What hosts spent on new destinations.
#[map]
pub static HOSTS: LruHashMap<u64, Bucket> = LruHashMap::with_max_entries(HOST_CAPACITY, 0);
/// Pairs of addresses that spoke.
#[map]
pub static PAIRS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(PAIR_CAPACITY, 0);
/// Where MAC addresses live: index of the port.
#[map]
pub static PLACES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(PLACE_CAPACITY, 0);
/// Ports of the packets whose fragments are under way.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, u32> = LruHashMap::with_max_entries(FRAGMENT_CAPACITY, 0);
/// Hosts all of whose frames are dropped.
#[map]
pub static SEALS: PerCpuArray<Seal> = PerCpuArray::with_max_entries(SEAL_CAPACITY, 0);
/// Where what is too large for the stack is put together.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
/// Flow records.
#[map]
pub static RING_FLOW: RingBuf = RingBuf::with_byte_size(RING_FLOW_BYTES, 0);
/// ARP records.
#[map]
pub static RING_CONTROL: RingBuf = RingBuf::with_byte_size(RING_CONTROL_BYTES, 0);
/// Frames that are told whole.
#[map]
pub static RING_HEARD: RingBuf = RingBuf::with_byte_size(RING_HEARD_BYTES, 0);
/// Their budgets, by kind.
#[map]
pub static HEARD: PerCpuArray<HeardCell> = PerCpuArray::with_max_entries(HEARD_KINDS, 0);
/// The span of time in which this CPU last woke the reader.
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

/// The scratch space of this CPU.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: the slot is this CPU's own, and XDP does not interrupt itself on a CPU; the program takes it once a frame.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// Has what was written to the scratch space read again where it is used.
#[inline(always)]
pub fn settle<T>(part: &mut T) {
    // SAFETY: a register is set to what it is; without `nomem` memory may have changed, as far as LLVM knows.
    unsafe { asm!("{0} = {0}", inout(reg) &raw mut *part => _, options(nostack)) };
}

/// The budget of frames of a kind that are told whole, on this CPU.
#[inline(always)]
pub fn heard(kind: u32) -> Option<&'static mut HeardCell> {
    // SAFETY: the slot is this CPU's own, and XDP does not interrupt itself on a CPU.
    HEARD.get_ptr_mut(kind).map(|cell| unsafe { &mut *cell })
}

/// The seal of a host on this CPU, if it is one.
#[inline(always)]
pub fn seal(host: Host) -> Option<&'static mut Seal> {
    // SAFETY: the slot is this CPU's own, and XDP does not interrupt itself on a CPU.
    SEALS.get_ptr_mut(host.index()).map(|seal| unsafe { &mut *seal })
}

/// Seals a host for this jiffy, on this CPU.
#[inline(always)]
pub fn set_seal(cell: &mut PortCell, host: Host, now: Moment, rule_id: u32) {
    if let Some(seal) = seal(host) {
        *seal = Seal::new(host, now.word(), rule_id);
        cell.sealed = now.word();
    }
}

/// Counts a frame that the rule of this number drops, or would drop.
#[inline(always)]
pub fn count_rule(rule_id: u32, verdict: u8, len: u64) {
    if let Some(counters) = RULE_COUNTERS.get_ptr_mut(rule_id % SLOTS) {
        // SAFETY: the slot is this CPU's own.
        unsafe { (*counters).count(verdict == VERDICT_DROP, len) };
    }
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
pub fn atomic_add(counter: &mut u64, more: u64) {
    // SAFETY: one atomic add on a live, aligned map value.
    unsafe {
        asm!("lock *(u64 *)({counter} + 0) += {more}", counter = in(reg) counter, more = in(reg) more,
             options(nostack));
    }
}
