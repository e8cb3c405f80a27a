//! Reservoirs as files, so that a restart does not begin to learn anew.
//!
//! All numbers are little-endian. In order: [`MAGIC`], version (16 bits), subject, number of features (16 bits) and of each its
//! name (a byte of length and UTF-8); number of hosts (32 bits) and of each its kind (0 a MAC address, 1 and 2 an IPv4 and
//! IPv6 address behind a gateway), address and rows it gave in all (64 bits); number of rows (32 bits) and of each the number
//! of its host (32 bits), time (64 bits) and values; and the SHA-256 of all before. The hash finds accidents; whatever the
//! file says is checked as well.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sha2::{Digest, Sha256};

use super::features::Subject;
use super::reservoir::{Reservoir, Rows};
use crate::addr::Mac;
use crate::inventory::DeviceKey;
use crate::time::Time;

/// What a file begins with.
pub const MAGIC: [u8; 8] = *b"SEKISHOR";
/// Version of the format.
pub const VERSION: u16 = 1;
/// Longest file: room for more rows than are kept.
pub const MAX_BYTES: usize = 1 << 25;

/// Why a file holds no rows to learn from.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReservoirError {
    /// It is something else.
    #[error("this is no file of rows to learn from")]
    Other,
    /// It is longer than any such file.
    #[error("the file has {0} bytes; one of rows has at most {MAX_BYTES}")]
    TooLong(usize),
    /// It is of another version.
    #[error("the file is of version {0}, and this program reads version {VERSION}")]
    Version(u16),
    /// The hash is not that of what is before it.
    #[error("the file is damaged: its hash does not match")]
    Damaged,
    /// It ends too early, or goes on.
    #[error("the file is of the wrong length")]
    Length,
    /// Something in it cannot be.
    #[error("{0} of the file cannot be")]
    Wrong(&'static str),
    /// Its features are not those of this program.
    #[error("its features are not those of this release")]
    Features,
}

/// The bytes of a reservoir.
pub fn write(reservoir: &Reservoir, subject: Subject) -> Vec<u8> {
    let rows = reservoir.rows();
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend(head(subject));
    let hosts = reservoir.given();
    out.extend((hosts.len() as u32).to_le_bytes());
    for (host, given) in &hosts {
        match host {
            DeviceKey::Local(mac) => {
                out.push(0);
                out.extend(mac.0);
            }
            DeviceKey::Routed(IpAddr::V4(ip)) => {
                out.push(1);
                out.extend(ip.octets());
            }
            DeviceKey::Routed(IpAddr::V6(ip)) => {
                out.push(2);
                out.extend(ip.octets());
            }
        }
        out.extend(given.to_le_bytes());
    }
    let numbers: BTreeMap<DeviceKey, u32> = hosts.keys().copied().zip(0..).collect();
    out.extend((rows.len() as u32).to_le_bytes());
    for ((row, host), time) in rows.values().rows().into_iter().zip(rows.hosts()).zip(rows.times()) {
        out.extend(numbers.get(host).copied().unwrap_or_default().to_le_bytes());
        out.extend(time.ns().to_le_bytes());
        out.extend(row.iter().flat_map(|value| value.to_le_bytes()));
    }
    let hash = Sha256::digest(&out);
    out.extend_from_slice(&hash);
    out
}

/// Reads a reservoir for at most `limit` rows.
///
/// # Errors
///
/// If the bytes are anything but what [`write()`] gives for this subject.
pub fn read(bytes: &[u8], subject: Subject, limit: usize, seed: u64) -> Result<Reservoir, ReservoirError> {
    if bytes.len() > MAX_BYTES {
        return Err(ReservoirError::TooLong(bytes.len()));
    }
    let (body, hash) = bytes.split_last_chunk::<32>().ok_or(ReservoirError::Other)?;
    let mut from = Reader(body);
    if from.take(MAGIC.len()) != Ok(&MAGIC) {
        return Err(ReservoirError::Other);
    }
    match from.number().map(u16::from_le_bytes)? {
        VERSION => {}
        other => return Err(ReservoirError::Version(other)),
    }
    if Sha256::digest(body).as_slice() != hash {
        return Err(ReservoirError::Damaged);
    }
    let head = head(subject);
    if from.take(head.len()) != Ok(&head) {
        return Err(ReservoirError::Features);
    }
    let (hosts, given) = from.hosts()?;
    let width = subject.labels().len();
    let mut rows = Rows::new(width);
    let count = from.number().map(u32::from_le_bytes)? as usize;
    if count > limit {
        return Err(ReservoirError::Wrong("the number of rows"));
    }
    let mut row = vec![0.0; width];
    for _ in 0..count {
        let host = from.number().map(u32::from_le_bytes)? as usize;
        let host = *hosts.get(host).ok_or(ReservoirError::Wrong("the host of a row"))?;
        let time = Time::at(from.number().map(u64::from_le_bytes)?);
        for value in &mut row {
            *value = from.number().map(f32::from_le_bytes)?;
        }
        if !rows.push(host, time, &row) {
            return Err(ReservoirError::Wrong("a row"));
        }
    }
    if !from.0.is_empty() {
        return Err(ReservoirError::Length);
    }
    Ok(Reservoir::restore(rows, &given, limit, seed))
}

/// The subject and its features.
fn head(subject: Subject) -> Vec<u8> {
    let labels = subject.labels();
    let mut head = vec![u8::from(subject == Subject::Window)];
    head.extend((labels.len() as u16).to_le_bytes());
    for label in labels {
        head.push(label.name.len() as u8);
        head.extend_from_slice(label.name.as_bytes());
    }
    head
}

/// What is left of a file.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ReservoirError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ReservoirError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], ReservoirError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(ReservoirError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The hosts by number, and how many rows each gave.
    fn hosts(&mut self) -> Result<(Vec<DeviceKey>, BTreeMap<DeviceKey, u64>), ReservoirError> {
        let count = self.number().map(u32::from_le_bytes)?;
        let (mut hosts, mut given) = (Vec::new(), BTreeMap::new());
        for _ in 0..count {
            let [kind] = self.number()?;
            let host = match kind {
                0 => DeviceKey::Local(Mac(self.number()?)),
                1 => DeviceKey::Routed(Ipv4Addr::from(self.number::<4>()?).into()),
                2 => DeviceKey::Routed(Ipv6Addr::from(self.number::<16>()?).into()),
                _ => return Err(ReservoirError::Wrong("the kind of a host")),
            };
            hosts.push(host);
            if given.insert(host, self.number().map(u64::from_le_bytes)?).is_some() {
                return Err(ReservoirError::Wrong("a host that is there twice"));
            }
        }
        Ok((hosts, given))
    }
}
