//! What is harmless and looks strange: the confounders a site has now and then, in one table.

use std::net::{IpAddr, Ipv4Addr};

use sensor_core::addr::Mac;
use sensor_core::flow::{ICMP, TCP, UDP};
use sensor_core::time::{HOUR, MILLISECOND, MINUTE, SECOND, Time};

use super::calendar::{DAY, START, is_weekend, next_at};
use super::chance::{Chance, ns};
use super::site::{CORE, Class, HostId, Role};
use super::talk::Talk;
use super::world::{Cause, EVERYBODY, World};

/// A kind of confounder: its name, how long it can have an effect (ns), and how it begins.
pub struct Confounder {
    /// Its name in the report.
    pub name: &'static str,
    /// How long, ns.
    pub lasts: u64,
    begin: fn(&mut World<'_>, Cause),
}

const fn confounder(name: &'static str, lasts: u64, begin: fn(&mut World<'_>, Cause)) -> Confounder {
    Confounder { name, lasts, begin }
}

/// All of them.
pub const CONFOUNDERS: [Confounder; 21] = [
    confounder("server outage", HOUR, outage),
    confounder("access switch restarts", 10 * MINUTE, switch),
    confounder("DHCP outage", HOUR, no_dhcp),
    confounder("renumbering", HOUR, renumbering),
    confounder("server migration", 4 * HOUR, migration),
    confounder("roll-out of devices", HOUR, roll_out),
    confounder("Windows browse burst", 10 * MINUTE, browsing),
    confounder("printer driver discovery", 10 * MINUTE, printers),
    confounder("authorised vulnerability scan", HOUR, audit),
    confounder("monitoring sweep", 10 * MINUTE, sweep),
    confounder("PACS prefetch", HOUR, prefetch),
    confounder("mass image transfer", 2 * HOUR, images),
    confounder("failover of a pair", 10 * MINUTE, failover),
    confounder("daylight-saving change", 24 * HOUR, summer_time),
    confounder("clock step", 10 * MINUTE, clock_step),
    confounder("capture loss of 1 %", HOUR, loss),
    confounder("one-way visibility", 30 * MINUTE, one_way),
    confounder("stale peers", 10 * MINUTE, stale),
    confounder("patch day", 4 * HOUR, patches),
    confounder("folder moved within a server", HOUR, folder),
    confounder("copy from server to server", HOUR, copy),
];

/// When a confounder began.
#[derive(Clone, Copy, Debug)]
pub struct Happened {
    /// Which, by its place in [`CONFOUNDERS`].
    pub kind: u8,
    /// When.
    pub time: Time,
}

/// Plans every confounder so many times between two moments, two in three by day; returns what is planned, by time.
pub fn plan(
    world: &mut World<'_>,
    times: usize,
    from: Time,
    until: Time,
    chance: &mut Chance,
) -> Vec<Happened> {
    let mut planned = Vec::new();
    let days = (until.since(from) / DAY).max(1) as usize;
    for kind in 0..CONFOUNDERS.len() as u8 {
        for _ in 0..times {
            let mut day = from.plus(chance.below(days) as u64 * DAY);
            if is_weekend(day) && days > 5 && chance.happens(0.6) {
                day = from.plus(chance.below(days) as u64 * DAY);
            }
            let at = if chance.happens(0.67) { chance.between(8.5, 17.0) } else { chance.between(0.0, 24.0) };
            let time = next_at(day, at);
            if time < until {
                planned.push(Happened { kind, time });
            }
        }
    }
    planned.sort_by_key(|happened| (happened.time, happened.kind));
    for Happened { kind, time } in planned.iter().copied() {
        let begin = move |world: &mut World<'_>| {
            if let Some(confounder) = CONFOUNDERS.get(usize::from(kind)) {
                (confounder.begin)(world, Cause::Confounder(kind));
            }
        };
        let wait = time.since(START.max(world.now));
        world.after(wait, begin);
    }
    planned
}

fn any(world: &mut World<'_>, class: Class) -> Option<HostId> {
    world.any_up(&[class])
}

fn ip(world: &World<'_>, id: HostId) -> IpAddr {
    world.ip(id)
}

fn set_up(world: &mut World<'_>, id: HostId, up: bool) {
    if let Some(host) = world.site.hosts.get_mut(id) {
        host.up = up;
    }
}

/// Contacts of one host, each so many seconds after the one before.
fn burst(world: &mut World<'_>, talks: Vec<Talk>, every: f64) {
    let mut wait = 0.0;
    for talk in talks {
        world.after(ns(wait), move |world| {
            world.begin(&talk);
        });
        wait += world.chance.exponential(every).min(10.0 * every);
    }
}

/// A server is away for 5 to 60 minutes; its clients go on trying.
fn outage(world: &mut World<'_>, _: Cause) {
    let roles = [Role::App, Role::Files, Role::Directory, Role::Pumps, Role::Central, Role::Hl7, Role::Mail];
    let Some(role) = world.chance.pick(&roles) else { return };
    let of = world.site.role(role).to_vec();
    let Some(server) = world.chance.pick(&of) else { return };
    set_up(world, server, false);
    let lasts = ns(world.chance.between(300.0, 3_600.0));
    world.after(lasts, move |world| set_up(world, server, true));
}

/// All hosts behind an access port lose the network for two minutes and start anew.
fn switch(world: &mut World<'_>, _: Cause) {
    let port = 2 + world.chance.below(8) as u8;
    let hosts: Vec<HostId> = (0..world.site.hosts.len())
        .filter(|id| world.site.hosts.get(*id).is_some_and(|h| h.port == port))
        .collect();
    for id in hosts {
        let after = 120 * SECOND + ns(world.chance.between(0.0, 60.0));
        world.restart(id, after);
    }
}

/// Nobody gives addresses: thirty hosts ask in vain, and help themselves to link-local ones.
fn no_dhcp(world: &mut World<'_>, cause: Cause) {
    for _ in 0..30 {
        let Some(id) = any(world, Class::Pc) else { return };
        for ask in 0..8 {
            let wait = ns(f64::from(ask) * 240.0 + world.chance.between(0.0, 60.0));
            world.after(wait, move |world| link_local(world, id, ask, cause));
        }
    }
}

fn link_local(world: &mut World<'_>, id: HostId, ask: i32, cause: Cause) {
    let Some(host) = world.site.hosts.get(id).cloned() else { return };
    let [.., a, b] = host.mac.0;
    let own: IpAddr = Ipv4Addr::new(169, 254, a, b).into();
    let nobody: IpAddr = Ipv4Addr::UNSPECIFIED.into();
    let src = if ask < 2 { nobody } else { own };
    let other: IpAddr = Ipv4Addr::new(169, 254, b, ask as u8 + 1).into();
    let dst = if ask < 4 { own } else { other };
    world.arp((host.mac, host.port), (src, dst), EVERYBODY, 1, host.segment, cause);
}

/// Forty hosts of one class get new addresses as they are started anew within half an hour.
fn renumbering(world: &mut World<'_>, _: Cause) {
    let Some(class) = world.chance.pick(&[Class::Pc, Class::Phone, Class::Printer, Class::Pump]) else {
        return;
    };
    let of: Vec<HostId> = world.site.of(class).iter().copied().take(40).collect();
    for id in of {
        let wait = ns(world.chance.between(0.0, 1_800.0));
        world.after(wait, move |world| {
            world.restart(id, 20 * SECOND);
            world.renumber(id);
        });
    }
}

/// A server's work moves to a new one; for hours clients still try the old address.
fn migration(world: &mut World<'_>, cause: Cause) {
    let Some(role) = world.chance.pick(&[Role::Files, Role::App, Role::Mail]) else { return };
    let of = world.site.role(role).to_vec();
    let Some(old) = world.chance.pick(&of) else { return };
    let port = if role == Role::Files { 445 } else { 443 };
    let old_ip = ip(world, old);
    world.settle(|site| site.migrate(role, old));
    set_up(world, old, false);
    for _ in 0..60 {
        let wait = ns(world.chance.between(0.0, 4.0 * 3_600.0));
        world.after(wait, move |world| {
            if let Some(from) = any(world, Class::Pc) {
                world.begin(&Talk::probe(from, old_ip, TCP, port, cause));
            }
        });
    }
}

/// Twenty new devices of one kind.
fn roll_out(world: &mut World<'_>, _: Cause) {
    let kinds = [Class::Camera, Class::Pump, Class::Monitor, Class::Phone, Class::Pc, Class::Printer];
    let Some(class) = world.chance.pick(&kinds) else { return };
    for at in 0..20 {
        let wait = ns(world.chance.between(0.0, 1_800.0));
        world.after(wait, move |world| {
            let id = world.settle(|site| site.add(class, 2 + at % 8));
            world.start(id, 120.0);
        });
    }
}

/// Somebody opens the network neighbourhood: it answers, each PC is asked what it is, and one to three are opened.
fn browsing(world: &mut World<'_>, cause: Cause) {
    let Some(from) = any(world, Class::Pc) else { return };
    world.shout(from, Ipv4Addr::new(239, 255, 255, 250).into(), 3702, cause);
    let count = 8 + world.chance.below(33);
    let mut talks = Vec::new();
    for at in 0..count {
        let Some(peer) = any(world, Class::Pc).filter(|peer| *peer != from) else { continue };
        let to = ip(world, peer);
        talks.push(Talk::probe(from, to, UDP, 137, cause));
        talks.push(Talk::probe(from, to, TCP, 5357, cause));
        if at < 1 + count % 3 {
            talks.push(Talk {
                up: 8_000,
                down: 60_000,
                lasts: 20 * SECOND,
                ..Talk::probe(from, to, TCP, 445, cause)
            });
        }
    }
    burst(world, talks, 0.4);
}

/// Somebody installs a printer: the program asks all that it finds.
fn printers(world: &mut World<'_>, cause: Cause) {
    let Some(from) = any(world, Class::Pc) else { return };
    let mut all = world.site.of(Class::Printer).to_vec();
    world.chance.shuffle(&mut all);
    all.truncate(5 + world.chance.below(11));
    let mut talks = Vec::new();
    for printer in all {
        let to = ip(world, printer);
        for (proto, port) in [(UDP, 161), (TCP, 9100), (TCP, 631)] {
            talks.push(Talk::probe(from, to, proto, port, cause));
        }
    }
    burst(world, talks, 0.3);
}

/// The authorised scanner tries ten ports of 120 hosts.
fn audit(world: &mut World<'_>, cause: Cause) {
    let Some(from) = world.site.role(Role::Auditor).first().copied() else { return };
    let count = world.site.hosts.len();
    let mut talks = Vec::new();
    for _ in 0..120 {
        let id = world.chance.below(count);
        let to = ip(world, id);
        for port in [21, 22, 23, 80, 135, 443, 445, 3389, 5900, 8080] {
            talks.push(Talk::probe(from, to, TCP, port, cause));
        }
    }
    burst(world, talks, 0.1);
}

/// The monitoring machine pings a whole /24, half of which is empty.
fn sweep(world: &mut World<'_>, cause: Cause) {
    let Some(from) = world.site.role(Role::Watcher).first().copied() else { return };
    let Some(pc) = any(world, Class::Pc) else { return };
    let IpAddr::V4(near) = ip(world, pc) else { return };
    let [a, b, c, _] = near.octets();
    let talks = (2..=254).map(|last| Talk::probe(from, Ipv4Addr::new(a, b, c, last).into(), ICMP, 0, cause));
    burst(world, talks.collect(), 0.1);
}

/// PACS sends old images to where they will be looked at.
fn prefetch(world: &mut World<'_>, cause: Cause) {
    let Some(from) = world.site.role(Role::Pacs).first().copied() else { return };
    let mut talks = Vec::new();
    for _ in 0..25 {
        let Some(to) = any(world, Class::Modality) else { return };
        let up = world.chance.log_normal(1.5e8, 0.8) as u64;
        let to = ip(world, to);
        let (lasts, news) = (MINUTE, 5 * SECOND);
        talks.push(Talk { up, down: 100_000, lasts, news, ..Talk::probe(from, to, TCP, 11_112, cause) });
    }
    burst(world, talks, 60.0);
}

/// A modality sends a night's worth of images.
fn images(world: &mut World<'_>, cause: Cause) {
    let Some(from) = any(world, Class::Modality) else { return };
    let Some(pacs) = world.site.role(Role::Pacs).first().copied() else { return };
    let to = ip(world, pacs);
    let mut talks = Vec::new();
    for _ in 0..40 {
        let up = world.chance.log_normal(4e8, 0.7) as u64;
        let (lasts, news) = (100 * SECOND, 10 * SECOND);
        talks.push(Talk { up, down: 200_000, lasts, news, ..Talk::probe(from, to, TCP, 104, cause) });
    }
    burst(world, talks, 120.0);
}

/// The second server of a pair takes over the address of the first, and says so.
fn failover(world: &mut World<'_>, cause: Cause) {
    let of = world.site.role(Role::Database).to_vec();
    let Some(first) = of.first().copied() else { return };
    let address = ip(world, first);
    let second = world.settle(|site| site.add(Class::Server, CORE));
    let role = world.site.hosts.get(first).and_then(|host| host.role);
    if let Some(host) = world.site.hosts.get_mut(second) {
        host.role = role;
    }
    set_up(world, first, false);
    world.take_over(second, address);
    let (mac, segment) = match world.site.hosts.get(second) {
        Some(host) => (host.mac, host.segment),
        None => (Mac::default(), 0),
    };
    if let Some(of) = role.and_then(|role| world.site.roles.get_mut(&role)) {
        of.iter_mut().filter(|host| **host == first).for_each(|host| *host = second);
    }
    for at in 0..3 {
        world.after(at * 500 * MILLISECOND, move |world| {
            world.arp((mac, CORE), (address, address), EVERYBODY, 1, segment, cause);
        });
    }
}

/// Everybody comes an hour earlier, or later again.
fn summer_time(world: &mut World<'_>, _: Cause) {
    world.clock_shift = HOUR - world.clock_shift;
}

/// The time of a class of devices is set: all their timers fire.
fn clock_step(world: &mut World<'_>, _: Cause) {
    let Some(class) = world.chance.pick(&[Class::Monitor, Class::Pump, Class::Camera, Class::Phone]) else {
        return;
    };
    for id in world.site.of(class).to_vec() {
        // Its timers of before go by another number, and stop.
        if let Some(boot) = world.boots.get_mut(id) {
            *boot = boot.wrapping_add(1);
        }
        world.start(id, 20.0);
    }
}

/// For an hour one record in a hundred is lost, and nobody knows.
fn loss(world: &mut World<'_>, _: Cause) {
    world.loss = 0.01;
    world.after(HOUR, |world| world.loss = 0.0);
}

/// For ten to thirty minutes the answers to hosts of one segment go another way.
fn one_way(world: &mut World<'_>, _: Cause) {
    let Some(id) = any(world, Class::Pc) else { return };
    world.one_way = world.site.hosts.get(id).map(|host| host.segment);
    let lasts = ns(world.chance.between(600.0, 1_800.0));
    world.after(lasts, |world| world.one_way = None);
}

/// A PC is started that still knows one to six servers of old.
fn stale(world: &mut World<'_>, cause: Cause) {
    let Some(from) = any(world, Class::Pc) else { return };
    let count = 1 + world.chance.zipf(6);
    let mut talks = Vec::new();
    for _ in 0..count {
        let to = world.site.dark_ip(0, &mut world.chance);
        talks.push(Talk::probe(from, to, TCP, 445, cause));
    }
    burst(world, talks, 3.0);
}

/// Every PC fetches much within three hours.
fn patches(world: &mut World<'_>, cause: Cause) {
    let Some(server) = world.site.role(Role::Updates).first().copied() else { return };
    let to = ip(world, server);
    for from in world.site.of(Class::Pc).to_vec() {
        let wait = ns(world.chance.between(0.0, 3.0 * 3_600.0));
        let down = world.chance.log_normal(3e8, 0.4) as u64;
        let talk = Talk { up: 2_000_000, down, lasts: 4 * MINUTE, ..Talk::probe(from, to, TCP, 8530, cause) };
        world.after(wait, move |world| {
            world.begin(&talk);
        });
    }
}

/// Does something by draws of its own: whatever is drawn later is what it would be without.
fn apart(world: &mut World<'_>, what: fn(&mut World<'_>, Cause), cause: Cause) {
    let own = Chance::new(world.now.ns(), 5);
    let others = std::mem::replace(&mut world.chance, own);
    what(world, cause);
    world.chance = others;
}

/// A session of somebody's with a file server, of so many bytes there and back.
fn session(world: &mut World<'_>, from: HostId, server: HostId, (up, down): (f64, f64), cause: Cause) {
    let (up, down) = (up as u64, down as u64);
    let probe = Talk::probe(from, ip(world, server), TCP, 445, cause);
    world.begin(&Talk { up, down, lasts: 2 * MINUTE, news: 5 * SECOND, ..probe });
}

/// Somebody moves a folder within a file server, by a program that reads it and writes it elsewhere.
fn folder(world: &mut World<'_>, cause: Cause) {
    let move_it = |world: &mut World<'_>, cause: Cause| {
        let Some(from) = any(world, Class::Pc) else { return };
        let of = world.site.role(Role::Files).to_vec();
        let Some(server) = world.chance.pick(&of) else { return };
        let bytes = world.chance.log_normal(3e8, 0.5);
        session(world, from, server, (bytes, bytes), cause);
    };
    apart(world, move_it, cause);
}

/// Somebody copies a folder from a file server to another.
fn copy(world: &mut World<'_>, cause: Cause) {
    let copy_it = |world: &mut World<'_>, cause: Cause| {
        let Some(from) = any(world, Class::Pc) else { return };
        let mut of = world.site.role(Role::Files).to_vec();
        world.chance.shuffle(&mut of);
        let [here, there, ..] = of[..] else { return };
        let bytes = world.chance.log_normal(2e9, 0.7);
        // Of what is sent one way a fiftieth goes back to confirm it.
        session(world, from, here, (bytes / 50.0, bytes), cause);
        session(world, from, there, (bytes, bytes / 50.0), cause);
    };
    apart(world, copy_it, cause);
}

#[cfg(test)]
mod tests {
    use sensor_core::settings::Mode;

    use super::*;
    use crate::attack::{self, KINDS};
    use crate::sim::site::Site;
    use crate::subject::product::{Product, settings};
    use crate::subject::tally::Step;

    /// Lets PCs of a site do something, a day after the sensor began.
    fn lived(seed: u64, what: impl FnOnce(&mut World<'_>)) -> Product {
        let site = Site::new(seed, 300);
        let mut product = Product::new(&settings(&site, Mode::Enforce));
        let until = {
            let mut world = World::new(site, seed, &mut product);
            let [pc, server] = [world.site.of(Class::Pc)[0], world.site.role(Role::Files)[0]];
            session(&mut world, pc, server, (1e3, 1e3), Cause::Habit);
            world.run(START.plus(DAY + HOUR));
            what(&mut world);
            let until = world.now.plus(HOUR);
            world.run(until);
            until
        };
        product.pass(until);
        product
    }

    #[test]
    fn ransomware_is_called_and_work_with_file_servers_is_not() {
        let named = |name: &str| KINDS.iter().find(|kind| kind.name == name);
        let ransomware = named("ransomware on file servers").unwrap();
        for seed in 1..=3 {
            let product = lived(seed, |world| {
                for _ in 0..20 {
                    folder(world, Cause::Confounder(0));
                    copy(world, Cause::Confounder(0));
                    let later = world.now.plus(HOUR);
                    world.run(later);
                }
            });
            let wrong = product.tally.wrong.iter().filter(|wrong| wrong.detector == "rewrite");
            let alerts: Vec<_> = wrong.filter(|wrong| wrong.step >= Step::Alert).collect();
            assert!(alerts.is_empty(), "seed {seed}: {alerts:?}");

            let product = lived(seed, |world| {
                let host = any(world, Class::Pc).unwrap();
                attack::start(world, ransomware, 0, host);
            });
            let attacked = &product.tally.attacks[&0];
            let (begun, alert) = (attacked.begun.unwrap(), attacked.steps[&Step::Alert].time);
            assert!(attacked.called.contains("rewrite"), "seed {seed}: {:?}", attacked.called);
            assert!(alert.since(begun) < 3 * MINUTE, "seed {seed}: {:?}", alert.since(begun));
        }
    }

    #[test]
    fn what_is_done_apart_changes_no_other_draws() {
        let site = Site::new(1, 300);
        let mut product = Product::new(&settings(&site, Mode::Observe));
        let mut world = World::new(site, 1, &mut product);
        let mut before = world.chance.clone();
        folder(&mut world, Cause::Habit);
        copy(&mut world, Cause::Habit);
        assert_eq!(world.chance.unit().to_bits(), before.unit().to_bits());
    }
}
