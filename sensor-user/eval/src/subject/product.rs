//! The product on a simulated site: the real engine, and in enforce mode the data path's own rules in front of it.

use sensor_core::datapath::Datapath;
use sensor_core::engine::{Engine, Output};
use sensor_core::event::{Event, FlowEnded};
use sensor_core::observation::{DropReason, DropSeen, FlowId, Observation, Verdict};
use sensor_core::policy::class::Criticality;
use sensor_core::policy::{self, Decision, Save, Target};
use sensor_core::settings::{Mode, Settings};
use sensor_core::time::{MILLISECOND, SECOND, Time};

use super::frame;
use super::tally::Tally;
use crate::sim::calendar::START;
use crate::sim::site::{Class, Site};
use crate::sim::world::{Sink, Told};

/// The engine ticks so often while contacts wait, and so often else.
const TICKS: [u64; 2] = [10 * MILLISECOND, SECOND];
/// Index of the one port that rules know here.
const PORT: u8 = 1;

/// The settings of a site as the handbook asks for: its router and its management are named, and what kind of device each
/// is; no class has a highest level of its own, for that would hide a mistake. All else is the default.
pub fn settings(site: &Site, mode: Mode) -> Settings {
    let mut settings = Settings { mode, ..Settings::default() };
    settings.gateways.insert(site.router);
    for class in Class::ALL {
        let macs = site.of(class).iter().filter_map(|id| site.hosts.get(*id));
        let members = macs.map(|host| Target::Mac(host.mac)).collect();
        let named = class.name().parse();
        let of_kind = policy::class::Class::of_kind(Criticality::Other);
        settings.classes.extend(named.ok().map(|name| (name, policy::class::Class { members, ..of_kind })));
    }
    for id in site.of(Class::Nms) {
        let host = site.hosts.get(*id);
        settings.protected.extend(host.map(|host| Target::Mac(host.mac)));
        settings.protected.extend(host.map(|host| Target::Ip(host.ip)));
    }
    settings
}

/// The engine, what it decided, and what came of it.
pub struct Product {
    engine: Engine,
    out: Output,
    datapath: Datapath,
    /// Targets under a rule that is enforced; without one no frame has to be looked at.
    ruled: std::collections::BTreeSet<Target>,
    enforces: bool,
    next_tick: Time,
    bytes: Vec<u8>,
    /// What it did to whom.
    pub tally: Tally,
    /// Records it was given.
    pub records: u64,
    /// Conversations that ended, if somebody wants to know; to be taken out by him.
    pub ended: Option<Vec<FlowEnded>>,
    /// What is to be kept over a restart, if somebody wants to know.
    pub saves: Option<Vec<Save>>,
}

impl Product {
    /// A product that has seen nothing, with these settings.
    pub fn new(settings: &Settings) -> Self {
        Self::of(Engine::new(settings.clone()), settings)
    }

    /// The same about an engine of one's own.
    pub fn of(engine: Engine, settings: &Settings) -> Self {
        let mut product = Self {
            engine,
            out: Output::default(),
            datapath: Datapath::new(PORT),
            ruled: std::collections::BTreeSet::new(),
            enforces: settings.mode == Mode::Enforce,
            next_tick: START,
            bytes: Vec::new(),
            tally: Tally::default(),
            records: 0,
            ended: None,
            saves: None,
        };
        product.datapath.set_up(settings);
        product.engine.restore(Vec::new(), &mut product.out);
        product.carry_out();
        product
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Ends its work at `now`: the engine as it is then, and what is to be kept.
    pub fn finish(mut self, now: Time) -> (Engine, Vec<Save>) {
        self.pass(now);
        self.engine.finish(now, &mut self.out);
        self.carry_out();
        (self.engine, self.saves.unwrap_or_default())
    }

    /// Lets time pass up to `now`.
    pub fn pass(&mut self, now: Time) {
        while self.next_tick <= now {
            let tick = self.next_tick;
            self.engine.tick(tick, &mut self.out);
            self.carry_out();
            let every = TICKS[usize::from(!self.engine.is_waiting())];
            self.next_tick = tick.plus(every);
        }
    }

    /// Gives a record to the engine and nothing else: what that takes is the product's time, not the evaluation's.
    pub fn take_in(&mut self, told: &Told) {
        self.pass(time(&told.observation));
        self.engine.observe(&told.observation, &mut self.out);
        if !self.out.events.is_empty() || !self.out.decisions.is_empty() {
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        if self.enforces {
            for decision in &self.out.decisions {
                match decision {
                    Decision::Restrict(target, by) if !by.would => drop(self.ruled.insert(*target)),
                    Decision::Restrict(target, _) | Decision::Clear(target) => {
                        self.ruled.remove(target);
                    }
                    _ => {}
                }
            }
            self.datapath.enforce(&self.out.decisions);
        }
        self.out.decisions.clear();
        match &mut self.saves {
            Some(saves) => saves.append(&mut self.out.saves),
            None => self.out.saves.clear(),
        }
        self.out.parts.clear();
        for timed in self.out.events.drain(..) {
            match &timed.event {
                Event::Alert(alert) => self.tally.alert(timed.time, alert),
                Event::Isolation(isolation) => self.tally.isolation(timed.time, isolation),
                Event::Flow(ended) => {
                    if let Some(all) = &mut self.ended {
                        all.push(ended.clone());
                    }
                }
                _ => {}
            }
        }
    }

    /// What the data path does with a frame of a flow.
    fn verdict(
        &mut self,
        id: &FlowId,
        macs: [sensor_core::addr::Mac; 2],
        ttl: u8,
        flags: u8,
        now: Time,
    ) -> Verdict {
        if self.ruled.is_empty() {
            return Verdict::Pass;
        }
        frame::write(&mut self.bytes, id, macs, ttl, flags);
        let before = self.datapath.counters().drop_packets;
        self.datapath.frame(&self.bytes, self.bytes.len() as u32, now);
        if self.datapath.counters().drop_packets > before { Verdict::Drop } else { Verdict::Pass }
    }

    fn flow(&mut self, told: &Told) -> bool {
        let Observation::Flow(mut seen) = told.observation else { return true };
        seen.verdict = self.verdict(&seen.id, [seen.smac, seen.dmac], seen.ttl, seen.tcp_flags, seen.time);
        let passes = seen.verdict != Verdict::Drop;
        self.tally.flow(told, &seen, passes);
        // Also of a new flow that is dropped there is a record: rules hold for flows in the table.
        self.engine.observe(&Observation::Flow(seen), &mut self.out);
        if !passes {
            let dropped = DropSeen {
                time: seen.time,
                id: seen.id,
                smac: seen.smac,
                dmac: seen.dmac,
                len: seen.len,
                ttl: seen.ttl,
                tcp_flags: seen.tcp_flags,
                would: false,
                reason: DropReason::Rule,
                rule_id: 1,
            };
            self.engine.observe(&Observation::Drop(dropped), &mut self.out);
        }
        passes
    }

    fn progress(&mut self, told: &Told) -> bool {
        let Observation::Progress(progress) = told.observation else { return true };
        if !self.ruled.is_empty() {
            let macs = self.tally.macs(&progress.id);
            let verdict = self.verdict(&progress.id, macs, 64, 0x10, progress.time);
            if verdict == Verdict::Drop {
                self.tally.cut_short(told);
                return false;
            }
        }
        self.engine.observe(&told.observation, &mut self.out);
        true
    }
}

/// When something was observed.
pub fn time(observation: &Observation) -> Time {
    match observation {
        Observation::Flow(seen) => seen.time,
        Observation::Progress(progress) => progress.time,
        Observation::Drop(seen) => seen.time,
    }
}

impl Sink for Product {
    fn told(&mut self, told: &Told) -> bool {
        self.records += 1;
        self.pass(time(&told.observation));
        let passes = match &told.observation {
            Observation::Flow(_) => self.flow(told),
            _ => self.progress(told),
        };
        if !self.out.events.is_empty() || !self.out.decisions.is_empty() {
            self.carry_out();
        }
        passes
    }

    fn moved(&mut self, site: &Site) {
        self.tally.moved(site);
    }
}
