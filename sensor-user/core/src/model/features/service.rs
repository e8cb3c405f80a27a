//! Services by port, in the groups that tell devices apart.

use crate::flow::{TCP, UDP};
use crate::observation::{FlowId, Kind};

/// A group of services.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Service {
    /// DICOM (PS3.8 9.1.1: 104, 11112; 2761 and 2762 with security) and HL7 (2575; 6661 is usual).
    Medical,
    /// HTTP.
    Web,
    /// Names, addresses, time and directories.
    Infrastructure,
    /// SMB and Microsoft RPC.
    Files,
    /// Shells and screens of other machines.
    Administration,
    /// Databases.
    Database,
    /// Printers.
    Printing,
    /// Mail.
    Mail,
    /// Any other system port (RFC 6335: below 1024).
    OtherLow,
    /// All the rest.
    High,
}

impl Service {
    /// The service a flow asks for; none if its protocol has no ports. (Port numbers by the IANA registry, where nothing
    /// else is said.)
    pub fn of(id: &FlowId) -> Option<Self> {
        if id.kind != Kind::Ip || !matches!(id.proto, TCP | UDP) {
            return None;
        }
        Some(match id.dport {
            104 | 2575 | 2761 | 2762 | 6661 | 11112 => Service::Medical,
            80 | 443 | 8080 | 8443 => Service::Web,
            53 | 67 | 68 | 88 | 123 | 389 | 464 | 546 | 547 | 636 => Service::Infrastructure,
            135 | 137..=139 | 445 => Service::Files,
            22 | 23 | 3389 | 5900 | 5985 | 5986 => Service::Administration,
            1433 | 1521 | 3306 | 5432 | 6379 | 27017 => Service::Database,
            515 | 631 | 9100 => Service::Printing,
            25 | 110 | 143 | 465 | 587 | 993 | 995 => Service::Mail,
            ..1024 => Service::OtherLow,
            _ => Service::High,
        })
    }
}
