//! A channel that tells notices. One thread takes them in, keeps them on the disk, and decides when it is time; another talks
//! with the peer, so that however long that takes, what comes meanwhile is taken in and kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::SendError;
use crate::known::Acknowledgement;
use crate::notice::Notice;
use crate::outbox::Outbox;
use crate::queue::Queue;
use crate::send::{Send, Sent};
use crate::state::{Failure, State};

/// Notices that may wait to be taken in.
pub const INBOX: usize = 1_024;
/// Notices that are taken in at a time.
const AT_ONCE: usize = 256;
/// How often it is looked for what is too old.
const IDLE: Duration = Duration::from_secs(60);
/// How often it is looked what came of an attempt.
const BUSY: Duration = Duration::from_millis(50);
/// Tests that may wait for an attempt.
const MAX_TESTS: usize = 8;
/// An attempt that takes longer is told of as a failure while it goes on: each step has a limit of its own, but a peer that sends a
/// byte now and then takes as many steps as it likes. Shorter than whoever orders a test is kept waiting.
const OVERDUE: Duration = Duration::from_secs(45);
/// How long the end waits for what came of an attempt.
const FAREWELL: Duration = Duration::from_millis(1_500);

/// What a channel is asked.
pub enum Job {
    /// To tell this; for a lamp, whether the rules have it lit by that.
    Tell(Notice, bool),
    /// To tell this at once, and say what came of it.
    Test(Notice, Reply),
    /// That a person knows of an incident, or of everything (a lamp).
    Acknowledge(Arc<Acknowledgement>),
}

/// What came of a try.
pub type Reply = Box<dyn FnOnce(Result<String, String>) + std::marker::Send>;

/// The end of a channel that jobs are given to.
pub struct Inbox {
    jobs: SyncSender<Job>,
    state: Arc<State>,
}

impl Inbox {
    /// An end that leads to that channel.
    pub fn new(jobs: SyncSender<Job>, state: Arc<State>) -> Self {
        Self { jobs, state }
    }

    /// Gives a job, without waiting. What does not fit is counted, and told with the next message.
    pub fn give(&self, job: Job) {
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(
                TrySendError::Full(Job::Test(_, reply)) | TrySendError::Disconnected(Job::Test(_, reply)),
            ) => {
                reply(Err(TOO_MUCH.to_owned()));
            }
            Err(_) => {
                self.state.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

const TOO_MUCH: &str = "the channel has too much to do; try again";

/// What the thread that talks is given.
struct Attempt {
    notices: Vec<Notice>,
    lost: u64,
}

/// What came of it.
struct Outcome {
    /// The numbers of those that were told.
    told: Vec<u64>,
    /// What the peer said, or why it ended, and whether that will last.
    said: Result<String, (Failure, bool)>,
}

/// A channel that tells notices.
pub struct Worker {
    name: String,
    queue: Queue,
    outbox: Option<Outbox>,
    state: Arc<State>,
    /// To the thread that talks, and back.
    attempts: SyncSender<Attempt>,
    outcomes: Receiver<Outcome>,
    /// Most notices in an attempt.
    most: usize,
    /// Since when an attempt goes on.
    busy: Option<Instant>,
    /// That it takes too long, once that was told.
    overdue: Option<String>,
    /// It is a test, and whom to tell what comes of it, until that was done.
    testing: Option<Option<Reply>>,
    tests: VecDeque<(Notice, Reply)>,
    /// Of the notices that were given up, those that the queue knows of.
    known_lost: u64,
    /// Whether the disk refused last time.
    full: bool,
}

impl Worker {
    /// A worker that goes on with what waits in the outbox.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn new(
        name: String,
        mut send: Box<dyn Send>,
        mut queue: Queue,
        outbox: Option<Outbox>,
        state: Arc<State>,
    ) -> std::io::Result<Self> {
        if let Some(outbox) = &outbox {
            let (waiting, broken) = outbox.load();
            let now = clock::mono();
            for notice in waiting {
                queue.push(notice, now);
            }
            state.lost.fetch_add(broken, Ordering::Relaxed);
        }
        let most = send.most();
        let (attempts, to_do) = sync_channel::<Attempt>(1);
        let (done, outcomes) = sync_channel(1);
        let talk = move || {
            while let Ok(attempt) = to_do.recv() {
                // Nobody waits any more: the daemon ends.
                if done.send(talk(send.as_mut(), attempt)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name(format!("by-{name}")).spawn(talk)?;
        Ok(Self {
            name,
            queue,
            outbox,
            state,
            attempts,
            outcomes,
            most,
            busy: None,
            overdue: None,
            testing: None,
            tests: VecDeque::new(),
            known_lost: 0,
            full: false,
        })
    }

    /// Works until nobody gives jobs any more. What waits then is in the outbox.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(self.wait()) {
                Ok(job) => {
                    self.take(job);
                    jobs.try_iter().take(AT_ONCE).for_each(|job| self.take(job));
                    self.settle();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.part(),
            }
            while let Ok(outcome) = self.outcomes.try_recv() {
                self.account(outcome);
            }
            for id in self.queue.expire(clock::mono()) {
                self.give_up(id);
            }
            self.attempt();
            self.watch();
            self.state.waiting.store(self.queue.len() as u64, Ordering::Relaxed);
        }
    }

    /// How long nothing is to be done.
    fn wait(&self) -> Duration {
        if self.busy.is_some() {
            return BUSY;
        }
        let now = clock::mono();
        self.queue.due(now).map_or(IDLE, |due| Duration::from_nanos(due.since(now)).min(IDLE))
    }

    /// What is being told now need not be told again, if that is known soon.
    fn part(mut self) {
        let until = Instant::now() + FAREWELL;
        while self.busy.is_some() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(outcome) = self.outcomes.recv_timeout(left) else { return };
            self.account(outcome);
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Tell(notice, _) => {
                self.keep(&notice);
                if let Some(id) = self.queue.push(notice, clock::mono()) {
                    self.give_up(id);
                }
            }
            Job::Test(_, reply) if self.tests.len() >= MAX_TESTS => reply(Err(TOO_MUCH.to_owned())),
            Job::Test(_, reply) if self.overdue.is_some() => {
                reply(Err(self.overdue.clone().unwrap_or_default()));
            }
            Job::Test(notice, reply) => self.tests.push_back((notice, reply)),
            // There is nothing to switch off.
            Job::Acknowledge(_) => {}
        }
    }

    /// Puts a notice on the disk. Without that it is told all the same, unless the daemon ends before.
    fn keep(&mut self, notice: &Notice) {
        let kept = self.outbox.as_ref().map_or(Ok(()), |outbox| outbox.put(notice));
        self.is_kept(kept);
    }

    fn settle(&mut self) {
        let settled = self.outbox.as_ref().map_or(Ok(()), Outbox::settle);
        if settled.is_err() {
            self.is_kept(settled);
        }
    }

    /// Tells when the disk begins to refuse.
    fn is_kept(&mut self, kept: std::io::Result<()>) {
        if let Err(error) = &kept
            && !self.full
        {
            log::error!("{}: notices that wait would not survive a restart: {error}", self.name);
        }
        self.full = kept.is_err();
    }

    fn forget(&self, id: u64) {
        if let Some(outbox) = &self.outbox {
            outbox.remove(id);
        }
    }

    fn give_up(&mut self, id: u64) {
        self.state.lost.fetch_add(1, Ordering::Relaxed);
        // The queue counts these itself.
        self.known_lost += 1;
        self.forget(id);
    }

    /// Has told what is due, a test first.
    fn attempt(&mut self) {
        if self.busy.is_some() {
            return;
        }
        let now = clock::mono();
        let attempt = if let Some((notice, reply)) = self.tests.pop_front() {
            self.testing = Some(Some(reply));
            Attempt { notices: vec![notice], lost: 0 }
        } else if self.queue.due(now).is_some_and(|due| due <= now) {
            let lost = self.state.lost.load(Ordering::Relaxed);
            self.queue.count_lost(lost.saturating_sub(self.known_lost));
            self.known_lost = lost;
            Attempt { notices: self.queue.batch(self.most), lost: self.queue.lost() }
        } else {
            return;
        };
        self.busy = self.attempts.try_send(attempt).is_ok().then(Instant::now);
        if self.busy.is_none() {
            self.testing = None;
            log::error!("{}: the thread that tells broke down; nobody is told by it", self.name);
            self.queue.failed(true, now);
            self.state.failing.store(true, Ordering::Relaxed);
        }
    }

    /// An attempt that takes too long is a failure, of which the others must be told. What comes of it in the end counts then.
    fn watch(&mut self) {
        if self.overdue.is_some() || self.busy.is_none_or(|since| since.elapsed() < OVERDUE) {
            return;
        }
        let what = format!("nothing has come of an attempt within {} s", OVERDUE.as_secs());
        let error = SendError::Broken {
            peer: format!("the peer of {}", self.name),
            source: std::io::Error::new(std::io::ErrorKind::TimedOut, what),
        };
        log::warn!("{}: nobody is told: {error}", self.name);
        self.state.failed(Failure::now(&error));
        self.state.failing.store(true, Ordering::Relaxed);
        let said = error.to_string();
        let testing = self.testing.as_mut().and_then(Option::take);
        for reply in testing.into_iter().chain(self.tests.drain(..).map(|(_, reply)| reply)) {
            reply(Err(said.clone()));
        }
        self.overdue = Some(said);
    }

    /// Takes note of what came of an attempt.
    fn account(&mut self, outcome: Outcome) {
        (self.busy, self.overdue) = (None, None);
        let now = clock::mono();
        let Outcome { told, said } = outcome;
        let testing = self.testing.take();
        let test = testing.is_some();
        if let Some(reply) = testing.flatten() {
            reply(said.clone().map_err(|(failure, _)| failure.why));
        }
        if !test {
            self.queue.told(&told, now);
            told.iter().for_each(|id| self.forget(*id));
            self.state.sent.fetch_add(told.len() as u64, Ordering::Relaxed);
        }
        match said {
            Ok(answer) => {
                log::debug!("{}: {} told: {answer}", self.name, told.len());
                self.queue.works();
                self.state.succeeded(clock::unix_ns(), answer);
            }
            Err((failure, lasting)) => {
                if !test {
                    log::warn!("{}: nobody is told: {}", self.name, failure.why);
                    self.queue.failed(lasting, now);
                }
                self.state.failed(failure);
            }
        }
        self.state.failing.store(self.queue.is_failing(), Ordering::Relaxed);
    }
}

/// Makes an attempt.
fn talk(send: &mut dyn Send, attempt: Attempt) -> Outcome {
    let Attempt { notices, lost } = attempt;
    let Sent { count, said } = send.send(&notices, lost);
    let told = notices.iter().take(count).map(|notice| notice.id).collect();
    let said = said.map_err(|error| (Failure::now(&error), error.is_lasting()));
    Outcome { told, said }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::notice::What;

    /// A peer that takes nothing before it is let go.
    struct Held(Receiver<()>);

    impl Send for Held {
        fn send(&mut self, notices: &[Notice], _: u64) -> Sent {
            let _ = self.0.recv();
            Sent { count: notices.len(), said: Ok("taken".to_owned()) }
        }

        fn most(&self) -> usize {
            10
        }
    }

    fn notice(id: u64) -> Notice {
        let what = What::Test { by: "root".to_owned() };
        Notice { id, unix_ns: 0, severity: 1, device: None, place: None, incident: None, what }
    }

    /// Who reads `said` has ordered a test.
    fn test() -> (Job, Receiver<Result<String, String>>) {
        let (says, said) = channel();
        (Job::Test(notice(9), Box::new(move |what| drop(says.send(what)))), said)
    }

    /// A step of a peer has a limit, their number has none.
    #[test]
    fn a_peer_that_never_comes_to_an_end_is_a_failing_channel_until_it_does() {
        let (go, held) = channel();
        let state = Arc::new(State::default());
        let queue = Queue::new(0, None);
        let mut worker =
            Worker::new("mail".to_owned(), Box::new(Held(held)), queue, None, Arc::clone(&state)).unwrap();
        let failing = || state.failing.load(Ordering::Relaxed);
        worker.take(Job::Tell(notice(1), true));
        worker.attempt();
        let (before, said_before) = test();
        worker.take(before);
        worker.watch();
        assert!(!failing() && said_before.try_recv().is_err(), "it has only begun");
        worker.busy = Instant::now().checked_sub(OVERDUE);
        worker.watch();
        worker.watch();
        let why = state.last().error.unwrap().why;
        assert!(failing() && why.contains("within 45 s"), "{why}");
        assert_eq!(state.failed.load(Ordering::Relaxed), 1, "it is told once");
        let (after, said_after) = test();
        worker.take(after);
        assert_eq!((said_before.recv().unwrap(), said_after.recv().unwrap()), (Err(why.clone()), Err(why)));
        go.send(()).unwrap();
        let outcome = worker.outcomes.recv().unwrap();
        worker.account(outcome);
        assert!(!failing() && state.sent.load(Ordering::Relaxed) == 1 && worker.queue.len() == 0);
        // A test that is held up is answered too, and is no notice that was told.
        let (order, said) = test();
        worker.take(order);
        worker.attempt();
        worker.busy = Instant::now().checked_sub(OVERDUE);
        worker.watch();
        assert!(failing() && said.recv().unwrap().is_err());
        go.send(()).unwrap();
        let outcome = worker.outcomes.recv().unwrap();
        worker.account(outcome);
        assert!(!failing() && state.sent.load(Ordering::Relaxed) == 1);
    }
}
