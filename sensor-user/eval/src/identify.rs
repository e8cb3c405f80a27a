//! How well devices are identified, held against captures of devices whose make is known.
//!
//! Models are of two halves, by a hash of their names: rules may be tuned by looking at the one half, and what they are worth
//! shows in the other, the held out. Each capture of a device is one trial.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sensor_core::addr::Mac;
use sensor_core::identify::{Kind, Label};
use sensor_core::settings::Settings;
use sensor_core::snapshot::DeviceView;
use sensor_user::makers;
use sensor_user::source::replay;

use crate::expect;

/// The table of devices.
const TRUTH: &str = include_str!("../devices.tsv");

/// A label of more confidence must not be wrong.
pub const SURE: f64 = 0.8;

/// A device whose make is known.
#[derive(Clone, Debug)]
pub struct Truth {
    /// How the names of its captures begin.
    pub files: &'static str,
    /// Its MAC address.
    pub mac: Mac,
    /// What it is.
    pub model: &'static str,
    /// The kind it is to be taken for.
    pub kind: Kind,
    /// How its maker begins, in the registry.
    pub maker: &'static str,
    /// The name on it.
    pub brand: &'static str,
}

/// One capture of a device: what it was taken for.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The device.
    pub truth: Truth,
    /// The capture.
    pub file: String,
    /// Its maker.
    pub maker: Option<String>,
    /// What it was taken for.
    pub label: Option<Label>,
}

/// Reads the table.
///
/// # Errors
///
/// If a line of it cannot be read.
pub fn truths() -> Result<Vec<Truth>> {
    let lines = TRUTH.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines.map(|line| truth(line).with_context(|| format!("devices.tsv: cannot read `{line}`"))).collect()
}

fn truth(line: &'static str) -> Option<Truth> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    let (files, mac, model) = (next()?, next()?.parse().ok()?, next()?);
    Some(Truth { files, mac, model, kind: Kind::of_name(next()?)?, maker: next()?, brand: next()? })
}

/// Whether rules must not be tuned on a model (FNV-1a of its name).
pub fn is_held_out(model: &str) -> bool {
    let hash = model.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 32) & 1 == 1
}

/// Replays the captures of all devices of the table.
///
/// # Errors
///
/// If the list or a capture cannot be read, or a device has no capture.
pub fn run(data: &Path, oui: &Path) -> Result<Vec<Trial>> {
    let settings = Settings { makers: makers::load(oui), ..Settings::default() };
    ensure!(!settings.makers.is_empty(), "{} names no maker (apt-get install ieee-data)", oui.display());
    let files = expect::captures(data)?;
    let mut seen: BTreeMap<PathBuf, Vec<DeviceView>> = BTreeMap::new();
    let mut trials = Vec::new();
    for truth in truths()? {
        let own: Vec<&String> = files.iter().filter(|file| file.starts_with(truth.files)).collect();
        ensure!(!own.is_empty(), "no capture of {} in {}", truth.model, data.display());
        for file in own {
            let path = data.join(file);
            if !seen.contains_key(&path) {
                let outcome = replay::run(&path, &settings, |_, _| {})?;
                seen.insert(path.clone(), outcome.devices);
            }
            let device = seen.get(&path).into_iter().flatten().find(|device| device.mac == truth.mac);
            let (maker, label) =
                device.map(|device| (device.maker.clone(), device.label.clone())).unwrap_or_default();
            trials.push(Trial { truth: truth.clone(), file: file.clone(), maker, label });
        }
    }
    Ok(trials)
}

impl Trial {
    /// Whether the maker is the one that has the MAC address.
    pub fn maker_is_right(&self) -> bool {
        begins(self.maker.as_deref(), self.truth.maker)
    }

    /// Whether the maker is the one whose name is on the device.
    pub fn brand_is_right(&self) -> bool {
        begins(self.maker.as_deref(), self.truth.brand)
    }

    /// Whether the kind is right.
    pub fn kind_is_right(&self) -> bool {
        self.label.as_ref().is_some_and(|label| label.kind == self.truth.kind)
    }

    /// Whether it is taken for something else, and surely so.
    pub fn is_surely_wrong(&self) -> bool {
        !self.kind_is_right() && self.label.as_ref().is_some_and(|label| label.confidence > SURE)
    }
}

fn begins(maker: Option<&str>, name: &str) -> bool {
    maker.is_some_and(|maker| maker.to_lowercase().starts_with(&name.to_lowercase()))
}

/// How many of the trials are right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Score {
    /// All.
    pub trials: usize,
    /// Maker right.
    pub maker: usize,
    /// Brand right.
    pub brand: usize,
    /// Kind right.
    pub kind: usize,
    /// Kind not said.
    pub unsaid: usize,
    /// Surely of another kind.
    pub surely_wrong: usize,
    /// Models, and of these in each capture right.
    pub models: (usize, usize),
}

/// Adds up.
pub fn score<'a>(trials: impl Iterator<Item = &'a Trial>) -> Score {
    let mut score = Score::default();
    let mut models: BTreeMap<&str, bool> = BTreeMap::new();
    for trial in trials {
        score.trials += 1;
        score.maker += usize::from(trial.maker_is_right());
        score.brand += usize::from(trial.brand_is_right());
        score.kind += usize::from(trial.kind_is_right());
        score.unsaid += usize::from(trial.label.is_none());
        score.surely_wrong += usize::from(trial.is_surely_wrong());
        *models.entry(trial.truth.model).or_insert(true) &= trial.kind_is_right();
    }
    score.models = (models.len(), models.values().filter(|right| **right).count());
    score
}

/// The parts of the trials that are reported: tuned on, held out, all.
pub fn parts(trials: &[Trial]) -> [(&'static str, Score); 3] {
    let half = |held: bool| score(trials.iter().filter(|trial| is_held_out(trial.truth.model) == held));
    [("tuned on", half(false)), ("held out", half(true)), ("all", score(trials.iter()))]
}

/// What is asked.
pub fn passes(score: &Score) -> bool {
    score.maker * 100 >= score.trials * 95 && score.kind * 100 >= score.trials * 70 && score.surely_wrong == 0
}

fn percent(part: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { part as f64 * 100.0 / of as f64 }
}

/// The tables, as Markdown. Of the held out no reasons are shown: they would be tuned on.
pub fn page(trials: &[Trial]) -> String {
    let mut text = "| half | captures | maker | brand | kind | no kind | wrong above 0.8 | models right |\n\
        |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (name, s) in parts(trials) {
        let of = |part| format!("{part} ({:.0} %)", percent(part, s.trials));
        let (maker, brand, kind) = (of(s.maker), of(s.brand), of(s.kind));
        let (models, right) = s.models;
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "| {name} | {} | {maker} | {brand} | {kind} | {} | {} | {right} of {models} |",
            s.trials, s.unsaid, s.surely_wrong
        );
    }
    text += "\n| capture | half | expected | taken for | why |\n|---|---|---|---|---|\n";
    for trial in trials {
        let held = is_held_out(trial.truth.model);
        let (taken, why) = match &trial.label {
            None => ("-".to_owned(), String::new()),
            Some(label) => {
                let why = if held { String::new() } else { label.reasons.join("; ") };
                (format!("{} {:.2}", label.kind.name(), label.confidence), why)
            }
        };
        let half = if held { "held out" } else { "tuned on" };
        let mark = if trial.kind_is_right() { "" } else { " **wrong**" };
        let _ = writeln!(
            text,
            "| {} {} | {half} | {} | {taken}{mark} | {why} |",
            trial.file,
            trial.truth.mac,
            trial.truth.kind.name()
        );
    }
    text
}
