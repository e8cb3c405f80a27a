//! Any bytes as a file of the log of conversations: what can be read is told, the rest is refused.
#![no_main]

use std::collections::HashMap;
use std::fs;

use libfuzzer_sys::fuzz_target;
use sensor_flowlog::export::{Exporter, Format};
use sensor_flowlog::query::{End, Query, scan};

// The library of Parquet panics at some of what is damaged, which is caught where it is called: a panic alone is no fault. One
// that nobody catches still ends the target.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |input: &[u8]| {
    let root = std::env::temp_dir().join(format!("sekisho-fuzz-flows-{}", std::process::id()));
    let dir = root.join("day=2026-11-28/hour=03");
    let written = fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join("part-1.parquet"), input));
    assert!(written.is_ok());
    let hosts = vec![End::Net("10.0.0.0/8".parse().expect("a network"))];
    let all = Query { from: 0, to: i64::MAX, hosts, port: Some(445), verdict: Some("drop"), ..Query::default() };
    for format in [Format::Csv, Format::Human] {
        let exporter = Exporter::new(std::io::sink(), format, HashMap::new());
        let mut exporter = exporter.expect("a sink takes all");
        let _ = scan(&root, &all, &mut |rows| exporter.write(rows));
    }
});
