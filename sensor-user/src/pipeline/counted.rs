//! What the kernel and the daemon counted, for metrics and for clients.

use std::collections::BTreeMap;

use sensor_core::coverage::BlindCause;
use sensor_core::settings::Off;
use sensor_core::time::{SECOND, Time};
use sensor_ebpf::counter::{PortCounters, Reason};
use sensor_ebpf::heard::{self, HEARD_KINDS, HeardCell};

use super::{Parts, Pipeline};
use crate::bpf::{Attached, Mode, Offloads, Problem, Unfiltered};
use crate::clock::{Stamp, WallClock};
use crate::models::SUBJECTS;
use crate::protocol::{AttachMode, BlindInfo, Hits, LiveStatus, PortStatus, UnfilteredPort};
use crate::record::Recorder;
use crate::telemetry::{LiveSample, ModelSample, PortSample, RingSample};
use sensor_journal::Keeper as JournalKeeper;

impl Pipeline {
    /// The ports and what each counted.
    pub(super) fn counted(&self) -> Vec<(&Attached, PortCounters)> {
        let Parts { attachments, counters, .. } = &self.parts;
        let count = |port: &Attached| {
            counters.port(port.index).unwrap_or_else(|error| {
                log::debug!("counters of port {}: {error}", port.name);
                PortCounters::default()
            })
        };
        attachments.attached().map(|port| (port, count(port))).collect()
    }

    /// What these ports and those that left counted together.
    fn total(&self, counted: &[(&Attached, PortCounters)]) -> PortCounters {
        let mut total = self.parts.counters.port(0).unwrap_or_else(|error| {
            log::debug!("counters of ports that left: {error}");
            PortCounters::default()
        });
        counted.iter().for_each(|(_, counters)| total.add(counters));
        total
    }

    /// Flows entered in the kernel's tables so far.
    pub(super) fn entered(&self) -> u64 {
        self.total(&self.counted()).flows_new
    }

    /// Begins an account for each port that has none.
    pub(super) fn open_accounts(&mut self) {
        let Parts { attachments, counters, sweeper, .. } = &mut self.parts;
        for port in attachments.attached() {
            if !self.accounts.has(port.index)
                && let Err(error) = self.accounts.open(port.index, counters, sweeper)
            {
                log::debug!("the account of port {}: {error}", port.name);
            }
        }
    }

    /// Looks whether enough is seen, and tells when that changes.
    pub(super) fn look(&mut self, now: Time) {
        self.open_accounts();
        let entered = self.entered();
        let Parts { attachments, counters, sweeper, engine, flows, .. } = &mut self.parts;
        sweeper.hurry(now, entered);
        let ports: Vec<_> = attachments.attached().collect();
        let seen = self.accounts.look(now, &ports, counters, &sweeper.tally);
        if seen.unheard {
            engine.lost_sight(now);
        }
        let sight = self.accounts.sight(now);
        if let Some(flows) = flows {
            flows.look(&sight, Stamp::now());
        }
        engine.sight(sight);
        let read = self.reached.look(seen.unread, now, counters, engine, &mut self.out);
        if let Some(blind) = seen.blind {
            engine.blind(blind, now, &mut self.out);
        }
        self.carry_out(None);
        self.check(read);
        self.count_hits();
    }

    /// Reads what the rules of each entry did.
    fn count_hits(&mut self) {
        let (before, sum) = &mut self.hits;
        let mut now = BTreeMap::new();
        for block in self.parts.engine.blocks() {
            let Ok(counted) = self.parts.counters.rule(block.id) else { continue };
            let hits = Hits {
                dropped: counted.drop_packets,
                dropped_bytes: counted.drop_bytes,
                would_drop: counted.would_drop_packets,
                would_drop_bytes: counted.would_drop_bytes,
            };
            let last = before.get(&block.id).copied().unwrap_or_default();
            sum.dropped += hits.dropped.saturating_sub(last.dropped);
            sum.dropped_bytes += hits.dropped_bytes.saturating_sub(last.dropped_bytes);
            sum.would_drop += hits.would_drop.saturating_sub(last.would_drop);
            sum.would_drop_bytes += hits.would_drop_bytes.saturating_sub(last.would_drop_bytes);
            now.insert(block.id, hits);
        }
        *before = now;
    }

    /// Brings the metrics up to date.
    pub(super) fn sample(&mut self, now: Time) {
        let counted = self.counted();
        let total = self.total(&counted);
        let mut reasons = [0u64; Reason::ALL.len()];
        for index in counted.iter().map(|(port, _)| port.index).chain([0]) {
            match self.parts.counters.reasons(index) {
                Ok(more) => reasons.iter_mut().zip(more).for_each(|(sum, more)| *sum += more),
                Err(error) => log::debug!("counters of reasons: {error}"),
            }
        }
        let engine = &self.parts.engine;
        let in_force = engine.scopes().into_iter().filter_map(|scope| {
            let in_force = engine.model(scope)?;
            let (class, hash) = (in_force.model.class.clone(), in_force.hash.clone());
            Some(ModelSample { class, subject: scope.subject.name(), hash })
        });
        let rows = SUBJECTS
            .into_iter()
            .filter_map(|subject| Some((subject.name(), engine.reservoir(subject)?.rows().len() as u64)));
        let sample = LiveSample {
            ports: counted
                .into_iter()
                .map(|(port, counters)| PortSample {
                    name: port.name.clone(),
                    mode: mode(port.mode),
                    problem: port.slow.map(Problem::name),
                    offloads_on: names(&port.offloads.on),
                    counters,
                    ledger: self.accounts.ledger(port.index, now),
                })
                .collect(),
            unfiltered: self
                .parts
                .attachments
                .unfiltered()
                .map(|port| (port.name.clone(), port.problem.name()))
                .collect(),
            parse: parse_results(total.packets, &reasons),
            rings: vec![RingSample { ring: "records", sent: total.records_sent, lost: total.records_lost }],
            heard: self.heard(),
            engine: self.parts.engine.stats(),
            store_errors: self.parts.keeper.errors(),
            events_lost: self.parts.telling.printer.lost(),
            record_cut_short: self.parts.recorder.as_ref().map_or(0, Recorder::cut_short),
            journal_lost: self.parts.journal.as_ref().map_or(0, JournalKeeper::lost),
            journal_errors: self.parts.journal.as_ref().map_or(0, JournalKeeper::errors),
            eve_lost: self.parts.telling.log.as_ref().map_or(0, |log| log.printer.lost()),
            enforce: self.parts.enforce,
            bypass: self.bypass.on,
            blind: self.accounts.blind().map(|blind| blind.causes.clone()).unwrap_or_default(),
            leaks: self.parts.sweeper.leaks.frames(),
            hits: self.hits.1,
            detectors_off: detectors_off(self.parts.engine.detectors_off()),
            models: in_force.collect(),
            model_rows: rows.collect(),
            channels: self.channel_samples(),
        };
        if let Some(flows) = &self.parts.flows {
            self.parts.metrics.flows(flows.counts(), flows.messages());
        }
        self.parts.metrics.update(&sample);
    }

    /// What became of the frames devices are identified by.
    fn heard(&self) -> Vec<(&'static str, HeardCell)> {
        let kind = |kind: u8| {
            let cell = self.parts.counters.heard(kind).unwrap_or_else(|error| {
                log::debug!("counters of discovery: {error}");
                HeardCell::default()
            });
            (heard::name(kind), cell)
        };
        (1..HEARD_KINDS as u8).map(kind).collect()
    }

    /// How the daemon does.
    pub(super) fn live(&mut self, now: Time) -> LiveStatus {
        self.count_hits();
        let mut counted = self.counted();
        counted.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        LiveStatus {
            bridge: self.parts.ports.bridge().to_owned(),
            mode: if self.parts.enforce { "enforce" } else { "observe" }.to_owned(),
            bypass: self.bypass.info(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_secs: now.since(self.started) / SECOND,
            ring_lost: self.total(&counted).records_lost,
            ports: counted
                .into_iter()
                .map(|(port, counters)| PortStatus {
                    name: port.name.clone(),
                    ifindex: port.ifindex,
                    index: port.index,
                    mode: mode(port.mode),
                    problem: port.slow.map(|problem| problem.name().to_owned()),
                    offloads_off: names(&port.offloads.off).into_iter().map(str::to_owned).collect(),
                    offloads_on: names(&port.offloads.on).into_iter().map(str::to_owned).collect(),
                    packets: counters.packets,
                    bytes: counters.bytes,
                    drops: counters.drop_packets,
                    drop_bytes: counters.drop_bytes,
                    would_drops: counters.would_drop_packets,
                    ledger: self.accounts.ledger(port.index, now),
                })
                .collect(),
            unfiltered: self.parts.attachments.unfiltered().map(unfiltered).collect(),
            store_errors: self.parts.keeper.errors(),
            events_lost: self.parts.telling.printer.lost(),
            record_cut_short: self.parts.recorder.as_ref().map_or(0, Recorder::cut_short),
            journal_lost: self.parts.journal.as_ref().map_or(0, JournalKeeper::lost),
            journal_errors: self.parts.journal.as_ref().map_or(0, JournalKeeper::errors),
            eve_lost: self.parts.telling.log.as_ref().map_or(0, |log| log.printer.lost()),
            pins: self.parts.pin_dir.display().to_string(),
            blind: self.accounts.blind().map(|blind| BlindInfo {
                since: WallClock::live().stamp(blind.began),
                reasons: blind.causes.iter().copied().map(BlindCause::name).map(str::to_owned).collect(),
                frames_lost: blind.frames_lost,
                records_lost: blind.records_lost,
            }),
            rules: self.hits.0.iter().map(|(id, hits)| (id.to_string(), *hits)).collect(),
            leaks: self.parts.sweeper.leaks.frames(),
            detectors_off: detectors_off(self.parts.engine.detectors_off()),
        }
    }
}

/// The detectors that are switched off, and where, in the words of the configuration.
pub fn detectors_off(off: &BTreeMap<&'static str, Off>) -> BTreeMap<String, Vec<String>> {
    let places = |off: &Off| match off {
        Off::Everywhere => vec!["everywhere".to_owned()],
        Off::In(segments) => segments.iter().map(ToString::to_string).collect(),
    };
    off.iter().map(|(detector, off)| ((*detector).to_owned(), places(off))).collect()
}

/// How a port is attached, in the words of the protocol.
fn mode(mode: Mode) -> AttachMode {
    match mode {
        Mode::Native => AttachMode::Native,
        Mode::Generic => AttachMode::Generic,
    }
}

/// A port that is not filtered, in the words of the protocol.
fn unfiltered(port: &Unfiltered) -> UnfilteredPort {
    UnfilteredPort { name: port.name.clone(), problem: port.problem.name().to_owned(), why: port.why.clone() }
}

fn names(offloads: &Offloads) -> Vec<&'static str> {
    offloads.iter().map(|offload| offload.name()).collect()
}

/// Results of parsing by reason; what has no reason was parsed.
pub fn parse_results(packets: u64, reasons: &[u64; Reason::ALL.len()]) -> Vec<(&'static str, u64)> {
    let counted = Reason::ALL.into_iter().zip(reasons).filter(|(reason, _)| *reason != Reason::None);
    let failed: u64 = counted.clone().map(|(_, count)| count).sum();
    let ok = (Reason::None.name(), packets.saturating_sub(failed));
    [ok].into_iter().chain(counted.map(|(reason, count)| (reason.name(), *count))).collect()
}
