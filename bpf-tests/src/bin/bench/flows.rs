//! New flows at full speed with a reader, and what a flow takes of memory.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::loaded_maps;
use bpf_tests::cpu;
use bpf_tests::frame::{Frame, SYN, mac};
use bpf_tests::kernel::{TestSensor, XDP_PASS, run_times};
use bpf_tests::small::Small;
use sensor_ebpf::table::WAYS;
use sensor_user::bpf::Rings;

use crate::report::{Aim, Line, Table, middle};
use crate::rules;

/// New flows of a turn; the table holds 262,144 of them.
const FLOWS: u32 = 400_000;
/// Turns.
const ROUNDS: usize = 9;
/// How long the reader sleeps when it found nothing. The daemon's sleeps at most a jiffy, ten times as long.
const NAP: Duration = Duration::from_millis(1);
/// Records read at once.
const BATCH: usize = 4096;

/// New flows a second that one CPU enters and tells, while another CPU reads the records.
pub fn rate(home: usize, away: usize) -> Result<Vec<Table>> {
    let mut sensor = rules::sensor(&rules::everywhere(1000))?;
    let frame = Frame::ethernet(mac(1), mac(2)).ip4(Ipv4Addr::new(16, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let mut frame = frame.tcp(40_000, 80, SYN).build();
    let (mut rates, mut read) = (Vec::with_capacity(ROUNDS), 0);
    let before = sensor.counters()?;
    for round in 0..ROUNDS {
        // The program counts the source address up from its first byte on; the last tells the rounds apart.
        frame[29] = round as u8 + 1;
        let (rate, more) = turn(&mut sensor, &frame, home, away)?;
        rates.push(rate);
        read += more;
    }
    let after = sensor.counters()?;
    let [new, failed, sent, lost] = [
        after.flows_new - before.flows_new,
        after.flows_failed - before.flows_failed,
        after.records_sent - before.records_sent,
        after.records_lost - before.records_lost,
    ];
    let frames = u64::from(FLOWS) * ROUNDS as u64;
    ensure!(new + failed == frames, "{frames} flows, but {new} new ones and {failed} failures are counted");
    ensure!(sent + lost == frames, "{frames} flows, but {sent} records sent and {lost} lost are counted");
    ensure!(read == sent, "{sent} records sent, but {read} read");
    let share = lost as f64 * 100.0 / frames as f64;
    Ok(vec![Table {
        title: "New flows, each of one frame, at full speed with a reader",
        notes: vec![
            format!(
                "the program on CPU {home}, run again and again in the kernel, {ROUNDS} turns of {FLOWS} flows;"
            ),
            format!("the reader on CPU {away}"),
            format!(
                "{frames} flows = {new} entered + {failed} not; {sent} records sent, all read; \
                 {lost} ({share:.2} %) lost and counted"
            ),
        ],
        unit: "flows/s",
        lines: vec![Line::alone(
            "new flows a second and core",
            middle(&rates),
            Some(Aim::AtLeast(300_000.0)),
        )],
    }])
}

/// One turn; the flows a second and the records read.
fn turn(sensor: &mut TestSensor, frame: &[u8], home: usize, away: usize) -> Result<(f64, u64)> {
    let (program, maps) = sensor.split()?;
    let next = Small::next_flow(program)?;
    let (rings, done) = (&mut maps.rings, AtomicBool::new(false));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            cpu::pin(away)?;
            Ok(read_until(rings, &done))
        });
        cpu::pin(home)?;
        let ran = next.program().and_then(|program| run_times(program, frame, FLOWS));
        done.store(true, Ordering::Relaxed);
        let read: Result<u64> = reader.join().map_err(|_| anyhow!("the reader panicked"))?;
        let (verdict, ns) = ran?;
        ensure!(verdict == XDP_PASS, "a new flow had verdict {verdict}");
        Ok((1e9 / ns as f64, read?))
    })
}

/// Reads records until told to stop and none are left; how many there were.
fn read_until(rings: &mut Rings, done: &AtomicBool) -> u64 {
    let (mut batch, mut read) = (Vec::with_capacity(BATCH), 0);
    loop {
        let last = done.load(Ordering::Relaxed);
        let count = rings.read(BATCH, &mut batch);
        read += count as u64;
        batch.clear();
        if count < BATCH {
            if last {
                return read;
            }
            thread::sleep(NAP);
        }
    }
}

/// What each flow table takes of the kernel's memory, by its own account.
pub fn memory(_home: usize, _away: usize) -> Result<Vec<Table>> {
    let _sensor = TestSensor::load()?;
    let lines = [("FLOW4", "IPv4 and ARP"), ("FLOW6", "IPv6")].map(|(map, what)| -> Result<Line> {
        let (bytes, sets) = locked(map)?;
        let flows = sets * WAYS as u64;
        let name = format!("{what}: {flows} flows, {:.1} MB", bytes as f64 / 1e6);
        Ok(Line::alone(name, bytes as f64 / flows as f64, None))
    });
    Ok(vec![Table {
        title: "Memory of the flow tables (memlock of the maps), all of it taken at the start",
        notes: Vec::new(),
        unit: "B a flow",
        lines: lines.into_iter().collect::<Result<_>>()?,
    }])
}

/// Bytes of kernel memory and bound of a map that this process holds.
fn locked(name: &str) -> Result<(u64, u64)> {
    let ids: Vec<u64> = loaded_maps()
        .flatten()
        .filter(|map| map.name_as_str() == Some(name))
        .map(|map| u64::from(map.id()))
        .collect();
    for entry in fs::read_dir("/proc/self/fdinfo").context("reading /proc/self/fdinfo")?.flatten() {
        // A descriptor may be closed meanwhile: the one this folder is read by.
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
        };
        if let (Some(id), Some(bytes), Some(entries)) =
            (field("map_id"), field("memlock"), field("max_entries"))
            && ids.contains(&id)
        {
            return Ok((bytes, entries));
        }
    }
    Err(anyhow!("this process has no map {name}"))
}
