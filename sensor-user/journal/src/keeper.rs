//! The journal on a thread of its own: a slow, full or broken disk never holds up the daemon. What waits for it is bounded; what
//! was lost is counted, and told as a row itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sensor_core::steady::Steady;

use crate::alive;
use crate::entry::Entry;
use crate::error::JournalError;
use crate::journal::{Journal, Keeping};
use crate::note::note;
use crate::queue::Queue;

/// Rows of so long a time are written together: the disk is waited for a few times a second at most.
const GATHER: Duration = Duration::from_millis(200);
/// What could not be written is tried again after this time.
const RETRY: Duration = Duration::from_secs(5);
/// Old rows are looked for when so many were written, and when nothing comes and they were not for so long.
const PRUNE_ROWS: usize = 1_000;
const PRUNE_IDLE: Duration = Duration::from_secs(600);

/// The journal's keeper.
pub struct Keeper {
    queue: Arc<Queue>,
    errors: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread, which opens the journal of that state directory. `clock` gives ns since 1970.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start(dir: &Path, keeping: Keeping, clock: fn() -> i64) -> std::io::Result<Self> {
        let (queue, errors) = (Arc::new(Queue::default()), Arc::new(AtomicU64::new(0)));
        let mut writer = Writer {
            dir: dir.to_owned(),
            keeping,
            clock,
            queue: Arc::clone(&queue),
            errors: Arc::clone(&errors),
            journal: None,
            waiting: Vec::new(),
            told: 0,
            since_prune: 0,
            pruned: None,
            begun: Instant::now(),
            steady: Steady::default(),
            failing: None,
        };
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run())?;
        Ok(Self { queue, errors, thread: Some(thread) })
    }

    /// Has a row written. It never waits.
    pub fn add(&self, entry: Entry) {
        self.queue.add(entry);
    }

    /// Rows lost since the start.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// Writes that failed since the start.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

impl Drop for Keeper {
    /// Waits until all is written, or could not be.
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the journal's thread broke down");
        }
    }
}

/// What the thread works with.
struct Writer {
    dir: PathBuf,
    keeping: Keeping,
    clock: fn() -> i64,
    queue: Arc<Queue>,
    errors: Arc<AtomicU64>,
    journal: Option<Journal>,
    /// Taken from the queue, and not written yet.
    waiting: Vec<Entry>,
    /// Rows that are told as lost.
    told: u64,
    since_prune: usize,
    pruned: Option<Instant>,
    begun: Instant,
    steady: Steady,
    /// What is wrong, so that a lasting fault is logged once.
    failing: Option<String>,
}

impl Writer {
    fn run(&mut self) {
        loop {
            if self.journal.is_some() && self.waiting.is_empty() {
                self.queue.wait(alive::EVERY);
                self.queue.pause(GATHER);
            }
            let closed = self.queue.is_closed();
            let mut written = self.step();
            if closed && written.is_ok() {
                // What came while an earlier batch could not be written.
                written = self.step();
            }
            match written {
                Ok(()) if self.failing.take().is_some() => log::info!("the journal can be written again"),
                Ok(()) => {}
                Err(error) => self.fail(&error),
            }
            if closed {
                return self.end();
            }
            if self.failing.is_some() {
                self.queue.pause(RETRY);
            }
        }
    }

    /// Opens the journal if need be, and writes what waits.
    fn step(&mut self) -> Result<(), JournalError> {
        let now = (self.clock)();
        let steady = self.steady.is(now, self.begun.elapsed());
        if self.waiting.is_empty() {
            self.waiting = self.queue.take();
        }
        let lost = self.queue.lost();
        if lost > self.told {
            let rows = lost - self.told;
            let words = format!("{rows} events were lost: the disk was too slow, or full");
            self.waiting.push(note(now, "lost", &[("events", rows.into())], words));
            self.told = lost;
        }
        let journal = match &mut self.journal {
            Some(journal) => journal,
            none => none.insert(Journal::open(&self.dir, self.keeping, now)?),
        };
        journal.write(&self.waiting)?;
        self.since_prune += self.waiting.len();
        journal.lives(now);
        let idle = self.waiting.is_empty() && self.pruned.is_none_or(|at| at.elapsed() >= PRUNE_IDLE);
        self.waiting.clear();
        if idle || self.since_prune >= PRUNE_ROWS {
            self.since_prune = 0;
            self.pruned = Some(Instant::now());
            journal.prune(now, steady)?;
        }
        Ok(())
    }

    fn fail(&mut self, error: &JournalError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let text = error.to_string();
        if self.failing.as_ref() != Some(&text) {
            log::error!("{text}");
        }
        self.failing = Some(text);
        if matches!(error, JournalError::Damaged { .. }) {
            // Opened anew it is set aside.
            self.journal = None;
        }
    }

    fn end(&mut self) {
        let left = self.waiting.len() + self.queue.take().len();
        if left > 0 {
            log::error!("{left} events were not written to the journal");
        }
        if let Some(journal) = self.journal.take() {
            let head = journal.head();
            log::info!("the journal ends with record {}:{}", head.link, crate::chain::hex(&head.hash));
            if let Err(error) = journal.close() {
                log::error!("{error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::DATABASE;
    use crate::queue::{RESERVED, WAITING};
    use crate::read::{Query, Reader};
    use crate::verify::verify;

    const KEEPING: Keeping = Keeping { days: 400, rows: 10_000 };

    fn row(kind: &str) -> Entry {
        Entry { kind: kind.to_owned(), words: kind.to_owned(), ..Entry::default() }
    }

    fn words(dir: &Path) -> Vec<String> {
        let reader = Reader::open(&dir.join(DATABASE)).unwrap();
        assert!(verify(&reader, None, &[]).unwrap().faults.is_empty());
        reader.all(&Query::default()).unwrap().into_iter().map(|record| record.entry.words).collect()
    }

    #[test]
    fn the_end_waits_until_all_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(dir.path(), KEEPING, || 0).unwrap();
        (0..500).for_each(|_| keeper.add(row("alert")));
        drop(keeper);
        assert_eq!(words(dir.path()).len(), 501);
    }

    #[test]
    fn while_nothing_can_be_written_what_waits_is_bounded_and_what_is_lost_is_told() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        // Where the directory should be there is a file.
        fs::write(&dir, "").unwrap();
        let keeper = Keeper::start(&dir, KEEPING, || 0).unwrap();
        while keeper.errors() == 0 {
            thread::yield_now();
        }
        for _ in 0..WAITING {
            keeper.add(row("device"));
        }
        for _ in 0..RESERVED + 3 {
            keeper.add(row("alert"));
        }
        assert_eq!(keeper.lost(), RESERVED as u64 + 3);
        fs::remove_file(&dir).unwrap();
        drop(keeper);
        let words = words(&dir);
        let count = |what: &str| words.iter().filter(|words| words.contains(what)).count();
        assert_eq!((count("device"), count("alert")), (WAITING - RESERVED, RESERVED));
        assert!(
            words.iter().any(|words| words.contains(&format!("{} events were lost", RESERVED + 3))),
            "{words:?}"
        );
    }

    /// A box whose clock is years ahead as it starts must not take away what it kept for a year.
    #[test]
    fn a_start_with_a_clock_years_ahead_takes_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let write = |clock: fn() -> i64| {
            let keeper = Keeper::start(dir.path(), KEEPING, clock).unwrap();
            (0..PRUNE_ROWS).for_each(|_| keeper.add(Entry { time_ns: clock(), ..row("alert") }));
        };
        write(|| 0);
        write(|| i64::MAX / 2);
        assert_eq!(words(dir.path()).iter().filter(|words| *words == "alert").count(), 2 * PRUNE_ROWS);
    }

    #[test]
    fn an_end_that_cannot_write_is_an_end_all_the_same() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        fs::write(&dir, "").unwrap();
        let keeper = Keeper::start(&dir, KEEPING, || 0).unwrap();
        keeper.add(row("alert"));
        drop(keeper);
        assert_eq!(fs::read(&dir).unwrap(), b"");
    }
}
