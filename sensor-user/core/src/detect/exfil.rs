//! Exfiltration: a device sends much more than it gets to a host that is new to it.
//!
//! Signal: bytes of conversations a device began, both ways, as they are told every few seconds.
//! Statistic: for each pair of device and host a cumulative sum (CUSUM; Page, Biometrika 1954) of what was sent less what
//! was received, that never falls below 0 and leaks: 1 MB an hour is let off, and of a pair that is older than a week
//! twice what it sends an hour on average if that is more. So a download, an interactive session or a steady report never fills it, a copy fills it at once, and a drip
//! over days fills it too. It calls at `exfil.outside_bytes` for hosts outside the internal networks, at
//! `exfil.inside_bytes` inside.
//! Only a pair that is *new* (a week) is looked at, and one that was seen to receive more than it sent for its first day
//! and then turns about (the ratio flips), which takes four times as much.
//! Cold start: the first day all pairs are new; outside they count all the same, inside none does. Recovery: the sum
//! leaks; a release forgets it.
//! Inside, what three others send to as well is how a service is used, and is not called.
//! Known false alarms: the first copy to a new backup or archive, sharing a large file outside. It alerts and never
//! isolates. Blind to what goes by a known pair within its usual, and by a server that is sent to anyway.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::clients::Clients;
use super::{Detector, Finding, Went, seconds};
use crate::addr::is_host;
use crate::event::Value;
use crate::evidence::{Family, by_severity};
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::Kind;
use crate::settings::{ExfilSettings, Settings};
use crate::state::state;
use crate::time::{HOUR, Time};

/// Least that is let off an hour, bytes.
const LEAK: f64 = 1e6;
/// How many times its usual a pair is let off.
const USUAL_FACTOR: f64 = 2.0;
/// A pair is new for this long.
const NEW: u64 = 7 * 24 * HOUR;
/// The sensor learns for this long who there is, and a pair how it is used.
const LEARNING: u64 = 24 * HOUR;
/// A pair that turns about takes so many times as much.
const TURN_FACTOR: f64 = 4.0;
/// Who sent so many bytes to a host inside shows how that is used.
const NOTED: f64 = 1e7;
/// One that goes on is told again after this time.
const REARM: u64 = 24 * HOUR;

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Pair {
    /// When it was begun, for a release to be told from.
    born: Time,
    first: Time,
    last: Time,
    /// Bytes, all in all.
    sent: f64,
    received: f64,
    /// The sum, bytes.
    sum: f64,
    /// When it last was 0.
    rose: Time,
    /// It received more than it sent when it was a day old; none: it is younger.
    downward: Option<bool>,
    told_at: Option<Time>,
    /// It is one of those that show how a host inside is used.
    noted: bool,
}

/// The detector.
pub struct Exfil {
    pairs: Lru<(DeviceKey, IpAddr), Pair>,
    /// Who sends to whom inside.
    clients: Clients,
    settings: ExfilSettings,
    /// When the first conversation was told.
    since: Option<Time>,
}

state!(Exfil { pairs, clients, since } keeps { settings });

impl Exfil {
    /// A detector without memory.
    pub fn new(settings: &Settings) -> Self {
        Self {
            pairs: Lru::new(capacity(settings.limits.devices)),
            clients: Clients::new(settings.limits.devices),
            settings: settings.exfil,
            since: None,
        }
    }
}

impl Detector for Exfil {
    fn rebooted(&mut self, off_ns: u64) {
        self.since = self.since.map(|since| since.plus(off_ns));
    }

    fn went(&mut self, went: &Went<'_>, found: &mut Vec<Finding>) {
        if went.id.kind != Kind::Ip || !is_host(went.id.dst) {
            return;
        }
        let now = went.progress.last;
        let since = *self.since.get_or_insert(went.progress.first);
        let fresh = || Pair::new(went.progress.first);
        let pair = self.pairs.get_or_insert_mut((went.device, went.id.dst), fresh);
        if pair.born < went.clean_since {
            *pair = Pair { born: now, first: pair.first, downward: pair.downward, ..Pair::new(now) };
        }
        pair.add(went.is_forward(), went.more.bytes as f64, now);
        if went.internal && !std::mem::replace(&mut pair.noted, pair.sent > NOTED) && pair.noted {
            self.clients.is_common((went.id.dst, went.id.dport), went.device, now);
        }
        let settings = self.settings;
        let limit = if went.internal { settings.inside_bytes } else { settings.outside_bytes } as f64;
        let Some(reason) = pair.reason(limit, now) else { return };
        if went.internal && pair.first.since(since) < LEARNING {
            return;
        }
        // A device of a kind that others of its kind precede: monitors that are put up, and stream to the central station.
        let common = went.internal && self.clients.is_common((went.id.dst, went.id.dport), went.device, now);
        if common {
            return;
        }
        if pair.told_at.is_none_or(|told| now.since(told) > REARM) {
            pair.told_at = Some(now);
            found.push(pair.finding(went, reason, limit));
        }
    }
}

impl Pair {
    fn new(now: Time) -> Self {
        Self {
            born: now,
            first: now,
            last: now,
            sent: 0.0,
            received: 0.0,
            sum: 0.0,
            rose: now,
            downward: None,
            told_at: None,
            noted: false,
        }
    }

    /// Adds what came since the pair was last told.
    fn add(&mut self, forward: bool, bytes: f64, now: Time) {
        let hours = |ns: u64| ns as f64 / HOUR as f64;
        let age = self.last.since(self.first);
        let usual = if age > NEW { USUAL_FACTOR * self.sent / hours(age) } else { 0.0 };
        let leak = usual.max(LEAK) * hours(now.since(self.last));
        let more = if forward { bytes } else { -bytes };
        if self.sum <= 0.0 {
            self.rose = now;
        }
        self.sum = (self.sum - leak + more).max(0.0);
        if forward {
            self.sent += bytes;
        } else {
            self.received += bytes;
        }
        self.last = self.last.max(now);
        if self.downward.is_none() && now.since(self.first) > LEARNING {
            self.downward = Some(self.received > self.sent);
        }
    }

    /// What is wrong with it, if anything.
    fn reason(&self, limit: f64, now: Time) -> Option<&'static str> {
        if self.sum >= limit && now.since(self.first) <= NEW {
            return Some("exfiltration: sends much to a host it never talked to before");
        }
        let turned = self.downward == Some(true) && self.sum >= limit * TURN_FACTOR;
        turned.then_some("exfiltration: sends much to a host it used to receive from")
    }

    fn finding(&self, went: &Went<'_>, signature: &'static str, limit: f64) -> Finding {
        let megabytes = |bytes: f64| Value::Number((bytes / 1e5).round() / 10.0);
        let severity = if went.internal { 3 } else { 2 };
        Finding {
            detector: "exfil",
            signature,
            severity,
            family: Family::Exfil,
            weight: by_severity(severity),
            device: went.device,
            flow: went.id,
            evidence: vec![
                ("excess_mb", megabytes(self.sum)),
                ("limit_mb", megabytes(limit)),
                ("sent_mb", megabytes(self.sent)),
                ("received_mb", megabytes(self.received)),
                ("seconds", seconds(self.last.since(self.rose))),
                ("pair_age_seconds", seconds(self.last.since(self.first))),
                ("dest_ip", Value::Text(went.id.dst.to_string())),
                ("dest_port", Value::Count(u64::from(went.id.dport))),
            ],
            first_evidence: self.rose,
        }
    }
}
