//! The streams of a proof: numbered packets of a device nobody has anything against, and of one that is isolated.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::bpf::Wire;

/// The MAC address of the isolated device: one nobody has (locally administered).
pub const ISOLATED: [u8; 6] = [0x02, 0x53, 0x4b, 0, 0, 3];
const SENDER: [u8; 6] = [0x02, 0x53, 0x4b, 0, 0, 1];
const RECEIVER: [u8; 6] = [0x02, 0x53, 0x4b, 0, 0, 2];

/// Time between two packets.
const GAP: Duration = Duration::from_micros(500);
/// One packet in so many is of the isolated device, too.
const ISOLATED_EVERY: u32 = 4;
/// After so many packets the stream goes on as a new flow.
const FLOW: u32 = 64;
/// What is under way arrives within this.
const DRAIN: Duration = Duration::from_millis(300);
/// A receiver looks up this often.
const LOOK: Duration = Duration::from_millis(50);

/// What begins each packet's contents.
const MARK: [u8; 8] = *b"sekisho\0";
/// Where it lies: after the headers of Ethernet, IPv4 and UDP.
const AT: usize = 14 + 20 + 8;
/// Bytes of a packet with its kind and number.
const LENGTH: usize = AT + MARK.len() + 8;

/// What became of the streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Packets sent.
    pub sent: u32,
    /// Of these received.
    pub received: u32,
    /// Of these after one with a higher number.
    pub reordered: u32,
    /// Packets of the isolated device sent.
    pub isolated: u32,
    /// Of these received.
    pub leaked: u32,
}

impl Outcome {
    /// Packets that never came.
    pub fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.received)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "sent": self.sent,
            "received": self.received,
            "lost": self.lost(),
            "reordered": self.reordered,
            "isolated": self.isolated,
            "leaked": self.leaked,
        })
    }

    /// Whether all came, and nothing else.
    pub fn is_good(&self) -> bool {
        self.sent > 0 && self.isolated > 0 && self.lost() == 0 && self.leaked == 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, received, reordered, isolated, leaked } = self;
        let lost = self.lost();
        write!(f, "{sent} packets sent, {received} received, {lost} lost, {reordered} reordered; ")?;
        write!(f, "{isolated} sent by an isolated device, {leaked} leaked")
    }
}

/// What is counted on the way.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    sent: AtomicU32,
    received: AtomicU32,
    reordered: AtomicU32,
    isolated: AtomicU32,
    leaked: AtomicU32,
}

/// The streams on their way, until dropped.
pub struct Streams {
    counts: Arc<Counts>,
    sender: Option<JoinHandle<Result<()>>>,
    receiver: Option<JoinHandle<Result<()>>>,
    done: Arc<AtomicBool>,
}

impl Streams {
    /// Begins to send into the first interface and to receive from the second.
    pub fn start(ends: [u32; 2]) -> Result<Self> {
        let open = |end| Wire::open(end, LOOK).context("opening a packet socket");
        let (from, to) = (open(ends[0])?, open(ends[1])?);
        // The bridge learns where the receiver is, and has no reason to flood: a frame that no bridge forwards.
        to.send(&greeting()).context("sending")?;
        let counts = Arc::new(Counts::default());
        let done = Arc::new(AtomicBool::new(false));
        let (counted, ended) = (Arc::clone(&counts), Arc::clone(&done));
        let receiver = thread::spawn(move || receive(&to, &counted, &ended));
        let counted = Arc::clone(&counts);
        let sender = thread::spawn(move || send(&from, &counted));
        Ok(Self { counts, sender: Some(sender), receiver: Some(receiver), done })
    }

    /// Ends the streams, waits for what is under way, and gives what became of all.
    pub fn finish(mut self) -> Result<Outcome> {
        self.end()?;
        Ok(self.counts.outcome())
    }

    fn end(&mut self) -> Result<()> {
        self.counts.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.take().map(JoinHandle::join);
        if sent.is_some() {
            thread::sleep(DRAIN);
        }
        self.done.store(true, Ordering::Relaxed);
        let received = self.receiver.take().map(JoinHandle::join);
        for result in [sent, received].into_iter().flatten() {
            result.map_err(|_| anyhow!("a thread of the proof broke down"))??;
        }
        Ok(())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        // Whoever cares asked by `finish`.
        let _ = self.end();
    }
}

impl Counts {
    fn outcome(&self) -> Outcome {
        let get = |count: &AtomicU32| count.load(Ordering::Relaxed);
        Outcome {
            sent: get(&self.sent),
            received: get(&self.received),
            reordered: get(&self.reordered),
            isolated: get(&self.isolated),
            leaked: get(&self.leaked),
        }
    }
}

fn send(wire: &Wire, counts: &Counts) -> Result<()> {
    for number in 0u32.. {
        if counts.stop.load(Ordering::Relaxed) {
            break;
        }
        wire.send(&packet(SENDER, number)).context("sending")?;
        counts.sent.fetch_add(1, Ordering::Relaxed);
        if number % ISOLATED_EVERY == 0 {
            wire.send(&packet(ISOLATED, number)).context("sending")?;
            counts.isolated.fetch_add(1, Ordering::Relaxed);
        }
        // What a busy machine was late with is not made up for: a burst would be lost for want of room, not by the swap.
        thread::sleep(GAP);
    }
    Ok(())
}

fn receive(wire: &Wire, counts: &Counts, done: &AtomicBool) -> Result<()> {
    let mut room = [0; 2048];
    let mut next = 0;
    let mut seen = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let Some(length) = wire.receive(&mut room).context("receiving")? else { continue };
        let Some((from, number)) = room.get(..length).and_then(read) else { continue };
        if from == ISOLATED {
            counts.leaked.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let index = number as usize;
        ensure!(index < 1 << 24, "packet {number} was never sent");
        seen.resize(seen.len().max(index + 1), false);
        // One that comes twice is no two.
        if !std::mem::replace(&mut seen[index], true) {
            counts.received.fetch_add(1, Ordering::Relaxed);
            counts.reordered.fetch_add(u32::from(number < next), Ordering::Relaxed);
            next = next.max(number);
        }
    }
    Ok(())
}

/// A frame to the address of a bridge's own protocol (IEEE 802.1D), of a kind nobody reads.
fn greeting() -> Vec<u8> {
    let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e];
    frame.extend(RECEIVER);
    // Local experimental EtherType 1 (RFC 7042).
    frame.extend(0x88b5u16.to_be_bytes());
    frame.resize(60, 0);
    frame
}

/// The packet of that number: UDP between addresses for such measurements (RFC 2544).
fn packet(from: [u8; 6], number: u32) -> Vec<u8> {
    let mut frame = Vec::with_capacity(LENGTH);
    frame.extend(RECEIVER);
    frame.extend(from);
    frame.extend(0x0800u16.to_be_bytes());
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((LENGTH - 14) as u16).to_be_bytes());
    header[8..10].copy_from_slice(&[64, 17]);
    header[12..16].copy_from_slice(&[198, 18, 0, from[5]]);
    header[16..20].copy_from_slice(&[198, 18, 0, RECEIVER[5]]);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(header);
    let source = 10_000 + (number / FLOW % 50_000) as u16;
    // Port 9 discards; a checksum of 0 is none.
    for word in [source, 9, (LENGTH - 34) as u16, 0] {
        frame.extend(word.to_be_bytes());
    }
    frame.extend(MARK);
    frame.extend(u32::from(from[5]).to_be_bytes());
    frame.extend(number.to_be_bytes());
    frame
}

/// The checksum of an IPv4 header (RFC 1071).
fn checksum(header: &[u8; 20]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// Who sent a packet of ours, and its number.
fn read(frame: &[u8]) -> Option<([u8; 6], u32)> {
    let contents = frame.get(AT..)?.strip_prefix(&MARK)?;
    let number = u32::from_be_bytes(contents.get(4..8)?.try_into().ok()?);
    Some((frame.get(6..12)?.try_into().ok()?, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_as_it_was_written() {
        let frame = packet(ISOLATED, 77_777);
        assert_eq!(frame.len(), LENGTH);
        assert_eq!(read(&frame), Some((ISOLATED, 77_777)));
        assert_eq!(read(&greeting()), None);
        assert_eq!(read(&frame[..LENGTH - 1]), None);
        // A header with its checksum in it sums up to nothing.
        let header: [u8; 20] = frame[14..34].try_into().expect("20 bytes");
        assert_eq!(checksum(&header), 0);
    }

    #[test]
    fn one_packet_lost_or_leaked_is_no_good() {
        let good = Outcome { sent: 100, received: 100, reordered: 0, isolated: 25, leaked: 0 };
        assert!(good.is_good());
        assert!(!Outcome { received: 99, ..good }.is_good());
        assert!(!Outcome { leaked: 1, ..good }.is_good());
        assert!(!Outcome { isolated: 0, ..good }.is_good());
        assert!(!Outcome::default().is_good());
    }
}
