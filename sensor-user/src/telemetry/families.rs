//! The metrics by name. Names follow the conventions of Prometheus: base units, `_total` for what only grows.

use std::collections::BTreeMap;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use sensor_core::coverage::BlindCause;
use sensor_core::event::ApprovalStep;
use sensor_core::snapshot::EngineStats;
use sensor_ebpf::counter::PortCounters;

use super::{ChannelSample, LiveSample, Repair, raise, register};
use crate::protocol::{Hits, Ledger};

/// Bounds of the latency histogram, in seconds: a decision takes milliseconds, the evidence for it up to a minute.
const LATENCY: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// All families.
pub struct Families {
    pub build_info: IntGaugeVec,
    pub start_time: Gauge,
    pub enforce: IntGauge,
    pub bypass: IntGauge,
    /// Without labels: it is not there before the first drill.
    pub drill: IntGaugeVec,
    pub port_info: IntGaugeVec,
    port_problem: IntGaugeVec,
    port_offload_on: IntGaugeVec,
    pub repairs: IntCounterVec,
    port_packets: IntCounterVec,
    port_bytes: IntCounterVec,
    port_dropped_bytes: IntCounterVec,
    port_ignored: IntCounterVec,
    port_flows: IntCounterVec,
    port_flows_failed: IntCounterVec,
    verdicts: IntCounterVec,
    pub parse_results: IntCounterVec,
    pub ring_sent: IntCounterVec,
    pub ring_lost: IntCounterVec,
    pub discovery: IntCounterVec,
    devices: IntGauge,
    devices_evicted: IntCounter,
    flows_live: IntGauge,
    flows_new: IntCounter,
    flows_evicted: IntCounter,
    contacts_waiting: IntGauge,
    contacts_evicted: IntCounter,
    services_evicted: IntCounter,
    findings_silenced: IntCounter,
    detector_off: IntGaugeVec,
    pub incidents: IntCounterVec,
    pub alerts: IntCounterVec,
    approvals_waiting: IntGauge,
    pub approvals: IntCounterVec,
    reviews: IntGauge,
    windows_open: IntGauge,
    isolations_active: IntGaugeVec,
    pub isolation_changes: IntCounterVec,
    pub isolation_latency: Histogram,
    pub store_errors: IntCounter,
    pub events_lost: IntCounter,
    pub journal_lost: IntCounter,
    pub journal_errors: IntCounter,
    pub eve_lost: IntCounter,
    pub record_cut_short: IntCounter,
    pub drop_samples: IntCounterVec,
    arrived: IntCounterVec,
    frames: IntCounterVec,
    pending: IntGaugeVec,
    coverage: GaugeVec,
    blind: IntGauge,
    blind_reason: IntGaugeVec,
    pub leaks: IntCounter,
    rule_frames: IntCounterVec,
    rule_bytes: IntCounterVec,
    model_info: IntGaugeVec,
    model_rows: IntGaugeVec,
    notices_sent: IntCounterVec,
    notices_failed: IntCounterVec,
    notices_lost: IntCounterVec,
    notices_waiting: IntGaugeVec,
    channel_failing: IntGaugeVec,
    channel_success: GaugeVec,
}

/// Makes and registers families.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        register(self.0, IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        register(self.0, IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        register(self.0, IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        register(self.0, IntGaugeVec::new(Opts::new(name, help), labels)?)
    }
}

impl Families {
    /// Registers all of them.
    #[rustfmt::skip] // A table is read by its columns.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let new = Maker(registry);
        let latency = HistogramOpts::new(
            "sekisho_isolation_latency_seconds", "Time from the first piece of evidence to the drop in the kernel.",
        ).buckets(LATENCY.to_vec());
        let families = Self {
            build_info: new.gauges("sekisho_build_info", "The release; always 1.", &["version"])?,
            start_time: register(registry, Gauge::new("sekisho_start_time_seconds", "When the daemon started, since 1970.")?)?,
            enforce: new.gauge("sekisho_enforce", "1 if decisions are carried out, 0 in observe mode.")?,
            bypass: new.gauge("sekisho_bypass", "1 while every verdict is taken to pass (`sekisho bypass on`): nothing is dropped.")?,
            drill: new.gauges("sekisho_drill_last_success_timestamp_seconds", "When the last fire drill (`sekisho drill`) went well, since 1970; not there if none ever did.", &[])?,
            port_info: new.gauges("sekisho_port_info", "How a port's program is attached: native or generic; always 1.", &["port", "mode"])?,
            port_problem: new.gauges("sekisho_port_problem", "Why a port is not filtered (busy, taken, no_room, failed), or not in its driver (mtu, no_native, refused); 1 while it is so.", &["port", "problem"])?,
            port_offload_on: new.gauges("sekisho_port_offload_on", "A feature of a port's card that hides frames from the filter and could not be switched off; 1 while it is so.", &["port", "offload"])?,
            repairs: new.counters("sekisho_repairs_total", "Found changed in the kernel and put right: the program of a port, a rule, an offload of a port.", &["what"])?,
            port_packets: new.counters("sekisho_port_packets_total", "Frames received.", &["port"])?,
            port_bytes: new.counters("sekisho_port_bytes_total", "Bytes received.", &["port"])?,
            port_dropped_bytes: new.counters("sekisho_port_dropped_bytes_total", "Bytes dropped by a rule.", &["port"])?,
            port_ignored: new.counters("sekisho_port_ignored_packets_total", "Frames passed without a flow: control traffic, neither IP nor ARP, unreadable.", &["port"])?,
            port_flows: new.counters("sekisho_port_flows_total", "Flows (one direction each) entered in the kernel's tables.", &["port"])?,
            port_flows_failed: new.counters("sekisho_port_flows_failed_total", "Flows the kernel's tables had no room for; their frames were judged all the same.", &["port"])?,
            verdicts: new.counters("sekisho_verdicts_total", "Frames by verdict: pass, drop, would_drop (passed because of observe mode).", &["port", "verdict"])?,
            parse_results: new.counters("sekisho_parse_results_total", "Frames by the result of parsing: ok, or why not to the end.", &["reason"])?,
            ring_sent: new.counters("sekisho_ring_records_sent_total", "Records the kernel submitted.", &["ring"])?,
            ring_lost: new.counters("sekisho_ring_records_lost_total", "Records that found the ring full; the flow's next frame tries again.", &["ring"])?,
            discovery: new.counters("sekisho_discovery_frames_total", "Frames devices are identified by: told to the daemon, limited (over the budget of their kind), lost (the ring was full).", &["kind", "outcome"])?,
            devices: new.gauge("sekisho_devices", "Devices known.")?,
            devices_evicted: new.counter("sekisho_devices_evicted_total", "Devices forgotten because the table was full.")?,
            flows_live: new.gauge("sekisho_flows_live", "Conversations that go on.")?,
            flows_new: new.counter("sekisho_flows_new_total", "Conversations that began.")?,
            flows_evicted: new.counter("sekisho_flows_evicted_total", "Conversations forgotten because the table was full.")?,
            contacts_waiting: new.gauge("sekisho_contacts_waiting", "First contacts that wait for their answer.")?,
            contacts_evicted: new.counter("sekisho_contacts_evicted_total", "First contacts not judged because the table was full.")?,
            services_evicted: new.counter("sekisho_services_evicted_total", "Services inside that a device used, forgotten because the table was full.")?,
            findings_silenced: new.counter("sekisho_findings_silenced_total", "Findings of detectors that are switched off where they were made.")?,
            detector_off: new.gauges("sekisho_detector_off", "Detectors that are switched off, and the segments they are off in; always 1.", &["detector", "segment"])?,
            incidents: new.counters("sekisho_incidents_total", "Incidents, by the detector and severity of what opened them.", &["detector", "severity"])?,
            alerts: new.counters("sekisho_alerts_total", "Alerts; several may belong to one incident.", &["detector", "severity"])?,
            approvals_waiting: new.gauge("sekisho_approvals_waiting", "Restrictions that wait for a person.")?,
            approvals: new.counters("sekisho_approvals_total", "Restrictions a person must approve: asked, and what became of them (approved, denied, lapsed, lapsed_acts, lost).", &["step"])?,
            windows_open: new.gauge("sekisho_change_windows_open", "Announced change windows that are open: what is found there is told, and nothing is cut off by itself.")?,
            reviews: new.gauge("sekisho_detectors_on_review", "Detectors a person found wrong, each for a class or a device: they only alert there.")?,
            isolations_active: new.gauges("sekisho_isolations_active", "Entries of the block list: enforced, or observed (counted only).", &["mode"])?,
            isolation_changes: new.counters("sekisho_isolation_changes_total", "Changes of the block list.", &["change", "mode", "origin"])?,
            isolation_latency: register(registry, Histogram::with_opts(latency)?)?,
            store_errors: new.counter("sekisho_store_errors_total", "Changes of the block list that could not be written to disk.")?,
            journal_lost: new.counter("sekisho_journal_lost_total", "Events that the journal had no room for, for the disk was too slow or full.")?,
            journal_errors: new.counter("sekisho_journal_errors_total", "Writes of the journal that failed; what they were for is tried again.")?,
            eve_lost: new.counter("sekisho_eve_lost_total", "Events that the file of [eve] did not take: the oldest of those that waited.")?,
            events_lost: new.counter("sekisho_events_lost_total", "Events that standard output did not take: the oldest of those that waited.")?,
            record_cut_short: new.counter("sekisho_record_cut_short_total", "Gaps in the record decisions are made anew from: the disk was too slow or too full.")?,
            drop_samples: new.counters("sekisho_drop_samples_total", "Dropped frames told as a sample, by reason: rule, reflex.", &["reason"])?,
            arrived: new.counters("sekisho_port_arrived_frames_total", "Frames the network card counted since the program was put on the port.", &["port"])?,
            frames: new.counters("sekisho_port_frames_total", "What became of them: accounted, ignored or lost, each with its reason.", &["port", "kind", "reason"])?,
            pending: new.gauges("sekisho_port_pending_frames", "Frames that arrived and were not read yet; 0 when it is quiet.", &["port"])?,
            coverage: register(registry, GaugeVec::new(Opts::new("sekisho_coverage_ratio", "The part of what came in the last minutes that was seen, 0 to 1."), &["port"])?)?,
            blind: new.gauge("sekisho_blind", "1 if so little is seen that silence means nothing.")?,
            blind_reason: new.gauges("sekisho_blind_reason", "Why: 1 for each cause since it began.", &["reason"])?,
            leaks: new.counter("sekisho_isolation_leak_packets_total", "Frames that passed although their rule was in force for a second or more.")?,
            rule_frames: new.counters("sekisho_rule_packets_total", "Frames rules of the block list dropped (drop) or would have dropped (would_drop).", &["verdict"])?,
            rule_bytes: new.counters("sekisho_rule_bytes_total", "Bytes of these.", &["verdict"])?,
            model_info: new.gauges("sekisho_model_info", "The model in force of a class of devices, by the beginning of its hash; always 1.", &["class", "subject", "hash"])?,
            model_rows: new.gauges("sekisho_model_rows", "Rows kept to learn from: of conversations (flow), of minutes of a device (window).", &["subject"])?,
            notices_sent: new.counters("sekisho_notices_sent_total", "Notices that were told by a channel.", &["channel", "kind"])?,
            notices_failed: new.counters("sekisho_notices_failed_total", "Attempts of a channel that failed.", &["channel", "kind"])?,
            notices_lost: new.counters("sekisho_notices_lost_total", "Notices that a channel gave up: too many waited, or for too long.", &["channel", "kind"])?,
            notices_waiting: new.gauges("sekisho_notices_waiting", "Notices that wait to be told by a channel; of a lamp: what is open.", &["channel", "kind"])?,
            channel_failing: new.gauges("sekisho_notify_channel_failing", "1 while a channel keeps failing; the others were told.", &["channel", "kind"])?,
            channel_success: register(registry, GaugeVec::new(Opts::new("sekisho_notify_last_success_timestamp_seconds", "When a channel last went well, since 1970."), &["channel", "kind"])?)?,
        };
        families.begin();
        Ok(families)
    }

    /// Shows as 0 what will be counted.
    fn begin(&self) {
        for what in Repair::ALL {
            self.repairs.with_label_values(&[what.name()]).inc_by(0);
        }
        for mode in ["enforced", "observed"] {
            self.isolations_active.with_label_values(&[mode]).set(0);
            for origin in ["incident", "manual"] {
                self.isolation_changes.with_label_values(&["added", mode, origin]).inc_by(0);
            }
        }
        for step in ApprovalStep::ALL {
            self.approvals.with_label_values(&[step.name()]).inc_by(0);
        }
        // A rule on the rise of a counter does not see one that appears.
        for detector in sensor_core::detect::names() {
            for severity in ["1", "2", "3"] {
                self.incidents.with_label_values(&[detector, severity]).inc_by(0);
                self.alerts.with_label_values(&[detector, severity]).inc_by(0);
            }
        }
    }

    /// Shows what keeps ports from being filtered as they should be, and nothing of what did before.
    pub fn problems(&self, sample: &LiveSample) {
        self.port_problem.reset();
        self.port_offload_on.reset();
        let slow = sample.ports.iter().filter_map(|port| Some((&port.name, port.problem?)));
        let unfiltered = sample.unfiltered.iter().map(|(name, problem)| (name, *problem));
        for (name, problem) in slow.chain(unfiltered) {
            self.port_problem.with_label_values(&[name.as_str(), problem]).set(1);
        }
        for port in &sample.ports {
            for offload in &port.offloads_on {
                self.port_offload_on.with_label_values(&[port.name.as_str(), offload]).set(1);
            }
        }
    }

    /// Shows the models in force, and how much there is to learn from.
    pub fn models(&self, sample: &LiveSample) {
        self.model_info.reset();
        for model in &sample.models {
            let labels = [model.class.as_str(), model.subject, model.hash.as_str()];
            self.model_info.with_label_values(&labels).set(1);
        }
        for (subject, rows) in &sample.model_rows {
            self.model_rows.with_label_values(&[*subject]).set(i64::try_from(*rows).unwrap_or(i64::MAX));
        }
    }

    /// Shows how people are told.
    pub fn channels(&self, channels: &[ChannelSample]) {
        for channel in channels {
            let labels = [channel.name.as_str(), channel.kind];
            raise(&self.notices_sent.with_label_values(&labels), channel.sent);
            raise(&self.notices_failed.with_label_values(&labels), channel.failed);
            raise(&self.notices_lost.with_label_values(&labels), channel.lost);
            self.notices_waiting
                .with_label_values(&labels)
                .set(i64::try_from(channel.waiting).unwrap_or(i64::MAX));
            self.channel_failing.with_label_values(&labels).set(channel.failing.into());
            if let Some(secs) = channel.last_success_secs {
                self.channel_success.with_label_values(&labels).set(secs);
            }
        }
    }

    /// Shows the detectors that are switched off.
    pub fn detectors_off(&self, off: &BTreeMap<String, Vec<String>>) {
        for (detector, segments) in off {
            for segment in segments {
                self.detector_off.with_label_values(&[detector.as_str(), segment.as_str()]).set(1);
            }
        }
    }

    /// Takes over the counters of a port.
    pub fn port(&self, name: &str, counters: &PortCounters) {
        let c = counters;
        raise(&self.port_packets.with_label_values(&[name]), c.packets);
        raise(&self.port_bytes.with_label_values(&[name]), c.bytes);
        raise(&self.port_dropped_bytes.with_label_values(&[name]), c.drop_bytes);
        raise(&self.port_ignored.with_label_values(&[name]), c.ignored_packets);
        raise(&self.port_flows.with_label_values(&[name]), c.flows_new);
        raise(&self.port_flows_failed.with_label_values(&[name]), c.flows_failed);
        let pass = c.packets.saturating_sub(c.drop_packets).saturating_sub(c.would_drop_packets);
        let verdicts = [("pass", pass), ("drop", c.drop_packets), ("would_drop", c.would_drop_packets)];
        for (verdict, count) in verdicts {
            raise(&self.verdicts.with_label_values(&[name, verdict]), count);
        }
    }

    /// Takes over the account of a port.
    pub fn ledger(&self, name: &str, ledger: &Ledger) {
        raise(&self.arrived.with_label_values(&[name]), ledger.arrived);
        for (kind, parts) in
            [("accounted", &ledger.accounted), ("ignored", &ledger.ignored), ("lost", &ledger.lost)]
        {
            for (reason, count) in parts {
                raise(&self.frames.with_label_values(&[name, kind, reason.as_str()]), *count);
            }
        }
        self.pending.with_label_values(&[name]).set(ledger.pending);
        self.coverage.with_label_values(&[name]).set(ledger.coverage);
    }

    /// Takes over why too little is seen.
    pub fn sight(&self, blind: &[BlindCause]) {
        self.blind.set((!blind.is_empty()).into());
        for cause in BlindCause::ALL {
            self.blind_reason.with_label_values(&[cause.name()]).set(blind.contains(&cause).into());
        }
    }

    /// Takes over what rules did.
    pub fn hits(&self, hits: &Hits) {
        for (verdict, frames, bytes) in [
            ("drop", hits.dropped, hits.dropped_bytes),
            ("would_drop", hits.would_drop, hits.would_drop_bytes),
        ] {
            raise(&self.rule_frames.with_label_values(&[verdict]), frames);
            raise(&self.rule_bytes.with_label_values(&[verdict]), bytes);
        }
    }

    /// Takes a port out that left.
    pub fn forget_port(&self, name: &str) {
        let families = [
            &self.port_packets,
            &self.port_bytes,
            &self.port_dropped_bytes,
            &self.port_ignored,
            &self.port_flows,
            &self.port_flows_failed,
            &self.arrived,
        ];
        // What is not there need not be removed.
        for family in families {
            drop(family.remove_label_values(&[name]));
        }
        for verdict in ["pass", "drop", "would_drop"] {
            drop(self.verdicts.remove_label_values(&[name, verdict]));
        }
        for (kind, reason) in Ledger::parts() {
            drop(self.frames.remove_label_values(&[name, kind, reason]));
        }
        drop(self.pending.remove_label_values(&[name]));
        drop(self.coverage.remove_label_values(&[name]));
    }

    /// Takes over the counters of the engine.
    pub fn engine(&self, stats: &EngineStats) {
        for (gauge, value) in [
            (&self.devices, stats.devices),
            (&self.flows_live, stats.flows_live),
            (&self.contacts_waiting, stats.contacts_waiting),
            (&self.approvals_waiting, stats.approvals_waiting),
            (&self.reviews, stats.reviews),
            (&self.windows_open, stats.windows_open),
            (&self.isolations_active.with_label_values(&["enforced"]), stats.blocks),
            (&self.isolations_active.with_label_values(&["observed"]), stats.blocks_would),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        raise(&self.devices_evicted, stats.devices_evicted);
        raise(&self.flows_new, stats.flows_new);
        raise(&self.flows_evicted, stats.flows_evicted);
        raise(&self.contacts_evicted, stats.contacts_evicted);
        raise(&self.services_evicted, stats.services_evicted);
        raise(&self.findings_silenced, stats.findings_silenced);
    }
}
