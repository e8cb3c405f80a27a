//! The fire drill: played against the real daemon, and all is as before.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use bpf_tests::daemon::{Site, signal, site};
use bpf_tests::traffic::{Scan, Service, exchange, until};
use serde_json::{Value, json};

/// The MAC address of a drill's device.
const SCANNER: &str = "02:53:4b:00:00:04";

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

/// Its own proofs must not be taken for a scan: that would be told after its end, and the next drill would find its device judged.
#[test]
fn a_drill_is_over_when_it_is_over_and_can_be_played_again_at_once() -> Result<()> {
    site(2, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        for _ in 0..4 {
            let told = site.ask(&["drill"])?;
            ensure!(told["good"] == true, "{told}");
        }
        let incidents = |event: &Value| {
            let drill = event["device"]["mac"] == SCANNER && event["event_type"] == "alert";
            drill.then(|| event["incident_id"].as_u64()).flatten()
        };
        let told: BTreeSet<_> = daemon.events()?.iter().filter_map(incidents).collect();
        ensure!(told.len() == 4, "four drills, and incidents {told:?}");
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

/// The MAC address of a drill's device is in the source: one that takes it must not be let go by the next drill.
#[test]
fn a_drill_does_not_release_who_took_the_mac_address_of_its_device() -> Result<()> {
    site(2, |site| {
        site.lab.set_mac(1, SCANNER)?;
        site.lab.unlearn()?;
        let _service = Service::start(site.lab, 2, 80)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        exchange(site.lab, 1, "10.77.0.2:80")?;
        let scan = Scan::start(site.lab, 1, &["-sS", "-p", "22,80", "10.77.0.0/24"])?;
        daemon.event("the isolation", |event| event["isolation"]["action"] == "added")?;
        drop(scan);
        let told = site.tell(&["drill"])?;
        let says = ["a device that is none of a drill has its MAC address", "No device was held."];
        ensure!(told.code == Some(1) && says.iter().all(|words| told.out.contains(words)), "{told:?}");
        let blocks = site.ask(&["block", "list"])?;
        ensure!(blocks[0]["device"]["mac"] == SCANNER, "{blocks}");
        let devices = site.ask(&["devices"])?.to_string();
        ensure!(devices.contains(SCANNER) && !devices.contains("fire drill"), "{devices}");
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
