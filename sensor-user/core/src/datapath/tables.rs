//! The kernel's tables of rules and budgets in memory, for the software data path.

use std::collections::{BTreeMap, HashMap, HashSet};

use sensor_ebpf::control::{
    Bucket, Config, HOST_CAPACITY, PAIR_CAPACITY, PLACE_CAPACITY, REFLEX_OFF, Rate, Reflex,
};
use sensor_ebpf::flow::VERDICT_DROP;
use sensor_ebpf::judge::{
    ARMED_ENFORCED, ARMED_IP, ARMED_MAC, ARMED_NET, ARMED_REFLEX, ARMED_SCOPE, Policy, Question, segment,
};
use sensor_ebpf::parse::MacKey;
use sensor_ebpf::reflex::Ledger;
use sensor_ebpf::rule::{Address, AllowKey, RuleCounters, RuleValue, SLOTS, scope_of_segment};

use super::key::RuleKey;
use crate::inventory::capacity;
use crate::lru::Lru;

/// Rules, what quarantined devices may do, segments and internal prefixes.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    mac: HashMap<MacKey, RuleValue>,
    ip: HashMap<Address, RuleValue>,
    net: BTreeMap<(u32, Address), RuleValue>,
    scope: HashMap<u32, RuleValue>,
    /// What is allowed, by list.
    pub allow: HashSet<AllowKey>,
    /// Internal prefixes: bits of 128, and the address.
    pub internal: Vec<(u32, Address)>,
    /// The segment of a port or VLAN by its index.
    pub segments: HashMap<u32, u32>,
    /// The reflex by segment.
    pub reflex: HashMap<u32, Reflex>,
    places: HashMap<MacKey, u32>,
}

/// Whether an address lies in a prefix.
fn contains((bits, net): (u32, Address), ip: &Address) -> bool {
    let word = |[high, low]: Address| u128::from(high.to_be()) << 64 | u128::from(low.to_be());
    let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
    (word(net) ^ word(*ip)) & mask == 0
}

impl Rules {
    /// Adds a rule, or takes it out.
    pub fn set(&mut self, key: RuleKey, rule: Option<RuleValue>) {
        match (key, rule) {
            (RuleKey::Mac(key), Some(rule)) => drop(self.mac.insert(key, rule)),
            (RuleKey::Mac(key), None) => drop(self.mac.remove(&key)),
            (RuleKey::Ip(key), Some(rule)) => drop(self.ip.insert(key, rule)),
            (RuleKey::Ip(key), None) => drop(self.ip.remove(&key)),
            (RuleKey::Net { bits, address }, Some(rule)) => drop(self.net.insert((bits, address), rule)),
            (RuleKey::Net { bits, address }, None) => drop(self.net.remove(&(bits, address))),
            (RuleKey::Scope(key), Some(rule)) => drop(self.scope.insert(key, rule)),
            (RuleKey::Scope(key), None) => drop(self.scope.remove(&key)),
        }
    }

    fn rules(&self) -> impl Iterator<Item = &RuleValue> {
        let exact = self.mac.values().chain(self.ip.values());
        exact.chain(self.net.values()).chain(self.scope.values())
    }

    /// The bits of the tables that are not empty, and of what is in them.
    pub fn armed(&self) -> u32 {
        let bit = |armed: bool, bit| if armed { bit } else { 0 };
        bit(!self.mac.is_empty(), ARMED_MAC)
            | bit(!self.ip.is_empty(), ARMED_IP)
            | bit(!self.net.is_empty(), ARMED_NET)
            | bit(!self.scope.is_empty(), ARMED_SCOPE)
            | bit(self.rules().any(RuleValue::is_enforced), ARMED_ENFORCED)
            | bit(self.reflex.values().any(|reflex| reflex.mode != REFLEX_OFF), ARMED_REFLEX)
    }

    /// Notes where the source of a frame lives; one that is `held` moves nobody.
    pub(super) fn place_of(&mut self, mac: MacKey, port: u8, held: bool) {
        let moves =
            if self.places.contains_key(&mac) { !held } else { self.places.len() < PLACE_CAPACITY as usize };
        if moves {
            self.places.insert(mac, u32::from(port));
        }
    }
}

impl Policy for Rules {
    fn mac(&self, mac: &MacKey) -> RuleValue {
        self.mac.get(mac).copied().unwrap_or_default()
    }

    fn ip(&self, ip: &Address) -> RuleValue {
        self.ip.get(ip).copied().unwrap_or_default()
    }

    fn net(&self, ip: &Address) -> RuleValue {
        let longest = self.net.iter().rev().find(|(net, _)| contains(**net, ip));
        longest.map(|(_, rule)| *rule).unwrap_or_default()
    }

    fn scope(&self, index: u32) -> RuleValue {
        self.scope.get(&index).copied().unwrap_or_default()
    }

    fn segment(&self, index: u32) -> u32 {
        self.segments.get(&index).copied().unwrap_or(0)
    }

    fn place(&self, mac: &MacKey) -> u32 {
        self.places.get(mac).copied().unwrap_or(0)
    }

    fn is_internal(&self, ip: &Address) -> bool {
        self.internal.iter().any(|net| contains(*net, ip))
    }

    fn allows(&self, key: &AllowKey) -> bool {
        self.allow.contains(key)
    }
}

/// What rules did, and what hosts and throttled devices spent.
pub struct Budgets {
    hosts: Lru<u64, Bucket>,
    pairs: Lru<u64, ()>,
    throttled: HashMap<u32, Bucket>,
    counters: HashMap<u32, RuleCounters>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            hosts: Lru::new(capacity(HOST_CAPACITY as usize)),
            pairs: Lru::new(capacity(PAIR_CAPACITY as usize)),
            throttled: HashMap::new(),
            counters: HashMap::new(),
        }
    }
}

impl Budgets {
    /// Counts a frame that a rule drops, or would drop.
    pub(super) fn count(&mut self, rule_id: u32, verdict: u8, len: u32) {
        let counters = self.counters.entry(rule_id % SLOTS).or_default();
        counters.count(verdict == VERDICT_DROP, u64::from(len));
    }

    /// Has the counters of a rule begin at zero.
    pub(super) fn begin(&mut self, rule_id: u32) {
        self.counters.remove(&(rule_id % SLOTS));
    }

    /// What a rule did.
    pub fn rule(&self, rule_id: u32) -> RuleCounters {
        self.counters.get(&(rule_id % SLOTS)).copied().unwrap_or_default()
    }

    /// The budgets with the rules they are asked with.
    pub(super) fn with<'a>(&'a mut self, rules: &'a Rules) -> Charging<'a> {
        Charging { budgets: self, rules }
    }
}

/// Budgets, as the reflex asks them.
pub struct Charging<'a> {
    budgets: &'a mut Budgets,
    rules: &'a Rules,
}

/// Spends of a budget.
fn charge(due: &mut u64, rate: &Rate, cost_ns: u64, now_ns: u64) -> bool {
    let next = rate.spend(*due, now_ns, cost_ns);
    *due = next.unwrap_or(*due);
    next.is_some()
}

impl Ledger for Charging<'_> {
    fn knows(&mut self, pair: u64) -> bool {
        self.budgets.pairs.get(&pair).is_some()
    }

    fn remember(&mut self, pair: u64) {
        self.budgets.pairs.put(pair, ());
    }

    fn reflex(&mut self, ask: &Question) -> Reflex {
        let segment = segment(self.rules, u32::from(ask.port), ask.vlan);
        self.rules.reflex.get(&segment).copied().unwrap_or_default()
    }

    fn charge_host(&mut self, host: u64, rate: &Rate, now_ns: u64) -> bool {
        let bucket = self.budgets.hosts.get_or_insert_mut(host, Bucket::default);
        bucket.news += 1;
        charge(&mut bucket.new_due_ns, rate, rate.interval_ns, now_ns)
    }

    fn charge_new(&mut self, rule_id: u32, rate: &Rate, now_ns: u64) -> bool {
        let bucket = self.budgets.throttled.entry(rule_id % SLOTS).or_default();
        charge(&mut bucket.new_due_ns, rate, rate.interval_ns, now_ns)
    }

    fn charge_bytes(&mut self, rule_id: u32, rate: &Rate, cost_ns: u64, now_ns: u64) -> bool {
        let bucket = self.budgets.throttled.entry(rule_id % SLOTS).or_default();
        charge(&mut bucket.kib_due_ns, rate, cost_ns, now_ns)
    }
}

/// The switches of a data path whose budgets are these.
pub(super) fn config(rules: &Rules, generation: u32, throttle: [Rate; 2]) -> Config {
    let [throttle_new, throttle_kib] = throttle;
    Config { armed: rules.armed(), generation, throttle_new, throttle_kib, ..Config::default() }
}

/// The index of a segment, for a rule.
pub fn segment_key(number: u32) -> RuleKey {
    RuleKey::Scope(scope_of_segment(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_held_enters_a_place_and_moves_nobody() {
        let mut rules = Rules::default();
        for (port, held, expected) in [(1, true, 1), (2, true, 1), (3, false, 3), (2, true, 3), (2, false, 2)]
        {
            rules.place_of(7, port, held);
            assert_eq!(rules.place(&7), expected, "heard at {port}, held: {held}");
        }
    }
}
