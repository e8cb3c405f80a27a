//! Tier E1 in the report.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::{Run, Seen};
use crate::attack::KINDS;
use crate::figure::{quantile, share_lower};
use crate::held::Target;
use crate::subject::tally::Step;

/// Most targets in the median and in 99 of 100 runs, if that is asked.
type Most = Option<(f64, f64)>;

/// What is asked of a kind, by its name and the one in the figures.
const ASKED: [(&str, &str, Most); 6] = [
    ("sparse scan 50/s", "sparse_scan", Some((7.0, 10.0))),
    ("scan 5/s, 30 % alive", "scan_30", Some((8.0, 14.0))),
    ("dense scan 5/s, 70 % alive", "dense", Some((14.0, 20.0))),
    ("hit list 1/s", "hit_list", Some((14.0, 20.0))),
    ("ARP scan 10/s", "arp_scan", None),
    ("worm 5/s", "worm", None),
];

/// Steps of the table: the shipped decisions pin where isolating would hit who is protected.
const STEPS: [Step; 4] = [Step::Hint, Step::Alert, Step::Pin, Step::Isolate];

fn of<'a>(seen: &'a [Seen], name: &str) -> Vec<&'a Run> {
    let named = |run: &&Run| KINDS.get(run.kind).is_some_and(|kind| kind.name == name);
    seen.iter().flat_map(|seen| &seen.runs).filter(named).collect()
}

fn target(name: &str, what: &str, (figure, of): (f64, f64), bound: f64, at_least: bool) -> Target {
    let (name, what) = (format!("e1.{name}"), format!("on the wire: {what}"));
    Target { name, what, figure, of, bound, at_least, proven: None, gates: false }
}

fn share(name: &str, what: &str, (right, of): (usize, usize), bound: f64) -> Target {
    let part = right as f64 / of.max(1) as f64;
    Target { proven: Some(share_lower(right, of)), ..target(name, what, (part, of as f64), bound, true) }
}

/// The aims of what was seen on the wire.
pub fn targets(seen: &[Seen]) -> Vec<Target> {
    let sum = |of: fn(&Seen) -> usize| seen.iter().map(of).sum::<usize>() as f64;
    let after = |at: usize| {
        let of = |run: &Run| run.after.get(at).copied().unwrap_or_default();
        seen.iter().flat_map(|seen| &seen.runs).map(of).sum::<usize>() as f64
    };
    let mut all = vec![
        target(
            "wronged",
            "restrictions of hosts that did no harm",
            (sum(|seen| seen.wronged.len()), sum(|seen| seen.hosts)),
            0.0,
            false,
        ),
        target(
            "harmless_dropped",
            "frames between hosts that did no harm that did not arrive",
            (sum(|seen| seen.harmless[1]), sum(|seen| seen.harmless[0])),
            0.0,
            false,
        ),
        target(
            "leaked",
            "frames that arrived after a host was cut off and must not",
            (after(1), after(0)),
            0.0,
            false,
        ),
    ];
    for (kind, name, most) in ASKED {
        let runs = of(seen, kind);
        let cut = runs.iter().filter(|run| run.is_cut()).count();
        let what = format!("{kind}: share of runs cut off");
        all.push(share(&format!("{name}.cut"), &what, (cut, runs.len()), 0.99));
        let Some((median, most)) = most else { continue };
        let counts: Vec<f64> = runs.iter().map(|run| run.targets as f64).collect();
        for (part, bound, word) in [(0.5, median, "median"), (0.99, most, "p99")] {
            let what = format!("{kind}: targets reached on the other side, {word}");
            let figure = quantile(&counts, part).unwrap_or_default();
            let name = format!("{name}.targets_{word}");
            all.push(target(&name, &what, (figure, counts.len() as f64), bound, false));
        }
    }
    let worms = of(seen, "worm 5/s");
    let few = worms.iter().filter(|run| run.hosts <= 2).count();
    all.push(share(
        "worm.contained",
        "worm: share of runs with at most one further host",
        (few, worms.len()),
        0.95,
    ));
    all
}

/// Median and greatest of figures, with a unit.
fn spread(values: &[f64], digits: usize) -> String {
    match (quantile(values, 0.5), quantile(values, 1.0)) {
        (Some(median), Some(most)) => format!("{median:.digits$} / {most:.digits$}"),
        _ => "-".to_owned(),
    }
}

/// The page; if it was not measured, why.
pub fn page(measured: &Result<Vec<Seen>, String>) -> String {
    match measured {
        Ok(seen) => seen_page(seen),
        Err(why) => format!("\n## E1: real frames on a real bridge\n\nNot measured: {why}.\n"),
    }
}

fn seen_page(seen: &[Seen]) -> String {
    let mut text = "\n## E1: real frames on a real bridge\n\nMade-up hosts, but the daemon, its program on the ports, the bridge and the \
                    frames are real. Twelve minutes of the morning pass in as many seconds, then the attacks in real time; of a conversation the \
                    first frame each way, one each ten minutes and the last are sent. The daemon takes up what one learned in \
                    two days before the machine was started anew (those days are simulated), and decides as shipped, but for the fuse, which so many attacks in a minute would blow. What was reached and what was dropped is counted \
                    where frames arrive; steps are by the daemon's word.\n\n| seed | hosts | seconds | frames | harmless frames | of these lost | \
                    wrongly restricted | others told of |\n|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for seen in seen {
        let wronged = if seen.wronged.is_empty() { "nobody".to_owned() } else { seen.wronged.join("; ") };
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {} | {} | {} | {wronged} | {} |",
            seen.seed,
            seen.hosts,
            seen.seconds,
            seen.frames,
            seen.harmless[0],
            seen.harmless[1],
            seen.suspected
        );
    }
    text.push_str("\nSeconds from the first frame, and targets reached on the other side: median / greatest; then frames sent after the first drop that must not arrive.\n\n| attack | runs | cut off |");
    for step in STEPS {
        let _ = write!(text, " {} |", step.name());
    }
    text.push_str(" first frame dropped | targets | hosts | sent after | arrived |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (kind, ..) in ASKED {
        let runs = of(seen, kind);
        let cut = runs.iter().filter(|run| run.is_cut()).count();
        let _ = write!(text, "| {kind} | {} | {cut} |", runs.len());
        for step in STEPS {
            let after: Vec<f64> = runs.iter().filter_map(|run| run.steps.get(&step)).copied().collect();
            let _ = write!(text, " {} |", spread(&after, 2));
        }
        let dropped: Vec<f64> = runs.iter().filter_map(|run| run.dropped).collect();
        let targets: Vec<f64> = runs.iter().map(|run| run.targets as f64).collect();
        let hosts: Vec<f64> = runs.iter().map(|run| run.hosts as f64).collect();
        let after: [usize; 2] =
            runs.iter().fold([0; 2], |sum, run| [sum[0] + run.after[0], sum[1] + run.after[1]]);
        let _ = writeln!(
            text,
            " {} | {} | {} | {} | {} |",
            spread(&dropped, 2),
            spread(&targets, 0),
            spread(&hosts, 0),
            after[0],
            after[1]
        );
    }
    text
}

/// The same for machines.
pub fn machine(measured: &Result<Vec<Seen>, String>) -> Value {
    match measured {
        Ok(seen) => seen.iter().map(site).collect(),
        Err(why) => json!({ "not_measured": why }),
    }
}

fn site(seen: &Seen) -> Value {
    let run = |run: &Run| {
        let steps: BTreeMap<&str, f64> =
            run.steps.iter().map(|(step, seconds)| (step.name(), *seconds)).collect();
        json!({
            "attack": KINDS.get(run.kind).map(|kind| kind.name),
            "steps": steps,
            "dropped": run.dropped,
            "targets": run.targets,
            "hosts": run.hosts,
            "sent_after": run.after[0],
            "arrived_after": run.after[1],
        })
    };
    json!({
        "seed": seen.seed,
        "hosts": seen.hosts,
        "seconds": seen.seconds,
        "frames": seen.frames,
        "harmless": seen.harmless[0],
        "harmless_lost": seen.harmless[1],
        "wronged": seen.wronged,
        "suspected": seen.suspected,
        "runs": seen.runs.iter().map(run).collect::<Vec<_>>(),
    })
}
