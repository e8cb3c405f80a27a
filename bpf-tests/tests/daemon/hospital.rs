//! A made-up hospital of 300 hosts on the bridge, some of which attack: who is cut off, and who is not.

use anyhow::{Context, Result, ensure};
use sensor_eval::attack::KINDS;
use sensor_eval::packets::{Extent, hold};
use sensor_eval::subject::tally::Step;

/// Nothing is asked of how soon: `cargo xtask eval` tells that, on a machine that does nothing else.
#[test]
fn of_300_hosts_those_that_attack_are_cut_off_and_nobody_else() -> Result<()> {
    let seen = hold(&Extent { seed: 2, hosts: 330, rounds: 1 })?;
    println!("{seen:?}");
    ensure!(seen.hosts >= 300 && seen.runs.len() == 9, "{} hosts, {} runs", seen.hosts, seen.runs.len());
    ensure!(seen.wronged.is_empty(), "cut off without reason: {:?}", seen.wronged);
    let [sent, lost] = seen.harmless;
    ensure!(sent > 1_000 && lost == 0, "{lost} of {sent} frames of others were lost");
    // On a first day nobody is pinned by itself: that what was learned in another boot is taken up shows here.
    ensure!(seen.runs.iter().any(|run| run.steps.contains_key(&Step::Pin)), "the first day begins anew");
    for run in &seen.runs {
        let kind = KINDS.get(run.kind).context("a kind")?.name;
        ensure!(run.after[1] == 0, "{kind}: frames came through after the first drop: {run:?}");
        ensure!(run.is_cut() || !kind.starts_with("sparse"), "{kind}: not cut off: {run:?}");
    }
    Ok(())
}
