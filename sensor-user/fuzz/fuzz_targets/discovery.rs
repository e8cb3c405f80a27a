//! Frames of address configuration and discovery of any bytes, from what was told of them to the label of their device.
//!
//! Input: records of a byte that says the kind, two bytes of length, and the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sensor_core::engine::{Engine, Output};
use sensor_core::identify::heard::Heard;
use sensor_core::settings::Settings;
use sensor_core::time::Time;
use sensor_ebpf::ABI;
use sensor_ebpf::heard::{HEARD_BYTES, HEARD_KINDS, HeardHead};

fuzz_target!(|data: &[u8]| {
    let mut engine = Engine::new(Settings::default());
    let mut out = Output::default();
    let (mut rest, mut now) = (data, Time::at(1));
    while let [kind, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len()).min(HEARD_BYTES);
        let (frame, more) = tail.split_at(length);
        rest = more;
        now = now.plus(1_000_000);
        let head = HeardHead {
            kind: kind % HEARD_KINDS as u8,
            abi: ABI as u8,
            port: 1,
            len: length as u32,
            time_ns: now.ns(),
            have: length as u32,
            ..HeardHead::default()
        };
        if let Some(heard) = Heard::decode(&head, frame) {
            engine.hear(&heard, &mut out);
        }
    }
    for device in engine.devices(now) {
        assert!(device.names.len() <= 4);
        if let Some(label) = device.label {
            assert!((0.0..=1.0).contains(&label.confidence) && !label.reasons.is_empty());
        }
    }
});
