//! One daemon a bridge.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process;

use thiserror::Error;

use crate::patience;

/// Where the lock of a bridge lies: the same for all daemons of the machine, whatever else they are given.
pub const LOCK_DIR: &str = "/run/sekisho";

/// Why the lock was not had.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another daemon watches this bridge.
    #[error(
        "another Sekisho (pid {pid}) is already watching {bridge}: stop it first, or talk to it with `sekisho status`"
    )]
    Taken {
        /// The bridge's name.
        bridge: String,
        /// The other's process id, "unknown" if it did not get to write it.
        pid: String,
    },
    /// Another process has the ports of our own.
    #[error("a drill or an upgrade is under way (pid {pid}): wait until it is over")]
    StageTaken {
        /// The other's process id, "unknown" if it did not get to write it.
        pid: String,
    },
    /// The lock file could not be made or locked.
    #[error("the lock file {path} could not be used: {source}")]
    File {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Held by a daemon as long as it lives; the kernel lets go of it however the daemon ends.
///
/// The lock is of this network namespace and this bridge: bridges of the same name in two namespaces, or one that was
/// made anew, do not get into each other's way.
#[derive(Debug)]
pub struct SensorLock {
    _file: File,
}

impl SensorLock {
    /// Locks the bridge of interface index `ifindex` in the network namespace of this thread, by a file in `run_dir`,
    /// which is made if need be.
    ///
    /// # Errors
    ///
    /// [`LockError::Taken`] if another process has it, else [`LockError::File`].
    pub fn acquire(run_dir: &Path, bridge: &str, ifindex: u32) -> Result<Self, LockError> {
        let taken = |pid| LockError::Taken { bridge: bridge.to_owned(), pid };
        Self::take(run_dir, "bridge", ifindex, taken)
    }

    /// Locks the ports of our own (see [`crate::stage`]) in the network namespace of this thread, likewise.
    ///
    /// # Errors
    ///
    /// [`LockError::StageTaken`] if another process has them, else [`LockError::File`].
    pub fn acquire_stage(run_dir: &Path) -> Result<Self, LockError> {
        Self::take(run_dir, "stage", 0, |pid| LockError::StageTaken { pid })
    }

    fn take(
        run_dir: &Path,
        what: &str,
        number: u32,
        taken: impl FnOnce(String) -> LockError,
    ) -> Result<Self, LockError> {
        let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |file| file.ino());
        let path = run_dir.join(format!("{what}-{namespace}-{number}.lock"));
        let fault = |source| LockError::File { path: path.clone(), source };
        fs::create_dir_all(run_dir).map_err(fault)?;
        // Not truncated: until it is locked it may be somebody else's.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fault)?;
        match patience::lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(pid_in(&mut file))),
            Err(TryLockError::Error(error)) => return Err(fault(error)),
        }
        share(run_dir, &path, &file);
        file.set_len(0).map_err(fault)?;
        file.rewind().map_err(fault)?;
        writeln!(file, "{}", process::id()).map_err(fault)?;
        Ok(Self { _file: file })
    }
}

/// Gives a lock file to whom the directory belongs: what root does there is not to keep a daemon without privileges from
/// its own lock.
fn share(run_dir: &Path, path: &Path, file: &File) {
    let (Ok(dir), Ok(own)) = (fs::metadata(run_dir), file.metadata()) else { return };
    if dir.uid() != own.uid() {
        // One without privileges cannot, and need not.
        let _ = chown(path, Some(dir.uid()), Some(dir.gid()));
    }
}

/// The process id in a lock file.
fn pid_in(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match text.trim() {
        pid if read.is_ok() && pid.parse::<u32>().is_ok() => pid.to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_of_the_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let run_dir = dir.path().join("run");
        let first = SensorLock::acquire(&run_dir, "br0", 7).expect("free");
        let other = SensorLock::acquire(&run_dir, "br1", 8).expect("another bridge is another lock");
        let error = SensorLock::acquire(&run_dir, "br0", 7).expect_err("taken");
        assert!(error.to_string().contains(&format!("pid {}", process::id())), "{error}");
        let stage = SensorLock::acquire_stage(&run_dir).expect("free");
        let error = SensorLock::acquire_stage(&run_dir).expect_err("taken");
        assert!(error.to_string().starts_with("a drill or an upgrade is under way (pid "), "{error}");
        drop((first, other, stage));
        SensorLock::acquire(&run_dir, "br0", 7).expect("free again");
    }
}
