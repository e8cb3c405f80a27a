//! Switches user space sets and the program reads.

use crate::table::Secret;

/// Largest interface index a port may have (entries of the ports map).
pub const MAX_IFINDEX: u32 = 65_536;

/// The one entry of the config map, 136 bytes; the first 64 are what each frame of a known flow needs.
///
/// Order rule: user space writes the rule maps, then raises `generation`. The program reads it before it judges and
/// stores it with the verdict, so that a race only costs one more evaluation.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// `ARMED_*` bits (see [`crate::judge`]); 0 while verdicts are bypassed.
    pub armed: u32,
    /// Generation of the policy; a cached verdict of another one is made anew.
    pub generation: u32,
    /// What flows are hashed with. Made by chance once, and then the same for as long as the flow tables live.
    pub secret: Secret,
    /// Sets of the IPv4 flow table.
    pub sets4: u32,
    /// Sets of the IPv6 flow table.
    pub sets6: u32,
    /// Jiffies in [`crate::account::LEAST_TIMEOUT_NS`]: a flow that was quiet for less is not over.
    pub quiet_j: u32,
    /// 1: hosts all of whose frames are dropped are sealed (see [`crate::seal`]).
    pub seal: u32,
    /// Nanoseconds of a jiffy (1e9 / CONFIG_HZ), measured by user space at start.
    pub jiffy_ns: u64,
    /// [`crate::ABI`].
    pub abi: u32,
    /// 0, which only the verifier does not know (see `veil` in the program).
    pub zero: u32,
    /// Hosts are charged for new destinations from then on, ns of CLOCK_MONOTONIC: right after a start everything is new.
    pub reflex_from_ns: u64,
    /// Throttled devices: new destinations.
    pub throttle_new: Rate,
    /// Throttled devices: KiB.
    pub throttle_kib: Rate,
    /// When `bypass` was changed last, ns of CLOCK_MONOTONIC.
    pub bypass_since_ns: u64,
    /// The account (uid) that changed `bypass` last.
    pub bypass_by: u32,
    /// 1: all verdicts are to pass (`sekisho bypass`). The program reads `armed` alone; this tells user space why it is 0.
    pub bypass: u32,
}

/// A rate with a burst, as the generic cell rate algorithm (ITU-T I.371) has it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// Time between two at the rate, ns.
    pub interval_ns: u64,
    /// How far ahead of the rate a burst may be, ns: the number in a burst times the interval.
    pub burst_ns: u64,
}

impl Rate {
    /// When the next would be due at the rate if `cost_ns` is spent at `now`; `None` if that is over the budget. `due` is
    /// what this gave last time, 0 at first.
    #[inline(always)]
    pub fn spend(&self, due: u64, now_ns: u64, cost_ns: u64) -> Option<u64> {
        /// Further than this beyond a whole burst no budget is spent ahead, however far the clocks of two CPUs are apart: it was
        /// spent at another rate, which nobody is to be held to.
        const SKEW: u64 = 1_000_000_000;
        let ahead = if due > now_ns { due.wrapping_sub(now_ns) } else { 0 };
        let ahead = if ahead > self.burst_ns.saturating_add(SKEW) { 0 } else { ahead };
        let ahead = ahead.saturating_add(cost_ns);
        if ahead > self.burst_ns { None } else { Some(now_ns.wrapping_add(ahead)) }
    }

    /// The cost of so many bytes of a rate in KiB, ns.
    #[inline(always)]
    pub fn of_bytes(&self, bytes: u32) -> u64 {
        /// 19 hours a KiB: no slower rate is told from this one, and the product stays below 2^64 for frames of up to 256 KiB.
        const SLOWEST: u64 = 1 << 46;
        let interval = if self.interval_ns > SLOWEST { SLOWEST } else { self.interval_ns };
        interval.wrapping_mul(bytes as u64) >> 10
    }
}

/// Reflex: new destinations are not counted.
pub const REFLEX_OFF: u32 = 0;
/// Reflex: a host over its budget is only counted.
pub const REFLEX_COUNT: u32 = 1;
/// Reflex: what a host over its budget sends to new destinations is dropped.
pub const REFLEX_ENFORCE: u32 = 2;

/// The reflex of a segment: how many new destinations a host may have (Williamson's virus throttle, HP Labs 2002).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reflex {
    /// The budget of a host.
    pub rate: Rate,
    /// `REFLEX_*`.
    pub mode: u32,
    /// Zero.
    pub pad: u32,
}

/// What one host, or one throttled device, spent.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bucket {
    /// New destinations: see [`Rate::spend`].
    pub new_due_ns: u64,
    /// KiB: likewise.
    pub kib_due_ns: u64,
    /// New destinations a host asked for, within its budget or not: each once, unless it was refused or forgotten
    /// ([`PAIR_CAPACITY`]) in between. It goes on while nobody reads the records.
    pub news: u64,
}

/// Entries of the table of hosts charged for new destinations (least recently used goes when it is full).
pub const HOST_CAPACITY: u32 = 16_384;
/// Entries of the table of pairs of addresses that spoke (least recently used goes when it is full).
pub const PAIR_CAPACITY: u32 = 131_072;
/// Entries of the table of MAC addresses and where they live.
pub const PLACE_CAPACITY: u32 = 16_384;
/// Entries of the table of fragmented packets under way.
pub const FRAGMENT_CAPACITY: u32 = 8_192;

/// One entry of the ports map, 4 bytes; the index is the interface index.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Port {
    /// Index of the port in flow keys and counters, 1..; 0: not registered.
    pub index: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// What the clock program reports: the two clocks of the kernel at one moment.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clock {
    /// ns of CLOCK_MONOTONIC.
    pub monotonic_ns: u64,
    /// Jiffies.
    pub jiffies: u64,
}

const _: () = assert!(size_of::<Config>() == 136);
const _: () = assert!(size_of::<Port>() == 4);
const _: () = assert!(size_of::<Clock>() == 16);
const _: () = assert!(size_of::<Reflex>() == 24);
const _: () = assert!(size_of::<Bucket>() == 24);
