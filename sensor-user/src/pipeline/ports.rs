//! Ports that come and go, and keeping the program on them.

use std::collections::BTreeSet;

use sensor_core::policy::Name;

use super::{Parts, Pipeline, PipelineError};
use crate::bpf::{Attached, PortEvent, list_offloads};
use crate::telemetry::Repair;

/// Says what an operator should know of a port that was given the program.
pub fn tell_port(port: &Attached) {
    let (name, offloads) = (&port.name, &port.offloads);
    if !offloads.off.is_empty() {
        log::info!("{name}: switched off until the filter leaves it: {}", list_offloads(&offloads.off));
    }
    if !offloads.on.is_empty() {
        log::warn!(
            "{name}: could not switch off {}: tags or segments may be hidden from the filter; `sekisho doctor` says more",
            list_offloads(&offloads.on)
        );
    }
}

impl Pipeline {
    /// Takes note of a change of the ports.
    pub(super) fn port(&mut self, change: PortEvent) -> Result<(), PipelineError> {
        let Parts { attachments, counters, ports, sweeper, .. } = &mut self.parts;
        match change {
            PortEvent::Joined(port) => match attachments.attach(&port) {
                Ok(attached) => {
                    log::info!("port {} joined: filtered in {} mode", attached.name, attached.mode);
                    tell_port(attached);
                }
                Err(error) => {
                    log::error!(
                        "port {} joined and is NOT filtered: {error}; it is tried again every second",
                        port.name
                    );
                }
            },
            PortEvent::Left { ifindex, name } => match attachments.detach(ifindex, counters) {
                Ok(Some((port, last))) => {
                    self.accounts.close(port.index, &mut sweeper.tally);
                    log::info!("port {name} left after {} frames", last.packets);
                }
                Ok(None) => {}
                Err(error) => log::error!("port {name} left: {error}"),
            },
            PortEvent::Renamed { ifindex, name } => attachments.rename(ifindex, &name),
            PortEvent::BridgeGone => return Err(PipelineError::BridgeGone(ports.bridge().to_owned())),
        }
        self.name_ports();
        Ok(())
    }

    /// Sees to it that each port has the program, and that nothing is hidden from it.
    pub(super) fn keep_ports(&mut self) {
        self.repair_programs();
        self.attach_missing();
        let Parts { attachments, ports, metrics, .. } = &mut self.parts;
        let changed: BTreeSet<u32> = ports.take_changed();
        for (name, offloads) in attachments.repair_offloads(&changed) {
            log::warn!(
                "{name}: somebody switched on {}; it was switched off again",
                list_offloads(&offloads)
            );
            metrics.repaired(Repair::Offload, 1);
        }
    }

    /// Puts the program back where somebody took it off.
    fn repair_programs(&mut self) {
        let ports: BTreeSet<u32> = self.parts.ports.list().iter().map(|port| port.ifindex).collect();
        let repaired = self.parts.attachments.repair(&ports);
        for (name, result) in &repaired {
            match result {
                Ok(mode) => {
                    log::warn!(
                        "port {name} had lost the filter, which somebody took off; it is filtered again, in {mode} mode"
                    );
                    self.parts.metrics.repaired(Repair::Program, 1);
                }
                Err(error) => {
                    log::error!(
                        "port {name} has lost the filter and is NOT filtered: {error}; it is tried again every second"
                    );
                }
            }
        }
        if !repaired.is_empty() {
            self.name_ports();
        }
    }

    /// Tries again to filter ports that could not be.
    fn attach_missing(&mut self) {
        let Parts { attachments, ports, .. } = &mut self.parts;
        let filtered: BTreeSet<u32> = attachments.attached().map(|port| port.ifindex).collect();
        let missing = ports.list().into_iter().filter(|port| !filtered.contains(&port.ifindex));
        let mut some = false;
        for port in missing {
            match attachments.attach(&port) {
                Ok(attached) => {
                    some = true;
                    log::info!("port {} is filtered now, in {} mode", attached.name, attached.mode);
                    tell_port(attached);
                }
                Err(error) => log::debug!("port {} is NOT filtered: {error}", port.name),
            }
        }
        if some {
            self.name_ports();
        }
    }

    pub(super) fn name_ports(&mut self) {
        let names = self.parts.attachments.attached().map(|port| (port.index, port.name.clone()));
        self.teller.ports = names.collect();
        if let Some(flows) = &mut self.parts.flows {
            let attached = self.parts.attachments.attached();
            flows.set_ports(&self.teller.ports, attached.map(|port| (port.index, port.ifindex)).collect());
        }
        self.parts.engine.set_ports(self.teller.ports.iter().filter_map(named).collect());
        // Whoever has an index keeps its rules, also a port that is just being given the program again.
        let Parts { attachments, ports, .. } = &mut self.parts;
        match attachments.indices(&ports.list()) {
            Ok(indices) => {
                if self.parts.enforcer.set_ports(indices) {
                    // Rules about a port hold from its first frame on, nearly; those of one that left are for nobody else.
                    self.reconcile(false);
                }
            }
            Err(error) => self.check(Err(error)),
        }
    }
}

/// A port's index and name, as rules have it. The kernel's names are never longer.
fn named((index, name): (&u8, &String)) -> Option<(u8, Name)> {
    Some((*index, name.parse().ok()?))
}
