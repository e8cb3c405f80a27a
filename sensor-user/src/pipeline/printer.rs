//! What is told on standard output, through a thread of its own: a reader who stops reading never holds up the sensor.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

/// Lines that may wait for the reader.
const WAITING: usize = 8_192;

/// Prints lines.
pub struct Printer {
    lines: SyncSender<String>,
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
        thread::Builder::new().name("printer".to_owned()).spawn(move || {
            let mut out = io::stdout().lock();
            for line in inbox {
                // A reader that is gone misses what is told; the sensor goes on.
                if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { lines, lost: 0 })
    }

    /// Prints a line, or counts it as lost if the reader is far behind.
    pub fn print(&mut self, line: String) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.lost += 1;
        }
    }

    /// Lines lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
