//! How much a rule restricts, and which way.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use sensor_ebpf::rule::{
    FLAG_BOTH, FLAG_FROM, FLAG_TO, LEVEL_CUT, LEVEL_EXTERNAL_ONLY, LEVEL_ISOLATE, LEVEL_PIN,
    LEVEL_QUARANTINE, LEVEL_THROTTLE,
};
use serde::Serialize;

/// How much is restricted, in rising order.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Default,
    Serialize,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing: it is counted what `isolate` would drop.
    Observe,
    /// So many new destinations and so many bytes a second.
    Throttle,
    /// Nothing to or from addresses outside the internal networks.
    ExternalOnly,
    /// Only what it did before, with whom it did it.
    Pin,
    /// Only what an allow list names.
    Quarantine,
    /// Nothing from it, nothing to it.
    #[default]
    Isolate,
    /// A port, VLAN or segment goes dark: link control is dropped too.
    Cut,
}

impl Level {
    /// All of them, in rising order.
    pub const ALL: [Self; 7] = [
        Self::Observe,
        Self::Throttle,
        Self::ExternalOnly,
        Self::Pin,
        Self::Quarantine,
        Self::Isolate,
        Self::Cut,
    ];

    /// The level's name.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Observe => "observe",
            Level::Throttle => "throttle",
            Level::ExternalOnly => "external-only",
            Level::Pin => "pin",
            Level::Quarantine => "quarantine",
            Level::Isolate => "isolate",
            Level::Cut => "cut",
        }
    }

    /// The level of an enforced rule of the kernel, by its number there.
    pub fn of_rule(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|level| *level != Self::Observe && level.number() == number)
    }

    /// The kernel's number of it. What is only observed is judged as isolated.
    pub(crate) fn number(self) -> u8 {
        match self {
            Level::Throttle => LEVEL_THROTTLE,
            Level::ExternalOnly => LEVEL_EXTERNAL_ONLY,
            Level::Pin => LEVEL_PIN,
            Level::Quarantine => LEVEL_QUARANTINE,
            Level::Observe | Level::Isolate => LEVEL_ISOLATE,
            Level::Cut => LEVEL_CUT,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|level| level.name() == s);
        found.ok_or_else(|| format!("`{s}` is no level; those are {}", Self::ALL.map(Level::name).join(", ")))
    }
}

/// Which frames a rule is about, as seen from its target.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, BorshSerialize, BorshDeserialize, BorshSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Those it sends.
    From,
    /// Those sent to it.
    To,
    /// All.
    #[default]
    Both,
}

impl Direction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::From, Self::To, Self::Both];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::From => "from",
            Direction::To => "to",
            Direction::Both => "both",
        }
    }

    /// The direction of a rule of the kernel, by its flags there.
    pub fn of_rule(flags: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| direction.flags() == flags & FLAG_BOTH)
    }

    /// The kernel's flags of it.
    pub(crate) fn flags(self) -> u8 {
        match self {
            Direction::From => FLAG_FROM,
            Direction::To => FLAG_TO,
            Direction::Both => FLAG_BOTH,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|direction| direction.name() == s);
        found.ok_or_else(|| format!("`{s}` is no direction; those are from, to and both"))
    }
}
