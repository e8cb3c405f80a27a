//! The benchmark of the data path: what it costs, beside what is usual, all in one run and by turns.
//!
//! Nothing of it is seen outside: it works in network namespaces, and with a BPF file system, that end with the process.
//! An aim that is missed is printed and no failure: timings of a shared machine gate nothing.

mod costs;
mod flows;
mod report;
mod rules;
mod stand;
mod wire;

use std::path::Path;

use anyhow::{Context, Result};
use bpf_tests::{cpu, lab};
use nix::sched::{CloneFlags, unshare};

fn main() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (are you root?)")?;
    lab::own_mounts()?;
    lab::mount_bpf(Path::new("/sys/fs/bpf"))?;
    // A flow belongs to the CPU its first frame came on, as network cards have it: all frames come on one here. What is
    // done beside it is done on another.
    let cpus = cpu::allowed()?;
    let (&home, &away) = cpus.first().zip(cpus.last()).context("no CPU")?;
    let mut tables = Vec::new();
    for measure in [costs::repeated, costs::new_flow, flows::rate, flows::memory, wire::dropped_and_forwarded]
    {
        for table in measure(home, away)? {
            table.print();
            tables.push(table);
        }
    }
    let path = report::write(&tables)?;
    println!("\nwritten to {}", path.display());
    Ok(())
}
