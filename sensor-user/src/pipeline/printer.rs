//! What is told on standard output, or in a file, through a thread of its own: a reader who stops reading, or a disk that is full, never
//! holds up the sensor. What waits for them is bounded, and its oldest is lost first; a line that was begun is ended as
//! soon as that is possible, so no line is torn.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that may wait for the reader.
const WAITING: usize = 8_192;

/// How long the end waits for a slow reader.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long after a write that failed the next one is tried.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Prints lines.
pub struct Printer {
    queue: Arc<Queue>,
    /// Closed by the thread when all is printed.
    done: Receiver<()>,
    name: String,
}

impl Printer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If no thread can be started, or standard output is closed.
    pub fn start() -> io::Result<Self> {
        // Not through its buffer, which would not tell how much of a line was written.
        Self::onto("standard output", File::from(io::stdout().as_fd().try_clone_to_owned()?))
    }

    /// The same, for something else: `name` is what people call it.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn onto(name: impl Into<String>, mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let name = name.into();
        let queue = Arc::new(Queue::default());
        let (ended, done) = sync_channel(0);
        let (lines, called) = (Arc::clone(&queue), name.clone());
        thread::Builder::new().name("printer".to_owned()).spawn(move || {
            let _ended: SyncSender<()> = ended;
            print_all(&lines, &called, &mut out);
        })?;
        Ok(Self { queue, done, name })
    }

    /// Prints a line; if the reader is far behind, the oldest that waits is lost for it.
    pub fn print(&self, line: String) {
        self.queue.add(line);
    }

    /// Lines lost.
    pub fn lost(&self) -> u64 {
        self.queue.lock().lost
    }
}

impl Drop for Printer {
    /// Waits until all is printed, or for a second.
    fn drop(&mut self) {
        self.queue.close();
        // Closed or too late: either way it is over.
        let _ = self.done.recv_timeout(FAREWELL);
        let waiting = self.queue.lock().lines.len();
        if waiting > 0 {
            log::warn!("{waiting} events were not printed: {} did not take them", self.name);
        }
    }
}

/// Lines on their way to the thread.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Told when a line was added, and when no more will be.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    closed: bool,
    lost: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No holder leaves it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, line: String) {
        let mut state = self.lock();
        if state.lines.len() >= WAITING {
            state.lines.pop_front();
            state.lost += 1;
        }
        state.lines.push_back(line);
        self.changed.notify_one();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// The next line, as soon as there is one; none after the last.
    fn next(&self) -> Option<String> {
        let waits = |state: &mut State| state.lines.is_empty() && !state.closed;
        let state = self.changed.wait_while(self.lock(), waits);
        state.unwrap_or_else(PoisonError::into_inner).lines.pop_front()
    }

    /// Waits before another try, which comes at once if it is the last.
    fn pause(&self) {
        let waits = |state: &mut State| !state.closed;
        drop(self.changed.wait_timeout_while(self.lock(), AGAIN_AFTER, waits));
    }
}

/// Writes line by line until the last, and tries again what could not be written.
fn print_all(queue: &Queue, name: &str, out: &mut impl Write) {
    let mut failing = false;
    while let Some(mut line) = queue.next() {
        line.push('\n');
        let mut rest = line.as_bytes();
        loop {
            let closed = queue.lock().closed;
            let Err(error) = write_on(out, &mut rest) else { break };
            if closed {
                queue.lock().lines.push_front(line);
                return;
            }
            if !failing {
                log::error!(
                    "cannot write events to {name}: {error}; it is tried again, and of {WAITING} that \
                     wait the oldest are lost first"
                );
                failing = true;
            }
            queue.pause();
        }
        if failing {
            log::info!("events can be written to {name} again; {} were lost", queue.lock().lost);
            failing = false;
        }
    }
}

/// Writes as much of the rest as can be; all of it, unless there is an error.
fn write_on(out: &mut impl Write, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => *rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A disk: so many bytes are taken, and more when there is room again.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>, Option<Sender<()>>);

    impl Disk {
        fn room(&self, bytes: usize) {
            self.0.lock().unwrap().1 += bytes;
        }

        fn holds(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let count = bytes.len().min(disk.1);
            if count == 0 {
                if let Some(full) = &self.1 {
                    let _ = full.send(());
                }
                return Err(ErrorKind::StorageFull.into());
            }
            disk.1 -= count;
            disk.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_the_oldest_which_is_counted_and_tears_no_line() {
        let (full, hit) = channel();
        let disk = Disk(Arc::default(), Some(full));
        disk.room(10);
        let printer = Printer::onto("a disk", disk.clone()).unwrap();
        printer.print("line 0".to_owned());
        printer.print("line 1".to_owned());
        // The second line is written in part; from here on the thread holds it and the others wait.
        hit.recv().unwrap();
        let more = 5;
        for line in 2..2 + WAITING + more {
            printer.print(format!("line {line}"));
        }
        assert_eq!(disk.holds(), "line 0\nlin");
        assert_eq!(printer.lost(), more as u64);
        disk.room(usize::MAX / 2);
        drop(printer);
        let kept = [0, 1].into_iter().chain(2 + more..2 + WAITING + more);
        let want: String = kept.map(|line| format!("line {line}\n")).collect();
        assert!(disk.holds() == want, "{}", &disk.holds()[..100]);
    }

    #[test]
    fn an_end_without_a_reader_is_an_end_all_the_same() {
        let printer = Printer::onto("a disk", Disk::default()).unwrap();
        printer.print("never read".to_owned());
        let queue = Arc::clone(&printer.queue);
        drop(printer);
        assert_eq!(queue.lock().lines.len(), 1, "what nobody took is known");
    }
}
