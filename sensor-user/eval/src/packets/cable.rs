//! The hosts of a made-up site on the wires of a lab: what they send there as real frames, and what of it arrives.
//!
//! Port `n` of the site is the wire of host `n` of the lab. Each frame ends, behind what its headers count, with a number of
//! its own, so that it is known again on the other side of the bridge.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use bpf_tests::lab::Lab;
use bpf_tests::raw::Raw;
use bpf_tests::traffic::slowness;
use sensor_core::addr::Mac;
use sensor_core::flow::{ACK, FIN, TCP};
use sensor_core::observation::{FlowId, Kind, Observation};
use sensor_user::clock::Stamp;

use crate::sim::site::{CORE, Site};
use crate::sim::world::{Cause, Sink, Told};
use crate::subject::frame;

/// Begins the number at the end of a frame.
const MARK: [u8; 4] = *b"SKE1";
/// Bytes of the mark and the number.
const TAIL: usize = 8;
/// Shortest Ethernet frame without its check sequence, bytes.
const SHORTEST: usize = 60;
/// Frames go through the bridge within the call that sends them, unless the kernel puts the work off.
const PATIENCE: Duration = Duration::from_millis(3);

/// A frame that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub time: Stamp,
    /// From and to whom.
    pub macs: [Mac; 2],
    /// Its flow; of ARP, who is asked for.
    pub id: FlowId,
    /// Why.
    pub cause: Cause,
    /// It answers another.
    pub back: bool,
    /// It arrived at the other side.
    pub arrived: bool,
}

/// The wires.
pub struct Cable {
    wires: Vec<Raw>,
    /// The port each host is behind.
    home: HashMap<Mac, u8>,
    router: Mac,
    flows: HashMap<FlowId, ([Mac; 2], u8)>,
    bytes: Vec<u8>,
    failed: Result<()>,
    /// Frames are really sent. Before, what is told is only remembered.
    pub live: bool,
    /// All frames, in order.
    pub sent: Vec<Sent>,
    /// Whom each host talked to before: a pinned one may go on.
    pub known: HashSet<(Mac, IpAddr)>,
    /// Hosts that attacked, each with its run.
    pub guilty: BTreeMap<Mac, u16>,
    /// Their addresses.
    pub guilty_ips: BTreeSet<IpAddr>,
}

impl Cable {
    /// The wires of the first so many hosts of a lab.
    pub fn new(lab: &Lab, ports: u8) -> Result<Self> {
        let wires = (1..=ports).map(|host| Raw::open(lab, host)).collect::<Result<_>>()?;
        Ok(Self { wires, ..Self::of(Vec::new(), BTreeMap::new()) })
    }

    /// One without wires, on which this was sent, by these attackers.
    pub fn of(sent: Vec<Sent>, guilty: BTreeMap<Mac, u16>) -> Self {
        let from = |sent: &&Sent| guilty.contains_key(&sent.macs[0]);
        let guilty_ips = sent.iter().filter(from).map(|sent| sent.id.src).collect();
        Self {
            wires: Vec::new(),
            home: HashMap::new(),
            router: Mac::default(),
            flows: HashMap::new(),
            bytes: Vec::new(),
            failed: Ok(()),
            live: false,
            sent,
            known: HashSet::new(),
            guilty,
            guilty_ips,
        }
    }

    /// Whether a frame is for a host that attacked, or asks for it.
    pub fn is_for_guilty(&self, sent: &Sent) -> bool {
        self.guilty.contains_key(&sent.macs[1]) || self.guilty_ips.contains(&sent.id.dst)
    }

    /// Whether a frame is from a host that attacked, also behind the router.
    pub fn is_from_guilty(&self, sent: &Sent) -> bool {
        self.guilty.contains_key(&sent.macs[0]) || self.guilty_ips.contains(&sent.id.src)
    }

    /// What went wrong with a wire, if anything did.
    pub fn check(&mut self) -> Result<()> {
        std::mem::replace(&mut self.failed, Ok(()))
    }

    /// Takes note of all that arrived.
    pub fn collect(&mut self) {
        for port in 1..=self.wires.len() as u8 {
            self.collect_at(port);
        }
    }

    fn collect_at(&mut self, port: u8) {
        let Some(wire) = self.wires.get(usize::from(port) - 1) else { return };
        // What was sent there is told apart by where its sender is.
        let frames = match wire.arrived([0; 6]) {
            Ok(frames) => frames,
            Err(error) => return self.failed = Err(error),
        };
        for frame in frames {
            let Some(number) = number(&frame) else { continue };
            let Some(sent) = self.sent.get_mut(number) else { continue };
            let [_, to] = sent.macs;
            // A switch floods what is for somebody it does not know; it arrives where that one is.
            let here = self.home.get(&to).is_none_or(|home| *home == port);
            if sent.id.port == port || !here {
                continue;
            }
            sent.arrived = true;
        }
    }

    fn send(&mut self, id: &FlowId, macs: [Mac; 2], ttl: u8, flags: u8, told: &Told) -> bool {
        if !self.live || self.failed.is_err() {
            return true;
        }
        frame::write(&mut self.bytes, id, macs, ttl, flags);
        let length = (self.bytes.len() + TAIL).max(SHORTEST);
        self.bytes.resize(length - TAIL, 0);
        self.bytes.extend(MARK);
        let number = self.sent.len();
        if let (Cause::Attack(run), false) = (told.cause, told.back || macs[0] == self.router) {
            self.guilty.entry(macs[0]).or_insert(run);
            self.guilty_ips.insert(id.src);
        }
        self.bytes.extend((number as u32).to_be_bytes());
        let Told { cause, back, .. } = *told;
        self.sent.push(Sent { time: Stamp::now(), macs, id: *id, cause, back, arrived: false });
        let wire = self.wires.get(usize::from(id.port).wrapping_sub(1));
        if let Err(error) = wire.map_or(Ok(()), |wire| wire.send(&self.bytes)) {
            self.failed = Err(error);
            return true;
        }
        // Only an attack is told whether it went through: it gives up when it is cut off.
        !matches!(cause, Cause::Attack(_)) || self.arrives(number)
    }

    /// Waits for a frame on the other side.
    fn arrives(&mut self, number: usize) -> bool {
        let Some([_, to]) = self.sent.get(number).map(|sent| sent.macs) else { return true };
        let begun = Instant::now();
        loop {
            match self.home.get(&to).copied() {
                Some(port) => self.collect_at(port),
                None => self.collect(),
            }
            if self.sent.get(number).is_none_or(|sent| sent.arrived) {
                return true;
            }
            if begun.elapsed() > PATIENCE * slowness() {
                return false;
            }
        }
    }

    fn told(&mut self, told: &Told) -> bool {
        match &told.observation {
            Observation::Flow(seen) => {
                let macs = [seen.smac, seen.dmac];
                if !self.live {
                    self.known.insert((seen.smac, seen.id.dst));
                }
                if seen.id.kind == Kind::Ip {
                    self.flows.insert(seen.id, (macs, seen.ttl));
                }
                self.send(&seen.id, macs, seen.ttl, seen.tcp_flags, told)
            }
            Observation::Progress(progress) => {
                let over = progress.end.is_some();
                let known = if over { self.flows.remove(&progress.id) } else { None };
                let Some((macs, ttl)) = known.or_else(|| self.flows.get(&progress.id).copied()) else {
                    return true;
                };
                let closes = progress.id.proto == TCP && progress.tcp_flags & FIN != 0;
                // A conversation that just falls silent, or was refused, sends nothing more.
                if over && !closes {
                    return true;
                }
                self.send(&progress.id, macs, ttl, if over { FIN | ACK } else { ACK }, told)
            }
            Observation::Drop(_) => true,
        }
    }
}

/// The number at the end of a frame; none if it is not one of ours.
fn number(frame: &[u8]) -> Option<usize> {
    let tail = frame.get(frame.len().checked_sub(TAIL)?..)?;
    let (mark, number) = tail.split_first_chunk::<4>()?;
    (*mark == MARK).then_some(u32::from_be_bytes(number.try_into().ok()?) as usize)
}

/// A world's end of the cable, so that whoever lets the world live can look at it meanwhile.
pub struct Plug<'a>(pub &'a RefCell<Cable>);

impl Sink for Plug<'_> {
    fn told(&mut self, told: &Told) -> bool {
        self.0.borrow_mut().told(told)
    }

    fn moved(&mut self, site: &Site) {
        let mut cable = self.0.borrow_mut();
        cable.home = site.hosts.iter().map(|host| (host.mac, host.port)).collect();
        cable.home.insert(site.router, CORE);
        cable.router = site.router;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_known_by_what_they_end_with() {
        let frame = |tail: &[u8]| [&[0; 52][..], tail].concat();
        for (tail, want) in
            [(&b"SKE1\0\0\x01\x02"[..], Some(0x102)), (b"SKE2\0\0\0\x01", None), (b"SKE1\0\0", None)]
        {
            assert_eq!(number(&frame(tail)), want, "{tail:?}");
        }
        assert_eq!(number(b"SKE1"), None);
    }
}
