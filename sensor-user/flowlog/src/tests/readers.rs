//! Others read the log as it lies. They are installed by `cargo xtask setup` from PyPI, into target/tools/readers.

use std::path::{Path, PathBuf};
use std::process::Command;

use sensor_core::observation::Verdict;
use serde_json::Value;

use super::traffic::EPOCH;
use super::{HOUR, KEEPING, Log, numbered};
use crate::Row;

/// The Python that has what reads.
pub fn python() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/readers/bin/python");
    assert!(path.exists(), "{} is not there: run `cargo xtask setup`", path.display());
    path
}

/// A day's rows: hours that were joined, and the last ones that were not.
fn day() -> (Log, Vec<Row>) {
    let (log, mut all) = (Log::new(), Vec::new());
    for hour in 0..21 {
        for part in 0..2 {
            let mut rows = numbered(hour, part * 500..(part + 1) * 500);
            for (at, row) in rows.iter_mut().enumerate() {
                if at % 50 == 0 {
                    row.verdict = Verdict::Drop;
                    row.devices = [Some(u64::from(u32::MAX)), None];
                }
            }
            all.extend_from_slice(&rows);
            log.write(rows);
        }
    }
    log.tidier(KEEPING).step(EPOCH / 1_000 + 20 * HOUR, true, &|| false).unwrap();
    assert!(log.files().values().map(Vec::len).sum::<usize>() < 30);
    (log, all)
}

fn read(script: &str) -> Value {
    let (log, rows) = day();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/readers").join(script);
    let done = Command::new(python()).arg(script).arg(log.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let out = String::from_utf8(done.stdout).unwrap();
    let told: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let mut hosts: Vec<_> = rows.iter().map(|row| row.id.src).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let ports = rows.iter().filter(|row| row.id.proto != 1).count();
    let dropped = rows.iter().filter(|row| row.verdict == Verdict::Drop).count();
    let want = [
        rows.len() as f64,
        rows.iter().map(|row| row.to_server.bytes as f64).sum(),
        hosts.len() as f64,
        21.0,
        dropped as f64,
        ports as f64,
        dropped as f64,
        1.0,
        rows.iter().map(|row| row.start).min().unwrap() as f64,
        rows.iter().map(|row| row.logged).max().unwrap() as f64,
    ];
    let got: Vec<_> = told["row"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(got, want);
    told["types"].clone()
}

/// What a program reads, and as which types.
fn check(script: &str, wanted: [(&str, &str); 7]) {
    let types = read(script);
    for (column, want) in wanted {
        assert_eq!(types[column], want, "{column}");
    }
}

#[test]
fn duckdb_reads_a_day() {
    check(
        "duck.py",
        [
            ("start_time", "TIMESTAMP WITH TIME ZONE"),
            ("src_ip", "VARCHAR"),
            ("src_port", "INTEGER"),
            ("bytes_toserver", "BIGINT"),
            ("coverage", "DOUBLE"),
            ("day", "DATE"),
            ("hour", "VARCHAR"),
        ],
    );
}

#[test]
fn spark_reads_a_day() {
    check(
        "spark.py",
        [
            ("start_time", "timestamp"),
            ("src_ip", "string"),
            ("src_port", "int"),
            ("bytes_toserver", "bigint"),
            ("coverage", "double"),
            ("day", "date"),
            ("hour", "int"),
        ],
    );
}

#[test]
fn pandas_reads_a_day() {
    check(
        "frames.py",
        [
            ("start_time", "datetime64[us, UTC]"),
            ("src_ip", "category"),
            ("src_port", "float64"),
            ("bytes_toserver", "int64"),
            ("coverage", "float64"),
            ("day", "category"),
            ("hour", "category"),
        ],
    );
}

#[test]
fn clickhouse_reads_a_day() {
    check(
        "click.py",
        [
            ("start_time", "DateTime64(6, 'UTC')"),
            ("src_ip", "String"),
            ("src_port", "Nullable(Int32)"),
            ("bytes_toserver", "Int64"),
            ("coverage", "Nullable(Float64)"),
            ("day", "Date"),
            ("hour", "Int64"),
        ],
    );
}
