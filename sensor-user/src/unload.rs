//! `sekisho unload`: takes the filter off the ports of a bridge whose daemon is stopped.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::bpf;

/// Unloads one bridge, or all that have something pinned in `pin_dir`. True: all is gone.
///
/// # Errors
///
/// If a daemon runs on the bridge, or something cannot be removed.
pub fn run(pin_dir: &Path, bridge: Option<&str>, json: bool) -> Result<bool> {
    let bridges = match bridge {
        Some(bridge) => vec![bridge.to_owned()],
        None => pinned(pin_dir)?,
    };
    let mut gone = Vec::new();
    for bridge in &bridges {
        gone.extend(bpf::unload(pin_dir, bridge)?);
    }
    ensure!(
        bridge.is_none() || !gone.is_empty(),
        "nothing is loaded for {} in {}",
        bridges.join(", "),
        pin_dir.display()
    );
    if json {
        println!("{}", serde_json::json!({ "bridges": bridges, "removed": gone }));
    } else if gone.is_empty() {
        println!("nothing was loaded in {}", pin_dir.display());
    } else {
        println!("the filter is off on {}; nobody is isolated there any more", bridges.join(", "));
    }
    Ok(true)
}

/// The bridges that have something pinned.
///
/// # Errors
///
/// If the directory cannot be read.
pub fn pinned(pin_dir: &Path) -> Result<Vec<String>> {
    if !pin_dir.exists() {
        return Ok(Vec::new());
    }
    let reading = || format!("cannot read {}; run as root", pin_dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(pin_dir).with_context(reading)? {
        // A dot of an interface's name is a colon in a pin's.
        names.push(entry.with_context(reading)?.file_name().to_string_lossy().replace(':', "."));
    }
    names.sort();
    Ok(names)
}
