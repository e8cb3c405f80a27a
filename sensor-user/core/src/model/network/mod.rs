//! A fully connected autoencoder: it is taught to give back what it is given through a layer too narrow to copy it, and so
//! learns what usual rows have in common. What is unusual comes back wrong.
//!
//! Hidden layers have the leaky ReLU (Maas et al., ICML workshop 2013), the last is linear. One row is passed on by sums in
//! a fixed order, without fused operations, so that a model gives the same score on every machine; batches go through a
//! faster matrix product that may differ in the last digits, and are for learning only.

mod learn;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, Slice};

pub(super) use learn::loss;
pub use learn::{Learner, Learning};

use super::random::Random;

/// Slope of the leaky ReLU below zero.
const LEAK: f32 = 0.01;

/// Most layers.
pub const MAX_LAYERS: usize = 8;
/// Most nodes of a layer.
pub const MAX_WIDTH: usize = 256;

/// One layer: `output = input * weights + bias`.
#[derive(Clone, PartialEq, Debug)]
pub struct Layer {
    /// Inputs by outputs, row by row in memory.
    weights: Array2<f32>,
    /// One for each output.
    bias: Array1<f32>,
}

/// The network.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    hidden: Vec<Layer>,
    /// As many outputs as the first layer has inputs.
    last: Layer,
}

/// Where one row is passed on; keep it, so that nothing is allocated for each row.
#[derive(Clone, Debug, Default)]
pub struct Work {
    front: Vec<f32>,
    back: Vec<f32>,
}

/// Where a batch is passed on: what each layer makes of it, rows by nodes.
#[derive(Clone, Debug)]
pub struct Batch {
    hidden: Vec<Array2<f32>>,
    last: Array2<f32>,
}

impl Network {
    /// A network of so many inputs and outputs and hidden layers of the given widths, with weights drawn for the leaky ReLU
    /// (He et al., ICCV 2015, eq. 15) and biases of 0.
    pub fn new(inputs: usize, hidden: &[usize], random: &mut Random) -> Self {
        let mut width = inputs;
        let mut layer = |outputs: usize| {
            let deviation = (2.0 / (f64::from(1.0 + LEAK * LEAK) * width.max(1) as f64)).sqrt();
            let weight = || (random.normal() * deviation) as f32;
            let weights = Array2::from_shape_simple_fn((width, outputs), weight);
            width = outputs;
            Layer { weights, bias: Array1::zeros(outputs) }
        };
        Self { hidden: hidden.iter().map(|width| layer(*width)).collect(), last: layer(inputs) }
    }

    /// A network of given weights (inputs by outputs, row by row) and biases, layer by layer. None if the shapes do not fit
    /// one another or the bounds, or a number is not finite.
    pub fn from_parts(inputs: usize, parts: Vec<(Vec<f32>, Vec<f32>)>) -> Option<Self> {
        if parts.len() > MAX_LAYERS || !(1..=MAX_WIDTH).contains(&inputs) {
            return None;
        }
        let mut width = inputs;
        let mut hidden = Vec::with_capacity(parts.len());
        for (weights, bias) in parts {
            let outputs = bias.len();
            let finite = weights.iter().chain(&bias).all(|number| number.is_finite());
            if !(1..=MAX_WIDTH).contains(&outputs) || !finite {
                return None;
            }
            let weights = Array2::from_shape_vec((width, outputs), weights).ok()?;
            hidden.push(Layer { weights, bias: Array1::from_vec(bias) });
            width = outputs;
        }
        let last = hidden.pop().filter(|last| last.bias.len() == inputs)?;
        Some(Self { hidden, last })
    }

    /// Weights (inputs by outputs, row by row) and biases, layer by layer.
    pub fn parts(&self) -> impl Iterator<Item = (impl Iterator<Item = f32>, impl Iterator<Item = f32>)> {
        self.layers().map(|layer| (layer.weights.iter().copied(), layer.bias.iter().copied()))
    }

    /// Nodes that a row goes in by, and out by.
    pub fn inputs(&self) -> usize {
        self.last.bias.len()
    }

    /// Nodes of each layer, the last included.
    pub fn widths(&self) -> impl ExactSizeIterator<Item = usize> {
        let widths: Vec<_> = self.layers().map(|layer| layer.bias.len()).collect();
        widths.into_iter()
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.hidden.iter().chain([&self.last])
    }

    /// Passes one row on: what the network takes it for. Inputs that are missing count as 0.
    pub fn forward<'a>(&self, input: &[f32], work: &'a mut Work) -> &'a [f32] {
        work.front.clear();
        work.front.extend_from_slice(input);
        for layer in &self.hidden {
            layer.apply(&work.front, &mut work.back);
            work.back.iter_mut().for_each(|node| *node = leaky(*node));
            std::mem::swap(&mut work.front, &mut work.back);
        }
        self.last.apply(&work.front, &mut work.back);
        &work.back
    }

    /// Passes a batch on, rows by inputs; at most as many rows as the buffer was made for.
    ///
    /// # Panics
    /// If the shapes of input and buffer are not those of the network.
    pub fn forward_batch<'a>(
        &self,
        input: &ArrayView2<'_, f32>,
        batch: &'a mut Batch,
    ) -> ArrayView2<'a, f32> {
        let rows = input.nrows();
        for (at, layer) in self.hidden.iter().enumerate() {
            let (before, rest) = batch.hidden.split_at_mut(at);
            let input = before.last().map_or(input.view(), |output| first(output, rows));
            let Some(output) = rest.first_mut() else { break };
            let mut output = first_mut(output, rows);
            layer.apply_batch(&input, &mut output);
            output.mapv_inplace(leaky);
        }
        let input = batch.hidden.last().map_or(input.view(), |output| first(output, rows));
        self.last.apply_batch(&input, &mut first_mut(&mut batch.last, rows));
        first(&batch.last, rows)
    }
}

impl Layer {
    fn apply(&self, input: &[f32], output: &mut Vec<f32>) {
        output.clear();
        output.extend(self.bias.iter());
        for (x, row) in input.iter().zip(self.weights.axis_iter(Axis(0))) {
            if let Some(row) = row.to_slice() {
                output.iter_mut().zip(row).for_each(|(node, weight)| *node += x * weight);
            }
        }
    }

    fn apply_batch(&self, input: &ArrayView2<'_, f32>, output: &mut ArrayViewMut2<'_, f32>) {
        output.assign(&self.bias);
        general_mat_mul(1.0, input, &self.weights, 1.0, output);
    }
}

impl Batch {
    /// A buffer for batches of at most `rows`.
    pub fn new(network: &Network, rows: usize) -> Self {
        let buffer = |layer: &Layer| Array2::zeros((rows, layer.bias.len()));
        Self { hidden: network.hidden.iter().map(buffer).collect(), last: buffer(&network.last) }
    }
}

/// The leaky ReLU.
fn leaky(x: f32) -> f32 {
    x.max(LEAK * x)
}

/// The first rows.
fn first(rows: &Array2<f32>, count: usize) -> ArrayView2<'_, f32> {
    rows.slice_axis(Axis(0), Slice::from(..count))
}

/// The first rows, to be written.
fn first_mut(rows: &mut Array2<f32>, count: usize) -> ArrayViewMut2<'_, f32> {
    rows.slice_axis_mut(Axis(0), Slice::from(..count))
}
