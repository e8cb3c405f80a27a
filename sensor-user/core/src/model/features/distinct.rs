//! Counts of different things and how evenly they come, in a fixed amount of memory.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use sensor_ebpf::flow::mix;

/// Bits of a set.
const BITS: usize = 512;
/// Buckets of a histogram.
const BUCKETS: usize = 64;

/// A set of which only the size is asked for: linear counting (Whang, Vander-Zanden, Taylor, ACM TODS 15, 1990). Off by
/// less than one up to about 20, by a few percent up to 1,000; about 3,200 at most.
#[derive(Clone, Copy, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub(super) struct Distinct([u64; BITS / 64]);

impl Distinct {
    /// Puts a thing in, by its hash.
    pub(super) fn insert(&mut self, hash: u64) {
        let bit = hash as usize % BITS;
        if let Some(word) = self.0.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    /// How many different things there are, about.
    pub(super) fn count(&self) -> f32 {
        let used: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        let (all, used) = (BITS as f32, used as f32);
        -all * ((all - used).max(1.0) / all).ln()
    }
}

/// How often things come, by the bucket of their hash.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub(super) struct Histogram([u16; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Histogram {
    /// Counts a thing, by its hash.
    pub(super) fn insert(&mut self, hash: u64) {
        // Other bits than a set takes.
        if let Some(bucket) = self.0.get_mut((hash >> 32) as usize % BUCKETS) {
            *bucket = bucket.saturating_add(1);
        }
    }

    /// Entropy over the buckets (Shannon 1948), 0 to 6 bits.
    pub(super) fn entropy(&self) -> f32 {
        let all: f32 = self.0.iter().map(|count| f32::from(*count)).sum();
        let parts = self.0.iter().filter(|count| **count > 0).map(|count| f32::from(*count) / all);
        parts.map(|part| -part * part.log2()).sum()
    }
}

/// The hash of an address. Who looks for addresses that hash alike only hides how many he talks to from one feature.
pub(super) fn hash_ip(ip: IpAddr) -> u64 {
    let bits = match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    mix((bits >> 64) as u64, bits as u64)
}

/// The hash of the network of an address, /24 or /64.
pub(super) fn hash_net(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => mix(24, u64::from(ip.to_bits() >> 8)),
        IpAddr::V6(ip) => mix(64, (ip.to_bits() >> 64) as u64),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn counts_are_about_right() {
        for (count, off) in [(0_u32, 0.1), (1, 0.1), (14, 1.0), (100, 10.0), (1_000, 100.0)] {
            let mut set = Distinct::default();
            let addresses = (0..count).map(|at| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + at)));
            addresses.clone().chain(addresses).for_each(|ip| set.insert(hash_ip(ip)));
            assert!((set.count() - count as f32).abs() <= off, "{count} counted as {}", set.count());
        }
        let mut full = Distinct::default();
        (0..100_000).for_each(|bit| full.insert(bit));
        assert!((3_000.0..3_300.0).contains(&full.count()));
    }

    #[test]
    fn entropy_is_that_of_the_parts() {
        let entropy = |counts: &[u64]| {
            let mut histogram = Histogram::default();
            for (bucket, count) in counts.iter().enumerate() {
                (0..*count).for_each(|_| histogram.insert((bucket as u64) << 32));
            }
            histogram.entropy()
        };
        let close = |got: f32, want: f32| assert!((got - want).abs() < 1e-4, "{got} {want}");
        close(entropy(&[]), 0.0);
        close(entropy(&[9]), 0.0);
        close(entropy(&[5, 5]), 1.0);
        close(entropy(&[4, 2, 1, 1]), 1.75);
        close(entropy(&[3; 64]), 6.0);
        close(entropy(&[100_000, 65_535]), 1.0);
    }
}
