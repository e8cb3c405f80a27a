//! Switches user space sets and the program reads.

/// Largest interface index a port may have (entries of the ports map).
pub const MAX_IFINDEX: u32 = 65_536;

/// Armed bit: the MAC rule map is not empty.
pub const ARMED_MAC: u32 = 1;
/// Armed bit: the IPv4 rule map is not empty.
pub const ARMED_IP4: u32 = 2;
/// Armed bit: the IPv6 rule map is not empty.
pub const ARMED_IP6: u32 = 4;

/// The one entry of the config map, 64 bytes.
///
/// Order rule: user space writes the rule maps, then raises `generation`. The program reads it before it judges and
/// stores it with the verdict, so that a race only costs one more evaluation.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// `ARMED_*` bits.
    pub armed: u32,
    /// Generation of the policy; a cached verdict of another one is made anew.
    pub generation: u32,
    /// Nanoseconds of a jiffy (1e9 / CONFIG_HZ), measured by user space at start.
    pub jiffy_ns: u64,
    /// [`crate::ABI`].
    pub abi: u32,
    /// 0, which only the verifier does not know (see `veil` in the program).
    pub zero: u32,
    /// Zero.
    pub pad: [u32; 10],
}

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

const _: () = assert!(size_of::<Config>() == 64);
const _: () = assert!(size_of::<Port>() == 4);
const _: () = assert!(size_of::<Clock>() == 16);
