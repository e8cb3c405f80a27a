//! Restrictions that a person must approve.

use sensor_core::event::ApprovalStep;
use sensor_core::policy::class::{Asks, Class};
use sensor_core::settings::{ApproveSettings, Otherwise};
use sensor_core::time::MINUTE;

use crate::*;

const ASKS: ApproveSettings = ApproveSettings {
    from: Some(Level::Pin),
    within_ns: 15 * MINUTE,
    otherwise: Otherwise::Alert,
    meanwhile: None,
};

/// Host 66 scans, and waits for a person.
fn scanned(approve: ApproveSettings) -> Lan {
    let mut lan = Lan::new(Settings { approve, ..enforcing() });
    lan.populate(1..=20);
    lan.arp(66, 1);
    lan.sweep();
    lan
}

impl Lan {
    fn levels(&self) -> Vec<Level> {
        self.engine.snapshot(self.now).blocks.iter().map(|block| block.level).collect()
    }

    fn steps(&self) -> Vec<ApprovalStep> {
        let step = |event: &Event| match event {
            Event::Approval(approval) => Some(approval.step),
            _ => None,
        };
        self.out.events.iter().filter_map(|timed| step(&timed.event)).collect()
    }

    fn say(&mut self, incident: u64, yes: bool) -> Result<Reply, CommandError> {
        let command = Command::Approve(incident, yes, "tanaka".to_owned());
        self.engine.command(self.now, command, &mut self.out)
    }

    fn action(&self) -> Action {
        self.engine.snapshot(self.now).incidents[0].action.clone()
    }
}

#[test]
fn what_must_be_approved_waits_and_is_done_when_it_is() {
    let mut lan = scanned(ASKS);
    assert_eq!((lan.levels(), lan.action(), lan.steps()), (vec![], Action::Waits, vec![ApprovalStep::Asked]));
    let incident = lan.engine.snapshot(lan.now).incidents[0].clone();
    assert_eq!(incident.waits.map(|(level, _)| level), Some(Level::Isolate));
    assert_eq!(lan.engine.stats().approvals_waiting, 1);
    let reply = lan.say(incident.id, true).unwrap();
    assert!(
        matches!(reply, Reply::Approved { level: Level::Isolate, action: Action::Isolated, .. }),
        "{reply:?}"
    );
    assert_eq!((lan.levels(), lan.action()), (vec![Level::Isolate], Action::Isolated));
    let reason = &lan.engine.snapshot(lan.now).blocks[0].reason;
    assert!(reason.ends_with(", approved by tanaka"), "{reason}");
    assert_eq!(lan.say(incident.id, true), Err(CommandError::NotWaiting(incident.id)), "once");
    assert_eq!(lan.steps(), [ApprovalStep::Asked, ApprovalStep::Approved]);
    lan.pass(HOUR);
    assert_eq!(lan.levels(), [], "it ends by itself");
}

#[test]
fn what_is_denied_is_not_done_and_not_asked_again() {
    let mut lan = scanned(ApproveSettings { meanwhile: Some(Level::Throttle), ..ASKS });
    assert_eq!(lan.levels(), [Level::Throttle], "meanwhile");
    let id = lan.engine.snapshot(lan.now).incidents[0].id;
    assert_eq!(lan.say(id, false), Ok(Reply::Denied { incident: id, level: Level::Isolate }));
    assert_eq!(
        (lan.levels(), lan.cut(), lan.action()),
        (vec![], vec![], Action::Denied),
        "all of it is taken back"
    );
    lan.sweep();
    for m in 1..=8 {
        lan.tcp(66, m, 22, Some(SYN_ACK));
    }
    lan.pass(20 * MINUTE);
    assert_eq!((lan.levels(), lan.steps()), (vec![], vec![ApprovalStep::Asked, ApprovalStep::Denied]));
}

#[test]
fn when_nobody_says_anything_in_time_it_is_as_configured() {
    for (otherwise, want, step, action) in [
        (Otherwise::Alert, vec![], ApprovalStep::Lapsed, Action::NotApproved),
        (Otherwise::Act, vec![Level::Isolate], ApprovalStep::LapsedActs, Action::Isolated),
    ] {
        let mut lan = scanned(ApproveSettings { otherwise, ..ASKS });
        lan.pass(14 * MINUTE);
        assert_eq!((lan.levels(), lan.action()), (vec![], Action::Waits));
        lan.pass(2 * MINUTE);
        assert_eq!((lan.levels(), lan.action()), (want, action));
        assert_eq!(lan.steps(), [ApprovalStep::Asked, step]);
        assert_eq!(lan.engine.stats().approvals_waiting, 0);
    }
}

#[test]
fn who_is_asked_depends_on_the_level_the_class_and_the_mode() {
    let class = |approve| {
        let members = [Target::Mac(mac(66))].into();
        let class = Class { approve, members, highest: Some(Level::Isolate), ..Class::default() };
        [("wards".parse().unwrap(), class)].into()
    };
    let with = |from, approve, mode| {
        let approve_all = ApproveSettings { from, ..ASKS };
        Settings { mode, approve: approve_all, classes: class(approve), ..Settings::default() }
    };
    for (name, settings, asked) in [
        ("nobody", with(None, Asks::AsElsewhere, Mode::Enforce), false),
        ("as elsewhere", with(Some(Level::Isolate), Asks::AsElsewhere, Mode::Enforce), true),
        ("never in this class", with(Some(Level::Isolate), Asks::Never, Mode::Enforce), false),
        ("only in this class", with(None, Asks::From(Level::Isolate), Mode::Enforce), true),
        ("nothing is done anyway", with(Some(Level::Pin), Asks::AsElsewhere, Mode::Observe), false),
    ] {
        let mut lan = Lan::new(settings);
        lan.populate(1..=20);
        lan.arp(66, 1);
        lan.sweep();
        assert_eq!(lan.steps().len(), usize::from(asked), "{name}");
        assert_eq!(lan.levels().is_empty(), asked, "{name}");
    }
}

#[test]
fn what_waits_goes_on_after_a_restart_also_for_a_device_that_is_not_heard_again() {
    for clean in [true, false] {
        let mut lan = scanned(ApproveSettings { meanwhile: Some(Level::Throttle), ..ASKS });
        let before = lan.engine.snapshot(lan.now).incidents[0].clone();
        if clean {
            lan.engine.finish(lan.now, &mut lan.out);
        }
        lan.pass(5 * MINUTE);
        let mut next = lan.restarted(|settings| settings);
        let after = next.engine.snapshot(next.now).incidents[0].clone();
        assert_eq!((after.id, after.waits, &after.device), (before.id, before.waits, &before.device));
        assert_eq!((after.action, after.findings.len()), (Action::Waits, 1));
        assert_eq!(next.levels(), [Level::Throttle]);
        next.say(before.id, true).unwrap();
        assert_eq!((next.levels(), next.action()), (vec![Level::Isolate], Action::Isolated));
        assert!(next.cut().contains(&Target::Mac(mac(66))), "{:?}", next.cut());
        assert!(next.restarted(|settings| settings).steps().is_empty(), "and that is the end of it");
    }
}

#[test]
fn deadlines_pass_over_a_restart_but_not_unseen() {
    let act = ApproveSettings { otherwise: Otherwise::Act, ..ASKS };
    let mut lan = scanned(act);
    lan.pass(10 * MINUTE);
    let mut next = lan.restarted(|settings| settings);
    next.pass(6 * MINUTE);
    assert_eq!((next.levels(), next.steps()), (vec![Level::Isolate], vec![ApprovalStep::LapsedActs]));

    // No daemon ran when it passed: nobody could have said no.
    let mut lan = scanned(act);
    lan.now = lan.now.plus(20 * MINUTE);
    let mut next = lan.restarted(|settings| settings);
    next.pass(MINUTE);
    assert_eq!((next.levels(), next.steps()), (vec![], vec![ApprovalStep::Lapsed]));
    assert_eq!(next.action(), Action::NotApproved);

    // It belongs to a class by now that may be told about only.
    let lan = scanned(act);
    let members = [Target::Mac(mac(66))].into();
    let class = Class { members, ..Class::default() };
    let mut next =
        lan.restarted(|settings| Settings { classes: [("icu".parse().unwrap(), class)].into(), ..settings });
    next.pass(16 * MINUTE);
    assert_eq!((next.levels(), next.steps()), (vec![], vec![ApprovalStep::Lapsed]));

    let observes = scanned(act).restarted(|settings| Settings { mode: Mode::Observe, ..settings });
    assert_eq!((observes.steps(), observes.engine.stats().approvals_waiting), (vec![ApprovalStep::Lost], 0));
}

#[test]
fn what_was_denied_is_not_asked_again_after_a_restart() {
    let mut lan = scanned(ASKS);
    let id = lan.engine.snapshot(lan.now).incidents[0].id;
    lan.say(id, false).unwrap();
    let mut next = lan.restarted(|settings| settings);
    next.populate(1..=20);
    next.arp(66, 1);
    next.sweep();
    let incident = next.engine.snapshot(next.now).incidents[0].clone();
    assert_eq!((incident.id, incident.action, next.steps()), (id, Action::Denied, vec![]));
    // An hour later that is over.
    next.now = next.now.plus(HOUR);
    let mut later = next.restarted(|settings| settings);
    later.populate(1..=20);
    later.arp(66, 1);
    later.sweep();
    assert_eq!(later.steps(), [ApprovalStep::Asked]);
}

#[test]
fn an_address_that_another_device_took_meanwhile_is_not_cut() {
    let lan = scanned(ASKS);
    let id = lan.engine.snapshot(lan.now).incidents[0].id;
    let mut next = lan.restarted(|settings| settings);
    // Another device got the address by DHCP while no daemon ran.
    next.see((mac(70), Mac([0xff; 6])), (host(66), host(1)), (1, 0), 0, 0);
    next.say(id, true).unwrap();
    assert_eq!(next.cut(), [Target::Mac(mac(66))]);
}
