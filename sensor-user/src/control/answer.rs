//! What the engine shows, in the words of the protocol.

use std::collections::{BTreeMap, BTreeSet};

use sensor_core::engine::{CommandError, Mistake, Mistakes, Reply};
use sensor_core::event::{DeviceRef, Said, Verdict};
use sensor_core::identify::neighbour::Neighbour;
use sensor_core::inventory::cards::Card;
use sensor_core::policy::review::Review;
use sensor_core::policy::window::Window;
use sensor_core::policy::{Block, List, Origin, Target};
use sensor_core::snapshot::{
    ClassSuccess, DeviceView, FindingView, IncidentView, OneByEvidence, Perhaps, Snapshot,
};
use sensor_core::technique;
use sensor_core::time::Time;
use serde::Serialize;
use serde_json::Value;

use super::View;
use super::request::Part;
use crate::clock::WallClock;
use crate::eve::card::address;
use crate::protocol::{
    Added, Approved, BlockInfo, CardInfo, DeviceInfo, DeviceName, FindingInfo, ImpactInfo, IncidentInfo,
    JudgedInfo, KindInfo, LiveStatus, MistakeInfo, OneInfo, PerhapsInfo, Refusal, RefusalKind, Regrouped,
    ReviewInfo, Status, SuccessInfo, SwitchInfo, VerdictInfo, WaitInfo, WindowInfo,
};

/// One part of the view.
pub fn part(view: &View, part: Part, clock: &WallClock) -> Value {
    let View { snapshot, live } = view;
    match part {
        Part::Status => json(&status(snapshot, live, clock)),
        Part::Devices => json(&devices(snapshot, live, clock)),
        Part::Incidents => json(&snapshot.incidents.iter().map(|i| incident(i, clock)).collect::<Vec<_>>()),
        Part::Reviews => json(&snapshot.reviews.iter().map(|r| review(r, clock)).collect::<Vec<_>>()),
        Part::Windows => {
            json(&snapshot.windows.iter().map(|w| window(w, snapshot.time, clock)).collect::<Vec<_>>())
        }
        Part::Blocks => json(&blocks(snapshot, live, clock)),
    }
}

/// Why an order was refused.
pub fn refusal(error: &CommandError) -> Refusal {
    let refusal = Refusal::new(RefusalKind::Refused, error.to_string());
    let CommandError::Mistakes(Mistakes { told, more }) = error else { return refusal };
    let info = |mistake: &Mistake| MistakeInfo {
        at: mistake.at,
        key: mistake.field.map(str::to_owned),
        what: mistake.error.to_string(),
    };
    Refusal { mistakes: told.iter().map(info).collect(), more_mistakes: *more, ..refusal }
}

/// What an order brought about.
pub fn reply(reply: &Reply, clock: &WallClock) -> Value {
    match reply {
        Reply::Added { block, extended, device, impact, lost, spared, beside, entered } => {
            let block = block_info(block, device.as_ref().map(device_name), clock);
            let (devices, conversations) = (impact.devices, impact.conversations);
            let impact = ImpactInfo { devices, conversations };
            let (extended, entered, spared) = (*extended, *entered, spared.clone());
            let beside = beside.iter().map(device_name).collect();
            json(&Added { block, extended, impact, lost: json(&**lost), spared, beside, entered })
        }
        Reply::Approved { incident, level, action } => {
            let action = json(action).as_str().map(str::to_owned);
            json(&Approved { incident: *incident, level: level.to_string(), action })
        }
        Reply::Denied { incident, level } => {
            json(&Approved { incident: *incident, level: level.to_string(), action: None })
        }
        Reply::Judged { incident, verdict, reviews } => {
            let reviews = reviews.iter().map(|one| review(one, clock)).collect();
            let (right, grave) = (verdict.is_right(), *verdict == Verdict::Grave);
            json(&JudgedInfo { incident: *incident, right, grave, reviews })
        }
        Reply::Reviewed(one) => json(&review(one, clock)),
        // It began with its announcement, or it is to come; one that ended is not open.
        Reply::Announced(one) => json(&window(one, one.since, clock)),
        Reply::WindowEnded(one) => json(&window(one, one.until, clock)),
        Reply::Described(devices) => json(&devices.iter().map(device_name).collect::<Vec<_>>()),
        Reply::Regrouped { devices, remarks } => {
            json(&Regrouped { devices: devices.iter().map(device_name).collect(), remarks: texts(remarks) })
        }
        Reply::Removed(block) => json(&block_info(block, None, clock)),
    }
}

/// None of the protocol's types can fail to be written.
fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn status(snapshot: &Snapshot, live: &LiveStatus, clock: &WallClock) -> Status {
    let stats = json(&snapshot.stats);
    let stats = stats.as_object().into_iter().flatten();
    let stats = stats.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect();
    let mut restricted = BTreeMap::new();
    for block in snapshot.blocks.iter().filter(|block| !block.would) {
        *restricted.entry(block.level.name().to_owned()).or_default() += 1;
    }
    let success = snapshot.success.iter().map(|ClassSuccess { class, rate }| {
        let class = class.map(|name| name.to_string());
        SuccessInfo { class, permille: rate.permille, devices: rate.devices }
    });
    let success = success.collect();
    Status { time: clock.stamp(snapshot.time), live: live.clone(), stats, restricted, success }
}

/// The devices that were heard, then those of which something is said alone.
fn devices(snapshot: &Snapshot, live: &LiveStatus, clock: &WallClock) -> Vec<DeviceInfo> {
    let cards: BTreeMap<u64, &Card> = snapshot.cards.iter().map(|(card, _)| (card.id, card)).collect();
    let heard: BTreeSet<u64> = snapshot.devices.iter().map(|device| device.id).collect();
    let said = |view: &DeviceView| DeviceInfo {
        card: cards.get(&view.id).map(|card| card_info(card)).unwrap_or_default(),
        ..device(view, live, clock)
    };
    let unheard = snapshot.cards.iter().filter(|(card, _)| !heard.contains(&card.id));
    snapshot.devices.iter().map(said).chain(unheard.map(|(card, name)| unheard_device(card, name))).collect()
}

fn card_info(card: &Card) -> CardInfo {
    let merged = if card.keys.len() > 1 { card.keys.iter().map(address).collect() } else { Vec::new() };
    CardInfo {
        place: card.place.clone(),
        owner: card.owner.clone(),
        note: card.note.clone(),
        criticality: card.criticality.map(|kind| kind.name().to_owned()),
        approved: card.approved,
        merged,
    }
}

fn unheard_device(card: &Card, name: &DeviceRef) -> DeviceInfo {
    DeviceInfo {
        device: device_name(name),
        more_ips: 0,
        card: card_info(card),
        first_seen: None,
        last_seen: None,
        port: None,
        vlan: 0,
        segment: None,
        switch: None,
        kind: None,
        names: Vec::new(),
        one_by_evidence: None,
        perhaps_same: Vec::new(),
        gateway: false,
        protected: false,
        block: None,
        destinations: 0,
        usual_destinations: None,
    }
}

fn device(view: &DeviceView, live: &LiveStatus, clock: &WallClock) -> DeviceInfo {
    let port = live.ports.iter().find(|port| port.index == view.port).map(|port| port.name.clone());
    DeviceInfo {
        device: name_of(view),
        more_ips: view.more_ips,
        card: CardInfo::default(),
        first_seen: Some(clock.stamp(view.first_seen)),
        last_seen: Some(clock.stamp(view.last_seen)),
        port,
        vlan: view.vlan,
        segment: view.segment.map(|name| name.to_string()),
        switch: view.uplink.as_ref().map(switch),
        kind: view.label.as_ref().map(KindInfo::of),
        names: view.names.clone(),
        one_by_evidence: view.one.as_ref().map(one),
        perhaps_same: view.perhaps.iter().map(perhaps).collect(),
        gateway: view.gateway,
        protected: view.protected,
        block: view.block,
        destinations: view.destinations,
        usual_destinations: view.usual_destinations,
    }
}

fn perhaps(perhaps: &Perhaps) -> PerhapsInfo {
    PerhapsInfo {
        device: device_name(&perhaps.device),
        dhcp_client_id: perhaps.client_id.clone(),
        against: perhaps.against.map(|why| why.words().to_owned()),
    }
}

fn one(one: &OneByEvidence) -> OneInfo {
    OneInfo {
        number: one.number,
        with: one.with.iter().map(device_name).collect(),
        dhcp_client_id: one.client_id.clone(),
    }
}

fn switch(said: &Neighbour) -> SwitchInfo {
    SwitchInfo { name: said.system.clone(), port: said.port.clone(), platform: said.platform.clone() }
}

fn incident(view: &IncidentView, clock: &WallClock) -> IncidentInfo {
    IncidentInfo {
        id: view.id,
        device: device_name(&view.device),
        severity: view.severity,
        opened: clock.stamp(view.opened),
        updated: clock.stamp(view.updated),
        action: json(&view.action).as_str().unwrap_or_default().to_owned(),
        decision: view.ruling.as_ref().map(json),
        waits: view
            .waits
            .map(|(level, until)| WaitInfo { level: level.to_string(), until: clock.stamp(until) }),
        judged: view.judged.clone().map(|Said { verdict, by, comment }| VerdictInfo {
            right: verdict.is_right(),
            grave: verdict == Verdict::Grave,
            by,
            comment,
        }),
        coverage: view.coverage.as_ref().map(json),
        evidence: Some(json(&view.evidence)),
        why: Some(json(&view.why)),
        findings: view.findings.iter().map(|f| finding(f, clock)).collect(),
    }
}

fn review(review: &Review, clock: &WallClock) -> ReviewInfo {
    ReviewInfo {
        id: review.id,
        detector: review.detector.clone(),
        scope: review.scope.to_string(),
        incident_id: review.incident,
        since: clock.stamp(review.since),
        by: review.by.clone(),
    }
}

fn window(window: &Window, now: Time, clock: &WallClock) -> WindowInfo {
    WindowInfo {
        id: window.id,
        who: window.cover.to_string(),
        open: window.is_open(now),
        from: clock.stamp(window.from),
        until: clock.stamp(window.until),
        reason: window.reason.clone(),
        since: clock.stamp(window.since),
        by: window.by.clone(),
    }
}

fn finding(view: &FindingView, clock: &WallClock) -> FindingInfo {
    FindingInfo {
        time: clock.stamp(view.time),
        detector: view.detector.to_owned(),
        signature: view.signature.to_owned(),
        family: view.family.to_owned(),
        weight: Some(json(&((view.weight * 100.0).round() / 100.0))),
        technique: technique::of(view.detector, view.signature).map(|technique| technique.to_string()),
        severity: view.severity,
        evidence: view.evidence.iter().map(|(name, value)| ((*name).to_owned(), json(value))).collect(),
    }
}

fn blocks(snapshot: &Snapshot, live: &LiveStatus, clock: &WallClock) -> Vec<BlockInfo> {
    let mut owners = BTreeMap::new();
    for device in &snapshot.devices {
        // A gateway's MAC carries the addresses of others.
        if let (false, Some(block)) = (device.gateway, device.block) {
            owners.entry(block).or_insert(device);
        }
    }
    let info = |block: &Block| {
        let device = owners.get(&block.id).map(|device| name_of(device));
        BlockInfo { hits: live.rules.get(&block.id.to_string()).copied(), ..block_info(block, device, clock) }
    };
    snapshot.blocks.iter().map(info).collect()
}

fn block_info(block: &Block, device: Option<DeviceName>, clock: &WallClock) -> BlockInfo {
    let (owner, incident_id) = match &block.origin {
        Origin::Manual(account) => (Some(account.clone()), None),
        Origin::Incident(number) => (None, Some(*number)),
    };
    BlockInfo {
        id: block.id,
        targets: block.targets.iter().map(Target::to_string).collect(),
        device,
        level: block.level.name().to_owned(),
        direction: block.direction.name().to_owned(),
        allow: if let List::Named(name) = &block.list { Some(name.to_string()) } else { None },
        pairs: matches!(block.list, List::Learned { .. }).then_some(block.list.pairs() as u64),
        follows: block.follows,
        owner,
        incident_id,
        reason: block.reason.clone(),
        since: clock.stamp(block.since),
        until: block.until.map(|until| clock.stamp(until)),
        would: block.would,
        hits: None,
    }
}

fn device_name(device: &DeviceRef) -> DeviceName {
    DeviceName {
        id: device.id,
        mac: device.mac.to_string(),
        ips: texts(&device.ips),
        maker: device.maker.clone(),
        name: device.name.clone(),
        class: device.class.as_ref().map(ToString::to_string),
    }
}

fn name_of(view: &DeviceView) -> DeviceName {
    DeviceName {
        id: view.id,
        mac: view.mac.to_string(),
        ips: texts(&view.ips),
        maker: view.maker.clone(),
        name: view.name.clone(),
        class: view.class.as_ref().map(ToString::to_string),
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
