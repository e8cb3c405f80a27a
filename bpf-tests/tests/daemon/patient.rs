//! Never the patient: what must not be cut off, whatever it does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Daemon, Site, site};
use bpf_tests::lab::mac;
use bpf_tests::traffic::{Scan, Service, check_ways, exchange, until};
use serde_json::{Value, json};

/// A scan that isolates whoever else does it: of many ports of one host.
const PORTS: [&str; 5] = ["-sS", "-Pn", "-p", "1-200", "10.77.0.2"];
/// One of the whole network.
const HOSTS: [&str; 3] = ["-sn", "-n", "10.77.0.0/24"];

/// Host 1 does both scans, to their ends; the gravest incident of it is answered by `action` and nobody is cut off.
fn scan_unharmed(site: &Site, daemon: &Daemon, action: &str) -> Result<Value> {
    for arguments in [&PORTS[..], &HOSTS] {
        let mut scan = Scan::start(site.lab, 1, arguments)?;
        until("nmap's end", Duration::from_secs(12), || Ok(scan.ended()?.then_some(())))?;
    }
    let alert = daemon.event("a grave alert", |event| event["alert"]["severity"] == 1)?;
    assert_eq!(alert["alert"]["metadata"]["decision"], json!([action]), "{alert}");
    assert_eq!((&alert["alert"]["action"], &alert["device"]["mac"]), (&json!("allowed"), &json!(mac(1))));
    let isolated = daemon.events()?.into_iter().find(|event| event["event_type"] == "isolation");
    ensure!(isolated.is_none(), "{isolated:?}");
    assert_eq!(site.ask(&["block", "list"])?, json!([]));
    let incidents = site.ask(&["incidents"])?;
    let grave = incidents.as_array().context("a list")?.iter().find(|incident| incident["severity"] == 1);
    assert_eq!(grave.context("no grave incident")?["action"], action);
    check_ways(site.lab, action, true, &[(1, "10.77.0.2"), (1, "fd77::3"), (3, "10.77.0.1")])?;
    Ok(alert)
}

#[test]
fn a_gateway_that_scans_is_told_and_not_isolated() -> Result<()> {
    site(3, |site| {
        site.lab.unlearn()?;
        let daemon = site.start(&["--mode", "enforce"])?;
        let _service = Service::start(site.lab, 2, 80)?;
        exchange(site.lab, 1, "10.77.0.2:80")?;
        // What is behind it talks through it: packets of other addresses from its MAC address.
        for behind in 101..=103 {
            site.lab.host_ip(1, &format!("addr add 10.77.0.{behind}/24 dev eth0"))?;
            let from = format!("10.77.0.{behind}");
            let namespace = site.lab.host(1);
            let ping =
                ["netns", "exec", &namespace, "ping", "-q", "-c", "1", "-W", "2", "-I", &from, "10.77.0.2"];
            bpf_tests::lab::run("ip", &ping)?;
        }
        until("a gateway", Duration::from_secs(5), || {
            let devices = site.ask(&["devices"])?;
            let mut list = devices.as_array().context("a list")?.iter();
            let known = list.any(|device| device["mac"] == mac(1) && device["gateway"] == true);
            Ok(known.then_some(()))
        })?;
        scan_unharmed(site, &daemon, "gateway")?;
        site.tell(&["block", "add", "--mac", &mac(1)])?.check_failed(&["is a gateway"])
    })
}

#[test]
fn a_named_gateway_that_scans_is_told_and_not_isolated() -> Result<()> {
    site(3, |site| {
        site.configure(&format!("[network]\ngateways = [\"{}\"]\n", mac(1)))?;
        site.lab.unlearn()?;
        let daemon = site.start(&["--mode", "enforce"])?;
        scan_unharmed(site, &daemon, "gateway").map(drop)
    })
}

#[test]
fn a_protected_host_that_scans_is_told_and_not_isolated() -> Result<()> {
    for protected in [mac(1), "10.77.0.1".to_owned(), "10.77.0.0/31".to_owned()] {
        site(3, |site| {
            site.configure(&format!(
                "[isolation]\nprotected = [\"{protected}\"]\n[names]\n\"{}\" = \"Infusion pump 4\"\n",
                mac(1)
            ))?;
            site.lab.unlearn()?;
            let daemon = site.start(&["--mode", "enforce"])?;
            let alert = scan_unharmed(site, &daemon, "protected")?;
            assert_eq!(alert["device"]["name"], "Infusion pump 4");
            Ok(())
        })
        .with_context(|| format!("protected by {protected}"))?;
    }
    Ok(())
}
