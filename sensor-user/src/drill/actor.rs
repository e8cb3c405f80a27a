//! The two actors of a drill: a device that scans, and one that refuses whatever is tried at it. Their frames go from the one
//! port of the drill to the other and to nobody else: each is addressed to the other's MAC address, which the bridge has learned.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::bpf::Wire;

/// The MAC address of the device that scans: one nobody has (locally administered).
pub const SCANNER: [u8; 6] = [0x02, 0x53, 0x4b, 0, 0, 4];
/// And of the one that refuses.
pub const REFUSER: [u8; 6] = [0x02, 0x53, 0x4b, 0, 0, 5];
/// Link-local addresses (RFC 3927), which belong to the house by default: the scanner's...
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 83, 4);
/// ...and the first of those there are to be tried, in 128 blocks of 256. Each drill takes another block: who was tried before is
/// no new contact.
const FIRST: Ipv4Addr = Ipv4Addr::new(169, 254, 96, 0);
const BLOCKS: u32 = 128;
/// Hosts of a block that are tried.
const HOSTS: u32 = 250;
/// The host of a block that proofs are sent to: all to the same, for many that do not answer would be another scan, which is told
/// when the drill is over.
const PROVEN: u32 = 251;
/// The service that is tried.
const PORT: u16 = 22;
/// Flags of TCP.
const SYN: u8 = 0x02;
const RST_ACK: u8 = 0x14;
/// Bytes of a frame.
const LENGTH: usize = 60;
/// How long a receiver waits at most.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// Both, each at a port.
pub struct Actors {
    scanner: Wire,
    refuser: Wire,
    first: u32,
    tried: u32,
}

impl Actors {
    /// At the other ends of the drill's ports. Drills one after the other have other numbers.
    pub fn new(ends: [u32; 2], drill: u32) -> io::Result<Self> {
        let [scanner, refuser] = ends;
        let actors = Self {
            scanner: Wire::open(scanner, PATIENCE)?,
            refuser: Wire::open(refuser, PATIENCE)?,
            first: u32::from(FIRST) + drill % BLOCKS * 256,
            tried: 0,
        };
        actors.greet()?;
        Ok(actors)
    }

    /// Tells the bridge where both are, by a frame that no bridge forwards (IEEE 802.1D).
    pub fn greet(&self) -> io::Result<()> {
        for (wire, from) in [(&self.scanner, SCANNER), (&self.refuser, REFUSER)] {
            let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e];
            frame.extend(from);
            // Local experimental EtherType 1 (RFC 7042).
            frame.extend(0x88b5u16.to_be_bytes());
            frame.resize(LENGTH, 0);
            wire.send(&frame)?;
        }
        Ok(())
    }

    /// The scanner tries the next host, which refuses; whether the attempt arrived.
    pub fn scan(&mut self) -> io::Result<bool> {
        let (number, target) = self.next();
        self.scanner.send(&tcp((SCANNER, REFUSER), (ADDRESS, target), (number, PORT), SYN))?;
        let arrived = self.arrives(number)?;
        if arrived {
            self.refuser.send(&tcp((REFUSER, SCANNER), (target, ADDRESS), (PORT, number), RST_ACK))?;
        }
        Ok(arrived)
    }

    /// The scanner sends so many frames to one host, one after the other; how many arrive.
    pub fn probe(&mut self, frames: u32) -> io::Result<u32> {
        let (mut arrived, target) = (0, Ipv4Addr::from(self.first + PROVEN));
        for _ in 0..frames {
            let (number, _) = self.next();
            self.scanner.send(&tcp((SCANNER, REFUSER), (ADDRESS, target), (number, PORT), SYN))?;
            arrived += u32::from(self.arrives(number)?);
        }
        Ok(arrived)
    }

    /// A number of its own, and the host that is tried with it.
    fn next(&mut self) -> (u16, Ipv4Addr) {
        self.tried += 1;
        let number = 10_000 + (self.tried % 50_000) as u16;
        (number, Ipv4Addr::from(self.first + 1 + self.tried % HOSTS))
    }

    /// Whether the attempt of that number arrives in time.
    fn arrives(&self, number: u16) -> io::Result<bool> {
        let until = Instant::now() + PATIENCE;
        let mut room = [0; 2048];
        while Instant::now() < until {
            let Some(length) = self.refuser.receive(&mut room)? else { continue };
            let frame = room.get(..length).unwrap_or_default();
            if frame.get(6..12) == Some(&SCANNER[..]) && frame.get(34..36) == Some(&number.to_be_bytes()[..])
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A TCP segment without contents.
fn tcp(
    (from, to): ([u8; 6], [u8; 6]),
    (src, dst): (Ipv4Addr, Ipv4Addr),
    (sport, dport): (u16, u16),
    flags: u8,
) -> Vec<u8> {
    let mut frame = Vec::with_capacity(LENGTH);
    frame.extend(to);
    frame.extend(from);
    frame.extend(0x0800u16.to_be_bytes());
    let mut ip = [0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&40u16.to_be_bytes());
    ip[8..10].copy_from_slice(&[64, 6]);
    ip[12..16].copy_from_slice(&src.octets());
    ip[16..20].copy_from_slice(&dst.octets());
    let sum = checksum(&ip, 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut tcp = [0; 20];
    tcp[0..2].copy_from_slice(&sport.to_be_bytes());
    tcp[2..4].copy_from_slice(&dport.to_be_bytes());
    tcp[12] = 0x50;
    tcp[13] = flags;
    tcp[14..16].copy_from_slice(&1_024u16.to_be_bytes());
    // The pseudo header (RFC 9293 3.1): addresses, protocol, length.
    let pseudo = [src.octets(), dst.octets()].concat();
    let pseudo = words(&pseudo) + 6 + 20;
    let sum = checksum(&tcp, pseudo);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend(tcp);
    frame.resize(LENGTH, 0);
    frame
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum()
}

/// The checksum of the Internet (RFC 1071), of these bytes after what was summed up before.
fn checksum(bytes: &[u8], before: u32) -> u16 {
    let sum = words(bytes) + before;
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_sums_up_to_nothing() {
        let frame = tcp((SCANNER, REFUSER), (ADDRESS, FIRST), (10_001, PORT), SYN);
        assert_eq!(frame.len(), LENGTH);
        assert_eq!(checksum(&frame[14..34], 0), 0);
        assert_eq!(checksum(&frame[34..54], words(&frame[26..34]) + 6 + 20), 0);
        assert_eq!((&frame[..6], &frame[6..12]), (&REFUSER[..], &SCANNER[..]));
    }
}
