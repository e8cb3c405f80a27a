//! Every capture, frame by frame, through the program in the kernel and through the data path of the replay: the same
//! reasons, the same records, and in the end the same flows.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::HashMap;
use std::path::Path;

use bpf_tests::capture;
use bpf_tests::kernel::{PORT, Reasons, TestSensor};
use sensor_core::datapath::Datapath;
use sensor_core::time::Time;
use sensor_ebpf::counter::Reason;
use sensor_ebpf::event::FlowRecord;
use sensor_ebpf::flow::{FlowValue, Judged};
use sensor_user::bpf::FlowKey;

/// An Ethernet header: BPF_PROG_TEST_RUN takes no shorter frame.
const SHORTEST: usize = 14;

/// What was run, and what could not be.
#[derive(Default)]
struct Tally {
    frames: u64,
    records: u64,
    flows: u64,
    too_short: u64,
    too_long: u64,
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

/// Runs one capture on both sides.
fn compare(sensor: &mut TestSensor, path: &Path, longest: usize, tally: &mut Tally) {
    let name = path.display();
    let mut twin = Datapath::new(PORT);
    let mut number = 0u64;
    let mut reasons = sensor.reasons().expect("reasons");
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
        let twin_reasons = twin.reasons;
        let wanted = twin.frame(frame, frame.len() as u32, Time(number * 1_000_000));
        let wanted: Vec<_> = wanted.iter().map(|record| timeless_record(record.flow)).collect();
        sensor.run(frame)?;
        let after = sensor.reasons()?;
        let got: Vec<_> = sensor.records().into_iter().map(timeless_record).collect();
        assert_eq!(got, wanted, "{name}, frame {number}: records");
        tally.records += got.len() as u64;
        let (got, wanted) = (difference(&after, &reasons), difference(&twin.reasons, &twin_reasons));
        assert_eq!(got, wanted, "{name}, frame {number}: reasons");
        reasons = after;
        Ok(())
    });
    // A damaged file is read as far as it goes; that is what replay does too.
    if let Err(error) = result {
        println!("{name}: read up to frame {number}: {error:#}");
    }
    compare_flows(sensor, &twin, path, tally);
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
        assert!(sensor.maps.flows.take(&key).expect("taken").is_some());
    }
}

#[test]
fn the_kernel_and_the_replay_agree_on_every_capture() {
    let Some(dir) = capture::data_dir() else {
        println!("NOT TESTED: no captures (set SEKISHO_DATA to the folder that has them)");
        return;
    };
    let mut sensor = TestSensor::load().expect("loads");
    let longest = longest(&sensor);
    sensor.clear().expect("clears");
    let captures = capture::captures(&dir).expect("a readable folder");
    assert!(captures.len() > 200, "only {} captures in {}", captures.len(), dir.display());
    let mut tally = Tally::default();
    for path in &captures {
        compare(&mut sensor, path, longest, &mut tally);
    }
    let Tally { frames, records, flows, too_short, too_long } = tally;
    println!(
        "{} captures: {frames} frames, {flows} flows, {records} records agree; not run: {too_short} frames under \
         {SHORTEST} bytes, {too_long} over {longest}",
        captures.len()
    );
    assert_eq!(sensor.counters().expect("counters").records_lost, 0);
    assert!(too_short + too_long < frames / 100, "too many frames were not run");
}
