//! What records tell besides the flow: the packet within a tunnel, and why a frame was dropped. The program in the kernel and
//! the replay's data path tell the same.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bpf_tests::frame::{Frame, SYN, mac};
use bpf_tests::kernel::{PORT, TestSensor};
use sensor_core::datapath::{Datapath, RuleKey};
use sensor_core::observation::{DropReason, DropSeen, FlowSeen, Observation};
use sensor_core::time::Time;
use sensor_core::tunnel::{Inner, Wrapping};
use sensor_ebpf::control::{REFLEX_ENFORCE, Rate, Reflex};
use sensor_ebpf::event::DROP_SAMPLE;
use sensor_ebpf::rule::{FLAG_OBSERVE, LEVEL_ISOLATE, RuleValue, scope_of_port};

const SRC: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const DST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

fn outer() -> Frame {
    Frame::ethernet(mac(1), mac(2)).ip4(SRC, DST)
}

/// An observation without its time.
fn timeless(observation: Observation) -> Observation {
    match observation {
        Observation::Flow(seen) => Observation::Flow(FlowSeen { time: Time::at(0), ..seen }),
        Observation::Drop(seen) => Observation::Drop(DropSeen { time: Time::at(0), ..seen }),
        progress => progress,
    }
}

/// Runs a frame through both data paths, which must tell the same.
fn told(
    sensor: &mut TestSensor,
    twin: &mut Datapath,
    name: &str,
    frame: &[u8],
    time: u64,
) -> Vec<Observation> {
    sensor.run(frame).expect("runs");
    let mut records = Vec::new();
    sensor.maps.rings.read(usize::MAX, &mut records);
    let got: Vec<_> = records.iter().filter_map(|record| record.observation()).map(timeless).collect();
    let wanted = twin.frame(frame, frame.len() as u32, Time::at(time)).iter();
    let wanted = wanted.filter_map(|record| Observation::decode(&record.flow, Some(&record.inner)));
    assert_eq!(got, wanted.map(timeless).collect::<Vec<_>>(), "{name}");
    got
}

#[test]
fn the_packet_within_a_tunnel_is_told() {
    let mut sensor = TestSensor::load().expect("loads");
    let mut twin = Datapath::new(PORT);
    let (a, b) = (Ipv4Addr::new(172, 16, 0, 1), Ipv4Addr::new(172, 16, 0, 2));
    let (six_a, six_b) = (Ipv6Addr::from([0xfd; 16]), Ipv6Addr::from([0xfe; 16]));
    let within = Frame::ethernet(mac(7), mac(8)).vlan(20).ip4(a, b).tcp(1, 2, SYN).build();
    let packet = Frame::ethernet(mac(7), mac(8)).ip4(a, b).udp(1, 2).build()[14..].to_vec();
    let six = Frame::ethernet(mac(7), mac(8)).ip6(six_a, six_b).tcp(1, 2, SYN).build()[14..].to_vec();
    let raw = |proto: u8, bytes: &[u8]| {
        let mut frame = outer().bytes(bytes);
        frame.protocol(proto);
        frame.build()
    };
    let inner = |wrapping, proto, vlan| Inner { wrapping, src: a.into(), dst: b.into(), proto, vlan };
    let of_six = |wrapping, proto| Inner { wrapping, src: six_a.into(), dst: six_b.into(), proto, vlan: 0 };
    let vxlan = outer().udp(50_000, 4_789).bytes(&[8, 0, 0, 0, 0, 0, 7, 0]).bytes(&within).build();
    let geneve = outer().udp(50_000, 6_081).bytes(&[1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 4]).bytes(&within);
    let over_six = Frame::ethernet(mac(1), mac(2)).ip6(six_a, six_b).udp(50_000, 4_789);
    let over_six = over_six.bytes(&[8, 0, 0, 0, 0, 0, 7, 0]).bytes(&within).build();
    let cases: [(&str, Vec<u8>, Option<Inner>); 9] = [
        ("ipip", raw(4, &packet), Some(inner(Wrapping::Ipip, 17, 0))),
        ("6in4", raw(41, &six), Some(of_six(Wrapping::Ip6, 6))),
        ("gre", raw(47, &[&[0, 0, 8, 0][..], &packet].concat()), Some(inner(Wrapping::Gre, 17, 0))),
        (
            "gre with a key, another flow",
            raw(47, &[&[0x20, 0, 0x65, 0x58, 0, 0, 0, 9][..], &within].concat()),
            None,
        ),
        ("vxlan", vxlan, Some(inner(Wrapping::Vxlan, 6, 20))),
        ("vxlan over IPv6", over_six, Some(inner(Wrapping::Vxlan, 6, 20))),
        ("geneve", geneve.build(), Some(inner(Wrapping::Geneve, 6, 20))),
        ("an empty tunnel", raw(50, &[]), None),
        ("no tunnel", outer().tcp(3, 4, SYN).build(), None),
    ];
    for (name, frame, expected) in cases {
        let got = told(&mut sensor, &mut twin, name, &frame, 1_000_000);
        match &got[..] {
            [Observation::Flow(seen)] => assert_eq!(seen.inner, expected, "{name}"),
            // GRE between two hosts is one flow, told once.
            [] => assert_eq!(expected, None, "{name}"),
            more => panic!("{name}: {more:?}"),
        }
    }
}

#[test]
fn dropped_frames_are_told_as_a_sample_with_the_rule_and_are_no_flow() {
    let mut sensor = TestSensor::load().expect("loads");
    let mut twin = Datapath::new(PORT);
    for flags in [0, FLAG_OBSERVE] {
        let isolate = RuleValue::new(7, LEVEL_ISOLATE);
        let rule = RuleValue { flags: isolate.flags | flags, ..isolate };
        let key = RuleKey::from(IpAddr::from(SRC));
        sensor.set_rules(&[(key, rule)]).expect("rules");
        twin.rules.set(key, Some(rule));
        twin.commit();
        let frame = outer().udp(1, 2).build();
        let mut drops = Vec::new();
        for number in 0..2 * DROP_SAMPLE {
            let told = told(&mut sensor, &mut twin, &format!("frame {number}"), &frame, 1_000_000);
            drops.extend(told.into_iter().filter_map(|seen| match seen {
                Observation::Drop(seen) => Some((number, seen)),
                _ => None,
            }));
        }
        let [(0, first), (DROP_SAMPLE, second)] = drops[..] else { panic!("{drops:?}") };
        assert_eq!(first, second);
        assert_eq!((first.reason, first.rule_id, first.would), (DropReason::Rule, 7, flags != 0));
        assert_eq!((first.id.src, first.smac.0, first.len), (SRC.into(), mac(1), frame.len() as u32));
    }
}

#[test]
fn a_host_over_its_budget_is_told_as_such() {
    let mut sensor = TestSensor::load().expect("loads");
    let mut twin = Datapath::new(PORT);
    // Three destinations, and none for an hour.
    let hour = 3_600_000_000_000;
    let rate = Rate { interval_ns: hour, burst_ns: 3 * hour };
    let reflex = Reflex { rate, mode: REFLEX_ENFORCE, pad: 0 };
    sensor.maps.rules.set_reflex(1, reflex).expect("set");
    sensor.maps.rules.set_segment(scope_of_port(PORT), 1).expect("set");
    sensor.maps.rules.commit().expect("committed");
    twin.rules.reflex.insert(1, reflex);
    twin.rules.segments.insert(scope_of_port(PORT), 1);
    twin.commit();
    let mut drops = Vec::new();
    for host in 1..=6 {
        let frame =
            Frame::ethernet(mac(1), mac(2)).ip4(SRC, Ipv4Addr::new(10, 77, 1, host)).udp(1, 2).build();
        let told = told(&mut sensor, &mut twin, &format!("destination {host}"), &frame, 1_000_000);
        for seen in told {
            match seen {
                Observation::Flow(_) => assert!(host <= 3, "destination {host}"),
                Observation::Drop(seen) => drops.push((host, seen.reason, seen.rule_id, seen.would)),
                Observation::Progress(_) => panic!("none is read here"),
            }
        }
    }
    assert_eq!(drops, [(4, DropReason::Reflex, 0, false)], "the first of those dropped is the sample");
    let counters = sensor.counters().expect("counters");
    assert_eq!((counters.reflex_packets, counters.unentered_packets), (3, 3));
}
