//! What must be known again after a restart besides the block list: who was restricted before, which detectors are on
//! review, what waits for a person, which change windows were announced, which addresses are one device by evidence, and which numbers were given. Numbers that a person is told go on, for an order by number
//! must never hit another incident.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::addr::Mac;
use crate::detect::Finding;
use crate::identify::client::ClientId;
use crate::identify::group::Shared;
use crate::inventory::DeviceKey;
use crate::inventory::cards::DeviceId;
use crate::time::Time;

use super::repeat::Past;
use super::review::{Review, ReviewId};
use super::window::{Window, WindowId};
use super::{BlockId, Level};

/// Numbers that go on.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub enum Counter {
    /// Of incidents.
    Incidents,
    /// Of reviews.
    Reviews,
    /// Of change windows.
    Windows,
    /// Of devices.
    Devices,
}

impl Counter {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Incidents, Self::Reviews, Self::Windows, Self::Devices];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incidents => "incidents",
            Self::Reviews => "reviews",
            Self::Windows => "windows",
            Self::Devices => "devices",
        }
    }
}

/// What was known of a device, as far as it takes to restrict it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Known {
    /// Its number.
    pub id: DeviceId,
    /// Its MAC address, or its gateway's.
    pub mac: Mac,
    /// Its IP addresses that were its own alone.
    pub ips: Vec<IpAddr>,
    /// Those of them that it named as its own on the link.
    pub claimed: Vec<IpAddr>,
}

/// Why what was asked for was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub enum Refused {
    /// A person denied it.
    Denied,
    /// Nobody approved it in time.
    NotApproved,
}

impl Refused {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Denied, Self::NotApproved];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NotApproved => "not_approved",
        }
    }
}

/// A restriction that a person was asked for.
#[derive(Clone, PartialEq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Asked {
    /// The incident.
    pub incident: u64,
    /// What it is for.
    pub finding: Finding,
    /// Its device, as it was known.
    pub known: Known,
    /// What was asked for.
    pub level: Level,
    /// Until when somebody may say; once it is refused, until when that is remembered.
    pub until: Time,
    /// What holds the device meanwhile, if anything.
    pub meanwhile: Option<BlockId>,
    /// Why it is not done; none: it waits.
    pub refused: Option<Refused>,
}

/// One thing to remember.
#[derive(Clone, PartialEq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub enum Memory {
    /// A detector is on review.
    Review(Review),
    /// A restriction waits for a person, or was refused.
    Asked(Box<Asked>),
    /// A device was restricted.
    Past(DeviceKey, Past),
    /// A change window was announced.
    Window(Window),
    /// Numbers up to this may have been given.
    Last(Counter, u64),
    /// A fire drill went well.
    Drilled(Time),
    /// Several devices share an identifier, and are one by that, or surely are not.
    Shared(Box<Shared>),
}

/// What a thing to remember is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MemoryKey {
    /// A review.
    Review(ReviewId),
    /// What was asked for in an incident.
    Asked(u64),
    /// What was done about a device before.
    Past(DeviceKey),
    /// A change window.
    Window(WindowId),
    /// The last number.
    Last(Counter),
    /// The last fire drill that went well.
    Drilled,
    /// An identifier that several devices share.
    Shared(ClientId),
}

impl Memory {
    /// What it is about.
    pub fn key(&self) -> MemoryKey {
        match self {
            Self::Review(review) => MemoryKey::Review(review.id),
            Self::Asked(asked) => MemoryKey::Asked(asked.incident),
            Self::Past(device, _) => MemoryKey::Past(*device),
            Self::Window(window) => MemoryKey::Window(window.id),
            Self::Last(counter, _) => MemoryKey::Last(*counter),
            Self::Drilled(_) => MemoryKey::Drilled,
            Self::Shared(shared) => MemoryKey::Shared(shared.id.clone()),
        }
    }
}
