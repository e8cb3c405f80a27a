//! The rows to learn from, over a restart: one file for each subject and class, written now and then and at the end.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use sensor_core::detect::unusual::Scope;
use sensor_core::engine::Engine;
use sensor_core::model::reservoir_file;
use sensor_core::time::{HOUR, Time};

use super::shelf::{read_at_most, write};
use crate::urgency;

/// Each file is written anew after this time. The files are written in turns, so that only one is copied at a time.
const EVERY: u64 = HOUR;

fn path(dir: &Path, scope: Scope) -> PathBuf {
    dir.join(format!("{scope}.rows"))
}

/// Takes up the rows that were kept. If there is something wrong with them, that is told, and the learning begins anew.
pub fn restore(dir: &Path, scope: Scope, engine: &mut Engine) {
    let path = path(dir, scope);
    let bytes = match read_at_most(&path, reservoir_file::MAX_BYTES + 1) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            log::error!("cannot read {}: {error}; learning begins anew", path.display());
            return;
        }
    };
    let Some(reservoir) = engine.reservoir_mut(scope) else { return };
    match reservoir_file::read(&bytes, scope.subject, scope.limit(), scope.subject as u64 + 3) {
        Ok(kept) => {
            log::info!("{} rows to learn from were kept ({scope})", kept.rows().len());
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
        let scopes = engine.scopes();
        let pause = EVERY / scopes.len().max(1) as u64;
        let (at, which) = *self.next.get_or_insert((now.plus(pause), 0));
        if now < at || self.going.as_ref().is_some_and(|going| !going.is_finished()) {
            return;
        }
        self.next = Some((now.plus(pause), (which + 1) % scopes.len().max(1)));
        self.join();
        let Some(scope) = scopes.get(which).copied() else { return };
        let Some(reservoir) = engine.reservoir(scope).filter(|kept| !kept.rows().is_empty()) else {
            return;
        };
        let (path, reservoir) = (path(dir, scope), reservoir.clone());
        let save = move || {
            urgency::later();
            save(&path, &reservoir_file::write(&reservoir, scope.subject));
        };
        match thread::Builder::new().name("rows".to_owned()).spawn(save) {
            Ok(thread) => self.going = Some(thread),
            Err(error) => log::error!("cannot start a thread to keep what there is to learn from: {error}"),
        }
    }

    /// Writes all files.
    pub fn close(&mut self, dir: &Path, engine: &Engine) {
        self.join();
        for scope in engine.scopes() {
            if let Some(reservoir) = engine.reservoir(scope).filter(|kept| !kept.rows().is_empty()) {
                save(&path(dir, scope), &reservoir_file::write(reservoir, scope.subject));
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
