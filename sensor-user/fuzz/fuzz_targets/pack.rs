//! Any bytes as a pack: none that nobody sealed is whole, and nothing takes the verifier down.
//!
//! gcc builds SQLite with a global that ASan takes for two: run it with `ASAN_OPTIONS=detect_odr_violation=0`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sensor_journal::pack::check;

fuzz_target!(|input: &[u8]| {
    assert!(!check(input, None).faults.is_empty());
});
