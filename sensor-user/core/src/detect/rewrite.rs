//! Rewriting: a device reads much from file servers and writes as much back, as ransomware does that encrypts shares.
//!
//! Signal: bytes of conversations that a device began with file services inside (SMB, NFS, AFP), both ways, as they are
//! told every few seconds; for each pair of device and server.
//! Statistic: of each pair three sums that halve in ten minutes: read, written, and *written back*, which is what was
//! written of what had been read before. Where the last is at least half of each of the others, so much was rewritten;
//! else nothing. A download, a virus scan, a backup and a copy from server to server go one way with each server; a backup
//! that is read again to be verified, and a profile that is stored at logoff and fetched at logon, read after they wrote.
//! It calls 200 MB rewritten on each of two servers (severity 2), and 1 GB on one (a hint), or twice the device's own usual
//! if that is more: the most of its hours that brought no finding, for one server and for two apart. Who works on one
//! share all day (a database, a profile container, disks of virtual machines) is still called for a second server.
//! The floors are chosen, not learned: a large file that is opened and saved, or saved twice, is some hundred MB on one server;
//! who moves a folder within one server by a program that copies makes it some hundred MB more. Both on two servers within a
//! quarter of an hour is rare, and a gigabyte in that time is more than people save.
//! Cold start: on the sensor's first day nothing is called and all is learned; a device that comes later is measured by the
//! floors at once. Recovery: the sums fade; a release forgets them. What goes on is told again after an hour.
//! Not let off: what many devices do to the same server. That is how an outbreak looks, too.
//! Known false alarms: a folder moved on two servers in a row; a new host of virtual machines, renderer or builder whose
//! data lies on two servers; one server reached by two addresses (SMB Multichannel). It alerts and never isolates.
//! Blind to what is encrypted on its server or on the device's own disk; to encryption of a few kB of each file, as LockBit
//! and BlackCat can, where that stays under the floors; to less than 0.25 MB a second with each server; to files of which
//! more than twice as much is read as is written, as when they are stolen in the same pass; to who raises its own usual over
//! hours.
//! Papers: Morató et al., J. Network and Computer Applications 124, 2018 (ransomware told by what it reads and writes on
//! shares, by names and operations); Berrueta et al., arXiv:2202.07583 (by the traffic alone, so also where it is encrypted).

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::{Detector, Finding, Went, list, seconds};
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::flow::TCP;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, MINUTE, Time};

/// TCP ports of file services: SMB, SMB over NetBIOS, NFS, AFP.
const FILE_SERVICES: [u16; 4] = [445, 139, 2049, 548];
/// The sums halve in this time.
const HALF_LIFE: u64 = 10 * MINUTE;
/// Bytes that are none: what the fading leaves of a server is forgotten.
const LEAST: f64 = 1e5;
/// Servers of a device that are remembered; the one with which least went lately goes first.
const SERVERS: usize = 16;
/// At most so many times what was written back was read, or written.
const ALIKE: f64 = 2.0;
/// How many times its usual a device is let off.
const USUAL_FACTOR: f64 = 2.0;
/// The sensor learns for this long who does this every day.
const LEARNING: u64 = 24 * HOUR;
/// What is usual is measured by windows of at least this length.
const WINDOW: u64 = HOUR;
/// What goes on is told again after this time, in which its evidence halves.
const REARM: u64 = HOUR;

/// What is called.
struct Limit {
    servers: usize,
    /// Bytes rewritten on each that are never too many.
    floor: f64,
    severity: u8,
    signature: &'static str,
}

/// All that is called, the gravest first.
const LIMITS: [Limit; 2] = [
    Limit {
        servers: 2,
        floor: 2e8,
        severity: 2,
        signature: "rewriting: reads much from several file servers and writes as much back",
    },
    Limit {
        servers: 1,
        floor: 1e9,
        severity: 3,
        signature: "rewriting: reads very much from one file server and writes as much back",
    },
];

/// Bytes rewritten on each of so many servers, by [`LIMITS`].
type Rewritten = [f64; LIMITS.len()];

/// What went between a device and a server, bytes that fade.
#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Server {
    ip: IpAddr,
    /// When the first of it went.
    since: Time,
    read: f64,
    written: f64,
    /// Written of what had been read before.
    back: f64,
}

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Work {
    /// When it was begun, for a release to be told from.
    born: Time,
    /// The sums are those of this time.
    last: Time,
    servers: Vec<Server>,
    /// When the window began, and the most in it...
    start: Time,
    most: Rewritten,
    /// ...and in the one before, part of which may go on: what begins in it must not excuse itself.
    before: Rewritten,
    /// The most in a window that brought no finding.
    usual: Rewritten,
    /// When something was told last, and its severity.
    told: Option<(Time, u8)>,
}

/// The detector.
pub struct Rewrite {
    devices: Lru<DeviceKey, Work>,
    /// When the first conversation was told.
    since: Option<Time>,
}

state!(Rewrite { devices, since });

impl Rewrite {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        Self { devices: Lru::new(capacity(settings.limits.devices)), since: None }
    }
}

impl Detector for Rewrite {
    fn rebooted(&mut self, off_ns: u64) {
        self.since = self.since.map(|since| since.plus(off_ns));
    }

    fn went(&mut self, went: &Went<'_>, found: &mut Vec<Finding>) {
        let now = went.progress.last;
        let since = *self.since.get_or_insert(went.progress.first);
        if !is_looked_at(went) {
            return;
        }
        let work = self.devices.get_or_insert_mut(went.device, || Work::new(now));
        if work.born < went.clean_since {
            *work = Work { usual: work.usual, ..Work::new(now) };
        }
        work.roll(now);
        work.fade(now);
        work.server(went.id.dst, now).add(went.is_forward(), went.more.bytes as f64);
        let rewritten = work.rewritten();
        work.most = most(work.most, rewritten);
        if now.since(since) < LEARNING {
            return;
        }
        let called = (0..LIMITS.len()).find(|at| rewritten[*at] >= work.limit(*at));
        if let Some(at) = called.filter(|at| work.is_news(*at, now)) {
            work.told = Some((now, LIMITS[at].severity));
            work.before = Rewritten::default();
            found.push(work.finding(went, at, rewritten[at]));
        }
    }
}

/// Whether a conversation is with a file service inside.
fn is_looked_at(went: &Went<'_>) -> bool {
    let id = &went.id;
    went.internal && id.kind == Kind::Ip && id.proto == TCP && FILE_SERVICES.contains(&id.dport)
}

/// The larger of each.
fn most(a: Rewritten, b: Rewritten) -> Rewritten {
    std::array::from_fn(|at| a[at].max(b[at]))
}

impl Server {
    fn add(&mut self, forward: bool, bytes: f64) {
        if forward {
            self.written += bytes;
            self.back += bytes.min(self.read - self.back);
        } else {
            self.read += bytes;
        }
    }

    fn rewritten(&self) -> f64 {
        if self.read.max(self.written) <= ALIKE * self.back { self.back } else { 0.0 }
    }
}

impl Work {
    fn new(now: Time) -> Self {
        Self {
            born: now,
            last: now,
            servers: Vec::new(),
            start: now,
            most: Rewritten::default(),
            before: Rewritten::default(),
            usual: Rewritten::default(),
            told: None,
        }
    }

    /// Begins a new window if this one is over, and learns from those that are.
    fn roll(&mut self, now: Time) {
        let gone = now.since(self.start);
        if gone < WINDOW {
            return;
        }
        self.usual = most(self.usual, self.before);
        // What the fading left of what was told just before is no habit either.
        let told = self.told.is_some_and(|(told, _)| self.start.since(told) < WINDOW);
        self.before = if told { Rewritten::default() } else { self.most };
        if gone >= 2 * WINDOW {
            self.usual = most(self.usual, std::mem::take(&mut self.before));
        }
        (self.start, self.most) = (now, Rewritten::default());
    }

    fn fade(&mut self, now: Time) {
        let part = (-(now.since(self.last) as f64 / HALF_LIFE as f64)).exp2();
        for server in &mut self.servers {
            server.read *= part;
            server.written *= part;
            server.back *= part;
        }
        self.servers.retain(|server| server.read + server.written >= LEAST);
        self.last = self.last.max(now);
    }

    /// What went with a server, which is remembered from now on.
    fn server(&mut self, ip: IpAddr, now: Time) -> &mut Server {
        let known = self.servers.iter().position(|server| server.ip == ip);
        let at = known.unwrap_or_else(|| {
            let new = Server { ip, since: now, read: 0.0, written: 0.0, back: 0.0 };
            if self.servers.len() < SERVERS {
                self.servers.push(new);
                return self.servers.len() - 1;
            }
            let went = |at: &usize| self.servers[*at].read + self.servers[*at].written;
            let least = (0..SERVERS).min_by(|a, b| went(a).total_cmp(&went(b))).unwrap_or_default();
            self.servers[least] = new;
            least
        });
        &mut self.servers[at]
    }

    fn rewritten(&self) -> Rewritten {
        let mut all: Vec<f64> = self.servers.iter().map(Server::rewritten).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        LIMITS.map(|limit| all.get(limit.servers - 1).copied().unwrap_or_default())
    }

    fn limit(&self, at: usize) -> f64 {
        LIMITS[at].floor.max(USUAL_FACTOR * self.usual[at])
    }

    /// Whether nothing as grave was told lately.
    fn is_news(&self, at: usize, now: Time) -> bool {
        self.told.is_none_or(|(told, severity)| LIMITS[at].severity < severity || now.since(told) >= REARM)
    }

    fn finding(&self, went: &Went<'_>, at: usize, rewritten: f64) -> Finding {
        let megabytes = |bytes: f64| Value::Number((bytes / 1e5).round() / 10.0);
        let severity = LIMITS[at].severity;
        let servers: Vec<_> = self.servers.iter().filter(|server| server.rewritten() >= rewritten).collect();
        let since = servers.iter().map(|server| server.since).min().unwrap_or(self.last);
        Finding {
            detector: "rewrite",
            signature: LIMITS[at].signature,
            severity,
            family: Family::Rewrite,
            weight: by_severity(severity),
            device: went.device,
            flow: went.id,
            evidence: vec![
                ("rewritten_mb", megabytes(rewritten)),
                ("limit_mb", megabytes(self.limit(at))),
                ("usual_mb", megabytes(self.usual[at])),
                ("received_mb", megabytes(servers.iter().map(|server| server.read).sum())),
                ("sent_mb", megabytes(servers.iter().map(|server| server.written).sum())),
                ("seconds", seconds(self.last.since(since))),
                ("destinations", list(servers.iter().map(|server| server.ip))),
                ("dest_port", Value::Count(u64::from(went.id.dport))),
            ],
            first_evidence: since,
        }
    }
}
