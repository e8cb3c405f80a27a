//! What models learn from, and which are in force.

use super::command::CommandError;
use super::{Engine, Input, Output};
use crate::addr::is_host;
use crate::detect::Finding;
use crate::detect::unusual::{InForce, Look, Scope, Scored, Unusual};
use crate::event::DeviceRef;
use crate::inventory::{DeviceKey, Inventory};
use crate::model::drift::Parting;
use crate::model::reservoir::{Reservoir, Rows};
use crate::policy::Target;
use crate::time::Time;

impl Engine {
    /// From now on rows to learn from have times so much later than what is observed, so that those of several runs are of
    /// one clock: on the live sensor the date at which its monotonic clock was 0.
    pub fn set_rows_ahead(&mut self, ahead_ns: u64) {
        if let Some(unusual) = &mut self.detectors.unusual {
            unusual.set_ahead(ahead_ns);
        }
    }

    /// Puts a model in force.
    pub fn put_model(&mut self, in_force: InForce) {
        self.note(|| Input::Model(in_force.clone()));
        if let Some(unusual) = &mut self.detectors.unusual {
            unusual.put(in_force);
        }
    }

    /// What models are of: all devices first, then the classes that are learned from by name.
    pub fn scopes(&self) -> Vec<Scope> {
        self.detectors.unusual.iter().flat_map(|unusual| unusual.scopes()).collect()
    }

    /// The model in force.
    pub fn model(&self, scope: impl Into<Scope>) -> Option<&InForce> {
        self.detectors.unusual.as_ref().and_then(|unusual| unusual.model(scope.into()))
    }

    /// The rows there are to learn from.
    pub fn reservoir(&self, scope: impl Into<Scope>) -> Option<&Reservoir> {
        self.detectors.unusual.as_ref().and_then(|unusual| unusual.reservoir(scope.into()))
    }

    /// The same, to change them.
    pub fn reservoir_mut(&mut self, scope: impl Into<Scope>) -> Option<&mut Reservoir> {
        self.detectors.unusual.as_mut().and_then(|unusual| unusual.reservoir_mut(scope.into()))
    }

    /// A copy of the rows to learn from, less those of devices that something is held against by now.
    pub fn rows(&self, scope: impl Into<Scope>, now: Time) -> Option<Rows> {
        let unusual = self.detectors.unusual.as_ref()?;
        unusual.rows(scope.into(), &|device| !self.is_suspect(device, now))
    }

    /// The device of a name, MAC or IP address.
    ///
    /// # Errors
    ///
    /// If none is known by it.
    pub fn find_device(&self, text: &str) -> Result<(DeviceKey, DeviceRef), CommandError> {
        let targets = self.device_targets(text)?;
        let device = targets.iter().find_map(|target| self.inventory.find(*target));
        let key = device.map(|device| device.key);
        let found = key.and_then(|key| Some((key, self.describe(key)?)));
        found.ok_or_else(|| CommandError::UnknownDevice(text.to_owned()))
    }

    /// The last scores of a device, the newest first.
    pub fn scores(&self, device: DeviceKey) -> Vec<Scored> {
        let unusual = self.detectors.unusual.iter();
        unusual.flat_map(|unusual| unusual.scores(device)).copied().collect()
    }

    /// Devices parted from the model that was learned first, whose hash this is.
    pub fn parted(&mut self, partings: &[Parting], golden: &str, now: Time, out: &mut Output) {
        self.note(|| Input::Parted(partings.to_vec(), golden.to_owned(), now));
        self.ask_unusual(now, |unusual, _, found| unusual.parted(partings, golden, now, found));
        self.conclude(now, out);
    }

    /// Has the detector of the unusual do something.
    pub(super) fn ask_unusual(
        &mut self,
        now: Time,
        ask: impl FnOnce(&mut Unusual, Look<'_>, &mut Vec<Finding>),
    ) {
        let Some(mut unusual) = self.detectors.unusual.take() else { return };
        let mut found = std::mem::take(&mut self.found);
        let look = Look {
            clean: &|device| self.is_clean(device, now),
            class: &|device| self.inventory.get(device)?.class,
        };
        ask(&mut unusual, look, &mut found);
        self.found = found;
        self.detectors.unusual = Some(unusual);
    }

    /// Whether a device is known and nothing is held against it, so that it may be learned from.
    pub(super) fn is_clean(&self, device: DeviceKey, now: Time) -> bool {
        self.inventory.get(device).is_some() && !self.is_suspect(device, now)
    }

    /// Whether an incident of a device goes on, or an entry of the block list (also one that only counts) is about it.
    pub(super) fn is_suspect(&self, key: DeviceKey, now: Time) -> bool {
        if self.incidents.is_open(key, now) {
            return true;
        }
        if self.blocks.is_empty() {
            return false;
        }
        let Some(device) = self.inventory.get(key) else { return false };
        let named = |target: Target| self.blocks.about(target).next().is_some();
        let wide = |ip| {
            let mut wide = self.blocks.wide();
            wide.any(|(target, _)| self.lies_in(target, ip, device.port, device.vlan))
        };
        Inventory::targets(device).any(named) || device.ips().filter(|ip| is_host(*ip)).any(wide)
    }
}
