//! What is said of devices over the control socket.

use serde::{Deserialize, Serialize};

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
    pub devices: Vec<super::DeviceName>,
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
    pub device: super::DeviceName,
    /// The DHCP client identifier under which both ask, in hexadecimal digits.
    pub dhcp_client_id: String,
}
