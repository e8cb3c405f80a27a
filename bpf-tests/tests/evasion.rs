//! All ways to hide a packet we could think of, on the wire: nothing of an isolated host arrives by any of them, and whatever
//! an innocent host sends arrives as if nobody looked.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::frame::{ACK, Frame, MORE_FRAGMENTS, SYN, mac};
use bpf_tests::lab::{Lab, run};
use bpf_tests::raw::Raw;
use bpf_tests::traffic::until;
use sensor_core::addr::Prefix;
use sensor_ebpf::rule::{LEVEL_ISOLATE, LEVEL_PROTECT, RuleValue, scope_of_vlan};
use sensor_user::bpf::{Ports, RuleKey, Sensor};

/// The host that is isolated, the one that listens, and one nobody has anything against.
const ISOLATED: u8 = 1;
const LISTENER: u8 = 2;
const INNOCENT: u8 = 3;
/// An address nobody has but the protected list, and the MAC address of a host that is not there.
const PROTECTED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
const ABSENT: u8 = 9;

/// Who sends.
#[derive(Clone, Copy)]
struct Who {
    host: u8,
}

impl Who {
    fn mac(self) -> [u8; 6] {
        mac(self.host)
    }

    fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.host)
    }

    fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(self.host))
    }

    fn link(self) -> Frame {
        Frame::ethernet(self.mac(), mac(LISTENER))
    }

    fn to(self, dst: [u8; 6]) -> Frame {
        Frame::ethernet(self.mac(), dst)
    }

    fn ip4(self) -> Frame {
        self.link().ip4(self.v4(), TO4)
    }

    fn ip6(self) -> Frame {
        self.link().ip6(self.v6(), TO6)
    }

    /// An IPv4 packet of UDP.
    fn packet4(self) -> Vec<u8> {
        self.ip4().udp(4_000, 4_001).bytes(&[0x55; 40]).unpadded().build().split_off(14)
    }

    /// An IPv6 packet of UDP.
    fn packet6(self) -> Vec<u8> {
        self.ip6().udp(4_000, 4_001).bytes(&[0x55; 40]).unpadded().build().split_off(14)
    }

    /// A frame of this EtherType (or length), with these bytes before a packet.
    fn wrap(self, ether_type: u16, shim: &[u8], packet: &[u8]) -> Vec<u8> {
        self.link().ether_type(ether_type).bytes(shim).bytes(packet).build()
    }

    /// An 802.3 frame with a SNAP header.
    fn snap(self, ether_type: u16, packet: &[u8]) -> Vec<u8> {
        let [high, low] = ether_type.to_be_bytes();
        self.wrap(packet.len() as u16 + 8, &[0xaa, 0xaa, 3, 0, 0, 0, high, low], packet)
    }

    fn pppoe(self, protocol: u16, packet: &[u8]) -> Vec<u8> {
        let [high, low] = (packet.len() as u16 + 2).to_be_bytes();
        let [first, second] = protocol.to_be_bytes();
        self.wrap(0x8864, &[0x11, 0, 0, 7, high, low, first, second], packet)
    }

    fn mpls(self, ether_type: u16, labels: usize, packet: &[u8]) -> Vec<u8> {
        let stack: Vec<u8> =
            (1..=labels).flat_map(|label| [0, label as u8, u8::from(label == labels), 64]).collect();
        self.wrap(ether_type, &stack, packet)
    }

    /// A tunnel in IPv4 of this protocol, to the listener.
    fn tunnel(self, proto: u8, head: &[u8], inner: &[u8]) -> Vec<u8> {
        let mut frame = self.ip4();
        frame.protocol(proto);
        frame.bytes(head).bytes(inner).build()
    }

    /// IPv6 extension headers one after the other, then UDP.
    fn extensions(self, headers: &[u8]) -> Vec<u8> {
        let frame = headers.iter().fold(self.ip6(), |frame, header| match header {
            51 => frame.extension(51, &[4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            44 => frame.extension(44, &[0, 0, 0, 0, 0, 0, 9]),
            header => frame.extension(*header, &[0, 1, 4, 0, 0, 0, 0]),
        });
        frame.udp(4_000, 4_001).build()
    }

    fn fragment4(self, field: u16, bytes: &[u8]) -> Vec<u8> {
        let mut frame = self.link().ip4_with(self.v4(), TO4, field, &[]);
        frame.protocol(17);
        frame.bytes(bytes).build()
    }

    fn fragment6(self, field: u16, bytes: &[u8]) -> Vec<u8> {
        let [high, low] = field.to_be_bytes();
        let mut frame = self.ip6().extension(44, &[0, high, low, 0, 0, 0, 9]);
        frame.protocol(17);
        frame.bytes(bytes).build()
    }
}

const TO4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, LISTENER);
const TO6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, LISTENER as u16);

/// What of a sender can be read in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shows {
    /// Its MAC and its IP address.
    Both,
    /// Its MAC address: rules by IP address alone do not hold it.
    Mac,
    /// Its IP address: it borrowed a MAC address.
    Ip,
    /// Neither; or it is link control, which passes by design.
    Neither,
    /// Nothing, but it hides so deep that it is dropped while there are rules, whoever sends it.
    Deep,
}

/// A way to send something.
struct Way {
    name: String,
    shows: Shows,
    frames: Vec<Vec<u8>>,
}

fn way(name: impl Into<String>, shows: Shows, frames: Vec<Vec<u8>>) -> Way {
    Way { name: name.into(), shows, frames }
}

fn patched(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// Headers before the packet.
fn by_link(who: Who) -> Vec<Way> {
    let (four, six) = (who.packet4(), who.packet6());
    let both = |name: &str, frames| way(name, Shows::Both, frames);
    let tags = |frame: Frame, count: usize| (0..count).fold(frame, |frame, id| frame.vlan(10 + id as u16));
    let mut ways = vec![
        both(
            "plain",
            vec![who.ip4().udp(1, 2).build(), who.ip6().udp(1, 2).build(), who.ip4().tcp(1, 2, SYN).build()],
        ),
        both("ICMP", vec![who.ip4().icmp(8, 0).build(), who.ip6().icmp(128, 0).build()]),
        both("an unknown protocol", vec![who.ip4().bytes(&[0; 40]).build()]),
        both("VLAN", vec![who.link().vlan(10).ip4(who.v4(), TO4).udp(1, 2).build()]),
        both("priority tag", vec![who.link().vlan(0).ip4(who.v4(), TO4).udp(1, 2).build()]),
        both("QinQ", vec![who.link().tag(0x88a8, 5).vlan(10).ip4(who.v4(), TO4).udp(1, 2).build()]),
        both("QinQ of old", vec![who.link().tag(0x9100, 5).vlan(10).ip6(who.v6(), TO6).udp(1, 2).build()]),
        both("SNAP", vec![who.snap(0x0800, &four), who.snap(0x86dd, &six)]),
        both("PPPoE", vec![who.pppoe(0x21, &four), who.pppoe(0x57, &six)]),
        both(
            "a PPPoE session in a VLAN",
            vec![patched(
                tags(who.link(), 1)
                    .ether_type(0x8864)
                    .bytes(&[0x11, 0, 0, 7, 0, 70, 0, 0x21])
                    .bytes(&four)
                    .build(),
                15,
                &[10],
            )],
        ),
        both("MPLS of the other EtherType", vec![who.mpls(0x8848, 1, &four)]),
        way("802.3 length", Shows::Mac, vec![who.wrap(50, &[0xe0, 0xe0, 3], &[0; 47])]),
        way(
            "SNAP of another organization",
            Shows::Mac,
            vec![who.wrap(90, &[0xaa, 0xaa, 3, 0, 0, 1, 8, 0], &four)],
        ),
        way("PPPoE of another protocol", Shows::Mac, vec![who.pppoe(0xc021, &[1; 40])]),
        way("MPLS with something else within", Shows::Mac, vec![who.mpls(0x8847, 1, &[0; 60])]),
        way("an unknown EtherType", Shows::Mac, vec![who.wrap(0x88b5, &[], &four)]),
        way("MAC in MAC", Shows::Mac, vec![who.wrap(0x88e7, &[0, 0, 0, 1], &four)]),
        way("nothing behind the header", Shows::Mac, vec![who.link().ether_type(0x0800).unpadded().build()]),
    ];
    for count in 2..=10 {
        let shows = if count > 8 { Shows::Deep } else { Shows::Both };
        ways.push(way(
            format!("{count} tags"),
            shows,
            vec![tags(who.link(), count).ip4(who.v4(), TO4).udp(1, 2).build()],
        ));
        ways.push(way(
            format!("{count} labels"),
            shows,
            vec![who.mpls(0x8847, count - 1, &four), who.mpls(0x8847, count, &six)],
        ));
    }
    // With one label less it would not be too deep.
    ways.retain(|way| way.name != "9 labels");
    ways
}

/// What IP itself has to hide in.
fn by_network(who: Who) -> Vec<Way> {
    let both = |name: &str, frames| way(name, Shows::Both, frames);
    let udp = [0x0f, 0xa0, 0x0f, 0xa1, 0, 48, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let (four, six) = (who.packet4(), who.packet6());
    let vxlan = Frame::ethernet(mac(ABSENT), mac(LISTENER)).ip4(PROTECTED, TO4).udp(1, 2).build();
    let in_udp = |port: u16, head: &[u8]| who.ip4().udp(9_999, port).bytes(head).bytes(&vxlan).build();
    let mut ways = vec![
        both("IP options", vec![who.link().ip4_with(who.v4(), TO4, 0, &[1; 40]).udp(1, 2).build()]),
        both("a first fragment", vec![who.fragment4(MORE_FRAGMENTS, &udp), who.fragment6(1, &udp)]),
        both("a later fragment alone", vec![who.fragment4(185, &udp), who.fragment6(0x05c8, &udp)]),
        both(
            "a later fragment, then the first",
            vec![
                who.fragment4(2, &udp),
                who.fragment4(MORE_FRAGMENTS, &udp),
                who.fragment6(0x10, &udp),
                who.fragment6(1, &udp),
            ],
        ),
        both(
            "overlapping fragments",
            vec![
                who.fragment4(MORE_FRAGMENTS, &udp),
                who.fragment4(MORE_FRAGMENTS | 1, &udp),
                who.fragment4(1, &udp),
            ],
        ),
        both(
            "tiny fragments",
            vec![
                who.fragment4(MORE_FRAGMENTS, &udp[..8]),
                who.fragment4(MORE_FRAGMENTS | 1, &udp[8..]),
                who.fragment4(2, &[]),
            ],
        ),
        both(
            "a number used again",
            vec![
                who.fragment4(MORE_FRAGMENTS, &udp),
                who.fragment4(1, &udp),
                who.fragment4(MORE_FRAGMENTS, &udp),
                who.fragment4(1, &udp),
            ],
        ),
        both("an atomic fragment", vec![who.fragment6(0, &udp)]),
        both("GRE", vec![who.tunnel(47, &[0, 0, 8, 0], &four), who.tunnel(47, &[0, 0, 0x86, 0xdd], &six)]),
        both("IP in IP", vec![who.tunnel(4, &[], &four)]),
        both("6in4", vec![who.tunnel(41, &[], &six)]),
        both("VXLAN", vec![in_udp(4_789, &[8, 0, 0, 0, 0, 0, 1, 0])]),
        both("GENEVE", vec![in_udp(6_081, &[0, 0, 0x65, 0x58, 0, 0, 1, 0])]),
        both(
            "a jumbo frame",
            vec![
                who.ip4().udp(1, 2).bytes(&[7; 8_900]).build(),
                who.ip6().tcp(1, 2, ACK).bytes(&[7; 8_900]).build(),
            ],
        ),
        both("a frame over 1,514 bytes", vec![who.ip4().udp(1, 2).bytes(&[7; 1_500]).build()]),
        both(
            "an IPv4 address in IPv6",
            vec![who.link().ip6(who.v4().to_ipv6_mapped(), TO6).udp(1, 2).build()],
        ),
        both("to everybody", vec![who.to([0xff; 6]).ip4(who.v4(), Ipv4Addr::BROADCAST).udp(1, 2).build()]),
        both(
            "to a group",
            vec![
                who.to([1, 0, 0x5e, 0, 0, 251])
                    .ip4(who.v4(), Ipv4Addr::new(224, 0, 0, 251))
                    .udp(1, 2)
                    .build(),
            ],
        ),
        both(
            "no IPv4 address to go to",
            vec![who.link().ip4(who.v4(), Ipv4Addr::UNSPECIFIED).udp(1, 2).build()],
        ),
        way(
            "no IPv4 address",
            Shows::Mac,
            vec![who.link().ip4(Ipv4Addr::UNSPECIFIED, TO4).udp(1, 2).build()],
        ),
        way(
            "no IPv6 address",
            Shows::Mac,
            vec![who.link().ip6(Ipv6Addr::UNSPECIFIED, TO6).udp(1, 2).build()],
        ),
        way("a protected host's address", Shows::Mac, vec![who.link().ip4(PROTECTED, TO4).udp(1, 2).build()]),
        way(
            "another's MAC address",
            Shows::Ip,
            vec![Frame::ethernet(mac(ABSENT), mac(LISTENER)).ip4(who.v4(), TO4).udp(1, 2).build()],
        ),
        way(
            "another's MAC and IP address",
            Shows::Neither,
            vec![
                Frame::ethernet(mac(ABSENT), mac(LISTENER))
                    .ip4(Ipv4Addr::new(172, 16, 0, 9), TO4)
                    .udp(1, 2)
                    .build(),
            ],
        ),
    ];
    for header in [0, 43, 44, 51, 60, 135, 139, 140] {
        ways.push(both(&format!("extension header {header}"), vec![who.extensions(&[header])]));
    }
    ways.push(both("six extension headers", vec![who.extensions(&[0, 60, 43, 44, 51, 60])]));
    ways.push(both(
        "seven and more",
        vec![who.extensions(&[0, 60, 43, 44, 51, 60, 135]), who.extensions(&[60; 20])],
    ));
    ways
}

/// Headers that end too early, or do not tell the truth.
fn by_lying(who: Who) -> Vec<Way> {
    let (tcp4, tcp6) = (who.ip4().tcp(1, 2, SYN).build(), who.ip6().tcp(1, 2, SYN).build());
    let udp4 = who.ip4().udp(1, 2).build();
    let mut ways = Vec::new();
    for len in 14..tcp6.len() {
        let read = |net: usize| if len >= 14 + net { Shows::Both } else { Shows::Mac };
        if len < tcp4.len() {
            ways.push(way(format!("IPv4, {len} bytes"), read(20), vec![tcp4[..len].to_vec()]));
        }
        ways.push(way(format!("IPv6, {len} bytes"), read(40), vec![tcp6[..len].to_vec()]));
    }
    for total in [0_u16, 1, 19, 20, 21, 1_500, 65_535] {
        let bytes = total.to_be_bytes();
        ways.push(way(
            format!("IPv4 of {total} bytes"),
            Shows::Both,
            vec![patched(tcp4.clone(), 16, &bytes)],
        ));
        ways.push(way(
            format!("IPv6 of {total} bytes"),
            Shows::Both,
            vec![patched(tcp6.clone(), 18, &bytes)],
        ));
        ways.push(way(format!("UDP of {total} bytes"), Shows::Both, vec![patched(udp4.clone(), 38, &bytes)]));
    }
    for words in 0..16_u8 {
        let shows = if words < 5 { Shows::Mac } else { Shows::Both };
        ways.push(way(
            format!("an IPv4 header of {words} words"),
            shows,
            vec![patched(tcp4.clone(), 14, &[0x40 | words])],
        ));
        ways.push(way(
            format!("a TCP header of {words} words"),
            Shows::Both,
            vec![patched(tcp4.clone(), 46, &[words << 4])],
        ));
    }
    for version in [0_u8, 5, 6, 15] {
        ways.push(way(
            format!("IPv4 of version {version}"),
            Shows::Mac,
            vec![patched(tcp4.clone(), 14, &[version << 4 | 5])],
        ));
    }
    ways.push(way("IPv6 of version 4", Shows::Mac, vec![patched(tcp6, 14, &[0x45])]));
    ways
}

/// What is, or looks like, the talk of hosts and switches about the network.
fn by_control(who: Who) -> Vec<Way> {
    let stp = |frame: Frame| frame.ether_type(38).bytes(&[0x42, 0x42, 3]).bytes(&[0; 35]).build();
    let group = |last| who.to([1, 0x80, 0xc2, 0, 0, last]);
    let (nobody, all) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let arp = |operation, spa, tpa| who.to([0xff; 6]).arp(operation, who.mac(), spa, [0; 6], tpa).build();
    let solicit = |src: Ipv6Addr| {
        who.to([0x33, 0x33, 0xff, 0, 0, 2])
            .ip6(src, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2))
            .icmp(135, 0)
            .bytes(&[0; 16])
            .build()
    };
    vec![
        way(
            "ARP",
            Shows::Both,
            vec![arp(1, who.v4(), TO4), arp(2, who.v4(), TO4), arp(1, who.v4(), who.v4())],
        ),
        way(
            "ARP to one",
            Shows::Both,
            vec![who.link().arp(2, who.mac(), who.v4(), mac(LISTENER), TO4).build()],
        ),
        way("ARP without an address", Shows::Mac, vec![arp(1, nobody, TO4)]),
        way(
            "ARP cut short",
            Shows::Mac,
            vec![who.link().ether_type(0x0806).bytes(&[0, 1, 8, 0]).unpadded().build()],
        ),
        way("ARP of another network", Shows::Mac, vec![who.link().ether_type(0x0806).bytes(&[0, 6]).build()]),
        way("DHCP", Shows::Mac, vec![who.to([0xff; 6]).ip4(nobody, all).udp(68, 67).build()]),
        way(
            "neighbour discovery",
            Shows::Both,
            vec![
                solicit(who.v6()),
                who.ip6().icmp(136, 0).bytes(&[0; 16]).build(),
                who.ip6().icmp(133, 0).build(),
            ],
        ),
        way("duplicate address detection", Shows::Mac, vec![solicit(Ipv6Addr::UNSPECIFIED)]),
        way("PTP to a host", Shows::Mac, vec![who.link().ether_type(0x88f7).build()]),
        way("LLDP to a host", Shows::Mac, vec![who.link().ether_type(0x88cc).build()]),
        way("STP to a host", Shows::Mac, vec![stp(who.link())]),
        way(
            "IP to the switches' group",
            Shows::Both,
            vec![
                group(0).ip4(who.v4(), TO4).udp(1, 2).build(),
                group(0).ip6(who.v6(), TO6).udp(1, 2).build(),
                group(0).vlan(10).ip4(who.v4(), TO4).udp(1, 2).build(),
            ],
        ),
        way(
            "ARP to the switches' group",
            Shows::Both,
            vec![group(0).arp(1, who.mac(), who.v4(), [0; 6], TO4).build()],
        ),
        way(
            "something to the switches' group",
            Shows::Mac,
            vec![
                group(0).ether_type(0x88b5).build(),
                group(0).ether_type(50).bytes(&[0xe0, 0xe0, 3]).build(),
            ],
        ),
        // Link control of an isolated host passes by design: a switch may hang on it.
        way("STP", Shows::Neither, vec![stp(group(0))]),
        way("PTP", Shows::Neither, vec![who.to([1, 0x1b, 0x19, 0, 0, 0]).ether_type(0x88f7).build()]),
    ]
}

fn ways(who: Who) -> Vec<Way> {
    [by_link(who), by_network(who), by_lying(who), by_control(who)].into_iter().flatten().collect()
}

/// The lab, with a socket of each host.
struct Stage {
    lab: Lab,
    hosts: [Raw; 3],
    sent: AtomicU32,
}

impl Stage {
    /// Three hosts on a bridge for jumbo frames, who say nothing of their own accord.
    fn new() -> Result<Self> {
        let lab = Lab::new(3)?;
        let off = "net.ipv6.conf.all.disable_ipv6=1";
        run("ip", &["netns", "exec", &lab.switch(), "sysctl", "-q", "-w", off])?;
        // A bridge that snoops, or asks the IP firewall, stops broken packets itself. (The second is not known everywhere.)
        lab.ip("link set br0 type bridge mcast_snooping 0")?;
        for firewall in ["iptables", "ip6tables", "arptables"] {
            let off = format!("net.bridge.bridge-nf-call-{firewall}=0");
            let _ = run("ip", &["netns", "exec", &lab.switch(), "sysctl", "-q", "-w", &off]);
        }
        for host in 1..=3 {
            lab.silence(host)?;
            lab.host_ip(host, "link set eth0 mtu 9000")?;
            lab.ip(&format!("link set p{host} mtu 9000"))?;
        }
        let hosts = [Raw::open(&lab, 1)?, Raw::open(&lab, 2)?, Raw::open(&lab, 3)?];
        Ok(Self { lab, hosts, sent: AtomicU32::new(0) })
    }

    /// How many of these frames arrive at the listener if a host sends them.
    fn arrive(&self, host: u8, frames: &[Vec<u8>]) -> Result<usize> {
        let [isolated, listener, innocent] = &self.hosts;
        let sender = if host == ISOLATED { isolated } else { innocent };
        for frame in frames {
            sender.send(frame)?;
        }
        // What the innocent host sends next tells that the others are through, or never will be; but two hosts' frames may be
        // under way on two CPUs.
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let last =
            Frame::ethernet(mac(INNOCENT), mac(LISTENER)).ether_type(0x88b6).bytes(&number.to_be_bytes());
        let last = last.build();
        thread::sleep(Duration::from_millis(1));
        innocent.send(&last)?;
        let mut arrived = listener.until(mac(LISTENER), &last, Duration::from_secs(20))?;
        thread::sleep(Duration::from_millis(1));
        arrived.extend(listener.arrived(mac(LISTENER))?);
        Ok(arrived.iter().filter(|got| frames.iter().any(|sent| is_same(got, sent))).count())
    }

    /// How many of each way's frames arrive.
    fn arrivals(&self, host: u8) -> Result<Vec<usize>> {
        ways(Who { host }).iter().map(|way| self.arrive(host, &way.frames)).collect()
    }

    /// Runs `work` with the sensor on all ports.
    fn watched(&self, work: impl FnOnce(&mut Sensor) -> Result<()> + Send) -> Result<()> {
        self.lab.on_switch(|pins: &Path| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let ports = Ports::open(bpf_tests::lab::BRIDGE).await?;
                let mut sensor = Sensor::load(pins, &ports)?;
                for port in ports.list() {
                    sensor.attachments.attach(&port)?;
                }
                work(&mut sensor)
            })
        })
    }
}

/// Whether a frame is this one as it was sent. The listener's kernel shares it with us, and takes the tag out and cuts off what
/// is too much for the packet, at times before we look.
fn is_same(got: &[u8], sent: &[u8]) -> bool {
    let (ends, rest) = sent.split_at(12);
    let tagged = matches!(rest, [0x81, 0, ..] | [0x88, 0xa8, ..]) && rest.len() > 4;
    let Some((got_ends, got_rest)) = got.split_at_checked(12) else { return false };
    got_ends == ends && (rest.starts_with(got_rest) || (tagged && rest[4..].starts_with(got_rest)))
}

fn isolation(key: RuleKey) -> (RuleKey, RuleValue) {
    (key, RuleValue::new(7, LEVEL_ISOLATE))
}

/// A way to isolate the host: name, rules, whether its MAC address is in them, and whether its IP addresses are.
type Isolation = (&'static str, Vec<RuleKey>, bool, bool);

/// The ways to isolate the host.
fn isolations() -> Result<Vec<Isolation>> {
    let who = Who { host: ISOLATED };
    let by_mac = vec![RuleKey::from(who.mac())];
    let by_ip = vec![
        RuleKey::from(std::net::IpAddr::from(who.v4())),
        RuleKey::from(std::net::IpAddr::from(who.v6())),
    ];
    let by_prefix = vec![
        RuleKey::from(&"10.77.0.0/31".parse::<Prefix>().map_err(anyhow::Error::msg)?),
        RuleKey::from(&"fd77::/127".parse::<Prefix>().map_err(anyhow::Error::msg)?),
    ];
    let device = by_mac.iter().chain(&by_ip).copied().collect();
    Ok(vec![
        ("by MAC address", by_mac, true, false),
        ("by IP address", by_ip, false, true),
        ("by prefix", by_prefix, false, true),
        ("as a device", device, true, true),
    ])
}

/// Whether nothing of what a frame shows may arrive.
fn is_held(shows: Shows, mac: bool, ip: bool) -> bool {
    match shows {
        Shows::Both => mac || ip,
        Shows::Mac => mac,
        Shows::Ip => ip,
        Shows::Neither => false,
        Shows::Deep => true,
    }
}

#[test]
fn nothing_of_an_isolated_host_arrives_and_all_of_an_innocent_one() -> Result<()> {
    let stage = Stage::new()?;
    let unwatched = [stage.arrivals(ISOLATED)?, stage.arrivals(INNOCENT)?];
    for (way, arrived) in ways(Who { host: ISOLATED }).iter().zip(&unwatched[0]) {
        ensure!(*arrived == way.frames.len(), "{}: only {arrived} arrive though nobody looks", way.name);
    }
    stage.watched(|sensor| {
        let mut table = Vec::new();
        let mut wrong = Vec::new();
        let mut check = |host: u8, how: &str, held: &dyn Fn(Shows) -> bool| -> Result<()> {
            let before = &unwatched[usize::from(host == INNOCENT)];
            for ((way, arrived), before) in ways(Who { host }).iter().zip(stage.arrivals(host)?).zip(before) {
                let wanted = if held(way.shows) { 0 } else { *before };
                table.push((arrived, wanted));
                // What is wrong with a packet does not always hide whose it is.
                let more_held = arrived < wanted && host == ISOLATED && !how.is_empty();
                if arrived != wanted && !more_held {
                    let Way { name, shows, .. } = way;
                    wrong.push(format!(
                        "host {host} {how}: {name} ({shows:?}): {arrived} arrived, not {wanted}"
                    ));
                }
            }
            Ok(())
        };
        check(ISOLATED, "", &|_| false)?;
        for (how, keys, mac, ip) in isolations()? {
            let protect = RuleKey::from(std::net::IpAddr::from(PROTECTED));
            sensor.rules.set(protect, RuleValue::new(1, LEVEL_PROTECT))?;
            for (key, rule) in keys.iter().map(|key| isolation(*key)) {
                sensor.rules.set(key, rule)?;
            }
            sensor.rules.commit()?;
            check(ISOLATED, how, &|shows| is_held(shows, mac, ip))?;
            check(INNOCENT, how, &|shows| shows == Shows::Deep)?;
            for key in keys {
                sensor.rules.remove(key)?;
            }
        }
        let held = table.iter().filter(|(_, wanted)| *wanted == 0).count();
        println!("{} ways: {} checked, of {held} nothing arrived", unwatched[0].len(), table.len());
        ensure!(wrong.is_empty(), "{} ways are wrong:\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    })
}

/// While the frames of an isolated host come so fast that nobody looks at each, others go on: who shares its MAC address (behind a
/// router), who has its IP address too, and what it is not isolated for.
#[test]
fn a_flood_of_an_isolated_host_cuts_off_nobody_who_looks_like_it() -> Result<()> {
    const PAIRS: usize = 500;
    let stage = Stage::new()?;
    let who = Who { host: ISOLATED };
    let by_ip = RuleKey::from(std::net::IpAddr::from(who.v4()));
    let untagged = RuleKey::Scope(scope_of_vlan(0));
    let other = Ipv4Addr::new(10, 77, 0, 77);
    let routed = who.link().ip4(other, TO4).udp(1, 2).build();
    let twin = Frame::ethernet(mac(ABSENT), mac(LISTENER)).ip4(who.v4(), TO4).udp(1, 2).build();
    let tagged = who.link().vlan(10).ip4(who.v4(), TO4).udp(3, 4).build();
    let own = who.ip4().udp(1, 2).build();
    // Who is isolated, and a frame that has nothing to do with it.
    let cases = [
        ("a host behind the same router", by_ip, &routed),
        ("a host of the same IP address", RuleKey::from(who.mac()), &twin),
        ("the host in a VLAN", untagged, &tagged),
    ];
    stage.watched(|sensor| {
        for (name, key, innocent) in cases {
            let (key, rule) = isolation(key);
            sensor.rules.set(key, rule)?;
            sensor.rules.commit()?;
            let before = sensor.counters.rule(rule.rule_id)?.drop_packets;
            let flood: Vec<_> = (0..PAIRS).flat_map(|_| [own.clone(), innocent.clone()]).collect();
            let hosts = &stage.hosts;
            hosts[1].arrived(mac(LISTENER))?;
            flood.iter().try_for_each(|frame| hosts[0].send(frame))?;
            let mut arrived = Vec::new();
            let all =
                |arrived: &[Vec<u8>]| arrived.iter().filter(|got| is_same(got, innocent)).count() == PAIRS;
            until("the innocent frames", Duration::from_secs(5), || {
                arrived.extend(hosts[1].arrived(mac(LISTENER))?);
                Ok(all(&arrived).then_some(()))
            })
            .with_context(|| format!("{name}: {} frames arrived", arrived.len()))?;
            thread::sleep(Duration::from_millis(20));
            arrived.extend(hosts[1].arrived(mac(LISTENER))?);
            let innocents = arrived.iter().filter(|got| is_same(got, innocent)).count();
            let isolated = arrived.iter().filter(|got| is_same(got, &own)).count();
            ensure!(
                (innocents, isolated) == (PAIRS, 0),
                "{name}: {innocents} arrived, and {isolated} of the isolated"
            );
            let dropped = sensor.counters.rule(rule.rule_id)?.drop_packets - before;
            // With it what the listener answered.
            ensure!(dropped >= PAIRS as u64, "{name}: {dropped} counted as dropped");
            sensor.rules.remove(key)?;
            sensor.rules.commit()?;
        }
        Ok(())
    })
}
