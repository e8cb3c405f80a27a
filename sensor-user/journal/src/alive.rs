//! Signs of life beside the journal: who starts after one that was killed knows since when nobody was there.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// The file, whose time is that of the last sign.
const FILE: &str = "journal.alive";
/// Who may read the journal may read this.
const MODE: u32 = 0o640;
/// Time between signs.
pub const EVERY: Duration = Duration::from_secs(60);

/// Leaves one. It is not waited for until it is on the disk: after a power failure an earlier one is there.
pub fn leave(dir: &Path, now_ns: i64) -> io::Result<()> {
    let file = OpenOptions::new().create(true).write(true).truncate(false).mode(MODE).open(dir.join(FILE))?;
    file.set_modified(UNIX_EPOCH + Duration::from_nanos(u64::try_from(now_ns).unwrap_or(0)))
}

/// When the last one was left, ns since 1970; none if there is none.
pub fn last(dir: &Path) -> Option<i64> {
    let left = fs::metadata(dir.join(FILE)).and_then(|file| file.modified()).ok()?;
    i64::try_from(left.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}
