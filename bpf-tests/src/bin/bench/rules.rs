//! The rules that subjects are measured with. The only place here that knows what a rule looks like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use bpf_tests::frame::mac;
use bpf_tests::kernel::TestSensor;
use sensor_ebpf::rule::{LEVEL_ISOLATE, MAPPED_BITS, NET_CAPACITY, RuleValue, scope_of_vlan};
use sensor_user::bpf::{RuleKey, Rules};

/// The host that is cut off, by its IPv4 address.
pub const DROPPED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);

/// Nothing from there, nothing to there.
const ISOLATE: RuleValue = RuleValue::new(1, LEVEL_ISOLATE);

/// The VLANs with a rule: none that a frame here has.
const VLANS: std::ops::Range<u16> = 1000..4000;

/// So many rules in every table, by MAC address, IPv4 and IPv6 address, IPv4 and IPv6 prefix and VLAN, as far as it holds
/// so many; one of them is for the dropped host. No other meets a frame that is sent here.
pub fn everywhere(number: u32) -> Vec<(RuleKey, RuleValue)> {
    let mut keys = vec![RuleKey::from(IpAddr::from(DROPPED))];
    keys.extend((1..number).map(|at| RuleKey::from(IpAddr::from(ip4(at, 250)))));
    keys.extend((0..number).map(|at| RuleKey::from(IpAddr::from(ip6(at, 1)))));
    keys.extend((0..number).map(mac_key));
    let nets = number.min(NET_CAPACITY / 2);
    keys.extend((0..nets).map(|at| net_key(MAPPED_BITS + 28, ip4(at, 240).into())));
    keys.extend((0..nets).map(|at| net_key(64, ip6(at, 0).into())));
    keys.extend(VLANS.take(number as usize).map(|vlan| RuleKey::Scope(scope_of_vlan(vlan))));
    keys.into_iter().map(|key| (key, ISOLATE)).collect()
}

/// The one rule for the dropped host.
pub fn dropped_host() -> Vec<(RuleKey, RuleValue)> {
    vec![(RuleKey::from(IpAddr::from(DROPPED)), ISOLATE)]
}

/// A loaded program with these rules, set up as the product does: with seals.
pub fn sensor(rules: &[(RuleKey, RuleValue)]) -> Result<TestSensor> {
    let mut sensor = unsealed(rules)?;
    let jiffy_ns = sensor.maps.rules.config()?.jiffy_ns;
    sensor.maps.rules.start(jiffy_ns, sensor.maps.flows.sets(), true)?;
    Ok(sensor)
}

/// The same without seals: each frame of a dropped host is counted in its flow.
pub fn unsealed(rules: &[(RuleKey, RuleValue)]) -> Result<TestSensor> {
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

fn net_key(bits: u32, address: IpAddr) -> RuleKey {
    match RuleKey::from(address) {
        RuleKey::Ip(address) => RuleKey::Net { bits, address },
        other => other,
    }
}

fn mac_key(number: u32) -> RuleKey {
    let mut address = mac(0);
    let [_, a, b, c] = number.to_be_bytes();
    address[1] = 0xba;
    address[3..].copy_from_slice(&[a, b, c]);
    RuleKey::from(address)
}

fn ip4(number: u32, last: u8) -> Ipv4Addr {
    let [_, _, b, c] = number.to_be_bytes();
    Ipv4Addr::new(172, b, c, last)
}

fn ip6(number: u32, last: u16) -> Ipv6Addr {
    let (high, low) = ((number >> 16) as u16, number as u16);
    Ipv6Addr::new(0xfd00, 0xbad, high, low, 0, 0, 0, last)
}
