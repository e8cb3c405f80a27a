//! The evaluation as a table for the terminal, a page (`report.md`) and for machines (`report.json`).

use std::collections::BTreeSet;
use std::fmt::Write;

use sensor_user::cli::table::{column, numbers, table};
use serde_json::{Value, json};

use crate::capture::Call;
use crate::expect::{Expected, Never};
use crate::held::{Held, Target};

/// `detector severity` of calls, each once.
fn by_detector(calls: &[Call]) -> String {
    let told: BTreeSet<_> = calls.iter().map(|call| format!("{} {}", call.detector, call.severity)).collect();
    told.into_iter().collect::<Vec<_>>().join(", ")
}

/// What is expected of a capture, in short.
fn wanted(expected: &Expected) -> String {
    let blame = if expected.blame.is_empty() { "nobody".to_owned() } else { expected.blame.join(" or ") };
    let never = match &expected.never {
        Never::Anybody => ", never anybody".to_owned(),
        Never::These(these) if these.is_empty() => String::new(),
        Never::These(these) => format!(", never {}", these.join(", ")),
    };
    format!("{blame}{never}")
}

fn grade(held: &Held) -> &'static str {
    held.expected.as_ref().map_or("", |expected| expected.grade.name())
}

fn verdict(held: &Held) -> &'static str {
    match (&held.hit, held.blamed) {
        _ if held.expected.is_none() => "",
        (Some(_), _) => "HIT",
        (None, false) => "missed",
        (None, true) => "ok",
    }
}

/// A figure with as many digits as say something.
fn short(figure: f64) -> String {
    let digits = if figure.fract() == 0.0 || figure.abs() >= 1_000.0 { 0 } else { 4 };
    format!("{figure:.digits$}")
}

/// Captures a reader wants to see: with a line of the table, or a call or an isolation nobody asked for.
fn of_interest(held: &&Held) -> bool {
    held.expected.is_some() || !held.other.is_empty() || held.isolations() > 0
}

/// The table for a terminal of that width, and the targets below it.
pub fn terminal(held: &[Held], targets: &[Target], width: usize) -> String {
    let rows: Vec<_> = held
        .iter()
        .filter(of_interest)
        .map(|held| {
            [
                held.file.clone(),
                grade(held).to_owned(),
                verdict(held).to_owned(),
                by_detector(&held.right),
                by_detector(&held.other),
                held.isolations().to_string(),
            ]
        })
        .collect();
    let columns = [
        column("CAPTURE", 24),
        column("GRADE", 6),
        column("", 6),
        column("CALLED BY", 16),
        column("OTHER CALLS", 12),
        numbers("CUT"),
    ];
    let mut text = table(columns, &rows, width);
    text.push('\n');
    for target in targets {
        let result = if target.pass() { "pass" } else { "FAIL" };
        let result = if target.gates || target.pass() { result } else { "aim " };
        let figure = short(target.figure);
        let _ = writeln!(text, "{result}  {figure} of {}: {}", short(target.of), target.what);
    }
    text
}

/// The page: targets, then each capture with a line of the table, then what else was called.
pub fn page(held: &[Held], targets: &[Target]) -> String {
    let mut text =
        "# Evaluation\n\n| target | found | at 95 % | of | asked | |\n|---|---|---|---|---|---|\n".to_owned();
    for target in targets {
        let sign = if target.at_least { "at least" } else { "at most" };
        let result = if target.pass() { "pass" } else { "**fail**" };
        let proven = target.proven.map(short).unwrap_or_default();
        let (figure, of) = (short(target.figure), short(target.of));
        let _ = writeln!(
            text,
            "| {} | {figure} | {proven} | {of} | {sign} {} | {result} |",
            target.what, target.bound
        );
    }
    text.push_str("\n## E0: real captures\n\n| capture | grade | expected | | called by | other calls | cut off |\n|---|---|---|---|---|---|---|\n");
    for held in held {
        let Some(expected) = &held.expected else { continue };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            held.file,
            grade(held),
            wanted(expected),
            verdict(held),
            signatures(&held.right),
            signatures(&held.other),
            cut(held)
        );
    }
    text.push_str("\nCalls in captures without a line of the table:\n\n");
    for held in held.iter().filter(|held| held.expected.is_none()).filter(of_interest) {
        let _ = writeln!(text, "- {}: {}; cut off: {}", held.file, signatures(&held.other), cut(held));
    }
    text
}

/// Detector, severity and words of calls, each once.
fn signatures(calls: &[Call]) -> String {
    let told: BTreeSet<_> = calls
        .iter()
        .map(|call| format!("{} {} ({})", call.detector, call.severity, call.signature))
        .collect();
    told.into_iter().collect::<Vec<_>>().join("; ")
}

fn cut(held: &Held) -> String {
    let who: Vec<_> =
        held.isolated.iter().map(|names| names.iter().cloned().collect::<Vec<_>>().join("+")).collect();
    match (who.is_empty(), held.would_isolate) {
        (true, 0) => "nobody".to_owned(),
        (true, would) => format!("nobody; {would} would be"),
        (false, _) => who.join(", "),
    }
}

/// The same for machines.
pub fn machine(held: &[Held], targets: &[Target]) -> Value {
    let call = |call: &Call| json!({ "detector": call.detector, "signature": call.signature, "severity": call.severity, "device": call.names });
    let calls = |calls: &[Call]| calls.iter().map(call).collect::<Vec<_>>();
    let captures: Vec<_> = held
        .iter()
        .map(|held| {
            json!({
                "file": held.file,
                "grade": held.expected.as_ref().map(|expected| expected.grade.name()),
                "blame": held.expected.as_ref().map(|expected| &expected.blame),
                "benign": held.benign,
                "met": held.expected.as_ref().map(|_| held.met()),
                "never_hit": held.hit,
                "called": calls(&held.right),
                "other_calls": calls(&held.other),
                "isolated": held.isolated,
                "would_isolate": held.would_isolate,
                "frames": held.frames,
            })
        })
        .collect();
    let targets: Vec<_> = targets
        .iter()
        .map(|target| {
            json!({
                "name": target.name,
                "what": target.what,
                "figure": target.figure,
                "of": target.of,
                "bound": target.bound,
                "at_least": target.at_least,
                "bound_95": target.proven,
                "gates": target.gates,
                "pass": target.pass(),
            })
        })
        .collect();
    json!({ "targets": targets, "e0": captures })
}
