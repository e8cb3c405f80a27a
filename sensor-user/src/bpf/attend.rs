//! Without privileges: the program was loaded and attached by `sekisho load`, and this process only works with the maps.
//!
//! What takes privileges (a port that joined, a program somebody took off) is asked of the loader, by writing a file that
//! systemd watches (`sekisho-load.path`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sensor_ebpf::counter::PortCounters;

use super::attach::{Attached, Attachments, Kernel, Mode};
use super::counters::Counters;
use super::driver::Problem;
use super::error::BpfError;
use super::link;
use super::offload::{self, PortOffloads};
use super::pins::{Pins, pin_error};
use super::ports::{AttachedProgram, BridgePort};
use super::sys;

/// Time between two requests for what the loader could not do, or has not done yet.
const AGAIN: Duration = Duration::from_secs(10);
/// A program that is not the pinned one is another's only if it still is so when looked at again: a loader at work replaces
/// one port after the other.
const LOOKS: u8 = 2;

/// What there is in place of a loaded program.
pub struct Attendance {
    /// Where the program is pinned.
    program: PathBuf,
    /// The file by which the loader is asked.
    request: PathBuf,
    bridge: String,
    asked: Option<Instant>,
    /// Ports that were found without the program, and how often in a row.
    bare: BTreeMap<u32, u8>,
}

impl Attendance {
    /// Of these pins.
    pub fn new(pins: &Pins, bridge: &str, request: &Path) -> Self {
        let bridge = bridge.to_owned();
        Self {
            program: pins.program(),
            request: request.to_owned(),
            bridge,
            asked: None,
            bare: BTreeMap::new(),
        }
    }

    /// The kernel id of the program.
    fn program(&self) -> Result<u32, BpfError> {
        let id = sys::open_pin(&self.program).and_then(|program| sys::program_id(program.as_fd()));
        id.map_err(pin_error("opening", &self.program))
    }

    /// Asks the loader to look after the bridge; `again` if it was asked for the same before.
    fn ask(&mut self, again: bool) {
        if again && self.asked.is_some_and(|asked| asked.elapsed() < AGAIN) {
            return;
        }
        self.asked = Some(Instant::now());
        if let Err(error) = fs::write(&self.request, format!("{}\n", self.bridge)) {
            log::error!("the loader cannot be asked by {}: {error}", self.request.display());
        }
    }
}

impl Attachments {
    /// Takes note of a port that has the program; else asks the loader for it.
    pub(super) fn attend(&mut self, port: &BridgePort) -> Result<(), BpfError> {
        let asked = || BpfError::NotAttached { port: port.name.clone() };
        let Kernel::Attended(attendance) = &mut self.kernel else { return Err(asked()) };
        let program = attendance.program()?;
        let interface =
            link::get(port.ifindex).map_err(|source| BpfError::Link { port: port.name.clone(), source })?;
        let xdp = interface.and_then(|interface| interface.xdp).filter(|xdp| xdp.program == program);
        let index = self.table.look_up(port.ifindex)?;
        let (Some(AttachedProgram { mode, .. }), Some(index)) = (xdp, index) else {
            let known = attendance.bare.insert(port.ifindex, LOOKS).is_some();
            attendance.ask(known);
            return Err(asked());
        };
        attendance.bare.remove(&port.ifindex);
        let name = port.name.clone();
        let slow = (mode == Mode::Generic).then_some(Problem::Refused);
        let (offloads, pin) = (PortOffloads::default(), PathBuf::new());
        let attached =
            Attached { ifindex: port.ifindex, name, index, mode, inherited: true, slow, offloads, pin };
        self.unfiltered.remove(&port.ifindex);
        self.attached.insert(port.ifindex, attached);
        Ok(())
    }

    /// Takes note of a port that left; the loader puts things in order.
    pub(super) fn leave(
        &mut self,
        ifindex: u32,
        counters: &Counters,
    ) -> Result<Option<(Attached, PortCounters)>, BpfError> {
        let Kernel::Attended(attendance) = &mut self.kernel else { return Ok(None) };
        attendance.bare.remove(&ifindex);
        attendance.ask(false);
        let Some(port) = self.attached.remove(&ifindex) else { return Ok(None) };
        self.table.forget(ifindex);
        let last = counters.port(port.index)?;
        Ok(Some((port, last)))
    }

    /// The ports of these that somebody took the program off, or gave another; the loader is asked to repair them.
    pub(super) fn look_after(&mut self, ports: &BTreeSet<u32>) -> Vec<(String, Result<Mode, BpfError>)> {
        let Kernel::Attended(attendance) = &mut self.kernel else { return Vec::new() };
        let (Ok(program), Ok(interfaces)) = (attendance.program(), link::all()) else { return Vec::new() };
        let has = |ifindex: u32| {
            let found = interfaces.iter().find(|interface| interface.ifindex == ifindex);
            found.and_then(|interface| interface.xdp).is_some_and(|xdp| xdp.program == program)
        };
        let mut lost = Vec::new();
        for port in self.attached.values().filter(|port| ports.contains(&port.ifindex)) {
            if has(port.ifindex) {
                attendance.bare.remove(&port.ifindex);
                continue;
            }
            let looks = attendance.bare.entry(port.ifindex).or_default();
            *looks += 1;
            if *looks >= LOOKS {
                lost.push((port.ifindex, port.name.clone()));
            }
        }
        for (ifindex, _) in &lost {
            self.attached.remove(ifindex);
            attendance.ask(false);
        }
        lost.into_iter().map(|(_, name)| (name.clone(), Err(BpfError::NotAttached { port: name }))).collect()
    }

    /// Asks the loader to switch off again what somebody switched on on one of these ports.
    pub(super) fn look_after_offloads(&mut self, ports: &BTreeSet<u32>) {
        let Kernel::Attended(attendance) = &mut self.kernel else { return };
        let filtered = ports.iter().filter(|ifindex| self.attached.contains_key(ifindex));
        if filtered.into_iter().any(|ifindex| !offload::plan(*ifindex).switchable.is_empty()) {
            attendance.ask(true);
        }
    }
}
