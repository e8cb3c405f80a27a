//! Servers that die, and scans of what never lived: who is blamed for first contacts that fail.

use sensor_core::time::MINUTE;

use std::collections::BTreeMap;

use sensor_core::datapath;

use crate::*;

const PORT: u16 = 8000;
const ICMP6: u8 = 58;

/// Twelve servers that three clients used, and that then were silent for so long.
fn farm(silent_ns: u64) -> Lan {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=60);
    for client in 20..=22 {
        for server in 1..=12 {
            lan.tcp(client, server, PORT, Some(SYN_ACK));
            lan.pass(SECOND);
        }
    }
    lan.pass(silent_ns);
    lan
}

/// The devices that were called so far.
fn called(lan: &Lan) -> Vec<u8> {
    let mut called: Vec<_> = lan.alerts().into_iter().map(|(_, _, device)| device).collect();
    called.sort_unstable();
    called.dedup();
    called
}

#[test]
fn dead_servers_make_no_scanners_of_their_clients() {
    for (name, answer, silent_ns, alerts) in [
        ("silent since a moment", None, 10 * SECOND, 2),
        ("refusing", Some(RST_ACK), 10 * SECOND, 2),
        ("off since a while", None, 10 * MINUTE, 0),
    ] {
        let mut lan = farm(silent_ns);
        for client in 30..=45 {
            for server in 1..=12 {
                lan.tcp(client, server, PORT, answer);
                lan.pass(20 * MILLISECOND);
            }
            lan.pass(2 * SECOND);
        }
        assert_eq!(lan.isolated(), [], "{name}");
        assert!(called(&lan).len() <= alerts, "{name}: {:?}", lan.alerts());
    }
}

#[test]
fn services_that_died_on_one_host_are_no_port_scan() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=60);
    for client in 20..=22 {
        for port in 9000..9030 {
            lan.tcp(client, 5, port, Some(SYN_ACK));
        }
    }
    lan.pass(10 * SECOND);
    for client in 30..=40 {
        for port in 9000..9030 {
            lan.tcp(client, 5, port, Some(RST_ACK));
        }
        lan.pass(2 * SECOND);
    }
    assert_eq!(lan.isolated(), []);
    assert!(called(&lan).len() <= 2, "{:?}", lan.alerts());
}

#[test]
fn scanners_do_not_excuse_each_other() {
    let settings = Settings { budget: 10, budget_share: 1.0, ..enforcing() };
    let mut lan = Lan::new(settings);
    lan.populate(1..=60);
    for server in 1..=12 {
        lan.tcp(20, server, PORT, Some(SYN_ACK));
    }
    lan.pass(10 * SECOND);
    // They live, but never answered on this port.
    for worm in [61, 62, 63, 64] {
        lan.arp(worm, 1);
        for m in 1..=15 {
            lan.tcp(worm, m, 8081, None);
            lan.pass(20 * MILLISECOND);
        }
        lan.pass(2 * SECOND);
    }
    assert_eq!(lan.isolated(), [61, 62, 63, 64]);
}

#[test]
fn who_alone_is_not_answered_is_blamed() {
    let mut lan = farm(10 * SECOND);
    lan.arp(66, 1);
    for server in 1..=12 {
        lan.tcp(66, server, PORT, None);
        // Somebody who uses it since long is answered meanwhile.
        lan.tcp(20, server, PORT, Some(SYN_ACK));
        lan.pass(20 * MILLISECOND);
    }
    lan.pass(2 * SECOND);
    assert_eq!(lan.isolated(), [66]);
}

impl Lan {
    /// Host n asks for the IPv6 address of m by neighbour solicitation, and is answered if m is there.
    fn look_for(&mut self, n: u8, m: u8, there: bool) {
        let (own, other) = (ip(&format!("fd00::{n:x}")), ip(&format!("fd00::{m:x}")));
        let group = ip(&format!("ff02::1:ff00:{m:x}"));
        let to = Mac([0x33, 0x33, 0xff, 0, 0, m]);
        self.see_as((mac(n), to), (own, group), (135 << 8, 0), ICMP6, 0, Verdict::Pass, 255);
        self.pass(MILLISECOND);
        if there {
            self.see_as((mac(m), mac(n)), (other, own), (136 << 8, 0), ICMP6, 0, Verdict::Pass, 255);
        }
    }
}

#[test]
fn a_sweep_by_neighbour_solicitation_is_told_and_isolates_nobody() {
    for (name, living, pause, want) in [
        ("nobody is there", 0, 20 * MILLISECOND, &[("scan", 2, 66)][..]),
        ("all are there", 255, 20 * MILLISECOND, &[]),
        ("over an hour", 0, 2 * MINUTE, &[]),
    ] {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        lan.arp(66, 1);
        for m in 100..130u8 {
            lan.look_for(66, m, m < living);
            lan.pass(pause);
        }
        lan.pass(5 * SECOND);
        assert_eq!(lan.alerts(), want, "{name}");
        assert_eq!(lan.isolated(), [], "{name}");
    }
}

#[test]
fn neighbours_that_went_to_sleep_are_no_sweep() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for m in 100..130u8 {
        lan.look_for(3, m, true);
    }
    lan.pass(10 * MINUTE);
    for m in 100..130u8 {
        lan.look_for(4, m, false);
    }
    lan.pass(5 * SECOND);
    assert_eq!(lan.alerts(), []);
}

#[test]
fn a_udp_sweep_of_addresses_nobody_has_is_told() {
    for (name, one_port, pause, want) in [
        ("one port", true, 20 * MILLISECOND, &[("scan", 2, 66)][..]),
        ("the candidates of a video call", false, 20 * MILLISECOND, &[]),
        ("one port, over an hour", true, 2 * MINUTE, &[]),
    ] {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        lan.arp(66, 1);
        for m in 100..130u8 {
            let (far, port) =
                (ip(&format!("10.7.0.{m}")), if one_port { 161 } else { 30_000 + u16::from(m) });
            lan.see((mac(66), mac(1)), (host(66), far), (50_000, port), UDP, 0);
            lan.pass(pause);
        }
        lan.pass(5 * SECOND);
        assert_eq!(lan.alerts(), want, "{name}");
        assert_eq!(lan.isolated(), [], "{name}");
    }
}

#[test]
fn who_probes_from_outside_is_blamed_and_never_the_probed() {
    let router = 77;
    for (name, answer) in [("silent", None), ("refused", Some(RST_ACK))] {
        let mut lan = Lan::new(Settings { gateways: [mac(router)].into(), ..enforcing() });
        lan.populate(1..=50);
        let far = ip("203.0.113.9");
        for m in 2..40 {
            lan.sport += 1;
            let sport = lan.sport;
            lan.see_as((mac(router), mac(m)), (far, host(m)), (sport, 22), TCP, SYN, Verdict::Pass, 50);
            if let Some(flags) = answer {
                lan.see((mac(m), mac(router)), (host(m), far), (22, sport), TCP, flags);
            }
            lan.pass(30 * MILLISECOND);
        }
        lan.pass(5 * SECOND);
        let alerts = lan.out.events.iter().filter_map(|timed| match &timed.event {
            Event::Alert(alert) => Some((alert.signature, alert.device.ips.clone())),
            _ => None,
        });
        let alerts: Vec<_> = alerts.collect();
        assert!(!alerts.is_empty(), "{name}");
        for (signature, ips) in alerts {
            assert!(signature.starts_with("intrusion attempt from outside: "), "{name}: {signature}");
            assert_eq!(ips, [far], "{name}");
        }
        assert!(lan.cut().iter().all(|target| *target == Target::Ip(far)), "{name}: {:?}", lan.cut());
    }
}

#[test]
fn what_a_host_asked_for_while_flows_were_lost_is_held_against_its_usual() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=9);
    let counted = |lan: &mut Lan, ip: u8, at: u8, count: u32| {
        let (since, told) = (lan.now, lan.out.events.len());
        lan.pass(10 * SECOND);
        let counts = BTreeMap::from([(datapath::host(host(ip), mac(at), 1), count), (7, 5_000)]);
        lan.engine.reached(&counts, since, lan.now, &mut lan.out);
        lan.out
            .events
            .get(told..)
            .unwrap_or_default()
            .iter()
            .any(|timed| matches!(timed.event, Event::Alert(_)))
    };
    // Four floors of 25 are too few, as long as nothing is learned of it.
    assert!(!counted(&mut lan, 3, 3, 100));
    // Its address at another's place is not its own.
    assert!(!counted(&mut lan, 3, 4, 101));
    assert!(counted(&mut lan, 3, 3, 101));
    assert_eq!(lan.alerts(), [("fanout", 2, 3)]);
    assert_eq!((lan.isolated(), lan.cut()), (vec![], vec![]));
}

/// PCs 1 to 10 work with the servers 101 and 102; then PCs 1 to 3 ask these servers and see no answer.
fn half_heard(servers: &[u8]) -> Lan {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=120);
    for pc in 1..=10 {
        lan.tcp(pc, 101, 443, Some(SYN_ACK));
        lan.tcp(pc, 102, 445, Some(SYN_ACK));
        lan.pass(SECOND);
    }
    for (pc, server) in (1..=3).zip(servers.iter().cycle()) {
        lan.tcp(pc, *server, if *server == 101 { 443 } else { 445 }, None);
        lan.pass(SECOND);
    }
    lan
}

/// PC 5 turns to fifteen others and sees no answer.
fn turns_to_fifteen(lan: &mut Lan) {
    for m in 40..55 {
        lan.tcp(5, m, 5357, None);
        lan.pass(SECOND);
    }
    lan.pass(2 * SECOND);
}

#[test]
fn where_nobody_sees_answers_silence_says_nothing() {
    let mut lan = half_heard(&[101, 102]);
    lan.arp(7, 8);
    lan.see((mac(8), mac(7)), (host(8), host(7)), (2, 0), 0, 0);
    turns_to_fifteen(&mut lan);
    assert_eq!(lan.alerts(), [], "answers go another way, but for those by ARP");

    let mut lan = half_heard(&[101]);
    turns_to_fifteen(&mut lan);
    assert_eq!(lan.isolated(), [5], "one server died");

    let mut lan = half_heard(&[101, 102]);
    lan.tcp(7, 101, 443, Some(SYN_ACK));
    turns_to_fifteen(&mut lan);
    assert_eq!(lan.isolated(), [5], "somebody is answered again");

    let mut lan = half_heard(&[101, 102]);
    lan.place = (1, 7);
    turns_to_fifteen(&mut lan);
    assert_eq!(lan.isolated(), [5], "it is another VLAN that is deaf");

    let mut lan = half_heard(&[101, 102]);
    lan.place = (2, 0);
    lan.tcp(7, 101, 443, Some(SYN_ACK));
    lan.place = (1, 0);
    turns_to_fifteen(&mut lan);
    assert_eq!(lan.alerts(), [], "one port of a VLAN is deaf");

    let mut lan = half_heard(&[]);
    for (pc, server, port) in [(1, 101, 443), (2, 102, 445), (3, 101, 443)] {
        let macs = (mac(pc), mac(server));
        lan.see_as(macs, (host(pc), host(server)), (50_000, port), TCP, SYN, Verdict::Drop, 64);
        lan.pass(SECOND);
    }
    turns_to_fifteen(&mut lan);
    assert_eq!(lan.isolated(), [5], "what is dropped is answered by nobody anywhere");
}
