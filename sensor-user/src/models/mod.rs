//! The models of a running daemon: trained in the background from what the engine keeps, written to the disk, put in force.
//! What the engine keeps to learn from is written now and then, too.
//!
//! Training takes many seconds, minutes on a busy machine. It runs on a thread of its own at the lowest priority, on a copy
//! of the rows, and also writes the files: the loop that asks [`Models::step`] never waits for it or for the disk. It is
//! held up by the copying alone: of 65,536 rows 16 ms and, where old ones are forgotten, 28 ms more for a training, 8 ms
//! for a writing. A new model is the *challenger* of the one in force, and takes its place by itself only if there is none
//! whose threshold promises anything, or if it hardly differs; else a person decides. The first that promises anything is
//! *golden*: each later one is compared with it, and devices that changed bit by bit, which no model in force would tell, are
//! told by that. There are models of all devices, and of each class that has rows enough; one is trained at a time.

mod answer;
mod rows;
mod shelf;
#[cfg(test)]
mod tests;
mod train;

use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError};

use sensor_core::detect::unusual::{InForce, Scope};
use sensor_core::engine::{Engine, Output};
use sensor_core::model::features::Subject;
use sensor_core::model::train::Training;
use sensor_core::time::HOUR;

use crate::clock::Now;
pub use answer::scores;
use rows::Saver;
pub use shelf::{Chosen, Kept, Shelf, ShelfError};
pub use train::{Done, Failed, training};
use train::{Job, start};

/// The subjects there are models of.
pub const SUBJECTS: [Subject; 2] = [Subject::Flow, Subject::Window];
/// Rows older than this are forgotten before a training: the network is not as it was then.
const OLDEST: u64 = 14 * 24 * HOUR;

/// A training that goes on.
struct Going {
    scope: Scope,
    done: Receiver<Result<Done, Failed>>,
}

/// The models of one scope.
struct Lane {
    scope: Scope,
    /// The file of the golden one.
    golden: Option<String>,
    /// When one was trained last, or that was tried, s since 1970.
    tried: u64,
    /// A person ordered a training.
    ordered: bool,
}

/// The models.
pub struct Models {
    shelf: Shelf,
    /// In order of age.
    kept: Vec<Kept>,
    /// Time between trainings, s; none: only by order.
    every_secs: Option<u64>,
    /// All devices first, then the classes.
    lanes: Vec<Lane>,
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
        let lane = |scope| {
            let made = kept.iter().filter(|one| one.scope() == Some(scope));
            let tried = made.map(|one| one.model.facts.made_secs).max().unwrap_or(0);
            Lane { scope, golden: shelf.chosen(Chosen::Golden, scope), tried, ordered: false }
        };
        let lanes = engine.scopes().into_iter().map(lane).collect();
        let models = Self {
            lanes,
            every_secs: (train_hours > 0).then(|| train_hours.saturating_mul(3_600)),
            going: None,
            training: training(),
            saver: Saver::default(),
            kept,
            shelf,
        };
        for scope in engine.scopes() {
            rows::restore(models.shelf.dir(), scope, engine);
            let Some(file) = models.shelf.chosen(Chosen::InForce, scope) else { continue };
            let one = models.kept.iter().find(|one| one.file == file && one.scope() == Some(scope));
            let Some(one) = one else {
                log::error!(
                    "the model {} was in force and cannot be read: there is none ({scope}) until one is trained",
                    crate::label::plain(&file)
                );
                continue;
            };
            engine.put_model(in_force(one));
            log::info!("model in force ({scope}): {}", one.hash);
        }
        Ok(models)
    }

    /// All models, the oldest first.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// What is being trained.
    pub fn going(&self) -> Option<Scope> {
        self.going.as_ref().map(|going| going.scope)
    }

    /// Looks after the training: takes over what is done, starts what is due. To be called now and then.
    pub fn step(&mut self, now: Now, engine: &mut Engine, out: &mut Output) {
        self.saver.step(self.shelf.dir(), now.mono, engine);
        if let Some(going) = &self.going {
            match going.done.try_recv() {
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => log::error!("the training broke down"),
                Ok(Err(failed)) => log::warn!("no model ({}): {failed}", going.scope),
                Ok(Ok(done)) => self.take(done, now, engine, out),
            }
            self.going = None;
        }
        let secs = u64::try_from(now.unix_ns).unwrap_or(0) / 1_000_000_000;
        let (every, least) = (self.every_secs, self.training.least_rows);
        let due = self.lanes.iter_mut().find(|lane| {
            let late = every.is_some_and(|every| secs.saturating_sub(lane.tried) >= every);
            lane.ordered || (late && rows_of(engine, lane.scope) >= least)
        });
        let Some(lane) = due else { return };
        (lane.ordered, lane.tried) = (false, secs);
        let scope = lane.scope;
        self.start(scope, now, engine);
    }

    /// Writes what there is to learn from, for the next start. It waits for the disk.
    pub fn close(&mut self, engine: &Engine) {
        self.saver.close(self.shelf.dir(), engine);
    }

    fn start(&mut self, scope: Scope, now: Now, engine: &mut Engine) {
        let oldest = u64::try_from(now.unix_ns).unwrap_or(0).saturating_sub(OLDEST);
        if let Some(reservoir) = engine.reservoir_mut(scope)
            && reservoir.rows().times().iter().any(|time| time.ns() < oldest)
        {
            reservoir.forget(sensor_core::time::Time::at(oldest));
        }
        let Some(rows) = engine.rows(scope, now.mono) else { return };
        log::info!("training a model ({scope}) from {} rows", rows.len());
        let secs = u64::try_from(now.unix_ns).unwrap_or(0) / 1_000_000_000;
        let in_force = engine.model(scope).map(|in_force| in_force.model.clone());
        let (shelf, training) = (self.shelf.clone(), self.training);
        match start(Job { rows, scope, in_force, made_secs: secs, shelf, training }) {
            Ok(done) => self.going = Some(Going { scope, done }),
            Err(error) => log::error!("cannot start a thread to train a model: {error}"),
        }
    }

    fn set_golden(&mut self, kept: &Kept) {
        for lane in self.lanes.iter_mut().filter(|lane| kept.scope() == Some(lane.scope)) {
            lane.golden = Some(kept.file.clone());
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

/// How many rows there are to learn from.
fn rows_of(engine: &Engine, scope: Scope) -> usize {
    engine.reservoir(scope).map_or(0, |reservoir| reservoir.rows().len())
}

/// The models in force: their class, subject and hash.
pub fn all_in_force(engine: &Engine) -> Vec<(String, String, String)> {
    let named = |scope: Scope| {
        let hash = engine.model(scope)?.hash.clone();
        Some((scope.class_name().to_owned(), scope.subject.name().to_owned(), hash))
    };
    engine.scopes().into_iter().filter_map(named).collect()
}

/// A model as the engine has it.
pub fn in_force(kept: &Kept) -> InForce {
    InForce { model: kept.model.clone(), hash: kept.hash.clone() }
}
