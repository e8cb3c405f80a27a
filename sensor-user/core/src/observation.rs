//! What comes in: flows as they begin, and how they went on.

use std::net::{IpAddr, Ipv6Addr};

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use sensor_ebpf::event::{FlowRecord, RECORD_DROP, RECORD_FLOW, RECORD_TUNNEL};
use sensor_ebpf::flow::{
    FlowKey4, FlowKey6, FlowValue, KIND_ARP, KIND_FRAGMENT, KIND_MASK, Lane, VERDICT_DROP, VERDICT_RATE,
    VERDICT_WOULD_DROP, VERDICT_WOULD_RATE, VLAN_MASK,
};
use sensor_ebpf::parse::{ETHER_IPV6, mac_bytes};
use sensor_ebpf::rule::RULE_REFLEX;
use sensor_ebpf::{ABI, account};
use serde::Serialize;

use crate::addr::Mac;
use crate::time::Time;
use crate::tunnel::{self, Inner, Words};

/// Kind of flow.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Serialize,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
)]
pub enum Kind {
    /// IP packets.
    Ip,
    /// ARP messages.
    Arp,
    /// Second and later fragments, which have no ports.
    Fragment,
}

/// One direction of a conversation.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Serialize,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
)]
pub struct FlowId {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port; ICMP: type * 256 + code; ARP: operation.
    pub sport: u16,
    /// Destination port; ICMP error: that of the packet it answers.
    pub dport: u16,
    /// IP protocol number.
    pub proto: u8,
    /// Kind of flow.
    pub kind: Kind,
    /// Outer VLAN identifier, 0 if untagged.
    pub vlan: u16,
    /// Index of the bridge port it came in by.
    pub port: u8,
}

/// What the data path did with the flow's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
pub enum Verdict {
    /// Passed.
    Pass,
    /// Dropped.
    Drop,
    /// Passed, and would have been dropped by a rule in observe mode.
    WouldDrop,
}

/// A flow began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct FlowSeen {
    /// When.
    pub time: Time,
    /// Which.
    pub id: FlowId,
    /// Source MAC address.
    pub smac: Mac,
    /// Destination MAC address.
    pub dmac: Mac,
    /// ARP: sender hardware address.
    pub arp_sha: Mac,
    /// Inner VLAN identifier, 0 if none.
    pub vlan_inner: u16,
    /// EtherType.
    pub ether_type: u16,
    /// TCP window.
    pub window: u16,
    /// Bytes of the first frame.
    pub len: u32,
    /// Time to live of the first frame.
    pub ttl: u8,
    /// TCP flags of the first frame.
    pub tcp_flags: u8,
    /// What became of it.
    pub verdict: Verdict,
    /// The rule behind the verdict, 0 for none.
    pub rule_id: u32,
    /// The packet within, if it is a tunnel and shows one.
    pub inner: Option<Inner>,
}

/// Why a frame was dropped, or would have been.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// A rule of the block list.
    Rule,
    /// Its host was over its budget of new destinations.
    Reflex,
}

/// A frame was dropped, or would have been: one of a sample, and no flow of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct DropSeen {
    /// When.
    pub time: Time,
    /// The flow it belongs to.
    pub id: FlowId,
    /// Source MAC address.
    pub smac: Mac,
    /// Destination MAC address.
    pub dmac: Mac,
    /// Bytes of the frame.
    pub len: u32,
    /// Time to live.
    pub ttl: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// Whether it passed all the same: a rule in observe mode.
    pub would: bool,
    /// Why.
    pub reason: DropReason,
    /// The rule behind it; 0 if it was none.
    pub rule_id: u32,
}

/// Why a flow ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// FIN or RST, and quiet since.
    Closed,
    /// Nothing came for its time-out.
    Timeout,
    /// The capture ended, or the sensor stopped.
    Shutdown,
    /// The table was full and it was the least recently used.
    Evicted,
    /// It did not: it goes on for so long that a part of it is logged (see [`crate::flow::ACTIVE`]).
    Active,
}

/// How a flow went on, or ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct FlowProgress {
    /// When this was read.
    pub time: Time,
    /// Which.
    pub id: FlowId,
    /// Source MAC address of its first frame.
    pub smac: Mac,
    /// Destination MAC address of that.
    pub dmac: Mac,
    /// Frames since it began.
    pub packets: u64,
    /// Bytes since it began.
    pub bytes: u64,
    /// Frames dropped (or that would have been).
    pub drops: u32,
    /// What becomes of its frames now.
    pub verdict: Verdict,
    /// When it began.
    pub first: Time,
    /// When its last frame came (to the jiffy on the live sensor).
    pub last: Time,
    /// All TCP flags seen.
    pub tcp_flags: u8,
    /// Why it ended, if it did.
    pub end: Option<EndReason>,
}

/// One thing the data path told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub enum Observation {
    /// A flow began.
    Flow(FlowSeen),
    /// A flow went on or ended.
    Progress(FlowProgress),
    /// A frame was dropped.
    Drop(DropSeen),
}

impl Observation {
    /// Reads a ring record; `words` are what lies behind the record of a tunnel. None if it is of another kind or ABI.
    pub fn decode(record: &FlowRecord, words: Option<&Words>) -> Option<Self> {
        if record.abi != ABI as u8 {
            return None;
        }
        match record.kind {
            RECORD_FLOW => Some(Self::Flow(FlowSeen::decode(record, None))),
            RECORD_TUNNEL => Some(Self::Flow(FlowSeen::decode(record, words))),
            RECORD_DROP => Some(Self::Drop(DropSeen::decode(record))),
            _ => None,
        }
    }
}

/// The address of a record: records hold IPv4 addresses mapped into IPv6. An IPv6 packet with such an address is none of
/// IPv4 all the same.
fn ip(bytes: [u8; 16], ether_type: u16) -> IpAddr {
    let ip = IpAddr::V6(Ipv6Addr::from(bytes));
    if ether_type == ETHER_IPV6 { ip } else { ip.to_canonical() }
}

fn kind(vlan: u16) -> Kind {
    match vlan & KIND_MASK {
        KIND_ARP => Kind::Arp,
        KIND_FRAGMENT => Kind::Fragment,
        _ => Kind::Ip,
    }
}

/// What a `VERDICT_*` of a flow means to frames of it that were dropped. A budget of frames is one that drops.
fn verdict(verdict: u8) -> Verdict {
    match verdict {
        VERDICT_DROP | VERDICT_RATE => Verdict::Drop,
        VERDICT_WOULD_DROP | VERDICT_WOULD_RATE => Verdict::WouldDrop,
        _ => Verdict::Pass,
    }
}

/// The flow a record is about.
fn flow_id(record: &FlowRecord) -> FlowId {
    FlowId {
        src: ip(record.src, record.ether_type),
        dst: ip(record.dst, record.ether_type),
        sport: u16::from_be(record.sport),
        dport: u16::from_be(record.dport),
        proto: record.proto,
        kind: kind(record.vlan),
        vlan: record.vlan & VLAN_MASK,
        port: record.port,
    }
}

impl FlowSeen {
    fn decode(record: &FlowRecord, words: Option<&Words>) -> Self {
        let id = flow_id(record);
        let inner = words.and_then(|words| {
            let (bytes, len) = tunnel::bytes(words, record.inner_len);
            tunnel::inner(id.proto, id.dport, bytes.get(..len)?)
        });
        Self {
            time: Time::at(record.time_ns),
            id,
            smac: Mac(record.smac),
            dmac: Mac(record.dmac),
            arp_sha: Mac(record.arp_sha),
            vlan_inner: record.vlan_inner,
            ether_type: record.ether_type,
            window: record.window,
            len: record.len,
            ttl: record.ttl,
            tcp_flags: record.tcp_flags,
            // Its first frames are within the budget, if it has one: they arrive.
            verdict: match record.verdict {
                VERDICT_DROP => Verdict::Drop,
                VERDICT_WOULD_DROP => Verdict::WouldDrop,
                _ => Verdict::Pass,
            },
            rule_id: record.rule_id,
            inner,
        }
    }
}

impl DropSeen {
    fn decode(record: &FlowRecord) -> Self {
        let reflex = record.rule_id == RULE_REFLEX;
        Self {
            time: Time::at(record.time_ns),
            id: flow_id(record),
            smac: Mac(record.smac),
            dmac: Mac(record.dmac),
            len: record.len,
            ttl: record.ttl,
            tcp_flags: record.tcp_flags,
            would: record.verdict != VERDICT_DROP,
            reason: if reflex { DropReason::Reflex } else { DropReason::Rule },
            rule_id: if reflex { 0 } else { record.rule_id },
        }
    }
}

impl FlowId {
    fn new(src: IpAddr, dst: IpAddr, lane: Lane) -> Self {
        Self {
            src,
            dst,
            sport: u16::from_be(lane.sport()),
            dport: u16::from_be(lane.dport()),
            proto: lane.proto(),
            kind: kind(lane.vlan()),
            vlan: lane.vlan() & VLAN_MASK,
            port: lane.port(),
        }
    }
}

impl From<&FlowKey4> for FlowId {
    fn from(key: &FlowKey4) -> Self {
        let (src, dst) = key.addresses();
        Self::new(IpAddr::from(src.to_ne_bytes()), IpAddr::from(dst.to_ne_bytes()), key.lane)
    }
}

impl From<&FlowKey6> for FlowId {
    fn from(key: &FlowKey6) -> Self {
        let (src, dst) = key.addresses();
        Self::new(ip(account::ip6_bytes(src), ETHER_IPV6), ip(account::ip6_bytes(dst), ETHER_IPV6), key.lane)
    }
}

impl FlowProgress {
    /// Puts together what a flow table holds of a flow. `last` is its last frame's time.
    pub fn new(id: FlowId, value: &FlowValue, time: Time, last: Time, end: Option<EndReason>) -> Self {
        let macs = value.macs();
        Self {
            time,
            id,
            smac: Mac(mac_bytes(macs.src())),
            dmac: Mac(mac_bytes(macs.dst())),
            packets: value.packets(),
            bytes: value.bytes(),
            drops: u32::try_from(value.drops()).unwrap_or(u32::MAX),
            verdict: verdict(value.judged.verdict()),
            first: Time::at(value.first_ns),
            last,
            tcp_flags: value.tcp_flags,
            end,
        }
    }
}
