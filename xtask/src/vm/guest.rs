//! One guest: a kernel in QEMU, which runs the plan and tells on a serial line how that went.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::Plan;
use super::cards;
use super::kernel::Kernel;
use super::qemu::Qemu;
use crate::results::{Count, Line, Outcome};
use crate::ui;

/// Bits of /proc/sys/kernel/tainted: the kernel died in part, warned, or was stuck.
const TROUBLE: u64 = 1 << 7 | 1 << 9 | 1 << 14;
/// One test in so many may be skipped.
const MOST_SKIPPED: u32 = 5;
/// MiB of a guest.
const MEMORY: &str = "3072";
/// Lines of what a failed test, or the kernel, said that are printed; the rest is in the log.
const SHOWN: usize = 60;

/// How a kernel fared.
#[derive(Default)]
pub struct Report {
    /// How each test ended, by test program and name.
    pub tests: BTreeMap<(String, String), Outcome>,
    /// Figures that tests told.
    pub figures: Vec<String>,
    /// What went wrong besides: each is a failure.
    pub troubles: Vec<String>,
    /// Test programs that came to their end.
    ended: Vec<String>,
    tainted: Option<u64>,
}

impl Report {
    /// Whether all is well.
    pub fn good(&self) -> bool {
        self.troubles.is_empty() && !self.tests.values().any(|outcome| *outcome == Outcome::Failed)
    }

    /// Takes in a line of the test program `program`.
    fn take(&mut self, program: &str, line: &str) {
        let key = |name: String| (program.to_owned(), name);
        match Line::read(line) {
            Some(Line::Test(name, outcome)) => drop(self.tests.insert(key(name), outcome)),
            // A test that tells it was skipped and fails all the same has failed.
            Some(Line::Skip(name, reason)) => match self.tests.get_mut(&key(name)) {
                Some(outcome @ Outcome::Passed) => *outcome = Outcome::Skipped(reason),
                Some(_) => {}
                None => self.troubles.push(format!("{program}: skipped under a name no test has: {line}")),
            },
            Some(Line::Figure(figure)) => self.figures.push(figure),
            Some(Line::Summary(_)) | None => {}
        }
    }

    /// Takes in the guest's word that a test program ended.
    fn end(&mut self, program: &str, status: &str) {
        let failed = self.tests.iter().any(|((of, _), outcome)| of == program && *outcome == Outcome::Failed);
        if status != "0" && !failed {
            self.troubles.push(format!("{program} ended with status {status}"));
        }
        self.ended.push(program.to_owned());
    }

    /// How many tests of a program ran.
    fn ran(&self, program: &str) -> usize {
        self.tests.keys().filter(|(of, _)| of == program).count()
    }

    /// The tests by how they ended.
    pub fn count(&self) -> Count {
        let mut count = Count::default();
        for outcome in self.tests.values() {
            match outcome {
                Outcome::Passed => count.passed += 1,
                Outcome::Failed => count.failed += 1,
                Outcome::Skipped(_) => count.skipped += 1,
            }
        }
        count
    }
}

/// Runs a guest to its end; its log is left as `<home>/<release>.log`, and the kernel's as `<release>.console`.
pub fn run(qemu: &Qemu, kernel: &Kernel, archive: &Path, plan: &Plan, home: &Path) -> Result<Report> {
    let release = &kernel.release;
    let console = home.join(format!("{release}.console"));
    let log = home.join(format!("{release}.log"));
    let mut child = start(qemu, kernel, archive, plan, &console)?;
    let mut report = Report::default();
    let followed = follow(&mut child, &mut report, release, &log, plan.limit);
    // One that has ended cannot be killed.
    let _ = child.kill();
    child.wait().context("cannot wait for qemu")?;
    if let Some(trouble) = followed? {
        report.troubles.push(trouble);
    }
    conclude(&mut report, plan, &console);
    if !report.good() {
        show(&report, &log, &console);
    }
    Ok(report)
}

fn start(qemu: &Qemu, kernel: &Kernel, archive: &Path, plan: &Plan, console: &Path) -> Result<Child> {
    let cpus = thread::available_parallelism().map_or(1, usize::from).clamp(2, 4);
    // Ended with this program, however that ends. Emulation, because it works everywhere.
    let mut command = if plan.cards { cards::network() } else { Command::new("env") };
    command.args(["setpriv", "--pdeathsig", "KILL", "--"]).args(qemu.words());
    command.args(["-accel", "tcg", "-cpu", "max,la57=off"]);
    command.args(["-smp", &cpus.to_string(), "-m", MEMORY, "-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args(["-display", "none", "-monitor", "none", "-nic", "none"]);
    if plan.cards {
        cards::plug(&mut command);
    }
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(archive);
    // The kernel is not to doubt the emulated clock: to go over to another it patches code that other CPUs run, which
    // emulation does not always get right.
    command.args(["-append", "console=ttyS0 panic=-1 oops=panic nowatchdog tsc=reliable loglevel=5"]);
    command.arg("-serial").arg(format!("file:{}", console.display()));
    command.args(["-chardev", "stdio,id=out,signal=off", "-serial", "chardev:out"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().context("cannot start qemu")
}

/// Reads what the guest tells until it is done. Returns what kept it from that.
fn follow(
    child: &mut Child,
    report: &mut Report,
    release: &str,
    log: &Path,
    limit: Duration,
) -> Result<Option<String>> {
    let output = child.stdout.take().ok_or_else(|| anyhow!("no output of qemu"))?;
    let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let started = Instant::now();
    let (mut program, mut since) = ("its start".to_owned(), started);
    loop {
        let line = match lines.recv_timeout(limit.saturating_sub(started.elapsed())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                return Ok(Some(format!("not done after {} s, at {program}", limit.as_secs())));
            }
            Err(RecvTimeoutError::Disconnected) if report.tainted.is_some() => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Some(format!("the guest ended too early, at {program}")));
            }
        };
        writeln!(log, "{line}").context("cannot write the log")?;
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["VM", "begin", name] => (program, since) = (name.to_owned(), Instant::now()),
            ["VM", "end", name, status] => {
                report.end(name, status);
                let (ran, took) = (report.ran(name), since.elapsed().as_secs_f32());
                ui::note(&format!("{release}: {name}: {ran} tests, {took:.1} s"));
            }
            ["VM", "done", tainted] => report.tainted = Some(tainted.parse().unwrap_or(TROUBLE)),
            _ => report.take(&program, &line),
        }
    }
}

/// Adds what only shows at the end.
fn conclude(report: &mut Report, plan: &Plan, console: &Path) {
    for (name, filter) in &plan.steps {
        if !report.ended.contains(name) {
            report.troubles.push(format!("{name} did not come to an end"));
        } else if plan.whole && report.ran(name) == 0 {
            report.troubles.push(format!("{name} has no test {filter}").trim_end().to_owned());
        }
    }
    if report.tests.is_empty() {
        report.troubles.push("no test ran".to_owned());
    }
    let Count { passed, failed, skipped } = report.count();
    let all = passed + failed + skipped;
    if plan.whole && skipped * MOST_SKIPPED > all {
        report.troubles.push(format!("{skipped} of {all} tests were skipped: that shows too little"));
    }
    let text = fs::read(console).unwrap_or_default();
    let panicked = String::from_utf8_lossy(&text).contains("Kernel panic");
    if panicked {
        report.troubles.push("the kernel panicked".to_owned());
    }
    if report.tainted.is_some_and(|tainted| tainted & TROUBLE != 0) {
        report.troubles.push("the kernel warned or was stuck".to_owned());
    }
}

/// Prints why a guest has failed, as far as its logs tell.
fn show(report: &Report, log: &Path, console: &Path) {
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    if report.tests.values().any(|outcome| *outcome == Outcome::Failed) {
        let text = read(log);
        let failures = text.split("\nfailures:\n").skip(1).step_by(2);
        excerpt(
            "what failed",
            log,
            failures.flat_map(str::lines).filter(|line| !line.is_empty()).take(SHOWN),
        );
    }
    if !report.troubles.is_empty() {
        let text = read(console);
        let lines: Vec<&str> = text.lines().collect();
        // From the first sign of trouble, or the end if there is none.
        let signs = ["WARNING:", "BUG:", "Oops", "Kernel panic"];
        let first = lines.iter().position(|line| signs.iter().any(|sign| line.contains(sign)));
        let from = first.unwrap_or(lines.len().saturating_sub(SHOWN / 2));
        excerpt("the kernel's log", console, lines.into_iter().skip(from).take(SHOWN));
    }
}

fn excerpt<'a>(what: &str, path: &Path, lines: impl Iterator<Item = &'a str>) {
    ui::heading(&format!("{what} (all of it: {}):", path.display()));
    for line in lines {
        let cut: String = line.trim_end().chars().take(300).collect();
        ui::line(&format!("  {cut}"));
    }
}
