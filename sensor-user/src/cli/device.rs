//! What a device is taken for, and where it is, in words.

use crate::label;
use crate::protocol::DeviceInfo;

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
