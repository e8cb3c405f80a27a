//! What is told: one thing that happened, with all that a person must know of it, in no language yet.
//!
//! A notice stands by itself: it is kept on the disk until it is told, and nobody need be asked about it then. What goes
//! into it from the network is bounded here.

use sensor_core::time::Time;
use serde::{Deserialize, Serialize};

use crate::error::Trouble;
use crate::place::Place;

/// The gravest.
pub const HIGH: u8 = 1;
/// In between.
pub const MEDIUM: u8 = 2;
/// The mildest.
pub const LOW: u8 = 3;

/// Most characters of a text that comes from elsewhere.
const MAX_TEXT: usize = 200;

/// Kind of what happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A detector called a device.
    Alert,
    /// A device is restricted, or not any more.
    Isolation,
    /// A restriction waits for a person, or that is over.
    Approval,
    /// A person judged an incident.
    Judgement,
    /// A device is there for the first time.
    Device,
    /// Too little is seen, or enough again.
    Blind,
    /// The bypass was switched.
    Bypass,
    /// A channel of notices fails, or works again.
    Channel,
    /// A person tries a channel.
    Test,
}

impl Kind {
    /// All kinds that a rule can name.
    pub const RULED: [Self; 7] = [
        Self::Alert,
        Self::Isolation,
        Self::Approval,
        Self::Judgement,
        Self::Device,
        Self::Blind,
        Self::Bypass,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Isolation => "isolation",
            Self::Approval => "approval",
            Self::Judgement => "judgement",
            Self::Device => "device",
            Self::Blind => "blind",
            Self::Bypass => "bypass",
            Self::Channel => "channel",
            Self::Test => "test",
        }
    }
}

/// A device, by all that helps to find it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Its MAC address.
    pub mac: String,
    /// Its IP addresses.
    pub ips: Vec<String>,
    /// How many more it has.
    #[serde(default)]
    pub more_ips: usize,
    /// Its maker.
    pub maker: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its class.
    pub class: Option<String>,
}

impl Device {
    /// What people call it, with an address to find it by.
    pub fn title(&self) -> String {
        let name = match (&self.name, &self.maker) {
            (Some(name), _) => name.clone(),
            (None, Some(maker)) => format!("{maker} {}", self.mac),
            (None, None) => self.mac.clone(),
        };
        match self.ips.first() {
            Some(ip) => format!("{name} ({ip})"),
            None if self.name.is_some() => format!("{name} ({})", self.mac),
            None => name,
        }
    }
}

/// What is lifted or put on by an entry of the block list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub id: u32,
    /// What happened to it, as events name it.
    pub change: Step,
    /// What it is about.
    pub targets: Vec<String>,
    /// The level, by its name.
    pub level: String,
    /// `from`, `to` or `both`.
    pub direction: String,
    /// Until when, ns since 1970; none: until somebody takes it out.
    pub until_ns: Option<i64>,
    /// Observe mode: nothing is dropped.
    pub would: bool,
    /// Why.
    pub reason: String,
    /// From the first piece of evidence to the drop, ns.
    pub latency_ns: Option<u64>,
}

/// What happened to an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Entered.
    Added,
    /// Lasts longer.
    Extended,
    /// Other level, direction or addresses.
    Changed,
    /// Taken out by a person.
    Released,
    /// Its time was up.
    Expired,
}

/// What a restriction takes from a device and its peers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Impact {
    /// Devices and hosts that lose a service, or that it loses.
    pub peers: u64,
    /// Services that are lost.
    pub services: u64,
    /// Conversations that go on right now, and are cut.
    pub conversations: u64,
    /// The first services.
    pub lost: Vec<Lost>,
}

/// A service that is lost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lost {
    /// The device asks; else it answers.
    pub uses: bool,
    /// The service, as `tcp/104`.
    pub service: String,
    /// The peer, by its name if it has one.
    pub peer: String,
    /// It must go on: the peer is protected, or a life depends on it.
    pub vital: bool,
}

/// What happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum What {
    /// A detector called a device.
    Alert {
        /// Its name.
        detector: String,
        /// What it saw.
        signature: String,
        /// The numbers.
        evidence: Vec<(String, String)>,
        /// All there is against the device, nats.
        nats: f64,
        /// What was done, as events name it.
        action: String,
        /// What is lost by that; none if it is nothing, or not known.
        #[serde(default)]
        impact: Option<Impact>,
    },
    /// An entry of the block list changed.
    Isolation(Entry),
    /// A restriction waits for a person, or that is over.
    Approval {
        /// What became of it, as events name it.
        step: String,
        /// The level that was asked for.
        level: String,
        /// Until when somebody may say, ns since 1970.
        until_ns: i64,
        /// Whether it is done if nobody does.
        acts: bool,
        /// Who said.
        by: Option<String>,
    },
    /// A person judged.
    Judgement {
        /// Whether the incident is a true one; none: a detector counts again.
        right: Option<bool>,
        /// Who said.
        by: String,
    },
    /// A device is there for the first time.
    Device {
        /// Whether it is taken for a gateway.
        gateway: bool,
    },
    /// Too little is seen, or enough again.
    Blind {
        /// Whether that is over.
        over: bool,
        /// Why, as metrics name it.
        causes: Vec<String>,
        /// Frames lost so far.
        frames_lost: u64,
        /// Records of new flows lost so far.
        records_lost: u64,
    },
    /// The bypass was switched.
    Bypass {
        /// Everything passes now.
        on: bool,
        /// Who did it.
        by: String,
    },
    /// A channel fails, or works again.
    Channel {
        /// Its name.
        name: String,
        /// Why it fails; none: it works again.
        error: Option<String>,
        /// What kind of trouble that is; none if it works again, or nobody knows.
        #[serde(default)]
        trouble: Option<Trouble>,
    },
    /// A person tries a channel.
    Test {
        /// The account.
        by: String,
    },
}

/// One thing to be told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// A number that no other notice has, also after a restart, and that grows.
    pub id: u64,
    /// When it happened, ns since 1970.
    pub unix_ns: i64,
    /// 1 (high) to 3 (low).
    pub severity: u8,
    /// The device it is about.
    pub device: Option<Device>,
    /// Where that is.
    pub place: Option<Place>,
    /// The incident behind it.
    pub incident: Option<u64>,
    /// What happened.
    pub what: What,
}

impl Notice {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self.what {
            What::Alert { .. } => Kind::Alert,
            What::Isolation(_) => Kind::Isolation,
            What::Approval { .. } => Kind::Approval,
            What::Judgement { .. } => Kind::Judgement,
            What::Device { .. } => Kind::Device,
            What::Blind { .. } => Kind::Blind,
            What::Bypass { .. } => Kind::Bypass,
            What::Channel { .. } => Kind::Channel,
            What::Test { .. } => Kind::Test,
        }
    }

    /// The name of the segment it happened in.
    pub fn segment(&self) -> Option<&str> {
        self.place.as_ref()?.segment.as_deref()
    }
}

/// A moment of the engine, ns since 1970. `offset_ns` is what the date is ahead of the engine's clock.
pub fn unix_ns(time: Time, offset_ns: i64) -> i64 {
    let ns = i128::from(time.signed()) + i128::from(offset_ns);
    ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// The text without what a terminal or a header would obey, shortened.
pub fn plain(text: &str) -> String {
    let short = text.chars().take(MAX_TEXT);
    short.map(|c| if c.is_control() { ' ' } else { c }).collect()
}
