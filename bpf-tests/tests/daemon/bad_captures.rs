//! Captures that are damaged or none at all: what is readable is used, the rest is told. No root is needed.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Told, copy_for_all, finish};
use serde_json::Value;

/// A file: its name and what is in it.
type Content<'a> = (&'a str, &'a [u8]);

/// A capture of a scan.
const CAPTURE: &[u8] = include_bytes!("../../../sensor-user/tests/captures/nmap-arp-then-version.pcap");

/// Replays files of these contents, as a user without any rights.
fn replay(files: &[Content], arguments: &[&str]) -> Result<Told> {
    let dir = tempfile::tempdir()?;
    for (name, content) in files {
        fs::write(dir.path().join(name), content)?;
    }
    let copy = copy_for_all(dir.path())?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"]).arg(copy);
    command.env_remove("RUST_LOG").stdin(Stdio::null()).current_dir(dir.path());
    command.arg("replay").args(arguments);
    finish(command)
}

/// The last line a replay tells.
fn stats(told: &Told) -> Result<Value> {
    let last = told.lines()?.pop().context("nothing told")?;
    ensure!(last["event_type"] == "stats", "the last line is {last}");
    Ok(last["stats"].clone())
}

#[test]
fn of_a_truncated_capture_what_is_readable_is_used_and_the_rest_is_told() -> Result<()> {
    let whole = replay(&[("a.pcap", CAPTURE)], &["a.pcap", "-o", "json"])?;
    ensure!(whole.code == Some(0) && whole.err.is_empty(), "{whole:?}");
    let whole = stats(&whole)?;
    let frames = whole["frames"].as_u64().context("frames")?;
    let short = &CAPTURE[..CAPTURE.len() - 7];
    let told = replay(&[("a.pcap", short)], &["a.pcap", "-o", "json"])?;
    let left = format!("after {} frames; those were used, the rest is lost", frames - 1);
    told.check_failed(&["a.pcap: the file ends within a record", &left])?;
    let stats = stats(&told)?;
    assert_eq!((&stats["frames"], &stats["truncated"]), (&(frames - 1).into(), &1.into()), "{stats}");
    ensure!(stats["devices"] == whole["devices"] && stats["flows"].as_u64() > Some(0), "{stats}");
    Ok(())
}

#[test]
fn a_truncated_capture_does_not_keep_others_from_being_read() -> Result<()> {
    let files: [Content; 2] = [("a.pcap", &CAPTURE[..CAPTURE.len() / 2]), ("b.pcap", CAPTURE)];
    let told = replay(&files, &[".", "-o", "json"])?;
    told.check_failed(&["a.pcap: the file ends within a record"])?;
    let both = stats(&told)?;
    assert_eq!((&both["files"], &both["truncated"]), (&2.into(), &1.into()), "{both}");
    let told = replay(&files[..1], &["a.pcap"])?;
    told.check_failed(&["those were used"])?;
    ensure!(told.out.lines().count() > 1, "nothing is told of what was readable: {told:?}");
    Ok(())
}

#[test]
fn what_is_no_capture_is_told_as_such() -> Result<()> {
    let text: Content = ("notes.txt", b"first floor: 14 beds, second floor: 12 beds\n");
    let cases: [(&[Content], &str, &[&str]); 6] = [
        (&[text], "notes.txt", &["notes.txt is neither pcap nor pcapng", "tcpdump"]),
        (&[("empty.pcap", b"")], "empty.pcap", &["empty.pcap is neither pcap nor pcapng"]),
        (&[("a.pcap", &CAPTURE[..11])], "a.pcap", &["a.pcap is neither pcap nor pcapng"]),
        (&[], "monday.pcap", &["cannot read monday.pcap", "No such file"]),
        (&[text], ".", &["there is no capture (.pcap, .pcapng, .cap) in ."]),
        (&[("a.pcap", &CAPTURE[..24 + 16])], "a.pcap", &["the file ends within a record, after 0 frames"]),
    ];
    for (files, path, words) in cases {
        let told = replay(files, &[path, "-o", "json"])?;
        told.check_failed(words).with_context(|| path.to_owned())?;
        let found = told.lines()?.iter().any(|line| line["event_type"] != "stats");
        ensure!(!found, "{path}: {}", told.out);
    }
    Ok(())
}
