//! Announced change windows as they come and go.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::detect::Finding;
use crate::event::{Event, Timed, WindowChange, WindowStep};
use crate::inventory::DeviceKey;
use crate::policy::memory::Counter;
use crate::policy::ruling::{Cause, Ruling};
use crate::policy::window::{AHEAD, Cover, LONGEST, MAX_WINDOWS, Window, WindowId};
use crate::policy::{Memory, MemoryKey, Name, Save, Target};
use crate::time::Time;

use super::command::{CommandError, Reply};
use super::{Engine, Output};

/// An operator's announcement.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Announce {
    /// For whom.
    pub who: Whom,
    /// In how long it begins, ns.
    pub in_ns: u64,
    /// How long it lasts, ns.
    pub for_ns: u64,
    /// Why.
    pub reason: String,
    /// The account.
    pub by: String,
}

/// For whom a window is announced.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Whom {
    /// All devices.
    Everybody,
    /// All devices of a segment.
    Segment(Name),
    /// A device by its name, or by a MAC or IP address; one that is new need not be known.
    Device(String),
}

/// Devices that one window may spare. A site has fewer.
const MAX_SPARED: usize = 10_000;

/// The windows that are open or to come.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub(super) struct Windows {
    all: BTreeMap<WindowId, Window>,
    /// Those of which it was told that they are open.
    told: BTreeSet<WindowId>,
    /// Whom each spared; no more than [`MAX_SPARED`].
    spared: BTreeMap<WindowId, BTreeSet<DeviceKey>>,
    last: WindowId,
}

impl Windows {
    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Window> {
        self.all.values()
    }

    /// How many are open, as was told.
    pub fn open(&self) -> usize {
        self.told.len()
    }

    /// Takes up one that was announced in an earlier run.
    pub fn recall(&mut self, window: Window) {
        self.skip_to(window.id);
        self.all.insert(window.id, window);
    }

    /// Whom an earlier run's windows spared, which go on in this one.
    pub fn take_up(&mut self, before: Self) {
        self.spared = before.spared;
    }

    /// A ruling about a device was lowered by what it names.
    pub fn note(&mut self, ruling: &Ruling, device: DeviceKey) {
        for step in &ruling.lowered {
            if let Cause::Window { window } = step.why {
                let spared = self.spared.entry(window).or_default();
                if spared.len() < MAX_SPARED {
                    spared.insert(device);
                }
            }
        }
    }

    /// Numbers up to this were given.
    pub fn skip_to(&mut self, number: WindowId) {
        self.last = self.last.max(number);
    }

    fn take(&mut self, id: WindowId, out: &mut Output) -> Option<Window> {
        let window = self.all.remove(&id)?;
        self.told.remove(&id);
        out.saves.push(Save::Drop(MemoryKey::Window(id)));
        Some(window)
    }
}

impl Engine {
    /// Announces a window.
    pub(super) fn announce(
        &mut self,
        announce: Announce,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let Announce { who, in_ns, for_ns, reason, by } = announce;
        if for_ns == 0 || for_ns > LONGEST || in_ns > AHEAD {
            return Err(CommandError::WindowLength);
        }
        if self.windows.all.len() >= MAX_WINDOWS {
            return Err(CommandError::WindowsFull);
        }
        let cover = self.cover(who)?;
        self.windows.last += 1;
        let (id, from) = (self.windows.last, now.plus(in_ns));
        let window = Window { id, cover, from, until: from.plus(for_ns), reason, since: now, by };
        out.saves.push(Save::Keep(Memory::Window(window.clone())));
        out.saves.push(Save::Keep(Memory::Last(Counter::Windows, id.into())));
        self.windows.all.insert(id, window.clone());
        let by = Some(window.by.clone());
        tell(window.clone(), WindowStep::Announced, by, now, out);
        self.turn_windows(now, out);
        Ok(Reply::Announced(window))
    }

    /// Ends a window before its time, or calls it off.
    pub(super) fn end_window(
        &mut self,
        id: WindowId,
        by: &str,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let window = self.windows.take(id, out).ok_or(CommandError::NoWindow(id))?;
        self.forgive(id, now);
        tell(window.clone(), WindowStep::Removed, Some(by.to_owned()), now, out);
        Ok(Reply::WindowEnded(window))
    }

    /// Tells which windows are open since now, and ends those that are over.
    pub(super) fn turn_windows(&mut self, now: Time, out: &mut Output) {
        if self.windows.all.is_empty() {
            return;
        }
        let opened: Vec<Window> = self.windows.iter().filter(|w| w.is_open(now)).cloned().collect();
        for window in opened {
            if self.windows.told.insert(window.id) {
                tell(window, WindowStep::Opened, None, now, out);
            }
        }
        let over: Vec<WindowId> = self.windows.iter().filter(|w| w.until <= now).map(|w| w.id).collect();
        for id in over {
            if let Some(window) = self.windows.take(id, out) {
                self.forgive(id, now);
                tell(window, WindowStep::Ended, None, now, out);
            }
        }
    }

    /// Whoever a window spared starts with a clean slate when it is over: what was announced is not held against them, and
    /// if it goes on it is found anew, where a detector would not tell the same twice.
    fn forgive(&mut self, id: WindowId, now: Time) {
        for device in self.windows.spared.remove(&id).unwrap_or_default() {
            self.absolve(device, now);
        }
    }

    /// The open window that a finding falls into, if one does.
    pub(super) fn window_of(&self, finding: &Finding, now: Time) -> Option<WindowId> {
        let mut open = self.windows.iter().filter(|window| window.is_open(now));
        open.find(|window| self.falls_into(&window.cover, finding)).map(|window| window.id)
    }

    fn falls_into(&self, cover: &Cover, finding: &Finding) -> bool {
        match cover {
            Cover::Everybody => true,
            Cover::Segment(name) => self.segment_at(finding.flow.port, finding.flow.vlan) == Some(*name),
            // Where its MAC address is known nobody comes under its window by taking its IP address.
            Cover::Device(_, targets) => match finding.device {
                DeviceKey::Local(mac) if targets.iter().any(|target| matches!(target, Target::Mac(_))) => {
                    targets.contains(&Target::Mac(mac))
                }
                key => {
                    let device = self.inventory.get(key);
                    device.is_some_and(|device| device.ips().any(|ip| targets.contains(&Target::Ip(ip))))
                }
            },
        }
    }

    fn cover(&self, who: Whom) -> Result<Cover, CommandError> {
        match who {
            Whom::Everybody => Ok(Cover::Everybody),
            Whom::Segment(name) if self.settings.segments.contains_key(&name) => Ok(Cover::Segment(name)),
            Whom::Segment(name) => {
                let known = self.settings.segments.keys().copied().collect();
                Err(super::add::unknown("segment", name, known))
            }
            Whom::Device(text) => {
                let targets = match (self.device_targets(&text), text.parse::<Target>()) {
                    (Ok(targets), _) => targets,
                    // A new server was not seen yet.
                    (Err(_), Ok(target)) if target.is_address() => vec![target],
                    (Err(error), _) => return Err(error),
                };
                Ok(Cover::Device(text, targets))
            }
        }
    }
}

fn tell(window: Window, step: WindowStep, by: Option<String>, now: Time, out: &mut Output) {
    out.events.push(Timed { time: now, event: Event::Window(WindowChange { window, step, by }) });
}
