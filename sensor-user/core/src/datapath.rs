//! The data path in software, for replaying captures: the program's own parser, accounting and rule judgement over
//! tables in memory, so that a capture gives the same records as the kernel would.

use std::collections::HashMap;

use lru::LruCache;
use sensor_ebpf::account::{self, Frame, Key, Moment};
use sensor_ebpf::counter::{PortCounters, Reason};
use sensor_ebpf::event::FlowRecord;
use sensor_ebpf::flow::{
    FLOW4_CAPACITY, FLOW6_CAPACITY, FlowKey4, FlowKey6, FlowValue, VERDICT_DROP, VERDICT_PASS,
};
use sensor_ebpf::parse::{self, ETHER_ARP, ETHER_IPV4, Link, Slice, Upper};
use sensor_ebpf::rule::{self, CLASS_ISOLATE, CLASS_PROTECT, FLAG_OBSERVE, Judgement, RuleValue};

use crate::addr::Mac;
use crate::flow::retire;
use crate::inventory::capacity;
use crate::observation::{EndReason, FlowId, FlowProgress};
use crate::policy::{Decision, Target};
use crate::time::{MILLISECOND, Time};

/// Length of a jiffy here, ns: one of CONFIG_HZ=1000.
const JIFFY: u64 = MILLISECOND;

/// The CPU all frames come on here.
const CPU: u16 = 0;

/// A target as a key of the rules: a MAC or an address of 16 bytes.
type RuleKey = Target;

/// The key and the value of a rule, as both data paths hold it; no value means "no rule".
pub fn rule(decision: &Decision) -> (Target, Option<RuleValue>) {
    match *decision {
        Decision::Isolate { target, id, until, would } => {
            let flags = if would { FLAG_OBSERVE } else { 0 };
            // 0 means "never" to the kernel.
            let until_ns = until.map_or(0, |until| until.0.max(1));
            (target, Some(RuleValue { until_ns, rule_id: id, class: CLASS_ISOLATE, flags, pad: [0; 2] }))
        }
        Decision::Protect(target) => {
            (target, Some(RuleValue { class: CLASS_PROTECT, ..RuleValue::default() }))
        }
        Decision::Clear(target) => (target, None),
    }
}

/// The software data path: one port.
pub struct Datapath {
    flow4: LruCache<FlowKey4, FlowValue>,
    flow6: LruCache<FlowKey6, FlowValue>,
    rules: HashMap<RuleKey, RuleValue>,
    generation: u32,
    port: u8,
    /// Counters of the port.
    pub counters: PortCounters,
    /// Frames by reason, indexed as [`Reason::ALL`].
    pub reasons: [u64; Reason::ALL.len()],
}

/// Counts a frame in its flow; the record comes back when one is due, with the verdict.
fn account<K: Key + std::hash::Hash + Eq>(
    table: &mut LruCache<K, FlowValue>,
    counters: &mut PortCounters,
    key: K,
    frame: &Frame<'_>,
    now: Moment,
    now_ns: u64,
    judge: impl FnOnce() -> Judgement,
) -> (u8, Option<FlowRecord>) {
    let new = !table.contains(&key);
    counters.flows_new += u64::from(new);
    let value = table.get_or_insert_mut(key, || account::enter(frame, CPU, now, now_ns));
    let due = account::due(value, frame);
    let alike = account::alike(value, frame);
    let speaks = alike || !value.judged.is_bound();
    let judgement = if new || due || !speaks || account::stale(value, now) {
        let judgement = judge();
        if new || alike || !judgement.by_mac {
            account::settle(value, judgement, now, now_ns, JIFFY);
        }
        judgement
    } else {
        Judgement { rule_id: value.rule_id, verdict: value.judged.verdict(), ..Judgement::default() }
    };
    let record = due.then(|| {
        let mut record = FlowRecord::default();
        account::record(&mut record, &key, judgement, frame, now_ns);
        record
    });
    if due {
        counters.records_sent += 1;
        account::told(value, true);
    }
    account::note(value, frame, now);
    account::count(value, u64::from(frame.len), judgement.verdict);
    (judgement.verdict, record)
}

impl Datapath {
    /// An empty data path whose frames come in by the port of that index.
    pub fn new(port: u8) -> Self {
        Self {
            flow4: LruCache::new(capacity(FLOW4_CAPACITY as usize)),
            flow6: LruCache::new(capacity(FLOW6_CAPACITY as usize)),
            rules: HashMap::new(),
            generation: 0,
            port,
            counters: PortCounters::default(),
            reasons: [0; Reason::ALL.len()],
        }
    }

    /// Carries out decisions.
    pub fn enforce(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            let (target, value) = rule(decision);
            match value {
                Some(value) => self.rules.insert(target, value),
                None => self.rules.remove(&target),
            };
        }
        if !decisions.is_empty() {
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Takes in a frame of `len` bytes on the wire, `bytes` of which were captured; the record comes back when one is
    /// due.
    pub fn frame(&mut self, bytes: &[u8], len: u32, time: Time) -> Option<FlowRecord> {
        self.counters.packets += 1;
        self.counters.bytes += u64::from(len);
        let (verdict, record) = self.examine(bytes, len, time);
        match verdict {
            VERDICT_PASS => {}
            VERDICT_DROP => {
                self.counters.drop_packets += 1;
                self.counters.drop_bytes += u64::from(len);
            }
            _ => self.counters.would_drop_packets += 1,
        }
        record
    }

    fn examine(&mut self, bytes: &[u8], len: u32, time: Time) -> (u8, Option<FlowRecord>) {
        let now = Moment { jiffies: (time.0 / JIFFY) as u32, generation: self.generation };
        let (link, at, reason) = parse::link(Slice(bytes));
        if reason != Reason::None {
            return (self.without_flow(&link, reason, time), None);
        }
        if link.ether_type == ETHER_IPV4 || link.ether_type == ETHER_ARP {
            let net = if link.ether_type == ETHER_IPV4 { parse::ipv4(at) } else { parse::arp(at) };
            let net = match net {
                Ok(net) => net,
                Err(reason) => return (self.without_flow(&link, reason, time), None),
            };
            self.fault(&net.upper);
            let (rules, counters, port) = (&self.rules, &mut self.counters, self.port);
            let frame = Frame { link: &link, upper: &net.upper, arp_sha: net.arp_sha, len, port };
            let key = account::key4(&net, &link, port);
            let id = FlowId::from(&key);
            return account(&mut self.flow4, counters, key, &frame, now, time.0, || {
                judge(rules, &link, &id, time)
            });
        }
        let net = match parse::ipv6(at) {
            Ok(net) => net,
            Err(reason) => return (self.without_flow(&link, reason, time), None),
        };
        self.fault(&net.upper);
        let (rules, counters, port) = (&self.rules, &mut self.counters, self.port);
        let frame = Frame { link: &link, upper: &net.upper, arp_sha: 0, len, port };
        let key = account::key6(&net, &link, port);
        let id = FlowId::from(&key);
        account(&mut self.flow6, counters, key, &frame, now, time.0, || judge(rules, &link, &id, time))
    }

    /// Counts what is wrong with a frame whose addresses could be read.
    fn fault(&mut self, upper: &Upper) {
        if let Some(count) = self.reasons.get_mut(usize::from(upper.fault)).filter(|_| upper.fault != 0) {
            *count += 1;
        }
    }

    fn without_flow(&mut self, link: &Link, reason: Reason, time: Time) -> u8 {
        self.counters.ignored_packets += 1;
        self.reasons[reason as usize] += 1;
        if matches!(reason, Reason::LinkControl | Reason::ShortEthernet) {
            return VERDICT_PASS;
        }
        let mac = |key| self.rules.get(&Target::Mac(Mac(parse::mac_bytes(key)))).copied().unwrap_or_default();
        let end = |key| rule::end(mac(key), RuleValue::default(), time.0);
        rule::judge(end(link.src), end(link.dst)).verdict
    }

    /// Reads all flows, takes out those that are over, and gives what each had to `told`, oldest first. With `all`
    /// every flow is over.
    pub fn sweep(&mut self, now: Time, all: bool, told: &mut Vec<FlowProgress>) {
        sweep(&mut self.flow4, now, all, told, |key| FlowId::from(key));
        sweep(&mut self.flow6, now, all, told, |key| FlowId::from(key));
    }

    /// How many flows there are.
    pub fn flows(&self) -> usize {
        self.flow4.len() + self.flow6.len()
    }

    /// All IPv4 and ARP flows.
    pub fn flows4(&self) -> impl Iterator<Item = (&FlowKey4, &FlowValue)> {
        self.flow4.iter()
    }

    /// All IPv6 flows.
    pub fn flows6(&self) -> impl Iterator<Item = (&FlowKey6, &FlowValue)> {
        self.flow6.iter()
    }
}

/// Judges a flow by the rules of its two ends.
fn judge(rules: &HashMap<RuleKey, RuleValue>, link: &Link, id: &FlowId, time: Time) -> Judgement {
    if rules.is_empty() {
        return Judgement::default();
    }
    let get = |target| rules.get(&target).copied().unwrap_or_default();
    let mac = |key| get(Target::Mac(Mac(parse::mac_bytes(key))));
    let source = rule::end(mac(link.src), get(Target::Ip(id.src)), time.0);
    let destination = rule::end(mac(link.dst), get(Target::Ip(id.dst)), time.0);
    Judgement { by_mac: true, ..rule::judge(source, destination) }
}

fn sweep<K: std::hash::Hash + Eq + Copy>(
    table: &mut LruCache<K, FlowValue>,
    now: Time,
    all: bool,
    told: &mut Vec<FlowProgress>,
    id: impl Fn(&K) -> FlowId,
) {
    let mut over = Vec::new();
    for (key, value) in table.iter().rev() {
        let id = id(key);
        let now_j = (now.0 / JIFFY) as u32;
        let idle_ns = u64::from(now_j.wrapping_sub(value.last_j)) * JIFFY;
        let end = if all { Some(EndReason::Shutdown) } else { retire(&id, value.tcp_flags, idle_ns) };
        let last = Time(now.0.saturating_sub(idle_ns));
        told.push(FlowProgress::new(id, value, now, last, end));
        if end.is_some() {
            over.push(*key);
        }
    }
    for key in over {
        table.pop(&key);
    }
}
