//! The data path in software, for replaying captures: the program's own parser, accounting and rule judgement over
//! tables in memory, so that a capture gives the same records as the kernel would.

mod key;
mod plan;
mod tables;

use sensor_ebpf::account::{self, Fragment, Frame, Key, Moment};
use sensor_ebpf::control::{Config, REFLEX_OFF, Rate};
use sensor_ebpf::counter::{PortCell, PortCounters, Reason};
use sensor_ebpf::event::{FlowRecord, INNER_BYTES, RECORD_DROP, RECORD_FLOW, RECORD_TUNNEL, TunnelRecord};
use sensor_ebpf::flow::{FlowKey4, FlowKey6, FlowValue, FragmentKey, VERDICT_DROP, VERDICT_PASS};
use sensor_ebpf::heard::{self, HEARD_BYTES, HEARD_KINDS, HeardCell, HeardHead};
use sensor_ebpf::judge::{
    self, ARMED_ENFORCED, ARMED_RULES, ASK_CONTROL, ASK_LINK, End, Judgement, Question,
};
use sensor_ebpf::parse::{self, ETHER_ARP, ETHER_IPV4, Link, Slice, Upper};
use sensor_ebpf::reflex::{self, Spent};
use sensor_ebpf::rule::{RULE_REFLEX, RuleValue};
use sensor_ebpf::table::{SETS4, SETS6, WAYS};

pub use key::{RuleKey, address, host, ip, net};
pub use plan::{Plan, PortIndices, protection, value};
pub use tables::{Budgets, Rules, segment_key};

use crate::flow::retire;
use crate::inventory::capacity;
use crate::lru::Lru;
use crate::observation::{EndReason, FlowId, FlowProgress};
use crate::policy::{Decision, Target};
use crate::settings::Settings;
use crate::time::{MILLISECOND, Time};

/// Length of a jiffy here, ns: one of CONFIG_HZ=1000.
const JIFFY: u64 = MILLISECOND;

/// The CPU all frames come on here.
const CPU: u16 = 0;

/// The software data path: one port.
pub struct Datapath {
    flow4: Lru<FlowKey4, FlowValue>,
    flow6: Lru<FlowKey6, FlowValue>,
    fragments: Lru<FragmentKey, u32>,
    /// Rules and what belongs to them; [`Datapath::commit`] makes a change hold.
    pub rules: Rules,
    /// What rules did, and what was spent.
    pub budgets: Budgets,
    /// Throttled devices: new destinations, and KiB.
    pub throttle: [Rate; 2],
    plan: Plan,
    config: Config,
    port: u8,
    cell: PortCell,
    records: Vec<TunnelRecord>,
    /// What is told of the frame beside its flow; and the budgets of that.
    heard: Option<HeardHead>,
    hearing: [HeardCell; HEARD_KINDS as usize],
    /// Frames by reason, indexed as [`Reason::ALL`].
    pub reasons: [u64; Reason::ALL.len()],
}

/// One frame on its way through.
struct Passage<'a> {
    bytes: &'a [u8],
    len: u32,
    time: Time,
    now: Moment,
}

impl Datapath {
    /// An empty data path whose frames come in by the port of that index.
    pub fn new(port: u8) -> Self {
        Self {
            flow4: Lru::new(capacity(SETS4 as usize * WAYS)),
            flow6: Lru::new(capacity(SETS6 as usize * WAYS)),
            fragments: Lru::new(capacity(sensor_ebpf::control::FRAGMENT_CAPACITY as usize)),
            rules: Rules::default(),
            budgets: Budgets::default(),
            throttle: [Rate::default(); 2],
            plan: Plan::default(),
            config: Config::default(),
            port,
            cell: PortCell::default(),
            records: Vec::new(),
            heard: None,
            hearing: [HeardCell::default(); HEARD_KINDS as usize],
            reasons: [0; Reason::ALL.len()],
        }
    }

    /// Counters of the port.
    pub fn counters(&self) -> PortCounters {
        self.cell.counters()
    }

    /// Takes over what the settings say of segments, internal networks, allow lists and budgets.
    pub fn set_up(&mut self, settings: &Settings) {
        let plan = Plan::new(settings);
        self.throttle = plan.throttle;
        self.rules.segments = plan.segment_of(&PortIndices::new()).into_iter().collect();
        self.rules.reflex =
            (0..).zip(plan.reflex.iter().copied()).filter(|(_, reflex)| reflex.mode != REFLEX_OFF).collect();
        self.rules.internal = plan.internal.iter().copied().collect();
        self.rules.allow.extend(plan.allow.iter().copied());
        self.plan = plan;
        self.commit();
    }

    /// Carries out decisions. Ports have no names here: rules about one do nothing.
    pub fn enforce(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            match decision {
                Decision::Restrict(target, by) => self.rule(*target, Some(value(by))),
                Decision::Protect(target) => self.rule(*target, Some(protection())),
                Decision::Clear(target) => self.rule(*target, None),
                Decision::Allow(list, allowed) => {
                    self.rules.allow.extend(allowed.iter().map(|allow| allow.key(*list)));
                }
                Decision::Forbid(list) => self.rules.allow.retain(|key| key.list != *list),
                Decision::Begin(id) => self.budgets.begin(*id),
            }
        }
        if !decisions.is_empty() {
            self.commit();
        }
    }

    fn rule(&mut self, target: Target, rule: Option<RuleValue>) {
        if let Some(key) = self.plan.key(target, &PortIndices::new()) {
            self.rules.set(key, rule);
        }
    }

    /// Makes the rules as they are now hold for all flows.
    pub fn commit(&mut self) {
        self.config = tables::config(&self.rules, self.config.generation.wrapping_add(1), self.throttle);
    }

    /// Takes in a frame of `len` bytes on the wire, `bytes` of which were captured; gives the records that are due: of a
    /// flow, of a drop, or none. What lies behind the flow in a record counts only if it is of a tunnel.
    pub fn frame(&mut self, bytes: &[u8], len: u32, time: Time) -> &[TunnelRecord] {
        self.records.clear();
        self.heard = None;
        let now = Moment { jiffies: time.ns() / JIFFY, generation: self.config.generation };
        let verdict = self.examine(&Passage { bytes, len, time, now });
        self.cell.count(verdict, u64::from(len));
        &self.records
    }

    /// Whether the last frame was one that is told whole, and what is told before its bytes.
    pub fn heard(&self) -> Option<&HeardHead> {
        self.heard.as_ref()
    }

    /// What became of such frames, by kind.
    pub fn hearing(&self, kind: u8) -> HeardCell {
        self.hearing.get(usize::from(kind)).copied().unwrap_or_default()
    }

    fn hear(&mut self, kind: u8, verdict: u8, passage: &Passage<'_>) -> u8 {
        if kind == 0 || verdict == VERDICT_DROP {
            return verdict;
        }
        if let Some(cell) = self.hearing.get_mut(usize::from(kind))
            && cell.has_room(passage.time.ns())
        {
            cell.count(true);
            self.heard = Some(HeardHead {
                kind,
                abi: sensor_ebpf::ABI as u8,
                port: self.port,
                len: passage.len,
                time_ns: passage.time.ns(),
                have: passage.bytes.len().min(HEARD_BYTES) as u32,
                ..HeardHead::default()
            });
        }
        verdict
    }

    fn examine(&mut self, passage: &Passage<'_>) -> u8 {
        let (link, at, reason) = parse::link(Slice(passage.bytes));
        if reason != Reason::None {
            return self.without_flow(passage, &link, reason);
        }
        let port = self.port;
        if link.ether_type == ETHER_IPV4 || link.ether_type == ETHER_ARP {
            let net = if link.ether_type == ETHER_IPV4 { parse::ipv4(at, 0) } else { parse::arp(at) };
            let mut net = match net {
                Ok(net) => net,
                Err(reason) => return self.without_flow(passage, &link, reason),
            };
            self.join(account::key4(&net, &link, port).both(), &mut net.upper, &link);
            let frame =
                Frame { link: &link, upper: &net.upper, arp_sha: net.arp_sha, len: passage.len, port };
            return self.flow(|path| &mut path.flow4, account::key4(&net, &link, port), &frame, passage);
        }
        let mut net = match parse::ipv6(at, 0) {
            Ok(net) => net,
            Err(reason) => return self.without_flow(passage, &link, reason),
        };
        self.join(account::key6(&net, &link, port).both(), &mut net.upper, &link);
        let frame = Frame { link: &link, upper: &net.upper, arp_sha: 0, len: passage.len, port };
        self.flow(|path| &mut path.flow6, account::key6(&net, &link, port), &frame, passage)
    }

    /// Makes a later fragment one of its first one's flow; remembers the ports of a first one.
    fn join(&mut self, both: u64, upper: &mut Upper, link: &Link) {
        let key = account::fragment_key(both, upper, link, self.port);
        match account::fragment(upper) {
            Fragment::No => {}
            Fragment::First(ports) => drop(self.fragments.put(key, ports)),
            Fragment::Later => {
                if let Some(ports) = self.fragments.get(&key) {
                    account::join(upper, *ports);
                }
            }
        }
    }

    fn without_flow(&mut self, passage: &Passage<'_>, link: &Link, reason: Reason) -> u8 {
        self.cell.passed.ignored_packets += 1;
        self.cell.passed.ignored_bytes += u64::from(passage.len);
        self.reasons[reason as usize] += 1;
        let verdict = self.judge_without_flow(passage, link, reason);
        self.hear(heard::kind_of_link(link), verdict, passage)
    }

    fn judge_without_flow(&mut self, passage: &Passage<'_>, link: &Link, reason: Reason) -> u8 {
        let armed = self.config.armed;
        if armed & ARMED_RULES == 0 || reason == Reason::ShortEthernet {
            return VERDICT_PASS;
        }
        let judgement = self.judge(&Question {
            now_ns: passage.time.ns(),
            macs: [link.src, link.dst],
            armed,
            vlan: link.vlan,
            port: self.port,
            kind: if reason == Reason::LinkControl { ASK_CONTROL } else { ASK_LINK },
            ..Question::default()
        });
        let hidden = reason == Reason::DeepLink && armed & ARMED_ENFORCED != 0;
        if hidden && judgement.verdict != VERDICT_DROP && !judgement.spared {
            return VERDICT_DROP;
        }
        self.limited(judgement, passage)
    }

    fn judge(&self, ask: &Question) -> Judgement {
        judge::judge(ask, &self.rules, &mut [End::default(); 2])
    }

    /// The verdict on one frame of a flow of this judgement.
    fn limited(&mut self, judgement: Judgement, passage: &Passage<'_>) -> u8 {
        let Judgement { verdict, rule_id, .. } = judgement;
        if verdict == VERDICT_PASS {
            return verdict;
        }
        let mut charging = self.budgets.with(&self.rules);
        let verdict =
            reflex::frame(verdict, rule_id, passage.len, passage.time.ns(), &self.config, &mut charging);
        if verdict != VERDICT_PASS {
            self.budgets.count(rule_id, verdict, passage.len);
        }
        verdict
    }

    /// Counts a frame in its flow and returns its verdict, in the steps of the program.
    fn flow<K: Key + std::hash::Hash + Eq>(
        &mut self,
        table: impl Fn(&mut Self) -> &mut Lru<K, FlowValue>,
        key: K,
        frame: &Frame<'_>,
        passage: &Passage<'_>,
    ) -> u8 {
        if let Some(count) = self.reasons.get_mut(usize::from(frame.upper.fault)) {
            *count += u64::from(frame.upper.fault != 0);
        }
        let now = passage.now;
        let found = table(self).get(&key).copied();
        let cached = found.and_then(|value| account::cached(&value, value.judged, frame, now));
        let mut spent = Spent::default();
        let judgement = match cached {
            Some(judgement) => judgement,
            None if self.config.armed == 0 => Judgement::default(),
            None => {
                let mut ask = Question::default();
                account::ask(&mut ask, &key, frame, self.config.armed, passage.time.ns());
                let judgement = self.judge(&ask);
                if found.is_none() {
                    let mut charging = self.budgets.with(&self.rules);
                    spent = reflex::first(&ask, judgement, &self.config, &mut charging);
                    self.cell.passed.reflex_packets += u64::from(spent.over);
                }
                judgement
            }
        };
        if spent.verdict == VERDICT_DROP {
            let refusal = Judgement { verdict: spent.verdict, rule_id: spent.rule_id, ..judgement };
            return self.refuse(&key, frame, refusal, passage);
        }
        let verdict = if spent.verdict == VERDICT_PASS {
            self.limited(judgement, passage)
        } else {
            self.budgets.count(spent.rule_id, spent.verdict, passage.len);
            spent.verdict
        };
        let shown = Judgement { verdict, ..judgement };
        let mut value = found.unwrap_or_else(|| account::enter(frame, CPU, now, passage.time.ns()));
        if cached.is_none() {
            self.renew(&mut value, found.is_none(), &key, judgement, frame, passage);
        }
        account::note(&mut value, frame, now);
        account::count(&mut value, u64::from(frame.len), verdict);
        self.sample(&key, shown, frame, passage);
        self.cell.passed.flows_new += u64::from(found.is_none());
        let entered = if found.is_none() { verdict } else { judgement.verdict };
        if cached.is_none() && entered != VERDICT_DROP {
            self.rules.place_of(frame.link.src, self.port, judgement.held);
        }
        table(self).put(key, value);
        let kind = if found.is_none() { heard::kind_of_first(frame.upper) } else { heard::kind(frame.upper) };
        self.hear(kind, verdict, passage)
    }

    /// Puts a new judgement into a flow, and tells of the flow if that is due.
    fn renew<K: Key>(
        &mut self,
        value: &mut FlowValue,
        new: bool,
        key: &K,
        judgement: Judgement,
        frame: &Frame<'_>,
        passage: &Passage<'_>,
    ) {
        if new || account::alike(value, frame) || !judgement.by_mac {
            account::settle(value, judgement, passage.now, passage.time.ns(), JIFFY);
        }
        if account::due(value, frame) {
            let kind = if frame.upper.tunnel == 0 { RECORD_FLOW } else { RECORD_TUNNEL };
            self.tell(kind, key, judgement, frame, passage);
            self.cell.passed.records_sent += 1;
            account::told(value, true);
        }
    }

    fn refuse<K: Key>(
        &mut self,
        key: &K,
        frame: &Frame<'_>,
        judgement: Judgement,
        passage: &Passage<'_>,
    ) -> u8 {
        self.cell.passed.unentered_packets += 1;
        self.cell.passed.unentered_bytes += u64::from(frame.len);
        if judgement.rule_id != RULE_REFLEX {
            self.budgets.count(judgement.rule_id, judgement.verdict, frame.len);
        }
        self.sample(key, judgement, frame, passage);
        judgement.verdict
    }

    fn sample<K: Key>(&mut self, key: &K, judgement: Judgement, frame: &Frame<'_>, passage: &Passage<'_>) {
        if self.cell.is_sample(judgement.verdict) {
            self.tell(RECORD_DROP, key, judgement, frame, passage);
        }
    }

    fn tell<K: Key>(
        &mut self,
        kind: u8,
        key: &K,
        judgement: Judgement,
        frame: &Frame<'_>,
        passage: &Passage<'_>,
    ) {
        let mut record = TunnelRecord { flow: FlowRecord::default(), inner: [0; INNER_BYTES / 8] };
        account::record(&mut record.flow, kind, key, judgement, frame, passage.time.ns());
        if kind == RECORD_TUNNEL {
            let left = (frame.upper.tunnel as usize).min(passage.bytes.len());
            let inner = passage.bytes.get(passage.bytes.len() - left..).unwrap_or_default();
            let inner = inner.get(..left.min(INNER_BYTES)).unwrap_or_default();
            record.flow.inner_len = inner.len() as u32;
            for (word, bytes) in record.inner.iter_mut().zip(inner.chunks(8)) {
                let mut whole = [0; 8];
                whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                *word = u64::from_ne_bytes(whole);
            }
        }
        self.records.push(record);
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

fn sweep<K: std::hash::Hash + Eq + Copy>(
    table: &mut Lru<K, FlowValue>,
    now: Time,
    all: bool,
    told: &mut Vec<FlowProgress>,
    id: impl Fn(&K) -> FlowId,
) {
    let mut over = Vec::new();
    for (key, value) in table.oldest_first() {
        let id = id(key);
        let idle_ns = account::quiet_j(value, now.ns() / JIFFY) * JIFFY;
        let end = if all { Some(EndReason::Shutdown) } else { retire(&id, value.tcp_flags, idle_ns) };
        let last = now.minus(idle_ns);
        told.push(FlowProgress::new(id, value, now, last, end));
        if end.is_some() {
            over.push(*key);
        }
    }
    for key in over {
        table.pop(&key);
    }
}
