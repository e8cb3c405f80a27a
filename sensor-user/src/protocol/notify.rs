//! What is said over the control socket of the channels that people are told by.

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

/// A channel that people are told by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotifyChannel {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind: `mail`, `lamp`, `webhook`, `trap`, `syslog`.
    pub kind: String,
    /// Whether it fails, so that the others were told.
    pub failing: bool,
    /// Notices that wait; of a lamp: what is open.
    pub waiting: u64,
    /// Notices that were told since the start.
    pub sent: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Notices that were given up since the start.
    pub lost: u64,
    /// When it last went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Stamp>,
    /// What its server said then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_answer: Option<String>,
    /// When it last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_time: Option<Stamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What came of a test.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotifyTested {
    /// The channel.
    pub channel: String,
    /// What its server said.
    pub answer: String,
}
