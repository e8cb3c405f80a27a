//! What people say of devices, as it is told.

use sensor_core::event::{CardChange, CardStep};
use sensor_core::inventory::DeviceKey;
use sensor_core::inventory::cards::Card;
use sensor_core::policy::class::Kind;
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
            "criticality": criticality.map(Kind::name),
            "approved": approved,
            "by": change.by,
        }),
    );
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
        CardStep::Forgotten => "is forgotten",
    };
    format!("inventory {name} (number {}) {what}, by {}", change.card.id, label::plain(&change.by))
}

/// A device by the address it is known by.
pub fn address(key: &DeviceKey) -> String {
    match key {
        DeviceKey::Local(mac) => mac.to_string(),
        DeviceKey::Routed(ip) => ip.to_string(),
    }
}
