//! Real captures through replay: who is blamed, who is isolated, and above all who is not.
//!
//! Four captures whose licences allow it are kept here; the others are read from the folder of captures beside the
//! project (or `SEKISHO_DATA`). Without that folder the tests say what they did not test.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its table is to fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sensor_core::event::{Change, Event, Timed};
use sensor_core::settings::{Mode, Settings};
use sensor_user::source::replay::{self, Outcome};

/// Everything a capture brought, by names a table can hold.
struct Seen {
    outcome: Outcome,
    /// MAC and IP addresses of each device blamed.
    blamed: BTreeSet<String>,
    /// Addresses of each device isolated, in order of time.
    isolated: Vec<BTreeSet<String>>,
    /// All events, printed.
    log: String,
}

fn run(path: &Path, mode: Mode) -> Seen {
    let settings = Settings { mode, ..Settings::default() };
    let (mut blamed, mut isolated, mut log) = (BTreeSet::new(), Vec::new(), String::new());
    let outcome = replay::run(path, &settings, |timed: &Timed, _| {
        log += &format!("{timed:?}\n");
        let names = |device: &sensor_core::event::DeviceRef| {
            let ips = device.ips.iter().map(ToString::to_string);
            ips.chain([device.mac.to_string()]).collect::<BTreeSet<_>>()
        };
        match &timed.event {
            Event::Alert(alert) => blamed.extend(names(&alert.device)),
            Event::Isolation(isolation) if isolation.change == Change::Added => {
                assert_eq!(isolation.would, mode == Mode::Observe, "{}", path.display());
                isolated.extend(isolation.device.as_ref().map(names));
            }
            _ => {}
        }
    });
    let outcome = outcome.unwrap_or_else(|error| panic!("{error}"));
    Seen { outcome, blamed, isolated, log }
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

/// One line of the table of expectations.
struct Expected {
    file: String,
    blame: Vec<String>,
    never: Vec<String>,
}

fn table(data: &Path) -> Vec<Expected> {
    let list = |cell: &str| cell.split(',').filter(|s| *s != "-").map(str::to_owned).collect();
    let text = fs::read_to_string(data.join("expect.tsv")).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            Expected { file: cells[0].to_owned(), blame: list(cells[1]), never: list(cells[2]) }
        })
        .collect()
}

fn all_captures(data: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(data.join("manifest.tsv")).unwrap();
    let files = text.lines().skip(1).filter_map(|line| line.split('\t').next());
    files.filter(|f| f.ends_with(".pcap") || f.ends_with(".pcapng")).map(|f| data.join(f)).collect()
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
        assert!(blamed.is_none_or(|who| seen.blamed.contains(who)), "{name}: {:?}", seen.blamed);
        assert_eq!(blamed.is_none(), seen.blamed.is_empty(), "{name}: {:?}", seen.blamed);
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
fn scanners_are_blamed() {
    let Some(data) = data("the scans") else { return };
    let scans: Vec<_> = table(&data).into_iter().filter(|e| e.file.starts_with("scan/")).collect();
    assert!(scans.len() >= 11, "the table of expectations lost its scans");
    for expected in scans {
        let seen = run(&data.join(&expected.file), Mode::Enforce);
        let blamed = expected.blame.iter().any(|who| seen.blamed.contains(who));
        assert!(blamed, "{}: expected one of {:?}, got {:?}", expected.file, expected.blame, seen.blamed);
    }
}

#[test]
fn the_innocent_are_never_cut_off() {
    let Some(data) = data("benign captures") else { return };
    let mut expected: BTreeMap<String, Vec<String>> =
        table(&data).into_iter().map(|e| (e.file, e.never)).filter(|(_, never)| !never.is_empty()).collect();
    for path in all_captures(&data) {
        let file = path.strip_prefix(&data).unwrap().to_str().unwrap().to_owned();
        let calm = ["benign/", "benign-periodic/", "device/", "device-iot-sentinel/", "ics-medical/"];
        if calm.iter().any(|folder| file.starts_with(folder)) {
            expected.insert(file, vec!["*".to_owned()]);
        }
    }
    for (file, never) in expected {
        let seen = run(&data.join(&file), Mode::Enforce);
        let hit = seen.isolated.iter().flatten().find(|who| never.contains(who) || never[0] == "*");
        assert_eq!(hit, None, "{file}: isolated {:?}, never {never:?}", seen.isolated);
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
