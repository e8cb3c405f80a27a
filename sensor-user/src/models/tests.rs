//! Models are trained beside the loop, kept whole and bounded, and take over only where they may.

use std::fs;

use sensor_core::addr::Mac;
use sensor_core::inventory::DeviceKey;
use sensor_core::model::drift::Poisoning;
use sensor_core::model::random::Random;
use sensor_core::model::reservoir::Rows;
use sensor_core::model::tail::Tail;
use sensor_core::model::{Model, Threshold};
use sensor_core::settings::Settings;
use sensor_core::time::Time;

use super::train::{decide, work};
use super::*;

const NOW: Now = Now { mono: Time::at(HOUR), unix_ns: 1_764_000_000_000_000_000 };

/// So little that it is done at once.
fn little() -> Training {
    Training { rounds: 1, epochs: 2, epoch_rows: 256, least_rows: 400, ..training() }
}

/// Rows of eight devices.
fn rows(subject: Subject, each: u64) -> Rows {
    let width = subject.labels().len();
    let mut random = Random::new(5);
    let mut rows = Rows::new(width);
    for at in 0..each * 8 {
        let row: Vec<f32> = (0..width).map(|_| random.normal().abs() as f32).collect();
        let time = NOW.unix_ns as u64 - at * 1_000_000_000;
        rows.push(DeviceKey::Local(Mac([2, 0, 0, 0, 0, (at % 8) as u8])), Time::at(time), &row);
    }
    rows
}

fn engine(each: u64) -> Engine {
    let mut engine = Engine::new(Settings::default());
    for subject in SUBJECTS {
        let rows = rows(subject, each);
        let values = rows.values();
        for ((row, host), time) in values.rows().into_iter().zip(rows.hosts()).zip(rows.times()) {
            engine.reservoir_mut(subject).unwrap().offer(*host, *time, &row.to_vec());
        }
    }
    engine
}

fn open(dir: &Path, hours: u64, engine: &mut Engine) -> Models {
    let mut models = Models::open(dir, hours, engine).unwrap();
    models.training = little();
    models
}

/// Looks after it until nothing goes on.
fn settle(models: &mut Models, now: Now, engine: &mut Engine) {
    models.step(now, engine, &mut Output::default());
    while models.going().is_some() {
        std::thread::yield_now();
        models.step(now, engine, &mut Output::default());
    }
}

fn later(hours: u64) -> Now {
    let ns = hours * HOUR;
    Now { mono: NOW.mono.plus(ns), unix_ns: NOW.unix_ns + ns as i64 }
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_first_models_are_in_force_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = engine(60);
    let mut models = open(dir.path(), 24, &mut one);
    settle(&mut models, NOW, &mut one);
    assert_eq!(models.kept().len(), 2);
    let hashes = SUBJECTS.map(|subject| one.model(subject).unwrap().hash.clone());
    let names = files(dir.path());
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.contains(&format!("all-flow-20251124-{}.model", hashes[0])), "{names:?}");

    let mut other = Engine::new(Settings::default());
    let models = open(dir.path(), 24, &mut other);
    assert_eq!(SUBJECTS.map(|subject| other.model(subject).unwrap().hash.clone()), hashes);
    assert_eq!(models.kept().len(), 2);
}

#[test]
fn training_comes_when_it_is_due_or_ordered_and_there_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    // Too few rows: nothing is tried, and an order says so.
    let mut few = engine(10);
    let mut models = open(dir.path(), 24, &mut few);
    let plans = models.order(None, &few).unwrap();
    assert!(plans.iter().all(|plan| !plan.will_train && plan.rows == 80), "{plans:?}");
    assert_eq!(plans[0].what, "is not trained: there are 80 rows to learn from, and 400 are needed");
    models.step(NOW, &mut few, &mut Output::default());
    assert!(models.going().is_none());

    let mut enough = engine(60);
    let mut never = open(dir.path(), 0, &mut enough);
    settle(&mut never, NOW, &mut enough);
    assert_eq!(never.kept().len(), 0);
    assert!(never.order(None, &enough).unwrap().iter().all(|plan| plan.will_train));
    never.step(NOW, &mut enough, &mut Output::default());
    assert_eq!(never.going(), Some(Subject::Flow.into()));
    let plans = never.order(None, &enough).unwrap();
    assert!(plans[0].what.starts_with("is being trained") && plans[1].what.contains("after"), "{plans:?}");
    settle(&mut never, NOW, &mut enough);
    assert_eq!(never.kept().len(), 2);
    fs::remove_dir_all(dir.path()).unwrap();
    let mut models = open(dir.path(), 24, &mut enough);
    for (hours, want) in [(0, 2), (23, 2), (25, 4)] {
        settle(&mut models, later(hours), &mut enough);
        assert_eq!(models.kept().len(), want, "after {hours} h");
    }
    // Another daemon knows when that was.
    let mut models = open(dir.path(), 24, &mut enough);
    settle(&mut models, later(26), &mut enough);
    assert_eq!(models.kept().len(), 4);
}

#[test]
fn few_files_are_kept_and_what_is_in_force_is_among_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = engine(60);
    let mut models = open(dir.path(), 1, &mut engine);
    settle(&mut models, NOW, &mut engine);
    let first = models.kept().iter().find(|one| one.model.subject == Subject::Flow).unwrap().clone();
    // What is in force promises something; those that come do not, and stay challengers.
    let mut model = Model::clone(&first.model);
    model.threshold = promised(1.0);
    let first = models.shelf.put(model).unwrap();
    models.shelf.choose(Chosen::InForce, &first).unwrap();
    engine.put_model(in_force(&first));
    models.kept.insert(0, first.clone());
    for hours in 1..15 {
        settle(&mut models, later(hours), &mut engine);
    }
    let flows = models.kept().iter().filter(|one| one.model.subject == Subject::Flow).count();
    assert_eq!((flows, engine.model(Subject::Flow).unwrap().hash.as_str()), (9, first.hash.as_str()));
    let names = files(dir.path());
    assert!(names.contains(&first.file));
    assert_eq!(names.iter().filter(|name| name.starts_with("all-flow-")).count(), 9, "{names:?}");
}

#[test]
fn files_that_are_no_models_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = engine(60);
    settle(&mut open(dir.path(), 24, &mut one), NOW, &mut one);
    let hash = one.model(Subject::Flow).unwrap().hash.clone();
    let path = dir.path().join(format!("all-flow-20251124-{hash}.model"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::write(dir.path().join("junk.model"), [0xff; 300]).unwrap();
    fs::write(dir.path().join("half.model.new"), [1]).unwrap();

    let mut other = Engine::new(Settings::default());
    let models = open(dir.path(), 24, &mut other);
    assert_eq!(models.kept().len(), 1);
    assert!(other.model(Subject::Flow).is_none() && other.model(Subject::Window).is_some());
    assert!(path.exists() && dir.path().join("junk.model").exists());
    assert!(!dir.path().join("half.model.new").exists());
}

fn promised(at: f64) -> Threshold {
    let tail = Tail { start: at / 2.0, rate: 0.02, scale: 0.1, shape: 0.0, points: 50_000 };
    Threshold::Promised { at, rate: 2e-6, tail }
}

#[test]
fn a_challenger_takes_over_only_where_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let rows = rows(Subject::Window, 60);
    let shelf = Shelf::open(dir.path()).unwrap();
    let (subject, training, made_secs) = (Subject::Window, little(), 1);
    let job = Job { rows: rows.clone(), scope: subject.into(), in_force: None, made_secs, shelf, training };
    let done = work(job).unwrap();
    assert!(done.takes_over && done.guessed.is_some(), "{}", done.words());
    assert!(done.words().contains("it only learns and never alerts: "), "{}", done.words());
    let guessed = Model::clone(&done.kept.model);
    let of = |at| Model { threshold: promised(at), ..guessed.clone() };
    for (what, in_force, challenger, want) in [
        ("none is in force", None, &guessed, true),
        ("neither promises anything", Some(&guessed), &guessed, true),
        ("it promises more", Some(&guessed), &of(1.0), true),
        ("it promises less", Some(&of(1.0)), &guessed, false),
        ("it is much the same", Some(&of(1.0)), &of(1.05), true),
        ("its threshold rose", Some(&of(1.0)), &of(1.2), false),
    ] {
        assert_eq!(decide(in_force, challenger, &rows).0, want, "{what}");
    }
}

#[test]
fn an_order_puts_an_older_model_in_force_and_a_restart_knows() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = engine(60);
    let mut models = open(dir.path(), 1, &mut engine);
    settle(&mut models, NOW, &mut engine);
    let old = engine.model(Subject::Window).unwrap().hash.clone();
    settle(&mut models, later(2), &mut engine);
    assert_ne!(engine.model(Subject::Window).unwrap().hash, old);
    for (hash, want) in [
        ("abc", "a model is named by the first 4 digits"),
        ("../../x", "a model is named by the first 4 digits"),
        ("0000000000", "there is no model 0000000000; `sekisho model list` shows"),
    ] {
        let refused = models.promote(hash, Chosen::InForce, &mut engine).unwrap_err();
        assert!(refused.starts_with(want), "{refused}");
    }
    let kept = models.promote(&old[..6], Chosen::InForce, &mut engine).unwrap();
    models.remember(Chosen::InForce, kept)().unwrap();
    let list = models.list(&engine);
    let in_force: Vec<_> = list.models.iter().filter(|model| model.in_force).collect();
    assert_eq!((list.models.len(), in_force.len()), (4, 2));
    assert!(in_force.iter().any(|model| model.hash == old), "{list:?}");
    let mut other = Engine::new(Settings::default());
    open(dir.path(), 1, &mut other);
    assert_eq!(other.model(Subject::Window).unwrap().hash, old);
}

#[test]
fn scores_of_a_device_that_is_not_known_are_refused() {
    let refused = scores("10.0.0.7", &Engine::new(Settings::default()), crate::clock::WallClock::UNIX);
    assert!(refused.unwrap_err().contains("10.0.0.7"));
}

#[test]
fn what_there_is_to_learn_from_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = engine(20);
    let mut models = open(dir.path(), 0, &mut one);
    models.close(&one);
    assert_eq!(files(dir.path()), ["all-flow.rows", "all-window.rows"]);
    let mut other = Engine::new(Settings::default());
    open(dir.path(), 0, &mut other);
    for subject in SUBJECTS {
        assert_eq!(other.rows(subject, NOW.mono), one.rows(subject, NOW.mono));
        assert_eq!(other.reservoir(subject).unwrap().rows().len(), 160);
    }
    // One that cannot be used is told, and the others are.
    fs::write(dir.path().join("all-flow.rows"), [0xa5; 999]).unwrap();
    let mut third = Engine::new(Settings::default());
    open(dir.path(), 0, &mut third).close(&third);
    assert!(third.reservoir(Subject::Flow).unwrap().rows().is_empty());
    assert_eq!(third.reservoir(Subject::Window).unwrap().rows().len(), 160);
}

#[test]
fn rows_are_written_in_turns_now_and_then() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = engine(5);
    let mut models = open(dir.path(), 0, &mut engine);
    let half = |halves: u64| Now { mono: NOW.mono.plus(halves * HOUR / 2), ..NOW };
    for (halves, want) in [(0, 0), (1, 1), (2, 2)] {
        models.step(half(halves), &mut engine, &mut Output::default());
        models.saver.join();
        assert_eq!(files(dir.path()).len(), want, "{halves}");
    }
    fs::remove_file(dir.path().join("all-flow.rows")).unwrap();
    models.step(half(3), &mut engine, &mut Output::default());
    models.saver.join();
    assert_eq!(files(dir.path()).len(), 2);
}

/// A model by which all rows are as odd as can be.
fn all_odd(kept: &Kept) -> Model {
    let mut model = Model::clone(&kept.model);
    model.threshold = promised(1.0);
    model.ranks = std::array::from_fn(|at| at as f32 - 1e6);
    model
}

#[test]
fn the_first_model_that_promises_is_golden_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut engine, subject) = (engine(60), Subject::Flow);
    let mut models = open(dir.path(), 1, &mut engine);
    settle(&mut models, NOW, &mut engine);
    let first = models.kept().iter().find(|one| one.model.subject == subject).unwrap().clone();
    assert!(models.shelf.golden(subject.into()).is_none(), "one that only learns measures nothing");
    let refused = models.promote(&first.hash, Chosen::Golden, &mut engine).unwrap_err();
    assert!(refused.contains("was learned from too little"), "{refused}");

    let golden = models.shelf.put(all_odd(&first)).unwrap();
    models.kept.insert(0, golden.clone());
    let kept = models.promote(&golden.hash, Chosen::Golden, &mut engine).unwrap();
    models.remember(Chosen::Golden, kept)().unwrap();
    assert_eq!(engine.model(subject).unwrap().hash, first.hash, "what is in force stays");
    for hours in 1..15 {
        settle(&mut models, later(hours), &mut engine);
    }
    let listed = |models: &Models, engine: &Engine| {
        let golden = models.list(engine).models.into_iter().filter(|model| model.golden);
        golden.map(|model| model.hash).collect::<Vec<_>>()
    };
    assert_eq!(listed(&models, &engine), [golden.hash.as_str()], "it is not cleared away");
    let mut other = Engine::new(Settings::default());
    assert_eq!(listed(&open(dir.path(), 1, &mut other), &other), [golden.hash.as_str()]);
    assert!(models.shelf.drift(subject.into()).sums().count() > 0);
    models.shelf.choose(Chosen::Golden, &golden).unwrap();
    assert_eq!(models.shelf.drift(subject.into()).sums().count(), 0, "measuring begins anew");
}

#[test]
fn who_parts_from_the_golden_model_is_told_though_the_daemon_starts_again_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (subject, shelf) = (Subject::Window, Shelf::open(dir.path()).unwrap());
    let train = |made_secs| {
        let (rows, shelf, training) = (rows(subject, 60), Shelf::open(dir.path()).unwrap(), little());
        work(Job { rows, scope: subject.into(), in_force: None, made_secs, shelf, training }).unwrap()
    };
    let first = train(1);
    assert_eq!(first.parted, None);
    let golden = shelf.put(all_odd(&first.kept)).unwrap();
    shelf.choose(Chosen::Golden, &golden).unwrap();
    // The golden model ranks all rows 1, each new one about a half: a gap of 0.4 beyond chance each time.
    let second = train(2);
    assert_eq!(second.parted, Some((golden.hash.clone(), vec![])));
    let third = train(3);
    let (by, parted) = third.parted.as_ref().unwrap();
    assert_eq!((by, parted.len()), (&golden.hash, 8));
    assert!(
        third.words().contains(&format!("changed bit by bit from the golden model {by}: 02:00:")),
        "{}",
        third.words()
    );
    // A golden model that cannot be read is told, and another may be chosen.
    fs::write(dir.path().join(&golden.file), [7; 100]).unwrap();
    assert_eq!(train(4).parted, None);
}

#[test]
fn what_was_measured_is_kept_and_lines_that_say_nothing_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(dir.path()).unwrap();
    let mut drift = Poisoning::new(9);
    let hosts =
        [DeviceKey::Local(Mac([2, 0, 0, 0, 0, 7])), DeviceKey::Routed("2001:db8::7".parse().unwrap())];
    hosts.iter().for_each(|host| drift.restore(*host, 0.25));
    drift.restore(DeviceKey::Routed("10.0.0.1".parse().unwrap()), f64::NAN);
    shelf.put_drift(Subject::Flow.into(), &drift).unwrap();
    let sums = |shelf: &Shelf| shelf.drift(Subject::Flow.into()).sums().collect::<Vec<_>>();
    assert_eq!(sums(&shelf), hosts.map(|host| (host, 0.25)));
    let path = dir.path().join("all-flow.drift");
    fs::write(
        &path,
        b"02:00:00:00:00:07 0.5\n\xff\xfe\n10.0.0.1\n10.0.0.2 much\n10.0.0.3 -1\n10.0.0.4 inf\n",
    )
    .unwrap();
    assert_eq!(sums(&shelf), [(hosts[0], 0.5)]);
    fs::write(dir.path().join("all-flow.golden"), "../../etc/passwd\n").unwrap();
    assert!(shelf.golden(Subject::Flow.into()).is_none());
}

/// Settings with a class of these names each.
fn classes(names: &[&str]) -> Settings {
    let classes = names.iter().map(|name| (name.parse().unwrap(), Default::default())).collect();
    Settings { classes, ..Settings::default() }
}

fn of(class: &str, subject: Subject) -> Scope {
    Scope { class: Some(class.parse().unwrap()), subject }
}

#[test]
fn each_class_has_its_models_and_those_of_one_that_is_gone_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let fill = |engine: &mut Engine, scope: Scope, each| {
        let rows = rows(scope.subject, each);
        for ((row, host), time) in rows.values().rows().into_iter().zip(rows.hosts()).zip(rows.times()) {
            engine.reservoir_mut(scope).unwrap().offer(*host, *time, &row.to_vec());
        }
    };
    // Names may have anything but a slash in them; none leads out of the directory.
    let names = ["..", "all-flow", "wards"];
    let mut one = Engine::new(classes(&names));
    fill(&mut one, of("..", Subject::Flow), 60);
    fill(&mut one, of("all-flow", Subject::Flow), 60);
    fill(&mut one, of("wards", Subject::Window), 20);
    let mut models = open(dir.path(), 24, &mut one);
    settle(&mut models, NOW, &mut one);
    let mut kept: Vec<_> = models.kept().iter().map(|kept| kept.model.class.clone()).collect();
    kept.sort();
    assert_eq!(kept, ["..", "all-flow"], "one at a time, as far as there are rows");
    assert!(one.model(of("..", Subject::Flow)).is_some() && one.model(Subject::Flow).is_none());
    let plans = models.order(Some("wards"), &one).unwrap();
    assert_eq!(
        plans.iter().map(|plan| (plan.rows, plan.will_train)).collect::<Vec<_>>(),
        [(0, false), (160, false)]
    );
    assert!(models.order(Some("pumps"), &one).unwrap_err().contains("no models are made of a class pumps"));
    let list = models.list(&one);
    assert_eq!(list.classes["wards"], [("flow".to_owned(), 0), ("window".to_owned(), 160)].into());
    models.close(&one);
    let names = files(dir.path());
    assert!(
        names.contains(&"wards-window.rows".to_owned()) && names.contains(&"..-flow.in-force".to_owned()),
        "{names:?}"
    );
    // After a restart with one class less.
    let mut other = Engine::new(classes(&["all-flow", "wards"]));
    let mut models = open(dir.path(), 24, &mut other);
    assert_eq!(other.reservoir(of("wards", Subject::Window)).unwrap().rows().len(), 160);
    assert!(other.model(of("all-flow", Subject::Flow)).is_some());
    let gone = models.kept().iter().find(|kept| kept.model.class == "..").unwrap().hash.clone();
    let refused = models.promote(&gone, Chosen::InForce, &mut other).unwrap_err();
    assert!(refused.contains("of which no models are asked now"), "{refused}");
    assert_eq!(files(dir.path()), names);
}

#[test]
fn only_so_many_classes_are_learned_from_and_none_that_is_called_as_all_are() {
    let names: Vec<_> = (0..20).map(|n| format!("ward-{n:02}")).chain(["all".to_owned()]).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let engine = Engine::new(classes(&names));
    let scopes: Vec<_> = engine.scopes().iter().map(ToString::to_string).collect();
    assert_eq!(scopes.len(), 2 * (1 + 12));
    assert_eq!(scopes[..3], ["all-flow", "all-window", "ward-00-flow"]);
    assert_eq!(scopes.last().unwrap(), "ward-11-window");
}
