//! The visibility ledger: what the network card counted is what was accounted for, ignored and lost, to the frame; and whoever
//! sees too little says so.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Daemon, Site, signal, site};
use bpf_tests::flood::{Flood, control_frame};
use bpf_tests::lab::mac;
use bpf_tests::traffic::{check_ways, until};
use serde_json::{Value, json};

/// A sweep is over and counted in this time, with a busy machine to spare.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `ip` says a port received: an independent witness.
fn received(site: &Site, port: &str) -> Result<u64> {
    let text = site.lab.ip(&format!("-j -s link show {port}"))?;
    let links: Value = serde_json::from_str(&text).context("ip tells JSON")?;
    links[0]["stats64"]["rx"]["packets"].as_u64().context("a count of frames")
}

/// The sum of a ledger's parts.
fn sum(parts: &Value) -> u64 {
    parts.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

fn port(site: &Site, name: &str) -> Result<Value> {
    let status = site.ask(&["status"])?;
    let ports = status["ports"].as_array().context("ports")?;
    ports.iter().find(|port| port["name"] == name).cloned().context("not among the ports")
}

/// The ledger of a port once all was read, which must be exact: frames by the network card, bytes by the program.
fn settled(site: &Site, name: &str) -> Result<Value> {
    let ledger = until(&format!("{name} to settle"), PATIENCE, || {
        let ledger = port(site, name)?["ledger"].clone();
        let bytes = &ledger["bytes"];
        let parts: Vec<_> =
            ["flows", "ignored", "unentered", "unread"].map(|part| bytes[part].as_u64().unwrap_or(0)).into();
        let read = bytes["seen"].as_u64() == Some(parts.iter().sum());
        Ok((ledger["pending"] == 0 && read).then_some(ledger))
    });
    let ledger = ledger.with_context(|| format!("{:#}", port(site, name).unwrap_or_default()))?;
    let told = sum(&ledger["accounted"]) + sum(&ledger["ignored"]) + sum(&ledger["lost"]);
    assert_eq!(ledger["arrived"].as_u64(), Some(told), "{ledger:#}");
    Ok(ledger)
}

/// Waits until a blind event of this state and cause was told.
fn blind(daemon: &Daemon, state: &str, cause: &str) -> Result<Value> {
    until(&format!("blind: {state}, {cause}"), PATIENCE, || {
        let events = daemon.events()?;
        Ok(events.into_iter().find(|event| {
            let blind = &event["blind"];
            let causes = blind["reasons"].as_array().cloned().unwrap_or_default();
            blind["state"] == state && causes.contains(&json!(cause))
        }))
    })
    .with_context(|| daemon.log().unwrap_or_default())
}

#[test]
fn what_the_network_card_counted_is_accounted_for_to_the_frame() -> Result<()> {
    site(3, |site| {
        (1..=3).try_for_each(|host| site.lab.silence(host))?;
        // What came before Sekisho is none of its account.
        check_ways(site.lab, "before", true, &[(1, "10.77.0.2")])?;
        let daemon = site.start(&["--mode", "enforce"])?;
        settled(site, "p1")?;
        let before = [received(site, "p1")?, received(site, "p2")?];
        let of_before = [port(site, "p1")?, port(site, "p2")?].map(|port| port["ledger"]["arrived"].as_u64());
        check_ways(site.lab, "with it", true, &[(1, "10.77.0.2"), (2, "10.77.0.3"), (3, "10.77.0.1")])?;
        let flood = Flood::new(site.lab, 1)?;
        flood.send((0..2_000).map(|n| flood.syn(Ipv4Addr::new(10, 9, (n >> 8) as u8, n as u8), 2)))?;
        flood.send((0..7).map(|_| control_frame(1)))?;
        site.ask(&["block", "add", "--ip", "10.77.0.3"])?;
        check_ways(site.lab, "blocked", false, &[(3, "10.77.0.1")])?;
        for (at, name) in ["p1", "p2"].into_iter().enumerate() {
            let ledger = settled(site, name)?;
            let grown = ledger["arrived"].as_u64().zip(of_before[at]).map(|(after, before)| after - before);
            assert_eq!(grown, Some(received(site, name)? - before[at]), "{name}: {ledger:#}");
            assert_eq!(sum(&ledger["lost"]), 0, "{ledger:#}");
        }
        let ledger = settled(site, "p1")?;
        assert_eq!(ledger["ignored"]["link_control"], 7, "{ledger:#}");
        let frames =
            |kind: &'static str, reason: &'static str| [("port", "p1"), ("kind", kind), ("reason", reason)];
        site.metric_becomes("sekisho_port_frames_total", &frames("ignored", "link_control"), |n| n == 7.0)?;
        let flows = ledger["accounted"]["flows"].as_f64();
        site.metric_becomes("sekisho_port_frames_total", &frames("accounted", "flows"), |n| {
            Some(n) == flows
        })?;
        site.metric_becomes("sekisho_coverage_ratio", &[("port", "p1")], |ratio| ratio == 1.0)?;
        assert_eq!(site.metrics()?.value("sekisho_blind", &[]), Some(0.0));

        // The account goes on over a restart, however the daemon ended.
        daemon.kill()?;
        check_ways(site.lab, "without a daemon", true, &[(1, "10.77.0.2")])?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        let after = settled(site, "p1")?;
        let [before, after_it] = [&ledger, &after].map(|ledger| ledger["arrived"].as_u64());
        assert_eq!(after_it, before.map(|before| before + 10), "{after:#}");
        assert_eq!(sum(&after["lost"]), 0, "{after:#}");
        let human = site.tell(&["status"])?.out;
        ensure!(human.contains("ARRIVED") && human.contains("100 %"), "{human}");
        Ok(())
    })
}

#[test]
fn each_entry_says_what_its_rules_dropped() -> Result<()> {
    site(3, |site| {
        (1..=3).try_for_each(|host| site.lab.silence(host))?;
        let daemon = site.start(&["--mode", "enforce"])?;
        for host in ["10.77.0.1", "10.77.0.3"] {
            site.ask(&["block", "add", "--ip", host])?;
        }
        check_ways(site.lab, "blocked", false, &[(1, "10.77.0.2")])?;
        let list = site.ask(&["block", "list"])?;
        let hits = |at: usize| list[at]["hits"].clone();
        assert_eq!(
            (hits(0), hits(1)),
            (
                json!({ "dropped": 10, "dropped_bytes": 980, "would_drop": 0, "would_drop_bytes": 0 }),
                json!({ "dropped": 0, "dropped_bytes": 0, "would_drop": 0, "would_drop_bytes": 0 })
            ),
            "{list:#}"
        );
        assert_eq!(site.ask(&["status"])?["rules"]["1"]["dropped"], 10);
        site.metric_becomes("sekisho_rule_packets_total", &[("verdict", "drop")], |n| n == 10.0)?;
        let sample = daemon.event("a sample of the drops", |event| event["event_type"] == "drop")?;
        assert_eq!(
            (&sample["drop"]["reason"], &sample["drop"]["rule_id"], &sample["device"]["mac"]),
            (&json!("rule"), &json!(1), &json!(mac(1)))
        );
        let human = site.tell(&["block", "list"])?.out;
        ensure!(human.contains("FRAMES"), "{human}");
        Ok(())
    })
}

#[test]
fn a_flood_while_nobody_reads_is_accounted_for_and_told_as_blindness() -> Result<()> {
    site(2, |site| {
        (1..=2).try_for_each(|host| site.lab.silence(host))?;
        let daemon = site.start(&["--mode", "enforce"])?;
        settled(site, "p1")?;
        signal("STOP", daemon.pid())?;
        // More new flows than the ring for records holds (80,659) and than the table of flows does (262,144).
        let flood = Flood::new(site.lab, 1)?;
        let sent = flood.send((0..400_000u32).map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            flood.syn(Ipv4Addr::new(10, 100 + a, b, c), 2)
        }))?;
        std::thread::sleep(Duration::from_secs(4));
        signal("CONT", daemon.pid())?;
        let human = until("status to say it", PATIENCE, || {
            let human = site.tell(&["status"])?.out;
            Ok(human.contains("BLIND since").then_some(human))
        });
        human.with_context(|| daemon.log().unwrap_or_default())?;
        let coverage = port(site, "p1")?["ledger"]["coverage"].as_f64();
        ensure!(coverage < Some(0.99), "of the last minutes {coverage:?} was seen");
        // It is over after ten seconds; a slow machine may take as long to ask for it in three ways.
        let stop_again = || {
            signal("STOP", daemon.pid())?;
            std::thread::sleep(Duration::from_secs(4));
            signal("CONT", daemon.pid())
        };
        stop_again()?;
        let incidents = site.tell(&["incidents"])?.out;
        ensure!(incidents.contains("BLIND since") && !incidents.contains("No incidents"), "{incidents}");
        stop_again()?;
        site.metric_becomes("sekisho_blind", &[], |blind| blind == 1.0)?;
        site.metric_becomes("sekisho_blind_reason", &[("reason", "records_lost")], |blind| blind == 1.0)?;
        for cause in ["stopped", "records_lost", "unread"] {
            blind(&daemon, "begin", cause)?;
        }

        let ledger = settled(site, "p1")?;
        let lost = ledger["lost"]["unread"].as_u64().unwrap_or(0);
        ensure!(lost >= sent - 262_144, "{sent} flows were sent: {ledger:#}");
        ensure!(ledger["arrived"].as_u64() >= Some(sent), "{sent} flows were sent: {ledger:#}");
        let end = blind(&daemon, "end", "unread")?;
        ensure!(end["blind"]["frames_lost"].as_u64() >= Some(lost), "{end:#}");
        ensure!(end["blind"]["stopped_ms"].as_u64() >= Some(3_000), "{end:#}");
        site.metric_becomes("sekisho_blind", &[], |blind| blind == 0.0)?;

        // Nothing of it is forgotten over a restart.
        daemon.stop()?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        let after = settled(site, "p1")?;
        assert_eq!(after["lost"]["unread"].as_u64(), Some(lost), "{after:#}");
        Ok(())
    })
}

#[test]
fn a_host_that_scans_while_its_records_are_lost_is_told_by_the_count_of_the_kernel() -> Result<()> {
    site(3, |site| {
        (1..=3).try_for_each(|host| site.lab.silence(host))?;
        site.configure("[reflex]\ngrace = \"1s\"\n")?;
        let daemon = site.start(&["--mode", "enforce"])?;
        check_ways(site.lab, "known", true, &[(1, "10.77.0.2"), (3, "10.77.0.2")])?;
        settled(site, "p1")?;
        // What they asked for so far is read once a minute.
        std::thread::sleep(Duration::from_secs(3));
        signal("STOP", daemon.pid())?;
        // Conversations of one host with another until the ring for records is full; then somebody else.
        let flood = Flood::new(site.lab, 1)?;
        flood.send(
            (0..100_000u32).map(|n| flood.open(2, (n % 50_000) as u16 + 1_024, 80 + (n / 50_000) as u16)),
        )?;
        let scanner = Flood::new(site.lab, 3)?;
        scanner.send((1..=150).map(|n| scanner.probe(Ipv4Addr::new(10, 78, 0, n))))?;
        signal("CONT", daemon.pid())?;
        let alert = daemon
            .event("the count", |event| event["event_type"] == "alert" && event["device"]["mac"] == mac(3))?;
        let signature = "fan-out: more new destinations than usual while flows were lost";
        assert_eq!(alert["alert"]["signature"], signature, "{alert:#}");
        // And the one it spoke with before, if that was after the last reading.
        ensure!([150, 151].contains(&alert["evidence"]["destinations"].as_u64().unwrap_or(0)), "{alert:#}");
        // What is known by a count alone cuts nobody off.
        check_ways(site.lab, "after it", true, &[(3, "10.77.0.2")])
    })
}

#[test]
fn a_program_that_somebody_takes_off_is_seen_in_the_ledger() -> Result<()> {
    site(2, |site| {
        (1..=2).try_for_each(|host| site.lab.silence(host))?;
        let daemon = site.start(&["--mode", "enforce"])?;
        settled(site, "p1")?;
        // Two looks while it is quiet tell what the card counted before.
        std::thread::sleep(Duration::from_secs(3));
        let before = settled(site, "p1")?;
        // Stopped, for it would put the program back.
        signal("STOP", daemon.pid())?;
        bpf_tests::meddle::detach(&site.pin_dir().join("br0/links/p1"))?;
        check_ways(site.lab, "unfiltered", true, &[(1, "10.77.0.2")])?;
        signal("CONT", daemon.pid())?;
        let label = [("port", "p1"), ("kind", "lost"), ("reason", "unseen")];
        site.metric_becomes("sekisho_port_frames_total", &label, |n| n >= 1.0)?;
        blind(&daemon, "begin", "coverage")?;
        let ledger = settled(site, "p1")?;
        ensure!(ledger["arrived"].as_u64() > before["arrived"].as_u64(), "{ledger:#}");
        Ok(())
    })
}

#[test]
fn an_isolated_host_leaks_nothing_until_somebody_takes_its_rule_away() -> Result<()> {
    site(2, |site| {
        (1..=2).try_for_each(|host| site.lab.silence(host))?;
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--ip", "10.77.0.1"])?;
        let ping = site.lab.start_ping(1, "10.77.0.2", 1_000, 20)?;
        // Three sweeps with the rule in force.
        std::thread::sleep(Duration::from_secs(12));
        assert_eq!(site.metrics()?.value("sekisho_isolation_leak_packets_total", &[]), Some(0.0));
        let maps = site.pin_dir().join(format!("br0/abi-{}/maps", sensor_ebpf::ABI));
        signal("STOP", daemon.pid())?;
        let address: IpAddr = "10.77.0.1".parse()?;
        bpf_tests::meddle::delete(&maps.join("RULES_IP"), &sensor_core::datapath::address(address))?;
        bpf_tests::meddle::raise_generation(&maps)?;
        until("a ping that passes", PATIENCE, || Ok((site.lab.ping(1, "10.77.0.2")? > 0).then_some(())))?;
        signal("CONT", daemon.pid())?;
        site.metric_becomes_within("sekisho_isolation_leak_packets_total", &[], PATIENCE, |n| n >= 1.0)?;
        let status = site.ask(&["status"])?;
        ensure!(status["leaks"].as_u64() >= Some(1), "{status:#}");
        ping.finish().map(drop)?;
        Ok(())
    })
}
