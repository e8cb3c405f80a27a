//! How long a scanner goes on after the frame that gives it away, while very many other flows pass.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bpf_tests::daemon::site;
use bpf_tests::flood::Flood;
use bpf_tests::frame::{ACK, Frame, RST, SYN, mac};
use bpf_tests::raw::Raw;

/// Scanners, one after the other.
const SCANNERS: u8 = 250;
/// Other new flows a second.
const OTHERS: u64 = 100_000;
/// Time between two probes of a scanner.
const PACE: Duration = Duration::from_micros(50);
/// By then the tables have their size: 262,144 conversations fill them.
const WARM_UP: Duration = Duration::from_secs(5);
/// Refusals that give a scanner away: ten failures of first contacts are one chance in a million.
const ENOUGH: usize = 10;
/// Probes until it is given up.
const PROBES: usize = 20_000;

/// From the refusal that gives a scanner away to its last frame that arrives, and to its first that does not: the median and the
/// 99th percentile over all scanners, while nothing else passes and while 100,000 other flows a second begin. The drop comes
/// between the two, which are far apart only where the scanner itself waited for a processor. Nothing is asked of the figures:
/// `cargo test -p bpf-tests --test daemon -- --ignored --nocapture latency`, on a machine that does nothing else.
#[test]
#[ignore = "prints what it measures"]
fn of_the_drop_that_follows_the_evidence() -> Result<()> {
    for others in [0, OTHERS] {
        site(4, |site| {
            (1..=4).try_for_each(|host| site.lab.silence(host))?;
            site.configure("[isolation]\nbudget = 1000\nbudget_share = 100\n")?;
            // A line for each of the flows is not what is measured.
            let _daemon = site.start(&["--mode", "enforce", "--events", "alert,isolation"])?;
            let (wire, listener) = (Raw::open(site.lab, 1)?, Raw::open(site.lab, 2)?);
            let flood = Flood::new(site.lab, 3)?;
            let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
            let started = Instant::now();
            let measured = thread::scope(|scope| {
                let background = scope.spawn(|| background(&flood, others, &over, &sent));
                thread::sleep(WARM_UP);
                let measured: Result<Vec<[Duration; 2]>> =
                    (1..=SCANNERS).map(|scanner| scan(&wire, &listener, scanner)).collect();
                over.store(true, Ordering::Relaxed);
                background.join().map_err(|_| anyhow::anyhow!("the other flows broke down"))??;
                measured
            });
            let rate = sent.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
            let measured = measured?;
            println!("{rate:.0} other new flows a second; {} scanners", measured.len());
            for (which, name) in ["last that arrives", "first that does not"].into_iter().enumerate() {
                let mut times: Vec<Duration> =
                    measured.iter().filter_map(|both| both.get(which).copied()).collect();
                times.sort_unstable();
                let at = |part: usize| times.get((times.len() * part / 100).min(times.len() - 1)).copied();
                let [Some(middle), Some(most), Some(all)] = [50, 99, 100].map(at) else {
                    bail!("there was no scanner")
                };
                println!("  {name}: p50 {middle:?}, p99 {most:?}, longest {all:?}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// New flows at a steady rate until it is over, to a host of their own: who listens to the scanners hears nothing else.
fn background(flood: &Flood, rate: u64, over: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let started = Instant::now();
    let mut number = 0u64;
    while !over.load(Ordering::Relaxed) {
        let due = started.elapsed().as_micros() as u64 * rate / 1_000_000;
        let frames = (number..due)
            .map(|n| flood.open(4, (n % 60_000) as u16 + 1_024, (n / 60_000 % 60_000) as u16 + 1));
        number += flood.send(frames)?;
        sent.store(number, Ordering::Relaxed);
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

/// One scanner: a known host that turns to one new host after the other, each of which refuses at once. When after it was given
/// away its last frame arrived, and its first one did not.
fn scan(wire: &Raw, listener: &Raw, scanner: u8) -> Result<[Duration; 2]> {
    let (own, from) = ([2, 0, 0, 0, 1, scanner], Ipv4Addr::new(10, 77, 1, scanner));
    let target = |n: usize| Ipv4Addr::new(10, 77, 128 + (n >> 8) as u8, n as u8);
    let probe =
        |n: usize, flags| Frame::ethernet(own, mac(2)).ip4(from, target(n)).tcp(40_000, 22, flags).build();
    let refusal =
        |n: usize| Frame::ethernet(mac(2), own).ip4(target(n), from).tcp(22, 40_000, RST | ACK).build();
    listener.arrived(mac(2))?;
    let (mut given_away, mut last) = (None, Duration::ZERO);
    for n in 0..PROBES {
        let begun = Instant::now();
        wire.send(&probe(n, SYN))?;
        // Frames go through the bridge within the call that sends them.
        let passed = listener.arrived(mac(2))?.iter().any(|frame| frame.get(6..12) == Some(&own));
        match (passed, given_away) {
            (false, Some(since)) => return Ok([last, begun.duration_since(since)]),
            (false, None) => ensure!(n < ENOUGH, "scanner {scanner} was cut off before it was given away"),
            (true, since) => {
                last = since.map_or(last, |since| begun.duration_since(since));
                listener.send(&refusal(n))?;
            }
        }
        if n + 1 == ENOUGH {
            given_away = Some(Instant::now());
        }
        thread::sleep(PACE.saturating_sub(begun.elapsed()));
    }
    bail!("scanner {scanner} was not cut off")
}
