//! A list of devices that is longer than a request: its parts wait here until the last one comes.

use std::sync::Arc;

use sensor_core::engine::{Command, MAX_EDITS};
use sensor_core::inventory::cards::Edit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::request::bad;
use crate::protocol::{MAX_LIST, Refusal, RefusalKind};

/// What waits of a client's list. It is gone with the client.
pub struct List {
    edits: Vec<(String, Edit)>,
    bytes: usize,
    /// One client at a time has one: they are long.
    desk: Arc<Semaphore>,
    seat: Option<OwnedSemaphorePermit>,
}

impl List {
    /// An empty one.
    pub fn new(desk: Arc<Semaphore>) -> Self {
        Self { edits: Vec::new(), bytes: 0, desk, seat: None }
    }

    /// Adds a part that came as so many bytes; how many devices wait then. After a refusal nothing waits any more.
    pub fn add(&mut self, part: Vec<(String, Edit)>, bytes: usize) -> Result<usize, Refusal> {
        let added = self.try_add(part, bytes);
        if added.is_err() {
            self.clear();
        }
        added
    }

    fn try_add(&mut self, part: Vec<(String, Edit)>, bytes: usize) -> Result<usize, Refusal> {
        if self.seat.is_none() {
            let message = "somebody else sends a list of devices; try again in a moment";
            let busy = |_| Refusal::new(RefusalKind::Busy, message);
            self.seat = Some(Arc::clone(&self.desk).try_acquire_owned().map_err(busy)?);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_LIST || self.edits.len() + part.len() > MAX_EDITS {
            let mib = MAX_LIST >> 20;
            return Err(bad(format!("a list has at most {MAX_EDITS} devices and {mib} MiB; give several")));
        }
        self.edits.extend(part);
        Ok(self.edits.len())
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        (self.edits, self.bytes, self.seat) = (Vec::new(), 0, None);
    }

    /// The order with what waited for it.
    pub fn complete(&mut self, command: Command) -> Command {
        let Command::Describe(last, by) = command else { return command };
        let mut edits = std::mem::take(&mut self.edits);
        self.clear();
        edits.extend(last);
        Command::Describe(edits, by)
    }
}
