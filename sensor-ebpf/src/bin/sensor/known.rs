//! The short way: a usual packet of a known flow is counted and gets the flow's verdict.
//!
//! Nearly all frames go it, so it does with four table look-ups and without the whole parser. Whatever needs more - another
//! kind of packet, no flow yet, a verdict to be made anew, a record to be told - is left, untouched, to the general way.

use aya_ebpf::programs::XdpContext;
use sensor_ebpf::account::{self, Moment};
use sensor_ebpf::counter::PortCell;
use sensor_ebpf::flow::{FlowValue, Judged, VERDICT_DROP, VERDICT_PASS, VERDICT_WOULD_DROP};
use sensor_ebpf::table::{Place, TableKey};
use sensor_ebpf::{seal, usual};

use crate::flows::{self, FEW, Found};
use crate::packet::PacketCursor;
use crate::{action, jiffies, maps};

/// A usual packet of a known flow.
struct Known<'a> {
    value: &'a mut FlowValue,
    judged: Judged,
    cell: &'a mut PortCell,
    tcp_flags: u8,
    len: u64,
    now: Moment,
}

/// What becomes of a usual packet of a known flow; `None`, and nothing done, for any other frame.
#[inline(always)]
pub fn frame(ctx: &XdpContext) -> Option<u32> {
    let port = maps::PORTS.get(ctx.ingress_ifindex() as u32)?.index;
    let at = PacketCursor::new(ctx, 0);
    let len = at.len();
    let cell = maps::port_cell(port)?;
    let config = maps::CONFIG.get(0)?;
    let now = Moment { generation: config.generation, jiffies: jiffies() };
    if cell.sealed == now.word()
        && let Some(host) = seal::host(at, port)
        && let Some(seal) = maps::seal(host)
        && seal.holds(host, now.word())
    {
        cell.count_sealed(len);
        maps::count_rule(seal.rule_id, VERDICT_DROP, len);
        return Some(action(VERDICT_DROP));
    }
    let (found, tcp_flags) = if let Some(packet) = usual::ipv4(at, len as usize) {
        let key = packet.key(port);
        let place = Place::of(key.hash(&config.secret), config.sets4);
        (flows::find::<FEW, _>(&maps::FLOW4, &key, place)?, packet.tcp_flags)
    } else {
        let packet = usual::ipv6(at, len as usize)?;
        // Not on the stack: this function's comes on top of that of all others.
        let key = &mut maps::scratch()?.packet.key6;
        *key = packet.key(port);
        let place = Place::of(key.hash(&config.secret), config.sets6);
        (flows::find::<FEW, _>(&maps::FLOW6, key, place)?, packet.tcp_flags)
    };
    let Found { value, judged } = found;
    // It may be over.
    if account::quiet_j(value, now.jiffies) >= u64::from(config.quiet_j) {
        return None;
    }
    judge(ctx, Known { value, judged, cell, tcp_flags, len, now })
}

/// The flow's verdict, if it is not to be made anew and the flow was told.
#[inline(always)]
fn judge(ctx: &XdpContext, known: Known<'_>) -> Option<u32> {
    let (value, judged, now) = (&*known.value, known.judged, known.now);
    if !account::is_told(value) {
        return None;
    }
    if judged.is_bound() && value.macs() != usual::macs(PacketCursor::new(ctx, 0))? {
        return None;
    }
    // The two verdicts that nearly all flows have are known by one comparison each. To pass is never for a time only.
    let verdict = judged.plain();
    if verdict == Judged::new(VERDICT_PASS, false, now.generation) {
        return Some(count(known, VERDICT_PASS));
    }
    if account::lapsed(value, now) || known.cell.is_sample(judged.verdict()) || judged.seals() {
        // One dropped frame in many is told, and one a jiffy leaves a seal, which is for the general way.
        return None;
    }
    if verdict == Judged::new(VERDICT_DROP, false, now.generation) {
        return Some(count_dropped(known, VERDICT_DROP));
    }
    if verdict == Judged::new(VERDICT_WOULD_DROP, false, now.generation) {
        return Some(count_dropped(known, VERDICT_WOULD_DROP));
    }
    // It is to be made anew, or each frame has one of its own.
    None
}

/// Counts a frame that is, or would be, dropped.
#[inline(always)]
fn count_dropped(known: Known<'_>, verdict: u8) -> u32 {
    maps::count_rule(known.value.rule_id, verdict, known.len);
    count(known, verdict)
}

#[inline(always)]
fn count(known: Known<'_>, verdict: u8) -> u32 {
    account::touch(known.value, known.tcp_flags, known.now);
    maps::count(known.value, known.len, verdict);
    known.cell.count(verdict, known.len);
    action(verdict)
}
