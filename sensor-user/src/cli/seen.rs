//! What was seen, what was lost and what was dropped, for people.

use std::collections::BTreeSet;

use sensor_core::policy::Level;

use super::show::Here;
use super::table::{column, numbers, table};
use crate::label;
use crate::protocol::{BlindInfo, LiveStatus, PortStatus, Status};

/// What became of all that reached the ports.
pub fn ledgers(live: &LiveStatus, here: &Here) -> String {
    let row = |port: &PortStatus| {
        let ledger = &port.ledger;
        let [accounted, ignored, lost] = ledger.sums();
        [
            port.name.clone(),
            ledger.arrived.to_string(),
            accounted.to_string(),
            ignored.to_string(),
            lost.to_string(),
            ledger.pending.to_string(),
            label::percent(ledger.coverage),
        ]
    };
    let rows: Vec<_> = live.ports.iter().map(row).collect();
    let columns = [
        column("PORT", 8),
        numbers("ARRIVED"),
        numbers("ACCOUNTED"),
        numbers("IGNORED"),
        numbers("LOST"),
        numbers("PENDING"),
        numbers("SEEN"),
    ];
    let reasons: BTreeSet<_> = live
        .ports
        .iter()
        .flat_map(|port| &port.ledger.lost)
        .filter(|(_, count)| **count > 0)
        .map(|(reason, _)| loss(reason))
        .collect();
    let reasons: Vec<_> = reasons.into_iter().collect();
    let why = if reasons.is_empty() { String::new() } else { format!("LOST: {}.\n", reasons.join("; ")) };
    format!(
        "{}{why}ARRIVED: at the network card = accounted + ignored + lost + pending (not read yet).\nSEEN: of what came in \
         the last minutes.\n",
        table(columns, &rows, here.width)
    )
}

/// Why frames were lost, in words.
fn loss(reason: &str) -> String {
    match reason {
        "missed" => "the network card had no room".to_owned(),
        "unseen" => "the program did not see them".to_owned(),
        "no_entry" => "the flow table had no room".to_owned(),
        "unread" => "a full flow table forgot them before they were read".to_owned(),
        other => label::plain(other),
    }
}

/// What was dropped at the ports, in words.
pub fn dropped(ports: &[PortStatus]) -> String {
    let sum = |count: fn(&PortStatus) -> u64| ports.iter().map(count).sum();
    let frames = |count| label::count(count, "frame", "frames");
    format!(
        "{} ({}); only counted: {}",
        frames(sum(|port| port.drops)),
        label::bytes(sum(|port| port.drop_bytes)),
        frames(sum(|port| port.would_drops))
    )
}

/// How many entries hold and at which levels, the strictest first, and how many only count.
pub fn restricted(status: &Status) -> String {
    let stat = |name| status.stats.get(name).copied().unwrap_or_default();
    let of = |level: &Level| status.restricted.get(level.name()).map(|count| format!("{count} {level}"));
    let levels: Vec<_> = Level::ALL.iter().rev().filter_map(of).collect();
    let levels = if levels.is_empty() { String::new() } else { format!(" ({})", levels.join(", ")) };
    format!("{}{levels}; only counted: {}", stat("blocks"), stat("blocks_would"))
}

/// That too little is seen, and why.
pub fn blind_words(blind: &BlindInfo, here: &Here) -> String {
    let reasons: Vec<_> = blind.reasons.iter().map(|reason| cause(reason)).collect();
    format!(
        "BLIND since {} ({}): {} and {} were lost; that nothing is found means nothing now.",
        blind.since.local(&here.zone),
        reasons.join(", "),
        label::count(blind.frames_lost, "frame", "frames"),
        label::count(blind.records_lost, "record of a new flow", "records of new flows"),
    )
}

/// That a detector is switched off.
pub fn off_words(detector: &str, places: &[String]) -> String {
    format!("The detector {detector} is switched off: {}.", places.join(", "))
}

fn cause(reason: &str) -> String {
    match reason {
        "records_lost" => "more new flows than can be told".to_owned(),
        "unread" => "flows forgotten unread".to_owned(),
        "coverage" => "too many frames not seen".to_owned(),
        "stopped" => "the daemon was stopped or too slow".to_owned(),
        other => label::plain(other),
    }
}
