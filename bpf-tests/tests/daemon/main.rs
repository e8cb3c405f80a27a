//! The real `sekisho` on a real bridge, from the command line to the wire. Needs root, nmap and prometheus; the program
//! is built by `cargo xtask build`.

mod bad_captures;
mod bad_start;
mod block;
mod bypass;
mod decided;
mod detach;
mod disk;
mod doctor;
mod drill;
mod failure;
mod flows;
mod follow;
mod hospital;
mod identified;
mod journal;
mod known;
mod latency;
mod ledger;
mod levels;
mod notices;
mod offload;
mod patient;
#[allow(dead_code, clippy::unwrap_used, clippy::expect_used)]
#[path = "../../../sensor-user/notify/tests/told/peers.rs"]
mod peers;
mod ports;
mod privilege;
mod prometheus;
mod record;
mod scan;
mod upgrade;
mod verify;
