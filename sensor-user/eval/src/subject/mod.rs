//! What is put to the test on simulated sites: the product, and what it is compared with.
//!
//! `product` is the engine with the data path's own rules, fed as the daemon feeds it; `tally` counts what it did to whom.

pub mod frame;
pub mod learned;
pub mod minutes;
pub mod product;
pub mod rivals;
pub mod tally;
