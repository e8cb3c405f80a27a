//! Devices are identified as well as is promised, on captures of devices whose make is known.
#![allow(clippy::expect_used, reason = "a test")]

use std::path::Path;

use bpf_tests::{capture, note};
use sensor_eval::identify;
use sensor_user::makers;

#[test]
fn devices_are_identified_as_promised_also_those_nobody_tuned_on() {
    let Some(data) = capture::data_dir() else {
        note::skipped("no captures (set SEKISHO_DATA to the folder that has them)");
        return;
    };
    let trials = identify::run(&data, Path::new(makers::DEFAULT_PATH)).expect("captures and makers");
    assert!(trials.len() > 60, "only {} captures", trials.len());
    for (half, score) in identify::parts(&trials) {
        assert!(identify::passes(&score), "{half}: {score:?}\n{}", identify::page(&trials));
    }
}

#[test]
fn the_halves_are_both_large() {
    let truths = identify::truths().expect("a table");
    let held = truths.iter().filter(|truth| identify::is_held_out(truth.model)).count();
    assert!(held >= 10 && truths.len() - held >= 10, "{held} of {} are held out", truths.len());
}
