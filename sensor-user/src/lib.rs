//! The daemon and the command of Sekisho: everything that touches the world. The thinking is in `sensor-core`.
//!
//! `bpf` is the only user of aya, `source` feeds captures, `pipeline` owns the engine of the live daemon; `store`,
//! `control`, `telemetry` and `eve` are leaves and do not know one another. `app` builds all of it.

// They panic when their reader hung up: see `say`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod adopt;
pub mod app;
pub mod bpf;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod detach;
mod disk;
pub mod doctor;
pub mod drill;
pub mod duration;
pub mod enforce;
pub mod eve;
mod eve_file;
pub mod explain;
pub mod flows;
mod incident;
pub mod journal;
pub mod label;
pub mod load;
pub mod makers;
pub mod models;
pub mod pack;
pub mod patience;
pub mod pipeline;
pub mod protocol;
pub mod record;
pub mod replay;
pub mod ruling;
mod say;
pub mod source;
mod stage;
pub mod store;
pub mod telemetry;
pub mod upgrade;
mod urgency;
pub mod verify;
