//! Seals: hosts all of whose frames are dropped are dropped without a look at their flows.
//!
//! A verdict DROP that a rule on the source alone brought about, whatever it sends and to whom, holds for all IPv4 packets
//! without a tag of that MAC address, IP address and port. The first of them in a jiffy goes the whole way and leaves a seal;
//! those that follow in the same jiffy on the same CPU are dropped by it at a quarter of the price, and wash neither the
//! flow table nor the rings, however many destinations a worm tries. A seal lives for its jiffy alone and for one generation
//! of the policy, so that a rule ends on time. They are counted for their port and their rule exactly, but not in their flow.

use crate::parse::{Cursor, MacKey, Window};

/// Seals of a CPU; a host has one by its addresses, and the latest holds it.
pub const SEAL_CAPACITY: u32 = 1_024;

/// Who is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Host {
    /// MAC address, and the index of the port above it.
    link: u64,
    /// IPv4 address, network byte order.
    net: u32,
}

impl Host {
    /// Puts it together.
    #[inline(always)]
    pub const fn new(mac: MacKey, ip: u32, port: u8) -> Self {
        Self { link: mac | (port as u64) << 48, net: ip }
    }

    /// Index of its seal.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        // Multiplicative hashing (Knuth, The Art of Computer Programming 6.4): the highest ten bits.
        let word = (self.link ^ (self.net as u64) << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (word >> 54) as u32 % SEAL_CAPACITY
    }
}

/// A seal.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seal {
    /// The moment it was made in: see [`crate::account::Moment::word`].
    pub moment: u64,
    link: u64,
    net: u32,
    /// The rule behind it.
    pub rule_id: u32,
}

impl Seal {
    /// A seal of this moment.
    #[inline(always)]
    pub const fn new(host: Host, moment: u64, rule_id: u32) -> Self {
        Self { moment, link: host.link, net: host.net, rule_id }
    }

    /// Whether it holds for a host at this moment.
    #[inline(always)]
    pub const fn holds(&self, host: Host, moment: u64) -> bool {
        self.moment == moment && self.link == host.link && self.net == host.net
    }
}

/// The source of an IPv4 packet without a tag.
#[inline(always)]
pub fn host<C: Cursor>(at: C, port: u8) -> Option<Host> {
    /// EtherType of IPv4, version 4.
    const START: u32 = u32::from_ne_bytes([0x08, 0x00, 0x40, 0]);
    const START_MASK: u32 = u32::from_ne_bytes([0xff, 0xff, 0xf0, 0]);
    let w = at.window(34)?;
    if w.u32(12) & START_MASK != START {
        return None;
    }
    Some(Host::new(w.u64(4) >> 16, w.u32(26), port))
}

const _: () = assert!(size_of::<Seal>() == 24);
