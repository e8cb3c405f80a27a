//! Reading the kernel's flow tables: how flows went on, and which are over.

use sensor_core::flow::retire;
use sensor_core::observation::{FlowId, FlowProgress};
use sensor_core::time::{SECOND, Time};
use sensor_ebpf::control::Clock;
use sensor_ebpf::flow::FlowValue;

use crate::bpf::{BpfError, FlowKey, Flows, Sweep};

/// A sweep begins this long after the last one ended, ns.
const PERIOD: u64 = 5 * SECOND;

/// Sweeps the tables, a few thousand entries at a time.
pub struct Sweeper {
    flows: Flows,
    jiffy_ns: u64,
    going: Option<(Sweep, Clock)>,
    next: Time,
    /// Frames of a flow quiet since then were told by the last sweep.
    told_until: Time,
}

/// The key of the core.
fn id(key: &FlowKey) -> FlowId {
    match key {
        FlowKey::V4(key) => FlowId::from(key),
        FlowKey::V6(key) => FlowId::from(key),
    }
}

impl Sweeper {
    /// A sweeper of these tables; `jiffy_ns` is the length of a jiffy.
    pub fn new(flows: Flows, jiffy_ns: u64, now: Time) -> Self {
        Self { flows, jiffy_ns, going: None, next: now.plus(PERIOD), told_until: Time(0) }
    }

    /// Whether there is something to do.
    pub fn is_due(&self, now: Time) -> bool {
        self.going.is_some() || now >= self.next
    }

    /// Reads on a little (2 ms) and gives each flow with news to `told`. `clock` reads both clocks of the kernel.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if a table cannot be read; the sweep is given up, the next one begins on time.
    pub fn step(
        &mut self,
        now: Time,
        clock: impl FnOnce() -> Result<Clock, BpfError>,
        mut told: impl FnMut(FlowProgress),
    ) -> Result<(), BpfError> {
        self.next = now.plus(PERIOD);
        let (mut sweep, clock) = match self.going.take() {
            Some(going) => going,
            None => (Sweep::default(), clock()?),
        };
        let jiffy_ns = self.jiffy_ns;
        let last = |value: &FlowValue| {
            let idle_j = (clock.jiffies as u32).wrapping_sub(value.last_j);
            // A frame that came after the clock was read is in the future by a few jiffies.
            let idle_j = if idle_j > u32::MAX / 2 { 0 } else { idle_j };
            u64::from(idle_j) * jiffy_ns
        };
        let mut over = Vec::new();
        let told_until = self.told_until;
        let more = self.flows.sweep_some(&mut sweep, |key, value| {
            let (id, idle_ns) = (id(&key), last(value));
            let time = Time(clock.monotonic_ns.saturating_sub(idle_ns));
            if retire(&id, value.tcp_flags, idle_ns).is_some() {
                over.push(key);
            } else if time.plus(SECOND) >= told_until {
                told(FlowProgress::new(id, value, now, time, None));
            }
        })?;
        for key in over {
            let Some(value) = self.flows.take(&key)? else { continue };
            let (id, idle_ns) = (id(&key), last(&value));
            let end = retire(&id, value.tcp_flags, idle_ns);
            let time = Time(clock.monotonic_ns.saturating_sub(idle_ns));
            told(FlowProgress::new(
                id,
                &value,
                now,
                time,
                end.or(Some(sensor_core::observation::EndReason::Timeout)),
            ));
        }
        if more {
            self.going = Some((sweep, clock));
        } else {
            self.told_until = Time(clock.monotonic_ns);
        }
        Ok(())
    }
}
