//! The models of a running daemon: trained in the background from what the engine keeps, written to the disk, put in force.
//! What the engine keeps to learn from is written now and then, too.
//!
//! Training takes many seconds, minutes on a busy machine. It runs on a thread of its own at the lowest priority, on a copy
//! of the rows, and also writes the files: the loop that asks [`Models::step`] never waits for it or for the disk. It is
//! held up by the copying alone: of 65,536 rows 16 ms and, where old ones are forgotten, 28 ms more for a training, 8 ms
//! for a writing. A new model is the *challenger* of the one in force, and takes its place by itself only if there is none
//! whose threshold promises anything, or if it hardly differs; else a person decides. The first that promises anything is
//! *golden*: each later one is compared with it, and devices that changed bit by bit, which no model in force would tell, are
//! told by that.

mod answer;
mod rows;
mod shelf;
#[cfg(test)]
mod tests;
mod train;

use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError};

use sensor_core::detect::unusual::InForce;
use sensor_core::engine::{Engine, Output};
use sensor_core::model::features::Subject;
use sensor_core::model::train::Training;
use sensor_core::time::HOUR;

use crate::clock::Now;
pub use answer::scores;
use rows::Saver;
pub use shelf::{CLASS, Chosen, Kept, Shelf, ShelfError};
pub use train::{Done, Failed, training};
use train::{Job, start};

/// The subjects there are models of.
pub const SUBJECTS: [Subject; 2] = [Subject::Flow, Subject::Window];
/// Rows older than this are forgotten before a training: the network is not as it was then.
const OLDEST: u64 = 14 * 24 * HOUR;

/// A training that goes on.
struct Going {
    subject: Subject,
    done: Receiver<Result<Done, Failed>>,
}

/// The models.
pub struct Models {
    shelf: Shelf,
    /// In order of age.
    kept: Vec<Kept>,
    /// Time between trainings, s; none: only by order.
    every_secs: Option<u64>,
    /// The file of the golden model of each subject.
    golden: [Option<String>; 2],
    /// When each subject was trained last, or that was tried, s since 1970.
    tried: [u64; 2],
    /// A person ordered a training.
    ordered: [bool; 2],
    going: Option<Going>,
    training: Training,
    saver: Saver,
}

impl Models {
    /// Takes up the models in a directory, and puts those in force that were.
    ///
    /// # Errors
    ///
    /// If the directory cannot be used.
    pub fn open(dir: &Path, train_hours: u64, engine: &mut Engine) -> Result<Self, ShelfError> {
        let shelf = Shelf::open(dir)?;
        let kept = shelf.read();
        let last = |subject| {
            let made = kept.iter().filter(|one| one.model.subject == subject);
            made.map(|one| one.model.facts.made_secs).max().unwrap_or(0)
        };
        let models = Self {
            tried: SUBJECTS.map(last),
            golden: SUBJECTS.map(|subject| shelf.chosen(Chosen::Golden, subject)),
            ordered: [false; 2],
            every_secs: (train_hours > 0).then(|| train_hours.saturating_mul(3_600)),
            going: None,
            training: training(),
            saver: Saver::default(),
            kept,
            shelf,
        };
        for subject in SUBJECTS {
            rows::restore(models.shelf.dir(), subject, engine);
            let Some(file) = models.shelf.chosen(Chosen::InForce, subject) else { continue };
            let Some(one) = models.kept.iter().find(|one| one.file == file && one.model.subject == subject)
            else {
                log::error!(
                    "the model {} was in force and cannot be read: there is none of a {} until one is trained",
                    crate::label::plain(&file),
                    subject.name()
                );
                continue;
            };
            engine.put_model(in_force(one));
            log::info!("model of a {} in force: {}", subject.name(), one.hash);
        }
        Ok(models)
    }

    /// All models, the oldest first.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// What is being trained.
    pub fn going(&self) -> Option<Subject> {
        self.going.as_ref().map(|going| going.subject)
    }

    /// Looks after the training: takes over what is done, starts what is due. To be called now and then.
    pub fn step(&mut self, now: Now, engine: &mut Engine, out: &mut Output) {
        self.saver.step(self.shelf.dir(), now.mono, engine);
        if let Some(going) = &self.going {
            match going.done.try_recv() {
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => log::error!("the training broke down"),
                Ok(Err(failed)) => log::warn!("no model of a {}: {failed}", going.subject.name()),
                Ok(Ok(done)) => self.take(done, now, engine, out),
            }
            self.going = None;
        }
        let secs = u64::try_from(now.unix_ns).unwrap_or(0) / 1_000_000_000;
        let due = SUBJECTS.into_iter().enumerate().find(|(at, subject)| {
            let ordered = self.ordered.get(*at).copied().unwrap_or_default();
            let tried = self.tried.get(*at).copied().unwrap_or_default();
            let late = self.every_secs.is_some_and(|every| secs.saturating_sub(tried) >= every);
            let rows = engine.reservoir(*subject).map_or(0, |reservoir| reservoir.rows().len());
            ordered || (late && rows >= self.training.least_rows)
        });
        let Some((at, subject)) = due else { return };
        if let (Some(ordered), Some(tried)) = (self.ordered.get_mut(at), self.tried.get_mut(at)) {
            (*ordered, *tried) = (false, secs);
        }
        self.start(subject, now, engine);
    }

    /// Writes what there is to learn from, for the next start. It waits for the disk.
    pub fn close(&mut self, engine: &Engine) {
        self.saver.close(self.shelf.dir(), engine);
    }

    fn start(&mut self, subject: Subject, now: Now, engine: &mut Engine) {
        let oldest = u64::try_from(now.unix_ns).unwrap_or(0).saturating_sub(OLDEST);
        if let Some(reservoir) = engine.reservoir_mut(subject)
            && reservoir.rows().times().iter().any(|time| time.0 < oldest)
        {
            reservoir.forget(sensor_core::time::Time(oldest));
        }
        let Some(rows) = engine.rows(subject, now.mono) else { return };
        log::info!("training a model of a {} from {} rows", subject.name(), rows.len());
        let secs = u64::try_from(now.unix_ns).unwrap_or(0) / 1_000_000_000;
        let in_force = engine.model(subject).map(|in_force| in_force.model.clone());
        let (shelf, training) = (self.shelf.clone(), self.training);
        match start(Job { rows, subject, in_force, made_secs: secs, shelf, training }) {
            Ok(done) => self.going = Some(Going { subject, done }),
            Err(error) => log::error!("cannot start a thread to train a model: {error}"),
        }
    }

    fn set_golden(&mut self, kept: &Kept) {
        for (_, golden) in
            SUBJECTS.iter().zip(&mut self.golden).filter(|(one, _)| **one == kept.model.subject)
        {
            *golden = Some(kept.file.clone());
        }
    }

    /// Takes over a new model.
    fn take(&mut self, done: Done, now: Now, engine: &mut Engine, out: &mut Output) {
        log::info!("{}", done.words());
        if let Some((golden, parted)) = &done.parted {
            engine.parted(parted, golden, now.mono, out);
        }
        if done.takes_over {
            engine.put_model(in_force(&done.kept));
        }
        if done.golden {
            self.set_golden(&done.kept);
        }
        self.kept.retain(|one| one.file != done.kept.file);
        self.kept.push(done.kept);
        self.shelf.prune(&mut self.kept);
    }
}

/// A model as the engine has it.
pub fn in_force(kept: &Kept) -> InForce {
    InForce { model: kept.model.clone(), hash: kept.hash.clone() }
}
