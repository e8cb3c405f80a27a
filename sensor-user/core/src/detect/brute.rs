//! Brute force: one client tries a service again and again, in short sessions that look alike.
//!
//! Signal: ended TCP conversations of one device with one service in which something was said, that were short and small.
//! Statistic: sessions within a sliding window whose sizes lie within a quarter of their median, against a limit: 12 in
//! 5 minutes for services people log in to, 15 a minute for file sharing and remote calls, 24 a minute for all others
//! (Slips calls SSH at 9 sessions, Zeek at 30 failed logins in 30 minutes, FTP at 20 in 15). What the pair did before
//! without a finding, or still does after a day, is its usual: twice that is the limit then.
//! Cold start: the limit alone. Recovery: the window slides; a long or large session, which is what follows a login that
//! worked, clears it; a release forgets it.
//! Held back: the web (its clients open sessions all day); sessions that keep time to a twentieth and are 5 s or more
//! apart, as monitoring probes and backup jobs do; what three other devices do to the same service too, for then that is
//! how it is used (HL7 and database clients with a session a message). Who was called or restricted is none of these for a
//! day, or the fourth guesser was excused by three before it.
//! Known false alarms: a script with a session a request, on its first day; a program that is like that and put on one PC after
//! the other, on each until a day after the third. It alerts and never isolates: the one who
//! forgot a password looks the same. Blind to guesses within one session, slow ones, and many clients with few each.

use std::collections::VecDeque;
use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::clients::Clients;
use super::spread::Spread;
use super::{Detector, Ended, Finding, seconds};
use crate::event::{FlowEnded, Half, Value};
use crate::evidence::{Family, by_severity};
use crate::flow::{ACK, FIN, RST, TCP};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, MINUTE, SECOND, Time};

/// Longest session that counts as an attempt: SSH servers give a login two minutes, guesses take seconds.
const SHORT: u64 = MINUTE;
/// Most bytes of one, both ways together; an SSH session with six guesses takes 6 kB.
const SMALL: u64 = 32 << 10;
/// Frames without payload have at most so many bytes: Ethernet, IPv4, TCP with time stamps.
const BARE: u64 = 74;
/// Most sessions remembered of a pair, 24 bytes each; one that is used to half as many cannot be called.
const MOST: usize = 64;
/// One pair in so many devices is watched, the last used first: the bound of the memory is 25 MB by default.
const DEVICES_PER_PAIR: usize = 4;
/// Sizes count as alike within so much of the median...
const ALIKE: f64 = 0.25;
/// ...and so many bytes.
const ALIKE_BYTES: f64 = 64.0;
/// So much of the sessions must be alike.
const SHARE: f64 = 0.6;
/// A timer's sessions deviate by less than this from their distance...
const REGULAR: f64 = 0.05;
/// ...which is at least this, in seconds. Guesses one after the other are even as well, but faster.
const TIMER: f64 = 5.0;
/// One that goes on is told again after this time.
const REARM: u64 = 24 * HOUR;
/// What a pair still does after this time is how it is used, called or not.
const ACCUSTOMED: u64 = 24 * HOUR;

/// What a service is for, as far as guessing is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Service {
    Login,
    Database,
    Remote,
    Other,
}

impl Service {
    /// None for those not looked at.
    fn of(port: u16) -> Option<Self> {
        match port {
            80 | 443 | 3128 | 8000 | 8008 | 8080 | 8443 => None,
            // FTP, SSH, Telnet, mailboxes, VPN, remote desktop, VNC, WinRM.
            21..=23 | 110 | 143 | 993 | 995 | 1723 | 2222 | 2323 | 3389 | 5900..=5903 | 5985 | 5986 => {
                Some(Self::Login)
            }
            // LDAP and databases: people log in to them too, but programs do it more often.
            389 | 636 | 1433 | 1521 | 3306 | 5432 | 6379 | 27017 => Some(Self::Database),
            // File sharing, the RPC mapper, and the ports Windows gives to RPC services.
            135 | 139 | 445 | 49152.. => Some(Self::Remote),
            _ => Some(Self::Other),
        }
    }

    /// So many sessions within this time, ns, are too many.
    fn limit(self) -> (u32, u64) {
        match self {
            Self::Login => (12, 5 * MINUTE),
            Self::Remote => (15, MINUTE),
            Self::Database | Self::Other => (24, MINUTE),
        }
    }

    fn signature(self) -> &'static str {
        match self {
            Self::Login | Self::Database => {
                "brute force: many short sessions of one kind with a service one logs in to"
            }
            Self::Remote => "many short sessions of one kind by file sharing or remote calls",
            Self::Other => "many short sessions of one kind with one service",
        }
    }
}

#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Session {
    start: Time,
    sent: u64,
    received: u64,
}

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Pair {
    /// When it was begun, for a release to be told from.
    born: Time,
    /// Oldest first.
    sessions: VecDeque<Session>,
    /// Most in a window that brought no finding.
    usual: u32,
    told_at: Option<Time>,
}

/// The detector.
pub struct Brute {
    pairs: Lru<(DeviceKey, IpAddr, u16), Pair>,
    /// Devices that came near the limit of a service.
    clients: Clients,
}

state!(Brute { pairs, clients });

impl Brute {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        let size = settings.limits.devices;
        Self { pairs: Lru::new(capacity(size / DEVICES_PER_PAIR)), clients: Clients::new(size) }
    }
}

fn says_something(half: &Half) -> bool {
    half.bytes > half.packets * BARE
}

/// Whether a conversation is over and was answered, and something was said in it.
fn is_session(flow: &FlowEnded) -> bool {
    let closed = (flow.to_server.tcp_flags | flow.to_client.tcp_flags) & (FIN | RST) != 0;
    let answered = flow.to_client.tcp_flags & ACK != 0 && flow.to_client.packets > 1;
    closed && answered && (says_something(&flow.to_server) || says_something(&flow.to_client))
}

impl Detector for Brute {
    fn ended(&mut self, ended: &Ended<'_>, now: Time, found: &mut Vec<Finding>) {
        let flow = ended.flow;
        let id = &flow.id;
        if id.kind != Kind::Ip || id.proto != TCP || !is_session(flow) {
            return;
        }
        let Some(service) = Service::of(id.dport) else { return };
        let (limit, window_ns) = service.limit();
        let fresh = || Pair { born: now, sessions: VecDeque::new(), usual: 0, told_at: None };
        let pair = self.pairs.get_or_insert_mut((ended.device, id.dst, id.dport), fresh);
        if pair.born < ended.clean_since {
            *pair = fresh();
        }
        pair.forget(flow.start, window_ns);
        let (sent, received) = (flow.to_server.bytes, flow.to_client.bytes);
        if flow.end.since(flow.start) > SHORT || sent.saturating_add(received) > SMALL {
            pair.sessions.clear();
            return;
        }
        if flow.start >= ended.clean_since {
            pair.add(Session { start: flow.start, sent, received });
        }
        let count = pair.sessions.len() as u32;
        let quiet = pair.told_at.is_none_or(|told| now.since(told) > REARM);
        let (reached, usual) = (count >= limit.max(pair.usual.saturating_mul(2)), pair.usual);
        let calls = quiet && reached && pair.is_alike() && !pair.is_timed();
        // Who comes near is noted before anybody reaches the limit, so that a busy service is known by its clients.
        let common = count >= limit / 2 && self.clients.is_common((id.dst, id.dport), ended.device, now);
        if calls
            && !common
            && let Some(pair) = self.pairs.peek_mut(&(ended.device, id.dst, id.dport))
        {
            pair.told_at = Some(now);
            found.push(pair.finding(ended, service, limit.max(usual.saturating_mul(2))));
            self.clients.doubt(ended.device, now);
        }
    }

    fn restricted(&mut self, finding: &Finding, now: Time, _found: &mut Vec<Finding>) {
        self.clients.doubt(finding.device, now);
    }
}

impl Pair {
    /// Takes out what left the window.
    fn forget(&mut self, now: Time, window_ns: u64) {
        let before = self.sessions.len() as u32;
        while self.sessions.front().is_some_and(|session| now.since(session.start) >= window_ns) {
            self.sessions.pop_front();
        }
        let counts = self.told_at.is_none() || now.since(self.born) > ACCUSTOMED;
        if counts && (self.sessions.len() as u32) < before {
            self.usual = self.usual.max(before);
        }
    }

    /// Adds a session in its place: conversations are not told in the order in which they began.
    fn add(&mut self, session: Session) {
        let at = self.sessions.iter().rposition(|old| old.start <= session.start).map_or(0, |at| at + 1);
        self.sessions.insert(at, session);
        if self.sessions.len() > MOST {
            self.sessions.pop_front();
        }
    }

    /// Whether most are of one size, each way.
    fn is_alike(&self) -> bool {
        let alike = |size: fn(&Session) -> u64| {
            let sizes = || self.sessions.iter().map(|session| size(session) as f64);
            let Some(spread) = Spread::of(sizes().collect()) else { return false };
            let near = |size: &f64| (size - spread.median).abs() <= spread.median * ALIKE + ALIKE_BYTES;
            sizes().filter(near).count() as f64 >= SHARE * self.sessions.len() as f64
        };
        alike(|session| session.sent) && alike(|session| session.received)
    }

    /// Whether a timer begins them.
    fn is_timed(&self) -> bool {
        let starts = self.sessions.iter().zip(self.sessions.iter().skip(1));
        let distances = starts.map(|(one, next)| next.start.since(one.start) as f64 / SECOND as f64);
        Spread::of(distances.collect())
            .is_some_and(|spread| spread.median >= TIMER && spread.deviation() < REGULAR)
    }

    fn finding(&self, ended: &Ended<'_>, service: Service, limit: u32) -> Finding {
        let first = self.sessions.front().map_or(ended.flow.start, |session| session.start);
        let median = |size: fn(&Session) -> u64| {
            let spread = Spread::of(self.sessions.iter().map(|session| size(session) as f64).collect());
            Value::Count(spread.map_or(0, |spread| spread.median as u64))
        };
        let severity = if service == Service::Other { 3 } else { 2 };
        Finding {
            detector: "brute",
            signature: service.signature(),
            severity,
            family: Family::Brute,
            weight: by_severity(severity),
            device: ended.device,
            flow: ended.flow.id,
            evidence: vec![
                ("sessions", Value::Count(self.sessions.len() as u64)),
                ("limit", Value::Count(u64::from(limit))),
                ("usual", Value::Count(u64::from(self.usual))),
                ("dest_port", Value::Count(u64::from(ended.flow.id.dport))),
                ("bytes_sent", median(|session| session.sent)),
                ("bytes_received", median(|session| session.received)),
                ("seconds", seconds(ended.flow.end.since(first))),
            ],
            first_evidence: first,
        }
    }
}
