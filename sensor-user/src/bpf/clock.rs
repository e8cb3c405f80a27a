//! The kernel's two clocks: flows carry jiffies, rules and records ns of CLOCK_MONOTONIC.

use std::path::Path;
use std::thread;
use std::time::Duration;

use aya::maps::{Array, MapData};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use sensor_ebpf::control::Clock;

use super::error::{BpfError, chain};
use super::pod::Raw;

/// The program that reads the clocks, and where it leaves its answer.
pub struct KernelClock {
    program: Xdp,
    map: Array<MapData, Raw<Clock>>,
}

impl KernelClock {
    /// A clock of the pinned program, whoever loaded it, and the map it writes.
    ///
    /// # Errors
    ///
    /// [`BpfError::Clock`] if the program cannot be opened.
    pub fn open(pin: &Path, map: Array<MapData, Raw<Clock>>) -> Result<Self, BpfError> {
        let program = Xdp::from_pin(pin, XdpAttachType::Interface);
        let program =
            program.map_err(|error| BpfError::Clock(format!("{}: {}", pin.display(), chain(&error))))?;
        Ok(Self { program, map })
    }

    /// Both clocks at one moment.
    pub fn read(&self) -> Result<Clock, BpfError> {
        let mut options = TestRunOptions::new();
        // Any frame the kernel takes for a test run; the program does not look at it.
        options.data_in = Some(&[0; 64]);
        self.program.test_run(options).map_err(|error| BpfError::Clock(chain(&error)))?;
        let Raw(clock) =
            self.map.get(&0, 0).map_err(|error| BpfError::map("reading the clock map", error))?;
        Ok(clock)
    }

    /// Nanoseconds of a jiffy, measured. Takes 0.1 s.
    pub fn measure_jiffy(&self) -> Result<u64, BpfError> {
        let before = self.read()?;
        // Ten jiffies at the lowest rate: one more or less does not make 100 into 250, nor 250 into 300.
        thread::sleep(Duration::from_millis(100));
        let after = self.read()?;
        jiffy_ns(before, after)
            .ok_or_else(|| BpfError::Clock(format!("no tick in 0.1 s, from {before:?} to {after:?}")))
    }
}

/// Nanoseconds of a jiffy from two readings: of the rates Linux can be built with, the nearest.
fn jiffy_ns(before: Clock, after: Clock) -> Option<u64> {
    const RATES_HZ: [u64; 4] = [100, 250, 300, 1000];
    let ns = after.monotonic_ns.checked_sub(before.monotonic_ns)?;
    let ticks = after.jiffies.checked_sub(before.jiffies).filter(|&ticks| ticks > 0)?;
    let measured = ns / ticks;
    RATES_HZ.iter().map(|rate| 1_000_000_000 / rate).min_by_key(|jiffy| jiffy.abs_diff(measured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jiffy_is_the_nearest_rate_linux_is_built_with() {
        let cases = [
            ("100 Hz", 100_000_000, 10, Some(10_000_000)),
            ("250 Hz", 100_040_000, 25, Some(4_000_000)),
            ("250 Hz, a tick less", 100_040_000, 24, Some(4_000_000)),
            ("300 Hz", 100_100_000, 30, Some(3_333_333)),
            ("300 Hz, a tick less", 100_100_000, 29, Some(3_333_333)),
            ("300 Hz, a tick more", 100_100_000, 31, Some(3_333_333)),
            ("1000 Hz, the sleep was long", 250_000_000, 249, Some(1_000_000)),
            ("no tick at all", 100_000_000, 0, None),
        ];
        for (name, ns, ticks, expected) in cases {
            let before = Clock { monotonic_ns: 7, jiffies: 4_294_937_296 };
            let after = Clock { monotonic_ns: 7 + ns, jiffies: before.jiffies + ticks };
            assert_eq!(jiffy_ns(before, after), expected, "{name}");
        }
    }
}
