//! An operator's order to block: checked, then entered.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::event::{Change, Event, Timed};
use crate::policy::{
    Block, BlockName, DEFAULT_LIST, Direction, Level, List, MAX_BLOCKS, MAX_PINNED, MAX_TARGETS, Name,
    Origin, Target,
};
use crate::time::Time;

use super::command::{CommandError, Reply, Who};
use super::hold::tell;
use super::{Engine, Output};

/// An order to block.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Add {
    /// Whom.
    pub who: Vec<Who>,
    /// How much; none: as the entry has it, or isolated.
    pub level: Option<Level>,
    /// Which way; none: as the entry has it, or both.
    pub direction: Option<Direction>,
    /// Quarantine: the allow list; none: as the entry has it, or the default one.
    pub list: Option<Name>,
    /// For how long, ns; none: until taken out.
    pub for_ns: Option<u64>,
    /// Why.
    pub reason: String,
    /// Who orders it.
    pub owner: String,
    /// Also if somebody who must not be hit is among them.
    pub force: bool,
    /// Only say what would come of it.
    pub preview: bool,
}

impl Engine {
    pub(super) fn add(&mut self, now: Time, add: Add, out: &mut Output) -> Result<Reply, CommandError> {
        let (targets, follows) = self.resolve(&add.who)?;
        let entered = !add.preview;
        let spared = self.look_over(&targets, add.force)?;
        let old = targets.iter().find_map(|target| self.blocks.find(BlockName::Target(*target))).cloned();
        let extended = old.is_some();
        if !extended && self.blocks.len() >= MAX_BLOCKS {
            return Err(CommandError::Full(MAX_BLOCKS));
        }
        let mut block = match &old {
            Some(old) => old.clone(),
            None => self.blank(&add, now),
        };
        let until = add.for_ns.map(|ns| now.plus(ns));
        // Adding again extends, and never shortens; "until taken out" is the longest.
        block.until = block.until.and_then(|old| until.map(|new| old.max(new)));
        block.level = add.level.unwrap_or(block.level);
        block.direction = add.direction.unwrap_or(block.direction);
        // A person's word makes a shadow entry real.
        block.would = block.level == Level::Observe;
        block.follows |= follows;
        for target in &targets {
            if !block.targets.contains(target) && !self.is_covered(*target, &block) {
                block.targets.push(*target);
            }
        }
        fits(&block)?;
        block.list = self.list_for(&block, add.list, None, now)?;
        block.origin = Origin::Manual(add.owner);
        if !add.reason.is_empty() {
            block.reason = add.reason;
        }
        let device = self.describe_first(&targets);
        let beside = self.beside(&block.targets);
        let (impact, lost) = (self.impact(&block.targets), Box::new(self.preview_of(&block, now)));
        if !entered {
            return Ok(Reply::Added { block, extended, device, impact, lost, spared, beside, entered });
        }
        let changed = old.is_some_and(|old| {
            (old.level, old.direction, &old.list) != (block.level, block.direction, &block.list)
        });
        let change = match (extended, changed) {
            (false, _) => Change::Added,
            (true, false) => Change::Extended,
            (true, true) => Change::Changed,
        };
        let isolation = tell(&block, change, device.clone());
        self.enter(block.clone(), out);
        out.events.push(Timed { time: now, event: Event::Isolation(isolation) });
        Ok(Reply::Added { block, extended, device, impact, lost, spared, beside, entered })
    }

    /// An entry about nobody yet.
    fn blank(&mut self, add: &Add, now: Time) -> Block {
        Block {
            id: self.blocks.next_id(),
            targets: Vec::new(),
            level: Level::Isolate,
            direction: Direction::Both,
            list: List::None,
            follows: false,
            origin: Origin::Manual(add.owner.clone()),
            reason: String::new(),
            since: now,
            until: add.for_ns.map(|ns| now.plus(ns)),
            would: false,
        }
    }

    /// Whether another entry restricts a target at least as much, both ways, and for as long as this one would.
    pub(super) fn is_covered(&self, target: Target, block: &Block) -> bool {
        let lasts = |other: &Block| match (other.until, block.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(other), Some(until)) => other >= until,
        };
        self.blocks.about(target).any(|other| {
            let strict = !other.would && other.level >= block.level && other.direction == Direction::Both;
            other.id != block.id && strict && lasts(other)
        })
    }

    /// What an order is about, and whether that is a device to be followed.
    fn resolve(&self, who: &[Who]) -> Result<(Vec<Target>, bool), CommandError> {
        let (mut targets, mut follows) = (Vec::new(), false);
        for who in who {
            let more = match who {
                Who::Target(target) => vec![*target],
                Who::Device(text) => {
                    let targets = self.device_targets(text)?;
                    follows |= targets.iter().any(|target| matches!(target, Target::Mac(_)));
                    targets
                }
            };
            for target in more {
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        if targets.is_empty() { Err(CommandError::Nothing) } else { Ok((targets, follows)) }
    }

    /// Refuses what must not be hit, or is not there. Returns who is protected among those that `force` overrides.
    fn look_over(&self, targets: &[Target], force: bool) -> Result<Vec<String>, CommandError> {
        let mut spared = BTreeSet::new();
        for target in targets {
            if let Some(refusal) = self.refuse(*target, force) {
                return Err(refusal);
            }
            self.check_known(*target)?;
            let (protected, gateways) = self.among(*target);
            let first = protected.first().map(|name| format!("{name}, which is on the protected list"));
            let first = first.or_else(|| gateways.first().map(|name| format!("{name}, a gateway")));
            if let (Some(who), false) = (first, force) {
                return Err(CommandError::Contains { target: *target, who });
            }
            spared.extend(protected);
        }
        Ok(spared.into_iter().collect())
    }

    /// Refuses a port or segment that is not there.
    fn check_known(&self, target: Target) -> Result<(), CommandError> {
        let (what, name, known): (_, _, BTreeSet<Name>) = match target {
            Target::Port(name) => ("port", name, self.ports.values().copied().collect()),
            Target::Segment(name) => ("segment", name, self.settings.segments.keys().copied().collect()),
            _ => return Ok(()),
        };
        if known.contains(&name) { Ok(()) } else { Err(unknown(what, name, known)) }
    }

    /// The allow list of an entry as it is to be; its list is still as it was. What its device began since `attack` is not
    /// learned.
    pub(super) fn list_for(
        &mut self,
        block: &Block,
        named: Option<Name>,
        attack: Option<Time>,
        now: Time,
    ) -> Result<List, CommandError> {
        if named.is_some() && block.level != Level::Quarantine {
            return Err(CommandError::List(block.level));
        }
        match (block.level, &block.list) {
            (Level::Quarantine, old) => {
                let kept = if let List::Named(name) = old { Some(*name) } else { None };
                let Some(name) = named.or(kept).or_else(|| DEFAULT_LIST.parse().ok()) else {
                    return Ok(List::None);
                };
                let known: BTreeSet<Name> = self.settings.lists().map(|(_, name, _)| name).collect();
                if known.contains(&name) {
                    Ok(List::Named(name))
                } else {
                    Err(unknown("allow list", name, known))
                }
            }
            (Level::Pin, List::Learned { .. }) => Ok(block.list.clone()),
            (Level::Pin, _) => {
                let allowed = self.learn(&block.targets, attack, now);
                if self.blocks.pinned() + allowed.len() > MAX_PINNED {
                    return Err(CommandError::PinsFull);
                }
                Ok(List::Learned { number: self.blocks.next_list(), allowed: allowed.into() })
            }
            _ => Ok(List::None),
        }
    }
}

pub(super) fn unknown(what: &'static str, name: Name, known: BTreeSet<Name>) -> CommandError {
    let known: Vec<_> = known.iter().map(Name::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    CommandError::Unknown { what, name, known }
}

/// Refuses a level or a direction that says nothing, or something else than it seems to, about a target.
fn fits(block: &Block) -> Result<(), CommandError> {
    if block.targets.len() > MAX_TARGETS {
        return Err(CommandError::Targets);
    }
    let (level, direction) = (block.level, block.direction);
    for target in block.targets.iter().copied() {
        let why = match level {
            Level::Cut if !target.is_place() => {
                "only a port, a VLAN or a segment can be cut; isolate it instead"
            }
            Level::Cut if direction != Direction::Both => "a cut is for both directions; isolate instead",
            Level::Pin if !target.is_address() => {
                "only a device or an address has habits; quarantine it instead"
            }
            Level::Quarantine if matches!(target, Target::Vlan(_)) => {
                "both ends of a frame are in it; put the VLAN into a segment of the configuration"
            }
            _ if direction != Direction::Both && matches!(target, Target::Vlan(_)) => {
                return Err(CommandError::Direction(target));
            }
            _ => continue,
        };
        return Err(CommandError::Level { target, level, why });
    }
    Ok(())
}
