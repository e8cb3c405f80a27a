//! DHCP servers that were not there while the sensor learned who is.

use std::net::IpAddr;

use super::finding;
use crate::addr::{Mac, is_host};
use crate::detect::{Began, Finding};
use crate::event::Value;
use crate::flow::UDP;
use crate::inventory::capacity;
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, Time};

/// Servers are learned for this long.
const LEARNING: u64 = 24 * HOUR;
/// Most servers remembered.
const SERVERS: usize = 256;
/// Ports of server and client.
const PORTS: (u16, u16) = (67, 68);

/// DHCP servers, by VLAN.
#[derive(Debug)]
pub struct Dhcp {
    servers: Lru<(u16, IpAddr, Mac), ()>,
    /// Whether a VLAN had a server while the sensor learned.
    served: Lru<u16, ()>,
    since: Option<Time>,
}

state!(Dhcp { servers, served, since });

impl Dhcp {
    /// No server is known.
    pub fn new(settings: &Settings) -> Self {
        let size = capacity(settings.limits.devices.min(SERVERS));
        Self { servers: Lru::new(size), served: Lru::new(size), since: None }
    }

    /// The machine was off for so long, ns: nobody learned meanwhile.
    pub fn rebooted(&mut self, off_ns: u64) {
        self.since = self.since.map(|since| since.plus(off_ns));
    }

    /// Notes who answers clients.
    pub fn began(&mut self, began: &Began<'_>, found: &mut Vec<Finding>) {
        let (seen, id) = (began.seen, &began.seen.id);
        let since = *self.since.get_or_insert(seen.time);
        let answers = id.kind == Kind::Ip && id.proto == UDP && (id.sport, id.dport) == PORTS;
        if !answers || !is_host(id.src) || self.servers.put((id.vlan, id.src, seen.smac), ()).is_some() {
            return;
        }
        if seen.time.since(since) < LEARNING {
            self.served.put(id.vlan, ());
            return;
        }
        // Where no server was known, this may be the first one; routers pass on what servers elsewhere say.
        if self.served.get(&id.vlan).is_some() && !began.gateway {
            let evidence =
                vec![("server", Value::Text(id.src.to_string())), ("vlan", Value::Count(u64::from(id.vlan)))];
            let signature = "a DHCP server that was not there before answers clients";
            found.push(finding(signature, 2, seen.smac, seen.id, seen.time, evidence));
        }
    }
}
