//! Rows to learn from over a restart: the same sample goes on, and no bytes of a file do harm.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use sensor_core::inventory::DeviceKey;
use sensor_core::model::features::Subject;
use sensor_core::model::reservoir::Reservoir;
use sensor_core::model::reservoir_file::{ReservoirError, read, write};
use sensor_core::time::Time;
use sha2::{Digest, Sha256};

use crate::synthetic::host;

const LIMIT: usize = 100;

fn reservoir(subject: Subject) -> Reservoir {
    let width = subject.labels().len();
    let mut reservoir = Reservoir::new(LIMIT, width, 1);
    let routed = ["10.9.0.1", "fd00::1"].map(|ip| DeviceKey::Routed(ip.parse().unwrap()));
    for at in 0..500 {
        let who = if at % 7 == 0 { routed[at % 2] } else { host(at as u64 % 5) };
        reservoir.offer(who, Time::at(at as u64), &vec![at as f32; width]);
    }
    reservoir
}

/// Puts the right hash under a body.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = bytes.len().saturating_sub(32);
    let hash = Sha256::digest(&bytes[..body]);
    bytes.truncate(body);
    bytes.extend_from_slice(&hash);
    bytes
}

/// Rows of each host.
fn counts(reservoir: &Reservoir) -> BTreeMap<DeviceKey, usize> {
    let mut counts = BTreeMap::new();
    reservoir.rows().hosts().iter().for_each(|host| *counts.entry(*host).or_default() += 1);
    counts
}

#[test]
fn what_is_written_is_read_and_goes_on() {
    for subject in [Subject::Flow, Subject::Window] {
        let old = reservoir(subject);
        let bytes = write(&old, subject);
        let mut new = read(&bytes, subject, LIMIT, 1).unwrap();
        assert_eq!((new.rows(), new.given()), (old.rows(), old.given()));
        assert_eq!(write(&new, subject), bytes);
        // It is full, and a host that is new to it gets its share.
        let width = subject.labels().len();
        (0..1_000).for_each(|at| new.offer(host(77), Time::at(at), &vec![1.0; width]));
        assert_eq!((new.rows().len(), counts(&new)[&host(77)] >= 10), (LIMIT, true));
    }
}

#[test]
fn what_is_no_such_file_says_why() {
    let subject = Subject::Window;
    let bytes = write(&reservoir(subject), subject);
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        bytes
    };
    for (what, bytes, want) in [
        ("nothing", Vec::new(), ReservoirError::Other),
        ("another", vec![7; 200], ReservoirError::Other),
        ("a later version", seal(changed(8, 2)), ReservoirError::Version(2)),
        ("a damaged one", changed(500, 0xee), ReservoirError::Damaged),
        ("one that is cut", seal(bytes[..bytes.len() - 40].to_vec()), ReservoirError::Length),
        ("other features", seal(changed(14, b'z')), ReservoirError::Features),
        ("the other subject", write(&reservoir(Subject::Flow), Subject::Flow), ReservoirError::Features),
    ] {
        assert_eq!(read(&bytes, subject, LIMIT, 1).err(), Some(want), "{what}");
    }
    let more = read(&bytes, subject, LIMIT - 1, 1).err();
    assert_eq!(more, Some(ReservoirError::Wrong("the number of rows")));
}

proptest! {
    #[test]
    fn hostile_bytes_give_an_error_or_a_bounded_reservoir(
        junk in vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        patch in vec(any::<u8>(), 1..12),
        sealed in any::<bool>(),
    ) {
        prop_assert!(read(&junk, Subject::Flow, LIMIT, 1).is_err());
        let mut bytes = write(&reservoir(Subject::Window), Subject::Window);
        let at = at.index(bytes.len() - patch.len());
        bytes[at..at + patch.len()].copy_from_slice(&patch);
        let bytes = if sealed { seal(bytes) } else { bytes };
        if let Ok(mut reservoir) = read(&bytes, Subject::Window, LIMIT, 1) {
            let width = Subject::Window.labels().len();
            (0..200).for_each(|at| reservoir.offer(host(at % 9), Time::at(at), &vec![2.0; width]));
            prop_assert!(reservoir.rows().len() <= LIMIT);
            prop_assert!(reservoir.rows().values().iter().all(|value| value.is_finite()));
        }
    }
}
