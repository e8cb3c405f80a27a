//! The account of one port: what its NIC counted is what was accounted for, ignored and lost, each with its reason.

use std::collections::VecDeque;

use sensor_core::coverage::Coverage;
use sensor_core::time::{MINUTE, SECOND, Time};
use sensor_ebpf::counter::{PortCounters, Reason};

use super::tally::PortTally;
use crate::bpf::{Marks, Nic};
use crate::protocol::{Ledger, LedgerBytes};

/// What is said of how much was seen is said of this time.
const WINDOW: u64 = 5 * MINUTE;
/// Steps in which it moves on.
const STEP: u64 = 10 * SECOND;
/// Where a NIC's counter stands to the program's is settled after so many looks, if it was never quiet.
const LOOKS: u32 = 10;

/// Bits of the first mark.
const NIC_KNOWN: u64 = 1;
const NIC_SETTLED: u64 = 2;

/// All that was counted of a port at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// By its NIC; none if that could not be asked.
    pub nic: Option<Nic>,
    /// Frames the NIC counted while the program's counters were read after its own.
    pub meanwhile: u64,
    /// By the program.
    pub program: PortCounters,
    /// By the program, of each reason.
    pub reasons: [u64; Reason::ALL.len()],
    /// By the sweeps.
    pub tally: PortTally,
}

/// Running numbers of which the differences are of interest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Totals {
    arrived: u64,
    lost: u64,
    records: u64,
    records_lost: u64,
}

impl Totals {
    fn since(&self, before: &Self, seconds: u64) -> Coverage {
        Coverage {
            seconds,
            frames: self.arrived.saturating_sub(before.arrived),
            frames_lost: self.lost.saturating_sub(before.lost),
            records: self.records.saturating_sub(before.records),
            records_lost: self.records_lost.saturating_sub(before.records_lost),
        }
    }
}

/// What a look at a port brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// What was seen since the look before.
    pub coverage: Coverage,
    /// Frames that were forgotten unread since then.
    pub unread: u64,
    /// Frames since then of which the detectors never heard, so that silence may be theirs.
    pub unheard: u64,
}

/// The account of one port.
#[derive(Debug, Default)]
pub struct Account {
    /// What the NIC had counted beyond the program when that was put on the port. It may be less.
    beyond: u64,
    missed_before: u64,
    /// By how many frames `beyond` may be wrong, having been settled on a busy port; the first quiet moment tells.
    doubt: u64,
    flags: u64,
    looks: u32,
    nic: Option<Nic>,
    program: PortCounters,
    reasons: [u64; Reason::ALL.len()],
    tally: PortTally,
    /// Frames the NIC counted and the program never saw.
    unseen: u64,
    before: Option<Totals>,
    history: VecDeque<(Time, Totals)>,
}

impl Account {
    /// Takes up what was kept of it.
    pub fn restore(marks: &Marks) -> Self {
        let Marks { flags, beyond, missed_before, doubt, .. } = *marks;
        Self { flags, beyond, missed_before, doubt, ..Self::default() }
    }

    /// What is to be kept of it. `told_j` is when the last whole sweep began, in jiffies.
    pub fn marks(&self, tally: &PortTally, told_j: u64) -> Marks {
        let PortTally { closed, unread, since, .. } = *tally;
        Marks {
            flags: self.flags,
            beyond: self.beyond,
            missed_before: self.missed_before,
            doubt: self.doubt,
            closed: [closed.packets, closed.bytes],
            unread: [unread.packets, unread.bytes],
            told_j,
            since_ns: since.ns(),
        }
    }

    /// Whether it is known where its NIC's counter stands to the program's.
    pub fn is_settled(&self) -> bool {
        self.flags & NIC_SETTLED != 0
    }

    /// Looks at what was counted by now.
    pub fn look(&mut self, now: Time, counted: &Counted) -> Look {
        self.compare(counted);
        let unread_before = self.tally.unread.packets;
        let unheard_before = self.unheard();
        (self.program, self.reasons) = (counted.program, counted.reasons);
        self.tally = counted.tally;
        let totals = self.totals();
        let before = self.before.replace(totals);
        while self.history.front().is_some_and(|(time, _)| now.since(*time) > WINDOW) {
            self.history.pop_front();
        }
        if self.history.back().is_none_or(|(time, _)| now.since(*time) >= STEP) {
            self.history.push_back((now, totals));
        }
        // What was lost before the first look is no news.
        let Some(before) = before else { return Look::default() };
        Look {
            coverage: totals.since(&before, 0),
            unread: self.tally.unread.packets.saturating_sub(unread_before),
            unheard: self.unheard().saturating_sub(unheard_before),
        }
    }

    /// Compares what the NIC counted with what the program did.
    fn compare(&mut self, counted: &Counted) {
        let Some(nic) = counted.nic else { return };
        let seen = counted.program.packets;
        let last = self.nic.replace(nic);
        if self.flags & NIC_KNOWN == 0 {
            self.missed_before = nic.missed;
        }
        if let Some(last) = last.filter(|last| nic.packets < last.packets) {
            // The driver began anew.
            self.beyond = self.beyond.wrapping_sub(last.packets - nic.packets);
            self.missed_before = self.missed_before.min(nic.missed);
        }
        let quiet = last.is_some_and(|last| last == nic) && seen == self.program.packets;
        if !self.is_settled() {
            self.beyond = nic.packets.wrapping_sub(seen);
            self.doubt = if quiet { 0 } else { counted.meanwhile };
            self.looks += 1;
            self.flags |= NIC_KNOWN | if quiet || self.looks >= LOOKS { NIC_SETTLED } else { 0 };
            return;
        }
        // Frames that are between the one counter and the other are no loss: on a busy port there are some at any moment, of
        // 60 ms at most.
        let between = seen.saturating_sub(self.program.packets) / 16 + self.doubt;
        let ahead = nic.packets.wrapping_sub(self.beyond).wrapping_sub(seen) as i64;
        self.unseen = self.unseen.max(u64::try_from(ahead).unwrap_or(0).saturating_sub(between));
        if quiet {
            // Frames the NIC had counted by the time the program's counters were read, but not when its own were.
            let late = ahead.clamp(0, self.doubt.min(i64::MAX as u64) as i64);
            self.beyond = self.beyond.wrapping_add_signed(late);
            self.doubt = 0;
        }
    }

    /// Frames that reached the port: as the NIC counted, else as the program did.
    fn arrived(&self) -> u64 {
        match self.nic {
            Some(nic) => nic.packets.wrapping_sub(self.beyond).wrapping_add(self.missed()),
            None => self.program.packets,
        }
    }

    fn missed(&self) -> u64 {
        self.nic.map_or(0, |nic| nic.missed.saturating_sub(self.missed_before))
    }

    /// Frames the program never saw, or whose flow could not be entered.
    fn unheard(&self) -> u64 {
        self.unseen + self.missed()
    }

    fn totals(&self) -> Totals {
        let (sent, lost) = (self.program.records_sent, self.program.records_lost);
        Totals {
            arrived: self.arrived(),
            lost: self.unheard() + self.program.flows_failed + self.tally.unread.packets,
            records: sent.wrapping_add(lost),
            records_lost: lost,
        }
    }

    /// How much was seen in the last minutes.
    pub fn coverage(&self, now: Time) -> Coverage {
        let totals = self.totals();
        let (since, oldest) = self.history.front().copied().unwrap_or((now, totals));
        totals.since(&oldest, now.since(since) / SECOND)
    }

    /// The whole account.
    pub fn ledger(&self, now: Time) -> Ledger {
        let (program, tally) = (&self.program, &self.tally);
        let named = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let without_flow =
            Reason::ALL.into_iter().zip(self.reasons).filter(|(reason, _)| reason.is_without_flow());
        let ignored: Vec<_> = without_flow.map(|(reason, count)| (reason.name(), count)).collect();
        let refused = program.unentered_packets.saturating_sub(program.flows_failed);
        let read = tally.read();
        let parts = [
            read.packets,
            refused,
            program.ignored_packets,
            self.unheard(),
            program.flows_failed,
            tally.unread.packets,
        ];
        let told = parts.iter().fold(0, |sum: u64, part| sum.wrapping_add(*part));
        Ledger {
            arrived: self.arrived(),
            nic_bytes: self.nic.map(|nic| nic.bytes),
            accounted: named(&[("flows", read.packets), ("refused", refused)]),
            ignored: named(&ignored),
            lost: named(&[
                ("missed", self.missed()),
                ("unseen", self.unseen),
                ("no_entry", program.flows_failed),
                ("unread", tally.unread.packets),
            ]),
            pending: self.arrived().wrapping_sub(told) as i64,
            coverage: self.coverage(now).ratio(),
            bytes: LedgerBytes {
                seen: program.bytes,
                flows: read.bytes,
                ignored: program.ignored_bytes,
                unentered: program.unentered_bytes,
                unread: tally.unread.bytes,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Count;
    use super::*;

    fn nic(packets: u64) -> Option<Nic> {
        Some(Nic { packets, bytes: 100 * packets, missed: 0 })
    }

    fn counted(nic: Option<Nic>, packets: u64) -> Counted {
        let read = Count { packets, bytes: 100 * packets };
        Counted {
            nic,
            meanwhile: 0,
            program: PortCounters {
                packets,
                bytes: 100 * packets,
                records_sent: packets,
                ..PortCounters::default()
            },
            reasons: [0; Reason::ALL.len()],
            tally: PortTally { live: read, ..PortTally::default() },
        }
    }

    fn second(n: u64) -> Time {
        Time::at(n * SECOND)
    }

    /// An account that was quiet with 1,000 frames in the NIC and none in the program.
    fn settled() -> Account {
        let mut account = Account::default();
        for n in 0..2 {
            let look = account.look(second(n), &counted(nic(1_000), 0));
            assert_eq!(look.coverage.frames, 0);
        }
        account
    }

    #[test]
    fn what_came_before_the_program_is_none_of_its_account() {
        let mut account = settled();
        account.look(second(2), &counted(nic(1_500), 500));
        let ledger = account.ledger(second(2));
        assert_eq!((ledger.arrived, ledger.accounted["flows"], ledger.pending), (500, 500, 0));
        assert!(ledger.lost.values().all(|lost| *lost == 0), "{ledger:?}");
        // A new daemon takes it up.
        let marks = account.marks(&account.tally, 7);
        let mut again = Account::restore(&marks);
        again.look(second(3), &counted(nic(1_600), 600));
        assert_eq!((again.ledger(second(3)).arrived, again.ledger(second(3)).pending), (600, 0));
        assert_eq!(marks.told_j, 7);
    }

    #[test]
    fn frames_under_way_are_no_loss_and_frames_nobody_saw_are() {
        let mut account = settled();
        // 20 of 1,000 a second are under way.
        for n in 1..=5u64 {
            let look = account.look(second(n + 1), &counted(nic(1_000 + n * 1_000), n * 1_000 - 20));
            assert_eq!((look.coverage.frames_lost, look.unheard), (0, 0), "after {n} s");
        }
        // From then on every tenth is lost.
        for n in 6..=10u64 {
            account.look(second(n + 1), &counted(nic(1_000 + n * 1_000), 5_000 + (n - 5) * 900));
        }
        // And now it is quiet.
        account.look(second(12), &counted(nic(11_000), 9_500));
        let look = account.look(second(13), &counted(nic(11_000), 9_500));
        assert_eq!(look.coverage.frames_lost, 0, "known already");
        let ledger = account.ledger(second(13));
        assert_eq!((ledger.arrived, ledger.lost["unseen"], ledger.pending), (10_000, 500, 0));
        assert!((ledger.coverage - 0.95).abs() < 1e-9, "{}", ledger.coverage);
    }

    #[test]
    fn a_driver_that_begins_anew_is_no_loss() {
        let mut account = settled();
        account.look(second(2), &counted(nic(1_500), 500));
        account.look(second(3), &counted(nic(40), 540));
        account.look(second(4), &counted(nic(100), 600));
        let ledger = account.ledger(second(4));
        assert_eq!(ledger.lost["unseen"], 0);
        // What came between the last look and the new beginning is nobody's to know.
        assert_eq!((ledger.arrived, ledger.pending), (560, -40));
    }

    #[test]
    fn on_a_port_that_is_never_quiet_it_settles_all_the_same() {
        let mut account = Account::default();
        for n in 0..20u64 {
            account.look(second(n), &counted(nic(1_000 + n * 100), n * 100 + 3));
        }
        account.look(second(20), &counted(nic(4_000), 2_003));
        account.look(second(21), &counted(nic(4_000), 2_003));
        assert_eq!(account.ledger(second(21)).lost["unseen"], 1_000);
    }

    #[test]
    fn what_came_while_it_settled_on_a_busy_port_is_no_loss_and_what_is_lost_later_is() {
        let mut account = Account::default();
        for n in 0..LOOKS.into() {
            // Two frames came between the reading of the one counter and of the other.
            let counted = counted(nic(1_000 + n * 100), n * 100 + 2);
            account.look(second(n), &Counted { meanwhile: 2, ..counted });
        }
        // A new daemon, and then it is quiet.
        let mut account = Account::restore(&account.marks(&PortTally::default(), 0));
        account.look(second(20), &counted(nic(3_000), 2_000));
        account.look(second(21), &counted(nic(3_000), 2_000));
        let ledger = account.ledger(second(21));
        assert_eq!((ledger.arrived, ledger.lost["unseen"], ledger.pending), (2_000, 0, 0));
        account.look(second(22), &counted(nic(3_102), 2_101));
        account.look(second(23), &counted(nic(3_102), 2_101));
        assert_eq!(account.ledger(second(23)).lost["unseen"], 1, "each one lost from then on is told");
    }

    #[test]
    fn only_the_last_minutes_count() {
        let mut account = settled();
        account.look(second(2), &counted(nic(2_000), 500));
        account.look(second(3), &counted(nic(2_000), 500));
        assert!((account.coverage(second(3)).ratio() - 0.5).abs() < 1e-9);
        for n in 4..330 {
            account.look(second(n), &counted(nic(2_000 + n), 500 + n));
        }
        let coverage = account.coverage(second(330));
        assert_eq!((coverage.frames_lost, coverage.ratio()), (0, 1.0));
        assert!((290..=310).contains(&coverage.seconds), "{coverage:?}");
        assert_eq!(account.ledger(second(330)).lost["unseen"], 500, "the account forgets nothing");
    }

    #[test]
    fn without_a_nic_to_ask_the_program_is_taken_at_its_word() {
        let mut account = Account::default();
        account.look(second(1), &counted(None, 10));
        let ledger = account.ledger(second(1));
        assert_eq!((ledger.arrived, ledger.nic_bytes, ledger.pending), (10, None, 0));
    }
}
