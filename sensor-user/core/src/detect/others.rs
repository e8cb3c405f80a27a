//! What is usual of others: how many windows of all devices, and of those of each class, had so much in them.
//!
//! Each window that brought no finding is counted once, so that a few devices that are taken over move no quantile far. How
//! much a quantile is worth is bounded where it is used.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::policy::Name;

/// Counts told apart; the last stands for all greater ones.
const COUNTS: usize = 256;
/// The part of all windows that the usual covers.
const USUAL_SHARE: f64 = 0.999;
/// Fewer windows say nothing about that part.
const LEAST_WINDOWS: u64 = 1_000;

/// Windows by count.
#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Windows {
    all: u64,
    by_count: [u64; COUNTS],
}

impl Windows {
    fn new() -> Self {
        Self { all: 0, by_count: [0; COUNTS] }
    }

    fn add(&mut self, count: u32) {
        if let Some(windows) = self.by_count.get_mut((count as usize).min(COUNTS - 1)) {
            *windows += 1;
            self.all += 1;
        }
    }

    /// What nearly all windows stayed within; none as long as they are few.
    fn usual(&self) -> Option<u32> {
        let beyond = (self.all as f64 * (1.0 - USUAL_SHARE)).floor() as u64;
        let mut more = 0;
        let at = self.by_count.iter().rposition(|windows| {
            more += windows;
            more > beyond
        });
        at.filter(|_| self.all >= LEAST_WINDOWS).map(|count| count as u32)
    }
}

/// Windows of all devices and of each class, of `N` things that are counted.
#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Others<const N: usize> {
    all: [Windows; N],
    classes: BTreeMap<Name, [Windows; N]>,
}

impl<const N: usize> Others<N> {
    /// No window was counted.
    pub fn new() -> Self {
        Self { all: std::array::from_fn(|_| Windows::new()), classes: BTreeMap::new() }
    }

    /// Counts a window of a device of that class.
    pub fn add(&mut self, class: Option<Name>, what: usize, count: u32) {
        let of_class = class.map(|class| {
            self.classes.entry(class).or_insert_with(|| std::array::from_fn(|_| Windows::new()))
        });
        for windows in [Some(&mut self.all), of_class].into_iter().flatten() {
            windows.get_mut(what).into_iter().for_each(|windows| windows.add(count));
        }
    }

    /// What nearly all windows of the class stayed within, or of all devices where the class had too few; 0 if nobody had
    /// enough.
    pub fn usual(&self, class: Option<Name>, what: usize) -> u32 {
        let of_class = class.and_then(|class| self.classes.get(&class)?.get(what)?.usual());
        of_class.or_else(|| self.all.get(what)?.usual()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_covers_all_but_one_window_in_a_thousand() {
        for (what, windows, want) in [
            ("none", &[][..], None),
            ("too few", &[(3, 999)], None),
            ("all alike", &[(3, 1_000)], Some(3)),
            ("one in a thousand may be more", &[(3, 1_999), (40, 2)], Some(3)),
            ("more may not", &[(3, 1_999), (40, 3)], Some(40)),
            ("greater than is told apart", &[(9_999, 1_000)], Some(255)),
        ] {
            let mut all = Windows::new();
            windows.iter().for_each(|(count, times)| (0..*times).for_each(|_| all.add(*count)));
            assert_eq!(all.usual(), want, "{what}");
        }
    }

    #[test]
    fn a_class_with_enough_windows_counts_before_all_devices() {
        let [wards, labs] = ["wards", "labs"].map(|name| name.parse().ok());
        let mut others = Others::<2>::new();
        (0..1_000).for_each(|_| others.add(wards, 1, 2));
        (0..999).for_each(|_| others.add(labs, 1, 30));
        (0..1_000).for_each(|_| others.add(None, 1, 9));
        let usual = |class| others.usual(class, 1);
        assert_eq!([usual(wards), usual(labs), usual(None)], [2, 30, 30]);
        assert_eq!(others.usual(wards, 0), 0, "of what was never counted nothing is usual");
    }
}
