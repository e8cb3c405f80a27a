//! The visibility ledger: an account for each port, and the watch that says when too little is seen.

use std::collections::BTreeMap;

use sensor_core::coverage::{Interval, Sight, Watch};
use sensor_core::event::Blind;
use sensor_core::time::{SECOND, Time};

use super::account::{Account, Counted};
use super::sweep::Sweeper;
use super::tally::Tally;
use crate::bpf::{Attached, BpfError, Counters, Nic, interfaces};
use crate::protocol::Ledger;

/// Between two looks there is a second. Who comes so late was stopped, or had no time to look.
const LATE: u64 = 3 * SECOND;

/// What a look brought.
#[derive(Debug, Default)]
pub struct Seen {
    /// Blindness that began, has another cause, or is over.
    pub blind: Option<Blind>,
    /// Frames the detectors never heard of were lost, so that silence may be theirs.
    pub unheard: bool,
    /// Records of new flows were lost, or flows forgotten before they were read.
    pub unread: bool,
}

/// The ledger of all ports.
pub struct Accounts {
    ports: BTreeMap<u8, Account>,
    watch: Watch,
    last: Option<Time>,
}

impl Accounts {
    /// An empty ledger. Less than `limit` of what comes (0 to 1) is too little.
    pub fn new(limit: f64) -> Self {
        Self { ports: BTreeMap::new(), watch: Watch::new(limit), last: None }
    }

    /// What is so now; none: enough is seen.
    pub fn blind(&self) -> Option<&Blind> {
        self.watch.blind()
    }

    /// The account of a port.
    pub fn ledger(&self, index: u8, now: Time) -> Ledger {
        self.ports.get(&index).map(|account| account.ledger(now)).unwrap_or_default()
    }

    /// What was seen over the last minutes.
    pub fn sight(&self, now: Time) -> Sight {
        let ports = self.ports.iter().map(|(index, account)| (*index, account.coverage(now)));
        Sight { ports: ports.collect(), blind: self.watch.blind().is_some() }
    }

    /// Takes up a port, with what was kept of it.
    pub fn open(&mut self, index: u8, counters: &Counters, sweeper: &mut Sweeper) -> Result<(), BpfError> {
        let marks = counters.marks(index)?;
        sweeper.tally.restore(index, &marks);
        sweeper.resume(marks.told_j);
        self.ports.insert(index, Account::restore(&marks));
        Ok(())
    }

    /// Forgets a port that left.
    pub fn close(&mut self, index: u8, tally: &mut Tally) {
        self.ports.remove(&index);
        tally.forget(index);
    }

    /// Whether a port has an account.
    pub fn has(&self, index: u8) -> bool {
        self.ports.contains_key(&index)
    }

    /// Keeps what must outlive the daemon.
    pub fn keep(&self, counters: &mut Counters, sweeper: &Sweeper) -> Result<(), BpfError> {
        self.ports.iter().try_for_each(|(index, account)| {
            counters.set_marks(*index, &account.marks(&sweeper.tally.port(*index), sweeper.told_j()))
        })
    }

    /// Looks at what was counted by now.
    pub fn look(&mut self, now: Time, ports: &[&Attached], counters: &Counters, tally: &Tally) -> Seen {
        // The NICs first: what they counted the program has seen by the time it is asked, but for what is under way.
        let before = nics();
        let read = |port: &Attached| Ok((counters.port(port.index)?, counters.reasons(port.index)?));
        let read: Vec<_> = ports.iter().map(|port| (port, read(port))).collect();
        // And what came meanwhile, which only matters while it is found out where they stand to each other.
        let after = if self.ports.values().all(Account::is_settled) { None } else { nics() };
        let mut interval = Interval::default();
        let mut unheard = 0;
        for (port, read) in read {
            let Some(account) = self.ports.get_mut(&port.index) else { continue };
            let (program, reasons) = match read {
                Ok(read) => read,
                Err(error) => {
                    let error: BpfError = error;
                    log::debug!("the account of port {}: {error}", port.name);
                    continue;
                }
            };
            let of = |nics: &Option<BTreeMap<u32, Nic>>| Some(*nics.as_ref()?.get(&port.ifindex)?);
            let nic = of(&before);
            let meanwhile = nic.zip(of(&after)).map_or(0, |(a, b)| b.packets.saturating_sub(a.packets));
            let counted = Counted { nic, meanwhile, program, reasons, tally: tally.port(port.index) };
            let look = account.look(now, &counted);
            interval.coverage.add(&look.coverage);
            interval.unread += look.unread;
            unheard += look.unheard;
        }
        let since = self.last.replace(now).unwrap_or(now);
        interval.stopped_ns = if now.since(since) >= LATE { now.since(since) } else { 0 };
        let unread = interval.unread > 0 || interval.coverage.records_lost > 0;
        Seen { blind: self.watch.look(since, now, &interval), unheard: unheard > 0, unread }
    }
}

/// What each NIC counted, by interface index.
fn nics() -> Option<BTreeMap<u32, Nic>> {
    match interfaces() {
        Ok(links) => Some(links.into_iter().map(|link| (link.ifindex, link.nic)).collect()),
        Err(error) => {
            log::debug!("asking what the network cards count: {error}");
            None
        }
    }
}
