//! Everything that CI runs, stage by stage; the first stage that fails ends it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::build;
use crate::results::{Count, Line};
use crate::setup::{self, Part};
use crate::sh::{self, Tree};
use crate::ui::{self, Style, paint};
use crate::vm;

/// The stages in their order: those that fail fast first, the slow ones last.
const STAGES: [&str; 9] = [
    "set-up",
    "format",
    "BPF object",
    "lints",
    "unit and scenario tests",
    "build",
    "the lab of the README",
    "BPF and namespace tests",
    "BPF tests on Linux 6.1",
];

/// The oldest kernel that the product supports.
const OLDEST_KERNEL: &str = "6.1";

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
        let clippy = |what: &[&str]| {
            sh::run(tree.cargo().arg("clippy").args(what).args(["--quiet", "--", "-D", "warnings"]))
        };
        clippy(&["--workspace", "--all-targets"])?;
        // Not among all targets, as it is none of the ordinary tests.
        clippy(&["--package", "bpf-tests", "--test", "cards"])
    })?;
    report.stage(|count| {
        counted(tree.cargo().args(["test", "--workspace", "--exclude", "bpf-tests"]), count)
    })?;
    report.stage(|_| build::sekisho(tree).map(drop))?;
    // A process of its own, since it catches signals.
    report.stage(|_| sh::run(tree.cargo().args(["xtask", "run"])))?;
    report.stage(|count| noted(tree, tree.cargo().args(["test", "--package", "bpf-tests"]), count))?;
    report.stage(|count| vm::quick(tree, OLDEST_KERNEL, count))
}

/// Runs tests that may leave notes, prints these and counts by them who skipped himself.
fn noted(tree: &Tree, command: &mut Command, count: &mut Count) -> Result<()> {
    let notes = tree.target.join("test-notes");
    fs::write(&notes, "").with_context(|| format!("cannot write {}", notes.display()))?;
    let outcome = counted(command.env("SEKISHO_TEST_NOTES", &notes), count);
    for line in fs::read_to_string(&notes)?.lines() {
        ui::line(line);
        if matches!(Line::read(line), Some(Line::Skip(..))) {
            count.skip_one();
        }
    }
    outcome
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
            total += *count;
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
        if let Some(Line::Summary(result)) = Line::read(&line) {
            *count += result;
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{name}`"))?;
    ensure!(status.success(), "`{name}` failed ({status})");
    Ok(())
}
