//! The rules: by MAC and IP address, prefix, port, VLAN and segment; what belongs to them, and the switch that arms them.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;
use std::path::Path;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, IterableMap, Map, MapData, MapError};
use sensor_core::datapath::RuleKey;
use sensor_ebpf::ABI;
use sensor_ebpf::account::LEAST_TIMEOUT_NS;
use sensor_ebpf::control::{Config, Port, REFLEX_OFF, Rate, Reflex};
use sensor_ebpf::judge::{ARMED_ENFORCED, ARMED_IP, ARMED_MAC, ARMED_NET, ARMED_REFLEX, ARMED_SCOPE};
use sensor_ebpf::rule::{Address, AllowKey, LEVEL_NONE, RuleValue, SCOPE_CAPACITY, SEGMENTS, scope_of_port};
use sensor_ebpf::table::Secret;

use super::error::{BpfError, chain};
use super::pinned::PinnedMaps;
use super::pins::Pins;
use super::pod::{Raw, Wire};
use super::sensor::{MapSource, open};
use super::sys;

type Table<K> = HashMap<MapData, K, Raw<RuleValue>>;
type Trie<V> = LpmTrie<MapData, Raw<Address>, V>;

/// Whether every verdict is taken to "pass", whatever the rules say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bypass {
    /// It is.
    pub on: bool,
    /// The account (uid) that changed it last.
    pub by: u32,
    /// When, ns of CLOCK_MONOTONIC; 0: never.
    pub since_ns: u64,
}

/// The generation rises by so many with a commit of the daemon.
const STEP: u32 = 1;
/// And by so many with one of somebody else: what two of them write at the same moment is of different generations, so
/// that no verdict of the one is kept as one of the other.
const STRANGERS_STEP: u32 = 1 << 16;

/// The rule maps and the switch that makes a change of them hold.
///
/// A change holds for flows already known from the next [`Rules::commit`] on: any number of [`Rules::set`] and
/// [`Rules::remove`], then one commit.
pub struct Rules {
    config: Array<MapData, Raw<Config>>,
    mac: Table<u64>,
    ip: Table<Raw<Address>>,
    net: Trie<Raw<RuleValue>>,
    scope: Array<MapData, Raw<RuleValue>>,
    pub(super) segment_of: Array<MapData, u32>,
    pub(super) reflex: Array<MapData, Raw<Reflex>>,
    pub(super) internal: Trie<u32>,
    allow: HashMap<MapData, Raw<AllowKey>, u32>,
    pub(super) places: HashMap<MapData, u64, u32>,
    /// The ports, VLANs and segments with a rule, and whether any segment has a reflex: the arrays are not looked through for
    /// each change of a rule.
    scopes: BTreeSet<u32>,
    counting: bool,
    /// The rules that restrict somebody: to look for one among those that do not may take the reading of all.
    enforced: BTreeSet<RuleKey>,
    /// What the generation rises by.
    step: u32,
}

/// An error of a map, unless it is that the key is not there.
pub(super) fn unless_missing(
    what: impl FnOnce() -> String,
    done: Result<(), MapError>,
) -> Result<bool, BpfError> {
    match done {
        Ok(()) => Ok(true),
        // aya gives a missing key as the system error it is.
        Err(MapError::KeyNotFound) => Ok(false),
        Err(error) => match BpfError::map(what(), error) {
            BpfError::Map { source, .. } if source.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            error => Err(error),
        },
    }
}

impl Rules {
    pub(super) fn open(ebpf: &mut impl MapSource) -> Result<Self, BpfError> {
        Ok(Self {
            config: open(ebpf, "CONFIG")?,
            mac: open(ebpf, "RULES_MAC")?,
            ip: open(ebpf, "RULES_IP")?,
            net: open(ebpf, "RULES_NET")?,
            scope: open(ebpf, "RULES_SCOPE")?,
            segment_of: open(ebpf, "SEGMENT_OF")?,
            reflex: open(ebpf, "REFLEX")?,
            internal: open(ebpf, "INTERNAL")?,
            allow: open(ebpf, "ALLOW")?,
            places: open(ebpf, "PLACES")?,
            scopes: BTreeSet::new(),
            counting: false,
            enforced: BTreeSet::new(),
            step: STEP,
        })
    }

    /// The rules of a loaded program that nobody of this process loaded.
    ///
    /// # Errors
    ///
    /// [`BpfError::NotLoaded`], [`BpfError::OtherAbi`], or [`BpfError::Map`] if they cannot be read.
    pub fn pinned(pin_dir: &Path, bridge: &str) -> Result<Self, BpfError> {
        Self::of_maps(PinnedMaps::open(pin_dir, bridge)?)
    }

    /// The same, by pins that are open.
    pub(super) fn of_pins(pins: &Pins) -> Result<Self, BpfError> {
        Self::of_maps(PinnedMaps::of(pins)?)
    }

    fn of_maps(mut maps: PinnedMaps) -> Result<Self, BpfError> {
        let mut rules = Self::open(&mut maps)?;
        rules.step = STRANGERS_STEP;
        rules.list()?;
        Ok(rules)
    }

    /// Takes over all but the rules from those of another release: allow lists, segments, reflexes, internal prefixes and
    /// switches.
    pub(super) fn copy_switches(&mut self, old: &mut Self) -> Result<(), BpfError> {
        let fault = |error| BpfError::map("copying the switches", error);
        for key in old.allowed()? {
            self.allow(key, true)?;
        }
        for scope in 0..SCOPE_CAPACITY {
            let segment = old.segment_of.get(&scope, 0).map_err(fault)?;
            if segment != 0 {
                self.set_segment(scope, segment)?;
            }
        }
        for segment in 0..SEGMENTS {
            self.set_reflex(segment, old.reflex.get(&segment, 0).map_err(fault)?.0)?;
        }
        for prefix in old.internal.keys() {
            let prefix = prefix.map_err(fault)?;
            let Raw(address) = prefix.data();
            self.add_internal(prefix.prefix_len(), address)?;
        }
        let config = old.config()?;
        self.write(Config { armed: 0, ..config })
    }

    /// Writes what the program needs to know before its first frame; `sets` are those of the flow tables. Rules that are there
    /// stay in force, and flows are found as before. With `seal`, hosts all of whose frames are dropped cost less, and are
    /// counted for their port and their rule but not in their flows.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn start(&mut self, jiffy_ns: u64, sets: [u32; 2], seal: bool) -> Result<(), BpfError> {
        self.list()?;
        let [sets4, sets6] = sets;
        let quiet_j = (LEAST_TIMEOUT_NS / jiffy_ns.max(1)) as u32;
        let config = self.config()?;
        let secret = if config.secret == Secret::default() { fresh_secret() } else { config.secret };
        let seal = u32::from(seal);
        self.write(Config { jiffy_ns, abi: ABI, seal, sets4, sets6, secret, quiet_j, ..config })?;
        self.commit()
    }

    /// Looks at what another process started; gives the switches.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub(super) fn attend(&mut self) -> Result<Config, BpfError> {
        self.list()?;
        self.config()
    }

    /// Adds a rule or replaces the one with that key.
    ///
    /// # Errors
    ///
    /// [`BpfError::RulesFull`] if the table has no room, else [`BpfError::Map`].
    pub fn set(&mut self, key: RuleKey, rule: RuleValue) -> Result<(), BpfError> {
        let done = match key {
            RuleKey::Mac(mac) => self.mac.insert(mac, Raw(rule), 0),
            RuleKey::Ip(ip) => self.ip.insert(Raw(ip), Raw(rule), 0),
            RuleKey::Net { bits, address } => self.net.insert(&Key::new(bits, Raw(address)), Raw(rule), 0),
            RuleKey::Scope(index) => {
                self.scopes.insert(index);
                self.scope.set(index, Raw(rule), 0)
            }
        };
        done.map_err(|error| match BpfError::map(format!("adding the rule for {key}"), error) {
            BpfError::Map { source, .. }
                if matches!(source.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC)) =>
            {
                BpfError::RulesFull { key }
            }
            error => error,
        })?;
        self.note(key, &rule);
        Ok(())
    }

    /// Notes whether a rule that is there restricts somebody.
    fn note(&mut self, key: RuleKey, rule: &RuleValue) {
        if rule.is_enforced() {
            self.enforced.insert(key);
        } else {
            self.enforced.remove(&key);
        }
    }

    /// Removes the rule with that key; false if there was none.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn remove(&mut self, key: RuleKey) -> Result<bool, BpfError> {
        let done = match key {
            RuleKey::Mac(mac) => self.mac.remove(&mac),
            RuleKey::Ip(ip) => self.ip.remove(&Raw(ip)),
            RuleKey::Net { bits, address } => self.net.remove(&Key::new(bits, Raw(address))),
            RuleKey::Scope(index) => {
                let done = self.scope.set(index, Raw(RuleValue::default()), 0);
                if done.is_ok() && !self.scopes.remove(&index) {
                    return Ok(false);
                }
                done
            }
        };
        let removed = unless_missing(|| format!("removing the rule for {key}"), done)?;
        self.enforced.remove(&key);
        Ok(removed)
    }

    /// All rules in the kernel, lapsed ones included, sorted by key.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn list(&mut self) -> Result<Vec<(RuleKey, RuleValue)>, BpfError> {
        let mut rules = Vec::new();
        read(self.mac.map(), "reading the rules", |mac, rule| rules.push((RuleKey::Mac(mac), rule)))?;
        read(self.ip.map(), "reading the rules", |ip, rule| rules.push((RuleKey::Ip(ip), rule)))?;
        for entry in self.net.iter() {
            let (key, Raw(rule)) = entry.map_err(|error| BpfError::map("reading the rules", error))?;
            let Raw(address) = key.data();
            rules.push((RuleKey::Net { bits: key.prefix_len(), address }, rule));
        }
        self.look()?;
        for index in &self.scopes {
            let Raw(rule) =
                self.scope.get(index, 0).map_err(|error| BpfError::map("reading the rules", error))?;
            rules.push((RuleKey::Scope(*index), rule));
        }
        rules.sort_by_key(|(key, _)| *key);
        self.enforced = rules.iter().filter(|(_, rule)| rule.is_enforced()).map(|(key, _)| *key).collect();
        Ok(rules)
    }

    /// Makes the rules as they are now hold for all flows, also those already known.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`]; known flows keep their verdicts then.
    pub fn commit(&mut self) -> Result<(), BpfError> {
        let config = self.config()?;
        let armed = if config.bypass == 0 { self.armed()? } else { 0 };
        // In two steps: whoever reads the new generation has the new armed bits, so that no verdict made without a
        // table is kept as one of the new generation.
        self.write(Config { armed, ..config })?;
        self.write(Config { armed, generation: config.generation.wrapping_add(self.step), ..config })
    }

    /// The switches as they are.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn config(&self) -> Result<Config, BpfError> {
        let Raw(config) =
            self.config.get(&0, 0).map_err(|error| BpfError::map("reading the config map", error))?;
        Ok(config)
    }

    /// Looks through the arrays for what is there.
    fn look(&mut self) -> Result<(), BpfError> {
        self.scopes.clear();
        read(self.scope.map(), "looking for rules", |index: u32, rule: RuleValue| {
            if rule.level != LEVEL_NONE {
                self.scopes.insert(index);
            }
        })?;
        self.counting = self.reflexes()?.iter().any(|reflex| reflex.mode != REFLEX_OFF);
        Ok(())
    }

    /// Takes away what there is about ports that no longer have their index, before others get it: rules and segments. It
    /// holds from the next [`Rules::commit`] on.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn forget_ports(&mut self, kept: &BTreeSet<u8>) -> Result<(), BpfError> {
        for index in (1..=u8::MAX).filter(|index| !kept.contains(index)) {
            self.remove(RuleKey::Scope(scope_of_port(index)))?;
            self.set_segment(scope_of_port(index), 0)?;
        }
        Ok(())
    }

    /// Sets the reflex of a segment. It holds from the next [`Rules::commit`] on.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn set_reflex(&mut self, segment: u32, reflex: Reflex) -> Result<(), BpfError> {
        self.reflex
            .set(segment, Raw(reflex), 0)
            .map_err(|error| BpfError::map(format!("setting the reflex of segment {segment}"), error))?;
        self.counting |= reflex.mode != REFLEX_OFF;
        Ok(())
    }

    /// Sets the segment of a port or VLAN by its index; 0 for none.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn set_segment(&mut self, scope: u32, segment: u32) -> Result<(), BpfError> {
        self.segment_of
            .set(scope, segment, 0)
            .map_err(|error| BpfError::map(format!("setting the segment of scope {scope}"), error))
    }

    /// Adds an internal prefix: its bits, of 128, and its address.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn add_internal(&mut self, bits: u32, address: Address) -> Result<(), BpfError> {
        self.internal
            .insert(&Key::new(bits, Raw(address)), 1, 0)
            .map_err(|error| BpfError::map("adding an internal prefix", error))
    }

    /// Allows something to quarantined or pinned devices, or forbids it again.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn allow(&mut self, key: AllowKey, allowed: bool) -> Result<(), BpfError> {
        let what = || format!("changing the allow list {}", key.list);
        if allowed {
            self.allow.insert(Raw(key), 1, 0).map_err(|error| BpfError::map(what(), error))
        } else {
            unless_missing(what, self.allow.remove(&Raw(key))).map(drop)
        }
    }

    /// All that is allowed, sorted.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn allowed(&self) -> Result<BTreeSet<AllowKey>, BpfError> {
        let mut allowed = BTreeSet::new();
        read(self.allow.map(), "reading the allow lists", |key, _: u32| {
            allowed.insert(key);
        })?;
        Ok(allowed)
    }

    /// Sets the budgets of throttled devices: new destinations, and KiB.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn set_throttle(&mut self, new: Rate, kib: Rate) -> Result<(), BpfError> {
        let config = self.config()?;
        self.write(Config { throttle_new: new, throttle_kib: kib, ..config })
    }

    /// The bits of the tables that are not empty, and of what is in them; call [`Rules::list`] first if somebody else may have changed them.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn armed(&self) -> Result<u32, BpfError> {
        let fault = |error| BpfError::map("looking for rules", error);
        let mut bits = armed(&self.mac, ARMED_MAC)? | armed(&self.ip, ARMED_IP)?;
        if let Some(entry) = self.net.iter().next() {
            entry.map_err(fault)?;
            bits |= ARMED_NET;
        }
        if !self.scopes.is_empty() {
            bits |= ARMED_SCOPE;
        }
        if self.counting {
            bits |= ARMED_REFLEX;
        }
        if !self.enforced.is_empty() {
            bits |= ARMED_ENFORCED;
        }
        Ok(bits)
    }

    /// Takes every verdict to "pass", or back to the rules. It holds until it is taken back, also over a restart.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn set_bypass(&mut self, bypass: Bypass) -> Result<(), BpfError> {
        let Bypass { on, by, since_ns } = bypass;
        let config = self.config()?;
        // The switches with it: who dies here must not leave all open and say that it is not.
        let armed = if on { 0 } else { self.armed()? };
        let config = Config { armed, bypass: on.into(), bypass_by: by, bypass_since_ns: since_ns, ..config };
        self.write(config)?;
        self.commit()
    }

    /// Whether every verdict is taken to "pass".
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn bypass(&self) -> Result<Bypass, BpfError> {
        let config = self.config()?;
        Ok(Bypass { on: config.bypass != 0, by: config.bypass_by, since_ns: config.bypass_since_ns })
    }

    pub(super) fn write(&mut self, config: Config) -> Result<(), BpfError> {
        self.config.set(0, Raw(config), 0).map_err(|error| BpfError::map("writing the config map", error))
    }
}

/// A secret by chance: the standard library's hasher is keyed by the system's random numbers.
fn fresh_secret() -> Secret {
    std::array::from_fn(|word| RandomState::new().hash_one(word))
}

/// The index a port has in the pinned maps, 0 if none.
///
/// # Errors
///
/// [`BpfError::Object`] or [`BpfError::Map`].
pub fn port_index(maps: &Path, ifindex: u32) -> Result<u8, BpfError> {
    let ports: Array<MapData, Raw<Port>> = pinned(maps, "PORTS")?;
    let Raw(port) =
        ports.get(&ifindex, 0).map_err(|error| BpfError::map("reading the table of ports", error))?;
    Ok(port.index)
}

/// A pinned map as a type of aya's.
fn pinned<T: TryFrom<Map, Error = MapError>>(maps: &Path, name: &str) -> Result<T, BpfError> {
    let fault = |error: MapError| BpfError::Object(format!("pinned map {name}: {}", chain(&error)));
    let data = MapData::from_pin(maps.join(name)).map_err(fault)?;
    T::try_from(Map::from_map_data(data).map_err(fault)?).map_err(fault)
}

/// The bit of a table, if it is not empty.
fn armed<K: aya::Pod>(table: &Table<K>, bit: u32) -> Result<u32, BpfError> {
    match table.keys().next() {
        None => Ok(0),
        Some(Ok(_)) => Ok(bit),
        Some(Err(error)) => Err(BpfError::map("looking for rules", error)),
    }
}

/// Gives each entry of a map to `each`, with few calls: one by one the arrays alone would take milliseconds.
pub(super) fn read<K: Wire, V: Wire>(
    map: &MapData,
    what: &'static str,
    each: impl FnMut(K, V),
) -> Result<(), BpfError> {
    sys::each_entry(map.fd().as_fd(), each).map_err(|error| BpfError::map(what, error))
}
