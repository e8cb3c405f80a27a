//! Who rewrites what file servers keep, and who only works with them.

use sensor_core::time::MINUTE;

use crate::*;

const MEGA: u64 = 1_000_000;
/// File servers, by number.
const SERVERS: [u8; 2] = [2, 3];

impl Lan {
    /// Host n reads and writes so many MB on server m at this port, in a session told of every five seconds.
    fn files(&mut self, (n, m): (u8, u8), port: u16, (read, written): (u64, u64), steps: u64) {
        self.sport += 1;
        let (sport, first) = (self.sport, self.now);
        self.see((mac(n), mac(m)), (host(n), host(m)), (sport, port), TCP, SYN);
        self.see((mac(m), mac(n)), (host(m), host(n)), (port, sport), TCP, SYN_ACK);
        for step in 1..=steps {
            self.pass(5 * SECOND);
            self.went((host(n), host(m)), (sport, port), first, written * MEGA * step / steps, step == steps);
            self.went((host(m), host(n)), (port, sport), first, read * MEGA * step / steps, step == steps);
        }
    }

    /// The same on both servers, one after the other.
    fn both(&mut self, n: u8, port: u16, each: (u64, u64), steps: u64) {
        for server in SERVERS {
            self.files((n, server), port, each, steps);
        }
    }

    /// Host n reads so many MB on each server and writes them back.
    fn encrypt(&mut self, n: u8, each: u64) {
        self.both(n, 445, (each, each), 20);
    }

    /// Who was called, and how gravely.
    fn rewriters(&self) -> Vec<(u8, u8)> {
        let alerts = self.alerts().into_iter();
        alerts.filter(|(name, ..)| *name == "rewrite").map(|(_, severity, who)| (severity, who)).collect()
    }
}

/// A network that has been watched for a day.
fn learned() -> Lan {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.files((4, 2), 445, (1, 1), 1);
    lan.pass(25 * HOUR);
    lan
}

#[test]
fn two_servers_that_are_rewritten_alert_while_it_goes_on() {
    for port in [445, 139, 2049, 548] {
        let mut lan = learned();
        let begun = lan.now;
        for _ in 0..10 {
            lan.both(66, port, (50, 50), 2);
        }
        assert_eq!(lan.rewriters(), [(2, 66)], "port {port}");
        let told = lan.out.events.iter().find(|timed| matches!(timed.event, Event::Alert(_))).unwrap();
        assert!(told.time.since(begun) <= 2 * MINUTE, "port {port}: {:?}", told.time.since(begun));
        assert_eq!(lan.isolated(), [], "port {port}");
    }
    let mut lan = learned();
    lan.both(66, 443, (900, 900), 20);
    assert_eq!(lan.rewriters(), [], "no file service");
}

#[test]
fn one_server_takes_much_more_and_is_a_hint() {
    let mut lan = learned();
    lan.files((66, 2), 445, (800, 800), 20);
    assert_eq!(lan.rewriters(), []);
    lan.files((66, 2), 445, (800, 800), 20);
    assert_eq!(lan.rewriters(), [(3, 66)]);
    lan.files((66, 3), 445, (300, 300), 20);
    assert_eq!(lan.rewriters(), [(3, 66), (2, 66)], "a second server");
    lan.files((66, 2), 445, (3_000, 3_000), 20);
    assert_eq!(lan.rewriters().len(), 2, "the alert says it all");
}

#[test]
fn what_goes_one_way_or_is_a_person_s_work_is_left_alone() {
    // Each on two servers: what is read from and written to the one, and then the other, MB.
    for (name, first, second) in [
        ("a backup", (20, 20_000), (20, 20_000)),
        ("a virus scan", (20_000, 400), (20_000, 400)),
        ("a copy from the one to the other", (5_000, 100), (100, 5_000)),
        ("a folder moved within the one, a download from the other", (600, 600), (5_000, 100)),
        ("a file saved twice on the one, one saved on the other", (300, 600), (100, 100)),
        ("twice as much read as written", (2_100, 1_000), (2_100, 1_000)),
    ] {
        let mut lan = learned();
        lan.files((66, 2), 445, first, 20);
        lan.files((66, 3), 445, second, 20);
        assert_eq!(lan.rewriters(), [], "{name}");
    }
    let mut lan = learned();
    lan.both(66, 445, (50, 2_000), 20);
    lan.both(66, 445, (2_000, 50), 20);
    assert_eq!(lan.rewriters(), [], "backups that are read again to be verified");
    for _ in 0..8 {
        lan.encrypt(67, 90);
        lan.pass(30 * MINUTE);
    }
    assert_eq!(lan.rewriters(), [], "a morning's work on two servers");
}

#[test]
fn what_a_device_does_every_day_is_its_usual_and_more_is_not() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for _ in 0..3 {
        lan.encrypt(66, 700);
        lan.pass(8 * HOUR);
        lan.files((67, 2), 445, (2_000, 2_000), 20);
    }
    assert_eq!(lan.rewriters(), [], "on the first day all is learned");
    lan.pass(3 * HOUR);
    lan.encrypt(66, 700);
    lan.files((67, 2), 445, (2_000, 2_000), 20);
    assert_eq!(lan.rewriters(), []);
    lan.pass(3 * HOUR);
    lan.encrypt(66, 3_000);
    lan.files((67, 3), 445, (300, 300), 20);
    assert_eq!(lan.rewriters(), [(3, 66), (2, 66)], "the first server is a hint already");
    lan.encrypt(67, 300);
    assert_eq!(lan.rewriters().last(), Some(&(2, 67)), "it worked on one server only");
}

#[test]
fn what_is_called_does_not_become_usual_however_long_it_goes_on() {
    let mut lan = learned();
    // It begins slowly, just before an hour is over.
    lan.encrypt(66, 1);
    lan.pass(50 * MINUTE);
    lan.encrypt(66, 150);
    for _ in 0..18 {
        lan.encrypt(66, 400);
        lan.pass(5 * MINUTE);
    }
    assert_eq!(lan.rewriters(), [(2, 66); 3], "once an hour");
    lan.pass(10 * HOUR);
    lan.encrypt(66, 300);
    assert_eq!(lan.rewriters().len(), 4);
}

#[test]
fn an_outbreak_on_many_devices_is_nobody_s_habit() {
    let mut lan = learned();
    for n in 60..70 {
        lan.encrypt(n, 300);
    }
    assert_eq!(lan.rewriters(), (60..70).map(|n| (2, n)).collect::<Vec<_>>());
}

#[test]
fn a_look_at_many_other_servers_hides_nothing() {
    let mut lan = learned();
    lan.encrypt(66, 180);
    for n in 100..140 {
        lan.files((66, n), 445, (1, 1), 1);
    }
    assert_eq!(lan.rewriters(), []);
    lan.encrypt(66, 180);
    assert_eq!(lan.rewriters(), [(2, 66)]);
}

#[test]
fn a_release_forgets_what_was_rewritten_and_not_what_is_usual() {
    let mut lan = learned();
    lan.encrypt(66, 300);
    assert_eq!(lan.rewriters(), [(2, 66)]);
    let held = lan.add(block_device("10.0.0.66"));
    lan.engine.command(lan.now, Command::Remove(Which::Id(held.id)), &mut lan.out).unwrap();
    lan.pass(SECOND);
    lan.encrypt(66, 150);
    assert_eq!(lan.rewriters().len(), 1, "less than is called, from none on");
    lan.encrypt(66, 150);
    assert_eq!(lan.rewriters().len(), 2, "and anew");
}
