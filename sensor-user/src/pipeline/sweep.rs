//! Reading the kernel's flow tables: how flows went on, and which are over.

use std::collections::BTreeMap;

use sensor_core::flow::retire;
use sensor_core::observation::{EndReason, FlowId, FlowProgress};
use sensor_core::time::{MILLISECOND, SECOND, Time};
use sensor_ebpf::control::Clock;
use sensor_ebpf::flow::FlowValue;

use super::leak::Leaks;
use super::tally::{Count, Tally};
use crate::bpf::{BpfError, FlowKey, Flows, Sweep};

/// A sweep begins this long after the last one began, ns, unless so many flows come that a table would forget some unread.
const PERIOD: u64 = 5 * SECOND;
/// And never sooner than this.
const SHORTEST: u64 = 500 * MILLISECOND;
/// So that a table is swept before so large a part of it is new.
const PART: f64 = 0.25;

/// What a sweep needs to know when it begins.
#[derive(Debug)]
pub struct Start {
    /// Both clocks of the kernel.
    pub clock: Clock,
    /// What the program had counted in flows, by index of the port.
    pub counted: BTreeMap<u8, Count>,
    /// Flows entered in the tables so far.
    pub entered: u64,
}

/// Sweeps the tables, a few thousand entries at a time.
pub struct Sweeper {
    flows: Flows,
    jiffy_ns: u64,
    going: Option<(Sweep, Start)>,
    begun: Time,
    next: Time,
    /// Frames of a flow quiet since then were told by the last sweep.
    told_until: Time,
    pace: Pace,
    /// What was read.
    pub tally: Tally,
    /// What passed although it may not.
    pub leaks: Leaks,
}

/// How many flows come, to each table.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// When the last sweep began, and flows entered by then.
    last: Option<(Time, u64)>,
    /// New flows the sweep that goes on found in each table.
    found: [u64; 2],
    /// The part of the new flows that is of the second table.
    share: f64,
}

impl Pace {
    /// Ends a sweep that began at `began`, when `entered` flows had been entered.
    fn finish(&mut self, began: Time, entered: u64) {
        let [four, six] = std::mem::take(&mut self.found);
        self.share = if four + six == 0 { 0.0 } else { six as f64 / (four + six) as f64 };
        self.last = Some((began, entered));
    }

    /// The time between two sweeps if `entered` flows have been entered by `now`, in tables of that size.
    fn period(&self, now: Time, entered: u64, capacity: [u32; 2]) -> u64 {
        let Some((last, before)) = self.last else { return PERIOD };
        let seconds = (now.since(last) as f64 / SECOND as f64).max(0.1);
        let rate = entered.saturating_sub(before) as f64 / seconds;
        // Which table they went to is known by the last sweep alone; a tenth may always go to the other.
        let shares = [(1.0 - self.share).max(0.1), self.share.max(0.1)];
        let fits = capacity.iter().zip(shares).map(|(room, share)| PART * f64::from(*room) / (rate * share));
        let seconds = fits.fold(f64::INFINITY, f64::min);
        ((seconds * SECOND as f64) as u64).clamp(SHORTEST, PERIOD)
    }
}

/// The key of the core.
fn id(key: &FlowKey) -> FlowId {
    match key {
        FlowKey::V4(key) => FlowId::from(key),
        FlowKey::V6(key) => FlowId::from(key),
    }
}

/// When the last frame of a flow came, and how long that was before the sweep began.
fn last(value: &FlowValue, clock: &Clock, jiffy_ns: u64) -> (Time, u64) {
    let idle_j = (clock.jiffies as u32).wrapping_sub(value.last_j);
    // A frame that came after the clock was read is in the future by a few jiffies.
    let idle_j = if idle_j > u32::MAX / 2 { 0 } else { idle_j };
    let idle_ns = u64::from(idle_j) * jiffy_ns;
    (Time(clock.monotonic_ns.saturating_sub(idle_ns)), idle_ns)
}

impl Sweeper {
    /// A sweeper of these tables; `jiffy_ns` is the length of a jiffy.
    pub fn new(flows: Flows, jiffy_ns: u64, now: Time) -> Self {
        Self {
            flows,
            jiffy_ns,
            going: None,
            begun: now,
            next: now,
            told_until: Time(0),
            pace: Pace::default(),
            tally: Tally::default(),
            leaks: Leaks::default(),
        }
    }

    /// Whether there is something to do.
    pub fn is_due(&self, now: Time) -> bool {
        self.is_going() || now >= self.next
    }

    /// Whether a sweep has begun and is not over.
    pub fn is_going(&self) -> bool {
        self.going.is_some()
    }

    /// Takes note that so many flows have been entered in the tables by now: if they are very many, the next sweep comes
    /// sooner.
    pub fn hurry(&mut self, now: Time, entered: u64) {
        let period = self.pace.period(now, entered, self.flows.capacity());
        self.next = self.next.min(self.begun.plus(period));
    }

    /// Reads on a little (2 ms) and gives each flow with news to `told`; true at the end of the sweep. `start` tells what there
    /// is to know at the beginning of one.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if a table cannot be read; the sweep is given up, the next one begins on time.
    pub fn step(
        &mut self,
        now: Time,
        start: impl FnOnce() -> Result<Start, BpfError>,
        mut told: impl FnMut(FlowProgress),
    ) -> Result<bool, BpfError> {
        let (mut sweep, start) = match self.going.take() {
            Some(going) => going,
            None => {
                (self.begun, self.next) = (now, now.plus(PERIOD));
                (Sweep::default(), start()?)
            }
        };
        let more = self.advance(&mut sweep, &start, now, &mut told).inspect_err(|_| self.tally.give_up())?;
        if more {
            self.going = Some((sweep, start));
            return Ok(false);
        }
        self.told_until = Time(start.clock.monotonic_ns);
        self.pace.finish(self.begun, start.entered);
        self.tally.finish(&start.counted);
        Ok(true)
    }

    /// Reads on, and takes flows out that are over; whether there is more to read.
    fn advance(
        &mut self,
        sweep: &mut Sweep,
        start: &Start,
        now: Time,
        told: &mut impl FnMut(FlowProgress),
    ) -> Result<bool, BpfError> {
        let (more, over) = self.read(sweep, start, now, told)?;
        for key in over {
            let Some(value) = self.flows.take(&key)? else { continue };
            let (id, (time, idle_ns)) = (id(&key), last(&value, &start.clock, self.jiffy_ns));
            let before = self.tally.close(id.port, &key, &value);
            self.leaks.look(now, &key, &value, before.as_ref());
            let end = retire(&id, value.tcp_flags, idle_ns).or(Some(EndReason::Timeout));
            told(FlowProgress::new(id, &value, now, time, end));
        }
        Ok(more)
    }

    /// Reads the next few thousand flows; whether there are more, and which of these are over.
    fn read(
        &mut self,
        sweep: &mut Sweep,
        start: &Start,
        now: Time,
        told: &mut impl FnMut(FlowProgress),
    ) -> Result<(bool, Vec<FlowKey>), BpfError> {
        let Self { flows, jiffy_ns, told_until, begun, pace, tally, leaks, .. } = self;
        let mut over = Vec::new();
        let since = pace.last.map_or(*begun, |(last, _)| last);
        let more = flows.sweep_some(sweep, |key, value| {
            let (id, (time, idle_ns)) = (id(&key), last(value, &start.clock, *jiffy_ns));
            if value.first_ns >= since.0 {
                pace.found[usize::from(matches!(key, FlowKey::V6(_)))] += 1;
            }
            if retire(&id, value.tcp_flags, idle_ns).is_some() {
                over.push(key);
                return;
            }
            let before = tally.see(id.port, &key, value);
            leaks.look(now, &key, value, before.as_ref());
            if time.plus(SECOND) >= *told_until {
                told(FlowProgress::new(id, value, now, time, None));
            }
        })?;
        Ok((more, over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_swept_before_a_quarter_of_it_is_new() {
        let second = |n: u64| Time(n * SECOND);
        let capacity = [262_144, 65_536];
        let of = |share, rate: u64| {
            let pace = Pace { last: Some((second(10), 1_000)), found: [0; 2], share };
            pace.period(second(12), 1_000 + 2 * rate, capacity)
        };
        let cases: [(&str, f64, u64, u64); 7] = [
            ("none", 0.0, 0, PERIOD),
            ("few", 0.0, 1_000, PERIOD),
            ("a quarter in two seconds", 0.0, 32_768, 2 * SECOND),
            ("a flood", 0.0, 1_000_000, SHORTEST),
            ("all of IPv6", 1.0, 8_192, 2 * SECOND),
            ("half of each", 0.5, 16_384, 2 * SECOND),
            ("the other table may get some", 0.0, 100_000, 655_360_000),
        ];
        for (name, share, rate, expected) in cases {
            assert_eq!(of(share, rate), expected, "{name}");
        }
        assert_eq!(Pace::default().period(second(1), 1_000_000, capacity), PERIOD, "nothing is known yet");
    }
}
