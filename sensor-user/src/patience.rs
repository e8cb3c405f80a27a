//! Taking a file's lock with a little patience.

use std::fs::{File, TryLockError};
use std::thread;
use std::time::Duration;

/// How often it is tried.
const TRIES: u32 = 20;
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(25);

/// Locks a file, trying for half a second: a lock outlives its process by the moment in which the kernel tears it down,
/// or in which a child that was just forked has not yet closed what it inherited. A restart must not fail for that.
///
/// # Errors
///
/// Those of [`File::try_lock`].
pub fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            other => return other,
        }
    }
    file.try_lock()
}
