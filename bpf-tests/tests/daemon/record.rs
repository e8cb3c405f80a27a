//! Decisions made anew from the record of a daemon: as they were told, while it runs, after it died, and with a changed key.

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, site};
use bpf_tests::traffic::{Scan, Service, exchange, until};
use serde_json::Value;

/// What `sekisho explain --replay` says of an incident.
fn again(site: &Site, incident: &str, more: &[&str]) -> Result<Value> {
    let state = site.state_dir().display().to_string();
    let arguments = ["explain", incident, "--replay", "--state-dir", &state, "-o", "json"];
    // What came last is on the disk after a second.
    until("the decision made anew", std::time::Duration::from_secs(10), || {
        let told = site.plain(&[&arguments[..], more].concat())?;
        ensure!(told.code.is_some_and(|code| code <= 1), "{told:?}");
        Ok(if told.out.is_empty() { None } else { told.lines()?.pop() })
    })
}

/// nmap's scan by a host, up to its isolation; the incident.
fn scanned(site: &Site, daemon: &bpf_tests::daemon::Daemon, host: u8) -> Result<String> {
    let seen = daemon.events()?.len();
    let _scan = Scan::start(site.lab, host, &["-sS", "-n", "-Pn", "-p", "445", "10.77.0.0/24"])?;
    daemon.event("the isolation", |event| {
        event["event_type"] == "isolation" && event["isolation"]["action"] == "added"
    })?;
    let events = daemon.events()?;
    let isolation = events.iter().skip(seen).find(|event| event["event_type"] == "isolation");
    let isolation = isolation.context("an isolation of this run")?;
    Ok(isolation["incident_id"].to_string())
}

#[test]
fn a_decision_is_made_anew_from_the_record() -> Result<()> {
    site(4, |site| {
        site.lab.unlearn()?;
        let _service = Service::start(site.lab, 2, 80)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        exchange(site.lab, 1, "10.77.0.2:80")?;
        exchange(site.lab, 3, "10.77.0.2:80")?;
        let incident = scanned(site, &daemon, 1)?;
        let decided = again(site, &incident, &[])?;
        assert_eq!(decided["same"], true, "{decided:#}");
        ensure!(decided["incident"]["findings"].as_array().is_some_and(|all| !all.is_empty()), "{decided:#}");

        // With a key changed: nobody is isolated.
        let changed = again(site, &incident, &["--what-if", "decide.highest=throttle"])?;
        let decisions: Vec<_> = changed["what_if"]["events"]
            .as_array()
            .context("events")?
            .iter()
            .filter_map(|event| event["alert"]["metadata"]["decision"][0].as_str())
            .collect();
        ensure!(decisions.contains(&"throttled") && !decisions.contains(&"isolated"), "{decisions:?}");

        // A person's order is part of what came in, and what follows from it comes about again.
        site.ask(&["block", "remove", "10.77.0.1"])?;
        drop(daemon);
        let text = site.plain(&[
            "explain",
            &incident,
            "--replay",
            "--state-dir",
            &site.state_dir().display().to_string(),
        ])?;
        ensure!(
            text.code == Some(0) && text.out.contains("the decision is the same, byte for byte"),
            "{text:?}"
        );

        // Another daemon goes on with a record of its own in the same place.
        let daemon = site.start(&["--mode", "enforce"])?;
        exchange(site.lab, 3, "10.77.0.2:80")?;
        let other = scanned(site, &daemon, 3)?;
        ensure!(other != incident, "numbers are given once");
        for incident in [&incident, &other] {
            let decided = again(site, incident, &[])?;
            assert_eq!(decided["same"], true, "{decided:#}");
        }
        assert_eq!(site.metrics()?.value("sekisho_record_cut_short_total", &[]), Some(0.0));
        Ok(())
    })
}
