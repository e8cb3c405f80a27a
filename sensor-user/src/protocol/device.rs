//! What is said of devices over the control socket.

use sensor_core::identify::Label;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Stamp;

/// What is to be said of a device. What is left away stays as it is; an empty text takes the entry away.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEdit {
    /// The device: its number, its name, a MAC or IP address. A MAC address need not have been heard.
    pub device: String,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its class, one of the configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// How much depends on it: `life-critical`, `server` or `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criticality: Option<String>,
    /// Whether it may be here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<bool>,
}

/// Two that are one device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceMerge {
    /// The one whose number and entries go on.
    pub into: String,
    /// The other one.
    pub device: String,
}

/// Two that are not one device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceDistinct {
    /// One.
    pub device: String,
    /// The other one.
    pub other: String,
}

/// Two that are one device now, or one that is two.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Regrouped {
    /// Who changed.
    pub devices: Vec<DeviceName>,
    /// What a person must know besides: who is cut off too now, or still; who is not, and why.
    pub remarks: Vec<String>,
}

/// A fire drill is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillDone {
    /// All stages went well.
    pub good: bool,
}

/// What people say of a device.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CardInfo {
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How much depends on it, besides what its class says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criticality: Option<String>,
    /// Whether it may be here.
    #[serde(default)]
    pub approved: bool,
    /// The addresses that are one device by word of a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
}

/// Evidence that a device is the same as another one. Only a person says that it is, by [`DeviceMerge`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PerhapsInfo {
    /// The other one.
    pub device: DeviceName,
    /// The DHCP client identifier under which both ask, in hexadecimal digits.
    pub dhcp_client_id: String,
    /// Why they are not counted as one by that, if they were found to be two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
}

/// That several are counted as one device, by evidence alone. Each is held, spared and judged by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OneInfo {
    /// The number by which they are counted: that of the one known first.
    pub number: u64,
    /// The others.
    pub with: Vec<DeviceName>,
    /// The DHCP client identifier under which all of them ask, in hexadecimal digits.
    pub dhcp_client_id: String,
}

/// A device, as it is named.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceName {
    /// Its number, which it keeps; several addresses that are one device have the same.
    #[serde(default)]
    pub id: u64,
    /// Its MAC address.
    pub mac: String,
    /// Its IP addresses.
    pub ips: Vec<String>,
    /// Its maker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<String>,
    /// The name people gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// The kind a device is taken for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KindInfo {
    /// Its name.
    pub name: String,
    /// How sure that is, 0 to 1.
    pub confidence: Value,
    /// Why, the weightiest first.
    pub reasons: Vec<String>,
}

impl KindInfo {
    /// As a label says; the confidence to a hundredth, which is more than it is good for.
    pub fn of(label: &Label) -> Self {
        let confidence = (label.confidence * 100.0).round() / 100.0;
        Self {
            name: label.kind.name().to_owned(),
            confidence: confidence.into(),
            reasons: label.reasons.clone(),
        }
    }
}

/// A switch, by its own word.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SwitchInfo {
    /// Its name.
    pub name: Option<String>,
    /// The port of it that leads to the bridge.
    pub port: Option<String>,
    /// What it is.
    pub platform: Option<String>,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// How it is named.
    #[serde(flatten)]
    pub device: DeviceName,
    /// Addresses beyond those listed.
    pub more_ips: u64,
    /// What people say of it.
    #[serde(flatten)]
    pub card: CardInfo,
    /// First seen; none if it never was.
    pub first_seen: Option<Stamp>,
    /// Last seen; none if it was not since it was entered.
    pub last_seen: Option<Stamp>,
    /// The bridge port it was last seen on, if that is still there.
    pub port: Option<String>,
    /// VLAN it was last seen on, 0 if untagged.
    pub vlan: u16,
    /// The segment it lives in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// The switch by which it is reached, if that was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<SwitchInfo>,
    /// What kind of device it is taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<KindInfo>,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// With whom it is counted as one device, by evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_by_evidence: Option<OneInfo>,
    /// Other devices that are perhaps the same one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub perhaps_same: Vec<PerhapsInfo>,
    /// Whether it is taken for a gateway.
    pub gateway: bool,
    /// Whether it is on the protected list.
    pub protected: bool,
    /// The block entry that holds it.
    pub block: Option<u32>,
    /// Distinct destinations in the fan-out window.
    pub destinations: u32,
    /// What is usual for it, if learned.
    pub usual_destinations: Option<u32>,
}
