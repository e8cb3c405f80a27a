//! `sekisho detach` removes every trace of a daemon that is dead.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, Told, site};
use bpf_tests::lab::{mac, run};
use bpf_tests::traffic::{check_ways, until};
use serde_json::Value;

/// What ip(8) and ethtool(8) show of the ports.
fn appearance(site: &Site) -> Result<String> {
    let namespace = site.lab.switch();
    let mut text = String::new();
    for port in ["p1", "p2", "p3"] {
        text.push_str(&site.lab.ip(&format!("-br link show {port}"))?);
        text.push_str(&run("ip", &["netns", "exec", &namespace, "ethtool", "-k", port])?);
        text.push_str(&site.lab.ip(&format!("link show {port}"))?);
    }
    Ok(text)
}

fn detach(site: &Site) -> Result<Told> {
    site.plain(&["detach", "--pin-dir", &site.pin_dir().display().to_string()])
}

/// The kernel's ids of the program on a port and of its maps.
fn ids(site: &Site) -> Result<(String, Vec<String>)> {
    let pin = site.pin_dir().join("br0/links/p1").display().to_string();
    let link: Value = serde_json::from_str(&run("bpftool", &["-j", "link", "show", "pinned", &pin])?)?;
    let program = link["prog_id"].to_string();
    let shown: Value = serde_json::from_str(&run("bpftool", &["-j", "prog", "show", "id", &program])?)?;
    let maps = shown["map_ids"].as_array().context("maps")?.iter().map(Value::to_string).collect();
    Ok((program, maps))
}

#[test]
fn detach_leaves_no_trace_of_a_dead_daemon_and_refuses_beside_a_living_one() -> Result<()> {
    site(3, |site| {
        let before = appearance(site)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        ensure!(appearance(site)? != before, "a daemon that leaves no trace leaves none to remove");
        let (program, maps) = ids(site)?;
        ensure!(maps.len() > 5, "{maps:?}");
        detach(site)?.check_failed(&["another daemon is using the pins", "stop it"])?;
        check_ways(site.lab, "refused", false, &[(1, "10.77.0.2")])?;
        daemon.kill()?;
        check_ways(site.lab, "dead", false, &[(1, "10.77.0.2")])?;

        let told = detach(site)?;
        ensure!(told.code == Some(0) && told.err.is_empty(), "{told:?}");
        ensure!(told.out.contains("the filter is off on br0; nobody is isolated there any more"), "{told:?}");
        ensure!(told.out.contains("p2: switched on again: rx-vlan-hw-parse"), "{told:?}");
        assert_eq!(appearance(site)?, before);
        ensure!(!site.pin_dir().exists(), "pins are left");
        // The kernel frees them when it gets to it.
        until("the end of program and maps", Duration::from_secs(5), || {
            let gone = |kind: &str, id: &String| run("bpftool", &[kind, "show", "id", id]).is_err();
            Ok((gone("prog", &program) && maps.iter().all(|map| gone("map", map))).then_some(()))
        })?;
        check_ways(site.lab, "detached", true, &[(1, "10.77.0.2")])?;
        // What is gone is gone; that is no error.
        let told = detach(site)?;
        ensure!(told.code == Some(0) && told.out.contains("nothing was attached"), "{told:?}");
        Ok(())
    })
}
