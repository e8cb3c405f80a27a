//! Beacons: a device calls home again and again, evenly in time and size.
//!
//! Signal: when the conversations of one device with one service began, and what was sent in each.
//! Statistic: RITA's scores (activecm/rita v5) over the last 64 beginnings: how evenly they follow one another, how alike
//! the sizes are, and how evenly they cover the time from the first to the last, but for nights in which the device is off.
//! Each is 0 to 1; it calls if none is below 0.6 and their mean is 0.8. Beginnings within a second are one. RITA's fourth
//! score, how much of a day is covered, is replaced by a least number and a least span, so that a call takes minutes and not
//! a day.
//! Timing alone says nothing, for monitors, pumps and pollers are the best beacons there are. So a pair is looked at only
//! while it is *new* (7 days) and *rare*: fewer than three other devices use the service. Outside the internal networks
//! that is enough. Inside, the pair must have begun a day or more after the sensor; before, only a web service that no
//! one else uses counts, for that is what a relay inside looks like.
//! Cold start: outside, the lowest severity for a day; after that for the first half hour of a beacon. Recovery: a pair grows old; a release forgets it.
//! Known false alarms: one device's own updater or licence server; a new device with a server of its own. It alerts and
//! never isolates. Left out: name, time and address services and discovery. Blind to check-ins within one connection.

use std::collections::VecDeque;
use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::clients::Clients;
use super::spread::Spread;
use super::{Detector, Ended, Finding, seconds};
use crate::addr::{Prefix, is_host};
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::flow::{TCP, UDP};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, MINUTE, SECOND, Time};

/// Beginnings remembered of a pair, 16 bytes each.
const MOST: usize = 64;
/// One pair in so many devices is watched, the last used first: the bound of the memory is 34 MB by default.
const DEVICES_PER_PAIR: usize = 2;
/// Least beginnings: fewer happen by chance (RITA takes 4, over a day).
const LEAST: usize = 16;
/// The same for a web service inside during the cold start.
const LEAST_INSIDE: usize = 24;
/// Least time from the first to the last.
const LEAST_SPAN: u64 = MINUTE;
/// Mean score that calls...
const CALLS: f64 = 0.8;
/// ...if none of them is below this.
const LOWEST: f64 = 0.6;
/// What goes on for so long is more than a program that tries for a while.
const LASTING: u64 = 30 * MINUTE;
/// Bins the time is cut into, as in RITA; fewer if there are few beginnings.
const BINS: usize = 24;
/// Who says nothing for so long, ns...
const PAUSE: u64 = 2 * HOUR;
/// ...and so many times the usual distance was switched off: else a PC that is would be called only days after it was infected.
const PAUSE_DISTANCES: u64 = 8;
/// Beginnings nearer than this are one.
const ONE: u64 = SECOND;
/// Part of the median distance within which quartiles say nothing about skewness.
const GRAIN: f64 = 0.1;
/// The same for sizes, bytes.
const GRAIN_BYTES: f64 = 64.0;
/// A pair is judged each time this part of what is remembered of it is new.
const JUDGED_EACH: usize = 16;
/// A pair is new for this long.
const NEW: u64 = 7 * 24 * HOUR;
/// The sensor learns for this long who there is.
const LEARNING: u64 = 24 * HOUR;
/// One that goes on is told again after this time.
const REARM: u64 = 24 * HOUR;
/// Services that everybody calls evenly: names, addresses, time, discovery.
const LEFT_OUT: [u16; 9] = [53, 67, 68, 123, 137, 138, 1900, 5353, 5355];
/// Ports of the web.
const WEB: [u16; 4] = [80, 443, 8080, 8443];

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Pair {
    /// When it was begun, for a release to be told from.
    born: Time,
    first: Time,
    /// When conversations began, and bytes sent in each; oldest first.
    begun: VecDeque<(Time, u64)>,
    unjudged: usize,
    /// The severity it was told with, and when.
    told: Option<(u8, Time)>,
}

/// How even a pair is, each 0 to 1.
#[derive(Clone, Copy, Debug)]
struct Score {
    time: f64,
    size: f64,
    cover: f64,
    /// Median distance, seconds.
    period: f64,
    /// For how long it called, ns, pauses left out.
    lasted: u64,
}

impl Score {
    fn mean(&self) -> f64 {
        (self.time + self.size + self.cover) / 3.0
    }

    fn calls(&self) -> bool {
        self.mean() >= CALLS && self.time.min(self.size).min(self.cover) >= LOWEST
    }
}

/// The detector.
pub struct Beacon {
    pairs: Lru<(DeviceKey, IpAddr, u8, u16), Pair>,
    clients: Clients,
    internal: Vec<Prefix>,
    /// When the first conversation began that was told.
    since: Option<Time>,
}

state!(Beacon { pairs, clients, since } keeps { internal });

impl Beacon {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        let devices = settings.limits.devices;
        Self {
            pairs: Lru::new(capacity(devices / DEVICES_PER_PAIR)),
            clients: Clients::new(devices),
            internal: settings.internal.clone(),
            since: None,
        }
    }
}

/// How many beginnings a call takes; none if the pair is not to be called.
fn least(inside: bool, port: u16, learned: bool) -> Option<usize> {
    match (inside, learned) {
        (false, _) => Some(LEAST),
        (true, true) => Some(LEAST_INSIDE),
        (true, false) => WEB.contains(&port).then_some(LEAST_INSIDE),
    }
}

impl Detector for Beacon {
    fn rebooted(&mut self, off_ns: u64) {
        self.since = self.since.map(|since| since.plus(off_ns));
    }

    fn ended(&mut self, ended: &Ended<'_>, now: Time, found: &mut Vec<Finding>) {
        let flow = ended.flow;
        let id = &flow.id;
        let unlike = id.kind != Kind::Ip || !matches!(id.proto, TCP | UDP) || !is_host(id.dst);
        if unlike || flow.dmac.is_nobody() || LEFT_OUT.contains(&id.dport) {
            return;
        }
        let since = *self.since.get_or_insert(flow.start);
        // Who calls in from outside is no device of ours.
        if ended.internal && !self.internal.iter().any(|net| net.contains(id.src)) {
            return;
        }
        let service = (id.dst, id.dport);
        let common = self.clients.is_common(service, ended.device, now);
        let fresh = || Pair::new(now, flow.start);
        let pair = self.pairs.get_or_insert_mut((ended.device, id.dst, id.proto, id.dport), fresh);
        if pair.born < ended.clean_since {
            *pair = fresh();
        }
        pair.add(flow.start, flow.to_server.bytes);
        let learned = pair.first.since(since) > LEARNING;
        let Some(least) = least(ended.internal, id.dport, learned) else { return };
        let due = pair.begun.len() >= least && pair.unjudged >= pair.begun.len() / JUDGED_EACH;
        if common || !due || now.since(pair.first) > NEW {
            return;
        }
        pair.unjudged = 0;
        let Some(score) = pair.score().filter(Score::calls) else { return };
        let severity = if learned && !ended.internal && score.lasted >= LASTING { 2 } else { 3 };
        if pair.told.is_some_and(|(gravest, at)| gravest <= severity && now.since(at) < REARM) {
            return;
        }
        pair.told = Some((severity, now));
        found.push(pair.finding(ended, severity, score));
    }
}

impl Pair {
    fn new(now: Time, first: Time) -> Self {
        Self { born: now, first, begun: VecDeque::new(), unjudged: 0, told: None }
    }

    /// Adds a beginning in its place: conversations are not told in the order in which they began.
    fn add(&mut self, start: Time, sent: u64) {
        let at = self.begun.iter().rposition(|(old, _)| *old <= start).map_or(0, |at| at + 1);
        let near = |other: Option<&(Time, u64)>| {
            other.is_some_and(|(time, _)| time.since(start).max(start.since(*time)) < ONE)
        };
        if near(at.checked_sub(1).and_then(|before| self.begun.get(before))) || near(self.begun.get(at)) {
            return;
        }
        self.begun.insert(at, (start, sent));
        self.unjudged += 1;
        if self.begun.len() > MOST {
            self.begun.pop_front();
        }
    }

    /// The time from the first beginning remembered to the last, ns.
    fn span(&self) -> u64 {
        let (first, last) = (self.begun.front(), self.begun.back());
        first.zip(last).map_or(0, |(first, last)| last.0.since(first.0))
    }

    fn score(&self) -> Option<Score> {
        if self.span() < LEAST_SPAN {
            return None;
        }
        let next = self.begun.iter().skip(1);
        let distances = self.begun.iter().zip(next).map(|(a, b)| b.0.since(a.0) as f64 / SECOND as f64);
        let time = Spread::of(distances.collect())?;
        let size = Spread::of(self.begun.iter().map(|(_, sent)| *sent as f64).collect())?;
        let after = self.after((time.median * SECOND as f64) as u64);
        let lasted = after.last().copied().unwrap_or_default();
        Some(Score {
            time: time.score(time.median * GRAIN),
            size: size.score(GRAIN_BYTES),
            cover: cover(&after, lasted),
            period: time.median,
            lasted,
        })
    }

    /// How long after the first each beginning came, ns, if a pause took as long as two are usually apart.
    fn after(&self, usual_ns: u64) -> Vec<u64> {
        let pause = PAUSE.max(usual_ns.saturating_mul(PAUSE_DISTANCES));
        let mut after = 0;
        let next = self.begun.iter().skip(1);
        let later = self.begun.iter().zip(next).map(|(one, next)| {
            let distance = next.0.since(one.0);
            after += if distance < pause { distance } else { usual_ns };
            after
        });
        std::iter::once(0).chain(later).collect()
    }

    fn finding(&self, ended: &Ended<'_>, severity: u8, score: Score) -> Finding {
        let hundredth = |score: f64| Value::Number((score * 100.0).round() / 100.0);
        let first = self.begun.front().map_or(ended.flow.start, |(start, _)| *start);
        Finding {
            detector: "beacon",
            signature: if ended.internal {
                "beacon: calls one host inside evenly that hardly anybody else calls"
            } else {
                "beacon: calls one host outside evenly that hardly anybody else calls"
            },
            severity,
            family: Family::Beacon,
            weight: by_severity(severity),
            device: ended.device,
            flow: ended.flow.id,
            evidence: vec![
                ("score", hundredth(score.mean())),
                ("score_time", hundredth(score.time)),
                ("score_size", hundredth(score.size)),
                ("score_cover", hundredth(score.cover)),
                ("period_seconds", hundredth(score.period)),
                ("conversations", Value::Count(self.begun.len() as u64)),
                ("seconds", seconds(self.span())),
                ("dest_ip", Value::Text(ended.flow.id.dst.to_string())),
                ("dest_port", Value::Count(u64::from(ended.flow.id.dport))),
            ],
            first_evidence: first,
        }
    }
}

/// How evenly beginnings cover the time to the last of them: 1 less the coefficient of variation of their number by bin.
fn cover(after: &[u64], last: u64) -> f64 {
    let count = BINS.min(after.len() / 4).max(1);
    let width = last / count as u64 + 1;
    let mut bins = vec![0.0; count];
    for start in after {
        if let Some(bin) = bins.get_mut((start / width) as usize) {
            *bin += 1.0;
        }
    }
    let mean = after.len() as f64 / count as f64;
    let variance = bins.iter().map(|bin| (bin - mean) * (bin - mean)).sum::<f64>() / count as f64;
    (1.0 - variance.sqrt() / mean).max(0.0)
}
