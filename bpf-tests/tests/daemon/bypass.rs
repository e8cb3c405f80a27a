//! `sekisho bypass`: every verdict to "pass" at once and back, whether or not a daemon runs or answers.

use std::time::Duration;

use anyhow::{Result, ensure};
use bpf_tests::daemon::{Daemon, Site, site};
use bpf_tests::lab::mac;
use bpf_tests::traffic::{check_ways, until};
use serde_json::Value;

/// Ways of hosts 1 and 3, which are cut off; of 2 and 4, which are not.
const CLOSED: [(u8, &str); 4] = [(1, "10.77.0.2"), (2, "fd77::1"), (3, "10.77.0.2"), (4, "10.77.0.3")];
const OPEN: [(u8, &str); 2] = [(2, "10.77.0.4"), (4, "fd77::2")];

/// Runs `sekisho bypass` here; what it says.
fn bypass(site: &Site, state: &str) -> Result<Value> {
    let pins = site.pin_dir().display().to_string();
    site.ask(&["bypass", state, "--pin-dir", &pins])
}

/// A daemon with two hosts cut off, as the wire shows.
fn start(site: &Site) -> Result<Daemon> {
    let daemon = site.start(&["--mode", "enforce"])?;
    site.ask(&["block", "add", "--mac", &mac(1)])?;
    site.ask(&["block", "add", "--ip", "10.77.0.3"])?;
    check(site, "at first", false)?;
    Ok(daemon)
}

/// Checks on the wire that nobody, or just who should, is cut off.
fn check(site: &Site, when: &str, bypassed: bool) -> Result<()> {
    check_ways(site.lab, when, bypassed, &CLOSED)?;
    check_ways(site.lab, when, true, &OPEN)
}

#[test]
fn the_bypass_opens_all_ways_at_once_and_closes_them_as_fast_while_the_daemon_goes_on() -> Result<()> {
    site(5, |site| {
        let daemon = start(site)?;
        // Flows that are known, whose verdict is cached.
        let known = site.lab.start_ping(1, "10.77.0.2", 300, 10)?;
        let on = bypass(site, "on")?;
        ensure!(on["bypass"]["on"] == true && on["bypass"]["by"] == "root", "{on}");
        check(site, "with the bypass on", true)?;
        site.metric_becomes("sekisho_bypass", &[], |value| value == 1.0)?;
        daemon.event("the event", |event| {
            event["event_type"] == "bypass"
                && event["bypass"]["action"] == "on"
                && event["bypass"]["by"] == "root"
        })?;
        ensure!(daemon.log()?.contains("BYPASS IS ON (by root)"), "{}", daemon.log()?);
        let status = site.tell(&["status"])?;
        ensure!(status.out.starts_with("BYPASS IS ON since "), "{}", status.out);
        // What is decided and what expires meanwhile: nothing of it arms the rules.
        site.ask(&["block", "add", "--mac", &mac(5)])?;
        site.ask(&["block", "add", "--mac", &mac(4), "--for", "1s"])?;
        check_ways(site.lab, "added meanwhile", true, &[(5, "10.77.0.2"), (4, "10.77.0.2")])?;
        until("the end of the short entry", Duration::from_secs(5), || {
            Ok((site.ask(&["block", "list"])?.as_array().map(Vec::len) == Some(3)).then_some(()))
        })?;
        check(site, "after decisions", true)?;
        ensure!(known.finish()?.1 > 0, "the known flow stayed closed");

        let known = site.lab.start_ping(1, "10.77.0.2", 10, 10)?;
        ensure!(known.finish()? == (10, 10), "still open");
        bypass(site, "off")?;
        check(site, "with the bypass off", false)?;
        check_ways(site.lab, "added meanwhile", false, &[(5, "10.77.0.2")])?;
        daemon.event("the event", |event| event["bypass"]["action"] == "off")?;
        site.metric_becomes("sekisho_bypass", &[], |value| value == 0.0)?;
        ensure!(!site.tell(&["status"])?.out.contains("BYPASS"), "told although it is off");
        Ok(())
    })
}

#[test]
fn the_bypass_works_without_a_daemon_and_survives_its_restart() -> Result<()> {
    site(4, |site| {
        start(site)?.kill()?;
        check(site, "without a daemon", false)?;
        ensure!(bypass(site, "status")?["bypass"]["on"] == false);
        bypass(site, "on")?;
        check(site, "bypassed without a daemon", true)?;
        bypass(site, "off")?;
        check(site, "and back", false)?;
        bypass(site, "on")?;
        let daemon = site.start(&["--mode", "enforce"])?;
        check(site, "after a start", true)?;
        daemon.event("the event", |event| event["bypass"]["action"] == "on")?;
        ensure!(site.ask(&["status"])?["bypass"]["on"] == true);
        daemon.stop()?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        check(site, "after a restart", true)?;
        bypass(site, "off")?;
        check(site, "with the bypass off", false)
    })
}

#[test]
fn the_bypass_works_while_the_daemon_hangs() -> Result<()> {
    site(4, |site| {
        let daemon = start(site)?;
        bpf_tests::daemon::signal("STOP", daemon.pid())?;
        let on = bypass(site, "on");
        let open = check(site, "with a stopped daemon", true);
        bpf_tests::daemon::signal("CONT", daemon.pid())?;
        ensure!(on?["bypass"]["on"] == true);
        open?;
        daemon.event("the event", |event| event["bypass"]["action"] == "on")?;
        check(site, "when it goes on", true)?;
        bypass(site, "off")?;
        check(site, "with the bypass off", false)
    })
}

/// Nobody in a hurry knows where the pins are.
#[test]
fn a_daemon_that_answers_is_enough_to_find_the_bypass_by() -> Result<()> {
    site(4, |site| {
        let daemon = start(site)?;
        ensure!(site.ask(&["bypass", "status"])?["bypass"]["on"] == false);
        ensure!(site.ask(&["bypass", "on"])?["bridge"] == "br0");
        check(site, "with the bypass on", true)?;
        site.ask(&["bypass", "off", "--bridge", "br0"])?;
        check(site, "with the bypass off", false)?;
        // Who names pins means those, whatever the daemon says.
        let other = site.tell(&["bypass", "on", "--pin-dir", "/sys/fs/bpf/no-such-place"])?;
        other.check_failed(&["nothing is loaded in /sys/fs/bpf/no-such-place"])?;
        daemon.kill()?;
        bypass(site, "on")?;
        check(site, "with the daemon dead", true)
    })
}

#[test]
fn a_bypass_of_nothing_is_told() -> Result<()> {
    site(1, |site| {
        let pins = site.pin_dir().display().to_string();
        let told = site.tell(&["bypass", "on", "--pin-dir", &pins])?;
        told.check_failed(&["nothing is loaded in", "sekisho run --bridge"])?;
        site.tell(&["bypass", "on", "--bridge", "br0", "--pin-dir", &pins])?
            .check_failed(&["nothing is loaded for br0"])
    })
}
