//! The monthly report: what was found, what was done about it and how fast, who is on the network, and what could not be
//! seen, on a page for people who are no analysts, in Japanese or English.
//!
//! Pure: what happened comes in as the events that were kept ([`Gather`]), the report goes out as HTML ([`html`]) or CSV
//! ([`csv`]). Nothing here reads a clock, a file or a socket.

pub mod csv;
mod figures;
mod gather;
pub mod html;
mod month;
mod outcome;
#[cfg(test)]
mod tests;
mod words;

pub use figures::{Device, Incident, Passed, Report, Traffic, Verdict};
pub use gather::{Event, Gather, MAX_INCIDENTS};
pub use month::{Month, MonthError};
pub use outcome::Outcome;
