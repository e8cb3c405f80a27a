//! Why the log cannot be kept or read.

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

/// What went wrong with the log of conversations.
#[derive(Debug, thiserror::Error)]
pub enum FlowLogError {
    /// The disk.
    #[error("cannot {what} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is none of the log, or damaged.
    #[error(
        "cannot read {}: {source}; it is damaged, or was not written by Sekisho: move it elsewhere", path.display()
    )]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ParquetError,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ParquetError,
    },
    /// Somebody else writes there.
    #[error("another daemon writes to {}; give each its own state directory", .0.display())]
    InUse(PathBuf),
    /// Nothing was ever logged there.
    #[error("there is no log of conversations in {}; name the daemon's state directory with --state-dir", .0.display())]
    NoLog(PathBuf),
    /// The result cannot be told.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// Columns that do not fit together.
    #[error("rows cannot be put together: {0}")]
    Columns(#[from] ArrowError),
    /// The other place for finished hours cannot be used.
    #[error("cannot use {url} for finished hours: {what}")]
    Lake {
        /// Where.
        url: String,
        /// Why not.
        what: String,
    },
}

impl FlowLogError {
    pub(crate) fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Disk { what, path, source }
    }

    /// What a reader of a file says: that the disk does not give what is in it says nothing of the file.
    pub(crate) fn unreadable(path: &Path) -> impl Fn(ParquetError) -> Self + use<> {
        let path = path.to_owned();
        move |error| match io_error(error) {
            Ok(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
                Self::Disk { what: "read", path: path.clone(), source }
            }
            Ok(source) => Self::Unreadable { path: path.clone(), source: source.into() },
            Err(source) => Self::Unreadable { path: path.clone(), source },
        }
    }

    /// Reads a file with `read`. The library that does so refuses most of what is damaged, and panics at some of it, which
    /// must end neither a thread nor the program.
    pub(crate) fn guard<T>(path: &Path, read: impl FnOnce() -> Result<T, Self>) -> Result<T, Self> {
        panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
            Err(Self::unreadable(path)(ParquetError::General("its metadata makes no sense".to_owned())))
        })
    }

    pub(crate) fn unwritable(path: &Path) -> impl Fn(ParquetError) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Unwritable { path: path.clone(), source }
    }
}

/// What the system said, if that is what it is about.
pub(crate) fn io_error(error: ParquetError) -> Result<io::Error, ParquetError> {
    match error {
        ParquetError::External(error) => {
            error.downcast::<io::Error>().map(|error| *error).map_err(ParquetError::External)
        }
        error => Err(error),
    }
}

/// Files that could not be read, though others were.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unread {
    /// How many.
    pub count: usize,
    /// What was wrong with the first few.
    pub first: Vec<String>,
}

impl Unread {
    /// Of so many it is kept what was wrong.
    const KEPT: usize = 8;

    pub(crate) fn note(&mut self, error: &FlowLogError) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(error.to_string());
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.count += other.count;
        let room = Self::KEPT.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.count == 1 { "part" } else { "parts" };
        write!(f, "{} {files} of the log could not be read: {}", self.count, self.first.join("; "))?;
        if self.count > self.first.len() {
            write!(f, "; and {} more", self.count - self.first.len())?;
        }
        Ok(())
    }
}
