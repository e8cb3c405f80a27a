//! Scans: many hosts, or many ports of one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sensor_core::flow::{ICMP, TCP, UDP};
use sensor_core::time::Time;

use super::Run;
use crate::sim::chance::ns;
use crate::sim::site::{Class, HostId};
use crate::sim::talk::{Fate, Talk};
use crate::sim::world::{EVERYBODY, Script, World};

/// Hosts a scan may find.
const ANYBODY: [Class; 5] = [Class::Pc, Class::Server, Class::Printer, Class::Modality, Class::Camera];
/// TCP services that scans look for.
const PORTS: [u16; 6] = [22, 80, 445, 3389, 8080, 2222];

/// One after the other, by an order of its own.
pub(super) struct Sweep {
    run: Run,
    proto: u8,
    port: u16,
    every: f64,
    alive: f64,
    left: usize,
    tried: BTreeSet<IpAddr>,
}

impl Sweep {
    pub fn new(world: &mut World<'_>, run: Run, (proto, every, alive, left): (u8, f64, f64, usize)) -> Self {
        let port = match proto {
            TCP => world.chance.pick(&PORTS).unwrap_or(445),
            UDP => 161,
            _ => 0,
        };
        Self { run, proto, port, every, alive, left, tried: BTreeSet::new() }
    }

    /// A target: somebody who is alive, or an address nobody has.
    fn target(&mut self, world: &mut World<'_>) -> Option<IpAddr> {
        for _ in 0..20 {
            let ip = match world.chance.happens(self.alive) {
                true => world.any_up(&ANYBODY).map(|host| world.ip(host))?,
                false => {
                    let segment = world.chance.below(world.site.segments.len());
                    world.site.dark_ip(segment, &mut world.chance)
                }
            };
            if ip != world.ip(self.run.host) && self.tried.insert(ip) {
                return Some(ip);
            }
        }
        None
    }

    /// Asks for an address of the host's own segment.
    fn ask(&mut self, world: &mut World<'_>) {
        let host = self.run.host;
        let Some((mac, port, segment)) = world.site.hosts.get(host).map(|h| (h.mac, h.port, h.segment))
        else {
            return;
        };
        let alive = world.chance.happens(self.alive);
        let peer = world.any_up(&ANYBODY).filter(|_| alive);
        let near =
            |id: &HostId| world.site.hosts.get(*id).is_some_and(|h| h.segment == segment && h.port != port);
        let peer = peer.filter(near);
        let target = match peer {
            Some(peer) => world.ip(peer),
            None => world.site.dark_ip(segment, &mut world.chance),
        };
        if !self.tried.insert(target) {
            return;
        }
        let own = world.ip(host);
        let cause = self.run.cause;
        let passes = world.arp((mac, port), (own, target), EVERYBODY, 1, segment, cause);
        self.run.dropped = if passes { 0 } else { self.run.dropped + 1 };
        if let Some((there, at)) = peer.and_then(|peer| world.site.hosts.get(peer)).map(|h| (h.mac, h.port)) {
            world.arp((there, at), (target, own), mac, 2, segment, crate::sim::world::Cause::Habit);
        }
    }
}

impl Script for Sweep {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if self.left == 0 || self.run.is_over(world) {
            return None;
        }
        self.left -= 1;
        if self.proto == 0 {
            self.ask(world);
        } else {
            // What goes from port to port of one access switch is out of sight; the next target is tried at once.
            for _ in 0..10 {
                let to = self.target(world)?;
                let talk = Talk::probe(self.run.host, to, self.proto, self.port, self.run.cause);
                if self.run.begin(world, &talk) != Fate::Unseen || self.proto == ICMP && self.alive > 1.0 {
                    break;
                }
            }
        }
        let every = self.every * world.chance.between(0.8, 1.2);
        Some(world.now.plus(ns(every)))
    }
}

/// Ports of one server.
pub(super) struct Vertical {
    run: Run,
    to: IpAddr,
    every: f64,
    port: u16,
}

impl Vertical {
    pub fn new(world: &mut World<'_>, run: Run, every: f64) -> Self {
        let to = world.any_up(&[Class::Server]).map_or_else(|| world.ip(run.host), |host| world.ip(host));
        Self { run, to, every, port: 0 }
    }
}

impl Script for Vertical {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if self.port > 600 || self.run.is_over(world) {
            return None;
        }
        self.port += 1;
        let talk = Talk::probe(self.run.host, self.to, TCP, self.port, self.run.cause);
        self.run.begin(world, &talk);
        Some(world.now.plus(ns(self.every)))
    }
}
