//! Whoever reads what a command writes may hang up at any time, as `head` does.

// Tests may.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// The exit code of a command whose output nobody reads.
fn unread(args: &[&str]) -> Option<i32> {
    let pipe = || {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_sekisho"));
    command.args(args).stdin(Stdio::null()).stdout(pipe()).stderr(pipe());
    command.status().unwrap().code()
}

#[test]
fn no_command_breaks_down_because_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let hour = dir.path().join("flows/day=2024-01-31/hour=14");
    fs::create_dir_all(&hour).unwrap();
    fs::write(hour.join("part-0000000000000001.parquet"), "no Parquet").unwrap();
    let state = dir.path().to_str().unwrap();
    let socket = &format!("{state}/nobody.sock");
    let query = ["flows", "query", "--from", "2024-01-31", "--to", "2024-01-31", "--state-dir", state];
    let cases: [(&[&str], i32); 9] = [
        (&query, 1),
        (&[&query[..], &["-o", "csv"]].concat(), 0),
        (&["report", "--month", "2024-01", "--state-dir", state, "--socket", socket], 1),
        (&["events", "--state-dir", state], 1),
        (&["status", "--socket", socket], 1),
        (&["check", "/nonexistent.toml"], 1),
        (&["detach", "--pin-dir", state], 0),
        (&["explain", "3", "--socket", socket, "--state-dir", state], 1),
        (&["verify", "--bridge", "br-none", "--socket", socket, "--state-dir", state], 3),
    ];
    for (args, code) in cases {
        assert_eq!(unread(args), Some(code), "{args:?}");
    }
}
