//! Counters the program keeps: per port, and per reason a frame was not fully parsed.

use crate::event::DROP_SAMPLE;
use crate::flow::{MAX_PORTS, VERDICT_DROP, VERDICT_PASS};

/// Counters of one port.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortCounters {
    /// Frames received.
    pub packets: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Frames dropped.
    pub drop_packets: u64,
    /// Bytes dropped.
    pub drop_bytes: u64,
    /// Frames a rule in observe mode would have dropped.
    pub would_drop_packets: u64,
    /// Frames passed without a flow: control traffic, frames that are neither IP nor ARP, unreadable ones.
    pub ignored_packets: u64,
    /// Bytes passed without a flow.
    pub ignored_bytes: u64,
    /// Frames that were judged, but are in no flow: it could not be entered, the host was over its budget, or all it sends is
    /// dropped (see [`crate::seal`]).
    pub unentered_packets: u64,
    /// Bytes of these.
    pub unentered_bytes: u64,
    /// Frames to new destinations of hosts over their budget; dropped where the reflex is enforced.
    pub reflex_packets: u64,
    /// Flows entered in a table.
    pub flows_new: u64,
    /// Flows that could not be entered (table busy or full); their frames were judged all the same.
    pub flows_failed: u64,
    /// Records submitted to a ring.
    pub records_sent: u64,
    /// Records that found the ring full; the next packet of the flow tries again.
    pub records_lost: u64,
}

impl PortCounters {
    /// What was added since `earlier`, wrapping.
    pub fn minus(&self, earlier: &Self) -> Self {
        Self {
            packets: self.packets.wrapping_sub(earlier.packets),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
            drop_packets: self.drop_packets.wrapping_sub(earlier.drop_packets),
            drop_bytes: self.drop_bytes.wrapping_sub(earlier.drop_bytes),
            would_drop_packets: self.would_drop_packets.wrapping_sub(earlier.would_drop_packets),
            ignored_packets: self.ignored_packets.wrapping_sub(earlier.ignored_packets),
            ignored_bytes: self.ignored_bytes.wrapping_sub(earlier.ignored_bytes),
            unentered_packets: self.unentered_packets.wrapping_sub(earlier.unentered_packets),
            unentered_bytes: self.unentered_bytes.wrapping_sub(earlier.unentered_bytes),
            reflex_packets: self.reflex_packets.wrapping_sub(earlier.reflex_packets),
            flows_new: self.flows_new.wrapping_sub(earlier.flows_new),
            flows_failed: self.flows_failed.wrapping_sub(earlier.flows_failed),
            records_sent: self.records_sent.wrapping_sub(earlier.records_sent),
            records_lost: self.records_lost.wrapping_sub(earlier.records_lost),
        }
    }

    /// Adds `other` to each counter, wrapping.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.packets, other.packets),
            (&mut self.bytes, other.bytes),
            (&mut self.drop_packets, other.drop_packets),
            (&mut self.drop_bytes, other.drop_bytes),
            (&mut self.would_drop_packets, other.would_drop_packets),
            (&mut self.ignored_packets, other.ignored_packets),
            (&mut self.ignored_bytes, other.ignored_bytes),
            (&mut self.unentered_packets, other.unentered_packets),
            (&mut self.unentered_bytes, other.unentered_bytes),
            (&mut self.reflex_packets, other.reflex_packets),
            (&mut self.flows_new, other.flows_new),
            (&mut self.flows_failed, other.flows_failed),
            (&mut self.records_sent, other.records_sent),
            (&mut self.records_lost, other.records_lost),
        ];
        for (sum, more) in pairs {
            *sum = sum.wrapping_add(more);
        }
    }
}

/// Counters of one port on one CPU, as they lie in the map: `packets` and `bytes` are of the frames that passed alone, so
/// that a dropped frame costs no more counting than one that passes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortCell {
    /// What was counted frame by frame.
    pub passed: PortCounters,
    /// Frames dropped by a seal (see [`crate::seal`]); they are in no flow.
    pub sealed_packets: u64,
    /// Bytes of these.
    pub sealed_bytes: u64,
    /// The [`crate::account::Moment`] in which a host on this port was last sealed.
    pub sealed: u64,
}

impl PortCell {
    /// Counts a frame by its verdict.
    #[inline(always)]
    pub fn count(&mut self, verdict: u8, len: u64) {
        let counters = &mut self.passed;
        if verdict == VERDICT_DROP {
            counters.drop_packets = counters.drop_packets.wrapping_add(1);
            counters.drop_bytes = counters.drop_bytes.wrapping_add(len);
            return;
        }
        counters.packets = counters.packets.wrapping_add(1);
        counters.bytes = counters.bytes.wrapping_add(len);
        if verdict != VERDICT_PASS {
            counters.would_drop_packets = counters.would_drop_packets.wrapping_add(1);
        }
    }

    /// Counts a frame dropped by a seal.
    #[inline(always)]
    pub fn count_sealed(&mut self, len: u64) {
        self.sealed_packets = self.sealed_packets.wrapping_add(1);
        self.sealed_bytes = self.sealed_bytes.wrapping_add(len);
    }

    /// Whether a frame of this verdict, which is not counted yet, is one of those told of the dropped.
    #[inline(always)]
    pub fn is_sample(&self, verdict: u8) -> bool {
        let counters = &self.passed;
        let before =
            if verdict == VERDICT_DROP { counters.drop_packets } else { counters.would_drop_packets };
        before & (DROP_SAMPLE - 1) == 0 && verdict != VERDICT_PASS
    }

    /// Adds `other` to each counter, wrapping.
    pub fn add(&mut self, other: &Self) {
        self.passed.add(&other.passed);
        self.sealed_packets = self.sealed_packets.wrapping_add(other.sealed_packets);
        self.sealed_bytes = self.sealed_bytes.wrapping_add(other.sealed_bytes);
    }

    /// The counters as they are meant: of all frames received.
    pub fn counters(self) -> PortCounters {
        let Self { passed, sealed_packets, sealed_bytes, .. } = self;
        let drop_packets = passed.drop_packets.wrapping_add(sealed_packets);
        let drop_bytes = passed.drop_bytes.wrapping_add(sealed_bytes);
        PortCounters {
            packets: passed.packets.wrapping_add(drop_packets),
            bytes: passed.bytes.wrapping_add(drop_bytes),
            drop_packets,
            drop_bytes,
            unentered_packets: passed.unentered_packets.wrapping_add(sealed_packets),
            unentered_bytes: passed.unentered_bytes.wrapping_add(sealed_bytes),
            ..passed
        }
    }
}

/// Why a frame was not parsed to its transport header, as an index of the reasons map. A number is stable within an
/// ABI; [`Reason::ALL`] lists them in order.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// Parsed.
    None = 0,
    /// Shorter than an Ethernet header.
    ShortEthernet,
    /// Ends within a VLAN tag.
    ShortVlan,
    /// More VLAN tags, MPLS labels and other headers before the packet than are followed. Dropped while a rule restricts anybody.
    DeepLink,
    /// Link control that must always pass: the bridge group addresses 01:80:c2:00:00:0x (STP, LACP, LLDP, 802.1X), and PTP.
    LinkControl,
    /// IEEE 802.3 length instead of an EtherType.
    Length8023,
    /// An EtherType other than IPv4, IPv6 and ARP.
    OtherEtherType,
    /// Ends within the ARP body.
    ShortArp,
    /// ARP of other than Ethernet and IPv4.
    OtherArp,
    /// Ends within the IPv4 header.
    ShortIp4,
    /// IPv4 version or header length field wrong.
    BadIp4,
    /// IPv4 total length shorter than the header or longer than the frame.
    LengthIp4,
    /// Ends within the IPv6 header.
    ShortIp6,
    /// IPv6 version field wrong.
    BadIp6,
    /// IPv6 payload length longer than the frame.
    LengthIp6,
    /// Ends within an IPv6 extension header.
    ShortExtension,
    /// More than six IPv6 extension headers.
    DeepExtension,
    /// Ends within the TCP, UDP or ICMP header.
    ShortTransport,
    /// TCP data offset shorter than the header.
    BadTcp,
}

impl Reason {
    /// All reasons in the order of their numbers.
    pub const ALL: [Reason; 19] = [
        Reason::None,
        Reason::ShortEthernet,
        Reason::ShortVlan,
        Reason::DeepLink,
        Reason::LinkControl,
        Reason::Length8023,
        Reason::OtherEtherType,
        Reason::ShortArp,
        Reason::OtherArp,
        Reason::ShortIp4,
        Reason::BadIp4,
        Reason::LengthIp4,
        Reason::ShortIp6,
        Reason::BadIp6,
        Reason::LengthIp6,
        Reason::ShortExtension,
        Reason::DeepExtension,
        Reason::ShortTransport,
        Reason::BadTcp,
    ];

    /// The reason's name in metrics and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::None => "ok",
            Reason::ShortEthernet => "short_ethernet",
            Reason::ShortVlan => "short_vlan",
            Reason::DeepLink => "deep_link",
            Reason::LinkControl => "link_control",
            Reason::Length8023 => "length_802_3",
            Reason::OtherEtherType => "other_ethertype",
            Reason::ShortArp => "short_arp",
            Reason::OtherArp => "other_arp",
            Reason::ShortIp4 => "short_ipv4",
            Reason::BadIp4 => "bad_ipv4",
            Reason::LengthIp4 => "length_ipv4",
            Reason::ShortIp6 => "short_ipv6",
            Reason::BadIp6 => "bad_ipv6",
            Reason::LengthIp6 => "length_ipv6",
            Reason::ShortExtension => "short_extension",
            Reason::DeepExtension => "deep_extension",
            Reason::ShortTransport => "short_transport",
            Reason::BadTcp => "bad_tcp",
        }
    }

    /// Whether a frame of this reason belongs to no flow, as against one of a flow with something wrong in it.
    pub const fn is_without_flow(self) -> bool {
        !matches!(
            self,
            Reason::None
                | Reason::LengthIp4
                | Reason::LengthIp6
                | Reason::ShortExtension
                | Reason::DeepExtension
                | Reason::ShortTransport
                | Reason::BadTcp
        )
    }

    /// Whether the frame was simply of no interest, as against unreadable.
    pub const fn is_ignored(self) -> bool {
        matches!(self, Reason::LinkControl | Reason::Length8023 | Reason::OtherEtherType | Reason::OtherArp)
    }
}

/// Entries of the reasons map for each port; a port's begin at its index times this.
pub const REASONS_OF_PORT: u32 = 32;
/// Entries of the reasons map.
pub const REASON_CAPACITY: u32 = MAX_PORTS * REASONS_OF_PORT;

const _: () = assert!(Reason::ALL.len() <= REASONS_OF_PORT as usize);
const _: () = assert!(size_of::<PortCell>() == 136);
