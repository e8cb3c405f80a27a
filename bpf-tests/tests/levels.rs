//! Rules of every level for every kind of target: what they drop, what they leave, and what they count.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bpf_tests::capture;
use bpf_tests::chance::{Cast, Chance, Made, budget};
use bpf_tests::frame::{ACK, Frame, SYN, mac};
use bpf_tests::kernel::{PORT, TestSensor, XDP_DROP, XDP_PASS};
use bpf_tests::traffic::until;
use sensor_core::addr::Prefix;
use sensor_core::datapath;
use sensor_core::time::Time;
use sensor_ebpf::control::Rate;
use sensor_ebpf::counter::Reason;
use sensor_ebpf::event::{DROP_SAMPLE, RECORD_DROP};
use sensor_ebpf::flow::VERDICT_DROP;
use sensor_ebpf::rule::{
    AllowKey, FLAG_BOTH, FLAG_FROM, FLAG_OBSERVE, FLAG_TO, LEVEL_CUT, LEVEL_EXTERNAL_ONLY, LEVEL_ISOLATE,
    LEVEL_PIN, LEVEL_PROTECT, LEVEL_QUARANTINE, LEVEL_THROTTLE, ROLE_ANY, ROLE_CLIENT, ROLE_NEIGHBOUR,
    ROLE_SERVER, RuleCounters, RuleValue, scope_of_port, scope_of_segment, scope_of_vlan,
};
use sensor_user::bpf::RuleKey;
use sensor_user::clock::Now;

const A4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const B4: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
const A6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 2);
/// B lives at another port.
const FAR: u8 = 2;
/// The VLAN of some frames.
const VLAN: u16 = 20;
/// The segments of A's port and of that VLAN.
const OF_PORT: u32 = 3;
const OF_VLAN: u32 = 4;

/// Rules as they are installed.
type Rules = Vec<(RuleKey, RuleValue)>;

/// What a rule may be about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Mac,
    Ip4,
    Ip6,
    Net4,
    Net6,
    Port,
    Vlan,
    Segment,
    VlanSegment,
}

use Kind::{Ip4, Ip6, Mac, Net4, Net6, Port, Segment, Vlan, VlanSegment};

const KINDS: [Kind; 9] = [Mac, Ip4, Ip6, Net4, Net6, Port, Vlan, Segment, VlanSegment];
const LEVELS: [u8; 6] =
    [LEVEL_THROTTLE, LEVEL_EXTERNAL_ONLY, LEVEL_PIN, LEVEL_QUARANTINE, LEVEL_ISOLATE, LEVEL_CUT];

fn net(prefix: &str) -> RuleKey {
    RuleKey::from(&prefix.parse::<Prefix>().expect("a prefix"))
}

fn ip(ip: impl Into<IpAddr>) -> RuleKey {
    RuleKey::from(ip.into())
}

impl Kind {
    /// The rule key of this kind that means A, or where A lives.
    fn key(self) -> RuleKey {
        match self {
            Mac => RuleKey::from(mac(1)),
            Ip4 => ip(A4),
            Ip6 => ip(A6),
            Net4 => net("10.1.0.0/16"),
            Net6 => net("fd01::/16"),
            Port => RuleKey::Scope(scope_of_port(PORT)),
            Vlan => RuleKey::Scope(scope_of_vlan(VLAN)),
            Segment => RuleKey::Scope(scope_of_segment(OF_PORT)),
            VlanSegment => RuleKey::Scope(scope_of_segment(OF_VLAN)),
        }
    }

    fn is_six(self) -> bool {
        matches!(self, Ip6 | Net6)
    }

    /// Whether it is about VLANs: then it is about both ends of a frame.
    fn is_wide(self) -> bool {
        matches!(self, Vlan | VlanSegment)
    }

    /// How exactly it says who is meant: less is more exact.
    fn rank(self) -> u8 {
        match self {
            Mac => 0,
            Ip4 | Ip6 => 1,
            Net4 | Net6 => 2,
            Port | Vlan | Segment | VlanSegment => 3,
        }
    }
}

/// A frame between A and B, of a flow by its port.
#[derive(Clone, Copy)]
struct Shape {
    /// From A to B, or back.
    from_a: bool,
    six: bool,
    tagged: bool,
    sport: u16,
}

impl Shape {
    fn build(self) -> Vec<u8> {
        let (src, dst) = if self.from_a { (1, 2) } else { (2, 1) };
        let link = Frame::ethernet(mac(src), mac(dst));
        let link = if self.tagged { link.vlan(VLAN) } else { link };
        let ends = |a, b| if self.from_a { (a, b) } else { (b, a) };
        let net = if self.six {
            let (src, dst) = ends(IpAddr::from(A6), IpAddr::from(B6));
            let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) else { unreachable!("IPv6") };
            link.ip6(src, dst)
        } else {
            let (src, dst) = ends(IpAddr::from(A4), IpAddr::from(B4));
            let (IpAddr::V4(src), IpAddr::V4(dst)) = (src, dst) else { unreachable!("IPv4") };
            link.ip4(src, dst)
        };
        net.tcp(self.sport, 80, SYN).build()
    }

    /// Runs it by the port its source lives at.
    fn run(self, sensor: &mut TestSensor) -> u32 {
        sensor.come_by(if self.from_a { PORT } else { FAR }).expect("a port");
        sensor.run(&self.build()).expect("runs")
    }
}

/// A sensor that knows where A and B live, with the two segments.
fn sensor() -> TestSensor {
    let mut sensor = TestSensor::load().expect("loads");
    let rules = &mut sensor.maps.rules;
    rules.set_segment(scope_of_port(PORT), OF_PORT).expect("a segment");
    rules.set_segment(scope_of_vlan(VLAN), OF_VLAN).expect("a segment");
    // Each byte over the budget: every frame of a throttled device is dropped.
    rules.set_throttle(Rate::default(), budget(0)).expect("a throttle");
    sensor.set_rules(&[]).expect("no rules");
    for from_a in [true, false] {
        let hello = Shape { from_a, six: false, tagged: false, sport: 1 };
        assert_eq!(hello.run(&mut sensor), XDP_PASS, "no rules yet");
    }
    sensor
}

#[test]
fn each_level_holds_for_each_kind_of_target_in_its_directions_and_counts() {
    let mut sensor = sensor();
    let mut number = 100;
    for (kind, level) in KINDS.into_iter().flat_map(|kind| LEVELS.map(|level| (kind, level))) {
        for (flags, observe) in
            [FLAG_FROM, FLAG_TO, FLAG_BOTH].into_iter().flat_map(|flags| [(flags, 0), (flags, FLAG_OBSERVE)])
        {
            number += 1;
            let rule = RuleValue { flags: flags | observe, ..RuleValue::new(number, level) };
            sensor.set_rules(&[(kind.key(), rule)]).expect("a rule");
            let mut wanted = RuleCounters::default();
            for from_a in [true, false] {
                let shape =
                    Shape { from_a, six: kind.is_six(), tagged: kind.is_wide(), sport: number as u16 };
                let about = kind.is_wide() || flags & if from_a { FLAG_FROM } else { FLAG_TO } != 0;
                let name = format!("{kind:?}, level {level}, flags {}, from A: {from_a}", rule.flags);
                // As the first of its flow and from the cache.
                for time in ["first", "second"] {
                    let expected = if about && observe == 0 { XDP_DROP } else { XDP_PASS };
                    assert_eq!(shape.run(&mut sensor), expected, "{name}: {time}");
                    if about {
                        wanted.count(observe == 0, shape.build().len() as u64);
                    }
                }
            }
            let got = sensor.maps.counters.rule(number).expect("counters");
            assert_eq!(got, wanted, "{kind:?}, level {level}, flags {}", rule.flags);
        }
    }
}

#[test]
fn protection_goes_before_all_rules_that_are_less_exact() {
    let mut sensor = sensor();
    let mut sport = 100;
    for (kept, cut) in KINDS.into_iter().flat_map(|kept| KINDS.map(|cut| (kept, cut))) {
        let families =
            (kept.is_six() || cut.is_six(), matches!(kept, Ip4 | Net4) || matches!(cut, Ip4 | Net4));
        if kept == cut || families == (true, true) {
            continue;
        }
        for (level, from_a) in [LEVEL_EXTERNAL_ONLY, LEVEL_QUARANTINE, LEVEL_ISOLATE, LEVEL_CUT]
            .into_iter()
            .flat_map(|level| [(level, true), (level, false)])
        {
            sport += 1;
            let rules =
                [(kept.key(), RuleValue::new(1, LEVEL_PROTECT)), (cut.key(), RuleValue::new(2, level))];
            sensor.set_rules(&rules).expect("rules");
            let tagged = kept.is_wide() || cut.is_wide();
            // A VLAN's rule is asked of the source, its segment's of both ends: nobody but a VLAN's protection keeps B.
            let other_end = cut == VlanSegment || (cut == Vlan && !from_a);
            let spared = kept.rank() <= cut.rank() && (!other_end || kept.is_wide());
            // Segments: that of a VLAN stands for the port's, which then has no say.
            let idle = tagged && cut == Segment;
            let unprotected = tagged && kept == Segment;
            // In a tagged frame to A the source B is of the VLAN's segment as well; its port is not A's.
            let expected = if idle || (spared && !unprotected) { XDP_PASS } else { XDP_DROP };
            let shape = Shape { from_a, six: families.0, tagged, sport };
            assert_eq!(
                shape.run(&mut sensor),
                expected,
                "protected {kept:?}, level {level} for {cut:?}, from A: {from_a}"
            );
        }
    }
}

#[test]
fn the_strictest_rule_of_an_end_holds_and_one_end_that_may_not_is_enough() {
    let observed =
        |number, level| RuleValue { flags: FLAG_BOTH | FLAG_OBSERVE, ..RuleValue::new(number, level) };
    let of = RuleValue::new;
    let b = RuleKey::from(mac(2));
    // Rules; whether a frame from A to B is dropped, and the rule that is named.
    let cases: [(&str, Rules, u32, u32); 10] = [
        (
            "isolate goes before quarantine",
            vec![(Mac.key(), of(1, LEVEL_QUARANTINE)), (Ip4.key(), of(2, LEVEL_ISOLATE))],
            XDP_DROP,
            2,
        ),
        (
            "quarantine before throttle",
            vec![(Mac.key(), of(1, LEVEL_THROTTLE)), (Net4.key(), of(2, LEVEL_QUARANTINE))],
            XDP_DROP,
            2,
        ),
        (
            "cut before isolate",
            vec![(Mac.key(), of(1, LEVEL_ISOLATE)), (Port.key(), of(2, LEVEL_CUT))],
            XDP_DROP,
            2,
        ),
        (
            "of two alike the more exact",
            vec![(Mac.key(), of(1, LEVEL_ISOLATE)), (Ip4.key(), of(2, LEVEL_ISOLATE))],
            XDP_DROP,
            1,
        ),
        (
            "the source before the destination",
            vec![(Mac.key(), of(1, LEVEL_QUARANTINE)), (b, of(2, LEVEL_CUT))],
            XDP_DROP,
            1,
        ),
        ("the destination alone", vec![(b, of(2, LEVEL_ISOLATE))], XDP_DROP, 2),
        (
            "enforced before observed, at one end",
            vec![(Mac.key(), observed(1, LEVEL_CUT)), (Ip4.key(), of(2, LEVEL_ISOLATE))],
            XDP_DROP,
            2,
        ),
        (
            "enforced before observed, at two ends",
            vec![(Mac.key(), observed(1, LEVEL_CUT)), (b, of(2, LEVEL_QUARANTINE))],
            XDP_DROP,
            2,
        ),
        (
            "the source of two observed",
            vec![(Mac.key(), observed(1, LEVEL_ISOLATE)), (b, observed(2, LEVEL_CUT))],
            XDP_PASS,
            1,
        ),
        ("a level nobody knows", vec![(Mac.key(), of(1, 9)), (Ip4.key(), of(2, LEVEL_ISOLATE))], XDP_DROP, 2),
    ];
    let mut sensor = sensor();
    for (sport, (name, rules, expected, named)) in (100..).zip(cases) {
        sensor.set_rules(&rules).expect("rules");
        sensor.come_by(PORT).expect("a port");
        let frame = Shape { from_a: true, six: false, tagged: false, sport }.build();
        let outcome = sensor.observe(&frame).expect("runs");
        let told: Vec<_> = outcome.records.iter().map(|record| record.rule_id).collect();
        assert_eq!((outcome.verdict, told), (expected, vec![named]), "{name}");
    }
    for level in [1, 9, 255] {
        sensor.set_rules(&[(Mac.key(), of(1, level))]).expect("a rule");
        let shape = Shape { from_a: true, six: false, tagged: false, sport: 90 };
        assert_eq!(shape.run(&mut sensor), XDP_PASS, "level {level}");
    }
}

#[test]
fn the_longest_prefix_holds() {
    let of = |number, level| RuleValue { flags: FLAG_FROM, ..RuleValue::new(number, level) };
    let cases: [(&str, Rules, bool, u32); 9] = [
        ("a wide one", vec![(net("10.0.0.0/8"), of(1, LEVEL_ISOLATE))], false, XDP_DROP),
        ("all of IPv4", vec![(net("0.0.0.0/0"), of(1, LEVEL_ISOLATE))], false, XDP_DROP),
        ("all of IPv4 is not IPv6", vec![(net("0.0.0.0/0"), of(1, LEVEL_ISOLATE))], true, XDP_PASS),
        (
            "a longer one protects",
            vec![(net("10.0.0.0/8"), of(1, LEVEL_ISOLATE)), (net("10.1.0.0/24"), of(2, LEVEL_PROTECT))],
            false,
            XDP_PASS,
        ),
        (
            "a longer one isolates",
            vec![(net("10.0.0.0/8"), of(1, LEVEL_PROTECT)), (net("10.1.0.0/24"), of(2, LEVEL_ISOLATE))],
            false,
            XDP_DROP,
        ),
        (
            "a longer one elsewhere",
            vec![(net("10.0.0.0/8"), of(1, LEVEL_ISOLATE)), (net("10.1.1.0/24"), of(2, LEVEL_PROTECT))],
            false,
            XDP_DROP,
        ),
        (
            "a whole address",
            vec![(net("10.0.0.0/8"), of(1, LEVEL_PROTECT)), (net("10.1.0.1/32"), of(2, LEVEL_ISOLATE))],
            false,
            XDP_DROP,
        ),
        (
            "IPv6",
            vec![(net("fd00::/8"), of(1, LEVEL_PROTECT)), (net("fd01::/64"), of(2, LEVEL_ISOLATE))],
            true,
            XDP_DROP,
        ),
        (
            "IPv6, a longer one protects",
            vec![(net("fd00::/8"), of(1, LEVEL_ISOLATE)), (net("fd01::1/128"), of(2, LEVEL_PROTECT))],
            true,
            XDP_PASS,
        ),
    ];
    let mut sensor = sensor();
    for (sport, (name, rules, six, expected)) in (100..).zip(cases) {
        sensor.set_rules(&rules).expect("rules");
        assert_eq!(Shape { from_a: true, six, tagged: false, sport }.run(&mut sensor), expected, "{name}");
    }
}

/// A frame of the device A or to it, and whether the lists below let it pass.
type Said = (&'static str, Frame, bool);

fn from_a() -> Frame {
    Frame::ethernet(mac(1), mac(2))
}

fn to_a() -> Frame {
    Frame::ethernet(mac(2), mac(1))
}

fn allowances(list: u16) -> Vec<AllowKey> {
    let server = datapath::address(IpAddr::from(B4));
    let of =
        |peer, proto, port: u16, role| AllowKey { peer, list, port: port.to_be(), proto, role, pad: [0; 2] };
    vec![
        of([0; 2], 0, 0, ROLE_NEIGHBOUR),
        of([0; 2], 17, 67, ROLE_CLIENT),
        of(server, 6, 104, ROLE_CLIENT),
        of([0; 2], 6, 22, ROLE_SERVER),
        of(datapath::address(IpAddr::from(Ipv4Addr::new(10, 2, 0, 9))), 0, 0, ROLE_ANY),
    ]
}

fn quarantined() -> Vec<Said> {
    let (nobody, all) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let (other, repair) = (Ipv4Addr::new(10, 2, 0, 3), Ipv4Addr::new(10, 2, 0, 9));
    let mut discovery4 = from_a().ip4(A4, other);
    discovery4.protocol(58);
    vec![
        ("ARP", Frame::ethernet(mac(1), [0xff; 6]).arp(1, mac(1), A4, [0; 6], B4), true),
        ("an ARP answer", to_a().arp(2, mac(2), B4, mac(1), A4), true),
        ("neighbour discovery", from_a().ip6(A6, B6).icmp(135, 0), true),
        ("its answer", to_a().ip6(B6, A6).icmp(136, 0), true),
        ("ICMPv6's number in IPv4", discovery4.bytes(&[135, 0, 0, 0, 0, 0, 0, 0]), false),
        ("DHCP", Frame::ethernet(mac(1), [0xff; 6]).ip4(nobody, all).udp(68, 67), true),
        ("a DHCP answer", to_a().ip4(B4, A4).udp(67, 68), true),
        ("the service", from_a().ip4(A4, B4).tcp(40_000, 104, SYN), true),
        ("its answer", to_a().ip4(B4, A4).tcp(104, 40_000, SYN | ACK), true),
        ("the service by UDP", from_a().ip4(A4, B4).udp(40_000, 104), false),
        ("another service of it", from_a().ip4(A4, B4).tcp(40_000, 445, SYN), false),
        ("the service of another", from_a().ip4(A4, other).tcp(40_000, 104, SYN), false),
        ("its port as our own", from_a().ip4(A4, B4).tcp(104, 445, SYN), false),
        ("called at its port", to_a().ip4(B4, A4).tcp(40_000, 104, SYN), false),
        ("our own service", to_a().ip4(other, A4).tcp(40_000, 22, SYN), true),
        ("our own service's answer", from_a().ip4(A4, other).tcp(22, 40_000, SYN | ACK), true),
        ("our own service's port elsewhere", from_a().ip4(A4, other).tcp(40_000, 22, SYN), false),
        ("anything with the repair server", from_a().ip4(A4, repair).udp(1, 2), true),
        ("ICMP with it", from_a().ip4(A4, repair).icmp(8, 0), true),
        ("a fragment to it", from_a().ip4_with(A4, repair, 9, &[]).bytes(&[0; 16]), true),
        ("ICMP with another", from_a().ip4(A4, other).icmp(8, 0), false),
        ("a later fragment to the service", from_a().ip4_with(A4, B4, 9, &[]).bytes(&[0; 16]), false),
        ("another protocol", from_a().ip4(A4, B4).bytes(&[0; 20]), false),
        ("an unknown EtherType", from_a().ether_type(0x88b5), false),
        ("a short IPv4 header", from_a().ether_type(0x0800).bytes(&[0x45; 10]).unpadded(), false),
        ("link control", Frame::ethernet(mac(1), [1, 0x80, 0xc2, 0, 0, 14]).ether_type(0x88cc), true),
    ]
}

#[test]
fn quarantined_and_pinned_devices_do_what_their_list_says() {
    let mut sensor = sensor();
    sensor.come_by(PORT).expect("a port");
    for key in allowances(5) {
        sensor.maps.rules.allow(key, true).expect("allowed");
    }
    assert_eq!(sensor.maps.rules.allowed().expect("lists").len(), allowances(5).len());
    for level in [LEVEL_PIN, LEVEL_QUARANTINE] {
        for (list, observe) in [(5, 0), (6, 0), (5, FLAG_OBSERVE)] {
            let rule = RuleValue { list, flags: FLAG_BOTH | observe, ..RuleValue::new(1, level) };
            sensor.set_rules(&[(Mac.key(), rule)]).expect("a rule");
            for (name, frame, allowed) in quarantined() {
                let frame = frame.build();
                let control = name == "link control";
                let forbidden = !control && (!allowed || list == 6);
                let before = sensor.maps.counters.rule(1).expect("counters");
                for time in ["first", "second"] {
                    let expected = if forbidden && observe == 0 { XDP_DROP } else { XDP_PASS };
                    let got = sensor.run(&frame).expect("runs");
                    assert_eq!(
                        got, expected,
                        "level {level}, list {list}, observe {observe}: {name}: {time}"
                    );
                }
                let after = sensor.maps.counters.rule(1).expect("counters");
                let counted = after.drop_packets + after.would_drop_packets
                    - before.drop_packets
                    - before.would_drop_packets;
                assert_eq!(
                    counted,
                    if forbidden { 2 } else { 0 },
                    "level {level}, list {list}: {name}: counted"
                );
            }
            sensor.forget(&[]).expect("forgets");
        }
    }
}

/// A later fragment gets its first one's verdict; who forges the first one's number from elsewhere gets nothing by it.
#[test]
fn fragments_of_what_is_allowed_pass_and_no_others() {
    let mut sensor = sensor();
    sensor.come_by(PORT).expect("a port");
    for key in allowances(5) {
        sensor.maps.rules.allow(key, true).expect("allowed");
    }
    let rule = RuleValue { list: 5, ..RuleValue::new(1, LEVEL_QUARANTINE) };
    sensor.set_rules(&[(Mac.key(), rule)]).expect("a rule");
    let first = |port| from_a().ip4_with(A4, B4, 0x2000, &[]).tcp(40_000, port, ACK).build();
    let later = || from_a().ip4_with(A4, B4, 9, &[]).bytes(&[0; 32]).build();
    let tiny =
        || from_a().ip4_with(A4, B4, 0x2000, &[]).bytes(&[0x9c, 0x40, 0, 104, 0, 0, 0, 1]).unpadded().build();
    let run = |sensor: &TestSensor, frame: Vec<u8>| sensor.run(&frame).expect("runs");
    let mut proto_tcp = later();
    proto_tcp[23] = 6;
    let mut tiny = tiny();
    tiny[23] = 6;
    assert_eq!(run(&sensor, proto_tcp.clone()), XDP_DROP, "a later one alone");
    assert_eq!(run(&sensor, first(104)), XDP_PASS, "a first one of what is allowed");
    assert_eq!(run(&sensor, proto_tcp.clone()), XDP_PASS, "its later one");
    assert_eq!(run(&sensor, first(445)), XDP_DROP, "a first one of what is not, with the same number");
    assert_eq!(run(&sensor, proto_tcp.clone()), XDP_DROP, "its later one");
    assert_eq!(run(&sensor, first(104)), XDP_PASS, "again");
    assert_eq!(run(&sensor, tiny), XDP_DROP, "a first one too short for its ports' header");
    assert_eq!(run(&sensor, proto_tcp), XDP_DROP, "its later one");
}

#[test]
fn external_only_lets_out_nothing_but_to_internal_prefixes() {
    let mut sensor = sensor();
    sensor.come_by(PORT).expect("a port");
    for prefix in ["10.0.0.0/8", "fd02::/16"] {
        let RuleKey::Net { bits, address } = net(prefix) else { panic!("a prefix") };
        sensor.maps.rules.add_internal(bits, address).expect("added");
    }
    sensor.set_rules(&[(Mac.key(), RuleValue::new(1, LEVEL_EXTERNAL_ONLY))]).expect("a rule");
    let (far4, far6) = (Ipv4Addr::new(198, 51, 100, 1), "2001:db8::1".parse().expect("an address"));
    let (nobody, all) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let (alone, group): (Ipv6Addr, Ipv6Addr) =
        ("fe80::1".parse().expect("v6"), "ff02::1:ff00:2".parse().expect("v6"));
    let cases: Vec<Said> = vec![
        ("inside", from_a().ip4(A4, B4).udp(5, 6), true),
        ("inside, IPv6", from_a().ip6(A6, B6).udp(5, 6), true),
        ("outside", from_a().ip4(A4, far4).udp(5, 6), false),
        ("outside, IPv6", from_a().ip6(A6, far6).udp(5, 6), false),
        ("from outside", to_a().ip4(far4, A4).udp(5, 6), false),
        ("ARP", Frame::ethernet(mac(1), [0xff; 6]).arp(1, mac(1), A4, [0; 6], far4), true),
        ("no IP", from_a().ether_type(0x88b5), true),
        ("DHCP", Frame::ethernet(mac(1), [0xff; 6]).ip4(nobody, all).udp(68, 67), true),
        (
            "a group",
            Frame::ethernet(mac(1), [1, 0, 0x5e, 0, 0, 251])
                .ip4(A4, Ipv4Addr::new(224, 0, 0, 251))
                .udp(5_353, 5_353),
            true,
        ),
        (
            "neighbour discovery",
            Frame::ethernet(mac(1), [0x33, 0x33, 0xff, 0, 0, 2]).ip6(A6, group).icmp(135, 0),
            true,
        ),
        ("its answer to an address of the link", from_a().ip6(A6, alone).icmp(136, 0), true),
        ("an address of the link, IPv4", from_a().ip4(A4, Ipv4Addr::new(169, 254, 1, 1)).udp(5, 6), true),
        ("reserved", from_a().ip4(A4, Ipv4Addr::new(240, 0, 0, 1)).udp(5, 6), false),
    ];
    for (name, frame, passes) in cases {
        let expected = if passes { XDP_PASS } else { XDP_DROP };
        assert_eq!(sensor.run(&frame.build()).expect("runs"), expected, "{name}");
    }
}

#[test]
fn only_a_cut_stops_link_control() {
    let group = |last| Frame::ethernet(mac(1), [1, 0x80, 0xc2, 0, 0, last]);
    let controls = [
        ("STP", group(0).ether_type(38).bytes(&[0x42, 0x42, 3])),
        ("LACP", group(2).ether_type(0x8809)),
        ("802.1X", group(3).ether_type(0x888e)),
        ("LLDP", group(14).ether_type(0x88cc)),
        ("PTP of peers", group(14).ether_type(0x88f7)),
        ("PTP", Frame::ethernet(mac(1), [1, 0x1b, 0x19, 0, 0, 0]).ether_type(0x88f7)),
    ];
    let mut sensor = sensor();
    sensor.come_by(PORT).expect("a port");
    for (kind, level) in [Mac, Port, Segment].into_iter().flat_map(|kind| LEVELS.map(|level| (kind, level))) {
        sensor.set_rules(&[(kind.key(), RuleValue::new(1, level))]).expect("a rule");
        for (name, frame) in controls.clone() {
            let expected = if level == LEVEL_CUT { XDP_DROP } else { XDP_PASS };
            assert_eq!(
                sensor.run(&frame.build()).expect("runs"),
                expected,
                "{name}, level {level}, {kind:?}"
            );
        }
    }
}

#[test]
fn rules_of_every_kind_end_on_time_in_the_kernel() {
    let mut sensor = sensor();
    for (kind, sport) in KINDS.into_iter().zip(100..) {
        let until_ns = Now::read().mono.ns() + 150_000_000;
        sensor
            .set_rules(&[(kind.key(), RuleValue { until_ns, ..RuleValue::new(1, LEVEL_CUT) })])
            .expect("a rule");
        let shape = Shape { from_a: true, six: kind.is_six(), tagged: kind.is_wide(), sport };
        let first = shape.run(&mut sensor);
        if Now::read().mono.ns() < until_ns {
            assert_eq!(first, XDP_DROP, "{kind:?}: in force");
        }
        until("the end of the rule", Duration::from_secs(5), || {
            let verdict = shape.run(&mut sensor);
            Ok((verdict == XDP_PASS).then_some(()))
        })
        .expect("ends");
        assert!(Now::read().mono.ns() >= until_ns, "{kind:?}: before its time");
    }
}

#[test]
fn the_first_of_the_dropped_frames_and_every_1024th_is_told_with_its_rule() {
    for (flags, enforced) in [(FLAG_BOTH, true), (FLAG_BOTH | FLAG_OBSERVE, false)] {
        let mut sensor = sensor();
        sensor.come_by(PORT).expect("a port");
        sensor
            .set_rules(&[(Mac.key(), RuleValue { flags, ..RuleValue::new(77, LEVEL_ISOLATE) })])
            .expect("a rule");
        let frame = |sport| Shape { from_a: true, six: false, tagged: false, sport }.build();
        let mut told = Vec::new();
        for number in 0..2 * DROP_SAMPLE + 1 {
            // Some of known flows, some of new ones.
            sensor.run(&frame(100 + (number % 700) as u16)).expect("runs");
            let drops = sensor.records().into_iter().filter(|record| record.kind == RECORD_DROP);
            told.extend(drops.map(|record| (number, record.rule_id, record.verdict == VERDICT_DROP)));
        }
        let wanted = [0, DROP_SAMPLE, 2 * DROP_SAMPLE].map(|number| (number, 77, enforced));
        assert_eq!(told, wanted);
    }
}

#[test]
fn bypass_takes_every_verdict_to_pass_and_back() {
    let mut sensor = sensor();
    sensor.come_by(PORT).expect("a port");
    sensor.set_rules(&[(Mac.key(), RuleValue::new(1, LEVEL_CUT))]).expect("a rule");
    let frames = || {
        let deep = (0..10).fold(from_a(), Frame::vlan).ether_type(0x0800);
        let stp = Frame::ethernet(mac(1), [1, 0x80, 0xc2, 0, 0, 0]).ether_type(38).bytes(&[0x42, 0x42, 3]);
        [from_a().ip4(A4, B4).udp(5, 6), from_a().ether_type(0x88b5), deep, stp].map(Frame::build)
    };
    for (bypassed, expected) in [(false, XDP_DROP), (true, XDP_PASS), (false, XDP_DROP)] {
        let bypass = sensor_user::bpf::Bypass { on: bypassed, ..Default::default() };
        sensor.maps.rules.set_bypass(bypass).expect("switched");
        for frame in frames() {
            assert_eq!(sensor.run(&frame).expect("runs"), expected, "bypass {bypassed}: {frame:x?}");
        }
    }
}

/// A rule for an address that is a group's, which no host has, would cut everybody's broadcasts.
#[test]
fn a_rule_for_the_mac_address_of_a_group_cuts_nobody_off() {
    let mut sensor = sensor();
    sensor.come_by(PORT).expect("a port");
    let rules = [[0xff; 6], [1, 0, 0x5e, 0, 0, 251]]
        .map(|mac| (RuleKey::from(mac), RuleValue::new(1, LEVEL_ISOLATE)));
    sensor.set_rules(&rules).expect("rules");
    let ask = Frame::ethernet(mac(1), [0xff; 6]).arp(1, mac(1), A4, [0; 6], B4).build();
    assert_eq!(sensor.run(&ask).expect("runs"), XDP_PASS, "a question to all");
    let forged = Frame::ethernet([0xff; 6], mac(2)).ip4(A4, B4).udp(5, 6).build();
    assert_eq!(sensor.run(&forged).expect("runs"), XDP_DROP, "from such an address");
}

/// Who used somebody's MAC address at a port that is cut then does not cut them off for long: they are heard elsewhere.
#[test]
fn a_borrowed_mac_address_at_a_cut_port_is_known_at_its_own_port_again_when_heard() {
    let mut sensor = sensor();
    let answer = Shape { from_a: false, six: false, tagged: false, sport: 500 };
    let call = Shape { from_a: true, ..answer };
    assert_eq!((call.run(&mut sensor), answer.run(&mut sensor)), (XDP_PASS, XDP_PASS));
    // Somebody at a third port borrows B's address; then the port is cut.
    sensor.come_by(9).expect("a port");
    let forged = Frame::ethernet(mac(2), mac(1)).ip4(Ipv4Addr::new(10, 3, 0, 3), A4).udp(7, 7).build();
    assert_eq!(sensor.run(&forged).expect("runs"), XDP_PASS);
    let port = RuleKey::Scope(scope_of_port(9));
    sensor.set_rules(&[(port, RuleValue::new(1, LEVEL_CUT))]).expect("a rule");
    assert_eq!(call.run(&mut sensor), XDP_DROP, "B seems to live at the cut port");
    sensor.come_by(9).expect("a port");
    assert_eq!(sensor.run(&forged).expect("runs"), XDP_DROP, "what comes by the cut port moves nobody");
    assert_eq!(answer.run(&mut sensor), XDP_PASS, "B goes on where it is");
    until(
        "B to be reached",
        Duration::from_secs(5),
        || Ok((call.run(&mut sensor) == XDP_PASS).then_some(())),
    )
    .expect("reached");
}

/// Who may still send something at a port under a rule and borrows another's MAC address for it does not have the rule hold for
/// the other.
#[test]
fn a_mac_address_borrowed_at_a_port_under_a_rule_moves_nobody_there() {
    const HELD: u8 = 9;
    let mut sensor = sensor();
    let key = AllowKey {
        list: 5,
        role: ROLE_ANY,
        peer: datapath::address(IpAddr::from(A4)),
        ..AllowKey::default()
    };
    sensor.maps.rules.allow(key, true).expect("allowed");
    let RuleKey::Net { bits, address } = net("10.0.0.0/8") else { panic!("a prefix") };
    sensor.maps.rules.add_internal(bits, address).expect("added");
    let forged = |sport| Frame::ethernet(mac(2), mac(1)).ip4(B4, A4).udp(sport, 7).build();
    // From inside to B is allowed at the port, but not from A's other address.
    let call =
        |sport| Frame::ethernet(mac(1), mac(2)).ip4(Ipv4Addr::new(192, 0, 2, 1), B4).udp(sport, 7).build();
    for (sport, level) in (100..).step_by(10).zip([LEVEL_EXTERNAL_ONLY, LEVEL_PIN, LEVEL_QUARANTINE]) {
        let rule = RuleValue { list: 5, ..RuleValue::new(1, level) };
        sensor.set_rules(&[(RuleKey::Scope(scope_of_port(HELD)), rule)]).expect("a rule");
        sensor.come_by(HELD).expect("a port");
        assert_eq!(sensor.run(&forged(sport)).expect("runs"), XDP_PASS, "level {level}: it may send this");
        sensor.come_by(PORT).expect("a port");
        assert_eq!(sensor.run(&call(sport)).expect("runs"), XDP_PASS, "level {level}: B is not held");
        // Who was not heard before lives where it is heard first.
        let other = mac(20 + level);
        sensor.come_by(HELD).expect("a port");
        let hello = Frame::ethernet(other, mac(1)).ip4(B4, A4).udp(sport + 1, 7).build();
        assert_eq!(sensor.run(&hello).expect("runs"), XDP_PASS, "level {level}");
        sensor.come_by(PORT).expect("a port");
        let call =
            Frame::ethernet(mac(1), other).ip4(Ipv4Addr::new(192, 0, 2, 1), B4).udp(sport + 2, 7).build();
        assert_eq!(sensor.run(&call).expect("runs"), XDP_DROP, "level {level}: who lives there is");
    }
}

/// A port that comes back has another number: who is held there must be known by it, or rules to the port would not hold.
#[test]
fn who_lived_at_a_port_that_left_is_known_where_it_is_heard_next() {
    let mut sensor = sensor();
    let key = AllowKey { list: 5, role: ROLE_SERVER, proto: 17, port: 7_u16.to_be(), ..AllowKey::default() };
    sensor.maps.rules.allow(key, true).expect("allowed");
    let rule = RuleValue { list: 5, ..RuleValue::new(1, LEVEL_QUARANTINE) };
    sensor.set_rules(&[(RuleKey::Scope(scope_of_port(9)), rule)]).expect("a rule");
    // B, which lived at the port by its number before, is heard by the new one.
    sensor.maps.rules.forget_places(&[PORT, 9].into()).expect("forgotten");
    sensor.come_by(9).expect("a port");
    let served = to_a().ip4(B4, A4).udp(7, 9).build();
    assert_eq!(sensor.run(&served).expect("runs"), XDP_PASS, "allowed");
    let call = Shape { from_a: true, six: false, tagged: false, sport: 700 };
    assert_eq!(call.run(&mut sensor), XDP_DROP, "B is held where it is now");
    let answer = Shape { from_a: false, ..call };
    assert_eq!(answer.run(&mut sensor), XDP_PASS, "A, at a port that is there, is known still");
}

/// What hides too deep to be read is dropped for everybody while a rule restricts somebody, and for no less.
#[test]
fn what_hides_too_deep_passes_unless_a_rule_is_in_force() {
    let observed =
        |number, level| RuleValue { flags: FLAG_BOTH | FLAG_OBSERVE, ..RuleValue::new(number, level) };
    let other = RuleKey::from(mac(9));
    let cases: [(&str, Rules, u32); 8] = [
        ("no rule", vec![], XDP_PASS),
        ("one of another that is observed", vec![(other, observed(1, LEVEL_CUT))], XDP_PASS),
        ("all observed", KINDS.map(|kind| (kind.key(), observed(1, LEVEL_ISOLATE))).to_vec(), XDP_PASS),
        ("one that protects", vec![(other, RuleValue::new(1, LEVEL_PROTECT))], XDP_PASS),
        ("one in force", vec![(other, RuleValue::new(1, LEVEL_THROTTLE))], XDP_DROP),
        (
            "one in force, one observed",
            vec![(other, RuleValue::new(1, LEVEL_ISOLATE)), (Mac.key(), observed(2, LEVEL_CUT))],
            XDP_DROP,
        ),
        (
            "one in force, the sender protected",
            vec![(other, RuleValue::new(1, LEVEL_ISOLATE)), (Mac.key(), RuleValue::new(2, LEVEL_PROTECT))],
            XDP_PASS,
        ),
        ("a level nobody knows", vec![(other, RuleValue::new(1, 9))], XDP_PASS),
    ];
    let frame = (0..10).fold(from_a(), Frame::vlan).ip4(A4, B4).udp(5, 6).build();
    let mut sensor = sensor();
    sensor.come_by(PORT).expect("a port");
    for (name, rules, expected) in cases {
        sensor.set_rules(&rules).expect("rules");
        assert_eq!(sensor.run(&frame).expect("runs"), expected, "{name}");
        // As another process finds them.
        sensor.maps.rules.list().expect("rules");
        sensor.maps.rules.commit().expect("committed");
        assert_eq!(sensor.run(&frame).expect("runs"), expected, "{name}, read again");
        let mut twin = datapath::Datapath::new(PORT);
        rules.iter().for_each(|(key, rule)| twin.rules.set(*key, Some(*rule)));
        twin.commit();
        twin.frame(&frame, frame.len() as u32, Time::at(1));
        assert_eq!(twin.counters().drop_packets, u64::from(expected == XDP_DROP), "{name}, the replay");
    }
}

/// What a frame of a capture came to.
struct Seen {
    dropped: bool,
    /// What it added to the counters of dropped and would-be dropped frames.
    drops: u64,
    would: u64,
    /// It hid behind too many headers.
    deep: bool,
}

/// What each frame of a capture came to.
fn verdicts(sensor: &mut TestSensor, path: &std::path::Path) -> Vec<Seen> {
    let mut all = Vec::new();
    let mut before = sensor.counters().expect("counters");
    let hidden = |sensor: &TestSensor| sensor.reasons().map(|reasons| reasons[Reason::DeepLink as usize]);
    // A damaged file is read as far as it goes.
    let _ = capture::frames(path, |frame| {
        if !(14..3_000).contains(&frame.len()) {
            return Ok(());
        }
        let deep = hidden(sensor)?;
        let dropped = sensor.run(frame)? == XDP_DROP;
        let after = sensor.counters()?;
        all.push(Seen {
            dropped,
            drops: after.drop_packets - before.drop_packets,
            would: after.would_drop_packets - before.would_drop_packets,
            deep: hidden(sensor)? != deep,
        });
        before = after;
        Ok(())
    });
    all
}

#[test]
fn what_would_be_dropped_is_what_is_dropped_packet_for_packet_and_byte_for_byte() {
    let Some(dir) = capture::data_dir() else {
        println!("NOT TESTED: no captures (set SEKISHO_DATA to the folder that has them)");
        return;
    };
    let mut sensor = TestSensor::load().expect("loads");
    let captures = capture::captures(&dir).expect("a readable folder");
    let (mut frames, mut drops) = (0, 0);
    for (seed, path) in (0..).zip(captures.iter().step_by(7)) {
        let cast = Cast::of(path);
        let mut made = Made::up(&cast, &mut Chance::new(seed), false);
        // All in force: how the two kinds mix is told elsewhere.
        made.rules.iter_mut().for_each(|(_, rule)| rule.flags &= !FLAG_OBSERVE);
        let run = |sensor: &mut TestSensor, rules: &[(RuleKey, RuleValue)]| {
            made.install(sensor, rules).expect("a policy");
            let seen = verdicts(sensor, path);
            let counted: Vec<_> =
                made.rule_ids().iter().map(|id| sensor.maps.counters.rule(*id).expect("counters")).collect();
            made.remove(sensor).expect("taken back");
            (seen, counted)
        };
        let (shadow, would) = run(&mut sensor, &made.observed());
        let (enforced, did) = run(&mut sensor, &made.rules);
        let name = path.display();
        assert_eq!(shadow.len(), enforced.len(), "{name}");
        for (number, (shadow, enforced)) in shadow.iter().zip(&enforced).enumerate() {
            // What hides behind too many headers is dropped only when rules are in force.
            if !enforced.deep {
                assert_eq!(shadow.would, enforced.drops, "{name}, frame {}: {:?}", number + 1, made.rules);
            }
            assert_eq!((shadow.dropped, shadow.drops), (false, 0), "{name}, frame {}", number + 1);
            assert_eq!(
                (enforced.would, enforced.dropped),
                (0, enforced.drops == 1),
                "{name}, frame {}",
                number + 1
            );
        }
        for (would, did) in would.iter().zip(&did) {
            let swapped = RuleCounters {
                drop_packets: would.would_drop_packets,
                drop_bytes: would.would_drop_bytes,
                ..RuleCounters::default()
            };
            assert_eq!((*did, would.drop_packets), (swapped, 0), "{name}: {:?}", made.rules);
        }
        frames += enforced.len();
        drops += enforced.iter().filter(|frame| frame.dropped).count();
    }
    println!(
        "{frames} frames of {} captures, {drops} dropped: in shadow the same",
        captures.len().div_ceil(7)
    );
    assert!(drops > frames / 20, "only {drops} of {frames} were dropped");
}

/// Hosts go by the first tag that names a VLAN, whatever tags that only give a priority stand before it.
#[test]
fn a_tag_without_an_identifier_hides_no_vlan() {
    let mut sensor = sensor();
    sensor.come_by(PORT).expect("a port");
    sensor.set_rules(&[(Vlan.key(), RuleValue::new(1, LEVEL_CUT))]).expect("a rule");
    let udp = |link: Frame| link.ip4(A4, B4).udp(5, 6).build();
    let cases = [
        ("untagged", udp(from_a()), XDP_PASS),
        ("a priority alone", udp(from_a().vlan(0)), XDP_PASS),
        ("the VLAN", udp(from_a().vlan(VLAN)), XDP_DROP),
        ("a priority before it", udp(from_a().vlan(0).vlan(VLAN)), XDP_DROP),
        ("two before it", udp(from_a().tag(0x88a8, 0).vlan(0).vlan(VLAN)), XDP_DROP),
        ("a priority with it", udp(from_a().vlan(VLAN | 7 << 13)), XDP_DROP),
        ("within another VLAN", udp(from_a().tag(0x88a8, 5).vlan(VLAN)), XDP_PASS),
        ("another within it", udp(from_a().tag(0x88a8, VLAN).vlan(5)), XDP_DROP),
    ];
    for (name, frame, expected) in cases {
        assert_eq!(sensor.run(&frame).expect("runs"), expected, "{name}");
    }
}
