//! Real captures through replay: who is blamed, who is isolated, and above all who is not.
//!
//! Four captures whose licences allow it are kept here; the others are read from the folder of captures beside the
//! project (or `SEKISHO_DATA`). Without that folder the tests say what they did not test.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its table is to fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sensor_core::settings::Mode;
use sensor_eval::capture::Seen;
use sensor_eval::expect::{self, Expected, Grade, Never};

fn run(path: &Path, mode: Mode) -> Seen {
    sensor_eval::capture::run(path, mode).unwrap_or_else(|error| panic!("{error}"))
}

/// A capture kept with the tests.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name)
}

/// The folder of captures, if it is there.
fn data(what: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("SEKISHO_DATA").map_or(beside, PathBuf::from);
    if data.join("manifest.tsv").is_file() {
        return Some(data);
    }
    println!("NOT TESTED: {what}: there is no folder of captures at {} (set SEKISHO_DATA)", data.display());
    None
}

fn table(data: &Path) -> Vec<Expected> {
    expect::table(&data.join("expect.tsv")).unwrap()
}

fn all_captures(data: &Path) -> Vec<PathBuf> {
    expect::captures(data).unwrap().into_iter().map(|file| data.join(file)).collect()
}

#[test]
fn captures_kept_here() {
    for (name, blamed, isolated) in [
        ("nmap-arp-then-version.pcap", Some("192.168.1.71"), Some("192.168.1.71")),
        ("inbound-445-vlan.pcap", Some("176.192.150.3"), None),
        ("dhcp-variety.pcap", None, None),
        ("lldp-and-cdp.pcap", None, None),
    ] {
        let seen = run(&kept(name), Mode::Enforce);
        assert_eq!(seen.outcome.summary.problem, None, "{name}");
        assert!(blamed.is_none_or(|who| seen.blamed().contains(who)), "{name}: {:?}", seen.calls);
        assert_eq!(blamed.is_none(), seen.calls.is_empty(), "{name}: {:?}", seen.calls);
        if let Some(who) = isolated {
            assert!(seen.isolated.iter().any(|names| names.contains(who)), "{name}: {:?}", seen.isolated);
        }
    }
}

#[test]
fn wannacry_is_cut_off_in_order_and_its_victims_never() {
    let Some(data) = data("the spread of WannaCry") else { return };
    for mode in [Mode::Enforce, Mode::Observe] {
        let seen = run(&data.join("worm-lateral/wannacry-spread.pcap"), mode);
        let address = |names: &BTreeSet<String>| names.iter().find(|name| name.starts_with("192.")).cloned();
        let order: Vec<_> = seen.isolated.iter().filter_map(address).collect();
        assert_eq!(order[..2], ["192.168.116.149", "192.168.116.138"], "{mode:?}");
        let all: BTreeSet<_> = seen.isolated.iter().flatten().map(String::as_str).collect();
        assert!(!all.contains("192.168.116.143") && !all.contains("192.168.116.172"), "{mode:?}: {all:?}");
    }
}

#[test]
fn the_telnet_worm_is_cut_off_and_its_router_not() {
    let Some(data) = data("the Telnet worm") else { return };
    let seen = run(&data.join("malware/iot-worm-telnet-scan.pcap"), Mode::Enforce);
    assert!(seen.isolated.iter().any(|names| names.contains("192.168.2.16")), "{:?}", seen.isolated);
    assert!(!seen.isolated.iter().any(|names| names.contains("192.168.2.1")), "{:?}", seen.isolated);
}

#[test]
fn whoever_must_be_blamed_is() {
    let Some(data) = data("who is blamed") else { return };
    let must: Vec<_> = table(&data).into_iter().filter(|e| e.grade == Grade::Must).collect();
    assert!(must.len() >= 47, "the table of expectations lost some of its lines");
    for expected in must {
        let seen = run(&data.join(&expected.file), Mode::Enforce);
        let blamed = expected.blame.is_empty() || seen.calls_of(&expected.blame).next().is_some();
        assert!(blamed, "{}: expected one of {:?}, got {:?}", expected.file, expected.blame, seen.calls);
    }
}

#[test]
fn the_innocent_are_never_cut_off() {
    let Some(data) = data("benign captures") else { return };
    let mut expected: BTreeMap<String, Never> = table(&data).into_iter().map(|e| (e.file, e.never)).collect();
    let benign = expect::captures(&data).unwrap().into_iter().filter(|file| expect::is_benign(file));
    expected.extend(benign.map(|file| (file, Never::Anybody)));
    for (file, never) in expected {
        for mode in [Mode::Enforce, Mode::Observe] {
            let seen = run(&data.join(&file), mode);
            assert_eq!(never.hit(&seen.cut), None, "{file}: isolated {:?}, never {never:?}", seen.isolated);
        }
    }
}

#[test]
fn every_capture_survives_and_gives_the_same_twice() {
    let Some(data) = data("all other captures") else { return };
    let mut frames = 0;
    for path in all_captures(&data) {
        let (a, b) = (run(&path, Mode::Enforce), run(&path, Mode::Enforce));
        assert!(a.log == b.log, "{} gives other events the second time", path.display());
        let counted = a.outcome.counters.packets;
        assert_eq!(counted, a.outcome.summary.frames, "{}: frames got lost", path.display());
        frames += counted;
    }
    println!("{frames} frames survived");
    assert!(frames > 100_000);
}
