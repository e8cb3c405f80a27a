//! Incidents: their list, one of them, and why it was judged as it was.

use serde_json::Value;

use super::super::seen::blind_words;
use super::super::table::{column, cut, numbers, table};
use super::{Here, class, lost, name};
use crate::protocol::{BlindInfo, IncidentInfo};
use crate::{label, ruling};

fn grave(severity: u8) -> &'static str {
    match severity {
        1 => "high",
        2 => "medium",
        _ => "low",
    }
}

/// What was done about an incident, in people's words.
pub fn done(action: &str) -> &str {
    match action {
        "none" => "told only",
        "isolated" => "isolated",
        "throttled" => "throttled",
        "pinned" => "pinned",
        "would_throttle" | "ungraded_throttle" => "would be throttled",
        "would_pin" | "ungraded_pin" => "would be pinned",
        "would_isolate" | "ungraded_isolate" => "would be isolated",
        "lowered" => "told only: lowered",
        "waits" => "waits for approval",
        "denied" => "not done: denied",
        "not_approved" => "not done: not approved",
        "already_isolated" => "held already",
        "gateway" => "not isolated: gateway",
        "protected" => "not isolated: protected",
        "budget_spent" => "not held: too many",
        "no_own_address" => "not isolated: no own address",
        other => other,
    }
}

/// `sekisho incidents`. `blind` is whether too little is seen; without an answer to that, none is given.
pub fn incidents(incidents: &[IncidentInfo], blind: Option<&BlindInfo>, here: &Here) -> String {
    if let Some(blind) = blind {
        let shown = self::incidents(incidents, None, here);
        let shown = if incidents.is_empty() { "None was found, but the sensor is blind.\n" } else { &shown };
        return format!("{}\n\n{shown}", blind_words(blind, here));
    }
    if incidents.is_empty() {
        return "No incidents.\n".to_owned();
    }
    let row = |incident: &IncidentInfo| {
        [
            incident.id.to_string(),
            incident.updated.local(&here.zone),
            grave(incident.severity).to_owned(),
            name(&incident.device) + &class(&incident.device),
            incident.findings.last().map_or_else(String::new, |finding| finding.signature.clone()),
            done(&incident.action).to_owned(),
        ]
    };
    let rows: Vec<_> = incidents.iter().map(row).collect();
    let columns = [
        numbers("ID"),
        column("WHEN", 19),
        column("GRAVE", 6),
        column("DEVICE", 12),
        column("WHAT", 14),
        column("DONE", 14),
    ];
    format!("{}\n`sekisho incidents ID` shows one with its numbers.\n", table(columns, &rows, here.width))
}

/// What each family adds to the evidence, the most first: ` (scan 13.8, beacon 6.0)`.
fn shares(incident: &IncidentInfo) -> String {
    let families = incident.evidence.as_ref().and_then(|evidence| evidence["families"].as_object());
    let each = families.into_iter().flatten();
    let mut shares: Vec<_> = each.filter_map(|(name, nats)| Some((name, nats.as_f64()?))).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let words: Vec<_> =
        shares.iter().map(|(name, nats)| format!("{} {nats:.1}", label::plain(name))).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// `sekisho incidents ID`.
pub fn incident(incident: &IncidentInfo, here: &Here) -> String {
    let mut text = format!(
        "Incident {}: {} ({}), {}\n  opened   {}\n  last     {}\n  device   {} {}\n",
        incident.id,
        name(&incident.device),
        grave(incident.severity),
        done(&incident.action),
        incident.opened.local(&here.zone),
        incident.updated.local(&here.zone),
        incident.device.mac,
        incident.device.ips.join(" "),
    );
    if let Some(class) = &incident.device.class {
        text.push_str(&format!("  class    {}\n", label::plain(class)));
    }
    text.push_str(&decided(incident, here));
    if let Some(waits) = &incident.waits {
        text.push_str(&format!(
            "  waits    for approval of {} until {}: `sekisho incidents approve {}` or `deny {}`\n",
            label::plain(&waits.level),
            waits.until.local(&here.zone),
            incident.id,
            incident.id
        ));
    }
    if let Some(judged) = &incident.judged {
        let comment = label::plain(&judged.comment);
        let comment = if comment.is_empty() { comment } else { format!(": {comment}") };
        let verdict = verdict(judged.right, judged.grave);
        text.push_str(&format!("  judged   {verdict}, by {}{comment}\n", label::plain(&judged.by)));
    }
    if let Some(seen) = incident.coverage.as_ref().and_then(|coverage| coverage["bridge"].as_f64()) {
        text.push_str(&format!("  seen     {} of what came in the minutes before\n", label::percent(seen)));
    }
    if let Some(nats) = incident.evidence.as_ref().and_then(|evidence| evidence["nats"].as_f64()) {
        text.push_str(&format!("  evidence {nats:.1} nats{}\n", shares(incident)));
    }
    for finding in &incident.findings {
        text.push_str(&format!(
            "\n  {} {} [{}]\n",
            finding.time.local(&here.zone),
            label::plain(&finding.signature),
            grave(finding.severity)
        ));
        if let Some(technique) = &finding.technique {
            text.push_str(&format!("    {:<28} {}\n", "ATT&CK", label::plain(technique)));
        }
        for (name, value) in &finding.evidence {
            let line = format!("    {:<28} {}", name.replace('_', " "), number(value));
            text.push_str(&format!("{}\n", cut(&label::plain(&line), here.width)));
        }
    }
    text
}

/// What a person said an incident was.
pub fn verdict(right: bool, grave: bool) -> &'static str {
    match (right, grave) {
        (false, _) => "false",
        (true, false) => "true",
        (true, true) => "true and grave",
    }
}

/// Which level was earned, why less was done, and what is lost by it.
fn decided(incident: &IncidentInfo, here: &Here) -> String {
    let Some(decision) = &incident.decision else { return String::new() };
    let mut text = format!("  earned   {}\n", label::plain(decision["earned"].as_str().unwrap_or("?")));
    for why in ruling::why(decision) {
        text.push_str(&format!("{}\n", cut(&format!("  lowered  {why}"), here.width)));
    }
    text + &lost(&decision["impact"], here)
}

/// `sekisho explain`: an incident, and what its evidence earns.
pub fn explained(info: &IncidentInfo, here: &Here) -> String {
    let mut text = incident(info, here);
    let Some(why) = &info.why else {
        text.push_str("\nWhat it earns was not told: it is of an earlier release.\n");
        return text;
    };
    let earned = |level: &Value| level.as_str().map_or("nothing, it is only told".to_owned(), label::plain);
    let by = match (why["decisive"].as_bool(), why["level"].is_null()) {
        (Some(true), _) => ": a finding stands for itself, whatever the sum",
        (_, false) => ": by the sum of the evidence",
        (_, true) => "",
    };
    text.push_str(&format!(
        "\nWhat it earns\n  all together                 {}{by}\n",
        earned(&why["level"])
    ));
    for (family, level) in why["without"].as_object().into_iter().flatten() {
        let line = format!("without the family {family}");
        text.push_str(&format!("  {:<28} {}\n", label::plain(&line), earned(level)));
    }
    text.push_str("  Classes, reviews, change windows and what would be cut come after that; `lowered` above says what they did.\n");
    if let Some(nats) = info.evidence.as_ref().and_then(|evidence| evidence["nats"].as_f64()) {
        let one_in = nats.min(40.0).exp().round();
        text.push_str(&format!(
            "\nThe sum, {nats:.1} nats, stands for a chance of one in {one_in:.0} that a healthy device does all this. Weights \
             without a\ntest of their own are assumed, so it is a scale rather than a probability. What was done: {}.\n",
            done(&info.action)
        ));
    }
    text
}

fn number(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(number).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
