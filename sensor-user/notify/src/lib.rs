//! Telling people: from what happened to mail, a patrol lamp, a web address, SNMP traps and syslog.
//!
//! The loop of the daemon hands each event to [`Notifier::tell`], which waits for nothing. A thread decides by the rules
//! who is told; each channel has a thread of its own, which keeps what waits on the disk, tells it when it is time, and
//! tries again what failed. A channel that keeps failing is told to all others, once, and once more when it works again.
//! Nothing here knows the engine, and nothing that happens here can hold up a decision.

mod clock;
pub mod dispatch;
pub mod error;
mod known;
pub mod lamp;
pub mod notice;
mod outbox;
pub mod place;
mod queue;
mod rules;
pub mod send;
pub mod settings;
mod state;
mod told;
pub mod words;
mod worker;

pub use dispatch::Notifier;
pub use error::NotifyError;
pub use known::{Known, OnKnown};
pub use settings::Settings;
pub use state::ChannelInfo;
pub use worker::Reply;
