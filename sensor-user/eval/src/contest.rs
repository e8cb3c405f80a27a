//! The product and its rivals in one run, at one budget of false alarms.
//!
//! Some days to learn, half as many to set the thresholds on, then attacks ([`Split`]). A rival's threshold is the score that as many hosts and
//! days pass as the product alerted on in the days before the attacks; beside it stands what its published one does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use sensor_core::settings::Mode;

use crate::attack::{self, KINDS, Planned};
use crate::figure::quantile;
use crate::picture::Line;
use crate::sim::calendar::{DAY, START, day};
use crate::sim::chance::Chance;
use crate::sim::confound;
use crate::sim::site::{Class, Site};
use crate::sim::world::World;
use crate::spoilt::Spoilt;
use crate::subject::product::{Product, settings};
use crate::subject::rivals::{Rival, Rivals, Stair};
use crate::subject::tally::{Attacked, Step};

/// Which days are for what: the first to learn from, half as many to set thresholds on, and all after them to test on, which
/// nothing was learned from or set on. Of 14 days that is 1 to 14, 15 to 21, and 22 on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Split {
    /// Days of learning.
    pub learned: u64,
}

impl Split {
    /// Days until the tests begin.
    pub fn calibrated(self) -> u64 {
        self.learned + self.learned.div_ceil(2)
    }
}

/// A contest on one site.
pub struct Contest {
    planned: Vec<Planned>,
    attacks: BTreeMap<u16, Attacked>,
    stairs: BTreeMap<(Rival, u16), Vec<Stair>>,
    /// Scores of hosts and days, greatest first, of the days of calibration and the days after.
    scores: BTreeMap<Rival, [Vec<f64>; 2]>,
    /// Hosts and days the product alerted on, likewise.
    alerted: [usize; 2],
    split: Split,
    /// What spoilt training costs those that learn.
    pub spoilt: Spoilt,
}

/// Lets all of them look at the site of a seed.
pub fn hold(seed: u64, hosts: usize, each: usize, split: Split) -> Contest {
    let site = Site::new(seed, hosts);
    let nms: BTreeSet<_> =
        site.of(Class::Nms).iter().filter_map(|id| site.hosts.get(*id)).map(|host| host.ip).collect();
    let product = Product::new(&settings(&site, Mode::Observe));
    let [learned, calibrated] = [split.learned, split.calibrated()];
    let first = START.plus(calibrated * DAY);
    let mut rivals = Rivals::new(product, START.plus(learned * DAY), first);
    let planned = {
        let mut world = World::new(site, seed, &mut rivals);
        world.open();
        confound::plan(&mut world, 1, START, first, &mut Chance::new(seed, 4));
        let planned = attack::plan(&mut world, &attack::named(""), each, first);
        world.run(planned.last().map_or(first, |last| last.time).plus(attack::AFTER_LAST));
        planned
    };
    let mut scores: BTreeMap<Rival, [Vec<f64>; 2]> = BTreeMap::new();
    for ((rival, day, src), score) in &rivals.benign {
        if *day >= learned && !nms.contains(src) {
            scores.entry(*rival).or_default()[usize::from(*day >= calibrated)].push(*score);
        }
    }
    scores.values_mut().flatten().for_each(|scores| scores.sort_by(|a, b| b.total_cmp(a)));
    let tally = &rivals.product.tally;
    let alerts =
        tally.wrong.iter().filter(|wrong| wrong.step == Step::Alert && wrong.class != Some(Class::Nms));
    let of: BTreeSet<_> = alerts.map(|wrong| (day(wrong.time), wrong.device.as_str())).collect();
    let count =
        |late: bool| of.iter().filter(|(day, _)| *day >= learned && (*day >= calibrated) == late).count();
    let alerted = [count(false), count(true)];
    let spoilt = Spoilt::measure(&rivals.minutes, &planned, START.plus(learned * DAY));
    let attacks = rivals.product.tally.attacks;
    Contest { planned, attacks, stairs: rivals.stairs, scores, alerted, split, spoilt }
}

/// One row of the table: runs of each kind found, of how many, targets reached by then, false host-days after.
struct Row {
    name: String,
    found: BTreeMap<usize, Vec<usize>>,
    wrong: usize,
}

fn of_rival(contests: &[Contest], rival: Rival, published: bool) -> Row {
    let (name, fixed) = rival.published();
    let mut row = Row { name: name.to_owned(), found: BTreeMap::new(), wrong: 0 };
    if !published {
        row.name = name.split(',').next().unwrap_or(name).to_owned() + ", same budget";
    }
    for contest in contests {
        let Some([calibration, test]) = contest.scores.get(&rival) else { continue };
        // As many as the product alerted on may pass.
        let own = calibration.get(contest.alerted[0]).copied().unwrap_or(f64::MIN);
        let passes = |score: f64| if published { score >= fixed } else { score > own };
        row.wrong += test.iter().filter(|score| passes(**score)).count();
        for planned in &contest.planned {
            let stairs = contest.stairs.get(&(rival, planned.run)).map_or(&[][..], Vec::as_slice);
            if let Some((_, targets, _)) = stairs.iter().find(|(score, ..)| passes(*score)) {
                row.found.entry(planned.kind).or_default().push(*targets);
            }
        }
    }
    row
}

fn of_product(contests: &[Contest], without: Option<&str>) -> Row {
    let name =
        without.map_or_else(|| "**Sekisho, alerts**".to_owned(), |name| format!("Sekisho without `{name}`"));
    let mut row = Row { name, found: BTreeMap::new(), wrong: contests.iter().map(|c| c.alerted[1]).sum() };
    for contest in contests {
        for planned in &contest.planned {
            let Some(attacked) = contest.attacks.get(&planned.run) else { continue };
            let left = attacked.called.iter().any(|detector| Some(*detector) != without);
            let first = attacked.steps.values().min();
            if let Some(first) = first.filter(|_| left) {
                row.found.entry(planned.kind).or_default().push(first.targets);
            }
        }
    }
    row
}

/// For the picture: of each rival the share of runs found against false host-days of 1,000, and the product as a point.
pub fn curves(contests: &[Contest]) -> Vec<Line> {
    let runs: usize = contests.iter().map(|contest| contest.planned.len()).sum();
    let share = |found: usize| found as f64 / runs.max(1) as f64;
    // Of every rival the same host-days; one that gave no score was called by none.
    let days = contests
        .iter()
        .map(|contest| contest.scores.values().map(|[_, test]| test.len()).max().unwrap_or_default());
    let days = days.sum::<usize>().max(1) as f64;
    let product = of_product(contests, None);
    let found: usize = product.found.values().map(Vec::len).sum();
    let point = (product.wrong as f64 * 1e3 / days, share(found));
    let mut lines = vec![Line { name: "Sekisho, alerts".to_owned(), points: vec![point] }];
    for rival in Rival::ALL {
        let mut scores: Vec<f64> = contests
            .iter()
            .filter_map(|contest| contest.scores.get(&rival))
            .flat_map(|[_, test]| test)
            .copied()
            .collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let best: Vec<f64> = contests
            .iter()
            .flat_map(|contest| {
                let stairs = |planned: &Planned| contest.stairs.get(&(rival, planned.run));
                contest
                    .planned
                    .iter()
                    .filter_map(move |planned| stairs(planned)?.last().map(|(score, ..)| *score))
            })
            .collect();
        // At each number of false host-days, the runs that score above all others.
        let points = (0..scores.len().min(1_000)).map(|wrong| {
            let threshold = scores.get(wrong).copied().unwrap_or(f64::MIN);
            let found = best.iter().filter(|score| **score > threshold).count();
            (wrong as f64 * 1e3 / days, share(found))
        });
        let name = rival.published().0.split(',').next().unwrap_or_default().to_owned();
        lines.push(Line { name, points: points.collect() });
    }
    lines
}

/// The tables: rivals, and the product without each of its detectors. (Detectors know nothing of one another, so that a run
/// is missed without one exactly if no other called it.)
pub fn page(contests: &[Contest]) -> String {
    let mut runs = BTreeMap::new();
    for planned in contests.iter().flat_map(|contest| &contest.planned) {
        *runs.entry(planned.kind).or_insert(0_usize) += 1;
    }
    let mut rows = vec![of_product(contests, None)];
    for rival in Rival::ALL {
        rows.push(of_rival(contests, rival, false));
        rows.push(of_rival(contests, rival, true));
    }
    let detectors: BTreeSet<&str> =
        contests.iter().flat_map(|c| c.attacks.values()).flat_map(|a| a.called.iter().copied()).collect();
    rows.extend(detectors.into_iter().map(|name| of_product(contests, Some(name))));
    let split = contests.first().map_or(Split { learned: 0 }, |contest| contest.split);
    let mut text = format!(
        "\n## The same run, the same budget of false alarms\n\nDays 1 to {} to learn from, to day {} for the \
                    thresholds, attacks after that. Percent of the runs found, and the median of the targets \
                    reached by then; observe mode, nobody is cut off. Rivals are shown IP frames alone, as their models are (forest and components: the rows of the product's own), and so miss scans of empty addresses on the host's own link, which are ARP. Host-days without an attack that were called \
                    while attacks went on stand first.\n\n| |",
        split.learned,
        split.calibrated()
    );
    for row in &rows {
        let _ = write!(text, " {} |", row.name);
    }
    let _ = write!(text, "\n|---|{}\n| false host-days |", "---|".repeat(rows.len()));
    for row in &rows {
        let _ = write!(text, " {} |", row.wrong);
    }
    text.push('\n');
    for (at, kind) in KINDS.iter().enumerate() {
        let of = runs.get(&at).copied().unwrap_or_default();
        let _ = write!(text, "| {} |", kind.name);
        for row in &rows {
            let found = row.found.get(&at).map_or(&[][..], Vec::as_slice);
            let targets: Vec<f64> = found.iter().map(|targets| *targets as f64).collect();
            let share = 100.0 * found.len() as f64 / of.max(1) as f64;
            let _ = match quantile(&targets, 0.5) {
                Some(targets) => write!(text, " {share:.0}, {targets:.0} |"),
                None => write!(text, " 0 |"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_14_days_the_next_week_calibrates_and_day_22_is_the_first_of_the_tests() {
        for (learned, calibrated) in [(14, 21), (2, 3), (1, 2)] {
            assert_eq!(Split { learned }.calibrated(), calibrated);
        }
    }
}
