//! What a test has to say besides passed and failed: that it was skipped, and why, or a figure to look at. The test
//! runner keeps to itself what a test that passed prints, so such a line also goes to the file `SEKISHO_TEST_NOTES`,
//! from which `cargo xtask test` and `cargo xtask vm` print it.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::thread;

/// Whether this kernel is at least of `version` (major, minor). If it is older, the calling test is to return at once:
/// it is told as skipped. `reason` says what the older kernel lacks.
///
/// The one way to skip a test for the kernel it runs on.
pub fn require_kernel(version: (u32, u32), reason: &str) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let enough = is_at_least(release, version);
    if !enough {
        skipped(&format!("needs Linux {}.{}, this is {release}: {reason}", version.0, version.1));
    }
    enough
}

/// Tells that the calling test was skipped, for something the machine lacks other than a newer kernel.
pub fn skipped(reason: &str) {
    write(&format!("SKIPPED {}: {reason}", thread::current().name().unwrap_or("a test")));
}

/// Tells a figure that depends on the kernel.
pub fn figure(text: &str) {
    write(&format!("FIGURE {text}"));
}

fn write(line: &str) {
    println!("{line}");
    let Some(path) = env::var_os("SEKISHO_TEST_NOTES") else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    // In one piece, since tests run at once. A note that cannot be kept must not look like a test that passed.
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    assert!(written.is_ok(), "cannot write to {}: {written:?}", path.display());
}

fn is_at_least(release: &str, version: (u32, u32)) -> bool {
    // One that cannot be read skips nothing.
    version_of(release).is_none_or(|running| running >= version)
}

/// Major and minor of a release like `6.12.117+deb13-cloud-amd64`.
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_compared_by_number() {
        let cases = [
            ("6.1.0-56-cloud-amd64", Some((6, 1))),
            ("6.12.117+deb13-amd64", Some((6, 12))),
            ("7.3", Some((7, 3))),
            ("", None),
            ("six", None),
        ];
        for (release, expected) in cases {
            assert_eq!(version_of(release), expected, "{release}");
        }
    }

    #[test]
    fn only_an_older_kernel_skips() {
        let cases = [
            ("6.1.0-56", (6, 1), true),
            ("6.9.1", (6, 12), false),
            ("7.0", (6, 12), true),
            ("?", (6, 12), true),
        ];
        for (release, version, expected) in cases {
            assert_eq!(is_at_least(release, version), expected, "{release}, {version:?}");
        }
    }
}
