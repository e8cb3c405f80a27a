//! What hosts do day by day: a table of habits for each class, and how they are carried out.
//!
//! Think times are Pareto, sizes log-normal, destinations Zipf. Office PCs are switched off at night and at weekends, ward
//! PCs never; everybody who is switched on starts all over: address, names, accounts, files.

use std::net::{IpAddr, Ipv4Addr};

use sensor_core::flow::{ICMP, TCP, UDP};
use sensor_core::observation::{FlowId, Kind};
use sensor_core::time::{HOUR, MINUTE, SECOND, Time};

use super::calendar::{DAY, Hours, day, hour, is_weekend, next_at};
use super::chance::ns;
use super::site::{CORE, Class, HostId, Role};
use super::talk::{Leg, Talk};
use super::world::{Cause, EVERYBODY, Item, World};

/// With whom.
#[derive(Clone, Copy, Debug)]
enum To {
    /// The host's own server of a role; now and then another.
    Own(Role),
    /// One of a role, the first the most.
    Any(Role),
    /// The host's own printer; now and then another.
    Printer,
    /// One of the web's servers.
    Web,
    /// A group.
    Group([u8; 4]),
    /// Another telephone.
    Phone,
    /// All servers and printers, in turn.
    Watched,
    /// The maker's servers outside, which a closed network does not let it reach.
    Maker,
}

/// How often.
#[derive(Clone, Copy, Debug)]
enum Every {
    /// People: Pareto from this many seconds on, of this exponent.
    Think(f64, f64),
    /// A timer of so many seconds, with a jitter of this part.
    Timer(f64, f64),
}

/// One habit.
#[derive(Clone, Copy, Debug)]
struct Habit {
    to: To,
    service: (u8, u16),
    every: Every,
    hours: Hours,
    /// Median bytes there and back; sigma is 1 for people, 0.2 for timers.
    bytes: (f64, f64),
    /// Median seconds.
    lasts: f64,
}

const fn habit(
    to: To,
    service: (u8, u16),
    every: Every,
    hours: Hours,
    bytes: (f64, f64),
    lasts: f64,
) -> Habit {
    Habit { to, service, every, hours, bytes, lasts }
}

use Every::{Think, Timer};
use Hours::{Always, Office, Shifts};
use To::{Any, Group, Maker, Own, Watched, Web};

const PC: &[Habit] = &[
    habit(Own(Role::Directory), (UDP, 53), Think(500.0, 1.4), Shifts, (80.0, 160.0), 0.01),
    habit(Any(Role::App), (TCP, 443), Think(450.0, 1.3), Shifts, (6e3, 6e4), 20.0),
    habit(Any(Role::App), (TCP, 80), Think(1_500.0, 1.3), Shifts, (2e3, 3e4), 8.0),
    habit(Any(Role::Files), (TCP, 445), Think(900.0, 1.2), Shifts, (2e4, 2e5), 120.0),
    habit(Own(Role::Directory), (TCP, 389), Timer(5_400.0, 0.3), Always, (3e3, 8e3), 2.0),
    habit(Own(Role::Directory), (TCP, 88), Timer(7_200.0, 0.3), Always, (2e3, 2e3), 0.2),
    habit(Any(Role::Directory), (TCP, 445), Timer(6_000.0, 0.3), Always, (4e3, 2e4), 5.0),
    habit(Own(Role::Directory), (UDP, 123), Timer(3_600.0, 0.1), Always, (90.0, 90.0), 0.01),
    habit(Own(Role::Mail), (TCP, 443), Think(600.0, 1.3), Shifts, (4e3, 2e4), 60.0),
    habit(To::Printer, (TCP, 9100), Think(4_000.0, 1.2), Shifts, (2e5, 500.0), 10.0),
    habit(Own(Role::Updates), (TCP, 8530), Timer(14_400.0, 0.3), Always, (5e3, 5e4), 10.0),
    habit(Own(Role::Updates), (TCP, 8014), Timer(3_600.0, 0.2), Always, (2e3, 1e3), 1.0),
    habit(Web, (TCP, 443), Think(700.0, 1.1), Shifts, (5e3, 8e4), 30.0),
    habit(Maker, (TCP, 443), Timer(20_000.0, 0.5), Always, (4e3, 2e4), 5.0),
    habit(Group([224, 0, 0, 252]), (UDP, 5355), Think(3_600.0, 1.2), Shifts, (70.0, 0.0), 0.0),
    habit(Group([255, 255, 255, 255]), (UDP, 137), Think(4_800.0, 1.2), Shifts, (90.0, 0.0), 0.0),
];
const MONITOR: &[Habit] = &[
    habit(Own(Role::Central), (TCP, 24_105), Timer(14_000.0, 0.02), Always, (3e7, 3e5), 13_900.0),
    habit(Own(Role::Hl7), (TCP, 6661), Timer(1_800.0, 0.05), Always, (2e3, 400.0), 1.0),
    habit(Own(Role::Directory), (UDP, 123), Timer(1_024.0, 0.02), Always, (90.0, 90.0), 0.01),
    habit(Group([239, 192, 1, 1]), (UDP, 2050), Timer(1_800.0, 0.05), Always, (200.0, 0.0), 0.0),
];
const PUMP: &[Habit] = &[
    habit(Own(Role::Pumps), (TCP, 7001), Timer(600.0, 0.03), Always, (1_200.0, 600.0), 1.0),
    habit(Own(Role::Directory), (UDP, 53), Timer(3_600.0, 0.1), Always, (70.0, 120.0), 0.01),
    habit(Own(Role::Directory), (UDP, 123), Timer(3_600.0, 0.05), Always, (90.0, 90.0), 0.01),
];
const MODALITY: &[Habit] = &[
    habit(Own(Role::Hl7), (TCP, 2575), Timer(900.0, 0.02), Shifts, (1e3, 2e4), 1.0),
    habit(Own(Role::Pacs), (TCP, 104), Think(1_200.0, 1.3), Shifts, (8e7, 2e4), 60.0),
    habit(Own(Role::Pacs), (TCP, 11_112), Think(5_000.0, 1.3), Shifts, (4e3, 3e7), 30.0),
    habit(Own(Role::Directory), (UDP, 53), Timer(1_800.0, 0.2), Always, (70.0, 140.0), 0.01),
    habit(Own(Role::Directory), (UDP, 123), Timer(3_600.0, 0.1), Always, (90.0, 90.0), 0.01),
    habit(Any(Role::Files), (TCP, 445), Timer(20_000.0, 0.3), Shifts, (5e5, 3e4), 20.0),
];
const ANALYSER: &[Habit] = &[
    habit(Own(Role::Hl7), (TCP, 2575), Think(400.0, 1.4), Shifts, (2e3, 400.0), 2.0),
    habit(Own(Role::Directory), (UDP, 123), Timer(3_600.0, 0.1), Always, (90.0, 90.0), 0.01),
    habit(Any(Role::Files), (TCP, 445), Timer(43_200.0, 0.2), Always, (1e6, 3e4), 20.0),
];
const PRINTER: &[Habit] = &[
    habit(Own(Role::Directory), (UDP, 123), Timer(7_200.0, 0.1), Always, (90.0, 90.0), 0.01),
    habit(Any(Role::Files), (TCP, 445), Think(6_000.0, 1.3), Shifts, (2e6, 2e4), 10.0),
    habit(Own(Role::Mail), (TCP, 587), Think(20_000.0, 1.3), Office, (1e6, 3e3), 5.0),
    habit(Group([224, 0, 0, 251]), (UDP, 5353), Timer(3_600.0, 0.2), Always, (150.0, 0.0), 0.0),
    habit(Maker, (TCP, 443), Timer(80_000.0, 0.1), Always, (1e4, 1e4), 3.0),
];
const PHONE: &[Habit] = &[
    habit(Own(Role::Exchange), (UDP, 5060), Timer(1_200.0, 0.05), Always, (700.0, 600.0), 0.1),
    habit(To::Phone, (UDP, 16_384), Think(2_500.0, 1.2), Shifts, (2e6, 2e6), 150.0),
    habit(Own(Role::Directory), (UDP, 123), Timer(7_200.0, 0.1), Always, (90.0, 90.0), 0.01),
    habit(Own(Role::Exchange), (TCP, 443), Timer(86_400.0, 0.2), Always, (4e3, 3e5), 5.0),
];
const CAMERA: &[Habit] = &[
    habit(Own(Role::Video), (TCP, 554), Timer(14_400.0, 0.02), Always, (3e9, 3e6), 14_300.0),
    habit(Own(Role::Video), (TCP, 4050), Timer(900.0, 0.05), Always, (400.0, 300.0), 0.5),
    habit(Own(Role::Directory), (UDP, 123), Timer(3_600.0, 0.1), Always, (90.0, 90.0), 0.01),
];
const SERVER: &[Habit] = &[
    habit(Own(Role::Directory), (TCP, 389), Timer(3_600.0, 0.2), Always, (3e3, 8e3), 2.0),
    habit(Own(Role::Updates), (TCP, 8530), Timer(20_000.0, 0.3), Always, (5e3, 5e4), 10.0),
];
const WATCHER: &[Habit] = &[
    habit(Watched, (ICMP, 0), Timer(1_800.0, 0.0), Always, (84.0, 84.0), 0.01),
    habit(Watched, (UDP, 161), Timer(1_800.0, 0.0), Always, (300.0, 900.0), 0.5),
];

/// PCs of an office are at work by day; of so many of five is that true, the others are on round the clock.
const OFFICE_OF_FIVE: usize = 3;

/// How much hosts of a class do at that time, of the most that they ever do, 0 to 1: by their habits, and by who is switched on.
pub fn activity(class: Class, time: Time) -> f64 {
    let often = |habit: &Habit| match habit.every {
        Every::Think(seconds, _) | Every::Timer(seconds, _) => 1.0 / seconds,
    };
    let sum = |part: &dyn Fn(&Habit) -> f64| {
        habits(class).iter().map(|habit| often(habit) * part(habit)).sum::<f64>()
    };
    let busy = sum(&|habit| habit.hours.busy(time)) / sum(&|_| 1.0);
    if class == Class::Pc {
        let at_work = if Hours::Office.busy(time) < 1.0 { 0.0 } else { OFFICE_OF_FIVE as f64 / 5.0 };
        busy * (at_work + (5 - OFFICE_OF_FIVE) as f64 / 5.0)
    } else {
        busy
    }
}

fn habits(class: Class) -> &'static [Habit] {
    match class {
        Class::Pc => PC,
        Class::Monitor => MONITOR,
        Class::Pump => PUMP,
        Class::Modality => MODALITY,
        Class::Analyser => ANALYSER,
        Class::Printer => PRINTER,
        Class::Phone => PHONE,
        Class::Camera => CAMERA,
        Class::Server => SERVER,
        Class::Nms => WATCHER,
    }
}

impl World<'_> {
    /// Switches everybody on who is to be at the beginning; the others are when their day begins.
    pub fn open(&mut self) {
        for id in 0..self.site.hosts.len() {
            if self.is_office(id) {
                self.off(id);
                self.next_morning(id);
            } else {
                self.start(id, 1_800.0);
            }
        }
    }

    /// Whether a host is a PC of an office.
    fn is_office(&self, id: HostId) -> bool {
        id % 5 < OFFICE_OF_FIVE && self.site.hosts.get(id).is_some_and(|host| host.class == Class::Pc)
    }

    fn off(&mut self, id: HostId) {
        if let Some(host) = self.site.hosts.get_mut(id) {
            host.up = false;
        }
        if let Some(boot) = self.boots.get_mut(id) {
            *boot = boot.wrapping_add(1);
        }
    }

    /// Switches a host off for a while, ns, after which it starts anew.
    pub fn restart(&mut self, id: HostId, after: u64) {
        if self.site.hosts.get(id).is_some_and(|host| host.up) {
            self.off(id);
            self.at(self.now.plus(after), Item::Power { host: id as u32, on: true });
        }
    }

    fn next_morning(&mut self, id: HostId) {
        let begins = self.chance.between(7.3, 9.2);
        let mut morning = next_at(self.now.plus(HOUR), begins);
        while is_weekend(morning) {
            morning = morning.plus(DAY);
        }
        let shift = self.clock_shift;
        self.at(morning.minus(shift), Item::Power { host: id as u32, on: true });
    }

    pub(super) fn power(&mut self, id: HostId, on: bool) {
        if !on {
            self.off(id);
            return self.next_morning(id);
        }
        if let Some(host) = self.site.hosts.get_mut(id) {
            host.up = true;
        }
        self.start(id, 240.0);
        if self.is_office(id) {
            let ends = self.chance.between(16.8, 19.5);
            // Who works on a weekend leaves after some hours.
            let evening = if hour(self.now) < ends { next_at(self.now, ends) } else { self.now.plus(HOUR) };
            self.at(evening, Item::Power { host: id as u32, on: false });
        }
    }

    /// Everything a host does when it is switched on, spread over so many seconds.
    pub fn start(&mut self, id: HostId, spread: f64) {
        let Some(host) = self.site.hosts.get(id) else { return };
        let class = host.class;
        let boot = self.boots.get(id).copied().unwrap_or_default();
        if !matches!(class, Class::Server | Class::Nms) {
            self.ask_address(id);
        }
        for habit in 0..habits(class).len() as u8 {
            let after = ns(self.chance.between(1.0, spread));
            self.at(self.now.plus(after), Item::Habit { host: id as u32, habit, boot });
        }
    }

    /// Asks for an address by DHCP; the router passes the answer on.
    pub fn ask_address(&mut self, id: HostId) {
        let Some(host) = self.site.hosts.get(id).cloned() else { return };
        let vlan = self.vlan(host.segment);
        let router = self.site.segments.get(host.segment).map_or(host.ip, |segment| segment.router);
        let ask = Leg { vlan, ports: [host.port, CORE], macs: [host.mac, EVERYBODY], ttls: [64; 2] };
        let everybody: IpAddr = Ipv4Addr::BROADCAST.into();
        let id = |src, dst, sport, dport, port| FlowId {
            src,
            dst,
            sport,
            dport,
            proto: UDP,
            kind: Kind::Ip,
            vlan,
            port,
        };
        let nobody: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        self.frame(ask.seen(self.now, id(nobody, everybody, 68, 67, host.port), 0, false), Cause::Habit);
        let answer = Leg { macs: [self.site.router, host.mac], ..ask };
        self.frame(answer.seen(self.now, id(router, host.ip, 67, 68, CORE), 0, false), Cause::Habit);
    }

    /// Carries out a habit, and plans the next time.
    pub(super) fn habit(&mut self, host: HostId, habit: u8, boot: u16) {
        let Some(class) = self.site.hosts.get(host).map(|host| host.class) else { return };
        let Some(what) = habits(class).get(usize::from(habit)).copied() else { return };
        if self.boots.get(host) != Some(&boot) {
            return;
        }
        let busy = what.hours.busy(Time::at(self.now.ns() + self.clock_shift));
        let after = match what.every {
            Every::Think(least, alpha) => self.chance.pareto(least, alpha, 6.0 * 3_600.0) / busy.max(0.02),
            Every::Timer(every, jitter) => every * (1.0 + jitter * self.chance.between(-1.0, 1.0)),
        };
        // What takes up most of its time begins anew when it is over.
        let next = self.now.plus(ns(after.min(86_400.0)).max(SECOND));
        self.at(next, Item::Habit { host: host as u32, habit, boot });
        if matches!(what.every, Every::Timer(..)) && !self.chance.happens(busy) {
            return;
        }
        self.carry_out(host, &what, class);
    }

    fn carry_out(&mut self, host: HostId, what: &Habit, class: Class) {
        let to = match what.to {
            To::Own(role) => self.own(host, role),
            To::Any(role) => {
                let of = self.site.role(role);
                let rank = self.chance.zipf(of.len());
                of.get(rank).copied()
            }
            To::Printer => self.printer(host),
            To::Phone => {
                let phones = self.site.of(Class::Phone);
                let at = self.chance.below(phones.len());
                phones.get(at).copied().filter(|phone| *phone != host)
            }
            To::Web => return self.web(host, what),
            To::Maker => return self.maker(host, what, class),
            To::Watched => return self.watch(host, what),
            To::Group(group) => return self.shout(host, IpAddr::from(group), what.service.1, Cause::Habit),
        };
        if let Some(to) = to.and_then(|to| self.site.hosts.get(to)) {
            let to = to.ip;
            self.talk(host, to, what);
        }
    }

    fn talk(&mut self, from: HostId, to: IpAddr, what: &Habit) {
        let sigma = if matches!(what.every, Every::Think(..)) { 1.0 } else { 0.2 };
        let (up, down) = what.bytes;
        let up = self.chance.log_normal(up, sigma) as u64;
        let down = self.chance.log_normal(down.max(1.0), sigma) as u64;
        let lasts = if sigma < 1.0 { what.lasts } else { self.chance.log_normal(what.lasts, 0.8) };
        let (proto, port) = what.service;
        let lasts = ns(lasts.min(4.0 * 3_600.0));
        let big = up.max(down) > 50_000_000 && lasts < 30 * MINUTE;
        let news = if big { 5 * SECOND } else { 0 };
        self.begin(&Talk { from, to, proto, port, up, down, lasts, news, answer: None, cause: Cause::Habit });
    }

    /// A host's own server of a role; one time in fifty another one.
    fn own(&mut self, host: HostId, role: Role) -> Option<HostId> {
        let of = self.site.role(role);
        if of.len() > 1 && self.chance.happens(0.02) {
            return of.get(self.chance.below(of.len())).copied();
        }
        of.get(host % of.len().max(1)).copied()
    }

    /// Its own printer; one time in ten one of its neighbourhood.
    fn printer(&mut self, host: HostId) -> Option<HostId> {
        let printers = self.site.of(Class::Printer);
        let own = host * 7 % printers.len().max(1);
        let near = if self.chance.happens(0.1) { self.chance.below(4) } else { 0 };
        printers.get((own + near) % printers.len().max(1)).copied()
    }

    /// Most of the web is reached by the proxy; where it is not, by itself.
    fn web(&mut self, host: HostId, what: &Habit) {
        if self.site.open && host.is_multiple_of(3) {
            let rank = self.chance.zipf(3_000) as u32;
            let to = Ipv4Addr::from(0x2000_0000 + rank * 7_919);
            return self.talk(host, to.into(), what);
        }
        if let Some(proxy) = self.own(host, Role::Proxy).and_then(|to| self.site.hosts.get(to)) {
            let to = proxy.ip;
            self.talk(host, to, &Habit { service: (TCP, 3128), ..*what });
        }
    }

    /// One of a few hosts of the maker; three each day, by what names give today.
    fn maker(&mut self, host: HostId, what: &Habit, class: Class) {
        let of = class as u32 * 64 + (day(self.now) as u32 % 5) * 3 + self.chance.below(3) as u32;
        let to = Ipv4Addr::from(0x3400_0000 + of * 104_729 + (host % 2) as u32);
        self.talk(host, to.into(), what);
    }

    /// A round of all servers and printers, a few a second.
    fn watch(&mut self, host: HostId, what: &Habit) {
        if self.site.hosts.get(host).is_none_or(|host| host.role != Some(Role::Watcher)) {
            return;
        }
        let watched = [self.site.of(Class::Server), self.site.of(Class::Printer)].concat();
        let round = Round { host, what: *what, left: watched };
        self.play(self.now, Box::new(round));
    }
}

/// A watcher's round.
struct Round {
    host: HostId,
    what: Habit,
    left: Vec<HostId>,
}

impl super::world::Script for Round {
    fn step(&mut self, world: &mut World<'_>) -> Option<Time> {
        let at = self.left.pop()?;
        if let Some(to) = world.site.hosts.get(at).map(|host| host.ip) {
            world.talk(self.host, to, &self.what);
        }
        Some(world.now.plus(SECOND / 5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::calendar::{DAY, START};

    #[test]
    fn who_works_is_at_work_by_day() {
        let at = |class, day: u64, hour: u64| activity(class, START.plus(day * DAY + hour * HOUR));
        assert_eq!(at(Class::Camera, 0, 12), 1.0);
        assert_eq!(at(Class::Camera, 6, 3), 1.0);
        assert_eq!(at(Class::Pc, 0, 12), 1.0);
        assert!(at(Class::Pc, 6, 12) < 0.5, "on Sunday the offices are empty");
        assert!(at(Class::Pc, 0, 3) < at(Class::Pc, 6, 12), "and at night fewer do less");
        assert!(at(Class::Analyser, 0, 3) < at(Class::Analyser, 0, 12));
    }
}
