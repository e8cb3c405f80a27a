//! The XDP program of every bridge port: parse, judge, account, tell.
//!
//! It only filters; the kernel's bridge forwards. In doubt a frame passes and the reason is counted. A known flow costs
//! one look-up in a hash table: its verdict is cached with the generation of the policy it was made from, so that the
//! price of a frame does not grow with the number of rules.
//!
//! It must not know what a device or an incident is.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "the xdp macro drops the doc comments of its functions")]
// `lock add` on map values has no stable spelling for this target: core has no atomic add for it.
#![feature(asm_experimental_arch)]

mod known;
mod maps;
mod packet;
mod rules;
mod tell;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::macros::xdp;
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use sensor_ebpf::account::{self, Frame, Key, Moment};
use sensor_ebpf::control::{Clock, Config};
use sensor_ebpf::counter::{PortCounters, Reason};
use sensor_ebpf::flow::{FlowValue, VERDICT_DROP, VERDICT_PASS};
use sensor_ebpf::parse::{self, ETHER_ARP, ETHER_IPV4, Link, Upper};
use sensor_ebpf::rule::Judgement;

use crate::packet::PacketCursor;
use crate::rules::{Ends, NoEnds};

/// `bpf_map_update_elem`: only if there is no such key (linux/bpf.h).
const BPF_NOEXIST: u64 = 1;

/// What one frame needs besides its headers.
struct Env<'a> {
    config: &'a Config,
    counters: &'a mut PortCounters,
    now: Moment,
    /// Index of the port it came in by.
    port: u8,
    /// Bytes of the frame.
    len: u32,
}

/// Entry point on each bridge port.
#[xdp]
pub fn sekisho(ctx: XdpContext) -> u32 {
    if let Some(action) = known::frame(&ctx) {
        return action;
    }
    match general::<Rest>(ctx.ctx) {
        LEFT => general::<Ipv6>(ctx.ctx),
        action => action,
    }
}

/// What becomes of a frame of this verdict.
#[inline(always)]
fn action(verdict: u8) -> u32 {
    if verdict == VERDICT_DROP { XDP_DROP } else { XDP_PASS }
}

/// Returned for a frame that is not of the kind examined; no `xdp_action`.
const LEFT: u32 = u32::MAX;

/// The general way, for any frame of one kind. Each is a function of its own: the short way keeps its values in registers
/// so, and the two kinds do not share the 512 bytes of stack that the verifier allows.
#[inline(never)]
fn general<E: Examine>(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let (Some(config), Some(port)) = (maps::CONFIG.get(0), maps::PORTS.get(ctx.ingress_ifindex() as u32))
    else {
        return XDP_PASS;
    };
    let Some(cell) = maps::port_cell(port.index) else { return XDP_PASS };
    let at = PacketCursor::new(&ctx);
    let len = at.len();
    let now = Moment { jiffies: jiffies(), generation: config.generation };
    let mut env = Env { config, counters: &mut cell.0, now, port: port.index, len: len as u32 };
    let Some(verdict) = E::examine(at, &mut env) else { return LEFT };
    cell.count(verdict, len);
    action(verdict)
}

/// A way to parse and judge a frame; `None`, and nothing done, if it is of another kind.
trait Examine {
    fn examine(at: PacketCursor, env: &mut Env<'_>) -> Option<u8>;
}

/// IPv6 packets.
struct Ipv6;

/// All other frames.
struct Rest;

impl Examine for Rest {
    #[inline(always)]
    fn examine(at: PacketCursor, env: &mut Env<'_>) -> Option<u8> {
        let (mut link, at, reason) = parse::link(at);
        if reason as u8 != Reason::None as u8 {
            return Some(without_flow(env, &link, reason));
        }
        let net = match link.ether_type {
            ETHER_IPV4 => parse::ipv4(at),
            ETHER_ARP => parse::arp(at),
            _ => return None,
        };
        let mut net = match net {
            Ok(net) => net,
            Err(reason) => return Some(without_flow(env, &link, reason)),
        };
        net.arp_sha ^= u64::from(env.config.zero);
        veil(&mut net.upper, &mut link, env.config.zero);
        let frame =
            Frame { link: &link, upper: &net.upper, arp_sha: net.arp_sha, len: env.len, port: env.port };
        Some(flow(env, &maps::FLOW4, &account::key4(&net, &link, env.port), &frame, &net))
    }
}

impl Examine for Ipv6 {
    #[inline(always)]
    fn examine(at: PacketCursor, env: &mut Env<'_>) -> Option<u8> {
        let (mut link, at, _) = parse::link(at);
        let mut net = match parse::ipv6(at) {
            Ok(net) => net,
            Err(reason) => return Some(without_flow(env, &link, reason)),
        };
        veil(&mut net.upper, &mut link, env.config.zero);
        let frame = Frame { link: &link, upper: &net.upper, arp_sha: 0, len: env.len, port: env.port };
        let key = account::key6(&net, &link, env.port);
        Some(flow(env, &maps::FLOW6, &key, &frame, &key))
    }
}

/// Hides from the verifier what it knows of a parsed frame, at one instruction a field: `zero` is 0, but that is known to
/// user space alone. Otherwise every outcome of the parser (a constant here, a byte of the packet there) is followed
/// through all of the accounting for itself, which multiplies to a million steps.
#[inline(always)]
fn veil(upper: &mut Upper, link: &mut Link, zero: u32) {
    upper.sport ^= zero as u16;
    upper.dport ^= zero as u16;
    upper.kind ^= zero as u16;
    upper.window ^= zero as u16;
    upper.proto ^= zero as u8;
    upper.tcp_flags ^= zero as u8;
    upper.ttl ^= zero as u8;
    upper.fault ^= zero as u8;
    link.vlan ^= zero as u16;
    link.vlan_inner ^= zero as u16;
    link.ether_type ^= zero as u16;
}

/// The verdict on a frame that belongs to no flow: link control passes, all else is judged by its MAC addresses.
#[inline(always)]
fn without_flow(env: &mut Env<'_>, link: &Link, reason: Reason) -> u8 {
    env.counters.ignored_packets += 1;
    count_reason(reason as u8);
    if reason as u8 == Reason::LinkControl as u8 || reason as u8 == Reason::ShortEthernet as u8 {
        return VERDICT_PASS;
    }
    rules::judge(env.config, link, &NoEnds, now_ns()).verdict
}

/// Counts a frame in its flow and returns its verdict: the flow's, unless that is stale or does not speak for the frame.
#[inline(always)]
fn flow<K: Key>(
    env: &mut Env<'_>,
    table: &LruHashMap<K, FlowValue>,
    key: &K,
    frame: &Frame<'_>,
    ends: &impl Ends,
) -> u8 {
    if frame.upper.fault != Reason::None as u8 {
        count_reason(frame.upper.fault);
    }
    let found = table.get_ptr_mut(key);
    let mut alike = false;
    if let Some(value) = found {
        // SAFETY: the entry lives until the program ends (RCU); how CPUs share it is told at `FlowValue`.
        let value = unsafe { &mut *value };
        alike = account::alike(value, frame);
        let judged = value.judged;
        let speaks = alike || !judged.is_bound();
        if speaks && !account::stale(value, env.now) && !account::due(value, frame) {
            return update(value, frame, env.now, judged.verdict());
        }
    }
    let now_ns = now_ns();
    let judgement = rules::judge(env.config, frame.link, ends, now_ns);
    let Some(value) = found else {
        return first(env, table, key, frame, judgement, now_ns);
    };
    // SAFETY: as above.
    let value = unsafe { &mut *value };
    if alike || !judgement.by_mac {
        account::settle(value, judgement, env.now, now_ns, env.config.jiffy_ns);
    }
    if account::due(value, frame) {
        let told = tell::flow(env, key, judgement, frame, now_ns);
        account::told(value, told);
    }
    update(value, frame, env.now, judgement.verdict)
}

/// Adds a frame to its flow.
#[inline(always)]
fn update(value: &mut FlowValue, frame: &Frame<'_>, now: Moment, verdict: u8) -> u8 {
    account::note(value, frame, now);
    maps::count(value, u64::from(frame.len), verdict);
    verdict
}

/// Enters a new flow. It is told first, so that it is entered as told only when it was.
#[inline(always)]
fn first<K: Key>(
    env: &mut Env<'_>,
    table: &LruHashMap<K, FlowValue>,
    key: &K,
    frame: &Frame<'_>,
    judgement: Judgement,
    now_ns: u64,
) -> u8 {
    let mut value = account::enter(frame, maps::cpu() as u16, env.now, now_ns);
    account::settle(&mut value, judgement, env.now, now_ns, env.config.jiffy_ns);
    account::note(&mut value, frame, env.now);
    account::count(&mut value, u64::from(frame.len), judgement.verdict);
    let told = tell::flow(env, key, judgement, frame, now_ns);
    account::told(&mut value, told);
    match table.insert(key, &value, BPF_NOEXIST) {
        Ok(()) => env.counters.flows_new += 1,
        // Another CPU was first (EEXIST), or the bucket is busy (EBUSY) or no memory is left: the frame is judged all
        // the same. In the first case it is counted with the flow that is there.
        Err(_) => match table.get_ptr_mut(key) {
            // SAFETY: as in `flow`.
            Some(value) => return update(unsafe { &mut *value }, frame, env.now, judgement.verdict),
            None => env.counters.flows_failed += 1,
        },
    }
    judgement.verdict
}

/// Counts why a frame was not parsed to its end.
#[inline(always)]
fn count_reason(reason: u8) {
    if let Some(count) = maps::REASONS.get_ptr_mut(u32::from(reason)) {
        // SAFETY: the slot is this CPU's own.
        unsafe { *count += 1 };
    }
}

/// Jiffies, wrapping.
#[inline(always)]
fn jiffies() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_jiffies64() as u32 }
}

/// ns of CLOCK_MONOTONIC.
#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Not for attaching: the daemon runs it once under BPF_PROG_TEST_RUN to read both clocks of the kernel at one moment,
/// and so learns the length of a jiffy.
#[xdp]
pub fn sekisho_clock(ctx: XdpContext) -> u32 {
    if let Some(clock) = maps::CLOCK.get_ptr_mut(0) {
        // SAFETY: one entry of an array; only one test run goes on at a time.
        unsafe { *clock = Clock { monotonic_ns: now_ns(), jiffies: bpf_jiffies64() } };
        debug!(&ctx, "sensor program of ABI {} answers", sensor_ebpf::ABI);
    }
    XDP_PASS
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

// GPL-compatible, as the kernel demands of programs that use its GPL-only helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
