//! Keys and values of the flow tables.
//!
//! A flow is one direction of a conversation as it came in by one port: on a bridge the two directions arrive by
//! different ports and CPUs, so that a key for both would be written by two cores. User space joins the halves.

use crate::parse::MacKey;

/// What tells the packets apart whose fragments are under way, 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FragmentKey {
    /// Both addresses: of IPv4 as they are, of IPv6 mixed to one word ([`mix`]). Who finds two pairs that mix to the same word
    /// only has ports taken for those of another packet of the same number; addresses are judged as they are.
    pub ends: u64,
    /// Identification of the packet, as it lies in the header.
    pub id: u32,
    /// IP protocol, index of the port (8 bits each), VLAN identifier (16), from the lowest bit.
    pub rest: u32,
}

/// Mixes two words to one, so that other words seldom give the same (the finalizer of SplitMix64, Steele et al. 2014).
#[inline(always)]
pub const fn mix(a: u64, b: u64) -> u64 {
    let mut word = a.rotate_left(32) ^ b;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Most ports (bridge members) a sensor can tell apart; index 0 is "a port nobody registered".
pub const MAX_PORTS: u32 = 256;

/// The bits of `vlan` that hold the VLAN identifier (IEEE 802.1Q, 12 bits); the four above hold the kind of flow.
pub const VLAN_MASK: u16 = 0x0fff;
/// Kind of flow: IP packets with the ports of their transport header, or 0.
pub const KIND_IP: u16 = 0;
/// Kind of flow: ARP; addresses are the protocol addresses, `sport` the operation (1 asks, 2 answers), `proto` 0.
pub const KIND_ARP: u16 = 1 << 12;
/// Kind of flow: second and later fragments, which have no ports.
pub const KIND_FRAGMENT: u16 = 2 << 12;
/// The bits of `vlan` that hold the kind of flow.
pub const KIND_MASK: u16 = 0xf000;

/// What both keys have besides the addresses, 8 bytes.
///
/// A word and not the fields it holds, because it is hashed and compared as one.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Lane(
    /// From the lowest bit: source and destination port as they lie in the packet (32), IP protocol (8), index of the port
    /// (8), VLAN and kind (16).
    u64,
);

impl Lane {
    /// That of no frame: there is no such kind of flow.
    pub const NOBODY: Self = Self(u64::MAX);

    /// Puts it together. `ports` are the source and the destination port, four bytes as they lie in the packet; `vlan` is
    /// the outer VLAN identifier (0: untagged) and the kind of flow (`KIND_*`).
    #[inline(always)]
    pub const fn new(ports: u32, proto: u8, port: u8, vlan: u16) -> Self {
        Self(double(ports, proto as u32 | (port as u32) << 8 | (vlan as u32) << 16))
    }

    /// All of it.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Source port, network byte order; for ICMP type and code (type in the first byte), for ARP the operation.
    #[inline(always)]
    pub const fn sport(self) -> u16 {
        self.0 as u16
    }

    /// Destination port, network byte order; for an ICMP error that of the packet it answers.
    #[inline(always)]
    pub const fn dport(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// IP protocol number, after the extension headers.
    #[inline(always)]
    pub const fn proto(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// Index of the bridge port it came in by.
    #[inline(always)]
    pub const fn port(self) -> u8 {
        (self.0 >> 40) as u8
    }

    /// Outer VLAN identifier (0: untagged) and kind of flow (`KIND_*`), host byte order.
    #[inline(always)]
    pub const fn vlan(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

/// Two ports in network byte order as the four bytes they are in a packet.
#[inline(always)]
pub const fn ports(sport: u16, dport: u16) -> u32 {
    sport as u32 | (dport as u32) << 16
}

/// Key of an IPv4 or ARP flow, 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey4 {
    addresses: u64,
    /// All but the addresses.
    pub lane: Lane,
}

impl FlowKey4 {
    /// Puts it together; the addresses are in network byte order.
    #[inline(always)]
    pub const fn new(src: u32, dst: u32, lane: Lane) -> Self {
        Self::of_header(double(src, dst), lane)
    }

    /// The same, of the addresses as they lie one after the other in a header.
    #[inline(always)]
    pub(crate) const fn of_header(addresses: u64, lane: Lane) -> Self {
        Self { addresses, lane }
    }

    /// Source and destination address, network byte order.
    #[inline(always)]
    pub const fn addresses(&self) -> (u32, u32) {
        halves(self.addresses)
    }

    /// Both in one word, as they lie in the header.
    #[inline(always)]
    pub(crate) const fn both(&self) -> u64 {
        self.addresses
    }
}

/// Key of an IPv6 flow, 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey6 {
    /// Source and destination address as they lie in the header: keys of the rules, where they are.
    pub addresses: [[u64; 2]; 2],
    /// All but the addresses.
    pub lane: Lane,
}

impl FlowKey6 {
    /// Puts it together; the addresses are four words each, in network byte order.
    #[inline(always)]
    pub const fn new(src: [u32; 4], dst: [u32; 4], lane: Lane) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (src, dst);
        Self { addresses: [[double(a, b), double(c, d)], [double(e, f), double(g, h)]], lane }
    }

    /// The same, of the addresses as they lie one after the other in a header.
    #[inline(always)]
    pub(crate) const fn of_header([a, b, c, d]: [u64; 4], lane: Lane) -> Self {
        Self { addresses: [[a, b], [c, d]], lane }
    }

    /// Source and destination address, network byte order.
    #[inline(always)]
    pub const fn addresses(&self) -> ([u32; 4], [u32; 4]) {
        let [[src, src_low], [dst, dst_low]] = self.addresses;
        let ((a, b), (c, d)) = (halves(src), halves(src_low));
        let ((e, f), (g, h)) = (halves(dst), halves(dst_low));
        ([a, b, c, d], [e, f, g, h])
    }
}

/// The flow's record was submitted to the ring; without it the next packet tries again.
pub const STATE_TOLD: u8 = 1;
/// Each of the flow's packets is told whole (see [`crate::heard`]): so none goes the short way.
pub const STATE_HEARD: u8 = 2;

/// Verdict: the frame goes to the bridge.
pub const VERDICT_PASS: u8 = 0;
/// Verdict: the frame is dropped.
pub const VERDICT_DROP: u8 = 1;
/// Verdict: a rule in observe mode matched; the frame goes on and is counted as one that would have been dropped.
pub const VERDICT_WOULD_DROP: u8 = 2;
/// Verdict of a flow, not of a frame: each frame passes or is dropped by the budget of the rule behind it.
pub const VERDICT_RATE: u8 = 3;
/// Verdict of a flow: likewise, by a rule in observe mode; a frame over the budget passes and is counted.
pub const VERDICT_WOULD_RATE: u8 = 4;

/// Value of a flow, 104 bytes; the first 48 are what each frame that passes needs.
///
/// Frames are counted apart by whether they came on the CPU that entered the flow, its owner, or on another. The owner
/// adds plainly, which is exact because nobody else writes there and XDP does not interrupt itself on a CPU; the others
/// add atomically, which makes a frame half as dear again. There are few such frames: network cards keep a flow on a CPU.
///
/// What two CPUs at work on one flow may get wrong: a TCP flag that one saw at the very moment in which the other saw a new
/// one may be missed, and a frame that was just being counted when the table gave its flow's slot to a new flow may count for
/// that one. Judgements are written under the lock of the set (see [`crate::table`]).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowValue {
    /// Frames the owner saw and did not drop.
    pub owner_passed: u64,
    /// Bytes of whole frames as XDP sees them (no preamble, no FCS), of all the owner saw.
    pub owner_bytes: u64,
    /// The cached verdict, with the generation it was made from.
    pub judged: Judged,
    /// When its last frame came, in jiffies.
    pub last_j: u64,
    /// [`Macs`] of the first frame (ARP: of the last that was told): the first eight bytes.
    pub macs_low: u64,
    /// The other four.
    pub macs_high: u32,
    /// The CPU that entered the flow.
    pub owner: u16,
    /// `STATE_*` bits.
    pub state: u8,
    /// All TCP flags seen, or-ed (RFC 9293 header byte 13).
    pub tcp_flags: u8,
    /// Frames the owner dropped (or would have).
    pub owner_dropped: u64,
    /// The cached verdict lapses then, in jiffies (the lower half of them); 0: never.
    pub until_j: u32,
    /// The rule behind the verdict, 0 for none.
    pub rule_id: u32,
    /// When the flow began, ns of CLOCK_MONOTONIC (of the capture in a replay).
    pub first_ns: u64,
    /// Frames other CPUs saw and did not drop.
    pub other_passed: u64,
    /// Frames other CPUs dropped (or would have).
    pub other_dropped: u64,
    /// Bytes other CPUs saw.
    pub other_bytes: u64,
    /// Time to live (hop limit) of the first frame.
    pub ttl: u8,
    /// Zero.
    pub pad: [u8; 7],
}

/// A verdict, the generation of the policy it was made from, and whether rules by MAC address had a say. One word, written
/// at once: two CPUs that judge at the same moment must not leave the verdict of the one under the generation of the other.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Judged(u64);

impl Judged {
    /// The bit above the verdict: it is that on frames of the flow's MAC addresses alone.
    const BOUND: u32 = 1 << 8;
    /// The bit above that: it holds for all that its source sends (see [`crate::seal`]).
    const SEALS: u32 = 1 << 9;

    /// Puts it together, of a `VERDICT_*`. With `bound` it is the verdict on frames of the flow's MAC addresses alone.
    #[inline(always)]
    pub const fn new(verdict: u8, bound: bool, generation: u32) -> Self {
        Self(double(generation, verdict as u32 | if bound { Self::BOUND } else { 0 }))
    }

    /// Generation of the policy.
    #[inline(always)]
    pub const fn generation(self) -> u32 {
        halves(self.0).0
    }

    /// `VERDICT_*`.
    #[inline(always)]
    pub const fn verdict(self) -> u8 {
        halves(self.0).1 as u8
    }

    /// The verdict and the generation alone, as [`Judged::new`] has them of a verdict that is not bound.
    #[inline(always)]
    pub const fn plain(self) -> Self {
        let (generation, rest) = halves(self.0);
        Self(double(generation, rest & !(Self::BOUND | Self::SEALS)))
    }

    /// The same, with a note of whether it holds for all that its source sends.
    #[inline(always)]
    pub const fn with_seal(self, seals: bool) -> Self {
        let (generation, rest) = halves(self.0);
        Self(double(generation, if seals { rest | Self::SEALS } else { rest }))
    }

    /// Whether it holds for all that its source sends.
    #[inline(always)]
    pub const fn seals(self) -> bool {
        halves(self.0).1 & Self::SEALS != 0
    }

    /// Whether it is the verdict on frames of the flow's MAC addresses alone.
    #[inline(always)]
    pub const fn is_bound(self) -> bool {
        halves(self.0).1 & Self::BOUND != 0
    }
}

/// The first twelve bytes of an Ethernet header, destination and source, as a word of eight and one of four.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Macs(pub u64, pub u32);

impl Macs {
    /// Puts it together.
    #[inline(always)]
    pub const fn new(src: MacKey, dst: MacKey) -> Self {
        Self(dst | src << 48, (src >> 16) as u32)
    }

    /// Source address.
    #[inline(always)]
    pub const fn src(self) -> MacKey {
        self.0 >> 48 | (self.1 as u64) << 16
    }

    /// Destination address.
    #[inline(always)]
    pub const fn dst(self) -> MacKey {
        self.0 & 0xffff_ffff_ffff
    }
}

impl FlowValue {
    /// MAC addresses of the first frame (ARP: of the last that was told).
    #[inline(always)]
    pub const fn macs(&self) -> Macs {
        Macs(self.macs_low, self.macs_high)
    }

    /// Sets them.
    #[inline(always)]
    pub const fn set_macs(&mut self, macs: Macs) {
        Macs(self.macs_low, self.macs_high) = macs;
    }

    /// Frames, those dropped included.
    pub const fn packets(&self) -> u64 {
        self.owner_passed.wrapping_add(self.other_passed).wrapping_add(self.drops())
    }

    /// Bytes of whole frames as XDP sees them (no preamble, no FCS).
    pub const fn bytes(&self) -> u64 {
        self.owner_bytes.wrapping_add(self.other_bytes)
    }

    /// Frames dropped (or that would have been).
    pub const fn drops(&self) -> u64 {
        self.owner_dropped.wrapping_add(self.other_dropped)
    }
}

const _: () = assert!(size_of::<FragmentKey>() == 16);
const _: () = assert!(size_of::<FlowKey4>() == 16);
const _: () = assert!(size_of::<FlowKey6>() == 40);
const _: () = assert!(size_of::<FlowValue>() == 104 && align_of::<FlowValue>() == 8);

/// Eight bytes as they lie in memory, of the first four and the last four.
#[inline(always)]
pub(crate) const fn double(first: u32, last: u32) -> u64 {
    // The BPF machine is little-endian here, and so is every machine the daemon runs on.
    first as u64 | (last as u64) << 32
}

/// The first four and the last four of eight bytes.
#[inline(always)]
const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}
