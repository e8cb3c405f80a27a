//! A made-up hospital of 300 hosts on the bridge, some of which attack: who is cut off, and who is not.

use anyhow::{Context, Result, ensure};
use bpf_tests::traffic::slowness;
use sensor_eval::attack::KINDS;
use sensor_eval::packets::{Extent, hold};

/// Nothing is asked of how soon: `cargo xtask eval` tells that, on a machine that does nothing else.
#[test]
fn of_300_hosts_those_that_attack_are_cut_off_and_nobody_else() -> Result<()> {
    let morning = 12.0 * f64::from(slowness());
    let seen = hold(&Extent { seed: 2, hosts: 330, morning, rounds: 1 })?;
    println!("{seen:?}");
    ensure!(seen.hosts >= 300 && seen.runs.len() == 9, "{} hosts, {} runs", seen.hosts, seen.runs.len());
    ensure!(seen.wronged.is_empty(), "cut off without reason: {:?}", seen.wronged);
    let [sent, lost] = seen.harmless;
    ensure!(sent > 1_000 && lost == 0, "{lost} of {sent} frames of others were lost");
    for run in &seen.runs {
        let kind = KINDS.get(run.kind).context("a kind")?.name;
        ensure!(run.after[1] == 0, "{kind}: frames came through after the first drop: {run:?}");
        ensure!(run.is_cut() || !kind.starts_with("sparse"), "{kind}: not cut off: {run:?}");
    }
    Ok(())
}
