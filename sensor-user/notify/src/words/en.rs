//! English.

use super::{Grade, Labels, Phrases};
use crate::notice::{Entry, Impact, Lost, Step};
use crate::place::Place;

pub static PHRASES: Phrases = Phrases {
    labels: Labels {
        device: "Device",
        addresses: "Addresses",
        maker: "Maker",
        class: "Class",
        place: "Where",
        what: "What",
        sure: "How sure",
        done: "Done",
        until: "Until",
        lost: "Lost by it",
        reason: "Reason",
        undo: "Commands",
        time: "Time",
        incident: "Incident",
    },
    severity,
    place,
    signature: |_, signature| signature.to_owned(),
    number: |name| name.replace('_', " "),
    value: str::to_owned,
    detector,
    sure: |nats, severity| {
        let grade = match Grade::of(nats) {
            Grade::Hint => "a hint (grade 1 of 4)",
            Grade::Likely => "likely (grade 2 of 4)",
            Grade::VeryLikely => "very likely (grade 3 of 4)",
            Grade::NextToCertain => {
                "next to certain (the highest of 4 grades: more than 13.8 nats are no more)"
            }
        };
        format!(
            "severity {severity}; the evidence adds up to {nats:.1} nats: that the device has gone bad is {grade}. Most weights \
             are assumed, not measured: this is a rule of thumb, not a probability"
        )
    },
    why: str::to_owned,
    action,
    held,
    entry,
    impact,
    lost_service,
    for_good: "somebody releases it",
    approval,
    otherwise: |until, acts| {
        format!(
            "{until}; if nobody says anything by then, {}",
            if acts { "it is done" } else { "nothing is done" }
        )
    },
    judgement: |who, id, right, by| match right {
        Some(true) => format!("{who}: incident {id} is a true one, says {by}"),
        Some(false) => format!("{who}: incident {id} is a false alarm, says {by}"),
        None => format!("{who}: what incident {id} put on review counts again, says {by}"),
    },
    device: |who, gateway| format!("new device: {who}{}", if gateway { ", a gateway" } else { "" }),
    blind,
    bypass: |on, by| match on {
        true => format!("BYPASS ON, by {by}: nothing is dropped, whoever is cut off gets through"),
        false => format!("bypass off, by {by}: the rules hold again"),
    },
    channel: |name, error, _| match error {
        Some(error) => format!("nobody is told by {name}: {error}"),
        None => format!("{name} tells again"),
    },
    test: |by| format!("a test by {by}: this is how Sekisho tells"),
    somebody: "a device",
    more: |count| format!("and {count} more"),
    lost: |count| {
        format!("{count} earlier notices could not be told: `sekisho incidents` shows what there is.")
    },
    farewell: "Sekisho, the sensor of your network. Commands are for its shell.",
    undo: ["let it talk again", "if it is a false alarm", "see more", "approve", "deny", "I know (lamp off)"],
};

fn severity(severity: u8) -> &'static str {
    match severity {
        1 => "high",
        2 => "medium",
        _ => "low",
    }
}

fn place(place: &Place) -> String {
    let port = place.port.as_ref().map(|port| format!("port {port}"));
    let vlan = place.vlan.map(|vlan| format!("VLAN {vlan}"));
    let segment = place.segment.as_ref().map(|segment| format!("segment {segment}"));
    [port, vlan, segment].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn detector(name: &str) -> &str {
    match name {
        "port_scan" => "port scan",
        "lateral" => "lateral movement",
        "chain" => "chain of lateral movements",
        "exposed" => "goes on by what reached it",
        "fanout" => "more destinations than usual",
        "novelty" => "many new destinations",
        "swarm" => "many hosts outside",
        "spoof" => "spoofing",
        "brute" => "password guessing",
        "exfil" => "exfiltration",
        "rewrite" => "files rewritten on servers",
        "policy" => "forbidden or new services",
        "identity" => "another device than before",
        "unusual" => "unusual traffic",
        _ => name,
    }
}

fn action(name: &str) -> &'static str {
    match name {
        "none" | "lowered" => "nothing: it is told only",
        "throttled" => "throttled",
        "pinned" => "pinned to what it did before",
        "isolated" => "cut off",
        "would_throttle" => "nothing: observe mode (it would be throttled)",
        "would_pin" => "nothing: observe mode (it would be pinned to what it did before)",
        "would_isolate" => "nothing: observe mode (it would be cut off)",
        "ungraded_throttle" | "ungraded_pin" | "ungraded_isolate" => "nothing: not decisive by itself",
        "waits" => "nothing yet: a person must approve it",
        "denied" => "nothing: a person denied it",
        "not_approved" => "nothing: nobody approved it in time",
        "already_isolated" => "nothing more: it is held already",
        "gateway" => "nothing: it is a gateway, which carries others",
        "protected" => "nothing: it is on the protected list",
        "budget_spent" => "nothing: too many were held in a short time; a person must decide",
        "no_own_address" => "nothing: none of its addresses is its own alone",
        _ => "see the incident",
    }
}

fn level(level: &str) -> &'static str {
    match level {
        "observe" => "watched",
        "throttle" => "throttled",
        "external-only" => "kept from addresses outside",
        "pin" => "pinned to what it did before",
        "quarantine" => "quarantined",
        "isolate" => "cut off",
        "cut" => "cut off, link control too",
        _ => "restricted",
    }
}

fn held(entry: &Entry) -> String {
    let way = match entry.direction.as_str() {
        "from" => " as a sender",
        "to" => " as a receiver",
        _ => "",
    };
    let held = level(&entry.level);
    let latency = entry.latency_ns.map(|ns| format!(", {:.1} ms after the first evidence", ns as f64 / 1e6));
    match entry.change {
        Step::Released => "released: it may talk again".to_owned(),
        Step::Expired => "its time was up: it may talk again".to_owned(),
        _ if entry.would => format!("nothing: observe mode (it would be {held}{way})"),
        _ => format!("{held}{way} (entry {}){}", entry.id, latency.unwrap_or_default()),
    }
}

fn entry(who: &str, entry: &Entry) -> String {
    let (held, is) = (level(&entry.level), if entry.would { "would be" } else { "is" });
    match entry.change {
        Step::Added => format!("{who} {is} {held}"),
        Step::Extended => format!("{who} {is} {held} longer"),
        Step::Changed => format!("{who} {is} {held} now"),
        Step::Released => format!("{who} was released and may talk again"),
        Step::Expired => format!("{who} may talk again: its time was up"),
    }
}

fn count(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

fn impact(impact: &Impact) -> String {
    let Impact { peers, services, conversations, .. } = impact;
    let (services, peers) = (count(*services, "service"), count(*peers, "peer"));
    format!("{services} with {peers}, {} now", count(*conversations, "conversation"))
}

fn lost_service(lost: &Lost) -> String {
    let (verb, of) = if lost.uses { ("uses", "of") } else { ("serves", "to") };
    let vital = if lost.vital { ", which must go on" } else { "" };
    format!("{verb} {} {of} {}{vital}", lost.service, lost.peer)
}

fn approval(who: &str, step: &str, name: &str, by: &str) -> String {
    let held = level(name);
    match step {
        "asked" => format!("{who} is to be {held}: a person must approve or deny it"),
        "approved" => format!("{who} is to be {held}: approved by {by}"),
        "denied" => format!("{who} is not to be {held}: denied by {by}"),
        "lapsed_acts" => format!("{who} is to be {held}: nobody denied it in time"),
        "lapsed" => format!("{who} is not {held}: nobody approved it in time"),
        _ => format!("{who} was to be {held}: the question is gone"),
    }
}

fn blind(over: bool, causes: &[String], frames: u64, records: u64) -> String {
    let causes: Vec<_> = causes
        .iter()
        .map(|cause| match cause.as_str() {
            "records_lost" => "more new flows than can be told",
            "unread" => "flows were forgotten before they were read",
            "coverage" => "too many frames were not seen",
            "stopped" => "the daemon was stopped or too slow",
            other => other,
        })
        .collect();
    let causes = causes.join("; ");
    let lost = format!("{frames} frames and {records} records of new flows were lost");
    if over {
        format!("enough is seen again ({causes}): {lost}")
    } else {
        format!("BLIND: {causes}: silence means nothing now ({lost} so far)")
    }
}
