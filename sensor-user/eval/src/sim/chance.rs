//! Draws of the simulator: the shapes in which people and machines do things.

use sensor_core::model::random::Random;
use sensor_core::time::SECOND;

/// A seeded source of draws.
#[derive(Clone, Debug)]
pub struct Chance(Random);

impl Chance {
    /// The source of that seed for that purpose: draws of one purpose leave those of the others alone.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut mixed = Random::new(seed.wrapping_mul(0x1000_0001).wrapping_add(purpose));
        Self(Random::new(mixed.bits()))
    }

    /// From 0 to below 1, evenly.
    pub fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    /// From 0 to below `limit`, evenly.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0.below(limit)
    }

    /// True in this part of all cases.
    pub fn happens(&mut self, part: f64) -> bool {
        self.unit() < part
    }

    /// From `low` to below `high`, evenly.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Log-normal, by its median and the standard deviation of its logarithm: sizes of what is sent.
    pub fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.0.normal()).exp()
    }

    /// Pareto from `least` on with that exponent, at most `most`: how long people think.
    pub fn pareto(&mut self, least: f64, alpha: f64, most: f64) -> f64 {
        (least / (1.0 - self.unit()).powf(1.0 / alpha)).min(most)
    }

    /// Exponential of that mean: what comes independently.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// A rank from 0 to below `count` by Zipf's law with exponent 1: few are popular.
    pub fn zipf(&mut self, count: usize) -> usize {
        let rank = (count as f64 + 1.0).powf(self.unit()) as usize;
        rank.saturating_sub(1).min(count.saturating_sub(1))
    }

    /// One of these, evenly; none if there are none.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len())).copied()
    }

    /// Puts items into an order drawn evenly from all.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }
}

/// Seconds as ns.
pub fn ns(seconds: f64) -> u64 {
    (seconds.max(0.0) * SECOND as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_their_shapes() {
        let mut chance = Chance::new(1, 2);
        let mut median = |draw: &mut dyn FnMut(&mut Chance) -> f64| {
            let mut many: Vec<f64> = (0..20_001).map(|_| draw(&mut chance)).collect();
            many.sort_by(f64::total_cmp);
            many[10_000]
        };
        for (name, got, want) in [
            ("log-normal", median(&mut |c| c.log_normal(100.0, 1.0)), 100.0),
            ("pareto", median(&mut |c| c.pareto(10.0, 1.0, 1e9)), 20.0),
            ("exponential", median(&mut |c| c.exponential(10.0)), 6.93),
            ("zipf", median(&mut |c| c.zipf(99) as f64), 9.0),
        ] {
            assert!((got - want).abs() <= want * 0.06, "{name}: {got}, not {want}");
        }
        let one = |seed, purpose| Chance::new(seed, purpose).unit();
        assert!(one(1, 1) == one(1, 1) && one(1, 1) != one(1, 2) && one(1, 1) != one(2, 1));
    }
}
