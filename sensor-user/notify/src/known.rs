//! That a person knows of an incident, or of everything. It goes to all lamps, and what they say of it comes back together.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Mutex, PoisonError};

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// So many alarms ended, of all lamps.
    pub ended: usize,
    /// The incidents that lamps still show.
    pub open: BTreeSet<u64>,
}

/// Whom to tell that, or why it was not taken.
pub type OnKnown = Box<dyn FnOnce(Result<Known, String>) + Send>;

/// The order. When the last lamp has let go of it, it is told what came of it.
pub struct Acknowledgement {
    /// The incident; none: everything.
    pub incident: Option<u64>,
    found: Mutex<(Known, Option<OnKnown>)>,
}

impl Acknowledgement {
    /// The order, and whom to tell what came of it.
    pub fn new(incident: Option<u64>, told: OnKnown) -> Self {
        Self { incident, found: Mutex::new((Known::default(), Some(told))) }
    }

    /// What a lamp did, and what it still shows.
    pub fn done(&self, ended: usize, open: impl Iterator<Item = u64>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.0.ended += ended;
        found.0.open.extend(open);
    }
}

impl Drop for Acknowledgement {
    fn drop(&mut self) {
        let (known, told) = self.found.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = told.take() {
            told(Ok(mem::take(known)));
        }
    }
}
