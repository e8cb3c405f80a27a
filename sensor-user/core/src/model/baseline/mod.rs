//! Simpler ways to tell odd rows, for the evaluation alone: if one of these does as well as the autoencoder at the same rate
//! of false alarms, the autoencoder is not worth its keep. No detector uses them.

mod forest;
mod pca;

pub use forest::Forest;
pub use pca::Pca;

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::model::random::Random;
    use crate::model::scale::Form;

    /// Rows near a plane of two dimensions in a space of six, the last half of them off it.
    fn rows(random: &mut Random) -> Array2<f32> {
        let mut rows = Array2::zeros((2_000, 6));
        for (at, mut row) in rows.rows_mut().into_iter().enumerate() {
            let (a, b) = (random.normal(), random.normal());
            let plane = [a, b, a + b, a - b, 2.0 * a, b - 2.0 * a];
            let off = if at < 1_000 { 0.05 } else { 2.0 };
            row.iter_mut().zip(plane).for_each(|(x, on)| *x = (on + random.normal() * off) as f32);
        }
        rows
    }

    /// The part of pairs in which the row off the plane has the greater score.
    fn area(scores: &[f32]) -> f64 {
        let (usual, odd) = scores.split_at(1_000);
        let wins: usize = odd.iter().map(|odd| usual.iter().filter(|usual| odd > usual).count()).sum();
        wins as f64 / 1e6
    }

    #[test]
    fn what_lies_off_the_plane_stands_out() {
        let mut random = Random::new(1);
        let rows = rows(&mut random);
        let usual: Vec<usize> = (0..1_000).collect();
        let pca = Pca::learn(&rows.view(), &usual, &[Form::Plain; 6], 2, &mut random);
        let scores: Vec<f32> = rows.rows().into_iter().map(|row| pca.score(&row.to_vec())).collect();
        assert!(area(&scores) > 0.98, "PCA: {}", area(&scores));

        let forest = Forest::learn(&rows.view(), &usual, &mut random);
        let scores: Vec<f32> = rows.rows().into_iter().map(|row| forest.score(&row.to_vec())).collect();
        assert!(area(&scores) > 0.75, "forest: {}", area(&scores));
        assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)));
    }
}
