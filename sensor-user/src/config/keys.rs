//! The one list of all keys of the configuration: what each means, an example, and where its value goes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensor_core::addr::Prefix;
use sensor_core::policy::{Level, Target};
use sensor_core::settings::{MAX_INTERNAL, Mode};
use sensor_core::time::{HOUR, MILLISECOND, MINUTE, SECOND};

use super::Config;
use super::item::{Item, Read, one_host, quoted};
use super::{approve, classes, flows, notify, notify_rules, places};
use crate::duration::DAY;
use crate::eve::EventType;

/// One key.
pub struct Key {
    /// Its name with its sections.
    pub path: &'static str,
    /// What it means, in a few words.
    pub meaning: &'static str,
    /// How one would write it.
    pub example: &'static str,
    set: fn(&mut Config, &Item) -> Read<()>,
}

impl Key {
    /// Reads the value into the configuration.
    pub(super) fn set(&self, config: &mut Config, item: &Item) -> Read<()> {
        (self.set)(config, item)
    }
}

/// Writes one row of the list: `path: meaning, example => |config, item| value goes here`.
macro_rules! keys {
    ($($path:literal: $meaning:literal, $example:literal => |$c:ident, $i:ident| $place:expr, $value:expr;)*) => {
        &[$(Key {
            path: $path,
            meaning: $meaning,
            example: $example,
            set: |$c, $i| {
                $place = $value;
                Ok(())
            },
        }),*]
    };
}

/// All keys.
pub const KEYS: &[Key] = keys! {
    "mode": "whether decisions are carried out", r#"mode = "observe""#
        => |c, i| c.settings.mode, i.choice(&[("observe", Mode::Observe), ("enforce", Mode::Enforce)])?;
    "metrics_listen": "address and port of the metrics", r#"metrics_listen = "127.0.0.1:9935""#
        => |c, i| c.daemon.metrics_listen, metrics_listen(i)?;
    "oui_file": "the list of makers", r#"oui_file = "/usr/share/ieee-data/oui.txt""#
        => |c, i| c.daemon.oui_file, PathBuf::from(filled(i)?);
    "socket_group": "who may use the control socket", r#"socket_group = "sekisho""#
        => |c, i| c.daemon.socket_group, filled(i)?.to_owned();

    "network.internal": "networks that count as inside", r#"internal = ["10.0.0.0/8"]"#
        => |c, i| c.settings.internal, internal(i)?;
    "network.gateways": "MAC addresses of routers and firewalls", r#"gateways = ["00:1b:21:0a:0b:0c"]"#
        => |c, i| c.settings.gateways, i.list(Item::mac)?.into_iter().collect();
    "network.gateway_ips": "so many IPv4 addresses make a gateway", "gateway_ips = 4"
        => |c, i| c.settings.gateway_ips, i.count(2..=1_000_000)? as usize;
    "names": "names people know devices by", r#""10.0.0.7" = "MRI 2, building A""#
        => |c, i| c.settings.names, names(i)?;

    "isolation.severity": "how grave an incident must be to isolate", "severity = 1"
        => |c, i| c.settings.isolate_severity, i.count(0..=3)? as u8;
    "isolation.durations": "how long automatic isolations of a device last", r#"durations = ["1h", "1d", "1w"]"#
        => |c, i| c.settings.isolate_for_ns, durations(i)?;
    "isolation.budget": "most automatic isolations in a while", "budget = 5"
        => |c, i| c.settings.budget, i.count(0..=10_000)? as u32;
    "isolation.budget_share": "the part of all devices, in percent", "budget_share = 1"
        => |c, i| c.settings.budget_share, i.number(0.0..=100.0)? / 100.0;
    "isolation.budget_window": "how long that while is", r#"budget_window = "10m""#
        => |c, i| c.settings.budget_window_ns, i.duration(SECOND..=7 * DAY)?;
    "isolation.protected": "what is never isolated", r#"protected = ["00:1b:21:0a:0b:0c", "10.0.0.7", "10.1.0.0/16"]"#
        => |c, i| (c.settings.protected, c.settings.protected_nets), protected(i)?;

    "decide.highest": "the strictest automatic restriction", r#"highest = "isolate""#
        => |c, i| c.settings.decide.highest, i.choice(&AUTOMATIC)?;
    "decide.graded": "whether evidence that is not decisive alone adds up to acts", "graded = true"
        => |c, i| c.settings.decide.graded, i.flag()?;

    "approve.from": "the level from which on a person must approve", r#"from = "isolate""#
        => |c, i| c.settings.approve.from, approve::from(i)?;
    "approve.within": "how long a person may think", r#"within = "15m""#
        => |c, i| c.settings.approve.within_ns, i.duration(SECOND..=7 * DAY)?;
    "approve.otherwise": "what is done when nobody said anything in time", r#"otherwise = "alert""#
        => |c, i| c.settings.approve.otherwise, approve::otherwise(i)?;
    "approve.meanwhile": "what is done meanwhile", r#"meanwhile = "throttle""#
        => |c, i| c.settings.approve.meanwhile, approve::meanwhile(i)?;

    "classes": "classes of devices, and how far it goes with them", r#"ventilators = { kind = "life-critical", members = ["10.1.0.0/16"] }"#
        => |c, i| c.settings.classes, classes::classes(i)?;
    "segments": "named sets of ports and VLANs", r#"radiology = { ports = ["eth1"], vlans = [20], reflex = "enforce" }"#
        => |c, i| c.settings.segments, places::segments(i)?;
    "allow": "what quarantined devices may do", r#"repair = ["arp", "dhcp", "dns 10.0.0.1", "tcp/443 10.0.0.9"]"#
        => |c, i| c.settings.allow, places::allow(i)?;

    "forbid": "what is forbidden", r#"forbid = [{ from = "any", to = "outside", service = "tcp/23" }]"#
        => |c, i| c.settings.forbid, places::forbid(i)?;

    "throttle.new_per_second": "a throttled device's new destinations a second", "new_per_second = 1"
        => |c, i| c.settings.throttle.new_per_second, i.count(1..=1_000_000)? as u32;
    "throttle.new_burst": "a throttled device's new destinations at once", "new_burst = 20"
        => |c, i| c.settings.throttle.new_burst, i.count(1..=1_000_000)? as u32;
    "throttle.kib_per_second": "a throttled device's KiB a second", "kib_per_second = 128"
        => |c, i| c.settings.throttle.kib_per_second, i.count(1..=16_777_216)? as u32;
    "throttle.kib_burst": "a throttled device's KiB at once", "kib_burst = 512"
        => |c, i| c.settings.throttle.kib_burst, i.count(64..=16_777_216)? as u32;

    "reflex.mode": "what is done about hosts over their budget", r#"mode = "count""#
        => |c, i| c.settings.reflex.mode, places::reflex_mode(i)?;
    "reflex.per_second": "new destinations a second of each host", "per_second = 5"
        => |c, i| c.settings.reflex.per_second, i.count(1..=1_000_000)? as u32;
    "reflex.burst": "new destinations of each host at once", "burst = 100"
        => |c, i| c.settings.reflex.burst, i.count(1..=1_000_000)? as u32;
    "reflex.grace": "how long after the first start nothing is counted", r#"grace = "1m""#
        => |c, i| c.settings.reflex_grace_ns, i.duration(SECOND..=DAY)?;

    "detect.off": "where detectors are switched off", r#"fanout = ["everywhere"]"#
        => |c, i| c.settings.detectors_off, places::off(i)?;
    "detect.scan.benign_success": "how often a healthy device's first contact succeeds", "benign_success = 0.8"
        => |c, i| c.settings.scan.benign_success, i.number(0.01..=0.99)?;
    "detect.scan.scanner_success": "how often a scanner's does", "scanner_success = 0.2"
        => |c, i| c.settings.scan.scanner_success, i.number(0.01..=0.99)?;
    "detect.scan.alert_alpha": "accepted chance of a false alert", "alert_alpha = 0.001"
        => |c, i| c.settings.scan.alert_alpha, i.number(1e-12..=0.1)?;
    "detect.scan.isolate_alpha": "accepted chance of a false isolation", "isolate_alpha = 0.000001"
        => |c, i| c.settings.scan.isolate_alpha, i.number(1e-12..=0.1)?;

    "detect.fanout.window": "time over which destinations are counted", r#"window = "1m""#
        => |c, i| c.settings.fanout.window_ns, i.duration(SECOND..=HOUR)?;
    "detect.fanout.internal_floor": "destinations inside that are never too many", "internal_floor = 25"
        => |c, i| c.settings.fanout.internal_floor, i.count(1..=1_000_000)? as u32;
    "detect.fanout.external_floor": "destinations outside that are never too many", "external_floor = 100"
        => |c, i| c.settings.fanout.external_floor, i.count(1..=1_000_000)? as u32;
    "detect.fanout.factor": "how many times the usual is too many", "factor = 2.0"
        => |c, i| c.settings.fanout.factor, i.number(1.0..=1_000.0)?;

    "detect.lateral.window": "time over which new peers are counted", r#"window = "1m""#
        => |c, i| c.settings.lateral.window_ns, i.duration(SECOND..=HOUR)?;
    "detect.lateral.limit": "new peers on administration services that are too many", "limit = 4"
        => |c, i| c.settings.lateral.limit, i.count(1..=1_000_000)? as u32;

    "detect.port_scan.window": "time over which probed ports are counted", r#"window = "5m""#
        => |c, i| c.settings.port_scan.window_ns, i.duration(SECOND..=HOUR)?;
    "detect.port_scan.alert": "points for an alert", "alert = 8"
        => |c, i| c.settings.port_scan.alert, i.count(1..=65_536)? as u32;
    "detect.port_scan.isolate": "points for an isolation", "isolate = 20"
        => |c, i| c.settings.port_scan.isolate, i.count(1..=65_536)? as u32;

    "detect.exfil.outside_mb": "MB sent to a new host outside that are too many", "outside_mb = 50"
        => |c, i| c.settings.exfil.outside_bytes, i.count(1..=1_000_000)? * 1_000_000;
    "detect.exfil.inside_mb": "MB sent to a new host inside that are too many", "inside_mb = 500"
        => |c, i| c.settings.exfil.inside_bytes, i.count(1..=1_000_000)? * 1_000_000;

    "timeouts.dark": "wait for an answer from an inside address nobody uses", r#"dark = "50ms""#
        => |c, i| c.settings.dark_answer_ns, i.duration(MILLISECOND..=MINUTE)?;
    "timeouts.internal": "wait for an answer from inside", r#"internal = "1s""#
        => |c, i| c.settings.internal_answer_ns, i.duration(MILLISECOND..=MINUTE)?;
    "timeouts.external": "wait for an answer from outside", r#"external = "3s""#
        => |c, i| c.settings.external_answer_ns, i.duration(MILLISECOND..=MINUTE)?;

    "visibility.coverage": "the part of what comes that must be seen", "coverage = 0.99"
        => |c, i| c.settings.coverage, i.number(0.0..=1.0)?;

    "model.train_hours": "hours between trainings of what is usual", "train_hours = 24"
        => |c, i| c.daemon.train_hours, i.count(0..=8_760)?;
    "model.dir": "where models are kept", r#"dir = "/var/lib/sekisho/models""#
        => |c, i| c.daemon.model_dir, Some(i.text()?).filter(|dir| !dir.is_empty()).map(PathBuf::from);

    "record.minutes": "minutes between snapshots of what the sensor has in mind", "minutes = 30"
        => |c, i| c.daemon.record_minutes, i.count(0..=1_440)?;
    "record.max_mib": "MiB of the record on the disk, at most", "max_mib = 1024"
        => |c, i| c.daemon.record_max_mib, i.count(64..=1_048_576)?;

    "journal.days": "days after which old events go", "days = 400"
        => |c, i| c.daemon.journal.days, i.count(1..=36_500)?;
    "journal.max_rows": "decisions that are kept, and as many sightings of devices", "max_rows = 500000"
        => |c, i| c.daemon.journal.rows, i.count(1_000..=100_000_000)?;

    "eve.file": "a file of events as JSON lines", r#"file = "/var/log/sekisho/eve.json""#
        => |c, i| c.daemon.eve.file, Some(i.text()?).filter(|file| !file.is_empty()).map(PathBuf::from);
    "eve.kinds": "the kinds of events in it", r#"kinds = ["alert", "isolation", "flow"]"#
        => |c, i| c.daemon.eve.kinds, i.list(event_type)?;
    "eve.max_mib": "MiB after which another file is begun", "max_mib = 256"
        => |c, i| c.daemon.eve.max_mib, i.count(0..=1_048_576)?;
    "eve.keep": "old files that are kept", "keep = 4"
        => |c, i| c.daemon.eve.keep, i.count(1..=1_000)?;

    "notify.channels": "ways to tell people", r#"nms = { kind = "trap", address = "10.0.0.60" }"#
        => |c, i| c.daemon.notify.channels, notify::channels(i)?;
    "notify.rules": "which notices go to which channels", "rules = []"
        => |c, i| c.daemon.notify.rules, notify_rules::rules(i)?;

    "flows.keep": "whether conversations are logged", "keep = true"
        => |c, i| c.daemon.flows.keep, i.flag()?;
    "flows.days": "days of the log of conversations, at most", "days = 90"
        => |c, i| c.daemon.flows.days, i.count(1..=36_500)?;
    "flows.max_gib": "GiB of the log of conversations on the disk, at most", "max_gib = 20"
        => |c, i| c.daemon.flows.max_gib, i.count(1..=1_048_576)?;
    "flows.reserve_mib": "MiB of the disk that the log of conversations leaves to others", "reserve_mib = 1024"
        => |c, i| c.daemon.flows.reserve_mib, i.count(64..=1_048_576)?;
    "flows.every": "time between files of the log of conversations", r#"every = "1m""#
        => |c, i| c.daemon.flows.every_ns, i.duration(SECOND..=15 * MINUTE)?;
    "flows.copy_to": "where finished hours of the log are copied", r#"copy_to = "s3://bucket/sekisho""#
        => |c, i| c.daemon.flows.copy_to, flows::copy_to(i)?;
    "flows.box_name": "the name of this box among the copies", r#"box_name = "building-a""#
        => |c, i| c.daemon.flows.box_name, flows::box_name(i)?;
    "flows.s3_endpoint": "the server that speaks S3", r#"s3_endpoint = "https://minio.example:9000""#
        => |c, i| c.daemon.flows.s3_endpoint, flows::endpoint(i)?;
    "flows.s3_region": "the region of the bucket", r#"s3_region = "us-east-1""#
        => |c, i| c.daemon.flows.s3_region, filled(i)?.to_owned();
    "flows.s3_key_id": "the account that may write to the bucket", r#"s3_key_id = "sekisho""#
        => |c, i| c.daemon.flows.s3_key_id, i.text()?.to_owned();
    "flows.s3_secret_file": "the file that holds its secret", r#"s3_secret_file = "/etc/sekisho/s3-secret""#
        => |c, i| c.daemon.flows.s3_secret_file, PathBuf::from(i.text()?);

    "ipfix.collector": "where conversations are sent as IPFIX", r#"collector = "10.0.0.5:4739""#
        => |c, i| c.daemon.flows.ipfix_collector, flows::collector(i)?;
    "ipfix.domain": "the observation domain of this box", "domain = 0"
        => |c, i| c.daemon.flows.ipfix_domain, i.count(0..=u64::from(u32::MAX))? as u32;

    "limits.devices": "most devices", "devices = 65536"
        => |c, i| c.settings.limits.devices, i.count(16..=1_048_576)? as usize;
    "limits.flows": "most conversations", "flows = 262144"
        => |c, i| c.settings.limits.flows, i.count(1_024..=4_194_304)? as usize;
    "limits.contacts": "most first contacts that wait for an answer", "contacts = 65536"
        => |c, i| c.settings.limits.contacts, i.count(256..=1_048_576)? as usize;
    "limits.peers": "most pairs of device and peer remembered", "peers = 786432"
        => |c, i| c.settings.limits.peers, i.count(1_024..=16_777_216)? as usize;
    "limits.incidents": "most incidents kept", "incidents = 4096"
        => |c, i| c.settings.limits.incidents, i.count(16..=1_048_576)? as usize;
};

/// A kind of event.
fn event_type(item: &Item) -> Read<EventType> {
    item.text()?.parse().or_else(|what: String| item.wrong(what, format!("write it like: {}", item.example)))
}

/// How long isolations last, each longer than the one before.
fn durations(item: &Item) -> Read<Vec<u64>> {
    let steps = item.list(|item| item.duration(SECOND..=365 * DAY))?;
    let grows = steps.windows(2).all(|pair| pair.first() < pair.last());
    if steps.is_empty() || !grows {
        let hint = format!("write it like: {}", item.example);
        return item.wrong("must be one length of time or several, each longer than the one before", hint);
    }
    Ok(steps)
}

/// The levels that are put on by themselves.
const AUTOMATIC: [(&str, Level); 3] =
    [("throttle", Level::Throttle), ("pin", Level::Pin), ("isolate", Level::Isolate)];

/// A text that says something.
fn filled<'a>(item: &Item<'a>) -> Read<&'a str> {
    let text = item.text()?;
    if text.trim().is_empty() {
        item.wrong("is empty", format!("write it like: {}", item.example))
    } else {
        Ok(text)
    }
}

/// An address and a port, or `off`.
fn metrics_listen(item: &Item) -> Read<Option<std::net::SocketAddr>> {
    let text = item.text()?;
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).or_else(|_| {
        item.wrong(
            format!("{} is not an address and port", quoted(text)),
            "write it like \"127.0.0.1:9935\" or \"[::1]:9935\", or \"off\" for no metrics",
        )
    })
}

/// One entry of the protected list.
#[derive(PartialEq)]
enum Protected {
    One(Target),
    Net(Prefix),
}

fn protected(item: &Item) -> Read<(std::collections::BTreeSet<Target>, Vec<Prefix>)> {
    let list = item.list(|item| {
        let text = item.text()?;
        if text.contains('/') {
            return item.prefix().map(Protected::Net);
        }
        target(item, text).map(Protected::One)
    })?;
    let (mut ones, mut nets) = (std::collections::BTreeSet::new(), Vec::new());
    for entry in list {
        match entry {
            Protected::One(target) => drop(ones.insert(target)),
            Protected::Net(net) => nets.push(net),
        }
    }
    Ok((ones, nets))
}

/// The MAC or IP address of one device. `item` is where it stands.
fn target(item: &Item, text: &str) -> Read<Target> {
    let hint =
        "write one device's MAC or IP address, like \"00:1b:21:0a:0b:0c\", \"10.0.0.7\" or \"fd00::7\"";
    match text.parse() {
        Ok(Target::Ip(ip)) => one_host(ip).map(Target::Ip).or_else(|what| item.wrong(what, hint)),
        Ok(Target::Mac(mac)) if mac.is_nobody() => {
            item.wrong(format!("{mac} is a broadcast, multicast or empty address"), hint)
        }
        Ok(target) if target.is_address() => Ok(target),
        _ => item.wrong(format!("{} is neither a MAC nor an IP address", quoted(text)), hint),
    }
}

fn internal(item: &Item) -> Read<Vec<Prefix>> {
    let networks = item.list(Item::prefix)?;
    if networks.len() > MAX_INTERNAL {
        return item
            .wrong(format!("has more than {MAX_INTERNAL} networks"), "put neighbouring ones together");
    }
    Ok(networks)
}

/// Most characters of a device's name.
const MAX_NAME: usize = 64;

fn names(item: &Item) -> Read<BTreeMap<Target, String>> {
    let (mut names, mut problems) = (BTreeMap::new(), Vec::new());
    for (address, value) in item.section()? {
        let entry = item.entry(address.get_ref(), value);
        let checked = target(&entry, address.get_ref()).and_then(|target| {
            let name = filled(&entry)?;
            if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
                return entry.wrong(
                    "is longer than 64 characters, or holds line ends or control characters",
                    "give a short name people know the device by",
                );
            }
            if names.contains_key(&target) {
                return entry.wrong("names an address that has a name already", "take one of them out");
            }
            Ok((target, name.trim().to_owned()))
        });
        match checked {
            Ok((target, name)) => drop(names.insert(target, name)),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(names) } else { Err(problems) }
}
