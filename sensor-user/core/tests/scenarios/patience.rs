//! How long silence is waited for, where it is known how long answers take.

use crate::*;

impl Lan {
    /// Host n opens a TCP connection to host m, which answers after so long.
    fn tcp_after(&mut self, n: u8, m: u8, port: u16, after_ns: u64) {
        self.sport = if self.sport > 60_000 { 40_000 } else { self.sport + 1 };
        let sport = self.sport;
        self.see((mac(n), mac(m)), (host(n), host(m)), (sport, port), TCP, SYN);
        for _ in 0..after_ns / (10 * MILLISECOND) {
            self.pass(10 * MILLISECOND);
        }
        self.pass(after_ns % (10 * MILLISECOND));
        self.see((mac(m), mac(n)), (host(m), host(n)), (port, sport), TCP, SYN_ACK);
    }

    /// So many first contacts that are answered: those of the first hosts late, all others at once.
    fn work(&mut self, answers: u32, late: u32) {
        for n in 0..answers {
            let (from, to, port) = (1 + (n % 30) as u8, 31 + (n / 30 % 30) as u8, 8_000 + (n / 900) as u16);
            self.tcp_after(from, to, port, if n < late { 300 * MILLISECOND } else { MILLISECOND });
            self.pass(30 * SECOND);
        }
        assert_eq!(self.actions(), [], "they only work");
    }
}

#[test]
fn where_answers_come_at_once_silence_is_not_waited_for() {
    // How many silent hosts are asked, one each 20 ms, before the device is cut off.
    let asked = |answers: u32, late: u32| {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=70);
        lan.work(answers, late);
        for n in 0..100 {
            lan.tcp(70, 100 + n, 8_000, None);
            lan.pass(20 * MILLISECOND);
            if !lan.isolated().is_empty() {
                assert_eq!(lan.isolated(), [70]);
                return n + 1;
            }
        }
        panic!("it is not cut off");
    };
    let (unmeasured, measured, late) = (asked(500, 0), asked(1_500, 0), asked(1_500, 20));
    assert!((55..65).contains(&unmeasured), "{unmeasured}");
    // Ten failures, and five more while a tenth of a second passes.
    assert!((14..18).contains(&measured), "{measured}");
    assert_eq!(late, unmeasured, "where one answer in a hundred takes long");
}

#[test]
fn an_answer_that_is_late_takes_the_failure_back() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=90);
    lan.work(1_500, 0);
    // One after the other of a slow kind, each of which answers when it was given up already.
    for to in 71..=90 {
        lan.tcp_after(5, to, 9_100, 400 * MILLISECOND);
        lan.pass(SECOND);
    }
    assert_eq!(lan.actions(), []);
}
