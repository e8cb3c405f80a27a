//! Replay: a capture through the data path in software and the engine, in the capture's own time.

use std::path::Path;

use sensor_core::datapath::Datapath;
use sensor_core::engine::{Engine, Output};
use sensor_core::event::Timed;
use sensor_core::identify::heard::Heard;
use sensor_core::observation::{FlowProgress, Observation};
use sensor_core::settings::Settings;
use sensor_core::snapshot::{DeviceView, EngineStats};
use sensor_core::time::{SECOND, Time};
use sensor_ebpf::counter::{PortCounters, Reason};

use super::pcap::{self, CaptureError, Summary};

/// Index of the one port all frames of a capture come in by.
const PORT: u8 = 1;
/// The engine ticks at least so often.
const TICK: u64 = 100 * sensor_core::time::MILLISECOND;
/// Flow tables are read this often.
const SWEEP: u64 = 5 * SECOND;
/// Time runs on for so long behind the last frame, so that contacts that still wait are judged.
const AFTER: u64 = 5 * SECOND;
/// A step back in time by more than this is a jump of the clock; by less, frames out of order.
const JUMP: u64 = SECOND;

/// The engine's clock: follows the capture's, but never goes back.
#[derive(Default)]
struct Clock {
    now: Time,
    last_unix_ns: Option<u64>,
    /// What the capture's clock is ahead of ours, ns.
    ahead_ns: i64,
}

impl Clock {
    fn advance(&mut self, unix_ns: u64) -> Time {
        let Some(last) = self.last_unix_ns else {
            self.last_unix_ns = Some(unix_ns);
            self.now = Time::at(unix_ns);
            return self.now;
        };
        if unix_ns >= last {
            self.now = self.now.plus(unix_ns - last);
            self.last_unix_ns = Some(unix_ns);
        } else if last - unix_ns > JUMP {
            // Our clock stands still, and both go on from here.
            self.last_unix_ns = Some(unix_ns);
            self.ahead_ns = (i128::from(unix_ns) - i128::from(self.now.signed())).try_into().unwrap_or(0);
        }
        self.now
    }
}

/// What a replay brought.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the file held.
    pub summary: Summary,
    /// Counters of the data path.
    pub counters: PortCounters,
    /// Frames by reason, indexed as [`Reason::ALL`].
    pub reasons: [u64; Reason::ALL.len()],
    /// Counters of the engine.
    pub stats: EngineStats,
    /// The devices, as they were known at the end.
    pub devices: Vec<DeviceView>,
    /// Capture time from the first to the last frame, ns.
    pub duration_ns: u64,
}

/// One capture on its way through.
struct Replay<F> {
    clock: Clock,
    datapath: Datapath,
    engine: Engine,
    out: Output,
    progress: Vec<FlowProgress>,
    begun: Option<Time>,
    next_tick: Time,
    next_sweep: Time,
    emit: F,
}

/// Runs one capture through a new engine. `emit` is given each event, and what the capture's clock is ahead of the
/// event's time (ns; 0 unless the capture's clock jumped).
pub fn run(path: &Path, settings: &Settings, emit: impl FnMut(&Timed, i64)) -> Result<Outcome, CaptureError> {
    let mut replay = Replay::new(settings, emit);
    let summary = pcap::read(path, |frame| replay.frame(frame))?;
    let last = replay.clock.now;
    replay.finish();
    Ok(Outcome {
        summary,
        counters: replay.datapath.counters(),
        reasons: replay.datapath.reasons,
        stats: replay.engine.stats(),
        devices: replay.engine.devices(last),
        duration_ns: last.since(replay.begun.unwrap_or(last)),
    })
}

impl<F: FnMut(&Timed, i64)> Replay<F> {
    fn new(settings: &Settings, emit: F) -> Self {
        let mut replay = Self {
            clock: Clock::default(),
            datapath: Datapath::new(PORT),
            engine: Engine::new(settings.clone()),
            out: Output::default(),
            progress: Vec::new(),
            begun: None,
            next_tick: Time::at(0),
            next_sweep: Time::at(0),
            emit,
        };
        replay.datapath.set_up(settings);
        replay.engine.restore(Vec::new(), &mut replay.out);
        replay
    }

    fn frame(&mut self, frame: pcap::Frame<'_>) {
        let now = self.clock.advance(frame.unix_ns);
        if self.begun.is_none() {
            self.begun = Some(now);
            self.next_tick = now.plus(TICK);
            self.next_sweep = now.plus(SWEEP);
        }
        if now >= self.next_tick {
            self.pass(now);
        }
        let records = self.datapath.frame(frame.bytes, frame.len, now).iter();
        let seen: Vec<_> =
            records.filter_map(|record| Observation::decode(&record.flow, Some(&record.inner))).collect();
        for seen in seen {
            self.engine.observe(&seen, &mut self.out);
            self.carry_out();
        }
        if let Some(heard) = self.datapath.heard().and_then(|head| Heard::decode(head, frame.bytes)) {
            self.engine.hear(&heard, &mut self.out);
            self.carry_out();
        }
    }

    /// Lets time pass up to `now`.
    fn pass(&mut self, now: Time) {
        self.next_tick = now.plus(TICK);
        self.engine.tick(now, &mut self.out);
        if now >= self.next_sweep {
            self.next_sweep = now.plus(SWEEP);
            self.sweep(now, false);
        }
        self.carry_out();
    }

    fn sweep(&mut self, now: Time, all: bool) {
        self.datapath.sweep(now, all, &mut self.progress);
        for progress in self.progress.drain(..) {
            self.engine.observe(&Observation::Progress(progress), &mut self.out);
        }
    }

    fn finish(&mut self) {
        if self.begun.is_none() {
            return;
        }
        let end = self.clock.now.plus(AFTER);
        self.engine.tick(end, &mut self.out);
        self.carry_out();
        self.sweep(end, true);
        self.engine.finish(end, &mut self.out);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        self.datapath.enforce(&self.out.decisions);
        self.out.decisions.clear();
        // A replay remembers nothing beyond its own run.
        self.out.saves.clear();
        self.out.parts.clear();
        for event in self.out.events.drain(..) {
            (self.emit)(&event, self.clock.ahead_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use sensor_core::settings::Mode;
    use sensor_core::state::State;

    use super::*;

    /// Replays; after each so many frames all goes on in an engine that was loaded from what the one before saved.
    fn events(path: &Path, settings: &Settings, each: Option<u64>) -> Vec<String> {
        let mut events = Vec::new();
        let mut replay = Replay::new(settings, |timed: &Timed, _| events.push(format!("{timed:?}")));
        let mut frames = 0;
        // A capture that ends within a packet is told by another test.
        let _ = pcap::read(path, |frame| {
            replay.frame(frame);
            frames += 1;
            if each.is_some_and(|each| frames % each == 0) {
                let mut saved = Vec::new();
                replay.engine.save(&mut saved).unwrap();
                replay.engine = Engine::new(settings.clone());
                let mut left = &saved[..];
                replay.engine.load(&mut left).unwrap();
                assert!(left.is_empty());
                let mut again = Vec::new();
                replay.engine.save(&mut again).unwrap();
                assert!(saved == again, "{}: what was loaded is saved otherwise", path.display());
            }
        });
        replay.finish();
        events
    }

    #[test]
    fn an_engine_that_was_loaded_goes_on_as_if_nothing_had_been() {
        let captures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures");
        let mut captures: Vec<PathBuf> =
            fs::read_dir(captures).unwrap().map(|file| file.unwrap().path()).collect();
        captures.sort();
        assert!(!captures.is_empty());
        let mut told = 0;
        for mode in [Mode::Observe, Mode::Enforce] {
            let settings = Settings { mode, ..Settings::default() };
            for path in &captures {
                let straight = events(path, &settings, None);
                told += straight.len();
                for each in [1, 7, 100] {
                    assert_eq!(
                        events(path, &settings, Some(each)),
                        straight,
                        "{} each {each}",
                        path.display()
                    );
                }
            }
        }
        assert!(told > 100, "{told}");
    }
}
