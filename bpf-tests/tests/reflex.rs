//! Budgets on the wire, measured where the frames arrive, with no daemon running: how many new hosts a scanner reaches, and whom
//! that costs nothing.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bpf_tests::chance::budget;
use bpf_tests::cpu;
use bpf_tests::frame::{ACK, Frame, SYN, mac};
use bpf_tests::kernel::{PORT, TestSensor, XDP_PASS};
use bpf_tests::lab::{BRIDGE, Lab, run};
use bpf_tests::raw::Raw;
use sensor_core::addr::Mac;
use sensor_core::datapath;
use sensor_ebpf::control::{REFLEX_COUNT, REFLEX_ENFORCE, REFLEX_OFF, Rate, Reflex};
use sensor_ebpf::rule::{FLAG_BOTH, FLAG_OBSERVE, LEVEL_PROTECT, LEVEL_THROTTLE, RuleValue, scope_of_port};
use sensor_user::bpf::{Ports, RuleKey, Sensor};

/// Ten new destinations a second, twenty at once.
const RATE: Rate = Rate { interval_ns: 100_000_000, burst_ns: 2_000_000_000 };
/// What a scanner tries, one a millisecond.
const TRIES: u16 = 1_000;
/// The segment all ports are in.
const SEGMENT: u32 = 1;
const SCANNER: u8 = 1;
const LISTENER: u8 = 2;
const THIRD: u8 = 3;

fn of(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

fn of6(last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(last))
}

/// Host number `number` of many.
fn peer(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 80, high, low)
}

fn peer6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd80, 0, 0, 0, 0, 0, 0, number)
}

fn link() -> Frame {
    Frame::ethernet(mac(SCANNER), mac(LISTENER))
}

/// Three hosts on a bridge, who say nothing of their own accord.
struct Stage {
    lab: Lab,
    hosts: [Raw; 3],
}

impl Stage {
    fn new() -> Result<Self> {
        let lab = Lab::new(3)?;
        let off = "net.ipv6.conf.all.disable_ipv6=1";
        run("ip", &["netns", "exec", &lab.switch(), "sysctl", "-q", "-w", off])?;
        (1..=3).try_for_each(|host| lab.silence(host))?;
        let hosts = [Raw::open(&lab, 1)?, Raw::open(&lab, 2)?, Raw::open(&lab, 3)?];
        Ok(Self { lab, hosts })
    }

    fn host(&self, host: u8) -> &Raw {
        &self.hosts[usize::from(host) - 1]
    }

    /// Sends frames from one host and counts which of those `counts` means arrive at another; how long the sending took.
    fn send(
        &self,
        from: u8,
        to: u8,
        frames: &[Vec<u8>],
        pace: Duration,
        counts: impl Fn(&[u8]) -> bool,
    ) -> Result<(Vec<Vec<u8>>, Duration)> {
        self.host(to).arrived(mac(to))?;
        let started = Instant::now();
        for (number, frame) in (0..).zip(frames) {
            let due = pace * number;
            thread::sleep(due.saturating_sub(started.elapsed()));
            self.host(from).send(frame)?;
        }
        let took = started.elapsed();
        // All that is under way arrives before this, but for what another CPU is at.
        let last = Frame::ethernet(mac(THIRD), mac(to)).ether_type(0x88b6).bytes(&[from; 30]).build();
        thread::sleep(Duration::from_millis(20));
        self.host(THIRD).send(&last)?;
        let mut arrived = self.host(to).until(mac(to), &last, Duration::from_secs(20))?;
        arrived.retain(|frame| counts(frame));
        Ok((arrived, took))
    }

    /// Runs `work` on the switch, the sensor set up by `set_up` and on all ports, and nobody at its maps any more.
    fn unattended(
        &self,
        set_up: impl FnOnce(&mut Sensor) -> Result<()> + Send,
        work: impl FnOnce(&Path) -> Result<()> + Send,
    ) -> Result<()> {
        self.lab.on_switch(|pins| {
            let mut sensor = start(pins)?;
            for port in 1..=3 {
                sensor.rules.set_segment(scope_of_port(port), SEGMENT)?;
            }
            set_up(&mut sensor)?;
            sensor.rules.commit()?;
            drop(sensor);
            work(pins)
        })
    }
}

/// A daemon's start.
fn start(pins: &Path) -> Result<Sensor> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ports = Ports::open(BRIDGE).await?;
        let mut sensor = Sensor::load(pins, &ports)?;
        for port in ports.list() {
            sensor.attachments.attach(&port)?;
        }
        Ok(sensor)
    })
}

fn reflex(mode: u32) -> Reflex {
    Reflex { rate: RATE, mode, pad: 0 }
}

/// The most that may be reached in a time: the burst, and the rate.
fn most(took: Duration) -> usize {
    let in_burst = RATE.burst_ns / RATE.interval_ns;
    (in_burst + took.as_nanos() as u64 / RATE.interval_ns + 1) as usize
}

/// A scan: each frame to another peer. `from` is the last byte of the scanner's address.
type Shot = fn(from: u8, number: u16) -> Frame;

const SCANS: [(&str, Shot); 6] = [
    ("ARP", |from, number| {
        Frame::ethernet(mac(SCANNER), [0xff; 6]).arp(1, mac(SCANNER), of(from), [0; 6], peer(number))
    }),
    ("TCP", |from, number| link().ip4(of(from), peer(number)).tcp(40_000, 445, SYN)),
    ("UDP", |from, number| link().ip4(of(from), peer(number)).udp(40_000, 161)),
    ("ICMP", |from, number| link().ip4(of(from), peer(number)).icmp(8, 0)),
    ("TCP over IPv6", |from, number| link().ip6(of6(from), peer6(number)).tcp(40_000, 445, SYN)),
    ("UDP over IPv6", |from, number| link().ip6(of6(from), peer6(number)).udp(40_000, 161)),
];

fn frames(shot: impl Fn(u16) -> Frame) -> Vec<Vec<u8>> {
    (0..TRIES).map(|number| shot(number).build()).collect()
}

const PACE: Duration = Duration::from_millis(1);
const AT_ONCE: Duration = Duration::ZERO;

fn all(_: &[u8]) -> bool {
    true
}

/// Whether it is a frame from the scanner's MAC address.
fn of_scanner(frame: &[u8]) -> bool {
    frame.get(6..12) == Some(&mac(SCANNER))
}

#[test]
fn a_scanner_reaches_no_more_than_its_budget_with_nobody_running() -> Result<()> {
    let stage = Stage::new()?;
    let set_up = |sensor: &mut Sensor| Ok(sensor.rules.set_reflex(SEGMENT, reflex(REFLEX_ENFORCE))?);
    stage.unattended(set_up, |pins| {
        for (from, (name, shot)) in (101..).zip(SCANS) {
            let scan = frames(|number| shot(from, number));
            let (arrived, took) = stage.send(SCANNER, LISTENER, &scan, PACE, of_scanner)?;
            let most = most(took);
            println!(
                "{name}: of {TRIES} hosts in {:.2} s it reached {} (at most {most}: 20 and 10 a second)",
                took.as_secs_f64(),
                arrived.len()
            );
            ensure!((20..=most).contains(&arrived.len()), "{name}: {} arrived in {took:?}", arrived.len());
        }
        let sensor = start(pins)?;
        let counters = sensor.counters.port(1)?;
        ensure!(counters.reflex_packets == counters.drop_packets, "{counters:?}");
        ensure!(
            counters.unentered_packets == counters.drop_packets && counters.drop_packets > 5_000,
            "{counters:?}"
        );
        Ok(())
    })
}

/// Sends from a host and demands that all of it arrives.
fn check_all_arrive(stage: &Stage, name: &str, from: u8, to: u8, frames: &[Vec<u8>]) -> Result<()> {
    let own = |frame: &[u8]| frame.get(6..12) == Some(&mac(from));
    let (arrived, took) = stage.send(from, to, frames, AT_ONCE, own)?;
    println!("{name}: {} of {} arrived in {:.2} s", arrived.len(), frames.len(), took.as_secs_f64());
    ensure!(arrived.len() == frames.len(), "{name}: {} of {} arrived", arrived.len(), frames.len());
    Ok(())
}

#[test]
fn answers_known_hosts_and_the_protected_cost_nothing() -> Result<()> {
    let stage = Stage::new()?;
    let set_up = |sensor: &mut Sensor| {
        sensor.rules.set_reflex(SEGMENT, reflex(REFLEX_ENFORCE))?;
        let protect = RuleValue::new(1, LEVEL_PROTECT);
        sensor.rules.set(RuleKey::from(IpAddr::from(of(150))), protect)?;
        Ok(())
    };
    stage.unattended(set_up, |_| {
        // A thousand clients, each with a budget of its own, and a server.
        let (server, six) = (of(LISTENER), of6(LISTENER));
        let back = || Frame::ethernet(mac(LISTENER), mac(SCANNER));
        let calls = frames(|n| link().ip4(peer(n), server).tcp(40_000, 80, SYN));
        check_all_arrive(&stage, "clients", SCANNER, LISTENER, &calls)?;
        let answers = frames(|n| back().ip4(server, peer(n)).tcp(80, 40_000, SYN | ACK));
        check_all_arrive(&stage, "a server's answers", LISTENER, SCANNER, &answers)?;
        let more = frames(|n| back().ip4(server, peer(n)).udp(514, 514));
        check_all_arrive(&stage, "more to its clients", LISTENER, SCANNER, &more)?;
        let arp = frames(|n| back().arp(2, mac(LISTENER), server, mac(SCANNER), peer(5_000 + n)));
        check_all_arrive(&stage, "answers of ARP", LISTENER, SCANNER, &arp)?;
        let found = frames(|n| back().ip6(six, peer6(5_000 + n)).icmp(136, 0).bytes(&[0; 16]));
        check_all_arrive(&stage, "a router's answers of neighbour discovery", LISTENER, SCANNER, &found)?;
        let leases = frames(|n| back().ip4(server, peer(6_000 + n)).udp(67, 68).bytes(&[0; 240]));
        check_all_arrive(&stage, "a DHCP server's answers", LISTENER, SCANNER, &leases)?;
        // Those answers made nobody known: the budget is whole, and is all there is.
        let scan = frames(|n| back().ip6(six, peer6(5_000 + n)).tcp(40_000, 445, SYN));
        let (arrived, took) = stage.send(LISTENER, SCANNER, &scan, PACE, all)?;
        let arrived = arrived.iter().filter(|frame| frame.get(6..12) == Some(&mac(LISTENER))).count();
        ensure!((20..=most(took)).contains(&arrived), "{arrived} of those it answered were reached");

        let few = frames(|n| link().ip4(of(140), peer(n % 10)).tcp(40_000 + n, 445, SYN));
        check_all_arrive(&stage, "a thousand calls to ten hosts", SCANNER, LISTENER, &few)?;
        let group = frames(|n| {
            Frame::ethernet(mac(SCANNER), [1, 0, 0x5e, 0, 0, 1])
                .ip4(of(141), Ipv4Addr::new(224, 1, (n >> 8) as u8, n as u8))
                .udp(9, 9)
        });
        check_all_arrive(&stage, "to groups", SCANNER, LISTENER, &group)?;
        let kept = frames(|n| link().ip4(of(150), peer(n)).tcp(40_000, 445, SYN));
        check_all_arrive(&stage, "a protected host", SCANNER, LISTENER, &kept)?;

        // Who borrows an address elsewhere spends a budget of their own.
        let forged =
            frames(|n| Frame::ethernet(mac(THIRD), mac(LISTENER)).ip4(of(160), peer(7_000 + n)).udp(9, 9));
        let (arrived, took) =
            stage.send(THIRD, LISTENER, &forged, AT_ONCE, |frame| frame.get(12..14) == Some(&[8, 0]))?;
        ensure!((20..=most(took)).contains(&arrived.len()), "{} of the forger's arrived", arrived.len());
        let owner: Vec<_> =
            frames(|n| link().ip4(of(160), peer(9_000 + n)).udp(9, 9)).into_iter().take(20).collect();
        check_all_arrive(&stage, "who owns the address, after its forger", SCANNER, LISTENER, &owner)
    })
}

#[test]
fn counting_drops_nothing_and_counts_what_enforcing_would() -> Result<()> {
    for mode in [REFLEX_COUNT, REFLEX_OFF] {
        let stage = Stage::new()?;
        let set_up = |sensor: &mut Sensor| Ok(sensor.rules.set_reflex(SEGMENT, reflex(mode))?);
        stage.unattended(set_up, |pins| {
            let scan = frames(|number| link().ip4(of(SCANNER), peer(number)).tcp(40_000, 445, SYN));
            let started = Instant::now();
            check_all_arrive(&stage, "a scan that is only counted", SCANNER, LISTENER, &scan)?;
            let within = most(started.elapsed()) as u64;
            let counters = start(pins)?.counters.port(1)?;
            let counted = counters.reflex_packets;
            println!("mode {mode}: {counted} counted as over the budget");
            let expected =
                if mode == REFLEX_COUNT { u64::from(TRIES) - within..=u64::from(TRIES) - 20 } else { 0..=0 };
            ensure!(expected.contains(&counted) && counters.drop_packets == 0, "{expected:?}: {counters:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_throttled_device_gets_its_bytes_and_its_new_hosts_a_second_and_no_more() -> Result<()> {
    const KIB: u64 = 64;
    let stage = Stage::new()?;
    // No segment has a reflex.
    let set_up = |sensor: &mut Sensor| {
        let kib = Rate { interval_ns: 1_000_000_000 / KIB, burst_ns: 1_000_000_000 };
        sensor.rules.set_throttle(RATE, kib)?;
        for (number, from) in [(1, 101), (2, 102)] {
            sensor
                .rules
                .set(RuleKey::from(IpAddr::from(of(from))), RuleValue::new(number, LEVEL_THROTTLE))?;
        }
        let observed = RuleValue { flags: FLAG_BOTH | FLAG_OBSERVE, ..RuleValue::new(3, LEVEL_THROTTLE) };
        sensor.rules.set(RuleKey::from(IpAddr::from(of(103))), observed)?;
        Ok(())
    };
    stage.unattended(set_up, |pins| {
        let bulk =
            frames(|n| link().ip4(of(101), of(LISTENER)).udp(9, 9).bytes(&n.to_be_bytes()).bytes(&[7; 984]));
        let (arrived, took) = stage.send(SCANNER, LISTENER, &bulk, PACE, of_scanner)?;
        let bytes: usize = arrived.iter().map(Vec::len).sum();
        let most_bytes = ((1.0 + took.as_secs_f64()) * KIB as f64 * 1_024.0) as usize + 1_514;
        println!(
            "bytes: {bytes} of {} in {:.2} s (at most {most_bytes}: 64 KiB and as many a second)",
            1_026 * bulk.len(),
            took.as_secs_f64()
        );
        ensure!((60 * 1_024..=most_bytes).contains(&bytes), "{bytes} bytes in {took:?}");

        let scan = frames(|n| link().ip4(of(102), peer(n)).udp(9, 9));
        let (arrived, took) = stage.send(SCANNER, LISTENER, &scan, PACE, of_scanner)?;
        println!(
            "new hosts: {} of {TRIES} in {:.2} s (at most {})",
            arrived.len(),
            took.as_secs_f64(),
            most(took)
        );
        ensure!((20..=most(took)).contains(&arrived.len()), "{} new hosts in {took:?}", arrived.len());

        let started = Instant::now();
        let shadow = frames(|n| link().ip4(of(103), peer(n)).udp(9, 9));
        check_all_arrive(&stage, "one that would be throttled", SCANNER, LISTENER, &shadow)?;
        let within = most(started.elapsed()) as u64;
        let sensor = start(pins)?;
        let would = sensor.counters.rule(3)?.would_drop_packets;
        ensure!(
            (u64::from(TRIES) - within..=u64::from(TRIES) - 20).contains(&would),
            "{would} would be dropped"
        );
        let drops = [sensor.counters.rule(1)?.drop_packets, sensor.counters.rule(2)?.drop_packets];
        ensure!(sensor.counters.port(1)?.drop_packets == drops[0] + drops[1], "{drops:?}");
        Ok(())
    })
}

/// On two CPUs at once a budget is spent exactly: no more and no less passes.
#[test]
fn two_cpus_spend_a_budget_exactly() {
    const NUMBER: u64 = 500;
    let cpus = cpu::allowed().expect("CPUs");
    let mut sensor = TestSensor::load().expect("loads");
    sensor.maps.rules.set_segment(scope_of_port(PORT), SEGMENT).expect("a segment");
    let enforced = Reflex { rate: budget(NUMBER), mode: REFLEX_ENFORCE, pad: 0 };
    sensor.maps.rules.set_reflex(SEGMENT, enforced).expect("a reflex");
    sensor.set_rules(&[]).expect("no rules");
    let shot = |number| link().ip4(of(SCANNER), peer(number)).udp(9, 9).build();
    assert_eq!(sensor.run(&shot(60_000)).expect("runs"), XDP_PASS, "the first");
    let sensor = &sensor;
    let passed: u64 = thread::scope(|scope| {
        let scan = |cpu: usize, half: u16| {
            cpu::pin(cpu).expect("pinned");
            (0..2_000).filter(|n| sensor.run(&shot(half * 2_000 + n)).expect("runs") == XDP_PASS).count()
                as u64
        };
        let halves: Vec<_> = (0..2u16).map(|half| (half, cpus[usize::from(half) % cpus.len()])).collect();
        let threads: Vec<_> =
            halves.into_iter().map(|(half, cpu)| scope.spawn(move || scan(cpu, half))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    println!("{} of 4,001 passed on two CPUs, of a budget of {NUMBER}", passed + 1);
    assert_eq!(passed + 1, NUMBER);
    let host = datapath::host(of(SCANNER).into(), Mac(mac(SCANNER)), PORT);
    assert_eq!(sensor.maps.counters.news().expect("counts"), HashMap::from([(host, 4_001)]), "asked for");
}

/// What a host asks for is counted while nobody reads a record, each destination once, and an answer is none.
#[test]
fn new_destinations_are_counted_whoever_reads() {
    let mut sensor = TestSensor::load().expect("loads");
    sensor.maps.rules.set_segment(scope_of_port(PORT), SEGMENT).expect("a segment");
    let host = |last| datapath::host(of(last).into(), Mac(mac(last)), PORT);
    let frame = |from: u8, to: Ipv4Addr, port| {
        Frame::ethernet(mac(from), mac(LISTENER)).ip4(of(from), to).udp(port, 9).build()
    };
    for (mode, counted) in [(REFLEX_OFF, None), (REFLEX_COUNT, Some(30))] {
        sensor.maps.rules.set_reflex(SEGMENT, Reflex { rate: budget(5), mode, pad: 0 }).expect("a reflex");
        sensor.set_rules(&[]).expect("no rules");
        sensor.clear_flows().expect("taken out");
        sensor.forget(&[]).expect("forgets");
        for number in 0..30 {
            for port in [1, 2] {
                sensor.run(&frame(SCANNER, peer(number), port)).expect("runs");
            }
        }
        sensor.run(&frame(THIRD, of(SCANNER), 1)).expect("runs");
        sensor.run(&frame(SCANNER, of(THIRD), 3)).expect("runs");
        let news = sensor.maps.counters.news().expect("counts");
        assert_eq!(
            (news.get(&host(SCANNER)).copied(), news.get(&host(THIRD)).copied()),
            (counted, counted.map(|_| 1))
        );
    }
}

/// A budget spent ahead at one rate does not hold a host once another rate is set, and no value makes it endless or panic.
#[test]
fn another_rate_begins_anew_and_no_rate_is_too_odd() {
    let mut sensor = TestSensor::load().expect("loads");
    sensor.maps.rules.set_segment(scope_of_port(PORT), SEGMENT).expect("a segment");
    let mut number = 0;
    let mut reached = |sensor: &mut TestSensor, rate: Rate| {
        let enforced = Reflex { rate, mode: REFLEX_ENFORCE, pad: 0 };
        sensor.maps.rules.set_reflex(SEGMENT, enforced).expect("a reflex");
        sensor.set_rules(&[]).expect("no rules");
        (0..20)
            .filter(|_| {
                number += 1;
                let frame = link().ip4(of(SCANNER), peer(number)).udp(9, 9).build();
                sensor.run(&frame).expect("runs") == XDP_PASS
            })
            .count()
    };
    let (hour, most) = (3_600_000_000_000, u64::MAX);
    let rate = |interval_ns, burst_ns| Rate { interval_ns, burst_ns };
    let cases = [
        ("hours ahead", rate(hour, 10 * hour), 10),
        ("seconds", rate(1_000_000_000, 5_000_000_000), 5),
        ("none", rate(hour, 0), 0),
        ("less than one", rate(hour, hour - 1), 0),
        ("no limit", rate(0, 0), 20),
        ("the longest interval", rate(most, 0), 0),
        ("the longest interval and burst", rate(most, most), 20),
        ("the longest burst", rate(1_000, most), 20),
    ];
    for (name, rate, expected) in cases {
        sensor.forget(&[]).expect("forgets");
        assert_eq!(reached(&mut sensor, rate), expected, "{name}: from nothing");
    }
    sensor.forget(&[]).expect("forgets");
    assert_eq!(reached(&mut sensor, rate(hour, 10 * hour)), 10);
    assert_eq!(reached(&mut sensor, rate(1_000_000_000, 5_000_000_000)), 5, "another rate");
}
