//! The metrics of the log of conversations.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use sensor_flowlog::Counts;

use super::{raise, register};

/// All families of it.
pub struct FlowFamilies {
    written: IntCounter,
    lost: IntCounterVec,
    waiting: IntGauge,
    cut_short: IntCounter,
    damaged: IntCounter,
    bytes: IntGauge,
    oldest: IntGauge,
    deleted: IntCounter,
    copies: IntCounterVec,
    copies_waiting: IntGauge,
    messages: IntCounterVec,
}

impl FlowFamilies {
    /// Registers all of them.
    #[rustfmt::skip] // A table is read by its columns.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| register(registry, IntCounter::new(name, help)?);
        let gauge = |name, help| register(registry, IntGauge::new(name, help)?);
        let counters = |name, help, label| register(registry, IntCounterVec::new(Opts::new(name, help), &[label])?);
        Ok(Self {
            written: counter("sekisho_flow_log_rows_total", "Conversations in the log, on the disk.")?,
            lost: counters("sekisho_flow_log_lost_total", "Conversations that are not in the log: the disk was too slow (queue) or took nothing (disk).", "reason")?,
            waiting: gauge("sekisho_flow_log_waiting", "Conversations that wait for the disk.")?,
            cut_short: counter("sekisho_flow_log_cut_short_total", "1 if the daemon before this one was killed, or the power failed: conversations of its last minute may be missing.")?,
            damaged: counter("sekisho_flow_log_damaged_files_total", "Files that could not be read, and were set aside.")?,
            bytes: gauge("sekisho_flow_log_bytes", "Bytes of the log on the disk.")?,
            oldest: gauge("sekisho_flow_log_oldest_timestamp_seconds", "The oldest hour in the log, since 1970; 0 if there is none.")?,
            deleted: counter("sekisho_flow_log_deleted_total", "Hours deleted, for they were too old or the log too large.")?,
            copies: counters("sekisho_flow_log_copies_total", "Finished hours copied elsewhere: done, failed (tried again), missed (deleted before).", "result")?,
            messages: counters("sekisho_ipfix_messages_total", "Messages to the collector of IPFIX: sent, failed (the system did not take them).", "result")?,
            copies_waiting: gauge("sekisho_flow_log_copies_waiting", "Finished hours that wait to be copied.")?,
        })
    }

    /// Takes over how many messages were sent to the collector, and how many were not.
    pub fn sent(&self, [sent, failed]: [u64; 2]) {
        raise(&self.messages.with_label_values(&["sent"]), sent);
        raise(&self.messages.with_label_values(&["failed"]), failed);
    }

    /// Takes over what is counted.
    pub fn update(&self, counts: &Counts) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let gauge = |count: &AtomicU64| i64::try_from(read(count)).unwrap_or(i64::MAX);
        raise(&self.written, read(&counts.written));
        raise(&self.lost.with_label_values(&["queue"]), read(&counts.lost_to_queue));
        raise(&self.lost.with_label_values(&["disk"]), read(&counts.lost_to_disk));
        raise(&self.cut_short, read(&counts.cut_short));
        raise(&self.damaged, read(&counts.damaged));
        raise(&self.deleted, read(&counts.deleted));
        raise(&self.copies.with_label_values(&["done"]), read(&counts.copied));
        raise(&self.copies.with_label_values(&["failed"]), read(&counts.copy_failures));
        raise(&self.copies.with_label_values(&["missed"]), read(&counts.never_copied));
        self.waiting.set(gauge(&counts.waiting));
        self.bytes.set(gauge(&counts.bytes));
        self.copies_waiting.set(gauge(&counts.copy_waiting));
        self.oldest.set(counts.oldest.load(Ordering::Relaxed));
    }
}
