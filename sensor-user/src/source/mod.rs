//! Where observations come from besides the live data path.

pub mod pcap;
pub mod replay;
