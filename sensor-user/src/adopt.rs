//! Restrictions that are in force when the daemon starts, but unknown to its block list: the database was lost, is a copy
//! of an old one, or a change had not reached the disk. They are entered, so that none lapses by accident; a person who
//! looks at the list decides.

use std::collections::{BTreeMap, BTreeSet};

use sensor_core::addr::{Mac, Prefix};
use sensor_core::datapath::{self, Plan, PortIndices, RuleKey};
use sensor_core::policy::{Allow, Block, BlockId, Direction, Level, List, Name, Origin, Target};
use sensor_core::time::Time;
use sensor_ebpf::parse::mac_bytes;
use sensor_ebpf::rule::{
    AllowKey, FLAG_OBSERVE, MAPPED_BITS, RuleValue, SCOPE_CAPACITY, scope_of_segment, scope_of_vlan,
};

/// Why such an entry is there.
const REASON: &str = "was in force when the daemon started, and the block list did not know it";

/// What the kernel holds.
pub struct Found {
    /// The rules.
    pub rules: Vec<(RuleKey, RuleValue)>,
    /// What is allowed, by all lists.
    pub allowed: BTreeSet<AllowKey>,
    /// The index of each port.
    pub ports: PortIndices,
}

/// What the configuration knows.
pub struct Known<'a> {
    /// Segments.
    pub plan: &'a Plan,
    /// The names of the allow lists by their numbers.
    pub lists: BTreeMap<u16, Name>,
}

/// The entries behind the rules that are `found`, but none of `blocks`.
pub fn orphans(blocks: &[Block], found: &Found, known: &Known<'_>, now: Time) -> Vec<Block> {
    let mut orphans: BTreeMap<BlockId, Block> = BTreeMap::new();
    for (key, rule) in &found.rules {
        let lapsed = rule.until_ns != 0 && rule.until_ns <= now.ns();
        // Without a number it was never an entry.
        let entered = rule.rule_id != 0 && rule.flags & FLAG_OBSERVE == 0;
        if lapsed || !entered || blocks.iter().any(|block| block.id == rule.rule_id) {
            continue;
        }
        let (Some(level), Some(direction)) = (Level::of_rule(rule.level), Direction::of_rule(rule.flags))
        else {
            continue;
        };
        let Some(target) = target(*key, &found.ports, known.plan) else {
            log::warn!("the rule {} for {key} is unknown, and so is what it is about", rule.rule_id);
            continue;
        };
        let block = orphans.entry(rule.rule_id).or_insert_with(|| Block {
            id: rule.rule_id,
            targets: Vec::new(),
            level,
            direction,
            list: list(rule.list, found, known),
            follows: false,
            origin: Origin::Manual("unknown".to_owned()),
            reason: REASON.to_owned(),
            since: now,
            until: (rule.until_ns != 0).then_some(Time::at(rule.until_ns)),
            would: false,
        });
        block.targets.push(target);
    }
    orphans.into_values().collect()
}

/// What is allowed all the same, by the number of the list.
fn list(number: u16, found: &Found, known: &Known<'_>) -> List {
    if number == 0 {
        return List::None;
    }
    if let Some(name) = known.lists.get(&number) {
        return List::Named(*name);
    }
    let keys = found.allowed.iter().filter(|key| key.list == number);
    List::Learned { number, allowed: keys.filter_map(Allow::of_key).collect() }
}

/// What a rule is about.
fn target(key: RuleKey, ports: &PortIndices, plan: &Plan) -> Option<Target> {
    match key {
        RuleKey::Mac(mac) => Some(Target::Mac(Mac(mac_bytes(mac)))),
        RuleKey::Ip(ip) => Some(Target::Ip(datapath::ip(ip))),
        RuleKey::Net { bits, address } => {
            let ip = datapath::ip(address);
            let bits = if ip.is_ipv4() { bits.checked_sub(MAPPED_BITS)? } else { bits };
            Target::net(Prefix::new(ip, u8::try_from(bits).ok()?)).ok()
        }
        RuleKey::Scope(index) if index < scope_of_vlan(0) => {
            ports.iter().find(|(_, port)| u32::from(**port) == index).map(|(name, _)| Target::Port(*name))
        }
        RuleKey::Scope(index) if index < scope_of_segment(0) => {
            Some(Target::Vlan(u16::try_from(index - scope_of_vlan(0)).ok()?))
        }
        RuleKey::Scope(index) if index < SCOPE_CAPACITY => {
            plan.segment_name(index - scope_of_segment(0)).map(Target::Segment)
        }
        RuleKey::Scope(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use sensor_core::settings::Settings;
    use sensor_ebpf::rule::{LEVEL_CUT, LEVEL_ISOLATE, LEVEL_PIN, LEVEL_PROTECT, scope_of_port};

    use super::*;

    fn found(rules: Vec<(RuleKey, RuleValue)>) -> Found {
        let ip = IpAddr::from([10, 0, 0, 9]);
        let allowed = [Allow::Neighbour, Allow::Any(ip)].map(|allow| allow.key(2_000)).into();
        let ports = [("p1".parse().expect("a name"), 4)].into();
        Found { rules, allowed, ports }
    }

    fn orphans_of(blocks: &[Block], rules: Vec<(RuleKey, RuleValue)>) -> Vec<Block> {
        let plan = Plan::new(&Settings::default());
        orphans(blocks, &found(rules), &Known { plan: &plan, lists: BTreeMap::new() }, Time::at(100))
    }

    fn rule(id: u32, until_ns: u64) -> RuleValue {
        RuleValue { until_ns, ..RuleValue::new(id, LEVEL_ISOLATE) }
    }

    #[test]
    fn what_is_in_force_and_unknown_is_entered() {
        let key = |host: u8| RuleKey::from([2, 0, 0, 0, 0, host]);
        let observed = RuleValue { flags: FLAG_OBSERVE, ..rule(6, 0) };
        let ip = RuleKey::from(IpAddr::from([10, 0, 0, 7]));
        let rules = vec![
            (key(1), rule(5, 900)),
            (ip, rule(5, 900)),
            (key(2), rule(7, 0)),
            (key(3), rule(8, 100)),
            (key(4), RuleValue::new(9, LEVEL_PROTECT)),
            (key(5), observed),
            (key(6), rule(0, 0)),
            (key(7), rule(3, 0)),
        ];
        let first = orphans_of(&[], vec![(key(7), rule(3, 0))]);
        let blocks = orphans_of(&first, rules);
        let told: Vec<_> = blocks.iter().map(|block| (block.id, block.targets.len(), block.until)).collect();
        assert_eq!(told, [(5, 2, Some(Time::at(900))), (7, 1, None)]);
        assert_eq!(blocks[0].targets[1].to_string(), "10.0.0.7");
    }

    #[test]
    fn every_target_and_list_is_read_back() {
        let net = |text: &str| RuleKey::from(&text.parse::<Prefix>().expect("a network"));
        let rules = vec![
            (net("10.1.0.0/16"), rule(1, 0)),
            (net("fd00::/8"), rule(2, 0)),
            (RuleKey::Scope(scope_of_port(4)), RuleValue { level: LEVEL_CUT, ..rule(3, 0) }),
            (RuleKey::Scope(scope_of_vlan(77)), rule(4, 0)),
            (RuleKey::from([2, 0, 0, 0, 0, 1]), RuleValue { level: LEVEL_PIN, list: 2_000, ..rule(5, 0) }),
            (RuleKey::Scope(scope_of_port(9)), rule(6, 0)),
        ];
        let blocks = orphans_of(&[], rules);
        let told: Vec<_> = blocks.iter().map(|block| (block.targets[0].to_string(), block.level)).collect();
        let wanted = [
            ("10.1.0.0/16", Level::Isolate),
            ("fd00::/8", Level::Isolate),
            ("port p1", Level::Cut),
            ("vlan 77", Level::Isolate),
            ("02:00:00:00:00:01", Level::Pin),
        ];
        assert_eq!(told, wanted.map(|(target, level)| (target.to_owned(), level)));
        let learned: Vec<String> = blocks[4].list.learned().iter().map(Allow::to_string).collect();
        assert_eq!(learned.len(), 2, "{learned:?}");
    }
}
