//! `sekisho verify`: whoever meddles with the kernel's side is found out, daemon or no daemon, by rules, ports and wire.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, Told, signal, site};
use bpf_tests::lab::mac;
use bpf_tests::meddle;
use bpf_tests::traffic::until;
use sensor_core::datapath::address;
use serde_json::{Value, json};

/// Runs the check; its exit code and what it told.
fn verify(site: &Site, extra: &[&str]) -> Result<(i32, Value)> {
    let told = run(site, &[&["-o", "json"], extra].concat())?;
    let [value] = &told.lines()?[..] else { anyhow::bail!("not one line: {told:?}") };
    Ok((told.code.context("a code")?, value.clone()))
}

fn run(site: &Site, extra: &[&str]) -> Result<Told> {
    let text = |path: std::path::PathBuf| path.display().to_string();
    let (pins, state) = (text(site.pin_dir().to_owned()), text(site.state_dir()));
    let config = text(site.path("sekisho.toml"));
    let places = ["verify", "--pin-dir", &pins, "--state-dir", &state, "--config", &config];
    site.tell(&[&places[..], extra].concat())
}

/// Runs the check without listening, and checks its code and that a problem has these words.
fn check(site: &Site, code: i32, words: &str) -> Result<()> {
    let (got, value) = verify(site, &["--wire", "0s"])?;
    let problems = value["problems"].as_array().cloned().unwrap_or_default();
    let found = words.is_empty() && problems.is_empty()
        || problems.iter().any(|problem| !words.is_empty() && problem["what"].to_string().contains(words));
    ensure!(got == code && found, "expected {code}, {words:?}: {got}, {value:#}");
    Ok(())
}

#[test]
fn what_somebody_changed_behind_the_daemons_back_is_critical_until_it_is_repaired() -> Result<()> {
    site(3, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        check(site, 0, "")?;
        site.ask(&["block", "add", "--ip", "10.77.0.1"])?;
        site.ask(&["block", "add", "--mac", &mac(3), "--for", "1h"])?;
        check(site, 0, "")?;
        let maps = site.pin_dir().join(format!("br0/abi-{}/maps", sensor_ebpf::ABI));
        let isolated = address("10.77.0.1".parse()?);

        signal("STOP", daemon.pid())?;
        check(site, 1, "the daemon does not answer")?;
        meddle::delete(&maps.join("RULES_IP"), &isolated)?;
        check(site, 2, "the rule for 10.77.0.1 is missing")?;
        let rule = [0, 77 | 6 << 32 | 6 << 40];
        meddle::insert(&maps.join("RULES_IP"), address("10.77.0.2".parse()?), rule)?;
        check(site, 2, "nobody decided the rule for 10.77.0.2")?;
        meddle::insert(&maps.join("RULES_IP"), isolated, rule)?;
        check(site, 2, "the rule for 10.77.0.1 is not as decided")?;
        meddle::disarm(&maps)?;
        check(site, 2, "the switches of the rules")?;
        let human = run(site, &["--wire", "0s"])?.out;
        ensure!(
            human.starts_with("SEKISHO CRITICAL - br0: 2 entries") && human.lines().count() == 3,
            "{human}"
        );
        signal("CONT", daemon.pid())?;
        until("the repair", Duration::from_secs(10), || {
            Ok((verify(site, &["--wire", "0s"])?.0 == 0).then_some(()))
        })?;

        signal("STOP", daemon.pid())?;
        meddle::detach(&site.pin_dir().join("br0/links/p2"))?;
        check(site, 2, "port p2 has no program")?;
        let (_, value) = verify(site, &["--wire", "0s"])?;
        assert_eq!((&value["ports"], &value["filtered"]), (&json!(3), &json!(2)), "{value:#}");
        Ok(())
    })
}

#[test]
fn without_a_daemon_it_says_so_and_checks_all_the_same() -> Result<()> {
    site(2, |site| {
        ensure!(run(site, &[])?.code == Some(3), "nothing is loaded");
        check(site, 2, "nothing is loaded for br0").or_else(|_| {
            let (code, value) = verify(site, &["--bridge", "br0", "--wire", "0s"])?;
            ensure!(code == 2 && value.to_string().contains("nothing is loaded for br0"), "{value:#}");
            Ok(())
        })?;
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--ip", "10.77.0.1", "--for", "3s"])?;
        site.ask(&["block", "add", "--mac", &mac(2)])?;
        daemon.kill()?;
        check(site, 1, "the daemon is dead")?;
        let human = run(site, &["--wire", "0s"])?.out;
        ensure!(
            human.starts_with("SEKISHO WARNING - br0: ") && human.contains("\nlook: the daemon is dead"),
            "{human}"
        );
        // What ended by itself meanwhile is no difference.
        until("the end of an entry", Duration::from_secs(10), || {
            let (code, value) = verify(site, &["--wire", "0s"])?;
            ensure!(code == 1, "{value:#}");
            Ok((value["rules"] == 1).then_some(()))
        })?;
        let maps = site.pin_dir().join(format!("br0/abi-{}/maps", sensor_ebpf::ABI));
        std::fs::remove_file(maps.join("RULES_MAC"))?;
        let (code, value) = verify(site, &["--wire", "0s"])?;
        ensure!(code == 3 && value["state"] == "unknown", "{value:#}");
        Ok(())
    })
}

#[test]
fn a_leak_is_heard_on_the_wire_and_only_a_leak() -> Result<()> {
    site(3, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--ip", "10.77.0.1", "--ip", "fd77::1"])?;
        site.ask(&["block", "add", "--mac", &mac(3)])?;
        let ways = [(1, "10.77.0.2"), (3, "fd77::2"), (2, "10.77.0.1")];
        let pings: Result<Vec<_>> =
            ways.iter().map(|way| site.lab.start_ping(way.0, way.1, 150, 20)).collect();
        let (code, value) = verify(site, &["--wire", "2s"])?;
        assert_eq!((code, &value["wire"]["leaked"]), (0, &json!(0)), "{value:#}");
        for ping in pings? {
            ping.finish().map(drop)?;
        }

        signal("STOP", daemon.pid())?;
        meddle::detach(&site.pin_dir().join("br0/links/p1"))?;
        let ping = site.lab.start_ping(1, "10.77.0.2", 200, 20)?;
        let (code, value) = verify(site, &["--wire", "2s"])?;
        assert_eq!(code, 2, "{value:#}");
        ensure!(value["wire"]["leaked"].as_u64() >= Some(10), "{value:#}");
        let examples = value["wire"]["examples"].to_string();
        ensure!(examples.contains("10.77.0.1 -> 10.77.0.2 by p2"), "{value:#}");
        ensure!(!examples.contains("fd77"), "{value:#}");
        ping.finish().map(drop)?;
        Ok(())
    })
}
