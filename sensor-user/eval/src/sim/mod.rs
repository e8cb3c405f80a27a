//! The event-level simulator: a made-up hospital whose sensor tells what the real one would.
//!
//! `site` says who is there, `habits` what they do, `talk` what the sensor sees of it, `world` keeps the time; `confound`
//! adds what is harmless and looks strange. It knows neither the engine nor a detector: whoever takes what it tells
//! ([`world::Sink`]) says only whether a frame went through.

pub mod calendar;
pub mod chance;
pub mod confound;
pub mod habits;
pub mod service;
pub mod site;
pub mod talk;
pub mod world;
