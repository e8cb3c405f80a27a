//! `cargo xtask vm`: the tests of the kernel side on other kernels, each in a machine emulated by QEMU.

mod archive;
mod cards;
mod guest;
mod image;
mod kernel;
mod qemu;
mod table;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::build;
use crate::results::Count;
use crate::setup::{self, Part};
use crate::sh::{self, Tree};
use archive::Archive;
use guest::Report;
use image::Image;
use kernel::{Flavour, Kernels};
use qemu::Qemu;

/// Debian's kernels that the product is tested on: the oldest it supports, those of long life, and the newest there is.
const KERNELS: [&str; 4] = ["6.1", "6.12", "6.18", "newest"];

/// Test programs that have the kernel run single frames. They need no `sekisho`, whose build takes a minute.
const FRAMES: [&str; 10] =
    ["abi", "heard", "levels", "pressure", "seal", "sharing", "table", "told", "verdicts", "verifier"];
/// Another, with the frames of all captures, for which CI has no time.
const CAPTURES: &str = "parity";
/// The way from a command to a host that is cut off on the wire: a test program and a filter.
const WIRE: (&str, &str) = ("daemon", "each_kind_of_address_is_cut_off_and_let_go_while_the_daemon_runs");

/// What is shown on network cards, which only guests have that are given some.
const CARDS: &str = "cards";

/// A guest's time for all tests, and for what CI runs: four times what it takes on two CPUs that do nothing else.
const LIMIT: Duration = Duration::from_secs(3600);
const QUICK_LIMIT: Duration = Duration::from_secs(600);

#[derive(Args)]
pub struct VmArgs {
    /// Kernels: a series as 6.1, a release as 6.1.0-56-cloud-amd64, or newest [default: 6.1, 6.12, 6.18, newest]
    #[arg(long = "kernel", value_name = "KERNEL", value_delimiter = ',')]
    kernels: Vec<String>,
    /// Only these test programs of bpf-tests
    #[arg(long = "test", value_name = "NAME", value_delimiter = ',')]
    tests: Vec<String>,
    /// Only what CI runs: single frames, and one way from a command to the wire
    #[arg(long, conflicts_with_all = ["tests", "filters"])]
    quick: bool,
    /// Only what is shown on network cards and bonds, on kernels for hardware and cards that are emulated
    #[arg(long, conflicts_with_all = ["tests", "quick"])]
    cards: bool,
    /// Filters for the test programs, as `cargo test` has them after `--`
    #[arg(last = true)]
    filters: Vec<String>,
}

/// What guests are to run.
struct Plan {
    /// Test programs, and filters for them.
    steps: Vec<(String, String)>,
    /// Whether the machine has network cards.
    cards: bool,
    /// Whether the user left nothing out: each program is to run a test then, and few may be skipped.
    whole: bool,
    /// The time a guest has.
    limit: Duration,
}

impl Plan {
    fn quick() -> Self {
        let steps = FRAMES.into_iter().map(|name| (name, "")).chain([WIRE]);
        let steps = steps.map(|(name, filter)| (name.to_owned(), filter.to_owned())).collect();
        Self { steps, cards: false, whole: true, limit: QUICK_LIMIT }
    }

    fn of(args: &VmArgs, tests: &[(String, PathBuf)]) -> Self {
        if args.quick {
            return Self::quick();
        }
        let names = match (args.cards, args.tests.is_empty()) {
            (true, _) => vec![CARDS.to_owned()],
            (false, true) => {
                tests.iter().map(|(name, _)| name.clone()).filter(|name| name != CARDS).collect()
            }
            (false, false) => args.tests.clone(),
        };
        let filter = args.filters.join(" ");
        let steps = names.into_iter().map(|name| (name, filter.clone())).collect();
        let whole = filter.is_empty() && args.tests.is_empty();
        Self { steps, cards: args.cards, whole, limit: LIMIT }
    }

    fn needs_product(&self) -> bool {
        self.steps.iter().any(|(name, _)| name != CAPTURES && !FRAMES.contains(&name.as_str()))
    }
}

/// Builds, runs the tests on each kernel, and prints how they ended.
pub fn vm(tree: &Tree, args: &VmArgs) -> Result<()> {
    let compiler = setup::setup(tree, &[Part::Bpf, Part::Run, Part::Lab, Part::Tests, Part::Vm])?;
    build::object(tree, &compiler)?;
    let tests = programs(tree)?;
    let plan = Plan::of(args, &tests);
    if plan.needs_product() {
        build::sekisho(tree)?;
    }
    let default = || KERNELS.map(str::to_owned).to_vec();
    let kernels = if args.kernels.is_empty() { default() } else { args.kernels.clone() };
    matrix(tree, &tests, &plan, &kernels).map(drop)
}

/// Runs what CI runs, on one kernel. The set-up is done and the product is built.
pub fn quick(tree: &Tree, kernel: &str, count: &mut Count) -> Result<()> {
    let reports = matrix(tree, &programs(tree)?, &Plan::quick(), &[kernel.to_owned()])?;
    reports.iter().for_each(|(_, report)| *count += report.count());
    Ok(())
}

/// Runs the plan on each kernel, prints the table, and fails if anything did.
fn matrix(
    tree: &Tree,
    tests: &[(String, PathBuf)],
    plan: &Plan,
    kernels: &[String],
) -> Result<Vec<(String, Report)>> {
    for (name, _) in &plan.steps {
        let known: Vec<&str> = tests.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(known.contains(&name.as_str()), "no test program {name}; there are: {}", known.join(" "));
    }
    let home = tree.target.join("vm");
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    // Another run has its files there too; this one waits for its end.
    let lock = File::create(home.join("lock"))?;
    lock.lock().context("cannot lock the folder of the guests")?;
    let archive = Archive::open(&home)?;
    let on_offer = Kernels::of(&archive, if plan.cards { Flavour::HARDWARE } else { Flavour::CLOUD })?;
    // A name that is mistaken is told before the first kernel is run for minutes.
    let mut releases: Vec<&str> = Vec::new();
    for kernel in kernels {
        let release = on_offer.resolve(kernel)?;
        if !releases.contains(&release) {
            releases.push(release);
        }
    }
    let qemu = Qemu::find(&archive, plan.cards.then_some(cards::NEWEST))?;
    let work = Work::new(&home)?;
    let mut image = Image::new(tree, &work.0, tests, plan)?;
    let mut reports = Vec::new();
    for release in releases {
        let kernel = on_offer.get(release)?;
        image.modules(&kernel)?;
        let initrd = work.0.join("initrd");
        image.write(&initrd)?;
        reports.push((release.to_owned(), guest::run(&qemu, &kernel, &initrd, plan, &home)?));
    }
    table::print(&reports);
    let bad: Vec<&str> =
        reports.iter().filter(|(_, report)| !report.good()).map(|(release, _)| release.as_str()).collect();
    ensure!(bad.is_empty(), "the tests failed on {}", bad.join(", "));
    Ok(reports)
}

/// A folder for the guests' file systems, hundreds of MB, that goes when they are done.
struct Work(PathBuf);

impl Work {
    fn new(home: &Path) -> Result<Self> {
        let folder = home.join("work");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What is left is overwritten by the next run.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds the tests as `cargo test` does; returns the test programs, by name.
fn programs(tree: &Tree) -> Result<Vec<(String, PathBuf)>> {
    let mut command = tree.cargo();
    command.args(["test", "--package", "bpf-tests", "--test", "*", "--no-run", "--quiet"]);
    command.arg("--message-format=json-render-diagnostics");
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start `{}`", sh::describe(&command)))?;
    ensure!(output.status.success(), "`{}` failed ({})", sh::describe(&command), output.status);
    let program = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test = message["target"]["kind"][0] == "test";
        let (name, file) = (message["target"]["name"].as_str()?, message["executable"].as_str()?);
        is_test.then(|| (name.to_owned(), PathBuf::from(file)))
    };
    let mut found: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().filter_map(program).collect();
    found.sort();
    Ok(found)
}
