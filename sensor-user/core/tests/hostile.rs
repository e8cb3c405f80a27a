//! Anything at all, as frames and as observations: no panic, bounded tables, time that may do what it likes.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use sensor_core::addr::Mac;
use sensor_core::datapath::{Datapath, RuleKey};
use sensor_core::engine::{Engine, Output};
use sensor_core::observation::Observation;
use sensor_core::settings::{Limits, Mode, Settings};
use sensor_core::time::Time;
use sensor_core::tunnel;
use sensor_ebpf::control::{REFLEX_ENFORCE, Rate, Reflex};
use sensor_ebpf::rule::{
    AllowKey, FLAG_BOTH, FLAG_OBSERVE, LEVEL_ISOLATE, RuleValue, scope_of_segment, scope_of_vlan,
};

fn small() -> Settings {
    let limits = Limits { devices: 8, flows: 16, contacts: 4, peers: 16, incidents: 2 };
    Settings { mode: Mode::Enforce, limits, ..Settings::default() }
}

/// Bytes that often look like a frame: an EtherType, maybe tags, a version and header length, then anything.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let tag =
        prop_oneof![Just(vec![]), Just(vec![0x81, 0, 0, 5]), Just(vec![0x88, 0xa8, 0, 5, 0x81, 0, 0, 6])];
    let net = prop_oneof![
        (0u8..16).prop_map(|ihl| vec![8, 0, 0x40 | ihl]),
        Just(vec![0x86, 0xdd, 0x60]),
        Just(vec![8, 6, 0, 1, 8, 0, 6, 4]),
        vec(any::<u8>(), 0..4),
    ];
    (vec(any::<u8>(), 12), tag, net, vec(any::<u8>(), 0..120))
        .prop_map(|(macs, tag, net, rest)| [macs, tag, net, rest].concat())
}

proptest! {
    #[test]
    fn any_frames(frames in vec((frame(), any::<u32>(), any::<u64>()), 0..60)) {
        let settings = small();
        let (mut datapath, mut engine) = (Datapath::new(1), Engine::new(settings.clone()));
        let mut out = Output::default();
        for (bytes, len, time) in &frames {
            for record in datapath.frame(bytes, *len, Time::at(*time)) {
                if let Some(seen) = Observation::decode(&record.flow, Some(&record.inner)) {
                    engine.observe(&seen, &mut out);
                }
            }
            engine.tick(Time::at(*time), &mut out);
            datapath.enforce(&out.decisions);
            out.decisions.clear();
        }
        let mut progress = Vec::new();
        datapath.sweep(Time::LATEST, false, &mut progress);
        for progress in progress {
            engine.observe(&Observation::Progress(progress), &mut out);
        }
        engine.finish(Time::LATEST, &mut out);
        let stats = engine.stats();
        prop_assert!(stats.devices <= settings.limits.devices as u64);
        prop_assert!(stats.flows_live <= settings.limits.flows as u64);
        prop_assert!(stats.contacts_waiting <= settings.limits.contacts as u64);
        prop_assert_eq!(datapath.counters().packets, frames.len() as u64);
    }

    #[test]
    fn any_packet_within_a_tunnel(
        proto in prop_oneof![Just(4u8), Just(17), Just(41), Just(47), any::<u8>()],
        dport in prop_oneof![Just(4_789u16), Just(6_081), Just(8_472), any::<u16>()],
        bytes in vec(any::<u8>(), 0..=80),
    ) {
        if let Some(inner) = tunnel::inner(proto, dport, &bytes) {
            // What is read is not made up: both addresses lie there, one behind the other or as far apart as ARP has them.
            let octets = |ip: std::net::IpAddr| match ip {
                std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
                std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let (src, dst) = (octets(inner.src), octets(inner.dst));
            prop_assert!(bytes.windows(src.len()).any(|window| window == src));
            prop_assert!(bytes.windows(dst.len()).any(|window| window == dst));
        }
    }

    /// Under rules of any kind and level, with a reflex.
    #[test]
    fn accounted_and_ignored_and_unentered_is_all(
        frames in vec(frame(), 0..60),
        rules in vec((key(), any::<u8>(), any::<u8>(), any::<bool>()), 0..6),
        burst in 0..4_u64,
    ) {
        let mut datapath = Datapath::new(1);
        for (number, (key, level, flags, lists)) in (1..).zip(rules) {
            let rule = RuleValue { flags, list: u16::from(lists), ..RuleValue::new(number, level % 10) };
            datapath.rules.set(key, Some(rule));
        }
        datapath.rules.allow.insert(AllowKey { list: 1, ..AllowKey::default() });
        datapath.rules.segments.insert(scope_of_vlan(5), 1);
        let rate = Rate { interval_ns: 1_000, burst_ns: burst * 1_000 };
        datapath.rules.reflex.insert(burst as u32 % 2, Reflex { rate, mode: REFLEX_ENFORCE, pad: 0 });
        datapath.throttle = [rate, rate];
        datapath.commit();
        for bytes in &frames {
            datapath.frame(bytes, bytes.len() as u32, Time::at(1));
        }
        let counters = datapath.counters();
        let in_flows: u64 = datapath.flows4().map(|(_, v)| v.packets()).sum::<u64>()
            + datapath.flows6().map(|(_, v)| v.packets()).sum::<u64>();
        prop_assert_eq!(in_flows + counters.ignored_packets + counters.unentered_packets, frames.len() as u64);
        prop_assert_eq!(counters.packets, frames.len() as u64);
    }

    /// However a frame of the isolated host is wrapped, it is dropped; none of anybody else is, but what hides behind more
    /// headers than are followed.
    #[test]
    fn no_stack_of_headers_frees_an_isolated_host_or_cuts_off_an_innocent_one(
        stacks in vec((stack(), any::<bool>()), 1..40),
        by in 0..4_u8,
        observed in any::<bool>(),
    ) {
        let mut datapath = Datapath::new(1);
        let observe = if observed { FLAG_OBSERVE } else { 0 };
        let rule = RuleValue { flags: FLAG_BOTH | observe, ..RuleValue::new(7, LEVEL_ISOLATE) };
        for key in isolation(by) {
            datapath.rules.set(key, Some(rule));
        }
        datapath.commit();
        for (stack, guilty) in &stacks {
            let bytes = stack.frame(*guilty);
            let before = datapath.counters();
            datapath.frame(&bytes, bytes.len() as u32, Time::at(1));
            let after = datapath.counters();
            let (dropped, would) =
                (after.drop_packets > before.drop_packets, after.would_drop_packets > before.would_drop_packets);
            if stack.link.len() > 8 {
                // What hides deep is dropped when a rule is in force, whoever sends it.
                prop_assert_eq!(dropped, !observed, "deep: {:x?}", bytes);
            } else {
                prop_assert_eq!((dropped, would), (*guilty && !observed, *guilty && observed), "{:x?}", bytes);
            }
        }
    }
}

/// The rules of an isolation: by MAC address, by IP addresses, by prefixes, or as a device.
fn isolation(by: u8) -> Vec<RuleKey> {
    let ips = || {
        ["10.0.0.1", "fd00::1"].map(|ip| RuleKey::from(ip.parse::<IpAddr>().expect("an address"))).to_vec()
    };
    let nets = || {
        let prefix =
            |text: &str| RuleKey::from(&text.parse::<sensor_core::addr::Prefix>().expect("a prefix"));
        ["10.0.0.0/31", "fd00::/127"].map(prefix).to_vec()
    };
    let mac = || vec![RuleKey::from(Mac([2, 0, 0, 0, 0, 1]))];
    match by {
        0 => mac(),
        1 => ips(),
        2 => nets(),
        _ => [mac(), ips()].concat(),
    }
}

/// A header before the packet, of a kind.
#[derive(Clone, Copy, Debug)]
enum Shim {
    Tag(u8, u16),
    Snap,
    Pppoe,
    Label,
}

/// Headers up to the transport header, all as they should be.
#[derive(Clone, Debug)]
struct Stack {
    link: Vec<Shim>,
    six: bool,
    /// Words of options of IPv4.
    options: u8,
    /// Extension headers of IPv6.
    extensions: Vec<u8>,
    /// Fragment field of IPv4, or of an IPv6 fragment header.
    fragment: Option<u16>,
    proto: u8,
    rest: Vec<u8>,
}

impl Stack {
    /// The frame, from the isolated host or from another, to a third.
    fn frame(&self, guilty: bool) -> Vec<u8> {
        let from = if guilty { 1 } else { 3 };
        let packet = if self.six { self.packet6(from) } else { self.packet4(from) };
        let inner: u16 = if self.six { 0x86dd } else { 0x0800 };
        let (ether_type, mut bytes) = (inner, packet);
        // From the packet outwards; after a label or PPPoE only they tell what follows.
        let mut next = ether_type;
        for shim in self.link.iter().rev() {
            let mut head = Vec::new();
            match shim {
                Shim::Tag(kind, id) => {
                    head.extend(id.to_be_bytes());
                    head.extend(next.to_be_bytes());
                    next = [0x8100, 0x88a8, 0x9100][usize::from(*kind) % 3];
                }
                Shim::Snap => {
                    head.extend([0xaa, 0xaa, 3, 0, 0, 0]);
                    head.extend(next.to_be_bytes());
                    next = 0x0100;
                }
                // Nothing but IP may lie within: else it is a tag again.
                Shim::Pppoe if next == inner => {
                    head.extend([0x11, 0, 0, 7, 0, 0, 0, if self.six { 0x57 } else { 0x21 }]);
                    next = 0x8864;
                }
                Shim::Label if next == inner || next == 0x8847 => {
                    head.extend([0, 1, u8::from(next == inner), 64]);
                    next = 0x8847;
                }
                Shim::Pppoe | Shim::Label => {
                    head.extend([0, 5]);
                    head.extend(next.to_be_bytes());
                    next = 0x8100;
                }
            }
            head.extend(bytes);
            bytes = head;
        }
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, from];
        frame.extend(next.to_be_bytes());
        frame.extend(bytes);
        frame
    }

    fn packet4(&self, from: u8) -> Vec<u8> {
        let words = 5 + self.options;
        let total = (usize::from(words) * 4 + self.rest.len()) as u16;
        let mut packet = vec![0x40 | words, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 7]);
        packet.extend(self.fragment.unwrap_or(0).to_be_bytes());
        packet.extend([64, self.proto, 0, 0, 10, 0, 0, from, 10, 0, 0, 2]);
        packet.extend(vec![1; usize::from(self.options) * 4]);
        packet.extend(&self.rest);
        packet
    }

    fn packet6(&self, from: u8) -> Vec<u8> {
        let mut headers = self.extensions.clone();
        headers.extend(self.fragment.map(|_| 44));
        let protos = headers.iter().copied().skip(1).chain([self.proto]);
        let mut body = Vec::new();
        for (header, next) in headers.iter().zip(protos) {
            let [high, low] = self.fragment.unwrap_or(0).to_be_bytes();
            match header {
                44 => body.extend([next, 0, high, low, 0, 0, 0, 9]),
                51 => body.extend([next, 0, 0, 0, 0, 0, 0, 1]),
                _ => body.extend([next, 0, 1, 4, 0, 0, 0, 0]),
            }
        }
        body.extend(&self.rest);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((body.len() as u16).to_be_bytes());
        packet.extend([headers.first().copied().unwrap_or(self.proto), 64]);
        for last in [from, 2] {
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend(body);
        packet
    }
}

fn stack() -> impl Strategy<Value = Stack> {
    let shim = prop_oneof![
        (any::<u8>(), any::<u16>()).prop_map(|(kind, id)| Shim::Tag(kind, id)),
        Just(Shim::Snap),
        Just(Shim::Pppoe),
        Just(Shim::Label),
    ];
    let extension = prop::sample::select(vec![0u8, 43, 51, 60, 135, 139, 140]);
    let proto = prop::sample::select(vec![1u8, 4, 6, 17, 41, 47, 50, 58, 89, 132, 255]);
    (
        vec(shim, 0..11),
        any::<bool>(),
        0..11_u8,
        vec(extension, 0..9),
        prop::option::of(any::<u16>()),
        proto,
        vec(any::<u8>(), 0..60),
    )
        .prop_map(|(link, six, options, extensions, fragment, proto, rest)| Stack {
            link,
            six,
            options,
            extensions,
            fragment,
            proto,
            rest,
        })
}

/// What a rule may be about, often something of the frames.
fn key() -> impl Strategy<Value = RuleKey> {
    prop_oneof![
        Just(RuleKey::Mac(0)),
        any::<u64>().prop_map(|mac| RuleKey::Mac(mac & 0xffff_ffff_ffff)),
        any::<[u64; 2]>().prop_map(RuleKey::Ip),
        (0..=128_u32).prop_map(|bits| RuleKey::Net { bits, address: [0; 2] }),
        (0..6_u16).prop_map(|vlan| RuleKey::Scope(scope_of_vlan(vlan))),
        (0..3_u32).prop_map(RuleKey::Scope),
        (0..3_u32).prop_map(|segment| RuleKey::Scope(scope_of_segment(segment))),
    ]
}
