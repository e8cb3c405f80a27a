//! Putting the daemon together: every part is built here, in the order in which a failure leaves nothing behind.

mod tell;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use prometheus::Registry;
use sensor_core::datapath::Plan;
use sensor_core::engine::{Engine, Output};
use sensor_core::inventory::cards::Card;
use sensor_core::inventory::kept::Kept;
use sensor_core::policy::memory::Counter;
use sensor_core::policy::{Block, Decision, Memory, Save};
use sensor_core::settings::Mode;
use sensor_core::time::{MINUTE, SECOND};
use sensor_notify::Notifier;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::bpf::{self, Attachments, BpfError, KernelLog, LOCK_DIR, Ports, Rules, Sensor, SensorLock};
use crate::clock::{Now, WallClock};
use crate::config::{self, Config, DaemonSettings};
use crate::control::{Ask, Recall, Server};
use crate::enforce::Enforcer;
use crate::eve::EventType;
use crate::flows::{self, Flows};
use crate::models::Models;
use crate::pipeline::{Keeper, Parts, Pipeline, Printer, Sweeper, Telling};
use crate::record::{self, Keeping, Recorder};
use crate::store::Store;
use crate::telemetry::{self, Metrics};
use crate::{adopt, journal, makers, pipeline, protocol, urgency};

/// Requests of clients that may wait.
const ASKS: usize = 64;
/// Where the kernel tells the name of this machine.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// What `sekisho run` is given.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The bridge.
    pub bridge: String,
    /// The configuration; none: the usual file, if it is there.
    pub config: Option<PathBuf>,
    /// Where the block list, and what else must survive a restart, is kept.
    pub state_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Where maps and links are pinned.
    pub pin_dir: PathBuf,
    /// Where the metrics are served (or nowhere), instead of what the configuration says.
    pub metrics: Option<Option<SocketAddr>>,
    /// Whether decisions are carried out, instead of what the configuration says.
    pub mode: Option<Mode>,
    /// Without privileges: the file by which `sekisho load` is asked to attach the program.
    pub request: PathBuf,
    /// Whether other XDP programs are taken off the ports.
    pub replace: bool,
    /// JSON lines instead of sentences.
    pub json: bool,
    /// The kinds of events told.
    pub events: Vec<EventType>,
}

/// The configuration with what the command line changes, and the names of makers.
pub fn configure(file: Option<&std::path::Path>, mode: Option<Mode>) -> Result<Config> {
    let mut config = config::load(file)?;
    if let Some(mode) = mode {
        config.settings.mode = mode;
    }
    config.settings.makers = makers::load(&config.daemon.oui_file);
    Ok(config)
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// Whatever keeps it from starting, or from going on; nothing is left half-done then.
pub fn run(options: RunOptions) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().on_thread_start(urgency::later).build()?;
    let result = runtime.block_on(live(options));
    runtime.shutdown_background();
    result
}

/// Whether this process loads the program itself. If not, it must have been loaded before.
fn may_load(options: &RunOptions) -> Result<bool> {
    if bpf::may_load() || !bpf::bridges(&options.pin_dir).is_ok_and(|names| names.contains(&options.bridge)) {
        bpf::probe(&options.pin_dir)?;
        return Ok(true);
    }
    log::info!("no privileges: the program is attached by `sekisho load`");
    Ok(false)
}

/// What the daemon shows to the outside, opened before anything is loaded.
struct Outside {
    store: Store,
    blocks: Vec<Block>,
    memories: Vec<Memory>,
    devices: (Vec<Kept>, Vec<Card>),
    listener: Option<TcpListener>,
    server: Server,
    metrics: Metrics,
}

impl Outside {
    async fn open(options: &RunOptions, daemon: &DaemonSettings, now: Now) -> Result<Self> {
        let mut store = Store::open(&options.state_dir)?;
        let blocks = store.load(now)?;
        let devices = store.devices(now)?;
        let mut memories = store.recall(now)?;
        let last = journal::last_incident(&options.state_dir);
        memories.extend(last.map(|last| Memory::Last(Counter::Incidents, last)));
        let listener = match options.metrics.unwrap_or(daemon.metrics_listen) {
            Some(address) => Some(telemetry::bind(address).await?),
            None => None,
        };
        let server = Server::bind(&options.socket, &daemon.socket_group)?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), now.unix_ns as f64 / 1e9)?;
        Ok(Self { store, blocks, memories, devices, listener, server, metrics })
    }
}

async fn live(options: RunOptions) -> Result<()> {
    let config = configure(options.config.as_deref(), options.mode)?;
    config::files(&config).iter().for_each(|problem| log::warn!("configuration: {problem}"));
    let ports = Ports::open(&options.bridge).await?;
    let may_load = may_load(&options)?;
    let lock = SensorLock::acquire(LOCK_DIR.as_ref(), &options.bridge, ports.bridge_ifindex())?;
    let now = Now::read();
    let Outside { store, blocks, memories, devices, listener, server, metrics } =
        Outside::open(&options, &config.daemon, now).await?;
    let enforce = config.settings.mode == Mode::Enforce;
    let sensor = if may_load {
        Sensor::load(&options.pin_dir, &ports)?
    } else {
        Sensor::attend(&options.pin_dir, &ports, &options.request)?
    };
    sensor.notes.iter().for_each(|note| log::warn!("{note}"));
    let Sensor { mut attachments, mut rules, flows, mut counters, rings, log, jiffy_ns, notes: _ } = sensor;
    let coverage = config.settings.coverage;
    if options.replace {
        attachments.replace_others();
    }
    let mut out = Output::default();
    let plan = Plan::new(&config.settings);
    let lists = config.settings.lists().map(|(number, name, _)| (number, name)).collect();
    let known = adopt::Known { plan: &plan, lists };
    let recorder = recorder(&options, &config);
    let notifier = notifier(&options, &config);
    let eve = config.daemon.eve.clone();
    let journal = tell::journal(&options.state_dir, config.daemon.journal);
    let config_text = config.text.clone();
    let flow_log = flow_log(&options, &config);
    let mut engine = Engine::new(config.settings);
    engine.resume(devices.0, devices.1);
    take_up(&options, now, &mut engine);
    let models = models(&options, &config.daemon, now, &mut engine);
    let orphans = match orphans(&mut rules, &mut attachments, &ports, &known, &blocks, now) {
        Ok(orphans) => orphans,
        Err(error) => {
            attachments.roll_back()?;
            return Err(error.into());
        }
    };
    out.saves.extend(orphans.iter().cloned().map(Save::Put));
    engine.restore([blocks, orphans].concat(), &mut out);
    if let Some(Memory::Drilled(time)) = memories.iter().find(|one| matches!(one, Memory::Drilled(_))) {
        metrics.drilled(now.clock().stamp(*time).0);
    }
    engine.recall(memories, now.mono, &mut out);
    let (enforcer, mut attachments) = put_in_force(rules, plan, &out.decisions, attachments, &ports, now)?;
    match attachments.settle(&mut counters) {
        Ok(note) => note.iter().for_each(|note| log::info!("{note}")),
        Err(error) => log::error!("what an earlier release left could not be cleared away: {error}"),
    }
    greet(&options, &attachments, enforce, listener.as_ref());
    for (detector, places) in pipeline::detectors_off(engine.detectors_off()) {
        log::warn!("the detector {detector} is switched off: {}", places.join(", "));
    }

    if let Some(journal) = &journal {
        tell::began(journal, &options, enforce, &config_text, &engine);
    }
    let (sender, asks) = mpsc::channel(ASKS);
    let registry = metrics.registry();
    let pipeline = Pipeline::new(
        Parts {
            engine,
            enforcer,
            attachments,
            sweeper: Sweeper::new(flows, jiffy_ns, now.mono),
            counters,
            rings,
            ports,
            metrics,
            keeper: Keeper::start(store).context("starting the store's thread")?,
            models,
            recorder,
            notifier,
            journal,
            flows: flow_log,
            telling: Telling {
                json: options.json,
                kinds: options.events,
                printer: Printer::start().context("starting the printer's thread")?,
                log: tell::eve_log(&eve)?,
            },
            asks,
            pin_dir: options.pin_dir,
            enforce,
            coverage,
        },
        out,
    );
    let shutdown = shutdown()?;
    let recall = tell::recall(&options.state_dir);
    let leaves = serve(listener, registry, log, (&server, recall), sender);
    let result = tokio::select! {
        result = pipeline.run(shutdown) => result.map_err(anyhow::Error::from),
        result = leaves => result,
    };
    drop(lock);
    result?;
    log::info!("stopped; what is isolated stays isolated (`sekisho detach` takes the filter off)");
    Ok(())
}

/// Has the kernel's rules be those decided, and then the filter on every port; if it cannot, all is as it was.
fn put_in_force(
    rules: Rules,
    plan: Plan,
    decisions: &[Decision],
    mut attachments: Attachments,
    ports: &Ports,
    now: Now,
) -> Result<(Enforcer, Attachments)> {
    let mut enforcer = Enforcer::new(rules, plan, now.mono);
    enforcer.want(decisions);
    // Before the rules: a place that has another number now must not have the rules of the one before, not for a moment.
    let reconciled = attachments.indices(&ports.list()).and_then(|indices| {
        enforcer.set_ports(indices);
        enforcer.reconcile()
    });
    if let Err(error) = reconciled.and_then(|_| attach(&mut attachments, ports)) {
        // The first error is the one to tell.
        if let Err(second) = attachments.roll_back() {
            log::error!("{second}");
        }
        return Err(error.into());
    }
    Ok((enforcer, attachments))
}

/// What the daemon before this one had learned, and the evidence it had.
fn take_up(options: &RunOptions, now: Now, engine: &mut Engine) {
    let dir = options.state_dir.join(record::DIR);
    let failed = |what: &dyn std::fmt::Display| log::warn!("what was learned before is not taken up: {what}");
    let Some(last) = record::last_state(&dir, now, |error| failed(error)) else { return };
    match engine.take_up(&last, now.mono) {
        Ok(anew) => {
            let ago = now.mono.since(last.saved.by_clock_ahead(last.ahead_ns)) / SECOND * SECOND;
            log::info!("what was learned before is taken up, as it was {} ago", crate::duration::show(ago));
            if !anew.is_empty() {
                log::warn!(
                    "another build learned it; this one understands the rest, but begins anew with: {}",
                    anew.join(", ")
                );
            }
        }
        Err(error) => failed(&error),
    }
}

/// What was learned so far. Without a place to keep it the daemon does all else.
fn models(options: &RunOptions, daemon: &DaemonSettings, now: Now, engine: &mut Engine) -> Option<Models> {
    // A clock from before 1970 is a clock that is not set yet.
    engine.set_rows_ahead(u64::try_from(now.clock().offset_ns).unwrap_or(0));
    let dir = daemon.model_dir.clone().unwrap_or_else(|| options.state_dir.join("models"));
    match Models::open(&dir, daemon.train_hours, engine) {
        Ok(models) => Some(models),
        Err(error) => {
            log::error!("{error}; nothing is learned of what is usual");
            None
        }
    }
}

/// The record of decisions. Without a place to keep it the daemon does all else.
fn recorder(options: &RunOptions, config: &Config) -> Option<Recorder> {
    let daemon = &config.daemon;
    let keeping = Keeping {
        every_ns: daemon.record_minutes.saturating_mul(MINUTE),
        max_bytes: daemon.record_max_mib.saturating_mul(1 << 20),
    };
    let dir = options.state_dir.join(record::DIR);
    let enforce = config.settings.mode == Mode::Enforce;
    let start = |keeping| Recorder::start(&dir, keeping, config.text.clone(), enforce);
    match (keeping.every_ns > 0).then_some(keeping).map(start)? {
        Ok(recorder) => Some(recorder),
        Err(error) => {
            log::error!("cannot keep the record of decisions in {}: {error}", dir.display());
            None
        }
    }
}

/// Those who are told. Without them the daemon does all else.
fn notifier(options: &RunOptions, config: &Config) -> Option<Notifier> {
    let mut settings = config.daemon.notify.clone();
    if settings.channels.is_empty() {
        return None;
    }
    for (name, segment) in &config.settings.segments {
        let ports = segment.ports.iter().map(|port| (port.to_string(), name.to_string()));
        settings.segments.ports.extend(ports);
        settings.segments.vlans.extend(segment.vlans.iter().map(|vlan| (*vlan, name.to_string())));
    }
    let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    let dir = options.state_dir.join("notices");
    match Notifier::start(settings, &dir, host.trim(), TimeZone::system()) {
        Ok(notifier) => Some(notifier),
        Err(error) => {
            log::error!("{error}; NOBODY is told of what happens");
            None
        }
    }
}

/// The log of conversations and the collector, if one of them is wanted.
fn flow_log(options: &RunOptions, config: &Config) -> Option<Flows> {
    let settings = &config.daemon.flows;
    let wanted = settings.keep || settings.ipfix_collector.is_some();
    wanted.then(|| {
        Flows::start(&options.state_dir.join(flows::DIR), settings, config.settings.segments.clone())
    })
}

/// The entries that are in force, but not on the list.
fn orphans(
    rules: &mut Rules,
    attachments: &mut Attachments,
    ports: &Ports,
    known: &adopt::Known<'_>,
    blocks: &[Block],
    now: Now,
) -> Result<Vec<Block>, BpfError> {
    let found = adopt::Found {
        rules: rules.list()?,
        allowed: rules.allowed()?,
        ports: attachments.indices(&ports.list())?,
    };
    let orphans = adopt::orphans(blocks, &found, known, now.mono);
    for block in &orphans {
        log::warn!(
            "entry {} was in force, and the block list did not know it: it is entered again",
            block.id
        );
    }
    Ok(orphans)
}

/// Ready when this process is told to stop.
pub fn shutdown() -> Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    })
}

/// Serves all that only reads or asks; comes back only when something broke.
async fn serve(
    listener: Option<TcpListener>,
    registry: Registry,
    log: Option<KernelLog>,
    (server, recall): (&Server, Recall),
    asks: mpsc::Sender<Ask>,
) -> Result<()> {
    let scrape = async {
        match listener {
            Some(listener) => telemetry::serve(listener, registry).await,
            None => std::future::pending().await,
        }
    };
    let log = async {
        if let Some(log) = log
            && let Err(error) = log.forward().await
        {
            log::warn!("the program's messages are not shown any more: {error}");
        }
        std::future::pending().await
    };
    tokio::select! {
        result = scrape => result.context("serving the metrics"),
        () = log => Ok(()),
        () = server.serve(asks, WallClock::live, recall) => Ok(()),
    }
}

/// Puts the program on every port there is.
fn attach(attachments: &mut Attachments, ports: &Ports) -> Result<(), BpfError> {
    attachments.forget_all_but(&ports.list())?;
    ports.list().iter().try_for_each(|port| match attachments.attach(port) {
        // Others are filtered meanwhile.
        Err(error @ BpfError::NotAttached { .. }) => {
            log::error!("port {} is NOT filtered: {error}", port.name);
            Ok(())
        }
        other => other.map(drop),
    })
}

/// Says what runs where.
fn greet(options: &RunOptions, attachments: &Attachments, enforce: bool, metrics: Option<&TcpListener>) {
    let ports: Vec<_> = attachments.attached().map(|port| format!("{} ({})", port.name, port.mode)).collect();
    let what = if enforce {
        "isolates what it finds"
    } else {
        "observes: tells what it would isolate, drops nothing"
    };
    log::info!("Sekisho {} on {}: {what}", env!("CARGO_PKG_VERSION"), options.bridge);
    let ports =
        if ports.is_empty() { "none yet; those that join are filtered".to_owned() } else { ports.join(", ") };
    log::info!("ports: {ports}");
    attachments.attached().for_each(pipeline::tell_port);
    let address = metrics.and_then(|listener| listener.local_addr().ok());
    let metrics = address.map_or("off".to_owned(), |address| format!("http://{address}/metrics"));
    log::info!("control socket: {}; metrics: {metrics}", options.socket.display());
    if options.socket.as_os_str() != protocol::DEFAULT_SOCKET {
        log::info!("reach it with: sekisho status --socket {}", options.socket.display());
    }
}
