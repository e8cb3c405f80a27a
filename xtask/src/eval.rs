//! The evaluation of the detectors; the judging itself is in `sensor-user/eval`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::build;
use crate::setup::{self, Part};
use crate::sh::{self, Tree};

/// What is held against captures.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// The detectors.
    Detectors,
    /// The kinds of devices: prints the table.
    Devices,
}

/// What `cargo xtask eval` is given.
#[derive(Args)]
pub struct EvalArgs {
    /// What to hold against captures
    #[arg(value_enum, default_value_t = Subject::Detectors)]
    subject: Subject,
    /// The folder of captures, with manifest.tsv [default: ../shared/data beside the project]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The table of expectations [default: expect.tsv in the folder]
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// What the evaluation itself is given: --seeds A-B, --hosts N, --days N, --confounders N, --runs N, --wire SECONDS
    #[arg(last = true, value_name = "OPTIONS")]
    more: Vec<String>,
}

/// Builds, and holds against the captures what is to be.
pub fn eval(tree: &Tree, args: &EvalArgs) -> Result<()> {
    match args.subject {
        Subject::Detectors => detectors(tree, args),
        Subject::Devices => devices(tree, args),
    }
}

/// Prints how well devices are identified.
fn devices(tree: &Tree, args: &EvalArgs) -> Result<()> {
    let compiler = setup::setup(tree, &[Part::Bpf, Part::Run])?;
    build::object(tree, &compiler)?;
    let mut command = tree.cargo();
    command.args(["run", "--quiet", "--package", "sensor-eval", "--bin", "devices", "--", "--data"]);
    command.arg(data(tree, args)?).args(&args.more);
    sh::run(&mut command)
}

/// The folder of captures.
fn data(tree: &Tree, args: &EvalArgs) -> Result<PathBuf> {
    Ok(args.data.clone().map_or_else(|| Ok(tree.root.join("../shared/data")), std::path::absolute)?)
}

/// Builds, holds the detectors against the captures, and leaves the report in target/eval.
fn detectors(tree: &Tree, args: &EvalArgs) -> Result<()> {
    let compiler = setup::setup(tree, &[Part::Bpf])?;
    build::object(tree, &compiler)?;
    // What real frames are put to the test with.
    let product = build::sekisho(tree)?;
    let mut command = tree.cargo();
    command.args(["run", "--release", "--quiet", "--package", "sensor-eval", "--bin", "eval", "--", "--out"]);
    command.arg(tree.target.join("eval")).arg("--data");
    command.arg(data(tree, args)?);
    if let Some(table) = &args.expect {
        command.arg("--expect").arg(std::path::absolute(table)?);
    }
    // As the service has it.
    command.args(&args.more).env("SEKISHO_BIN", product).env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
    sh::run(&mut command)
}
