//! What learns rows of numbers: the product's own network as it is trained and judged there, and beside it an isolation forest
//! and a principal component analysis.

use std::collections::HashMap;

use sensor_core::inventory::DeviceKey;
use sensor_core::model::baseline::{Forest, Pca};
use sensor_core::model::features::{Subject, window};
use sensor_core::model::random::Random;
use sensor_core::model::reservoir::Rows;
use sensor_core::model::train::{Training, train};
use sensor_core::model::{Level, Model, Scratch};

use super::rivals::Rival;
use crate::figure::quantile;

/// Components of the analysis.
const COMPONENTS: usize = 12;
/// What an error of the analysis is measured from: this part of the rows it learned from have less.
const USUAL: f64 = 0.999;
/// Fewest rows that a network is trained from: small sites have few, and no rate is promised here.
const LEAST_ROWS: usize = 500;

/// A row of a device's minute.
pub type Row = [f32; window::WIDTH];

/// The methods, once they learned.
pub struct Learned {
    forest: Forest,
    pca: Pca,
    usual: f64,
    /// None: there was too little to train it from.
    network: Option<Model>,
    levels: HashMap<DeviceKey, Level>,
    scratch: Scratch,
}

impl Learned {
    /// From these rows of minutes; another seed draws other networks and trees.
    pub fn new(rows: &Rows, seed: u64) -> Self {
        let values = rows.values();
        let all: Vec<usize> = (0..rows.len()).collect();
        let forms: Vec<_> = Subject::Window.labels().iter().map(|label| label.form).collect();
        let mut random = Random::new(seed);
        let pca = Pca::learn(&values, &all, &forms, COMPONENTS, &mut random);
        let errors: Vec<f64> =
            values.rows().into_iter().map(|row| f64::from(pca.score(&row.to_vec()))).collect();
        let training = Training { least_rows: LEAST_ROWS, ..Training::default() };
        let trained = train(rows, Subject::Window, "all", &training, (seed, 0));
        Self {
            forest: Forest::learn(&values, &all, &mut random),
            pca,
            usual: quantile(&errors, USUAL).unwrap_or_default(),
            network: trained.ok().map(|trained| trained.model),
            levels: HashMap::new(),
            scratch: Scratch::default(),
        }
    }

    /// How odd each finds a minute of a device. The network's score counts from its own threshold.
    pub fn scores(&mut self, device: DeviceKey, row: &Row) -> Vec<(Rival, f64)> {
        let mut scores = vec![
            (Rival::Forest, f64::from(self.forest.score(row))),
            (Rival::Pca, f64::from(self.pca.score(row)) - self.usual),
        ];
        if let Some(network) = &self.network {
            let level = self.levels.get(&device).copied().unwrap_or_else(|| network.level());
            let over = f64::from(network.judge(row, &level, &mut self.scratch).over);
            scores.push((Rival::Network, over - network.threshold.at()));
        }
        scores
    }

    /// The device does that: its own level follows.
    pub fn observe(&mut self, device: DeviceKey, row: &Row) {
        let Some(network) = &self.network else { return };
        let score = network.measure.score(row, &mut self.scratch);
        self.levels.entry(device).or_insert_with(|| network.level()).observe(score);
    }
}
