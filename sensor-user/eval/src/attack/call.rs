//! Calls home, what is carried away, and guesses.

use std::net::{IpAddr, Ipv4Addr};

use sensor_core::flow::TCP;
use sensor_core::time::{SECOND, Time};

use super::Run;
use crate::sim::chance::ns;
use crate::sim::service::Answer;
use crate::sim::site::{Class, Role};
use crate::sim::talk::Talk;
use crate::sim::world::{Script, World};

/// An address outside that nobody else talks to.
fn outside(world: &mut World<'_>) -> IpAddr {
    Ipv4Addr::from(0xb000_0000 + world.chance.below(0x00ff_ffff) as u32).into()
}

/// A call home, again and again.
pub(super) struct Beacon {
    run: Run,
    to: IpAddr,
    port: u16,
    every: f64,
    jitter: f64,
}

impl Beacon {
    pub fn new(world: &mut World<'_>, run: Run, every: f64, jitter: f64) -> Self {
        let port = world.chance.pick(&[443, 443, 80, 8443, 4444]).unwrap_or(443);
        Self { run, to: outside(world), port, every, jitter }
    }

    /// To another PC, which passes it on.
    pub fn relay(world: &mut World<'_>, run: Run) -> Self {
        let port = world.site.hosts.get(run.host).map_or(0, |host| host.port);
        let mut to = outside(world);
        for _ in 0..20 {
            let peer = world.any_up(&[Class::Pc]).and_then(|peer| world.site.hosts.get(peer));
            // What stays behind one access switch is out of sight.
            if let Some(peer) = peer.filter(|peer| peer.port != port) {
                to = peer.ip;
                break;
            }
        }
        Self { run, to, port: 8443, every: 60.0, jitter: 0.1 }
    }
}

impl Script for Beacon {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if !world.is_up(self.run.host) {
            // It goes on in the morning.
            let waits = ns(self.every);
            self.run.until = self.run.until.plus(waits);
            return Some(world.now.plus(waits));
        }
        if self.run.is_over(world) {
            return None;
        }
        let up = world.chance.log_normal(900.0, 0.1) as u64;
        let talk = Talk {
            up,
            down: 600,
            lasts: SECOND,
            answer: Some(Answer::Yes),
            ..Talk::probe(self.run.host, self.to, TCP, self.port, self.run.cause)
        };
        self.run.begin(world, &talk);
        let spread = self.jitter * world.chance.between(-1.0, 1.0);
        Some(world.now.plus(ns(self.every * (1.0 + spread))))
    }
}

/// Something carried away, in pieces.
pub(super) struct Exfil {
    run: Run,
    to: IpAddr,
    bytes: u64,
    lasts: u64,
    left: u32,
}

impl Exfil {
    pub fn new(world: &mut World<'_>, run: Run, bytes: u64, lasts: f64, pieces: u32) -> Self {
        let (bytes, lasts) = (bytes / u64::from(pieces.max(1)), ns(lasts) / u64::from(pieces.max(1)));
        Self { run, to: outside(world), bytes, lasts, left: pieces }
    }
}

impl Script for Exfil {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if self.left == 0 || self.run.is_over(world) {
            return None;
        }
        self.left -= 1;
        let talk = Talk {
            up: self.bytes,
            down: self.bytes / 100,
            lasts: self.lasts.min(300 * SECOND),
            news: 5 * SECOND,
            answer: Some(Answer::Yes),
            ..Talk::probe(self.run.host, self.to, TCP, 443, self.run.cause)
        };
        self.run.begin(world, &talk);
        Some(world.now.plus(self.lasts))
    }
}

/// Short sessions with one server.
pub(super) struct Brute {
    run: Run,
    to: IpAddr,
    port: u16,
}

impl Brute {
    pub fn new(world: &mut World<'_>, run: Run, port: u16) -> Self {
        let of = world.site.role(Role::App).to_vec();
        let server = world.chance.pick(&of).unwrap_or(run.host);
        Self { to: world.ip(server), run, port }
    }
}

impl Script for Brute {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        if self.run.is_over(world) {
            return None;
        }
        let up = world.chance.log_normal(1_900.0, 0.05) as u64;
        let talk = Talk {
            up,
            down: 2_600,
            lasts: SECOND,
            answer: Some(Answer::Yes),
            ..Talk::probe(self.run.host, self.to, TCP, self.port, self.run.cause)
        };
        self.run.begin(world, &talk);
        Some(world.now.plus(ns(world.chance.between(0.7, 1.3))))
    }
}
