//! The maps of budgets, as the reflex asks them. Only for new flows, and for each frame of a throttled device.

use core::arch::asm;

use sensor_ebpf::control::{Bucket, Rate, Reflex};
use sensor_ebpf::judge::Question;
use sensor_ebpf::reflex::Ledger;
use sensor_ebpf::rule::{SLOTS, scope_of_port, scope_of_vlan};

use crate::maps;

/// How often a budget is charged anew if another CPU charged it meanwhile. Who never comes through passes.
const TRIES: usize = 4;

/// The maps of budgets.
pub struct Budgets;

impl Ledger for Budgets {
    #[inline(always)]
    fn knows(&mut self, pair: u64) -> bool {
        // SAFETY: nothing of the value is read.
        unsafe { maps::PAIRS.get(pair) }.is_some()
    }

    #[inline(always)]
    fn remember(&mut self, pair: u64) {
        // If it cannot be entered now, the destination is new once more.
        let _ = maps::PAIRS.insert(pair, 1, 0);
    }

    #[inline(always)]
    fn reflex(&mut self, ask: &Question) -> Reflex {
        let of = |scope| maps::SEGMENT_OF.get(scope).copied().unwrap_or(0);
        let vlan = of(scope_of_vlan(ask.vlan));
        let segment = if vlan == 0 { of(scope_of_port(ask.port)) } else { vlan };
        maps::REFLEX.get(segment).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn charge_host(&mut self, host: u64, rate: &Rate, now_ns: u64) -> bool {
        let Some(bucket) = maps::HOSTS.get_ptr_mut(host) else {
            let Some(new_due_ns) = rate.spend(0, now_ns, rate.interval_ns) else { return false };
            let first = Bucket { new_due_ns, news: 1, ..Bucket::default() };
            // If it cannot be entered now, the host begins with the next.
            let _ = maps::HOSTS.insert(host, first, 0);
            return true;
        };
        // SAFETY: the entry lives until the program ends (RCU); it is changed by one atomic add and one atomic exchange.
        maps::atomic_add(unsafe { &mut (*bucket).news }, 1);
        // SAFETY: likewise.
        unsafe { charge(&raw mut (*bucket).new_due_ns, rate, rate.interval_ns, now_ns) }
    }

    #[inline(always)]
    fn charge_new(&mut self, rule_id: u32, rate: &Rate, now_ns: u64) -> bool {
        let Some(bucket) = maps::THROTTLED.get_ptr_mut(rule_id % SLOTS) else { return true };
        // SAFETY: an entry of an array.
        unsafe { charge(&raw mut (*bucket).new_due_ns, rate, rate.interval_ns, now_ns) }
    }

    #[inline(always)]
    fn charge_bytes(&mut self, rule_id: u32, rate: &Rate, cost_ns: u64, now_ns: u64) -> bool {
        let Some(bucket) = maps::THROTTLED.get_ptr_mut(rule_id % SLOTS) else { return true };
        // SAFETY: an entry of an array.
        unsafe { charge(&raw mut (*bucket).kib_due_ns, rate, cost_ns, now_ns) }
    }
}

/// Spends of a budget that other CPUs may spend of at the same moment.
///
/// # Safety
///
/// `due` points to a live, aligned map value.
#[inline(always)]
unsafe fn charge(due: *mut u64, rate: &Rate, cost_ns: u64, now_ns: u64) -> bool {
    for _ in 0..TRIES {
        // SAFETY: the caller's word.
        let before = unsafe { due.read_volatile() };
        let Some(after) = rate.spend(before, now_ns, cost_ns) else { return false };
        let found: u64;
        // SAFETY: one atomic exchange on a live, aligned map value.
        unsafe {
            asm!("r0 = cmpxchg_64({due} + 0, r0, {after})", due = in(reg) due, after = in(reg) after,
                 inlateout("r0") before => found, options(nostack));
        }
        if found == before {
            return true;
        }
    }
    true
}
