//! Room on the disk: what is only useful leaves the last of it to what is needed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::Builder;

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

/// Writes a file whole, or not at all: beside it first, then in its place. Its owner alone may read it. What is there and is no
/// file, as a device or a pipe, is written to as it is.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        let what = format!("there is no directory {}", dir.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    let mut young = Builder::new().prefix(".").suffix(".new").tempfile_in(dir)?;
    young.write_all(bytes)?;
    young.as_file().sync_all()?;
    young.persist(path)?;
    // The name is on the disk when the directory is.
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_what_is_no_file_stays_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("report.html"), dir.path().join("other"));
        // What lies beside it is nobody's business.
        fs::write(&other, "precious").unwrap();
        symlink(&other, dir.path().join("report.html.new")).unwrap();
        for text in ["one", "two"] {
            write(&file, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        write(Path::new("/dev/null"), b"nothing").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(write(dir.path(), b"a directory").is_err());
        let error = write(&dir.path().join("none/report.html"), b"nowhere").unwrap_err().to_string();
        assert!(error.starts_with("there is no directory ") && error.ends_with("/none"), "{error}");
    }
}
