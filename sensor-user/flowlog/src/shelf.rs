//! Where files lie: what is there, how a file that is whole gets its place, and how much room there is.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::FlowLogError;
use crate::hour::Hour;

/// Ending of the files.
const PARQUET: &str = "parquet";
/// How the name of the one file of an hour begins.
const JOINED: &str = "hour-";
/// Files that are being written, out of the way of whoever reads all that is there.
const TEMPORARY: &str = "_tmp";
/// Files that could not be read.
const DAMAGED: &str = "_damaged";
/// So many of these are kept.
const MAX_DAMAGED: usize = 16;
/// Ending of a file that is not whole.
const UNFINISHED: &str = "unfinished";
/// There as long as somebody writes; if it is there at a start, the last writer did not end by itself.
const RUNNING: &str = "running";
/// The group may read, whatever the process's umask: its members read the log without being root.
const FILE_MODE: u32 = 0o640;
const DIR_MODE: u32 = 0o750;

/// A file that has its place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kept {
    /// The time of its first row, from its name.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

impl Kept {
    /// Whether it is the one file of an hour that is over.
    pub fn is_joined(&self) -> bool {
        self.path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(JOINED))
    }
}

/// The directory of the log. One process writes to it.
pub struct Shelf {
    root: PathBuf,
    /// Files come to their places, and directories are exchanged, one after the other.
    places: Mutex<()>,
    /// Held as long as somebody writes.
    _lock: File,
}

/// Makes a directory and those above it, if they are not there.
fn make(dir: &Path) -> Result<(), FlowLogError> {
    if dir.is_dir() {
        return Ok(());
    }
    dir.parent().map_or(Ok(()), make)?;
    let made = fs::create_dir(dir).and_then(|()| fs::set_permissions(dir, Permissions::from_mode(DIR_MODE)));
    made.map_err(FlowLogError::disk("make the directory", dir))
}

/// Has the names in a directory written to the disk.
fn sync(dir: &Path) -> Result<(), FlowLogError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(FlowLogError::disk("write to the disk", dir))
}

impl Shelf {
    /// Takes over a directory, which is made if it is not there, and clears away what an earlier writer left unfinished.
    /// Also gives whether that one was cut short: whether it ended without [`Shelf::finished`].
    ///
    /// # Errors
    ///
    /// If it cannot be used, or another process writes to it.
    pub fn take(root: &Path) -> Result<(Self, bool), FlowLogError> {
        let temporary = root.join(TEMPORARY);
        make(&temporary)?;
        let path = temporary.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(FlowLogError::disk("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FlowLogError::InUse(root.to_owned())),
            Err(fs::TryLockError::Error(error)) => return Err(FlowLogError::disk("lock", &path)(error)),
        }
        let shelf = Self { root: root.to_owned(), places: Mutex::new(()), _lock: lock };
        shelf.clear(&temporary)?;
        let running = temporary.join(RUNNING);
        let cut_short = running.exists();
        File::create(&running).map_err(FlowLogError::disk("make", &running))?;
        sync(&temporary)?;
        Ok((shelf, cut_short))
    }

    /// Notes that all that was to be written has its place.
    pub fn finished(&self) {
        let temporary = self.root.join(TEMPORARY);
        // At worst the next start tells of a loss that was none.
        let _ = fs::remove_file(temporary.join(RUNNING)).map(|()| sync(&temporary));
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn clear(&self, temporary: &Path) -> Result<(), FlowLogError> {
        for path in names(temporary)? {
            let removed = if path.is_dir() {
                // The files of an hour that was being joined, or was joined: they have their places, or are in the joined one.
                fs::remove_dir_all(&path)
            } else if path.extension().is_some_and(|end| end == UNFINISHED) {
                fs::remove_file(&path)
            } else {
                Ok(())
            };
            removed.map_err(FlowLogError::disk("remove", &path))?;
        }
        Ok(())
    }

    fn places(&self) -> MutexGuard<'_, ()> {
        // It guards no data, so that nothing can be wrong with it.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a file that has no place yet.
    pub fn begin(&self, number: u64) -> Result<(PathBuf, File), FlowLogError> {
        create(&self.root.join(TEMPORARY), number)
    }

    /// Gives a file that is whole, and on the disk, its place in an hour.
    pub fn place(&self, unfinished: &Path, hour: Hour, number: u64) -> Result<PathBuf, FlowLogError> {
        let dir = hour.dir(&self.root);
        let _guard = self.places();
        let is_new = !dir.exists();
        make(&dir)?;
        // Never over one that is there, also if the clock was set back.
        let named = |number: u64| dir.join(format!("part-{number:016}.{PARQUET}"));
        let mut number = number;
        while named(number).exists() {
            number = number.wrapping_add(1);
        }
        let path = named(number);
        fs::rename(unfinished, &path).map_err(FlowLogError::disk("give its place to", &path))?;
        let mut changed = vec![dir.as_path()];
        if is_new {
            changed.extend([dir.parent().unwrap_or(&self.root), &self.root]);
        }
        for dir in changed {
            // It has its place: what is in doubt is only whether a power cut takes that back.
            if let Err(error) = sync(dir) {
                log::warn!("{error}; a power cut may lose {}", path.display());
            }
        }
        Ok(path)
    }

    /// A directory beside the hours, in which the files of one are joined.
    pub fn workshop(&self) -> Result<PathBuf, FlowLogError> {
        let dir = self.root.join(TEMPORARY).join("joining");
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(FlowLogError::disk("remove", &dir))?;
        }
        make(&dir)?;
        Ok(dir)
    }

    /// Begins the file in a workshop.
    pub fn begin_in(&self, workshop: &Path, number: u64) -> Result<(PathBuf, File), FlowLogError> {
        create(workshop, number)
    }

    /// Puts the one file of a workshop, which is whole and on the disk, in the place of the files of an hour: at once, so
    /// that who reads finds either those or this. False if there are others than `instead_of` by now.
    pub fn exchange(
        &self,
        (workshop, unfinished): (&Path, &Path),
        hour: Hour,
        instead_of: &[Kept],
    ) -> Result<bool, FlowLogError> {
        let number = instead_of.first().map_or(0, |first| first.number);
        let whole = workshop.join(format!("{JOINED}{number:016}.{PARQUET}"));
        let dir = hour.dir(&self.root);
        {
            let _guard = self.places();
            if files(&dir)? != instead_of {
                return Ok(false);
            }
            fs::rename(unfinished, &whole).map_err(FlowLogError::disk("rename", unfinished))?;
            sync(workshop)?;
            renameat_with(CWD, workshop, CWD, &dir, RenameFlags::EXCHANGE)
                .map_err(|error| FlowLogError::disk("exchange the files of", &dir)(error.into()))?;
        }
        sync(dir.parent().unwrap_or(&self.root))?;
        sync(&self.root.join(TEMPORARY))?;
        fs::remove_dir_all(workshop).map_err(FlowLogError::disk("remove", workshop))?;
        Ok(true)
    }

    /// Deletes an hour.
    pub fn delete(&self, hour: Hour) -> Result<(), FlowLogError> {
        let dir = hour.dir(&self.root);
        let _guard = self.places();
        fs::remove_dir_all(&dir).map_err(FlowLogError::disk("remove", &dir))?;
        // The day goes with its last hour.
        if let Some(day) = dir.parent() {
            let _ = fs::remove_dir(day);
        }
        Ok(())
    }

    /// Puts a file that cannot be read aside, so that it keeps nobody from reading the others. A few are kept, for whoever
    /// wants to know what happened.
    pub fn set_aside(&self, hour: Hour, path: &Path) -> Result<PathBuf, FlowLogError> {
        let dir = self.root.join(DAMAGED);
        make(&dir)?;
        let mut there: Vec<_> = names(&dir)?.into_iter().filter(|path| size(path).is_some()).collect();
        there.sort();
        for old in there.iter().take((there.len() + 1).saturating_sub(MAX_DAMAGED)) {
            fs::remove_file(old).map_err(FlowLogError::disk("remove", old))?;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = dir.join(format!("{},{name}", hour.to_string().replace('/', ",")));
        fs::rename(path, &aside).map_err(FlowLogError::disk("set aside", path))?;
        Ok(aside)
    }

    /// Deletes the files that were set aside of which `is_due`, given the time of their first row and the size of all.
    pub fn delete_damaged(&self, is_due: impl Fn(i64, u64) -> bool) -> Result<(), FlowLogError> {
        let there = files(&self.root.join(DAMAGED))?;
        let mut bytes: u64 = there.iter().map(|file| file.bytes).sum();
        for file in there {
            if is_due(i64::try_from(file.number).unwrap_or(i64::MAX), bytes) {
                fs::remove_file(&file.path).map_err(FlowLogError::disk("remove", &file.path))?;
                bytes -= file.bytes;
            }
        }
        Ok(())
    }

    /// Bytes of the disk that are free.
    pub fn free(&self) -> Result<u64, FlowLogError> {
        let disk = rustix::fs::statvfs(&self.root);
        let disk =
            disk.map_err(|error| FlowLogError::disk("measure the disk of", &self.root)(error.into()))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

fn create(dir: &Path, number: u64) -> Result<(PathBuf, File), FlowLogError> {
    let path = dir.join(format!("{number:016}.{UNFINISHED}"));
    let file = File::create(&path).and_then(|file| {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        Ok(file)
    });
    let file = file.map_err(FlowLogError::disk("begin", &path))?;
    Ok((path, file))
}

/// Reads the names of a directory that may be gone.
fn names(dir: &Path) -> Result<Vec<PathBuf>, FlowLogError> {
    let wrong = || FlowLogError::disk("read the directory", dir);
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(wrong())?.path())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(wrong()(error)),
    }
}

/// The hours there are in the log, with their directories. What is no such directory is left alone; a day that cannot be
/// read is told to `wrong`.
pub fn hours(
    root: &Path,
    wrong: &mut dyn FnMut(FlowLogError),
) -> Result<BTreeMap<Hour, PathBuf>, FlowLogError> {
    let mut hours = BTreeMap::new();
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    for day in names(root)? {
        let Some(day_name) = name(&day).filter(|name| name.starts_with("day=")) else { continue };
        if !is_dir(&day) {
            continue;
        }
        for dir in names(&day).unwrap_or_else(|error| {
            wrong(error);
            Vec::new()
        }) {
            let hour = name(&dir).and_then(|name| Hour::parse(&day_name, &name));
            if let Some(hour) = hour.filter(|_| is_dir(&dir)) {
                hours.insert(hour, dir);
            }
        }
    }
    Ok(hours)
}

/// The files of an hour, the oldest first. What is no file is left alone: a pipe would hold up whoever opens it.
pub fn files(dir: &Path) -> Result<Vec<Kept>, FlowLogError> {
    let mut kept = Vec::new();
    for path in names(dir)? {
        if path.extension().is_none_or(|end| end != PARQUET) {
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()?.rsplit('-').next()?.parse().ok());
        // One that cannot be looked at is gone, or of no use.
        if let Some(bytes) = size(&path) {
            kept.push(Kept { number: number.unwrap_or(0), path, bytes });
        }
    }
    kept.sort();
    Ok(kept)
}

fn is_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|there| there.is_dir())
}

/// The size of a file; none if it is something else.
fn size(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().filter(|there| there.is_file()).map(|file| file.len())
}
