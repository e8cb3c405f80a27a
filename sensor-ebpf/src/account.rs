//! The life cycle of a flow: what is entered, what each frame changes, when a record is due.
//!
//! The program and the replay of captures both go through here, so that a capture gives the same flows by either way.

use crate::event::FlowRecord;
use crate::flow::{
    FlowKey4, FlowKey6, FlowValue, FragmentKey, Judged, KIND_ARP, KIND_FRAGMENT, KIND_IP, KIND_MASK, Lane,
    Macs, STATE_TOLD, VERDICT_PASS, mix, ports,
};
use crate::heard;
use crate::judge::{ASK_ARP, ASK_IP, Judgement, Question};
use crate::parse::{Link, Net4, Net6, PROTO_TCP, Upper, mac_bytes};
use crate::rule::{Address, mapped as mapped_address};

/// The time of a frame, as the kernel has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// Jiffies.
    pub jiffies: u64,
    /// Policy generation read before the frame was judged.
    pub generation: u32,
}

impl Moment {
    /// The generation and the lower half of the jiffies as one word.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.low_j() as u64 | (self.generation as u64) << 32
    }

    /// The lower half of the jiffies, which wraps.
    #[inline(always)]
    pub const fn low_j(self) -> u32 {
        self.jiffies as u32
    }
}

/// One frame, as far as accounting cares.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its link header.
    pub link: &'a Link,
    /// What lies above its addresses.
    pub upper: &'a Upper,
    /// ARP sender hardware address, else 0.
    pub arp_sha: u64,
    /// Bytes of the frame.
    pub len: u32,
    /// Index of the port it came in by.
    pub port: u8,
}

/// The two flow keys, as they look in a record.
pub trait Key: Copy {
    /// Source and destination as 16 bytes (IPv4 mapped).
    fn ends(&self) -> [[u8; 16]; 2];
    /// Source and destination as the rules have them.
    fn ips(&self) -> [Address; 2];
    /// Both addresses in one word, for the table of fragments.
    fn both(&self) -> u64;
    /// The IPv4 source address, network byte order.
    fn source4(&self) -> Option<u32>;
    /// The rest of it.
    fn lane(&self) -> Lane;
}

/// Key of an IPv4 packet or ARP message.
#[inline(always)]
pub fn key4(net: &Net4, link: &Link, port: u8) -> FlowKey4 {
    FlowKey4::new(net.src, net.dst, lane(&net.upper, link, port))
}

/// Key of an IPv6 packet.
#[inline(always)]
pub fn key6(net: &Net6, link: &Link, port: u8) -> FlowKey6 {
    FlowKey6::new(net.src, net.dst, lane(&net.upper, link, port))
}

/// The part of a flow's key that is not its addresses.
#[inline(always)]
pub fn lane(upper: &Upper, link: &Link, port: u8) -> Lane {
    Lane::new(ports(upper.sport, upper.dport), upper.proto, port, link.vlan | upper.kind)
}

/// An IPv4 address (network byte order) as a mapped IPv6 address.
#[inline(always)]
fn mapped(ip: u32) -> [u8; 16] {
    let [a, b, c, d] = ip.to_ne_bytes();
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Four words in network byte order as 16 bytes.
#[inline(always)]
pub fn ip6_bytes(ip: [u32; 4]) -> [u8; 16] {
    let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = ip.map(u32::to_ne_bytes);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

impl Key for FlowKey4 {
    #[inline(always)]
    fn ends(&self) -> [[u8; 16]; 2] {
        let (src, dst) = self.addresses();
        [mapped(src), mapped(dst)]
    }

    #[inline(always)]
    fn ips(&self) -> [Address; 2] {
        let (src, dst) = self.addresses();
        [mapped_address(src), mapped_address(dst)]
    }

    #[inline(always)]
    fn both(&self) -> u64 {
        FlowKey4::both(self)
    }

    #[inline(always)]
    fn source4(&self) -> Option<u32> {
        Some(self.addresses().0)
    }

    #[inline(always)]
    fn lane(&self) -> Lane {
        self.lane
    }
}

impl Key for FlowKey6 {
    #[inline(always)]
    fn ends(&self) -> [[u8; 16]; 2] {
        let (src, dst) = self.addresses();
        [ip6_bytes(src), ip6_bytes(dst)]
    }

    #[inline(always)]
    fn ips(&self) -> [Address; 2] {
        self.addresses
    }

    #[inline(always)]
    fn both(&self) -> u64 {
        let [[a, b], [c, d]] = self.addresses;
        mix(mix(a, b), mix(c, d))
    }

    #[inline(always)]
    fn source4(&self) -> Option<u32> {
        None
    }

    #[inline(always)]
    fn lane(&self) -> Lane {
        self.lane
    }
}

/// Fills in what a frame is judged by.
#[inline(always)]
pub fn ask<K: Key>(ask: &mut Question, key: &K, frame: &Frame<'_>, armed: u32, now_ns: u64) {
    *ask = Question {
        now_ns,
        macs: [frame.link.src, frame.link.dst],
        ips: key.ips(),
        armed,
        ports: [frame.upper.sport, frame.upper.dport],
        vlan: frame.link.vlan,
        port: frame.port,
        proto: frame.upper.proto,
        kind: if frame.upper.kind == KIND_ARP { ASK_ARP } else { ASK_IP },
        pad: [0; 3],
    };
}

/// What a fragment has to do with the table of packets under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fragment {
    /// It is none.
    No,
    /// It is a first one: these ports are to be remembered.
    First(u32),
    /// It is a later one: it belongs to the flow of the ports remembered.
    Later,
}

/// Whether a packet is a fragment.
#[inline(always)]
pub fn fragment(upper: &Upper) -> Fragment {
    if upper.kind == KIND_FRAGMENT {
        Fragment::Later
    } else if upper.first != 0 {
        Fragment::First(ports(upper.sport, upper.dport))
    } else {
        Fragment::No
    }
}

/// The key of a fragmented packet; `both` is [`Key::both`] of its flow.
#[inline(always)]
pub fn fragment_key(both: u64, upper: &Upper, link: &Link, port: u8) -> FragmentKey {
    let rest = u32::from(upper.proto) | u32::from(port) << 8 | u32::from(link.vlan) << 16;
    FragmentKey { ends: both, id: upper.fragment_id, rest }
}

/// Makes a later fragment one of the flow its first one belongs to.
#[inline(always)]
pub fn join(upper: &mut Upper, of_first: u32) {
    upper.kind = KIND_IP;
    upper.sport = of_first as u16;
    upper.dport = (of_first >> 16) as u16;
}

/// The value a flow is entered with, before its first frame is counted. `owner` is this CPU.
#[inline(always)]
pub fn enter(frame: &Frame<'_>, owner: u16, now: Moment, now_ns: u64) -> FlowValue {
    let macs = Macs::new(frame.link.src, frame.link.dst);
    FlowValue {
        owner,
        first_ns: now_ns,
        last_j: now.jiffies,
        macs_low: macs.0,
        macs_high: macs.1,
        ttl: frame.upper.ttl,
        state: heard::state(frame.upper),
        ..FlowValue::default()
    }
}

/// Puts a judgement into a flow. `jiffy_ns` is the length of a jiffy.
#[inline(always)]
pub fn settle(value: &mut FlowValue, judgement: Judgement, now: Moment, now_ns: u64, jiffy_ns: u64) {
    value.rule_id = judgement.rule_id;
    value.until_j = 0;
    if judgement.until_ns != 0 {
        let left_j = judgement.until_ns.saturating_sub(now_ns) / if jiffy_ns == 0 { 1 } else { jiffy_ns };
        // Half the range of the wrapping clock (24 days at 1,000 Hz) is as far as it can be compared; a longer rule is
        // looked up again then. The "or 1" keeps 0 for "never".
        let left_j = if left_j > i32::MAX as u64 { i32::MAX as u32 } else { left_j as u32 };
        value.until_j = now.low_j().wrapping_add(left_j).wrapping_add(1) | 1;
    }
    value.judged =
        Judged::new(judgement.verdict, judgement.by_mac, now.generation).with_seal(judgement.seals);
}

/// Whether a frame has the MAC addresses its flow began with. A key holds none, and hosts may share one: all that ask for an
/// address by DHCP do. So a verdict in which rules by MAC address had a say is cached, and used, for these frames alone;
/// others are judged one by one. So is what ARP says, for its flows change their MAC address.
#[inline(always)]
pub fn alike(value: &FlowValue, frame: &Frame<'_>) -> bool {
    frame.upper.kind != KIND_ARP && value.macs() == Macs::new(frame.link.src, frame.link.dst)
}

/// The cached judgement on a frame of a flow, `judged` as it was when the flow was found. None if it must be made anew, because
/// the policy changed or it lapsed; if it does not speak for the frame; or if a record is due.
#[inline(always)]
pub fn cached(value: &FlowValue, judged: Judged, frame: &Frame<'_>, now: Moment) -> Option<Judgement> {
    let speaks = !judged.is_bound() || alike(value, frame);
    let stale = judged.generation() != now.generation || lapsed(value, now);
    if !speaks || stale || due(value, frame) {
        return None;
    }
    let (verdict, seals) = (judged.verdict(), judged.seals());
    Some(Judgement { verdict, rule_id: value.rule_id, seals, ..Judgement::default() })
}

/// Whether the cached verdict was for a time that is over.
#[inline(always)]
pub fn lapsed(value: &FlowValue, now: Moment) -> bool {
    value.until_j != 0 && now.low_j().wrapping_sub(value.until_j) as i32 >= 0
}

/// No flow is over that was quiet for less, ns.
pub const LEAST_TIMEOUT_NS: u64 = 10 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;
/// FIN or RST (RFC 9293).
const ENDS: u8 = 0x01 | 0x04;
/// SYN.
const BEGINS: u8 = 0x02;

/// How long a flow may be quiet before it is over, ns. Established TCP is given long: closing it early would make its
/// next packet look like a new contact.
#[inline(always)]
pub const fn idle_timeout_ns(lane: Lane, tcp_flags: u8) -> u64 {
    let kind = lane.vlan() & KIND_MASK;
    if kind == KIND_ARP {
        return 120 * SECOND_NS;
    }
    if kind != KIND_IP || lane.proto() != PROTO_TCP {
        return 60 * SECOND_NS;
    }
    if is_closed(tcp_flags) {
        LEAST_TIMEOUT_NS
    } else if tcp_flags == BEGINS {
        30 * SECOND_NS
    } else {
        600 * SECOND_NS
    }
}

/// Whether a TCP connection was closed, by all its flags seen.
#[inline(always)]
pub const fn is_closed(tcp_flags: u8) -> bool {
    tcp_flags & ENDS != 0
}

/// Whether a flow was quiet for so long that it is over. What its ends send then is a new flow.
#[inline(always)]
pub fn is_over(value: &FlowValue, lane: Lane, now_j: u64, jiffy_ns: u64) -> bool {
    // 64 bits of ns are 584 years.
    quiet_j(value, now_j).wrapping_mul(jiffy_ns) >= idle_timeout_ns(lane, value.tcp_flags)
}

/// For how long a flow was quiet, jiffies. Another CPU may be a jiffy ahead.
#[inline(always)]
pub const fn quiet_j(value: &FlowValue, now_j: u64) -> u64 {
    now_j.saturating_sub(value.last_j)
}

/// Counts a frame of this verdict that came on the CPU that owns its flow. (On other CPUs the program adds atomically.)
#[inline(always)]
pub fn count(value: &mut FlowValue, len: u64, verdict: u8) {
    let frames = if verdict == VERDICT_PASS { &mut value.owner_passed } else { &mut value.owner_dropped };
    *frames = frames.wrapping_add(1);
    value.owner_bytes = value.owner_bytes.wrapping_add(len);
}

/// Notes when a frame came and with which TCP flags.
#[inline(always)]
pub fn touch(value: &mut FlowValue, tcp_flags: u8, now: Moment) {
    value.last_j = now.jiffies;
    let flags = value.tcp_flags | tcp_flags;
    // Written only when there is a new one, so that two CPUs at work on a flow seldom overwrite each other's.
    if value.tcp_flags != flags {
        value.tcp_flags = flags;
    }
}

/// Notes a frame in all fields but the counters.
#[inline(always)]
pub fn note(value: &mut FlowValue, frame: &Frame<'_>, now: Moment) {
    touch(value, frame.upper.tcp_flags, now);
    if moved(value, frame) {
        value.set_macs(Macs::new(frame.link.src, frame.link.dst));
    }
}

/// Whether an ARP speaker comes under another MAC address than before.
#[inline(always)]
fn moved(value: &FlowValue, frame: &Frame<'_>) -> bool {
    frame.upper.kind == KIND_ARP && value.macs().src() != frame.link.src
}

/// Whether a record is due: the flow was not told yet, or it is an ARP speaker that moved, which is news: the device
/// table and spoof detection live on it.
#[inline(always)]
pub fn due(value: &FlowValue, frame: &Frame<'_>) -> bool {
    value.state & STATE_TOLD == 0 || moved(value, frame)
}

/// Whether the flow was told, and all there is to tell of it.
#[inline(always)]
pub fn is_told(value: &FlowValue) -> bool {
    value.state == STATE_TOLD
}

/// Notes whether the record that was due could be told.
#[inline(always)]
pub fn told(value: &mut FlowValue, told: bool) {
    value.state = if told { value.state | STATE_TOLD } else { value.state & !STATE_TOLD };
}

/// Writes the record of a flow, every byte of it, to where it is to be. `kind` is one of `RECORD_*`.
#[inline(always)]
pub fn record<K: Key>(
    record: &mut FlowRecord,
    kind: u8,
    key: &K,
    judgement: Judgement,
    frame: &Frame<'_>,
    now_ns: u64,
) {
    let lane = key.lane();
    let [src, dst] = key.ends();
    *record = FlowRecord {
        kind,
        abi: crate::ABI as u8,
        vlan: lane.vlan(),
        vlan_inner: frame.link.vlan_inner,
        ether_type: frame.link.ether_type,
        time_ns: now_ns,
        src,
        dst,
        sport: lane.sport(),
        dport: lane.dport(),
        proto: lane.proto(),
        port: lane.port(),
        ttl: frame.upper.ttl,
        tcp_flags: frame.upper.tcp_flags,
        smac: mac_bytes(frame.link.src),
        dmac: mac_bytes(frame.link.dst),
        arp_sha: mac_bytes(frame.arp_sha),
        window: frame.upper.window,
        len: frame.len,
        rule_id: judgement.rule_id,
        verdict: judgement.verdict,
        pad: [0; 3],
        inner_len: 0,
    };
}
