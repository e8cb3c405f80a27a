//! Two CPUs at work on one flow: every frame is counted, on whichever it came.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::thread;

use bpf_tests::cpu;
use bpf_tests::frame::{ACK, Frame, mac};
use bpf_tests::kernel::{TestSensor, XDP_DROP, XDP_PASS};
use bpf_tests::note;
use sensor_ebpf::flow::FlowValue;
use sensor_ebpf::rule::{LEVEL_ISOLATE, RuleValue};
use sensor_user::bpf::RuleKey;

/// Frames each CPU brings.
const FRAMES: u32 = 2_000_000;

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// The same frame on all these CPUs at once, after it came once on the first of them; returns its flow.
fn race(sensor: &mut TestSensor, cpus: &[usize], frame: &[u8], verdict: u32) -> FlowValue {
    let start = Barrier::new(cpus.len());
    cpu::pin(cpus[0]).expect("pinned");
    assert_eq!(sensor.run(frame).expect("runs"), verdict);
    let shared = &*sensor;
    thread::scope(|scope| {
        for cpu in cpus {
            scope.spawn(|| {
                cpu::pin(*cpu).expect("pinned");
                start.wait();
                assert_eq!(shared.run_times(frame, FRAMES).expect("runs").0, verdict);
            });
        }
    });
    let flows: Vec<FlowValue> = sensor.flows().expect("sweeps").into_values().collect();
    let [flow] = flows[..] else { panic!("{} flows", flows.len()) };
    flow
}

#[test]
fn frames_of_a_flow_are_counted_exactly_whichever_cpu_they_come_on() {
    let cpus = cpu::allowed().expect("the CPUs");
    let frames = 1 + u64::from(FRAMES) * cpus.len() as u64;
    let usual = Frame::ethernet(mac(1), mac(2)).ip4(A, B).tcp(40_000, 80, ACK).build();
    let ping = Frame::ethernet(mac(1), mac(2)).ip4(A, B).icmp(8, 0).build();
    let isolate = RuleValue::new(7, LEVEL_ISOLATE);
    let rule = [(RuleKey::from(std::net::IpAddr::from(A)), isolate)];
    let mut sensor = TestSensor::load().expect("loads");
    for (name, frame) in [("by the short way", usual), ("by the general way", ping)] {
        for (rules, verdict, drops) in [(&[][..], XDP_PASS, 0), (&rule[..], XDP_DROP, frames)] {
            sensor.clear().expect("clears");
            sensor.set_rules(rules).expect("rules");
            let before = sensor.counters().expect("counters");
            let flow = race(&mut sensor, &cpus, &frame, verdict);
            let after = sensor.counters().expect("counters");
            let counted = (flow.packets(), flow.bytes(), flow.drops());
            assert_eq!(counted, (frames, frames * frame.len() as u64, drops), "{name}, verdict {verdict}");
            let owned = 1 + u64::from(FRAMES);
            assert_eq!(
                (usize::from(flow.owner), flow.owner_passed + flow.owner_dropped),
                (cpus[0], owned),
                "{name}: its owner"
            );
            assert_eq!(after.packets - before.packets, frames, "{name}: port");
            assert_eq!(after.drop_packets - before.drop_packets, drops, "{name}: port");
            assert_eq!(after.bytes - before.bytes, frames * frame.len() as u64, "{name}: port");
        }
    }
    if cpus.len() < 2 {
        note::skipped("one CPU shared nothing: this machine gives no second");
    }
}

/// The counters, the seals and the sample of drops are of each CPU.
#[test]
fn a_thread_stays_on_its_cpu_as_long_as_it_has_a_sensor() {
    let before = cpu::allowed().expect("the CPUs");
    let sensor = TestSensor::load().expect("loads");
    assert_eq!(cpu::allowed().expect("the CPUs").len(), 1);
    drop(sensor);
    assert_eq!(cpu::allowed().expect("the CPUs"), before);
}
