//! What the daemon finds when it is started: what one before it learned of the site, in another boot of the machine.

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Result, anyhow};
use sensor_core::settings::Mode;
use sensor_core::time::{HOUR, Time};
use sensor_user::clock::{Now, Stamp, WallClock};
use sensor_user::config;
use sensor_user::eve::Teller;
use sensor_user::record::{DIR, Keeping, Recorder};
use sensor_user::store::Store;

use super::cable::Plug;
use crate::sim::site::Site;
use crate::sim::world::{Sink, Told};
use crate::subject::product::Product;

/// Names the boot in which it watched: its clock is that of the simulation.
const BOOT: &str = "simulated";

/// A daemon that watches the simulated site.
pub struct Watched {
    product: Product,
    /// Its configuration.
    text: String,
}

impl Watched {
    /// One that has seen nothing.
    pub fn new(text: String) -> Result<Self> {
        let config = config::parse(text.as_bytes()).map_err(|problems| anyhow!(config::told(&problems)))?;
        let mut product =
            Product::new(&sensor_core::settings::Settings { mode: Mode::Enforce, ..config.settings });
        product.saves = Some(Vec::new());
        Ok(Self { product, text })
    }

    /// Leaves behind in the state directory what a daemon leaves that ends at `now`: nobody was away since then.
    pub fn leave(self, dir: &Path, now: Time) -> Result<()> {
        let clocks = Now { mono: now, unix_ns: Stamp::now().0 };
        let (mut engine, saves) = self.product.finish(now);
        Store::open_in_boot(dir, BOOT)?.save(&saves, clocks)?;
        let keeping = Keeping { every_ns: HOUR, max_bytes: 1 << 30 };
        let recorder = Recorder::start_in_boot(&dir.join(DIR), BOOT.to_owned(), keeping, self.text, true)?;
        recorder.close(clocks, &mut engine, &Teller::new(WallClock { offset_ns: clocks.clock().offset_ns }));
        Ok(())
    }
}

/// Takes what is told: first the daemon that watches, and once that is gone the wires.
pub struct Wire<'a> {
    /// Who watches.
    pub watched: &'a RefCell<Option<Watched>>,
    /// The wires, which remember what goes on before they are used.
    pub plug: Plug<'a>,
}

impl Sink for Wire<'_> {
    fn told(&mut self, told: &Told) -> bool {
        let passes = self.plug.told(told);
        match &mut *self.watched.borrow_mut() {
            Some(watched) => watched.product.told(told),
            None => passes,
        }
    }

    fn moved(&mut self, site: &Site) {
        self.plug.moved(site);
        if let Some(watched) = &mut *self.watched.borrow_mut() {
            watched.product.moved(site);
        }
    }
}
