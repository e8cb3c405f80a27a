//! What is told on standard output, through a thread of its own: a reader who stops reading never holds up the sensor.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that may wait for the reader.
const WAITING: usize = 8_192;

/// How long the end waits for a slow reader.
const FAREWELL: Duration = Duration::from_secs(1);

/// Prints lines.
pub struct Printer {
    lines: Option<SyncSender<String>>,
    /// Closed by the thread when all is printed.
    done: Receiver<()>,
    lost: u64,
}

impl Printer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start() -> io::Result<Self> {
        let (lines, inbox) = sync_channel::<String>(WAITING);
        let (ended, done) = sync_channel(0);
        thread::Builder::new().name("printer".to_owned()).spawn(move || {
            let _ended: SyncSender<()> = ended;
            let mut out = io::stdout().lock();
            for line in inbox {
                // A reader that is gone misses what is told; the sensor goes on.
                if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { lines: Some(lines), done, lost: 0 })
    }

    /// Prints a line, or counts it as lost if the reader is far behind.
    pub fn print(&mut self, line: String) {
        if let Some(lines) = &self.lines
            && let Err(TrySendError::Full(_)) = lines.try_send(line)
        {
            self.lost += 1;
        }
    }

    /// Lines lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Drop for Printer {
    /// Waits until all is printed, or for a second.
    fn drop(&mut self) {
        self.lines = None;
        // Closed or too late: either way it is over.
        let _ = self.done.recv_timeout(FAREWELL);
    }
}
