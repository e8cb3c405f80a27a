//! What the detectors are held against: real captures with ground truth, through the product's own replay.
//!
//! `expect` reads what is known of the captures, `capture` runs one and notes who was blamed and who cut off, `held`
//! holds the two against each other, `report` writes it down. The program `eval` (`cargo xtask eval`) does all of it.
//! Nothing here knows a detector.
#![forbid(unsafe_code)]

pub mod capture;
pub mod expect;
pub mod held;
pub mod report;
