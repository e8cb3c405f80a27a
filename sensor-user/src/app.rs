//! Putting the daemon together: every part is built here, in the order in which a failure leaves nothing behind.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use sensor_core::engine::{Engine, Output};
use sensor_core::settings::Mode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::bpf::{Attachments, Ports, Sensor, SensorLock};
use crate::clock::{Now, WallClock};
use crate::config::{self, Config};
use crate::control::Server;
use crate::enforce::Enforcer;
use crate::eve::EventType;
use crate::pipeline::{Keeper, Parts, Pipeline, Printer, Sweeper, Telling};
use crate::store::Store;
use crate::telemetry::{self, Metrics};
use crate::{makers, protocol};

/// Where the lock of a bridge lies: the same for all daemons of the machine, whatever else they are given.
const LOCK_DIR: &str = "/run/sekisho";
/// Requests of clients that may wait.
const ASKS: usize = 64;

/// What `sekisho run` is given.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The bridge.
    pub bridge: String,
    /// The configuration; none: the usual file, if it is there.
    pub config: Option<PathBuf>,
    /// Where the block list is kept.
    pub state_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Where maps and links are pinned.
    pub pin_dir: PathBuf,
    /// Where the metrics are served (or nowhere), instead of what the configuration says.
    pub metrics: Option<Option<SocketAddr>>,
    /// Whether decisions are carried out, instead of what the configuration says.
    pub mode: Option<Mode>,
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(live(options));
    runtime.shutdown_background();
    result
}

async fn live(options: RunOptions) -> Result<()> {
    let config = configure(options.config.as_deref(), options.mode)?;
    let ports = Ports::open(&options.bridge).await?;
    crate::bpf::probe(&options.pin_dir)?;
    let lock = SensorLock::acquire(LOCK_DIR.as_ref(), &options.bridge, ports.bridge_ifindex())?;
    let mut store = Store::open(&options.state_dir)?;
    let blocks = store.load(Now::read())?;
    let metrics_listen = options.metrics.unwrap_or(config.daemon.metrics_listen);
    let listener = match metrics_listen {
        Some(address) => Some(telemetry::bind(address).await?),
        None => None,
    };
    let server = Server::bind(&options.socket, &config.daemon.socket_group)?;
    let now = Now::read();
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), now.unix_ns as f64 / 1e9)?;
    let registry = metrics.registry();

    let Sensor { mut attachments, rules, flows, counters, rings, log, jiffy_ns, notes } =
        Sensor::load(&options.pin_dir, &ports)?;
    notes.iter().for_each(|note| log::warn!("{note}"));
    let enforce = config.settings.mode == Mode::Enforce;
    let mut engine = Engine::new(config.settings);
    let mut out = Output::default();
    engine.restore(blocks, &mut out);
    let mut enforcer = Enforcer::new(rules);
    enforcer.want(&out.decisions);
    let attached = enforcer.reconcile().map(drop).and_then(|()| attach(&mut attachments, &ports));
    if let Err(error) = attached {
        // The first error is the one to tell.
        if let Err(second) = attachments.roll_back() {
            log::error!("{second}");
        }
        return Err(error.into());
    }
    greet(&options, &attachments, enforce, metrics_listen);

    let (sender, asks) = mpsc::channel(ASKS);
    let sweeper = Sweeper::new(flows, jiffy_ns, now.mono);
    let keeper = Keeper::start(store).context("starting the store's thread")?;
    let printer = Printer::start().context("starting the printer's thread")?;
    let telling = Telling { json: options.json, kinds: options.events, printer };
    let pin_dir = options.pin_dir;
    let parts = Parts {
        engine,
        enforcer,
        attachments,
        sweeper,
        counters,
        rings,
        ports,
        metrics,
        keeper,
        telling,
        asks,
        pin_dir,
        enforce,
    };
    let pipeline = Pipeline::new(parts, out);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let shutdown = async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    };
    let leaves = async {
        let scrape = async {
            match listener {
                Some(listener) => telemetry::serve(listener, registry).await,
                None => std::future::pending().await,
            }
        };
        let (scraped, logged, ()) =
            tokio::join!(scrape, log.forward(), server.serve(sender, WallClock::live));
        scraped.and(logged)
    };
    let result = tokio::select! {
        result = pipeline.run(shutdown) => result.map_err(anyhow::Error::from),
        result = leaves => result.context("serving metrics, the control socket and the kernel's messages"),
    };
    drop(lock);
    if result.is_ok() {
        log::info!("stopped; what is isolated stays isolated (`sekisho unload` takes the filter off)");
    }
    result
}

/// Puts the program on every port there is.
fn attach(attachments: &mut Attachments, ports: &Ports) -> Result<(), crate::bpf::BpfError> {
    ports.list().iter().try_for_each(|port| attachments.attach(port).map(drop))
}

/// Says what runs where.
fn greet(options: &RunOptions, attachments: &Attachments, enforce: bool, metrics: Option<SocketAddr>) {
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
    let metrics = metrics.map_or("off".to_owned(), |address| format!("http://{address}/metrics"));
    log::info!("control socket: {}; metrics: {metrics}", options.socket.display());
    if options.socket.as_os_str() != protocol::DEFAULT_SOCKET {
        log::info!("reach it with: sekisho status --socket {}", options.socket.display());
    }
}
