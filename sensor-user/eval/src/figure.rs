//! Figures with their bounds: how much a count proves.

/// The chance of error that bounds are for, one side.
const ALPHA: f64 = 0.05;

/// The greatest mean that a count of events is still likely for: the exact one-sided 95 % bound of Poisson's law (Garwood
/// 1936). Of no event it is 3.0.
pub fn poisson_upper(events: u64) -> f64 {
    // The chance of so few events or fewer.
    let few = |mean: f64| {
        let (mut term, mut sum) = (1.0, 1.0);
        for at in 1..=events {
            term *= mean / at as f64;
            sum += term;
        }
        (sum.ln() - mean).exp()
    };
    let (mut low, mut high) = (events as f64, events as f64 * 2.0 + 20.0);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if few(middle) > ALPHA { low = middle } else { high = middle }
    }
    high
}

/// The least share that so many successes of so many are still likely for: the exact one-sided 95 % bound of the binomial
/// law (Clopper and Pearson 1934). Of no trial it is 0.
pub fn share_lower(successes: usize, of: usize) -> f64 {
    if successes == 0 || of == 0 {
        return 0.0;
    }
    // The chance of so many successes or more.
    let many = |share: f64| (successes..=of).map(|at| binomial(at, of, share)).sum::<f64>();
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if many(middle) < ALPHA { low = middle } else { high = middle }
    }
    low
}

fn binomial(at: usize, of: usize, share: f64) -> f64 {
    let choose: f64 = (0..at).map(|k| ((of - k) as f64 / (k + 1) as f64).ln()).sum();
    let ln = |share: f64, count: usize| if count == 0 { 0.0 } else { share.ln() * count as f64 };
    (choose + ln(share, at) + ln(1.0 - share, of - at)).exp()
}

/// The value that this part of the values is at most; none of no values.
pub fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * part).ceil() as usize).max(1) - 1;
    values.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        for (events, want) in [(0, 2.996), (1, 4.744), (2, 6.296), (10, 16.962), (100, 118.08)] {
            assert!((poisson_upper(events) - want).abs() < 0.01, "{events}: {}", poisson_upper(events));
        }
        for (successes, of, want) in [(30, 30, 0.905), (0, 30, 0.0), (29, 30, 0.851), (15, 30, 0.3389)] {
            let got = share_lower(successes, of);
            assert!((got - want).abs() < 0.001, "{successes} of {of}: {got}");
        }
        assert_eq!(quantile(&[3.0, 1.0, 2.0, 4.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[3.0, 1.0, 2.0, 4.0], 0.99), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
