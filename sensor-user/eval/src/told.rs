//! The made-up tiers in the report: what was called without reason, and how soon each attack was.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::attack::KINDS;
use crate::figure::quantile;
use crate::runs::Ran;
use crate::sim::calendar::{DAY, START};
use crate::sim::confound::CONFOUNDERS;
use crate::sim::site::Class;
use crate::sim::world::Cause;
use crate::subject::tally::{Step, Wrong};
use crate::synthetic::{Simulated, host_days, wrong};

/// False alarms shown with their numbers.
const EXAMPLES: usize = 40;

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Habit => "habit",
        Cause::Confounder(kind) => CONFOUNDERS.get(usize::from(kind)).map_or("", |known| known.name),
        Cause::Attack(_) => "attack",
    }
}

fn class(wrong: &Wrong) -> &'static str {
    wrong.class.map_or("router", Class::name)
}

/// False alarms that are alike, and how many.
fn alike(simulated: &Simulated) -> BTreeMap<[&str; 5], usize> {
    let mut count = BTreeMap::new();
    for wrong in wrong(&simulated.lived, true) {
        // The numbers behind the words differ each time.
        let words = wrong.signature.split(" [").next().unwrap_or_default().split(": ").next();
        let key =
            [wrong.step.name(), class(wrong), wrong.detector, words.unwrap_or_default(), cause(wrong.cause)];
        *count.entry(key).or_insert(0) += 1;
    }
    count
}

/// Some false alarms with their numbers, the gravest first; hints and management left out.
fn examples(simulated: &Simulated) -> String {
    let mut told: Vec<_> = wrong(&simulated.lived, false).filter(|wrong| wrong.step >= Step::Alert).collect();
    told.sort_by_key(|wrong| std::cmp::Reverse(wrong.step));
    let mut text = String::new();
    for wrong in told.iter().take(EXAMPLES) {
        let after = wrong.time.since(START) as f64 / DAY as f64;
        let _ = writeln!(
            text,
            "\n- day {after:.3}: {} {}, {} while {}: {} {}",
            wrong.step.name(),
            wrong.device,
            wrong.detector,
            cause(wrong.cause),
            wrong.signature,
            wrong.numbers
        );
    }
    text
}

/// The pages.
pub fn page(simulated: &Simulated) -> String {
    let mut text = "\n## E2: sites without an attack\n\n".to_owned();
    let seeds: Vec<_> = simulated.lived.iter().map(|lived| lived.seed.to_string()).collect();
    let count = |kind: usize| {
        let all = simulated.lived.iter().flat_map(|lived| &lived.confounders);
        all.filter(|happened| usize::from(happened.kind) == kind).count()
    };
    let came: Vec<_> =
        CONFOUNDERS.iter().enumerate().map(|(at, known)| format!("{} {}", known.name, count(at))).collect();
    let cost = simulated.lived.iter().fold([0; 3], |sum: [u64; 3], lived| {
        [sum[0] + lived.cost[0], sum[1] + lived.cost[1], sum[2] + lived.cost[2]]
    });
    let _ = writeln!(
        text,
        "Made up, and so evidence about the decisions, not about a hospital. Seeds {}; {:.0} host-days. Confounders: {}. \
         Harmless flows dropped: {} of known pairs, {} others, {} conversations cut short. Management (`nms`) is on the \
         protected list; its alerts are listed and left out of the targets.\n",
        seeds.join(", "),
        host_days(&simulated.lived),
        came.join(", "),
        cost[0],
        cost[1],
        cost[2]
    );
    text.push_str(
        "| what was done | class | detector | in words | while | times |\n|---|---|---|---|---|---|\n",
    );
    for ([step, class, detector, words, cause], times) in alike(simulated) {
        let _ = writeln!(text, "| {step} | {class} | {detector} | {words} | {cause} | {times} |");
    }
    text.push_str(&examples(simulated));
    let _ = write!(
        text,
        "\n## E3: attacks on sites at work\n\nShare of runs, median and p99 of the targets reached by then, median \
         seconds.\n\n| attack | runs |"
    );
    for step in Step::ALL {
        let _ = write!(text, " {} |", step.name());
    }
    text.push_str(" called by |\n|---|---|---|---|---|---|---|---|\n");
    for (at, kind) in KINDS.iter().enumerate() {
        let ran: Vec<&Ran> = simulated.ran.iter().filter(|ran| ran.kind == at).collect();
        let _ = write!(text, "| {} | {} |", kind.name, ran.len());
        for step in Step::ALL {
            let _ = write!(text, " {} |", cell(&ran, step));
        }
        let called: std::collections::BTreeSet<&str> =
            ran.iter().flat_map(|ran| ran.attacked.called.iter().copied()).collect();
        let _ = writeln!(text, " {} |", called.into_iter().collect::<Vec<_>>().join(", "));
    }
    text
}

/// Share, targets and seconds of a step.
fn cell(ran: &[&Ran], step: Step) -> String {
    let reached: Vec<(f64, usize)> = ran.iter().filter_map(|ran| ran.reached(step)).collect();
    let targets: Vec<f64> = reached.iter().map(|(_, targets)| *targets as f64).collect();
    let seconds: Vec<f64> = reached.iter().map(|(seconds, _)| *seconds).collect();
    let (Some(median), Some(most), Some(seconds)) =
        (quantile(&targets, 0.5), quantile(&targets, 0.99), quantile(&seconds, 0.5))
    else {
        return "-".to_owned();
    };
    let share = 100.0 * reached.len() as f64 / ran.len().max(1) as f64;
    format!("{share:.0} %, {median:.0}/{most:.0}, {seconds:.1} s")
}

/// The same for machines.
pub fn machine(simulated: &Simulated) -> Value {
    let kinds = KINDS.iter().enumerate().map(|(at, kind)| {
        let ran: Vec<&Ran> = simulated.ran.iter().filter(|ran| ran.kind == at).collect();
        let steps = Step::ALL.map(|step| {
            let reached: Vec<_> = ran.iter().filter_map(|ran| ran.reached(step)).collect();
            json!({
                "step": step.name(),
                "seconds": reached.iter().map(|(seconds, _)| *seconds).collect::<Vec<_>>(),
                "targets": reached.iter().map(|(_, targets)| *targets).collect::<Vec<_>>(),
            })
        });
        let hosts: Vec<_> = ran.iter().map(|ran| ran.attacked.hosts.len()).collect();
        let leaked: Vec<_> = ran.iter().map(|ran| ran.attacked.leaked).collect();
        json!({ "attack": kind.name, "runs": ran.len(), "steps": steps, "hosts": hosts, "leaked": leaked })
    });
    let wrong: Vec<_> = alike(simulated)
        .into_iter()
        .map(|([step, class, detector, words, cause], times)| {
            json!({ "step": step, "class": class, "detector": detector, "signature": words, "while": cause, "times": times })
        })
        .collect();
    json!({
        "host_days": host_days(&simulated.lived),
        "false_alarms": wrong,
        "attacks": kinds.collect::<Vec<_>>(),
    })
}
