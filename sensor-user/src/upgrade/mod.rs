//! `sekisho upgrade`: the program of all ports is replaced at once, and put back if that is not proved to be good.

mod stream;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sensor_core::time::SECOND;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::bpf::{self, OBJECT, Pins, Ports, Sensor, SensorLock, TestRule};
use crate::clock::Now;
use crate::label;
use crate::say;
use crate::stage::Stage;
use stream::{ISOLATED, Outcome, Streams};

/// How long the streams run before the swap.
const BEFORE: Duration = Duration::from_millis(500);
/// And after it.
const AFTER: Duration = Duration::from_secs(1);
/// A bridge with a spanning tree lets a new port learn for twice 15 s before it forwards (IEEE 802.1D).
const FORWARDING: Duration = Duration::from_secs(40);
/// Rules of a proof end by themselves, should nobody be left to remove them.
const RULE: u64 = 120 * SECOND;
/// Whether the bridge forwards is looked at so often.
const LOOK: Duration = Duration::from_millis(200);
/// Ports made for a proof.
const STAGE_PORTS: usize = 2;

/// What `sekisho upgrade` is given.
#[derive(Clone, Debug)]
pub struct UpgradeOptions {
    /// The bridge.
    pub bridge: String,
    /// Where maps and links are pinned.
    pub pin_dir: PathBuf,
    /// Whether the swap has to be proved.
    pub prove: bool,
    /// Another object than the embedded one.
    pub object: Option<PathBuf>,
    /// JSON instead of sentences.
    pub json: bool,
}

/// Replaces the program. False: it was not good, and everything is as before.
///
/// # Errors
///
/// Whatever keeps it from being replaced; everything is as before then.
pub fn run(options: &UpgradeOptions) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(upgrade(options))
}

async fn upgrade(options: &UpgradeOptions) -> Result<bool> {
    // Half-way is no place to stop: the few seconds it takes, these are only taken note of.
    let _ignored = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let object = match &options.object {
        Some(file) => Some(fs::read(file).with_context(|| format!("cannot read {}", file.display()))?),
        None => None,
    };
    let object = object.as_deref().unwrap_or(OBJECT);
    let bridge = &options.bridge;
    let ports = Ports::open(bridge).await?;
    bpf::probe(&options.pin_dir)?;
    let _lock = SensorLock::acquire(bpf::LOCK_DIR.as_ref(), bridge, ports.bridge_ifindex())?;
    let loaded = bpf::bridges(&options.pin_dir)?.contains(bridge);
    ensure!(loaded, "nothing is loaded for {bridge}: start it with `sekisho run --bridge {bridge}`");
    let pins = Pins::open(&options.pin_dir, bridge)?.only_mine()?;
    if !options.prove {
        return replace(options, pins, &ports, object, None);
    }
    let stage = Stage::make().await?;
    let rule = TestRule { mac: ISOLATED, until_ns: Now::read().mono.plus(RULE).ns() };
    let done = proved(options, pins, &stage, ports.bridge_ifindex(), rule, object).await;
    drop(stage);
    let pins = Pins::open(&options.pin_dir, bridge)?;
    let cleared = rule.withdraw(&pins).and_then(|()| pins.remove_dead_links());
    done.and_then(|good| cleared.map(|()| good).context("clearing away what was needed for the proof"))
}

/// Replaces the program while the streams run between two ports of our own.
async fn proved(
    options: &UpgradeOptions,
    pins: Pins,
    stage: &Stage,
    bridge: u32,
    rule: TestRule,
    object: &[u8],
) -> Result<bool> {
    bpf::lend_program(&pins, &stage.ports)?;
    stage.join(bridge).await?;
    rule.enter(&pins)?;
    rehearse(stage)?;
    let ports = Ports::open(&options.bridge).await?;
    let streams = Streams::start(stage.ends)?;
    thread::sleep(BEFORE);
    replace(options, pins, &ports, object, Some(streams))
}

/// Makes sure that the streams are as they should be with the program in force.
fn rehearse(stage: &Stage) -> Result<()> {
    let started = Instant::now();
    // A bridge may take its time with new ports; what is lost of that is not counted.
    while started.elapsed() < FORWARDING {
        let streams = Streams::start(stage.ends)?;
        thread::sleep(LOOK);
        if streams.finish()?.received > 0 {
            break;
        }
    }
    let streams = Streams::start(stage.ends)?;
    thread::sleep(BEFORE);
    let before = streams.finish()?;
    ensure!(before.is_good(), "nothing was changed, for nothing can be proved: already before, {before}");
    Ok(())
}

/// Puts the program on all ports; if the streams then are not as they should be, on none.
fn replace(
    options: &UpgradeOptions,
    pins: Pins,
    ports: &Ports,
    object: &[u8],
    streams: Option<Streams>,
) -> Result<bool> {
    let Sensor { mut attachments, mut counters, mut notes, .. } = Sensor::load_pinned(pins, ports, object)?;
    let started = Instant::now();
    let attached = ports.list().iter().try_for_each(|port| attachments.attach(port).map(drop));
    if let Err(error) = attached {
        attachments.roll_back().context("going back to the program before")?;
        return Err(error.into());
    }
    let took = started.elapsed();
    let mine = if streams.is_some() { STAGE_PORTS } else { 0 };
    let count = attachments.attached().count().saturating_sub(mine);
    let outcome = streams.map(|streams| {
        thread::sleep(AFTER);
        streams.finish()
    });
    if let Some(outcome) = outcome.as_ref().filter(|outcome| !outcome.as_ref().is_ok_and(Outcome::is_good)) {
        attachments.roll_back().context("going back to the program before")?;
        return match outcome {
            Ok(outcome) => {
                tell(options, &Told { ports: None, outcome: Some(*outcome), took, notes });
                Ok(false)
            }
            Err(error) => bail!("all ports have the program they had before: {error:#}"),
        };
    }
    notes.extend(attachments.settle(&mut counters)?);
    tell(options, &Told { ports: Some(count), outcome: outcome.and_then(Result::ok), took, notes });
    Ok(true)
}

/// What was done.
struct Told {
    /// So many ports have the new program; none: it was not good.
    ports: Option<usize>,
    outcome: Option<Outcome>,
    took: Duration,
    notes: Vec<String>,
}

fn tell(options: &UpgradeOptions, told: &Told) {
    let Told { ports, outcome, took, notes } = told;
    let (bridge, ms) = (&options.bridge, took.as_millis());
    if options.json {
        let proof = outcome.map(|outcome| outcome.json());
        let told =
            json!({ "bridge": bridge, "swapped": ports, "took_ms": ms, "proof": proof, "notes": notes });
        say::out(told);
        return;
    }
    if let Some(outcome) = outcome {
        say::out(outcome);
    }
    let Some(ports) = ports else {
        return say::out(format_args!("NOT swapped: all ports of {bridge} have the program they had before"));
    };
    notes.iter().for_each(say::out);
    let ports = label::count(*ports as u64, "port", "ports");
    say::out(format_args!("swapped: {ports} of {bridge} in {ms} ms"));
}
