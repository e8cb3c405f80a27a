//! The drop rules: by MAC, IPv4 and IPv6 address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use sensor_ebpf::ABI;
use sensor_ebpf::control::{ARMED_IP4, ARMED_IP6, ARMED_MAC, Config};
use sensor_ebpf::parse::{MacKey, mac_bytes};
use sensor_ebpf::rule::RuleValue;

use super::error::BpfError;
use super::pod::Raw;
use super::sensor::open;

/// What a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum RuleKey {
    /// A MAC address, as the program has it.
    Mac(MacKey),
    /// An IPv4 address in network byte order.
    Ip4(u32),
    /// An IPv6 address, four words in network byte order.
    Ip6([u32; 4]),
}

impl From<[u8; 6]> for RuleKey {
    fn from([a, b, c, d, e, f]: [u8; 6]) -> Self {
        Self::Mac(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }
}

impl From<IpAddr> for RuleKey {
    /// An IPv4 address mapped into IPv6 is that IPv4 address.
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::Ip4(u32::from_ne_bytes(ip.octets())),
            IpAddr::V6(ip) => {
                let mut words = [0; 4];
                for (word, bytes) in words.iter_mut().zip(ip.octets().as_chunks::<4>().0) {
                    *word = u32::from_ne_bytes(*bytes);
                }
                Self::Ip6(words)
            }
        }
    }
}

impl fmt::Display for RuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Mac(mac) => {
                let [a, b, c, d, e, g] = mac_bytes(mac);
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Self::Ip4(ip) => Ipv4Addr::from(ip.to_ne_bytes()).fmt(f),
            Self::Ip6(ip) => Ipv6Addr::from(sensor_ebpf::account::ip6_bytes(ip)).fmt(f),
        }
    }
}

type Table<K> = HashMap<MapData, K, Raw<RuleValue>>;

/// The rule maps and the switch that makes a change of them hold.
///
/// A change holds for flows already known from the next [`Rules::commit`] on: any number of [`Rules::set`] and
/// [`Rules::remove`], then one commit.
pub struct Rules {
    config: Array<MapData, Raw<Config>>,
    mac: Table<u64>,
    ip4: Table<u32>,
    ip6: Table<Raw<[u32; 4]>>,
}

impl Rules {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        Ok(Self {
            config: open(ebpf, "CONFIG")?,
            mac: open(ebpf, "RULES_MAC")?,
            ip4: open(ebpf, "RULES_IP4")?,
            ip6: open(ebpf, "RULES_IP6")?,
        })
    }

    /// Writes what the program needs to know before its first frame. Rules that are there stay in force.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn start(&mut self, jiffy_ns: u64) -> Result<(), BpfError> {
        let config = self.config()?;
        self.write(Config { jiffy_ns, abi: ABI, ..config })?;
        self.commit()
    }

    /// Adds a rule or replaces the one with that key.
    ///
    /// # Errors
    ///
    /// [`BpfError::RulesFull`] if the table has no room, else [`BpfError::Map`].
    pub fn set(&mut self, key: RuleKey, rule: RuleValue) -> Result<(), BpfError> {
        let done = match key {
            RuleKey::Mac(mac) => self.mac.insert(mac, Raw(rule), 0),
            RuleKey::Ip4(ip) => self.ip4.insert(ip, Raw(rule), 0),
            RuleKey::Ip6(ip) => self.ip6.insert(Raw(ip), Raw(rule), 0),
        };
        done.map_err(|error| match BpfError::map(format!("adding the rule for {key}"), error) {
            BpfError::Map { source, .. } if source.raw_os_error() == Some(libc::E2BIG) => {
                BpfError::RulesFull { key }
            }
            error => error,
        })
    }

    /// Removes the rule with that key; false if there was none.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn remove(&mut self, key: RuleKey) -> Result<bool, BpfError> {
        let done = match key {
            RuleKey::Mac(mac) => self.mac.remove(&mac),
            RuleKey::Ip4(ip) => self.ip4.remove(&ip),
            RuleKey::Ip6(ip) => self.ip6.remove(&Raw(ip)),
        };
        match done {
            Ok(()) => Ok(true),
            // aya gives a missing key as the system error it is.
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => match BpfError::map(format!("removing the rule for {key}"), error) {
                BpfError::Map { source, .. } if source.raw_os_error() == Some(libc::ENOENT) => Ok(false),
                error => Err(error),
            },
        }
    }

    /// All rules in the kernel, lapsed ones included, sorted by key.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn list(&self) -> Result<Vec<(RuleKey, RuleValue)>, BpfError> {
        let mut rules = all(&self.mac, RuleKey::Mac)?;
        rules.extend(all(&self.ip4, RuleKey::Ip4)?);
        rules.extend(all(&self.ip6, |Raw(ip)| RuleKey::Ip6(ip))?);
        rules.sort_by_key(|(key, _)| *key);
        Ok(rules)
    }

    /// Makes the rules as they are now hold for all flows, also those already known.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`]; known flows keep their verdicts then.
    pub fn commit(&mut self) -> Result<(), BpfError> {
        let config = self.config()?;
        let armed =
            armed(&self.mac, ARMED_MAC)? | armed(&self.ip4, ARMED_IP4)? | armed(&self.ip6, ARMED_IP6)?;
        // In two steps: whoever reads the new generation has the new armed bits, so that no verdict made without a
        // table is kept as one of the new generation.
        self.write(Config { armed, ..config })?;
        self.write(Config { armed, generation: config.generation.wrapping_add(1), ..config })
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

    fn write(&mut self, config: Config) -> Result<(), BpfError> {
        self.config.set(0, Raw(config), 0).map_err(|error| BpfError::map("writing the config map", error))
    }
}

/// The bit of a table, if it is not empty.
fn armed<K: aya::Pod>(table: &Table<K>, bit: u32) -> Result<u32, BpfError> {
    match table.keys().next() {
        None => Ok(0),
        Some(Ok(_)) => Ok(bit),
        Some(Err(error)) => Err(BpfError::map("looking for rules", error)),
    }
}

/// The rules of a table.
fn all<K: aya::Pod>(table: &Table<K>, key: fn(K) -> RuleKey) -> Result<Vec<(RuleKey, RuleValue)>, BpfError> {
    table
        .iter()
        .map(|entry| entry.map(|(found, Raw(rule))| (key(found), rule)))
        .collect::<Result<_, _>>()
        .map_err(|error| BpfError::map("reading the rules", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_the_program_reads_them_and_as_people_write_them() {
        let cases: [(RuleKey, RuleKey, &str); 4] = [
            (RuleKey::from([2, 0, 0, 0, 0, 0x0a]), RuleKey::Mac(0x0a00_0000_0002), "02:00:00:00:00:0a"),
            (ip("10.0.0.7"), RuleKey::Ip4(u32::from_ne_bytes([10, 0, 0, 7])), "10.0.0.7"),
            (ip("::ffff:10.0.0.7"), RuleKey::Ip4(u32::from_ne_bytes([10, 0, 0, 7])), "10.0.0.7"),
            (ip("fd00::7"), RuleKey::Ip6([0xfd00_0000u32, 0, 0, 7].map(u32::to_be)), "fd00::7"),
        ];
        for (got, expected, text) in cases {
            assert_eq!(got, expected);
            assert_eq!(got.to_string(), text);
        }
    }

    fn ip(text: &str) -> RuleKey {
        RuleKey::from(text.parse::<IpAddr>().expect("an address"))
    }
}
