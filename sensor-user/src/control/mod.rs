//! The control socket: how `sekisho block`, `status` and the like reach the running daemon.
//!
//! Each client's request becomes an [`Ask`] to the pipeline, which owns the engine, and its answer a line of JSON.
//! Whoever may open the socket may give orders: it belongs to root and one group. Nothing here knows the engine.

mod answer;
mod list;
mod peer;
mod request;
mod server;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use sensor_core::engine::{Command, CommandError, Former, Reply};
use sensor_core::event::Ordered;
use sensor_core::snapshot::Snapshot;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::models::Chosen;
use crate::protocol::BypassInfo;
pub use crate::protocol::{AttachMode, LiveStatus, PortStatus};
pub use peer::{group_id, user_name};
pub use request::edit;
pub use server::Server;

/// What a client wants of the pipeline. Its answer goes back by the sender; a client that left has dropped the other
/// end, which is no error.
#[derive(Debug)]
pub enum Ask {
    /// Show everything.
    Snapshot(oneshot::Sender<View>),
    /// Carry this out.
    Command(Command, oneshot::Sender<Result<Reply, CommandError>>),
    /// Switch the bypass, by order of an account (uid). The answer is how it is then, or why that is not known.
    Bypass(bool, u32, oneshot::Sender<Result<BypassInfo, String>>),
    /// A fire drill is over: whether it went well.
    Drilled(bool, oneshot::Sender<()>),
    /// Tell that an order was given, and what came of it.
    Note(Ordered),
    /// Something about models. The answer is as it goes out, or why there is none.
    Model(ModelAsk, oneshot::Sender<Result<Value, String>>),
    /// Something about telling people, by order of an account. The answer is as it goes out, or why there is none.
    Notify(NotifyAsk, String, oneshot::Sender<Result<Value, String>>),
}

/// What a client wants of the channels that people are told by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotifyAsk {
    /// How they do.
    List,
    /// Have this one tell a test.
    Test(String),
    /// A person knows of this incident, or of all: lamps may go dark.
    Acknowledge(Option<u64>),
}

/// What is known of an incident of an earlier run, by its number. It may take a while.
pub type Recall = std::sync::Arc<dyn Fn(u64) -> Option<Former> + Send + Sync>;

/// What a client wants of the models.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ModelAsk {
    /// All there are.
    List,
    /// Have new ones trained; of a class alone, if one is given.
    Train(Option<String>),
    /// Choose the one of this hash.
    Promote(String, Chosen),
    /// The last scores of this device.
    Scores(String),
}

/// Everything there is to see.
#[derive(Clone, Debug)]
pub struct View {
    /// Of the engine.
    pub snapshot: Snapshot,
    /// Of the daemon around it.
    pub live: LiveStatus,
}

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another daemon is there.
    #[error("another daemon answers on {path}; stop it, or give each its own with --socket")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has that name.
    #[error("{path} is not a socket; move it away, or give another path with --socket")]
    NotSocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {what} {path}: {source}; run as root, or give another path with --socket")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}
