//! Announced change windows: told, and nothing restricted by itself, for a time.

use sensor_core::engine::{Announce, Whom};
use sensor_core::event::WindowStep;
use sensor_core::policy::Name;
use sensor_core::policy::window::{LONGEST, MAX_WINDOWS};
use sensor_core::settings::{ApproveSettings, Otherwise, Segment};
use sensor_core::time::MINUTE;

use crate::graded::{graded, used};
use crate::*;

impl Lan {
    fn announce(&mut self, who: Whom, in_ns: u64, for_ns: u64) -> Result<u32, CommandError> {
        let (reason, by) = ("new switch".to_owned(), "tanaka".to_owned());
        let announce = Announce { who, in_ns, for_ns, reason, by };
        match self.engine.command(self.now, Command::Announce(announce), &mut self.out)? {
            Reply::Announced(window) => Ok(window.id),
            other => panic!("{other:?}"),
        }
    }

    fn end_window(&mut self, id: u32) -> Result<Reply, CommandError> {
        self.engine.command(self.now, Command::EndWindow(id, "sato".to_owned()), &mut self.out)
    }

    fn window_steps(&self) -> Vec<(WindowStep, u32)> {
        let step = |event: &Event| match event {
            Event::Window(change) => Some((change.step, change.window.id)),
            _ => None,
        };
        self.out.events.iter().filter_map(|timed| step(&timed.event)).collect()
    }

    /// Host n sweeps from `from` on; whether it is restricted then.
    fn is_found(&mut self, n: u8, from: u8) -> bool {
        self.arp(n, 1);
        for m in from..from + 12 {
            self.tcp(n, m, 8080, None);
            self.pass(MILLISECOND);
        }
        self.pass(SECOND);
        self.is_entered(n)
    }

    fn is_entered(&self, n: u8) -> bool {
        let blocks = self.engine.snapshot(self.now).blocks;
        blocks.iter().any(|block| block.targets.contains(&Target::Mac(mac(n))))
    }
}

fn ward() -> Lan {
    let mut lan = Lan::new(Settings { budget_share: 1.0, ..enforcing() });
    lan.populate(1..=20);
    lan
}

#[test]
fn in_a_window_all_is_told_and_nothing_done_and_after_it_all_is_as_before() {
    let mut lan = ward();
    assert!(lan.is_found(66, 100));
    let id = lan.announce(Whom::Everybody, 0, 30 * MINUTE).unwrap();
    assert_eq!(lan.engine.stats().windows_open, 1);
    assert!(!lan.is_found(67, 100));
    let ruling = lan.ruling();
    assert_eq!((ruling.earned, ruling.allowed()), (Level::Isolate, None));
    assert_eq!(ruling.lowered[0].why, Cause::Window { window: id });
    assert_eq!(lan.engine.snapshot(lan.now).incidents[0].action, Action::Lowered);
    lan.engine.command(lan.now, Command::Add(block(Target::Mac(mac(70)))), &mut lan.out).unwrap();
    assert!(lan.is_entered(70), "a person's word holds");
    lan.pass(29 * MINUTE);
    assert!(lan.is_entered(66), "what was in force is");
    lan.pass(MINUTE);
    assert_eq!(lan.engine.stats().windows_open, 0, "it ends by itself");
    assert!(!lan.is_entered(67), "what was found in it is not made up for");
    assert!(lan.is_found(68, 100) && lan.is_found(67, 130), "what is found anew acts");
    use WindowStep::{Announced, Ended, Opened};
    assert_eq!(lan.window_steps(), [(Announced, id), (Opened, id), (Ended, id)]);
}

#[test]
fn a_window_is_for_whom_it_is_announced() {
    let radiology: Name = "radiology".parse().unwrap();
    let segment = Segment { vlans: vec![20], ..Segment::default() };
    let settings = Settings {
        budget_share: 1.0,
        segments: [(radiology, segment)].into(),
        names: [(Target::Mac(mac(66)), "MRI 2".to_owned())].into(),
        ..enforcing()
    };
    for (who, free) in [
        (Whom::Device("mri 2".to_owned()), 66),
        (Whom::Device(host(66).to_string()), 66),
        (Whom::Device(mac(66).to_string()), 66),
        // One that was not seen yet.
        (Whom::Device(host(68).to_string()), 68),
    ] {
        let mut lan = Lan::new(settings.clone());
        lan.populate(1..=20);
        lan.arp(66, 1);
        lan.announce(who.clone(), 0, HOUR).unwrap();
        assert!(!lan.is_found(free, 100), "{who:?}");
        assert!(lan.is_found(67, 100), "{who:?}");
    }
    let mut lan = Lan::new(settings);
    lan.populate(1..=20);
    lan.announce(Whom::Segment(radiology), 0, HOUR).unwrap();
    assert!(lan.is_found(67, 100), "elsewhere");
    lan.place = (1, 20);
    assert!(!lan.is_found(68, 100));
    // Nobody comes under another device's window by claiming its IP address.
    let mut lan = ward();
    lan.arp(66, 1);
    lan.announce(Whom::Device(host(66).to_string()), 0, HOUR).unwrap();
    lan.see((mac(90), Mac([0xff; 6])), (host(66), host(1)), (1, 0), 0, 0);
    assert!(lan.is_found(90, 100));
}

#[test]
fn a_window_may_come_later_be_called_off_and_is_bounded() {
    let mut lan = ward();
    let id = lan.announce(Whom::Everybody, HOUR, HOUR).unwrap();
    assert!(lan.is_found(66, 100), "not yet");
    lan.pass(HOUR);
    assert!(!lan.is_found(67, 100));
    lan.end_window(id).unwrap();
    assert!(lan.is_found(68, 100), "no more");
    assert_eq!(lan.end_window(id), Err(CommandError::NoWindow(id)));
    for (in_ns, for_ns) in [(0, 0), (0, LONGEST + 1), (31 * 24 * HOUR, HOUR)] {
        assert_eq!(lan.announce(Whom::Everybody, in_ns, for_ns), Err(CommandError::WindowLength));
    }
    let nowhere = lan.announce(Whom::Segment("attic".parse().unwrap()), 0, HOUR);
    assert!(matches!(nowhere, Err(CommandError::Unknown { what: "segment", .. })), "{nowhere:?}");
    assert!(lan.announce(Whom::Device("attic".to_owned()), 0, HOUR).is_err());
    for _ in 0..MAX_WINDOWS {
        lan.announce(Whom::Everybody, HOUR, HOUR).unwrap();
    }
    assert_eq!(lan.announce(Whom::Everybody, 0, HOUR), Err(CommandError::WindowsFull));
}

#[test]
fn a_window_goes_on_after_a_restart_and_ends_all_the_same() {
    let mut lan = ward();
    let id = lan.announce(Whom::Everybody, 0, HOUR).unwrap();
    lan.pass(30 * MINUTE);
    let mut next = lan.restarted(|settings| settings);
    next.populate(1..=20);
    assert_eq!(next.window_steps(), [(WindowStep::Opened, id)], "told again");
    assert!(!next.is_found(66, 100));
    next.pass(30 * MINUTE);
    assert!(next.is_found(67, 100));
    let mut third = next.restarted(|settings| settings);
    assert_eq!(third.engine.snapshot(third.now).windows, []);
    assert!(third.announce(Whom::Everybody, 0, HOUR).unwrap() > id, "numbers are given once");
}

#[test]
fn whom_a_window_spared_is_forgiven_after_a_restart_too() {
    let mut lan = used(graded());
    lan.tcp(66, 3, 104, Some(SYN_ACK));
    lan.pass(MINUTE);
    lan.announce(Whom::Everybody, 0, 5 * MINUTE).unwrap();
    lan.fail(66, 100, 6);
    for mut next in [lan.next(), lan.rebooted(0), lan.rebooted(MINUTE)] {
        next.pass(5 * MINUTE);
        next.fail(66, 106, 4);
        assert_eq!(next.actions(), [], "nothing is held against it");
        next.fail(66, 110, 3);
        assert_eq!(next.actions(), [Action::Throttled, Action::Pinned], "what is found anew acts");
    }
}

#[test]
fn what_waits_is_not_done_by_itself_in_a_window_but_a_person_may() {
    let approve = ApproveSettings {
        from: Some(Level::Pin),
        within_ns: 15 * MINUTE,
        otherwise: Otherwise::Act,
        meanwhile: None,
    };
    for approved in [false, true] {
        let mut lan = Lan::new(Settings { approve, ..enforcing() });
        lan.populate(1..=20);
        assert!(!lan.is_found(66, 100));
        lan.announce(Whom::Everybody, 0, HOUR).unwrap();
        if approved {
            let incident = lan.engine.snapshot(lan.now).incidents[0].id;
            let yes = Command::Approve(incident, true, "tanaka".to_owned());
            lan.engine.command(lan.now, yes, &mut lan.out).unwrap();
        }
        lan.pass(20 * MINUTE);
        assert_eq!(lan.is_entered(66), approved);
    }
}
