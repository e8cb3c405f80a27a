//! Events as sentences for the person at the terminal.

use sensor_core::coverage::{BlindCause, Sighted};
use sensor_core::event::{
    Action, Alert, Approval, ApprovalStep, Blind, Change, DeviceRef, DeviceSeen, Dropped, Event, Evidence,
    FlowEnded, Isolation, Judged, Judgement, Ordered, Timed, Value, WindowChange, WindowStep,
};
use sensor_core::observation::{DropReason, EndReason, FlowId};
use sensor_core::policy::ruling::Ruling;
use sensor_core::policy::{Direction, Level, Target};
use sensor_ebpf::event::DROP_SAMPLE;

use super::{ReplayStats, Teller, has_ports, protocol};
use crate::{duration, label, ruling};

/// The event as a sentence, without its time.
pub fn event(teller: &Teller, timed: &Timed, latency_ns: Option<u64>) -> String {
    match &timed.event {
        Event::Device(seen) => device(teller, seen),
        Event::Flow(ended) => flow(ended),
        Event::Alert(alert) => alert_sentence(alert),
        Event::Isolation(change) => isolation(teller, timed, change, latency_ns),
        Event::Bypass(change) if change.on => {
            format!(
                "BYPASS ON, by {}: nothing is dropped, whoever is cut off gets through",
                label::plain(&change.by)
            )
        }
        Event::Bypass(change) => format!("bypass off, by {}: the rules hold again", label::plain(&change.by)),
        Event::Order(ordered) => order_sentence(ordered),
        Event::Approval(approval) => approval_sentence(teller, approval),
        Event::Judgement(judgement) => judgement_sentence(judgement),
        Event::Window(change) => window_sentence(teller, change),
        Event::Card(change) => super::card::sentence(change),
        Event::Dropped(dropped) => drop_sentence(dropped),
        Event::Blind(blind) => blind_sentence(blind),
    }
}

/// What a replay ends with.
pub fn stats(stats: &ReplayStats) -> String {
    let failed: u64 = stats.parse.iter().filter(|(reason, _)| **reason != "ok").map(|(_, count)| count).sum();
    let mut text = format!(
        "{} with {} ({}) in {:.2} s: {}, {}, {}, {}",
        label::count(stats.files, "file", "files"),
        label::count(stats.frames, "frame", "frames"),
        label::bytes(stats.bytes),
        stats.seconds,
        label::count(stats.devices, "device", "devices"),
        label::count(stats.flows, "flow", "flows"),
        label::count(stats.alerts, "alert", "alerts"),
        label::count(stats.isolations, "isolation", "isolations"),
    );
    if failed > 0 {
        let reasons = stats.parse.iter().filter(|(reason, count)| **reason != "ok" && **count > 0);
        let reasons: Vec<_> = reasons.map(|(reason, count)| format!("{reason} {count}")).collect();
        text.push_str(&format!("; not fully parsed: {failed} ({})", reasons.join(", ")));
    }
    if stats.truncated > 0 {
        text.push_str(&format!("; damaged or cut short: {}", label::count(stats.truncated, "file", "files")));
    }
    text
}

/// The device, with an address to find it by.
fn name(device: &DeviceRef) -> String {
    let name = label::device(device.name.as_deref(), device.maker.as_deref(), &device.mac.to_string());
    match device.ips.first() {
        Some(ip) => format!("{name} ({ip})"),
        None if device.name.is_some() => format!("{name} ({})", device.mac),
        None => name,
    }
}

fn device(teller: &Teller, seen: &DeviceSeen) -> String {
    let mut place = String::new();
    if let Some(port) = teller.ports.get(&seen.port) {
        place.push_str(&format!(" on {port}"));
    }
    if seen.vlan != 0 {
        place.push_str(&format!(" in VLAN {}", seen.vlan));
    }
    let mut gateway = if seen.gateway { ", a gateway".to_owned() } else { String::new() };
    if let Some(label) = &seen.label {
        gateway.push_str(&format!(", {}", label::kind(label.kind.name(), label.confidence)));
    }
    if seen.relabelled {
        return format!("device    {} is taken for another kind{place}{gateway}", name(&seen.device));
    }
    if seen.new {
        return format!("device    {} seen for the first time{place}{gateway}", name(&seen.device));
    }
    let ips: Vec<_> = seen.device.ips.iter().take(4).map(ToString::to_string).collect();
    let more = seen.device.ips.len().saturating_sub(ips.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("device    {} now has the addresses {}{more}{place}{gateway}", name(&seen.device), ips.join(", "))
}

fn ends(id: &FlowId) -> String {
    if has_ports(id) {
        let (a, b) = ((id.src, id.sport), (id.dst, id.dport));
        format!("{} {} -> {}", protocol(id), std::net::SocketAddr::from(a), std::net::SocketAddr::from(b))
    } else {
        format!("{} {} -> {}", protocol(id), id.src, id.dst)
    }
}

fn flow(ended: &FlowEnded) -> String {
    let (there, back) = (&ended.to_server, &ended.to_client);
    let reason = match ended.reason {
        EndReason::Closed => "closed",
        EndReason::Timeout => "quiet",
        EndReason::Shutdown => "still going on",
        EndReason::Evicted => "forgotten, the table was full",
        EndReason::Active => "goes on",
    };
    let drops = there.drops + back.drops;
    let drops = if drops > 0 { format!(", {drops} of them dropped or marked") } else { String::new() };
    format!(
        "flow      {}{}: {} ({}) there, {} ({}) back{drops}, in {}; {reason}",
        ends(&ended.id),
        ended.inner.map_or_else(String::new, |inner| format!(" (within: {} -> {})", inner.src, inner.dst)),
        label::count(there.packets, "frame", "frames"),
        label::bytes(there.bytes),
        back.packets,
        label::bytes(back.bytes),
        duration::show(ended.end.since(ended.start)),
    )
}

/// The numbers of a finding: `12 failed first contacts, 0.5 seconds`.
fn numbers(evidence: &Evidence) -> String {
    let parts = evidence.iter().map(|(name, value)| {
        let name = name.replace('_', " ");
        match value {
            Value::Count(count) => format!("{count} {name}"),
            Value::Number(number) => format!("{number} {name}"),
            Value::Text(text) => format!("{name} {}", label::plain(text)),
            Value::List(list) => format!("{name} {}", label::plain(&list.join(" "))),
        }
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn alert_sentence(alert: &Alert) -> String {
    let grave = match alert.severity {
        1 => "high",
        2 => "medium",
        _ => "low",
    };
    let done = match alert.action {
        Action::None => "told only",
        Action::Throttled => "throttled",
        Action::Pinned => "pinned to what it did before",
        Action::Isolated => "isolated",
        Action::WouldThrottle => "would be throttled (observe mode)",
        Action::WouldPin => "would be pinned (observe mode)",
        Action::WouldIsolate => "would be isolated (observe mode)",
        Action::UngradedThrottle => "would be throttled (not decisive by itself)",
        Action::UngradedPin => "would be pinned (not decisive by itself)",
        Action::UngradedIsolate => "would be isolated (not decisive by itself)",
        Action::Lowered => "told only",
        Action::Waits => "waits for a person's approval",
        Action::Denied => "not done: a person denied it",
        Action::NotApproved => "not done: nobody approved it in time",
        Action::AlreadyIsolated => "held already",
        Action::Gateway => "not isolated: it is a gateway",
        Action::Protected => "not isolated: it is on the protected list",
        Action::BudgetSpent => {
            "not held: too many were in a short time, and none of them infected it; a person must decide"
        }
        Action::NoOwnAddress => "not isolated: no address is its own alone",
    };
    format!(
        "alert     {}: {} [{grave}, incident {}]: {}; {done}{}{}",
        name(&alert.device),
        alert.signature,
        alert.incident,
        numbers(&alert.evidence),
        alert.ruling.as_ref().filter(|_| alert.action.is_ruled()).map_or_else(String::new, ruled),
        alert.coverage.as_ref().map_or_else(String::new, seen_only),
    )
}

/// Why less was done than was earned, and what is lost by what was done.
fn ruled(ruling: &Ruling) -> String {
    let decision = serde_json::to_value(ruling).unwrap_or_default();
    let why = ruling::why(&decision);
    let mut text = if why.is_empty() {
        String::new()
    } else {
        format!(" (earned {}; {})", ruling.earned, why.join("; "))
    };
    if let Some(lost) = ruling::lost(&decision["impact"]) {
        text.push_str(&format!("; lost by it: {lost}"));
    }
    text
}

/// What is to be said of how much was seen, if it was not all.
fn seen_only(coverage: &Sighted) -> String {
    if coverage.bridge >= 1.0 && !coverage.blind {
        return String::new();
    }
    format!("; seen was {} of what came lately", label::percent(coverage.bridge))
}

fn approval_sentence(teller: &Teller, approval: &Approval) -> String {
    let who = approval.device.as_ref().map_or_else(|| "a device".to_owned(), name);
    let held = label::held(approval.level, Direction::Both);
    let by = label::plain(approval.by.as_deref().unwrap_or("nobody"));
    let what = match approval.step {
        ApprovalStep::Asked => {
            let until = teller.clock.stamp(approval.until).local(&teller.zone);
            let then = if approval.acts { "it is done" } else { "nothing is done" };
            let id = approval.incident;
            format!(
                "is to be {held}: `sekisho incidents approve {id}` or `deny {id}` until {until}, or {then}"
            )
        }
        ApprovalStep::Approved => format!("is to be {held}: approved by {by}"),
        ApprovalStep::Denied => format!("is not to be {held}: denied by {by}"),
        ApprovalStep::Lapsed => format!("is not {held}: nobody approved it in time"),
        ApprovalStep::LapsedActs => format!("is to be {held}: nobody denied it in time"),
        ApprovalStep::Lost => {
            format!("was to be {held}: the question is gone, for in observe mode nothing is done")
        }
    };
    format!("approval  {who} {what} [incident {}]", approval.incident)
}

fn judgement_sentence(judgement: &Judgement) -> String {
    let by = label::plain(&judgement.by);
    let each = judgement.reviews.iter().map(|review| format!("{} for {}", review.detector, review.scope));
    let each = each.collect::<Vec<_>>().join(", ");
    let each = if each.is_empty() { "no detector".to_owned() } else { label::plain(&each) };
    let id = judgement.incident;
    let comment = label::plain(&judgement.comment);
    let by = if comment.is_empty() { by } else { format!("{by} ({comment})") };
    match judgement.judged {
        Judged::False => format!("judgement incident {id} is false, by {by}: on review is {each}"),
        Judged::Grave => {
            format!("judgement incident {id} is true and grave, by {by}: counts again: {each}")
        }
        Judged::Right => format!("judgement incident {id} is true, by {by}: counts again: {each}"),
        Judged::Reviewed => format!("judgement reviewed by {by}: counts again: {each} [incident {id}]"),
    }
}

fn order_sentence(ordered: &Ordered) -> String {
    let (by, with) = (label::plain(&ordered.by), label::plain(&ordered.with));
    let outcome = match &ordered.refused {
        None => "done".to_owned(),
        Some(why) => format!("refused: {}", label::plain(why)),
    };
    format!("order     by {by}: {} {with}: {outcome}", ordered.order.replace('_', " "))
}

fn window_sentence(teller: &Teller, change: &WindowChange) -> String {
    let window = &change.window;
    let date = |time| teller.clock.stamp(time).local(&teller.zone);
    let (who, until) = (label::plain(&window.cover.to_string()), date(window.until));
    let by = label::plain(change.by.as_deref().unwrap_or("nobody"));
    let what = match change.step {
        WindowStep::Announced => {
            format!(
                "is announced by {by}, from {} until {until}: {}",
                date(window.from),
                label::plain(&window.reason)
            )
        }
        WindowStep::Opened => {
            format!("is open until {until}: what is found is told, and nothing is cut off by itself")
        }
        WindowStep::Ended => "is over: what is found acts again".to_owned(),
        WindowStep::Removed => format!("is ended by {by}: what is found acts again"),
    };
    format!("window    change window {} for {who} {what}", window.id)
}

fn drop_sentence(dropped: &Dropped) -> String {
    let seen = &dropped.seen;
    let who = dropped.device.as_ref().map_or_else(|| seen.smac.to_string(), name);
    let is = if seen.would { "would be dropped" } else { "dropped" };
    let why = match seen.reason {
        DropReason::Rule => format!("by entry {}", seen.rule_id),
        DropReason::Reflex => "over its budget of new destinations".to_owned(),
    };
    format!("drop      {who}: {} {is}, {why} (one frame in {DROP_SAMPLE} is told)", ends(&seen.id))
}

fn blind_sentence(blind: &Blind) -> String {
    let causes: Vec<_> = blind.causes.iter().map(|cause| cause_words(*cause)).collect();
    let causes = causes.join("; ");
    let lost = format!(
        "{} of {} and {} were lost",
        label::count(blind.frames_lost, "frame", "frames"),
        blind.frames,
        label::count(blind.records_lost, "record of a new flow", "records of new flows"),
    );
    match blind.ended {
        None => format!("BLIND     {causes}: silence means nothing now ({lost} so far)"),
        Some(ended) => {
            let took = duration::show(ended.since(blind.began));
            format!("blind     over after {took} ({causes}): {lost}")
        }
    }
}

fn cause_words(cause: BlindCause) -> &'static str {
    match cause {
        BlindCause::RecordsLost => "more new flows than can be told",
        BlindCause::Unread => "flows were forgotten by a full table before they were read",
        BlindCause::Coverage => "too many frames were not seen",
        BlindCause::Stopped => "the daemon was stopped or too slow",
    }
}

fn isolation(teller: &Teller, timed: &Timed, change: &Isolation, latency_ns: Option<u64>) -> String {
    let who = match &change.device {
        Some(device) => name(device),
        None => targets(&change.targets),
    };
    let until = match change.until {
        Some(until) => {
            let date = teller.clock.stamp(until).local(&teller.zone);
            format!("until {date} ({})", duration::show(until.since(timed.time)))
        }
        None => "until somebody releases it".to_owned(),
    };
    let reason = label::plain(&change.reason);
    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
    // What is observed is not "would be observed".
    let is = if change.would && change.level != Level::Observe { "would be" } else { "is" };
    let held = label::held(change.level, change.direction);
    let text = match change.change {
        Change::Added => {
            let latency =
                latency_ns.map(|ns| format!(", {:.1} ms after the first evidence", ns as f64 / 1e6));
            format!("{who} {is} {held} {until}{}{reason}", latency.unwrap_or_default())
        }
        Change::Extended => format!("{who} {is} {held} longer, {until}{reason}"),
        Change::Changed => format!("{who} {is} {held} now, {until}{reason}"),
        Change::Followed => format!("{who} {is} {held} at {} now", targets(&change.targets)),
        Change::Narrowed => {
            format!(
                "{who} {is} {held} at {} alone now: another device has its other address",
                targets(&change.targets)
            )
        }
        Change::Released => format!("{who} was released and may talk again"),
        Change::Expired => format!("{who} may talk again: its time was up"),
    };
    format!("isolation {text} [entry {}]", change.id)
}

fn targets(targets: &[Target]) -> String {
    let shown: Vec<_> = targets.iter().take(4).map(ToString::to_string).collect();
    let more = targets.len() - shown.len();
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
