//! What Prometheus may read: counters of the kernel and the engine, and each thing that happened counted once.
//!
//! The pipeline calls [`Metrics`]; [`serve`] shows it. No label ever holds an address or a device's name: their number
//! has no bound, and metrics go to places where nobody should read who is who.

mod families;
mod flows;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{IntCounter, Registry};
use sensor_core::coverage::BlindCause;
use sensor_core::event::{Event, Timed};
use sensor_core::observation::DropReason;
use sensor_core::snapshot::EngineStats;
use sensor_ebpf::counter::PortCounters;
use sensor_ebpf::heard::HeardCell;
use sensor_flowlog::Counts;

use crate::protocol::{AttachMode, Hits, Ledger};
use families::Families;
use flows::FlowFamilies;
pub use server::{TelemetryError, bind, serve};

/// What one port counted.
#[derive(Clone, PartialEq, Debug)]
pub struct PortSample {
    /// The interface's name.
    pub name: String,
    /// How the program is attached.
    pub mode: AttachMode,
    /// Why it is not run in the driver, if it is not.
    pub problem: Option<&'static str>,
    /// Features of the card that should be off and could not be switched.
    pub offloads_on: Vec<&'static str>,
    /// What the kernel counted since the program was loaded.
    pub counters: PortCounters,
    /// What became of all that reached it.
    pub ledger: Ledger,
}

/// What one ring buffer counted, all ports that ever were together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingSample {
    /// The ring's name.
    pub ring: &'static str,
    /// Records submitted.
    pub sent: u64,
    /// Records that found it full.
    pub lost: u64,
}

/// What was found changed in the kernel, and put right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repair {
    /// The program of a port.
    Program,
    /// A rule.
    Rule,
    /// An offload of a port.
    Offload,
}

impl Repair {
    const ALL: [Self; 3] = [Self::Program, Self::Rule, Self::Offload];

    const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Rule => "rule",
            Self::Offload => "offload",
        }
    }
}

/// All counters at one moment, each since the start. One that went back is taken to have begun anew.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LiveSample {
    /// The ports there are now.
    pub ports: Vec<PortSample>,
    /// Ports that are not filtered, and what kind of problem there is.
    pub unfiltered: Vec<(String, &'static str)>,
    /// Results of parsing by reason, `ok` among them.
    pub parse: Vec<(&'static str, u64)>,
    /// The ring buffers.
    pub rings: Vec<RingSample>,
    /// Frames that devices are identified by, by kind.
    pub heard: Vec<(&'static str, HeardCell)>,
    /// The engine.
    pub engine: EngineStats,
    /// Saves that failed.
    pub store_errors: u64,
    /// Events that standard output did not take in time.
    pub events_lost: u64,
    /// Segments of the record that ended early.
    pub record_cut_short: u64,
    /// Events that the journal had no room for.
    pub journal_lost: u64,
    /// Writes of the journal that failed.
    pub journal_errors: u64,
    /// Events that the file of events did not take in time.
    pub eve_lost: u64,
    /// Whether decisions are carried out.
    pub enforce: bool,
    /// Whether every verdict is taken to "pass".
    pub bypass: bool,
    /// Why too little is seen; empty: enough is.
    pub blind: Vec<BlindCause>,
    /// Frames that passed although a rule forbids it.
    pub leaks: u64,
    /// What the rules of all entries did since the start.
    pub hits: Hits,
    /// Detectors that are switched off, and where.
    pub detectors_off: BTreeMap<String, Vec<String>>,
    /// The models in force.
    pub models: Vec<ModelSample>,
    /// Rows there are to learn from, by subject.
    pub model_rows: Vec<(&'static str, u64)>,
    /// The channels that people are told by.
    pub channels: Vec<ChannelSample>,
}

/// A channel that people are told by.
#[derive(Clone, PartialEq, Debug)]
pub struct ChannelSample {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Notices that were told.
    pub sent: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Notices that were given up.
    pub lost: u64,
    /// Notices that wait; of a lamp: what is open.
    pub waiting: u64,
    /// Whether it fails, so that the others were told.
    pub failing: bool,
    /// When it last went well, seconds since 1970.
    pub last_success_secs: Option<f64>,
}

/// A model in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelSample {
    /// The class of devices.
    pub class: String,
    /// What its rows are about.
    pub subject: &'static str,
    /// The beginning of its hash.
    pub hash: String,
}

/// The metrics. One task owns it; the server has a handle of the registry behind it.
pub struct Metrics {
    registry: Registry,
    families: Families,
    flows: FlowFamilies,
    /// Names of the ports told last, with their modes.
    ports: BTreeSet<(String, AttachMode)>,
    /// The newest incident counted.
    newest_incident: u64,
}

impl Metrics {
    /// Metrics of a daemon of that release, started at `started_unix_secs`.
    pub fn new(version: &str, started_unix_secs: f64) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let families = Families::new(&registry)?;
        families.build_info.with_label_values(&[version]).set(1);
        families.start_time.set(started_unix_secs);
        let flows = FlowFamilies::new(&registry)?;
        Ok(Self { registry, families, flows, ports: BTreeSet::new(), newest_incident: 0 })
    }

    /// A handle for [`serve`].
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Takes over the counters of a moment.
    pub fn update(&mut self, sample: &LiveSample) {
        let f = &self.families;
        for port in &sample.ports {
            f.port(&port.name, &port.counters);
            f.ledger(&port.name, &port.ledger);
            f.port_info.with_label_values(&[port.name.as_str(), port.mode.name()]).set(1);
        }
        for (reason, count) in &sample.parse {
            raise(&f.parse_results.with_label_values(&[reason]), *count);
        }
        for ring in &sample.rings {
            raise(&f.ring_sent.with_label_values(&[ring.ring]), ring.sent);
            raise(&f.ring_lost.with_label_values(&[ring.ring]), ring.lost);
        }
        for (kind, HeardCell { told, limited, lost, .. }) in &sample.heard {
            for (outcome, count) in [("told", told), ("limited", limited), ("lost", lost)] {
                raise(&f.discovery.with_label_values(&[*kind, outcome]), *count);
            }
        }
        f.engine(&sample.engine);
        raise(&f.store_errors, sample.store_errors);
        raise(&f.events_lost, sample.events_lost);
        raise(&f.record_cut_short, sample.record_cut_short);
        raise(&f.journal_lost, sample.journal_lost);
        raise(&f.journal_errors, sample.journal_errors);
        raise(&f.eve_lost, sample.eve_lost);
        f.enforce.set(sample.enforce.into());
        f.bypass.set(sample.bypass.into());
        f.sight(&sample.blind);
        raise(&f.leaks, sample.leaks);
        f.hits(&sample.hits);
        f.problems(sample);
        f.models(sample);
        f.channels(&sample.channels);
        f.detectors_off(&sample.detectors_off);
        self.forget_ports(sample);
    }

    /// Takes over what the log of conversations counts, and messages sent to the collector, and not.
    pub fn flows(&self, counts: Option<&Counts>, messages: [u64; 2]) {
        self.flows.sent(messages);
        if let Some(counts) = counts {
            self.flows.update(counts);
        }
    }

    /// Counts repairs.
    pub fn repaired(&self, what: Repair, count: usize) {
        self.families.repairs.with_label_values(&[what.name()]).inc_by(count as u64);
    }

    /// Counts something that happened.
    pub fn event(&mut self, timed: &Timed) {
        let f = &self.families;
        match &timed.event {
            Event::Alert(alert) => {
                let severity = alert.severity.to_string();
                f.alerts.with_label_values(&[alert.detector, severity.as_str()]).inc();
                // Incidents are numbered in their order; later alerts of one belong to it.
                if alert.incident > self.newest_incident {
                    self.newest_incident = alert.incident;
                    f.incidents.with_label_values(&[alert.detector, severity.as_str()]).inc();
                }
            }
            Event::Isolation(isolation) => {
                let mode = if isolation.would { "observed" } else { "enforced" };
                let origin = if isolation.incident.is_some() { "incident" } else { "manual" };
                let change = change_name(isolation.change);
                f.isolation_changes.with_label_values(&[change, mode, origin]).inc();
            }
            Event::Dropped(dropped) => {
                let reason = match dropped.seen.reason {
                    DropReason::Rule => "rule",
                    DropReason::Reflex => "reflex",
                };
                f.drop_samples.with_label_values(&[reason]).inc();
            }
            Event::Approval(approval) => {
                f.approvals.with_label_values(&[approval.step.name()]).inc();
            }
            Event::Judgement(_)
            | Event::Window(_)
            | Event::Card(_)
            | Event::Device(_)
            | Event::Flow(_)
            | Event::Blind(_)
            | Event::Bypass(_)
            | Event::Order(_) => {}
        }
    }

    /// A fire drill went well, at that time (ns since 1970).
    pub fn drilled(&self, unix_ns: i64) {
        self.families.drill.with_label_values::<&str>(&[]).set(unix_ns / 1_000_000_000);
    }

    /// Takes note of how long an isolation took, from the first piece of evidence to the drop in the kernel.
    pub fn isolated_after(&self, latency: Duration) {
        self.families.isolation_latency.observe(latency.as_secs_f64());
    }

    /// Ports that left, or are attached otherwise now, are not shown any more.
    fn forget_ports(&mut self, sample: &LiveSample) {
        let ports: BTreeSet<_> = sample.ports.iter().map(|port| (port.name.clone(), port.mode)).collect();
        for (name, mode) in self.ports.difference(&ports) {
            // What is not there need not be removed.
            drop(self.families.port_info.remove_label_values(&[name.as_str(), mode.name()]));
            if !sample.ports.iter().any(|port| port.name == *name) {
                self.families.forget_port(name);
            }
        }
        self.ports = ports;
    }
}

fn change_name(change: sensor_core::event::Change) -> &'static str {
    use sensor_core::event::Change;
    match change {
        Change::Added => "added",
        Change::Extended => "extended",
        Change::Changed => "changed",
        Change::Followed => "followed",
        Change::Narrowed => "narrowed",
        Change::Released => "released",
        Change::Expired => "expired",
    }
}

/// Brings a counter to where the one it mirrors stands.
fn raise(counter: &IntCounter, to: u64) {
    if to < counter.get() {
        counter.reset();
    }
    counter.inc_by(to - counter.get());
}

/// Registers a family, and gives it back.
fn register<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}
