//! Everything that CI runs, stage by stage; the first stage that fails ends it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::build;
use crate::setup::{self, Part};
use crate::sh::{self, Tree};
use crate::ui::{self, Style, paint};

/// The stages in their order: those that fail fast first, the slow ones last.
const STAGES: [&str; 7] = [
    "set-up",
    "format",
    "BPF object",
    "lints",
    "unit and scenario tests",
    "build",
    "BPF and namespace tests",
];

/// Runs all stages and prints what they took.
pub fn test(tree: &Tree) -> Result<()> {
    let mut report = Report { started: Instant::now(), done: Vec::new(), failed: None };
    let outcome = stages(tree, &mut report);
    report.print();
    outcome
}

fn stages(tree: &Tree, report: &mut Report) -> Result<()> {
    let compiler = report.stage(|_| {
        // Loading programs and making namespaces comes last; better told now than after ten minutes.
        sh::need_root("testing what is loaded into the kernel")?;
        setup::setup(tree, &Part::ALL)
    })?;
    report.stage(|_| sh::run(tree.cargo().args(["fmt", "--all", "--check"])))?;
    report.stage(|_| build::object(tree, &compiler))?;
    report.stage(|_| {
        let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        sh::run(tree.cargo().args(clippy))
    })?;
    report.stage(|count| {
        counted(tree.cargo().args(["test", "--workspace", "--exclude", "bpf-tests"]), count)
    })?;
    report.stage(|_| build::sekisho(tree).map(drop))?;
    report.stage(|count| counted(tree.cargo().args(["test", "--package", "bpf-tests"]), count))
}

/// Tests that ran, by how they ended.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Count {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// What was done, for the summary at the end.
struct Report {
    started: Instant,
    done: Vec<(Duration, Count)>,
    failed: Option<(Duration, Count)>,
}

impl Report {
    /// Runs the next stage.
    fn stage<T>(&mut self, work: impl FnOnce(&mut Count) -> Result<T>) -> Result<T> {
        let name = STAGES.get(self.done.len()).context("a stage without a name")?;
        ui::heading(&format!("== {name}"));
        let started = Instant::now();
        let mut count = Count::default();
        let outcome = work(&mut count);
        let entry = (started.elapsed(), count);
        match outcome {
            Ok(_) => self.done.push(entry),
            Err(_) => self.failed = Some(entry),
        }
        outcome.map_err(|error| error.context(format!("stage \"{name}\" failed")))
    }

    fn print(&self) {
        ui::heading("== summary");
        let entries = self.done.iter().map(|entry| (entry, paint(Style::Good, "ok")));
        let entries = entries.chain(self.failed.iter().map(|entry| (entry, paint(Style::Bad, "FAILED"))));
        let mut total = Count::default();
        for (name, ((took, count), result)) in STAGES.iter().zip(entries) {
            let tests = match count {
                Count { passed: 0, failed: 0, skipped: 0 } => String::new(),
                Count { passed, failed, skipped } => {
                    format!("{passed} tests passed, {failed} failed, {skipped} skipped")
                }
            };
            ui::line(format!("{name:<26}{:>7.1} s  {result}  {tests}", took.as_secs_f32()).trim_end());
            total.add(*count);
        }
        let failed = usize::from(self.failed.is_some());
        let skipped = STAGES.len() - self.done.len() - failed;
        ui::line(&format!("{:<26}{:>7.1} s", "total", self.started.elapsed().as_secs_f32()));
        ui::line(&format!("tests run: {}", total.passed + total.failed));
        ui::line(&format!("stages: {} passed, {failed} failed, {skipped} skipped", self.done.len()));
    }
}

/// Runs `cargo test`, passes on what it prints and adds up its results.
fn counted(command: &mut Command, count: &mut Count) -> Result<()> {
    if ui::colours() {
        command.args(["--", "--color", "always"]);
    }
    let name = sh::describe(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{name}`"))?;
    let output = child.stdout.take().ok_or_else(|| anyhow!("no output of `{name}`"))?;
    for line in BufReader::new(output).lines() {
        let line = line.with_context(|| format!("cannot read the output of `{name}`"))?;
        ui::line(&line);
        if let Some(result) = result_of(&line) {
            count.add(result);
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{name}`"))?;
    ensure!(status.success(), "`{name}` failed ({status})");
    Ok(())
}

/// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; ...`.
fn result_of(line: &str) -> Option<Count> {
    let mut count = Count::default();
    for part in line.strip_prefix("test result: ")?.split(';') {
        let mut words = part.split_whitespace().rev();
        let (what, number) = (words.next()?, words.next()?);
        match (what, number.parse()) {
            ("passed", Ok(number)) => count.passed = number,
            ("failed", Ok(number)) => count.failed = number,
            ("ignored", Ok(number)) => count.skipped = number,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_the_test_runner_are_read() {
        let cases = [
            (
                "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
                Some(Count { passed: 5, failed: 0, skipped: 1 }),
            ),
            (
                "test result: \u{1b}[31mFAILED\u{1b}[0m. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out",
                Some(Count { passed: 2, failed: 3, skipped: 0 }),
            ),
            ("running 5 tests", None),
        ];
        for (line, expected) in cases {
            assert_eq!(result_of(line), expected, "{line}");
        }
    }
}
