//! The thread that writes the record.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;

use borsh::BorshSerialize;
use zstd::stream::write::Encoder;

use super::{Counts, INCIDENTS, MAGIC, Piece, SEGMENT};
use crate::clock::Now;
use crate::disk::spare;

/// How hard it is packed: states and inputs shrink to a fifth by the fastest way, and little more by slower ones.
const PACKING: i32 = 1;

/// Starts the thread; when it is over `done` is closed.
pub fn start(
    dir: &Path,
    max_bytes: u64,
    counts: Arc<Counts>,
    pieces: Receiver<Piece>,
    done: SyncSender<()>,
) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    let mut writer = Writer { dir: dir.to_owned(), max_bytes, segment: None };
    thread::Builder::new().name("record".to_owned()).spawn(move || {
        let _done = done;
        for piece in pieces {
            let bytes = if let Piece::Inputs(inputs) = &piece { inputs.len() } else { 0 };
            if let Err(error) = writer.write(&piece) {
                log::error!("cannot write the record in {}: {error}", writer.dir.display());
                // What is there of it is of use up to where it ends.
                counts.failed.fetch_add(1, Ordering::Relaxed);
                writer.segment = None;
            }
            counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        if let Err(error) = writer.end() {
            log::error!("cannot end the record in {}: {error}", writer.dir.display());
        }
    })?;
    Ok(())
}

struct Writer {
    dir: PathBuf,
    max_bytes: u64,
    segment: Option<Segment>,
}

/// The segment that is written.
struct Segment {
    path: PathBuf,
    file: Encoder<'static, BufWriter<File>>,
    incidents: BTreeSet<u64>,
}

impl Writer {
    fn write(&mut self, piece: &Piece) -> io::Result<()> {
        if let Piece::Begin(_) = piece {
            self.end()?;
            prune(&self.dir, self.max_bytes)?;
            let mut segment = Segment::create(&self.dir)?;
            // One that has not even begun is of no use, and there may be many: a full disk is tried each minute.
            segment.write(piece).inspect_err(|_| drop(fs::remove_file(&segment.path)))?;
            self.segment = Some(segment);
            return Ok(());
        }
        // After a failure nothing is written until the next one begins.
        let Some(segment) = &mut self.segment else { return Ok(()) };
        segment.write(piece)
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(segment) = self.segment.take() else { return Ok(()) };
        segment.file.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

impl Segment {
    fn create(dir: &Path) -> io::Result<Self> {
        let mut number = u64::try_from(Now::read().unix_ns).unwrap_or(0) / 1_000_000;
        // Never over one that is there, also if the clock was set back.
        let newest = segments(dir)?.last().map_or(0, |newest| newest.number);
        number = number.max(newest + 1);
        let path = dir.join(format!("{number:015}.{SEGMENT}"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&path)?;
        file.write_all(MAGIC)?;
        let file = Encoder::new(BufWriter::new(file), PACKING)?;
        Ok(Self { path, file, incidents: BTreeSet::new() })
    }

    fn write(&mut self, piece: &Piece) -> io::Result<()> {
        let mut bytes = Vec::new();
        piece.serialize(&mut bytes)?;
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        spare(&self.path, u64::from(length))?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(&bytes)?;
        // Up to here it can be read, also if this is the last that is written.
        self.file.flush()?;
        if let Piece::Told(told) = piece
            && self.incidents.insert(told.incident)
        {
            let path = self.path.with_extension(INCIDENTS);
            let mut list = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
            list.write_all(format!("{}\n", told.incident).as_bytes())?;
        }
        Ok(())
    }
}

/// A segment on the disk.
pub(super) struct Kept {
    pub path: PathBuf,
    /// When it began, ms since 1970.
    pub number: u64,
    pub bytes: u64,
    /// Whether something was told of an incident.
    pub has_incidents: bool,
}

/// The segments there are, the oldest first.
pub(super) fn segments(dir: &Path) -> io::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let (Some(number), true) = (number, path.extension().is_some_and(|end| end == SEGMENT)) else {
            continue;
        };
        let bytes = fs::metadata(&path).map_or(0, |file| file.len());
        let has_incidents = path.with_extension(INCIDENTS).exists();
        kept.push(Kept { path, number, bytes, has_incidents });
    }
    kept.sort_by_key(|kept| kept.number);
    Ok(kept)
}

/// Deletes segments until there is room for another: those without an incident first, of these the oldest.
fn prune(dir: &Path, max_bytes: u64) -> io::Result<()> {
    let mut kept = segments(dir)?;
    kept.sort_by_key(|kept| (kept.has_incidents, kept.number));
    let largest = kept.iter().map(|kept| kept.bytes).max().unwrap_or(0);
    let mut bytes: u64 = kept.iter().map(|kept| kept.bytes).sum();
    for old in kept {
        if bytes + largest <= max_bytes {
            break;
        }
        fs::remove_file(&old.path)?;
        if old.has_incidents {
            fs::remove_file(old.path.with_extension(INCIDENTS))?;
        }
        bytes -= old.bytes;
    }
    Ok(())
}
