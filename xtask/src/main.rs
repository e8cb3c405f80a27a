//! `cargo xtask`: everything a developer or a visitor runs, each command doing its own set-up.
//!
//! `run` and `test` are the two to know. The rest are their parts.

mod bench;
mod build;
mod eval;
mod lab;
mod results;
mod setup;
mod sh;
mod test;
mod ui;
mod vm;

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use setup::Part;
use sh::Tree;

/// Builds, tests and shows Sekisho.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building, testing and the lab need (all other commands do their part of it themselves)
    Setup,
    /// Build the BPF object and, from it, target/release/sekisho
    Build {
        /// Accepted for habit's sake: the build is always the optimised one
        #[arg(long, hide = true)]
        release: bool,
    },
    /// Everything that CI runs: format, lints, unit, scenario, BPF and namespace tests
    Test,
    /// Run the tests of the kernel side on other kernels, in emulated machines
    Vm(vm::VmArgs),
    /// Build and run: on a bridge of this machine, or without --bridge in a lab of its own
    Run(RunArgs),
    /// Measure the data path beside its peers; writes target/bench.json
    Bench,
    /// Hold the detectors against real captures with ground truth; writes target/eval/report.{md,json}
    Eval(eval::EvalArgs),
    /// Remove labs that were kept or whose run was killed
    Clean,
    /// A host of the lab: listens, and talks to its peers, until it is ended
    #[command(hide = true)]
    LabHost(lab::host::HostArgs),
    /// Fetch one page over HTTP from inside a lab's namespace
    #[command(hide = true)]
    LabGet { address: SocketAddr, path: String },
}

#[derive(Args)]
struct RunArgs {
    /// Run on this bridge of this machine instead of in a lab
    #[arg(long, value_name = "BRIDGE")]
    bridge: Option<String>,
    /// Leave the lab up at the end, to play with
    #[arg(long, conflicts_with = "bridge")]
    keep: bool,
    /// More arguments for `sekisho run`
    #[arg(last = true, value_name = "SEKISHO ARGUMENTS")]
    extra: Vec<String>,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<sh::Interrupted>() => ExitCode::from(130),
        Err(error) => {
            ui::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: Task) -> Result<()> {
    let tree = Tree::find();
    match task {
        Task::Setup => setup::setup(&tree, &Part::ALL).map(drop),
        Task::Build { release: _ } => build::product(&tree, &[Part::Bpf, Part::Run]).map(drop),
        Task::Test => test::test(&tree),
        Task::Vm(args) => vm::vm(&tree, &args),
        Task::Run(RunArgs { bridge: Some(bridge), extra, .. }) => run_on_bridge(&tree, &bridge, &extra),
        Task::Run(RunArgs { keep, extra, .. }) => lab::run(&tree, keep, &extra),
        Task::Bench => bench::bench(&tree),
        Task::Eval(args) => eval::eval(&tree, &args),
        Task::Clean => lab::clean(),
        Task::LabHost(args) => lab::host::serve(&args),
        Task::LabGet { address, path } => lab::host::get(address, &path),
    }
}

/// Becomes `sekisho run` on a bridge of this machine, so that signals and the exit code are its own.
fn run_on_bridge(tree: &Tree, bridge: &str, extra: &[String]) -> Result<()> {
    let sekisho = build::product(tree, &[Part::Bpf, Part::Run])?;
    sh::need_root("watching a bridge")?;
    let mut command = Command::new(&sekisho);
    sh::scrub(&mut command).args(["run", "--bridge", bridge]).args(extra);
    ui::note(&format!("starting {}", sh::describe(&command)));
    Err(command.exec()).with_context(|| format!("cannot start {}", sekisho.display()))
}
