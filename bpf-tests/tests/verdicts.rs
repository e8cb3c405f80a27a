//! What happens to a frame: verdict, bytes, counters, reasons and records of each case.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use bpf_tests::frame::{ACK, Frame, MORE_FRAGMENTS, SYN, mac};
use bpf_tests::kernel::{Outcome, TestSensor, XDP_DROP, XDP_PASS};
use sensor_ebpf::counter::{PortCounters, Reason};
use sensor_ebpf::flow::{KIND_ARP, KIND_FRAGMENT, VERDICT_DROP, VERDICT_PASS, VERDICT_WOULD_DROP};
use sensor_ebpf::rule::{FLAG_BOTH, FLAG_OBSERVE, LEVEL_ISOLATE, LEVEL_PROTECT, RuleValue};
use sensor_user::bpf::RuleKey;
use sensor_user::clock::Now;

const A4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const A6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// Number of the rule in these tests.
const RULE: u32 = 7;

fn isolate() -> RuleValue {
    RuleValue::new(RULE, LEVEL_ISOLATE)
}

fn observe() -> RuleValue {
    RuleValue { flags: FLAG_BOTH | FLAG_OBSERVE, ..isolate() }
}

fn protect() -> RuleValue {
    RuleValue::new(99, LEVEL_PROTECT)
}

fn ip(ip: impl Into<IpAddr>) -> RuleKey {
    RuleKey::from(ip.into())
}

/// From A to B.
fn link() -> Frame {
    Frame::ethernet(mac(1), mac(2))
}

fn tcp4() -> Frame {
    link().ip4(A4, B4).tcp(40_000, 80, SYN)
}

fn tcp6() -> Frame {
    link().ip6(A6, B6).tcp(40_000, 80, SYN)
}

fn arp() -> Frame {
    Frame::ethernet(mac(1), [0xff; 6]).arp(1, mac(1), A4, [0; 6], B4)
}

/// What is expected of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// It passes.
    Pass,
    /// It is dropped.
    Drop,
    /// It passes, and is counted as one that would have been dropped.
    Would,
}

/// A frame that belongs to a flow, and what is to become of it.
struct Case {
    name: &'static str,
    rules: Vec<(RuleKey, RuleValue)>,
    frame: Frame,
    expected: Expected,
}

fn case(name: &'static str, rules: &[(RuleKey, RuleValue)], frame: Frame, expected: Expected) -> Case {
    Case { name, rules: rules.to_vec(), frame, expected }
}

fn verdict(expected: Expected) -> (u32, u8) {
    match expected {
        Expected::Pass => (XDP_PASS, VERDICT_PASS),
        Expected::Drop => (XDP_DROP, VERDICT_DROP),
        Expected::Would => (XDP_PASS, VERDICT_WOULD_DROP),
    }
}

/// Counters of one frame of `bytes` without a flow of its own.
fn frame_counters(bytes: usize, expected: Expected) -> PortCounters {
    let dropped = u64::from(expected == Expected::Drop);
    PortCounters {
        packets: 1,
        bytes: bytes as u64,
        drop_packets: dropped,
        drop_bytes: dropped * bytes as u64,
        would_drop_packets: u64::from(expected == Expected::Would),
        ..PortCounters::default()
    }
}

/// Runs each case on clean tables: as the first frame of its flow, as a later one, and after the rules are gone.
fn check_flows(cases: Vec<Case>) {
    let mut sensor = TestSensor::load().expect("loads");
    for Case { name, rules, frame, expected } in cases {
        sensor.clear().expect("clears");
        sensor.set_rules(&rules).expect("rules");
        let bytes = frame.build();
        let (action, verdict) = verdict(expected);
        let counters = frame_counters(bytes.len(), expected);

        let first = sensor.observe(&bytes).expect("runs");
        let new = PortCounters { flows_new: 1, records_sent: 1, ..counters };
        assert_eq!((first.verdict, first.counters), (action, new), "{name}: first frame");
        assert_eq!(first.reasons, [0; Reason::ALL.len()], "{name}: reasons");
        let told: Vec<_> =
            first.records.iter().map(|r| (r.verdict, r.rule_id, r.len as usize, r.smac, r.dmac)).collect();
        let rule_id = if expected == Expected::Pass { 0 } else { RULE };
        let (src, dst) = (&bytes[6..12], &bytes[..6]);
        let ends = (src.try_into().expect("a MAC"), dst.try_into().expect("a MAC"));
        assert_eq!(told, [(verdict, rule_id, bytes.len(), ends.0, ends.1)], "{name}: record");

        let second = sensor.observe(&bytes).expect("runs");
        let known =
            Outcome { verdict: action, counters, reasons: [0; Reason::ALL.len()], records: Vec::new() };
        assert_eq!(second, known, "{name}: second frame");
        let flow: Vec<_> = sensor.flows().expect("sweeps").into_values().collect();
        let [flow] = flow[..] else { panic!("{name}: {} flows", flow.len()) };
        let drops = if expected == Expected::Pass { 0 } else { 2 };
        assert_eq!((flow.packets(), flow.drops()), (2, drops), "{name}: flow");

        sensor.set_rules(&[]).expect("no rules");
        assert_eq!(sensor.run(&bytes).expect("runs"), XDP_PASS, "{name}: after the rules are gone");
    }
}

#[test]
fn a_rule_holds_for_each_address_at_either_end() {
    let back4 = || Frame::ethernet(mac(2), mac(1)).ip4(B4, A4).tcp(80, 40_000, SYN | ACK);
    let back6 = || Frame::ethernet(mac(2), mac(1)).ip6(B6, A6).tcp(80, 40_000, SYN | ACK);
    let answer = || Frame::ethernet(mac(2), mac(1)).arp(2, mac(2), B4, mac(1), A4);
    let a = RuleKey::from(mac(1));
    use Expected::{Drop, Pass};
    check_flows(vec![
        case("no rule", &[], tcp4(), Pass),
        case("another's rule", &[(ip(Ipv4Addr::new(10, 0, 0, 3)), isolate())], tcp4(), Pass),
        case("IPv4 source", &[(ip(A4), isolate())], tcp4(), Drop),
        case("IPv4 destination", &[(ip(A4), isolate())], back4(), Drop),
        case("MAC source, IPv4", &[(a, isolate())], tcp4(), Drop),
        case("MAC destination, IPv4", &[(a, isolate())], back4(), Drop),
        case("IPv6 source", &[(ip(A6), isolate())], tcp6(), Drop),
        case("IPv6 destination", &[(ip(A6), isolate())], back6(), Drop),
        case("MAC source, IPv6", &[(a, isolate())], tcp6(), Drop),
        case("MAC destination, IPv6", &[(a, isolate())], back6(), Drop),
        case("an IPv4 rule does not hold for IPv6", &[(ip(A4), isolate())], tcp6(), Pass),
        case("ARP question of an isolated address", &[(ip(A4), isolate())], arp(), Drop),
        case("ARP answer to an isolated address", &[(ip(A4), isolate())], answer(), Drop),
        case("ARP question of an isolated MAC", &[(a, isolate())], arp(), Drop),
        case("UDP", &[(ip(A4), isolate())], link().ip4(A4, B4).udp(5353, 53), Drop),
        case("ICMP", &[(ip(A4), isolate())], link().ip4(A4, B4).icmp(8, 0), Drop),
        case("ICMPv6", &[(ip(A6), isolate())], link().ip6(A6, B6).icmp(128, 0), Drop),
        case("a protocol without ports", &[(ip(A4), isolate())], link().ip4(A4, B4).bytes(&[0; 20]), Drop),
    ]);
}

#[test]
fn tags_do_not_hide_an_isolated_host() {
    let in_vlan = || link().vlan(10).ip4(A4, B4).tcp(40_000, 80, SYN);
    let in_two = || link().tag(0x88a8, 100).vlan(10).ip4(A4, B4).tcp(40_000, 80, SYN);
    let old_style = || link().tag(0x9100, 100).vlan(10).ip6(A6, B6).tcp(40_000, 80, SYN);
    use Expected::{Drop, Pass};
    check_flows(vec![
        case("VLAN, no rule", &[], in_vlan(), Pass),
        case("VLAN", &[(ip(A4), isolate())], in_vlan(), Drop),
        case("priority tag", &[(ip(A4), isolate())], link().vlan(0).ip4(A4, B4).udp(1, 2), Drop),
        case("QinQ, no rule", &[], in_two(), Pass),
        case("QinQ", &[(ip(A4), isolate())], in_two(), Drop),
        case("QinQ of the old EtherType, IPv6", &[(ip(A6), isolate())], old_style(), Drop),
        case("ARP in a VLAN", &[(RuleKey::from(mac(1)), isolate())], vlan_arp(), Drop),
    ]);
}

fn vlan_arp() -> Frame {
    Frame::ethernet(mac(1), [0xff; 6]).vlan(10).arp(1, mac(1), A4, [0; 6], B4)
}

#[test]
fn protected_ends_are_not_cut_and_borrow_nobody_their_protection() {
    let (a, b) = (RuleKey::from(mac(1)), RuleKey::from(mac(2)));
    use Expected::{Drop, Pass, Would};
    check_flows(vec![
        case("protected MAC with an isolated address", &[(a, protect()), (ip(A4), isolate())], tcp4(), Pass),
        case("isolated MAC with a protected address", &[(a, isolate()), (ip(A4), protect())], tcp4(), Drop),
        case("isolated source, protected destination", &[(a, isolate()), (b, protect())], tcp4(), Drop),
        case("protected source, isolated destination", &[(a, protect()), (b, isolate())], tcp4(), Drop),
        case("both protected", &[(a, protect()), (b, protect())], tcp4(), Pass),
        case("observed MAC with a protected address", &[(a, observe()), (ip(A4), protect())], tcp4(), Would),
        case("observed", &[(ip(A4), observe())], tcp4(), Would),
        case("observed MAC", &[(a, observe())], tcp6(), Would),
        case("observed source, isolated destination", &[(a, observe()), (b, isolate())], tcp4(), Drop),
        case("observed MAC with an isolated address", &[(a, observe()), (ip(A4), isolate())], tcp4(), Drop),
    ]);
}

/// What tells flows apart in their record: source and destination port, protocol, VLAN and kind.
type Told = (u16, u16, u8, u16);

#[test]
fn ports_are_read_behind_the_headers_there_are() {
    let options = [1, 1, 1, 0];
    let many = [1; 40];
    let hop = [0; 7];
    let routing = [1, 4, 0, 0, 0, 0, 0].iter().chain(&[0; 8]).copied().collect::<Vec<u8>>();
    let refused = link().ip4(A4, B4).icmp(3, 3).bytes(&quoted(B4, A4, 40_000, 161));
    let cases: [(&str, Frame, Told); 16] = [
        ("no options", tcp4(), (40_000, 80, 6, 0)),
        ("4 bytes of options", link().ip4_with(A4, B4, 0, &options).tcp(40_000, 80, SYN), (40_000, 80, 6, 0)),
        ("40 bytes of options", link().ip4_with(A4, B4, 0, &many).tcp(40_000, 80, SYN), (40_000, 80, 6, 0)),
        ("later fragment alone", link().ip4_with(A4, B4, 185, &[]).udp(5, 6), (0, 0, 17, KIND_FRAGMENT)),
        ("first fragment", link().ip4_with(A4, B4, MORE_FRAGMENTS, &[]).udp(5, 6), (5, 6, 17, 0)),
        ("later fragment", link().ip4_with(A4, B4, 185, &[]).udp(7, 8), (5, 6, 17, 0)),
        ("IPv6", tcp6(), (40_000, 80, 6, 0)),
        ("hop-by-hop", link().ip6(A6, B6).extension(0, &hop).tcp(40_000, 80, SYN), (40_000, 80, 6, 0)),
        (
            "hop-by-hop and routing",
            {
                let frame = link().ip6(A6, B6).extension(0, &hop).extension(43, &routing);
                frame.tcp(40_000, 80, SYN)
            },
            (40_000, 80, 6, 0),
        ),
        (
            "later fragment alone, IPv6",
            link().ip6(A6, B6).extension(44, &[0, 5, 0xc8, 0, 0, 0, 9]).udp(5, 6),
            (0, 0, 17, KIND_FRAGMENT),
        ),
        (
            "first fragment, IPv6",
            link().ip6(A6, B6).extension(44, &[0, 0, 1, 0, 0, 0, 9]).udp(5, 6),
            (5, 6, 17, 0),
        ),
        (
            "later fragment, IPv6",
            link().ip6(A6, B6).extension(44, &[0, 5, 0xc8, 0, 0, 0, 9]).udp(7, 8),
            (5, 6, 17, 0),
        ),
        ("ICMP: type and code", link().ip4(A4, B4).icmp(8, 1), (0x0801, 0, 1, 0)),
        ("ICMP error: the port that refused", refused, (0x0303, 161, 1, 0)),
        ("VLAN", link().vlan(10).ip4(A4, B4).udp(5, 6), (5, 6, 17, 10)),
        ("ARP", arp(), (1, 0, 0, KIND_ARP)),
    ];
    let mut sensor = TestSensor::load().expect("loads");
    for (name, frame, expected) in cases {
        sensor.clear().expect("clears");
        let outcome = sensor.observe(&frame.build()).expect("runs");
        let told: Vec<Told> = outcome
            .records
            .iter()
            .map(|r| (u16::from_be(r.sport), u16::from_be(r.dport), r.proto, r.vlan))
            .collect();
        assert_eq!((outcome.verdict, told), (XDP_PASS, vec![expected]), "{name}");
        assert_eq!(outcome.reasons, [0; Reason::ALL.len()], "{name}");
    }
}

/// The beginning of an IPv4 packet of UDP, as an ICMP error quotes it.
fn quoted(src: Ipv4Addr, dst: Ipv4Addr, sport: u16, dport: u16) -> Vec<u8> {
    Frame::ethernet(mac(2), mac(1)).ip4(src, dst).udp(sport, dport).unpadded().build().split_off(14)
}

#[test]
fn headers_that_move_the_ports_do_not_free_an_isolated_host() {
    let hop = [0; 7];
    let six = (0..7).fold(link().ip6(A6, B6), |frame, _| frame.extension(0, &hop));
    use Expected::Drop;
    check_flows(vec![
        case("options", &[(ip(A4), isolate())], link().ip4_with(A4, B4, 0, &[1; 40]).udp(5, 6), Drop),
        case(
            "first fragment",
            &[(ip(A4), isolate())],
            link().ip4_with(A4, B4, MORE_FRAGMENTS, &[]).udp(5, 6),
            Drop,
        ),
        case("later fragment", &[(ip(A4), isolate())], link().ip4_with(A4, B4, 9, &[]).bytes(&[0; 16]), Drop),
        case(
            "extension headers",
            &[(ip(A6), isolate())],
            link().ip6(A6, B6).extension(0, &hop).udp(5, 6),
            Drop,
        ),
        case(
            "later fragment, IPv6",
            &[(ip(A6), isolate())],
            link().ip6(A6, B6).extension(44, &[0, 5, 0xc8, 0, 0, 0, 9]).bytes(&[0; 16]),
            Drop,
        ),
    ]);
    // More extension headers than are followed: a fault, but its addresses are known.
    let mut sensor = TestSensor::load().expect("loads");
    sensor.set_rules(&[(ip(A6), isolate())]).expect("rules");
    let outcome = sensor.observe(&six.udp(5, 6).build()).expect("runs");
    assert_eq!(outcome.verdict, XDP_DROP);
    assert_eq!(outcome.reasons[Reason::DeepExtension as usize], 1);
}

/// A frame without a flow: the reason that is counted, and what becomes of it if its sender's MAC address is isolated.
struct Unread {
    name: &'static str,
    frame: Vec<u8>,
    reason: Reason,
    isolated: Expected,
}

fn unread(name: &'static str, frame: Frame, reason: Reason) -> Unread {
    let isolated = if reason == Reason::LinkControl { Expected::Pass } else { Expected::Drop };
    Unread { name, frame: frame.build(), reason, isolated }
}

#[test]
fn frames_without_a_flow_pass_unless_their_mac_is_isolated() {
    let control = |last| Frame::ethernet(mac(1), [1, 0x80, 0xc2, 0, 0, last]);
    let short = |frame: Frame| frame.unpadded();
    let cases = [
        unread("STP", control(0).ether_type(38).bytes(&[0x42, 0x42, 3]), Reason::LinkControl),
        unread("LACP", control(2).ether_type(0x8809), Reason::LinkControl),
        unread("802.1X", control(3).ether_type(0x888e), Reason::LinkControl),
        unread("LLDP", control(14).ether_type(0x88cc), Reason::LinkControl),
        unread("802.3 length", link().ether_type(0x0100), Reason::Length8023),
        unread("another EtherType", link().ether_type(0x88f7), Reason::OtherEtherType),
        unread("ten tags", (0..10).fold(link(), Frame::vlan).ether_type(0x0800), Reason::DeepLink),
        unread("short tag", short(link().ether_type(0x8100).bytes(&[0, 1])), Reason::ShortVlan),
        unread("short ARP", short(link().ether_type(0x0806).bytes(&[0; 20])), Reason::ShortArp),
        unread("ARP of another network", link().ether_type(0x0806).bytes(&[0, 6]), Reason::OtherArp),
        unread("short IPv4", short(link().ether_type(0x0800).bytes(&[0x45; 10])), Reason::ShortIp4),
        unread("IPv4 version 5", link().ether_type(0x0800).bytes(&[0x55; 20]), Reason::BadIp4),
        unread("IPv4 header of 16 bytes", link().ether_type(0x0800).bytes(&[0x44; 20]), Reason::BadIp4),
        unread("short IPv6", short(link().ether_type(0x86dd).bytes(&[0x60; 39])), Reason::ShortIp6),
        unread("IPv6 version 4", link().ether_type(0x86dd).bytes(&[0x40; 40]), Reason::BadIp6),
    ];
    let mut sensor = TestSensor::load().expect("loads");
    for Unread { name, frame, reason, isolated } in cases {
        let rule = [(RuleKey::from(mac(1)), isolate())];
        for (rules, expected) in [(&[][..], Expected::Pass), (&rule[..], isolated)] {
            sensor.set_rules(rules).expect("rules");
            let mut reasons = [0; Reason::ALL.len()];
            reasons[reason as usize] = 1;
            let ignored_bytes = frame.len() as u64;
            let counters =
                PortCounters { ignored_packets: 1, ignored_bytes, ..frame_counters(frame.len(), expected) };
            let wanted = Outcome { verdict: verdict(expected).0, counters, reasons, records: Vec::new() };
            assert_eq!(sensor.observe(&frame).expect("runs"), wanted, "{name}, {} rules", rules.len());
        }
    }
    assert_eq!(sensor.flows().expect("sweeps").len(), 0);
}

/// Frames whose addresses can be read and the rest cannot: they have a flow, the fault is counted, and rules by address
/// hold.
#[test]
fn faulty_packets_are_counted_and_judged_by_their_addresses() {
    let short_tcp = |frame: Frame| {
        let mut frame = frame;
        frame.protocol(6);
        frame.bytes(&[0; 12]).unpadded().build()
    };
    let lying4 = {
        let mut frame = link().ip4(A4, B4).udp(5, 6).build();
        frame[16..18].copy_from_slice(&2_000u16.to_be_bytes());
        frame
    };
    let lying6 = {
        let mut frame = link().ip6(A6, B6).udp(5, 6).build();
        frame[18..20].copy_from_slice(&2_000u16.to_be_bytes());
        frame
    };
    let bad_tcp = {
        let mut frame = tcp4().build();
        frame[14 + 20 + 12] = 0x40;
        frame
    };
    let cases = [
        ("TCP header cut short, IPv4", short_tcp(link().ip4(A4, B4)), ip(A4), Reason::ShortTransport),
        ("TCP header cut short, IPv6", short_tcp(link().ip6(A6, B6)), ip(A6), Reason::ShortTransport),
        ("total length beyond the frame", lying4, ip(A4), Reason::LengthIp4),
        ("payload length beyond the frame", lying6, ip(A6), Reason::LengthIp6),
        ("TCP data offset too small", bad_tcp, ip(A4), Reason::BadTcp),
        (
            "extension header cut short",
            link().ip6(A6, B6).extension(0, &[0, 0]).unpadded().build(),
            ip(A6),
            Reason::ShortExtension,
        ),
    ];
    let mut sensor = TestSensor::load().expect("loads");
    for (name, frame, key, reason) in cases {
        for (rules, expected) in [(vec![], XDP_PASS), (vec![(key, isolate())], XDP_DROP)] {
            sensor.clear().expect("clears");
            sensor.set_rules(&rules).expect("rules");
            let outcome = sensor.observe(&frame).expect("runs");
            let mut reasons = [0; Reason::ALL.len()];
            reasons[reason as usize] = 1;
            assert_eq!((outcome.verdict, outcome.reasons), (expected, reasons), "{name}");
            assert_eq!((outcome.counters.flows_new, outcome.records.len()), (1, 1), "{name}");
        }
    }
}

#[test]
fn a_rule_ends_on_time_without_anybody_touching_it() {
    let mut sensor = TestSensor::load().expect("loads");
    let frame = tcp4().build();
    let until_ns = Now::read().mono.ns() + 300_000_000;
    sensor.set_rules(&[(ip(A4), RuleValue { until_ns, ..isolate() })]).expect("rules");
    assert_eq!(sensor.run(&frame).expect("runs"), XDP_DROP, "in force");
    assert_eq!(sensor.run(&frame).expect("runs"), XDP_DROP, "in force, from the cache");
    let unknown = link().ip4(A4, B4).udp(5, 6).build();
    // Twice the time, for the flow compares jiffies, which the rig only guesses to be 4 ms.
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(sensor.run(&frame).expect("runs"), XDP_PASS, "lapsed for the flow that was dropped");
    assert_eq!(sensor.run(&unknown).expect("runs"), XDP_PASS, "lapsed for a new flow");
    assert_eq!(sensor.maps.rules.list().expect("lists").len(), 1, "the rule is still there");

    let until_ns = Now::read().mono.ns() + 3_600_000_000_000;
    sensor.set_rules(&[(ip(A4), RuleValue { until_ns, ..isolate() })]).expect("rules");
    assert_eq!(sensor.run(&frame).expect("runs"), XDP_DROP, "extended");
}

#[test]
fn an_arp_speaker_under_another_mac_is_told_again() {
    let mut sensor = TestSensor::load().expect("loads");
    let says = |from: u8| Frame::ethernet(mac(from), [0xff; 6]).arp(1, mac(from), A4, [0; 6], B4).build();
    for (from, expected) in
        [(1, vec![mac(1)]), (1, vec![]), (9, vec![mac(9)]), (9, vec![]), (1, vec![mac(1)])]
    {
        let outcome = sensor.observe(&says(from)).expect("runs");
        let told: Vec<_> = outcome.records.iter().map(|record| record.arp_sha).collect();
        assert_eq!(told, expected, "as {from}");
    }
}

/// Two hosts share a flow key where addresses do not tell them apart, as DHCP clients do: a MAC rule for one of them must
/// neither spare it nor hit the other, whoever comes first.
#[test]
fn a_mac_rule_holds_for_its_mac_alone_when_two_hosts_share_a_flow() {
    let nobody = Ipv4Addr::UNSPECIFIED;
    let discover =
        |from| Frame::ethernet(mac(from), [0xff; 6]).ip4(nobody, Ipv4Addr::BROADCAST).udp(68, 67).build();
    let answer = |to| Frame::ethernet(mac(9), mac(to)).ip4(B4, A4).udp(123, 123).build();
    let mut sensor = TestSensor::load().expect("loads");
    for order in [[1, 2, 1, 2, 2, 1], [2, 1, 1, 2, 1, 2]] {
        sensor.clear().expect("clears");
        sensor.set_rules(&[(RuleKey::from(mac(1)), isolate())]).expect("rules");
        for host in order {
            let expected = if host == 1 { XDP_DROP } else { XDP_PASS };
            assert_eq!(sensor.run(&discover(host)).expect("runs"), expected, "from {host} in {order:?}");
            assert_eq!(sensor.run(&answer(host)).expect("runs"), expected, "to {host} in {order:?}");
        }
    }
}
