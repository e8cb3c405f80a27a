//! What was on the ports before the program of this process: to go back to, until all is well.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::error::BpfError;
use super::migrate::Old;
use super::pins::{Pins, pin_error};
use super::sys;

/// What was there before.
pub struct Before {
    /// The links whose program was replaced, with that program.
    replaced: Vec<(PathBuf, OwnedFd)>,
    /// The maps of another release, until they are not needed any more.
    pub old: Option<Old>,
    /// The maps of this program were not there before.
    pub fresh: bool,
    /// Nothing is to be gone back to any more.
    settled: bool,
}

impl Before {
    /// Nothing was replaced yet.
    pub fn new(old: Option<Old>, fresh: bool) -> Self {
        Self { replaced: Vec::new(), old, fresh, settled: false }
    }

    /// From now on nothing is noted: there is no going back.
    pub fn settled() -> Self {
        Self { settled: true, ..Self::new(None, false) }
    }

    /// Notes that the program of a pinned link was replaced.
    pub fn replaced(&mut self, pin: &Path, program: Option<OwnedFd>) {
        if self.settled {
            return;
        }
        self.replaced.extend(program.map(|program| (pin.to_owned(), program)));
    }

    /// Gives the links their old programs back.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] for the first that could not be; the others were.
    pub fn put_back(&self) -> Result<(), BpfError> {
        let mut result = Ok(());
        for (pin, program) in &self.replaced {
            let done = sys::open_pin(pin).and_then(|link| sys::update_link(link.as_fd(), program.as_fd()));
            // An interface that is gone needs no program.
            let done = done.or_else(|error| match error.raw_os_error() {
                Some(libc::ENOLINK) => Ok(()),
                _ => Err(error),
            });
            result = result.and(done.map_err(pin_error("putting the old program back on", pin)));
        }
        result
    }
}

/// The program of a pinned link: by its own pin, or by its id for those who may. `None` if it is not to be had: then it
/// cannot be gone back to, which only matters if something goes wrong now.
pub fn program_of(pins: &Pins, link: &Path) -> Option<OwnedFd> {
    let link = sys::open_pin(link).ok()?;
    let id = sys::xdp_link_info(link.as_fd()).ok()?.program;
    let is_it = |program: &OwnedFd| sys::program_id(program.as_fd()).is_ok_and(|found| found == id);
    let mut pinned = pins.programs().into_iter().filter_map(|pin| sys::open_pin(&pin).ok());
    pinned.find(is_it).or_else(|| sys::program_by_id(id).ok())
}
