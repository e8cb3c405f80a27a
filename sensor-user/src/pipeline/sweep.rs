//! Reading the kernel's flow tables: how flows went on, and which ended.

use std::collections::BTreeMap;

use sensor_core::flow::retire;
use sensor_core::observation::{FlowId, FlowProgress};
use sensor_core::time::{MILLISECOND, SECOND, Time};
use sensor_ebpf::account::quiet_j;
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

/// Sweeps the tables, a few hundred entries at a time.
pub struct Sweeper {
    flows: Flows,
    jiffy_ns: u64,
    going: Option<(Sweep, Start)>,
    begun: Time,
    next: Time,
    /// When the last whole sweep began. What was over by then, and what was quiet since, was told.
    told: Clock,
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

/// How long before that moment the last frame of a flow came, ns; 0 if it came after it.
fn idle_ns(value: &FlowValue, jiffies: u64, jiffy_ns: u64) -> u64 {
    quiet_j(value, jiffies).saturating_mul(jiffy_ns)
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
            told: Clock::default(),
            pace: Pace::default(),
            tally: Tally::default(),
            leaks: Leaks::default(),
        }
    }

    /// When the last whole sweep began, in jiffies: see [`Sweeper::resume`].
    pub fn told_j(&self) -> u64 {
        self.told.jiffies
    }

    /// Takes up what an earlier daemon knew: the ends of flows that were over by then were told.
    pub fn resume(&mut self, told_j: u64) {
        self.told.jiffies = self.told.jiffies.max(told_j);
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

    /// Reads on a little and gives each flow with news to `told`; true at the end of the sweep. `start` tells what there
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
        let more = self.read(&mut sweep, &start, now, &mut told).inspect_err(|_| self.tally.give_up())?;
        if more {
            self.going = Some((sweep, start));
            return Ok(false);
        }
        self.told = start.clock;
        self.pace.finish(self.begun, start.entered);
        self.tally.finish(&start.counted);
        Ok(true)
    }

    /// Reads the next few hundred flows; whether there are more.
    fn read(
        &mut self,
        sweep: &mut Sweep,
        start: &Start,
        now: Time,
        told: &mut impl FnMut(FlowProgress),
    ) -> Result<bool, BpfError> {
        let Self { flows, jiffy_ns, told: before, begun, pace, tally, leaks, .. } = self;
        let since = pace.last.map_or(*begun, |(last, _)| last);
        flows.sweep_some(sweep, |key, value| {
            let id = id(&key);
            let end_by = |jiffies| retire(&id, value.tcp_flags, idle_ns(value, jiffies, *jiffy_ns));
            // It stays in the table until another needs its slot.
            if end_by(before.jiffies).is_some() {
                return;
            }
            if value.first_ns >= since.ns() {
                pace.found[usize::from(matches!(key, FlowKey::V6(_)))] += 1;
            }
            let end = end_by(start.clock.jiffies);
            let read = if end.is_some() {
                tally.close(id.port, &key, value)
            } else {
                tally.see(id.port, &key, value)
            };
            leaks.look(now, &key, value, read.as_ref());
            let quiet = idle_ns(value, start.clock.jiffies, *jiffy_ns);
            let last = Time::at(start.clock.monotonic_ns.saturating_sub(quiet));
            // What was not read before an earlier daemon may have told.
            let untold = || last.plus(SECOND) >= Time::at(before.monotonic_ns);
            if end.is_some() || read.map_or_else(untold, |read| !read.has_all_of(value)) {
                told(FlowProgress::new(id, value, now, last, end));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_swept_before_a_quarter_of_it_is_new() {
        let second = |n: u64| Time::at(n * SECOND);
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
