//! Anything at all, as frames and as observations: no panic, bounded tables, time that may do what it likes.

use proptest::collection::vec;
use proptest::prelude::*;
use sensor_core::datapath::Datapath;
use sensor_core::engine::{Engine, Output};
use sensor_core::observation::{FlowSeen, Observation};
use sensor_core::settings::{Limits, Mode, Settings};
use sensor_core::time::Time;

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
            for record in datapath.frame(bytes, *len, Time(*time)) {
                if let Some(seen) = FlowSeen::decode(&record.flow) {
                    engine.observe(&Observation::Flow(seen), &mut out);
                }
            }
            engine.tick(Time(*time), &mut out);
            datapath.enforce(&out.decisions);
            out.decisions.clear();
        }
        let mut progress = Vec::new();
        datapath.sweep(Time(u64::MAX), false, &mut progress);
        for progress in progress {
            engine.observe(&Observation::Progress(progress), &mut out);
        }
        engine.finish(Time(u64::MAX), &mut out);
        let stats = engine.stats();
        prop_assert!(stats.devices <= settings.limits.devices as u64);
        prop_assert!(stats.flows_live <= settings.limits.flows as u64);
        prop_assert!(stats.contacts_waiting <= settings.limits.contacts as u64);
        prop_assert_eq!(datapath.counters().packets, frames.len() as u64);
    }

    #[test]
    fn accounted_and_ignored_is_all(frames in vec(frame(), 0..60)) {
        let mut datapath = Datapath::new(1);
        for bytes in &frames {
            datapath.frame(bytes, bytes.len() as u32, Time(1));
        }
        let in_flows: u64 = datapath.flows4().map(|(_, v)| v.packets()).sum::<u64>()
            + datapath.flows6().map(|(_, v)| v.packets()).sum::<u64>();
        prop_assert_eq!(in_flows + datapath.counters().ignored_packets, frames.len() as u64);
    }
}
