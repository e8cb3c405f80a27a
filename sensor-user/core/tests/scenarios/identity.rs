//! Another machine under a known MAC address, and what only looks like one.

use sensor_core::settings::Off;
use sensor_core::time::MINUTE;

use crate::*;

const DAY: u64 = 24 * HOUR;

impl Lan {
    /// Host n, by that address, opens a connection with host 1 from a system that starts with this time to live.
    fn open(&mut self, n: u8, own: IpAddr, ttl: u8) {
        self.sport += 1;
        let sport = self.sport;
        self.see_as((mac(n), mac(1)), (own, host(1)), (sport, 443), TCP, SYN, Verdict::Pass, ttl);
        self.see((mac(1), mac(n)), (host(1), own), (443, sport), TCP, SYN_ACK);
        self.pass(20 * SECOND);
    }

    /// Two days of host n with that time to live.
    fn settle(&mut self, n: u8, ttl: u8) {
        for _ in 0..48 {
            self.open(n, host(n), ttl);
            self.pass(HOUR);
        }
    }

    fn identities(&self) -> Vec<(&'static str, u8, u8)> {
        self.alerts().into_iter().filter(|(detector, ..)| *detector == "identity").collect()
    }
}

fn lan() -> Lan {
    let detectors_off = [("beacon", Off::Everywhere)].into();
    let mut lan = Lan::new(Settings { isolate_severity: 3, detectors_off, ..enforcing() });
    lan.populate(1..=10);
    lan.settle(9, 64);
    lan
}

#[test]
fn two_systems_in_turns_under_one_address_are_told() {
    let mut lan = lan();
    for _ in 0..10 {
        lan.open(9, host(9), 128);
        lan.open(9, host(9), 64);
    }
    assert_eq!(lan.identities(), [("identity", 2, 9)]);
    assert_eq!(lan.isolated(), []);
}

#[test]
fn another_system_that_came_to_another_port_is_told() {
    let mut lan = lan();
    lan.pass(HOUR);
    lan.place = (2, 0);
    for _ in 0..5 {
        lan.open(9, host(9), 128);
    }
    assert_eq!(lan.identities(), [("identity", 3, 9)]);
}

#[test]
fn a_port_that_has_another_number_after_a_boot_is_no_move() {
    let mut lan = lan();
    lan.pass(HOUR);
    for (mut next, told) in [(lan.next(), &[("identity", 3, 9)][..]), (lan.rebooted(MINUTE), &[])] {
        next.place = (2, 0);
        for _ in 0..5 {
            next.open(9, host(9), 128);
        }
        assert_eq!(next.identities(), told);
    }
}

#[test]
fn a_service_that_used_to_refuse_and_answers_is_told() {
    for (name, before, pause, told) in [
        ("closed for days", Some(RST_ACK), 2 * DAY, true),
        ("it only started late", Some(RST_ACK), MINUTE, false),
        ("it was never asked", None, 2 * DAY, false),
        ("it restarts now and then", Some(SYN_ACK), 2 * DAY, false),
    ] {
        let mut lan = lan();
        if let Some(flags) = before {
            lan.tcp(3, 9, 3389, Some(flags));
        }
        lan.pass(pause);
        lan.tcp(4, 9, 3389, Some(SYN_ACK));
        let want = if told { &[("identity", 3, 9)][..] } else { &[] };
        assert_eq!(lan.identities(), want, "{name}");
    }
}

#[test]
fn twins_that_only_look_like_another_machine_are_left_alone() {
    // (what happens, the frames that follow: address, time to live, pause before)
    type Frames = Vec<(IpAddr, u8, u64)>;
    let own = host(9);
    let days = |of: &dyn Fn(u64) -> u8| -> Frames { (0..10).map(|day| (own, of(day), DAY)).collect() };
    let cases: [(&str, Frames); 6] = [
        ("two systems on one disk", days(&|day| if day % 2 == 0 { 128 } else { 64 })),
        ("a new system was installed", days(&|_| 128)),
        (
            "a machine within, by Wi-Fi",
            (0..20).map(|n| if n % 2 == 0 { (own, 64, SECOND) } else { (host(90), 128, SECOND) }).collect(),
        ),
        (
            "a machine within, behind the host",
            (0..20).map(|n| (own, if n % 2 == 0 { 64 } else { 127 }, SECOND)).collect(),
        ),
        ("a trace of the route", (1..31).map(|ttl| (own, ttl, SECOND)).collect()),
        ("another lease", (0..20).map(|_| (host(91), 64, SECOND)).collect()),
    ];
    for (name, frames) in cases {
        let mut lan = lan();
        for (address, ttl, pause) in frames {
            lan.pass(pause);
            lan.open(9, address, ttl);
        }
        assert_eq!(lan.identities(), [], "{name}");
    }
}
