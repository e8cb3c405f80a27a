//! The rules that subjects are measured with. The only place here that knows what a rule looks like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use bpf_tests::frame::mac;
use bpf_tests::kernel::TestSensor;
use sensor_ebpf::rule::{CLASS_ISOLATE, RuleValue};
use sensor_user::bpf::{RuleKey, Rules};

/// The host that is cut off, by its IPv4 address.
pub const DROPPED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);

/// Nothing from there, nothing to there.
const ISOLATE: RuleValue = RuleValue { until_ns: 0, rule_id: 1, class: CLASS_ISOLATE, flags: 0, pad: [0; 2] };

/// So many rules in every table; one of them is for the dropped host. No other meets a frame that is sent here.
pub fn everywhere(number: u32) -> Vec<(RuleKey, RuleValue)> {
    let mut keys = vec![RuleKey::from(IpAddr::from(DROPPED)), mac_key(0), ip6_key(0)];
    for at in 1..number {
        keys.extend([ip4_key(at), mac_key(at), ip6_key(at)]);
    }
    keys.into_iter().map(|key| (key, ISOLATE)).collect()
}

/// The one rule for the dropped host.
pub fn dropped_host() -> Vec<(RuleKey, RuleValue)> {
    vec![(RuleKey::from(IpAddr::from(DROPPED)), ISOLATE)]
}

/// A loaded program with these rules.
pub fn sensor(rules: &[(RuleKey, RuleValue)]) -> Result<TestSensor> {
    let mut sensor = TestSensor::load()?;
    sensor.set_rules(rules)?;
    Ok(sensor)
}

/// Puts rules in force.
pub fn set(table: &mut Rules, rules: &[(RuleKey, RuleValue)]) -> Result<()> {
    for (key, rule) in rules {
        table.set(*key, *rule)?;
    }
    Ok(table.commit()?)
}

fn ip4_key(number: u32) -> RuleKey {
    RuleKey::from(IpAddr::from(Ipv4Addr::from_bits(Ipv4Addr::new(172, 16, 0, 0).to_bits() + number)))
}

fn ip6_key(number: u32) -> RuleKey {
    let [high, low] = [(number >> 16) as u16, number as u16];
    RuleKey::from(IpAddr::from(Ipv6Addr::new(0xfd00, 0xbad, 0, 0, 0, 0, high, low)))
}

fn mac_key(number: u32) -> RuleKey {
    let mut address = mac(0);
    let [_, a, b, c] = number.to_be_bytes();
    address[1] = 0xba;
    address[3..].copy_from_slice(&[a, b, c]);
    RuleKey::from(address)
}
