//! What the journal says of itself, as rows among the others.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::entry::Entry;

/// The kind of these rows.
pub const KIND: &str = "journal";

/// A moment as EVE writes it.
pub fn stamp(time_ns: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.6f%z").to_string()
}

/// A row about the journal: what was done, with which facts, in words.
pub fn note(time_ns: i64, action: &str, facts: &[(&str, Value)], words: String) -> Entry {
    let mut journal = Map::new();
    journal.insert("action".to_owned(), action.into());
    journal.extend(facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let mut body = Map::new();
    body.insert("timestamp".to_owned(), stamp(time_ns).into());
    body.insert("event_type".to_owned(), KIND.into());
    body.insert("journal".to_owned(), Value::Object(journal));
    Entry {
        time_ns,
        kind: KIND.to_owned(),
        body: Value::Object(body).to_string(),
        words: format!("journal   {words}"),
        ..Entry::default()
    }
}
