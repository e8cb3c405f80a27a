//! What happened and who decided it, kept so that it stands: an SQLite database, a chain of hashes over its rows, and signed
//! packs that others verify without the box.
//!
//! [`Keeper`] is the daemon's side: a thread with a bounded queue before a [`Journal`]. [`Reader`] and [`verify`] only read, with
//! or without a daemon. Nothing here knows what an event means: a row has its kind, whom it is about, and the event as it was
//! told.

mod alive;
mod chain;
mod entry;
mod error;
mod head;
mod journal;
mod keeper;
mod key;
mod note;
pub mod pack;

mod prune;
mod queue;
mod read;
mod schema;
pub mod sqlite;
mod verify;

pub use chain::{Hash, hex, sha256, unhex};
pub use entry::{Entry, Link, Record, UNCHAINED, is_chained};
pub use error::JournalError;
pub use head::Head;
pub use journal::{DATABASE, Journal, Keeping};
pub use keeper::Keeper;
pub use key::{PublicKey, SigningKey};
pub use note::stamp;
pub use read::{Query, Reader};
pub use verify::{Claim, Verified, verify};
