//! The features of interfaces, as `ethtool -k` shows and `ethtool -K` sets them: by the kernel's own names, such as
//! `rx-vlan-hw-parse` (netdev_features_strings in net/ethtool/common.c).
//!
//! By netlink (Linux 5.6), for it goes by the index of an interface, which a change of its name does not touch.

use std::collections::BTreeSet;
use std::io;

use super::netlink::{Family, attributes, find, put, put_nested, put_text, text};

// Of linux/ethtool_netlink.h.
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_HW: u16 = 2;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_FEATURES_NOCHANGE: u16 = 5;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;

/// The features of an interface, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Those that are on.
    pub on: BTreeSet<String>,
    /// Those that can be switched.
    pub changeable: BTreeSet<String>,
}

/// Asks for and sets features, in the network namespace of the thread that opened it.
pub struct Ethtool(Family);

impl Ethtool {
    /// Opens it; `NotFound` on a kernel older than 5.6.
    pub fn open() -> io::Result<Self> {
        Family::open("ethtool").map(Self)
    }

    /// The features of an interface; `None` if there is no such interface.
    pub fn features(&mut self, ifindex: u32) -> io::Result<Option<Features>> {
        let answers = match self.0.ask(ETHTOOL_MSG_FEATURES_GET, &header(ifindex)) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
            answers => answers?,
        };
        let mut features = Features::default();
        for answer in &answers {
            let fixed = names(answer, ETHTOOL_A_FEATURES_NOCHANGE);
            features.on.extend(names(answer, ETHTOOL_A_FEATURES_ACTIVE));
            features.changeable.extend(names(answer, ETHTOOL_A_FEATURES_HW));
            features.changeable.retain(|name| !fixed.contains(name));
        }
        Ok(Some(features))
    }

    /// Switches features on or off. What the driver did of it must be asked for.
    pub fn switch(&mut self, ifindex: u32, names: &[&str], on: bool) -> io::Result<()> {
        let mut bits = Vec::new();
        for name in names {
            let mut bit = Vec::new();
            put_text(&mut bit, ETHTOOL_A_BITSET_BIT_NAME, name);
            if on {
                put(&mut bit, ETHTOOL_A_BITSET_BIT_VALUE, &[]);
            }
            put_nested(&mut bits, ETHTOOL_A_BITSET_BITS_BIT, &bit);
        }
        let mut set = Vec::new();
        put_nested(&mut set, ETHTOOL_A_BITSET_BITS, &bits);
        let mut request = header(ifindex);
        put_nested(&mut request, ETHTOOL_A_FEATURES_WANTED, &set);
        self.0.ask(ETHTOOL_MSG_FEATURES_SET, &request).map(drop)
    }
}

/// Which interface is meant.
fn header(ifindex: u32) -> Vec<u8> {
    let (mut header, mut request) = (Vec::new(), Vec::new());
    put(&mut header, ETHTOOL_A_HEADER_DEV_INDEX, &ifindex.to_ne_bytes());
    put_nested(&mut request, ETHTOOL_A_FEATURES_HEADER, &header);
    request
}

/// The names of the bits in one of the sets of an answer.
fn names(answer: &[u8], set: u16) -> BTreeSet<String> {
    let bits = find(answer, set).and_then(|set| find(set, ETHTOOL_A_BITSET_BITS)).unwrap_or_default();
    let name = |bit| find(bit, ETHTOOL_A_BITSET_BIT_NAME).map(text);
    attributes(bits).filter_map(|(_, bit)| name(bit)).collect()
}
