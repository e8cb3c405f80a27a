//! Identity change: under one MAC address there is another machine than before, or one that was turned about.
//!
//! Signals, of TCP handshakes alone, for those are made by the system and not by a program:
//! - *Two at once*: from one MAC and IP address come first frames with two different full times to live (64, 128 or 255:
//!   no router passed them on) in turns, which no single system sends.
//! - *Moved and changed*: the time to live is another one from the moment on at which the MAC address is at another port
//!   of the bridge.
//! - *Opened up*: a service one administers by (file sharing, remote desktop, remote shell, ...) answers, that refused
//!   for a day or more before and never answered.
//!
//! Statistic: counts. Three turns within ten minutes; any one of the others.
//! Cold start: a pair of addresses is learned for a day, and 16 handshakes; what it shows by then is usual to it.
//! Recovery: each is told once a day; what it changed to is usual from then on, or from ten minutes of silence of the
//! other; a release forgets what was counted.
//! Held back, for these look alike: two systems on one disk (they take minutes to change, and stay at their port); DHCP
//! reassignment and Wi-Fi bridges or machines within one (another IP address: pairs are apart); card teams (one system);
//! routers and what is behind (not full, or marked as a gateway); sweeps that set their own time to live (not full).
//! Known false alarms: a device that was replaced by one with its MAC address on purpose; an administrator who switches
//! remote desktop on. It only advises, severity 2 for two at once, 3 for the others.
//! Blind to a clone of the same system, and to one that is silent: the data path tells the time to live and the window of
//! a first frame, but neither TCP options nor what DHCP says.
//! Paper: Zalewski, p0f v3 (README, "Passive fingerprinting"): times to live are the steadiest trait of a system.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::{Began, Detector, Finding, seconds};
use crate::addr::{Mac, is_host};
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::flow::{RST, Role, SYN, TCP};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::{FlowId, FlowSeen, Kind};
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, MINUTE, Time};

/// The detector's name.
pub const NAME: &str = "identity";
/// Times to live that systems of today start with.
const FULL: [u8; 3] = [64, 128, 255];
/// A pair of addresses is learned for so long...
const LEARNING: u64 = 24 * HOUR;
/// ...and so many handshakes.
const LEAST: u32 = 16;
/// Turns that show that both are there...
const TURNS: u32 = 3;
/// ...within this time.
const QUARREL: u64 = 10 * MINUTE;
/// A service that refused for so long was closed.
const CLOSED: u64 = 24 * HOUR;
/// One that goes on is told again after this time.
const REARM: u64 = 24 * HOUR;
/// Services one administers by: SSH, Telnet, RPC, file sharing, remote desktop, VNC, WinRM.
const ADMINISTRATION: [u16; 9] = [22, 23, 135, 139, 445, 3389, 5900, 5985, 5986];

/// Another time to live than usual.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Rival {
    ttl: u8,
    first: Time,
    turns: u32,
    /// It was heard last.
    last_word: bool,
}

/// What is usual of one MAC and IP address.
#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Face {
    /// When it was begun, for a release to be told from.
    born: Time,
    first: Time,
    handshakes: u32,
    /// Times to live that are usual; of those in [`FULL`], in its order.
    usual: [bool; FULL.len()],
    /// The usual one heard last.
    ttl: u8,
    /// Where it was heard last; none: not since the machine was started.
    port: Option<u8>,
    /// It was heard at another port than before since the last usual one.
    moved: bool,
    rival: Option<Rival>,
    told_at: Option<Time>,
}

/// How a service answered.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Door {
    refused: Time,
    answered: bool,
}

/// The detector.
pub struct Identity {
    faces: Lru<(Mac, IpAddr), Face>,
    doors: Lru<(Mac, IpAddr, u16), Door>,
}

state!(Identity { faces, doors });

impl Identity {
    /// A detector that has learned nothing.
    pub fn new(settings: &Settings) -> Self {
        let size = capacity(settings.limits.devices);
        Self { faces: Lru::new(size), doors: Lru::new(size) }
    }

    /// Notes how a service answered; gives since when it refused, if it opened up.
    fn door(&mut self, began: &Began<'_>) -> Option<Time> {
        let (seen, id) = (began.seen, &began.seen.id);
        if !matches!(began.role, Role::Answers(..)) || !ADMINISTRATION.contains(&id.sport) {
            return None;
        }
        let refuses = seen.tcp_flags & RST != 0;
        let door = Door { refused: seen.time, answered: !refuses };
        let known = self.doors.get_or_insert_mut((seen.smac, id.src, id.sport), || door);
        if refuses || known.answered {
            return None;
        }
        known.answered = true;
        let closed = seen.time.since(known.refused) >= CLOSED && known.refused >= began.clean_since;
        closed.then_some(known.refused)
    }
}

/// Whether a frame is one of a handshake that no router passed on.
fn is_handshake(seen: &FlowSeen) -> bool {
    let id = &seen.id;
    id.kind == Kind::Ip && id.proto == TCP && seen.tcp_flags & SYN != 0 && FULL.contains(&seen.ttl)
}

impl Detector for Identity {
    fn rebooted(&mut self, _off_ns: u64) {
        self.faces.values_mut().for_each(|face| face.port = None);
    }

    fn began(&mut self, began: &Began<'_>, found: &mut Vec<Finding>) {
        let (seen, id) = (began.seen, &began.seen.id);
        let tcp = id.kind == Kind::Ip && id.proto == TCP;
        // A group of one: behind a gateway many have one MAC address.
        if !tcp || began.gateway || !matches!(began.device, DeviceKey::Local(_)) || !is_host(id.src) {
            return;
        }
        if let Some(refused) = self.door(began) {
            let evidence = vec![
                ("port", Value::Count(u64::from(id.sport))),
                ("refused_seconds", seconds(seen.time.since(refused))),
            ];
            let signature = "identity: a service for administration answers that used to refuse";
            found.push(finding(began, signature, 3, refused, evidence));
        }
        if !is_handshake(seen) {
            return;
        }
        let fresh = || Face::new(seen);
        let face = self.faces.get_or_insert_mut((seen.smac, id.src), fresh);
        if face.born < began.clean_since {
            (face.born, face.rival) = (seen.time, None);
        }
        let Some((signature, severity, first)) = face.hear(seen) else { return };
        if face.told_at.is_some_and(|told| seen.time.since(told) < REARM) {
            return;
        }
        face.told_at = Some(seen.time);
        let evidence = vec![
            ("usual_ttl", Value::Count(u64::from(face.ttl))),
            ("ttl", Value::Count(u64::from(seen.ttl))),
            ("window", Value::Count(u64::from(seen.window))),
            ("handshakes_before", Value::Count(u64::from(face.handshakes))),
            ("seconds", seconds(seen.time.since(first))),
        ];
        found.push(finding(began, signature, severity, first, evidence));
    }
}

impl Face {
    fn new(seen: &FlowSeen) -> Self {
        Self {
            born: seen.time,
            first: seen.time,
            handshakes: 0,
            usual: [false; FULL.len()],
            ttl: seen.ttl,
            port: Some(seen.id.port),
            moved: false,
            rival: None,
            told_at: None,
        }
    }

    fn is_usual(&self, ttl: u8) -> bool {
        FULL.iter().zip(self.usual).any(|(full, usual)| *full == ttl && usual)
    }

    fn accept(&mut self, ttl: u8) {
        for (full, usual) in FULL.iter().zip(&mut self.usual) {
            *usual |= *full == ttl;
        }
    }

    /// Notes a handshake; gives what is wrong with it, if anything: signature, severity, since when.
    fn hear(&mut self, seen: &FlowSeen) -> Option<(&'static str, u8, Time)> {
        let (ttl, now) = (seen.ttl, seen.time);
        self.moved |= self.port.replace(seen.id.port).is_some_and(|port| port != seen.id.port);
        if now.since(self.first) < LEARNING || self.handshakes < LEAST {
            self.accept(ttl);
        }
        if self.rival.is_some_and(|rival| now.since(rival.first) >= QUARREL) {
            // Both were not there at once: the one took the place of the other, or went away.
            let rival = self.rival.take();
            rival.iter().filter(|rival| rival.last_word).for_each(|rival| self.accept(rival.ttl));
        }
        if self.is_usual(ttl) {
            self.handshakes = self.handshakes.saturating_add(1);
            (self.ttl, self.moved) = (ttl, false);
            if let Some(rival) = &mut self.rival {
                rival.turns += u32::from(rival.last_word);
                rival.last_word = false;
            }
            return None;
        }
        let fresh = Rival { ttl, first: now, turns: 0, last_word: false };
        let rival = self.rival.get_or_insert(fresh);
        if rival.ttl != ttl {
            *rival = fresh;
        }
        rival.turns += u32::from(!rival.last_word);
        rival.last_word = true;
        let (turns, first) = (rival.turns, rival.first);
        if turns >= TURNS {
            self.rival = None;
            return Some(("identity: two systems speak by one MAC and IP address in turns", 2, first));
        }
        if std::mem::take(&mut self.moved) {
            self.accept(ttl);
            return Some(("identity: another system came with the MAC address to another port", 3, first));
        }
        None
    }
}

fn finding(
    began: &Began<'_>,
    signature: &'static str,
    severity: u8,
    first_evidence: Time,
    evidence: crate::event::Evidence,
) -> Finding {
    let flow: FlowId = began.seen.id;
    Finding {
        detector: NAME,
        signature,
        severity,
        family: Family::Identity,
        weight: by_severity(severity),
        device: began.device,
        flow,
        evidence,
        first_evidence,
    }
}
