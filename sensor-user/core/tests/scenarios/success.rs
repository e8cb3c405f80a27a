//! What a class of devices makes of its first contacts, and what that changes in the test of them.

use sensor_core::model::random::Random;
use sensor_core::policy::Name;
use sensor_core::policy::class::Class;
use sensor_core::state::State;

use crate::*;

fn wards() -> Name {
    "wards".parse().unwrap()
}

/// Settings in which hosts 32 to 47 are a class.
fn with_wards() -> Settings {
    let class = Class { members: ["10.0.0.32/28".parse().unwrap()].into(), ..Class::default() };
    let class = Class { highest: Some(Level::Isolate), ..class };
    Settings { classes: [(wards(), class)].into(), ..enforcing() }
}

/// Of ten first contacts of each of these hosts so many are answered; the others come first, four a minute.
fn habit(lan: &mut Lan, hosts: std::ops::RangeInclusive<u8>, answered: u8) {
    for n in hosts {
        for m in 0..10 {
            // Answers among the failures, so that nobody is called.
            let answer =
                (u16::from(m) + 1) * u16::from(answered) / 10 > u16::from(m) * u16::from(answered) / 10;
            lan.tcp(n, 200 + m, 8000 + u16::from(n), answer.then_some(SYN_ACK));
            lan.pass(15 * SECOND);
        }
    }
}

fn populated(settings: Settings) -> Lan {
    let mut lan = Lan::new(settings);
    lan.populate(1..=60);
    lan
}

/// What was measured of a class, thousandths.
fn measured(lan: &Lan, class: Option<Name>) -> Option<u16> {
    let success = lan.engine.snapshot(lan.now).success;
    success.iter().find(|one| one.class == class).and_then(|one| one.rate.permille)
}

/// Host n tries others, of which every so many-th answers, until it is isolated or alerted of: failures needed.
fn tries(lan: &mut Lan, n: u8, answers_each: u8, done: impl Fn(&Lan) -> bool) -> Option<u8> {
    let mut failures = 0;
    for m in 61..200 {
        let answers = answers_each > 0 && m % answers_each == 0;
        failures += u8::from(!answers);
        lan.tcp(n, m, 9100, answers.then_some(SYN_ACK));
        lan.pass(3 * SECOND);
        if done(lan) {
            return Some(failures);
        }
    }
    None
}

fn isolates(lan: &Lan) -> bool {
    !lan.isolated().is_empty()
}

#[test]
fn a_class_that_often_finds_others_off_needs_more_failures_and_the_others_do_not() {
    // How many of ten its devices reach; measured; failures that isolate one of it.
    for (answered, permille, want) in
        [(10, 1_000, 10), (8, 800, 10), (7, 700, 15), (6, 600, 20), (5, 500, 20)]
    {
        let mut lan = populated(with_wards());
        habit(&mut lan, 32..=36, answered);
        lan.pass(HOUR);
        assert_eq!(measured(&lan, Some(wards())), Some(permille), "{answered}: {:?}", lan.alerts());
        assert_eq!(tries(&mut lan, 40, 0, isolates), Some(want), "{answered} of ten answer");
        // The same of a device of no class.
        let mut lan = populated(with_wards());
        habit(&mut lan, 32..=36, answered);
        lan.pass(HOUR);
        assert_eq!(measured(&lan, None), None);
        assert_eq!(tries(&mut lan, 50, 0, isolates), Some(10), "of no class");
    }
}

#[test]
fn however_low_the_rate_a_scan_of_which_few_answer_ends() {
    let mut lan = populated(with_wards());
    habit(&mut lan, 32..=36, 5);
    lan.pass(HOUR);
    assert_eq!(tries(&mut lan, 40, 20, isolates), Some(22));
}

#[test]
fn a_high_rate_alerts_of_a_sparse_scan_and_isolates_nobody_sooner() {
    let alerts = |lan: &Lan| !lan.alerts().is_empty();
    for (answered, told) in [(8, None), (10, Some(5))] {
        let sparse = || {
            let mut lan = populated(with_wards());
            habit(&mut lan, 32..=36, answered);
            lan.pass(HOUR);
            lan
        };
        // Every second answers.
        assert_eq!(tries(&mut sparse(), 40, 2, alerts), told, "{answered} of ten answer");
        assert_eq!(tries(&mut sparse(), 40, 2, isolates), None, "{answered} of ten answer");
        assert_eq!(tries(&mut sparse(), 40, 0, alerts), Some(5), "{answered} of ten answer");
        assert_eq!(tries(&mut sparse(), 40, 0, isolates), Some(10), "{answered} of ten answer");
    }
}

#[test]
fn few_devices_and_devices_that_are_held_against_something_move_no_rate() {
    let mut lan = populated(with_wards());
    habit(&mut lan, 32..=35, 5);
    lan.pass(HOUR);
    assert_eq!(measured(&lan, Some(wards())), None, "four devices are too few");
    // Two that scan, and are called, are none of the five.
    let mut lan = populated(with_wards());
    habit(&mut lan, 32..=34, 9);
    for n in [35, 36] {
        for m in 61..80 {
            lan.tcp(n, m, 9100, None);
            lan.pass(SECOND);
        }
    }
    lan.pass(HOUR);
    let blamed: Vec<_> =
        lan.alerts().iter().filter(|(_, severity, _)| *severity == 1).map(|alert| alert.2).collect();
    assert_eq!(blamed, [35, 36]);
    assert_eq!(measured(&lan, Some(wards())), None);
    // One that is busy and fails, but was not called, is one of five.
    let mut lan = populated(with_wards());
    habit(&mut lan, 32..=36, 9);
    for m in 61..180 {
        lan.tcp(32, m, 9100, (m % 2 == 0).then_some(SYN_ACK));
        lan.pass(20 * SECOND);
    }
    lan.pass(HOUR);
    assert_eq!(lan.alerts(), []);
    assert_eq!(measured(&lan, Some(wards())), Some(900));
}

#[test]
fn after_the_first_day_failures_say_more_where_contacts_nearly_always_succeed_but_isolate_no_sooner() {
    for (hours, weight) in [(1, 6.93), (25, 11.0)] {
        let mut lan = populated(with_wards());
        habit(&mut lan, 32..=36, 10);
        lan.pass(hours * HOUR);
        assert_eq!(tries(&mut lan, 40, 0, |lan| !lan.alerts().is_empty()), Some(5));
        let told = lan.engine.snapshot(lan.now).incidents[0].findings[0].weight;
        assert!((told - weight).abs() < 0.01, "{told} after {hours} h");
        let level = lan.engine.snapshot(lan.now).blocks.first().map(|block| block.level);
        assert_eq!(level, (hours > 24).then_some(Level::Pin), "{hours}");
    }
}

#[test]
fn a_finding_says_what_was_usual() {
    let mut lan = populated(with_wards());
    habit(&mut lan, 32..=36, 7);
    lan.pass(HOUR);
    tries(&mut lan, 40, 0, isolates);
    let usual = lan.out.events.iter().rev().find_map(|timed| match &timed.event {
        Event::Alert(alert) => alert.evidence.iter().find(|(name, _)| *name == "usual_success").cloned(),
        _ => None,
    });
    assert_eq!(usual, Some(("usual_success", Value::Number(0.7))));
}

#[test]
fn whatever_is_measured_no_mix_of_outcomes_isolates_sooner_than_by_the_settings() {
    let mut isolated = [0, 0];
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let alive = 0.05 + 0.5 * random.unit();
        let answers: Vec<bool> = (0..130).map(|_| random.unit() < alive).collect();
        let tried_until_isolated = |answered: Option<u8>| {
            let mut lan = populated(with_wards());
            if let Some(answered) = answered {
                habit(&mut lan, 32..=36, answered);
                lan.pass(HOUR);
            }
            (61..).zip(&answers).position(|(m, answers)| {
                lan.tcp(40, m, 9100, answers.then_some(SYN_ACK));
                lan.pass(3 * SECOND);
                isolates(&lan)
            })
        };
        let standard = tried_until_isolated(None);
        for answered in [10, 9, 6] {
            let measured = tried_until_isolated(Some(answered));
            isolated[0] += usize::from(standard.is_some());
            isolated[1] += usize::from(measured.is_some());
            let sooner = measured.is_some_and(|at| standard.is_none_or(|standard| at < standard));
            assert!(!sooner, "seed {seed}, {answered} of ten: {measured:?}, by the settings {standard:?}");
        }
    }
    assert!(isolated[0] > 60 && isolated[1] > 40, "{isolated:?}");
}

#[test]
fn a_device_that_changes_class_takes_its_contacts_along_and_rates_outlive_what_is_saved() {
    let mut lan = populated(with_wards());
    habit(&mut lan, 32..=36, 7);
    lan.pass(HOUR);
    let (mut bytes, mut other) = (Vec::new(), populated(with_wards()));
    lan.engine.save(&mut bytes).unwrap();
    other.engine.load(&mut &*bytes).unwrap();
    assert_eq!(measured(&other, Some(wards())), Some(700));
    // Under settings without the class its devices are of none, within an hour.
    let mut other = Lan::new(enforcing());
    other.engine.load(&mut &*bytes).unwrap();
    other.now = lan.now;
    other.pass(HOUR);
    assert_eq!((measured(&other, Some(wards())), measured(&other, None)), (None, Some(700)));
}
