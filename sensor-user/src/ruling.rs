//! How far a decision went, and what is lost by it, in words. It reads the objects that machines are given, so that the
//! daemon's own sentences and the command line's say the same.

use serde_json::Value;

use crate::label;

/// Most lost services named in a sentence.
const NAMED: usize = 4;

/// What lowered a decision, one reason after another; nothing if nothing did.
pub fn why(decision: &Value) -> Vec<String> {
    let steps = decision["lowered"].as_array().into_iter().flatten();
    steps.map(|step| format!("{}: {}", level(&step["to"]), cause(step))).collect()
}

/// A level as it was allowed.
fn level(to: &Value) -> String {
    match to.as_str() {
        Some("alert") | None => "told only".to_owned(),
        Some(level) => format!("{} at most", label::plain(level)),
    }
}

fn cause(step: &Value) -> String {
    let text = |key: &str| label::plain(step[key].as_str().unwrap_or_default());
    match step["by"].as_str() {
        Some("highest") => "decide.highest allows no more".to_owned(),
        Some("class") => format!("the class {} allows no more", text("class")),
        Some("criticality") => format!("it is said to be {}", text("criticality")),
        Some("service") => {
            let peers = step["peers"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let peers: Vec<_> = peers.map(label::plain).collect();
            format!("more would cut it off from {}, which must go on", peers.join(", "))
        }
        Some("review") => {
            let number = step["review"].as_u64().unwrap_or_default();
            format!("the detector was judged wrong about such devices (review {number})")
        }
        Some("window") => {
            format!(
                "a change was announced for this time (window {})",
                step["window"].as_u64().unwrap_or_default()
            )
        }
        Some("waiting") => "too many restrictions wait for approval".to_owned(),
        Some("room") => "the table of what pinned devices may do is full".to_owned(),
        // A daemon of a later release may know reasons this command does not.
        other => label::plain(other.unwrap_or_default()),
    }
}

/// What is lost by a restriction, shortened to what a person reads; none if it is nothing, or not known.
pub fn lost(impact: &Value) -> Option<String> {
    let count = |key: &str| impact[key].as_u64().unwrap_or_default();
    let (services, peers, live) = (count("services"), count("peers"), count("conversations"));
    if services == 0 {
        return None;
    }
    let named: Vec<_> = losses(impact).take(NAMED).collect();
    let more = services.saturating_sub(named.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "{} with {} ({} now): {}{more}",
        label::count(services, "service", "services"),
        label::count(peers, "peer", "peers"),
        label::count(live, "conversation", "conversations"),
        named.join(", "),
    ))
}

/// The lost services that are listed: `uses tcp/104 of PACS (10.0.0.3)`.
pub fn losses(impact: &Value) -> impl Iterator<Item = String> {
    impact["lost"].as_array().into_iter().flatten().map(|loss| {
        let text = |key: &str| label::plain(loss[key].as_str().unwrap_or_default());
        let (part, peer) = match loss["part"].as_str() {
            Some("serves") => ("serves", "to"),
            _ => ("uses", "of"),
        };
        let who = match loss["name"].as_str() {
            Some(name) => format!("{} ({})", label::plain(name), text("peer")),
            None => text("peer"),
        };
        let vital = if loss["vital"].as_bool() == Some(true) { ", which must go on" } else { "" };
        format!("{part} {} {peer} {who}{vital}", text("service"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_step_down_has_its_reason() {
        let decision = json!({ "earned": "isolate", "allowed": "alert", "lowered": [
            { "to": "pin", "by": "class", "class": "icu" },
            { "to": "throttle", "by": "service", "peers": ["PACS", "10.0.0.9"] },
            { "to": "alert", "by": "review", "review": 3 },
            { "to": "alert", "by": "window", "window": 2 },
            { "to": "alert", "by": "waiting" },
            { "to": "alert", "by": "later" },
        ] });
        assert_eq!(
            why(&decision),
            [
                "pin at most: the class icu allows no more",
                "throttle at most: more would cut it off from PACS, 10.0.0.9, which must go on",
                "told only: the detector was judged wrong about such devices (review 3)",
                "told only: a change was announced for this time (window 2)",
                "told only: too many restrictions wait for approval",
                "told only: later",
            ]
        );
        assert_eq!(why(&Value::Null), Vec::<String>::new());
    }

    #[test]
    fn what_is_lost_is_counted_and_the_first_are_named() {
        let loss = |peer: &str, name: Option<&str>| json!({ "part": "uses", "service": "tcp/104", "peer": peer, "name": name, "live": true, "vital": false });
        let serves = json!({ "part": "serves", "service": "tcp/22", "peer": "10.0.0.5", "vital": true });
        let impact = json!({ "services": 7, "peers": 3, "conversations": 1, "lost": [
            loss("10.0.0.3", Some("PA\u{1b}CS")), serves, loss("10.0.0.4", None), loss("10.0.0.5", None), loss("10.0.0.6", None),
        ] });
        assert_eq!(
            lost(&impact).unwrap(),
            "7 services with 3 peers (1 conversation now): uses tcp/104 of PA CS (10.0.0.3), serves tcp/22 to 10.0.0.5, \
             which must go on, uses tcp/104 of 10.0.0.4, uses tcp/104 of 10.0.0.5 and 3 more"
        );
        assert_eq!((lost(&Value::Null), lost(&json!({ "services": 0 }))), (None, None));
    }
}
