//! `sekisho bypass`: through the daemon if one answers, else by the pinned map itself.

use std::thread;
use std::time::Duration;

use nix::unistd::getuid;
use serde_json::json;

use super::args::Output;
use super::client::Client;
use super::kernel_args::{BypassArgs, BypassState};
use super::{CliError, show};
use crate::bpf::{self, Bypass, Rules};
use crate::clock::Now;
use crate::protocol::{BypassInfo, Request, Status};

/// How long a daemon is waited for: this is for emergencies.
const PATIENCE: Duration = Duration::from_secs(2);
/// A daemon that hangs may be about to write the switches as it read them before; then they are written again.
const TRIES: u32 = 5;
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Switches or shows the bypass of one bridge, or all.
pub fn bypass(args: &BypassArgs, here: &show::Here) -> Result<String, CliError> {
    let bridges = match &args.bridge {
        Some(bridge) => vec![bridge.clone()],
        None => bpf::bridges(&args.pin_dir)?,
    };
    if bridges.is_empty() {
        return Err(CliError::NothingLoaded(args.pin_dir.clone()));
    }
    // What fails on one bridge must not keep another from being switched.
    let done: Vec<_> = bridges.iter().map(|bridge| (bridge, switch(args, bridge))).collect();
    let mut text = String::new();
    for (bridge, result) in done {
        let info = result?;
        text += &match args.ask.output.output {
            Output::Json => format!("{}\n", json!({ "bridge": bridge, "bypass": info })),
            Output::Human => sentence(bridge, &info, here),
        };
    }
    Ok(text)
}

fn sentence(bridge: &str, info: &BypassInfo, here: &show::Here) -> String {
    let switched = show::switched(info, here);
    if info.on {
        format!("BYPASS IS ON on {bridge}{switched}: nothing is dropped, whoever is cut off gets through\n")
    } else {
        format!("the bypass of {bridge} is off{switched}: the rules hold\n")
    }
}

/// Brings one bridge to what is wanted; gives how it is then.
fn switch(args: &BypassArgs, bridge: &str) -> Result<BypassInfo, CliError> {
    let on = match args.state {
        BypassState::On => true,
        BypassState::Off => false,
        BypassState::Status => return look(args, bridge),
    };
    match order(args, bridge, on) {
        Some(info) if info.on == on => Ok(info),
        _ => write(args, bridge, on),
    }
}

/// How it is: by the kernel's map, or by the daemon's word for those who may not read that.
fn look(args: &BypassArgs, bridge: &str) -> Result<BypassInfo, CliError> {
    match Rules::pinned(&args.pin_dir, bridge).and_then(|rules| rules.bypass()) {
        Ok(found) => Ok(found.info()),
        Err(error) => daemon(args, bridge).map(|(_, status)| status.live.bypass).ok_or(error.into()),
    }
}

/// The daemon of that bridge, if it answers.
fn daemon(args: &BypassArgs, bridge: &str) -> Option<(Client, Status)> {
    let mut client = Client::connect_for(&args.ask.socket, PATIENCE).ok()?;
    let answer = client.ask(Request::Status).ok()?;
    let status: Status = client.read(answer).ok()?;
    let live = &status.live;
    (live.bridge == bridge && live.pins == args.pin_dir.display().to_string()).then_some((client, status))
}

/// Has the daemon switch it. `None` if it does not: then it is done without it.
fn order(args: &BypassArgs, bridge: &str, on: bool) -> Option<BypassInfo> {
    let (mut client, _) = daemon(args, bridge)?;
    let answer = client.ask(Request::Bypass(on)).ok()?;
    client.read(answer).ok()
}

/// Switches it by the kernel's map.
fn write(args: &BypassArgs, bridge: &str, on: bool) -> Result<BypassInfo, CliError> {
    let mut rules = Rules::pinned(&args.pin_dir, bridge)?;
    for _ in 0..TRIES {
        if rules.bypass()?.on != on {
            rules.set_bypass(Bypass { on, by: getuid().as_raw(), since_ns: Now::read().mono.0 })?;
        }
        thread::sleep(PAUSE);
        let found = rules.bypass()?;
        if found.on == on {
            return Ok(found.info());
        }
    }
    Err(CliError::BypassContested { bridge: bridge.to_owned(), wanted: if on { "on" } else { "off" } })
}
