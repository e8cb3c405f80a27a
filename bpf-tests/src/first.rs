//! The program of ABI 1, put on a bridge as the daemon of its release would have left it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::links::FdLink;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use nix::net::if_::if_nametoindex;

use crate::lab::BRIDGE;

/// Its maps that were pinned.
const MAPS: [&str; 13] = [
    "CLOCK",
    "CONFIG",
    "FLOW4",
    "FLOW6",
    "PORTS",
    "PORT_COUNTERS",
    "REASONS",
    "RING_CONTROL",
    "RING_FLOW",
    "RULES_IP4",
    "RULES_IP6",
    "RULES_MAC",
    "WOKEN",
];

/// A rule of it.
#[derive(Clone, Copy, Debug)]
pub struct FirstRule {
    /// Number.
    pub id: u32,
    /// 1 protects, 2 isolates.
    pub class: u8,
    /// 1 observes only.
    pub flags: u8,
    /// ns of CLOCK_MONOTONIC; 0: never.
    pub until_ns: u64,
}

impl FirstRule {
    /// One that isolates for ever.
    pub fn isolate(id: u32) -> Self {
        Self { id, class: 2, flags: 0, until_ns: 0 }
    }

    fn value(self) -> [u64; 2] {
        [self.until_ns, u64::from(self.id) | u64::from(self.class) << 32 | u64::from(self.flags) << 40]
    }
}

/// The object file.
pub fn object() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/abi-1.o")
}

/// The pinned maps and the links of it.
pub struct FirstRelease {
    ebpf: Ebpf,
    root: PathBuf,
}

impl FirstRelease {
    /// Loads it with its maps pinned in `pins`; no port has it yet.
    pub fn load(pins: &Path) -> Result<Self> {
        let root = pins.join(BRIDGE);
        fs::create_dir_all(root.join("abi-1/maps"))?;
        fs::create_dir_all(root.join("links"))?;
        let mut loader = EbpfLoader::new();
        for name in MAPS {
            loader.map_pin_path(name, root.join("abi-1/maps").join(name));
        }
        let mut ebpf = loader.load(&fs::read(object())?).context("loading the program of ABI 1")?;
        let program: &mut Xdp = ebpf.program_mut("sekisho").context("no program")?.try_into()?;
        program.load()?;
        let mut first = Self { ebpf, root };
        first.commit(0)?;
        Ok(first)
    }

    fn map(&mut self, name: &str) -> Result<aya::maps::Map> {
        let data = MapData::from_pin(self.root.join("abi-1/maps").join(name))?;
        Ok(aya::maps::Map::from_map_data(data)?)
    }

    /// Enters a rule by MAC address.
    pub fn mac(&mut self, mac: [u8; 6], rule: FirstRule) -> Result<()> {
        let [a, b, c, d, e, f] = mac;
        let mut table: HashMap<_, u64, [u64; 2]> = self.map("RULES_MAC")?.try_into()?;
        table.insert(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]), rule.value(), 0)?;
        self.commit(1)
    }

    /// Enters a rule by IPv4 address.
    pub fn ip4(&mut self, ip: [u8; 4], rule: FirstRule) -> Result<()> {
        let mut table: HashMap<_, u32, [u64; 2]> = self.map("RULES_IP4")?.try_into()?;
        table.insert(u32::from_ne_bytes(ip), rule.value(), 0)?;
        self.commit(2)
    }

    /// Enters a rule by IPv6 address.
    pub fn ip6(&mut self, ip: [u8; 16], rule: FirstRule) -> Result<()> {
        let mut table: HashMap<_, [u8; 16], [u64; 2]> = self.map("RULES_IP6")?.try_into()?;
        table.insert(ip, rule.value(), 0)?;
        self.commit(4)
    }

    /// Arms a table, and has all flows judged anew.
    fn commit(&mut self, armed: u32) -> Result<()> {
        let mut config: Array<_, [u32; 16]> = self.map("CONFIG")?.try_into()?;
        let mut words = config.get(&0, 0)?;
        words[0] |= armed;
        words[1] += 1;
        // 4 ms a jiffy, or whatever: rules of seconds are not to depend on it here.
        words[2] = 4_000_000;
        words[4] = 1;
        Ok(config.set(0, words, 0)?)
    }

    /// Puts it on a port, which gets that index, and pins the link.
    pub fn attach(&mut self, port: &str, index: u8) -> Result<()> {
        let ifindex = if_nametoindex(port)?;
        let mut ports: Array<_, [u8; 4]> = self.map("PORTS")?.try_into()?;
        ports.set(ifindex, [index, 0, 0, 0], 0)?;
        let program: &mut Xdp = self.ebpf.program_mut("sekisho").context("no program")?.try_into()?;
        let id = program.attach_to_if_index(ifindex, XdpMode::Driver)?;
        let link = FdLink::try_from(program.take_link(id)?)?;
        link.pin(self.root.join("links").join(port))?;
        Ok(())
    }

    /// Frames it passed and dropped on a port.
    pub fn frames(&mut self, index: u8) -> Result<u64> {
        let cells: PerCpuArray<_, [u64; 10]> = self.map("PORT_COUNTERS")?.try_into()?;
        Ok(cells.get(&u32::from(index), 0)?.iter().map(|cell| cell[0] + cell[2]).sum())
    }
}
