//! The short way through the parser reads what the parser reads, or nothing; and it is gone by what is usual.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sensor_ebpf::account::{key4, key6};
use sensor_ebpf::counter::Reason;
use sensor_ebpf::flow::{FlowKey4, FlowKey6};
use sensor_ebpf::parse::{self, ETHER_IPV4, ETHER_IPV6, Slice};
use sensor_ebpf::usual;

const PORT: u8 = 3;

/// What is read of a packet: its flow and its TCP flags.
#[derive(PartialEq, Eq, Debug)]
enum Read {
    V4(FlowKey4, u8),
    V6(FlowKey6, u8),
}

/// By the parser; `None` for frames without a flow, and those with a fault.
fn general(frame: &[u8]) -> Option<Read> {
    let (link, at, reason) = parse::link(Slice(frame));
    let sound = |upper: parse::Upper| (upper.fault == Reason::None as u8).then_some(upper.tcp_flags);
    match link.ether_type {
        _ if reason != Reason::None => None,
        ETHER_IPV4 => {
            let net = parse::ipv4(at, 0).ok()?;
            Some(Read::V4(key4(&net, &link, PORT), sound(net.upper)?))
        }
        ETHER_IPV6 => {
            let net = parse::ipv6(at, 0).ok()?;
            Some(Read::V6(key6(&net, &link, PORT), sound(net.upper)?))
        }
        _ => None,
    }
}

fn short(frame: &[u8]) -> Option<Read> {
    let at = Slice(frame);
    let four = usual::ipv4(at, frame.len()).map(|packet| Read::V4(packet.key(PORT), packet.tcp_flags));
    four.or_else(|| usual::ipv6(at, frame.len()).map(|packet| Read::V6(packet.key(PORT), packet.tcp_flags)))
}

/// A sound frame of TCP or UDP over IPv4 or IPv6, with so many bytes behind the shortest TCP header.
fn frame(tagged: bool, six: bool, proto: u8, noise: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    if tagged {
        frame.extend([0x81, 0, 0x60, 10]);
    }
    let [high, low] = (20 + noise.len() as u16 + if six { 0 } else { 20 }).to_be_bytes();
    if six {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, high, low, proto, 64]);
        frame.extend(1..=32);
    } else {
        frame.extend([8, 0, 0x45, 0, high, low, 0, 7, 0x40, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    frame.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    frame.extend(noise);
    frame
}

fn any_usual() -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), any::<bool>(), select(vec![6u8, 17]), vec(any::<u8>(), 0..40))
        .prop_map(|(tagged, six, proto, noise)| frame(tagged, six, proto, &noise))
}

proptest! {
    #[test]
    fn usual_packets_go_the_short_way(frame in any_usual()) {
        prop_assert!(short(&frame).is_some());
        prop_assert_eq!(short(&frame), general(&frame));
    }

    /// Headers with some bytes changed, and frames cut short.
    #[test]
    fn the_short_way_never_reads_otherwise(
        frame in any_usual(),
        changes in vec((any::<Index>(), prop_oneof![any::<u8>(), select(vec![0u8, 1, 0x20, 0x45, 0x81, 0x88])]), 0..4),
        cut in prop::option::of(any::<Index>()),
    ) {
        let mut frame = frame;
        let headers = frame.len().min(78);
        for (at, byte) in changes {
            frame[at.index(headers)] = byte;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len() + 1));
        }
        if let Some(read) = short(&frame) {
            prop_assert_eq!(Some(read), general(&frame));
        }
    }
}

#[test]
fn what_is_odd_is_left_to_the_parser() {
    let cases: [(&str, usize, &[u8]); 10] = [
        ("link control", 0, &[1, 0x80, 0xc2, 0, 0, 0]),
        ("IPv4 options", 14, &[0x46]),
        ("more fragments", 20, &[0x20]),
        ("a later fragment", 21, &[1]),
        ("total length 0", 16, &[0, 0]),
        ("total length below the header", 16, &[0, 19]),
        ("total length beyond the frame", 16, &[0, 41]),
        ("ICMP", 23, &[1]),
        ("TCP data offset 4", 46, &[0x4f]),
        ("ARP", 13, &[6]),
    ];
    for (name, at, bytes) in cases {
        let mut frame = frame(false, false, 6, &[]);
        assert!(short(&frame).is_some());
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(short(&frame), None, "{name}");
    }
}
