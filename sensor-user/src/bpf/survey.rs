//! What `sekisho doctor` looks at: this machine and the ports of a bridge as they are. Nothing is changed.

use std::fs;
use std::io;
use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use rtnetlink::packet_route::link::InfoKind;

use super::driver;
pub use super::driver::Native;
use super::error::BpfError;
use super::link::{self, Interface};
use super::object::PROGRAM;
use super::offload;
pub use super::offload::OffloadPlan;
use super::probe;
use super::stranger;

/// What the machine has.
#[derive(Debug)]
pub struct SystemFacts {
    /// `uname -r`.
    pub release: String,
    /// The first two numbers of it; 0.0 if it is not to be had.
    pub kernel: (u32, u32),
    /// The capabilities that are missing, as in capabilities(7).
    pub missing: Vec<&'static str>,
    /// Whether the kernel makes ring buffers; asked only of one that may refuse for no other reason.
    pub ring_buffer: Result<(), BpfError>,
    /// Whether there can be pins.
    pub bpf_fs: Result<(), BpfError>,
    /// Whether programs are compiled; `None` if the kernel does not tell here.
    pub jit: Option<bool>,
    /// Whether memory may be locked without a limit.
    pub memlock: bool,
}

/// Looks at the machine.
pub fn system(pin_dir: &Path) -> SystemFacts {
    let missing = probe::missing_privileges();
    let jit = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok();
    SystemFacts {
        release: probe::release(),
        kernel: probe::kernel_version(),
        ring_buffer: if missing.is_empty() { probe::ring_buffer() } else { Ok(()) },
        missing,
        bpf_fs: probe::bpf_fs(pin_dir),
        jit: jit.map(|text| text.trim() != "0"),
        memlock: getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft == RLIM_INFINITY),
    }
}

/// The program on a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramFacts {
    /// Its kernel id.
    pub id: u32,
    /// Its name, if it may be asked for.
    pub name: Option<String>,
    /// Whether it is Sekisho's.
    pub own: bool,
}

/// What a port is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortFacts {
    /// Its name.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// Its driver, or kind if it has no hardware.
    pub driver: Option<String>,
    /// Longest packet, without the Ethernet header.
    pub mtu: u32,
    /// What its driver will do with the program.
    pub native: Native,
    /// The program on it.
    pub program: Option<ProgramFacts>,
    /// Its offloads.
    pub offloads: OffloadPlan,
    /// The interfaces it is made of if it is a bond, and whether each has a program.
    pub members: Option<Vec<(String, bool)>>,
}

/// A bridge and its ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BridgeFacts {
    /// Its name.
    pub name: String,
    /// Its ports, by interface index.
    pub ports: Vec<PortFacts>,
}

/// All bridges of this network namespace.
///
/// # Errors
///
/// What the kernel answers.
pub fn bridges() -> io::Result<Vec<BridgeFacts>> {
    let interfaces = link::all()?;
    let kernel = probe::kernel_version();
    let bridges = interfaces.iter().filter(|interface| interface.kind == Some(InfoKind::Bridge));
    let look = |bridge: &Interface| BridgeFacts {
        name: bridge.name.clone(),
        ports: members(&interfaces, bridge.ifindex).map(|port| look_at(port, &interfaces, kernel)).collect(),
    };
    Ok(bridges.map(look).collect())
}

fn members(interfaces: &[Interface], master: u32) -> impl Iterator<Item = &Interface> {
    interfaces.iter().filter(move |interface| interface.master == Some(master))
}

fn look_at(port: &Interface, interfaces: &[Interface], kernel: (u32, u32)) -> PortFacts {
    let program = port.xdp.map(|attached| {
        let name = stranger::name(attached.program);
        ProgramFacts { id: attached.program, own: name.as_deref() == Some(PROGRAM), name }
    });
    let member = |member: &Interface| (member.name.clone(), member.xdp.is_some());
    PortFacts {
        name: port.name.clone(),
        ifindex: port.ifindex,
        driver: driver::name(port),
        mtu: port.mtu,
        native: driver::native(port, kernel),
        program,
        offloads: offload::plan(port.ifindex),
        members: driver::is_bond(port).then(|| members(interfaces, port.ifindex).map(member).collect()),
    }
}
