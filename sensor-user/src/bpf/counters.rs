//! Counters of the program, summed over CPUs.

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use sensor_ebpf::counter::{PortCounters, Reason};

use super::error::BpfError;
use super::pod::Raw;
use super::sensor::open;

/// Counters by port and by reason.
pub struct Counters {
    ports: PerCpuArray<MapData, Raw<PortCounters>>,
    reasons: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        Ok(Self { ports: open(ebpf, "PORT_COUNTERS")?, reasons: open(ebpf, "REASONS")? })
    }

    /// What was counted on a port since it got its index; index 0 is all ports that have none any more, or had none yet.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn port(&self, index: u8) -> Result<PortCounters, BpfError> {
        let mut sum = PortCounters::default();
        for Raw(cpu) in self.read_port(index)?.iter() {
            sum.add(cpu);
        }
        Ok(sum)
    }

    /// The same, for the last time: it goes over to index 0, so that totals stand, and begins at zero for the next port
    /// of this index.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub(super) fn take_port(&mut self, index: u8) -> Result<PortCounters, BpfError> {
        let counted = self.read_port(index)?;
        let mut gone: Vec<_> = self.read_port(0)?.iter().copied().collect();
        gone.iter_mut().zip(counted.iter()).for_each(|(Raw(gone), Raw(port))| gone.add(port));
        let zeros = vec![Raw(PortCounters::default()); counted.len()];
        self.write_port(0, gone)?;
        self.write_port(index, zeros)?;
        let mut sum = PortCounters::default();
        counted.iter().for_each(|Raw(cpu)| sum.add(cpu));
        Ok(sum)
    }

    /// Frames by [`Reason`], in the order of [`Reason::ALL`], since the maps were made. `Reason::None` is not counted:
    /// what a port received and no other reason explains was parsed.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn reasons(&self) -> Result<[u64; Reason::ALL.len()], BpfError> {
        let mut sums = [0; Reason::ALL.len()];
        for (reason, sum) in Reason::ALL.into_iter().zip(&mut sums) {
            let cpus = self
                .reasons
                .get(&(reason as u32), 0)
                .map_err(|error| BpfError::map(format!("reading the count of {}", reason.name()), error))?;
            *sum = cpus.iter().fold(0u64, |sum, cpu| sum.wrapping_add(*cpu));
        }
        Ok(sums)
    }

    fn read_port(&self, index: u8) -> Result<PerCpuValues<Raw<PortCounters>>, BpfError> {
        self.ports
            .get(&u32::from(index), 0)
            .map_err(|error| BpfError::map(format!("reading the counters of port {index}"), error))
    }

    fn write_port(&mut self, index: u8, cpus: Vec<Raw<PortCounters>>) -> Result<(), BpfError> {
        let fault = |error| BpfError::map(format!("setting the counters of port {index}"), error);
        let cpus = PerCpuValues::try_from(cpus).map_err(|error| fault(error.into()))?;
        self.ports.set(u32::from(index), cpus, 0).map_err(fault)
    }
}
