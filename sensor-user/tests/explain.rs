//! `sekisho explain`: from a log, and made anew from a capture.

#![expect(clippy::unwrap_used, reason = "a test that cannot write its files is to fail")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/nmap-arp-then-version.pcap");

fn sekisho(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sekisho")).env("TZ", "UTC").args(args).output().unwrap()
}

/// Runs, and gives what it said on both ways, if it ended so.
fn said(args: &[&str], code: i32) -> String {
    let output = sekisho(args);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    text.into_owned()
}

/// A configuration of defaults, and a log of what the replay of the capture gives.
fn record(dir: &Path) -> (String, String) {
    let (config, log) = (dir.join("sekisho.toml"), dir.join("eve.json"));
    fs::write(&config, "mode = \"observe\"\n").unwrap();
    let (config, log) = (config.to_str().unwrap().to_owned(), log.to_str().unwrap().to_owned());
    let events = sekisho(&["replay", CAPTURE, "--config", &config, "-o", "json"]);
    fs::write(&log, events.stdout).unwrap();
    (config, log)
}

#[test]
fn an_incident_is_explained_from_a_log_and_made_anew_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (config, log) = record(dir.path());
    let text = said(&["explain", "1", "--log", &log], 0);
    for part in [
        "Incident 1: ",
        "would be isolated",
        "ARP scan: asks for many addresses nobody has",
        "What it earns\n  all together                 isolate: a finding stands for itself",
        "  without the family scan      nothing, it is only told\n",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    let anew = ["explain", "1", "--log", &log, "--replay", CAPTURE, "--config", &config];
    let text = said(&anew, 0);
    assert!(text.contains("Made anew, the decision is the same, byte for byte: 3 lines."), "{text}");
    // One digit of the evidence.
    let changed = fs::read_to_string(&log).unwrap().replacen(
        "\"failed_first_contacts\":10",
        "\"failed_first_contacts\":11",
        1,
    );
    fs::write(&log, changed).unwrap();
    let text = said(&anew, 1);
    assert!(text.contains("Made anew, the decision DIFFERS, first in its line 1:"), "{text}");
    assert!(said(&["explain", "77", "--log", &log], 1).contains("has no incident 77; a log has what"));
    // What never ends a line is not read to its end, or into memory.
    assert!(
        said(&["explain", "1", "--log", "/dev/zero"], 1).contains("has a line of more than 1048576 bytes")
    );
}

#[test]
fn one_key_of_the_configuration_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = record(dir.path());
    let what_if = |change: &str, code| {
        said(&["explain", "1", "--replay", CAPTURE, "--config", &config, "--what-if", change], code)
    };
    for (change, want) in [
        ("isolation.severity=0", "With isolation.severity = 0:\n"),
        ("decide.highest=pin", "would be pinned"),
        ("detect.off.scan=[\"everywhere\"]", "nothing is found"),
        ("limits.incidents=4000", "That changes nothing."),
    ] {
        let text = what_if(change, 0);
        let after = text.split("\nWith ").nth(1).unwrap_or_default();
        assert!(format!("With {after}").contains(want), "{change}: {text}");
    }
    let text = what_if("isolation.severty=0", 1);
    assert!(text.contains("isolation.severty: is not a known key (did you mean `severity`?)"), "{text}");
}
