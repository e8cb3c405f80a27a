//! Who uses a service: what several devices do alike is how the service is used.

use std::net::IpAddr;

use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::state::state;

/// Other devices that make something common.
pub const COMMON: usize = 3;

/// The clients of services, a few of each.
#[derive(Debug)]
pub struct Clients {
    table: Lru<(IpAddr, u16), Vec<DeviceKey>>,
}

state!(Clients { table });

impl Clients {
    /// None yet, and room for so many services.
    pub fn new(services: usize) -> Self {
        Self { table: Lru::new(capacity(services)) }
    }

    /// Notes a client of a service; true if [`COMMON`] others were noted.
    pub fn is_common(&mut self, service: (IpAddr, u16), client: DeviceKey) -> bool {
        let clients = self.table.get_or_insert_mut(service, Vec::new);
        if clients.len() <= COMMON && !clients.contains(&client) {
            clients.push(client);
        }
        clients.iter().filter(|other| **other != client).count() >= COMMON
    }
}
