//! What the evidence against a device earned, what was allowed, and why less than that.

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::class::Criticality;
use super::preview::Preview;
use super::review::ReviewId;
use super::window::WindowId;
use super::{Level, Name};

/// What lowered a level.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Cause {
    /// `decide.highest` of the configuration.
    Highest,
    /// The device's class allows no more.
    Class {
        /// Which.
        class: Name,
    },
    /// A person said how much depends on the device.
    Criticality {
        /// How much.
        criticality: Criticality,
    },
    /// Conversations with devices that must go on would be cut.
    Service {
        /// The first of these devices, as people know them.
        peers: Vec<String>,
    },
    /// The kernel's table of what pinned devices may do has no room.
    Room,
    /// A person judged the detector wrong about such devices.
    Review {
        /// The number of the review.
        review: ReviewId,
    },
    /// A change was announced for this time.
    Window {
        /// The number of the window.
        window: WindowId,
    },
    /// Too many restrictions wait for a person.
    Waiting,
}

/// One step down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Lowered {
    /// The level that was left; none: it is told only.
    #[serde(serialize_with = "named")]
    pub to: Option<Level>,
    /// Why.
    #[serde(flatten)]
    pub why: Cause,
}

/// How far a decision went.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Ruling {
    /// The level the evidence earned.
    pub earned: Level,
    /// What lowered it, one step after another.
    pub lowered: Vec<Lowered>,
    /// What is lost by it; none if nothing is done.
    pub impact: Option<Preview>,
}

impl Ruling {
    /// What was earned, and nothing lowers it yet.
    pub fn new(earned: Level) -> Self {
        Self { earned, lowered: Vec::new(), impact: None }
    }

    /// The level that is allowed; none: it is told only.
    pub fn allowed(&self) -> Option<Level> {
        self.lowered.last().map_or(Some(self.earned), |step| step.to)
    }

    /// Allows no more than `highest`; tells why only if that changes anything.
    pub(crate) fn lower(&mut self, highest: Option<Level>, why: Cause) {
        if self.allowed() > highest {
            self.lowered.push(Lowered { to: highest, why });
        }
    }
}

/// The name of a level that is allowed; none: `alert`.
pub fn name(level: Option<Level>) -> &'static str {
    level.map_or("alert", Level::name)
}

fn named<S: Serializer>(level: &Option<Level>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name(*level))
}

impl Serialize for Ruling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Ruling", 4)?;
        object.serialize_field("earned", &self.earned)?;
        object.serialize_field("allowed", name(self.allowed()))?;
        object.serialize_field("lowered", &self.lowered)?;
        object.serialize_field("impact", &self.impact)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lowers_is_told_and_nothing_raises() {
        let mut ruling = Ruling::new(Level::Pin);
        ruling.lower(Some(Level::Isolate), Cause::Highest);
        assert_eq!((ruling.allowed(), ruling.lowered.len()), (Some(Level::Pin), 0));
        ruling.lower(Some(Level::Throttle), Cause::Room);
        ruling.lower(Some(Level::Pin), Cause::Highest);
        assert_eq!((ruling.allowed(), ruling.lowered.len()), (Some(Level::Throttle), 1));
        ruling.lower(None, Cause::Highest);
        ruling.lower(None, Cause::Room);
        assert_eq!((ruling.allowed(), ruling.lowered.len()), (None, 2));
    }
}
