//! The table of kernels and tests.

use std::collections::BTreeSet;

use super::guest::Report;
use crate::results::Outcome;
use crate::ui::{self, Style, paint};

/// The width of a kernel's column.
const COLUMN: usize = 10;

/// Prints how each test ended on each kernel, then what there is to say about it: reasons, figures, troubles.
pub fn print(reports: &[(String, Report)]) {
    let tests: BTreeSet<&(String, String)> =
        reports.iter().flat_map(|(_, report)| report.tests.keys()).collect();
    let width = tests.iter().map(|(_, name)| name.chars().count() + 2).max().unwrap_or(0);
    let mut heading = format!("{:<width$}", "== tests by kernel");
    for (release, _) in reports {
        heading.push_str(&format!(" {:<COLUMN$}", short(release)));
    }
    ui::heading(heading.trim_end());
    let mut program = "";
    for test in &tests {
        let (of, name) = test;
        if program != of {
            program = of;
            ui::line(&paint(Style::Bold, program));
        }
        let cells: String =
            reports.iter().map(|(_, report)| format!(" {}", cell(report.tests.get(*test)))).collect();
        ui::line(format!("  {name:<0$}{cells}", width - 2).trim_end());
    }
    for (release, report) in reports {
        remarks(release, report);
    }
}

/// Debian's release without what all have in common.
fn short(release: &str) -> &str {
    release.split(['-', '+']).next().unwrap_or(release)
}

fn cell(outcome: Option<&Outcome>) -> String {
    let (style, word) = match outcome {
        Some(Outcome::Passed) => (Style::Good, "passed"),
        Some(Outcome::Failed) => (Style::Bad, "FAILED"),
        Some(Outcome::Skipped(_)) => (Style::Warn, "skipped"),
        None => (Style::Bad, "-"),
    };
    paint(style, &format!("{word:<COLUMN$}"))
}

/// Prints what the table has no room for.
fn remarks(release: &str, report: &Report) {
    let count = report.count();
    ui::heading(&format!(
        "{release}: {} passed, {} failed, {} skipped",
        count.passed, count.failed, count.skipped
    ));
    for figure in &report.figures {
        ui::line(&format!("  {figure}"));
    }
    for ((program, name), outcome) in &report.tests {
        if let Outcome::Skipped(reason) = outcome {
            ui::line(&format!("  {} {program} {name}: {reason}", paint(Style::Warn, "skipped")));
        }
    }
    for trouble in &report.troubles {
        ui::line(&format!("  {} {trouble}", paint(Style::Bad, "FAILED")));
    }
}
