//! How far the evidence against a device goes: from what it adds up to, to a level. Pure arithmetic; whether something is
//! done, and to whom, is for the engine.
//!
//! The thresholds are chances of 1 %, 0.1 %, 0.01 % and one in a million, as natural logarithms (see
//! [`crate::evidence`]). A sum of weights that are partly assumed is no probability: how often a healthy device passes
//! them is measured on made-up years of traffic only. Hence what is not decisive by itself acts from the second day on
//! ([`crate::contact::SETTLED`]), when not everything is new to a device any more, and where
//! [`crate::settings::DecideSettings::graded`] is switched on; else it is told as what would be done.

use crate::evidence::{Family, HINT, Sum};
use crate::time::{HOUR, MINUTE};

use super::Level;

/// More than so many nats throttle.
pub const THROTTLE: f64 = 6.9;
/// More than so many pin, if not by a model alone.
pub const PIN: f64 = 9.2;
/// More than so many isolate, if two families agree.
pub const ISOLATE: f64 = 13.8;

/// Families that look at first contacts: the same five servers that are gone fail, are new, and are asked for a service for
/// administration.
const FIRST_CONTACTS: [Family; 3] = [Family::Scan, Family::Novelty, Family::Lateral];

/// How long an automatic throttle lasts, ns; new evidence renews it.
const THROTTLE_FOR: u64 = 10 * MINUTE;
/// How long an automatic pin lasts, ns; new evidence renews it.
const PIN_FOR: u64 = HOUR;

/// The level that evidence earns; none: it is told only. `decisive` is whether a detector stands for its finding alone: its
/// severity isolates. A model never does, nor does it count as one of two.
pub fn earned(sum: &Sum, decisive: bool) -> Option<Level> {
    let total = sum.total();
    // What a family has left of one hint is not much of a witness.
    let heard = sum.shares.iter().filter(|(family, nats)| *family != Family::Model && *nats >= HINT / 2.0);
    // Those that look at the same first contacts are one.
    let mut seen = false;
    let apart = |(family, _): &&(Family, f64)| {
        !FIRST_CONTACTS.contains(family) || !std::mem::replace(&mut seen, true)
    };
    let witnesses = heard.filter(apart).count();
    if decisive || (total > ISOLATE && witnesses >= 2) {
        Some(Level::Isolate)
    } else if total > PIN && witnesses >= 1 {
        Some(Level::Pin)
    } else if total > THROTTLE {
        Some(Level::Throttle)
    } else {
        None
    }
}

/// How long an automatic restriction lasts, ns, where isolations last `isolate_for_ns`, the first, the second and so on, and
/// there were so many `before`.
pub fn lasts(level: Level, isolate_for_ns: &[u64], before: usize) -> u64 {
    match level {
        Level::Throttle => THROTTLE_FOR,
        Level::Pin => PIN_FOR,
        _ => isolate_for_ns.get(before).or(isolate_for_ns.last()).copied().unwrap_or(HOUR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_with_the_evidence_and_isolation_takes_two_witnesses() {
        use Family::{Beacon, Brute, Lateral, Model, Novelty, Scan};
        type Shares = &'static [(Family, f64)];
        let cases: [(Shares, bool, Option<Level>); 12] = [
            (&[], false, None),
            (&[(Scan, 6.9)], false, None),
            (&[(Scan, 6.93)], false, Some(Level::Throttle)),
            (&[(Scan, 9.7)], false, Some(Level::Pin)),
            (&[(Beacon, 6.0), (Model, 3.0)], false, Some(Level::Throttle)),
            (
                &[(Novelty, 1.0), (Beacon, 1.0), (Brute, 1.0), (Lateral, 1.0), (Model, 7.0)],
                false,
                Some(Level::Throttle),
            ),
            (&[(Lateral, 16.0)], false, Some(Level::Pin)),
            (&[(Scan, 11.0), (Model, 3.0)], false, Some(Level::Pin)),
            (&[(Scan, 13.5), (Brute, 0.5)], false, Some(Level::Pin)),
            (&[(Scan, 11.0), (Lateral, 4.7), (Novelty, 4.7)], false, Some(Level::Pin)),
            (&[(Scan, 11.0), (Brute, 4.7)], false, Some(Level::Isolate)),
            (&[(Scan, 2.0)], true, Some(Level::Isolate)),
        ];
        for (shares, decisive, want) in cases {
            assert_eq!(earned(&Sum { shares: shares.to_vec() }, decisive), want, "{shares:?} {decisive}");
        }
    }

    #[test]
    fn isolations_last_longer_each_time() {
        let steps = [10 * MINUTE, HOUR, 24 * HOUR];
        let got = [0, 1, 2, 3, 99].map(|before| lasts(Level::Isolate, &steps, before));
        assert_eq!(got, [10 * MINUTE, HOUR, 24 * HOUR, 24 * HOUR, 24 * HOUR]);
        assert_eq!(lasts(Level::Pin, &steps, 2), PIN_FOR);
        assert_eq!(lasts(Level::Isolate, &[], 0), HOUR);
    }
}
