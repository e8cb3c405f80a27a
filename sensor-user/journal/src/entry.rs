//! One row: what happened, when, and whom it is about.

use crate::chain::Hash;

/// Kinds of rows that are not in the chain. There may be very many, by order of whoever invents addresses, and they must push
/// out no decision.
pub const UNCHAINED: [&str; 1] = ["device"];

/// Whether rows of a kind are in the chain.
pub fn is_chained(kind: &str) -> bool {
    !UNCHAINED.contains(&kind)
}

/// What is to be kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// When, ns since 1970.
    pub time_ns: i64,
    /// The kind of event, as its `event_type` says.
    pub kind: String,
    /// The incident it belongs to.
    pub incident: Option<u64>,
    /// The number of its device.
    pub device: Option<u64>,
    /// The MAC address of its device.
    pub mac: Option<String>,
    /// The name people know its device by.
    pub name: Option<String>,
    /// How grave it is, 1 (high) to 3 (low).
    pub severity: Option<u8>,
    /// The event, as JSON.
    pub body: String,
    /// The event in a sentence.
    pub words: String,
}

/// A row's place in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number: 1 for the first.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// The hash of the row before; none if that is not there any more.
    pub before: Option<Hash>,
}

/// A row that was kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its number among all rows.
    pub id: i64,
    /// What it says.
    pub entry: Entry,
    /// Its place in the chain; none if its kind is not in it.
    pub link: Option<Link>,
}
