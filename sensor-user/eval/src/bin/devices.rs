//! `devices`: replays the captures of devices whose make is known, and prints how well they are identified.
//!
//! Exit codes: 0 all targets reached, 1 not, or something failed.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use sensor_eval::identify;
use sensor_user::makers;

/// Holds the identification of devices against captures of devices whose make is known.
#[derive(Parser)]
#[command(name = "cargo xtask eval devices", bin_name = "cargo xtask eval devices")]
struct Args {
    /// The folder of captures, with manifest.tsv
    #[arg(long, value_name = "DIR", default_value = "../shared/data")]
    data: PathBuf,
    /// The list of makers
    #[arg(long, value_name = "FILE", default_value = makers::DEFAULT_PATH)]
    oui: PathBuf,
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

fn eval(args: &Args) -> Result<bool> {
    let trials = identify::run(&args.data, &args.oui)?;
    // Nobody may be reading any more.
    let _ = io::stdout().write_all(identify::page(&trials).as_bytes());
    Ok(identify::parts(&trials).iter().all(|(_, score)| identify::passes(score)))
}
