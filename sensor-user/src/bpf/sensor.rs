//! Loading: from the embedded object and what an earlier daemon left pinned to a running sensor.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapError};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};

use super::attach::{Attachments, Kernel};
use super::attend::Attendance;
use super::before::Before;
use super::clock::KernelClock;
use super::counters::Counters;
use super::error::{BpfError, chain};
use super::flows::Flows;
use super::kernel_log::KernelLog;
use super::migrate::Old;
use super::object::{self, CLOCK_PROGRAM, MapShape, OBJECT, PROGRAM};
use super::pinned::PinnedMaps;
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
    /// Messages of the program, for the process that loaded it.
    pub log: Option<KernelLog>,
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
        Self::load_pinned(Pins::open(pin_dir, ports.bridge())?.only_mine()?, ports, OBJECT)
    }

    /// Works with what `sekisho load` loaded and attached, without any privilege but to open the pins. Ports that have no
    /// program are asked for by writing the file `request`.
    ///
    /// # Errors
    ///
    /// [`BpfError::NotLoaded`], [`BpfError::OtherAbi`], [`BpfError::PinsInUse`] if another process works with them, or
    /// whatever else keeps it from reading them.
    pub fn attend(pin_dir: &Path, ports: &Ports, request: &Path) -> Result<Self, BpfError> {
        let mut source = PinnedMaps::open(pin_dir, ports.bridge())?;
        let pins = Pins::attend(pin_dir, ports.bridge())?;
        let mut maps = Maps::take(&mut source)?;
        let jiffy_ns = maps.rules.attend()?.jiffy_ns;
        let table = PortTable::attend(&mut source)?;
        let clock = KernelClock::open(&pins.clock(), open(&mut source, "CLOCK")?)?;
        clock.read()?;
        let kernel = Kernel::Attended(Attendance::new(&pins, ports.bridge(), request));
        let before = Before::settled();
        let attachments = Attachments::new(kernel, pins, table, clock, BTreeMap::new(), before);
        let Maps { rules, flows, counters, rings } = maps;
        Ok(Self { attachments, rules, flows, counters, rings, log: None, jiffy_ns, notes: Vec::new() })
    }

    /// The same with pins that are open, of any object.
    ///
    /// # Errors
    ///
    /// The same, and [`BpfError::OtherObject`] if its maps are not those of the embedded one.
    pub fn load_pinned(pins: Pins, ports: &Ports, object: &[u8]) -> Result<Self, BpfError> {
        let shapes = object::pinned_maps(object)?;
        if shapes != object::pinned_maps(OBJECT)? {
            return Err(BpfError::OtherObject);
        }
        if pins.attended() && !pins.are_fit(&shapes)? {
            return pins.only_mine().and(Err(BpfError::OtherObject));
        }
        let had_maps = pins.has_maps();
        let mut notes = pins.set_aside_unfit(&shapes)?;
        let fresh = !had_maps || !notes.is_empty();
        let loaded = Old::find(&pins)
            .and_then(|old| Parts::load(&pins, ports, object, &shapes, Before::new(old, fresh)));
        match loaded {
            Ok(mut parts) => {
                parts.notes.append(&mut notes);
                Ok(parts.into_sensor(pins))
            }
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
    before: Before,
    maps: Maps,
    log: KernelLog,
    jiffy_ns: u64,
    notes: Vec<String>,
}

impl Parts {
    fn load(
        pins: &Pins,
        ports: &Ports,
        object: &[u8],
        shapes: &[MapShape],
        mut before: Before,
    ) -> Result<Self, BpfError> {
        let inherited = pins.inherited(&ports.list(), &ports.others())?;
        pins.make_maps()?;
        let mut loader = EbpfLoader::new();
        for map in shapes {
            loader.map_pin_path(&map.name, pins.map(&map.name));
        }
        let mut ebpf = loader.load(object).map_err(|error| BpfError::Load(chain(&error)))?;
        let log = KernelLog::new(&mut ebpf)?;
        load_programs(&mut ebpf)?;
        pins.pin_clock(
            xdp(&mut ebpf, CLOCK_PROGRAM)?.fd().map_err(|error| BpfError::Object(chain(&error)))?.as_fd(),
        )?;
        let clock = KernelClock::open(&pins.clock(), open(&mut ebpf, "CLOCK")?)?;
        let jiffy_ns = clock.measure_jiffy()?;
        let mut maps = Maps::take(&mut ebpf)?;
        if let Some(old) = &mut before.old {
            old.copy(pins, &mut maps.rules, &mut maps.counters)?;
        }
        let table = PortTable::open(&mut ebpf, &ports.list(), &mut maps.counters)?;
        if !pins.attended() {
            maps.rules.start(jiffy_ns, maps.flows.sets(), true)?;
        }
        Ok(Self { ebpf, table, clock, inherited, before, maps, log, jiffy_ns, notes: Vec::new() })
    }

    fn into_sensor(self, pins: Pins) -> Sensor {
        let Self { ebpf, table, clock, inherited, before, maps, log, jiffy_ns, notes } = self;
        let Maps { rules, flows, counters, rings } = maps;
        let kernel = Kernel::Loaded(Box::new(ebpf));
        let attachments = Attachments::new(kernel, pins, table, clock, inherited, before);
        Sensor { attachments, rules, flows, counters, rings, log: Some(log), jiffy_ns, notes }
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
    pub fn take(source: &mut impl MapSource) -> Result<Self, BpfError> {
        Ok(Self {
            rules: Rules::open(source)?,
            flows: Flows::open(source)?,
            counters: Counters::open(source)?,
            rings: Rings::open(source)?,
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
        xdp(ebpf, name)?
            .load()
            .map_err(|error| BpfError::Load(format!("{name}: {}", last_lines(&chain(&error)))))?;
    }
    Ok(())
}

/// A program of an object.
fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, BpfError> {
    ebpf.program_mut(name)
        .ok_or_else(|| BpfError::Object(format!("no program {name}")))?
        .try_into()
        .map_err(|error: ProgramError| BpfError::Object(chain(&error)))
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

/// Where maps come from: a loaded object, or the pins of one.
pub trait MapSource {
    /// The map of that name.
    ///
    /// # Errors
    ///
    /// [`BpfError::Object`] if there is none.
    fn map(&mut self, name: &str) -> Result<Map, BpfError>;
}

impl MapSource for Ebpf {
    fn map(&mut self, name: &str) -> Result<Map, BpfError> {
        self.take_map(name).ok_or_else(|| BpfError::Object(format!("no map {name}")))
    }
}

/// A map as a type of aya's.
pub fn open<T: TryFrom<Map, Error = MapError>>(
    source: &mut impl MapSource,
    name: &str,
) -> Result<T, BpfError> {
    T::try_from(source.map(name)?).map_err(|error| BpfError::Object(format!("map {name}: {}", chain(&error))))
}
