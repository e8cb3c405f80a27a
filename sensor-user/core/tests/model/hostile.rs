//! Model files of all kinds: written and read again, damaged, and made by somebody who means harm.

use proptest::collection::vec;
use proptest::prelude::*;
use sensor_core::model::features::Subject;
use sensor_core::model::file::{FileError, read, write};
use sensor_core::model::network::Network;
use sensor_core::model::random::Random;
use sensor_core::model::scale::{Column, Scaler};
use sensor_core::model::tail::Tail;
use sensor_core::model::{Facts, Measure, Model, RANKS, Scratch, Threshold, Usual};
use sha2::{Digest, Sha256};

/// A model that was not trained but could have been.
fn model(subject: Subject, seed: u64, promised: bool) -> Model {
    let mut random = Random::new(seed);
    let labels = subject.labels();
    let network = Network::new(labels.len(), subject.hidden(), &mut random);
    let mut draw = || random.normal() as f32;
    let columns =
        labels.iter().map(|label| Column { form: label.form, middle: draw(), spread: 1.0 + draw().abs() });
    let scaler = Scaler { columns: columns.collect() };
    let errors = labels.iter().map(|_| 0.01 + draw().abs()).collect();
    let usual = labels.iter().map(|_| Usual { low: draw(), middle: draw(), high: draw() }).collect();
    let tail = Tail { start: 1.5, rate: 0.016, scale: 0.4, shape: f64::from(draw()) / 5.0, points: 204_000 };
    Model {
        subject,
        class: "infusion pump".to_owned(),
        measure: Measure { scaler, network, errors },
        usual,
        ranks: std::array::from_fn(|at| RANKS[at] as f32 * 3.0 - 1.0),
        levels: [-0.3, 0.4],
        threshold: match promised {
            true => Threshold::Promised { at: 4.5, rate: 4.6e-7, tail },
            false => Threshold::Guessed { at: 6.0 },
        },
        facts: Facts { made_secs: 1_700_000_000, seed, rows: 5, hosts: 7, loss: draw(), ..Facts::default() },
    }
}

/// Puts the right hash under a body.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = bytes.len().saturating_sub(32);
    let hash = Sha256::digest(&bytes[..body]);
    bytes.truncate(body);
    bytes.extend_from_slice(&hash);
    bytes
}

/// Uses a model in all ways, as a program would.
fn exercise(model: &Model) {
    let mut scratch = Scratch::default();
    let mut level = model.level();
    let width = model.labels().len();
    for value in [0.0, 1.0, -1.0, 1e30, f32::MAX, f32::NAN, f32::INFINITY] {
        let row = vec![value; width];
        let judgement = model.judge(&row, &level, &mut scratch);
        assert!(judgement.score.is_finite() && judgement.over.is_finite(), "{judgement:?}");
        assert!(judgement.rate > 0.0 && judgement.rate <= 1.0, "{judgement:?}");
        assert!((0.0..=1.0).contains(&model.rank(judgement.score)));
        level.observe(judgement.score);
        let causes = model.explain(&row, 5, &mut scratch);
        assert!(
            causes.len() == 5 && causes.iter().all(|cause| (0.0..=1.0).contains(&cause.part)),
            "{causes:?}"
        );
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(seed in any::<u64>(), window in any::<bool>(), promised in any::<bool>()) {
        let subject = if window { Subject::Window } else { Subject::Flow };
        let model = model(subject, seed, promised);
        let bytes = write(&model);
        prop_assert_eq!(&bytes, &write(&model.clone()));
        prop_assert_eq!(read(&bytes), Ok(model));
    }

    #[test]
    fn any_bytes_are_an_error(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(read(&bytes).is_err());
        let like_one = [b"SEKISHOM\x01\0".as_slice(), &bytes, &[0; 32]].concat();
        prop_assert!(read(&seal(like_one)).is_err());
    }

    #[test]
    fn any_damage_is_found(at in any::<prop::sample::Index>(), by in 1_u8..) {
        let mut bytes = write(&model(Subject::Window, 1, true));
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        prop_assert!(read(&bytes).is_err());
        let cut = &bytes[..at];
        prop_assert!(read(cut).is_err());
    }

    /// With the right hash a changed file may be a model, and then it can be used.
    #[test]
    fn whatever_is_read_can_be_used(
        promised in any::<bool>(),
        edits in vec((any::<prop::sample::Index>(), any::<[u8; 4]>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = write(&model(Subject::Flow, 2, promised));
        for (at, by) in edits {
            let at = at.index(bytes.len() - 4);
            bytes[at..at + 4].copy_from_slice(&by);
        }
        let length = bytes.len();
        bytes.truncate(cut.map_or(length, |cut| cut.index(length)));
        if let Ok(model) = read(&seal(bytes)) {
            exercise(&model);
            prop_assert_eq!(read(&write(&model)), Ok(model));
        }
    }
}

#[test]
fn a_model_can_be_used() {
    for subject in [Subject::Flow, Subject::Window] {
        exercise(&model(subject, 3, true));
        exercise(&model(subject, 4, false));
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let whole = write(&model(Subject::Flow, 5, true));
    let edited = |at: usize, by: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + by.len()].copy_from_slice(by);
        read(&seal(bytes)).unwrap_err()
    };
    let check = |got: FileError, want: &str| assert_eq!(got.to_string(), want);
    check(read(b"").unwrap_err(), "this is no model file");
    check(edited(0, b"S0"), "this is no model file");
    check(
        edited(8, &[9, 0]),
        "the file is of version 9, and this program reads version 1; train the model again",
    );
    check(edited(10, &[7]), "the subject of the file cannot be");
    check(edited(12, &[7]), "the class of the file cannot be");
    let place = 12 + "infusion pump".len() + 2 + 1;
    check(
        edited(place, b"D"),
        "feature 1 of the file is `Destination_inside`, and here it is `destination_inside`; train the model again",
    );
    let place = place + "destination_inside".len() + 1 + 4;
    check(edited(place, &[0; 4]), "the spread of a feature of the file cannot be");
    check(edited(place + 4, &[0; 4]), "the usual error of a feature of the file cannot be");
    check(edited(place - 4, &f32::NAN.to_le_bytes()), "a feature of the file cannot be");
    let mut longer = whole.clone();
    longer.extend([0; 5]);
    check(
        read(&seal(longer)).unwrap_err(),
        "the file is of the wrong length: it ends within or goes on after facts",
    );
    check(read(&whole[..whole.len() - 1]).unwrap_err(), "the file is damaged: its hash does not match");
    check(read(&vec![0; 2 << 20]).unwrap_err(), "the file has 2097152 bytes; a model has at most 1048576");
}
