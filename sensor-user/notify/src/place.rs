//! Where a device is: its port, its VLAN, its segment.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use sensor_core::addr::Mac;
use sensor_core::lru::Lru;
use serde::{Deserialize, Serialize};

/// Most devices whose place is remembered.
const MAX_DEVICES: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// Where a device is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// The bridge port.
    pub port: Option<String>,
    /// The VLAN; none: untagged.
    pub vlan: Option<u16>,
    /// The segment, by the name the configuration gives it.
    pub segment: Option<String>,
}

/// The segments of the configuration, by what is in them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Segments {
    /// By the name of the port.
    pub ports: BTreeMap<String, String>,
    /// By the number of the VLAN.
    pub vlans: BTreeMap<u16, String>,
}

impl Segments {
    /// The place at that port and VLAN. Where the two are in different segments, the VLAN's counts.
    pub fn place(&self, port: Option<&String>, vlan: u16) -> Place {
        let tagged = (vlan != 0).then_some(vlan);
        let by_vlan = tagged.and_then(|vlan| self.vlans.get(&vlan));
        let segment = by_vlan.or_else(|| port.and_then(|port| self.ports.get(port))).cloned();
        Place { port: port.cloned(), vlan: tagged, segment }
    }
}

/// Where devices were heard last.
pub(crate) struct Heard(Lru<Mac, (u8, u16)>);

impl Heard {
    /// Nobody yet.
    pub fn new() -> Self {
        Self(Lru::new(MAX_DEVICES))
    }

    /// A device was heard at that port, in that VLAN.
    pub fn at(&mut self, mac: Mac, port: u8, vlan: u16) {
        self.0.put(mac, (port, vlan));
    }

    /// Where it was.
    pub fn of(&self, mac: &Mac) -> Option<(u8, u16)> {
        self.0.peek(mac).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vlan_counts_before_the_port() {
        let segments = Segments {
            ports: [("eth1".to_owned(), "wards".to_owned())].into(),
            vlans: [(20, "radiology".to_owned())].into(),
        };
        for (port, vlan, want) in [
            (Some("eth1"), 0, Some("wards")),
            (Some("eth1"), 20, Some("radiology")),
            (Some("eth1"), 21, Some("wards")),
            (Some("eth9"), 20, Some("radiology")),
            (Some("eth9"), 21, None),
            (None, 0, None),
        ] {
            let place = segments.place(port.map(str::to_owned).as_ref(), vlan);
            assert_eq!(place.segment.as_deref(), want, "{port:?} {vlan}");
        }
    }
}
