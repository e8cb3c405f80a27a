//! What people say of devices, as it is told.

use sensor_core::event::{CardChange, CardStep, DeviceRef, Grouping};
use sensor_core::identify::group::WhyTwo;
use sensor_core::inventory::DeviceKey;
use sensor_core::inventory::cards::Card;
use sensor_core::policy::class::Criticality;
use serde_json::{Map, Value, json};

use crate::label;

/// The fields of the event.
pub fn fields(object: &mut Map<String, Value>, change: &CardChange) {
    let Card { id, keys, name, place, owner, note, class, criticality, approved, parts: _, distinct } =
        &*change.card;
    let keys: Vec<String> = keys.iter().map(address).collect();
    object.insert("device".into(), serde_json::to_value(&change.device).unwrap_or_default());
    object.insert(
        "inventory".into(),
        json!({
            "action": change.step,
            "id": id,
            "addresses": keys,
            "name": name,
            "place": place,
            "owner": owner,
            "note": note,
            "class": class,
            "criticality": criticality.map(Criticality::name),
            "approved": approved,
            "by": change.by,
        }),
    );
    if let Some((inventory, group)) = object.get_mut("inventory").zip(change.group.as_ref()) {
        inventory["with"] = serde_json::to_value(&group.with).unwrap_or_default();
        inventory["dhcp_client_id"] = group.client_id.clone().into();
        inventory["why"] = group.why.map(WhyTwo::name).into();
    }
    if let Some(inventory) = object.get_mut("inventory").filter(|_| !distinct.is_empty()) {
        inventory["distinct_from"] = distinct.iter().map(address).collect();
    }
}

/// The sentence.
pub fn sentence(change: &CardChange) -> String {
    let device = &change.device;
    let name = label::device(device.name.as_deref(), device.maker.as_deref(), &device.mac.to_string());
    let what = match change.step {
        CardStep::Described => "is described anew",
        CardStep::Merged => "has another address",
        CardStep::Split => "is a device of its own again, without an address it was one with",
        CardStep::Renumbered => "has this number now: another device had the same",
        CardStep::Grouped => "is counted as one device",
        CardStep::Dissolved => "is no longer counted as one device",
        CardStep::Forgotten => "is forgotten",
    };
    let group = change.group.as_ref().map(group).unwrap_or_default();
    format!("inventory {name} (number {}) {what}{group}, by {}", change.card.id, label::plain(&change.by))
}

/// With whom it is one, and why or why not.
fn group(group: &Grouping) -> String {
    let name = |device: &DeviceRef| {
        let name = label::device(device.name.as_deref(), device.maker.as_deref(), &device.mac.to_string());
        format!("{name} (number {})", device.id)
    };
    let with: Vec<String> = group.with.iter().map(name).collect();
    let why = group.why.map_or(
        "they ask by DHCP under one client id and are heard by turns. It is evidence alone: each is held, spared and judged by itself",
        WhyTwo::words,
    );
    format!(" with {}: {why}", with.join(", "))
}

/// A device by the address it is known by.
pub fn address(key: &DeviceKey) -> String {
    match key {
        DeviceKey::Local(mac) => mac.to_string(),
        DeviceKey::Routed(ip) => ip.to_string(),
    }
}
