//! The isolation forest (Liu, Ting, Zhou, ICDM 2008): odd rows are soon alone when rows are divided at random.

use ndarray::ArrayView2;

use crate::model::random::Random;

/// Trees, and rows each is grown from: those of the paper.
const TREES: usize = 100;
const SAMPLE: usize = 256;
/// Height of a tree at most: the base-two logarithm of the sample.
const HEIGHT: u32 = 8;

/// A place in a tree.
#[derive(Clone, Copy, Debug)]
enum Node {
    /// Rows less than `at` in a feature go to the next node, others to `other`.
    Split { feature: usize, at: f32, other: usize },
    /// The length of the path to here, with what the rows left here would add.
    Leaf(f32),
}

/// The forest.
#[derive(Clone, Debug)]
pub struct Forest {
    trees: Vec<Vec<Node>>,
    /// The mean path of a tree of this sample.
    usual: f32,
}

impl Forest {
    /// Grows a forest from the rows with these numbers.
    pub fn learn(rows: &ArrayView2<'_, f32>, which: &[usize], random: &mut Random) -> Self {
        let sample = SAMPLE.min(which.len());
        let mut which = which.to_vec();
        let trees = (0..TREES).map(|_| {
            random.shuffle(&mut which);
            let mut tree = Vec::new();
            grow(rows, which.get_mut(..sample).unwrap_or_default(), 0, &mut tree, random);
            tree
        });
        Self { trees: trees.collect(), usual: mean_path(sample) }
    }

    /// The score of a row: 0 to 1, 1/2 is usual.
    pub fn score(&self, row: &[f32]) -> f32 {
        let sum: f32 = self.trees.iter().map(|tree| path(tree, row)).sum();
        (-sum / self.trees.len() as f32 / self.usual.max(f32::MIN_POSITIVE)).exp2()
    }
}

fn path(tree: &[Node], row: &[f32]) -> f32 {
    let mut place = 0;
    loop {
        match tree.get(place) {
            Some(Node::Split { feature, at, other }) => {
                let less = row.get(*feature).is_some_and(|value| value < at);
                place = if less { place + 1 } else { *other };
            }
            Some(Node::Leaf(length)) => return *length,
            None => return 0.0,
        }
    }
}

fn grow(
    rows: &ArrayView2<'_, f32>,
    which: &mut [usize],
    height: u32,
    tree: &mut Vec<Node>,
    random: &mut Random,
) {
    let feature = random.below(rows.ncols());
    let values = which.iter().map(|row| rows[[*row, feature]]);
    let (low, high) =
        values.fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(value), high.max(value)));
    if height >= HEIGHT || which.len() <= 1 || low >= high {
        return tree.push(Node::Leaf(height as f32 + mean_path(which.len())));
    }
    let at = low + (high - low) * random.unit() as f32;
    which.sort_unstable_by_key(|row| rows[[*row, feature]] >= at);
    let (less, more) = which.split_at_mut(which.partition_point(|row| rows[[*row, feature]] < at));
    let place = tree.len();
    tree.push(Node::Leaf(0.0));
    grow(rows, less, height + 1, tree, random);
    let other = tree.len();
    grow(rows, more, height + 1, tree, random);
    if let Some(node) = tree.get_mut(place) {
        *node = Node::Split { feature, at, other };
    }
}

/// The mean length of a path in a tree of so many rows (equation 1 of the paper).
fn mean_path(rows: usize) -> f32 {
    const EULER: f32 = 0.577_215_7;
    let n = rows as f32;
    match rows {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => 2.0 * ((n - 1.0).ln() + EULER) - 2.0 * (n - 1.0) / n,
    }
}
