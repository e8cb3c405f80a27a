//! Detectors that are switched off, in some segments or everywhere.

use sensor_core::detect;
use sensor_core::settings::{Off, Segment};

use crate::*;

/// Settings in which VLAN 20 is the segment `radiology`, and a detector is off there or everywhere.
fn off(detector: &'static str, off: Off) -> Settings {
    let radiology = Segment { vlans: vec![20], ..Segment::default() };
    Settings {
        segments: [("radiology".parse().unwrap(), radiology)].into(),
        detectors_off: [(detector, off)].into(),
        ..enforcing()
    }
}

fn in_radiology() -> Off {
    Off::In(["radiology".parse().unwrap()].into())
}

#[test]
fn a_detector_that_is_off_somewhere_finds_nothing_there_and_all_elsewhere() {
    for (name, settings, vlan, isolated, silenced) in [
        ("off in its segment", off("scan", in_radiology()), 20, &[][..], true),
        ("on in another place", off("scan", in_radiology()), 30, &[66], false),
        ("off everywhere", off("scan", Off::Everywhere), 30, &[], true),
        ("another one is off", off("swarm", in_radiology()), 20, &[66], false),
    ] {
        let mut lan = Lan::new(settings);
        lan.place = (1, vlan);
        lan.populate(1..=20);
        lan.arp(66, 1);
        for m in 100..130 {
            lan.tcp(66, m, 8000, None);
            lan.pass(MILLISECOND);
        }
        lan.pass(2 * SECOND);
        assert_eq!(lan.isolated(), isolated, "{name}");
        assert_eq!(lan.engine.stats().findings_silenced > 0, silenced, "{name}");
        assert_eq!(lan.alerts().is_empty(), silenced, "{name}: {:?}", lan.alerts());
    }
}

#[test]
fn the_names_are_those_of_the_detectors() {
    let names: Vec<_> = detect::names().collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), names.len(), "{names:?}");
    for name in ["scan", "port_scan", "lateral", "fanout", "spoof", "unusual"] {
        assert!(names.contains(&name), "{name}");
    }
}
