//! Other XDP programs on our ports: which they are, and taking their place when told to.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::programs::loaded_programs;

use super::error::BpfError;
use super::link;
use super::object::PROGRAM;
use super::ports::{AttachedProgram, BridgePort};
use super::sys;

/// The name of a loaded program; `None` if it is gone, or this process may not ask (that takes CAP_SYS_ADMIN).
pub fn name(program: u32) -> Option<String> {
    let info = loaded_programs().flatten().find(|info| info.id() == program)?;
    info.name_as_str().map(str::to_owned)
}

/// The program on an interface now, as it is refused.
pub fn refusal(port: &BridgePort, program: Option<AttachedProgram>) -> BpfError {
    let program = program.map(|attached| attached.program);
    let name = program.and_then(name);
    if name.as_deref() == Some(PROGRAM) {
        return BpfError::PortTaken { port: port.name.clone() };
    }
    BpfError::PortBusy { port: port.name.clone(), program, name }
}

/// Takes another program off a port. The kernel lets nothing be replaced by a link in one step: for a moment the port
/// has no program.
///
/// # Errors
///
/// [`BpfError::PortTaken`] if it is another Sekisho's; [`BpfError::NotReplaced`] if the kernel does not let us, with why.
pub fn displace(port: &BridgePort, other: AttachedProgram) -> Result<(), BpfError> {
    let name = match refusal(port, Some(other)) {
        BpfError::PortBusy { name, .. } => name,
        taken => return Err(taken),
    };
    let refused = |why: String| BpfError::NotReplaced {
        port: port.name.clone(),
        program: other.program,
        name: name.clone(),
        why,
    };
    match link::xdp_off(port.ifindex, other.mode) {
        // It is held by a link.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => cut_link(port, other).map_err(&refused)?,
        Err(error) => return Err(refused(error.to_string())),
        Ok(()) => {}
    }
    let label = name.as_deref().unwrap_or("no name known");
    log::warn!("{}: took the place of the XDP program {} ({label})", port.name, other.program);
    Ok(())
}

/// Detaches the link that holds a program on a port.
fn cut_link(port: &BridgePort, other: AttachedProgram) -> Result<(), String> {
    let links = links_of(port.ifindex, other.program).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) => {
            "a BPF link holds it, which takes CAP_SYS_ADMIN to cut: do this once as root, or \
                              stop the program that made it"
                .to_owned()
        }
        _ => format!("looking for the BPF link that holds it: {error}"),
    })?;
    match &links[..] {
        [] => Err("the BPF link that holds it is not to be found".to_owned()),
        [link] => sys::detach_link(link.as_fd()).map_err(|error| format!("cutting its BPF link: {error}")),
        // A link does not tell its network namespace, where indices are the same.
        _ => Err(format!(
            "{} BPF links hold it on an interface {} of this or another network namespace, and which is this one the \
             kernel does not tell: stop the program that made it",
            links.len(),
            port.ifindex
        )),
    }
}

/// All XDP links of the machine that hold a program on an interface of that index.
fn links_of(ifindex: u32, program: u32) -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    let mut last = 0;
    while let Some(id) = sys::next_link(last)? {
        last = id;
        let link = match sys::open_link(id) {
            // It went away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            link => link?,
        };
        let holds = sys::xdp_link_info(link.as_fd())
            .is_ok_and(|info| info.ifindex == ifindex && info.program == program);
        if holds {
            found.push(link);
        }
    }
    Ok(found)
}
