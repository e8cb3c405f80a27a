//! Frames of any bytes, at any times, through the data path in software and the engine.
//!
//! Input: records of two bytes of length, one of time (a power of two of ns), and the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sensor_core::datapath::Datapath;
use sensor_core::engine::{Engine, Output};
use sensor_core::observation::Observation;
use sensor_core::settings::{Limits, Mode, Settings};
use sensor_core::time::Time;
use sensor_core::tunnel;

fuzz_target!(|input: &[u8]| {
    let limits = Limits { devices: 32, flows: 64, contacts: 16, peers: 64, incidents: 4 };
    let settings = Settings { mode: Mode::Enforce, limits, ..Settings::default() };
    let (mut datapath, mut engine, mut out) = (Datapath::new(1), Engine::new(settings), Output::default());
    let (mut rest, mut now) = (input, Time(0));
    while let [low, high, time, tail @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (frame, next) = tail.split_at(len);
        rest = next;
        now = now.plus(1 << (time & 63));
        for record in datapath.frame(frame, frame.len() as u32, now) {
            if let Some(seen) = Observation::decode(&record.flow, Some(&record.inner)) {
                engine.observe(&seen, &mut out);
            }
        }
        // The packet within a tunnel is read whatever the frame is.
        for (proto, port) in [(4, 0), (41, 0), (47, 0), (17, 4_789), (17, 6_081)] {
            tunnel::inner(proto, port, frame);
        }
        engine.tick(now, &mut out);
        datapath.enforce(&out.decisions);
        out = Output::default();
    }
    engine.finish(now, &mut out);
});
