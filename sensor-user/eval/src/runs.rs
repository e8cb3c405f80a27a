//! Tier E3: attacks on hosts of simulated sites that go on with their work: how soon each is called, and what it reached.

use sensor_core::settings::Mode;

use crate::attack::{self, KINDS};
use crate::sim::calendar::{DAY, START};
use crate::sim::site::Site;
use crate::sim::world::World;
use crate::subject::product::{Product, settings};
use crate::subject::tally::{Attacked, Step};

/// A run and what came of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Ran {
    /// Which kind, by its place in [`KINDS`].
    pub kind: usize,
    /// What the sensor saw and did.
    pub attacked: Attacked,
}

impl Ran {
    /// After how many seconds of it, pauses left out, a step or a stricter one was taken, and how many destinations it had
    /// reached by then.
    pub fn reached(&self, step: Step) -> Option<(f64, usize)> {
        let begun = self.attacked.begun?;
        let steps = self.attacked.steps.iter().filter(|(taken, _)| **taken >= step);
        let first = steps.map(|(_, taken)| *taken).min()?;
        Some((first.time.since(begun).saturating_sub(first.paused) as f64 / 1e9, first.targets))
    }

    /// Whether any step came within so many seconds.
    pub fn within(&self, step: Step, seconds: f64) -> bool {
        self.reached(step).is_some_and(|(after, _)| after <= seconds)
    }
}

/// How much is tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trial {
    /// Hosts of a site, about.
    pub hosts: usize,
    /// Days a site is learned before the first attack.
    pub learned: u64,
    /// Which kinds, by their place in [`KINDS`].
    pub kinds: Vec<usize>,
    /// Runs of each kind for each site.
    pub each: usize,
}

/// Attacks on the site of a seed.
pub fn attack(seed: u64, trial: &Trial, mode: Mode) -> Vec<Ran> {
    let site = Site::new(seed, trial.hosts);
    let mut product = Product::new(&settings(&site, mode));
    let (planned, until) = {
        let mut world = World::new(site, seed, &mut product);
        world.open();
        let first = START.plus(trial.learned * DAY);
        let planned = attack::plan(&mut world, &trial.kinds, trial.each, first);
        let until = planned.last().map_or(first, |last| last.time).plus(attack::AFTER_LAST);
        world.run(until);
        (planned, until)
    };
    product.pass(until);
    let mut attacks = product.tally.attacks;
    let ran =
        |planned: &attack::Planned| Some(Ran { kind: planned.kind, attacked: attacks.remove(&planned.run)? });
    planned.iter().filter_map(ran).filter(|ran| ran.kind < KINDS.len()).collect()
}
