//! Ports that come and go, the mode they are filtered in, and a bridge that is taken away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Metrics, Site, site};
use bpf_tests::lab::{BRIDGE, has_xdp, mac};
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
        // Its driver cannot: a page is the most that native XDP takes, and veth looks at the other end.
        site.lab.host_ip(2, "link set eth0 mtu 9000")?;
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
