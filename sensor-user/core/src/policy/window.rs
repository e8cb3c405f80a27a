//! Announced change windows: for a time that was announced, findings are told and nothing is restricted by itself.
//!
//! A renumbering, a new server or a vulnerability scan look like an attack. Where one is announced, detection goes on and
//! tells all it finds; automatic restrictions are not put on, raised or made longer. What is in force stays in force, and what
//! a person enters is enforced. A window has an end, and cannot be longer than [`LONGEST`]; when it is over, what
//! it spared is not made up for, and what goes on is found anew.

use std::fmt;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::{Serialize, Serializer};

use super::{Name, Target};
use crate::time::{HOUR, Time};

/// Number of a window.
pub type WindowId = u32;

/// Most windows at a time, open or to come.
pub const MAX_WINDOWS: usize = 64;
/// The longest window, ns.
pub const LONGEST: u64 = 72 * HOUR;
/// The longest time from its announcement to its beginning, ns.
pub const AHEAD: u64 = 30 * 24 * HOUR;

/// For whom a window is.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub enum Cover {
    /// All devices.
    Everybody,
    /// All devices of a segment.
    Segment(Name),
    /// One device: how it was called, and its addresses when the window was announced.
    Device(String, Vec<Target>),
}

impl fmt::Display for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::Segment(name) => write!(f, "segment {name}"),
            Self::Device(called, _) => write!(f, "device {called}"),
        }
    }
}

impl Serialize for Cover {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An announced change window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Window {
    /// Its number.
    pub id: WindowId,
    /// For whom.
    pub cover: Cover,
    /// From when on.
    pub from: Time,
    /// Until when.
    pub until: Time,
    /// Why.
    pub reason: String,
    /// When it was announced.
    pub since: Time,
    /// The account that announced it.
    pub by: String,
}

impl Window {
    /// Whether it is open.
    pub fn is_open(&self, now: Time) -> bool {
        self.from <= now && now < self.until
    }
}
