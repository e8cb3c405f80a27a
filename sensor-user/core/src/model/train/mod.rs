//! Training that some hosts may spoil: what is odd must not become usual because it was there while we learned.
//!
//! First each row is scored by its distance from the median row, which a few spoilt hosts cannot move. Then, in rounds, the
//! hosts are dealt into folds, and each is scored by a network that learned from the other folds alone. After each scoring a
//! host is *set aside* if its scores lie far above those of most hosts, and of the rest the worst fiftieth of the
//! rows is left out of the next round. The last network learns from all that is left; its threshold comes
//! from the scores of the last round, of hosts that were not learned from, less each one's own median.
//!
//! The threshold is taken from all rows of a host, those left out of the learning too, or the tail would be cut off and
//! every bad day an alarm. But a host that holds far more of the greatest scores than others do is left out of it
//! altogether: that is how a break-in looks from there. What every host does to the same extent is usual, whatever it is.

mod fit;
mod threshold;

use std::collections::BTreeSet;

use fit::{Fit, fit, scores};

use super::features::Subject;
use super::network::Learning;
use super::random::Random;
use super::reservoir::Rows;
use super::scale::{Form, Scaler, quantile};
use super::tail::TailError;
use super::{Facts, Measure, Model, RANKS, Usual};
use crate::inventory::DeviceKey;
use crate::time::MINUTE;

/// Parts of a host's scores at whose upper ends hosts are compared: as it mostly is, and on its bad days.
const COMPARED: [f64; 2] = [0.5, 0.9];
/// A host so many median gaps above the median host is set aside (Iglewicz and Hoaglin 1993: 3.5 / 0.6745)...
const MOST_GAPS: f32 = 5.19;
/// ...but not for less than half as much error again, as a logarithm: hosts of a class may be very much alike.
const LEAST_GAP: f32 = 0.405_465;

/// How a model is trained.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Training {
    /// How networks learn.
    pub learning: Learning,
    /// Folds the hosts are dealt into.
    pub folds: usize,
    /// Rounds of scoring by networks and leaving out.
    pub rounds: usize,
    /// Part of the rows that is left out after each round, 0 to 1. Where 5 % of the rows of 14 days were attackers', the
    /// networks of made-up sites found 7 points fewer of other attacks' minutes with a hundredth left out and 4 with two,
    /// which cost nothing where no row was spoilt (means of 9 trainings, give or take 3).
    pub trim: f64,
    /// Passes over the rows at most.
    pub epochs: u32,
    /// Passes without progress after which learning stops.
    pub patience: u32,
    /// Rows of a pass at most, drawn anew for each.
    pub epoch_rows: usize,
    /// Fewest hosts to learn from.
    pub least_hosts: usize,
    /// Fewest rows.
    pub least_rows: usize,
    /// False alarms that are accepted for each row. One event in 50 months of a host with a row a minute is 4.6e-7.
    pub rate: f64,
    /// Odd rows of a host no further apart are one event, ns.
    pub run_ns: u64,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            learning: Learning::default(),
            folds: 3,
            rounds: 2,
            trim: 0.02,
            epochs: 60,
            patience: 8,
            epoch_rows: 32_768,
            least_hosts: 5,
            least_rows: 20_000,
            rate: 4.6e-7,
            run_ns: 10 * MINUTE,
        }
    }
}

/// Why there is no model.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum TrainError {
    /// The rows are of another kind.
    #[error("rows have {got} features, but a {} has {want}; were they kept by another version?", subject.name())]
    Width {
        /// What they should be about.
        subject: Subject,
        /// Features of such rows.
        want: usize,
        /// Features of these.
        got: usize,
    },
    /// Too few rows.
    #[error("{got} rows are too few to learn from; at least {want} are needed")]
    TooFewRows {
        /// How many are needed.
        want: usize,
        /// How many there are.
        got: usize,
    },
    /// Too few hosts, or too many of them are odd.
    #[error(
        "{got} hosts are too few to learn from ({set_aside} more were set aside as odd); at least {want} are needed"
    )]
    TooFewHosts {
        /// How many are needed.
        want: usize,
        /// How many there are.
        got: usize,
        /// How many were set aside.
        set_aside: usize,
    },
    /// A score is not finite: the learning ran away.
    #[error("the learning ran away; a smaller step may help")]
    RanAway,
}

/// A model, and who was not learned from.
#[derive(Clone, PartialEq, Debug)]
pub struct Trained {
    /// The model.
    pub model: Model,
    /// Hosts that were set aside, or left out of the threshold: somebody should look at them.
    pub odd_hosts: Vec<DeviceKey>,
    /// Why no rate of false alarms can be promised, if so.
    pub guessed: Option<TailError>,
}

/// Trains a model of a class from rows. `made_secs` is written into it.
///
/// The same rows, seed and machine give the same model; on another kind of processor it may differ in the last digits.
///
/// # Errors
/// If there is too little to learn from, or the rows are of another kind.
pub fn train(
    rows: &Rows,
    subject: Subject,
    class: &str,
    training: &Training,
    (seed, made_secs): (u64, u64),
) -> Result<Trained, TrainError> {
    let mut state = State::new(rows, subject, training, seed)?;
    state.score_by_distance();
    state.judge()?;
    for _ in 0..training.rounds.max(1) {
        state.score_by_folds();
        state.judge()?;
    }
    let fit = state.fit(|_| true);
    let (threshold, mut odd_hosts, guessed) = state.threshold()?;
    odd_hosts.extend(state.host_names(|host| host.set_aside));
    odd_hosts.sort_unstable();
    let set_aside = state.hosts.iter().filter(|host| host.set_aside).count();
    let facts = Facts {
        made_secs,
        seed,
        rows: rows.len() as u64,
        left_out: state.kept.iter().filter(|kept| !**kept).count() as u64,
        hosts: state.hosts.len() as u32,
        set_aside: set_aside as u32,
        epochs: fit.epochs,
        loss: fit.loss,
    };
    let (ranks, levels) = (state.ranks(&fit.measure), state.levels());
    let usual = state.usual();
    let class = class.to_owned();
    let model = Model { subject, class, measure: fit.measure, usual, ranks, levels, threshold, facts };
    Ok(Trained { model, odd_hosts, guessed })
}

/// A host in training.
struct Host {
    name: DeviceKey,
    rows: Vec<usize>,
    fold: usize,
    set_aside: bool,
}

/// Training under way.
struct State<'a> {
    rows: &'a Rows,
    training: &'a Training,
    forms: Vec<Form>,
    hidden: &'static [usize],
    hosts: Vec<Host>,
    /// By row: it is learned from.
    kept: Vec<bool>,
    /// By row: its score in the last round.
    scores: Vec<f32>,
    random: Random,
}

impl<'a> State<'a> {
    fn new(rows: &'a Rows, subject: Subject, training: &'a Training, seed: u64) -> Result<Self, TrainError> {
        let labels = subject.labels();
        let (want, got) = (labels.len(), rows.values().ncols());
        if want != got {
            return Err(TrainError::Width { subject, want, got });
        }
        let (want, got) = (training.least_rows.max(1), rows.len());
        if got < want {
            return Err(TrainError::TooFewRows { want, got });
        }
        let names: BTreeSet<_> = rows.hosts().iter().copied().collect();
        let mut hosts: Vec<Host> = names
            .into_iter()
            .map(|name| Host { name, rows: Vec::new(), fold: 0, set_aside: false })
            .collect();
        for (row, name) in rows.hosts().iter().enumerate() {
            let host = hosts.binary_search_by_key(name, |host| host.name);
            if let Some(host) = host.ok().and_then(|at| hosts.get_mut(at)) {
                host.rows.push(row);
            }
        }
        let state = Self {
            rows,
            training,
            forms: labels.iter().map(|label| label.form).collect(),
            hidden: subject.hidden(),
            hosts,
            kept: vec![true; got],
            scores: vec![0.0; got],
            random: Random::new(seed),
        };
        state.enough_hosts()?;
        Ok(state)
    }

    fn enough_hosts(&self) -> Result<(), TrainError> {
        // One of them must be left when others are held back.
        let want = self.training.least_hosts.max(self.folds() + 1);
        let got = self.hosts.iter().filter(|host| !host.set_aside).count();
        let set_aside = self.hosts.len() - got;
        if got < want { Err(TrainError::TooFewHosts { want, got, set_aside }) } else { Ok(()) }
    }

    fn folds(&self) -> usize {
        self.training.folds.max(2)
    }

    /// Scores each row by how far it is from the median row: roughly, but by nothing that spoilt rows can teach.
    fn score_by_distance(&mut self) {
        let values = self.rows.values();
        let all: Vec<_> = (0..self.rows.len()).collect();
        let scaler = Scaler::learn(&values, &all, &self.forms);
        let mut scaled = vec![0.0; self.forms.len()];
        for (score, row) in self.scores.iter_mut().zip(values.rows()) {
            scaler.scale(row, &mut scaled);
            *score = scaled.iter().map(|value| value * value).sum::<f32>().max(f32::MIN_POSITIVE).ln();
        }
    }

    /// Scores each host by a network that did not learn from it.
    fn score_by_folds(&mut self) {
        let folds = self.folds();
        self.random.shuffle(&mut self.hosts);
        // Hosts set aside come last, so that the others are dealt evenly.
        self.hosts.sort_by_key(|host| host.set_aside);
        for (at, host) in self.hosts.iter_mut().enumerate() {
            host.fold = at % folds;
        }
        for fold in 0..folds {
            let fit = self.fit(|host| host.fold != fold);
            let which: Vec<_> = self.hosts.iter().filter(|host| host.fold == fold).collect();
            let which: Vec<_> = which.iter().flat_map(|host| host.rows.iter().copied()).collect();
            let values = self.rows.values();
            let scored = scores(&fit.measure, &values, which.iter().copied());
            for (row, score) in which.iter().zip(scored) {
                self.scores[*row] = score;
            }
        }
    }

    /// Judges by the scores what is learned from.
    fn judge(&mut self) -> Result<(), TrainError> {
        if self.scores.iter().any(|score| !score.is_finite()) {
            return Err(TrainError::RanAway);
        }
        self.set_aside();
        self.enough_hosts()?;
        self.leave_out();
        Ok(())
    }

    /// Learns from the hosts of a choice, and stops by a fifth of these.
    fn fit(&mut self, chosen: impl Fn(&Host) -> bool) -> Fit {
        let mut hosts: Vec<_> = self.hosts.iter().filter(|host| !host.set_aside && chosen(host)).collect();
        self.random.shuffle(&mut hosts);
        let held_back = hosts.split_off(hosts.len() - (hosts.len() / 5).max(1).min(hosts.len()));
        let rows = |hosts: &[&Host]| -> Vec<usize> {
            let rows = hosts.iter().flat_map(|host| host.rows.iter().copied());
            rows.filter(|row| self.kept[*row]).collect()
        };
        let (mut learn, mut check) = (rows(&hosts), rows(&held_back));
        let shape = (self.forms.as_slice(), self.hidden);
        fit(&self.rows.values(), [&mut learn, &mut check], shape, self.training, &mut self.random)
    }

    /// A part of the scores of a host is at most this.
    fn quantile(&self, host: &Host, part: f64) -> f32 {
        quantile(&mut host.rows.iter().map(|row| self.scores[*row]).collect::<Vec<_>>(), part)
    }

    /// Sets aside the hosts whose scores are too far above those of most, in the middle or near the top.
    fn set_aside(&mut self) {
        let mut odd = vec![false; self.hosts.len()];
        for part in COMPARED {
            let of_hosts: Vec<_> = self.hosts.iter().map(|host| self.quantile(host, part)).collect();
            let middle = quantile(&mut of_hosts.clone(), 0.5);
            let mut gaps: Vec<_> = of_hosts.iter().map(|of_host| (of_host - middle).abs()).collect();
            let limit = middle + (quantile(&mut gaps, 0.5) * MOST_GAPS).max(LEAST_GAP);
            odd.iter_mut().zip(of_hosts).for_each(|(odd, of_host)| *odd |= of_host > limit);
        }
        self.hosts.iter_mut().zip(odd).for_each(|(host, odd)| host.set_aside = odd);
    }

    /// Leaves out the worst rows of the hosts that are learned from.
    fn leave_out(&mut self) {
        let hosts = self.hosts.iter().filter(|host| !host.set_aside);
        let rows: Vec<_> = hosts.flat_map(|host| host.rows.iter().copied()).collect();
        let mut scores: Vec<_> = rows.iter().map(|row| self.scores[*row]).collect();
        let limit = quantile(&mut scores, 1.0 - self.training.trim);
        self.kept.fill(false);
        rows.iter().for_each(|row| self.kept[*row] = self.scores[*row] <= limit);
    }

    /// The ranks of the scores of what was learned from.
    fn ranks(&self, measure: &Measure) -> [f32; RANKS.len()] {
        let kept = (0..self.rows.len()).filter(|row| self.kept[*row]);
        let mut learned: Vec<f32> = scores(measure, &self.rows.values(), kept).collect();
        RANKS.map(|part| quantile(&mut learned, part))
    }

    /// The range of the hosts' levels, each by a network that did not learn from it.
    fn levels(&self) -> [f32; 2] {
        let hosts = self.hosts.iter().filter(|host| !host.set_aside);
        let levels = hosts.map(|host| self.quantile(host, 0.5));
        levels.fold([f32::MAX, f32::MIN], |[low, high], level| [low.min(level), high.max(level)])
    }

    /// What is usual for each feature.
    fn usual(&self) -> Vec<Usual> {
        let columns = self.rows.values();
        let usual = columns.columns().into_iter().map(|column| {
            let kept = column.iter().zip(&self.kept).filter(|(_, kept)| **kept);
            let mut values: Vec<f32> = kept.map(|(value, _)| *value).collect();
            let [low, middle, high] = [0.001, 0.5, 0.999].map(|part| quantile(&mut values, part));
            Usual { low, middle, high }
        });
        usual.collect()
    }

    fn host_names(&self, chosen: impl Fn(&Host) -> bool) -> Vec<DeviceKey> {
        self.hosts.iter().filter(|host| chosen(host)).map(|host| host.name).collect()
    }
}
