//! Slow lists of living hosts, and who meets new hosts by right.

use sensor_core::time::MINUTE;

use crate::*;

/// Three days of a ward: PCs 1 to 40 with file servers 101 to 104 and, each, one neighbour a day.
fn ward() -> Lan {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=120);
    for day in 0..3u8 {
        for pc in 1..=40 {
            for server in 101..=104 {
                lan.tcp(pc, server, 445, Some(SYN_ACK));
                // One after the other: on the first day that is how the network is met.
                lan.pass(20 * SECOND);
            }
            lan.tcp(pc, 60 + (pc + 7 * day) % 40, 8080, Some(SYN_ACK));
            lan.pass(MINUTE);
        }
        lan.pass(20 * HOUR);
    }
    lan.out.events.clear();
    lan
}

fn called(lan: &Lan) -> Vec<(&'static str, u8, u8)> {
    lan.alerts().into_iter().filter(|(detector, ..)| *detector == "novelty").collect()
}

#[test]
fn a_list_of_living_hosts_is_told_however_slowly_it_is_taken() {
    for (name, port, pause, most) in [
        ("one a minute", 8443, MINUTE, 14),
        ("one in ten minutes", 8443, 10 * MINUTE, 15),
        ("file sharing, one in two minutes", 445, 2 * MINUTE, 6),
        ("remote desktop, one in 20 minutes", 3389, 20 * MINUTE, 8),
    ] {
        let mut lan = ward();
        let mut tried = 0;
        for m in 61..100 {
            lan.tcp(5, m, port, Some(SYN_ACK));
            lan.pass(pause);
            tried += 1;
            if !called(&lan).is_empty() {
                break;
            }
        }
        assert_eq!(called(&lan), [("novelty", 2, 5)], "{name}");
        assert!(tried <= most, "{name}: after {tried}");
        assert_eq!(lan.isolated(), [], "{name}");
    }
}

#[test]
fn addresses_nobody_has_count_too_on_the_devices_own_link() {
    let mut lan = ward();
    for m in 200..207 {
        lan.arp(5, m);
        lan.pass(5 * MINUTE);
    }
    assert_eq!(called(&lan), []);
    lan.arp(5, 207);
    assert_eq!(called(&lan), [("novelty", 2, 5)]);
    // Others who look for the same printers that are gone do what is done here.
    let mut lan = ward();
    for pc in 1..=4 {
        for m in 200..210 {
            lan.arp(pc, m);
        }
        lan.pass(HOUR);
    }
    assert_eq!(called(&lan).into_iter().map(|(.., pc)| pc).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn who_meets_new_hosts_by_right_is_left_alone() {
    type Story = fn(&mut Lan);
    let stories: [(&str, Story); 6] = [
        ("an ordinary day", |lan| {
            for pc in 1..=40 {
                lan.tcp(pc, 60 + (pc + 30) % 40, 8080, Some(SYN_ACK));
                lan.pass(MINUTE);
            }
        }),
        ("the file servers moved", |lan| {
            for pc in 1..=40 {
                for server in 111..=114 {
                    lan.tcp(pc, server, 445, Some(SYN_ACK));
                    lan.pass(20 * SECOND);
                }
            }
        }),
        ("a new PC in its first hours", |lan| {
            for m in 61..100 {
                lan.tcp(200, m, 8443, Some(SYN_ACK));
                lan.pass(MINUTE);
            }
        }),
        ("a station that polls the same hosts", |lan| {
            for _ in 0..50 {
                for m in 61..=66 {
                    lan.tcp(6, m, 8443, Some(SYN_ACK));
                    lan.pass(MINUTE);
                }
            }
        }),
        ("who opens the network neighbourhood", |lan| {
            browse(lan, true);
        }),
        ("who reads from outside", |lan| {
            for m in 61..100 {
                let ips = (ip("203.0.113.9"), host(m));
                lan.see_as((mac(77), mac(m)), ips, (50_000, 443), TCP, SYN, Verdict::Pass, 50);
                lan.pass(MINUTE);
            }
        }),
    ];
    for (name, story) in stories {
        let mut lan = ward();
        story(&mut lan);
        assert_eq!(called(&lan), [], "{name}");
    }
}

/// PC 5 asks thirty others what they are, after it asked the group who is there or without.
#[test]
fn whom_a_device_knows_is_not_new_to_it_after_a_restart() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=120);
    let round = |lan: &mut Lan, pause: u64| {
        for m in 70..85 {
            lan.tcp(5, m, 8443, Some(SYN_ACK));
            lan.pass(pause);
        }
    };
    round(&mut lan, 2 * HOUR);
    lan.pass(HOUR);
    for mut next in [lan.next(), lan.rebooted(MINUTE), lan.rebooted(30 * HOUR)] {
        round(&mut next, MINUTE);
        assert_eq!(next.alerts(), []);
    }
}

fn browse(lan: &mut Lan, asks: bool) {
    if asks {
        let group = Mac([1, 0, 0x5e, 0x7f, 0xff, 0xfa]);
        lan.see((mac(5), group), (host(5), ip("239.255.255.250")), (50_000, 3702), UDP, 0);
    }
    for m in 61..91 {
        lan.tcp(5, m, 5357, Some(SYN_ACK));
        lan.pass(SECOND);
    }
}

#[test]
fn who_asks_others_what_they_are_without_asking_who_is_there_is_told() {
    let mut lan = ward();
    browse(&mut lan, false);
    assert_eq!(called(&lan), [("novelty", 2, 5); 2], "by the hour, and by the day");
}

#[test]
fn on_the_first_day_everything_is_new() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=120);
    for m in 61..100 {
        lan.tcp(5, m, 8443, Some(SYN_ACK));
        lan.pass(MINUTE);
    }
    assert_eq!(called(&lan), []);
}
