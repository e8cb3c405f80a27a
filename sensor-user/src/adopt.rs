//! Isolations that are in force when the daemon starts, but unknown to its block list: the database was lost, is a copy of
//! an old one, or a change had not reached the disk. They are entered, so that none lapses by accident; a person who looks
//! at the list decides.

use std::collections::BTreeMap;

use sensor_core::addr::Mac;
use sensor_core::datapath::{self, RuleKey};
use sensor_core::policy::{Block, BlockId, Level, Origin, Target};
use sensor_core::time::Time;
use sensor_ebpf::parse::mac_bytes;
use sensor_ebpf::rule::{FLAG_OBSERVE, LEVEL_ISOLATE, RuleValue};

/// Why such an entry is there.
const REASON: &str = "was in force when the daemon started, and the block list did not know it";

/// The entries behind the rules `found` that are none of `known`.
pub fn orphans(known: &[Block], found: &[(RuleKey, RuleValue)], now: Time) -> Vec<Block> {
    let mut orphans: BTreeMap<BlockId, Block> = BTreeMap::new();
    for (key, rule) in found {
        let lapsed = rule.until_ns != 0 && rule.until_ns <= now.0;
        // Without a number it was never an entry.
        let ours = rule.rule_id != 0 && rule.level == LEVEL_ISOLATE && rule.flags & FLAG_OBSERVE == 0;
        if lapsed || !ours || known.iter().any(|block| block.id == rule.rule_id) {
            continue;
        }
        let Some(target) = target(*key) else { continue };
        let block = orphans.entry(rule.rule_id).or_insert_with(|| Block {
            id: rule.rule_id,
            targets: Vec::new(),
            level: Level::Isolate,
            origin: Origin::Manual("unknown".to_owned()),
            reason: REASON.to_owned(),
            since: now,
            until: (rule.until_ns != 0).then_some(Time(rule.until_ns)),
            would: false,
        });
        block.targets.push(target);
    }
    orphans.into_values().collect()
}

/// Whom a rule is about.
fn target(key: RuleKey) -> Option<Target> {
    match key {
        RuleKey::Mac(mac) => Some(Target::Mac(Mac(mac_bytes(mac)))),
        RuleKey::Ip(ip) => Some(Target::Ip(datapath::ip(ip))),
        RuleKey::Net { .. } | RuleKey::Scope(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::rule::LEVEL_PROTECT;

    use super::*;

    #[test]
    fn what_is_in_force_and_unknown_is_entered() {
        let key = |host: u8| RuleKey::from([2, 0, 0, 0, 0, host]);
        let rule = |id, until_ns| RuleValue { until_ns, ..RuleValue::new(id, LEVEL_ISOLATE) };
        let observed = RuleValue { flags: FLAG_OBSERVE, ..rule(6, 0) };
        let ip = RuleKey::from(std::net::IpAddr::from([10, 0, 0, 7]));
        let found = [
            (key(1), rule(5, 900)),
            (ip, rule(5, 900)),
            (key(2), rule(7, 0)),
            (key(3), rule(8, 100)),
            (key(4), RuleValue::new(9, LEVEL_PROTECT)),
            (key(5), observed),
            (key(6), rule(0, 0)),
            (key(7), rule(3, 0)),
        ];
        let first = &orphans(&[], &[(key(7), rule(3, 0))], Time(100))[0];
        let blocks = orphans(std::slice::from_ref(first), &found, Time(100));
        let told: Vec<_> = blocks.iter().map(|block| (block.id, block.targets.len(), block.until)).collect();
        assert_eq!(told, [(5, 2, Some(Time(900))), (7, 1, None)]);
        assert_eq!(blocks[0].targets[1].to_string(), "10.0.0.7");
    }
}
