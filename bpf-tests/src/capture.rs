//! Frames of capture files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sensor_user::source::pcap;

/// The folder of captures: `SEKISHO_DATA`, or `shared/data` beside the workspace. `None` if it is not there.
pub fn data_dir() -> Option<PathBuf> {
    let dir = match env::var_os("SEKISHO_DATA") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
    };
    dir.is_dir().then_some(dir)
}

/// All captures below a folder, sorted.
pub fn captures(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(captures(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Gives each frame of a capture, as far as it was captured, to `each`, until one fails.
pub fn frames(path: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut result = Ok(());
    pcap::read(path, |frame| {
        if result.is_ok() {
            result = each(frame.bytes);
        }
    })?;
    result
}
