//! How a network learns: from its errors, batch by batch.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, Zip};

use super::{Batch, LEAK, Layer, Network, first, first_mut};
use crate::model::random::Random;

/// Forgetting of the mean and of the square, and the least divisor, of Adam (Kingma and Ba, ICLR 2015, algorithm 1).
const BETA: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;

/// How a network learns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Learning {
    /// Step size of Adam.
    pub rate: f32,
    /// Part of the inputs that are set to 0 at random, 0 to 1 (masking noise of Vincent et al., ICML 2008), to the next
    /// 256th.
    pub mask: f32,
    /// An error beyond this counts by its size, not its square (Huber 1964), in units of the scaled inputs.
    pub huber: f32,
    /// Rows of a batch.
    pub batch: usize,
}

impl Default for Learning {
    fn default() -> Self {
        Self { rate: 2e-3, mask: 0.1, huber: 1.0, batch: 64 }
    }
}

/// A network that learns, with all buffers it needs for that.
#[derive(Debug)]
pub struct Learner {
    network: Network,
    learning: Learning,
    /// Steps done.
    steps: i32,
    /// Mean of the gradient and of its square, and the gradient, layer by layer.
    layers: Vec<[Layer; 3]>,
    noisy: Array2<f32>,
    batch: Batch,
    /// What each layer's nodes contribute to the loss, rows by nodes.
    blame: Batch,
}

impl Learner {
    /// Begins with a network.
    pub fn new(network: Network, learning: Learning) -> Self {
        let rows = learning.batch.max(1);
        let empty = |layer: &Layer| Layer {
            weights: Array2::zeros(layer.weights.raw_dim()),
            bias: Array1::zeros(layer.bias.raw_dim()),
        };
        Self {
            layers: network.layers().map(|layer| [empty(layer), empty(layer), empty(layer)]).collect(),
            noisy: Array2::zeros((rows, network.inputs())),
            batch: Batch::new(&network, rows),
            blame: Batch::new(&network, rows),
            learning,
            steps: 0,
            network,
        }
    }

    /// The network as it is by now.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Learns from a batch, rows by inputs, at most [`Learning::batch`] rows. The loss is that before the step.
    ///
    /// # Panics
    /// If the batch has other inputs than the network, or too many rows.
    pub fn step(&mut self, input: &ArrayView2<'_, f32>, random: &mut Random) -> f32 {
        let mut noisy = first_mut(&mut self.noisy, input.nrows());
        noisy.assign(input);
        mask(&mut noisy, self.learning.mask, random);
        let loss = self.gradient(input);
        self.steps = self.steps.saturating_add(1);
        let [mean, square] = BETA.map(|beta| 1.0 - beta.powi(self.steps));
        let rate = self.learning.rate * square.sqrt() / mean;
        let targets = self.network.hidden.iter_mut().chain([&mut self.network.last]);
        for (layer, [mean, square, gradient]) in targets.zip(&mut self.layers) {
            let weights = Zip::from(&mut layer.weights).and(&mut mean.weights).and(&mut square.weights);
            weights.and(&gradient.weights).for_each(|x, mean, square, g| adam(x, mean, square, *g, rate));
            let bias = Zip::from(&mut layer.bias).and(&mut mean.bias).and(&mut square.bias);
            bias.and(&gradient.bias).for_each(|x, mean, square, g| adam(x, mean, square, *g, rate));
        }
        loss
    }

    /// The loss of what the network makes of the noisy rows, against the clean ones; its gradient goes to the third of
    /// [`Learner::layers`] (back-propagation: Rumelhart, Hinton, Williams 1986).
    fn gradient(&mut self, clean: &ArrayView2<'_, f32>) -> f32 {
        let rows = clean.nrows();
        let noisy = first(&self.noisy, rows);
        let output = self.network.forward_batch(&noisy, &mut self.batch);
        let mut blame = first_mut(&mut self.blame.last, rows);
        let (huber, all) = (self.learning.huber, clean.len().max(1) as f32);
        Zip::from(&mut blame).and(&output).and(clean).for_each(|blame, output, clean| {
            *blame = (output - clean).clamp(-huber, huber) / all;
        });
        let loss = loss(&output, clean, huber);
        let hidden = self.network.hidden.len();
        for at in (0..=hidden).rev() {
            let layer = self.network.hidden.get(at).unwrap_or(&self.network.last);
            let (before, after) = self.blame.hidden.split_at_mut(at);
            let blame = first(after.first().unwrap_or(&self.blame.last), rows);
            let input = at.checked_sub(1).and_then(|at| self.batch.hidden.get(at));
            let input = first(input.unwrap_or(&self.noisy), rows);
            let Some([_, _, gradient]) = self.layers.get_mut(at) else { break };
            general_mat_mul(1.0, &input.t(), &blame, 0.0, &mut gradient.weights);
            gradient.bias.assign(&blame.sum_axis(Axis(0)));
            let Some(before) = before.last_mut() else { break };
            let mut before = first_mut(before, rows);
            general_mat_mul(1.0, &blame, &layer.weights.t(), 0.0, &mut before);
            // The leaky ReLU keeps the sign.
            before.zip_mut_with(&input, |blame, output| *blame *= if *output > 0.0 { 1.0 } else { LEAK });
        }
        loss
    }
}

/// One step of Adam for one number, with the bias of its means taken out by `rate` (section 2 of the paper, at its end).
fn adam(x: &mut f32, mean: &mut f32, square: &mut f32, gradient: f32, rate: f32) {
    let [forget_mean, forget_square] = BETA;
    *mean = forget_mean * *mean + (1.0 - forget_mean) * gradient;
    *square = forget_square * *square + (1.0 - forget_square) * gradient * gradient;
    *x -= rate * *mean / (square.sqrt() + EPSILON);
}

/// The mean Huber loss of rows against what they should be.
pub(in crate::model) fn loss(output: &ArrayView2<'_, f32>, clean: &ArrayView2<'_, f32>, huber: f32) -> f32 {
    let sum = Zip::from(output).and(clean).fold(0.0, |sum, output, clean| {
        let error = (output - clean).abs();
        sum + if error <= huber { error * error / 2.0 } else { huber * (error - huber / 2.0) }
    });
    sum / clean.len().max(1) as f32
}

/// Sets a part of all numbers to 0.
fn mask(rows: &mut ArrayViewMut2<'_, f32>, part: f32, random: &mut Random) {
    // Eight draws of a byte at a time.
    let below = (part.clamp(0.0, 1.0) * 256.0).round() as u64;
    let mut bits = 0;
    for (at, number) in rows.iter_mut().enumerate() {
        bits = if at % 8 == 0 { random.bits() } else { bits >> 8 };
        if bits & 0xff < below {
            *number = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::network::Work;

    fn normal(rows: usize, columns: usize, random: &mut Random) -> Array2<f32> {
        Array2::from_shape_simple_fn((rows, columns), || random.normal() as f32)
    }

    /// Rows near a curved surface of three dimensions in a space of sixteen.
    fn surface(rows: usize, random: &mut Random) -> Array2<f32> {
        let mut map = Random::new(99);
        let (first, second) = (normal(3, 16, &mut map), normal(3, 16, &mut map));
        let hidden = normal(rows, 3, random);
        hidden.dot(&first) + hidden.mapv(f32::sin).dot(&second) + normal(rows, 16, random) * 0.1
    }

    /// The part of pairs in which the odd one has the greater error (the area under the ROC curve).
    fn area(usual: &[f32], odd: &[f32]) -> f64 {
        let wins: usize = odd.iter().map(|odd| usual.iter().filter(|usual| odd > usual).count()).sum();
        wins as f64 / (usual.len() * odd.len()) as f64
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let mut random = Random::new(5);
        let clean = normal(7, 6, &mut random) * 2.0;
        let learning = Learning { mask: 0.0, batch: 7, ..Learning::default() };
        let mut learner = Learner::new(Network::new(6, &[5, 3, 5], &mut random), learning);
        learner.noisy.assign(&clean);
        learner.gradient(&clean.view());
        let mut checked = 0;
        for at in 0..4 {
            let (inputs, outputs) = learner.layers[at][2].weights.dim();
            // Of each row of weights two, and as the last row the bias.
            for (row, column) in (0..=inputs).flat_map(|row| [(row, 0), (row, outputs - 1)]) {
                let mut loss_with = |by: f32| {
                    let layer = learner.network.hidden.get_mut(at);
                    let layer = layer.unwrap_or(&mut learner.network.last);
                    *layer.weights.get_mut((row, column)).unwrap_or(&mut layer.bias[column]) += by;
                    learner.gradient(&clean.view())
                };
                let (up, down) = (loss_with(1e-3), loss_with(-2e-3));
                loss_with(1e-3);
                let gradient = &learner.layers[at][2];
                let got = *gradient.weights.get((row, column)).unwrap_or(&gradient.bias[column]);
                let want = (up - down) / 2e-3;
                let far = (want - got).abs() > 5e-4 + 0.02 * want.abs();
                assert!(!far, "layer {at}, row {row}, column {column}: {want} {got}");
                checked += usize::from(want.abs() > 1e-3);
            }
        }
        assert!(checked > 30, "only {checked} gradients were not 0");
    }

    #[test]
    fn a_surface_is_learned_and_what_lies_off_it_stands_out() {
        let mut random = Random::new(6);
        let rows = surface(2_048, &mut random);
        let mut learner = Learner::new(
            Network::new(16, &[12, 3, 12], &mut random),
            Learning { batch: 64, ..Learning::default() },
        );
        let mut losses = Vec::new();
        for _ in 0..25 {
            let batches = rows.axis_chunks_iter(Axis(0), 64);
            let sum: f32 = batches.map(|batch| learner.step(&batch, &mut random)).sum();
            losses.push(sum / 32.0);
        }
        let fresh = surface(200, &mut random);
        // Usual in each column by itself, for each comes from another row; only together they are not.
        let mut odd = Array2::zeros((200, 16));
        for (column, mut odd) in odd.columns_mut().into_iter().enumerate() {
            odd.assign(&surface(200, &mut Random::new(100 + column as u64)).column(column));
        }
        let mut work = Work::default();
        let mut errors = |rows: &Array2<f32>| -> Vec<f32> {
            let error = |row: ndarray::ArrayView1<'_, f32>| {
                let row = row.to_vec();
                let output = learner.network().forward(&row, &mut work);
                output.iter().zip(&row).map(|(a, b)| (a - b).powi(2)).sum()
            };
            rows.rows().into_iter().map(error).collect()
        };
        let area = area(&errors(&fresh), &errors(&odd));
        assert!(losses[24] < losses[0] / 2.0, "losses {losses:?}");
        assert!(area > 0.95, "area {area}");
    }

    #[test]
    fn rows_alone_and_in_a_batch_come_out_the_same() {
        let mut random = Random::new(7);
        let network = Network::new(64, &[32, 12, 32], &mut random);
        let rows = normal(33, 64, &mut random);
        let (mut batch, mut work) = (Batch::new(&network, 40), Work::default());
        let together = network.forward_batch(&rows.view(), &mut batch).to_owned();
        for (row, together) in rows.rows().into_iter().zip(together.rows()) {
            let alone = network.forward(&row.to_vec(), &mut work);
            let gap = alone.iter().zip(together).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(gap < 1e-4, "gap {gap}");
        }
    }

    #[test]
    fn the_same_seed_learns_the_same() {
        let learn = || {
            let mut random = Random::new(8);
            let rows = surface(256, &mut random);
            let learning = Learning { batch: 256, ..Learning::default() };
            let mut learner = Learner::new(Network::new(16, &[4], &mut random), learning);
            (0..5).for_each(|_| _ = learner.step(&rows.view(), &mut random));
            learner.network().clone()
        };
        assert_eq!(learn(), learn());
    }
}
