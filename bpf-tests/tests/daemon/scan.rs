//! A host that scans with nmap: found, cut off, shown, released, found again; and what observe mode does instead.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, site};
use bpf_tests::lab::mac;
use bpf_tests::traffic::{Scan, Service, check_ways, exchange, until};
use sensor_core::time::SECOND;
use sensor_user::clock::Stamp;
use serde_json::{Value, json};

/// The MAC address of the host that scans, of a maker that the OUI registry knows.
const SCANNER: &str = "00:1b:21:00:00:01";
const MAKER: &str = "Intel Corporate";

/// Ways that are closed while host 1 is cut off.
const ITS_WAYS: [(u8, &str); 5] =
    [(1, "10.77.0.2"), (1, "fd77::2"), (2, "10.77.0.1"), (2, "fd77::1"), (1, "10.77.0.4")];
/// Ways that never are.
const OTHER_WAYS: [(u8, &str); 4] = [(2, "10.77.0.3"), (2, "fd77::3"), (3, "10.77.0.4"), (4, "fd77::2")];

/// A ward of four that ask for each other's MAC addresses, the first with a maker's; services to talk to.
fn furnish(site: &Site) -> Result<[Service; 2]> {
    site.lab.set_mac(1, SCANNER)?;
    site.lab.unlearn()?;
    Ok([Service::start(site.lab, 2, 80)?, Service::start(site.lab, 4, 104)?])
}

/// Everybody talks as on any day; all ways are open.
fn daily_work(site: &Site) -> Result<()> {
    for (host, address) in
        [(1, "10.77.0.2:80"), (2, "10.77.0.4:104"), (3, "[fd77::2]:80"), (4, "10.77.0.2:80")]
    {
        exchange(site.lab, host, address).with_context(|| format!("host {host} to {address}"))?;
    }
    check_ways(site.lab, "before", true, &[&ITS_WAYS[..], &OTHER_WAYS].concat())
}

fn is_isolation(event: &Value, action: &str) -> bool {
    event["event_type"] == "isolation" && event["isolation"]["action"] == action
}

/// nmap with `arguments` on host 1 is found by `detector`, and all that follows from it happens. After the release it
/// scans `again`.
fn check(detector: &str, arguments: &[&str], again: &[&str]) -> Result<()> {
    site(4, |site| {
        let _services = furnish(site)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        daily_work(site)?;

        let scan = Scan::start(site.lab, 1, arguments)?;
        let isolation = daemon.event("the isolation", |event| is_isolation(event, "added"))?;
        drop(scan);
        check_events(&daemon.events()?, &isolation, detector)?;
        check_ways(site.lab, "isolated", false, &ITS_WAYS)?;
        check_ways(site.lab, "isolated", true, &OTHER_WAYS)?;
        check_views(site, &isolation)?;

        let removed = site.ask(&["block", "remove", "--mac", SCANNER])?;
        assert_eq!(removed["id"], isolation["isolation"]["id"]);
        daemon.event("the release", |event| is_isolation(event, "released"))?;
        check_ways(site.lab, "released", true, &ITS_WAYS)?;
        assert_eq!(site.ask(&["block", "list"])?, json!([]));

        let _scan = Scan::start(site.lab, 1, again)?;
        daemon.event("the second isolation", |event| {
            is_isolation(event, "added") && event["isolation"]["id"] != isolation["isolation"]["id"]
        })?;
        Ok(())
    })
}

/// What was told of the isolation is true, and led up to by an alert with numbers.
fn check_events(events: &[Value], isolation: &Value, detector: &str) -> Result<()> {
    let told = &isolation["isolation"];
    assert_eq!(isolation["device"]["mac"], SCANNER, "{isolation}");
    assert_eq!(
        (&told["target"]["mac"], &told["would"], &told["level"]),
        (&json!(SCANNER), &json!(false), &json!("isolate"))
    );
    let latency = told["latency_ms"].as_f64().context("a live isolation tells its latency")?;
    ensure!((0.001..10_000.0).contains(&latency), "{isolation}");
    ensure!(
        told["until"].is_string() && !told["reason"].as_str().unwrap_or_default().is_empty(),
        "{isolation}"
    );

    let alert = events.iter().find(|event| {
        event["event_type"] == "alert"
            && event["incident_id"] == isolation["incident_id"]
            && event["alert"]["severity"] == 1
    });
    let alert = alert.context("no alert of the incident")?;
    assert_eq!(alert["alert"]["metadata"]["detector"], json!([detector]), "{alert}");
    assert_eq!((&alert["device"]["mac"], &alert["alert"]["action"]), (&json!(SCANNER), &json!("blocked")));
    assert_eq!(alert["in_iface"], "p1", "{alert}");
    let numbers = alert["evidence"].as_object().context("evidence")?;
    ensure!(numbers.values().any(|value| value.as_f64().is_some_and(|n| n >= 10.0)), "{alert}");
    Ok(())
}

/// The commands agree with the event.
fn check_views(site: &Site, isolation: &Value) -> Result<()> {
    let told = &isolation["isolation"];
    let blocks = site.ask(&["block", "list"])?;
    let [block] = &blocks.as_array().context("a list")?[..] else { panic!("one entry: {blocks}") };
    assert_eq!((&block["id"], &block["incident_id"]), (&told["id"], &isolation["incident_id"]));
    assert_eq!(block["would"], false);
    ensure!(apart(&block["until"], &told["until"])? < SECOND / 20, "{block} {told}");
    ensure!(block["targets"].as_array().is_some_and(|list| list.contains(&json!(SCANNER))), "{block}");

    let status = site.ask(&["status"])?;
    assert_eq!((&status["mode"], &status["stats"]["blocks"]), (&json!("enforce"), &json!(1)), "{status}");
    assert_eq!(status["stats"]["incidents"], 1, "{status}");

    let devices = site.ask(&["devices"])?;
    for host in 1..=4_u8 {
        let address = if host == 1 { SCANNER.to_owned() } else { mac(host) };
        let device = device(&devices, &address)?;
        for ip in [format!("10.77.0.{host}"), format!("fd77::{host}")] {
            ensure!(device["ips"].as_array().is_some_and(|ips| ips.contains(&json!(ip))), "{ip}: {device}");
        }
        assert_eq!(device["port"], format!("p{host}"), "{device}");
        assert_eq!(device["block"], if host == 1 { told["id"].clone() } else { Value::Null }, "{device}");
        assert_eq!(device["gateway"], false, "{device}");
    }
    assert_eq!(device(&devices, SCANNER)?["maker"], MAKER);

    let incidents = site.ask(&["incidents"])?;
    let [incident] = &incidents.as_array().context("a list")?[..] else { panic!("one: {incidents}") };
    assert_eq!((&incident["id"], &incident["action"]), (&isolation["incident_id"], &json!("isolated")));
    assert_eq!((&incident["device"]["mac"], &incident["severity"]), (&json!(SCANNER), &json!(1)));
    let one = site.ask(&["incidents", &incident["id"].to_string()])?;
    assert_eq!(one["findings"][0]["evidence"], incident["findings"][0]["evidence"]);
    Ok(())
}

/// ns between two dates. The clocks are compared anew for each answer, so that dates differ by what they slid.
fn apart(a: &Value, b: &Value) -> Result<u64> {
    let (a, b): (Stamp, Stamp) = (serde_json::from_value(a.clone())?, serde_json::from_value(b.clone())?);
    Ok(a.since(b).max(b.since(a)))
}

fn device<'a>(devices: &'a Value, mac: &str) -> Result<&'a Value> {
    let mut list = devices.as_array().context("a list")?.iter();
    list.find(|device| device["mac"] == mac).with_context(|| format!("no {mac} in {devices}"))
}

#[test]
fn a_syn_scan_of_one_host() -> Result<()> {
    let scan = |target| ["-sS", "-Pn", "-p", "1-500", target];
    // A service that was tried before the release is no first contact any more: the second scan is of another host.
    check("port_scan", &scan("10.77.0.3"), &scan("10.77.0.4"))
}

#[test]
fn a_syn_scan_by_ipv6() -> Result<()> {
    let scan = |target| ["-6", "-sS", "-Pn", "-p", "1-500", target];
    check("port_scan", &scan("fd77::3"), &scan("fd77::4"))
}

#[test]
fn a_connect_scan_of_the_network() -> Result<()> {
    let scan = ["-sT", "-p", "22,445", "10.77.0.0/24"];
    check("scan", &scan, &scan)
}

#[test]
fn a_udp_scan_of_the_network() -> Result<()> {
    let scan = ["-sU", "-p", "53,161", "10.77.0.0/24"];
    check("scan", &scan, &scan)
}

#[test]
fn a_search_for_hosts() -> Result<()> {
    let scan = ["-sn", "10.77.0.0/24"];
    check("scan", &scan, &scan)
}

#[test]
fn an_isolation_ends_by_itself() -> Result<()> {
    site(4, |site| {
        site.configure("[isolation]\ndurations = [\"3s\"]\n")?;
        let _services = furnish(site)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        daily_work(site)?;
        let scan = Scan::start(site.lab, 1, &["-sn", "10.77.0.0/24"])?;
        let isolation = daemon.event("the isolation", |event| is_isolation(event, "added"))?;
        drop(scan);
        check_ways(site.lab, "isolated", false, &ITS_WAYS[..2])?;
        let expired = daemon.event("its end", |event| is_isolation(event, "expired"))?;
        assert_eq!(expired["isolation"]["id"], isolation["isolation"]["id"]);
        ensure!(apart(&expired["timestamp"], &isolation["isolation"]["until"])? < SECOND, "{expired}");
        check_ways(site.lab, "expired", true, &ITS_WAYS)?;
        assert_eq!(site.ask(&["block", "list"])?, json!([]));
        Ok(())
    })
}

#[test]
fn observe_mode_tells_and_counts_and_drops_nothing_but_what_a_person_orders() -> Result<()> {
    site(4, |site| {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/sekisho.toml");
        site.configure(&fs::read_to_string(shipped)?)?;
        let _services = furnish(site)?;
        let daemon = site.start(&[])?;
        daily_work(site)?;
        assert_eq!(site.ask(&["status"])?["mode"], "observe");
        assert_eq!(site.metrics()?.value("sekisho_enforce", &[]), Some(0.0));

        let mut scan = Scan::start(site.lab, 1, &["-sn", "10.77.0.0/24"])?;
        let isolation = daemon.event("the isolation", |event| is_isolation(event, "added"))?;
        assert_eq!(
            (&isolation["isolation"]["would"], &isolation["device"]["mac"]),
            (&json!(true), &json!(SCANNER))
        );
        daemon.event("the alert", |event| {
            event["event_type"] == "alert"
                && event["incident_id"] == isolation["incident_id"]
                && event["alert"]["action"] == "allowed"
        })?;
        until("nmap's end", Duration::from_secs(10), || Ok(scan.ended()?.then_some(())))?;
        check_ways(site.lab, "observed", true, &[&ITS_WAYS[..], &OTHER_WAYS].concat())?;
        site.metric_becomes("sekisho_verdicts_total", &[("port", "p1"), ("verdict", "would_drop")], |n| {
            n >= 30.0
        })?;
        let metrics = site.metrics()?;
        for port in 1..=4 {
            let port = format!("p{port}");
            let dropped = metrics.value("sekisho_verdicts_total", &[("port", &port), ("verdict", "drop")]);
            assert_eq!(dropped, Some(0.0), "{port}");
        }
        assert_eq!(metrics.value("sekisho_isolations_active", &[("mode", "observed")]), Some(1.0));
        assert_eq!(metrics.value("sekisho_isolations_active", &[("mode", "enforced")]), Some(0.0));
        assert_eq!(site.ask(&["block", "list"])?[0]["would"], true);
        assert_eq!(site.ask(&["incidents"])?[0]["action"], "would_isolate");

        site.ask(&["block", "add", "--mac", &mac(3)])?;
        let closed = [(3, "10.77.0.2"), (3, "fd77::2"), (4, "10.77.0.3"), (2, "fd77::3")];
        check_ways(site.lab, "by hand", false, &closed)?;
        check_ways(site.lab, "by hand", true, &[(1, "10.77.0.2"), (1, "fd77::4"), (4, "10.77.0.2")])?;
        // A person's word makes the shadow entry real too.
        site.ask(&["block", "add", "--mac", SCANNER])?;
        check_ways(site.lab, "confirmed", false, &ITS_WAYS)
    })
}
