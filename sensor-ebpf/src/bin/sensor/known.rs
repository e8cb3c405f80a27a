//! The short way: a usual packet of a known flow is counted and gets the flow's verdict.
//!
//! Nearly all frames go it, so it does with four table look-ups and without the whole parser. Whatever needs more - another
//! kind of packet, no flow yet, a verdict to be made anew, a record to be told - is left, untouched, to the general way.

use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::account::{self, Moment};
use sensor_ebpf::flow::FlowValue;
use sensor_ebpf::usual;

use crate::packet::PacketCursor;
use crate::{action, jiffies, maps};

/// What becomes of a usual packet of a known flow; `None`, and nothing done, for any other frame.
#[inline(always)]
pub fn frame(ctx: &XdpContext) -> Option<u32> {
    let port = maps::PORTS.get(ctx.ingress_ifindex() as u32)?.index;
    let at = PacketCursor::new(ctx);
    let len = at.len();
    if let Some(packet) = usual::ipv4(at, len as usize) {
        count(&maps::FLOW4, &packet.key(port), packet.tcp_flags, port, len)
    } else {
        let packet = usual::ipv6(at, len as usize)?;
        count(&maps::FLOW6, &packet.key(port), packet.tcp_flags, port, len)
    }
}

#[inline(always)]
fn count<K>(table: &LruHashMap<K, FlowValue>, key: &K, tcp_flags: u8, port: u8, len: u64) -> Option<u32> {
    // SAFETY: the entry lives until the program ends (RCU); how CPUs share it is told at `FlowValue`.
    let value = unsafe { &mut *table.get_ptr_mut(key)? };
    let cell = maps::port_cell(port)?;
    let generation = maps::CONFIG.get(0)?.generation;
    let now = Moment { generation, jiffies: jiffies() };
    if !account::settled(value, now) {
        return None;
    }
    account::touch(value, tcp_flags, now);
    let verdict = maps::count(value, len);
    cell.count(verdict, len);
    Some(action(verdict))
}
