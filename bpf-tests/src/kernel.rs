//! The program in the kernel, one frame at a time (BPF_PROG_TEST_RUN).

use std::collections::HashMap as Flows;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use sensor_ebpf::counter::{PortCounters, Reason};
use sensor_ebpf::event::{FlowRecord, RECORD_DROP};
use sensor_ebpf::flow::{FlowKey4, FlowKey6, FlowValue};
use sensor_ebpf::heard::HeardHead;
use sensor_ebpf::rule::{RuleValue, SLOTS};
use sensor_ebpf::table::{Place, Set, TableKey};
use sensor_user::bpf::{FlowKey, Maps, OBJECT, PROGRAM, RuleKey, load_programs};

use crate::cpu::Stay;

/// XDP verdict of linux/bpf.h.
pub const XDP_DROP: u32 = 1;
/// XDP verdict of linux/bpf.h.
pub const XDP_PASS: u32 = 2;

/// Test runs come in by the loopback device, whose interface index is 1 in every network namespace.
const LOOPBACK: u32 = 1;
/// The port index it has.
pub const PORT: u8 = 1;

/// A jiffy as the program is told; the rules' expiry under test does not depend on the true one being known.
pub const JIFFY_NS: u64 = 4_000_000;

/// Counts by reason, in the order of [`Reason::ALL`].
pub type Reasons = [u64; Reason::ALL.len()];

/// What one frame did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// `XDP_DROP` or `XDP_PASS`.
    pub verdict: u32,
    /// What it added to the port's counters.
    pub counters: PortCounters,
    /// What it added to the reasons.
    pub reasons: Reasons,
    /// The records it gave.
    pub records: Vec<FlowRecord>,
}

/// The program, loaded without pins, with loopback as its only port.
pub struct TestSensor {
    ebpf: Ebpf,
    /// Its maps.
    pub maps: Maps,
    ports: Array<MapData, [u8; 4]>,
    memory: Memory,
    /// Each CPU has counters, seals and a sample of dropped frames of its own, and flows belong to the CPU that entered them:
    /// a test whose thread moved to another CPU between two frames would see the first frame of that CPU. Who wants
    /// several CPUs asks which there are before, and has threads of its own there.
    _stay: Stay,
}

/// What the program remembers of hosts and packets besides flows.
struct Memory {
    words: [HashMap<MapData, u64, u32>; 2],
    hosts: HashMap<MapData, u64, [u64; 3]>,
    fragments: HashMap<MapData, [u64; 2], u32>,
    throttled: Array<MapData, [u64; 3]>,
    internal: LpmTrie<MapData, [u64; 2], u32>,
    flow4: Array<MapData, SetBytes<FlowKey4>>,
    flow6: Array<MapData, SetBytes<FlowKey6>>,
}

/// A set of a flow table as plain bytes.
#[derive(Clone, Copy)]
struct SetBytes<K>(Set<K>);

// SAFETY: integers only, and only sets without a flow are written, of which every byte is 0.
unsafe impl<K: Copy + 'static> Pod for SetBytes<K> {}

impl Memory {
    fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let words = [open(ebpf, "PAIRS")?, again(ebpf, "PLACES")?];
        Ok(Self {
            words,
            hosts: again(ebpf, "HOSTS")?,
            fragments: open(ebpf, "FRAGMENTS")?,
            throttled: open(ebpf, "THROTTLED")?,
            internal: again(ebpf, "INTERNAL")?,
            flow4: again(ebpf, "FLOW4")?,
            flow6: again(ebpf, "FLOW6")?,
        })
    }
}

/// A map as a type of aya's.
fn open<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T> {
    let map = ebpf.take_map(name).with_context(|| format!("no map {name}"))?;
    Ok(T::try_from(map)?)
}

/// A second handle of a map, which others will take.
fn again<T: TryFrom<Map, Error = MapError>>(ebpf: &Ebpf, name: &str) -> Result<T> {
    let Some(Map::LpmTrie(map) | Map::LruHashMap(map) | Map::Array(map)) = ebpf.map(name) else {
        bail!("no trie, table or array {name}");
    };
    Ok(T::try_from(Map::from_map_data(MapData::from_id(map.info()?.id())?)?)?)
}

/// Takes all entries out of a table.
fn empty<K: Pod, V: Pod>(table: &mut HashMap<MapData, K, V>) -> Result<()> {
    let keys: Vec<K> = table.keys().collect::<Result<_, _>>()?;
    keys.iter().try_for_each(|key| Ok(table.remove(key)?))
}

impl TestSensor {
    /// Loads it with the tables and rings of the product. This thread stays on its CPU until the sensor is dropped.
    pub fn load() -> Result<Self> {
        Self::load_with(&[])
    }

    /// Loads it with some maps of another size: entries of a table, bytes of a ring.
    pub fn load_with(sizes: &[(&str, u32)]) -> Result<Self> {
        let stay = Stay::here()?;
        let mut loader = EbpfLoader::new();
        for (map, size) in sizes {
            loader.map_max_entries(map, *size);
        }
        let mut ebpf = loader.load(OBJECT).context("loading the object (are you root?)")?;
        load_programs(&mut ebpf)?;
        let ports = open(&mut ebpf, "PORTS")?;
        let memory = Memory::take(&mut ebpf)?;
        let mut maps = Maps::take(&mut ebpf)?;
        // Without seals, which last for a jiffy of the machine: tests want the same at any speed.
        maps.rules.start(JIFFY_NS, maps.flows.sets(), false)?;
        let mut sensor = Self { ebpf, maps, ports, memory, _stay: stay };
        sensor.come_by(PORT)?;
        Ok(sensor)
    }

    /// Has no time pass for flows, so that none is over however long a test takes.
    pub fn stop_time(&mut self) -> Result<()> {
        Ok(self.maps.rules.start(1, self.maps.flows.sets(), false)?)
    }

    /// Has frames come in by the port of this index from now on.
    pub fn come_by(&mut self, port: u8) -> Result<()> {
        Ok(self.ports.set(LOOPBACK, [port, 0, 0, 0], 0)?)
    }

    /// Takes out all internal prefixes.
    pub fn empty_internal(&mut self) -> Result<()> {
        let keys: Vec<_> = self.memory.internal.keys().collect::<Result<_, _>>()?;
        keys.iter().try_for_each(|key| Ok(self.memory.internal.remove(key)?))
    }

    /// Has the program forget who lives where, who spoke to whom, fragments under way, what hosts spent, and what the
    /// throttled devices of these rules did.
    pub fn forget(&mut self, rule_ids: &[u32]) -> Result<()> {
        let Memory { words, hosts, fragments, throttled, .. } = &mut self.memory;
        words.iter_mut().try_for_each(empty)?;
        empty(hosts)?;
        empty(fragments)?;
        rule_ids.iter().try_for_each(|id| Ok(throttled.set(id % SLOTS, [0; 3], 0)?))
    }

    /// Runs a frame; returns the verdict.
    pub fn run(&self, frame: &[u8]) -> Result<u32> {
        self.run_times(frame, 1).map(|(verdict, _)| verdict)
    }

    /// Runs a frame so many times; returns the verdict and the mean ns a run.
    pub fn run_times(&self, frame: &[u8], times: u32) -> Result<(u32, u64)> {
        let program: &Xdp = self.ebpf.program(PROGRAM).context("no program")?.try_into()?;
        run_times(program, frame, times)
    }

    /// The program, and its maps beside it.
    pub fn split(&mut self) -> Result<(&Xdp, &mut Maps)> {
        let program = self.ebpf.program(PROGRAM).context("no program")?.try_into()?;
        Ok((program, &mut self.maps))
    }

    /// Runs a frame and tells all it did.
    pub fn observe(&mut self, frame: &[u8]) -> Result<Outcome> {
        let (counters, reasons) = (self.counters()?, self.reasons()?);
        self.records();
        let verdict = self.run(frame)?;
        let after = self.reasons()?;
        Ok(Outcome {
            verdict,
            counters: self.counters()?.minus(&counters),
            reasons: std::array::from_fn(|reason| after[reason] - reasons[reason]),
            records: self.records().into_iter().filter(|record| record.kind != RECORD_DROP).collect(),
        })
    }

    /// The counters of the port.
    pub fn counters(&self) -> Result<PortCounters> {
        Ok(self.maps.counters.port(PORT)?)
    }

    /// The counts by reason.
    pub fn reasons(&self) -> Result<Reasons> {
        Ok(self.maps.counters.reasons(PORT)?)
    }

    /// Reads all records there are.
    pub fn records(&mut self) -> Vec<FlowRecord> {
        let mut records = Vec::new();
        self.maps.rings.read(usize::MAX, &mut records);
        records.into_iter().map(|record| record.flow).collect()
    }

    /// Reads all frames that were told whole.
    pub fn heard(&mut self) -> Vec<(HeardHead, Vec<u8>)> {
        let mut heard = Vec::new();
        self.maps.rings.read_heard(usize::MAX, |head, bytes| heard.push((*head, bytes.to_vec())));
        heard
    }

    /// All flows.
    pub fn flows(&mut self) -> Result<Flows<FlowKey, FlowValue>> {
        let mut flows = Flows::new();
        self.maps.flows.sweep(|key, value| {
            flows.insert(key, *value);
        })?;
        Ok(flows)
    }

    /// Makes these the only rules.
    pub fn set_rules(&mut self, rules: &[(RuleKey, RuleValue)]) -> Result<()> {
        for (key, _) in self.maps.rules.list()? {
            ensure!(self.maps.rules.remove(key)?, "a listed rule could not be removed");
        }
        for (key, rule) in rules {
            self.maps.rules.set(*key, *rule)?;
        }
        Ok(self.maps.rules.commit()?)
    }

    /// Takes out all flows, rules and records.
    pub fn clear(&mut self) -> Result<()> {
        self.clear_flows()?;
        self.set_rules(&[])?;
        self.records();
        Ok(())
    }

    /// Takes out all flows.
    pub fn clear_flows(&mut self) -> Result<()> {
        for key in self.flows()?.into_keys() {
            let place = self.place(&key)?;
            match key {
                FlowKey::V4(_) => self.memory.flow4.set(place.set, SetBytes(Set::default()), 0)?,
                FlowKey::V6(_) => self.memory.flow6.set(place.set, SetBytes(Set::default()), 0)?,
            }
        }
        Ok(())
    }

    /// Where a flow belongs.
    pub fn place(&self, key: &FlowKey) -> Result<Place> {
        let config = self.maps.rules.config()?;
        Ok(match key {
            FlowKey::V4(key) => Place::of(key.hash(&config.secret), config.sets4),
            FlowKey::V6(key) => Place::of(key.hash(&config.secret), config.sets6),
        })
    }

    /// Changes the set of a flow table that an IPv4 flow belongs to, as nobody but the program should.
    pub fn change_set(&mut self, key: FlowKey4, with: impl FnOnce(&mut Set<FlowKey4>)) -> Result<()> {
        let index = self.place(&FlowKey::V4(key))?.set;
        let SetBytes(mut set) = self.memory.flow4.get(&index, 0)?;
        with(&mut set);
        Ok(self.memory.flow4.set(index, SetBytes(set), 0)?)
    }
}

/// Runs a frame through any XDP program so many times; returns the verdict and the mean ns a run.
pub fn run_times(program: &Xdp, frame: &[u8], times: u32) -> Result<(u32, u64)> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = times;
    let result =
        program.test_run(options).with_context(|| format!("running a frame of {} bytes", frame.len()))?;
    Ok((result.return_value, u64::try_from(result.duration.as_nanos())?))
}
