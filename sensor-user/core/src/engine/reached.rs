//! What hosts asked for while flows were lost, by the counts of the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Engine, Input, Output};
use crate::datapath;
use crate::detect::Reached;
use crate::observation::{FlowId, Kind};
use crate::time::Time;

impl Engine {
    /// Flows were lost, and hosts asked for so many new destinations since then, by the key of their budget
    /// ([`datapath::host`]). A count by an address and place that no device has is nobody's.
    pub fn reached(&mut self, counts: &BTreeMap<u64, u32>, since: Time, now: Time, out: &mut Output) {
        if counts.is_empty() {
            return;
        }
        self.note(|| Input::Reached(counts.clone(), since, now));
        let mut reached = Vec::new();
        for device in self.inventory.iter() {
            for ip in device.ips() {
                let Some(count) = counts.get(&datapath::host(ip, device.mac, device.port)) else { continue };
                let dst = match ip {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let (vlan, port) = (device.vlan, device.port);
                let flow = FlowId { src: ip, dst, sport: 0, dport: 0, proto: 0, kind: Kind::Ip, vlan, port };
                reached.push(Reached { device: device.key, flow, count: *count, since });
            }
        }
        // In the same order each time.
        reached.sort_by_key(|reached| (reached.device, reached.flow));
        for reached in reached {
            for detector in &mut self.detectors.registered {
                detector.reached(&reached, now, &mut self.found);
            }
        }
        self.conclude(now, out);
    }
}
