//! Orders of an operator: block, and take back.

use crate::addr;
use crate::event::{Change, DeviceRef, Event, Timed};
use crate::inventory;
use crate::policy::{Block, BlockName, Level, MAX_BLOCKS, Origin, Save, Target, decisions};
use crate::time::Time;

use super::{Engine, Output, tell};

/// An operator's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Block these addresses.
    Add {
        /// Whom.
        targets: Vec<Target>,
        /// For how long, ns; none: until taken out.
        for_ns: Option<u64>,
        /// Why.
        reason: String,
        /// Who orders it.
        owner: String,
    },
    /// Take an entry out.
    Remove(BlockName),
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
    },
    /// The entry is gone.
    Removed(Block),
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
        "{0} is a gateway: it carries the traffic of many devices; block the device's own IP address instead"
    )]
    Gateway(Target),
    /// Nobody's address.
    #[error("{0} is a broadcast, multicast or empty address and belongs to no device")]
    Nobody(Target),
    /// No such entry.
    #[error("there is no block entry for {0}; `sekisho block list` shows those there are")]
    NotFound(String),
    /// The list is full.
    #[error("the block list is full ({0} entries); remove some first")]
    Full(usize),
}

impl Engine {
    /// Carries out an operator's order.
    pub fn command(&mut self, now: Time, command: Command, out: &mut Output) -> Result<Reply, CommandError> {
        match command {
            Command::Add { targets, for_ns, reason, owner } => {
                self.add(now, targets, for_ns, reason, owner, out)
            }
            Command::Remove(name) => {
                let id = self.blocks.find(name).map(|block| block.id);
                let released = id.and_then(|id| self.release(id, Change::Released, now, out));
                released.map(Reply::Removed).ok_or_else(|| CommandError::NotFound(name.to_string()))
            }
        }
    }

    fn add(
        &mut self,
        now: Time,
        targets: Vec<Target>,
        for_ns: Option<u64>,
        reason: String,
        owner: String,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let first = *targets.first().ok_or(CommandError::Nothing)?;
        if let Some(refusal) = targets.iter().find_map(|target| self.refuse(*target)) {
            return Err(refusal);
        }
        let until = for_ns.map(|ns| now.plus(ns));
        let old = targets.iter().find_map(|target| self.blocks.find(BlockName::Target(*target))).cloned();
        let extended = old.is_some();
        if !extended && self.blocks.len() >= MAX_BLOCKS {
            return Err(CommandError::Full(MAX_BLOCKS));
        }
        let mut block = old.unwrap_or_else(|| Block {
            id: self.blocks.next_id(),
            targets: Vec::new(),
            level: Level::Isolate,
            origin: Origin::Manual(owner.clone()),
            reason: String::new(),
            since: now,
            until,
            would: false,
        });
        for target in targets {
            if !block.targets.contains(&target) && self.blocks.find(BlockName::Target(target)).is_none() {
                block.targets.push(target);
            }
        }
        // Adding again extends, and never shortens; "until taken out" is the longest.
        block.until = block.until.and_then(|old| until.map(|new| old.max(new)));
        // A person's word makes a shadow entry real.
        block.would = false;
        block.origin = Origin::Manual(owner);
        if !reason.is_empty() {
            block.reason = reason;
        }
        let device = self.inventory.find(first).map(|device| inventory::describe(device, &self.settings));
        let block = self.blocks.put(block).clone();
        out.decisions.extend(decisions(&block));
        out.saves.push(Save::Put(block.clone()));
        let change = if extended { Change::Extended } else { Change::Added };
        let isolation = tell(&block, change, device.clone());
        out.events.push(Timed { time: now, event: Event::Isolation(isolation) });
        Ok(Reply::Added { block, extended, device })
    }

    /// Why a target must not be blocked, if so.
    pub(super) fn refuse(&self, target: Target) -> Option<CommandError> {
        let nobody = match target {
            Target::Mac(mac) => mac.is_nobody(),
            Target::Ip(ip) => !addr::is_host(ip),
        };
        if nobody {
            return Some(CommandError::Nobody(target));
        }
        let listed = self.settings.protected.contains(&target)
            || matches!(target, Target::Ip(ip) if inventory::is_protected_ip(ip, &self.settings));
        let device = match target {
            Target::Mac(_) => self.inventory.find(target),
            Target::Ip(ip) => self.inventory.gateway_with(ip),
        };
        if listed || device.is_some_and(|device| inventory::is_protected(device, &self.settings)) {
            return Some(CommandError::Protected(target));
        }
        let named = matches!(target, Target::Mac(mac) if self.settings.gateways.contains(&mac));
        (named || device.is_some_and(|device| device.gateway)).then_some(CommandError::Gateway(target))
    }
}
