//! Tier E2: days and years of a made-up site without an attack: what is called all the same.

use sensor_core::settings::Mode;

use crate::sim::calendar::{DAY, START};
use crate::sim::chance::Chance;
use crate::sim::confound::{self, Happened};
use crate::sim::site::{Class, Site};
use crate::sim::world::World;
use crate::subject::product::{Product, settings};
use crate::subject::tally::Wrong;

/// How much is simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Hosts of a site, about.
    pub hosts: usize,
    /// Days.
    pub days: u64,
    /// How often each confounder comes in a site's time.
    pub confounders: usize,
}

/// What came of a site's time.
pub struct Lived {
    /// The seed.
    pub seed: u64,
    /// Hosts of each class, in the order of [`Class::ALL`].
    pub hosts: [usize; Class::ALL.len()],
    /// Days.
    pub days: u64,
    /// The confounders that came, by time.
    pub confounders: Vec<Happened>,
    /// False alarms, by time.
    pub wrong: Vec<Wrong>,
    /// Harmless flows dropped: of learned pairs, of others, and conversations cut short.
    pub cost: [u64; 3],
    /// Records the engine was given.
    pub records: u64,
    /// Conversations begun.
    pub talks: u64,
}

/// Lets a site live for so long in enforce mode.
pub fn live(seed: u64, extent: &Extent) -> Lived {
    let site = Site::new(seed, extent.hosts);
    let mut product = Product::new(&settings(&site, Mode::Enforce));
    let until = START.plus(extent.days * DAY);
    let (confounders, talks, hosts) = {
        let mut world = World::new(site, seed, &mut product);
        world.open();
        let mut chance = Chance::new(seed, 3);
        // Some come on the first days already, while the sensor learns.
        let last = until.minus(DAY / 8);
        let planned = confound::plan(&mut world, extent.confounders, START, last, &mut chance);
        world.run(until);
        (planned, world.talks, Class::ALL.map(|class| world.site.of(class).len()))
    };
    product.pass(until);
    let Product { tally, records, .. } = product;
    Lived {
        seed,
        hosts,
        days: extent.days,
        confounders,
        wrong: tally.wrong,
        cost: tally.cost,
        records,
        talks,
    }
}
