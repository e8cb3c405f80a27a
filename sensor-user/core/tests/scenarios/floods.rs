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
    open(&mut lan, 66, 2_500, |_| host(66), false);
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
