//! What people decide about what is found: approved or denied, judged, announced; and that a daemon that is killed right
//! after comes back with it.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Daemon, Site, site};
use bpf_tests::lab::mac;
use bpf_tests::traffic::{Scan, Service, check_ways, exchange, until};
use serde_json::{Value, json};

/// Ways that are closed while host 1 is cut off.
const ITS_WAYS: [(u8, &str); 2] = [(1, "10.77.0.2"), (2, "10.77.0.1")];

/// A ward of three that ask for each other's MAC addresses, with a service at host 2 and a daemon that enforces.
fn ward(config: &str, work: impl FnOnce(&Site<'_>, Daemon) -> Result<()> + Send) -> Result<()> {
    site(3, |site| {
        site.configure(config)?;
        site.lab.unlearn()?;
        let _service = Service::start(site.lab, 2, 80)?;
        let daemon = start(site)?;
        check_ways(site.lab, "before", true, &ITS_WAYS)?;
        work(site, daemon)
    })
}

fn start(site: &Site) -> Result<Daemon> {
    site.start(&["--mode", "enforce"])
}

/// Host 1 works, which shows that it is no router, and then looks for hosts.
fn scan(site: &Site) -> Result<Scan> {
    exchange(site.lab, 1, "10.77.0.2:80")?;
    Scan::start(site.lab, 1, &["-sn", "10.77.0.0/24"])
}

fn is_approval(event: &Value, step: &str) -> bool {
    event["event_type"] == "approval" && event["approval"]["action"] == step
}

/// One that nobody entered by hand.
fn is_isolation(event: &Value) -> bool {
    event["event_type"] == "isolation"
        && event["isolation"]["action"] == "added"
        && event["incident_id"].is_u64()
}

/// An alert about host 1 that would have isolated it, and was lowered by that.
fn is_lowered(event: &Value, by: &str) -> bool {
    let decision = &event["decision"];
    event["event_type"] == "alert"
        && event["device"]["mac"] == mac(1)
        && decision["earned"] == "isolate"
        && decision["allowed"] == "alert"
        && decision["lowered"].as_array().is_some_and(|steps| steps.iter().any(|step| step["by"] == by))
}

/// Host 1 scans until that happens.
fn scan_until(site: &Site, daemon: &Daemon, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let _scan = scan(site)?;
    daemon.event(what, wanted)
}

/// The newest incident.
fn newest(site: &Site) -> Result<Value> {
    Ok(site.ask(&["incidents"])?[0].clone())
}

fn entries(site: &Site) -> Result<usize> {
    site.ask(&["block", "list"])?.as_array().map(Vec::len).context("a list")
}

#[test]
fn what_waits_can_be_approved_after_the_daemon_was_killed() -> Result<()> {
    ward("[approve]\nfrom = \"isolate\"\n", |site, daemon| {
        let asked = scan_until(site, &daemon, "the question", |event| is_approval(event, "asked"))?;
        let before = newest(site)?;
        daemon.kill()?;
        let daemon = start(site)?;
        // Host 1 is not heard again before somebody approves.
        let after = newest(site)?;
        assert_eq!((&after["id"], &after["action"]), (&asked["incident_id"], &json!("waits")), "{after}");
        assert_eq!(after["device"]["mac"], mac(1), "{after}");
        assert_eq!(after["waits"]["level"], "isolate", "{after}");
        // To the microsecond: within a boot the clock that is never set counts.
        let until = |incident: &Value| incident["waits"]["until"].as_str().map(|text| text[..19].to_owned());
        ensure!(until(&after).is_some() && until(&after) == until(&before), "{before}\n{after}");
        check_ways(site.lab, "waiting", true, &ITS_WAYS)?;
        let id = after["id"].to_string();
        let said = site.ask(&["incidents", "approve", &id])?;
        assert_eq!(said["action"], "isolated", "{said}");
        daemon.kill()?;
        check_ways(site.lab, "approved", false, &ITS_WAYS)?;
        let _daemon = start(site)?;
        check_ways(site.lab, "approved, after a restart", false, &ITS_WAYS)?;
        let list = site.ask(&["block", "list"])?;
        let reason = list[0]["reason"].as_str().unwrap_or_default();
        ensure!(reason.ends_with(", approved by root"), "{list}");
        let status = site.ask(&["status"])?;
        assert_eq!(status["stats"]["approvals_waiting"], 0, "{status}");
        Ok(())
    })
}

#[test]
fn what_is_denied_stays_denied_after_the_daemon_was_killed() -> Result<()> {
    ward("[approve]\nfrom = \"isolate\"\nmeanwhile = \"throttle\"\n", |site, daemon| {
        let asked = scan_until(site, &daemon, "the question", |event| is_approval(event, "asked"))?;
        assert_eq!(entries(site)?, 1, "meanwhile");
        let id = asked["incident_id"].to_string();
        site.ask(&["incidents", "deny", &id])?;
        daemon.kill()?;
        let daemon = start(site)?;
        assert_eq!(entries(site)?, 0, "what held it meanwhile is taken back");
        let before = newest(site)?;
        let _scan = scan(site)?;
        // No news, so that no alert is told; but it is found.
        let found = || Ok(Some(newest(site)?).filter(|incident| incident["updated"] != before["updated"]));
        let incident = until("the scan to be found", Duration::from_secs(10), found)?;
        assert_eq!((&incident["id"], &incident["action"]), (&asked["incident_id"], &json!("denied")));
        let asked_again = daemon.events()?.iter().any(|event| is_approval(event, "asked"));
        ensure!(!asked_again, "a person is asked again");
        assert_eq!(entries(site)?, 0);
        check_ways(site.lab, "denied", true, &ITS_WAYS)
    })
}

#[test]
fn a_deadline_that_passes_acts_as_configured_but_not_while_no_daemon_runs() -> Result<()> {
    let config = "[approve]\nfrom = \"isolate\"\nwithin = \"3s\"\notherwise = \"act\"\n";
    ward(config, |site, daemon| {
        scan_until(site, &daemon, "the question", |event| is_approval(event, "asked"))?;
        daemon.kill()?;
        thread::sleep(Duration::from_secs(4));
        let daemon = start(site)?;
        daemon.event("the end of the question", |event| is_approval(event, "lapsed"))?;
        assert_eq!(newest(site)?["action"], "not_approved");
        check_ways(site.lab, "nobody could say no", true, &ITS_WAYS)
    })?;
    ward(config, |site, daemon| {
        scan_until(site, &daemon, "the question", |event| is_approval(event, "asked"))?;
        daemon.event("the end of the question", |event| is_approval(event, "lapsed_acts"))?;
        daemon.event("the isolation", is_isolation)?;
        check_ways(site.lab, "nobody said no", false, &ITS_WAYS)
    })
}

#[test]
fn a_judgement_holds_and_numbers_go_on_after_the_daemon_was_killed() -> Result<()> {
    ward("", |site, daemon| {
        let isolation = scan_until(site, &daemon, "the isolation", is_isolation)?;
        let first = isolation["incident_id"].as_u64().context("a number")?;
        site.ask(&["incidents", "judge", &first.to_string(), "false"])?;
        let reviews = site.ask(&["incidents", "reviews"])?;
        ensure!(reviews.as_array().is_some_and(|list| !list.is_empty()), "{reviews}");
        site.ask(&["block", "remove", "10.77.0.1"])?;
        daemon.kill()?;
        let daemon = start(site)?;
        let again = site.ask(&["incidents", "reviews"])?;
        assert_eq!(again[0]["id"], reviews[0]["id"]);
        assert_eq!(
            (&again[0]["detector"], &again[0]["scope"]),
            (&reviews[0]["detector"], &reviews[0]["scope"])
        );
        let alert = scan_until(site, &daemon, "an alert", |event| is_lowered(event, "review"))?;
        ensure!(alert["incident_id"].as_u64() > Some(first), "an order about {first} would hit {alert}");
        assert_eq!(entries(site)?, 0);
        check_ways(site.lab, "on review", true, &ITS_WAYS)?;
        // Taken back, by the number of the incident that was judged.
        site.ask(&["incidents", "judge", &first.to_string(), "true"])?;
        assert_eq!(site.ask(&["incidents", "reviews"])?, json!([]));
        daemon.kill()?;
        let daemon = start(site)?;
        assert_eq!(site.ask(&["incidents", "reviews"])?, json!([]));
        scan_until(site, &daemon, "the isolation", is_isolation)?;
        check_ways(site.lab, "judged true", false, &ITS_WAYS)
    })
}

#[test]
fn who_does_it_again_is_held_longer_also_after_the_daemon_was_killed() -> Result<()> {
    ward("[isolation]\ndurations = [\"3s\", \"1h\"]\n", |site, daemon| {
        scan_until(site, &daemon, "the isolation", is_isolation)?;
        daemon.event("its end", |event| event["isolation"]["action"] == "expired")?;
        daemon.kill()?;
        let daemon = start(site)?;
        let isolation = scan_until(site, &daemon, "the second isolation", is_isolation)?;
        let list = site.ask(&["block", "list"])?;
        let seconds = |time: &Value| -> Result<i64> {
            let text = time.as_str().context("a time")?;
            bpf_tests::lab::run("date", &["-d", text, "+%s"])?.trim().parse().context("seconds")
        };
        let held = seconds(&list[0]["until"])? - seconds(&list[0]["since"])?;
        ensure!((3_500..3_700).contains(&held), "{held} s: {isolation}");
        Ok(())
    })
}

#[test]
fn in_an_announced_window_nothing_is_cut_off_also_after_the_daemon_was_killed() -> Result<()> {
    ward("", |site, daemon| {
        let window = ["window", "add", "--everybody", "--for", "2h", "--reason", "scan of the ward"];
        let window = site.ask(&window)?;
        assert_eq!((&window["for"], &window["open"]), (&json!("everybody"), &json!(true)), "{window}");
        daemon.event("the window", |event| event["window"]["action"] == "opened")?;
        let alert = scan_until(site, &daemon, "an alert", |event| is_lowered(event, "window"))?;
        assert_eq!(alert["alert"]["metadata"]["decision"], json!(["lowered"]), "{alert}");
        check_ways(site.lab, "in the window", true, &ITS_WAYS)?;
        daemon.kill()?;
        let daemon = start(site)?;
        let list = site.ask(&["window", "list"])?;
        for key in ["id", "for", "open", "reason", "by"] {
            assert_eq!(list[0][key], window[key], "{key}");
        }
        daemon.event("that it is open", |event| event["window"]["action"] == "opened")?;
        site.metric_becomes("sekisho_change_windows_open", &[], |n| n == 1.0)?;
        assert_eq!(site.ask(&["status"])?["stats"]["windows_open"], 1);
        scan_until(site, &daemon, "an alert", |event| is_lowered(event, "window"))?;
        // What a person enters is enforced.
        site.ask(&["block", "add", "10.77.0.2"])?;
        check_ways(site.lab, "entered", false, &ITS_WAYS)?;
        site.ask(&["block", "remove", "10.77.0.2"])?;
        site.ask(&["window", "remove", &window["id"].to_string()])?;
        assert_eq!(site.ask(&["window", "list"])?, json!([]));
        scan_until(site, &daemon, "the isolation", is_isolation)?;
        check_ways(site.lab, "after the window", false, &ITS_WAYS)
    })
}
