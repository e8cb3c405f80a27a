//! Loading: from the embedded object and what an earlier daemon left pinned to a running sensor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapError};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};

use super::attach::Attachments;
use super::clock::KernelClock;
use super::counters::Counters;
use super::error::{BpfError, chain};
use super::flows::Flows;
use super::kernel_log::KernelLog;
use super::object::{self, CLOCK_PROGRAM, OBJECT, PROGRAM};
use super::pins::Pins;
use super::port_table::PortTable;
use super::ports::Ports;
use super::rings::Rings;
use super::rules::Rules;

/// A loaded sensor, in parts that may go to different owners.
///
/// Dropping it, or the death of the process, leaves programs, rules, flows and counters in place.
pub struct Sensor {
    /// The programs and the ports they are on.
    pub attachments: Attachments,
    /// The drop rules.
    pub rules: Rules,
    /// The flow tables.
    pub flows: Flows,
    /// Counters by port and by reason.
    pub counters: Counters,
    /// Records as they happen.
    pub rings: Rings,
    /// Messages of the program.
    pub log: KernelLog,
    /// Length of a jiffy in ns.
    pub jiffy_ns: u64,
    /// What an operator should be told about the start, a sentence each.
    pub notes: Vec<String>,
}

impl Sensor {
    /// Loads the programs for a bridge. No port is touched yet: an earlier daemon's program goes on with its rules,
    /// which are these rules too if its ABI was the same. So restore the rules first ([`Rules::set`],
    /// [`Rules::commit`]), then attach ([`Attachments::attach`]) each of [`Ports::list`]: an isolated host stays
    /// isolated without a gap.
    ///
    /// Maps pinned by an earlier daemon are reused if they fit, with flows, rules and counters; `notes` says which did
    /// not. `pin_dir` must be on a BPF file system, and each network namespace needs its own. Takes 0.2 s, of which
    /// half to measure the kernel's clock.
    ///
    /// # Errors
    ///
    /// Any [`BpfError`]; nothing new is left behind then.
    pub fn load(pin_dir: &Path, ports: &Ports) -> Result<Self, BpfError> {
        super::probe(pin_dir)?;
        let pins = Pins::open(pin_dir, ports.bridge())?;
        let fresh = !pins.has_maps();
        match Parts::load(&pins, ports) {
            Ok(parts) => Ok(parts.into_sensor(pins)),
            Err(error) => {
                if fresh {
                    pins.remove_maps();
                }
                Err(error)
            }
        }
    }
}

/// All of a sensor but its pins, which are only given away once nothing can fail any more.
struct Parts {
    ebpf: Ebpf,
    table: PortTable,
    clock: KernelClock,
    inherited: BTreeMap<u32, PathBuf>,
    maps: Maps,
    log: KernelLog,
    jiffy_ns: u64,
    notes: Vec<String>,
}

impl Parts {
    fn load(pins: &Pins, ports: &Ports) -> Result<Self, BpfError> {
        let inherited = pins.inherited(&ports.list(), &ports.others())?;
        let shapes = object::pinned_maps()?;
        let mut notes = pins.remove_unfit(&shapes)?;
        let mut loader = EbpfLoader::new();
        for map in &shapes {
            loader.map_pin_path(&map.name, pins.map(&map.name));
        }
        let mut ebpf = loader.load(OBJECT).map_err(|error| BpfError::Load(chain(&error)))?;
        let log = KernelLog::new(&mut ebpf)?;
        load_programs(&mut ebpf)?;
        let clock = KernelClock::new(open(&mut ebpf, "CLOCK")?);
        let jiffy_ns = clock.measure_jiffy(&ebpf)?;
        let mut maps = Maps::take(&mut ebpf)?;
        let table = PortTable::open(&mut ebpf, &ports.list(), &mut maps.counters)?;
        maps.rules.start(jiffy_ns, true)?;
        notes.extend(pins.remove_other_abis()?);
        Ok(Self { ebpf, table, clock, inherited, maps, log, jiffy_ns, notes })
    }

    fn into_sensor(self, pins: Pins) -> Sensor {
        let Self { ebpf, table, clock, inherited, maps, log, jiffy_ns, notes } = self;
        let Maps { rules, flows, counters, rings } = maps;
        let attachments = Attachments::new(ebpf, pins, table, clock, inherited);
        Sensor { attachments, rules, flows, counters, rings, log, jiffy_ns, notes }
    }
}

/// The maps of a loaded object, typed.
pub struct Maps {
    /// The drop rules.
    pub rules: Rules,
    /// The flow tables.
    pub flows: Flows,
    /// Counters by port and by reason.
    pub counters: Counters,
    /// Records as they happen.
    pub rings: Rings,
}

impl Maps {
    /// Takes them out of a loaded object (a [`Sensor`] has done so already; this is for test runs).
    ///
    /// # Errors
    ///
    /// [`BpfError::Object`] if one is not there or not of the type this program was built for.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        Ok(Self {
            rules: Rules::open(ebpf)?,
            flows: Flows::open(ebpf)?,
            counters: Counters::open(ebpf)?,
            rings: Rings::open(ebpf)?,
        })
    }
}

/// Has the verifier take the programs.
///
/// # Errors
///
/// [`BpfError::Load`] with the last lines of the verifier's log.
pub fn load_programs(ebpf: &mut Ebpf) -> Result<(), BpfError> {
    for name in [PROGRAM, CLOCK_PROGRAM] {
        let program: &mut Xdp = ebpf
            .program_mut(name)
            .ok_or_else(|| BpfError::Object(format!("no program {name}")))?
            .try_into()
            .map_err(|error: ProgramError| BpfError::Object(chain(&error)))?;
        program.load().map_err(|error| BpfError::Load(format!("{name}: {}", last_lines(&chain(&error)))))?;
    }
    Ok(())
}

/// The end of a long text: what the verifier stumbled over comes last.
fn last_lines(text: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<&str> = text.lines().collect();
    match lines.len().checked_sub(LINES) {
        Some(skip @ 1..) => format!("[...] {}", lines.get(skip..).unwrap_or_default().join("\n")),
        _ => text.to_owned(),
    }
}

/// A map as a type of aya's.
pub fn open<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T, BpfError> {
    let map = ebpf.take_map(name).ok_or_else(|| BpfError::Object(format!("no map {name}")))?;
    T::try_from(map).map_err(|error| BpfError::Object(format!("map {name}: {}", chain(&error))))
}
