//! Frames of any bytes, at any times, under rules of all kinds, through the data path in software and the engine.
//!
//! Input: a byte that says how many rules there are, four bytes each (kind of target, target, level, flags), two bytes of the
//! reflex; then records of two bytes of length, one of time (a power of two of ns), and the frame. Whatever else there is, the
//! host of one MAC address is isolated: nothing of it may pass but link control.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use sensor_core::datapath::{Datapath, RuleKey};
use sensor_core::engine::{Engine, Output};
use sensor_core::observation::Observation;
use sensor_core::settings::{Limits, Mode, Settings};
use sensor_core::time::Time;
use sensor_core::tunnel;
use sensor_ebpf::control::{Rate, Reflex};
use sensor_ebpf::counter::Reason;
use sensor_ebpf::rule::{AllowKey, LEVEL_ISOLATE, RuleValue, scope_of_port, scope_of_segment, scope_of_vlan};

/// The isolated host.
const ISOLATED: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// What a rule is about.
fn key(kind: u8, target: u8) -> RuleKey {
    let four = IpAddr::from([10, 0, 0, target]);
    let six = IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, target]);
    let net = |ip: IpAddr, bits: u32| match RuleKey::from(ip) {
        RuleKey::Ip(address) => RuleKey::Net { bits, address },
        other => other,
    };
    match kind % 8 {
        0 => RuleKey::from([2, 0, 0, 0, 0, target]),
        1 => four.into(),
        2 => six.into(),
        3 => net(four, 96 + u32::from(target % 33)),
        4 => net(six, u32::from(target % 129)),
        5 => RuleKey::Scope(scope_of_port(target % 2)),
        6 => RuleKey::Scope(scope_of_vlan(u16::from(target % 4))),
        _ => RuleKey::Scope(scope_of_segment(u32::from(target % 3))),
    }
}

/// Takes the policy off the input.
fn policy<'a>(datapath: &mut Datapath, input: &'a [u8]) -> &'a [u8] {
    let Some((count, mut rest)) = input.split_first() else { return input };
    for number in 0..count % 8 {
        let [kind, target, level, flags, tail @ ..] = rest else { break };
        let rule =
            RuleValue { list: u16::from(target % 2), flags: *flags, ..RuleValue::new(number.into(), *level) };
        datapath.rules.set(key(*kind, *target), Some(rule));
        rest = tail;
    }
    if let [mode, burst, tail @ ..] = rest {
        let rate = Rate { interval_ns: 1 << (burst & 31), burst_ns: 1 << (burst >> 3) };
        datapath
            .rules
            .reflex
            .insert(u32::from(mode >> 4) % 3, Reflex { rate, mode: u32::from(mode % 4), pad: 0 });
        datapath.throttle = [rate, rate];
        rest = tail;
    }
    datapath.rules.segments.extend([(scope_of_port(1), 1), (scope_of_vlan(3), 2)]);
    datapath.rules.allow.insert(AllowKey { list: 1, ..AllowKey::default() });
    datapath.rules.set(ISOLATED.into(), Some(RuleValue::new(9, LEVEL_ISOLATE)));
    datapath.commit();
    rest
}

fuzz_target!(|input: &[u8]| {
    let limits = Limits { devices: 32, flows: 64, contacts: 16, peers: 64, incidents: 4 };
    let settings = Settings { mode: Mode::Enforce, limits, ..Settings::default() };
    let (mut datapath, mut engine, mut out) = (Datapath::new(1), Engine::new(settings), Output::default());
    let mut rest = policy(&mut datapath, input);
    let mut now = Time::at(0);
    let mut frames = 0;
    while let [low, high, time, tail @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (frame, next) = tail.split_at(len);
        rest = next;
        now = now.plus(1 << (time & 63));
        // The packet within a tunnel is read whatever the frame is.
        for (proto, port) in [(4, 0), (41, 0), (47, 0), (17, 4_789), (17, 6_081)] {
            tunnel::inner(proto, port, frame);
        }
        frames += 1;
        let (before, control) = (datapath.counters(), datapath.reasons[Reason::LinkControl as usize]);
        for record in datapath.frame(frame, frame.len() as u32, now) {
            if let Some(seen) = Observation::decode(&record.flow, Some(&record.inner)) {
                engine.observe(&seen, &mut out);
            }
        }
        let dropped = datapath.counters().drop_packets > before.drop_packets;
        let is_control = datapath.reasons[Reason::LinkControl as usize] > control;
        let isolated = frame.len() >= 14 && frame.get(6..12) == Some(&ISOLATED);
        assert!(!isolated || dropped || is_control, "passed: {frame:x?}");
        engine.tick(now, &mut out);
        // The engine's own decisions are kept apart: one of them may be to release the host.
        out = Output::default();
    }
    let in_flows: u64 = datapath.flows4().map(|(_, flow)| flow.packets()).sum::<u64>()
        + datapath.flows6().map(|(_, flow)| flow.packets()).sum::<u64>();
    let counters = datapath.counters();
    assert_eq!(counters.packets, frames);
    assert_eq!(in_flows + counters.ignored_packets + counters.unentered_packets, frames);
    engine.finish(now, &mut out);
});
