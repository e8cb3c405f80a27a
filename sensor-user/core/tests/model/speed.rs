//! How fast rows are made, scored and learned from. In processor time of one thread.

use std::hint::black_box;

use ndarray::{Array2, Axis};
use sensor_core::model::Measure;
use sensor_core::model::baseline::{Forest, Pca};
use sensor_core::model::features::Subject;
use sensor_core::model::network::{Batch, Learner, Learning, Network};
use sensor_core::model::random::Random;
use sensor_core::model::scale::Scaler;

use crate::cpu_seconds;
use crate::synthetic::Class;

/// Rows that are there to be measured with.
const ROWS: usize = 8_192;

/// Rows a second, the median of seven.
fn rate(rows: usize, mut work: impl FnMut()) -> f64 {
    let mut rates: Vec<f64> = (0..7)
        .map(|_| {
            let began = cpu_seconds();
            let mut rounds = 0;
            while rounds == 0 || cpu_seconds() - began < 0.1 {
                work();
                rounds += 1;
            }
            (rounds * rows) as f64 / (cpu_seconds() - began)
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[3]
}

/// `cargo test --release -p sensor-core --test model -- --ignored --nocapture speed`.
#[test]
#[ignore = "prints what it measures"]
fn speed() {
    for subject in [Subject::Flow, Subject::Window] {
        let class = Class::new(subject);
        let mut random = Random::new(1);
        let forms: Vec<_> = subject.labels().iter().map(|label| label.form).collect();
        let rows = class.rows(0..8, ROWS as u64 / 8, 1);
        let all: Vec<usize> = (0..ROWS).collect();
        let scaler = Scaler::learn(&rows.values(), &all, &forms);
        let network = Network::new(forms.len(), subject.hidden(), &mut random);
        let mut scaled = Array2::zeros((ROWS, forms.len()));
        for (row, mut scaled) in rows.values().rows().into_iter().zip(scaled.rows_mut()) {
            scaler.scale(row, scaled.as_slice_mut().unwrap());
        }
        println!("{subject:?}, {}-{:?}-{}:", forms.len(), subject.hidden(), forms.len());

        let measure = Measure { scaler, network: network.clone(), errors: vec![1.0; forms.len()] };
        let mut scratch = Default::default();
        let values = rows.values();
        let alone = rate(ROWS, || {
            values.rows().into_iter().for_each(|row| {
                black_box(measure.score(row, &mut scratch));
            });
        });
        println!("  scored singly, scaling and all: {alone:.3e} rows/s, {:.2} us", 1e6 / alone);
        for size in [16, 256] {
            let mut batch = Batch::new(&network, size);
            let together = rate(ROWS, || {
                for rows in scaled.axis_chunks_iter(Axis(0), size) {
                    black_box(network.forward_batch(&rows, &mut batch));
                }
            });
            println!("  passed on in batches of {size}: {together:.3e} rows/s");
        }
        let mut learner = Learner::new(network, Learning::default());
        let learned = rate(ROWS, || {
            for rows in scaled.axis_chunks_iter(Axis(0), 256) {
                learner.step(&rows, &mut random);
            }
        });
        println!("  learned from in batches of 256: {learned:.3e} rows/s");
        let pca = Pca::learn(&values, &all, &forms, 12, &mut random);
        let forest = Forest::learn(&values, &all, &mut random);
        let score = |score: &dyn Fn(&[f32]) -> f32| {
            rate(ROWS, || {
                values.rows().into_iter().for_each(|row| _ = black_box(score(row.as_slice().unwrap())))
            })
        };
        println!(
            "  PCA: {:.3e} rows/s, forest: {:.3e}",
            score(&|row| pca.score(row)),
            score(&|row| forest.score(row))
        );
    }
}
