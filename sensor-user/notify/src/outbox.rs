//! What waits, on the disk: one file a notice, so that a restart, a crash or a power cut loses nothing that was taken in.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::notice::Notice;
use crate::queue::MAX_WAITING;

/// Ending of a notice's file.
const ENDING: &str = "json";
/// Ending of a file that is being written.
const YOUNG: &str = "new";
/// Ending of a file that cannot be read: it is set aside.
const BROKEN: &str = "broken";
/// Bytes of a file, at most.
const MAX_BYTES: u64 = 64 << 10;

/// Notices say who is held and why: they are for the daemon alone, whatever its mask is.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The directory of one channel.
pub struct Outbox {
    dir: PathBuf,
}

impl Outbox {
    /// Takes it up, and makes the directory if it is not there.
    ///
    /// # Errors
    ///
    /// If there can be no such directory.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(&dir)?;
        Ok(Self { dir })
    }

    /// What waits since before, the oldest first. What cannot be read is set aside, and counted.
    pub fn load(&self) -> (Vec<Notice>, u64) {
        let mut broken = 0;
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some(ENDING) => files.push(path),
                // The power was cut while it was written; whoever gave it was not told that it is kept.
                Some(YOUNG) => drop(fs::remove_file(path)),
                _ => {}
            }
        }
        // Names are numbers of one length.
        files.sort();
        let over = files.len().saturating_sub(MAX_WAITING);
        for path in files.drain(..over) {
            broken += 1;
            drop(fs::remove_file(path));
        }
        let mut notices = Vec::new();
        for path in files {
            match read(&path) {
                Ok(notice) => notices.push(notice),
                Err(error) => {
                    broken += 1;
                    log::warn!("{} is set aside: {error}", path.display());
                    // Others of the kind would fill the disk: there is one at most.
                    drop(fs::rename(&path, self.dir.join("notice").with_extension(BROKEN)));
                }
            }
        }
        (notices, broken)
    }

    /// Keeps a notice; [`Outbox::settle`] then sees to its name.
    ///
    /// # Errors
    ///
    /// If the disk does not take it.
    pub fn put(&self, notice: &Notice) -> io::Result<()> {
        put(&self.file(notice.id), &serde_json::to_vec(notice)?)
    }

    /// Waits until the names of what was put are on the disk: once for many.
    ///
    /// # Errors
    ///
    /// If the disk does not take them.
    pub fn settle(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Forgets a notice.
    pub fn remove(&self, id: u64) {
        if let Err(error) = fs::remove_file(self.file(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!(
                "cannot remove {}: {error}; what is in it will be told again",
                self.file(id).display()
            );
        }
    }

    fn file(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{id:020}.{ENDING}"))
    }
}

fn read(path: &Path) -> io::Result<Notice> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large to be a notice"));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Writes a file whole, or not at all.
///
/// # Errors
///
/// If the disk does not take it.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// The same, but for the name, which is on the disk a little later.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let young = path.with_extension(YOUNG);
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&young)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
        .and_then(|()| fs::rename(&young, path));
    if written.is_err() {
        // It is of no use, and takes room.
        drop(fs::remove_file(&young));
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::notice::What;

    fn notice(id: u64) -> Notice {
        let what = What::Alert {
            detector: "scan".to_owned(),
            signature: "ARP scan".to_owned(),
            evidence: vec![("failed_first_contacts".to_owned(), "20".to_owned())],
            impact: None,
            nats: 27.73,
            action: "isolated".to_owned(),
        };
        Notice { id, unix_ns: 5, severity: 1, device: None, place: None, incident: Some(3), what }
    }

    #[test]
    fn what_was_put_is_there_again_in_order_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path().join("mail")).unwrap();
        for id in [10, 9, 200] {
            outbox.put(&notice(id)).unwrap();
        }
        outbox.remove(9);
        outbox.remove(12_345);
        let outbox = Outbox::open(dir.path().join("mail")).unwrap();
        assert_eq!(outbox.load(), (vec![notice(10), notice(200)], 0));
    }

    #[test]
    fn notices_are_for_the_daemon_alone() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path().join("notices/mail")).unwrap();
        outbox.put(&notice(1)).unwrap();
        for path in ["notices", "notices/mail", "notices/mail/00000000000000000001.json"] {
            let mode = fs::metadata(dir.path().join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{path}: {mode:o}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_set_aside_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path().to_owned()).unwrap();
        outbox.put(&notice(1)).unwrap();
        fs::write(dir.path().join("00000000000000000002.json"), b"{\"id\": 2,").unwrap();
        fs::write(dir.path().join("00000000000000000003.json"), vec![b' '; MAX_BYTES as usize + 1]).unwrap();
        fs::write(dir.path().join("00000000000000000004.new"), b"{").unwrap();
        assert_eq!(outbox.load(), (vec![notice(1)], 2));
        assert_eq!(outbox.load(), (vec![notice(1)], 0), "once");
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn of_too_many_the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path().to_owned()).unwrap();
        for id in 0..MAX_WAITING as u64 + 3 {
            let bytes = serde_json::to_vec(&notice(id)).unwrap();
            fs::write(dir.path().join(format!("{id:020}.json")), bytes).unwrap();
        }
        let (notices, lost) = outbox.load();
        assert_eq!((notices.len(), notices[0].id, lost), (MAX_WAITING, 3, 3));
    }
}
