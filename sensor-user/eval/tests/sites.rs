//! A short simulation in each run of the tests: it gives the same twice, and attacks are what they say.

use sensor_core::settings::Mode;
use sensor_eval::attack::{KINDS, named};
use sensor_eval::runs::{self, Ran, Trial};
use sensor_eval::subject::tally::Step;
use sensor_eval::years::{Extent, live};

#[test]
fn a_site_lives_the_same_life_twice_and_nobody_is_cut_off() {
    let extent = Extent { hosts: 60, days: 1, confounders: 0 };
    for seed in [1, 2] {
        let [one, again] = [live(seed, &extent), live(seed, &extent)];
        assert_eq!(
            (one.records, one.talks, &one.wrong),
            (again.records, again.talks, &again.wrong),
            "seed {seed}"
        );
        let done: Vec<_> = one.wrong.iter().filter(|wrong| wrong.step >= Step::Throttle).collect();
        assert!(done.is_empty() && one.cost == [0; 3], "seed {seed}: {done:?}");
        assert!(one.talks > 5_000, "seed {seed}: {} conversations", one.talks);
    }
}

#[test]
fn attacks_are_what_they_say() {
    let trial = Trial { hosts: 80, learned: 0, kinds: named(""), each: 1 };
    let ran = runs::attack(2, &trial, Mode::Observe);
    let of = |name: &str| -> Option<&Ran> {
        ran.iter().find(|ran| KINDS.get(ran.kind).is_some_and(|kind| kind.name == name))
    };
    for (name, least, most) in [
        // Whom it finds behind its own switch it asks for by ARP, which is seen, and tries another one.
        ("sparse scan 50/s", 100, 330),
        ("scan 1 per 10 s, 30 % alive", 60, 120),
        ("vertical scan 10/s", 1, 1),
        ("ARP scan 10/s", 100, 254),
        ("beacon 5 min, jitter 0", 1, 1),
        ("password guessing, SSH", 1, 1),
    ] {
        let targets = of(name).map(|ran| ran.attacked.targets.len());
        assert!(
            targets.is_some_and(|targets| (least..=most).contains(&targets)),
            "{name}: {targets:?} targets"
        );
    }
    let called = of("sparse scan 50/s").and_then(|ran| ran.reached(Step::Alert));
    assert!(called.is_some_and(|(seconds, _)| seconds < 60.0), "{called:?}");
}
