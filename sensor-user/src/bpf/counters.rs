//! Counters of the program, summed over CPUs.

use std::collections::HashMap;
use std::os::fd::AsFd;

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use sensor_ebpf::control::Bucket;
use sensor_ebpf::counter::{PortCell, PortCounters, REASONS_OF_PORT, Reason};
use sensor_ebpf::heard::HeardCell;
use sensor_ebpf::rule::{RuleCounters, SLOTS};

use super::error::BpfError;
use super::pod::Raw;
use super::sensor::{MapSource, open};
use super::sys;
use crate::clock::Now;

/// How many numbers user space keeps of a port.
const MARKS: usize = 10;

/// What user space keeps beside the counters of a port, in its last places of the map of reasons, which the program never
/// counts in: it lives just as long as the counters it is about, whatever becomes of the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// What is known of the NIC's counter.
    pub flags: u64,
    /// What the NIC had counted beyond the program when that was put on the port.
    pub beyond: u64,
    /// What the NIC had missed by then.
    pub missed_before: u64,
    /// How far `beyond` may be wrong.
    pub doubt: u64,
    /// Frames of flows that are over, and their bytes.
    pub closed: [u64; 2],
    /// Frames of flows that were forgotten unread, and their bytes.
    pub unread: [u64; 2],
    /// When the last whole sweep of the flow tables began, in jiffies.
    pub told_j: u64,
    /// Flows that began earlier are of the port that had this index before, ns of CLOCK_MONOTONIC.
    pub since_ns: u64,
}

impl Marks {
    fn words(&self) -> [u64; MARKS] {
        let Self { flags, beyond, missed_before, doubt, closed: [a, b], unread: [c, d], told_j, since_ns } =
            *self;
        [flags, beyond, missed_before, doubt, a, b, c, d, told_j, since_ns]
    }

    fn of([flags, beyond, missed_before, doubt, a, b, c, d, told_j, since_ns]: [u64; MARKS]) -> Self {
        Self { flags, beyond, missed_before, doubt, closed: [a, b], unread: [c, d], told_j, since_ns }
    }
}

/// Where they begin among a port's places.
const FIRST_MARK: u32 = REASONS_OF_PORT - MARKS as u32;
const _: () = assert!(Reason::ALL.len() <= FIRST_MARK as usize);

/// The budgets of hosts; their size is that which the kernel will write.
fn hosts(ebpf: &mut impl MapSource) -> Result<MapData, BpfError> {
    match ebpf.map("HOSTS")? {
        Map::LruHashMap(map)
            if map.info().is_ok_and(|info| info.value_size() as usize == size_of::<Bucket>()) =>
        {
            Ok(map)
        }
        _ => Err(BpfError::Object("no table of hosts".to_owned())),
    }
}

/// Counters by port, by reason and by rule.
pub struct Counters {
    ports: PerCpuArray<MapData, Raw<PortCell>>,
    reasons: PerCpuArray<MapData, u64>,
    rules: PerCpuArray<MapData, Raw<RuleCounters>>,
    hosts: MapData,
    heard: PerCpuArray<MapData, Raw<HeardCell>>,
}

impl Counters {
    pub(super) fn open(ebpf: &mut impl MapSource) -> Result<Self, BpfError> {
        Ok(Self {
            ports: open(ebpf, "PORT_COUNTERS")?,
            reasons: open(ebpf, "REASONS")?,
            rules: open(ebpf, "RULE_COUNTERS")?,
            hosts: hosts(ebpf)?,
            heard: open(ebpf, "HEARD")?,
        })
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
        gone.iter_mut().zip(counted.iter()).for_each(|(Raw(gone), Raw(port))| gone.add(port));
        let zeros = vec![Raw(PortCell::default()); counted.len()];
        self.write_port(0, gone)?;
        self.write_port(index, zeros)?;
        self.take_reasons(index)?;
        Ok(sum(&counted))
    }

    /// Sets what was counted on a port, CPU by CPU, before any port has the program.
    pub(super) fn set_port(&mut self, index: u8, cpus: &[PortCounters]) -> Result<(), BpfError> {
        self.write_port(
            index,
            cpus.iter().map(|counters| Raw(PortCell { passed: *counters, ..PortCell::default() })).collect(),
        )
    }

    /// Adds to what was counted on ports that are gone: counters, and numbers of frames by reason; each CPU by CPU.
    pub(super) fn add_gone(&mut self, cpus: &[PortCounters], reasons: &[Vec<u64>]) -> Result<(), BpfError> {
        let mut gone: Vec<_> = self.read_port(0)?.iter().copied().collect();
        gone.iter_mut().zip(cpus).for_each(|(Raw(gone), more)| gone.passed.add(more));
        self.write_port(0, gone)?;
        let fault = |error| BpfError::map("adding to the counts by reason", error);
        for (reason, more) in (0u32..).zip(reasons) {
            let counted = self.reasons.get(&reason, 0).map_err(fault)?;
            let sums: Vec<u64> = counted.iter().zip(more).map(|(a, b)| a.wrapping_add(*b)).collect();
            let sums = PerCpuValues::try_from(sums).map_err(|error| fault(error.into()))?;
            self.reasons.set(reason, sums, 0).map_err(fault)?;
        }
        Ok(())
    }

    /// New destinations that hosts asked for since the kernel knows them, by the key of their budget
    /// ([`sensor_core::datapath::host`]). Where the reflex is off none are counted.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn news(&self) -> Result<HashMap<u64, u64>, BpfError> {
        let mut news = HashMap::new();
        let each = |host: u64, bucket: Bucket| {
            news.insert(host, bucket.news);
        };
        sys::each_entry(self.hosts.fd().as_fd(), each)
            .map_err(|error| BpfError::map("reading what hosts asked for", error))?;
        Ok(news)
    }

    /// What became of the frames of a kind (`HEARD_*`) that devices are identified by.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn heard(&self, kind: u8) -> Result<HeardCell, BpfError> {
        let cpus = self.heard.get(&u32::from(kind), 0);
        let cpus = cpus.map_err(|error| BpfError::map("reading the counters of discovery", error))?;
        let mut sum = HeardCell::default();
        cpus.iter().for_each(|Raw(cpu)| sum.add(cpu));
        Ok(sum)
    }

    /// Frames of a port by [`Reason`], in the order of [`Reason::ALL`]. `Reason::None` is not counted: what a port received
    /// and no other reason explains was parsed.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn reasons(&self, index: u8) -> Result<[u64; Reason::ALL.len()], BpfError> {
        let mut sums = [0; Reason::ALL.len()];
        for (reason, sum) in Reason::ALL.into_iter().zip(&mut sums) {
            let key = u32::from(index) * REASONS_OF_PORT + reason as u32;
            let cpus = self
                .reasons
                .get(&key, 0)
                .map_err(|error| BpfError::map(format!("reading the count of {}", reason.name()), error))?;
            *sum = cpus.iter().fold(0u64, |sum, cpu| sum.wrapping_add(*cpu));
        }
        Ok(sums)
    }

    /// What user space keeps of a port.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn marks(&self, index: u8) -> Result<Marks, BpfError> {
        let mut words = [0; MARKS];
        for (key, mark) in self.mark_keys(index).zip(&mut words) {
            let cpus = self.reasons.get(&key, 0);
            let cpus =
                cpus.map_err(|error| BpfError::map(format!("reading the marks of port {index}"), error))?;
            *mark = cpus.iter().copied().fold(0, u64::wrapping_add);
        }
        Ok(Marks::of(words))
    }

    /// Keeps something of a port.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn set_marks(&mut self, index: u8, marks: &Marks) -> Result<(), BpfError> {
        for (key, mark) in self.mark_keys(index).zip(&marks.words()) {
            let fault = |error| BpfError::map(format!("setting the marks of port {index}"), error);
            let mut cpus = vec![0; self.reasons.get(&key, 0).map_err(fault)?.len()];
            if let Some(first) = cpus.first_mut() {
                *first = *mark;
            }
            let cpus = PerCpuValues::try_from(cpus).map_err(|error| fault(error.into()))?;
            self.reasons.set(key, cpus, 0).map_err(fault)?;
        }
        Ok(())
    }

    fn mark_keys(&self, index: u8) -> impl Iterator<Item = u32> + use<> {
        let first = u32::from(index) * REASONS_OF_PORT;
        (FIRST_MARK..REASONS_OF_PORT).map(move |mark| first + mark)
    }

    /// What the rule of this number did.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn rule(&self, rule_id: u32) -> Result<RuleCounters, BpfError> {
        let cpus = self
            .rules
            .get(&(rule_id % SLOTS), 0)
            .map_err(|error| BpfError::map(format!("reading the counters of rule {rule_id}"), error))?;
        Ok(cpus.iter().fold(RuleCounters::default(), |sum, Raw(cpu)| RuleCounters {
            drop_packets: sum.drop_packets.wrapping_add(cpu.drop_packets),
            drop_bytes: sum.drop_bytes.wrapping_add(cpu.drop_bytes),
            would_drop_packets: sum.would_drop_packets.wrapping_add(cpu.would_drop_packets),
            would_drop_bytes: sum.would_drop_bytes.wrapping_add(cpu.would_drop_bytes),
        }))
    }

    /// Has the counters of a rule begin at zero: a new rule may have the number of an old one, modulo [`SLOTS`].
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn clear_rule(&mut self, rule_id: u32) -> Result<(), BpfError> {
        let fault = |error| BpfError::map(format!("clearing the counters of rule {rule_id}"), error);
        let cpus = self.rules.get(&(rule_id % SLOTS), 0).map_err(fault)?.len();
        let zeros = PerCpuValues::try_from(vec![Raw(RuleCounters::default()); cpus]);
        let zeros = zeros.map_err(|error| fault(error.into()))?;
        self.rules.set(rule_id % SLOTS, zeros, 0).map_err(fault)
    }

    /// Takes the counts by reason of a port over to index 0; what was kept of the port is forgotten, but that its flows are none
    /// of the next one's.
    fn take_reasons(&mut self, index: u8) -> Result<(), BpfError> {
        let fault = |error| BpfError::map(format!("moving the counts of port {index}"), error);
        self.set_marks(index, &Marks { since_ns: Now::read().mono.ns(), ..Marks::default() })?;
        for reason in 0..FIRST_MARK {
            let key = u32::from(index) * REASONS_OF_PORT + reason;
            let counted = self.reasons.get(&key, 0).map_err(fault)?;
            let gone = self.reasons.get(&reason, 0).map_err(fault)?;
            let sums: Vec<u64> = gone.iter().zip(counted.iter()).map(|(a, b)| a.wrapping_add(*b)).collect();
            let zeros = vec![0; sums.len()];
            for (key, values) in [(reason, sums), (key, zeros)] {
                let values = PerCpuValues::try_from(values).map_err(|error| fault(error.into()))?;
                self.reasons.set(key, values, 0).map_err(fault)?;
            }
        }
        Ok(())
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
