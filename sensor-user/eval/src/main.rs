//! `eval`: replays every capture, holds it against the table of expectations, and writes the report.
//!
//! Exit codes: 0 all targets reached, 1 not, or something failed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use sensor_eval::expect::{self, Expected};
use sensor_eval::held::{self, Held};
use sensor_eval::report;
use sensor_user::cli::table::screen_width;

/// Holds the detectors against real captures with ground truth.
#[derive(Parser)]
#[command(name = "cargo xtask eval", bin_name = "cargo xtask eval")]
struct Args {
    /// The folder of captures, with manifest.tsv
    #[arg(long, value_name = "DIR", default_value = "../shared/data")]
    data: PathBuf,
    /// The table of expectations [default: expect.tsv in the folder]
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Where report.md and report.json go
    #[arg(long, value_name = "DIR", default_value = "target/eval")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match eval(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The captures of the table and of the list, each with its line if it has one.
fn captures(args: &Args) -> Result<BTreeMap<String, Option<Expected>>> {
    let table = args.expect.clone().unwrap_or_else(|| args.data.join("expect.tsv"));
    let mut all = BTreeMap::new();
    // Another table may come with another folder, which needs no list.
    if args.expect.is_none() || args.data.join("manifest.tsv").is_file() {
        all.extend(expect::captures(&args.data)?.into_iter().map(|file| (file, None)));
    }
    all.extend(expect::table(&table)?.into_iter().map(|expected| (expected.file.clone(), Some(expected))));
    ensure!(!all.is_empty(), "there is no capture in {}", args.data.display());
    Ok(all)
}

fn eval(args: &Args) -> Result<bool> {
    let hold =
        |(file, expected): (String, Option<Expected>)| held::hold(&args.data, &file, expected.as_ref());
    let held = captures(args)?.into_iter().map(hold).collect::<Result<Vec<Held>, _>>()?;
    let targets = held::targets(&held);
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    write(&args.out.join("report.md"), &report::page(&held, &targets))?;
    write(&args.out.join("report.json"), &format!("{:#}\n", report::machine(&held, &targets)))?;
    // Nobody may be reading any more; the reports are written.
    let _ = write!(io::stdout(), "{}", report::terminal(&held, &targets, screen_width()));
    let _ =
        writeln!(io::stdout(), "{} captures; more in {}", held.len(), args.out.join("report.md").display());
    Ok(targets.iter().all(held::Target::pass))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
