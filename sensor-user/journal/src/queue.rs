//! Rows on their way to the thread that writes them: bounded, with room of its own for what is in the chain.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::entry::{Entry, is_chained};

/// Rows that may wait.
pub const WAITING: usize = 8_192;
/// Of these, for rows of the chain alone: whoever invents devices pushes out no decision.
pub const RESERVED: usize = 2_048;

/// The queue.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Told when a row was added, and when no more will be.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    closed: bool,
    lost: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No holder leaves it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a row; one that finds no room is lost, which is counted.
    pub fn add(&self, entry: Entry) {
        let mut state = self.lock();
        let room = if is_chained(&entry.kind) { WAITING } else { WAITING - RESERVED };
        if state.entries.len() >= room {
            state.lost += 1;
            return;
        }
        state.entries.push(entry);
        self.changed.notify_one();
    }

    /// No more will be added.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Rows lost.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Waits until there is something, or no more will be, for so long at most. What came is taken by [`Queue::take`].
    pub fn wait(&self, most: Duration) {
        let waits = |state: &mut State| state.entries.is_empty() && !state.closed;
        drop(self.changed.wait_timeout_while(self.lock(), most, waits));
    }

    /// Waits for so long, or until no more will be added.
    pub fn pause(&self, time: Duration) {
        drop(self.changed.wait_timeout_while(self.lock(), time, |state| !state.closed));
    }

    /// All rows that wait.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.lock().entries)
    }

    /// Whether no more will be added.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }
}
