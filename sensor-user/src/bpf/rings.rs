//! The rings: records as they happen.
//!
//! The program wakes the reader at most once in half a millisecond ([`WAKE_NS`]) and CPU, by the ring it writes at that moment;
//! what follows within that time, in any ring, comes without a call. So a reader that was woken looks again when it is
//! surely over, and sleeps only then: nothing lies unread for longer, and an idle network costs nothing.

use std::future::poll_fn;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::task::Poll;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use sensor_core::observation::Observation;
use sensor_core::tunnel::Words;
use sensor_ebpf::ABI;
use sensor_ebpf::event::{
    FlowRecord, INNER_BYTES, RECORD_DROP, RECORD_FLOW, RECORD_TUNNEL, TunnelRecord, WAKE_NS,
};
use sensor_ebpf::heard::{HEARD_BYTES, HeardHead};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::error::BpfError;
use super::pod;
use super::sensor::{MapSource, open};

/// When a reader that was woken looks again: after the time in which no other call comes, and a tick of the timer.
const AGAIN_AFTER: Duration = Duration::from_nanos(WAKE_NS + 1_000_000);

/// A record as it was told; what it is about is its flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The flow.
    pub flow: FlowRecord,
    /// What lies behind it: the beginning of a tunnel's packet. Few records have it, so it lies apart.
    pub inner: Option<Box<Words>>,
}

impl Record {
    /// What it tells.
    pub fn observation(&self) -> Option<Observation> {
        Observation::decode(&self.flow, self.inner.as_deref())
    }
}

impl Deref for Record {
    type Target = FlowRecord;

    fn deref(&self) -> &FlowRecord {
        &self.flow
    }
}

/// The flow ring, the control ring, and that of frames that are told whole.
pub struct Rings {
    flow: RingBuf<MapData>,
    control: RingBuf<MapData>,
    heard: RingBuf<MapData>,
    /// Made at the first wait, for which a runtime must be there.
    wakers: Option<[AsyncFd<OwnedFd>; 3]>,
    /// When to look again after having been woken.
    again: Option<Instant>,
    rejected: u64,
}

impl Rings {
    pub(super) fn open(ebpf: &mut impl MapSource) -> Result<Self, BpfError> {
        Ok(Self {
            flow: open(ebpf, "RING_FLOW")?,
            control: open(ebpf, "RING_CONTROL")?,
            heard: open(ebpf, "RING_HEARD")?,
            wakers: None,
            again: None,
            rejected: 0,
        })
    }

    /// Appends at most `max` records to `batch`, control records first; returns how many. Fewer than `max` means that
    /// the rings are empty.
    pub fn read(&mut self, max: usize, batch: &mut Vec<Record>) -> usize {
        let before = batch.len();
        for ring in [&mut self.control, &mut self.flow] {
            while batch.len() - before < max {
                let Some(item) = ring.next() else { break };
                match record(&item) {
                    Some(record) => batch.push(record),
                    None => self.rejected += 1,
                }
            }
        }
        batch.len() - before
    }

    /// Gives at most `max` frames that were told whole to `take`: what came before their bytes, and those.
    pub fn read_heard(&mut self, max: usize, mut take: impl FnMut(&HeardHead, &[u8])) {
        for _ in 0..max {
            let Some(item) = self.heard.next() else { break };
            match heard(&item) {
                Some((head, bytes)) => take(&head, bytes),
                None => self.rejected += 1,
            }
        }
    }

    /// Records that were not of the length, kind and ABI this program knows.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Waits until there may be something to read. After it, read until [`Rings::read`] brings fewer than asked for.
    /// May be dropped and called again at any time. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    ///
    /// Those of epoll(7).
    pub async fn wait(&mut self) -> io::Result<()> {
        let wakers = match &mut self.wakers {
            Some(wakers) => wakers,
            none => {
                // What an earlier daemon left unread does not wake anybody.
                self.again = Some(Instant::now());
                none.insert([waker(&self.flow)?, waker(&self.control)?, waker(&self.heard)?])
            }
        };
        let woken = match self.again {
            None => {
                readable(wakers).await?;
                true
            }
            Some(again) => tokio::select! {
                woken = readable(wakers) => woken.map(|()| true)?,
                () = sleep_until(again) => false,
            },
        };
        self.again = woken.then(|| Instant::now() + AGAIN_AFTER);
        Ok(())
    }
}

/// Its own descriptor of a ring, for epoll.
fn waker(ring: &RingBuf<MapData>) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = ring.as_fd().try_clone_to_owned()?;
    // SAFETY: an owned descriptor is the same as long as it lives, and stays open as long.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Waits for a call from any ring and takes all.
async fn readable(wakers: &[AsyncFd<OwnedFd>]) -> io::Result<()> {
    poll_fn(|context| {
        let mut called = false;
        for waker in wakers {
            if let Poll::Ready(guard) = waker.poll_read_ready(context) {
                guard?.clear_ready();
                called = true;
            }
        }
        if called { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// A frame that was told whole, if it is a record this program knows.
fn heard(bytes: &[u8]) -> Option<(HeardHead, &[u8])> {
    let (head, rest) = bytes.split_at_checked(size_of::<HeardHead>())?;
    let head: HeardHead = pod::from_bytes(head)?;
    let known = head.abi == ABI as u8 && rest.len() == HEARD_BYTES;
    Some((head, rest.get(..head.have as usize)?)).filter(|_| known)
}

/// A record, if it is one this program knows.
fn record(bytes: &[u8]) -> Option<Record> {
    let (head, rest) = bytes.split_at_checked(size_of::<FlowRecord>())?;
    let flow: FlowRecord = pod::from_bytes(head)?;
    let inner = match flow.kind {
        RECORD_FLOW | RECORD_DROP if rest.is_empty() => None,
        RECORD_TUNNEL if rest.len() == INNER_BYTES => {
            let mut words: Box<Words> = Box::default();
            let (chunks, _) = rest.as_chunks::<8>();
            words.iter_mut().zip(chunks).for_each(|(word, bytes)| *word = u64::from_ne_bytes(*bytes));
            Some(words)
        }
        _ => return None,
    };
    (flow.abi == ABI as u8).then_some(Record { flow, inner })
}

const _: () = assert!(size_of::<TunnelRecord>() == size_of::<FlowRecord>() + INNER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_records_are_accepted() {
        let good = {
            let mut bytes = [0; size_of::<FlowRecord>()];
            bytes[0] = RECORD_FLOW;
            bytes[1] = ABI as u8;
            bytes
        };
        let mut kind = good;
        kind[0] = 99;
        let mut abi = good;
        abi[1] = ABI as u8 + 1;
        let tunnel = |kind: u8, inner: usize| {
            let mut bytes = good.to_vec();
            bytes[0] = kind;
            bytes.extend(vec![7; inner]);
            bytes
        };
        let cases: [(&str, &[u8], bool); 10] = [
            ("good", &good, true),
            ("drop", &tunnel(RECORD_DROP, 0), true),
            ("tunnel", &tunnel(RECORD_TUNNEL, INNER_BYTES), true),
            ("tunnel cut short", &tunnel(RECORD_TUNNEL, INNER_BYTES - 8), false),
            ("tunnel of nothing", &tunnel(RECORD_TUNNEL, 0), false),
            ("flow with something behind", &tunnel(RECORD_FLOW, INNER_BYTES), false),
            ("another kind", &kind, false),
            ("another ABI", &abi, false),
            ("short", &good[..95], false),
            ("empty", &[], false),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(record(bytes).is_some(), expected, "{name}");
        }
        let inner = record(&tunnel(RECORD_TUNNEL, INNER_BYTES)).and_then(|record| record.inner);
        assert_eq!(inner, Some(Box::new([0x0707_0707_0707_0707; INNER_BYTES / 8])));
    }
}
