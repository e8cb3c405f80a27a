//! Rows to learn from: a bounded sample of all that a class of devices did, with the hosts represented evenly.
//!
//! Of each host the rows are an even sample of all it gave (Vitter's algorithm R, 1985); when there is no more room the
//! host with the most rows gives one up for a host with fewer (class-balancing reservoir sampling: Chrysakis and Moens,
//! ICML 2020, with hosts for classes). So neither a busy host nor an infected one that floods can take the whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hashbrown::DefaultHashBuilder;
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

/// Once so many times as many rows were offered as there is room for, only one in so many is looked at, and stands for the
/// others: most would not be kept anyway, and to look up whose they are takes longer than all else.
const ONE_IN: u64 = 4;

/// What is known of a host's rows.
#[derive(Clone, Debug)]
struct Share {
    host: DeviceKey,
    /// Places of its rows.
    places: Vec<usize>,
    /// Rows it gave in all.
    given: u64,
    /// Its place among the hosts that have as many rows.
    among: usize,
}

/// The reservoir. Each conversation is offered to it: nothing is sorted, or searched for.
#[derive(Clone, Debug)]
pub struct Reservoir {
    rows: Rows,
    limit: usize,
    shares: Vec<Share>,
    /// Places in `shares`.
    index: HashMap<DeviceKey, usize, DefaultHashBuilder>,
    /// The hosts, as places in `shares`, by how many rows they have; the last is not empty.
    by_count: Vec<Vec<usize>>,
    /// Rows offered, since it was made or what is old was forgotten.
    offered: u64,
    random: Random,
}

impl Reservoir {
    /// An empty reservoir for at most `limit` rows of so many features; 4 bytes a feature and about 50 a row.
    pub fn new(limit: usize, width: usize, seed: u64) -> Self {
        Self {
            rows: Rows::new(width),
            limit: limit.max(1),
            shares: Vec::new(),
            index: HashMap::default(),
            by_count: Vec::new(),
            offered: 0,
            random: Random::new(seed),
        }
    }

    /// A reservoir with these rows, of hosts that gave so many in all. Of more than `limit` rows the last are left out.
    pub fn restore(rows: Rows, given: &BTreeMap<DeviceKey, u64>, limit: usize, seed: u64) -> Self {
        let mut reservoir = Self::new(limit, rows.values.ncols(), seed);
        let all = rows.values.rows().into_iter().zip(&rows.hosts).zip(&rows.times);
        for (at, ((row, host), time)) in all.take(limit).enumerate() {
            if reservoir.rows.push(*host, *time, &row.to_vec()) {
                let share = reservoir.share(*host);
                reservoir.add(share, at);
            }
        }
        for share in &mut reservoir.shares {
            share.given = given.get(&share.host).copied().unwrap_or_default().max(share.places.len() as u64);
        }
        reservoir
    }

    /// How many rows each host gave in all, of those that have some here.
    pub fn given(&self) -> BTreeMap<DeviceKey, u64> {
        self.shares.iter().map(|share| (share.host, share.given)).collect()
    }

    /// The rows; clone them to train in another thread.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Offers a row. One of another length, or with what is not a finite number, is left out.
    pub fn offer(&mut self, host: DeviceKey, time: Time, row: &[f32]) {
        self.offered = self.offered.saturating_add(1);
        let full = self.rows.len() >= self.limit;
        let thinned = full && self.offered >= (self.limit as u64).saturating_mul(ONE_IN);
        let stands_for = if thinned { ONE_IN } else { 1 };
        if thinned && self.random.below(ONE_IN as usize) != 0 || !self.rows.fits(row) {
            return;
        }
        let at = self.share(host);
        let Some(share) = self.shares.get_mut(at) else { return };
        share.given = share.given.saturating_add(stands_for);
        let (own, given) = (share.places.len(), share.given);
        if !full {
            let place = self.rows.len();
            if self.rows.push(host, time, row) {
                self.add(at, place);
            }
        } else if own + 1 < self.by_count.len() {
            let place = self.take();
            self.rows.replace(place, host, time, row);
            // Whoever had none left made room for others.
            let at = self.share(host);
            self.add(at, place);
        } else if self.random.unit() * (given as f64) < own as f64 * stands_for as f64 {
            let chosen = self.random.below(own);
            let place = self.shares.get(at).and_then(|share| share.places.get(chosen)).copied();
            place.into_iter().for_each(|place| self.rows.replace(place, host, time, row));
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
                let share = fresh.share(*host);
                fresh.add(share, at);
            }
        }
        for share in &mut fresh.shares {
            // What it gave since, by the part of its rows that stay.
            let old = self.index.get(&share.host).and_then(|at| self.shares.get(*at));
            let old = old.map_or((1, 1), |old| (old.given, old.places.len().max(1)));
            share.given = (u128::from(old.0) * share.places.len() as u128 / old.1 as u128) as u64;
        }
        *self = fresh;
    }

    /// The share of a host, one without rows if it has none.
    fn share(&mut self, host: DeviceKey) -> usize {
        if let Some(at) = self.index.get(&host) {
            return *at;
        }
        let at = self.shares.len();
        self.shares.push(Share { host, places: Vec::new(), given: 0, among: 0 });
        self.index.insert(host, at);
        self.enlist(at);
        at
    }

    /// Gives a host the row at a place.
    fn add(&mut self, at: usize, place: usize) {
        self.strike(at);
        if let Some(share) = self.shares.get_mut(at) {
            share.places.push(place);
        }
        self.enlist(at);
    }

    /// Takes one of its rows from a host that has the most: its place.
    fn take(&mut self) -> usize {
        let Some(at) = self.by_count.last().and_then(|most| most.last()).copied() else { return 0 };
        self.strike(at);
        let Some(share) = self.shares.get_mut(at) else { return 0 };
        let place = share.places.swap_remove(self.random.below(share.places.len()));
        if share.places.is_empty() {
            self.forget_host(at)
        } else {
            self.enlist(at)
        }
        place
    }

    /// Enters a host among those that have as many rows.
    fn enlist(&mut self, at: usize) {
        let Some(share) = self.shares.get_mut(at) else { return };
        let count = share.places.len();
        if self.by_count.len() <= count {
            self.by_count.resize_with(count + 1, Vec::new);
        }
        if let Some(equals) = self.by_count.get_mut(count) {
            share.among = equals.len();
            equals.push(at);
        }
    }

    /// Takes a host out of those that have as many rows.
    fn strike(&mut self, at: usize) {
        let Some((count, among)) = self.shares.get(at).map(|share| (share.places.len(), share.among)) else {
            return;
        };
        if let Some(equals) = self.by_count.get_mut(count) {
            equals.swap_remove(among);
            let moved = equals.get(among).and_then(|moved| self.shares.get_mut(*moved));
            moved.into_iter().for_each(|moved| moved.among = among);
        }
        while self.by_count.last().is_some_and(Vec::is_empty) {
            self.by_count.pop();
        }
    }

    /// Forgets a host that has no rows, and is enlisted nowhere.
    fn forget_host(&mut self, at: usize) {
        let gone = self.shares.swap_remove(at);
        self.index.remove(&gone.host);
        let Some(moved) = self.shares.get(at) else { return };
        self.index.insert(moved.host, at);
        let listed = self.by_count.get_mut(moved.places.len()).and_then(|equals| equals.get_mut(moved.among));
        listed.into_iter().for_each(|listed| *listed = at);
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
        let kept: BTreeMap<_, _> =
            reservoir.shares.iter().map(|share| (share.host, share.places.len())).collect();
        assert_eq!(counts, kept);
        let index: BTreeMap<_, _> = reservoir.index.iter().map(|(host, at)| (*host, *at)).collect();
        assert!(index.iter().all(|(host, at)| reservoir.shares[*at].host == *host));
        assert_eq!(index.len(), reservoir.shares.len());
        let listed = reservoir.by_count.iter().enumerate().flat_map(|(count, equals)| {
            equals.iter().enumerate().map(move |(among, at)| (count, among, *at))
        });
        let listed: Vec<_> = listed.collect();
        assert_eq!(listed.len(), reservoir.shares.len());
        assert!(listed.iter().all(|(count, among, at)| {
            let share = &reservoir.shares[*at];
            (share.places.len(), share.among) == (*count, *among)
        }));
        assert!(reservoir.by_count.last().is_none_or(|most| !most.is_empty()));
        counts
    }

    #[test]
    fn a_busy_host_leaves_room_for_the_others() {
        let mut reservoir = Reservoir::new(100, 1, 1);
        (0..100_000).for_each(|at| reservoir.offer(host(0), Time::at(at), &[0.0]));
        for at in 0..2_000_u32 {
            reservoir.offer(host(1 + at % 3), Time::at(0), &[1.0]);
        }
        (0..100_000).for_each(|at| reservoir.offer(host(0), Time::at(at), &[0.0]));
        assert_eq!(counts(&reservoir).into_values().collect::<Vec<_>>(), [25; 4]);
    }

    #[test]
    fn rows_of_a_host_are_an_even_sample_of_all() {
        let mut reservoir = Reservoir::new(2_000, 1, 2);
        (0..100_000_u64).for_each(|at| reservoir.offer(host(0), Time::at(at), &[at as f32]));
        let mut tenths = [0; 10];
        reservoir.rows().times().iter().for_each(|time| tenths[time.ns() as usize / 10_000] += 1);
        assert!(tenths.iter().all(|count| (140..260).contains(count)), "{tenths:?}");
        let same = reservoir.rows().values().into_iter().zip(reservoir.rows().times());
        assert!(same.clone().all(|(value, time)| *value == time.ns() as f32));
    }

    #[test]
    fn any_number_of_hosts_stays_within_the_bound() {
        let mut reservoir = Reservoir::new(10, 2, 3);
        for at in 0..1_000 {
            reservoir.offer(host(at), Time::at(u64::from(at)), &[1.0, 2.0]);
            reservoir.offer(host(at % 7), Time::at(u64::from(at)), &[f32::NAN, 2.0]);
            reservoir.offer(host(at % 7), Time::at(u64::from(at)), &[1.0]);
        }
        assert_eq!(counts(&reservoir).values().sum::<usize>(), 10);
        assert!(reservoir.shares.len() <= 10);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut reservoir = Reservoir::new(1_000, 1, 4);
        (0..2_000).for_each(|at| reservoir.offer(host(at % 2), Time::at(u64::from(at)), &[0.0]));
        reservoir.forget(Time::at(1_500));
        let left = counts(&reservoir);
        assert!(reservoir.rows().times().iter().all(|time| time.ns() >= 1_500));
        assert!((200..300).contains(&reservoir.rows().len()), "{left:?}");
        (2_000..9_000).for_each(|at| reservoir.offer(host(at % 2), Time::at(u64::from(at)), &[0.0]));
        assert_eq!(counts(&reservoir).into_values().collect::<Vec<_>>(), [500; 2]);
        assert_eq!(reservoir.rows().len(), 1_000);
    }

    #[test]
    fn the_same_rows_and_seed_give_the_same_sample() {
        let sample = || {
            let mut reservoir = Reservoir::new(50, 1, 9);
            (0..5_000).for_each(|at| reservoir.offer(host(at % 13), Time::at(u64::from(at)), &[at as f32]));
            reservoir.rows().clone()
        };
        assert_eq!(sample(), sample());
    }
}
