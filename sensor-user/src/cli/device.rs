//! What a device is taken for, and where it is, in words.

use std::collections::BTreeSet;

use super::show::name;
use crate::label;
use crate::protocol::{DeviceInfo, DeviceName, PerhapsInfo};

/// The kind a device is taken for, and how sure that is.
pub fn kind(info: &DeviceInfo) -> String {
    info.kind.as_ref().map_or_else(
        || "-".to_owned(),
        |kind| label::kind(&kind.name, kind.confidence.as_f64().unwrap_or_default()),
    )
}

/// Where it comes in: port, VLAN, segment.
pub fn port(info: &DeviceInfo) -> String {
    let mut port = info.port.as_deref().map_or_else(|| "-".to_owned(), label::plain);
    if info.vlan != 0 {
        port.push_str(&format!(", VLAN {}", info.vlan));
    }
    if let Some(segment) = &info.segment {
        port.push_str(&format!(", segment {}", label::plain(segment)));
    }
    port
}

/// The switch it is reached by, for the one who must walk there; none if none was heard.
pub fn switch(info: &DeviceInfo) -> Option<String> {
    let switch = info.switch.as_ref()?;
    let name = switch.name.as_deref().or(switch.platform.as_deref()).unwrap_or("one without a name");
    let port = switch.port.as_ref().map(|port| format!("; its port {port} leads here"));
    Some(label::plain(&format!("{name}{}", port.unwrap_or_default())))
}

/// Who is perhaps the same device, why, and what to say if it is.
pub fn perhaps(info: &DeviceInfo) -> Vec<String> {
    let words = |other: &PerhapsInfo| {
        let (one, two) = (info.device.id, other.device.id);
        let name = name(&other.device);
        let against =
            other.against.as_ref().map(|why| format!("; but {}", label::plain(why))).unwrap_or_default();
        format!(
            "the same as {name}: both ask by DHCP under one client id{against}. If so: `sekisho devices merge {one} {two}`; if not: \
                 `sekisho devices distinct {one} {two}`"
        )
    };
    info.perhaps_same.iter().map(words).collect()
}

/// With whom it is counted as one, by what, and what to say of it; none if it is one alone, or by word of a person.
pub fn one_with(info: &DeviceInfo) -> Option<String> {
    let one = info.one_by_evidence.as_ref()?;
    let name = |other: &DeviceName| format!("{} (number {})", name(other), other.id);
    let (names, own) = (one.with.iter().map(name).collect::<Vec<_>>().join(", "), info.device.id);
    let other = one.with.first().map_or(own, |other| other.id);
    Some(format!(
        "{names}, counted as device {} by evidence alone: they ask by DHCP under client id {}, and are heard by turns. Each is held, \
         spared and judged by itself. To have them be one for that too: `sekisho devices merge {own} {other}`; if they are not one: \
         `sekisho devices split {}`",
        one.number,
        label::plain(&one.dhcp_client_id),
        label::plain(&info.device.mac),
    ))
}

/// That some are one by evidence; empty if none is.
pub fn one_hint(devices: &[DeviceInfo]) -> String {
    let mut one = devices.iter().filter(|info| info.one_by_evidence.is_some());
    let Some(first) = one.next() else { return String::new() };
    format!(
        "{} with several addresses by evidence alone, each of which is held, spared and judged by itself: `sekisho devices show {}` \
         tells more.\n",
        label::count(one.count() as u64 + 1, "of them is one device", "of them are devices"),
        first.device.id
    )
}

/// That some are perhaps the same, with the numbers of a few; empty if there are none.
pub fn perhaps_hint(devices: &[DeviceInfo]) -> String {
    const SHOWN: usize = 4;
    let alike = devices.iter().filter(|info| !info.perhaps_same.is_empty());
    let ids: BTreeSet<u64> = alike.map(|info| info.device.id).collect();
    let Some(first) = ids.first() else { return String::new() };
    let mut shown: Vec<String> = ids.iter().take(SHOWN).map(u64::to_string).collect();
    shown.extend((ids.len() > SHOWN).then(|| "...".to_owned()));
    format!(
        "{} are perhaps one with another ({}): `sekisho devices show {first}` tells why.\n",
        label::count(ids.len() as u64, "device", "devices"),
        shown.join(", ")
    )
}
