//! Models from rows to verdicts, on made-up classes of devices.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

mod hostile;
mod kept_rows;
mod quality;
mod speed;
mod synthetic;

/// Time this thread was on a CPU, in seconds: what else runs on the machine does not count. (Linux, proc(5).)
pub fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
