//! Who calls home, and who only keeps time.

use crate::*;

/// A number from 0 to 1 that looks like chance, the same each time.
fn chance(n: u64) -> f64 {
    (n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33) as f64
        / 2_147_483_648.0
}

const MINUTE: u64 = 60 * SECOND;

/// Lets host n call a host by the MAC address of m, `times` times, every so many ns with that much jitter (0 to 1).
fn call(lan: &mut Lan, (n, m): (u8, u8), server: IpAddr, port: u16, times: u64, (every, jitter): (u64, f64)) {
    for turn in 0..times {
        lan.session((n, m), server, port, (700, 480), 300 * MILLISECOND);
        let wait = every as f64 * (1.0 + jitter * (2.0 * chance(turn) - 1.0));
        lan.pass(wait as u64);
    }
}

#[test]
fn even_calls_to_a_rare_host_outside_are_told() {
    let home = ip("203.0.113.9");
    for (name, every, jitter) in [
        ("every minute", MINUTE, 0.0),
        ("with a tenth of jitter", MINUTE, 0.1),
        ("with three tenths", MINUTE, 0.3),
        ("every five minutes", 5 * MINUTE, 0.1),
        ("every five seconds", 5 * SECOND, 0.1),
    ] {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        call(&mut lan, (66, 1), home, 443, 40, (every, jitter));
        assert_eq!(lan.alerts(), [("beacon", 3, 66)], "{name}");
        assert_eq!(lan.isolated(), [], "{name}");
    }
}

#[test]
fn once_the_network_is_known_a_new_beacon_weighs_more() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.session((4, 1), ip("203.0.113.1"), 443, (700, 480), SECOND);
    lan.pass(25 * HOUR);
    call(&mut lan, (66, 1), ip("203.0.113.9"), 443, 40, (MINUTE, 0.1));
    assert_eq!(lan.alerts(), [("beacon", 3, 66), ("beacon", 2, 66)]);
    call(&mut lan, (67, 2), host(2), 4444, 40, (MINUTE, 0.1));
    assert_eq!(lan.alerts().last(), Some(&("beacon", 3, 67)), "a relay inside");
}

#[test]
fn those_who_keep_time_by_trade_are_left_alone() {
    let outside = ip("203.0.113.9");
    let cases: [(&str, IpAddr, u16); 4] = [
        ("a monitor and its station", host(2), 2575),
        ("a pump and its server", host(2), 8888),
        ("time", outside, 123),
        ("names", outside, 53),
    ];
    for (name, server, port) in cases {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        call(&mut lan, (66, 2), server, port, 60, (30 * SECOND, 0.0));
        assert_eq!(lan.alerts(), [], "{name}");
    }
}

#[test]
fn what_many_call_is_no_beacon() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for _ in 0..60 {
        for n in 20..25 {
            lan.session((n, 1), ip("203.0.113.9"), 443, (700, 480), 300 * MILLISECOND);
        }
        lan.pass(MINUTE);
    }
    assert_eq!(lan.alerts(), [], "an update server of all");
}

#[test]
fn a_person_is_no_beacon() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for n in 0..120 {
        let size = (500 + (chance(n) * 4_000.0) as u64, 900);
        lan.session((66, 1), ip("203.0.113.9"), 443, size, 300 * MILLISECOND);
        // Think times with a heavy tail (Pareto).
        let wait = 2.0 / (1.0 - 0.99 * chance(n + 1_000)).powf(1.2);
        lan.pass((wait * SECOND as f64) as u64);
    }
    assert_eq!(lan.alerts(), []);
}

#[test]
fn who_calls_in_evenly_is_none_of_ours() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    let caller = ip("203.0.113.9");
    for n in 0..60 {
        let first = lan.now;
        lan.see((mac(1), mac(10)), (caller, host(10)), (30_000 + n, 443), TCP, SYN);
        lan.see((mac(10), mac(1)), (host(10), caller), (443, 30_000 + n), TCP, SYN_ACK);
        lan.pass(SECOND);
        lan.went((caller, host(10)), (30_000 + n, 443), first, 700, true);
        lan.went((host(10), caller), (443, 30_000 + n), first, 480, true);
        lan.pass(MINUTE);
    }
    assert_eq!(lan.alerts(), []);
}

#[test]
fn many_hosts_outside_on_a_port_of_their_own_are_a_swarm() {
    for (name, port, want) in [
        ("a bot", 16_464, vec![("swarm", 3, 66)]),
        ("video calls", 3_478, vec![]),
        ("time servers", 123, vec![]),
    ] {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        for n in 0..80 {
            let peer = ip(&format!("203.0.113.{}", n + 1));
            lan.see((mac(66), mac(1)), (host(66), peer), (1_187, port), UDP, 0);
            lan.see((mac(1), mac(66)), (peer, host(66)), (port, 1_187), UDP, 0);
            lan.pass(SECOND);
        }
        assert_eq!(lan.alerts(), want, "{name}");
    }
}

#[test]
fn a_night_in_which_the_device_is_off_hides_no_beacon_and_makes_none() {
    let home = ip("203.0.113.9");
    // Six calls in the evening and ten in the morning: as many as without the night.
    for (pause, told) in [(0, true), (14 * HOUR, true), (HOUR, false)] {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        call(&mut lan, (66, 1), home, 443, 6, (5 * MINUTE, 0.1));
        lan.pass(pause);
        call(&mut lan, (66, 1), home, 443, 12, (5 * MINUTE, 0.1));
        assert_eq!(!lan.alerts().is_empty(), told, "{} min", pause / MINUTE);
    }
    // A person who looks something up a few times an hour, whose page asks again each half minute, four times.
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for visit in 0..16 {
        call(&mut lan, (66, 1), home, 443, 4, (30 * SECOND, 0.0));
        lan.pass((10 + visit * 7 % 23) * MINUTE);
        if visit % 6 == 5 {
            lan.pass(14 * HOUR);
        }
    }
    assert_eq!(lan.alerts(), []);
}

#[test]
fn a_beacon_lasts_without_its_pauses() {
    let home = ip("203.0.113.9");
    for (name, bursts, times, every, severity) in [
        ("tries at each of three logins", 3, 8, 30 * SECOND, 3),
        ("the same for longer", 3, 24, 30 * SECOND, 2),
        ("every three hours", 1, 40, 3 * HOUR, 2),
    ] {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        lan.session((4, 1), ip("203.0.113.1"), 443, (700, 480), SECOND);
        lan.pass(25 * HOUR);
        for _ in 0..bursts {
            call(&mut lan, (66, 1), home, 443, times, (every, 0.05));
            lan.pass(14 * HOUR);
        }
        assert_eq!(lan.alerts().last(), Some(&("beacon", severity, 66)), "{name}");
    }
}
