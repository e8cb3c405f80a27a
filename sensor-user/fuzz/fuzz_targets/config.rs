//! Any bytes as a configuration: read, or refused with every problem.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Err(problems) = sensor_user::config::parse(input) {
        assert!(!problems.is_empty());
    }
});
