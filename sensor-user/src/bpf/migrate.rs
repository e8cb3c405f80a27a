//! From the maps of another release to those of this one, without a moment in which a rule is missing.
//!
//! The rules are copied before any port gets the new program, and the old maps stay pinned until every port has it: so
//! whoever dies on the way leaves a program on each port that finds its rules. What the old program counted goes along;
//! its flows end with it.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use sensor_core::datapath::RuleKey;
use sensor_ebpf::ABI;
use sensor_ebpf::counter::PortCounters;
use sensor_ebpf::flow::{FlowKey4, FlowKey6, MAX_PORTS};
use sensor_ebpf::rule::{Address, FLAG_BOTH, LEVEL_ISOLATE, LEVEL_PROTECT, RuleValue, mapped};

use super::counters::{Counters, Marks};
use super::error::{BpfError, chain};
use super::flows::Flows;
use super::pins::{Pins, remove_tree};
use super::pod::{Raw, Wire};
use super::port_table;
use super::rules::Rules;
use super::sensor::{MapSource, open};
use super::sys;

/// A program that was taken off a port may still be at work on a frame: for less than this.
const GRACE: Duration = Duration::from_millis(20);

/// How the maps of another release lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// ABI 1: rules by MAC, IPv4 and IPv6 address, of two classes.
    One,
    /// As now, but for the size of some map.
    Present,
}

/// The maps of another release.
pub struct Old {
    dir: PathBuf,
    name: String,
    layout: Layout,
    rules: Vec<(RuleKey, RuleValue)>,
    /// What was counted on each port, CPU by CPU, when that was copied.
    counted: BTreeMap<u32, Vec<PortCounters>>,
}

impl MapSource for Old {
    fn map(&mut self, name: &str) -> Result<Map, BpfError> {
        pinned(&self.dir, name)
    }
}

/// A map of another release.
pub fn pinned(dir: &Path, name: &str) -> Result<Map, BpfError> {
    let path = dir.join("maps").join(name);
    let fault = |error| BpfError::Load(format!("opening {}: {}", path.display(), chain(&error)));
    MapData::from_pin(&path).and_then(Map::from_map_data).map_err(fault)
}

impl Old {
    /// Finds what another release left pinned, and reads its rules. Maps that the release of this program took over
    /// from already are only removed.
    ///
    /// # Errors
    ///
    /// [`BpfError::UnknownAbi`] if the rules cannot be read, or are not understood; nothing is changed then.
    pub fn find(pins: &Pins) -> Result<Option<Self>, BpfError> {
        let mut found = None;
        for dir in pins.other_layouts()? {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let empty = fs::read_dir(dir.join("maps")).map_or(true, |mut maps| maps.next().is_none());
            if empty || pins.program().exists() {
                remove_tree(&dir)?;
                continue;
            }
            let unknown = |why: String| BpfError::UnknownAbi { path: dir.clone(), why };
            let layout = match name.as_str() {
                "abi-1" => Layout::One,
                name if name.ends_with(UNFIT) => Layout::Present,
                _ => return Err(unknown("this release does not know it".to_owned())),
            };
            let rules = match layout {
                Layout::One => rules_of_one(&dir),
                Layout::Present => rules_of_present(&dir),
            };
            let rules = rules.map_err(|error| unknown(error.to_string()))?;
            found = Some(Self { dir, name, layout, rules, counted: BTreeMap::new() });
        }
        Ok(found)
    }

    /// Copies rules, switches, port indices and counters into the maps of this program, which no port runs yet.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if something cannot be read or written.
    pub fn copy(&mut self, pins: &Pins, rules: &mut Rules, counters: &mut Counters) -> Result<(), BpfError> {
        if self.layout == Layout::Present {
            rules.copy_switches(&mut Rules::open(self)?)?;
        }
        for (key, value) in &self.rules {
            rules.set(*key, *value)?;
        }
        let (Map::Array(from), Map::Array(to)) = (self.map("PORTS")?, open_new(pins, "PORTS")?) else {
            return Err(BpfError::Object("no array PORTS".to_owned()));
        };
        port_table::copy(&from, to)?;
        if self.layout == Layout::One {
            for index in 0..MAX_PORTS {
                let cells = self.port_cells(index)?;
                counters.set_port(index as u8, &cells)?;
                // Its flows end with the old tables.
                let sum = cells.iter().fold(PortCounters::default(), |mut sum, cpu| {
                    sum.add(cpu);
                    sum
                });
                let closed = [sum.packets.wrapping_sub(sum.ignored_packets), sum.bytes];
                counters.set_marks(index as u8, &Marks { closed, ..Marks::default() })?;
                self.counted.insert(index, cells);
            }
        }
        Ok(())
    }

    /// When every port has the new program: counts what the old one did meanwhile, sweeps its flows a last time, and
    /// removes its maps. Gives what an operator should be told.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if something cannot be read, written or removed; the new program is in force all the same.
    pub fn settle(mut self, counters: &mut Counters) -> Result<String, BpfError> {
        thread::sleep(GRACE);
        if self.layout == Layout::One {
            self.settle_counters(counters)?;
        }
        let (mut flows, mut sum) = (0u64, Count::default());
        let mut add = |count: Count| {
            flows += 1;
            sum.frames = sum.frames.wrapping_add(count.frames);
            sum.bytes = sum.bytes.wrapping_add(count.bytes);
        };
        match self.layout {
            Layout::One => {
                sweep_one::<FlowKey4>(&self.dir, "FLOW4", &mut add)?;
                sweep_one::<FlowKey6>(&self.dir, "FLOW6", &mut add)?;
            }
            Layout::Present => Flows::open(&mut self)?
                .sweep(|_, value| add(Count { frames: value.packets(), bytes: value.bytes() }))?,
        }
        remove_tree(&self.dir)?;
        Ok(format!(
            "took over from {}: {} rules; {flows} flows of its tables, of {} frames and {} bytes, begin anew",
            self.name,
            self.rules.len(),
            sum.frames,
            sum.bytes
        ))
    }

    /// Adds what was counted since the copying to what was counted on ports that are gone: the ports' own counters are
    /// in use.
    fn settle_counters(&mut self, counters: &mut Counters) -> Result<(), BpfError> {
        let mut more: Vec<PortCounters> = Vec::new();
        for (index, before) in std::mem::take(&mut self.counted) {
            let now = self.port_cells(index)?;
            more.resize(now.len(), PortCounters::default());
            for ((more, now), before) in more.iter_mut().zip(&now).zip(&before) {
                more.add(&now.minus(before));
            }
        }
        let reasons: PerCpuArray<MapData, u64> = open(self, "REASONS")?;
        let reasons = (0..REASONS_OF_ONE)
            .map(|reason| Ok(reasons.get(&reason, 0)?.iter().copied().collect()))
            .collect::<Result<Vec<Vec<u64>>, aya::maps::MapError>>()
            .map_err(|error| BpfError::map("reading the old counts by reason", error))?;
        counters.add_gone(&more, &reasons)
    }

    /// What ABI 1 counted on a port, CPU by CPU.
    fn port_cells(&mut self, index: u32) -> Result<Vec<PortCounters>, BpfError> {
        let map: PerCpuArray<MapData, [u64; 10]> = open(self, "PORT_COUNTERS")?;
        let cpus = map
            .get(&index, 0)
            .map_err(|error| BpfError::map(format!("reading the old counters of port {index}"), error))?;
        Ok(cpus.iter().map(|cell| port_cell(*cell)).collect())
    }
}

// Whoever raises it: teach [`Layout`] to read the maps of the release before, or nobody can take over from that.
const _: () = assert!(ABI == 2);

/// What the name of a directory ends with whose maps have the present ABI, but not the present sizes.
pub const UNFIT: &str = "-unfit";

/// Reasons that ABI 1 counted, over all ports; they have the same numbers still.
const REASONS_OF_ONE: u32 = 19;

/// A map of this program, by its pin.
fn open_new(pins: &Pins, name: &str) -> Result<Map, BpfError> {
    let fault = |error| BpfError::Object(format!("map {name}: {}", chain(&error)));
    MapData::from_pin(pins.map(name)).and_then(Map::from_map_data).map_err(fault)
}

/// What a flow counted.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    frames: u64,
    bytes: u64,
}

/// Gives what each flow of a table of ABI 1, a hash table, counted.
fn sweep_one<K: Wire>(dir: &Path, name: &str, add: &mut impl FnMut(Count)) -> Result<(), BpfError> {
    let Map::LruHashMap(table) = pinned(dir, name)? else {
        return Err(BpfError::Object(format!("the old {name} is no LRU hash table")));
    };
    sys::each_entry(table.fd().as_fd(), |_: K, value: [u64; 12]| {
        let [passed, dropped, bytes, .., others, others_dropped, others_bytes] = value;
        let frames = [dropped, others, others_dropped].into_iter().fold(passed, u64::wrapping_add);
        add(Count { frames, bytes: bytes.wrapping_add(others_bytes) });
    })
    .map_err(|error| BpfError::map(format!("sweeping the old {name}"), error))
}

/// Counters of a port as ABI 1 had them.
fn port_cell(cell: [u64; 10]) -> PortCounters {
    let [packets, bytes, drop_packets, drop_bytes, would_drop_packets, ignored_packets, ..] = cell;
    let [.., flows_new, flows_failed, records_sent, records_lost] = cell;
    PortCounters {
        packets,
        bytes,
        drop_packets,
        drop_bytes,
        would_drop_packets,
        ignored_packets,
        flows_new,
        flows_failed,
        records_sent,
        records_lost,
        ..PortCounters::default()
    }
}

/// The rules of ABI 1.
fn rules_of_one(dir: &Path) -> Result<Vec<(RuleKey, RuleValue)>, BpfError> {
    let mut rules = table_of_one(dir, "RULES_MAC", RuleKey::Mac)?;
    rules.extend(table_of_one(dir, "RULES_IP4", |ip: u32| RuleKey::Ip(mapped(ip)))?);
    rules.extend(table_of_one(dir, "RULES_IP6", |ip: Address| RuleKey::Ip(ip))?);
    Ok(rules)
}

/// The rules of a table of ABI 1.
fn table_of_one<K: Wire>(
    dir: &Path,
    name: &str,
    key: fn(K) -> RuleKey,
) -> Result<Vec<(RuleKey, RuleValue)>, BpfError> {
    let fault = |error| BpfError::map(format!("reading the old rules in {name}"), error);
    let table: HashMap<MapData, Raw<K>, [u64; 2]> = HashMap::try_from(pinned(dir, name)?).map_err(fault)?;
    let mut rules = Vec::new();
    for entry in table.iter() {
        let (Raw(found), value) = entry.map_err(fault)?;
        rules.push((key(found), rule_of_one(value)?));
    }
    Ok(rules)
}

/// A rule of ABI 1: `until_ns`, then (from the lowest bit) 32 bits of number, 8 of class and 8 of flags.
fn rule_of_one([until_ns, rest]: [u64; 2]) -> Result<RuleValue, BpfError> {
    let (rule_id, class, flags) = (rest as u32, (rest >> 32) as u8, (rest >> 40) as u8);
    let level = match class {
        1 => LEVEL_PROTECT,
        2 => LEVEL_ISOLATE,
        _ => return Err(BpfError::Load(format!("rule {rule_id} has the unknown class {class}"))),
    };
    Ok(RuleValue { until_ns, rule_id, level, flags: flags | FLAG_BOTH, list: 0 })
}

/// The rules of maps of the present layout.
fn rules_of_present(dir: &Path) -> Result<Vec<(RuleKey, RuleValue)>, BpfError> {
    let mut old = Old {
        dir: dir.to_owned(),
        name: String::new(),
        layout: Layout::Present,
        rules: Vec::new(),
        counted: BTreeMap::new(),
    };
    Rules::open(&mut old)?.list()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_the_first_abi_is_understood_or_refused() {
        let value = |class: u64, flags: u64| [77, 5 | class << 32 | flags << 40];
        let rule = |level, flags| RuleValue { until_ns: 77, rule_id: 5, level, flags, list: 0 };
        assert_eq!(rule_of_one(value(1, 0)).ok(), Some(rule(LEVEL_PROTECT, FLAG_BOTH)));
        assert_eq!(rule_of_one(value(2, 0)).ok(), Some(rule(LEVEL_ISOLATE, FLAG_BOTH)));
        let observed = FLAG_BOTH | sensor_ebpf::rule::FLAG_OBSERVE;
        assert_eq!(rule_of_one(value(2, 1)).ok(), Some(rule(LEVEL_ISOLATE, observed)));
        assert!(rule_of_one(value(3, 0)).is_err() && rule_of_one(value(0, 0)).is_err());
    }
}
