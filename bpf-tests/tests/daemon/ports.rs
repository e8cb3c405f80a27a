//! Ports that come and go, the mode they are filtered in, and a bridge that is taken away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Metrics, Site, site};
use bpf_tests::lab::{BRIDGE, has_xdp, mac, run};
use bpf_tests::note;
use bpf_tests::traffic::{check_ways, until};
use serde_json::Value;

/// The names of the ports with their modes, as `sekisho status` tells them.
fn ports(site: &Site) -> Result<Vec<(String, String)>> {
    let status = site.ask(&["status"])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = status["ports"].as_array().context("ports")?;
    Ok(list.iter().map(|port| (text(&port["name"]), text(&port["mode"]))).collect())
}

fn wait_for_ports(site: &Site, wanted: &[(&str, &str)]) -> Result<()> {
    until(&format!("the ports {wanted:?}"), Duration::from_secs(5), || {
        let there = ports(site)?;
        let same = there.iter().map(|(name, mode)| (name.as_str(), mode.as_str())).eq(wanted.iter().copied());
        Ok(same.then_some(()))
    })
}

/// What was counted on all ports together: a port that leaves takes none of it along.
fn totals(page: &Metrics) -> Result<[f64; 2]> {
    let parsed = page.value("sekisho_parse_results_total", &[("reason", "ok")]);
    let sent = page.value("sekisho_ring_records_sent_total", &[]);
    parsed.zip(sent).map(<[f64; 2]>::from).context("not among the metrics")
}

#[test]
fn a_port_is_filtered_from_when_it_joins_to_when_it_leaves() -> Result<()> {
    site(3, |site| {
        site.lab.leave(3)?;
        site.lab.no_native(2)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        wait_for_ports(site, &[("p1", "native"), ("p2", "generic")])?;
        site.ask(&["block", "add", "--ip", "10.77.0.3"])?;

        site.lab.join(3)?;
        wait_for_ports(site, &[("p1", "native"), ("p2", "generic"), ("p3", "native")])?;
        check_ways(site.lab, "joined", false, &[(3, "10.77.0.1"), (2, "10.77.0.3")])?;
        check_ways(site.lab, "joined", true, &[(3, "fd77::1"), (1, "10.77.0.2"), (2, "fd77::3")])?;
        let label = |port, mode| [("port", port), ("mode", mode)];
        for (port, mode) in [("p1", "native"), ("p2", "generic"), ("p3", "native")] {
            site.metric_becomes("sekisho_port_info", &label(port, mode), |value| value == 1.0)?;
            site.metric_becomes("sekisho_port_packets_total", &[("port", port)], |value| value >= 10.0)?;
        }
        site.metric_becomes("sekisho_verdicts_total", &[("port", "p3"), ("verdict", "drop")], |n| n >= 10.0)?;
        site.ask(&["block", "add", "--mac", &mac(2)])?;
        check_ways(site.lab, "generic", false, &[(2, "10.77.0.1"), (2, "fd77::3")])?;

        let before = totals(&site.metrics()?)?;
        site.lab.leave(3)?;
        wait_for_ports(site, &[("p1", "native"), ("p2", "generic")])?;
        ensure!(!has_xdp(&site.lab.ip("link show p3")?), "still attached to p3");
        until("the end of p3's metrics", Duration::from_secs(5), || {
            Ok((!site.metrics()?.0.contains("\"p3\"")).then_some(()))
        })?;
        let after = totals(&site.metrics()?)?;
        ensure!(
            after.iter().zip(before).all(|(after, before)| *after >= before),
            "{before:?} became {after:?}"
        );
        site.lab.ip("link del p1")?;
        wait_for_ports(site, &[("p2", "generic")])?;
        let log = daemon.stop()?;
        for words in ["port p3 joined: filtered in native mode", "port p3 left after", "port p1 left after"] {
            ensure!(log.contains(words), "the log lacks {words:?}:\n{log}");
        }
        Ok(())
    })
}

#[test]
fn a_renamed_port_keeps_its_counters_under_the_new_name() -> Result<()> {
    site(2, |site| {
        let _daemon = site.start(&[])?;
        check_ways(site.lab, "before", true, &[(1, "10.77.0.2")])?;
        site.metric_becomes("sekisho_port_packets_total", &[("port", "p1")], |value| value >= 10.0)?;
        site.lab.ip("link set p1 down")?;
        site.lab.ip("link set p1 name ward-3.north")?;
        site.lab.ip("link set ward-3.north up")?;
        wait_for_ports(site, &[("p2", "native"), ("ward-3.north", "native")])?;
        site.metric_becomes("sekisho_port_packets_total", &[("port", "ward-3.north")], |value| {
            value >= 10.0
        })?;
        ensure!(site.metrics()?.value("sekisho_port_packets_total", &[("port", "p1")]).is_none());
        Ok(())
    })
}

#[test]
fn a_bridge_without_ports_waits_for_them_and_one_that_is_gone_ends_the_daemon() -> Result<()> {
    site(1, |site| {
        site.lab.leave(1)?;
        let mut daemon = site.start(&[])?;
        ensure!(daemon.log()?.contains("none yet"), "{}", daemon.log()?);
        site.lab.join(1)?;
        wait_for_ports(site, &[("p1", "native")])?;
        site.lab.ip(&format!("link del {BRIDGE}"))?;
        assert_eq!(daemon.end()?.code(), Some(1));
        let log = daemon.log()?;
        ensure!(log.contains("the bridge br0 is gone; start again when it is back"), "{log}");
        ensure!(!site.socket().exists(), "the socket is left");
        Ok(())
    })
}

/// Waits until the ports of this many hosts have the program, by ip(8), and host 1 is as isolated as before.
fn wait_for_filter(site: &Site, what: &str) -> Result<()> {
    until(&format!("the filter after {what}"), Duration::from_secs(5), || {
        Ok(has_xdp(&site.lab.ip("link show p1")?).then_some(()))
    })?;
    check_ways(site.lab, what, false, &[(1, "10.77.0.2"), (2, "fd77::1")])?;
    check_ways(site.lab, what, true, &[(2, "10.77.0.3")])
}

#[test]
fn a_program_that_somebody_takes_off_is_put_back() -> Result<()> {
    site(3, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        check_ways(site.lab, "before", false, &[(1, "10.77.0.2")])?;
        let counted =
            || site.metrics().map(|page| page.value("sekisho_port_packets_total", &[("port", "p1")]));
        let before = site.metric_becomes("sekisho_port_packets_total", &[("port", "p1")], |n| n >= 10.0)?;
        let pin = site.pin_dir().join("br0/links/p1");
        let path = pin.display().to_string();
        let repairs = |count: f64| {
            site.metric_becomes("sekisho_repairs_total", &[("what", "program")], |value| value == count)
        };

        run("bpftool", &["link", "detach", "pinned", &path])?;
        ensure!(!has_xdp(&site.lab.ip("link show p1")?), "it was not taken off");
        wait_for_filter(site, "bpftool link detach")?;
        repairs(1.0)?;
        std::fs::remove_file(&pin)?;
        until("the pin", Duration::from_secs(5), || Ok(pin.exists().then_some(())))?;
        wait_for_filter(site, "the pin was removed")?;
        repairs(2.0)?;
        // One that holds by a link nobody takes off in this way.
        let off = site.lab.ip("link set dev p1 xdp off");
        ensure!(off.is_err(), "ip(8) took it off");
        wait_for_filter(site, "ip link set xdp off")?;
        repairs(2.0)?;
        ensure!(counted()? >= Some(before), "the counters began anew");
        let log = daemon.log()?;
        ensure!(log.contains("port p1 had lost the filter, which somebody took off"), "{log}");
        Ok(())
    })
}

#[test]
fn a_port_that_goes_and_comes_back_is_filtered_again() -> Result<()> {
    site(3, |site| {
        let _daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        for _ in 0..3 {
            site.lab.leave(1)?;
            site.lab.join(1)?;
        }
        wait_for_filter(site, "out of the bridge and back")?;
        // A new interface of the old name.
        let host = site.lab.host(1);
        site.lab.ip("link del p1")?;
        site.lab.ip(&format!("link add p1 type veth peer name eth0 netns {host}"))?;
        for command in [
            &format!("link set eth0 address {}", mac(1)),
            "addr add 10.77.0.1/24 dev eth0",
            "link set eth0 up",
        ] {
            site.lab.host_ip(1, command)?;
        }
        site.lab.ip("link set p1 up")?;
        site.lab.join(1)?;
        wait_for_filter(site, "deleted and made anew")?;
        wait_for_ports(site, &[("p1", "native"), ("p2", "native"), ("p3", "native")])?;
        assert_eq!(site.metrics()?.value("sekisho_repairs_total", &[("what", "program")]), Some(0.0));
        Ok(())
    })
}

#[test]
fn a_rule_that_somebody_deletes_is_put_back() -> Result<()> {
    site(2, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        let maps = run("find", &[&site.pin_dir().display().to_string(), "-name", "RULES_MAC"])?;
        let map = maps.trim();
        let rules: Value = serde_json::from_str(&run("bpftool", &["-j", "map", "dump", "pinned", map])?)?;
        let key = rules[0]["key"].as_array().context("a rule")?;
        let key: Vec<&str> = key.iter().filter_map(Value::as_str).collect();
        run("bpftool", &[&["map", "delete", "pinned", map, "key"], &key[..]].concat())?;
        site.metric_becomes("sekisho_repairs_total", &[("what", "rule")], |value| value == 1.0)?;
        check_ways(site.lab, "repaired", false, &[(1, "10.77.0.2")])?;
        disarm(&map.replace("RULES_MAC", "CONFIG"))?;
        site.metric_becomes("sekisho_repairs_total", &[("what", "rule")], |value| value == 2.0)?;
        check_ways(site.lab, "armed again", false, &[(1, "10.77.0.2")])?;
        ensure!(daemon.log()?.contains("rules in the kernel were not as decided"), "{}", daemon.log()?);
        Ok(())
    })
}

/// Clears the switches of all rules in the pinned config map.
fn disarm(map: &str) -> Result<()> {
    let config: Value = serde_json::from_str(&run("bpftool", &["-j", "map", "dump", "pinned", map])?)?;
    let value = config[0]["value"].as_array().context("the switches")?;
    let value = value.iter().filter_map(Value::as_str).skip(4);
    let command = ["map", "update", "pinned", map, "key", "0", "0", "0", "0", "value", "0", "0", "0", "0"];
    run("bpftool", &command.into_iter().chain(value).collect::<Vec<_>>())?;
    Ok(())
}

#[test]
fn a_port_that_cannot_be_filtered_is_told_with_the_reason() -> Result<()> {
    if !note::require_kernel((6, 3), "says which drivers run XDP programs") {
        return Ok(());
    }
    site(3, |site| {
        site.lab.leave(3)?;
        site.lab.no_native(2)?;
        let object = site.path("pass.o");
        std::fs::write(&object, bpf_tests::small::empty_object()?)?;
        site.lab.ip(&format!("link set dev p3 xdp obj {} sec xdp", object.display()))?;
        let daemon = site.start(&[])?;
        site.lab.join(3)?;
        for (port, problem) in [("p2", "no_native"), ("p3", "busy")] {
            let labels = [("port", port), ("problem", problem)];
            site.metric_becomes("sekisho_port_problem", &labels, |value| value == 1.0)?;
        }
        let status = site.ask(&["status"])?;
        assert_eq!(status["ports"][1]["problem"], "no_native");
        assert_eq!(status["unfiltered"][0]["name"], "p3", "{status}");
        let told = site.tell(&["status"])?.out;
        ensure!(told.contains("p3 is NOT filtered: another XDP program (id "), "{told}");
        ensure!(daemon.log()?.contains("port p3 joined and is NOT filtered"), "{}", daemon.log()?);
        site.lab.ip("link set dev p3 xdp off")?;
        wait_for_ports(site, &[("p1", "native"), ("p2", "generic"), ("p3", "native")])?;
        until("no problem on p3", Duration::from_secs(5), || {
            let metrics = site.metrics()?;
            Ok(metrics.value("sekisho_port_problem", &[("port", "p3")]).is_none().then_some(()))
        })
    })
}
