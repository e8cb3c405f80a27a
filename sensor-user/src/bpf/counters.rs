//! Counters of the program, summed over CPUs.

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use sensor_ebpf::counter::{PortCell, PortCounters, Reason};

use super::error::BpfError;
use super::pod::Raw;
use super::sensor::open;

/// Counters by port and by reason.
pub struct Counters {
    ports: PerCpuArray<MapData, Raw<PortCell>>,
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
        Ok(sum(&self.read_port(index)?))
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
        gone.iter_mut().zip(counted.iter()).for_each(|(Raw(gone), Raw(port))| gone.0.add(&port.0));
        let zeros = vec![Raw(PortCell::default()); counted.len()];
        self.write_port(0, gone)?;
        self.write_port(index, zeros)?;
        Ok(sum(&counted))
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

    fn read_port(&self, index: u8) -> Result<PerCpuValues<Raw<PortCell>>, BpfError> {
        self.ports
            .get(&u32::from(index), 0)
            .map_err(|error| BpfError::map(format!("reading the counters of port {index}"), error))
    }

    fn write_port(&mut self, index: u8, cpus: Vec<Raw<PortCell>>) -> Result<(), BpfError> {
        let fault = |error| BpfError::map(format!("setting the counters of port {index}"), error);
        let cpus = PerCpuValues::try_from(cpus).map_err(|error| fault(error.into()))?;
        self.ports.set(u32::from(index), cpus, 0).map_err(fault)
    }
}

/// The counters of all CPUs together.
fn sum(cpus: &PerCpuValues<Raw<PortCell>>) -> PortCounters {
    let mut sum = PortCounters::default();
    cpus.iter().for_each(|Raw(cell)| sum.add(&cell.counters()));
    sum
}
