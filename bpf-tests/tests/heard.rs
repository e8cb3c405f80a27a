//! Frames by which devices are identified are told whole, each kind within its budget, and nothing else suffers from them.
//! The program in the kernel and the replay's data path tell the same.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bpf_tests::frame::{Frame, SYN, mac};
use bpf_tests::kernel::{PORT, TestSensor, XDP_DROP, XDP_PASS};
use sensor_core::datapath::{Datapath, RuleKey};
use sensor_core::identify::heard::{Heard, Said};
use sensor_core::time::Time;
use sensor_ebpf::heard::{
    HEARD_BYTES, HEARD_DHCP, HEARD_DHCP6, HEARD_MDNS, HEARD_NEIGHBOUR, HEARD_NETBIOS, HEARD_SSDP, HEARD_SYN,
    HeardRecord,
};
use sensor_ebpf::rule::{LEVEL_ISOLATE, RuleValue};

const SRC: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const DST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const SRC6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ACK: u8 = 0x10;

fn ethernet() -> Frame {
    Frame::ethernet(mac(1), mac(2))
}

fn four(sport: u16, dport: u16) -> Vec<u8> {
    ethernet().ip4(SRC, DST).udp(sport, dport).bytes(&[7; 60]).build()
}

fn six(sport: u16, dport: u16) -> Vec<u8> {
    ethernet().ip6(SRC6, SRC6).udp(sport, dport).bytes(&[7; 60]).build()
}

/// Runs a frame through both data paths, which must tell the same; gives the kind it was told as, or 0.
fn told(sensor: &mut TestSensor, twin: &mut Datapath, name: &str, frame: &[u8]) -> u8 {
    sensor.run(frame).expect("runs");
    let mut got = sensor.heard();
    twin.frame(frame, frame.len() as u32, Time::at(1));
    let wanted = twin.heard().copied();
    assert!(got.len() <= 1, "{name}: told twice");
    let got = got.pop().map(|(mut head, bytes)| {
        assert_eq!(bytes, frame[..frame.len().min(HEARD_BYTES)], "{name}");
        head.time_ns = 1;
        head
    });
    assert_eq!(got, wanted, "{name}");
    got.map_or(0, |head| head.kind)
}

#[test]
fn each_kind_of_frame_is_told_each_time_and_no_other() {
    let mut sensor = TestSensor::load().expect("loads");
    let mut twin = Datapath::new(PORT);
    let to = |group: [u8; 6]| Frame::ethernet(mac(1), group);
    let lldp =
        to([0x01, 0x80, 0xc2, 0, 0, 0x0e]).ether_type(0x88cc).bytes(&[2, 7, 4, 0, 0, 0, 0, 0, 1]).build();
    let cdp = [0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0, 2, 180, 0, 0, 0, 1, 0, 6, b's', b'w'];
    let cdp = to([0x01, 0, 0x0c, 0xcc, 0xcc, 0xcc]).ether_type(cdp.len() as u16).bytes(&cdp).build();
    let long = ethernet().ip4(SRC, DST).udp(5_353, 5_353).bytes(&[7; 1_300]).build();
    let cases: [(&str, Vec<u8>, u8); 22] = [
        ("dhcp client", four(68, 67), HEARD_DHCP),
        ("dhcp server", four(67, 68), HEARD_DHCP),
        ("dhcpv6 client", six(546, 547), HEARD_DHCP6),
        ("dhcpv6 server", six(547, 546), HEARD_DHCP6),
        ("mdns", four(5_353, 5_353), HEARD_MDNS),
        ("mdns over ipv6", six(5_353, 5_353), HEARD_MDNS),
        ("mdns answer to one", four(5_353, 40_000), HEARD_MDNS),
        ("mdns longer than is told", long, HEARD_MDNS),
        ("mdns in a vlan", ethernet().vlan(20).ip4(SRC, DST).udp(5_353, 5_353).build(), HEARD_MDNS),
        ("ssdp", four(40_001, 1_900), HEARD_SSDP),
        ("ssdp answer", four(1_900, 40_001), HEARD_SSDP),
        ("netbios names", four(137, 137), HEARD_NETBIOS),
        ("netbios datagrams", four(138, 138), HEARD_NETBIOS),
        ("lldp", lldp, HEARD_NEIGHBOUR),
        ("cdp", cdp, HEARD_NEIGHBOUR),
        ("dns", four(40_002, 53), 0),
        ("tcp to the port of mdns", ethernet().ip4(SRC, DST).tcp(5_353, 5_353, ACK).build(), 0),
        ("a fragment", ethernet().ip4_with(SRC, DST, 100, &[]).udp(5_353, 5_353).build(), 0),
        ("stp", to([0x01, 0x80, 0xc2, 0, 0, 0]).ether_type(38).bytes(&[0x42, 0x42, 3, 0]).build(), 0),
        ("arp", ethernet().arp(1, mac(1), SRC, [0; 6], DST).build(), 0),
        ("a connection under way", ethernet().ip4(SRC, DST).tcp(40_003, 80, ACK).build(), 0),
        ("an answer", ethernet().ip4(SRC, DST).tcp(80, 40_004, SYN | ACK).build(), 0),
    ];
    for (name, frame, kind) in &cases {
        for time in ["first", "again"] {
            assert_eq!(told(&mut sensor, &mut twin, name, frame), *kind, "{name}, {time}");
        }
    }
    let first = [
        ("syn", ethernet().ip4(SRC, DST).tcp(40_005, 80, SYN).build()),
        ("syn over ipv6", ethernet().ip6(SRC6, SRC6).tcp(40_005, 80, SYN).build()),
        ("syn in a vlan", ethernet().vlan(20).ip4(SRC, DST).tcp(40_005, 80, SYN).build()),
    ];
    for (name, frame) in &first {
        assert_eq!(told(&mut sensor, &mut twin, name, frame), HEARD_SYN, "{name}");
        assert_eq!(told(&mut sensor, &mut twin, name, frame), 0, "{name}, sent again");
    }
}

#[test]
fn what_is_dropped_is_not_told() {
    let mut sensor = TestSensor::load().expect("loads");
    let rule = RuleValue::new(7, LEVEL_ISOLATE);
    sensor.set_rules(&[(RuleKey::from(IpAddr::from(SRC)), rule)]).expect("rules");
    for frame in [four(5_353, 5_353), ethernet().ip4(SRC, DST).tcp(1, 80, SYN).build()] {
        assert_eq!(sensor.run(&frame).expect("runs"), XDP_DROP);
    }
    assert_eq!(sensor.heard(), []);
}

#[test]
fn a_flood_of_one_kind_is_limited_and_silences_no_other() {
    const FRAMES: u64 = 20_000;
    let mut sensor = TestSensor::load().expect("loads");
    let (mdns, dhcp) = (four(5_353, 5_353), four(68, 67));
    let mut told = 0;
    for _ in 0..FRAMES {
        assert_eq!(sensor.run(&mdns).expect("runs"), XDP_PASS);
        told += sensor.heard().len() as u64;
    }
    let cell = sensor.maps.counters.heard(HEARD_MDNS).expect("counters");
    assert_eq!((cell.told, cell.told + cell.limited, cell.lost), (told, FRAMES, 0));
    assert!(cell.limited > FRAMES / 4, "{cell:?}");
    sensor.run(&dhcp).expect("runs");
    assert_eq!(sensor.heard().len(), 1);
    assert_eq!(sensor.counters().expect("counters").records_lost, 0);
}

#[test]
fn what_finds_the_ring_full_is_counted_and_flows_are_told_all_the_same() {
    const FRAMES: u64 = 100;
    let mut sensor = TestSensor::load_with(&[("RING_HEARD", 4_096)]).expect("loads");
    for number in 0..FRAMES {
        let syn = ethernet().ip4(SRC, DST).tcp(number as u16 + 1, 80, SYN).build();
        assert_eq!(sensor.run(&syn).expect("runs"), XDP_PASS);
    }
    let cell = sensor.maps.counters.heard(HEARD_SYN).expect("counters");
    let fit = 4_096 / (size_of::<HeardRecord>() as u64 + 8);
    assert_eq!((cell.told, cell.lost, cell.limited), (fit, FRAMES - fit, 0));
    let flows = sensor.counters().expect("counters");
    assert_eq!((flows.records_sent, flows.records_lost), (FRAMES, 0));
    assert_eq!((sensor.heard().len() as u64, sensor.records().len() as u64), (fit, FRAMES));
}

#[test]
fn what_a_device_says_arrives_where_it_is_read() {
    let mut sensor = TestSensor::load().expect("loads");
    let search = b"M-SEARCH * HTTP/1.1\r\nST: ssdp:all\r\n\r\n";
    let frame = ethernet().vlan(20).ip4(SRC, DST).udp(40_000, 1_900).bytes(search).build();
    sensor.run(&frame).expect("runs");
    let (head, bytes) = sensor.heard().pop().expect("told");
    let heard = Heard::decode(&head, &bytes).expect("understood");
    assert_eq!((heard.vlan, heard.port, heard.ip, heard.mac.0), (20, PORT, Some(SRC.into()), mac(1)));
    assert!(matches!(heard.said, Said::Ssdp(said) if said.asks && said.kind.as_deref() == Some("ssdp:all")));
}
