//! How evenly numbers are spread: quartiles, and the scores RITA judges beacons by.
//!
//! Both scores are RITA's (activecm/rita v5, analysis/beacon.go): the Bowley skewness (q1 + q3 - 2 q2) / (q3 - q1), and
//! the median absolute deviation against the median. Unlike a mean and a variance they stand a few outliers.

/// Quartiles of some numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// A quarter is less.
    pub low: f64,
    /// Half is less.
    pub median: f64,
    /// Three quarters are less.
    pub high: f64,
    /// Median of the distances from the median.
    pub mad: f64,
}

/// The number at a share of a sorted list.
fn at(sorted: &[f64], share: f64) -> f64 {
    let index = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

impl Spread {
    /// Of these numbers; none if there are fewer than four.
    pub fn of(mut numbers: Vec<f64>) -> Option<Self> {
        if numbers.len() < 4 {
            return None;
        }
        numbers.sort_by(f64::total_cmp);
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| at(&numbers, share));
        let mut distances: Vec<f64> = numbers.iter().map(|number| (number - median).abs()).collect();
        distances.sort_by(f64::total_cmp);
        Some(Self { low, median, high, mad: at(&distances, 0.5) })
    }

    /// Deviation against the median: 0 if all are the same.
    pub fn deviation(&self) -> f64 {
        if self.median > 0.0 { self.mad / self.median } else { f64::INFINITY }
    }

    /// 0 to 1: 1 if the numbers are the same, or lie evenly about their median. As in RITA, quartiles nearer to each other
    /// than `grain` say nothing about skewness, nor does one that is the median.
    pub fn score(&self, grain: f64) -> f64 {
        let width = self.high - self.low;
        let says = width > grain && self.low < self.median && self.median < self.high;
        let skew = if says { (self.low + self.high - 2.0 * self.median) / width } else { 0.0 };
        let even =
            if self.median > 0.0 { (1.0 - self.deviation()).max(0.0) } else { f64::from(self.mad == 0.0) };
        (1.0 - skew.abs() + even) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_numbers_score_high() {
        let steps = |f: &dyn Fn(u32) -> f64| Spread::of((0..40).map(f).collect()).unwrap().score(0.1);
        let jitter = steps(&|n| 60.0 + f64::from(n * 7 % 13) - 6.0);
        let bursts = steps(&|n| if n % 3 == 0 { 300.0 } else { 1.0 + f64::from(n % 7) });
        assert_eq!(steps(&|_| 60.0), 1.0);
        assert!((0.9..1.0).contains(&jitter), "{jitter}");
        assert!(bursts < 0.6, "{bursts}");
        assert_eq!(Spread::of(vec![1.0; 3]), None);
        assert_eq!(steps(&|_| 0.0), 1.0, "all the same, though nothing");
    }
}
