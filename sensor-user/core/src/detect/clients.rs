//! Who uses a service: what several devices do alike is how the service is used.
//!
//! What an attacker did is no use: else the fourth host of an outbreak was excused by the first three, and who guesses at a
//! server by those who did before. A device that a detector *doubts* is taken out of the lists it came to within a day
//! before, and is put on none for a day after, released or not: what it still does then is how the service is used, called or not.
//! `chain` and `brute` do so, which only alert. `novelty` and `exposed` do not, for they pin or help to, and PCs that all look
//! for the same servers that are gone are no outbreak; nor do `beacon` and `exfil`, of which three findings are told before
//! the fourth is excused.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::state::state;
use crate::time::{HOUR, Time};

/// Other devices that make something common.
pub const COMMON: usize = 3;
/// A doubt reaches so far back, and lasts so long.
const DOUBT: u64 = 24 * HOUR;

/// A device that uses a service.
#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Client {
    device: DeviceKey,
    /// When it was noted first.
    since: Time,
}

/// The clients of services, a few of each.
#[derive(Debug)]
pub struct Clients {
    table: Lru<(IpAddr, u16), Vec<Client>>,
    /// When a device was doubted last.
    doubted: Lru<DeviceKey, Time>,
}

state!(Clients { table, doubted });

impl Clients {
    /// None yet, and room for so many services and as many devices.
    pub fn new(services: usize) -> Self {
        Self { table: Lru::new(capacity(services)), doubted: Lru::new(capacity(services)) }
    }

    /// Notes a client of a service; true if [`COMMON`] others were noted.
    pub fn is_common(&mut self, service: (IpAddr, u16), client: DeviceKey, now: Time) -> bool {
        let clients = self.table.get_or_insert_mut(service, Vec::new);
        let noted = clients.iter().any(|other| other.device == client);
        let doubted = || self.doubted.peek(&client).is_some_and(|at| now.since(*at) < DOUBT);
        if clients.len() <= COMMON && !noted && !doubted() {
            clients.push(Client { device: client, since: now });
        }
        clients.iter().filter(|other| other.device != client).count() >= COMMON
    }

    /// A device is called an attacker.
    pub fn doubt(&mut self, client: DeviceKey, now: Time) {
        self.doubted.put(client, now);
        for clients in self.table.values_mut() {
            clients.retain(|other| other.device != client || now.since(other.since) >= DOUBT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Mac;
    use crate::time::MINUTE;

    fn device(at: u8) -> DeviceKey {
        DeviceKey::Local(Mac([2, 0, 0, 0, 0, at]))
    }

    /// Clients 1 to 3 of a service, noted at this time.
    fn three(at: Time) -> (Clients, (IpAddr, u16)) {
        let (mut clients, service) = (Clients::new(16), (IpAddr::from([10, 0, 0, 9]), 445));
        for client in 1..=3 {
            assert!(!clients.is_common(service, device(client), at));
        }
        (clients, service)
    }

    #[test]
    fn who_is_called_an_attacker_excuses_nobody() {
        let began = Time::at(100 * HOUR);
        let later = |minutes: u64| began.plus(minutes * MINUTE);
        for (name, doubted, seen_again, asked, common) in [
            ("nobody is doubted", None, None, 2, true),
            ("it came minutes before", Some(1), None, 2, false),
            ("nor is it a client as long as the doubt lasts", Some(1), Some(24 * 60), 24 * 60, false),
            ("what it still does after a day is use", Some(1), Some(24 * 60 + 1), 24 * 60 + 2, true),
            ("it was a client for a day before", Some(24 * 60), None, 24 * 60 + 1, true),
        ] {
            let (mut clients, service) = three(began);
            doubted.into_iter().for_each(|at| clients.doubt(device(2), later(at)));
            if let Some(at) = seen_again {
                clients.is_common(service, device(2), later(at));
            }
            assert_eq!(clients.is_common(service, device(4), later(asked)), common, "{name}");
        }
    }
}
