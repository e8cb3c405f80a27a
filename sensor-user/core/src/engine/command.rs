//! Orders of an operator: block, and take back.

use std::fmt;
use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::addr::Mac;
use crate::event::{Action, Change, DeviceRef, Said, Verdict};
use crate::inventory::cards::{Card, CardError, DeviceId, Edit};
use crate::inventory::{self, Device, DeviceKey};
use crate::policy::preview::Preview;
use crate::policy::review::{MAX_REVIEWS, Review, ReviewId};
use crate::policy::window::{MAX_WINDOWS, Window, WindowId};
use crate::policy::{Block, BlockId, BlockName, Level, MAX_TARGETS, Name, Target};
use crate::time::{MINUTE, Time};

use super::{Add, Announce, Engine, Input, MAX_EDITS, Output, Remark};

/// A fire drill lasts so long at most, ns.
const DRILL: u64 = 10 * MINUTE;

/// Mistakes of a list of devices that are told at once.
const MAX_MISTAKES: usize = 20;

/// An operator's order.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Command {
    /// Block somebody.
    Add(Add),
    /// Take an entry out.
    Remove(Which),
    /// Do what waits for approval in this incident, or do not; the account that says so.
    Approve(u64, bool, String),
    /// This incident is true, false, or grave.
    Judge(Judge),
    /// A detector was reviewed, and counts again; the account that says so.
    Review(ReviewId, String),
    /// Announce a change window.
    Announce(Announce),
    /// End a change window; the account that says so.
    EndWindow(WindowId, String),
    /// Say this of these devices, by number, name or address, all or none; the account that says so.
    Describe(Vec<(String, Edit)>, String),
    /// These two are one device; the account that says so.
    Merge(String, String, String),
    /// These two are not one device, whatever speaks for it; the account that says so.
    Distinct(String, String, String),
    /// This address is a device of its own; the account that says so.
    Split(String, String),
    /// Forget this device; the account that says so.
    ForgetDevice(String, String),
    /// A fire drill begins, and the device of this MAC address is a made-up one; none: it is over.
    Drill(Option<Mac>),
}

/// What a person says of an incident.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Judge {
    /// Its number.
    pub incident: u64,
    /// What it was, and who says so.
    pub said: Said,
    /// What is known of it, if it is one of an earlier run.
    pub former: Option<Former>,
}

/// An incident of an earlier run.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Former {
    /// The MAC address of its device; that of its router if it lived behind one.
    pub mac: Option<Mac>,
    /// The IP addresses it had.
    pub ips: Vec<IpAddr>,
    /// The detectors that found it.
    pub detectors: Vec<String>,
}

/// Whom an order is about.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Who {
    /// This, and nothing else.
    Target(Target),
    /// A device with all its addresses: its name in the configuration, or a MAC or IP address it has.
    Device(String),
}

/// Which entry an order is about.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Which {
    /// That number.
    Id(BlockId),
    /// The one that holds this.
    Held(Who),
}

/// Whom an entry hits, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Impact {
    /// Devices.
    pub devices: u64,
    /// Conversations of theirs that go on.
    pub conversations: u64,
}

/// What a command brought about.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// The entry, new or extended.
    Added {
        /// The entry as it is now.
        block: Block,
        /// Whether it was there before.
        extended: bool,
        /// The device, if known.
        device: Option<DeviceRef>,
        /// Whom it hits.
        impact: Impact,
        /// Which services are lost by it.
        lost: Box<Preview>,
        /// Who among them is protected, and goes on.
        spared: Vec<String>,
        /// Who is counted as one with them by evidence, and goes on.
        beside: Vec<DeviceRef>,
        /// It is entered; else that was only looked at.
        entered: bool,
    },
    /// The entry is gone.
    Removed(Block),
    /// What waited was approved.
    Approved {
        /// The incident.
        incident: u64,
        /// What was asked for.
        level: Level,
        /// What was done, or why nothing.
        action: Action,
    },
    /// What waited was denied.
    Denied {
        /// The incident.
        incident: u64,
        /// What was asked for.
        level: Level,
    },
    /// An incident was judged.
    Judged {
        /// The incident.
        incident: u64,
        /// What it was.
        verdict: Verdict,
        /// The reviews that began with it if it is false, or ended if it is true.
        reviews: Vec<Review>,
    },
    /// A review is over.
    Reviewed(Review),
    /// A change window is announced.
    Announced(Window),
    /// A change window is over, or called off.
    WindowEnded(Window),
    /// Of these devices something else is said now, or they are forgotten.
    Described(Vec<DeviceRef>),
    /// These are one device now, or two.
    Regrouped {
        /// Who.
        devices: Vec<DeviceRef>,
        /// What a person must know besides.
        remarks: Vec<Remark>,
    },
}

/// What is wrong with a list of devices, up to some number.
#[derive(Clone, PartialEq, Eq, Debug, Default, thiserror::Error)]
pub struct Mistakes {
    /// In the order of the list.
    pub told: Vec<Mistake>,
    /// So many besides.
    pub more: usize,
}

/// One thing that is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// The place in the list, from 0.
    pub at: usize,
    /// The entry, or `device` if it is about which one that is; none if it is about no entry.
    pub field: Option<&'static str>,
    /// What is wrong.
    pub error: CommandError,
}

impl Mistakes {
    pub(super) fn add(&mut self, at: usize, field: Option<&'static str>, error: CommandError) {
        if self.told.len() < MAX_MISTAKES {
            self.told.push(Mistake { at, field, error });
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.told.iter().enumerate() {
            let between = if index > 0 { "; " } else { "" };
            write!(f, "{between}{}", mistake.error)?;
        }
        if self.more > 0 { write!(f, "; and {} more", self.more) } else { Ok(()) }
    }
}

/// Why a command was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing to block was named.
    #[error("no address to block was given; give an IP address or a MAC address")]
    Nothing,
    /// The target is protected.
    #[error("{0} is on the protected list; take it off the list in the configuration first")]
    Protected(Target),
    /// The target is a gateway.
    #[error(
        "{0} is a gateway: it carries the traffic of many devices; block the device's own IP address instead \
         (--force if it was taken for a gateway by mistake and is not named as one in the configuration)"
    )]
    Gateway(Target),
    /// Somebody in the target is protected, or a gateway.
    #[error(
        "in {target} there is {who}; with --force it is done all the same: what is protected goes on, a gateway does not"
    )]
    Contains {
        /// The target.
        target: Target,
        /// Who.
        who: String,
    },
    /// Nobody's address.
    #[error("{0} is a broadcast, multicast or empty address and belongs to no device")]
    Nobody(Target),
    /// No such device.
    #[error(
        "no device is known as {0}; `sekisho devices` shows those there are, and --mac or --ip block an address that \
         was never seen"
    )]
    UnknownDevice(String),
    /// No such port, segment or allow list.
    #[error("there is no {what} {name}; known: {known}")]
    Unknown {
        /// What.
        what: &'static str,
        /// Its name.
        name: Name,
        /// Those there are.
        known: String,
    },
    /// That level is not for that target.
    #[error("{target} cannot be put under {level}: {why}")]
    Level {
        /// The target.
        target: Target,
        /// The level.
        level: Level,
        /// Why, and what to do.
        why: &'static str,
    },
    /// A VLAN has no sides.
    #[error("{0}: a frame is in one VLAN at both its ends, so a direction says nothing; leave it away")]
    Direction(Target),
    /// An allow list says nothing at other levels.
    #[error("an allow list is for the level quarantine; the level is {0}")]
    List(Level),
    /// No such entry.
    #[error("there is no block entry for {0}; `sekisho block list` shows those there are")]
    NotFound(String),
    /// Nothing waits in an incident.
    #[error("nothing waits for approval in incident {0}; `sekisho incidents` shows what does")]
    NotWaiting(u64),
    /// No such incident.
    #[error("there is no incident {0}; `sekisho incidents` shows those there are")]
    NoIncident(u64),
    /// No such review.
    #[error("there is no review {0}; `sekisho incidents reviews` shows those there are")]
    NoReview(ReviewId),
    /// Too many reviews.
    #[error("{MAX_REVIEWS} detectors are on review already; end some with `sekisho incidents review`")]
    ReviewsFull,
    /// Too many windows.
    #[error("{MAX_WINDOWS} change windows are announced already; end some with `sekisho window remove`")]
    WindowsFull,
    /// A window of no length, too long, or too far ahead.
    #[error("a change window lasts up to 72h, and begins within 30d")]
    WindowLength,
    /// No such window.
    #[error("there is no change window {0}; `sekisho window list` shows those there are")]
    NoWindow(WindowId),
    /// No such device.
    #[error(
        "no device is known as {0}; `sekisho devices` shows those there are. One that was never heard is named by its MAC address"
    )]
    NoDevice(String),
    /// What is said cannot be.
    #[error("device {who}: {error}")]
    Card {
        /// Of whom.
        who: String,
        /// Why.
        error: CardError,
    },
    /// What is wrong with what is said of devices.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// Too many devices in one order.
    #[error("one order says something of {MAX_EDITS} devices at most; give several")]
    Edits,
    /// They are one already.
    #[error("these are one device already: number {0}")]
    SameDevice(DeviceId),
    /// It is no part of a larger device.
    #[error(
        "{0} is not one of several addresses that are one device, by word of a person or by evidence; `sekisho devices show` tells \
         which are"
    )]
    NotMerged(String),
    /// A gateway is never part of another device.
    #[error("{0} is a gateway: it carries the traffic of many devices, and is never one with another device")]
    MergesGateway(Target),
    /// It is on the block list.
    #[error("{0} is on the block list, which would go on; take it out first with `sekisho block remove`")]
    Held(Target),
    /// The list is full.
    #[error("the block list is full ({0} entries); remove some first")]
    Full(usize),
    /// Too many addresses.
    #[error(
        "one entry is about {MAX_TARGETS} addresses and places at most; make several entries, or block the network"
    )]
    Targets,
    /// The kernel's table of what is allowed is full.
    #[error("what pinned devices may do fills the table; isolate instead, or take the pin off others")]
    PinsFull,
}

impl Engine {
    /// Carries out an operator's order.
    pub fn command(&mut self, now: Time, command: Command, out: &mut Output) -> Result<Reply, CommandError> {
        self.note(|| Input::Command(now, Box::new(command.clone())));
        let of_devices = matches!(
            command,
            Command::Describe(..)
                | Command::Merge(..)
                | Command::Distinct(..)
                | Command::Split(..)
                | Command::ForgetDevice(..)
        );
        let reply = self.carry_out(now, command, out);
        if of_devices {
            self.settle_groups(now, out);
        }
        reply
    }

    fn carry_out(&mut self, now: Time, command: Command, out: &mut Output) -> Result<Reply, CommandError> {
        match command {
            Command::Add(add) => self.add(now, add, out),
            Command::Approve(incident, true, by) => self.approve(incident, &by, now, out),
            Command::Approve(incident, false, by) => self.deny(incident, &by, now, out),
            Command::Judge(judge) => self.judge(&judge, now, out),
            Command::Review(id, by) => self.end_review(id, &by, now, out),
            Command::Announce(announce) => self.announce(announce, now, out),
            Command::EndWindow(id, by) => self.end_window(id, &by, now, out),
            Command::Describe(edits, by) => self.describe_devices(&edits, &by, now, out),
            Command::Merge(into, other, by) => self.merge_devices((&into, &other), &by, now, out),
            Command::Distinct(one, other, by) => self.tell_apart((&one, &other), &by, now, out),
            Command::Split(address, by) => self.split_device(&address, &by, now, out),
            Command::ForgetDevice(who, by) => self.forget_device(&who, &by, now, out),
            Command::Drill(mac) => {
                self.drill = mac.map(|mac| (mac, now.plus(DRILL)));
                Ok(Reply::Described(Vec::new()))
            }
            Command::Remove(which) => {
                let id = match &which {
                    Which::Id(id) => Some(*id),
                    Which::Held(who) => self.held_by(who)?,
                };
                let released = id.and_then(|id| self.release(id, Change::Released, now, out));
                let name = || match which {
                    Which::Id(id) => BlockName::Id(id).to_string(),
                    Which::Held(Who::Target(target)) => target.to_string(),
                    Which::Held(Who::Device(text)) => text,
                };
                released.map(Reply::Removed).ok_or_else(|| CommandError::NotFound(name()))
            }
        }
    }

    /// The entry that holds somebody, if one does.
    fn held_by(&self, who: &Who) -> Result<Option<BlockId>, CommandError> {
        let targets = match who {
            Who::Target(target) => vec![*target],
            // One that was not heard since the daemon started is still held by its addresses.
            Who::Device(text) => match text.parse::<Target>() {
                Ok(target) => {
                    std::iter::once(target).chain(self.device_targets(text).unwrap_or_default()).collect()
                }
                Err(_) => self.device_targets(text)?,
            },
        };
        let find = |target: &Target| self.blocks.find(BlockName::Target(*target));
        Ok(targets.iter().find_map(find).map(|block| block.id))
    }

    /// All that a device has: its MAC address and the IP addresses that are its own; behind a gateway its IP address.
    pub(super) fn device_targets(&self, text: &str) -> Result<Vec<Target>, CommandError> {
        let unknown = || CommandError::UnknownDevice(text.to_owned());
        let called = |target: &Target| {
            let device = self.inventory.find(*target);
            device.map_or_else(Vec::new, |device| self.all_of(device))
        };
        if let Ok(target) = text.parse::<Target>()
            && target.is_address()
        {
            return Some(called(&target)).filter(|targets| !targets.is_empty()).ok_or_else(unknown);
        }
        let by_number = || self.inventory.cards().get(text.parse().ok()?);
        if let Some(card) = self.inventory.cards().called(text).or_else(by_number) {
            return Ok(self.all_of_card(card));
        }
        if let Some(device) =
            text.parse().ok().and_then(|id: DeviceId| self.inventory.iter().find(|d| d.id == id))
        {
            return Ok(self.all_of(device));
        }
        let named = self.settings.names.iter().filter(|(_, name)| name.eq_ignore_ascii_case(text));
        let mut targets = Vec::new();
        for (target, _) in named {
            // One that has a name was entered by a person: it counts also if it was not seen yet.
            for target in called(target).into_iter().chain([*target]) {
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        if targets.is_empty() { Err(unknown()) } else { Ok(targets) }
    }

    fn all_of(&self, device: &Device) -> Vec<Target> {
        let mut targets = match device.key {
            DeviceKey::Routed(ip) => vec![Target::Ip(ip)],
            DeviceKey::Local(mac) => {
                let ips = self.inventory.own_ips(device).map(Target::Ip);
                std::iter::once(Target::Mac(mac)).chain(ips).collect()
            }
        };
        targets.extend(self.merged_with(device));
        targets
    }

    /// What is cut off with a device: all that a person merged with it, but for whom it is protected, or a gateway; of these
    /// nothing, for an address of theirs may be listed nowhere.
    pub(super) fn merged_with(&self, device: &Device) -> Vec<Target> {
        let keys = self.inventory.cards().of(device.key).map(|card| &card.keys[..]).unwrap_or_default();
        let others = keys.iter().filter(|key| **key != device.key).map(|key| self.inventory.belongings(*key));
        others.filter(|targets| !targets.iter().any(|target| self.is_barred(*target))).flatten().collect()
    }

    /// The same of one that has a card: what a person entered counts also if it was not heard yet.
    fn all_of_card(&self, card: &Card) -> Vec<Target> {
        match card.keys.iter().find_map(|key| self.inventory.get(*key)) {
            Some(device) => self.all_of(device),
            None => card.keys.iter().map(|key| super::devices::target(*key)).collect(),
        }
    }

    /// The device behind these targets, if one is known.
    pub(super) fn describe_first(&self, targets: &[Target]) -> Option<DeviceRef> {
        let device = targets.iter().find_map(|target| self.inventory.find(*target));
        device.map(|device| inventory::describe(device, &self.settings))
    }
}
