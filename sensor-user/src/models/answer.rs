//! What clients ask of the models, answered in the words of the protocol.

use std::collections::BTreeMap;

use sensor_core::detect::unusual::CLASSES;
use sensor_core::engine::Engine;
use sensor_core::model::Threshold;
use sensor_core::model::features::Subject;

use super::{Chosen, Kept, Lane, Models, SUBJECTS, in_force, rows_of};
use crate::clock::{Stamp, WallClock};
use crate::protocol::{DeviceName, ModelInfo, ModelList, ScoreInfo, Scores, TrainInfo};

/// Fewest digits a hash is named by.
const LEAST_DIGITS: usize = 4;

impl Models {
    /// All models, the newest first, and what there is to learn from.
    pub fn list(&self, engine: &Engine) -> ModelList {
        let mut classes = BTreeMap::<_, BTreeMap<_, _>>::new();
        for lane in self.lanes.iter().filter(|lane| lane.scope.class.is_some()) {
            let rows = rows_of(engine, lane.scope) as u64;
            let class = classes.entry(lane.scope.class_name().to_owned()).or_default();
            class.insert(lane.scope.subject.name().to_owned(), rows);
        }
        let rows = |subject: Subject| rows_of(engine, subject.into()) as u64;
        ModelList {
            models: self.kept.iter().rev().map(|kept| self.info(kept, engine)).collect(),
            rows: SUBJECTS.map(|subject| (subject.name().to_owned(), rows(subject))).into(),
            classes,
            rows_needed: self.training.least_rows as u64,
            training: self.going().map(|scope| scope.subject.name().to_owned()),
            training_class: self.going().map(|scope| scope.class_name().to_owned()),
        }
    }

    /// Orders a training of each subject there is enough of, of a class or else of all devices and each class, and says what
    /// will happen.
    ///
    /// # Errors
    ///
    /// If the class is not learned from.
    pub fn order(&mut self, class: Option<&str>, engine: &Engine) -> Result<Vec<TrainInfo>, String> {
        let (going, least) = (self.going(), self.training.least_rows);
        let asked = |lane: &&mut Lane| class.is_none_or(|class| lane.scope.class_name() == class);
        let order = |lane: &mut Lane| {
            let rows = rows_of(engine, lane.scope);
            let (will_train, what) = if going == Some(lane.scope) {
                (true, "is being trained already".to_owned())
            } else if rows < least {
                (
                    false,
                    format!("is not trained: there are {rows} rows to learn from, and {least} are needed"),
                )
            } else {
                lane.ordered = true;
                let when = if going.is_some() { "after the one that is under way" } else { "now" };
                (
                    true,
                    format!(
                        "is trained {when} from {rows} rows, which may take minutes; the log tells the end"
                    ),
                )
            };
            let (class, subject) = (lane.scope.class_name().to_owned(), lane.scope.subject.name().to_owned());
            TrainInfo { class, subject, rows: rows as u64, will_train, what }
        };
        let plans: Vec<_> = self.lanes.iter_mut().filter(asked).map(order).collect();
        match class {
            Some(class) if plans.is_empty() => Err(format!(
                "no models are made of a class {class}: it is not configured, or not one of the first {CLASSES} by name; \
                 `sekisho model list` shows the classes"
            )),
            _ => Ok(plans),
        }
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
        let scope = kept.scope().filter(|scope| self.lanes.iter().any(|lane| lane.scope == *scope));
        let Some(scope) = scope else {
            return Err(format!(
                "{} is of the class {}, of which no models are asked now: it is not in the configuration, or not one of the \
                 first {CLASSES} by name",
                kept.hash, kept.model.class
            ));
        };
        if self.going() == Some(scope) {
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
            in_force: kept
                .scope()
                .and_then(|scope| engine.model(scope))
                .is_some_and(|now| now.hash == kept.hash),
            golden: self.lanes.iter().any(|lane| lane.golden.as_ref() == Some(&kept.file)),
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
    if engine.scopes().into_iter().all(|scope| engine.model(scope).is_none()) {
        return Err("no model is in force yet, so nothing was scored; `sekisho model list` shows how far the learning \
                    is"
        .to_owned());
    }
    let scores = engine.scores(key).into_iter().map(|scored| {
        let judgement = scored.judgement;
        ScoreInfo {
            time: clock.stamp(scored.time),
            subject: scored.scope.subject.name().to_owned(),
            class: scored.scope.class_name().to_owned(),
            score: rounded(judgement.score),
            over_own_level: rounded(judgement.over),
            rank: scored.rank,
            limit: engine.model(scored.scope).map(|now| now.model.threshold.at()),
            over_limit: judgement.alarm,
        }
    });
    let device = DeviceName {
        id: device.id,
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
