//! Who floods, and who is only busy.

use crate::*;

/// The device by the MAC address n opens so many connections with host 3 in a second, each from what `source` says.
fn open(lan: &mut Lan, n: u8, times: u16, source: fn(u16) -> IpAddr, answered: bool) {
    for turn in 0..times {
        let from = source(turn);
        lan.see((mac(n), mac(3)), (from, host(3)), (turn + 1, 80), TCP, SYN);
        if answered {
            lan.see((mac(3), mac(n)), (host(3), from), (80, turn + 1), TCP, SYN_ACK);
        }
        lan.pass(SECOND / u64::from(times));
    }
}

fn made_up(turn: u16) -> IpAddr {
    ip(&format!("198.18.{}.{}", turn / 250, turn % 250 + 1))
}

#[test]
fn a_flood_is_told_by_who_delivers_it() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    open(&mut lan, 66, 1_200, |_| host(66), false);
    assert_eq!(lan.alerts(), [("flood", 2, 66)]);
    assert_eq!(lan.isolated(), []);
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    open(&mut lan, 66, 2_500, made_up, false);
    let floods: Vec<_> = lan.alerts().into_iter().filter(|(detector, ..)| *detector == "flood").collect();
    assert_eq!(floods, [("flood", 3, 66)], "forged sources: the MAC address alone, lowest severity");
    assert!(lan.alerts().iter().all(|(.., who)| *who != 3), "never the victim: {:?}", lan.alerts());
    assert_eq!(lan.isolated(), []);
}

#[test]
fn sources_that_were_borrowed_frame_nobody() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    // Host 66 floods host 3 in the name of host 4.
    open(&mut lan, 66, 2_500, |_| host(4), false);
    let blamed: Vec<_> = lan.alerts().into_iter().map(|(.., who)| who).collect();
    assert!(blamed.iter().all(|who| *who == 66), "{:?}", lan.alerts());
    assert_eq!(lan.isolated(), []);
}

#[test]
fn a_busy_server_is_not_flooded() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    open(&mut lan, 66, 5_000, |_| host(66), true);
    assert_eq!(lan.alerts(), []);
}

#[test]
fn addresses_asked_for_in_many_names_are_starvation_and_a_relay_is_not() {
    let ask = |lan: &mut Lan, from: IpAddr| {
        lan.see((mac(66), mac(1)), (from, host(1)), (68, 67), UDP, 0);
        lan.pass(10 * MILLISECOND);
    };
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    (0..300).for_each(|turn| ask(&mut lan, made_up(turn)));
    let alerts = lan.alerts();
    assert!(alerts.iter().any(|(detector, _, who)| (*detector, *who) == ("flood", 66)), "{alerts:?}");
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    (0..300).for_each(|_| ask(&mut lan, host(66)));
    assert_eq!(lan.alerts(), []);
}

#[test]
fn floods_within_one_conversation_are_told() {
    let flood = |proto: u8, flags: u8, frames: u64, size: u64, answered: bool| {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        let (ports, first) = (if proto == 1 { (8 << 8, 0) } else { (5_000, 5_000) }, lan.now);
        lan.see((mac(66), mac(3)), (host(66), host(3)), ports, proto, flags);
        if answered {
            let back = if proto == 1 { (0, 0) } else { (5_000, 5_000) };
            lan.see((mac(3), mac(66)), (host(3), host(66)), back, proto, 0);
        }
        lan.pass(5 * SECOND);
        let id = FlowId {
            src: host(66),
            dst: host(3),
            sport: ports.0,
            dport: ports.1,
            proto,
            kind: Kind::Ip,
            vlan: 0,
            port: 1,
        };
        let (time, last) = (lan.now, lan.now);
        let (packets, bytes) = (frames, frames * size);
        let progress = FlowProgress {
            time,
            id,
            smac: Mac::default(),
            dmac: Mac::default(),
            packets,
            bytes,
            drops: 0,
            verdict: Verdict::Pass,
            first,
            last,
            tcp_flags: flags,
            end: None,
        };
        lan.engine.observe(&Observation::Progress(progress), &mut lan.out);
        lan.alerts()
    };
    assert_eq!(flood(1, 0, 20_000, 98, true), [("flood", 3, 66)], "ping -f");
    assert_eq!(flood(UDP, 0, 200_000, 60, false), [("flood", 3, 66)]);
    assert_eq!(flood(TCP, SYN, 20_000, 60, false), [("flood", 3, 66)], "always the same SYN");
    assert_eq!(flood(UDP, 0, 200_000, 1_400, false), [], "video");
    assert_eq!(flood(UDP, 0, 200_000, 120, true), [], "a game");
    assert_eq!(flood(1, 0, 300, 98, true), [], "ping");
}

#[test]
fn a_scan_does_not_hide_behind_a_flood() {
    let mut settings = enforcing();
    settings.limits.contacts = 256;
    let mut lan = Lan::new(settings);
    lan.populate(1..=20);
    lan.arp(77, 1);
    for m in 100..115 {
        lan.tcp(77, m, 8080, None);
        // Ten times what there is room for until an answer would be late.
        open(&mut lan, 66, 600, made_up, false);
    }
    lan.pass(2 * SECOND);
    assert_eq!(lan.isolated(), [77], "{:?}", lan.alerts());
}
