//! Who gives data away, and who only sends a lot.

use crate::*;

const MEGA: u64 = 1_000_000;

/// Host n sends and gets so many bytes within one conversation, in steps of five seconds.
fn copy(lan: &mut Lan, n: u8, to: IpAddr, (up, down): (u64, u64), steps: u64) {
    lan.sport += 1;
    let (sport, first) = (lan.sport, lan.now);
    lan.see((mac(n), mac(1)), (host(n), to), (sport, 443), TCP, SYN);
    lan.see((mac(1), mac(n)), (to, host(n)), (443, sport), TCP, SYN_ACK);
    for step in 1..=steps {
        lan.pass(5 * SECOND);
        lan.went((host(n), to), (sport, 443), first, up * step / steps, step == steps);
        lan.went((to, host(n)), (443, sport), first, down * step / steps, step == steps);
    }
}

/// Alerts about what was sent: severity and who.
fn exfils(lan: &Lan) -> Vec<(u8, u8)> {
    let alerts = lan.alerts().into_iter();
    alerts.filter(|(detector, ..)| *detector == "exfil").map(|(_, severity, who)| (severity, who)).collect()
}

fn learned() -> Lan {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    copy(&mut lan, 4, host(3), (1_000, 1_000), 1);
    lan.pass(25 * HOUR);
    lan
}

#[test]
fn a_copy_to_a_new_host_is_told_while_it_goes_on() {
    let mut lan = learned();
    let begun = lan.now;
    copy(&mut lan, 66, ip("203.0.113.9"), (100 * MEGA, MEGA), 12);
    assert_eq!(exfils(&lan), [(2, 66)]);
    let told = lan.out.events.iter().find(|timed| matches!(timed.event, Event::Alert(_))).unwrap();
    assert!(told.time.since(begun) <= 40 * SECOND, "100 MB in a minute are seen within a minute");
    copy(&mut lan, 67, host(2), (600 * MEGA, MEGA), 12);
    assert_eq!(exfils(&lan).last(), Some(&(3, 67)), "inside");
    assert_eq!(lan.isolated(), []);
}

#[test]
fn a_drip_over_days_is_told() {
    let mut lan = learned();
    for _ in 0..80 {
        copy(&mut lan, 66, ip("203.0.113.9"), (3 * MEGA, 10_000), 1);
        lan.pass(HOUR);
    }
    assert_eq!(exfils(&lan), [(2, 66); 3], "once a day");
}

#[test]
fn what_only_looks_like_it_is_left_alone() {
    let outside = ip("203.0.113.9");
    let mut lan = learned();
    copy(&mut lan, 60, outside, (20 * MEGA, 900 * MEGA), 12);
    copy(&mut lan, 61, outside, (300 * MEGA, 310 * MEGA), 12);
    copy(&mut lan, 62, host(2), (300 * MEGA, MEGA), 12);
    assert_eq!(exfils(&lan), [], "a download, a video call, a study sent to an archive");
    for _ in 0..200 {
        copy(&mut lan, 63, outside, (MEGA / 2, 1_000), 1);
        lan.pass(HOUR);
    }
    assert_eq!(exfils(&lan), [], "a daily report");
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    copy(&mut lan, 64, host(3), (900 * MEGA, MEGA), 12);
    assert_eq!(exfils(&lan), [], "a backup on the sensor's first day");
}

#[test]
fn a_known_source_that_turns_about_is_told_and_an_old_backup_is_not() {
    let mut lan = learned();
    let (source, archive) = (ip("203.0.113.9"), ip("203.0.113.8"));
    for _ in 0..9 {
        copy(&mut lan, 66, source, (MEGA, 100 * MEGA), 4);
        copy(&mut lan, 67, archive, (40 * MEGA, MEGA), 4);
        lan.pass(24 * HOUR);
    }
    let before = exfils(&lan).len();
    copy(&mut lan, 67, archive, (400 * MEGA, MEGA), 12);
    assert_eq!(exfils(&lan).len(), before, "{:?}", exfils(&lan));
    copy(&mut lan, 66, source, (2_000 * MEGA, MEGA), 12);
    assert_eq!(exfils(&lan).last(), Some(&(2, 66)));
}
