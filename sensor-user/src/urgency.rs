//! Who comes first where the processor has more to do than it can: what the kernel tells waits for nothing else.
//!
//! On a box that forwards at its limit the scheduler gives each thread its turn of some milliseconds, and a scanner goes on
//! for as long. So the loop has a higher priority than all else, also than the daemon's own threads for disks and clients.
//!
//! Where the kernel shares the processor by session (autogroup) or control group, a priority counts among the threads of one
//! alone (sched(7)): there it takes the weight of the whole service as well.

use rustix::process::setpriority_process;

/// Of the loop. (Kernel threads that may not wait at all have -20.)
const FIRST: i32 = -15;
/// Of what it starts.
const LATER: i32 = 0;
/// Of what may take very long.
const LAST: i32 = 19;

/// Has the calling thread come before others, if this process may have that: it takes CAP_SYS_NICE, or RLIMIT_NICE.
pub fn first() {
    if let Err(error) = set(FIRST) {
        log::info!(
            "the daemon may not come before other programs ({error}): when the processor is busy it acts some milliseconds \
             later (the service has LimitNICE=-15 and CPUWeight=1000 for that)"
        );
    }
}

/// Has the calling thread come after the loop. Threads begin with the priority of who starts them.
pub fn later() {
    settle(LATER);
}

/// Has the calling thread come after all else.
pub fn last() {
    settle(LAST);
}

fn settle(nice: i32) {
    if let Err(error) = set(nice) {
        log::warn!("a thread goes on at another priority than {nice}: {error}");
    }
}

/// No process: the calling thread alone (setpriority(2), Linux).
fn set(nice: i32) -> rustix::io::Result<()> {
    setpriority_process(None, nice)
}
