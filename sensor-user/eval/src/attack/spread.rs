//! What goes from host to host, and what it does where it is.

use std::collections::BTreeSet;

use sensor_core::flow::TCP;
use sensor_core::time::{MINUTE, SECOND, Time};

use super::{GIVES_UP, Run, soon};
use crate::sim::chance::ns;
use crate::sim::site::{Class, HostId, Role};
use crate::sim::talk::{Fate, Talk};
use crate::sim::world::{Script, World};

/// Part of the targets that is alive, and of these that falls: 5 % of all.
const ALIVE: f64 = 0.3;
const FALLS: f64 = 1.0 / 6.0;
/// Seconds between two probes of one host.
const EVERY: f64 = 0.2;
/// A worm that infected so many has won.
const MOST: usize = 60;

/// A worm: each host it infects goes on.
pub(super) struct Worm {
    run: Run,
    infected: Vec<(HostId, Time, u32)>,
    all: BTreeSet<HostId>,
}

impl Worm {
    pub fn new(run: Run) -> Self {
        Self { infected: vec![(run.host, Time::at(0), 0)], all: BTreeSet::from([run.host]), run }
    }

    fn probe(&mut self, world: &mut World<'_>, from: HostId) -> Fate {
        for _ in 0..10 {
            let alive = world.chance.happens(ALIVE);
            let peer = if alive { world.any_up(&[Class::Pc, Class::Modality]) } else { None };
            let to = match peer {
                Some(peer) => world.ip(peer),
                None => {
                    let segment = world.chance.below(world.site.segments.len());
                    world.site.dark_ip(segment, &mut world.chance)
                }
            };
            let fate = world.begin(&Talk::probe(from, to, TCP, 445, self.run.cause));
            let reached = fate == Fate::Answered;
            if let Some(peer) = peer.filter(|peer| reached && !self.all.contains(peer))
                && world.chance.happens(FALLS)
            {
                self.all.insert(peer);
                self.infected.push((peer, world.now.plus(5 * SECOND), 0));
            }
            if fate != Fate::Unseen {
                return fate;
            }
        }
        Fate::Unseen
    }
}

impl Script for Worm {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if world.now >= self.run.until || self.all.len() >= MOST {
            return None;
        }
        for at in 0..self.infected.len() {
            let Some((host, since, dropped)) = self.infected.get(at).copied() else { continue };
            if world.now < since || dropped >= GIVES_UP {
                continue;
            }
            let fate = self.probe(world, host);
            if let Some((_, _, dropped)) = self.infected.get_mut(at) {
                *dropped = if fate == Fate::Dropped { *dropped + 1 } else { 0 };
            }
        }
        let held = self.infected.iter().all(|(_, _, dropped)| *dropped >= GIVES_UP);
        (!held).then(|| world.now.plus(ns(EVERY)))
    }
}

/// Reads and writes much on every file server, in a session for each folder.
pub(super) struct Ransomware(pub Run);

impl Script for Ransomware {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if self.0.is_over(world) {
            return None;
        }
        let of = world.site.role(Role::Files).to_vec();
        let server = world.chance.pick(&of)?;
        let bytes = world.chance.log_normal(2e7, 0.7) as u64;
        let talk = Talk {
            up: bytes,
            down: bytes,
            lasts: 8 * SECOND,
            news: 5 * SECOND,
            ..Talk::probe(self.0.host, world.ip(server), TCP, 445, self.0.cause)
        };
        self.0.begin(world, &talk);
        Some(world.now.plus(ns(world.chance.exponential(3.0))))
    }
}

/// One new host after the other, each from the last.
pub(super) struct Chain {
    run: Run,
    left: usize,
    /// Where it was: a way back is no further step.
    been: Vec<HostId>,
}

impl Chain {
    pub fn new(run: Run, depth: usize) -> Self {
        let been = vec![run.host];
        Self { run, left: depth, been }
    }
}

impl Script for Chain {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if self.left == 0 || self.run.is_over(world) {
            return None;
        }
        let peer = world.any_up(&[Class::Pc]).filter(|peer| !self.been.contains(peer));
        let Some(peer) = peer else { return soon(world) };
        let port = world.chance.pick(&[445, 3389]).unwrap_or(445);
        let talk = Talk {
            up: 400_000,
            down: 60_000,
            lasts: 40 * SECOND,
            ..Talk::probe(self.run.host, world.ip(peer), TCP, port, self.run.cause)
        };
        if self.run.begin(world, &talk) == Fate::Answered {
            self.run.host = peer;
            self.been.push(peer);
            self.left -= 1;
            return Some(world.now.plus(5 * MINUTE));
        }
        soon(world)
    }
}
