//! Room on the disk: what is only useful leaves the last of it to what is needed.

use std::fs::{self, File};
use std::io::{self, Write as _};
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

/// Writes a file whole, or not at all: beside it first, then in its place.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut young = path.as_os_str().to_owned();
    young.push(".new");
    let young = Path::new(&young);
    let written = File::create(young)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(young, path))
        // The name is on the disk when the directory is.
        .and_then(|()| match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
            _ => Ok(()),
        });
    written.inspect_err(|_| {
        // It may not be there at all; the first error is the one to tell.
        let _ = fs::remove_file(young);
    })
}
