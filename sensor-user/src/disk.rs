//! Room on the disk: what is only useful leaves the last of it to what is needed.

use std::io;
use std::path::Path;

/// Bytes of the disk that are left to others: the block list goes before anything learned.
const SPARED: u64 = 64 << 20;

/// Refuses to write so much that others would find the disk full.
pub fn spare(path: &Path, bytes: u64) -> io::Result<()> {
    let Some(dir) = path.parent() else { return Ok(()) };
    let disk = nix::sys::statvfs::statvfs(dir)?;
    if disk.blocks_available().saturating_mul(disk.fragment_size()) < bytes.saturating_add(SPARED) {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            "the last 64 MiB of the disk are left to others",
        ));
    }
    Ok(())
}
