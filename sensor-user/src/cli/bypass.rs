//! `sekisho bypass`: through the daemon if one answers, else by the pinned map itself.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::unistd::getuid;
use serde_json::json;

use super::args::Output;
use super::client::Client;
use super::kernel_args::{BypassArgs, BypassState};
use super::{CliError, show};
use crate::bpf::{self, Bypass, DEFAULT_PIN_DIR, Rules};
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
    let mut desk = Desk::open(args);
    let bridges = match &args.bridge {
        Some(bridge) => vec![bridge.clone()],
        None => bpf::bridges(&desk.pin_dir)?,
    };
    if bridges.is_empty() {
        return Err(CliError::NothingLoaded(desk.pin_dir));
    }
    // What fails on one bridge must not keep another from being switched.
    let done: Vec<_> = bridges.iter().map(|bridge| (bridge, desk.switch(args.state, bridge))).collect();
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

/// Where the bypass is switched.
struct Desk {
    /// Where the kernel's side is pinned.
    pin_dir: PathBuf,
    /// The daemon, if one answers that has its pins there, and what it said of itself.
    daemon: Option<(Client, Status)>,
}

impl Desk {
    /// By the pins that are named, else those of the daemon, else those where they usually are.
    fn open(args: &BypassArgs) -> Self {
        let about = |status: &Status| {
            let bridge = args.bridge.as_ref().is_none_or(|bridge| *bridge == status.live.bridge);
            let pins = args.pin_dir.as_ref().is_none_or(|dir| dir.display().to_string() == status.live.pins);
            bridge && pins
        };
        let daemon = daemon(args).filter(|(_, status)| about(status));
        let said = daemon.as_ref().map(|(_, status)| PathBuf::from(&status.live.pins));
        let pin_dir = args.pin_dir.clone().or(said).unwrap_or_else(|| DEFAULT_PIN_DIR.into());
        Self { pin_dir, daemon }
    }

    /// The daemon, if it is that of a bridge.
    fn daemon(&mut self, bridge: &str) -> Option<&mut (Client, Status)> {
        self.daemon.as_mut().filter(|(_, status)| status.live.bridge == bridge)
    }

    /// Brings one bridge to what is wanted; gives how it is then.
    fn switch(&mut self, state: BypassState, bridge: &str) -> Result<BypassInfo, CliError> {
        let on = match state {
            BypassState::On => true,
            BypassState::Off => false,
            BypassState::Status => return self.look(bridge),
        };
        match self.order(bridge, on) {
            Some(info) if info.on == on => Ok(info),
            _ => write(&self.pin_dir, bridge, on),
        }
    }

    /// How it is: by the kernel's map, or by the daemon's word for those who may not read that.
    fn look(&mut self, bridge: &str) -> Result<BypassInfo, CliError> {
        match Rules::pinned(&self.pin_dir, bridge).and_then(|rules| rules.bypass()) {
            Ok(found) => Ok(found.info()),
            Err(error) => {
                self.daemon(bridge).map(|(_, status)| status.live.bypass.clone()).ok_or(error.into())
            }
        }
    }

    /// Has the daemon switch it. `None` if it does not: then it is done without it.
    fn order(&mut self, bridge: &str, on: bool) -> Option<BypassInfo> {
        let (client, _) = self.daemon(bridge)?;
        let answer = client.ask(Request::Bypass(on)).ok()?;
        client.read(answer).ok()
    }
}

/// The daemon, if it answers.
fn daemon(args: &BypassArgs) -> Option<(Client, Status)> {
    let mut client = Client::connect_for(&args.ask.socket, PATIENCE).ok()?;
    let answer = client.ask(Request::Status).ok()?;
    let status = client.read(answer).ok()?;
    Some((client, status))
}

/// Switches it by the kernel's map.
fn write(pin_dir: &Path, bridge: &str, on: bool) -> Result<BypassInfo, CliError> {
    let mut rules = Rules::pinned(pin_dir, bridge)?;
    for _ in 0..TRIES {
        if rules.bypass()?.on != on {
            rules.set_bypass(Bypass { on, by: getuid().as_raw(), since_ns: Now::read().mono.ns() })?;
        }
        thread::sleep(PAUSE);
        let found = rules.bypass()?;
        if found.on == on {
            return Ok(found.info());
        }
    }
    Err(CliError::BypassContested { bridge: bridge.to_owned(), wanted: if on { "on" } else { "off" } })
}
