//! Why the journal cannot be kept or read, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the journal cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file cannot be used.
    #[error("cannot {what} {path}: {source}; check its owner, and that the disk is writable")]
    File {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is none.
    #[error(
        "there is no journal at {0}: no daemon has run with this state directory; name it with --state-dir"
    )]
    Nothing(PathBuf),
    /// There was one.
    #[error(
        "the journal {path} is gone: {head} beside it says that it had {records} records (chain {chain}); put it back from a backup, or start the daemon, which begins another"
    )]
    Gone {
        /// The database.
        path: PathBuf,
        /// What knows of it.
        head: &'static str,
        /// Records it had.
        records: u64,
        /// Its chain.
        chain: String,
    },
    /// Not allowed to read.
    #[error("may not read the journal {0}: run as root, or as a member of the group sekisho")]
    Denied(PathBuf),
    /// No space left.
    #[error(
        "cannot write the journal {0}: the disk is full but for what is left to the block list; free some space. What could not be written is tried again"
    )]
    Full(PathBuf),
    /// Not allowed to write.
    #[error("cannot write the journal {path}: {what}; check the owner of the file and its directory")]
    NotWritable {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        what: String,
    },
    /// The file is damaged, or something else.
    #[error("the journal {path} is damaged ({what})")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        what: String,
    },
    /// Written by a later release.
    #[error(
        "the journal {path} has layout {found}, and this release knows up to {known}: use the newer sekisho that wrote it"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// The key is none.
    #[error(
        "{0} is not a signing key; move it away to have another one made. What the old one signed is verified with its public key"
    )]
    Key(PathBuf),
    /// No key can be made.
    #[error("the system gives no random numbers to make a signing key from")]
    Random,
    /// Anything else.
    #[error("the journal {path} cannot be used: {source}")]
    Other {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl JournalError {
    /// Tells what SQLite says in terms of what to do.
    pub(crate) fn of(path: &Path, error: rusqlite::Error) -> Self {
        let (what, path) = (error.to_string(), path.to_owned());
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::NotWritable { path, what }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path, what },
            _ => Self::Other { path, source: error },
        }
    }

    /// The same, for something to be done to a file.
    pub(crate) fn file<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + 'a {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => Self::Full(path.to_owned()),
            _ => Self::File { what, path: path.to_owned(), source },
        }
    }
}
