//! On which CPU a thread runs: a flow belongs to the CPU that entered it, which frames of other CPUs pay for.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// This thread.
const SELF: Pid = Pid::from_raw(0);

/// The CPUs this thread may run on, in order.
pub fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(SELF).context("asking for the CPUs")?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Keeps this thread on one CPU.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).and_then(|()| sched_setaffinity(SELF, &set)).with_context(|| format!("going to CPU {cpu}"))
}
