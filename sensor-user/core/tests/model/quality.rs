//! How well models tell the odd from the usual, and what spoilt training does to that.

use sensor_core::model::baseline::{Forest, Pca};
use sensor_core::model::drift::{Comparison, Poisoning};
use sensor_core::model::features::Subject;
use sensor_core::model::file::write;
use sensor_core::model::random::Random;
use sensor_core::model::reservoir::Rows;
use sensor_core::model::scale::quantile;
use sensor_core::model::train::{Trained, Training, train};
use sensor_core::model::{Model, RANKS, Scratch, Usual};

use crate::cpu_seconds;
use crate::synthetic::{Attack, Class, host};

/// Small enough for each run of the tests.
pub fn quick() -> Training {
    Training { epochs: 20, epoch_rows: 2_048, rounds: 1, rate: 1e-4, ..Training::default() }
}

/// The part of the rows of a host that alarm, once its level is known.
fn alarms(
    model: &Model,
    number: u64,
    mut row: impl FnMut(usize) -> Vec<f32>,
    class: &Class,
    count: usize,
) -> f64 {
    let (mut scratch, mut level) = (Scratch::default(), model.level());
    let mut random = Random::new(number + 1_000);
    for _ in 0..300 {
        let usual = class.usual(number, &mut random);
        let judgement = model.judge(&usual, &level, &mut scratch);
        level.observe(judgement.score);
    }
    let odd = (0..count).filter(|at| model.judge(&row(*at), &level, &mut scratch).alarm).count();
    odd as f64 / count as f64
}

/// Alarms of usual rows of hosts, and of each attack.
pub fn rates(model: &Model, class: &Class, hosts: std::ops::Range<u64>, count: usize) -> (f64, [f64; 3]) {
    let mut random = Random::new(4_242);
    let all = hosts.clone().count() as f64;
    let usual: f64 = hosts
        .clone()
        .map(|number| alarms(model, number, |_| class.usual(number, &mut random), class, count))
        .sum();
    let attacks = [Attack::Mixed, Attack::Greater, Attack::Near].map(|attack| {
        let of = |number| {
            let row = |_| class.attack(number, attack, 1.0, &mut random);
            alarms(model, number, row, class, count.min(500))
        };
        hosts.clone().map(of).sum::<f64>() / all
    });
    (usual / all, attacks)
}

#[test]
fn attacks_stand_out_and_usual_rows_of_new_hosts_do_not() {
    let class = Class::new(Subject::Window);
    // Host 3 was broken into on the first day.
    let rows = class.spoilt(0..12, 1_900, 1, |number, _| (number == 3).then_some(Attack::Greater));
    let Trained { model, odd_hosts, guessed } =
        train(&rows, class.subject, "pump", &quick(), (7, 0)).unwrap();
    let (usual, attacks) = rates(&model, &class, 100..104, 500);
    let seen = format!(
        "usual {usual} attacks {attacks:?} odd {odd_hosts:?} {guessed:?} {:?} {:?}",
        model.facts, model.threshold
    );
    assert_eq!(odd_hosts, [host(3)], "{seen}");
    assert_eq!((guessed, model.facts.set_aside), (None, 1), "{seen}");
    assert!(usual < 2e-3, "{seen}");
    assert!(attacks[1] > 0.9, "{seen}");

    let again = train(&rows, class.subject, "pump", &quick(), (7, 0)).unwrap();
    assert_eq!(write(&model), write(&again.model));
}

#[test]
fn an_alarm_is_explained_by_what_made_it() {
    let class = Class::new(Subject::Window);
    let training = Training { least_rows: 3_000, ..quick() };
    let model = train(&class.rows(0..12, 300, 1), class.subject, "pump", &training, (7, 0)).unwrap().model;
    let (mut scratch, mut random) = (Scratch::default(), Random::new(8));
    let (mut named, mut below, mut alarms) = (0, 0, 0);
    // As if many more rows had been seen.
    let threshold = model.ranks[RANKS.len() - 1];
    for number in 0..400 {
        // The first two features that are no flags are an outlandish 100 times as great.
        let mut row = class.usual(number % 12, &mut random);
        (row[0], row[1]) = (row[0] * 100.0, row[1] * 100.0);
        if model.measure.score(&row, &mut scratch) < threshold {
            continue;
        }
        alarms += 1;
        let causes = model.explain(&row, 3, &mut scratch);
        let places: Vec<_> = causes.iter().map(|cause| cause.at).collect();
        named += usize::from(places.contains(&0) && places.contains(&1));
        assert_eq!(causes.len(), 3);
        for cause in &causes {
            let Usual { low, middle, high } = cause.usual;
            assert!(low <= middle && middle <= high && cause.value == row[cause.at], "{cause:?}");
            row[cause.at] = middle;
        }
        assert_eq!(causes[0].label, class.subject.labels()[causes[0].at]);
        below += usize::from(model.measure.score(&row, &mut scratch) < threshold);
    }
    assert!(alarms > 200 && named * 10 >= alarms * 9 && below * 10 >= alarms * 9, "{alarms} {named} {below}");
}

#[test]
fn too_little_to_learn_from_is_told() {
    let class = Class::new(Subject::Window);
    let told = |hosts, each, subject| {
        let rows = class.rows(0..hosts, each, 1);
        train(&rows, subject, "pump", &Training { least_rows: 100, ..quick() }, (7, 0))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(told(12, 5, Subject::Window), "60 rows are too few to learn from; at least 100 are needed");
    assert_eq!(
        told(4, 30, Subject::Window),
        "4 hosts are too few to learn from (0 more were set aside as odd); at least 5 are needed"
    );
    assert_eq!(
        told(4, 30, Subject::Flow),
        "rows have 34 features, but a flow has 41; were they kept by another version?"
    );
}

#[test]
fn slow_poisoning_is_told_and_what_stays_the_same_is_not() {
    let class = Class::new(Subject::Window);
    let training = Training { least_rows: 3_000, rounds: 1, ..quick() };
    let learn = |rows: &Rows| train(rows, class.subject, "pump", &training, (7, 0)).unwrap();
    let golden = learn(&class.rows(0..12, 300, 1)).model;
    let mut poisoning = Poisoning::new(100);
    for week in 2..6 {
        let rows = class.rows(0..12, 300, week);
        assert_eq!(poisoning.compare(&golden, &golden, &rows), []);
        let comparison = Comparison::new(&golden, &golden, &rows);
        assert!(comparison.may_take_over(), "{comparison:?}");
    }
    // Half the hosts go a part of the way to an attack each week: too many to be set aside.
    let (mut told, mut shifts) = (Vec::new(), Vec::new());
    for week in 1..=4 {
        let rows = class.drifting(0..12, 300, 10 + week, 0..6, week as f64 * 0.1);
        let challenger = learn(&rows);
        assert_eq!(challenger.odd_hosts, [], "week {week}");
        told.push(poisoning.compare(&golden, &challenger.model, &rows));
        shifts.push(Comparison::new(&golden, &challenger.model, &rows));
    }
    assert_eq!(told[0], []);
    let hosts: Vec<_> = told[3].iter().map(|parting| parting.host).collect();
    assert_eq!(hosts, (0..6).map(host).collect::<Vec<_>>(), "{told:?}");
    assert!(told[3].iter().all(|parting| parting.golden > 0.8 && parting.challenger < 0.7), "{told:?}");
    assert!(shifts[0].may_take_over() && !shifts[3].may_take_over(), "{shifts:?}");
}

/// Rows of each host.
const EACH: u64 = 4_000;

/// `cargo test --release -p sensor-core --test model -- --ignored --nocapture spoilt`.
#[test]
#[ignore = "takes minutes; prints what it measures"]
fn spoilt_training_costs_little() {
    for subject in [Subject::Window, Subject::Flow] {
        let class = Class::new(subject);
        let training = Training { rate: 1e-5, epoch_rows: 8_192, ..Training::default() };
        type Spoil = (&'static str, fn(u64, u64) -> bool);
        let cases: [Spoil; 5] = [
            ("nothing", |_, _| false),
            ("5 % of all rows, a burst of one host", |host, at| host == 3 && at % EACH < EACH * 60 / 100),
            ("5 % of all rows, bursts of three hosts", |host, at| host < 3 && at % EACH < EACH * 20 / 100),
            ("1 % of the rows of each host, in bursts", |_, at| at % EACH < EACH / 100),
            ("one host from the first day", |host, _| host == 3),
        ];
        for attack in [Attack::Greater, Attack::Near] {
            for (name, spoil) in cases {
                let rows = class.spoilt(0..12, EACH, 1, |host, at| spoil(host, at).then_some(attack));
                let began = cpu_seconds();
                let trained = train(&rows, subject, "pump", &training, (7, 0)).unwrap();
                let seconds = cpu_seconds() - began;
                let (same, _) = rates(&trained.model, &class, 4..8, 10_000);
                let (new, attacks) = rates(&trained.model, &class, 100..104, 10_000);
                let odd: Vec<_> =
                    (0..12).filter(|number| trained.odd_hosts.contains(&host(*number))).collect();
                println!(
                    "{subject:?}, {attack:?}, {name}: {seconds:.1} s; false {same:.0e} (new hosts {new:.0e}); mixed {:.3} \
                     greater {:.3} near {:.3}; at {:.2}; odd hosts {odd:?}; epochs {}",
                    attacks[0],
                    attacks[1],
                    attacks[2],
                    trained.model.threshold.at(),
                    trained.model.facts.epochs,
                );
            }
        }
    }
}

/// Against the baselines, each with the threshold that a thousandth of fresh usual rows of the same hosts pass, without the
/// hosts' levels: `cargo test --release -p sensor-core --test model -- --ignored --nocapture baselines`.
#[test]
#[ignore = "prints what it measures"]
fn baselines() {
    for subject in [Subject::Window, Subject::Flow] {
        let class = Class::new(subject);
        let rows = class.rows(0..12, EACH, 1);
        let training = Training { rate: 1e-5, ..Training::default() };
        let model = train(&rows, subject, "pump", &training, (7, 0)).unwrap().model;
        let (all, mut random) = ((0..rows.len()).collect::<Vec<_>>(), Random::new(3));
        let forms: Vec<_> = subject.labels().iter().map(|label| label.form).collect();
        let pca = Pca::learn(&rows.values(), &all, &forms, 12, &mut random);
        let forest = Forest::learn(&rows.values(), &all, &mut random);
        let mut scratch = Scratch::default();
        compare(subject, "autoencoder", &class, &mut |row| model.measure.score(row, &mut scratch));
        compare(subject, "PCA", &class, &mut |row| pca.score(row));
        compare(subject, "forest", &class, &mut |row| forest.score(row));
    }
}

/// Prints the part of each attack that passes the threshold.
fn compare(subject: Subject, name: &str, class: &Class, score: &mut dyn FnMut(&[f32]) -> f32) {
    let mut random = Random::new(99);
    let mut usual: Vec<f32> = (0..40_000).map(|at| score(&class.usual(at % 12, &mut random))).collect();
    let threshold = quantile(&mut usual, 0.999);
    for (attack, strength) in
        [(Attack::Mixed, 1.0), (Attack::Near, 1.0), (Attack::Greater, 0.5), (Attack::Greater, 1.0)]
    {
        let rows = (0..4_000).map(|at| class.attack(at % 12, attack, strength, &mut random));
        let found = rows.filter(|row| score(row) > threshold).count();
        println!("{subject:?}, {name}: {attack:?} {strength}: {:.3}", found as f64 / 4e3);
    }
}
