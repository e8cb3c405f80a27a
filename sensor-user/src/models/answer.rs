//! What clients ask of the models, answered in the words of the protocol.

use sensor_core::engine::Engine;
use sensor_core::model::Threshold;
use sensor_core::model::features::Subject;

use super::{Chosen, Kept, Models, SUBJECTS, in_force};
use crate::clock::{Stamp, WallClock};
use crate::protocol::{DeviceName, ModelInfo, ModelList, ScoreInfo, Scores, TrainInfo};

/// Fewest digits a hash is named by.
const LEAST_DIGITS: usize = 4;

impl Models {
    /// All models, the newest first, and what there is to learn from.
    pub fn list(&self, engine: &Engine) -> ModelList {
        let rows = |subject| engine.reservoir(subject).map_or(0, |reservoir| reservoir.rows().len() as u64);
        ModelList {
            models: self.kept.iter().rev().map(|kept| self.info(kept, engine)).collect(),
            rows: SUBJECTS.map(|subject| (subject.name().to_owned(), rows(subject))).into(),
            rows_needed: self.training.least_rows as u64,
            training: self.going().map(|subject| subject.name().to_owned()),
        }
    }

    /// Orders a training of each subject there is enough of, and says what will happen.
    pub fn order(&mut self, engine: &Engine) -> Vec<TrainInfo> {
        let going = self.going();
        let least = self.training.least_rows;
        let order = |(subject, ordered): (Subject, &mut bool)| {
            let rows = engine.reservoir(subject).map_or(0, |reservoir| reservoir.rows().len());
            let (will_train, what) = if going == Some(subject) {
                (true, "is being trained already".to_owned())
            } else if rows < least {
                (
                    false,
                    format!("is not trained: there are {rows} rows to learn from, and {least} are needed"),
                )
            } else {
                *ordered = true;
                let when = if going.is_some() { "after the one that is under way" } else { "now" };
                (
                    true,
                    format!(
                        "is trained {when} from {rows} rows, which may take minutes; the log tells the end"
                    ),
                )
            };
            TrainInfo { subject: subject.name().to_owned(), rows: rows as u64, will_train, what }
        };
        SUBJECTS.into_iter().zip(&mut self.ordered).map(order).collect()
    }

    /// Puts a model in force, by the beginning of its hash; or has new ones measured by it, as the golden one. It must be
    /// remembered then ([`Models::remember`]).
    ///
    /// # Errors
    ///
    /// Why not, and what to do.
    pub fn promote(&mut self, hash: &str, what: Chosen, engine: &mut Engine) -> Result<Kept, String> {
        let hash = hash.to_ascii_lowercase();
        if hash.len() < LEAST_DIGITS || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(format!(
                "a model is named by the first {LEAST_DIGITS} digits of its hash or more, as `sekisho model list` shows it"
            ));
        }
        let mut named = self.kept.iter().filter(|kept| kept.hash.starts_with(&hash));
        let Some(kept) = named.next().cloned() else {
            return Err(format!("there is no model {hash}; `sekisho model list` shows those there are"));
        };
        if named.next().is_some() {
            return Err(format!("the hashes of several models begin with {hash}; give more of its digits"));
        }
        if self.going() == Some(kept.model.subject) {
            return Err(format!(
                "a model of a {} is being trained, and may take over when it is done; wait for that, then promote",
                kept.model.subject.name()
            ));
        }
        let subject = kept.model.subject.name();
        match what {
            Chosen::InForce => {
                engine.put_model(in_force(&kept));
                log::info!("model of a {subject} in force by order: {}", kept.hash);
            }
            Chosen::Golden if matches!(kept.model.threshold, Threshold::Guessed { .. }) => {
                return Err(format!(
                    "{} was learned from too little to measure others by; name one that does not only learn",
                    kept.hash
                ));
            }
            Chosen::Golden => {
                self.set_golden(&kept);
                log::info!("model of a {subject} golden by order: {}", kept.hash);
            }
        }
        Ok(kept)
    }

    /// What remembers the choice of a model. It waits for the disk.
    pub fn remember(&self, what: Chosen, kept: Kept) -> impl FnOnce() -> Result<(), String> + Send + 'static {
        let shelf = self.shelf.clone();
        move || {
            shelf.choose(what, &kept).map_err(|error| match what {
                Chosen::InForce => {
                    format!("{} is in force, but a restart of the daemon will not know: {error}", kept.hash)
                }
                Chosen::Golden => format!("{} could not be made the golden model: {error}", kept.hash),
            })
        }
    }

    /// A model in the words of the protocol.
    pub fn info(&self, kept: &Kept, engine: &Engine) -> ModelInfo {
        let model = &kept.model;
        let made = i64::try_from(model.facts.made_secs).unwrap_or(0);
        let (threshold, rate) = match model.threshold {
            Threshold::Promised { rate, .. } => ("promised", Some(rate)),
            Threshold::Guessed { .. } => ("guessed", None),
        };
        ModelInfo {
            class: model.class.clone(),
            subject: model.subject.name().to_owned(),
            hash: kept.hash.clone(),
            file: kept.file.clone(),
            made: Stamp(made.saturating_mul(1_000_000_000)),
            rows: model.facts.rows,
            rows_left_out: model.facts.left_out,
            devices: model.facts.hosts,
            devices_left_out: model.facts.set_aside,
            threshold: threshold.to_owned(),
            limit: model.threshold.at(),
            rate,
            in_force: engine.model(model.subject).is_some_and(|now| now.hash == kept.hash),
            golden: self.golden.contains(&Some(kept.file.clone())),
        }
    }
}

/// The last scores of a device, by its name, MAC or IP address.
///
/// # Errors
///
/// Why there are none, and what to do.
pub fn scores(text: &str, engine: &Engine, clock: WallClock) -> Result<Scores, String> {
    let (key, device) = engine.find_device(text).map_err(|error| error.to_string())?;
    if SUBJECTS.into_iter().all(|subject| engine.model(subject).is_none()) {
        return Err("no model is in force yet, so nothing was scored; `sekisho model list` shows how far the learning \
                    is"
        .to_owned());
    }
    let scores = engine.scores(key).into_iter().map(|scored| {
        let judgement = scored.judgement;
        ScoreInfo {
            time: clock.stamp(scored.time),
            subject: scored.subject.name().to_owned(),
            score: rounded(judgement.score),
            over_own_level: rounded(judgement.over),
            rank: scored.rank,
            limit: engine.model(scored.subject).map(|now| now.model.threshold.at()),
            over_limit: judgement.alarm,
        }
    });
    let device = DeviceName {
        mac: device.mac.to_string(),
        ips: device.ips.iter().map(ToString::to_string).collect(),
        maker: device.maker,
        name: device.name,
        class: device.class.as_ref().map(ToString::to_string),
    };
    Ok(Scores { device, scores: scores.collect() })
}

/// To four places: more says nothing.
fn rounded(score: f32) -> f64 {
    (f64::from(score) * 1e4).round() / 1e4
}
