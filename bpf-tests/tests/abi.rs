//! The object in the binary has the layouts of `sensor_ebpf`, and the kernel takes it.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;

use aya::EbpfLoader;
use aya::maps::{Map, MapData, MapInfo};
use bpf_tests::frame::{Frame, SYN, mac};
use bpf_tests::kernel::{PORT, TestSensor};
use sensor_ebpf::control::{
    Bucket, Clock, Config, FRAGMENT_CAPACITY, HOST_CAPACITY, MAX_IFINDEX, PAIR_CAPACITY, PLACE_CAPACITY,
    Port, Reflex,
};
use sensor_ebpf::counter::{PortCell, REASON_CAPACITY};
use sensor_ebpf::event::{RING_CONTROL_BYTES, RING_FLOW_BYTES};
use sensor_ebpf::flow::{FlowKey4, FlowKey6, FragmentKey, Lane, MAX_PORTS, ports};
use sensor_ebpf::heard::{HEARD_KINDS, HeardCell, RING_HEARD_BYTES};
use sensor_ebpf::parse::mac_bytes;
use sensor_ebpf::rule::{
    ALLOW_CAPACITY, Address, AllowKey, INTERNAL_CAPACITY, NET_CAPACITY, RULE_CAPACITY, RuleCounters,
    RuleValue, SCOPE_CAPACITY, SEGMENTS, SLOTS,
};
use sensor_ebpf::seal::{SEAL_CAPACITY, Seal};
use sensor_ebpf::table::{SETS4, SETS6, Set};
use sensor_user::bpf::{FlowKey, OBJECT};

/// Bytes of the program's scratch space: its alone.
const SCRATCH_BYTES: usize = 456;

/// Bytes of a key, bytes of a value, entries.
type Shape = (usize, usize, u32);

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(map)
        | Map::PerCpuArray(map)
        | Map::HashMap(map)
        | Map::LpmTrie(map)
        | Map::LruHashMap(map)
        | Map::RingBuf(map) => Some(map),
        _ => None,
    }
}

#[test]
fn every_map_has_the_size_both_sides_know() {
    let index = size_of::<u32>();
    let (word, trie) = (size_of::<u64>(), size_of::<u32>() + size_of::<Address>());
    let expected: [(&str, Shape); 28] = [
        ("ALLOW", (size_of::<AllowKey>(), size_of::<u32>(), ALLOW_CAPACITY)),
        ("CLOCK", (index, size_of::<Clock>(), 1)),
        ("CONFIG", (index, size_of::<Config>(), 1)),
        ("FLOW4", (index, size_of::<Set<FlowKey4>>(), SETS4)),
        ("FLOW6", (index, size_of::<Set<FlowKey6>>(), SETS6)),
        ("FRAGMENTS", (size_of::<FragmentKey>(), size_of::<u32>(), FRAGMENT_CAPACITY)),
        ("HOSTS", (word, size_of::<Bucket>(), HOST_CAPACITY)),
        ("HEARD", (index, size_of::<HeardCell>(), HEARD_KINDS)),
        ("INTERNAL", (trie, size_of::<u32>(), INTERNAL_CAPACITY)),
        ("PAIRS", (word, size_of::<u32>(), PAIR_CAPACITY)),
        ("PLACES", (word, size_of::<u32>(), PLACE_CAPACITY)),
        ("PORTS", (index, size_of::<Port>(), MAX_IFINDEX)),
        ("PORT_COUNTERS", (index, size_of::<PortCell>(), MAX_PORTS)),
        ("REASONS", (index, word, REASON_CAPACITY)),
        ("REFLEX", (index, size_of::<Reflex>(), SEGMENTS)),
        ("RING_CONTROL", (0, 0, RING_CONTROL_BYTES)),
        ("RING_FLOW", (0, 0, RING_FLOW_BYTES)),
        ("RING_HEARD", (0, 0, RING_HEARD_BYTES)),
        ("RULES_IP", (size_of::<Address>(), size_of::<RuleValue>(), RULE_CAPACITY)),
        ("RULES_MAC", (word, size_of::<RuleValue>(), RULE_CAPACITY)),
        ("RULES_NET", (trie, size_of::<RuleValue>(), NET_CAPACITY)),
        ("RULES_SCOPE", (index, size_of::<RuleValue>(), SCOPE_CAPACITY)),
        ("RULE_COUNTERS", (index, size_of::<RuleCounters>(), SLOTS)),
        ("SCRATCH", (index, SCRATCH_BYTES, 1)),
        ("SEALS", (index, size_of::<Seal>(), SEAL_CAPACITY)),
        ("SEGMENT_OF", (index, size_of::<u32>(), SCOPE_CAPACITY)),
        ("THROTTLED", (index, size_of::<Bucket>(), SLOTS)),
        ("WOKEN", (index, size_of::<u32>(), 1)),
    ];
    let ebpf = EbpfLoader::new().load(OBJECT).expect("the kernel makes the maps");
    let shape = |info: MapInfo| (info.key_size() as usize, info.value_size() as usize, info.max_entries());
    let got: BTreeMap<&str, Shape> = ebpf
        .maps()
        .filter(|(name, _)| !name.starts_with('.') && *name != "AYA_LOGS")
        .map(|(name, map)| (name, shape(data(map).expect("a known kind").info().expect("its size"))))
        .collect();
    assert_eq!(got, BTreeMap::from(expected));
}

#[test]
fn keys_in_the_kernel_are_those_user_space_makes() {
    let (src, dst) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (src6, dst6) = ([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0xfe; 16]);
    let words = |ip: [u8; 16]| -> [u32; 4] {
        std::array::from_fn(|at| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| ip[at * 4 + byte])))
    };
    let lane = Lane::new(ports(40_000u16.to_be(), 23u16.to_be()), 6, PORT, 10);
    let expected = [
        FlowKey::V4(FlowKey4::new(u32::from_ne_bytes(src), u32::from_ne_bytes(dst), lane)),
        FlowKey::V6(FlowKey6::new(words(src6), words(dst6), lane)),
    ];
    let start = || Frame::ethernet(mac(1), mac(2)).vlan(10);
    let frames = [start().ip4(src.into(), dst.into()), start().ip6(src6.into(), dst6.into())];
    let mut sensor = TestSensor::load().expect("loads");
    for (frame, key) in frames.into_iter().zip(expected) {
        sensor.run(&frame.tcp(40_000, 23, SYN).build()).expect("runs");
        let flows = sensor.flows().expect("the tables are read");
        let flow = flows.get(&key).expect("the key is found");
        assert_eq!(
            (flow.packets(), mac_bytes(flow.macs().src()), mac_bytes(flow.macs().dst()), flow.ttl),
            (1, mac(1), mac(2), 64)
        );
    }
}
