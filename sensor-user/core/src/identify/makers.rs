//! Makers by MAC address: IEEE assigns the first 24, 28 or 36 bits of it (MA-L, MA-M, MA-S).

use std::collections::BTreeMap;

use crate::addr::Mac;

/// How many bits are assigned, the most first.
const SIZES: [u8; 3] = [36, 28, 24];
/// Has blocks that others have parts of.
const DIVIDED: &str = "IEEE Registration Authority";

/// The registry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Makers(BTreeMap<(u8, u64), String>);

impl Makers {
    /// Enters a maker of all addresses that begin with these bits.
    pub fn enter(&mut self, bits: u8, prefix: u64, maker: &str) {
        self.0.insert((bits, prefix), maker.to_owned());
    }

    /// Enters all of another registry.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The maker of an address; none of one that was made up by software.
    pub fn of(&self, mac: Mac) -> Option<&str> {
        let [a, b, c, d, e, f] = mac.0;
        let address = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let found = SIZES.iter().find_map(|bits| self.0.get(&(*bits, address >> (48 - bits))));
        found.filter(|maker| !mac.is_local() && *maker != DIVIDED).map(String::as_str)
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_block_counts() {
        let mut makers = Makers::default();
        makers.enter(24, 0x70_b3_d5, DIVIDED);
        makers.enter(24, 0x00_1b_21, "Intel");
        makers.enter(28, 0x070b_3d51, "Medium");
        makers.enter(36, 0x0007_0b3d_5719, "Small");
        let cases = [
            ([0x00, 0x1b, 0x21, 1, 2, 3], Some("Intel")),
            ([0x02, 0x1b, 0x21, 1, 2, 3], None),
            ([0x70, 0xb3, 0xd5, 0x19, 2, 3], Some("Medium")),
            ([0x70, 0xb3, 0xd5, 0x71, 0x9f, 3], Some("Small")),
            ([0x70, 0xb3, 0xd5, 0x72, 0x9f, 3], None),
        ];
        for (mac, expected) in cases {
            assert_eq!(makers.of(Mac(mac)), expected, "{mac:x?}");
        }
    }
}
