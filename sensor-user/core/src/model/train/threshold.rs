//! The threshold, from scores by networks that did not learn from the hosts.

use std::collections::BTreeSet;

use super::{State, TrainError};
use crate::inventory::DeviceKey;
use crate::model::Threshold;
use crate::model::scale::quantile;
use crate::model::tail::{Point, Tail, TailError};

/// Part of the scores that count as great when hosts are compared.
const GREAT: f64 = 0.98;
/// A host with more than so many times as many great scores as most hosts tells nothing about the threshold.
const FAR_MORE: f64 = 5.0;
/// What a guessed threshold adds to the greatest score: half as much again, as a logarithm.
const MARGIN: f64 = 0.405_465;

impl State<'_> {
    /// The threshold, the hosts it tells nothing of, and why it is but guessed, if it is.
    pub(super) fn threshold(&self) -> Result<(Threshold, Vec<DeviceKey>, Option<TailError>), TrainError> {
        let mut points = Vec::new();
        for (number, host) in self.hosts.iter().enumerate().filter(|(_, host)| !host.set_aside) {
            let level = f64::from(self.quantile(host, 0.5));
            points.extend(host.rows.iter().map(|row| Point {
                host: number as u64,
                time: self.rows.times()[*row],
                score: f64::from(self.scores[*row]) - level,
            }));
        }
        let far = far_from_most(&points, self.hosts.len());
        points.retain(|point| !far.contains(&point.host));
        let odd = self.hosts.iter().zip(0..).filter(|(_, number)| far.contains(number));
        let odd = odd.map(|(host, _)| host.name).collect();

        let training = self.training;
        let tail = Tail::fit(&mut points, training.run_ns);
        let threshold = tail.and_then(|tail| Ok((tail, tail.threshold(training.rate)?)));
        match threshold {
            Ok((tail, at)) => Ok((Threshold::Promised { at, rate: training.rate, tail }, odd, None)),
            Err(TailError::NotFinite) => Err(TrainError::RanAway),
            Err(why) => {
                let most = points.iter().map(|point| point.score).fold(0.0, f64::max);
                Ok((Threshold::Guessed { at: most + MARGIN }, odd, Some(why)))
            }
        }
    }
}

/// The hosts that have far more great scores for their rows than most hosts do.
fn far_from_most(points: &[Point], hosts: usize) -> BTreeSet<u64> {
    let mut scores: Vec<f32> = points.iter().map(|point| point.score as f32).collect();
    let great = f64::from(quantile(&mut scores, GREAT));
    let mut counts = vec![[0_u32; 2]; hosts];
    for point in points {
        if let Some([all, over]) = counts.get_mut(point.host as usize) {
            *all += 1;
            *over += u32::from(point.score > great);
        }
    }
    let parts = counts.iter().zip(0..).filter(|([all, _], _)| *all > 0);
    let parts: Vec<(u64, f64)> =
        parts.map(|([all, over], host)| (host, f64::from(*over) / f64::from(*all))).collect();
    let mut sorted: Vec<f32> = parts.iter().map(|(_, part)| *part as f32).collect();
    // Most may have next to none.
    let most = f64::from(quantile(&mut sorted, 0.5)).max((1.0 - GREAT) / FAR_MORE);
    parts.into_iter().filter(|(_, part)| *part > most * FAR_MORE).map(|(host, _)| host).collect()
}
