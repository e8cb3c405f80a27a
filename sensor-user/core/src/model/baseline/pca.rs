//! Principal components: an autoencoder without bends.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::model::LEAST_ERROR;
use crate::model::random::Random;
use crate::model::scale::{Form, Scaler};

/// Steps of the iteration to the axes; with gaps between the variances of a few percent the axes stand by then.
const STEPS: usize = 100;

/// The first principal axes of scaled rows, and how well they give rows back.
#[derive(Clone, Debug)]
pub struct Pca {
    scaler: Scaler,
    mean: Array1<f32>,
    /// Features by components.
    axes: Array2<f32>,
    errors: Vec<f32>,
}

impl Pca {
    /// Learns from the rows with these numbers so many components, by orthogonal iteration on their covariance (Golub and Van
    /// Loan, Matrix Computations, 8.2.4).
    pub fn learn(
        rows: &ArrayView2<'_, f32>,
        which: &[usize],
        forms: &[Form],
        components: usize,
        random: &mut Random,
    ) -> Self {
        let scaler = Scaler::learn(rows, which, forms);
        let mut scaled = Array2::zeros((which.len(), forms.len()));
        for (at, mut row) in which.iter().zip(scaled.rows_mut()) {
            if let Some(row) = row.as_slice_mut() {
                scaler.scale(rows.row(*at), row);
            }
        }
        let mean = scaled.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(forms.len()));
        let centred = &scaled - &mean;
        let covariance = centred.t().dot(&centred);
        let mut axes = Array2::from_shape_simple_fn((forms.len(), components.min(forms.len())), || {
            random.normal() as f32
        });
        for _ in 0..STEPS {
            axes = orthogonal(covariance.dot(&axes));
        }
        let gaps = centred.dot(&axes).dot(&axes.t()) - &centred;
        let errors = gaps.mapv(|gap| gap * gap).mean_axis(Axis(0));
        let errors = errors.into_iter().flatten().map(|error| error.max(LEAST_ERROR)).collect();
        Self { scaler, mean, axes, errors }
    }

    /// The logarithm of the mean error of a row, each feature's in units of its usual one, as a model has it.
    pub fn score(&self, row: &[f32]) -> f32 {
        let mut scaled = Array1::zeros(self.mean.len());
        if let Some(scaled) = scaled.as_slice_mut() {
            self.scaler.scale(row, scaled);
        }
        let centred = scaled - &self.mean;
        let given = self.axes.dot(&self.axes.t().dot(&centred));
        let gaps = given.iter().zip(&centred).zip(&self.errors);
        let sum: f32 = gaps.map(|((given, row), usual)| (given - row) * (given - row) / usual).sum();
        (sum / self.errors.len().max(1) as f32).max(f32::MIN_POSITIVE).ln()
    }
}

/// Columns of length one at right angles, that span the same (Gram and Schmidt, each taken off what is left).
fn orthogonal(mut columns: Array2<f32>) -> Array2<f32> {
    for at in 0..columns.ncols() {
        for before in 0..at {
            let known = columns.column(before).to_owned();
            let part = known.dot(&columns.column(at));
            columns.column_mut(at).scaled_add(-part, &known);
        }
        let length = columns.column(at).dot(&columns.column(at)).sqrt();
        columns.column_mut(at).mapv_inplace(|x| x / length.max(f32::MIN_POSITIVE));
    }
    columns
}
