//! The benchmark of the data path; the measuring itself is in `bpf-tests`.

use anyhow::Result;

use crate::build;
use crate::setup::Part;
use crate::sh::{self, Tree};

/// Builds, measures, and leaves the figures in target/bench.json.
pub fn bench(tree: &Tree) -> Result<()> {
    build::product(tree, &[Part::Bpf, Part::Run, Part::Tests])?;
    sh::need_root("loading BPF programs and making network namespaces")?;
    sh::run(tree.cargo().args(["run", "--release", "--quiet", "--package", "bpf-tests", "--bin", "bench"]))
}
