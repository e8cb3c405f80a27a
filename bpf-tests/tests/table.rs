//! The flow tables: when a flow is over, what CPUs do that enter flows in one set, and how a set that is full or locked is told.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::thread;

use bpf_tests::frame::{ACK, FIN, Frame, SYN, mac};
use bpf_tests::kernel::{JIFFY_NS, PORT, TestSensor, XDP_DROP, XDP_PASS};
use bpf_tests::{cpu, note};
use sensor_core::observation::{EndReason, FlowProgress};
use sensor_core::time::Time;
use sensor_ebpf::control::Clock;
use sensor_ebpf::flow::{FlowKey4, FlowValue};
use sensor_ebpf::rule::{LEVEL_ISOLATE, RuleValue};
use sensor_ebpf::table::{Set, WAYS};
use sensor_user::bpf::{FlowKey, RuleKey};
use sensor_user::pipeline::{Count, Start, Sweeper};

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn ethernet() -> Frame {
    Frame::ethernet(mac(1), mac(2))
}

/// The first frame of flow number `number`.
fn syn(number: u32) -> Vec<u8> {
    let [_, a, b, c] = number.to_be_bytes();
    ethernet().ip4(Ipv4Addr::new(10, a, b, c), B).tcp(40_000, 80, SYN).build()
}

/// The only flow there is.
fn only(sensor: &mut TestSensor) -> (FlowKey, FlowValue) {
    let flows = sensor.flows().expect("sweeps");
    let mut flows = flows.into_iter();
    let (Some(flow), None) = (flows.next(), flows.next()) else { panic!("not one flow") };
    flow
}

fn key4(key: FlowKey) -> FlowKey4 {
    let FlowKey::V4(key) = key else { panic!("no IPv4 flow: {key:?}") };
    key
}

/// Makes the only flow look as if it had been quiet for so long.
fn age(sensor: &mut TestSensor, seconds: u64) {
    let (key, _) = only(sensor);
    let jiffies = seconds * 1_000_000_000 / JIFFY_NS;
    let aged = |value: &mut FlowValue| value.last_j = value.last_j.saturating_sub(jiffies);
    let with = |set: &mut Set<FlowKey4>| {
        set.slots.iter_mut().for_each(|slot| aged(&mut slot.value));
    };
    sensor.change_set(key4(key), with).expect("changed");
}

#[test]
fn what_comes_after_a_flow_is_over_is_a_new_flow() {
    let tcp = |flags| ethernet().ip4(A, B).tcp(40_000, 80, flags).build();
    // What it is made of, and after how many seconds without a frame it is over.
    let cases: [(&str, Vec<Vec<u8>>, u64); 6] = [
        ("a SYN without an answer", vec![tcp(SYN)], 30),
        ("an established connection", vec![tcp(SYN), tcp(ACK)], 600),
        ("a closed connection", vec![tcp(ACK), tcp(FIN | ACK)], 10),
        ("UDP", vec![ethernet().ip4(A, B).udp(1, 2).build()], 60),
        ("an echo", vec![ethernet().ip4(A, B).icmp(8, 0).build()], 60),
        ("ARP", vec![ethernet().arp(1, mac(1), A, [0; 6], B).build()], 120),
    ];
    let mut sensor = TestSensor::load().expect("loads");
    for (name, frames, timeout) in cases {
        sensor.clear().expect("clears");
        for frame in &frames {
            sensor.run(frame).expect("runs");
        }
        let last = frames.last().expect("a frame");
        let (key, begun) = only(&mut sensor);

        age(&mut sensor, timeout - 5);
        let outcome = sensor.observe(last).expect("runs");
        let (_, value) = only(&mut sensor);
        assert_eq!(value.packets(), frames.len() as u64 + 1, "{name}: shortly before its end");
        assert_eq!((value.first_ns, outcome.records.len()), (begun.first_ns, 0), "{name}");

        age(&mut sensor, timeout + 1);
        let outcome = sensor.observe(last).expect("runs");
        let (now, value) = only(&mut sensor);
        assert_eq!((now, value.packets(), outcome.records.len()), (key, 1, 1), "{name}: after its end");
        assert_eq!(outcome.counters.flows_new, 1, "{name}");
        assert!(value.first_ns > begun.first_ns, "{name}");
    }
}

#[test]
fn a_flow_that_ended_is_told_once_and_stays_told_for_the_next_daemon() {
    let mut sensor = TestSensor::load().expect("loads");
    sensor.run(&ethernet().ip4(A, B).tcp(40_000, 80, FIN | ACK).build()).expect("runs");
    let (_, value) = only(&mut sensor);
    let counted = Count::in_flows(&sensor.counters().expect("counters"));
    let sweep = |sweeper: &mut Sweeper, now: u64, jiffies: u64| {
        let mut told: Vec<FlowProgress> = Vec::new();
        let start = || {
            let clock = Clock { monotonic_ns: now, jiffies };
            Ok(Start { clock, counted: [(PORT, counted)].into(), entered: 0 })
        };
        while !sweeper.step(Time::at(now), start, |progress| told.push(progress)).expect("sweeps") {}
        told.into_iter().map(|progress| progress.end).collect::<Vec<_>>()
    };
    let new =
        |sensor: &TestSensor| Sweeper::new(sensor.maps.flows.share().expect("shared"), JIFFY_NS, Time::at(1));
    let (goes_on, over) = (value.last_j + 10, value.last_j + 10_000_000_000 / JIFFY_NS);
    let (first, second, third) = (value.first_ns + 1, value.first_ns + 1_000, value.first_ns + 2_000);
    let mut sweeper = new(&sensor);
    assert_eq!(sweep(&mut sweeper, first, goes_on), [None]);
    assert_eq!(sweep(&mut sweeper, second, over), [Some(EndReason::Closed)]);
    assert_eq!(sweep(&mut sweeper, third, over + 5), []);
    let tally = sweeper.tally.port(PORT);
    assert_eq!((tally.read(), tally.closed, tally.unread), (counted, counted, Count::default()));

    let mut next = new(&sensor);
    next.resume(sweeper.told_j());
    assert_eq!(sweep(&mut next, third, over + 10), []);
    let mut ignorant = new(&sensor);
    assert_eq!(sweep(&mut ignorant, third, over + 10), [Some(EndReason::Closed)], "nobody told it yet");
}

#[test]
fn a_locked_set_takes_no_flow_which_is_counted_and_frees_nobody() {
    let mut sensor = TestSensor::load().expect("loads");
    sensor
        .set_rules(&[(RuleKey::from(std::net::IpAddr::from(A)), RuleValue::new(7, LEVEL_ISOLATE))])
        .expect("rules");
    let frames = [(syn(77), XDP_PASS), (ethernet().ip4(A, B).tcp(40_000, 80, SYN).build(), XDP_DROP)];
    for (frame, verdict) in frames {
        sensor.clear_flows().expect("clears");
        sensor.run(&frame).expect("runs");
        let (key, _) = only(&mut sensor);
        // As if another CPU had begun a change and not come to its end; the flow that is there goes on.
        sensor.change_set(key4(key), |set| set.entering += 1).expect("changed");
        assert_eq!(sensor.observe(&frame).expect("runs").counters.flows_failed, 0);
        assert!(sensor.flows().is_err(), "half a set is not believed");
        // Nor is a judgement kept there; each frame is judged anew.
        sensor.maps.rules.commit().expect("commits");
        for _ in 0..2 {
            let counters = sensor.observe(&frame).expect("runs").counters;
            assert_eq!((counters.drop_packets == 1, counters.unentered_packets), (verdict == XDP_DROP, 0));
        }
        // Nobody can be entered beside it.
        let emptied = |set: &mut Set<FlowKey4>| *set = Set { entering: 1, ..Set::default() };
        sensor.change_set(key4(key), emptied).expect("changed");
        let outcome = sensor.observe(&frame).expect("runs");
        let counters = outcome.counters;
        assert_eq!((outcome.verdict, counters.packets), (verdict, 1));
        assert_eq!((counters.flows_failed, counters.flows_new, counters.unentered_packets), (1, 0, 1));
        assert_eq!(outcome.records.len(), 1, "told all the same");
        sensor.change_set(key4(key), |set| set.entered = set.entering).expect("changed");
        assert_eq!(sensor.observe(&frame).expect("runs").counters.flows_new, 1);
    }
}

/// Runs the frames of each list on a CPU of its own, all at once.
fn at_once(sensor: &TestSensor, cpus: &[usize], lists: &[Vec<Vec<u8>>]) {
    let start = Barrier::new(cpus.len());
    thread::scope(|scope| {
        for (cpu, frames) in cpus.iter().zip(lists) {
            let start = &start;
            scope.spawn(move || {
                cpu::pin(*cpu).expect("pinned");
                start.wait();
                for frame in frames {
                    assert_eq!(sensor.run(frame).expect("runs"), XDP_PASS);
                }
            });
        }
    });
}

/// The CPUs for a test that needs two.
fn two_cpus() -> Option<[usize; 2]> {
    let cpus = cpu::allowed().expect("the CPUs");
    let two = cpus.first_chunk().copied();
    if two.is_none() {
        note::skipped("this machine has no second CPU");
    }
    two
}

#[test]
fn cpus_that_enter_flows_in_the_same_sets_lose_none_and_double_none() {
    const SETS: u32 = 4;
    const FLOWS: u32 = 20_000;
    let Some(cpus) = two_cpus() else { return };
    let mut sensor = TestSensor::load_with(&[("FLOW4", SETS)]).expect("loads");
    let lists = [0, 1].map(|half| (0..FLOWS).map(|number| syn(2 * number + half)).collect::<Vec<_>>());
    at_once(&sensor, &cpus, &lists);
    let counters = sensor.counters().expect("counters");
    assert_eq!(counters.flows_new + counters.flows_failed, 2 * u64::from(FLOWS));
    assert_eq!(counters.unentered_packets, counters.flows_failed);
    println!("{} of {} flows found their set locked", counters.flows_failed, 2 * FLOWS);
    let mut flows = Vec::new();
    sensor.maps.flows.sweep(|key, value| flows.push((key, *value))).expect("sweeps");
    assert_eq!(flows.len(), SETS as usize * WAYS);
    flows.sort_by_key(|(key, _)| format!("{key:?}"));
    assert!(flows.windows(2).all(|two| two[0].0 != two[1].0), "a flow has two slots");
    assert!(flows.iter().all(|(_, value)| value.packets() == 1), "{flows:?}");
}

#[test]
fn cpus_that_see_the_same_new_flows_at_once_enter_each_once() {
    const FLOWS: u32 = 10_000;
    let Some(cpus) = two_cpus() else { return };
    let mut sensor = TestSensor::load().expect("loads");
    let list: Vec<_> = (0..FLOWS).map(syn).collect();
    at_once(&sensor, &cpus, &[list.clone(), list]);
    let counters = sensor.counters().expect("counters");
    assert_eq!((counters.packets, counters.flows_new), (2 * u64::from(FLOWS), u64::from(FLOWS)));
    let mut seen = (0, 0);
    sensor.maps.flows.sweep(|_, value| seen = (seen.0 + 1, seen.1 + value.packets())).expect("sweeps");
    assert_eq!(seen, (u64::from(FLOWS), counters.packets - counters.unentered_packets));
}
