//! The thinking of Sekisho: observations in, incidents and decisions out.
//!
//! Nothing here performs I/O, reads a clock, spawns a task or is `unsafe`; time comes in with every observation and
//! tick, so that the same input gives the same incidents, byte for byte. The live daemon and the replay of captures are
//! two ways to feed the one [`engine::Engine`].
#![forbid(unsafe_code)]

pub mod addr;
pub mod contact;
pub mod coverage;
pub mod datapath;
pub mod detect;
pub mod engine;
pub mod event;
pub mod evidence;
pub mod flow;
pub mod forbid;
pub mod health;
pub mod hearing;
pub mod identify;
pub mod incident;
pub mod inventory;
pub mod lru;
pub mod model;
pub mod observation;
mod patience;
pub mod policy;
pub mod settings;
pub mod snapshot;
pub mod state;
pub mod steady;
pub mod success;
pub mod technique;
pub mod time;
mod tried;
pub mod tunnel;
