//! What the product is compared with: published rules and plain statistics, on the same records.
//!
//! Each gives a source a score whenever something happens to it; where its threshold lies is decided afterwards. None is cut
//! off by them, so they are run beside a product in observe mode.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use sensor_core::contact::{Contact, Outcome};
use sensor_core::flow::{RST, TCP};
use sensor_core::observation::{FlowSeen, Kind, Observation};
use sensor_core::time::{HOUR, MINUTE, SECOND, Time};

use super::minutes::{self, Minutes, Scored};
use super::product::Product;
use crate::sim::calendar::day;
use crate::sim::site::Site;
use crate::sim::world::{Cause, Sink, Told};

/// A contact nobody answered for so long failed.
const PATIENCE: u64 = SECOND;
/// Beginnings of a pair that RITA's score is made of, at most and at least.
const BEACON: (usize, usize) = (64, 16);

/// A rival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rival {
    /// Zeek's scan.zeek: failed hosts on one port in 5 minutes.
    Zeek,
    /// bro-simple-scan: failed hosts and ports in 15 minutes.
    SimpleScan,
    /// ntopng: hosts contacted in a minute.
    Ntopng,
    /// Slips: failed hosts on one port in an hour.
    Slips,
    /// The threshold random walk alone, over all first contacts.
    Walk,
    /// RITA's timing score of a pair.
    Rita,
    /// Hosts in a minute, in standard deviations over the host's own mean.
    Sigma,
    /// An isolation forest on the rows of a host's minutes.
    Forest,
    /// A principal component analysis on the same.
    Pca,
    /// The product's own network on the same, which in the product only advises.
    Network,
}

impl Rival {
    /// All of them.
    pub const ALL: [Rival; 10] = [
        Rival::Zeek,
        Rival::SimpleScan,
        Rival::Ntopng,
        Rival::Slips,
        Rival::Walk,
        Rival::Rita,
        Rival::Sigma,
        Rival::Forest,
        Rival::Pca,
        Rival::Network,
    ];

    /// Its name, and the threshold it is published with.
    pub fn published(self) -> (&'static str, f64) {
        match self {
            Rival::Zeek => ("Zeek-like, 25 failed hosts in 5 min", 25.0),
            Rival::SimpleScan => ("simple-scan, 250 failed in 15 min", 250.0),
            Rival::Ntopng => ("ntopng-like, 32 hosts a minute", 32.0),
            Rival::Slips => ("Slips-like, 10 failed hosts in an hour", 10.0),
            Rival::Walk => ("random walk alone, 1e-6", 13.8),
            Rival::Rita => ("RITA timing score alone, 0.9", 0.9),
            Rival::Sigma => ("host's mean + 3 sigma", 3.0),
            // A score much over a half is odd (Liu, Ting and Zhou, ICDM 2008).
            Rival::Forest => ("isolation forest on minutes, 0.6", 0.6),
            Rival::Pca => ("12 principal components on minutes, worst 0.1 % of the learned", 0.0),
            Rival::Network => ("own network on minutes, own threshold", 0.0),
        }
    }
}

/// Distinct things of a source within a window.
#[derive(Default)]
struct Window {
    times: VecDeque<(Time, (IpAddr, u16))>,
    counts: HashMap<(IpAddr, u16), u32>,
}

impl Window {
    fn add(&mut self, now: Time, length: u64, what: (IpAddr, u16)) -> f64 {
        while let Some((time, old)) =
            self.times.front().copied().filter(|(time, _)| now.since(*time) > length)
        {
            let _ = time;
            self.times.pop_front();
            if let Some(count) = self.counts.get_mut(&old) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&old);
                }
            }
        }
        self.times.push_back((now, what));
        *self.counts.entry(what).or_insert(0) += 1;
        self.counts.len() as f64
    }
}

#[derive(Default)]
struct Source {
    zeek: HashMap<u16, Window>,
    slips: HashMap<u16, Window>,
    simple: Window,
    minute: Window,
    known: HashSet<IpAddr>,
    services: HashSet<(IpAddr, u16)>,
    walk: f64,
    /// Number, sum and sum of squares of hosts in a minute.
    minutes: (f64, f64, f64),
    minute_of: u64,
    most: f64,
    pairs: HashMap<(IpAddr, u16), VecDeque<Time>>,
}

/// A contact that waits for its answer.
struct Waiting {
    time: Time,
    talk: u64,
    src: IpAddr,
    dst: IpAddr,
    port: u16,
    new: bool,
    cause: Cause,
    contact: Contact,
}

/// What a rival's score was, and how many destinations an attack had reached by then and how many seconds after its begin.
pub type Stair = (f64, usize, f64);

/// The product in observe mode, and all rivals beside it.
pub struct Rivals {
    /// The product.
    pub product: Product,
    sources: HashMap<IpAddr, Source>,
    waiting: VecDeque<Waiting>,
    answered: HashMap<u64, bool>,
    guilty: HashMap<IpAddr, Time>,
    inside: BTreeSet<IpAddr>,
    /// The greatest score of each rival, source and day without an attack.
    pub benign: BTreeMap<(Rival, u64, IpAddr), f64>,
    /// The greatest scores of each rival in each attack, rising.
    pub stairs: BTreeMap<(Rival, u16), Vec<Stair>>,
    runs: BTreeMap<u16, (Time, BTreeSet<IpAddr>)>,
    /// What learns.
    pub minutes: Minutes,
}

impl Rivals {
    /// Beside this product; those that learn do so until `learned`, and thresholds are set until `calibrated`.
    pub fn new(mut product: Product, learned: Time, calibrated: Time) -> Self {
        product.ended = Some(Vec::new());
        Self {
            product,
            sources: HashMap::new(),
            waiting: VecDeque::new(),
            answered: HashMap::new(),
            guilty: HashMap::new(),
            inside: BTreeSet::new(),
            benign: BTreeMap::new(),
            stairs: BTreeMap::new(),
            runs: BTreeMap::new(),
            minutes: Minutes::new(learned, calibrated),
        }
    }

    fn score(&mut self, rival: Rival, src: IpAddr, cause: Cause, now: Time, score: f64) {
        match cause {
            Cause::Attack(run) => {
                let (begun, targets) = self.runs.entry(run).or_insert((now, BTreeSet::new()));
                let stair = (score, targets.len(), now.since(*begun) as f64 / 1e9);
                let stairs = self.stairs.entry((rival, run)).or_default();
                if stairs.last().is_none_or(|(last, ..)| score > *last) {
                    stairs.push(stair);
                }
            }
            // What an infected host does besides is neither.
            _ if self.guilty.get(&src).is_some_and(|last| now.since(*last) < 24 * HOUR) => {}
            _ => {
                let most = self.benign.entry((rival, day(now), src)).or_insert(f64::MIN);
                *most = most.max(score);
            }
        }
    }

    fn began(&mut self, seen: &FlowSeen, told: &Told) {
        let (src, dst, port, now) = (seen.id.src, seen.id.dst, seen.id.dport, seen.time);
        if !self.inside.contains(&src) || seen.dmac.is_nobody() {
            return;
        }
        if let Cause::Attack(run) = told.cause {
            self.guilty.insert(src, now);
            self.runs.entry(run).or_insert((now, BTreeSet::new())).1.insert(dst);
        }
        let source = self.sources.entry(src).or_default();
        let new = source.known.insert(dst);
        let first = [new, source.services.insert((dst, port))];
        let contact = minutes::contact(seen.smac, seen.id, now, first, self.inside.contains(&dst));
        self.minutes.contact(&contact, told.cause);
        let hosts = source.minute.add(now, MINUTE, (dst, 0));
        let sigma = source.sigma(now, hosts);
        let rita = source.rita(now, (dst, port));
        self.score(Rival::Ntopng, src, told.cause, now, hosts);
        self.score(Rival::Sigma, src, told.cause, now, sigma);
        if let Some(rita) = rita {
            self.score(Rival::Rita, src, told.cause, now, rita);
        }
        self.waiting.push_back(Waiting {
            time: now,
            talk: told.talk,
            src,
            dst,
            port,
            new,
            cause: told.cause,
            contact,
        });
    }

    fn lapse(&mut self, now: Time) {
        while self.waiting.front().is_some_and(|waiting| now.since(waiting.time) > PATIENCE) {
            let Some(waiting) = self.waiting.pop_front() else { return };
            let answer = self.answered.remove(&waiting.talk);
            let outcome = match answer {
                Some(true) => Outcome::Answered,
                Some(false) => Outcome::Refused,
                None => Outcome::Silent,
            };
            self.minutes.outcome(&waiting.contact, outcome, now);
            let fine = answer == Some(true);
            self.outcome(&waiting, fine, now);
        }
    }

    fn outcome(&mut self, waiting: &Waiting, fine: bool, now: Time) {
        let source = self.sources.entry(waiting.src).or_default();
        if waiting.new {
            let step = if fine { 0.25_f64.ln() } else { 4.0_f64.ln() };
            source.walk = (source.walk + step).max(0.0);
        }
        let mut scores = vec![(Rival::Walk, source.walk)];
        if !fine {
            let (what, port) = ((waiting.dst, 0), waiting.port);
            scores.push((Rival::Zeek, source.zeek.entry(port).or_default().add(now, 5 * MINUTE, what)));
            scores.push((Rival::Slips, source.slips.entry(port).or_default().add(now, HOUR, what)));
            scores.push((Rival::SimpleScan, source.simple.add(now, 15 * MINUTE, (waiting.dst, port))));
        }
        for (rival, score) in scores {
            self.score(rival, waiting.src, waiting.cause, now, score);
        }
    }
}

impl Source {
    /// How far the hosts of this minute lie over the mean of the minutes before, in standard deviations of at least 1.
    fn sigma(&mut self, now: Time, hosts: f64) -> f64 {
        let minute = now.ns() / MINUTE;
        if minute != self.minute_of {
            let (count, sum, squares) = self.minutes;
            self.minutes = (count + 1.0, sum + self.most, squares + self.most * self.most);
            (self.minute_of, self.most) = (minute, 0.0);
        }
        self.most = self.most.max(hosts);
        let (count, sum, squares) = self.minutes;
        let mean = sum / count.max(1.0);
        let deviation = (squares / count.max(1.0) - mean * mean).max(1.0).sqrt();
        (hosts - mean) / deviation
    }

    /// RITA's timing score: how symmetric and how narrow the distances are.
    fn rita(&mut self, now: Time, pair: (IpAddr, u16)) -> Option<f64> {
        let times = self.pairs.entry(pair).or_default();
        times.push_back(now);
        if times.len() > BEACON.0 {
            times.pop_front();
        }
        if times.len() < BEACON.1 || !times.len().is_multiple_of(8) {
            return None;
        }
        let mut gaps: Vec<f64> =
            times.iter().zip(times.iter().skip(1)).map(|(a, b)| b.since(*a) as f64).collect();
        gaps.sort_by(f64::total_cmp);
        let at = |part: f64| gaps.get((gaps.len() as f64 * part) as usize).copied().unwrap_or_default();
        let (low, middle, high) = (at(0.25), at(0.5), at(0.75));
        let skew = if high > low { ((high + low - 2.0 * middle) / (high - low)).abs() } else { 0.0 };
        let mut apart: Vec<f64> = gaps.iter().map(|gap| (gap - middle).abs()).collect();
        apart.sort_by(f64::total_cmp);
        let mad = apart.get(apart.len() / 2).copied().unwrap_or_default();
        Some((1.0 - skew + ((middle - mad) / middle.max(1.0)).max(0.0)) / 2.0)
    }
}

impl Sink for Rivals {
    fn told(&mut self, told: &Told) -> bool {
        self.product.told(told);
        let now = match &told.observation {
            Observation::Flow(seen) => seen.time,
            Observation::Progress(progress) => progress.time,
            Observation::Drop(seen) => seen.time,
        };
        for Scored { rival, src, cause, score } in self.minutes.due(now) {
            self.score(rival, src, cause, now, score);
        }
        for ended in self.product.ended.iter_mut().flat_map(|ended| ended.drain(..)) {
            self.minutes.ended(&ended, now);
        }
        let Observation::Flow(seen) = &told.observation else { return true };
        self.lapse(seen.time);
        if seen.id.kind != Kind::Ip {
            return true;
        }
        if told.back {
            let refused = seen.id.proto == TCP && seen.tcp_flags & RST != 0 || seen.id.sport == (3 << 8 | 3);
            self.answered.insert(told.talk, !refused);
        } else {
            self.began(seen, told);
        }
        true
    }

    fn moved(&mut self, site: &Site) {
        self.product.moved(site);
        self.inside.extend(site.hosts.iter().map(|host| host.ip));
    }
}
