//! Programs of others that tests hold the product against and that come from PyPI: DuckDB, pandas, Spark and ClickHouse (as
//! chdb), which read the log of conversations, and a server that speaks S3. They lie in an environment of their own under target/tools.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::debian;
use crate::sh::Tree;
use crate::ui;

/// What is installed, in the versions the tests are written for.
const WANTED: &str =
    "duckdb==2.0.1 pandas==3.1.1 pyarrow==26.0.1 pyspark==4.3.0 chdb==4.4.0 moto[s3,server]==5.2.5";

/// Installs them, unless they are there.
pub fn install(tree: &Tree) -> Result<bool> {
    let dir = tree.tools().join("readers");
    let stamp = dir.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == WANTED) {
        return Ok(false);
    }
    ui::line(
        "setup: installing DuckDB, pandas, Spark, ClickHouse and moto from PyPI (read the log of conversations in tests; 1.8 GB)",
    );
    fs::create_dir_all(tree.tools()).with_context(|| format!("cannot make {}", tree.tools().display()))?;
    let log = tree.tools().join("readers.log");
    debian::run_logged(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir), &log)?;
    let mut pip = Command::new(dir.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(WANTED.split(' '));
    debian::run_logged(&mut pip, &log)?;
    fs::write(&stamp, WANTED).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(true)
}
