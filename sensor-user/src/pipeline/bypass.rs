//! The bypass: switched by order, told until it is off again.
//!
//! The switch lies in the kernel, where others can turn it too (`sekisho bypass` does so when no daemon answers); so it is
//! looked at every second.

use sensor_core::event::{BypassChange, Event, Timed};
use sensor_core::time::SECOND;

use super::Pipeline;
use crate::bpf::{BpfError, Bypass};
use crate::clock::Now;
use crate::control::user_name;
use crate::protocol::BypassInfo;

/// Time between two reminders.
const REMINDER: u64 = 60 * SECOND;

impl Pipeline {
    /// Switches the bypass by order of an account; gives how it is then.
    pub(super) fn switch_bypass(&mut self, on: bool, by: u32) -> Result<BypassInfo, String> {
        let switch = |enforcer: &mut crate::enforce::Enforcer| {
            if enforcer.bypass()?.on != on {
                enforcer.set_bypass(Bypass { on, by, since_ns: Now::read().mono.ns() })?;
            }
            Ok(())
        };
        switch(&mut self.parts.enforcer).map_err(|error: BpfError| error.to_string())?;
        self.watch_bypass();
        Ok(self.bypass.info())
    }

    /// Tells when the bypass was switched, and every minute that it is on.
    pub(super) fn watch_bypass(&mut self) {
        let found = match self.parts.enforcer.bypass() {
            Ok(found) => found,
            Err(error) => return self.check(Err(error)),
        };
        let now = Now::read().mono;
        let by = user_name(found.by);
        if found.on != self.bypass.on {
            let change = Event::Bypass(BypassChange { on: found.on, by: by.clone() });
            self.tell(&Timed { time: now, event: change }, None);
            self.next_reminder = now;
            if !found.on {
                log::warn!("the bypass is off (by {by}): the rules hold again");
            }
        }
        self.bypass = found;
        if found.on && now >= self.next_reminder {
            self.next_reminder = now.plus(REMINDER);
            log::warn!(
                "BYPASS IS ON (by {by}): nothing is dropped, whoever is cut off gets through; `sekisho bypass off` \
                 ends it"
            );
        }
    }
}
