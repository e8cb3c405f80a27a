//! How many are cut off in a short time, and who does not count.

use sensor_core::settings::DecideSettings;
use sensor_core::time::MINUTE;

use crate::*;

impl Lan {
    /// Host n finds ten hosts silent.
    fn scan(&mut self, n: u8) {
        for m in 220..230 {
            self.tcp(n, m, 8080, None);
        }
        self.pass(2 * SECOND);
    }

    fn reasons(&self) -> Vec<String> {
        self.engine.snapshot(self.now).blocks.into_iter().map(|block| block.reason).collect()
    }
}

fn lan(devices: u8, settings: Settings) -> Lan {
    let mut lan = Lan::new(settings);
    lan.populate(1..=devices);
    lan
}

#[test]
fn one_in_a_hundred_is_cut_off_and_the_others_wait_for_a_person() {
    for (devices, want) in [(20, &[10][..]), (199, &[10, 11]), (210, &[10, 11])] {
        let mut lan = lan(devices, enforcing());
        (10..14).for_each(|n| lan.scan(n));
        assert_eq!(lan.isolated(), want, "{devices}");
        assert_eq!(lan.actions().last(), Some(&Action::BudgetSpent));
        // When there is room again they are made up for.
        lan.pass(11 * MINUTE);
        assert_eq!(lan.isolated().len(), 2 * want.len(), "{devices}");
    }
    let mut lan = lan(20, Settings { budget_share: 1.0, ..enforcing() });
    (1..8).for_each(|n| lan.scan(n));
    assert_eq!(lan.isolated(), [1, 2, 3, 4, 5], "the number holds for any share");
}

#[test]
fn an_infection_is_followed_from_device_to_device() {
    let mut lan = lan(20, enforcing());
    // 10 reaches 11 and 12, 12 reaches 13; each then scans.
    lan.tcp(10, 11, 445, Some(SYN_ACK));
    lan.tcp(10, 12, 445, Some(SYN_ACK));
    lan.scan(10);
    lan.scan(11);
    lan.tcp(12, 13, 445, Some(SYN_ACK));
    lan.scan(12);
    lan.scan(13);
    assert_eq!(lan.isolated(), [10, 11, 12, 13]);
    let reasons = lan.reasons();
    assert!(!reasons[0].contains("reached"), "{reasons:?}");
    assert!(reasons[1].ends_with(", after 10.0.0.10 reached it"), "{reasons:?}");
    assert!(reasons[3].ends_with(", after 10.0.0.12 reached it"), "{reasons:?}");
    lan.scan(14);
    assert_eq!(lan.isolated().len(), 4, "nobody reached this one");
    let mut none = self::lan(20, Settings { budget: 0, ..enforcing() });
    none.tcp(10, 11, 445, Some(SYN_ACK));
    (10..12).for_each(|n| none.scan(n));
    assert_eq!(none.isolated(), []);
}

#[test]
fn who_is_known_since_long_is_of_the_tree_if_it_was_reached_by_another_service() {
    let mut lan = lan(20, decisive());
    lan.tcp(10, 11, 8080, Some(SYN_ACK));
    lan.pass(25 * HOUR);
    lan.tcp(10, 11, 445, Some(SYN_ACK));
    lan.pass(SECOND);
    lan.scan(10);
    lan.scan(11);
    assert_eq!(lan.isolated(), [10, 11], "{:?}", lan.alerts());
}

#[test]
fn who_only_had_to_do_with_it_is_of_no_tree() {
    type Before = fn(&mut Lan);
    let cases: [(&str, Before); 5] = [
        ("a client of it", |lan| lan.tcp(11, 10, 445, Some(SYN_ACK))),
        ("it was refused", |lan| lan.tcp(10, 11, 445, Some(RST_ACK))),
        ("it had no answer", |lan| lan.tcp(10, 11, 445, None)),
        ("ARP alone", |lan| lan.arp(10, 11)),
        ("polled since long", |lan| {
            lan.tcp(10, 11, 161, Some(SYN_ACK));
            lan.pass(25 * HOUR);
            lan.tcp(10, 11, 161, Some(SYN_ACK));
        }),
    ];
    for (name, before) in cases {
        let mut lan = lan(20, decisive());
        before(&mut lan);
        lan.pass(SECOND);
        lan.scan(10);
        lan.scan(11);
        assert_eq!(lan.isolated(), [10], "{name}: {:?}", lan.alerts());
        assert_eq!(lan.actions().last(), Some(&Action::BudgetSpent), "{name}");
    }
}

#[test]
fn a_tree_has_a_bound_too() {
    let mut lan = lan(40, Settings { budget: 1, ..enforcing() });
    // A station that reached everybody on its first day, one host at a time.
    for m in 11..=30 {
        lan.tcp(10, m, 8080, Some(SYN_ACK));
        lan.pass(MINUTE);
    }
    lan.scan(10);
    for n in 11..=30 {
        lan.scan(n);
    }
    assert_eq!(lan.isolated().len(), 11, "itself, and ten times the budget");
}

#[test]
fn a_device_that_is_raised_counts_once() {
    let decide = DecideSettings { highest: Level::Isolate, graded: true };
    let mut lan = lan(20, Settings { decide, ..enforcing() });
    lan.scan(10);
    let change = |event: &Event| matches!(event, Event::Isolation(change) if change.level == Level::Isolate);
    assert!(lan.out.events.iter().any(|timed| change(&timed.event)), "{:?}", lan.actions());
    assert_eq!(lan.actions().last(), Some(&Action::Isolated));
}

#[test]
fn a_daemon_that_dies_again_and_again_cuts_off_no_more_than_one_that_runs() {
    let mut first = lan(20, enforcing());
    first.scan(10);
    first.scan(11);
    assert_eq!(first.isolated(), [10]);
    let mut next = first.restarted(|settings| settings);
    next.populate(1..=20);
    next.scan(12);
    assert_eq!((next.engine.stats().blocks, next.actions().last()), (1, Some(&Action::BudgetSpent)));
    next.pass(11 * MINUTE);
    assert_eq!(next.engine.stats().blocks, 2, "made up for when there is room");
}
