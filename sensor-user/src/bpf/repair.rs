//! Keeping the program on the ports, and in sight of what is on the wire, whatever somebody else does to them.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use super::attach::{Attached, Attachments, Kernel, Mode};
use super::error::BpfError;
use super::link;
use super::offload::{self, Offloads};
use super::pins;
use super::ports::BridgePort;
use super::sys;

impl Attachments {
    /// Puts the program back on ports that it was taken off behind our back: somebody cut its link, removed the pin, or
    /// put another program into the link. Only of `ports`, which are on the bridge. Gives those it was off, and how putting it
    /// back went. Costs three system calls a port.
    pub fn repair(&mut self, ports: &BTreeSet<u32>) -> Vec<(String, Result<Mode, BpfError>)> {
        if matches!(self.kernel, Kernel::Attended(_)) {
            return self.look_after(ports);
        }
        let program = match self.program_id() {
            Ok(program) => program,
            Err(error) => return vec![("all ports".to_owned(), Err(error))],
        };
        let bare: Vec<Attached> = self
            .attached
            .values()
            .filter(|port| ports.contains(&port.ifindex) && !port.has(program))
            .cloned()
            .collect();
        bare.into_iter().filter_map(|port| Some((port.name.clone(), self.put_again(&port)?))).collect()
    }

    /// Puts the program back on a port; `None` if the port is gone, of which a notice is on its way.
    fn put_again(&mut self, port: &Attached) -> Option<Result<Mode, BpfError>> {
        let interface = link::get(port.ifindex).ok()??;
        self.attached.remove(&port.ifindex);
        // If the link still holds, what is in it is replaced in place.
        let held = sys::open_pin(&port.pin).and_then(|fd| sys::xdp_link_info(fd.as_fd()));
        if held.is_ok_and(|info| info.ifindex == port.ifindex) {
            self.inherited.insert(port.ifindex, port.pin.clone());
        } else {
            // One that cannot be removed is in nobody's way: the new one gets another name.
            let _ = pins::remove_link(&port.pin);
        }
        Some(self.attach(&BridgePort::from(&interface)).map(|port| port.mode))
    }

    /// Switches off again what somebody switched on on these ports; gives the names of ports, and what it was.
    pub fn repair_offloads(&mut self, ports: &BTreeSet<u32>) -> Vec<(String, Offloads)> {
        if matches!(self.kernel, Kernel::Attended(_)) {
            self.look_after_offloads(ports);
            return Vec::new();
        }
        let mut repaired = Vec::new();
        for ifindex in ports {
            let Some(port) = self.attached.get_mut(ifindex) else { continue };
            // What could not be switched off before is not tried again and again.
            let on: Offloads =
                offload::plan(*ifindex).switchable.difference(&port.offloads.on).copied().collect();
            if on.is_empty() {
                continue;
            }
            port.offloads = self.offloads.switch_off(*ifindex);
            repaired.push((port.name.clone(), on));
        }
        repaired
    }
}

impl Attached {
    /// Whether the port's link is there and holds this program.
    fn has(&self, program: u32) -> bool {
        let info = sys::open_pin(&self.pin).and_then(|link| sys::xdp_link_info(link.as_fd()));
        info.is_ok_and(|info| info.ifindex == self.ifindex && info.program == program)
    }
}
