//! `sekisho detach`: removes every trace of a stopped daemon from the kernel.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bpf::{self, Detached, Offloads};
use crate::say;

/// Detaches one bridge, or all that have something pinned in `pin_dir`. True: all is gone.
///
/// # Errors
///
/// If a daemon runs on the bridge, or something cannot be removed.
pub fn run(pin_dir: &Path, bridge: Option<&str>, json: bool) -> Result<bool> {
    let bridges = match bridge {
        Some(bridge) => vec![bridge.to_owned()],
        None => pinned(pin_dir)?,
    };
    let mut gone = Detached::default();
    for bridge in &bridges {
        let Detached { ports, offloads } = bpf::detach(pin_dir, bridge)?;
        gone.ports.extend(ports);
        gone.offloads.extend(offloads);
    }
    ensure!(
        bridge.is_none() || !gone.ports.is_empty(),
        "nothing is attached for {} in {}",
        bridges.join(", "),
        pin_dir.display()
    );
    say::out(if json { object(&bridges, &gone).to_string() } else { sentence(pin_dir, &bridges, &gone) });
    Ok(true)
}

fn object(bridges: &[String], gone: &Detached) -> Value {
    let offloads: Vec<Value> = gone
        .offloads
        .iter()
        .map(|(port, offloads)| json!({ "port": port, "switched_on": names(offloads) }))
        .collect();
    json!({ "bridges": bridges, "removed": gone.ports, "offloads": offloads })
}

fn sentence(pin_dir: &Path, bridges: &[String], gone: &Detached) -> String {
    if gone.ports.is_empty() {
        return format!("nothing was attached in {}", pin_dir.display());
    }
    let mut text = format!("the filter is off on {}; nobody is isolated there any more", bridges.join(", "));
    for (port, offloads) in &gone.offloads {
        text.push_str(&format!("\n{port}: switched on again: {}", names(offloads).join(", ")));
    }
    text
}

fn names(offloads: &Offloads) -> Vec<&'static str> {
    offloads.iter().map(|offload| offload.name()).collect()
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
