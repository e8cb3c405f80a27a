//! What a network card does to frames before the filter sees them: switched off, told, and put back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, site};
use bpf_tests::lab::run;
use bpf_tests::traffic::until;
use serde_json::{Value, json};

/// Both are on on a veth by default; the rest of what Sekisho switches off is off there for good.
const VLAN: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

/// Whether an interface of the switch has both on, or both off, by ethtool(8): an independent witness.
fn vlan_offload(site: &Site, port: &str) -> Result<bool> {
    let namespace = site.lab.switch();
    let text = run("ip", &["netns", "exec", &namespace, "ethtool", "-k", port])?;
    let on = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
        line.map(|state| state.starts_with("on")).with_context(|| format!("no {name}:\n{text}"))
    };
    let both = [on("rx-vlan-offload")?, on("rx-vlan-stag-hw-parse")?];
    ensure!(both[0] == both[1], "{both:?}");
    Ok(both[0])
}

/// As an operator does.
fn ethtool(site: &Site, port: &str, settings: &[&str]) -> Result<()> {
    let namespace = site.lab.switch();
    run("ip", &[&["netns", "exec", &namespace, "ethtool", "-K", port], settings].concat()).map(drop)
}

fn wait_for_offload(site: &Site, port: &str, on: bool) -> Result<()> {
    let what = format!("the VLAN offload of {port} {}", if on { "on" } else { "off" });
    until(&what, Duration::from_secs(5), || Ok((vlan_offload(site, port)? == on).then_some(())))
}

fn detach(site: &Site) -> Result<Value> {
    let told = site.plain(&["detach", "--pin-dir", &site.pin_dir().display().to_string(), "-o", "json"])?;
    ensure!(told.code == Some(0), "{told:?}");
    told.lines()?.into_iter().next().context("an answer")
}

#[test]
fn offloads_are_off_while_a_port_is_filtered_and_are_put_back_as_they_were() -> Result<()> {
    site(3, |site| {
        // Somebody had it off already: then it stays so.
        ethtool(site, "p2", &["rxvlan", "off", VLAN[1], "off"])?;
        let daemon = site.start(&["--mode", "enforce"])?;
        for port in ["p1", "p2", "p3"] {
            ensure!(!vlan_offload(site, port)?, "{port}");
        }
        let log = daemon.log()?;
        ensure!(
            log.contains(&format!("p1: switched off until the filter leaves it: {}", VLAN.join(", "))),
            "{log}"
        );
        ensure!(!log.contains("p2: switched off"), "{log}");
        let status = site.ask(&["status"])?;
        assert_eq!(status["ports"][0]["offloads_off"], json!(VLAN));
        assert_eq!(status["ports"][1]["offloads_off"], json!([]));
        let told = site.tell(&["status"])?.out;
        ensure!(told.contains("p3: switched off for the filter: rx-vlan-hw-parse"), "{told}");
        ensure!(site.metrics()?.series("sekisho_port_offload_on").is_empty());

        site.lab.leave(3)?;
        wait_for_offload(site, "p3", true)?;
        site.lab.join(3)?;
        wait_for_offload(site, "p3", false)?;
        // Somebody switches it on behind our back.
        ethtool(site, "p1", &["rxvlan", "on", VLAN[1], "on"])?;
        wait_for_offload(site, "p1", false)?;
        site.metric_becomes("sekisho_repairs_total", &[("what", "offload")], |value| value == 1.0)?;

        daemon.stop()?;
        ensure!(!vlan_offload(site, "p1")?, "a daemon that stops leaves the filter, and what it needs");
        let gone = detach(site)?;
        let put_back = |port| json!({ "port": port, "switched_on": VLAN });
        assert_eq!(gone["offloads"], json!([put_back("p1"), put_back("p3")]));
        let found: Vec<bool> =
            ["p1", "p2", "p3"].iter().map(|port| vlan_offload(site, port)).collect::<Result<_>>()?;
        assert_eq!(found, [true, false, true]);
        site.check_nothing_left()
    })
}

#[test]
fn what_they_were_outlives_daemons_that_are_killed() -> Result<()> {
    site(3, |site| {
        ethtool(site, "p2", &["rxvlan", "off", VLAN[1], "off"])?;
        site.start(&[])?.kill()?;
        // The second finds them off, and must not take that for how they were.
        site.start(&[])?.kill()?;
        ensure!(!vlan_offload(site, "p1")?);
        // A port leaves while nobody looks, and one is gone altogether.
        site.lab.leave(3)?;
        let daemon = site.start(&[])?;
        wait_for_offload(site, "p3", true)?;
        daemon.kill()?;
        site.lab.ip("link del p2")?;
        let gone = detach(site)?;
        assert_eq!(gone["offloads"], json!([{ "port": "p1", "switched_on": VLAN }]));
        ensure!(vlan_offload(site, "p1")?);
        ensure!(!site.pin_dir().exists(), "pins are left");
        Ok(())
    })
}

#[test]
fn a_start_that_fails_puts_them_back() -> Result<()> {
    site(2, |site| {
        let namespace = site.lab.switch();
        // A program that is in the way on the second port.
        let object = site.path("pass.o");
        std::fs::write(&object, bpf_tests::small::empty_object()?)?;
        let object = object.display().to_string();
        let load = ["-n", &namespace, "link", "set", "dev", "p2", "xdp", "obj", &object, "sec", "xdp"];
        run("ip", &load)?;
        site.run("br0", &[])?.check_failed(&["is attached to p2"])?;
        ensure!(vlan_offload(site, "p1")? && vlan_offload(site, "p2")?, "not put back");
        site.lab.ip("link set dev p2 xdp off")?;
        site.check_nothing_left()
    })
}
