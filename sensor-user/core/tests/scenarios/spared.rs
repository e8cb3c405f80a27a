//! Who is left alone.

use crate::*;

#[test]
fn silence_says_nothing_when_answers_were_lost() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=20);
    lan.arp(66, 1);
    for m in 100..130 {
        lan.tcp(66, m, 8080, None);
    }
    lan.engine.lost_sight(lan.now.plus(1));
    lan.pass(10 * SECOND);
    assert_eq!(lan.isolated(), []);
    for m in 140..160 {
        lan.tcp(66, m, 8080, None);
    }
    lan.pass(SECOND);
    assert_eq!(lan.isolated(), [66], "sight is back");
}

#[test]
fn a_busy_server_is_left_alone() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=200);
    for m in 1..=200u8 {
        // One in five is switched off, or says no.
        let answer = match m % 10 {
            0 => None,
            5 => Some(RST_ACK),
            _ => Some(SYN_ACK),
        };
        lan.tcp(250, m, 9100, answer);
        lan.pass(20 * MILLISECOND);
    }
    lan.pass(10 * SECOND);
    assert_eq!(lan.isolated(), [], "{:?}", lan.out.events.last());
}

#[test]
fn retries_of_one_dead_host_are_no_scan() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for _ in 0..500 {
        lan.tcp(3, 99, 104, None);
        lan.pass(SECOND);
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn unanswered_udp_to_living_hosts_says_nothing() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=60);
    for m in 2..=60 {
        lan.see((mac(1), mac(m)), (host(1), host(m)), (514, 514), UDP, 0);
        lan.pass(SECOND);
    }
    lan.pass(10 * SECOND);
    assert_eq!(lan.isolated(), []);
}

#[test]
fn file_servers_everybody_uses_are_no_lateral_movement() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=50);
    // Six servers, used by three PCs one at a time over the morning.
    for pc in [20, 21, 22] {
        for server in 1..=6 {
            lan.tcp(pc, server, 445, Some(SYN_ACK));
            lan.pass(5 * 60 * SECOND);
        }
    }
    for server in 1..=6 {
        lan.tcp(30, server, 445, Some(SYN_ACK));
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn gateways_and_the_protected_are_never_cut_off() {
    let named = Settings { gateways: [mac(66)].into(), ..enforcing() };
    let listed = Settings { protected: [Target::Mac(mac(66))].into(), ..enforcing() };
    let by_ip = Settings { protected: [Target::Ip(host(66))].into(), ..enforcing() };
    let by_net = Settings { protected_nets: vec!["10.0.0.64/29".parse().unwrap()], ..enforcing() };
    for (name, settings, want) in [
        ("a named gateway", named, Action::Gateway),
        ("a listed MAC", listed, Action::Protected),
        ("a listed address", by_ip, Action::Protected),
        ("a listed network", by_net, Action::Protected),
    ] {
        let mut lan = Lan::new(settings);
        lan.populate(1..=5);
        lan.arp(66, 1);
        lan.sweep();
        assert_eq!(lan.isolated(), [], "{name}");
        assert!(lan.actions().contains(&want), "{name}: {:?}", lan.actions());
        assert_eq!(lan.cut(), [], "{name}");
    }
}

#[test]
fn nobody_can_have_a_remote_server_cut_off_by_borrowing_its_address() {
    let mut lan = Lan::new(Settings { gateways: [mac(77)].into(), ..enforcing() });
    lan.populate(1..=5);
    let server = ip("10.9.0.5");
    lan.see_as((mac(77), mac(2)), (server, host(2)), (443, 40_000), TCP, SYN_ACK, Verdict::Pass, 63);
    for m in 100..130 {
        lan.see((mac(66), mac(m)), (server, host(m)), (50_000, 8080), TCP, SYN);
        lan.pass(60 * MILLISECOND);
    }
    // And one nobody ever heard of.
    for m in 100..130 {
        lan.see((mac(66), mac(m)), (ip("10.9.0.9"), host(m)), (50_000, 8081), TCP, SYN);
        lan.pass(60 * MILLISECOND);
    }
    lan.pass(2 * SECOND);
    assert_eq!(lan.cut(), []);
}

#[test]
fn a_box_that_answers_arp_for_others_is_not_cut_for_what_they_do() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(77, 1);
    let client = ip("10.0.0.200");
    lan.see((mac(77), mac(2)), (client, host(2)), (2, 0), 0, 0);
    lan.see_as((mac(77), mac(2)), (client, host(2)), (40_000, 80), TCP, SYN, Verdict::Pass, 63);
    lan.see((mac(2), mac(77)), (host(2), client), (80, 40_000), TCP, SYN_ACK);
    for m in 100..130 {
        lan.see_as((mac(77), mac(m)), (client, host(m)), (50_000, 8080), TCP, SYN, Verdict::Pass, 63);
        lan.pass(60 * MILLISECOND);
    }
    lan.pass(2 * SECOND);
    assert_eq!(lan.cut(), [Target::Ip(client)]);
}

#[test]
fn slow_answers_from_afar_are_answers() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for m in 100..140 {
        let far = ip(&format!("10.9.0.{m}"));
        lan.see((mac(3), mac(77)), (host(3), far), (40_000, 104), TCP, SYN);
        lan.pass(300 * MILLISECOND);
        lan.see((mac(77), mac(3)), (far, host(3)), (104, 40_000), TCP, SYN_ACK);
        lan.pass(5 * SECOND);
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn hosts_found_switched_off_over_a_shift_are_no_scan() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for m in 100..120 {
        lan.tcp(3, m, 104, None);
        lan.pass(60 * SECOND);
    }
    assert_eq!(lan.isolated(), []);
}

#[test]
fn what_was_under_way_when_the_sensor_started_is_no_lateral_movement() {
    let mut lan = Lan::new(enforcing());
    for m in 10..20 {
        lan.see((mac(3), mac(m)), (host(3), host(m)), (50_000, 445), TCP, 0x18);
        lan.pass(SECOND);
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn an_address_two_devices_use_is_never_cut_off() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    // Host 66 borrows the address of host 3, with its own MAC, and is loud.
    for m in 100..130 {
        lan.see((mac(66), mac(m)), (host(3), host(m)), (50_000, 445), TCP, SYN);
        lan.pass(60 * MILLISECOND);
    }
    assert!(!lan.cut().contains(&Target::Ip(host(3))), "{:?}", lan.cut());
    assert!(!lan.cut().contains(&Target::Mac(mac(3))), "{:?}", lan.cut());
}

#[test]
fn a_monitoring_station_is_usual_to_itself() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=90);
    for _ in 0..10 {
        for m in 1..=90 {
            lan.tcp(250, m, 161, Some(SYN_ACK));
        }
        lan.pass(61 * SECOND);
    }
    assert_eq!(lan.actions(), []);
}

/// Who is started first finds services that are not there yet.
#[test]
fn a_host_that_was_refused_first_is_an_end_host_as_soon_as_it_is_answered() {
    let swept = |later: u8| {
        let mut lan = Lan::new(decisive());
        lan.populate(1..=20);
        for answer in [RST_ACK, later] {
            lan.tcp(7, 1, 80, Some(answer));
            lan.pass(SECOND);
        }
        for m in 100..130 {
            lan.arp(7, m);
            lan.pass(5 * MILLISECOND);
        }
        lan.pass(SECOND);
        (lan.alerts(), lan.isolated())
    };
    assert_eq!(swept(RST_ACK), (vec![("scan", 2, 7)], vec![]));
    assert_eq!(swept(SYN_ACK), (vec![("scan", 2, 7), ("scan", 1, 7)], vec![7]));
}
