//! A file of lines that is begun anew when it is too long, or by order: what `[eve]` of the configuration names.
//!
//! It is written by a [`Printer`](crate::pipeline::Printer), which waits and tries again where this fails. Another file is begun
//! between two lines only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who may read it: the daemon's group too.
const MODE: u32 = 0o640;
/// Bytes of the end of a file in which a line must have ended, or it is none of ours.
const TAIL: u64 = 1 << 20;

/// The file.
#[derive(Debug)]
pub struct EveFile {
    path: PathBuf,
    /// Bytes after which another one is begun; 0: never.
    max_bytes: u64,
    keep: u64,
    reopen: Arc<AtomicBool>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    /// The last line is whole.
    between: bool,
}

impl EveFile {
    /// A file that is opened, and made if need be, with the first line. When `reopen` is set, it is opened anew.
    pub fn new(path: &Path, max_bytes: u64, keep: u64, reopen: Arc<AtomicBool>) -> Self {
        Self { path: path.to_owned(), max_bytes, keep, reopen, open: None }
    }

    /// The file as the next bytes find it.
    fn ready(&mut self, bytes: u64) -> io::Result<&mut Open> {
        let between = self.open.as_ref().is_none_or(|open| open.between);
        if between && self.reopen.swap(false, Ordering::Relaxed) {
            self.open = None;
        }
        let long =
            |open: &Open| open.between && open.bytes > 0 && open.bytes.saturating_add(bytes) > self.max_bytes;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        if self.max_bytes > 0 && long(&open) {
            self.rotate()?;
            open = self.begin()?;
        }
        Ok(self.open.insert(open))
    }

    fn begin(&self) -> io::Result<Open> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(MODE).open(&self.path)?;
        let bytes = whole(&mut file)?;
        Ok(Open { file, bytes, between: true })
    }

    /// Renames the file, and those before it.
    fn rotate(&self) -> io::Result<()> {
        let numbered = |number: u64| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.keep).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(1))
    }
}

/// Takes away a line that a daemon that was killed left without its end. Gives the length.
fn whole(file: &mut File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let from = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    Read::by_ref(file).take(TAIL).read_to_end(&mut tail)?;
    let end = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => from + last as u64 + 1,
        None if from == 0 => 0,
        // Not ours to cut.
        None => return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file of lines")),
    };
    if end < length {
        log::warn!(
            "the last line of the file of events was torn: {} bytes of it are taken away",
            length - end
        );
        file.set_len(end)?;
    }
    Ok(end)
}

impl Write for EveFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let open = self.ready(bytes.len() as u64)?;
        let count = open.file.write(bytes)?;
        open.bytes += count as u64;
        if let Some(last) = count.checked_sub(1).and_then(|last| bytes.get(last)) {
            open.between = *last == b'\n';
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(file: &mut EveFile, lines: &[&str]) {
        for line in lines {
            file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|_| "none".to_owned())
    }

    #[test]
    fn long_files_are_numbered_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/eve.json");
        let mut file = EveFile::new(&path, 10, 2, Arc::default());
        written(&mut file, &["line 1", "line 2", "a line longer than a file may be", "line 4", "5", "6"]);
        let all = ["", ".1", ".2", ".3"].map(|end| read(&dir.path().join(format!("log/eve.json{end}"))));
        assert_eq!(all, ["6\n", "line 4\n5\n", "a line longer than a file may be\n", "none"]);
    }

    #[test]
    fn by_order_it_is_opened_anew_between_two_lines() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("eve.json"), dir.path().join("eve.json-20260101"));
        let reopen = Arc::new(AtomicBool::new(false));
        let mut file = EveFile::new(&path, 0, 1, Arc::clone(&reopen));
        written(&mut file, &["line 1"]);
        // As logrotate does.
        fs::rename(&path, &old).unwrap();
        file.write_all(b"li").unwrap();
        reopen.store(true, Ordering::Relaxed);
        written(&mut file, &["ne 2", "line 3"]);
        assert_eq!((read(&old), read(&path)), ("line 1\nline 2\n".to_owned(), "line 3\n".to_owned()));
    }

    #[test]
    fn a_torn_line_is_taken_away_and_all_before_it_stays() {
        for (before, want) in
            [("a\nb", "a\nnext\n"), ("torn", "next\n"), ("", "next\n"), ("a\n", "a\nnext\n")]
        {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("eve.json");
            fs::write(&path, before).unwrap();
            written(&mut EveFile::new(&path, 0, 1, Arc::default()), &["next"]);
            assert_eq!(read(&path), want, "{before:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        let image = vec![0; TAIL as usize + 5];
        fs::write(&path, &image).unwrap();
        assert!(EveFile::new(&path, 0, 1, Arc::default()).write_all(b"next\n").is_err());
        assert_eq!(fs::read(&path).unwrap(), image, "somebody else's file is left alone");
    }

    #[test]
    fn where_it_cannot_be_written_it_can_be_later() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("log");
        fs::write(&place, "a file").unwrap();
        let path = place.join("eve.json");
        let mut file = EveFile::new(&path, 0, 1, Arc::default());
        assert!(file.write_all(b"line\n").is_err());
        fs::remove_file(&place).unwrap();
        written(&mut file, &["line"]);
        assert_eq!(read(&path), "line\n");
    }
}
