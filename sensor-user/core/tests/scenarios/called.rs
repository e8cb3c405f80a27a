//! Who is called, and cut off.

use sensor_core::policy::class::Class;

use crate::*;

#[test]
fn a_scan_of_silent_hosts_is_cut_off_after_ten_failures() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=20);
    lan.arp(66, 1);
    for m in 100..200 {
        lan.tcp(66, m, 8000 + u16::from(m), None);
        lan.pass(60 * MILLISECOND);
        if !lan.isolated().is_empty() {
            break;
        }
    }
    assert_eq!(lan.isolated(), [66]);
    let failures = lan.out.events.iter().rev().find_map(|timed| match &timed.event {
        Event::Alert(alert) => Some(alert.evidence[0].clone()),
        _ => None,
    });
    // Jung et al.: ln(0.99e6) / ln(4) is just below ten.
    assert_eq!(failures, Some(("failed_first_contacts", Value::Count(10))));
    assert_eq!(lan.cut(), [Target::Mac(mac(66)), Target::Ip(host(66))]);
}

#[test]
fn ports_of_one_host() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for port in 1..=30 {
        lan.tcp(66, 3, port, Some(RST_ACK));
    }
    assert_eq!(lan.isolated(), [66]);
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for _ in 0..30 {
        lan.tcp(4, 3, 80, Some(RST_ACK));
    }
    assert_eq!(lan.actions(), [], "one refused port, however often, is no scan");
}

#[test]
fn a_worm_with_a_hit_list_is_seen_although_nothing_fails() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=50);
    for m in 10..=13 {
        lan.tcp(66, m, 445, Some(SYN_ACK));
        lan.pass(SECOND);
    }
    assert_eq!(lan.isolated(), [66]);
}

#[test]
fn a_host_behind_a_router_is_cut_off_by_its_address_alone() {
    // The router is new: nobody else was seen behind it yet.
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(77, 1);
    let routed = ip("10.9.0.5");
    // It has a conversation, so that its address is known not to be made up.
    lan.see_as((mac(77), mac(2)), (routed, host(2)), (40_000, 80), TCP, SYN, Verdict::Pass, 63);
    lan.see((mac(2), mac(77)), (host(2), routed), (80, 40_000), TCP, SYN_ACK);
    for m in 100..130 {
        lan.see_as((mac(77), mac(m)), (routed, host(m)), (50_000, 8080), TCP, SYN, Verdict::Pass, 63);
        lan.pass(60 * MILLISECOND);
    }
    lan.pass(2 * SECOND);
    assert_eq!(lan.cut(), [Target::Ip(routed)]);
}

#[test]
fn a_laptop_that_had_many_leases_is_no_gateway() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for m in 200..206 {
        lan.see((mac(66), Mac([0xff; 6])), (host(m), host(1)), (1, 0), 0, 0);
        lan.see((mac(66), mac(1)), (host(m), host(1)), (50_000, 80), TCP, SYN);
        lan.pass(24 * HOUR);
    }
    lan.arp(66, 1);
    for m in 100..130 {
        lan.tcp(66, m, 8080, None);
    }
    lan.pass(2 * SECOND);
    assert_eq!(lan.isolated(), [66], "{:?}", lan.actions());
}

#[test]
fn too_many_at_once_are_left_to_a_person() {
    let mut lan = Lan::new(Settings { budget: 2, budget_share: 1.0, ..enforcing() });
    lan.populate(1..=5);
    for n in 60..64 {
        lan.arp(n, 1);
        for m in 100..120 {
            lan.tcp(n, m, 445, None);
        }
        lan.pass(SECOND);
    }
    assert_eq!(lan.isolated(), [60, 61]);
    assert!(lan.actions().contains(&Action::BudgetSpent));
}

#[test]
fn what_found_the_budget_spent_is_made_up_for() {
    let mut lan = Lan::new(Settings { budget: 1, budget_window_ns: 60 * SECOND, ..enforcing() });
    lan.populate(1..=5);
    for n in [60, 61] {
        lan.arp(n, 1);
        for m in 100..120 {
            lan.tcp(n, m, 8080, None);
        }
        lan.pass(2 * SECOND);
    }
    assert_eq!(lan.isolated(), [60]);
    lan.pass(60 * SECOND);
    assert_eq!(lan.isolated(), [60, 61]);
}

#[test]
fn more_destinations_than_usual_alert_and_do_not_isolate() {
    let settings = Settings { names: [(Target::Mac(mac(9)), "pump 9".to_owned())].into(), ..enforcing() };
    let mut lan = Lan::new(settings);
    lan.populate(1..=200);
    // Ten quiet minutes: five print servers a minute.
    for _ in 0..10 {
        for m in 20..25 {
            lan.tcp(9, m, 9100, Some(SYN_ACK));
        }
        lan.pass(61 * SECOND);
    }
    assert_eq!(lan.actions(), []);
    for m in 30..80 {
        lan.tcp(9, m, 9100, Some(SYN_ACK));
    }
    let alerts: Vec<_> =
        lan.out.events.iter().filter(|timed| matches!(timed.event, Event::Alert(_))).collect();
    let [Event::Alert(alert)] = [&alerts[0].event] else { panic!("{alerts:?}") };
    assert_eq!((alert.detector, alert.severity, alert.device.name.as_deref()), ("fanout", 2, Some("pump 9")));
    assert_eq!(lan.isolated(), []);
}

#[test]
fn what_is_usual_in_a_class_is_not_too_many_for_one_of_it() {
    let class = |net: &str| Class { members: [net.parse().unwrap()].into(), ..Class::default() };
    let classes = [("busy", "10.0.0.0/28"), ("quiet", "10.0.0.16/28")];
    let classes = classes.map(|(name, net)| (name.parse().unwrap(), class(net))).into();
    let mut lan = Lan::new(Settings { classes, ..enforcing() });
    lan.populate(1..=120);
    // More than a thousand minutes of each class; devices 10 and 30 do little in theirs.
    for _ in 0..260 {
        for n in 1..=5 {
            (60..100).for_each(|m| lan.tcp(n, m, 9100, Some(SYN_ACK)));
            lan.tcp(16 + n, 60, 9100, Some(SYN_ACK));
        }
        [10, 30].into_iter().for_each(|n| lan.tcp(n, 60, 9100, Some(SYN_ACK)));
        lan.pass(61 * SECOND);
    }
    let called =
        |lan: &Lan| lan.alerts().into_iter().filter(|(name, ..)| *name == "fanout").collect::<Vec<_>>();
    assert_eq!(called(&lan), []);
    (60..100).for_each(|m| lan.tcp(10, m, 9100, Some(SYN_ACK)));
    assert_eq!(called(&lan), [], "as many as is usual in its class");
    (60..100).for_each(|m| lan.tcp(30, m, 9100, Some(SYN_ACK)));
    assert_eq!(called(&lan), [("fanout", 2, 30)], "the same is much in the other class");
}

#[test]
fn after_a_release_the_same_scan_is_called_again_and_old_servers_are_not() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=20);
    for m in 10..13 {
        lan.tcp(66, m, 445, Some(SYN_ACK));
    }
    lan.pass(120 * SECOND);
    for round in 1..=2 {
        for port in 1..=30 {
            lan.tcp(66, 3, port, Some(RST_ACK));
        }
        assert_eq!(lan.isolated().len(), round);
        let entry = Which::Held(Who::Target(Target::Ip(host(66))));
        lan.engine.command(lan.now, Command::Remove(entry), &mut lan.out).unwrap();
        lan.pass(SECOND);
    }
    for m in 10..13 {
        lan.tcp(66, m, 445, Some(SYN_ACK));
    }
    lan.tcp(66, 13, 445, Some(SYN_ACK));
    lan.pass(SECOND);
    assert_eq!(lan.isolated().len(), 2);
}
