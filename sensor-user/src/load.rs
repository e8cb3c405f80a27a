//! `sekisho load`: what takes privileges, done once, for a daemon that has none.

use std::path::Path;

use anyhow::{Context, Result};

use crate::bpf::{self, OBJECT, Pins, Ports, Sensor};
use crate::control::group_id;
use crate::label;

/// Puts the program on all ports of a bridge and gives the maps to a group. False: some port could not be given it.
///
/// # Errors
///
/// Whatever keeps it from loading the program or giving the maps away.
pub fn run(bridge: &str, pin_dir: &Path, group: &str) -> Result<bool> {
    let group = group_id(group)
        .with_context(|| format!("there is no group {group}; create it with: groupadd --system {group}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load(bridge, pin_dir, group))
}

async fn load(bridge: &str, pin_dir: &Path, group: u32) -> Result<bool> {
    let ports = Ports::open(bridge).await?;
    bpf::probe(pin_dir)?;
    let pins = Pins::open(pin_dir, bridge)?;
    let sensor = Sensor::load_pinned(pins, &ports, OBJECT)?;
    let Sensor { mut attachments, mut counters, mut rules, notes, .. } = sensor;
    notes.iter().for_each(|note| log::warn!("{note}"));
    let kept = attachments.indices(&ports.list())?.into_values().collect();
    rules.forget_ports(&kept)?;
    rules.commit()?;
    let mut good = true;
    for port in ports.list() {
        match attachments.attach(&port) {
            Ok(_) => {}
            // It has the program of an earlier release, which must not go on with maps that nobody reaches.
            Err(error @ bpf::BpfError::Load(_)) => {
                attachments.roll_back()?;
                return Err(error.into());
            }
            Err(error) => {
                log::error!("port {} is NOT filtered: {error}", port.name);
                good = false;
            }
        }
    }
    let count = attachments.attached().count();
    attachments.settle(&mut counters)?.iter().for_each(|note| log::info!("{note}"));
    attachments.share_with(group)?;
    let ports = label::count(count as u64, "port", "ports");
    log::info!("{ports} of {bridge} filtered; the daemon needs no privileges");
    Ok(good)
}
