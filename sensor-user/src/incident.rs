//! An incident put together from what was told of it: the lines of a log, a replay or the journal that bear its number.

use anyhow::{Context, Result};
use sensor_core::technique;
use sensor_report::Outcome;
use serde_json::{Map, Value, json};

use crate::protocol::IncidentInfo;

/// Puts an incident together from its lines, in their order.
///
/// # Errors
///
/// If none of them is an alert, or they are of another release.
pub fn assemble(lines: &[Value]) -> Result<IncidentInfo> {
    let alerts = || lines.iter().filter(|line| line["event_type"] == "alert");
    let (first, last) = alerts().next().zip(alerts().next_back()).context("no line of it is an alert")?;
    let decision = alerts().map(|alert| &alert["decision"]).rfind(|decision| !decision.is_null());
    let object: Map<String, Value> = [
        ("id", first["incident_id"].clone()),
        ("device", last["device"].clone()),
        ("severity", alerts().filter_map(|alert| alert["alert"]["severity"].as_u64()).min().into()),
        ("opened", first["timestamp"].clone()),
        ("updated", last["timestamp"].clone()),
        ("action", action(lines)),
        ("decision", decision.cloned().unwrap_or_default()),
        ("judged", judged(lines)),
        ("coverage", last["coverage"].clone()),
        ("evidence", last["sum"].clone()),
        ("why", last["why"].clone()),
        ("findings", findings(alerts())),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    serde_json::from_value(object.into()).context("the log is of another release")
}

/// The findings: of each detector and signature the latest.
fn findings<'a>(alerts: impl Iterator<Item = &'a Value>) -> Value {
    let mut findings: Vec<Value> = Vec::new();
    for alert in alerts {
        let word = |value: &'a Value| value.as_str().unwrap_or_default();
        let detector = word(&alert["alert"]["metadata"]["detector"][0]);
        let technique = technique::of(detector, word(&alert["alert"]["signature"]));
        let finding = json!({
            "time": alert["timestamp"],
            "detector": detector,
            "technique": technique.map(|technique| technique.to_string()),
            "signature": alert["alert"]["signature"],
            "severity": alert["alert"]["severity"],
            "family": alert["family"].as_str().unwrap_or_default(),
            "weight": alert["weight"],
            "evidence": alert["evidence"],
        });
        let same = |old: &&mut Value| {
            (&old["detector"], &old["signature"]) == (&finding["detector"], &finding["signature"])
        };
        match findings.iter_mut().find(same) {
            Some(old) => *old = finding,
            None => findings.push(finding),
        }
    }
    findings.into()
}

/// What became of it.
fn action(lines: &[Value]) -> Value {
    let mut outcome = Outcome::default();
    for line in lines {
        outcome.event(line["event_type"].as_str().unwrap_or_default(), line);
    }
    outcome.action().into()
}

/// What a person said of it last; null if nobody did.
fn judged(lines: &[Value]) -> Value {
    let judgements = lines.iter().filter(|line| line["event_type"] == "judgement");
    let mut judgements = judgements.map(|line| &line["judgement"]);
    let said = judgements.rfind(|said| said["verdict"] != "reviewed");
    said.map_or(Value::Null, |said| {
        json!({
            "right": said["verdict"] != "false",
            "grave": said["verdict"] == "grave",
            "by": said["by"].as_str().unwrap_or_default(),
            "comment": said["comment"].as_str().unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(second: u32, decision: &str) -> Value {
        json!({
            "timestamp": format!("2026-01-01T00:00:{second:02}.000000+0000"),
            "event_type": "alert",
            "incident_id": 3,
            "alert": {
                "signature": format!("what {}", second % 2), "severity": 2,
                "metadata": { "detector": ["scan"], "decision": [decision] },
            },
            "device": { "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7"] },
            "evidence": { "count": second },
            "decision": { "earned": "isolate" },
        })
    }

    fn approval(step: &str) -> Value {
        json!({ "event_type": "approval", "approval": { "action": step } })
    }

    fn isolation(level: &str) -> Value {
        json!({ "event_type": "isolation", "isolation": { "action": "added", "level": level } })
    }

    fn judgement(verdict: &str) -> Value {
        json!({ "event_type": "judgement", "judgement": { "verdict": verdict, "by": "sato", "comment": "c" } })
    }

    #[test]
    fn what_was_done_last_counts() {
        for (lines, want) in [
            (vec![alert(1, "none")], "none"),
            (vec![alert(1, "isolated"), isolation("isolate"), alert(2, "already_isolated")], "isolated"),
            (vec![alert(1, "waits"), approval("asked"), isolation("throttle")], "waits"),
            (vec![alert(1, "waits"), approval("asked"), approval("approved"), isolation("pin")], "pinned"),
            (vec![alert(1, "waits"), approval("lapsed_acts"), isolation("isolate")], "isolated"),
            (vec![alert(1, "waits"), approval("asked"), approval("denied")], "denied"),
            (vec![alert(1, "waits"), approval("lapsed")], "not_approved"),
        ] {
            let incident = assemble(&lines).unwrap();
            assert_eq!((incident.id, &incident.action[..]), (3, want), "{lines:?}");
        }
    }

    #[test]
    fn findings_are_the_latest_of_each_kind_and_the_times_those_of_alerts() {
        let incident =
            assemble(&[alert(1, "none"), alert(2, "none"), judgement("false"), alert(3, "none")]).unwrap();
        let counts: Vec<_> =
            incident.findings.iter().map(|finding| finding.evidence["count"].clone()).collect();
        assert_eq!(counts, [3, 2]);
        assert_eq!(incident.updated.since(incident.opened), 2_000_000_000);
        assert_eq!(incident.decision.unwrap()["earned"], "isolate");
    }

    #[test]
    fn the_last_judgement_counts_and_the_end_of_a_review_is_none() {
        for (verdict, want) in [("false", (false, false)), ("right", (true, false)), ("grave", (true, true))]
        {
            let lines = [alert(1, "none"), judgement("right"), judgement(verdict), judgement("reviewed")];
            let judged = assemble(&lines).unwrap().judged.unwrap();
            assert_eq!((judged.right, judged.grave), want, "{verdict}");
            assert_eq!((&judged.by[..], &judged.comment[..]), ("sato", "c"));
        }
        assert_eq!(assemble(&[alert(1, "none")]).unwrap().judged, None);
    }

    #[test]
    fn without_an_alert_there_is_no_incident() {
        for lines in [vec![], vec![approval("asked")], vec![json!({ "event_type": "alert", "device": 3 })]] {
            assert!(assemble(&lines).is_err(), "{lines:?}");
        }
    }
}
