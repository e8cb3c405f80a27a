//! The rows to learn from, over a restart: one file for each subject, written now and then and at the end.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use sensor_core::detect::unusual::MAX_ROWS;
use sensor_core::engine::Engine;
use sensor_core::model::features::Subject;
use sensor_core::model::reservoir_file;
use sensor_core::time::{HOUR, Time};

use super::SUBJECTS;
use super::shelf::{CLASS, read_at_most, write};

/// Each file is written anew after this time. The files are written in turns, so that only one is copied at a time.
const EVERY: u64 = HOUR;

fn path(dir: &Path, subject: Subject) -> PathBuf {
    dir.join(format!("{CLASS}-{}.rows", subject.name()))
}

/// Takes up the rows that were kept. If there is something wrong with them, that is told, and the learning begins anew.
pub fn restore(dir: &Path, subject: Subject, engine: &mut Engine) {
    let path = path(dir, subject);
    let bytes = match read_at_most(&path, reservoir_file::MAX_BYTES + 1) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            log::error!("cannot read {}: {error}; learning begins anew", path.display());
            return;
        }
    };
    let Some(reservoir) = engine.reservoir_mut(subject) else { return };
    match reservoir_file::read(&bytes, subject, MAX_ROWS, subject as u64 + 3) {
        Ok(kept) => {
            log::info!("{} rows of a {} to learn from were kept", kept.rows().len(), subject.name());
            *reservoir = kept;
        }
        Err(error) => log::error!(
            "what was kept to learn from in {} cannot be used: {error}; learning begins anew, and the file is \
             overwritten",
            path.display()
        ),
    }
}

/// Writes the rows.
#[derive(Default)]
pub struct Saver {
    /// When the next file is written, and whose.
    next: Option<(Time, usize)>,
    going: Option<JoinHandle<()>>,
}

impl Saver {
    /// Writes a file if it is time, on a thread of its own.
    pub fn step(&mut self, dir: &Path, now: Time, engine: &Engine) {
        let pause = EVERY / SUBJECTS.len() as u64;
        let (at, which) = *self.next.get_or_insert((now.plus(pause), 0));
        if now < at || self.going.as_ref().is_some_and(|going| !going.is_finished()) {
            return;
        }
        self.next = Some((now.plus(pause), (which + 1) % SUBJECTS.len()));
        self.join();
        let Some(subject) = SUBJECTS.get(which).copied() else { return };
        let Some(reservoir) = engine.reservoir(subject).filter(|kept| !kept.rows().is_empty()) else {
            return;
        };
        let (path, reservoir) = (path(dir, subject), reservoir.clone());
        let save = move || save(&path, &reservoir_file::write(&reservoir, subject));
        match thread::Builder::new().name("rows".to_owned()).spawn(save) {
            Ok(thread) => self.going = Some(thread),
            Err(error) => log::error!("cannot start a thread to keep what there is to learn from: {error}"),
        }
    }

    /// Writes all files.
    pub fn close(&mut self, dir: &Path, engine: &Engine) {
        self.join();
        for subject in SUBJECTS {
            if let Some(reservoir) = engine.reservoir(subject).filter(|kept| !kept.rows().is_empty()) {
                save(&path(dir, subject), &reservoir_file::write(reservoir, subject));
            }
        }
    }

    /// Waits for what is being written.
    pub fn join(&mut self) {
        if self.going.take().is_some_and(|going| going.join().is_err()) {
            log::error!("the thread that keeps what there is to learn from broke down");
        }
    }
}

fn save(path: &Path, bytes: &[u8]) {
    if let Err(error) = write(path, bytes) {
        log::error!("{error}; a restart would learn from older rows");
    }
}
