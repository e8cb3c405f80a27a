//! The fire drill: played against the real daemon, and all is as before.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use bpf_tests::daemon::{Site, signal, site};
use bpf_tests::traffic::until;
use serde_json::{Value, json};

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

/// A lamp that is not there: telling it takes a drill two minutes.
const DARK: &str =
    "[notify.channels.desk]\nkind = \"lamp\"\naddress = \"127.0.0.1:9\"\nbuzzer_for = \"0s\"\n";

/// A drill whose device is isolated, and that waits for people to be told.
fn waiting(site: &Site) -> Result<Child> {
    let socket = site.socket().display().to_string();
    let mut drill = site.command();
    let drill =
        drill.args(["drill", "--socket", &socket]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    until("the isolation", Duration::from_secs(30), || Ok((held(site)? == 1).then_some(())))?;
    Ok(drill)
}

fn held(site: &Site) -> Result<usize> {
    Ok(site.ask(&["block", "list"])?.as_array().map_or(0, Vec::len))
}

#[test]
fn a_drill_that_is_interrupted_or_killed_leaves_nothing_the_next_one_does_not_clear() -> Result<()> {
    site(2, |site| {
        site.configure(DARK)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        let mut drill = waiting(site)?;
        site.tell(&["drill"])?.check_failed(&["a drill or an upgrade is under way"])?;
        signal("INT", drill.id())?;
        ensure!(drill.wait()?.code() == Some(1), "interrupted");
        ensure!(held(site)? == 0 && !site.lab.ip("link")?.contains("skprove"), "something is left");
        let mut drill = waiting(site)?;
        drill.kill()?;
        drill.wait()?;
        ensure!(held(site)? == 1, "it is as it was");
        let told = site.tell(&["drill", "--within", "1s"])?;
        let says = ["`told` failed: silent: desk (no channel told)", "The device of the drill is released."];
        ensure!(told.code == Some(1) && says.iter().all(|words| told.out.contains(words)), "{told:?}");
        ensure!(held(site)? == 0 && !site.lab.ip("link")?.contains("skprove"), "something is left");
        daemon.stop().map(drop)
    })
}

#[test]
fn a_drill_releases_nobody_but_its_own_device() -> Result<()> {
    site(2, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--ip", "169.254.83.4"])?;
        let told = site.tell(&["drill", "-o", "json"])?;
        ensure!(told.code == Some(1) && told.out.contains("is on the block list"), "{told:?}");
        let blocks = site.ask(&["block", "list"])?;
        ensure!(blocks[0]["targets"] == json!(["169.254.83.4"]), "{blocks}");
        daemon.stop().map(drop)
    })
}
