//! How a channel does: written by its thread, read by whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::clock;
use crate::error::{SendError, Trouble};

/// What a channel's thread tells of itself.
#[derive(Default)]
pub struct State {
    /// Notices that were told since the start.
    pub sent: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
    /// Notices that were given up.
    pub lost: AtomicU64,
    /// Notices that wait.
    pub waiting: AtomicU64,
    /// Whether it failed so often that others are told.
    pub failing: AtomicBool,
    last: Mutex<Last>,
}

/// The last of each.
#[derive(Clone, Default, Debug)]
pub struct Last {
    /// When something was told last, ns since 1970.
    pub success_ns: Option<i64>,
    /// What the peer said then.
    pub said: Option<String>,
    /// When an attempt failed last, and why.
    pub error: Option<Failure>,
}

/// An attempt that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When, ns since 1970.
    pub unix_ns: i64,
    /// Why.
    pub why: String,
    /// What kind of trouble that is.
    pub trouble: Trouble,
}

impl Failure {
    /// Now, for that reason.
    pub fn now(error: &SendError) -> Self {
        Self { unix_ns: clock::unix_ns(), why: error.to_string(), trouble: error.trouble() }
    }
}

impl State {
    /// The last of each.
    pub fn last(&self) -> Last {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An attempt went well.
    pub fn succeeded(&self, unix_ns: i64, said: String) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (last.success_ns, last.said) = (Some(unix_ns), Some(said));
    }

    /// An attempt failed.
    pub fn failed(&self, failure: Failure) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.last.lock().unwrap_or_else(PoisonError::into_inner).error = Some(failure);
    }
}

/// How a channel does, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ChannelInfo {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Whether it fails, and others were told so.
    pub failing: bool,
    /// Notices that wait; of a lamp: alarms that are open.
    pub waiting: u64,
    /// Notices that were told since the start.
    pub sent: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Notices that were given up since the start.
    pub lost: u64,
    /// When something was told last, ns since 1970.
    pub last_success_ns: Option<i64>,
    /// What the peer said then.
    pub last_answer: Option<String>,
    /// When an attempt failed last, ns since 1970.
    pub last_error_ns: Option<i64>,
    /// Why.
    pub last_error: Option<String>,
}

impl ChannelInfo {
    /// How that channel does.
    pub fn of(name: &str, kind: &'static str, state: &State) -> Self {
        let last = state.last();
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Self {
            name: name.to_owned(),
            kind,
            failing: state.failing.load(Ordering::Relaxed),
            waiting: read(&state.waiting),
            sent: read(&state.sent),
            failed: read(&state.failed),
            lost: read(&state.lost),
            last_success_ns: last.success_ns,
            last_answer: last.said,
            last_error_ns: last.error.as_ref().map(|error| error.unix_ns),
            last_error: last.error.map(|error| error.why),
        }
    }
}
