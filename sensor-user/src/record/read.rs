//! Reading a record that may end anywhere, or be none.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use borsh::BorshDeserialize;
use zstd::stream::read::Decoder;

use super::writer::segments;
use super::{INCIDENTS, MAGIC, Piece};

/// Bytes of a piece, at most: the state of very many devices has some 200 MB.
const MAX_PIECE: u32 = 1 << 30;

/// Why a decision cannot be made anew from the record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error(
        "cannot read the record {path}: {source}; {}", unreadable_hint(.source)
    )]
    Unreadable {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The incident is not in it.
    #[error(
        "the record in {dir} has no incident {incident}: it is older than what is kept there (see record.max_mib), or \
         nothing was recorded then"
    )]
    NoIncident {
        /// Where.
        dir: PathBuf,
        /// Which.
        incident: u64,
    },
    /// It is no segment.
    #[error("{path} is no segment of a record, or is damaged: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It was made by another program.
    #[error(
        "{path} was recorded by another build of Sekisho (release {release}), which thinks in another way; make the \
         decision anew with that one"
    )]
    Other {
        /// Which file.
        path: PathBuf,
        /// Its release.
        release: String,
    },
    /// Its configuration is not understood.
    #[error("the configuration in {path} is wrong: {what}")]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

fn unreadable_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "no daemon kept one there (see record.minutes); name the state directory of yours with --state-dir"
        }
        _ => "run as root",
    }
}

/// The segments in which something was told of an incident, the oldest first.
pub(super) fn of_incident(dir: &Path, incident: u64) -> Result<Vec<PathBuf>, RecordError> {
    let all = segments(dir).map_err(|source| RecordError::Unreadable { path: dir.to_owned(), source })?;
    let number = incident.to_string();
    let told = |path: &PathBuf| {
        let list = fs::read_to_string(path.with_extension(INCIDENTS)).unwrap_or_default();
        list.lines().any(|line| line == number)
    };
    let found: Vec<_> = all.into_iter().map(|kept| kept.path).filter(told).collect();
    if found.is_empty() { Err(RecordError::NoIncident { dir: dir.to_owned(), incident }) } else { Ok(found) }
}

/// All segments, the newest first; none if there is no record.
pub(super) fn newest_first(dir: &Path) -> Vec<PathBuf> {
    segments(dir).unwrap_or_default().into_iter().rev().map(|kept| kept.path).collect()
}

/// The pieces of a segment.
pub(super) struct Pieces {
    path: PathBuf,
    /// Bytes of the file.
    bytes: u64,
    file: Decoder<'static, BufReader<File>>,
}

impl Pieces {
    /// Opens a segment.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let unreadable = |source| RecordError::Unreadable { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let mut magic = [0; MAGIC.len()];
        let whole = file.read_exact(&mut magic).is_ok();
        if !whole || &magic != MAGIC {
            let (form, _) = MAGIC.split_at(MAGIC.len() - 1);
            let what = if whole && magic.starts_with(form) {
                "another release wrote it, in a form that this one does not read"
            } else {
                "it does not begin as one"
            };
            return Err(RecordError::Damaged { path: path.to_owned(), what: what.to_owned() });
        }
        let bytes = file.metadata().map_err(unreadable)?.len();
        let file = Decoder::new(file).map_err(unreadable)?;
        Ok(Self { path: path.to_owned(), bytes, file })
    }

    /// The part that is read, 0 to 1.
    pub fn done(&self) -> f64 {
        let at = self.file.get_ref().get_ref().stream_position().unwrap_or(0);
        at as f64 / self.bytes.max(1) as f64
    }

    /// The next piece; none where it ends, also within a piece: the daemon may be writing it, or have died.
    pub fn next(&mut self) -> Result<Option<Piece>, RecordError> {
        let damaged = |what: String| RecordError::Damaged { path: self.path.clone(), what };
        let mut length = [0; 4];
        match self.file.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(|error| damaged(error.to_string()))?,
        }
        let length = u32::from_le_bytes(length);
        if length > MAX_PIECE {
            return Err(damaged(format!("a piece of {length} bytes")));
        }
        let mut bytes = Vec::new();
        match (&mut self.file).take(u64::from(length)).read_to_end(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(|error| damaged(error.to_string()))?,
        };
        if bytes.len() < length as usize {
            return Ok(None);
        }
        Piece::try_from_slice(&bytes).map(Some).map_err(|error| damaged(error.to_string()))
    }
}
