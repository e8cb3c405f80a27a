//! Thresholds by extreme value theory: what lies beyond all that was seen, from how the greatest of it thins out.
//!
//! Peaks over a threshold: what scores have over a high start is nearly a generalized Pareto distribution, whatever they
//! are themselves (Balkema and de Haan 1974, Pickands 1975). It is fitted by the greatest likelihood (Grimshaw, Technometrics
//! 35, 1993); probability-weighted moments (Hosking and Wallis 1987) came out no better with any number of points, and worse
//! where scores thin out as the normal distribution does. Of scores of one host close in time only the greatest counts (runs; Coles 2001, section 5.3.2), so that the rate is that of
//! events and not of all the windows each has.
//!
//! A rate can only be promised from enough points. In simulations of four laws, 30 times each, 20,000 points for 1e-5 gave a
//! true rate of 0.09 to 12 times that, 200,000 for 1e-6 one of 0.1 to 13 times (median 1 to 3: the normal distribution comes
//! to its limit slowly, and what is promised is passed more often).

use crate::time::Time;

/// Fewest points a tail is fitted to.
pub const LEAST_POINTS: usize = 20_000;
/// Events that must be expected in as many points as were learned from, for a rate to be promised.
pub const LEAST_EXPECTED: f64 = 0.09;
/// Fewest peaks of a fit.
const LEAST_PEAKS: usize = 100;
/// Part of the scores that lie over the start.
const OVER: f64 = 0.02;
/// Points of the search grid on each side of 0, and steps of its refinement.
const GRID: u32 = 40;

/// A score: whose, and when.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// Number of the host.
    pub host: u64,
    /// Time.
    pub time: Time,
    /// Score.
    pub score: f64,
}

/// Why there is no threshold.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub enum TailError {
    /// Too few scores for the budget.
    #[error("{points} scores are too few for {rate:e} false alarms each; at least {needed} are needed")]
    TooFewPoints {
        /// How many there are.
        points: usize,
        /// False alarms a score that were asked for.
        rate: f64,
        /// How many would do.
        needed: usize,
    },
    /// The greatest scores are too few, or all the same.
    #[error("only {peaks} different events stand out of {points} scores; at least {LEAST_PEAKS} are needed")]
    TooFewPeaks {
        /// How many there are.
        peaks: usize,
        /// Of how many scores.
        points: usize,
    },
    /// A score is not a number.
    #[error("a score is not a finite number")]
    NotFinite,
}

/// The upper tail of scores.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tail {
    /// Where it begins.
    pub start: f64,
    /// Events over the start, for each score.
    pub rate: f64,
    /// Scale of the generalized Pareto distribution, greater than 0.
    pub scale: f64,
    /// Its shape: 0 thins out as an exponential does, more is heavier, less has an end.
    pub shape: f64,
    /// Scores it was fitted to.
    pub points: u64,
}

impl Tail {
    /// Fits the tail of scores, of which those of a host no more than `run_ns` apart are one event. Puts them in order of
    /// host and time.
    ///
    /// # Errors
    /// If there are too few scores or events for any statement, or a score is not finite.
    pub fn fit(points: &mut [Point], run_ns: u64) -> Result<Self, TailError> {
        let count = points.len();
        if points.iter().any(|point| !point.score.is_finite()) {
            return Err(TailError::NotFinite);
        }
        if count < LEAST_POINTS {
            let rate = LEAST_EXPECTED / LEAST_POINTS as f64;
            return Err(TailError::TooFewPoints { points: count, rate, needed: LEAST_POINTS });
        }
        let at = (count as f64 * (1.0 - OVER)) as usize;
        let start = points.select_nth_unstable_by(at, |a, b| a.score.total_cmp(&b.score)).1.score;
        points.sort_unstable_by(|a, b| {
            (a.host, a.time).cmp(&(b.host, b.time)).then(a.score.total_cmp(&b.score))
        });
        let mut peaks = peaks(points, start, run_ns);
        peaks.sort_unstable_by(f64::total_cmp);
        let different = peaks.windows(2).filter(|pair| pair[0] < pair[1]).count();
        if different < LEAST_PEAKS {
            return Err(TailError::TooFewPeaks { peaks: different, points: count });
        }
        let (scale, shape) = pareto(&peaks);
        Ok(Self { start, rate: peaks.len() as f64 / count as f64, scale, shape, points: count as u64 })
    }

    /// The score that is passed by so many events for each score.
    ///
    /// # Errors
    /// If the rate is too low to be promised from as many scores as there were.
    pub fn threshold(&self, rate: f64) -> Result<f64, TailError> {
        if self.points as f64 * rate < LEAST_EXPECTED {
            let (points, needed) = (self.points as usize, (LEAST_EXPECTED / rate).ceil() as usize);
            return Err(TailError::TooFewPoints { points, rate, needed });
        }
        let odds = (rate / self.rate).min(1.0);
        let excess = if self.shape.abs() < 1e-9 {
            -self.scale * odds.ln()
        } else {
            self.scale / self.shape * (odds.powf(-self.shape) - 1.0)
        };
        Ok(self.start + excess)
    }

    /// The rate of events that reach a score: 1 below the start of the tail, and never less than can be promised.
    pub fn rate_of(&self, score: f64) -> f64 {
        let excess = (score - self.start) / self.scale;
        if excess <= 0.0 {
            return 1.0;
        }
        let left = if self.shape.abs() < 1e-9 {
            (-excess).exp()
        } else {
            (1.0 + self.shape * excess).max(0.0).powf(-1.0 / self.shape)
        };
        (self.rate * left).max(LEAST_EXPECTED / self.points.max(1) as f64)
    }
}

/// What the greatest score of each event has over the start.
fn peaks(points: &[Point], start: f64, run_ns: u64) -> Vec<f64> {
    let mut peaks: Vec<f64> = Vec::new();
    let mut last: Option<&Point> = None;
    for point in points.iter().filter(|point| point.score > start) {
        let excess = point.score - start;
        let same = last.is_some_and(|last| last.host == point.host && point.time.since(last.time) <= run_ns);
        match peaks.last_mut().filter(|_| same) {
            Some(peak) => *peak = peak.max(excess),
            None => peaks.push(excess),
        }
        last = Some(point);
    }
    peaks
}

/// Scale and shape of the generalized Pareto distribution that makes values in rising order, all greater than 0, the
/// likeliest.
///
/// By Grimshaw's reduction to one variable, shape over scale: the best shape for it is a mean of logarithms. Where there is
/// no shape, or one below -1/2 where the greatest likelihood says nothing (Smith 1985), its likelihood is minus infinity. The
/// likelihood of all others has one or two humps, so that the best point of a grid is refined.
fn pareto(sorted: &[f64]) -> (f64, f64) {
    let count = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / count;
    let greatest = sorted.last().copied().unwrap_or(mean);
    // Likelihood for each value, scale, shape.
    let fit = |ratio: f64| {
        if ratio.abs() * mean < 1e-9 {
            return (-mean.ln() - 1.0, mean, 0.0);
        }
        let shape = sorted.iter().map(|value| (ratio * value).ln_1p()).sum::<f64>() / count;
        let scale = shape / ratio;
        let valid = shape >= -0.5 && scale > 0.0 && scale.is_finite();
        if valid { (-scale.ln() - shape - 1.0, scale, shape) } else { (f64::NEG_INFINITY, mean, 0.0) }
    };
    let low = -(1.0 - 1e-4) / greatest;
    let below = (0..GRID).map(|at| low * (1.0 - f64::from(at) / f64::from(GRID)));
    let above = (0..GRID).map(|at| 1e-3 * 1e4_f64.powf(f64::from(at) / f64::from(GRID - 1)) / mean);
    let grid: Vec<f64> = below.chain([0.0]).chain(above).collect();
    let better = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1);
    let best = grid.iter().map(|ratio| fit(*ratio).0).enumerate().max_by(better).map_or(0, |best| best.0);
    let at = |at: usize| grid.get(at).copied().unwrap_or(0.0);
    let (mut low, mut high) = (at(best.saturating_sub(1)), at((best + 1).min(grid.len() - 1)));
    // Golden section.
    for _ in 0..GRID {
        let step = (high - low) * 0.618_033_988_749_894_9;
        if fit(high - step).0 > fit(low + step).0 { high = low + step } else { low = high - step }
    }
    let (_, scale, shape) = fit(f64::midpoint(low, high));
    (scale, shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::Random;

    fn points(scores: impl Iterator<Item = f64>) -> Vec<Point> {
        let point = |(at, score)| Point { host: at as u64 % 10, time: Time::at(at as u64), score };
        scores.enumerate().map(point).collect()
    }

    /// The probability that a normal number is greater (Abramowitz and Stegun 26.2.14, the continued fraction).
    fn normal_above(x: f64) -> f64 {
        let fraction = (1..60).rev().fold(x, |below, k| x + f64::from(k) / below);
        (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() / fraction
    }

    #[test]
    fn the_promised_rate_is_the_true_one_within_an_order_of_magnitude() {
        type Law = (&'static str, fn(&mut Random) -> f64, fn(f64) -> f64);
        let laws: [Law; 4] = [
            ("exponential", |random| -(1.0 - random.unit()).ln(), |x| (-x).exp()),
            ("normal", Random::normal, normal_above),
            (
                "Pareto of shape 0.2",
                |random| ((1.0 - random.unit()).powf(-0.2) - 1.0) / 0.2,
                |x| (1.0 + 0.2 * x).powi(-5),
            ),
            (
                "with an end",
                |random| 1.0 - (1.0 - random.unit()).powf(0.3),
                |x| (1.0 - x).max(0.0).powf(1.0 / 0.3),
            ),
        ];
        for (name, draw, above) in laws {
            for (count, rate, factor) in [(20_000, 1e-4, 4.0), (20_000, 1e-5, 20.0), (200_000, 1e-6, 10.0)] {
                let mut random = Random::new(count);
                let mut points = points((0..count).map(|_| draw(&mut random)));
                let tail = Tail::fit(&mut points, 0).unwrap();
                let threshold = tail.threshold(rate).unwrap();
                let off = above(threshold) / rate;
                assert!((1.0 / factor..factor).contains(&off), "{name}, {count} for {rate}: {off}, {tail:?}");
                assert!((tail.rate_of(threshold) / rate - 1.0).abs() < 1e-6, "{name}: {tail:?}");
            }
        }
    }

    #[test]
    fn scale_and_shape_are_found_again() {
        for (want, tolerance) in [(0.3, 0.1), (0.0, 0.1), (-0.3, 0.1)] {
            let mut random = Random::new(3);
            let mut draw = || {
                let left = 1.0 - random.unit();
                if want == 0.0 { -2.0 * left.ln() } else { 2.0 / want * (left.powf(-want) - 1.0) }
            };
            let mut values: Vec<f64> = (0..2_000).map(|_| draw()).collect();
            values.sort_by(f64::total_cmp);
            let (scale, shape) = pareto(&values);
            let close = (shape - want).abs() < tolerance && (scale - 2.0).abs() < 0.2;
            assert!(close, "shape {want} gives scale {scale}, shape {shape}");
        }
    }

    #[test]
    fn what_lies_close_together_is_one_event() {
        let mut random = Random::new(4);
        // Each score lasts for five minutes.
        let mut points: Vec<Point> = (0..20_000_u64)
            .flat_map(|at| {
                let score = random.normal();
                (0..5).map(move |minute| Point { host: at % 7, time: Time::at(at / 7 * 5 + minute), score })
            })
            .collect();
        let alone = Tail::fit(&mut points, 0).unwrap();
        let runs = Tail::fit(&mut points, 1).unwrap();
        let (five, threshold) = (alone.rate / runs.rate, runs.threshold(1e-5).unwrap());
        assert!((4.5..5.5).contains(&five), "{five} windows an event");
        assert!(threshold < alone.threshold(1e-5).unwrap());
    }

    #[test]
    fn too_little_is_told() {
        let mut random = Random::new(5);
        let mut few = points((0..19_999).map(|_| random.normal()));
        let told = Tail::fit(&mut few, 0).unwrap_err();
        assert!(matches!(told, TailError::TooFewPoints { points: 19_999, needed: 20_000, .. }), "{told}");
        let mut enough = points((0..20_000).map(|_| random.normal()));
        let told = Tail::fit(&mut enough, 0).unwrap().threshold(4.6e-7).unwrap_err();
        assert!(matches!(told, TailError::TooFewPoints { needed: 195_653, .. }), "{told}");
        let mut same = points((0..20_000).map(|at| f64::from(at % 2)));
        let told = Tail::fit(&mut same, 0).unwrap_err();
        assert!(matches!(told, TailError::TooFewPeaks { peaks: 0, .. }), "{told}");
        enough[7].score = f64::NAN;
        assert_eq!(Tail::fit(&mut enough, 0), Err(TailError::NotFinite));
    }
}
