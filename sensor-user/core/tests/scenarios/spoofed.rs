//! Who claims to be somebody else, and who only looks like it.

use crate::*;

const ALL: Mac = Mac([0xff; 6]);

/// A MAC address of another maker than those of the hosts.
fn other_make(n: u8) -> Mac {
    Mac([0, 0x0c, 0x29, 0, 0, n])
}

/// Somebody says by an ARP answer to a host that it has an address.
fn answer(lan: &mut Lan, from: Mac, claims: IpAddr, to: u8) {
    lan.see((from, mac(to)), (claims, host(to)), (2, 0), 0, 0);
}

/// Somebody asks all for a host from an address.
fn ask(lan: &mut Lan, from: Mac, claims: IpAddr, about: u8) {
    lan.see((from, ALL), (claims, host(about)), (1, 0), 0, 0);
}

/// Spoof alerts: severity and who.
fn spoofs(lan: &Lan) -> Vec<(u8, u8)> {
    let alerts = lan.alerts().into_iter();
    alerts.filter(|(detector, ..)| *detector == "spoof").map(|(_, severity, who)| (severity, who)).collect()
}

/// A router passes on packets of many.
fn forward(lan: &mut Lan, from: Mac) {
    for n in 1..=5 {
        let far = ip(&format!("198.51.100.{n}"));
        lan.see((from, mac(9)), (far, host(9)), (443, 50_000), TCP, SYN_ACK);
    }
}

/// A router at host 1, known to be one by name.
fn with_router() -> Lan {
    let mut lan = Lan::new(Settings { gateways: [mac(1)].into(), ..enforcing() });
    lan.populate(2..=20);
    ask(&mut lan, mac(1), host(1), 9);
    lan.pass(30 * SECOND);
    lan
}

/// Host 66, of the MAC address given, quarrels with the router about its address; it asks from there, or answers.
fn quarrel(lan: &mut Lan, mac_66: Mac, asks: bool) {
    ask(lan, mac_66, host(66), 1);
    for turn in 0..6 {
        if asks {
            ask(lan, mac_66, host(1), 9)
        } else {
            answer(lan, mac_66, host(1), 9)
        }
        lan.pass(2 * SECOND);
        ask(lan, mac(1), host(1), 10 + turn);
        lan.pass(2 * SECOND);
    }
}

#[test]
fn who_claims_the_routers_address_in_turns_with_it_is_called() {
    for (name, from, asks, want, cut) in [
        ("it answers", other_make(66), false, vec![(2, 66), (1, 66)], vec![]),
        (
            "it asks",
            other_make(66),
            true,
            vec![(2, 66), (1, 66)],
            vec![Target::Mac(other_make(66)), Target::Ip(host(66))],
        ),
        ("it is of the router's make", mac(66), true, vec![(2, 66)], vec![]),
    ] {
        let mut lan = with_router();
        quarrel(&mut lan, from, asks);
        assert_eq!(spoofs(&lan), want, "{name}");
        assert_eq!(lan.cut(), cut, "{name}");
    }
}

#[test]
fn who_borrows_a_mac_address_at_another_port_does_not_have_its_owner_cut_off() {
    let mut lan = with_router();
    ask(&mut lan, other_make(66), host(66), 1);
    for turn in 0..6 {
        // Somebody at port 2 speaks by the MAC address of host 66, which is at port 1 and goes on.
        lan.place = (2, 0);
        ask(&mut lan, other_make(66), host(1), 9);
        lan.pass(SECOND);
        lan.place = (1, 0);
        ask(&mut lan, other_make(66), host(66), 20 + turn);
        lan.pass(SECOND);
        ask(&mut lan, mac(1), host(1), 10 + turn);
        lan.pass(2 * SECOND);
    }
    assert!(spoofs(&lan).contains(&(2, 66)), "{:?}", spoofs(&lan));
    assert_eq!(lan.cut(), []);
}

#[test]
fn who_claims_what_routers_share_is_called() {
    let mut lan = Lan::new(enforcing());
    lan.populate(2..=20);
    let shared: Mac = "00:00:5e:00:01:05".parse().unwrap();
    for turn in 0..4 {
        ask(&mut lan, shared, host(250), turn);
        lan.pass(10 * SECOND);
        answer(&mut lan, other_make(66), host(250), 9);
        lan.pass(SECOND);
        answer(&mut lan, other_make(66), host(250), 10 + turn);
        lan.pass(SECOND);
    }
    assert_eq!(spoofs(&lan), [(2, 66)]);
}

#[test]
fn a_device_that_takes_the_way_out_behind_everybodys_back_is_called() {
    let mut lan = Lan::new(enforcing());
    lan.populate(2..=20);
    let far = ip("203.0.113.9");
    for _ in 0..3 {
        lan.tcp_by(9, mac(1), far);
    }
    answer(&mut lan, mac(66), host(1), 9);
    lan.pass(SECOND);
    for _ in 0..3 {
        lan.tcp_by(9, mac(66), far);
    }
    assert_eq!(spoofs(&lan), [(2, 66)]);
    assert_eq!(lan.cut(), []);
}

#[test]
fn a_way_out_that_changes_openly_is_left_alone() {
    let (far, new) = (ip("203.0.113.9"), other_make(2));
    type Change = fn(&mut Lan, Mac, IpAddr);
    let cases: [(&str, Change); 3] = [
        ("a router that is replaced announces itself", |lan, new, _| {
            ask(lan, new, host(1), 1);
            answer(lan, new, host(1), 9);
        }),
        ("a redirect names a better one", |lan, new, _| {
            lan.see((mac(1), mac(9)), (host(1), host(9)), (5 << 8 | 1, 0), 1, 0);
            answer(lan, new, host(2), 9);
        }),
        ("nobody claims anything", |_, _, _| {}),
    ];
    for (name, change) in cases {
        let mut lan = Lan::new(enforcing());
        lan.populate(3..=20);
        (0..3).for_each(|_| lan.tcp_by(9, mac(1), far));
        change(&mut lan, new, far);
        lan.pass(SECOND);
        (0..5).for_each(|_| lan.tcp_by(9, new, far));
        assert_eq!(spoofs(&lan), [], "{name}");
    }
}

#[test]
fn an_address_two_devices_have_is_told_once() {
    let mut lan = Lan::new(enforcing());
    lan.populate(2..=20);
    for turn in 0..20 {
        ask(&mut lan, other_make(66), host(7), turn);
        lan.pass(10 * SECOND);
        ask(&mut lan, mac(7), host(7), turn);
        lan.pass(10 * SECOND);
    }
    assert_eq!(spoofs(&lan), [(3, 66)]);
}

#[test]
fn who_stands_between_two_that_were_never_heard_to_ask_is_called() {
    let mut lan = Lan::new(enforcing());
    lan.arp(20, 21);
    lan.pass(SECOND);
    lan.tcp(7, 8, 445, Some(SYN_ACK));
    for _ in 0..4 {
        lan.pass(5 * SECOND);
        for (claims, to) in [(7, 8), (8, 7)] {
            answer(&mut lan, mac(66), host(claims), to);
            answer(&mut lan, mac(66), host(claims), to + 10);
            lan.pass(SECOND);
            // The two go on, by way of the one between them.
            lan.sport += 1;
            let ports = (lan.sport, 445);
            lan.see((mac(claims), mac(66)), (host(claims), host(to)), ports, TCP, SYN);
        }
    }
    let called = spoofs(&lan);
    assert!(!called.is_empty() && called.iter().all(|call| *call == (3, 66)), "{called:?}");
}

#[test]
fn one_claim_told_twice_is_no_quarrel() {
    let mut lan = Lan::new(enforcing());
    lan.populate(2..=20);
    for round in 0..3 {
        answer(&mut lan, other_make(66), host(7), 9 + round);
        let first = lan.now;
        lan.pass(SECOND);
        lan.tcp(7, 8, 445, Some(SYN_ACK));
        lan.pass(4 * SECOND);
        let id = FlowId {
            src: host(7),
            dst: host(9 + round),
            sport: 2,
            dport: 0,
            proto: 0,
            kind: Kind::Arp,
            vlan: 0,
            port: 1,
        };
        let (time, last) = (lan.now, first.plus(4 * MILLISECOND));
        let told = FlowProgress {
            time,
            id,
            smac: Mac::default(),
            dmac: Mac::default(),
            packets: 1,
            bytes: 60,
            drops: 0,
            verdict: Verdict::Pass,
            first,
            last,
            tcp_flags: 0,
            end: None,
        };
        lan.engine.observe(&Observation::Progress(told), &mut lan.out);
        assert_eq!(spoofs(&lan), [], "round {round}");
        lan.pass(6 * 60 * SECOND);
    }
}

#[test]
fn whoever_came_first_the_one_with_two_faces_is_called() {
    let mut lan = Lan::new(enforcing());
    lan.populate(2..=6);
    ask(&mut lan, other_make(66), host(66), 2);
    for turn in 0..6 {
        answer(&mut lan, other_make(66), host(7), 3);
        lan.pass(2 * SECOND);
        ask(&mut lan, mac(7), host(7), 2 + turn);
        lan.pass(2 * SECOND);
    }
    assert_eq!(spoofs(&lan), [(3, 66)]);
}

#[test]
fn those_who_look_like_it_are_left_alone() {
    let virtual_mac: Mac = "00:00:5e:00:01:05".parse().unwrap();
    let standby: Mac = "00:00:0c:07:ac:01".parse().unwrap();
    type Play = Box<dyn Fn(&mut Lan)>;
    let turns = |first: Mac, second: Mac, ip: IpAddr| -> Play {
        Box::new(move |lan| {
            for turn in 0..12 {
                ask(lan, first, ip, turn);
                lan.pass(10 * SECOND);
                ask(lan, second, ip, turn);
                lan.pass(10 * SECOND);
            }
        })
    };
    let vrrp = |lan: &mut Lan, from: Mac, n: u8| {
        lan.see((from, mac(0)), (host(n), ip("224.0.0.18")), (0, 0), 112, 0)
    };
    let cases: Vec<(&str, Play)> = vec![
        (
            "VRRP, with its MAC address",
            Box::new(move |lan| {
                forward(lan, mac(1));
                turns(mac(1), virtual_mac, host(250))(lan);
            }),
        ),
        (
            "HSRP",
            Box::new(move |lan| {
                forward(lan, mac(1));
                turns(standby, mac(1), host(250))(lan);
            }),
        ),
        (
            "keepalived without a MAC address of its own",
            Box::new(move |lan| {
                vrrp(lan, mac(1), 1);
                vrrp(lan, other_make(2), 2);
                turns(mac(1), other_make(2), host(250))(lan);
            }),
        ),
        ("boxes on the factory's address", turns(mac(70), mac(71), ip("192.168.0.120"))),
        (
            "an address that is given to another device",
            Box::new(|lan| {
                ask(lan, mac(70), host(200), 1);
                lan.pass(60 * SECOND);
                (0..40).for_each(|turn| {
                    ask(lan, other_make(71), host(200), turn);
                    lan.pass(20 * SECOND);
                });
            }),
        ),
        (
            "a laptop that goes to its dock and back",
            Box::new(|lan| {
                for from in [mac(70), other_make(71), mac(70)] {
                    ask(lan, from, host(200), 1);
                    lan.pass(100 * SECOND);
                }
            }),
        ),
        (
            "a bridge that puts its own MAC address in",
            Box::new(|lan| {
                for turn in 0..20 {
                    for n in [70, 71] {
                        ask(lan, mac(n), host(n), turn);
                        lan.pass(MILLISECOND / 10);
                        ask(lan, other_make(9), host(n), turn);
                        lan.pass(SECOND);
                        answer(lan, other_make(9), host(n), 1);
                        lan.pass(SECOND);
                    }
                }
            }),
        ),
        (
            "a proxy that answers for those behind it",
            Box::new(|lan| {
                for n in 100..140 {
                    answer(lan, other_make(9), host(n), 1);
                    lan.pass(SECOND);
                }
            }),
        ),
        (
            "a device on the other side of its router",
            Box::new(|lan| {
                for turn in 0..12 {
                    // Hosts reach host 200 by the router, and it is heard behind it and by itself.
                    lan.see((mac(9), mac(1)), (host(9), host(200)), (40_000 + turn, 80), TCP, SYN);
                    let back = ((mac(1), mac(9)), (host(200), host(9)), (80, 40_000 + turn));
                    lan.see_as(back.0, back.1, back.2, TCP, SYN_ACK, Verdict::Pass, 63);
                    lan.pass(SECOND);
                    ask(lan, other_make(70), host(200), 1);
                    lan.pass(SECOND);
                }
            }),
        ),
        (
            "a probe for an address that is taken",
            Box::new(|lan| {
                for _ in 0..6 {
                    lan.see((other_make(9), ALL), (ip("0.0.0.0"), host(7)), (1, 0), 0, 0);
                    answer(lan, mac(7), host(7), 9);
                    lan.pass(SECOND);
                }
            }),
        ),
    ];
    for (name, play) in cases {
        let mut lan = Lan::new(enforcing());
        lan.populate(2..=20);
        play(&mut lan);
        assert_eq!(spoofs(&lan), [], "{name}");
        assert_eq!(lan.isolated(), [], "{name}");
    }
}

#[test]
fn a_mac_address_at_two_ports_is_told_and_a_loop_or_a_walk_is_not() {
    let play = |hosts: u8, moves: u8, every: u64| {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=20);
        for turn in 0..moves {
            for n in 2..2 + hosts {
                lan.place = (1 + turn % 2, 0);
                lan.arp(n, 100 + turn);
            }
            lan.pass(every);
        }
        spoofs(&lan)
    };
    assert_eq!(play(1, 10, 2 * SECOND), [(3, 2)]);
    assert_eq!(play(1, 10, 20 * SECOND), [], "who walks from one radio cell to the next and back");
    assert!(play(15, 10, 2 * SECOND).len() <= 4, "a loop moves all");
}

#[test]
fn more_mac_addresses_than_there_can_be_are_told() {
    let flood = |count: u16, every: u64| {
        let mut lan = Lan::new(enforcing());
        for n in 0..count {
            let [high, low] = n.to_be_bytes();
            let from = Mac([2, 0, 0, 0, high, low]);
            lan.see((from, ALL), (ip("0.0.0.0"), ip("10.0.0.1")), (1, 0), 0, 0);
            lan.pass(every);
        }
        spoofs(&lan).len()
    };
    assert_eq!(flood(5_000, MILLISECOND), 1);
    assert_eq!(flood(3_000, MILLISECOND), 0, "a large site on the sensor's first minute");
}

#[test]
fn a_dhcp_server_that_was_not_there_before_is_told() {
    let serve = |lan: &mut Lan, n: u8, to: u8| {
        lan.see((mac(n), mac(to)), (host(n), host(to)), (67, 68), UDP, 0);
        lan.pass(SECOND);
    };
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=20);
    serve(&mut lan, 1, 9);
    serve(&mut lan, 2, 10);
    assert_eq!(spoofs(&lan), [], "two servers of old");
    lan.pass(25 * HOUR);
    serve(&mut lan, 1, 11);
    serve(&mut lan, 2, 12);
    assert_eq!(spoofs(&lan), []);
    serve(&mut lan, 66, 13);
    serve(&mut lan, 66, 14);
    assert_eq!(spoofs(&lan), [(2, 66)]);
    assert_eq!(lan.cut(), []);
}
