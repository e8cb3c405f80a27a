//! Rows to learn from: a bounded sample of all that a class of devices did, with the hosts represented evenly.
//!
//! Of each host the rows are an even sample of all it gave (Vitter's algorithm R, 1985); when there is no more room the
//! host with the most rows gives one up for a host with fewer (class-balancing reservoir sampling: Chrysakis and Moens,
//! ICML 2020, with hosts for classes). So neither a busy host nor an infected one that floods can take the whole.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use super::random::Random;
use crate::inventory::DeviceKey;
use crate::time::Time;

/// Rows of hosts, as training takes them.
#[derive(Clone, PartialEq, Debug)]
pub struct Rows {
    values: Array2<f32>,
    hosts: Vec<DeviceKey>,
    times: Vec<Time>,
}

impl Rows {
    /// No rows, of so many features.
    pub fn new(width: usize) -> Self {
        Self { values: Array2::zeros((0, width)), hosts: Vec::new(), times: Vec::new() }
    }

    /// Adds a row; false, and not added, if it is of another length or holds what is not a finite number.
    pub fn push(&mut self, host: DeviceKey, time: Time, row: &[f32]) -> bool {
        let fits = self.fits(row) && self.values.push_row(ArrayView1::from(row)).is_ok();
        if fits {
            self.hosts.push(host);
            self.times.push(time);
        }
        fits
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The values, rows by features.
    pub fn values(&self) -> ArrayView2<'_, f32> {
        self.values.view()
    }

    /// The host of each row.
    pub fn hosts(&self) -> &[DeviceKey] {
        &self.hosts
    }

    /// The time of each row.
    pub fn times(&self) -> &[Time] {
        &self.times
    }

    /// Those of the hosts of a choice.
    pub fn only(&self, chosen: impl Fn(DeviceKey) -> bool) -> Self {
        let hosts: BTreeSet<_> = self.hosts.iter().copied().collect();
        let hosts: BTreeSet<_> = hosts.into_iter().filter(|host| chosen(*host)).collect();
        let which: Vec<_> = self
            .hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| hosts.contains(host))
            .map(|(at, _)| at)
            .collect();
        Self {
            values: self.values.select(Axis(0), &which),
            hosts: which.iter().filter_map(|at| self.hosts.get(*at).copied()).collect(),
            times: which.iter().filter_map(|at| self.times.get(*at).copied()).collect(),
        }
    }

    fn fits(&self, row: &[f32]) -> bool {
        row.len() == self.values.ncols() && row.iter().all(|value| value.is_finite())
    }

    fn replace(&mut self, at: usize, host: DeviceKey, time: Time, row: &[f32]) {
        if let (Some(old), Some(when)) = (self.hosts.get_mut(at), self.times.get_mut(at)) {
            (*old, *when) = (host, time);
            self.values.row_mut(at).assign(&ArrayView1::from(row));
        }
    }
}

/// What is known of a host's rows.
#[derive(Clone, Debug, Default)]
struct Share {
    /// Places of its rows.
    places: Vec<usize>,
    /// Rows it gave in all.
    given: u64,
}

/// The reservoir.
#[derive(Clone, Debug)]
pub struct Reservoir {
    rows: Rows,
    limit: usize,
    shares: BTreeMap<DeviceKey, Share>,
    /// The hosts by how many rows they have.
    by_count: BTreeSet<(usize, DeviceKey)>,
    random: Random,
}

impl Reservoir {
    /// An empty reservoir for at most `limit` rows of so many features; 4 bytes a feature and about 50 a row.
    pub fn new(limit: usize, width: usize, seed: u64) -> Self {
        Self {
            rows: Rows::new(width),
            limit: limit.max(1),
            shares: BTreeMap::new(),
            by_count: BTreeSet::new(),
            random: Random::new(seed),
        }
    }

    /// A reservoir with these rows, of hosts that gave so many in all. Of more than `limit` rows the last are left out.
    pub fn restore(rows: Rows, given: &BTreeMap<DeviceKey, u64>, limit: usize, seed: u64) -> Self {
        let mut reservoir = Self::new(limit, rows.values.ncols(), seed);
        let all = rows.values.rows().into_iter().zip(&rows.hosts).zip(&rows.times);
        for (at, ((row, host), time)) in all.take(limit).enumerate() {
            if reservoir.rows.push(*host, *time, &row.to_vec()) {
                reservoir.add(*host, at);
            }
        }
        for (host, share) in &mut reservoir.shares {
            share.given = given.get(host).copied().unwrap_or_default().max(share.places.len() as u64);
        }
        reservoir
    }

    /// How many rows each host gave in all, of those that have some here.
    pub fn given(&self) -> BTreeMap<DeviceKey, u64> {
        self.shares.iter().map(|(host, share)| (*host, share.given)).collect()
    }

    /// The rows; clone them to train in another thread.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Offers a row. One of another length, or with what is not a finite number, is left out.
    pub fn offer(&mut self, host: DeviceKey, time: Time, row: &[f32]) {
        if !self.rows.fits(row) {
            return;
        }
        let share = self.shares.entry(host).or_default();
        share.given = share.given.saturating_add(1);
        let (own, given) = (share.places.len(), share.given);
        if self.rows.len() < self.limit {
            let at = self.rows.len();
            if self.rows.push(host, time, row) {
                self.add(host, at);
            }
            return;
        }
        let Some((most, largest)) = self.by_count.last().copied() else { return };
        if own < most {
            let at = self.take(largest);
            self.rows.replace(at, host, time, row);
            self.add(host, at);
        } else if self.random.unit() * (given as f64) < own as f64 {
            let at = self.random.below(own);
            let at = self.shares.get(&host).and_then(|share| share.places.get(at)).copied();
            at.into_iter().for_each(|at| self.rows.replace(at, host, time, row));
        }
    }

    /// Forgets the rows from before a time, so that what is learned is how things are now.
    pub fn forget(&mut self, before: Time) {
        let mut fresh = Self::new(self.limit, self.rows.values.ncols(), 0);
        fresh.random = self.random.clone();
        let kept = self.rows.values.rows().into_iter().zip(&self.rows.hosts).zip(&self.rows.times);
        for ((row, host), time) in kept.filter(|(_, time)| **time >= before) {
            let at = fresh.rows.len();
            if fresh.rows.push(*host, *time, &row.to_vec()) {
                fresh.add(*host, at);
            }
        }
        for (host, share) in &mut fresh.shares {
            // What it gave since, by the part of its rows that stay.
            let old = self.shares.get(host).map_or((1, 1), |old| (old.given, old.places.len().max(1)));
            share.given = (u128::from(old.0) * share.places.len() as u128 / old.1 as u128) as u64;
        }
        *self = fresh;
    }

    /// Gives a host the row at a place.
    fn add(&mut self, host: DeviceKey, at: usize) {
        let share = self.shares.entry(host).or_default();
        self.by_count.remove(&(share.places.len(), host));
        share.places.push(at);
        self.by_count.insert((share.places.len(), host));
    }

    /// Takes one of its rows from a host that has some: its place.
    fn take(&mut self, host: DeviceKey) -> usize {
        let Some(share) = self.shares.get_mut(&host) else { return 0 };
        let count = share.places.len();
        let at = share.places.swap_remove(self.random.below(count));
        self.by_count.remove(&(count, host));
        if share.places.is_empty() {
            self.shares.remove(&host);
        } else {
            self.by_count.insert((count - 1, host));
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Mac;

    fn host(at: u32) -> DeviceKey {
        let [a, b, c, d] = at.to_be_bytes();
        DeviceKey::Local(Mac([2, 0, a, b, c, d]))
    }

    /// Rows of each host.
    fn counts(reservoir: &Reservoir) -> BTreeMap<DeviceKey, usize> {
        let mut counts = BTreeMap::new();
        reservoir.rows().hosts().iter().for_each(|host| *counts.entry(*host).or_default() += 1);
        let kept = reservoir.shares.iter().map(|(host, share)| (*host, share.places.len()));
        assert_eq!(counts, kept.clone().collect());
        assert_eq!(reservoir.by_count, kept.map(|(host, count)| (count, host)).collect());
        counts
    }

    #[test]
    fn a_busy_host_leaves_room_for_the_others() {
        let mut reservoir = Reservoir::new(100, 1, 1);
        (0..100_000).for_each(|at| reservoir.offer(host(0), Time(at), &[0.0]));
        for at in 0..2_000_u32 {
            reservoir.offer(host(1 + at % 3), Time(0), &[1.0]);
        }
        (0..100_000).for_each(|at| reservoir.offer(host(0), Time(at), &[0.0]));
        assert_eq!(counts(&reservoir).into_values().collect::<Vec<_>>(), [25; 4]);
    }

    #[test]
    fn rows_of_a_host_are_an_even_sample_of_all() {
        let mut reservoir = Reservoir::new(2_000, 1, 2);
        (0..100_000_u64).for_each(|at| reservoir.offer(host(0), Time(at), &[at as f32]));
        let mut tenths = [0; 10];
        reservoir.rows().times().iter().for_each(|time| tenths[time.0 as usize / 10_000] += 1);
        assert!(tenths.iter().all(|count| (140..260).contains(count)), "{tenths:?}");
        let same = reservoir.rows().values().into_iter().zip(reservoir.rows().times());
        assert!(same.clone().all(|(value, time)| *value == time.0 as f32));
    }

    #[test]
    fn any_number_of_hosts_stays_within_the_bound() {
        let mut reservoir = Reservoir::new(10, 2, 3);
        for at in 0..1_000 {
            reservoir.offer(host(at), Time(u64::from(at)), &[1.0, 2.0]);
            reservoir.offer(host(at % 7), Time(u64::from(at)), &[f32::NAN, 2.0]);
            reservoir.offer(host(at % 7), Time(u64::from(at)), &[1.0]);
        }
        assert_eq!(counts(&reservoir).values().sum::<usize>(), 10);
        assert!(reservoir.shares.len() <= 10);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut reservoir = Reservoir::new(1_000, 1, 4);
        (0..2_000).for_each(|at| reservoir.offer(host(at % 2), Time(u64::from(at)), &[0.0]));
        reservoir.forget(Time(1_500));
        let left = counts(&reservoir);
        assert!(reservoir.rows().times().iter().all(|time| time.0 >= 1_500));
        assert!((200..300).contains(&reservoir.rows().len()), "{left:?}");
        (2_000..9_000).for_each(|at| reservoir.offer(host(at % 2), Time(u64::from(at)), &[0.0]));
        assert_eq!(counts(&reservoir).into_values().collect::<Vec<_>>(), [500; 2]);
        assert_eq!(reservoir.rows().len(), 1_000);
    }

    #[test]
    fn the_same_rows_and_seed_give_the_same_sample() {
        let sample = || {
            let mut reservoir = Reservoir::new(50, 1, 9);
            (0..5_000).for_each(|at| reservoir.offer(host(at % 13), Time(u64::from(at)), &[at as f32]));
            reservoir.rows().clone()
        };
        assert_eq!(sample(), sample());
    }
}
