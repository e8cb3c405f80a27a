//! The machine's clocks, for the threads of the channels.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sensor_core::time::Time;

/// Now, by a clock that is never set. It begins with the process.
pub fn mono() -> Time {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    Time::at(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// Now, ns since 1970.
pub fn unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    i64::try_from(since).unwrap_or(i64::MAX)
}
