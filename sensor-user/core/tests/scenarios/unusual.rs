//! What is unlike all that was learned: told with its reasons, at most now and then, and never more than advice.

use std::sync::Arc;

use sensor_core::detect::unusual::{InForce, Scope};
use sensor_core::inventory::DeviceKey;
use sensor_core::model::drift::Parting;
use sensor_core::model::features::Subject;
use sensor_core::model::network::Network;
use sensor_core::model::random::Random;
use sensor_core::model::scale::{Column, Scaler};
use sensor_core::model::tail::Tail;
use sensor_core::model::train::{Training, train};
use sensor_core::model::{Facts, Measure, Model, Threshold, Usual};

use sensor_core::policy::Name;
use sensor_core::policy::class::Class;

use super::*;

/// A model that learned nothing: the greater a row, the odder. It is about conversations.
fn model(promised: bool) -> InForce {
    let subject = Subject::Flow;
    let labels = subject.labels();
    let columns = labels.iter().map(|label| Column { form: label.form, middle: 0.0, spread: 4.0 }).collect();
    let at = 0.3;
    let tail = Tail { start: 0.0, rate: 0.02, scale: 0.05, shape: 0.0, points: 100_000 };
    let usual = Usual { low: 0.0, middle: 1.0, high: 2_000.0 };
    let model = Model {
        subject,
        class: "all".to_owned(),
        measure: Measure {
            scaler: Scaler { columns },
            network: Network::new(labels.len(), subject.hidden(), &mut Random::new(1)),
            errors: vec![1.0; labels.len()],
        },
        usual: vec![usual; labels.len()],
        ranks: std::array::from_fn(|at| at as f32 - 5.0),
        levels: [-10.0, 10.0],
        threshold: if promised {
            Threshold::Promised { at, rate: 2e-6, tail }
        } else {
            Threshold::Guessed { at }
        },
        facts: Facts::default(),
    };
    InForce { model: Arc::new(model), hash: "0123abcd".to_owned() }
}

impl Lan {
    /// Hosts 1 to 3 talk with host 9, all in the same way, for a while.
    fn ordinary(&mut self, times: usize) {
        for at in 0..times as u64 {
            for n in 1..=3 {
                self.session((n, 9), host(9), 104, (1_000, 2_000), SECOND);
            }
            // As people do it, not clocks.
            self.pass((at * at * 7 % 41 + 1) * SECOND);
        }
    }

    /// Host 1 has a conversation as there never was one.
    fn strange(&mut self) {
        self.session((1, 9), host(9), 104, (90_000_000, 100_000_000), 1_000 * SECOND);
    }

    fn unusual(&self) -> usize {
        self.alerts().iter().filter(|alert| alert.0 == "unusual").count()
    }

    /// The hosts there are rows to learn from of.
    fn learned(&self, subject: Subject) -> Vec<u8> {
        let rows = self.engine.rows(subject, self.now).unwrap();
        let mut hosts: Vec<u8> = rows
            .hosts()
            .iter()
            .map(|host| match host {
                sensor_core::inventory::DeviceKey::Local(mac) => mac.0[5],
                sensor_core::inventory::DeviceKey::Routed(_) => 0,
            })
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }
}

/// An ordinary time, then a strange conversation, twice within the hour and again after it.
fn strange_times(settings: Settings, in_force: Option<InForce>) -> Lan {
    let mut lan = Lan::new(settings);
    lan.populate(1..=9);
    in_force.into_iter().for_each(|in_force| lan.engine.put_model(in_force));
    lan.ordinary(60);
    lan.strange();
    lan.ordinary(1);
    lan.strange();
    lan
}

#[test]
fn only_a_model_with_a_promised_threshold_calls_a_device_and_never_isolates() {
    for (in_force, want) in [(None, 0), (Some(model(false)), 0), (Some(model(true)), 1)] {
        // The most that can be set: the least incident isolates.
        let mut lan = strange_times(Settings { isolate_severity: 3, ..enforcing() }, in_force);
        assert_eq!(lan.unusual(), want, "{:?}", lan.alerts());
        assert_eq!((lan.isolated(), lan.cut()), (vec![], vec![]), "{:?}", lan.alerts());
        assert!(lan.alerts().iter().all(|alert| alert.1 == 3), "{:?}", lan.alerts());
        // After the hour it is told again, and then not for two hours.
        for hours in [1, 1, 2] {
            lan.pass(hours * HOUR);
            lan.strange();
        }
        assert_eq!(lan.unusual(), want * 3, "{:?}", lan.alerts());
    }
}

#[test]
fn a_finding_names_what_made_it_with_what_is_usual() {
    let lan = strange_times(enforcing(), Some(model(true)));
    let alert = lan.out.events.iter().find_map(|timed| match &timed.event {
        Event::Alert(alert) => Some(alert),
        _ => None,
    });
    let alert = alert.unwrap();
    let [score, limit, once, hash, class, causes @ ..] = alert.evidence.as_slice() else {
        panic!("{alert:?}")
    };
    assert_eq!(score.0, "score_over_own_level");
    assert_eq!((limit.0, &limit.1), ("limit", &Value::Number(0.3)));
    assert!(matches!(once, ("usual_once_in_rows", Value::Count(rows)) if *rows > 10_000), "{once:?}");
    assert_eq!(hash.1, Value::Text("0123abcd".to_owned()));
    assert_eq!(*class, ("learned_of", Value::Text("all".to_owned())));
    let labels = Subject::Flow.labels();
    assert_eq!(causes.len(), 3);
    for (name, value) in causes {
        assert!(labels.iter().any(|label| label.name == *name), "{name}");
        let Value::Text(words) = value else { panic!("{value:?}") };
        assert!(words.contains("; usual 0 to 2000, half up to 1 ("), "{words}");
    }
    assert!(!lan.engine.scores(sensor_core::inventory::DeviceKey::Local(mac(1))).is_empty());
}

#[test]
fn nothing_is_learned_of_a_device_that_something_is_held_against() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=9);
    lan.ordinary(60);
    assert_eq!(lan.learned(Subject::Flow)[..3], [1, 2, 3]);
    assert_eq!(lan.learned(Subject::Window)[..3], [1, 2, 3]);
    lan.add(block(Target::Ip(host(2))));
    // One tries many services of a host that refuses them: an incident.
    for port in 2_000..2_030 {
        lan.tcp(3, 8, port, Some(RST_ACK));
    }
    assert!(!lan.alerts().is_empty());
    let before = lan.engine.reservoir(Subject::Flow).unwrap().rows().len();
    lan.session((2, 9), host(9), 104, (1_000, 2_000), SECOND);
    lan.session((3, 9), host(9), 104, (1_000, 2_000), SECOND);
    assert_eq!(lan.engine.reservoir(Subject::Flow).unwrap().rows().len(), before);
    lan.session((1, 9), host(9), 104, (1_000, 2_000), SECOND);
    assert_eq!(lan.engine.reservoir(Subject::Flow).unwrap().rows().len(), before + 1);
    // Nor from what it did before that was found out.
    for subject in [Subject::Flow, Subject::Window] {
        let learned = lan.learned(subject);
        assert!(learned.contains(&1) && !learned.contains(&2) && !learned.contains(&3), "{learned:?}");
    }
}

#[test]
fn what_the_end_of_the_run_cuts_short_is_no_lesson() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=9);
    lan.ordinary(3);
    let rows = |lan: &Lan| lan.engine.reservoir(Subject::Flow).unwrap().rows().len();
    let before = rows(&lan);
    lan.tcp(1, 9, 104, Some(SYN_ACK));
    lan.engine.finish(lan.now, &mut lan.out);
    assert_eq!(rows(&lan), before);
}

#[test]
fn the_same_input_and_model_give_the_same_findings() {
    let run = || strange_times(enforcing(), Some(model(true)));
    let (one, other) = (run(), run());
    assert_eq!(one.out.events, other.out.events);
    assert_eq!(one.engine.rows(Subject::Flow, one.now), other.engine.rows(Subject::Flow, other.now));
}

#[test]
fn who_changed_bit_by_bit_is_told_and_nothing_is_done_to_him() {
    let mut lan = Lan::new(Settings { isolate_severity: 3, ..enforcing() });
    lan.populate(1..=9);
    lan.engine.put_model(model(true));
    lan.ordinary(10);
    let key = |n| DeviceKey::Local(mac(n));
    let parting = |host| Parting { host, golden: 0.93, challenger: 0.5, sum: 0.66 };
    // One that was never heard since the start cannot be told of.
    let partings = [parting(key(1)), parting(DeviceKey::Routed("10.9.9.9".parse().unwrap()))];
    lan.engine.parted(&partings, "0123abcd", lan.now, &mut lan.out);
    assert_eq!(lan.alerts(), [("unusual", 3, 1)]);
    assert_eq!((lan.isolated(), lan.cut()), (vec![], vec![]));
}

/// Settings with two classes: the hosts below 16, and those from 16 to 31.
fn monitors_and_scanners() -> Settings {
    let class = |net: &str| Class { members: [net.parse().unwrap()].into(), ..Class::default() };
    let classes = [("monitors", class("10.0.0.0/28")), ("scanners", class("10.0.0.16/28"))];
    let classes = classes.map(|(name, class)| (name.parse().unwrap(), class)).into();
    Settings { classes, ..enforcing() }
}

fn flows_of(class: &str) -> Scope {
    let class: Option<Name> = (class != "all").then(|| class.parse().unwrap());
    Scope { class, subject: Subject::Flow }
}

/// Six monitors send little, six scanners much, each class in its own way.
fn habits(lan: &mut Lan, times: u64) {
    for at in 0..times {
        for n in 1..=6 {
            lan.session((n, 60), host(60), 2_575, (900 + at * 13 % 200, 300), SECOND);
            lan.session((n + 16, 61), host(61), 104, (80_000_000 + at * 7_919, 40_000), 20 * SECOND);
        }
        lan.pass((at * at * 7 % 41 + 1) * SECOND);
    }
}

#[test]
fn what_is_usual_for_one_class_is_unusual_for_another_though_not_for_all_together() {
    let learning = {
        let mut lan = Lan::new(monitors_and_scanners());
        lan.populate(1..=62);
        habits(&mut lan, 60);
        lan.engine
    };
    let training =
        Training { rounds: 1, epochs: 60, epoch_rows: 1_024, least_rows: 100, ..Training::default() };
    let learned = |class| {
        let rows = learning.rows(flows_of(class), Time::at(0)).unwrap();
        let mut model = train(&rows, Subject::Flow, class, &training, (1, 1)).unwrap().model;
        let tail = Tail { start: 0.0, rate: 0.02, scale: 0.05, shape: 0.0, points: 100_000 };
        model.threshold = Threshold::Promised { at: 5.0, rate: 2e-6, tail };
        InForce { model: Arc::new(model), hash: class.to_owned() }
    };
    let rows = |class| learning.reservoir(flows_of(class)).unwrap().rows().len();
    assert!(rows("monitors") >= 360 && rows("scanners") >= 360);
    assert!(
        rows("all") >= rows("monitors") + rows("scanners"),
        "what is learned of a class is learned of all"
    );
    let (all, monitors) = (learned("all"), learned("monitors"));
    for (models, want) in [(vec![all.clone()], &[][..]), (vec![all, monitors], &[1])] {
        let mut lan = Lan::new(monitors_and_scanners());
        lan.populate(1..=62);
        models.into_iter().for_each(|model| lan.engine.put_model(model));
        habits(&mut lan, 40);
        assert_eq!(lan.unusual(), 0, "{:?}", lan.alerts());
        // A monitor does what a scanner does.
        lan.session((1, 61), host(61), 104, (80_000_000, 40_000), 20 * SECOND);
        lan.pass(SECOND);
        let called: Vec<_> =
            lan.alerts().iter().filter(|alert| alert.0 == "unusual").map(|alert| alert.2).collect();
        assert_eq!(called, want);
    }
}

#[test]
fn a_device_is_scored_by_its_class_if_that_promises_anything_and_else_by_all() {
    let of = |class: &str, promised| {
        let InForce { model: made, .. } = model(promised);
        InForce {
            model: Arc::new(Model { class: class.to_owned(), ..Model::clone(&made) }),
            hash: class.to_owned(),
        }
    };
    for (what, models, want) in [
        ("all alone", vec![of("all", true)], &["all"; 2][..]),
        ("its own", vec![of("all", true), of("monitors", true)], &["monitors", "all"]),
        ("its own without one of all", vec![of("monitors", true)], &["monitors"]),
        ("its own only guesses", vec![of("all", true), of("monitors", false)], &["all", "all"]),
        ("a class there is no more", vec![of("all", true), of("pumps", true)], &["all", "all"]),
    ] {
        let mut lan = Lan::new(monitors_and_scanners());
        lan.populate(1..=62);
        models.into_iter().for_each(|model| lan.engine.put_model(model));
        habits(&mut lan, 2);
        let scored = [1, 17].map(|n| lan.engine.scores(DeviceKey::Local(mac(n))).first().copied());
        let by: Vec<_> = scored.iter().flatten().map(|scored| scored.scope.class_name()).collect();
        assert_eq!(by, want, "{what}");
    }
}
