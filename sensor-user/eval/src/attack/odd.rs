//! A stranger, a pretender, and one that does what its host does every day.

use std::net::IpAddr;

use sensor_core::addr::Mac;
use sensor_core::flow::TCP;
use sensor_core::time::{SECOND, Time};

use super::Run;
use super::sweep::Sweep;
use crate::sim::chance::ns;
use crate::sim::site::{Class, Role};
use crate::sim::talk::Talk;
use crate::sim::world::{EVERYBODY, Script, World};

/// A device nobody knows: it asks for an address, and who else is there.
pub(super) fn rogue(world: &mut World<'_>, mut run: Run) -> Sweep {
    let port = 2 + world.chance.below(8) as u8;
    run.host = world.settle(|site| site.add(Class::Pc, port));
    world.ask_address(run.host);
    Sweep::new(world, run, (TCP, 1.0, 0.5, 200))
}

/// Another device with the MAC and IP address of a pump, at another port.
pub(super) struct Spoof {
    run: Run,
    first: bool,
}

impl Spoof {
    pub fn new(run: Run) -> Self {
        Self { run, first: true }
    }
}

impl Script for Spoof {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if self.run.is_over(world) {
            return None;
        }
        let host = world.site.hosts.get(self.run.host)?;
        let (mac, ip, segment, real) = (host.mac, host.ip, host.segment, host.port);
        let port = if real == 9 { 2 } else { real + 1 };
        let router: IpAddr = world.site.segments.get(segment)?.router;
        if std::mem::take(&mut self.first) {
            world.arp((mac, port), (ip, ip), EVERYBODY, 1, segment, self.run.cause);
        }
        let passes = world.arp((mac, port), (ip, router), EVERYBODY, 1, segment, self.run.cause);
        self.run.dropped = if passes { 0 } else { self.run.dropped + 1 };
        // The pump itself goes on.
        let pump: (Mac, u8) = (mac, real);
        world.arp(pump, (ip, router), EVERYBODY, 1, segment, crate::sim::world::Cause::Habit);
        Some(world.now.plus(20 * SECOND))
    }
}

/// Sessions with the host's own file server, a little larger than usual.
pub(super) struct Mimicry(pub Run);

impl Script for Mimicry {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if self.0.is_over(world) {
            return None;
        }
        let server = world.site.role(Role::Files).first().copied()?;
        let down = world.chance.log_normal(6e5, 1.0) as u64;
        let talk = Talk {
            up: 30_000,
            down,
            lasts: 60 * SECOND,
            ..Talk::probe(self.0.host, world.ip(server), TCP, 445, self.0.cause)
        };
        self.0.begin(world, &talk);
        Some(world.now.plus(ns(world.chance.exponential(300.0))))
    }
}
