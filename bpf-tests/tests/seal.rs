//! Hosts all of whose frames are dropped, as the live sensor drops them: without a look at their flows, counted exactly, and
//! not a moment longer than the rule says.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr};

use bpf_tests::frame::{Frame, SYN, mac};
use bpf_tests::kernel::{JIFFY_NS, TestSensor, XDP_DROP, XDP_PASS};
use sensor_ebpf::rule::{FLAG_FROM, FLAG_TO, LEVEL_ISOLATE, LEVEL_QUARANTINE, RuleValue};
use sensor_user::bpf::RuleKey;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
const RULE: u32 = 7;

/// A sensor that seals.
fn sealing() -> TestSensor {
    let mut sensor = TestSensor::load().expect("loads");
    sensor.maps.rules.start(JIFFY_NS, sensor.maps.flows.sets(), true).expect("starts");
    sensor
}

/// A frame of the host of that MAC address to a destination of its own.
fn scan(host: u8, ip: Ipv4Addr, to: u16) -> Vec<u8> {
    let [high, low] = to.to_be_bytes();
    Frame::ethernet(mac(host), mac(2)).ip4(ip, Ipv4Addr::new(10, 1, high, low)).tcp(40_000, 445, SYN).build()
}

fn key() -> RuleKey {
    RuleKey::from(IpAddr::from(HOST))
}

#[test]
fn a_sealed_host_gets_nothing_through_and_all_is_counted() {
    const FRAMES: u16 = 3_000;
    for key in [key(), RuleKey::from(mac(9))] {
        let mut sensor = sealing();
        sensor.set_rules(&[(key, RuleValue::new(RULE, LEVEL_ISOLATE))]).expect("rules");
        let before = sensor.counters().expect("counters");
        let mut bytes = 0;
        for to in 0..FRAMES {
            let frame = scan(9, HOST, to);
            bytes += frame.len() as u64;
            assert_eq!(sensor.run(&frame).expect("runs"), XDP_DROP, "{key}, frame {to}");
        }
        let after = sensor.counters().expect("counters");
        let rule = sensor.maps.counters.rule(RULE).expect("counters");
        assert_eq!((rule.drop_packets, rule.drop_bytes), (u64::from(FRAMES), bytes), "{key}: rule");
        assert_eq!(after.drop_packets - before.drop_packets, u64::from(FRAMES), "{key}: port");
        assert_eq!(after.drop_bytes - before.drop_bytes, bytes, "{key}: port, bytes");
        let flows = sensor.flows().expect("sweeps");
        let entered: u64 = flows.values().map(|flow| flow.packets()).sum();
        let unentered = after.unentered_packets - before.unentered_packets;
        assert_eq!(entered + unentered, u64::from(FRAMES), "{key}: in a flow or not");
        println!("{key}: {} of {FRAMES} destinations entered as flows", flows.len());
        assert!(unentered > 0, "{key}: no seal in {FRAMES} frames");
    }
}

#[test]
fn a_seal_holds_for_its_host_alone() {
    let mut sensor = sealing();
    sensor.set_rules(&[(key(), RuleValue::new(RULE, LEVEL_ISOLATE))]).expect("rules");
    for round in 0..2_000u16 {
        assert_eq!(sensor.run(&scan(9, HOST, round)).expect("runs"), XDP_DROP);
        let other = Ipv4Addr::new(10, 0, (round >> 8) as u8, round as u8);
        let expected = if other == HOST { XDP_DROP } else { XDP_PASS };
        assert_eq!(sensor.run(&scan(9, other, 1)).expect("runs"), expected, "{other} behind the same MAC");
        let arp = Frame::ethernet(mac(9), mac(2)).ether_type(0x88b5).build();
        assert_eq!(sensor.run(&arp).expect("runs"), XDP_PASS, "another protocol of the same MAC");
    }
}

#[test]
fn a_seal_is_void_when_the_policy_changes() {
    let mut sensor = sealing();
    let frame = scan(9, HOST, 1);
    for round in 0..500 {
        sensor.set_rules(&[(key(), RuleValue::new(RULE, LEVEL_ISOLATE))]).expect("rules");
        for _ in 0..3 {
            assert_eq!(sensor.run(&frame).expect("runs"), XDP_DROP, "round {round}");
        }
        sensor.set_rules(&[]).expect("rules");
        assert_eq!(sensor.run(&frame).expect("runs"), XDP_PASS, "round {round}");
    }
}

#[test]
fn what_depends_on_the_destination_seals_nobody() {
    let quarantine = RuleValue::new(RULE, LEVEL_QUARANTINE);
    let to = RuleValue { flags: FLAG_TO, ..RuleValue::new(RULE, LEVEL_ISOLATE) };
    let from = RuleValue { flags: FLAG_FROM, ..RuleValue::new(RULE, LEVEL_ISOLATE) };
    for (name, rule, key, seals) in [
        ("quarantined source", quarantine, key(), false),
        ("isolated destination", to, RuleKey::from(mac(2)), false),
        ("isolated source", from, RuleKey::from(mac(9)), true),
    ] {
        let mut sensor = sealing();
        sensor.set_rules(&[(key, rule)]).expect("rules");
        let before = sensor.counters().expect("counters");
        for to in 0..2_000 {
            assert_eq!(sensor.run(&scan(9, HOST, to)).expect("runs"), XDP_DROP, "{name}");
        }
        let unentered = sensor.counters().expect("counters").unentered_packets - before.unentered_packets;
        assert_eq!(unentered > 0, seals, "{name}: {unentered} frames dropped by a seal");
    }
}
