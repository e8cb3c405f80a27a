//! What crosses between the kernel and user space, defined once, and the code both sides run.
//!
//! The XDP program (`src/bin/sensor`), the daemon and the replay of captures all use this crate: the layouts of map
//! keys, map values and ring records, the frame parser and the flow life cycle. Everything here is `no_std`, free of
//! `unsafe`, fixed-width and without padding, so that a key hashed by the kernel is the key user space looks up.
//!
//! This crate must not know aya, a clock or a file; the program's own `src/bin/sensor` may.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod account;
pub mod control;
pub mod counter;
pub mod event;
pub mod flow;
pub mod heard;
pub mod judge;
pub mod parse;
pub mod reflex;
pub mod rule;
pub mod seal;
pub mod table;
pub mod usual;

/// Number of the layout of every map and record. Raise it when any of them changes: pinned maps of another number
/// are never reused.
pub const ABI: u32 = 2;
