//! The store on a thread of its own: a slow or full disk never holds up the data path's decisions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sensor_core::policy::Save;
use tokio::sync::oneshot;

use crate::clock::Now;
use crate::store::Store;

/// Batches that may wait for the disk.
const WAITING: usize = 1_024;
/// Changes kept while the disk is too slow.
const MAX_BACKLOG: usize = 65_536;
/// What could not be written is tried again after this time.
const RETRY: Duration = Duration::from_secs(5);

/// Something to write, and whom to tell when it is on the disk (or failed to get there).
struct Batch {
    saves: Vec<Save>,
    done: Option<oneshot::Sender<()>>,
}

/// The store's keeper.
pub struct Keeper {
    batches: Option<SyncSender<Batch>>,
    thread: Option<JoinHandle<()>>,
    errors: Arc<AtomicU64>,
    /// What the disk was too slow for so far; it goes with the next batch.
    backlog: Vec<Save>,
}

impl Keeper {
    /// Takes the store into a thread.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start(store: Store) -> std::io::Result<Self> {
        let (batches, inbox) = sync_channel(WAITING);
        let errors = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&errors);
        let thread =
            thread::Builder::new().name("store".to_owned()).spawn(move || keep(store, &inbox, &count))?;
        Ok(Self { batches: Some(batches), thread: Some(thread), errors, backlog: Vec::new() })
    }

    /// Has `saves` written. The answer comes when they are on the disk, or could not be written yet.
    pub fn save(&mut self, saves: Vec<Save>) -> oneshot::Receiver<()> {
        let (done, answer) = oneshot::channel();
        self.backlog.extend(saves);
        let Some(batches) = &self.batches else { return answer };
        let saves = std::mem::take(&mut self.backlog);
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
            batches.try_send(Batch { saves, done: Some(done) })
        {
            self.errors.fetch_add(1, Ordering::Relaxed);
            self.backlog = batch.saves;
            // Entries are absolute: of the very old ones a later one most likely says more.
            let over = self.backlog.len().saturating_sub(MAX_BACKLOG);
            self.backlog.drain(..over);
            log::error!("the disk is too slow: a change holds, but is not written yet");
        }
        answer
    }

    /// Tries again what the disk was too slow for.
    pub fn retry(&mut self) {
        if !self.backlog.is_empty() {
            drop(self.save(Vec::new()));
        }
    }

    /// Writes that failed since the start.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

impl Drop for Keeper {
    /// Waits until all is written.
    fn drop(&mut self) {
        if let Some(batches) = self.batches.take()
            && !self.backlog.is_empty()
        {
            let saves = std::mem::take(&mut self.backlog);
            // The thread is gone: nothing can be written any more.
            let _ = batches.send(Batch { saves, done: None });
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the store's thread broke down");
        }
    }
}

fn keep(mut store: Store, inbox: &Receiver<Batch>, errors: &AtomicU64) {
    loop {
        let (result, done) = match inbox.recv_timeout(RETRY) {
            Ok(batch) => (store.save(&batch.saves, Now::read()), batch.done),
            Err(RecvTimeoutError::Timeout) => (store.flush(Now::read()), None),
            Err(RecvTimeoutError::Disconnected) => {
                if let Err(error) = store.flush(Now::read()) {
                    log::error!("{error}");
                }
                return;
            }
        };
        if let Err(error) = result {
            errors.fetch_add(1, Ordering::Relaxed);
            log::error!("{error}");
        }
        // Nobody waits any more: then nobody needs to know.
        let _ = done.map(|done| done.send(()));
    }
}
