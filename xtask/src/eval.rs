//! The evaluation of the detectors; the judging itself is in `sensor-user/eval`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::build;
use crate::setup::{self, Part};
use crate::sh::{self, Tree};

/// What `cargo xtask eval` is given.
#[derive(Args)]
pub struct EvalArgs {
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

/// Builds, holds the detectors against the captures, and leaves the report in target/eval.
pub fn eval(tree: &Tree, args: &EvalArgs) -> Result<()> {
    let compiler = setup::setup(tree, &[Part::Bpf])?;
    build::object(tree, &compiler)?;
    // What real frames are put to the test with.
    let product = build::sekisho(tree)?;
    let mut command = tree.cargo();
    command.args(["run", "--release", "--quiet", "--package", "sensor-eval", "--bin", "eval", "--", "--out"]);
    command.arg(tree.target.join("eval")).arg("--data");
    command.arg(args.data.clone().map_or_else(|| Ok(tree.root.join("../shared/data")), std::path::absolute)?);
    if let Some(table) = &args.expect {
        command.arg("--expect").arg(std::path::absolute(table)?);
    }
    command.args(&args.more).env("SEKISHO_BIN", product);
    sh::run(&mut command)
}
