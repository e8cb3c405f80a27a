//! The kinds of devices that are told apart, and what is said of one.

use serde::{Serialize, Serializer};

/// A kind of device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A medical imaging modality: CT, MRI, ultrasound.
    Modality,
    /// An image archive (PACS), or another server of DICOM.
    Pacs,
    /// An interface engine or server that speaks HL7.
    Hl7,
    /// An infusion pump, or the gateway of several.
    InfusionPump,
    /// A patient monitor, or its gateway or central station.
    PatientMonitor,
    /// A printer, or a scanner.
    Printer,
    /// A telephone, or its exchange.
    Phone,
    /// A camera.
    Camera,
    /// An industrial controller.
    Plc,
    /// Building automation.
    Building,
    /// A file server (NAS).
    Nas,
    /// A domain controller.
    DomainController,
    /// A host of virtual machines.
    Hypervisor,
    /// Another server.
    Server,
    /// A PC.
    Pc,
    /// A smartphone or tablet.
    Mobile,
    /// A router or firewall.
    Router,
    /// A switch.
    Switch,
    /// A wireless access point.
    AccessPoint,
    /// A smart device: plug, sensor, lamp, scale, appliance, or a hub of such.
    Smart,
    /// For entertainment: a games console, television, loudspeaker.
    Media,
}

impl Kind {
    /// All of them, in the order of their definition.
    pub const ALL: [Self; 21] = [
        Self::Modality,
        Self::Pacs,
        Self::Hl7,
        Self::InfusionPump,
        Self::PatientMonitor,
        Self::Printer,
        Self::Phone,
        Self::Camera,
        Self::Plc,
        Self::Building,
        Self::Nas,
        Self::DomainController,
        Self::Hypervisor,
        Self::Server,
        Self::Pc,
        Self::Mobile,
        Self::Router,
        Self::Switch,
        Self::AccessPoint,
        Self::Smart,
        Self::Media,
    ];

    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Modality => "modality",
            Self::Pacs => "pacs",
            Self::Hl7 => "hl7",
            Self::InfusionPump => "infusion_pump",
            Self::PatientMonitor => "patient_monitor",
            Self::Printer => "printer",
            Self::Phone => "phone",
            Self::Camera => "camera",
            Self::Plc => "plc",
            Self::Building => "building_automation",
            Self::Nas => "nas",
            Self::DomainController => "domain_controller",
            Self::Hypervisor => "hypervisor",
            Self::Server => "server",
            Self::Pc => "pc",
            Self::Mobile => "mobile",
            Self::Router => "router",
            Self::Switch => "switch",
            Self::AccessPoint => "access_point",
            Self::Smart => "smart_device",
            Self::Media => "media",
        }
    }

    /// The kind of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What kind a device is taken for.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Label {
    /// The kind.
    pub kind: Kind,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
    /// Why, in words, the weightiest first.
    pub reasons: Vec<String>,
}
