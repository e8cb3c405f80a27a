//! The XDP program of every bridge port: parse, judge, account, tell.
//!
//! It only filters; the kernel's bridge forwards. In doubt a frame passes and the reason is counted. A known flow costs
//! one look-up in a table: its verdict is cached with the generation of the policy it was made from, so that the
//! price of a frame does not grow with the number of rules.
//!
//! It must not know what a device or an incident is.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "the xdp macro drops the doc comments of its functions")]
// `lock add` on map values has no stable spelling for this target: core has no atomic add for it.
#![feature(asm_experimental_arch)]

mod budget;
mod flows;
mod known;
mod maps;
mod packet;
mod rules;
mod tell;

use core::arch::asm;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns, bpf_xdp_get_buff_len};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use sensor_ebpf::account::{self, Fragment, Frame, Key, Moment};
use sensor_ebpf::control::{Clock, Config};
use sensor_ebpf::counter::{PortCell, REASONS_OF_PORT, Reason};
use sensor_ebpf::flow::{FlowValue, VERDICT_DROP, VERDICT_PASS};
use sensor_ebpf::heard;
use sensor_ebpf::judge::{ARMED_ENFORCED, ARMED_RULES, ASK_CONTROL, ASK_LINK, Judgement, Question};
use sensor_ebpf::parse::{self, Cursor, ETHER_ARP, ETHER_IPV4, Link, Upper};
use sensor_ebpf::reflex::{self, Spent};
use sensor_ebpf::rule;
use sensor_ebpf::seal::Host;
use sensor_ebpf::table::{Place, TableKey};

use crate::budget::Budgets;
use crate::flows::{Entered, Flows, Found};
use crate::maps::{Packet, Scratch, Work};
use crate::packet::PacketCursor;

/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;

/// What one frame needs besides its headers.
struct Env<'a> {
    ctx: *mut xdp_md,
    config: &'a Config,
    /// `ARMED_*` bits, of the moment the generation is of.
    armed: u32,
    cell: &'a mut PortCell,
    work: &'a mut Work,
    now: Moment,
    /// Index of the port it came in by.
    port: u8,
    /// Bytes of the frame.
    len: u32,
    /// Bytes of it that lie in one piece, from its start.
    linear: u32,
}

/// Entry point on each bridge port.
#[xdp(frags)]
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
    let (Some(cell), Some(scratch)) = (maps::port_cell(port.index), maps::scratch()) else { return XDP_PASS };
    let at = PacketCursor::new(&ctx, config.zero);
    // SAFETY: a helper that reads the context (linux 5.18). A large frame lies in several pieces.
    let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    // One read of both: what is judged with the bits of one moment must not be kept as of a later generation.
    // SAFETY: the first word of the entry, of two numbers.
    let word = unsafe { (&raw const *config).cast::<u64>().read_volatile() };
    let (armed, generation) = (word as u32, (word >> 32) as u32);
    let now = Moment { jiffies: jiffies(), generation };
    let Scratch { packet, work } = scratch;
    let mut env = Env {
        ctx: ctx.ctx,
        config,
        armed,
        cell,
        work,
        now,
        port: port.index,
        len: len as u32,
        linear: at.len() as u32,
    };
    let Some(verdict) = E::examine(at, &mut env, packet) else { return LEFT };
    env.cell.count(verdict, len);
    action(verdict)
}

/// A way to parse and judge a frame; `None`, and nothing done, if it is of another kind.
trait Examine {
    fn examine(at: PacketCursor, env: &mut Env<'_>, packet: &mut Packet) -> Option<u8>;
}

/// IPv6 packets.
struct Ipv6;

/// All other frames.
struct Rest;

impl Examine for Rest {
    #[inline(always)]
    fn examine(start: PacketCursor, env: &mut Env<'_>, packet: &mut Packet) -> Option<u8> {
        let (link, at, reason) = parse::link(start);
        packet.link = link;
        packet.header = at.since(start);
        maps::settle(packet);
        if reason as u8 != Reason::None as u8 {
            return Some(without_flow(env, packet, reason));
        }
        let at = start.skip(packet.header as usize);
        let net = match packet.link.ether_type {
            ETHER_IPV4 => parse::ipv4(at, env.beyond()),
            ETHER_ARP => parse::arp(at),
            _ => return None,
        };
        let net = match net {
            Ok(net) => net,
            Err(reason) => return Some(without_flow(env, packet, reason)),
        };
        packet.upper = net.upper;
        packet.arp_sha = net.arp_sha;
        packet.key4 = account::key4(&net, &packet.link, env.port);
        maps::settle(packet);
        if join(packet.key4.both(), &mut packet.upper, &packet.link, env.port) {
            packet.key4.lane = account::lane(&packet.upper, &packet.link, env.port);
        }
        Some(flow(env, &maps::FLOW4, env.config.sets4, &packet.key4, packet))
    }
}

/// What [`Rest`] found of the link holds here too: it was called just before.
impl Examine for Ipv6 {
    #[inline(always)]
    fn examine(start: PacketCursor, env: &mut Env<'_>, packet: &mut Packet) -> Option<u8> {
        let net = match parse::ipv6(start.skip(packet.header as usize), env.beyond()) {
            Ok(net) => net,
            Err(reason) => return Some(without_flow(env, packet, reason)),
        };
        packet.upper = net.upper;
        packet.arp_sha = 0;
        packet.key6 = account::key6(&net, &packet.link, env.port);
        maps::settle(packet);
        if join(packet.key6.both(), &mut packet.upper, &packet.link, env.port) {
            packet.key6.lane = account::lane(&packet.upper, &packet.link, env.port);
        }
        Some(flow(env, &maps::FLOW6, env.config.sets6, &packet.key6, packet))
    }
}

impl Env<'_> {
    /// Bytes of the frame that lie elsewhere than in its first piece.
    #[inline(always)]
    fn beyond(&self) -> usize {
        self.len.wrapping_sub(self.linear) as usize
    }
}

/// Makes a later fragment one of its first one's flow, if that was seen, which changes its key; remembers the ports of a first
/// one. A later one whose first was not seen is judged without ports.
#[inline(always)]
fn join(both: u64, upper: &mut Upper, link: &Link, port: u8) -> bool {
    let fragment = account::fragment(upper);
    if fragment == Fragment::No {
        return false;
    }
    let key = account::fragment_key(both, upper, link, port);
    if let Fragment::First(ports) = fragment {
        // If it cannot be entered now, the later ones are judged without ports.
        let _ = maps::FRAGMENTS.insert(key, ports, 0);
        return false;
    }
    // SAFETY: the value is copied at once.
    let Some(ports) = (unsafe { maps::FRAGMENTS.get(key).copied() }) else { return false };
    account::join(upper, ports);
    true
}

/// The verdict on a frame that belongs to no flow: link control passes unless its port is cut, all else is judged by its
/// MAC addresses and its place. What hides behind too many headers to be read passes only while no rule restricts anybody, or
/// from who is protected.
#[inline(always)]
fn without_flow(env: &mut Env<'_>, packet: &Packet, reason: Reason) -> u8 {
    let link = &packet.link;
    let ignored = &mut env.cell.passed;
    ignored.ignored_packets += 1;
    ignored.ignored_bytes += u64::from(env.len);
    count_reason(env.port, reason as u8);
    let verdict = judge_without_flow(env, packet, reason);
    hear(env, heard::kind_of_link(link), verdict)
}

#[inline(always)]
fn judge_without_flow(env: &mut Env<'_>, packet: &Packet, reason: Reason) -> u8 {
    let (link, armed) = (&packet.link, env.armed);
    if armed & ARMED_RULES == 0 || reason as u8 == Reason::ShortEthernet as u8 {
        return VERDICT_PASS;
    }
    let control = reason as u8 == Reason::LinkControl as u8;
    env.work.ask = Question {
        now_ns: now_ns(),
        macs: [link.src, link.dst],
        armed,
        vlan: link.vlan,
        port: env.port,
        kind: if control { ASK_CONTROL } else { ASK_LINK },
        ..Question::default()
    };
    let judgement = rules::judge(env.work);
    let hidden = reason as u8 == Reason::DeepLink as u8 && armed & ARMED_ENFORCED != 0;
    if hidden && judgement.verdict != VERDICT_DROP && !judgement.spared {
        return VERDICT_DROP;
    }
    limited(env, judgement)
}

/// The verdict on one frame of a flow of this judgement; what is, or would be, dropped is counted for its rule.
#[inline(always)]
fn limited(env: &mut Env<'_>, judgement: Judgement) -> u8 {
    let Judgement { verdict, rule_id, .. } = judgement;
    if verdict == VERDICT_PASS {
        return verdict;
    }
    let verdict = reflex::frame(verdict, rule_id, env.len, now_ns(), env.config, &mut Budgets);
    if verdict != VERDICT_PASS {
        maps::count_rule(rule_id, verdict, u64::from(env.len));
    }
    verdict
}

/// Counts a frame in its flow and returns its verdict: the flow's, unless that is stale or does not speak for the frame.
#[inline(always)]
fn flow<K: Key + TableKey>(env: &mut Env<'_>, table: &Flows<K>, sets: u32, key: &K, packet: &Packet) -> u8 {
    let Packet { link, upper, arp_sha, .. } = packet;
    let frame = &Frame { link, upper, arp_sha: *arp_sha, len: env.len, port: env.port };
    if frame.upper.fault != Reason::None as u8 {
        count_reason(env.port, frame.upper.fault);
    }
    let place = Place::of(key.hash(&env.config.secret), sets);
    let mut found = flows::find(table, key, place)
        .filter(|found| !account::is_over(found.value, key.lane(), env.now.jiffies, env.config.jiffy_ns));
    if let Some(Found { value, judged }) = &mut found
        && let Some(judgement) = account::cached(value, *judged, frame, env.now)
    {
        seal(env, link, key, judgement);
        let verdict = update(env, value, key, frame, judgement);
        return hear(env, heard::kind(upper), verdict);
    }
    let now_ns = now_ns();
    let mut judgement = Judgement::default();
    if env.armed != 0 {
        account::ask(&mut env.work.ask, key, frame, env.armed, now_ns);
        judgement = rules::judge(env.work);
        // Others than IPv4 packets without a tag are not sealed.
        judgement.seals &= packet.header == ETHERNET && link.ether_type == ETHER_IPV4 && env.config.seal != 0;
        seal(env, link, key, judgement);
    }
    let Some(Found { value, .. }) = found else {
        return first(env, table, place, key, frame, judgement, now_ns);
    };
    if account::alike(value, frame) || !judgement.by_mac {
        account::settle(&mut env.work.value, judgement, env.now, now_ns, env.config.jiffy_ns);
        flows::settle_judgement(table, key, place, &env.work.value);
    }
    if account::due(value, frame) {
        let told = tell::flow(env, key, judgement, frame, now_ns);
        account::told(value, told);
    }
    if judgement.verdict != VERDICT_DROP {
        settle_place(frame, judgement.held);
    }
    let verdict = update(env, value, key, frame, judgement);
    hear(env, heard::kind(upper), verdict)
}

/// Tells a frame of this kind whole, unless it is dropped; gives its verdict.
#[inline(always)]
fn hear(env: &Env<'_>, kind: u8, verdict: u8) -> u8 {
    if kind != 0 && verdict != VERDICT_DROP {
        tell::whole(env.ctx, hidden(u64::from(kind)), u64::from(env.port), u64::from(env.len));
    }
    verdict
}

/// Has the frames that follow from this source dropped without a look at their flows, if the judgement is one on all of them.
#[inline(always)]
fn seal<K: Key>(env: &mut Env<'_>, link: &Link, key: &K, judgement: Judgement) {
    if judgement.seals
        && let Some(source) = key.source4()
    {
        let host = Host::new(link.src, source, env.port);
        maps::set_seal(env.cell, host, env.now, judgement.rule_id);
    }
}

/// Adds a frame to its flow; returns its verdict.
#[inline(always)]
fn update<K: Key>(
    env: &mut Env<'_>,
    value: &mut FlowValue,
    key: &K,
    frame: &Frame<'_>,
    judgement: Judgement,
) -> u8 {
    let verdict = limited(env, judgement);
    account::note(value, frame, env.now);
    maps::count(value, u64::from(frame.len), verdict);
    sample(env, key, frame, Judgement { verdict, ..judgement });
    verdict
}

/// Tells of a dropped frame, if it is one of the sample.
#[inline(always)]
fn sample<K: Key>(env: &mut Env<'_>, key: &K, frame: &Frame<'_>, judgement: Judgement) {
    if env.cell.is_sample(judgement.verdict) {
        tell::dropped(key, judgement, frame, now_ns());
    }
}

/// Enters a new flow. It is told first, so that it is entered as told only when it was.
#[inline(always)]
fn first<K: Key + TableKey>(
    env: &mut Env<'_>,
    table: &Flows<K>,
    place: Place,
    key: &K,
    frame: &Frame<'_>,
    judgement: Judgement,
    now_ns: u64,
) -> u8 {
    let len = u64::from(frame.len);
    // Without rules or budgets nothing was asked.
    let spent = if env.armed == 0 {
        Spent::default()
    } else {
        reflex::first(&env.work.ask, judgement, env.config, &mut Budgets)
    };
    env.cell.passed.reflex_packets += u64::from(spent.over);
    if spent.verdict == VERDICT_DROP {
        return refuse(
            env,
            key,
            frame,
            Judgement { verdict: spent.verdict, rule_id: spent.rule_id, ..judgement },
        );
    }
    let verdict = if spent.verdict == VERDICT_PASS {
        limited(env, judgement)
    } else {
        // A device that would be throttled: there this frame ends.
        maps::count_rule(spent.rule_id, spent.verdict, len);
        spent.verdict
    };
    let value = &mut env.work.value;
    *value = account::enter(frame, maps::cpu() as u16, env.now, now_ns);
    account::settle(value, judgement, env.now, now_ns, env.config.jiffy_ns);
    account::note(value, frame, env.now);
    account::count(value, len, verdict);
    let told = tell::flow(env, key, judgement, frame, now_ns);
    account::told(&mut env.work.value, told);
    sample(env, key, frame, Judgement { verdict, ..judgement });
    if verdict != VERDICT_DROP {
        settle_place(frame, judgement.held);
    }
    let entered = flows::enter(table, key, place, &env.work.value, env.config.jiffy_ns);
    if entered == Entered::New {
        env.cell.passed.flows_new += 1;
    } else if entered == Entered::Before
        && let Some(Found { value, .. }) = flows::find(table, key, place)
    {
        account::note(value, frame, env.now);
        maps::count(value, len, verdict);
    } else {
        // The frame is judged all the same.
        env.cell.passed.flows_failed += 1;
        unentered(env);
    }
    hear(env, heard::kind_of_first(frame.upper), verdict)
}

/// Drops the first frame of a flow that its host, or its device, has no budget for. The flow is not entered: the next frame
/// finds the budget as it is then.
#[inline(always)]
fn refuse<K: Key>(env: &mut Env<'_>, key: &K, frame: &Frame<'_>, judgement: Judgement) -> u8 {
    unentered(env);
    if judgement.rule_id != rule::RULE_REFLEX {
        maps::count_rule(judgement.rule_id, judgement.verdict, u64::from(frame.len));
    }
    sample(env, key, frame, judgement);
    judgement.verdict
}

/// Counts a frame that was judged, but is in no flow.
#[inline(always)]
fn unentered(env: &mut Env<'_>) {
    let counters = &mut env.cell.passed;
    counters.unentered_packets += 1;
    counters.unentered_bytes += u64::from(env.len);
}

/// Notes where the source of a frame lives. One that is `held` moves nobody: it may have borrowed the address, and the rules for
/// its place would hold for who has it.
#[inline(always)]
fn settle_place(frame: &Frame<'_>, held: bool) {
    let (mac, port) = (frame.link.src, u32::from(frame.port));
    // SAFETY: the value is copied at once.
    let stays = match unsafe { maps::PLACES.get(mac).copied() } {
        Some(place) => place == port || held,
        None => false,
    };
    if !stays {
        // If it cannot be entered now, a later flow does.
        let _ = maps::PLACES.insert(mac, port, 0);
    }
}

/// Counts why a frame was not parsed to its end.
#[inline(always)]
fn count_reason(port: u8, reason: u8) {
    let index = u32::from(port) * REASONS_OF_PORT + u32::from(reason) % REASONS_OF_PORT;
    if let Some(count) = maps::REASONS.get_ptr_mut(index) {
        // SAFETY: the slot is this CPU's own.
        unsafe { *count += 1 };
    }
}

/// A number LLVM knows nothing of, so that it leaves in the checks the verifier wants.
#[inline(always)]
fn hidden(mut n: u64) -> u64 {
    // SAFETY: a register is set to what it is. (No instruction at all would upset the line numbers of LLVM 22.)
    unsafe { asm!("{n} = {n}", n = inout(reg) n, options(pure, nomem, nostack)) };
    n
}

/// Jiffies.
#[inline(always)]
fn jiffies() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_jiffies64() }
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
