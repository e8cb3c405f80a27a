//! The program on the ports of the bridge: attaching, taking over, detaching.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode, loaded_programs};
use sensor_ebpf::control::Clock;
use sensor_ebpf::counter::PortCounters;

use super::attend::Attendance;
use super::before::{self, Before};
use super::clock::KernelClock;
use super::counters::Counters;
use super::error::{BpfError, chain};
use super::object::PROGRAM;
use super::pins::{self, Pins};
use super::port_table::PortTable;
use super::ports::BridgePort;

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
    pub(super) pin: PathBuf,
}

/// The program, as this process has it.
pub(super) enum Kernel {
    /// Loaded by this process.
    Loaded(Box<Ebpf>),
    /// Loaded by another.
    Attended(Attendance),
}

/// The loaded programs and the ports they are on.
///
/// Dropping this leaves everything attached: the pins hold it.
pub struct Attachments {
    pub(super) kernel: Kernel,
    pins: Pins,
    pub(super) table: PortTable,
    clock: KernelClock,
    inherited: BTreeMap<u32, PathBuf>,
    pub(super) attached: BTreeMap<u32, Attached>,
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
        Self { kernel, pins, table, clock, inherited, attached: BTreeMap::new(), before }
    }

    /// The ports with the program on them, by interface index.
    pub fn attached(&self) -> impl Iterator<Item = &Attached> {
        self.attached.values()
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
    /// generically. A port that has it already is left alone.
    ///
    /// # Errors
    ///
    /// [`BpfError::PortBusy`], [`BpfError::PortTaken`], [`BpfError::Attach`], [`BpfError::IfindexTooLarge`],
    /// [`BpfError::TooManyPorts`]; the port is as it was then.
    pub fn attach(&mut self, port: &BridgePort) -> Result<&Attached, BpfError> {
        if matches!(self.kernel, Kernel::Attended(_)) && !self.attached.contains_key(&port.ifindex) {
            self.attend(port)?;
        }
        if !self.attached.contains_key(&port.ifindex) {
            let index = self.table.register(port)?;
            match self.put(port) {
                Ok((mode, inherited, pin)) => {
                    let name = port.name.clone();
                    let attached = Attached { ifindex: port.ifindex, name, index, mode, inherited, pin };
                    self.attached.insert(port.ifindex, attached);
                }
                Err(error) => {
                    // The first error is the one to tell.
                    let _ = self.table.unregister(port.ifindex);
                    return Err(error);
                }
            }
        }
        self.attached.get(&port.ifindex).ok_or_else(|| BpfError::Object("a port went missing".to_owned()))
    }

    /// Takes the program off a port and returns what it counted, for the last time: its index may go to another
    /// port from now on. `None` if it had no program.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] or [`BpfError::Map`]; the port may still have the program then.
    pub fn detach(
        &mut self,
        ifindex: u32,
        counters: &mut Counters,
    ) -> Result<Option<(Attached, PortCounters)>, BpfError> {
        if matches!(self.kernel, Kernel::Attended(_)) {
            return self.leave(ifindex, counters);
        }
        let Some(port) = self.attached.get(&ifindex) else { return Ok(None) };
        pins::remove_link(&port.pin)?;
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
        self.before = Before::new(None, false);
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

    /// Undoes an unsuccessful start. Ports that had a program before get that one back. Ports that were attached anew lose the program, and pins nobody had before are
    /// removed; what an earlier daemon left in force stays in force.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] for the first that could not be removed.
    pub fn roll_back(self) -> Result<(), BpfError> {
        if matches!(self.kernel, Kernel::Attended(_)) {
            return Ok(());
        }
        let was_there = !self.inherited.is_empty() || self.attached.values().any(|port| port.inherited);
        if !was_there {
            return self.detach_all();
        }
        for port in self.attached.values().filter(|port| !port.inherited) {
            pins::remove_link(&port.pin)?;
        }
        self.before.put_back()?;
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

    /// Puts the program on a registered port.
    fn put(&mut self, port: &BridgePort) -> Result<(Mode, bool, PathBuf), BpfError> {
        if let (Some(pin), Some(xdp)) = (self.inherited.remove(&port.ifindex), port.xdp)
            && self.take_over(&pin)?
        {
            return Ok((xdp.mode, true, pin));
        }
        let native = match self.attach_as(port, XdpMode::Driver) {
            Ok(pin) => return Ok((Mode::Native, false, pin)),
            Err(AttachFault::Final(error)) => return Err(error),
            Err(AttachFault::Unable(native)) => native,
        };
        match self.attach_as(port, XdpMode::Skb) {
            Ok(pin) => Ok((Mode::Generic, false, pin)),
            Err(AttachFault::Final(error)) => Err(error),
            Err(AttachFault::Unable(generic)) => {
                Err(BpfError::Attach { port: port.name.clone(), native, generic })
            }
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
                return Err(AttachFault::Final(busy(port)));
            }
            Err(error) => return Err(AttachFault::Unable(chain(&error))),
        };
        let link = release_link(program, id).map_err(AttachFault::Unable)?;
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
    Unable(String),
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

/// Names what is attached to a port instead.
fn busy(port: &BridgePort) -> BpfError {
    let program = port.xdp.map(|xdp| xdp.program);
    let name = program.and_then(|id| {
        let info = loaded_programs().flatten().find(|info| info.id() == id)?;
        info.name_as_str().map(str::to_owned)
    });
    if name.as_deref() == Some(PROGRAM) {
        return BpfError::PortTaken { port: port.name.clone() };
    }
    BpfError::PortBusy { port: port.name.clone(), program, name }
}
