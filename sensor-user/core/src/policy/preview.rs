//! What a restriction takes from a device and its peers: the services that are lost.

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::{Level, Service};

/// Most lost services that are listed; all are counted.
pub const MAX_LISTED: usize = 16;
/// Most devices named that must not lose a service.
pub const MAX_NAMED: usize = 8;

/// Whether the device asks or answers.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Serialize,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// It uses the peer's service.
    Uses,
    /// It offers the service to the peer.
    Serves,
}

/// A service that is lost.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Loss {
    /// Whether the device asks or answers.
    pub part: Part,
    /// The service, and the peer.
    pub service: Service,
    /// The name people know the peer by.
    pub name: Option<String>,
    /// A conversation goes on right now.
    pub live: bool,
    /// The peer is protected, or a life depends on it.
    pub vital: bool,
}

/// What is lost by a restriction, by what is known of the device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Preview {
    /// The restriction.
    pub level: Level,
    /// Devices and hosts that lose a service, or that it loses.
    pub peers: u64,
    /// Services used or served so far, in all that are lost.
    pub services: u64,
    /// Conversations that go on right now, and are cut.
    pub conversations: u64,
    /// The first services: those of vital peers first, then those in use.
    pub lost: Vec<Loss>,
    /// The first vital peers whose conversations are cut, as people know them.
    pub vital: Vec<String>,
}

impl Serialize for Loss {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Loss", 6)?;
        object.serialize_field("part", &self.part)?;
        object.serialize_field("service", &Service { peer: None, ..self.service }.to_string())?;
        object.serialize_field("peer", &self.service.peer)?;
        object.serialize_field("name", &self.name)?;
        object.serialize_field("live", &self.live)?;
        object.serialize_field("vital", &self.vital)?;
        object.end()
    }
}
