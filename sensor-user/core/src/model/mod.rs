//! What is usual for a class of devices, learned from their own traffic.

pub mod features;
pub mod network;
pub mod random;
pub mod scale;
pub mod tail;
