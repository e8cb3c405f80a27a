//! The fire drill: played against the real daemon, and all is as before.

use anyhow::{Result, ensure};
use bpf_tests::daemon::site;
use serde_json::Value;

fn stages(told: &Value) -> Vec<&str> {
    let stages = told["stages"].as_array().into_iter().flatten();
    stages.filter_map(|stage| stage["stage"].as_str()).collect()
}

#[test]
fn a_drill_is_found_isolated_proven_and_released_and_leaves_nothing_but_its_incident() -> Result<()> {
    site(2, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        let told = site.ask(&["drill"])?;
        ensure!(told["good"] == true, "{told}");
        ensure!(stages(&told) == ["ready", "forwarded", "isolated", "dropped", "told", "released"], "{told}");
        ensure!(
            site.ask(&["block", "list"])?.as_array().is_some_and(Vec::is_empty),
            "the block list is empty again"
        );
        let devices = site.ask(&["devices"])?.to_string();
        ensure!(!devices.contains("drill") && !devices.contains("169.254."), "{devices}");
        ensure!(!site.lab.ip("link")?.contains("skprove"), "the ports are gone");
        let last =
            site.metric_becomes("sekisho_drill_last_success_timestamp_seconds", &[], |at| at > 1.7e9)?;
        daemon.kill()?;
        let daemon = site.start(&["--mode", "enforce"])?;
        site.metric_becomes("sekisho_drill_last_success_timestamp_seconds", &[], |at| {
            (at - last).abs() <= 1.0
        })?;
        daemon.stop().map(drop)
    })
}

#[test]
fn a_drill_that_nobody_notices_fails_at_that_stage_and_leaves_nothing() -> Result<()> {
    site(2, |site| {
        site.configure("[detect.off]\nscan = [\"everywhere\"]\n[decide]\ngraded = false\n")?;
        let daemon = site.start(&["--mode", "enforce"])?;
        let told = site.tell(&["drill", "-o", "json"])?;
        ensure!(told.code == Some(1), "{told:?}");
        let [line] = &told.lines()?[..] else { anyhow::bail!("{told:?}") };
        ensure!(stages(line) == ["ready", "forwarded"], "{line}");
        ensure!(line["error"].as_str().is_some_and(|error| error.contains("`isolated`")), "{line}");
        ensure!(!site.lab.ip("link")?.contains("skprove"), "the ports are gone");
        daemon.stop().map(drop)
    })
}

#[test]
fn in_observe_mode_a_drill_shows_what_would_be_done() -> Result<()> {
    site(2, |site| {
        let daemon = site.start(&[])?;
        let told = site.ask(&["drill"])?;
        ensure!(
            told["good"] == true && stages(&told) == ["ready", "forwarded", "isolated", "told", "released"],
            "{told}"
        );
        ensure!(
            told["stages"][2]["what"].as_str().is_some_and(|what| what.contains("observe mode")),
            "{told}"
        );
        daemon.stop().map(drop)
    })
}
