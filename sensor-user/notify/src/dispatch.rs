//! From events to channels: a thread that decides who is told, and watches how the channels do.
//!
//! The loop of the daemon only hands over, into a bounded queue; what does not fit is counted. Nothing of what happens here
//! can hold it up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use sensor_core::event::{DeviceRef, Event, Timed};
use sensor_core::observation::FlowId;

use crate::clock;
use crate::error::NotifyError;
use crate::known::{Acknowledgement, OnKnown};
use crate::lamp::keeper::LampKeeper;
use crate::notice::{Notice, unix_ns};
use crate::outbox::Outbox;
use crate::place::{Heard, Place};
use crate::queue::Queue;
use crate::rules;
use crate::send::Send;
use crate::send::mail::Mailer;
use crate::send::syslog::Logger;
use crate::send::trap::Trapper;
use crate::send::webhook::Hook;
use crate::settings::{Channel, Means, Settings};
use crate::state::{ChannelInfo, State};
use crate::told::Told;
use crate::worker::{INBOX, Inbox, Job, Reply, Worker};

/// Notices that may wait for the thread that decides.
const WAITING: usize = 4_096;
/// How often the channels are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long the end waits for the channels.
const FAREWELL: Duration = Duration::from_secs(2);

const STOPPING: &str = "the daemon is stopping";
const TOO_MANY: &str = "too many notices wait; try again";

/// What goes into the thread.
enum Input {
    Notice(Box<Notice>),
    Test { name: String, by: String, reply: Reply },
    Acknowledge(Option<u64>, OnKnown),
}

/// Tells people. The loop of the daemon owns it.
pub struct Notifier {
    inputs: Option<SyncSender<Input>>,
    settings: Arc<Settings>,
    states: Arc<BTreeMap<String, Arc<State>>>,
    overflow: Arc<AtomicU64>,
    heard: Heard,
    numbers: Numbers,
    threads: Vec<JoinHandle<()>>,
}

/// Gives each notice a number that grows, also over a restart unless the clock was set back.
#[derive(Clone, Default)]
struct Numbers(Arc<AtomicU64>);

impl Numbers {
    fn next(&self, unix_ns: i64) -> u64 {
        let micros = u64::try_from(unix_ns / 1_000).unwrap_or(0);
        let next = |last: u64| last.saturating_add(1).max(micros);
        // It always gives a new one.
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        next(last.unwrap_or_else(|last| last))
    }
}

impl Notifier {
    /// Starts the channels, which go on with what waits in `dir`. `host` is the name of this machine.
    ///
    /// # Errors
    ///
    /// If no thread can be started. A directory that cannot be used is logged: then nothing outlives a restart.
    pub fn start(settings: Settings, dir: &Path, host: &str, zone: TimeZone) -> Result<Self, NotifyError> {
        let settings = Arc::new(settings);
        let (inputs, inbox) = sync_channel(WAITING);
        let overflow = Arc::new(AtomicU64::new(0));
        let (mut states, mut inboxes, mut threads) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (name, channel) in &settings.channels {
            let state = Arc::new(State::default());
            let (jobs, received) = sync_channel(INBOX);
            threads.push(channel_thread(name, channel, &dir.join(name), host, &zone, &state, received)?);
            inboxes.insert(name.clone(), Inbox::new(jobs, Arc::clone(&state)));
            states.insert(name.clone(), state);
        }
        let (states, numbers) = (Arc::new(states), Numbers::default());
        let dispatcher = Dispatcher {
            settings: Arc::clone(&settings),
            states: Arc::clone(&states),
            inboxes,
            overflow: Arc::clone(&overflow),
            seen_overflow: 0,
            failing: BTreeSet::new(),
            numbers: numbers.clone(),
            zone,
        };
        let thread = thread::Builder::new().name("notify".to_owned());
        threads.push(thread.spawn(move || dispatcher.run(&inbox))?);
        let heard = Heard::new();
        Ok(Self { inputs: Some(inputs), settings, states, overflow, heard, numbers, threads })
    }

    /// Something happened. `offset_ns` is what the date is ahead of the engine's clock, `ports` the names of the ports,
    /// `latency_ns` how long it took from the first piece of evidence to the drop.
    pub fn tell(
        &mut self,
        timed: &Timed,
        offset_ns: i64,
        ports: &BTreeMap<u8, String>,
        latency_ns: Option<u64>,
    ) {
        let told = match &timed.event {
            Event::Device(seen) => {
                self.heard.at(seen.device.mac, seen.port, seen.vlan);
                if !seen.new {
                    return;
                }
                Told::device(seen)
            }
            Event::Alert(alert) => {
                self.hear(&alert.device, Some(&alert.flow));
                Told::alert(alert)
            }
            Event::Isolation(change) => {
                change.device.iter().for_each(|device| self.hear(device, change.flow.as_ref()));
                Told::isolation(change, offset_ns, latency_ns)
            }
            Event::Approval(approval) => Told::approval(approval, offset_ns),
            Event::Judgement(judgement) => Told::judgement(judgement),
            Event::Blind(blind) => Told::blind(blind),
            Event::Bypass(change) => Told::bypass(change),
            Event::Flow(_) | Event::Dropped(_) | Event::Window(_) | Event::Card(_) | Event::Order(_) => {
                return;
            }
        };
        let place = told.mac.and_then(|mac| self.heard.of(&mac));
        let place = place.map(|(port, vlan)| self.settings.segments.place(ports.get(&port), vlan));
        let now = unix_ns(timed.time, offset_ns);
        let notice = notice(&self.numbers, told, now, place);
        self.give(notice);
    }

    /// A device was heard with this flow, if it is one of its own: it may have moved.
    fn hear(&mut self, device: &DeviceRef, flow: Option<&FlowId>) {
        if let Some(flow) = flow.filter(|flow| device.ips.contains(&flow.src)) {
            self.heard.at(device.mac, flow.port, flow.vlan);
        }
    }

    fn give(&mut self, notice: Notice) {
        let Some(inputs) = &self.inputs else { return };
        if inputs.try_send(Input::Notice(Box::new(notice))).is_err() {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has a channel tell a test, and passes on what came of it.
    pub fn test(&self, name: String, by: String, reply: Reply) {
        let Some(inputs) = &self.inputs else { return reply(Err(STOPPING.to_owned())) };
        match inputs.try_send(Input::Test { name, by, reply }) {
            Ok(()) => {}
            Err(
                TrySendError::Full(Input::Test { reply, .. })
                | TrySendError::Disconnected(Input::Test { reply, .. }),
            ) => {
                reply(Err(TOO_MANY.to_owned()));
            }
            Err(_) => {}
        }
    }

    /// A person knows of an incident, or of everything. Passes on what the lamps say of that.
    pub fn acknowledge(&self, incident: Option<u64>, told: OnKnown) {
        let Some(inputs) = &self.inputs else { return told(Err(STOPPING.to_owned())) };
        match inputs.try_send(Input::Acknowledge(incident, told)) {
            Ok(()) => {}
            Err(
                TrySendError::Full(Input::Acknowledge(_, told))
                | TrySendError::Disconnected(Input::Acknowledge(_, told)),
            ) => told(Err(TOO_MANY.to_owned())),
            Err(_) => {}
        }
    }

    /// How the channels do.
    pub fn channels(&self) -> Vec<ChannelInfo> {
        let info = |(name, channel): (&String, &Channel)| {
            Some(ChannelInfo::of(name, channel.means.kind(), self.states.get(name)?))
        };
        self.settings.channels.iter().filter_map(info).collect()
    }

    /// Notices that found the queue to the channels full.
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }

    /// Has what waits written down, and waits for the channels a little.
    pub fn close(mut self) {
        self.inputs = None;
        let until = Instant::now() + FAREWELL;
        // The one that decides lets go of the channels.
        for thread in self.threads.drain(..).rev() {
            while !thread.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(10));
            }
            // One that waits for its peer is left behind: what it was telling is in its outbox.
            if thread.is_finished() && thread.join().is_err() {
                log::error!("a thread of the notices broke down");
            }
        }
    }
}

fn notice(numbers: &Numbers, told: Told, unix_ns: i64, place: Option<Place>) -> Notice {
    let Told { severity, device, incident, what, .. } = told;
    Notice { id: numbers.next(clock::unix_ns()), unix_ns, severity, device, place, incident, what }
}

/// Starts the thread of a channel.
fn channel_thread(
    name: &str,
    channel: &Channel,
    dir: &Path,
    host: &str,
    zone: &TimeZone,
    state: &Arc<State>,
    jobs: Receiver<Job>,
) -> Result<JoinHandle<()>, NotifyError> {
    let outbox = Outbox::open(dir.to_owned()).map_err(|error| {
        let error = NotifyError::Outbox { path: dir.to_owned(), source: error };
        log::error!("{error}; what waits does not survive a restart");
    });
    let (language, state) = (channel.language, Arc::clone(state));
    let (name, zone) = (name.to_owned(), zone.clone());
    let send: Box<dyn Send> = match channel.means.clone() {
        Means::Lamp(lamp) => {
            let file: Option<PathBuf> = outbox.ok().map(|_| dir.join("open.alarms"));
            let keeper = LampKeeper::new(name.clone(), lamp, file, state);
            return Ok(thread::Builder::new().name(format!("to-{name}")).spawn(move || keeper.run(&jobs))?);
        }
        Means::Mail(mail) => Box::new(Mailer::new(mail, language, zone)),
        Means::Webhook(webhook) => Box::new(Hook::new(webhook, language, zone)),
        Means::Trap(trap) => Box::new(Trapper::new(trap)),
        Means::Syslog(syslog) => Box::new(Logger::new(syslog, host)),
    };
    let queue = Queue::new(channel.means.gather_ns(), channel.means.per_hour());
    let worker = Worker::new(name.clone(), send, queue, outbox.ok(), state)?;
    Ok(thread::Builder::new().name(format!("to-{name}")).spawn(move || worker.run(&jobs))?)
}

/// The thread that decides.
struct Dispatcher {
    settings: Arc<Settings>,
    states: Arc<BTreeMap<String, Arc<State>>>,
    inboxes: BTreeMap<String, Inbox>,
    overflow: Arc<AtomicU64>,
    seen_overflow: u64,
    /// Channels that were told to fail.
    failing: BTreeSet<String>,
    numbers: Numbers,
    zone: TimeZone,
}

impl Dispatcher {
    fn run(mut self, inputs: &Receiver<Input>) {
        let mut next_look = Instant::now();
        loop {
            match inputs.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
                Ok(Input::Notice(notice)) => self.route(&notice),
                Ok(Input::Test { name, by, reply }) => self.test(&name, &by, reply),
                Ok(Input::Acknowledge(incident, told)) => self.acknowledge(incident, told),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= next_look {
                next_look = Instant::now() + LOOK;
                self.look();
            }
        }
    }

    /// Gives a notice to those who are to be told; lamps hear all, for what ends an alarm.
    fn route(&self, notice: &Notice) {
        let told = rules::channels(&self.settings, notice, &self.zone);
        for (name, inbox) in &self.inboxes {
            let ruled = told.contains(name.as_str());
            if ruled || self.is_lamp(name) {
                inbox.give(Job::Tell(notice.clone(), ruled));
            }
        }
    }

    /// Gives the lamps to know that a person knows.
    fn acknowledge(&self, incident: Option<u64>, told: OnKnown) {
        let order = Arc::new(Acknowledgement::new(incident, told));
        for (name, inbox) in &self.inboxes {
            if self.is_lamp(name) {
                inbox.give(Job::Acknowledge(Arc::clone(&order)));
            }
        }
    }

    fn is_lamp(&self, name: &str) -> bool {
        self.settings.channels.get(name).is_some_and(|channel| matches!(channel.means, Means::Lamp(_)))
    }

    fn test(&mut self, name: &str, by: &str, reply: Reply) {
        match self.inboxes.get(name) {
            Some(inbox) => {
                let test = notice(&self.numbers, Told::test(by), clock::unix_ns(), None);
                inbox.give(Job::Test(test, reply));
            }
            None => {
                let known: Vec<_> = self.inboxes.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
                reply(Err(format!("there is no channel {name} in the configuration; channels: {known}")));
            }
        }
    }

    /// Tells the others of a channel that began to fail, or works again.
    fn look(&mut self) {
        let overflow = self.overflow.load(Ordering::Relaxed);
        if overflow > self.seen_overflow {
            let more = overflow - self.seen_overflow;
            log::error!("{more} notices found too many waiting, and were not told");
            // Whom they would have gone to is not known any more: all are told of them.
            for state in self.states.values() {
                state.lost.fetch_add(more, Ordering::Relaxed);
            }
            self.seen_overflow = overflow;
        }
        let mut changed = Vec::new();
        for (name, state) in self.states.iter() {
            let fails = state.failing.load(Ordering::Relaxed);
            if fails != self.failing.contains(name) {
                let failure = state.last().error.filter(|_| fails);
                changed.push((name.clone(), fails, failure));
            }
        }
        for (name, fails, failure) in changed {
            let error =
                fails.then(|| failure.as_ref().map_or_else(String::new, |failure| failure.why.clone()));
            match &error {
                Some(why) => {
                    log::error!("the channel {name} fails: {why}");
                    self.failing.insert(name.clone());
                }
                None => {
                    log::info!("the channel {name} works again");
                    self.failing.remove(&name);
                }
            }
            let told = Told::channel(&name, error, failure.map(|failure| failure.trouble));
            let notice = notice(&self.numbers, told, clock::unix_ns(), None);
            self.route(&notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_whoever_takes_them_and_whatever_the_clock_does() {
        let numbers = Numbers::default();
        let other = numbers.clone();
        let taken =
            [numbers.next(5_000_000), other.next(5_000_000), numbers.next(1_000), other.next(9_000_000)];
        assert_eq!(taken, [5_000, 5_001, 5_002, 9_000]);
    }
}
