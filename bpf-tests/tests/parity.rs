//! Every capture, frame by frame, through the program in the kernel and through the data path of the replay: the same
//! reasons, the same records, and in the end the same flows.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;

use bpf_tests::capture;
use bpf_tests::chance::{Cast, Chance, Made};
use bpf_tests::frame::Frame;
use bpf_tests::kernel::{PORT, Reasons, TestSensor, XDP_DROP, XDP_PASS};
use bpf_tests::note;
use sensor_core::datapath::Datapath;
use sensor_core::time::Time;
use sensor_ebpf::counter::Reason;
use sensor_ebpf::event::{FlowRecord, RECORD_DROP};
use sensor_ebpf::flow::{FlowValue, Judged};
use sensor_ebpf::heard::{HEARD_KINDS, HeardHead};
use sensor_ebpf::parse::mac_bytes;
use sensor_user::bpf::FlowKey;

/// An Ethernet header: BPF_PROG_TEST_RUN takes no shorter frame.
const SHORTEST: usize = 14;

/// Speaks to itself where it only counts who sends it.
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What was run, and what could not be.
#[derive(Default)]
struct Tally {
    frames: u64,
    records: u64,
    flows: u64,
    too_short: u64,
    too_long: u64,
    dropped: u64,
    would: u64,
    heard: u64,
}

/// The parts of a flow that depend neither on the clock nor on the CPU.
fn timeless(value: &FlowValue) -> FlowValue {
    FlowValue {
        first_ns: 0,
        last_j: 0,
        until_j: 0,
        judged: Judged::new(value.judged.verdict(), false, 0),
        owner: 0,
        owner_passed: value.packets() - value.drops(),
        owner_dropped: value.drops(),
        owner_bytes: value.bytes(),
        other_passed: 0,
        other_dropped: 0,
        other_bytes: 0,
        ..*value
    }
}

fn timeless_record(record: FlowRecord) -> FlowRecord {
    FlowRecord { time_ns: 0, ..record }
}

/// The records of flows. Which drops are told depends on what else came by the port on that CPU.
fn told(records: impl Iterator<Item = FlowRecord>) -> Vec<FlowRecord> {
    records.filter(|record| record.kind != RECORD_DROP).map(timeless_record).collect()
}

fn difference(after: &Reasons, before: &Reasons) -> Vec<(&'static str, u64)> {
    Reason::ALL
        .into_iter()
        .map(|reason| (reason.name(), after[reason as usize] - before[reason as usize]))
        .filter(|(_, count)| *count != 0)
        .collect()
}

/// The longest frame a test run shows the program in one piece, found by trying: it depends on the kernel's page size
/// and version. (Linux 6.18 takes longer ones and shows the first part.)
fn longest(sensor: &TestSensor) -> usize {
    let seen = || sensor.counters().expect("counters").bytes;
    let (mut fits, mut fails) = (SHORTEST, 1 << 16);
    while fails - fits > 1 {
        let size = usize::midpoint(fits, fails);
        let before = seen();
        let whole = sensor.run(&vec![0; size]).is_ok() && seen() - before == size as u64;
        if whole { fits = size } else { fails = size }
    }
    fits
}

/// What both sides hold while a capture runs.
struct Policy {
    made: Made,
    cast: Cast,
}

impl Policy {
    /// A policy of all kinds of rules, levels and budgets for the speakers of a capture, the same each time.
    fn of(path: &Path) -> Self {
        let cast = Cast::of(path);
        let name = path.file_name().expect("a file").to_string_lossy();
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { made: Made::up(&cast, &mut Chance::new(seed), true), cast }
    }

    /// Has both sides hold it, and know where everybody lives: what is learned later would be seen at other times.
    fn install(&self, sensor: &mut TestSensor, twin: &mut Datapath) {
        for mac in &self.cast.macs {
            let frame = Frame::ethernet(mac_bytes(*mac), [0xff; 6]).ip4(NOBODY, NOBODY).udp(9, 9).build();
            sensor.run(&frame).expect("runs");
            twin.frame(&frame, frame.len() as u32, Time::at(0));
        }
        sensor.records();
        self.made.install(sensor, &self.made.rules).expect("a policy");
        self.made.install_twin(twin);
    }

    fn compare_counters(&self, sensor: &TestSensor, twin: &Datapath, name: &str) {
        for (key, rule) in &self.made.rules {
            let got = sensor.maps.counters.rule(rule.rule_id).expect("counters");
            assert_eq!(got, twin.budgets.rule(rule.rule_id), "{name}: {key}: {rule:?}");
        }
    }
}

/// Runs one capture on both sides.
fn compare(sensor: &mut TestSensor, path: &Path, longest: usize, policy: Option<&Policy>, tally: &mut Tally) {
    let name = path.display();
    let mut twin = Datapath::new(PORT);
    if let Some(policy) = policy {
        policy.install(sensor, &mut twin);
    }
    let mut number = 0u64;
    let mut limited = limits(sensor);
    let (mut reasons, mut counters) =
        (sensor.reasons().expect("reasons"), sensor.counters().expect("counters"));
    let result = capture::frames(path, |frame| {
        number += 1;
        if frame.len() < SHORTEST {
            tally.too_short += 1;
            return Ok(());
        }
        if frame.len() > longest {
            tally.too_long += 1;
            return Ok(());
        }
        tally.frames += 1;
        let (twin_reasons, twin_counters) = (twin.reasons, twin.counters());
        let wanted = twin.frame(frame, frame.len() as u32, Time::at(number * 1_000));
        let wanted = told(wanted.iter().map(|record| record.flow));
        let wanted_counters = twin.counters().minus(&twin_counters);
        let verdict = sensor.run(frame)?;
        let after = sensor.reasons()?;
        let got = told(sensor.records().into_iter());
        let dropped = if wanted_counters.drop_packets == 1 { XDP_DROP } else { XDP_PASS };
        assert_eq!(verdict, dropped, "{name}, frame {number}: verdict; {frame:x?}");
        let seen = sensor.counters()?;
        assert_eq!(seen.minus(&counters), wanted_counters, "{name}, frame {number}: counters");
        counters = seen;
        assert_eq!(got, wanted, "{name}, frame {number}: records");
        tally.heard += compare_heard(sensor, &twin, frame, &mut limited);
        tally.records += got.len() as u64;
        tally.dropped += wanted_counters.drop_packets;
        tally.would += wanted_counters.would_drop_packets;
        let (got, wanted) = (difference(&after, &reasons), difference(&twin.reasons, &twin_reasons));
        assert_eq!(got, wanted, "{name}, frame {number}: reasons");
        reasons = after;
        Ok(())
    });
    // A damaged file is read as far as it goes; that is what replay does too.
    if let Err(error) = result {
        println!("{name}: read up to frame {number}: {error:#}");
    }
    if let Some(policy) = policy {
        policy.compare_counters(sensor, &twin, &name.to_string());
    }
    compare_flows(sensor, &twin, path, tally);
    if let Some(policy) = policy {
        policy.made.remove(sensor).expect("taken back");
    }
}

/// Frames of all kinds that were over their budget.
fn limits(sensor: &TestSensor) -> u64 {
    (1..HEARD_KINDS as u8).map(|kind| sensor.maps.counters.heard(kind).expect("counters").limited).sum()
}

/// What is told of a frame beside its flow, unless one of both had no budget left: their clocks differ.
fn compare_heard(sensor: &mut TestSensor, twin: &Datapath, frame: &[u8], limited: &mut u64) -> u64 {
    let timeless = |head: HeardHead| HeardHead { time_ns: 0, ..head };
    let got = sensor.heard();
    assert!(got.len() < 2, "told twice: {frame:x?}");
    match (got.into_iter().next(), twin.heard()) {
        (Some((got, bytes)), Some(wanted)) => {
            assert_eq!(timeless(got), timeless(*wanted), "{frame:x?}");
            assert_eq!(bytes, frame[..wanted.have as usize]);
            return 1;
        }
        (Some((got, _)), None) => assert_ne!(twin.hearing(got.kind).limited, 0, "{frame:x?}"),
        (None, Some(wanted)) => {
            let before = std::mem::replace(limited, limits(sensor));
            assert!(*limited > before, "kind {} is not told: {frame:x?}", wanted.kind);
        }
        (None, None) => {}
    }
    0
}

fn compare_flows(sensor: &mut TestSensor, twin: &Datapath, path: &Path, tally: &mut Tally) {
    let mut wanted: HashMap<FlowKey, FlowValue> = HashMap::new();
    wanted.extend(twin.flows4().map(|(key, value)| (FlowKey::V4(*key), timeless(value))));
    wanted.extend(twin.flows6().map(|(key, value)| (FlowKey::V6(*key), timeless(value))));
    let got = sensor.flows().expect("sweeps");
    tally.flows += got.len() as u64;
    assert_eq!(got.len(), wanted.len(), "{}: number of flows", path.display());
    for (key, value) in got {
        assert_eq!(Some(&timeless(&value)), wanted.get(&key), "{}: {key:?}", path.display());
    }
    sensor.clear_flows().expect("taken out");
}

/// Runs every capture on both sides, with a policy of its own or with none.
fn compare_all(with_policies: bool) -> Option<Tally> {
    let Some(dir) = capture::data_dir() else {
        note::skipped("no captures (set SEKISHO_DATA to the folder that has them)");
        return None;
    };
    let mut sensor = TestSensor::load().expect("loads");
    // By the clock of the replay a capture is over within seconds; that of a slow machine goes on.
    sensor.stop_time().expect("configured");
    let longest = longest(&sensor);
    sensor.clear().expect("clears");
    sensor.forget(&[]).expect("forgets");
    let captures = capture::captures(&dir).expect("a readable folder");
    assert!(captures.len() > 200, "only {} captures in {}", captures.len(), dir.display());
    let mut tally = Tally::default();
    for path in &captures {
        let policy = with_policies.then(|| Policy::of(path));
        compare(&mut sensor, path, longest, policy.as_ref(), &mut tally);
    }
    let Tally { frames, records, flows, too_short, too_long, dropped, would, heard } = tally;
    println!(
        "{} captures: {frames} frames, {flows} flows, {records} records and {heard} frames told whole agree, {dropped} dropped and {would} that would \
         have been; not run: {too_short} frames under {SHORTEST} bytes, {too_long} over {longest}",
        captures.len()
    );
    assert_eq!(sensor.counters().expect("counters").records_lost, 0);
    assert!(heard > 3_000, "only {heard} frames told whole were compared");
    assert!(too_short + too_long < frames / 100, "too many frames were not run");
    Some(tally)
}

#[test]
fn the_kernel_and_the_replay_agree_on_every_capture() {
    compare_all(false);
}

/// Rules of every kind and level by chance, in force and observed, reflexes and throttled devices: the same verdicts and
/// counters too, frame by frame and rule by rule. Budgets do not fill again meanwhile, so that time does not matter.
#[test]
fn they_agree_under_policies_of_all_kinds() {
    if let Some(tally) = compare_all(true) {
        assert!(tally.dropped > tally.frames / 20 && tally.would > tally.frames / 50, "policies do little");
    }
}
