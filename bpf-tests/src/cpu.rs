//! On which CPU a thread runs: a flow belongs to the CPU that entered it, which frames of other CPUs pay for.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
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

/// Keeps a thread on the CPU it is on, until it is dropped, which is for the same thread to do.
#[derive(Debug)]
pub struct Stay {
    before: CpuSet,
}

impl Stay {
    /// Keeps this thread where it is.
    pub fn here() -> Result<Self> {
        let before = sched_getaffinity(SELF).context("asking for the CPUs")?;
        pin(sched_getcpu().context("asking for this CPU")?)?;
        Ok(Self { before })
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        // It worked before, and a test that is over loses nothing.
        let _ = sched_setaffinity(SELF, &self.before);
    }
}

/// CPU time of this thread so far.
pub fn own_time() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).context("this thread's CPU time")
}

/// CPU time of what this thread does on a CPU, with what the kernel puts off to its own thread there.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    deferred: ClockId,
}

impl Spent {
    /// For a CPU.
    pub fn on(cpu: usize) -> Result<Self> {
        let name = format!("ksoftirqd/{cpu}");
        let entries = fs::read_dir("/proc").context("reading /proc")?.flatten();
        let found = entries.filter(|entry| {
            fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        });
        let mut pids = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let pid = pids.next().with_context(|| format!("there is no {name}"))?;
        let deferred =
            clock_getcpuclockid(Pid::from_raw(pid)).with_context(|| format!("the clock of {name}"))?;
        Ok(Self { deferred })
    }

    /// So far.
    pub fn so_far(self) -> Result<Duration> {
        let own = own_time()?;
        let deferred = clock_gettime(self.deferred).context("a kernel thread's CPU time")?;
        Ok(own + Duration::from(deferred))
    }
}
