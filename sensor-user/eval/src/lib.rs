//! What the detectors are held against: real captures with ground truth through the product's own replay, and made-up sites
//! through the product's own engine.
//!
//! `expect` reads what is known of the captures, `capture` runs one and notes who was blamed and who cut off, `held`
//! holds the two against each other, `report` writes it down. The program `eval` (`cargo xtask eval`) does all of it.
//! `sim` is a made-up hospital and `attack` what is done to it; `subject` is the engine under test there; `years` and `runs` let it
//! live without and with attacks, `synthetic` sums that up and `told` writes it down. `packets` lets it live on a real bridge;
//! `identify` holds the kinds of devices against captures of known ones. `contest` holds it against rivals, and `spoilt` spoils the training of those that learn. Nothing here knows a detector.
#![forbid(unsafe_code)]

pub mod attack;
pub mod capture;
pub mod contest;
pub mod expect;
pub mod figure;
pub mod held;
pub mod identify;
pub mod leak;
pub mod packets;
pub mod picture;
pub mod report;
pub mod runs;
pub mod sim;
pub mod speed;
pub mod spoilt;
pub mod subject;
pub mod synthetic;
pub mod told;
pub mod transplant;
pub mod years;
