//! Who does it again: longer isolations, probation, and what forgets them.

use sensor_core::engine::Judge;
use sensor_core::event::{Said, Verdict};
use sensor_core::settings::DecideSettings;
use sensor_core::time::MINUTE;

use crate::graded::used;
use crate::*;

const DAY: u64 = 24 * HOUR;

impl Lan {
    /// Host 66 finds hosts from `from` on silent.
    fn silent(&mut self, from: u8, count: u8) {
        for m in from..from + count {
            self.tcp(66, m, 8080, None);
        }
        self.pass(2 * SECOND);
    }

    /// How long the one entry lasts in all, and its level.
    fn held(&self) -> Option<(u64, Level)> {
        let blocks = self.engine.snapshot(self.now).blocks;
        blocks.first().and_then(|block| Some((block.until?.since(block.since), block.level)))
    }
}

fn scanned(settings: Settings) -> Lan {
    let mut lan = Lan::new(settings);
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.silent(10, 10);
    lan
}

/// The same of a device that is there since yesterday.
fn scanned_later(settings: Settings) -> Lan {
    let mut lan = Lan::new(settings);
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.pass(DAY);
    lan.silent(10, 10);
    lan
}

#[test]
fn each_isolation_of_a_device_lasts_longer_and_a_month_without_forgets() {
    let mut lan = scanned(decisive());
    assert_eq!(lan.held(), Some((HOUR, Level::Isolate)));
    for (from, lasts) in [(30, DAY), (50, 7 * DAY), (70, 7 * DAY)] {
        lan.pass(lan.held().map_or(0, |(ns, _)| ns + 2 * HOUR));
        assert_eq!(lan.held(), None);
        lan.silent(from, 10);
        assert_eq!(lan.held(), Some((lasts, Level::Isolate)), "{from}");
    }
    lan.pass(7 * DAY + 31 * DAY);
    lan.silent(90, 10);
    assert_eq!(lan.held(), Some((HOUR, Level::Isolate)));
    lan.pass(20 * MINUTE);
    // Another device's first is its first.
    lan.arp(67, 1);
    for m in 100..110 {
        lan.tcp(67, m, 8080, None);
    }
    lan.pass(2 * SECOND);
    let blocks = lan.engine.snapshot(lan.now).blocks;
    assert_eq!(blocks[1].until.map(|until| until.since(blocks[1].since)), Some(HOUR));
}

#[test]
fn a_persons_release_begins_anew_without_probation() {
    let mut lan = scanned_later(Settings { decide: GRADED, ..enforcing() });
    lan.engine
        .command(lan.now, Command::Remove(Which::Held(Who::Target(Target::Ip(host(66))))), &mut lan.out)
        .unwrap();
    lan.silent(30, 5);
    assert_eq!(lan.held(), Some((10 * MINUTE, Level::Throttle)), "no probation");
    lan.silent(35, 5);
    assert_eq!(lan.held().map(|(_, level)| level), Some(Level::Isolate));
    let until = lan.engine.snapshot(lan.now).blocks[0].until;
    assert!(until.is_some_and(|until| until.since(lan.now) <= HOUR), "the first again");
}

const GRADED: DecideSettings = DecideSettings { highest: Level::Isolate, graded: true };

#[test]
fn on_probation_the_same_goes_straight_back_where_decisions_are_graded() {
    for (decide, after, want) in [
        (GRADED, 50 * MINUTE, Some((DAY, Level::Isolate))),
        (GRADED, 70 * MINUTE, Some((10 * MINUTE, Level::Throttle))),
        (DecideSettings { graded: false, ..GRADED }, 50 * MINUTE, None),
    ] {
        let mut lan = scanned_later(Settings { decide, ..enforcing() });
        lan.pass(HOUR + SECOND);
        lan.pass(after);
        lan.silent(30, 4);
        assert_eq!(lan.held(), None, "four failures are nothing");
        lan.silent(34, 1);
        assert_eq!(lan.held(), want, "{decide:?} {after}");
    }
}

#[test]
fn on_probation_a_device_that_behaves_or_does_something_else_is_left_alone() {
    let mut lan = scanned(Settings { decide: GRADED, ..enforcing() });
    lan.pass(HOUR + SECOND);
    // It finds its servers again, and two that are off; its maker's web servers cannot be reached.
    for m in 1..=5 {
        lan.tcp(66, m, 445, Some(SYN_ACK));
        lan.pass(MINUTE);
    }
    lan.silent(30, 2);
    for n in 1..=12 {
        lan.see((mac(66), mac(1)), (host(66), ip(&format!("203.0.113.{n}"))), (50_000 + n, 443), TCP, SYN);
        lan.pass(SECOND);
    }
    lan.pass(10 * SECOND);
    assert_eq!(lan.held(), None, "{:?}", lan.alerts());
    let mut lan = scanned(Settings { decide: GRADED, ..enforcing() });
    lan.pass(HOUR + SECOND);
    for n in 0..14 {
        lan.session((66, 3), host(3), 22, (2_400 + n % 5 * 40, 2_500 + n % 3 * 60), SECOND);
    }
    lan.pass(SECOND);
    assert_eq!(lan.held(), None, "guesses are no scan: {:?}", lan.alerts());
}

#[test]
fn a_restart_forgets_neither_how_often_it_was_nor_what_a_person_released() {
    let mut lan = scanned(enforcing());
    lan.pass(HOUR);
    assert_eq!(lan.held(), None);
    lan.pass(2 * HOUR);
    let mut next = lan.restarted(|settings| settings);
    next.populate(1..=5);
    next.arp(66, 1);
    next.silent(30, 10);
    assert_eq!(next.held(), Some((DAY, Level::Isolate)), "the second");
    let release = Command::Remove(Which::Held(Who::Target(Target::Ip(host(66)))));
    next.engine.command(next.now, release, &mut next.out).unwrap();
    let mut third = next.restarted(|settings| settings);
    third.populate(1..=5);
    third.arp(66, 1);
    third.silent(50, 10);
    assert_eq!(third.held(), Some((HOUR, Level::Isolate)), "the first again");
}

#[test]
fn probation_goes_on_over_a_restart() {
    // After it, all is new to who was started anew, and five failures are only told.
    for (after, want) in [(50 * MINUTE, Some((DAY, Level::Isolate))), (70 * MINUTE, None)] {
        let mut lan = scanned(Settings { decide: GRADED, ..enforcing() });
        lan.pass(HOUR + after);
        let mut next = lan.restarted(|settings| settings);
        next.populate(1..=5);
        next.arp(66, 1);
        next.silent(30, 5);
        assert_eq!(next.held(), want, "{after}");
    }
}

#[test]
fn whom_a_device_attacked_before_it_does_not_reach_when_it_is_pinned_again() {
    let pinned_again = |meanwhile: fn(&mut Lan)| {
        let mut lan =
            used(Settings { decide: DecideSettings { highest: Level::Pin, ..GRADED }, ..enforcing() });
        // It is throttled, and goes on.
        lan.fail(66, 100, 5);
        lan.tcp(66, 5, 8080, Some(SYN_ACK));
        lan.pass(8 * MINUTE);
        assert_eq!(lan.held().map(|(_, level)| level), Some(Level::Throttle));
        lan.tcp(66, 6, 8080, Some(SYN_ACK));
        lan.pass(MINUTE);
        lan.fail(66, 110, 7);
        assert_eq!(lan.held().map(|(_, level)| level), Some(Level::Pin));
        meanwhile(&mut lan);
        lan.pass(DAY);
        assert_eq!(lan.held(), None);
        let mut lan = lan.next();
        // It is given a new server.
        lan.tcp(66, 7, 104, Some(SYN_ACK));
        lan.pass(DAY);
        lan.fail(66, 120, 4);
        lan.tcp(66, 8, 8080, Some(SYN_ACK));
        lan.fail(66, 130, 6);
        let blocks = lan.engine.snapshot(lan.now).blocks;
        let [block] = &blocks[..] else { panic!("{blocks:?}") };
        assert_eq!(block.level, Level::Pin);
        [(3, 104), (5, 8080), (6, 8080), (7, 104), (8, 8080)].map(|(n, port)| {
            let pair = format!("tcp/{port} 10.0.0.{n}");
            block.list.learned().iter().any(|allow| allow.to_string() == pair)
        })
    };
    assert_eq!(pinned_again(|_| ()), [true, false, false, true, false]);
    let released = pinned_again(|lan| {
        let who = Which::Held(Who::Target(Target::Ip(host(66))));
        lan.engine.command(lan.now, Command::Remove(who), &mut lan.out).unwrap();
    });
    assert_eq!(released, [true, true, true, true, false], "a person says it was no attack");
}

#[test]
fn a_pin_by_hand_knows_the_attack_too_but_for_what_a_person_says_of_it() {
    let learned = |say: fn(&mut Lan, u64)| {
        let mut lan =
            used(Settings { decide: DecideSettings { highest: Level::Pin, ..GRADED }, ..enforcing() });
        lan.fail(66, 100, 4);
        lan.tcp(66, 5, 8080, Some(SYN_ACK));
        lan.tcp(9, 66, 443, Some(SYN_ACK));
        lan.fail(66, 110, 5);
        assert_eq!(lan.held().map(|(_, level)| level), Some(Level::Pin));
        let incident = lan.engine.snapshot(lan.now).incidents[0].id;
        lan.pass(DAY);
        assert_eq!(lan.held(), None);
        say(&mut lan, incident);
        let mut lan = lan.next();
        let entry = lan.add(Add { level: Some(Level::Pin), ..block(Target::Ip(host(66))) });
        let has = |port: &str, peer: &str| {
            let mut allowed = entry.list.learned().iter().map(ToString::to_string);
            allowed.any(|allow| allow.contains(port) && allow.ends_with(peer))
        };
        [has("tcp/104", "10.0.0.3"), has("tcp/8080", "10.0.0.5"), has("tcp/443", "10.0.0.9")]
    };
    assert_eq!(learned(|_, _| ()), [true, false, true], "whom it attacked, not who used it");
    let judged = learned(|lan, incident| {
        let said = Said { verdict: Verdict::False, by: "tanaka".to_owned(), comment: String::new() };
        let command = Command::Judge(Judge { incident, said, former: None });
        lan.engine.command(lan.now, command, &mut lan.out).unwrap();
    });
    assert_eq!(judged, [true, true, true]);
}
