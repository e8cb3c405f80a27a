//! Detectors that a person found wrong: who they only alert about, until somebody reviewed them.

use std::fmt;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::{Serialize, Serializer};

use super::{Name, Target};
use crate::time::Time;

/// Number of a review.
pub type ReviewId = u32;

/// Most reviews at a time.
pub const MAX_REVIEWS: usize = 1_024;

/// About whom a detector is on review.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub enum Scope {
    /// All devices of a class.
    Class(Name),
    /// One device of no class, by its MAC address; behind a gateway by its IP address.
    Device(Target),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(name) => write!(f, "class {name}"),
            Self::Device(target) => write!(f, "device {target}"),
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A detector on review.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Review {
    /// Its number.
    pub id: ReviewId,
    /// The detector.
    pub detector: String,
    /// About whom.
    pub scope: Scope,
    /// The incident that was judged false.
    pub incident: u64,
    /// Since when.
    pub since: Time,
    /// The account that judged.
    pub by: String,
}
