//! Why the store cannot be used, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state directory cannot be created or written to.
    #[error("cannot use the state directory {dir}: {source}; run as root, or give another with --state-dir")]
    Dir {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("another daemon uses the state directory {dir}; stop it, or give each its own with --state-dir")]
    InUse {
        /// Which.
        dir: PathBuf,
    },
    /// No space left.
    #[error(
        "cannot write {path}: the disk is full; free some space. Isolations in force hold, but a restart forgets what \
         could not be written"
    )]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// Not allowed to write.
    #[error(
        "cannot write {path}: {what}; check the owner of the file and its directory, and that the disk is writable"
    )]
    NotWritable {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        what: String,
    },
    /// The file is damaged, or something else.
    #[error(
        "the database {path} is damaged ({what}); move it away (mv {path} {path}.damaged) to start with an empty block \
         list, then enter again what people had entered"
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        what: String,
    },
    /// A device cannot be understood.
    #[error(
        "{row} in the database {path} cannot be understood ({what}); it is left as it is, and not taken up. A device that \
         is heard is entered anew"
    )]
    Device {
        /// The database.
        path: PathBuf,
        /// What it is about.
        row: String,
        /// What is wrong with it.
        what: String,
    },
    /// One entry cannot be understood.
    #[error(
        "entry {id} in the database {path} cannot be understood ({what}); it is not in force and was set aside. See it \
         with: sqlite3 {path} 'SELECT * FROM aside', and enter it again with `sekisho block add`"
    )]
    Row {
        /// The database.
        path: PathBuf,
        /// The entry.
        id: u32,
        /// What is wrong.
        what: String,
    },
    /// Something else that was remembered cannot be understood.
    #[error(
        "what the database {path} remembers of {kind} {key} cannot be understood ({what}); it is as if it had never been, and \
         was set aside. See it with: sqlite3 {path} \"SELECT * FROM memory WHERE kind = 'aside'\""
    )]
    Memory {
        /// The database.
        path: PathBuf,
        /// Its kind.
        kind: String,
        /// Its name.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// Written by a later release.
    #[error(
        "the database {path} has layout {found}, and this release knows up to {known}; it was written by a newer \
         sekisho: use that one, or move the file away to start with an empty block list"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// Anything else.
    #[error("the database {path} cannot be used: {source}")]
    Other {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Tells what SQLite says in terms of what to do.
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let what = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full { path },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                StoreError::NotWritable { path, what }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged { path, what },
            // SQLite tells this where the index of its write-ahead log (32 kB) finds no room.
            Some(ErrorCode::SystemIoFailure) if room(&path).is_some_and(|bytes| bytes < ROOM) => {
                StoreError::Full { path }
            }
            _ => StoreError::Other { path, source: error },
        }
    }
}

/// A disk with less room than this is full, in bytes.
const ROOM: u64 = 65_536;

/// How much room the disk has that the file is on, in bytes.
fn room(path: &Path) -> Option<u64> {
    let disk = nix::sys::statvfs::statvfs(path.parent()?).ok()?;
    Some(disk.blocks_available().saturating_mul(disk.fragment_size()))
}
