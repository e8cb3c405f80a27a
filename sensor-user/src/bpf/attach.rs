//! The program on the ports of the bridge: attaching, taking over, detaching.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode};
use sensor_core::datapath::PortIndices;
use sensor_ebpf::control::Clock;
use sensor_ebpf::counter::PortCounters;

use super::attend::Attendance;
use super::before::{self, Before};
use super::clock::KernelClock;
use super::counters::Counters;
use super::driver::{self, Native, Problem};
use super::error::{BpfError, chain};
use super::link;
use super::object::PROGRAM;
use super::offload::{OffloadSwitch, PortOffloads};
use super::pins::{self, Pins};
use super::port_table::PortTable;
use super::ports::BridgePort;
use super::probe;
use super::stranger;

/// How the kernel runs the program on a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// In the driver, before anything is allocated for the frame.
    Native,
    /// In the network stack: works with every driver, but slower, and receive offload is off.
    Generic,
}

impl Mode {
    /// The mode's name in messages and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A port with the program on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attached {
    /// Interface index.
    pub ifindex: u32,
    /// Interface name when it was attached.
    pub name: String,
    /// Index of the port in flow keys, records and counters, 1..=255.
    pub index: u8,
    /// How the kernel runs the program there.
    pub mode: Mode,
    /// Whether the program of an earlier daemon was replaced in place, without a frame passing unseen.
    pub inherited: bool,
    /// Why it is not run in the driver, if it is not.
    pub slow: Option<Problem>,
    /// What was switched off for it.
    pub offloads: PortOffloads,
    pub(super) pin: PathBuf,
}

/// The program, as this process has it.
pub(super) enum Kernel {
    /// Loaded by this process.
    Loaded(Box<Ebpf>),
    /// Loaded by another.
    Attended(Attendance),
}

/// A port that could not be given the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfiltered {
    /// Its name.
    pub name: String,
    /// What kind of problem there is.
    pub problem: Problem,
    /// The problem in words.
    pub why: String,
}

/// What the attaching to a port brought.
struct Put {
    mode: Mode,
    inherited: bool,
    slow: Option<Problem>,
    offloads: PortOffloads,
    pin: PathBuf,
}

/// The loaded programs and the ports they are on.
///
/// Dropping this leaves everything attached: the pins hold it.
pub struct Attachments {
    pub(super) kernel: Kernel,
    pins: Pins,
    pub(super) table: PortTable,
    clock: KernelClock,
    pub(super) inherited: BTreeMap<u32, PathBuf>,
    pub(super) attached: BTreeMap<u32, Attached>,
    pub(super) unfiltered: BTreeMap<u32, Unfiltered>,
    pub(super) offloads: OffloadSwitch,
    replace: bool,
    before: Before,
}

impl Attachments {
    /// Puts the parts together; `inherited` are the links of an earlier daemon by interface index.
    pub(super) fn new(
        kernel: Kernel,
        pins: Pins,
        table: PortTable,
        clock: KernelClock,
        inherited: BTreeMap<u32, PathBuf>,
        before: Before,
    ) -> Self {
        let offloads = OffloadSwitch::new(pins.offloads());
        let (attached, unfiltered) = (BTreeMap::new(), BTreeMap::new());
        Self { kernel, pins, table, clock, inherited, attached, unfiltered, offloads, replace: false, before }
    }

    /// From now on other XDP programs are taken off ports, instead of being an error.
    pub fn replace_others(&mut self) {
        self.replace = true;
    }

    /// Puts back what an earlier daemon switched off on interfaces that are none of these ports any more.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] for the first note of it that cannot be removed.
    pub fn forget_all_but(&self, ports: &[BridgePort]) -> Result<(), BpfError> {
        if matches!(self.kernel, Kernel::Attended(_)) {
            return Ok(());
        }
        let ports: Vec<u32> = ports.iter().map(|port| port.ifindex).collect();
        self.offloads.put_back_all_but(&ports).map(drop)
    }

    /// The ports with the program on them, by interface index.
    pub fn attached(&self) -> impl Iterator<Item = &Attached> {
        self.attached.values()
    }

    /// The ports that could not be given it.
    pub fn unfiltered(&self) -> impl Iterator<Item = &Unfiltered> {
        self.unfiltered.values()
    }

    /// The index that each of these ports has, whether or not it has the program.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn indices(&mut self, ports: &[BridgePort]) -> Result<PortIndices, BpfError> {
        let mut indices = PortIndices::new();
        for port in ports {
            if let (Some(index), Ok(name)) = (self.table.look_up(port.ifindex)?, port.name.parse()) {
                indices.insert(name, index);
            }
        }
        Ok(indices)
    }

    /// The name of the port with this index in flow keys and records.
    pub fn port_name(&self, index: u8) -> Option<&str> {
        self.attached.get(&self.table.ifindex(index)?).map(|port| port.name.as_str())
    }

    /// Notes a port's new name; it stays attached.
    pub fn rename(&mut self, ifindex: u32, name: &str) {
        if let Some(port) = self.attached.get_mut(&ifindex) {
            port.name = name.to_owned();
        }
    }

    /// Puts the program on a port: by replacing an earlier daemon's in place if there is one, else natively, else
    /// generically. What hides frames from it is switched off before. A port that has it already is left alone.
    ///
    /// # Errors
    ///
    /// [`BpfError::PortBusy`], [`BpfError::PortTaken`], [`BpfError::NotReplaced`], [`BpfError::Attach`],
    /// [`BpfError::IfindexTooLarge`], [`BpfError::TooManyPorts`]; the port is unfiltered then. What was switched off
    /// stays so until the port leaves: attaching may be tried again every second, and a switch may cost the link.
    pub fn attach(&mut self, port: &BridgePort) -> Result<&Attached, BpfError> {
        if matches!(self.kernel, Kernel::Attended(_)) && !self.attached.contains_key(&port.ifindex) {
            self.attend(port)?;
        }
        if !self.attached.contains_key(&port.ifindex) {
            match self.attach_anew(port) {
                Ok(attached) => {
                    self.unfiltered.remove(&port.ifindex);
                    self.attached.insert(port.ifindex, attached);
                }
                Err(error) => {
                    let (name, why) = (port.name.clone(), error.to_string());
                    let unfiltered = Unfiltered { name, problem: Problem::of(&error), why };
                    self.unfiltered.insert(port.ifindex, unfiltered);
                    return Err(error);
                }
            }
        }
        self.attached.get(&port.ifindex).ok_or_else(|| BpfError::Object("a port went missing".to_owned()))
    }

    fn attach_anew(&mut self, port: &BridgePort) -> Result<Attached, BpfError> {
        let index = self.table.register(port)?;
        match self.put(port) {
            Ok(Put { mode, inherited, slow, offloads, pin }) => {
                let name = port.name.clone();
                Ok(Attached { ifindex: port.ifindex, name, index, mode, inherited, slow, offloads, pin })
            }
            Err(error) => {
                // The first error is the one to tell.
                let _ = self.table.unregister(port.ifindex);
                Err(error)
            }
        }
    }

    /// Takes the program off a port, puts back what was switched off for it, and returns what it counted, for the last
    /// time: its index may go to another port from now on. `None` if it had no program.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] or [`BpfError::Map`]; the port may still have the program then.
    pub fn detach(
        &mut self,
        ifindex: u32,
        counters: &mut Counters,
    ) -> Result<Option<(Attached, PortCounters)>, BpfError> {
        self.unfiltered.remove(&ifindex);
        if matches!(self.kernel, Kernel::Attended(_)) {
            return self.leave(ifindex, counters);
        }
        let others = self.attached.keys().chain(self.unfiltered.keys()).copied();
        let others: Vec<u32> = others.filter(|other| *other != ifindex).collect();
        let Some(port) = self.attached.get(&ifindex) else {
            return self.offloads.put_back_all_but(&others).map(|_| None);
        };
        pins::remove_link(&port.pin)?;
        if let Err(error) = self.offloads.put_back_all_but(&others) {
            log::warn!("{}: {error}", port.name);
        }
        self.table.unregister(ifindex)?;
        let last = counters.take_port(port.index)?;
        Ok(self.attached.remove(&ifindex).map(|port| (port, last)))
    }

    /// Takes the program off all ports and removes all pins: whoever was isolated no longer is.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] for the first that could not be removed.
    pub fn detach_all(self) -> Result<(), BpfError> {
        self.pins.remove_all().map(drop)
    }

    /// Makes the program that is on all ports now the one to go on with: there is no going back any more. What another
    /// release left is removed. Gives what an operator should be told.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if something could not be pinned, read or removed; the program is in force all the same.
    pub fn settle(&mut self, counters: &mut Counters) -> Result<Option<String>, BpfError> {
        if matches!(self.kernel, Kernel::Attended(_)) {
            return Ok(None);
        }
        let old = self.before.old.take();
        self.before = Before::settled();
        let program = self.program()?;
        let fd = program.fd().and_then(|fd| Ok(fd.try_clone()?));
        let fd = fd.map_err(|error| BpfError::Object(chain(&error)))?;
        self.pins.pin_program(fd.as_fd())?;
        self.pins.share()?;
        old.map(|old| old.settle(counters)).transpose()
    }

    /// Gives the maps to a group, for a daemon without privileges.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] for the first that cannot be given away.
    pub fn share_with(&self, group: u32) -> Result<(), BpfError> {
        self.pins.share_with(group)
    }

    /// Undoes an unsuccessful start. Ports that had a program before get that one back. Ports that were attached anew lose
    /// the program, and pins nobody had before are removed; what an earlier daemon left in force stays in force.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] for the first that could not be removed.
    pub fn roll_back(self) -> Result<(), BpfError> {
        if matches!(self.kernel, Kernel::Attended(_)) {
            return Ok(());
        }
        let there = self.attached.values().filter(|port| port.inherited).map(|port| port.ifindex);
        let there: Vec<u32> = there.chain(self.inherited.keys().copied()).collect();
        if there.is_empty() {
            return self.detach_all();
        }
        for port in self.attached.values().filter(|port| !port.inherited) {
            pins::remove_link(&port.pin)?;
        }
        self.before.put_back()?;
        self.offloads.put_back_all_but(&there)?;
        if self.before.fresh {
            self.pins.remove_maps();
        }
        Ok(())
    }

    /// Both clocks of the kernel at one moment.
    ///
    /// # Errors
    ///
    /// [`BpfError::Clock`] if the program that reads them cannot be run.
    pub fn clock(&self) -> Result<Clock, BpfError> {
        self.clock.read()
    }

    fn program(&mut self) -> Result<&mut Xdp, BpfError> {
        let Kernel::Loaded(ebpf) = &mut self.kernel else {
            return Err(BpfError::Object("the program was loaded by another process".to_owned()));
        };
        ebpf.program_mut(PROGRAM)
            .ok_or_else(|| BpfError::Object(format!("no program {PROGRAM}")))?
            .try_into()
            .map_err(|error: ProgramError| BpfError::Object(chain(&error)))
    }

    /// The kernel's id of the program.
    pub(super) fn program_id(&mut self) -> Result<u32, BpfError> {
        self.program()?.info().map(|info| info.id()).map_err(|error| BpfError::Object(chain(&error)))
    }

    /// Puts the program on a registered port.
    fn put(&mut self, port: &BridgePort) -> Result<Put, BpfError> {
        if let Some(pin) = self.inherited.remove(&port.ifindex)
            && let Some(xdp) = port.xdp
        {
            let offloads = self.offloads.switch_off(port.ifindex);
            if self.take_over(&pin)? {
                let slow = (xdp.mode == Mode::Generic).then_some(Problem::Refused);
                return Ok(Put { mode: xdp.mode, inherited: true, slow, offloads, pin });
            }
        }
        self.make_way(port)?;
        let offloads = self.offloads.switch_off(port.ifindex);
        let native = match self.attach_as(port, XdpMode::Driver) {
            Ok(pin) => return Ok(Put { mode: Mode::Native, inherited: false, slow: None, offloads, pin }),
            Err(AttachFault::Final(error)) => return Err(error),
            Err(AttachFault::Unable(native)) => native,
        };
        match self.attach_as(port, XdpMode::Skb) {
            Ok(pin) => {
                let slow = Some(native.problem(port.ifindex));
                log::info!("{}: the driver does not take the program ({})", port.name, native.text);
                Ok(Put { mode: Mode::Generic, inherited: false, slow, offloads, pin })
            }
            Err(AttachFault::Final(error)) => Err(error),
            Err(AttachFault::Unable(generic)) => {
                let (native, generic) = (native.text, generic.text);
                Err(BpfError::Attach { port: port.name.clone(), native, generic })
            }
        }
    }

    /// Looks for another program on a port: an error, or taken off if that is wanted.
    fn make_way(&self, port: &BridgePort) -> Result<(), BpfError> {
        let interface =
            link::get(port.ifindex).map_err(|source| BpfError::Link { port: port.name.clone(), source })?;
        match interface.and_then(|interface| interface.xdp) {
            None => Ok(()),
            Some(other) if self.replace => stranger::displace(port, other),
            other => Err(stranger::refusal(port, other)),
        }
    }

    /// Replaces the program of a pinned link, atomically. False if its interface is gone; the pin is removed then.
    fn take_over(&mut self, pin: &Path) -> Result<bool, BpfError> {
        let fault = |text: String| BpfError::Load(format!("taking over {}: {text}", pin.display()));
        let link = PinnedLink::from_pin(pin).map_err(|error| fault(chain(&error)))?;
        let link = XdpLink::try_from(FdLink::from(link)).map_err(|error| fault(chain(&error)))?;
        let before = before::program_of(&self.pins, pin);
        let program = self.program()?;
        match program.attach_to_link(link) {
            Ok(id) => {
                release_link(program, id).map_err(fault)?;
                self.before.replaced(pin, before);
                Ok(true)
            }
            Err(error) if errno(&error) == Some(libc::ENOLINK) => pins::remove_link(pin).map(|()| false),
            Err(error) => Err(fault(chain(&error))),
        }
    }

    /// Attaches in one mode and pins the link.
    fn attach_as(&mut self, port: &BridgePort, mode: XdpMode) -> Result<PathBuf, AttachFault> {
        let pin = self.pins.link(port);
        let program = self.program()?;
        let id = match program.attach_to_if_index(port.ifindex, mode) {
            Ok(id) => id,
            Err(error) if matches!(errno(&error), Some(libc::EBUSY | libc::EEXIST)) => {
                return Err(AttachFault::Final(stranger::refusal(port, port.xdp)));
            }
            Err(error) => {
                return Err(AttachFault::Unable(Refusal { text: chain(&error), errno: errno(&error) }));
            }
        };
        let link =
            release_link(program, id).map_err(|text| AttachFault::Unable(Refusal { text, errno: None }))?;
        // aya falls back to attaching without a link where the kernel has none; that would end with the daemon.
        let link = FdLink::try_from(link).map_err(|_| BpfError::NoLinks { port: port.name.clone() })?;
        link.pin(&pin)
            .map_err(|error| BpfError::Load(format!("pinning {}: {}", pin.display(), chain(&error))))?;
        Ok(pin)
    }
}

/// Why an attempt to attach failed.
enum AttachFault {
    /// This mode does not work here; another may.
    Unable(Refusal),
    /// No mode will work.
    Final(BpfError),
}

impl From<BpfError> for AttachFault {
    fn from(error: BpfError) -> Self {
        Self::Final(error)
    }
}

/// Takes a link out of aya's keeping. Dropping it closes the descriptor only; a pin keeps it attached.
fn release_link(program: &mut Xdp, id: XdpLinkId) -> Result<XdpLink, String> {
    program.take_link(id).map_err(|error| chain(&error))
}

/// The system error of a failed attempt, if it was one.
fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// What the kernel said to an attempt.
struct Refusal {
    text: String,
    errno: Option<i32>,
}

impl Refusal {
    /// Why the driver did not take the program. Drivers share few error codes; where the code says nothing, what is
    /// known of the driver may.
    fn problem(&self, ifindex: u32) -> Problem {
        match self.errno {
            Some(libc::ERANGE) => Problem::Mtu,
            Some(libc::EOPNOTSUPP) => Problem::NoNative,
            _ => {
                let interface = link::get(ifindex).ok().flatten();
                match interface.map(|interface| driver::native(&interface, probe::kernel_version())) {
                    Some(Native::AboveMtu(_)) => Problem::Mtu,
                    Some(Native::No) => Problem::NoNative,
                    _ => Problem::Refused,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_answers_tells_why_the_port_is_slow() {
        let problem = |errno| Refusal { text: String::new(), errno }.problem(1);
        assert_eq!(problem(Some(libc::ERANGE)), Problem::Mtu);
        assert_eq!(problem(Some(libc::EOPNOTSUPP)), Problem::NoNative);
    }
}
