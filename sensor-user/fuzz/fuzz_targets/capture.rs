//! Any bytes as a capture file: what can be read is given out, the rest is told.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let path = std::env::temp_dir().join(format!("sekisho-fuzz-{}", std::process::id()));
    let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(input));
    assert!(written.is_ok());
    let mut frames = 0;
    if let Ok(summary) = sensor_user::source::pcap::read(&path, |_| frames += 1) {
        assert_eq!(summary.frames, frames);
    }
});
