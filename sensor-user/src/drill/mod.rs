//! `sekisho drill`: a device of its own begins to scan, on a port of its own, and each stage is timed until all is as before:
//! found, isolated, proven on the wire, told, released.
//!
//! It asks the running daemon as an operator would, and sends frames between two ports it makes on the bridge; nobody else
//! gets one. The daemon, its detectors, its decision, the kernel's drop and the channels are the real ones.

mod actor;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sensor_core::addr::Mac;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::app::shutdown;
use crate::bpf::Ports;
use crate::cli::Client;
use crate::clock::Stamp;
use crate::protocol::{
    BlockInfo, BlockSelect, DeviceEdit, DeviceName, DrillDone, NotifyChannel, Request, Status,
};
use crate::say;
use crate::stage::Stage;
use actor::{ADDRESS, Actors};

pub use actor::{REFUSER, SCANNER};

/// A port that joins is filtered within this time, and forwards: a bridge with a spanning tree takes twice 15 s (IEEE 802.1D).
const READY: Duration = Duration::from_secs(40);
/// Attempts of the scanner until it must have been found: ten refusals give a scanner away.
const ATTEMPTS: u32 = 200;
/// Frames that must not arrive, and later must.
const PROOF: u32 = 50;
/// What is waited for is looked at so often.
const LOOK: Duration = Duration::from_millis(50);
/// As who the device of the drill is known.
const NAME: &str = "Sekisho fire drill";
/// The drill was told to stop.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What `sekisho drill` is given.
#[derive(Clone, Debug)]
pub struct DrillOptions {
    /// The control socket.
    pub socket: PathBuf,
    /// JSON instead of sentences.
    pub json: bool,
    /// People must be told within this time.
    pub within: Duration,
}

/// A stage of a drill.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Done {
    /// Its name.
    stage: &'static str,
    /// How long it took.
    seconds: f64,
    /// What came of it.
    what: String,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10} {:>9.3} s  {}", self.stage, self.seconds, self.what)
    }
}

/// A channel that people are told by.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Heard {
    /// Its name.
    channel: String,
    /// Notices it had told before the drill.
    #[serde(skip)]
    before: u64,
    /// How long after the isolation it told of it; none: it was silent.
    seconds: Option<f64>,
}

/// Plays it. False: a stage failed; all is as before.
///
/// # Errors
///
/// Whatever keeps it from beginning.
pub fn run(options: &DrillOptions) -> Result<bool> {
    let mut client = Client::connect(&options.socket)?;
    let answer = client.ask(Request::Status)?;
    let status: Status = client.read(answer)?;
    ensure!(!status.live.bypass.on, "the bypass is on: nothing is dropped; `sekisho bypass off` first");
    let runtime = Builder::new_current_thread().enable_all().build()?;
    mind_signals()?;
    let stage = runtime.block_on(async {
        let bridge = Ports::open(&status.live.bridge).await?.bridge_ifindex();
        let stage = Stage::make().await?;
        stage.join(bridge).await?;
        anyhow::Ok(stage)
    })?;
    let mut drill = Drill {
        client,
        enforce: status.live.mode == "enforce",
        since: Stamp::now(),
        done: Vec::new(),
        channels: Vec::new(),
        isolated: None,
        entry: None,
        json: options.json,
        within: options.within,
    };
    let (played, cleared) = match drill.begin() {
        Ok(()) => (drill.play(&stage), drill.clear()),
        // There is nothing of it yet, and what is there is somebody else's.
        Err(error) => (Err(error), Ok(())),
    };
    drop(stage);
    let failed = played.and(cleared).err().map(|error| format!("{error:#}"));
    let report = DrillDone { good: failed.is_none() };
    let told = drill.client.ask(Request::DrillDone(report)).map(drop);
    drill.conclude(failed.as_deref());
    told?;
    Ok(failed.is_none())
}

/// A drill that is interrupted takes back what it did.
fn mind_signals() -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let told_to_stop = runtime.block_on(async { shutdown() })?;
    thread::spawn(move || {
        runtime.block_on(told_to_stop);
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

fn not_interrupted() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "it was interrupted");
    Ok(())
}

struct Drill {
    client: Client,
    enforce: bool,
    since: Stamp,
    done: Vec<Done>,
    channels: Vec<Heard>,
    /// When its device was isolated.
    isolated: Option<Stamp>,
    /// The entry that the drill brought about, until it is taken out.
    entry: Option<u32>,
    json: bool,
    within: Duration,
}

impl Drill {
    fn play(&mut self, stage: &Stage) -> Result<()> {
        self.stage("ready", |drill| drill.ready(stage))?;
        let mut actors = Actors::new(stage.ends, (self.since.0 / 1_000_000_000) as u32)
            .context("opening packet sockets on the ports of the drill")?;
        self.stage("forwarded", |_| forwarded(&mut actors))?;
        self.stage("isolated", |drill| drill.isolated(&mut actors))?;
        if self.enforce {
            self.stage("dropped", |_| dropped(&mut actors))?;
        }
        self.stage("told", Self::told)?;
        self.stage("released", |drill| drill.released(&mut actors))
    }

    /// Plays a stage, and tells what came of it.
    fn stage(&mut self, stage: &'static str, play: impl FnOnce(&mut Self) -> Result<String>) -> Result<()> {
        let begun = Instant::now();
        let what = play(self).with_context(|| format!("the stage `{stage}` failed"))?;
        let done = Done { stage, seconds: begun.elapsed().as_secs_f64(), what };
        if !self.json {
            say::out(&done);
        }
        self.done.push(done);
        Ok(())
    }

    /// The daemon has the program on both ports, and knows the device by its name.
    fn ready(&mut self, stage: &Stage) -> Result<String> {
        until("the daemon filters the ports of the drill", READY, || {
            let answer = self.client.ask(Request::Status)?;
            let status: Status = self.client.read(answer)?;
            let filtered = |name: &str| status.live.ports.iter().any(|port| port.name == name);
            Ok(stage.ports.iter().all(|port| filtered(&port.name)).then_some(()))
        })?;
        self.client.ask(Request::DrillBegin)?;
        let device = Mac(SCANNER).to_string();
        let edit = DeviceEdit { device, name: Some(NAME.to_owned()), ..DeviceEdit::default() };
        self.client.ask(Request::DeviceEdit(vec![edit]))?;
        Ok(format!("{} and {} are filtered", stage.ports[0].name, stage.ports[1].name))
    }

    /// The scanner goes on until it is on the block list.
    fn isolated(&mut self, actors: &mut Actors) -> Result<String> {
        for attempt in 1..=ATTEMPTS {
            not_interrupted()?;
            actors.scan()?;
            if let Some(block) = self.find()? {
                (self.entry, self.isolated) = (Some(block.id), Some(Stamp::now()));
                let would = if block.would { "would be isolated: observe mode" } else { "isolated" };
                let incident = block.incident_id.map_or_else(String::new, |id| format!(", incident {id}"));
                return Ok(format!("{would} after {attempt} attempts{incident}: {}", block.reason));
            }
        }
        bail!(
            "{ATTEMPTS} refused attempts isolated nobody; is [detect.off], a change window, or network.internal without 169.254.0.0/16 in the way?"
        )
    }

    /// The entry that the scanner earned, and nobody else: a real device may have its IP address, and who means ill its MAC
    /// address. That it is one of a drill its name says, which it has from a drill alone.
    fn find(&mut self) -> Result<Option<BlockInfo>> {
        Ok(self.blocks()?.into_iter().find(|block| {
            let is_ours = |device: &DeviceName| is_scanner(device) && device.name.as_deref() == Some(NAME);
            block.incident_id.is_some() && block.device.as_ref().is_some_and(is_ours)
        }))
    }

    fn blocks(&mut self) -> Result<Vec<BlockInfo>> {
        let answer = self.client.ask(Request::BlockList)?;
        Ok(self.client.read(answer)?)
    }

    /// Takes back what a drill that was killed left, and makes sure that nothing is held that this one would be taken for.
    fn begin(&mut self) -> Result<()> {
        if let Some(block) = self.find()? {
            self.client.ask(Request::BlockRemove(BlockSelect::Id(block.id)))?;
        }
        if let Some(block) = self.blocks()?.iter().find(|one| one.device.as_ref().is_some_and(is_scanner)) {
            bail!(
                "a device that is none of a drill has its MAC address, {}, and is on the block list (entry {}): look who that is; \
                 no drill can be played as long as it is held",
                Mac(SCANNER),
                block.id
            );
        }
        let address = ADDRESS.to_string();
        if let Some(block) = self.blocks()?.into_iter().find(|block| block.targets.contains(&address)) {
            bail!(
                "{address}, the address of the drill, is on the block list (entry {}): no drill can be played",
                block.id
            );
        }
        let heard =
            |channel: NotifyChannel| Heard { channel: channel.name, before: channel.sent, seconds: None };
        self.channels = self.told_so_far()?.into_iter().map(heard).collect();
        Ok(())
    }

    fn told_so_far(&mut self) -> Result<Vec<NotifyChannel>> {
        let answer = self.client.ask(Request::NotifyList)?;
        Ok(self.client.read(answer)?)
    }

    /// Each channel told something since the drill began.
    fn told(&mut self) -> Result<String> {
        let within = self.within;
        let told =
            until("every channel told of it (`sekisho notify list` shows what is wrong)", within, || {
                self.listen()?;
                Ok(self.channels.iter().all(|heard| heard.seconds.is_some()).then_some(()))
            });
        let (heard, silent): (Vec<_>, Vec<_>) = self.channels.iter().partition(|one| one.seconds.is_some());
        let heard: Vec<_> = heard
            .iter()
            .map(|one| format!("{} {:.3} s", one.channel, one.seconds.unwrap_or_default()))
            .collect();
        let silent: Vec<_> = silent.iter().map(|one| one.channel.as_str()).collect();
        told.with_context(|| {
            let others = if heard.is_empty() { "no channel told".to_owned() } else { heard.join(", ") };
            format!("silent: {} ({others})", silent.join(", "))
        })?;
        Ok(match &heard[..] {
            [] => "no channel is configured".to_owned(),
            heard => format!("after the isolation: {}", heard.join(", ")),
        })
    }

    /// Looks which channels told something since.
    fn listen(&mut self) -> Result<()> {
        let (now, told) = (Stamp::now(), self.told_so_far()?);
        let isolated = self.isolated.unwrap_or(self.since);
        for heard in self.channels.iter_mut().filter(|heard| heard.seconds.is_none()) {
            let channel = told.iter().find(|one| one.name == heard.channel && one.sent > heard.before);
            // It may have told before the entry was seen here.
            let after = |at: Stamp| at.0.saturating_sub(isolated.0).max(0) as f64 / 1e9;
            heard.seconds = channel.map(|channel| after(channel.last_success.unwrap_or(now)));
        }
        Ok(())
    }

    /// The entry is taken out, and frames arrive again.
    fn released(&mut self, actors: &mut Actors) -> Result<String> {
        if let Some(id) = self.entry {
            self.client.ask(Request::BlockRemove(BlockSelect::Id(id)))?;
            self.entry = None;
        }
        let arrived = actors.probe(PROOF)?;
        ensure!(arrived > 0, "{PROOF} frames were sent after the release, and none arrived");
        Ok(format!("{arrived} of {PROOF} frames arrive again"))
    }

    /// Takes back what is left of it, whatever happened.
    fn clear(&mut self) -> Result<()> {
        if let Some(block) = self.find()? {
            self.entry = Some(block.id);
            self.isolated.get_or_insert_with(Stamp::now);
            self.client.ask(Request::BlockRemove(BlockSelect::Id(block.id)))?;
        }
        self.entry = None;
        for mac in [SCANNER, REFUSER] {
            let device = Mac(mac).to_string();
            self.client.ask(Request::DeviceForget(device)).context("forgetting the devices of the drill")?;
        }
        Ok(())
    }

    fn conclude(&self, failed: Option<&str>) {
        if self.json {
            let told: Value = json!({
                "good": failed.is_none(),
                "stages": self.done,
                "channels": self.channels,
                "released": self.entry.is_none(),
                "error": failed,
            });
            say::out(told);
            return;
        }
        match failed {
            None => say::out("The drill is over: all is as it should be, and as it was before."),
            Some(error) => say::out(format_args!("THE DRILL FAILED: {error}\n{}", self.release())),
        }
    }

    /// Whether its device is still held, which must be known also of a drill that failed.
    fn release(&self) -> String {
        match (self.entry, self.isolated) {
            (Some(id), _) => {
                format!(
                    "THE DEVICE OF THE DRILL IS STILL HELD: `sekisho block remove --id {id}` releases it."
                )
            }
            (None, Some(_)) => "The device of the drill is released.".to_owned(),
            (None, None) => "No device was held.".to_owned(),
        }
    }
}

fn is_scanner(device: &DeviceName) -> bool {
    device.mac == Mac(SCANNER).to_string()
}

/// Before anything is wrong the frames arrive.
fn forwarded(actors: &mut Actors) -> Result<String> {
    until("the bridge forwards between the ports of the drill", READY, || {
        actors.greet()?;
        Ok((actors.probe(1)? == 1).then_some(()))
    })?;
    Ok("frames arrive".to_owned())
}

/// None arrives any more.
fn dropped(actors: &mut Actors) -> Result<String> {
    let leaked = actors.probe(PROOF)?;
    ensure!(leaked == 0, "{leaked} of {PROOF} frames of the isolated device arrived");
    Ok(format!("0 of {PROOF} frames of the isolated device arrived"))
}

/// Waits for something.
fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        not_interrupted()?;
        ensure!(
            begun.elapsed() < patience,
            "within {} s it did not come about that {what}",
            patience.as_secs()
        );
        thread::sleep(LOOK);
    }
}
