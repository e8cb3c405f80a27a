//! What waits to be told by one channel, and when that is tried: pure, time is an argument.
//!
//! Notices of a burst are gathered. After a failure the next attempt is later each time. Where messages are limited, half
//! of an hour's may go at once, and the other half one by one over the hour: so in no hour are there more, and nobody
//! waits long. Half of what may go at once is kept for what is grave, so that an isolation does not wait behind news of new
//! devices. What comes meanwhile waits, and goes together.

use std::collections::{BTreeSet, VecDeque};

use sensor_core::time::{HOUR, MINUTE, SECOND, Time};

use crate::notice::Notice;

/// Most notices that wait.
pub const MAX_WAITING: usize = 1_000;
/// The first attempt after a failure comes after this time, each further one after twice as long...
const FIRST_RETRY: u64 = 5 * SECOND;
/// ...but not after longer than this.
const MAX_RETRY: u64 = 10 * MINUTE;
/// What could not be told for so long is given up, by the clock that is never set: a machine without a battery begins in 1970.
const MAX_AGE: u64 = 72 * HOUR;
/// The mildest severity that is grave: somebody was cut off, or must be.
const GRAVE: u8 = 1;
/// So many failures in a row are a failing channel.
const FAILING: u32 = 3;

/// Lets half of `per_hour` messages pass at once, and the other half evenly within each hour.
#[derive(Clone, Debug)]
struct Limit {
    /// Messages that may go at once.
    burst: f64,
    /// Messages an hour that come back.
    refill: f64,
    left: f64,
    since: Time,
}

impl Limit {
    fn new(per_hour: u32) -> Self {
        let burst = f64::from(per_hour.max(2).div_ceil(2));
        Self { burst, refill: f64::from(per_hour.max(2)) - burst, left: burst, since: Time::at(0) }
    }

    fn level(&self, now: Time) -> f64 {
        let hours = now.since(self.since) as f64 / HOUR as f64;
        (self.left + hours * self.refill).min(self.burst)
    }

    /// When the next may go.
    fn next(&self, grave: bool, now: Time) -> Time {
        let kept = if grave { 0.0 } else { (self.burst / 2.0).floor() };
        let missing = kept + 1.0 - self.level(now);
        if missing <= 0.0 { now } else { now.plus((missing / self.refill * HOUR as f64).ceil() as u64) }
    }

    fn take(&mut self, now: Time) {
        self.left = (self.level(now) - 1.0).max(0.0);
        self.since = now;
    }
}

/// What waits.
#[derive(Debug)]
pub struct Queue {
    /// With the time when each came.
    waiting: VecDeque<(Time, Notice)>,
    gather_ns: u64,
    limit: Option<Limit>,
    /// When the first that waits came.
    first: Time,
    /// No attempt before this.
    not_before: Time,
    failures: u32,
    /// Notices that were given up, and not told of yet.
    lost: u64,
}

impl Queue {
    /// Nothing waits.
    pub fn new(gather_ns: u64, per_hour: Option<u32>) -> Self {
        Self {
            waiting: VecDeque::new(),
            gather_ns,
            limit: per_hour.map(Limit::new),
            first: Time::at(0),
            not_before: Time::at(0),
            failures: 0,
            lost: 0,
        }
    }

    /// One more waits. If there are too many, the oldest of the mildest is given up: its number comes back.
    pub fn push(&mut self, notice: Notice, now: Time) -> Option<u64> {
        if self.waiting.is_empty() {
            self.first = now;
        }
        self.waiting.push_back((now, notice));
        if self.waiting.len() <= MAX_WAITING {
            return None;
        }
        // Of the equally mild `max_by_key` would give the newest.
        let mildest = self.waiting.iter().map(|(_, waits)| waits.severity).max()?;
        let at = self.waiting.iter().position(|(_, waits)| waits.severity == mildest)?;
        self.lost = self.lost.saturating_add(1);
        self.waiting.remove(at).map(|(_, given_up)| given_up.id)
    }

    /// Notices were lost before they came here.
    pub fn count_lost(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }

    /// Gives up what waits since too long ago. Gives the numbers.
    pub fn expire(&mut self, now: Time) -> Vec<u64> {
        let old = |came: Time| now.since(came) > MAX_AGE;
        let given_up: Vec<_> =
            self.waiting.iter().filter(|(came, _)| old(*came)).map(|(_, n)| n.id).collect();
        if !given_up.is_empty() {
            self.waiting.retain(|(came, _)| !old(*came));
            self.lost = self.lost.saturating_add(given_up.len() as u64);
        }
        given_up
    }

    /// When the next attempt is due; none: nothing waits.
    pub fn due(&self, now: Time) -> Option<Time> {
        if self.waiting.is_empty() {
            return None;
        }
        let gathered = self.first.plus(self.gather_ns);
        let grave = self.waiting.iter().any(|(_, notice)| notice.severity <= GRAVE);
        let allowed = self.limit.as_ref().map_or(Time::at(0), |limit| limit.next(grave, now));
        Some(gathered.max(self.not_before).max(allowed))
    }

    /// What is to be told now: the first `most` of those that wait.
    pub fn batch(&self, most: usize) -> Vec<Notice> {
        self.waiting.iter().take(most).map(|(_, notice)| notice.clone()).collect()
    }

    /// How many were given up since the last message.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// These were told, by their numbers. What came meanwhile waits.
    pub fn told(&mut self, ids: &[u64], now: Time) {
        if ids.is_empty() {
            return;
        }
        let ids: BTreeSet<_> = ids.iter().collect();
        self.waiting.retain(|(_, notice)| !ids.contains(&notice.id));
        self.failures = 0;
        self.not_before = Time::at(0);
        self.lost = 0;
        self.first = now;
        if let Some(limit) = &mut self.limit {
            limit.take(now);
        }
    }

    /// An attempt failed. One that will not do better soon (`lasting`) is tried again late.
    pub fn failed(&mut self, lasting: bool, now: Time) {
        self.failures = if lasting { self.failures.saturating_add(FAILING) } else { self.failures + 1 };
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.saturating_sub(1).min(20));
        self.not_before = now.plus(if lasting { MAX_RETRY } else { doubled.min(MAX_RETRY) });
    }

    /// A try by a person went well: what waits need not wait for the next attempt.
    pub fn works(&mut self) {
        self.failures = 0;
        self.not_before = Time::at(0);
    }

    /// Whether it failed so often that somebody must be told.
    pub fn is_failing(&self) -> bool {
        self.failures >= FAILING
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::What;
    use proptest::prelude::*;

    fn notice(id: u64, severity: u8) -> Notice {
        let what = What::Bypass { on: true, by: String::new() };
        Notice { id, unix_ns: id as i64, severity, device: None, place: None, incident: None, what }
    }

    fn at(seconds: u64) -> Time {
        Time::at(1_000 * SECOND + seconds * SECOND)
    }

    #[test]
    fn a_burst_is_gathered_from_its_first_on() {
        let mut queue = Queue::new(5 * SECOND, None);
        assert_eq!(queue.due(at(0)), None);
        queue.push(notice(1, 1), at(0));
        queue.push(notice(2, 1), at(4));
        assert_eq!(queue.due(at(4)), Some(at(5)));
        assert_eq!(queue.batch(10).len(), 2);
        queue.push(notice(3, 1), at(5));
        queue.told(&[1, 2], at(5));
        assert_eq!(queue.batch(10), [notice(3, 1)], "it came while the others were told");
        assert_eq!(queue.due(at(5)), Some(at(10)));
        queue.told(&[3], at(10));
        assert_eq!(queue.due(at(5)), None);
    }

    #[test]
    fn attempts_come_later_each_time_and_at_once_after_one_that_went_well() {
        let mut queue = Queue::new(0, None);
        queue.push(notice(1, 1), at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..10 {
            queue.failed(false, now);
            let next = queue.due(now).unwrap();
            waits.push(next.since(now) / SECOND);
            now = next;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert!(queue.is_failing());
        queue.told(&[1], now);
        assert!(!queue.is_failing());
        queue.push(notice(2, 1), now);
        assert_eq!(queue.due(now), Some(now));
    }

    #[test]
    fn one_refusal_for_good_is_a_failing_channel() {
        let mut queue = Queue::new(0, None);
        queue.push(notice(1, 1), at(0));
        queue.failed(true, at(0));
        assert!(queue.is_failing());
        assert_eq!(queue.due(at(0)), Some(at(600)));
        queue.works();
        assert!(!queue.is_failing() && queue.due(at(1)) <= Some(at(1)));
    }

    #[test]
    fn the_mildest_are_given_up_first_and_counted() {
        let mut queue = Queue::new(0, None);
        for id in 0..MAX_WAITING as u64 {
            queue.push(notice(id, if id % 2 == 0 { 1 } else { 3 }), at(0));
        }
        assert_eq!(queue.push(notice(5_000, 1), at(0)), Some(1));
        assert_eq!(queue.push(notice(5_001, 3), at(0)), Some(3));
        assert_eq!((queue.len(), queue.lost()), (MAX_WAITING, 2));
        queue.told(&[0], at(1));
        assert_eq!(queue.lost(), 0, "what was told of is not told again");
    }

    #[test]
    fn what_is_grave_does_not_wait_behind_what_is_mild() {
        let mut queue = Queue::new(5 * SECOND, Some(12));
        let mut now = at(0);
        for id in 0..3 {
            queue.push(notice(id, 3), now);
            now = now.plus(5 * SECOND);
            assert_eq!(queue.due(now), Some(now), "{id}");
            queue.told(&[id], now);
        }
        queue.push(notice(3, 3), now);
        assert!(
            queue.due(now).is_some_and(|due| due > now.plus(9 * MINUTE)),
            "the rest is for what is grave"
        );
        queue.push(notice(4, 1), now);
        assert_eq!(queue.due(now), Some(now.plus(5 * SECOND)));
    }

    #[test]
    fn what_is_too_old_is_given_up() {
        let mut queue = Queue::new(0, None);
        queue.push(notice(1, 1), at(0));
        queue.push(notice(2, 1), at(5));
        assert_eq!(queue.expire(at(0).plus(MAX_AGE + 1)), [1]);
        assert_eq!((queue.len(), queue.lost()), (1, 1));
    }

    proptest! {
        /// However notices come: in no hour are there more messages than allowed, and all are told in the end.
        #[test]
        fn never_more_an_hour_than_allowed(per_hour in 2u32..40, gaps in prop::collection::vec(1u64..900, 1..300)) {
            let mut queue = Queue::new(5 * SECOND, Some(per_hour));
            let (mut now, mut sent, mut told) = (at(0), Vec::new(), 0);
            let mut arrive = now;
            let mut coming = gaps.iter();
            let mut next = coming.next();
            for _ in 0..5_000 {
                while let Some(gap) = next && arrive <= now {
                    queue.push(notice(arrive.ns(), 1), arrive);
                    arrive = arrive.plus(gap * SECOND);
                    next = coming.next();
                }
                match queue.due(now) {
                    Some(due) if due <= now => {
                        let ids: Vec<_> = queue.batch(1_000).iter().map(|notice| notice.id).collect();
                        queue.told(&ids, now);
                        told += ids.len();
                        sent.push(now);
                    }
                    Some(due) => now = due.min(if next.is_some() { arrive.max(now.plus(1)) } else { due }),
                    None if next.is_some() => now = arrive,
                    None => break,
                }
            }
            prop_assert_eq!(told, gaps.len());
            for (index, first) in sent.iter().enumerate() {
                let within = sent[index..].iter().take_while(|t| t.since(*first) < HOUR).count();
                prop_assert!(within <= per_hour as usize, "{} in the hour of {:?}", within, first);
            }
        }
    }
}
