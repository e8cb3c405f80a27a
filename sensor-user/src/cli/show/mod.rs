//! Answers of the daemon for people.

mod incident;

pub use incident::{done, explained, incident, incidents, verdict};
use jiff::tz::TimeZone;
use sensor_core::policy::{Direction, Level};
use serde_json::Value;

use super::counted::{Counted, counted};
use super::device::{kind, one_hint, one_with, perhaps, perhaps_hint, port, switch};
use super::seen::{blind_words, dropped, ledgers, off_words, restricted};
use super::table::{column, cut, numbers, table};
use crate::clock::Stamp;
use crate::protocol::{
    Added, BlockInfo, BypassInfo, DeviceInfo, DeviceName, LiveStatus, Status, SuccessInfo,
};
use crate::{duration, label, ruling};

/// Where and when people read.
pub struct Here {
    /// Now.
    pub now: Stamp,
    /// Their time zone.
    pub zone: TimeZone,
    /// Places in a line.
    pub width: usize,
}

impl Here {
    /// How long ago something was.
    pub fn ago(&self, then: Stamp) -> String {
        let ns = self.now.since(then);
        if ns < sensor_core::time::SECOND { "now".to_owned() } else { format!("{} ago", short(ns)) }
    }
}

/// The longest unit of a length of time alone.
fn short(ns: u64) -> String {
    duration::show(ns).split(' ').next().unwrap_or_default().to_owned()
}

/// The name people know a device by, else its maker and MAC address.
pub fn name(device: &DeviceName) -> String {
    label::device(device.name.as_deref(), device.maker.as_deref(), &device.mac)
}

/// The first and the number of the others.
fn first_of(texts: &[String], more: u64) -> String {
    let more = more + texts.len().saturating_sub(1) as u64;
    match texts.first() {
        None => "-".to_owned(),
        Some(first) if more > 0 => format!("{first} +{more}"),
        Some(first) => first.clone(),
    }
}

/// `sekisho status`.
pub fn status(status: &Status, here: &Here) -> String {
    let live = &status.live;
    let stat = |name| status.stats.get(name).copied().unwrap_or_default();
    let uptime = duration::show(live.uptime_secs.saturating_mul(sensor_core::time::SECOND));
    let mut text = bypass_line(&live.bypass, here);
    text += &format!(
        "Sekisho {} watches {} in {} mode, for {uptime}.\n",
        label::plain(&live.version),
        label::plain(&live.bridge),
        label::plain(&live.mode)
    );
    if live.mode == "observe" {
        text.push_str("Observe mode: nothing is cut off by itself; what would be is told and counted.\n");
    }
    if let Some(blind) = &live.blind {
        text.push_str(&format!("{}\n", blind_words(blind, here)));
    }
    for (detector, places) in &live.detectors_off {
        text.push_str(&format!("{}\n", label::plain(&off_words(detector, places))));
    }
    text.push_str(&format!(
        "\n  devices        {}\n  incidents      {}\n  restricted     {}\n  conversations  {} \
         now, {} since the start\n",
        stat("devices"),
        stat("incidents"),
        restricted(status),
        stat("flows_live"),
        stat("flows_new"),
    ));
    for (waits, what) in [
        (stat("approvals_waiting"), "waits for approval (`sekisho incidents`)"),
        (
            stat("windows_open"),
            "change window open: nothing is cut off by itself there (`sekisho window list`)",
        ),
        (stat("reviews"), "on review (`sekisho incidents reviews`)"),
    ] {
        if waits > 0 {
            text.push_str(&format!("  {waits} {what}\n"));
        }
    }
    for SuccessInfo { class, permille, devices } in &status.success {
        let Some(permille) = permille else { continue };
        text.push_str(&format!(
            "  first contacts of {}: {:.0} % succeed, measured of {devices} devices\n",
            label::plain(class.as_deref().unwrap_or("no class")),
            f64::from(*permille) / 10.0
        ));
    }
    text.push_str(&format!(
        "  dropped        {}\n  lost           {}\n  pinned at      {}\n\n",
        dropped(&live.ports),
        losses(status),
        label::plain(&live.pins)
    ));
    let rows: Vec<_> = live
        .ports
        .iter()
        .map(|port| {
            let bytes = label::bytes(port.bytes);
            [
                port.name.clone(),
                port.mode.name().to_owned(),
                port.packets.to_string(),
                bytes,
                port.drops.to_string(),
            ]
        })
        .collect();
    let columns =
        [column("PORT", 8), column("XDP", 7), numbers("FRAMES"), numbers("BYTES"), numbers("DROPPED")];
    text + &table(columns, &rows, here.width) + &ports_told(live) + "\n" + &ledgers(live, here)
}

/// What else there is to say of the ports.
fn ports_told(live: &LiveStatus) -> String {
    let mut text = String::new();
    for port in &live.unfiltered {
        text.push_str(&format!(
            "{} is NOT filtered: {}\n",
            label::plain(&port.name),
            label::plain(&port.why)
        ));
    }
    for port in &live.ports {
        let name = label::plain(&port.name);
        if !port.offloads_on.is_empty() {
            let which = label::plain(&port.offloads_on.join(", "));
            text.push_str(&format!("{name}: could not be switched off: {which} (see sekisho doctor)\n"));
        }
        if !port.offloads_off.is_empty() {
            let which = label::plain(&port.offloads_off.join(", "));
            text.push_str(&format!("{name}: switched off for the filter: {which}\n"));
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// Told before all else, if it is on.
fn bypass_line(bypass: &BypassInfo, here: &Here) -> String {
    if !bypass.on {
        return String::new();
    }
    format!(
        "BYPASS IS ON{}: nothing is dropped, whoever is cut off gets through. `sekisho bypass off` ends it.\n",
        switched(bypass, here)
    )
}

/// When, and by whom, the bypass was switched.
pub fn switched(bypass: &BypassInfo, here: &Here) -> String {
    let since = bypass.since.map(|since| format!(" since {}", since.local(&here.zone)));
    let by = bypass.by.as_ref().map(|by| format!(", by {}", label::plain(by)));
    format!("{}{}", since.unwrap_or_default(), by.unwrap_or_default())
}

/// What was lost or forgotten, in words.
fn losses(status: &Status) -> String {
    let stat = |name| status.stats.get(name).copied().unwrap_or_default();
    let losses = [
        ("frames that LEAKED although a rule forbids them", status.live.leaks),
        ("records lost because the ring was full", status.live.ring_lost),
        ("changes of the block list not written to disk", status.live.store_errors),
        ("events lost because nobody took them from standard output", status.live.events_lost),
        ("events the journal had no room for", status.live.journal_lost),
        ("writes of the journal that failed", status.live.journal_errors),
        ("events the file of [eve] did not take", status.live.eve_lost),
        ("gaps in the record of decisions, for the disk was too slow or full", status.live.record_cut_short),
        ("devices forgotten because the table was full", stat("devices_evicted")),
        ("conversations forgotten because the table was full", stat("flows_evicted")),
        ("first contacts not judged because the table was full", stat("contacts_evicted")),
        ("services that devices used forgotten because the table was full", stat("services_evicted")),
        ("minutes that a client id several devices share was not watched", stat("client_ids_unwatched")),
    ];
    let told: Vec<_> =
        losses.iter().filter(|loss| loss.1 > 0).map(|(what, n)| format!("{n} {what}")).collect();
    if told.is_empty() { "nothing".to_owned() } else { told.join("; ") }
}

/// `sekisho devices`.
pub fn devices(devices: &[DeviceInfo], here: &Here) -> String {
    if devices.is_empty() {
        return "No device was seen yet.\n".to_owned();
    }
    let counted = counted(devices);
    let row = |one: &Counted| {
        let info = &one.info;
        let port = info.port.clone().unwrap_or_else(|| "-".to_owned());
        let usual = info.usual_destinations.map_or_else(|| "?".to_owned(), |usual| usual.to_string());
        [
            info.device.name.clone().or_else(|| info.device.maker.clone()).unwrap_or_else(|| "-".to_owned()),
            first_of(&one.macs, 0),
            kind(info),
            first_of(&info.device.ips, info.more_ips),
            if info.vlan == 0 { port } else { format!("{port}/{}", info.vlan) },
            format!("{}/{usual}", info.destinations),
            info.last_seen.map_or_else(|| "never".to_owned(), |seen| here.ago(seen)),
            state(info, &one.held),
        ]
    };
    let rows: Vec<_> = counted.iter().map(row).collect();
    let columns = [
        column("DEVICE", 8),
        column("MAC", 17),
        column("KIND", 8),
        column("ADDRESS", 9),
        column("PORT", 5),
        numbers("PEERS"),
        column("SEEN", 6),
        column("STATE", 8),
    ];
    let count = label::count(counted.len() as u64, "device", "devices");
    let infos: Vec<DeviceInfo> = counted.iter().map(|one| one.info.clone()).collect();
    format!(
        "{}\n{count}. PEERS: destinations in the last minute / what is usual.\n`sekisho devices show DEVICE` tells \
         where one is, and why it is of its kind.\n{}{}",
        table(columns, &rows, here.width),
        one_hint(&infos),
        perhaps_hint(&infos)
    )
}

/// `sekisho devices show`.
pub fn device(info: &DeviceInfo, here: &Here) -> String {
    let (device, card) = (&info.device, &info.card);
    let or = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), label::plain);
    let at = |stamp: Option<Stamp>| {
        stamp.map_or_else(|| "never".to_owned(), |at| format!("{} ({})", at.local(&here.zone), here.ago(at)))
    };
    let more = if info.more_ips == 0 { String::new() } else { format!(" and {} more", info.more_ips) };
    let mut rows = vec![
        ("number", device.id.to_string()),
        ("name", or(&device.name)),
        ("MAC address", label::plain(&device.mac)),
        ("addresses", format!("{}{more}", label::plain(&device.ips.join(", ")))),
        ("maker", or(&device.maker)),
        ("class", or(&device.class)),
        ("kind", kind(info)),
        ("criticality", or(&card.criticality)),
        ("place", or(&card.place)),
        ("owner", or(&card.owner)),
        ("note", or(&card.note)),
        ("approved", if card.approved { "yes" } else { "no" }.to_owned()),
        ("port", port(info)),
        ("first seen", at(info.first_seen)),
        ("last seen", at(info.last_seen)),
        ("state", Some(state(info, &[])).filter(|state| !state.is_empty()).unwrap_or_else(|| "-".to_owned())),
    ];
    rows.extend(one_with(info).map(|others| ("one with", others)));
    for other in perhaps(info) {
        rows.push(("perhaps", other));
    }
    if let Some(switch) = switch(info) {
        rows.insert(13, ("switch", switch));
    }
    for reason in info.kind.iter().flat_map(|kind| &kind.reasons).rev() {
        rows.insert(7, ("", label::plain(reason)));
    }
    if !info.names.is_empty() {
        rows.insert(2, ("calls itself", label::plain(&info.names.join(", "))));
    }
    if !card.merged.is_empty() {
        let at = if info.names.is_empty() { 3 } else { 4 };
        rows.insert(at, ("merged", label::plain(&card.merged.join(", "))));
    }
    rows.into_iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}

/// What is done about it; `held` are the MAC addresses it is done about, if others of it go on.
fn state(info: &DeviceInfo, held: &[String]) -> String {
    let mut words = Vec::new();
    if let Some(block) = info.block {
        let alone = if held.is_empty() { String::new() } else { format!(" ({} alone)", held.join(" ")) };
        words.push(format!("blocked #{block}{alone}"));
    }
    if info.gateway {
        words.push("gateway".to_owned());
    }
    if info.protected {
        words.push("protected".to_owned());
    }
    words.extend(info.device.class.clone());
    words.join(", ")
}

/// The class of a device: ` [ventilators]`.
fn class(device: &DeviceName) -> String {
    device.class.as_ref().map_or_else(String::new, |class| format!(" [{}]", label::plain(class)))
}

/// The services that are lost, one a line.
fn lost(impact: &Value, here: &Here) -> String {
    let count = |key: &str| impact[key].as_u64().unwrap_or_default();
    if count("services") == 0 {
        return String::new();
    }
    let mut text = format!(
        "  lost     {} with {}, {} now\n",
        label::count(count("services"), "service", "services"),
        label::count(count("peers"), "peer", "peers"),
        label::count(count("conversations"), "conversation", "conversations"),
    );
    let listed: Vec<_> = ruling::losses(impact).collect();
    for loss in &listed {
        text.push_str(&format!("{}\n", cut(&format!("           {loss}"), here.width)));
    }
    let more = count("services").saturating_sub(listed.len() as u64);
    if more > 0 {
        text.push_str(&format!("           and {more} more\n"));
    }
    text
}

/// `sekisho block list`.
pub fn blocks(blocks: &[BlockInfo], here: &Here) -> String {
    if blocks.is_empty() {
        return "Nobody is held.\n".to_owned();
    }
    let row = |block: &BlockInfo| {
        [
            block.id.to_string(),
            block.device.as_ref().map_or_else(|| "-".to_owned(), name),
            first_of(&block.targets, 0),
            block.until.map_or_else(|| "-".to_owned(), |until| duration::about(until.since(here.now))),
            how(block),
            block.hits.map_or_else(|| "-".to_owned(), |hits| (hits.dropped + hits.would_drop).to_string()),
            by(block),
            block.reason.clone(),
        ]
    };
    let rows: Vec<_> = blocks.iter().map(row).collect();
    let columns = [
        numbers("ID"),
        column("DEVICE", 12),
        column("ADDRESS", 15),
        column("LEFT", 7),
        column("LEVEL", 8),
        numbers("FRAMES"),
        column("BY", 8),
        column("REASON", 10),
    ];
    let counted = if blocks.iter().any(|block| block.would) {
        "\ncounted: observe mode, nothing of it is dropped.\n"
    } else {
        ""
    };
    table(columns, &rows, here.width) + counted
}

/// The level, and which way if not both; `(counted)` if nothing of it is dropped.
fn how(block: &BlockInfo) -> String {
    let mut text = block.level.clone();
    if block.direction != Direction::Both.name() {
        text.push_str(&format!(" {}", block.direction));
    }
    if block.would && block.level != Level::Observe.name() {
        text.push_str(" (counted)");
    }
    text
}

fn by(block: &BlockInfo) -> String {
    match (&block.owner, block.incident_id) {
        (Some(owner), _) => owner.clone(),
        (None, Some(incident)) => format!("incident {incident}"),
        (None, None) => "-".to_owned(),
    }
}

/// Whom an entry is about: the device by its name, and the addresses.
fn whom(block: &BlockInfo) -> String {
    let targets = match block.targets.as_slice() {
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a}, {b}, {c} and {} more", rest.len()),
        few => few.join(", "),
    };
    match &block.device {
        Some(device) if device.name.is_some() || device.maker.is_some() => {
            let name = device.name.as_deref().or(device.maker.as_deref()).unwrap_or_default();
            format!("{} ({targets})", label::plain(name))
        }
        _ => targets,
    }
}

/// `sekisho block add`.
pub fn added(added: &Added, observes: bool, here: &Here) -> String {
    let block = &added.block;
    let until = match block.until {
        Some(until) => {
            format!("until {} ({})", until.local(&here.zone), duration::about(until.since(here.now)))
        }
        None => "until it is removed".to_owned(),
    };
    let was = match (added.entered, added.extended) {
        (true, true) => "was on the block list already and is now",
        (true, false) => "is",
        (false, _) => "would be",
    };
    // A daemon of a later release may know levels this command does not.
    let held = match (block.level.parse(), block.direction.parse()) {
        (Ok(level), Ok(direction)) => label::held(level, direction),
        _ => format!("held ({})", label::plain(&block.level)),
    };
    let entry = if added.entered { format!(": entry {}", block.id) } else { String::new() };
    let mut text = format!("{} {was} {held} {until}{entry}.\n", whom(block));
    text.push_str(&format!(
        "It hits {} and {} that go on.\n",
        label::count(added.impact.devices, "known device", "known devices"),
        label::count(added.impact.conversations, "conversation", "conversations")
    ));
    if let Some(pairs) = block.pairs {
        let pairs = label::count(pairs, "pair", "pairs");
        text.push_str(&format!("{pairs} of peer and service stay open, and ARP and DHCP.\n"));
    }
    if let Some(list) = &block.allow {
        text.push_str(&format!("What the allow list {} names stays open.\n", label::plain(list)));
    }
    if !added.spared.is_empty() {
        let spared = label::plain(&added.spared.join(", "));
        text.push_str(&format!("Protected, and goes on: {spared}.\n"));
    }
    for other in &added.beside {
        text.push_str(&format!(
            "{} ({}) is counted as one device with it, by evidence alone, and goes on: `sekisho block add {}` holds it too.\n",
            name(other),
            label::plain(&other.mac),
            label::plain(&other.mac)
        ));
    }
    text.push_str(&lost(&added.lost, here));
    if !added.entered {
        return text + "Nothing was changed.\n";
    }
    if observes {
        text.push_str(
            "The daemon is in observe mode: what a person enters is enforced all the same, automatic isolations are \
             only counted.\n",
        );
    }
    text
}

/// `sekisho block remove`.
pub fn removed(block: &BlockInfo) -> String {
    format!("{} may talk again: entry {} is removed.\n", whom(block), block.id)
}
