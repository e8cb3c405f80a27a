//! How long to wait for the answer to a first contact inside: as long as answers here take, as measured.
//!
//! A scanner that asks fifty addresses a second has asked fifty more by the time a fixed second is over. Where answers come
//! within some milliseconds, silence says as much after a tenth of a second.
//!
//! Counted are the times first contacts by TCP inside took to be answered, also those answered after they were given up:
//! each pair of device and service once, so that no busy pair makes the others seem slow. The wait is [`MARGIN`] times
//! what all but one in a thousand took, at least [`LEAST`] for a network that stalls a moment, and at most what is
//! configured, which it is until [`ENOUGH`] were counted. At an address where nobody was heard all day, the least is a quarter
//! of that of an ARP request for such a one: there is nobody who could stall. An answer that comes later takes the failure back,
//! as one by ARP does not.

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::time::MILLISECOND;

/// Answers to be counted before they say anything.
const ENOUGH: u32 = 1_000;
/// Counts are halved at so many, so that what is old fades.
const MOST: u32 = 65_536;
/// Of so many answers one may take longer.
const ONE_IN: u32 = 1_000;
/// The wait is so many times as long.
const MARGIN: u64 = 8;
/// The wait is never shorter where somebody was heard, ns.
pub(crate) const LEAST: u64 = 100 * MILLISECOND;
/// Classes of times: up to 1 ms, 2 ms, and so on up to 1,024 ms, and longer.
const CLASSES: usize = 12;

/// How long answers take.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct AnswerTimes {
    counts: [u32; CLASSES],
}

impl AnswerTimes {
    /// Counts an answer that took so many ns.
    pub fn note(&mut self, took_ns: u64) {
        let class = took_ns.div_ceil(MILLISECOND).max(1).next_power_of_two().trailing_zeros() as usize;
        if let Some(count) = self.counts.get_mut(class.min(CLASSES - 1)) {
            *count += 1;
        }
        if self.counts.iter().sum::<u32>() >= MOST {
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
    }

    /// How long to wait, ns, where `most` is configured, and it must not be less than `least`.
    pub fn patience(&self, least: u64, most: u64) -> u64 {
        let all: u32 = self.counts.iter().sum();
        if all < ENOUGH {
            return most;
        }
        let mut longer = 0;
        let beyond = self.counts.iter().enumerate().rev().find(|(_, count)| {
            longer += **count;
            longer > all / ONE_IN
        });
        let Some((class, _)) = beyond.filter(|(class, _)| *class < CLASSES - 1) else { return most };
        (MARGIN * (MILLISECOND << class)).max(least).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    fn measured(answers: &[(u64, u32)]) -> u64 {
        let mut times = AnswerTimes::default();
        for (ms, count) in answers {
            (0..*count).for_each(|_| times.note(ms * MILLISECOND));
        }
        times.patience(LEAST, SECOND) / MILLISECOND
    }

    #[test]
    fn the_wait_follows_what_answers_take() {
        for (name, answers, want) in [
            ("too few", &[(1, 999)][..], 1_000),
            ("fast: a moment's stall is still waited for", &[(1, 5_000)], 100),
            ("one in a thousand may be slow", &[(1, 5_000), (2_000, 5)], 100),
            ("more may not", &[(1, 5_000), (2_000, 6)], 1_000),
            ("as slow as the slow ones", &[(1, 5_000), (25, 20)], 256),
            ("never longer than configured", &[(1, 5_000), (300, 20)], 1_000),
            ("fades", &[(2_000, 500), (1, 1_000_000)], 100),
        ] {
            assert_eq!(measured(answers), want, "{name}");
        }
    }
}
