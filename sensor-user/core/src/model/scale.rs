//! Scaling of features: each less its median, in units of its interquartile range, clipped.
//!
//! Not by least and greatest value of the training, as KitNET has it: there one outlier flattens all the rest.

use ndarray::ArrayView2;

/// Scaled values are clipped to this on both sides: beyond it more is no odder.
pub const CLIP: f32 = 8.0;
/// A feature with less spread than this counts as constant.
const LEAST_SPREAD: f32 = 0.05;
/// Rows a scaler is learned from at most; with so many the quartiles lie within about half a percent of the rows.
const MOST_ROWS: usize = 32_768;

/// How a feature is scaled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// 0 or 1: left as it is.
    Flag,
    /// By median and range.
    Plain,
    /// The same, of the logarithm of one more: counts, bytes, seconds.
    Log,
}

/// What is taken off a feature, and what it is divided by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Column {
    /// The form.
    pub form: Form,
    /// Its median, after the logarithm if the form has one.
    pub middle: f32,
    /// Its interquartile range, likewise; greater than 0.
    pub spread: f32,
}

/// The scaling of a row.
#[derive(Clone, PartialEq, Debug)]
pub struct Scaler {
    /// One for each feature.
    pub columns: Vec<Column>,
}

impl Scaler {
    /// Learns from the rows with these numbers (all of them, or evenly chosen ones if they are very many). The forms are
    /// those of the columns. If half the rows share one value, so that the range is 0, the range of the middle 98 of 100
    /// takes its place; of a constant a unit is a unit.
    pub fn learn(rows: &ArrayView2<'_, f32>, which: &[usize], forms: &[Form]) -> Self {
        let step = which.len().div_ceil(MOST_ROWS).max(1);
        let mut values = Vec::with_capacity(which.len().div_ceil(step));
        let columns = forms.iter().zip(rows.columns()).map(|(form, column)| {
            values.clear();
            let chosen = which.iter().step_by(step).filter_map(|row| column.get(*row));
            values.extend(chosen.map(|value| shape(*form, *value)));
            if *form == Form::Flag {
                return Column { form: *form, middle: 0.0, spread: 1.0 };
            }
            let [low, first, middle, third, high] =
                [0.01, 0.25, 0.5, 0.75, 0.99].map(|p| quantile(&mut values, p));
            let spread = [third - first, high - low].into_iter().find(|spread| *spread >= LEAST_SPREAD);
            Column { form: *form, middle, spread: spread.unwrap_or(1.0) }
        });
        Self { columns: columns.collect() }
    }

    /// Scales a row; what is not a number becomes the lowest value. Both must be as long as there are columns.
    pub fn scale<'a>(&self, row: impl IntoIterator<Item = &'a f32>, out: &mut [f32]) {
        for ((out, value), column) in out.iter_mut().zip(row).zip(&self.columns) {
            let scaled = (shape(column.form, *value) - column.middle) / column.spread;
            *out = if scaled.is_nan() { -CLIP } else { scaled.clamp(-CLIP, CLIP) };
        }
    }
}

/// A value by its form.
fn shape(form: Form, value: f32) -> f32 {
    match form {
        Form::Flag | Form::Plain => value,
        Form::Log => value.max(0.0).ln_1p(),
    }
}

/// The least value that at least the part `p` of all are not greater than; 0 of none. Puts the values into another order.
pub fn quantile(values: &mut [f32], p: f64) -> f32 {
    let at = ((values.len() as f64 * p).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    if at < values.len() { *values.select_nth_unstable_by(at, f32::total_cmp).1 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn columns_come_out_as_their_form_says() {
        let value = |(row, column): (usize, usize)| match column {
            0 => row as f32 / 10.0,
            1 => (row as f32 / 10.0).exp_m1(),
            2 => f32::from(u8::from(row > 90)),
            // Mostly one value; one that is always the same.
            3 => (row as f32 - 80.0).max(0.0),
            _ => 7.0,
        };
        let rows = Array2::from_shape_fn((101, 5), value);
        let forms = [Form::Plain, Form::Log, Form::Flag, Form::Plain, Form::Plain];
        let scaler = Scaler::learn(&rows.view(), &(0..101).collect::<Vec<_>>(), &forms);
        let check = |row: [f32; 5], want: [f32; 5]| {
            let mut out = [f32::NAN; 5];
            scaler.scale(&row, &mut out);
            let close = out.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-3);
            assert!(close, "{row:?} gives {out:?}, not {want:?} by {scaler:?}");
        };
        check([5.0, 5.0_f32.exp_m1(), 1.0, 0.0, 7.0], [0.0, 0.0, 1.0, 0.0, 0.0]);
        check([10.0, 10.0_f32.exp_m1(), 0.0, 19.0, 9.0], [1.0, 1.0, 0.0, 1.0, 2.0]);
        check([1e30, f32::INFINITY, 1.0, -1e30, 99.0], [8.0, 8.0, 1.0, -8.0, 8.0]);
        check([f32::NAN, -5.0, 0.0, 0.0, f32::NEG_INFINITY], [-8.0, -1.0, 0.0, 0.0, -8.0]);
    }

    #[test]
    fn a_tenth_of_outliers_changes_little() {
        let rows = |odd: f32| {
            Array2::from_shape_fn((1_000, 1), |(row, _)| if row % 10 == 0 { odd } else { (row % 100) as f32 })
        };
        let learn = |odd| {
            let all: Vec<_> = (0..1_000).collect();
            Scaler::learn(&rows(odd).view(), &all, &[Form::Plain]).columns[0]
        };
        let (clean, dirty) = (learn(50.0), learn(1e9));
        assert!((clean.middle - dirty.middle).abs() < 0.2 * clean.spread, "{clean:?} {dirty:?}");
        assert!((clean.spread / dirty.spread - 1.0).abs() < 0.25, "{clean:?} {dirty:?}");
    }
}
