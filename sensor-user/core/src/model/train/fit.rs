//! One network, learned from the rows of some hosts and stopped by those of others.

use ndarray::{Array2, ArrayView2, Axis, Slice};

use super::Training;
use crate::model::network::{Batch, Learner, Network, loss};
use crate::model::random::Random;
use crate::model::scale::{Form, Scaler, quantile};
use crate::model::{LEAST_ERROR, Measure, Scratch};

/// Rows the loss and the usual errors are taken from, at most.
const MOST_CHECKED: usize = 8_192;
/// Part of the errors of a feature that its usual one is the mean of: a few odd rows do not raise it.
const COMMON: f64 = 0.99;

/// A measure, and how it was learned.
pub(super) struct Fit {
    pub(super) measure: Measure,
    pub(super) epochs: u32,
    pub(super) loss: f32,
}

/// Learns from the rows of the one list, and stops when the loss of those of the other has not fallen for a while.
pub(super) fn fit(
    values: &ArrayView2<'_, f32>,
    [learn, check]: [&mut [usize]; 2],
    (forms, hidden): (&[Form], &[usize]),
    training: &Training,
    random: &mut Random,
) -> Fit {
    let scaler = Scaler::learn(values, learn, forms);
    random.shuffle(check);
    let checked = check.get(..MOST_CHECKED).unwrap_or(check);
    let mut scaled = Array2::zeros((checked.len(), forms.len()));
    gather(values, checked, &scaler, &mut scaled);

    let network = Network::new(forms.len(), hidden, random);
    let mut output = Batch::new(&network, checked.len());
    let mut learner = Learner::new(network.clone(), training.learning);
    let mut rows = Array2::zeros((training.learning.batch.max(1), forms.len()));
    let (mut best, mut best_loss, mut best_epoch) = (network, f32::INFINITY, 0);
    for epoch in 1..=training.epochs {
        random.shuffle(learn);
        for batch in learn.chunks(rows.nrows()).take(training.epoch_rows.div_ceil(rows.nrows())) {
            gather(values, batch, &scaler, &mut rows);
            learner.step(&rows.slice_axis(Axis(0), Slice::from(..batch.len())), random);
        }
        let given = learner.network().forward_batch(&scaled.view(), &mut output);
        let loss = loss(&given, &scaled.view(), training.learning.huber);
        if loss < best_loss {
            (best, best_loss, best_epoch) = (learner.network().clone(), loss, epoch);
        }
        if epoch - best_epoch >= training.patience {
            break;
        }
    }
    let errors = errors(&best, &scaled);
    Fit { measure: Measure { scaler, network: best, errors }, epochs: best_epoch, loss: best_loss }
}

/// Scales rows into a buffer, from its top.
fn gather(values: &ArrayView2<'_, f32>, which: &[usize], scaler: &Scaler, rows: &mut Array2<f32>) {
    for (at, mut row) in which.iter().zip(rows.rows_mut()) {
        if let Some(row) = row.as_slice_mut() {
            scaler.scale(values.row(*at), row);
        }
    }
}

/// The usual squared error of each feature.
fn errors(network: &Network, rows: &Array2<f32>) -> Vec<f32> {
    let mut batch = Batch::new(network, rows.nrows());
    let output = network.forward_batch(&rows.view(), &mut batch);
    let usual = output.columns().into_iter().zip(rows.columns()).map(|(output, clean)| {
        let mut squares: Vec<f32> = output.iter().zip(clean).map(|(a, b)| (a - b) * (a - b)).collect();
        let limit = quantile(&mut squares, COMMON);
        let common = squares.iter().filter(|square| **square <= limit);
        let (sum, count) = common.fold((0.0, 0_u32), |(sum, count), square| (sum + square, count + 1));
        (sum / count.max(1) as f32).max(LEAST_ERROR)
    });
    usual.collect()
}

/// The score of each of the rows of a list.
pub(super) fn scores<'a>(
    measure: &'a Measure,
    values: &'a ArrayView2<'_, f32>,
    which: impl IntoIterator<Item = usize> + 'a,
) -> impl Iterator<Item = f32> + 'a {
    let mut scratch = Scratch::default();
    which.into_iter().map(move |at| measure.score(values.row(at), &mut scratch))
}
