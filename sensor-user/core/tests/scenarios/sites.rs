//! What simulated sites showed: harmless things that were called, and what is called all the same.

use sensor_core::time::MINUTE;

use super::*;

#[test]
fn a_dhcp_server_that_answers_a_boot_storm_is_no_fan_out() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=200);
    for n in 1..=200 {
        lan.see((mac(254), mac(n)), (host(254), host(n)), (67, 68), UDP, 0);
        lan.pass(10 * MILLISECOND);
    }
    assert_eq!(lan.alerts(), []);
}

#[test]
fn drives_of_old_servers_are_no_lateral_movement() {
    for (dead, living, want) in [(6, 0, 0), (7, 0, 1), (0, 3, 0), (0, 4, 1), (2, 2, 0), (2, 3, 1)] {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=50);
        for m in (100..100 + dead).chain(20..20 + living) {
            lan.tcp(5, m, 445, (m < 100).then_some(SYN_ACK));
            lan.pass(SECOND);
        }
        let called = lan.alerts().iter().filter(|(detector, ..)| *detector == "lateral").count();
        assert_eq!(called, want, "{dead} dead, {living} living: {:?}", lan.alerts());
    }
}

/// Whom nobody heard before lives all the same if he answers.
#[test]
fn a_worm_that_meets_strangers_who_answer_is_lateral_movement() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=50);
    for m in 100..104 {
        assert_eq!(lan.alerts(), [], "before {m}");
        lan.tcp(5, m, 445, Some(SYN_ACK));
        lan.pass(SECOND);
    }
    assert_eq!(lan.alerts(), [("lateral", 1, 5)]);
}

/// The morning on which a PC met its file servers says nothing of whom it may meet later; that it looks around on its own does.
#[test]
fn servers_that_became_common_raise_no_limit() {
    for (clients, want) in [(1..=3, 1), (1..=1, 0)] {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=50);
        for pc in clients {
            for server in [40, 41, 42] {
                lan.tcp(pc, server, 445, Some(SYN_ACK));
            }
            lan.pass(5 * MINUTE);
        }
        for victim in [20, 21, 22, 23] {
            lan.tcp(1, victim, 445, Some(SYN_ACK));
            lan.pass(SECOND);
        }
        let called = lan.alerts().iter().filter(|(detector, ..)| *detector == "lateral").count();
        assert_eq!(called, want, "{:?}", lan.alerts());
    }
}

#[test]
fn new_monitors_that_stream_like_the_others_are_no_exfiltration() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=50);
    let stream = |lan: &mut Lan, n: u8, bytes: u64| {
        lan.session((n, 60), host(60), 24_105, (bytes, bytes / 100), MINUTE);
    };
    for n in 1..=3 {
        stream(&mut lan, n, 20_000_000);
    }
    lan.pass(30 * HOUR);
    stream(&mut lan, 4, 900_000_000);
    assert_eq!(lan.alerts(), [], "the fourth of its kind");
    lan.session((5, 61), host(61), 24_105, (900_000_000, 9_000), MINUTE);
    assert_eq!(lan.alerts(), [("exfil", 3, 5)], "to somebody nobody sends to");
}

#[test]
fn on_a_closed_network_the_web_that_nobody_reaches_is_told_of_thrice() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=50);
    for n in 1..=8 {
        for far in 1..=16_u8 {
            let (ips, sport) = ((host(n), ip(&format!("203.0.113.{far}"))), 40_000 + u16::from(far));
            lan.see((mac(n), mac(254)), ips, (sport, 443), TCP, SYN);
            lan.pass(5 * SECOND);
        }
    }
    assert_eq!(lan.alerts(), [("scan", 3, 1), ("scan", 3, 2), ("scan", 3, 3)]);
}

/// Host 5 asks by ARP for so many addresses that nobody has, four a second.
fn asks_for(lan: &mut Lan, dead: u8) {
    for m in 150..150 + dead {
        lan.arp(5, m);
        lan.pass(SECOND / 4);
    }
}

#[test]
fn who_asks_for_dead_peers_is_cut_off_by_the_tenth_only_once_all_is_settled() {
    // Device and sensor were there so long; dead peers asked for; whether it is cut off.
    for (hours, dead, want) in [(1, 19, false), (1, 20, true), (25, 9, false), (25, 10, true)] {
        let mut lan = Lan::new(decisive());
        lan.populate(1..=50);
        lan.tcp(5, 6, 8080, Some(SYN_ACK));
        lan.pass(hours * HOUR);
        asks_for(&mut lan, dead);
        assert_eq!(!lan.isolated().is_empty(), want, "{hours} h, {dead}: {:?}", lan.alerts());
    }
}

#[test]
fn a_station_that_asks_for_its_absent_beds_every_day_is_no_scanner() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=50);
    lan.tcp(5, 6, 8080, Some(SYN_ACK));
    for _ in 0..5 {
        asks_for(&mut lan, 15);
        lan.pass(20 * HOUR);
    }
    assert_eq!(lan.isolated(), []);
    // A device that came later is not settled, though the sensor is.
    lan.arp(60, 1);
    lan.tcp(60, 6, 8080, Some(SYN_ACK));
    for m in 150..165 {
        lan.arp(60, m);
        lan.pass(SECOND / 4);
    }
    assert_eq!(lan.isolated(), [], "{:?}", lan.alerts());
}
