//! One training, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use sensor_core::detect::unusual::{MAX_ROWS, Scope};
use sensor_core::inventory::DeviceKey;
use sensor_core::model::drift::{Comparison, Parting};
use sensor_core::model::reservoir::Rows;
use sensor_core::model::train::{TrainError, Training, train};
use sensor_core::model::{Model, Threshold};

use super::shelf::{Chosen, Kept, Shelf, ShelfError, address};
use crate::urgency;

/// False alarms that are accepted for each row: the least that can be promised from as many rows as are kept, with room for
/// hosts that are left out (45,000 rows will do). A device that does something each minute has 43,200 rows a month.
const RATE: f64 = 2e-6;
/// Devices that are named in the log.
const NAMED: usize = 8;

/// How models are trained here.
pub fn training() -> Training {
    Training { rate: RATE, ..Training::default() }
}

/// What a training needs.
pub struct Job {
    pub rows: Rows,
    pub scope: Scope,
    /// The model in force.
    pub in_force: Option<Arc<Model>>,
    pub made_secs: u64,
    pub shelf: Shelf,
    pub training: Training,
}

/// Why there is no new model.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Nothing could be learned.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// It could not be kept.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// A new model.
#[derive(Debug)]
pub struct Done {
    /// The model.
    pub kept: Kept,
    /// It is in force now.
    pub takes_over: bool,
    /// How it compares with the one that was in force, if that promised anything.
    pub comparison: Option<Comparison>,
    /// Devices that were left out as odd.
    pub odd: Vec<DeviceKey>,
    /// It is the golden one now.
    pub golden: bool,
    /// The hash of the golden model, and the devices that parted from it.
    pub parted: Option<(String, Vec<Parting>)>,
    /// Why it only learns and never alerts, if so.
    pub guessed: Option<String>,
}

impl Done {
    /// What to tell of it.
    pub fn words(&self) -> String {
        let facts = &self.kept.model.facts;
        let mut text = format!(
            "trained the model {} of a {} ({} devices) from {} rows of {} devices",
            self.kept.hash,
            self.kept.model.subject.name(),
            self.kept.model.class,
            facts.rows,
            facts.hosts
        );
        match (&self.comparison, self.takes_over) {
            (_, true) => text.push_str("; it is in force"),
            (Some(c), false) => text.push_str(&format!(
                "; it differs too much to take over by itself (scores shifted by {:.2}, threshold by {:+.0} %): `sekisho \
                 model promote {}` puts it in force",
                c.shift,
                (c.rise.exp() - 1.0) * 100.0,
                self.kept.hash
            )),
            (None, false) => text.push_str("; the one in force promises more and stays"),
        }
        if self.golden {
            text.push_str("; later ones are compared with it, to find devices that change bit by bit");
        }
        if let Some((golden, parted)) = self.parted.as_ref().filter(|(_, parted)| !parted.is_empty()) {
            let hosts: Vec<_> = parted.iter().map(|parting| parting.host).collect();
            text.push_str(&format!("; changed bit by bit from the golden model {golden}: {}", named(&hosts)));
        }
        if let Some(why) = &self.guessed {
            text.push_str(&format!("; it only learns and never alerts: {why}"));
        }
        if !self.odd.is_empty() {
            text.push_str(&format!("; look at the devices that were left out as odd: {}", named(&self.odd)));
        }
        text
    }
}

/// The first of them, and how many more there are.
fn named(devices: &[DeviceKey]) -> String {
    let named: Vec<_> = devices.iter().take(NAMED).map(address).collect();
    let more = devices.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

/// Starts a training. What comes of it comes by the channel; nothing, if the thread broke down.
///
/// # Errors
///
/// If no thread can be started.
pub fn start(job: Job) -> io::Result<Receiver<Result<Done, Failed>>> {
    let (sender, receiver) = sync_channel(1);
    thread::Builder::new().name("training".to_owned()).spawn(move || {
        urgency::last();
        // Nobody waits any more: then nobody needs to know.
        let _ = sender.send(work(job));
    })?;
    Ok(receiver)
}

/// Trains, compares and writes.
pub fn work(job: Job) -> Result<Done, Failed> {
    let Job { rows, scope, in_force, made_secs, shelf, training } = job;
    // As many false alarms as can be promised: from fewer rows, more.
    let training = Training { rate: training.rate * MAX_ROWS as f64 / scope.limit() as f64, ..training };
    let trained = train(&rows, scope.subject, scope.class_name(), &training, (made_secs, made_secs))?;
    let (takes_over, comparison) = decide(in_force.as_deref(), &trained.model, &rows);
    let kept = shelf.put(trained.model)?;
    if takes_over {
        shelf.choose(Chosen::InForce, &kept)?;
    }
    let parted = match shelf.golden(scope) {
        Some(golden) => Some(drift(scope, &golden, &kept.model, &rows, &shelf)?),
        None => None,
    };
    // What is learned first stays what later ones are measured by.
    let golden = promises(&kept.model) && shelf.chosen(Chosen::Golden, scope).is_none();
    if golden {
        shelf.choose(Chosen::Golden, &kept)?;
    }
    let guessed = trained.guessed.map(|why| why.to_string());
    Ok(Done { kept, takes_over, comparison, odd: trained.odd_hosts, golden, parted, guessed })
}

/// Who parted from the golden model, by what a new one takes for usual.
fn drift(
    scope: Scope,
    golden: &Kept,
    challenger: &Model,
    rows: &Rows,
    shelf: &Shelf,
) -> Result<(String, Vec<Parting>), ShelfError> {
    let mut drift = shelf.drift(scope);
    let parted = drift.compare(&golden.model, challenger, rows);
    shelf.put_drift(scope, &drift)?;
    Ok((golden.hash.clone(), parted))
}

fn promises(model: &Model) -> bool {
    matches!(model.threshold, Threshold::Promised { .. })
}

/// Whether a challenger takes over by itself, and how it compares with what is in force if both promise something.
pub fn decide(in_force: Option<&Model>, challenger: &Model, rows: &Rows) -> (bool, Option<Comparison>) {
    match in_force {
        Some(old) if promises(old) && promises(challenger) => {
            let comparison = Comparison::new(old, challenger, rows);
            (comparison.may_take_over(), Some(comparison))
        }
        // One that never alerts is no better than none.
        Some(old) => (!promises(old), None),
        None => (true, None),
    }
}
