//! What evidence that is not decisive by itself brings about, where that is switched on.

use sensor_core::policy::{Allow, List};
use sensor_core::settings::DecideSettings;
use sensor_core::state::State as _;
use sensor_core::time::{HOUR, MINUTE};

use crate::*;

const DAY: u64 = 24 * HOUR;

pub(crate) fn graded() -> Settings {
    Settings { decide: DecideSettings { graded: true, highest: Level::Isolate }, ..enforcing() }
}

/// A network where host 66 has a server it used since yesterday.
pub(crate) fn used(settings: Settings) -> Lan {
    let mut lan = new(settings);
    lan.pass(DAY);
    lan
}

/// The same, seen for a second.
fn new(settings: Settings) -> Lan {
    let mut lan = Lan::new(settings);
    lan.populate(1..=20);
    lan.tcp(66, 3, 104, Some(SYN_ACK));
    lan.pass(SECOND);
    lan
}

impl Lan {
    /// Host n finds hosts from `from` on silent.
    pub(crate) fn fail(&mut self, n: u8, from: u8, count: u8) {
        for m in from..from + count {
            self.tcp(n, m, 8080, None);
            self.pass(2 * SECOND);
        }
    }

    fn entries(&self) -> Vec<Block> {
        self.engine.snapshot(self.now).blocks
    }

    fn changes(&self) -> Vec<(Change, Level)> {
        let change = |event: &Event| match event {
            Event::Isolation(isolation) => Some((isolation.change, isolation.level)),
            _ => None,
        };
        self.out.events.iter().filter_map(|timed| change(&timed.event)).collect()
    }
}

#[test]
fn a_device_is_raised_in_place_as_the_evidence_grows() {
    let mut lan = used(graded());
    lan.fail(66, 100, 4);
    assert_eq!(lan.entries(), []);
    lan.fail(66, 104, 1);
    let [throttled] = &lan.entries()[..] else { panic!() };
    assert_eq!((throttled.level, throttled.would), (Level::Throttle, false));
    assert_eq!(throttled.until.map(|until| until.since(throttled.since)), Some(10 * MINUTE));
    lan.fail(66, 105, 2);
    let [pinned] = &lan.entries()[..] else { panic!() };
    assert_eq!((pinned.id, pinned.level), (throttled.id, Level::Pin));
    assert!(pinned.until > throttled.until);
    let List::Learned { allowed, .. } = &pinned.list else { panic!("{pinned:?}") };
    assert!(allowed.iter().map(Allow::to_string).any(|allow| allow == "tcp/104 10.0.0.3"), "{allowed:?}");
    lan.fail(66, 107, 3);
    let [isolated] = &lan.entries()[..] else { panic!() };
    assert_eq!((isolated.id, isolated.level), (throttled.id, Level::Isolate));
    assert_eq!(
        lan.changes(),
        [
            (Change::Added, Level::Throttle),
            (Change::Changed, Level::Pin),
            // The eighth new host within an hour says so too.
            (Change::Extended, Level::Pin),
            (Change::Changed, Level::Isolate)
        ]
    );
    let raised = [Action::Throttled, Action::Pinned, Action::AlreadyIsolated, Action::Isolated];
    assert_eq!(lan.actions(), raised);
    // What is found of a device that is held takes nothing away from what was done.
    lan.fail(66, 110, 30);
    lan.pass(HOUR / 12);
    lan.fail(66, 140, 30);
    assert!(lan.actions()[raised.len()..].contains(&Action::AlreadyIsolated), "{:?}", lan.actions());
    assert_eq!(lan.engine.snapshot(lan.now).incidents[0].action, Action::Isolated);
    // One release undoes all of it.
    lan.engine.command(lan.now, Command::Remove(Which::Id(isolated.id)), &mut lan.out).unwrap();
    assert_eq!((lan.entries(), lan.cut()), (vec![], vec![]));
}

#[test]
fn what_was_learned_and_found_goes_on_in_the_next_daemon_but_for_who_was_released() {
    let next = |lan: &Lan, last: &LastState| {
        let mut next = lan.restarted(|settings| settings);
        next.engine.take_up(last, lan.now).unwrap();
        next
    };
    let known = |lan: &mut Lan| {
        // Devices are kept once they were heard for a minute.
        lan.tcp(66, 3, 104, Some(SYN_ACK));
        lan.pass(MINUTE);
        let mut state = Vec::new();
        lan.engine.save(&mut state).unwrap();
        LastState { saved: lan.now, ahead_ns: 0, state }
    };
    let mut lan = used(graded());
    let saved = known(&mut lan);
    // Without it the first day begins anew.
    let mut fresh = lan.restarted(|settings| settings);
    fresh.fail(66, 100, 7);
    assert_eq!(fresh.entries(), []);
    let mut lan = next(&lan, &saved);
    lan.fail(66, 100, 4);
    assert_eq!(lan.entries(), []);
    // Four failures before the restart: those after it do what they do in the daemon that was not restarted.
    let saved = known(&mut lan);
    let mut again = next(&lan, &saved);
    let levels = |lan: &Lan| lan.entries().iter().map(|block| block.level).collect::<Vec<_>>();
    for m in 104..108 {
        lan.fail(66, m, 1);
        again.fail(66, m, 1);
        assert_eq!(levels(&again), levels(&lan), "host {m}");
    }
    assert_eq!(levels(&again), [Level::Pin]);
    // Released, and the daemon dies before it saves again.
    let saved = known(&mut again);
    let entry = again.entries()[0].id;
    again.engine.command(again.now, Command::Remove(Which::Id(entry)), &mut again.out).unwrap();
    again.pass(SECOND);
    let mut released = next(&again, &saved);
    released.fail(66, 108, 3);
    assert_eq!(released.entries(), []);
}

#[test]
fn of_what_another_build_learned_all_is_taken_up_that_is_laid_out_the_same() {
    let lan = used(graded());
    let mut state = Vec::new();
    lan.engine.save(&mut state).unwrap();
    let last = |state| LastState { saved: lan.now, ahead_ns: 0, state };
    // The layout stands behind the name, which stands behind its length.
    let other = |name: &str| {
        let named = [&(name.len() as u32).to_le_bytes()[..], name.as_bytes()].concat();
        let at = state.windows(named.len()).position(|bytes| bytes == named).unwrap();
        let mut state = state.clone();
        state[at + named.len()] ^= 1;
        lan.restarted(|settings| settings).engine.take_up(&last(state), lan.now)
    };
    assert_eq!(other("novelty").unwrap(), ["novelty"]);
    assert_eq!(other("unusual").unwrap(), ["unusual"]);
    assert_eq!(other("ledger").unwrap(), ["ledger"]);
    assert_eq!(other("incidents").unwrap(), Vec::<&str>::new(), "they go on in the journal alone");
    for name in ["contacts", "services", "success", "begun"] {
        let error = other(name).unwrap_err().to_string();
        assert_eq!(error, format!("another build wrote {name} in another way"));
    }
    // Bytes that are damaged are refused, or taken for what they say.
    for at in (0..state.len()).step_by(state.len() / 400) {
        let mut damaged = state.clone();
        damaged[at] ^= 0x81;
        let mut next = lan.restarted(|settings| settings);
        drop(next.engine.take_up(&last(damaged), lan.now));
        assert!(next.engine.take_up(&last(state[..at].to_vec()), lan.now).is_err());
        next.fail(66, 100, 7);
    }
}

#[test]
fn a_pin_soon_after_a_boot_does_not_take_the_attack_for_what_is_usual() {
    let mut lan = used(graded());
    lan.tcp(66, 3, 104, Some(SYN_ACK));
    lan.pass(MINUTE);
    for mut next in [lan.next(), lan.rebooted(MINUTE)] {
        next.pass(MINUTE);
        next.fail(66, 100, 3);
        next.tcp(66, 5, 8080, Some(SYN_ACK));
        next.fail(66, 103, 6);
        let [pinned] = &next.entries()[..] else { panic!("{:?}", next.entries()) };
        let learned: Vec<String> = pinned.list.learned().iter().map(Allow::to_string).collect();
        let has = |pair: &str| learned.iter().any(|text| text == pair);
        assert!(has("tcp/104 10.0.0.3") && !has("tcp/8080 10.0.0.5"), "{learned:?}");
    }
}

#[test]
fn nobody_learns_while_the_machine_is_off() {
    for (watched, settles) in [(HOUR, false), (23 * HOUR, false), (25 * HOUR, true)] {
        let mut lan = Lan::new(graded());
        lan.populate(1..=120);
        lan.tcp(66, 3, 104, Some(SYN_ACK));
        lan.pass(watched);
        lan.tcp(66, 3, 104, Some(SYN_ACK));
        lan.pass(2 * MINUTE);
        let mut next = lan.rebooted(30 * HOUR);
        next.fail(66, 130, 7);
        assert_eq!(!next.entries().is_empty(), settles, "watched for {watched} ns");
    }
}

#[test]
fn the_first_day_does_not_begin_anew_with_the_machine() {
    let mut lan = used(graded());
    // Devices are kept once they were heard for a minute.
    lan.tcp(66, 3, 104, Some(SYN_ACK));
    lan.pass(MINUTE);
    let levels = |lan: &Lan| lan.entries().iter().map(|block| block.level).collect::<Vec<_>>();
    for off in [0, MINUTE, 30 * HOUR] {
        let mut next = lan.rebooted(off);
        next.fail(66, 100, 6);
        assert_eq!(levels(&next), [Level::Throttle], "off for {off} ns");
        next.fail(66, 106, 1);
        assert_eq!(levels(&next), [Level::Pin], "off for {off} ns");
    }
    // What was held against it is held as before, as long as the date says.
    lan.fail(66, 100, 5);
    let until = lan.entries()[0].until.unwrap();
    let left = until.since(lan.now);
    let mut next = lan.rebooted(MINUTE);
    assert_eq!(next.entries()[0].until.unwrap().since(next.now), left - MINUTE);
    next.fail(66, 105, 2);
    assert_eq!(levels(&next), [Level::Pin]);
    // Once its time is up it has a clean slate, as if the machine had run.
    let mut next = lan.rebooted(left);
    next.pass(SECOND);
    assert_eq!((next.entries(), next.changes()), (vec![], vec![(Change::Expired, Level::Throttle)]));
    next.fail(66, 105, 2);
    assert_eq!(next.entries(), []);
    // Who was released is as free as before.
    let entry = lan.entries()[0].id;
    lan.engine.command(lan.now, Command::Remove(Which::Id(entry)), &mut lan.out).unwrap();
    lan.pass(SECOND);
    let mut next = lan.rebooted(0);
    next.fail(66, 105, 2);
    assert_eq!(next.entries(), []);
}

#[test]
fn on_its_own_link_a_device_is_pinned_by_the_addresses_nobody_has_that_it_asks_for() {
    let mut lan = used(graded());
    for m in 100..106 {
        lan.arp(66, m);
        lan.pass(20 * SECOND);
    }
    let levels = |lan: &Lan| lan.entries().iter().map(|block| block.level).collect::<Vec<_>>();
    assert_eq!(levels(&lan), [Level::Throttle]);
    lan.arp(66, 106);
    lan.pass(SECOND);
    assert_eq!(levels(&lan), [Level::Pin]);
    // However many more there are: a sweep that isolates is faster.
    for m in 107..120 {
        lan.arp(66, m);
        lan.pass(20 * SECOND);
    }
    assert_eq!(levels(&lan), [Level::Pin]);
    // A router asks for whatever others look for.
    let mut lan = used(Settings { gateways: [mac(66)].into(), ..graded() });
    (100..110).for_each(|m| lan.arp(66, m));
    lan.pass(SECOND);
    assert_eq!(levels(&lan), []);
}

#[test]
fn what_is_not_decisive_only_tells_unless_decisions_are_graded() {
    // On the first day they are not, for all is new.
    for mut lan in [used(decisive()), new(graded())] {
        lan.fail(66, 100, 7);
        assert_eq!(lan.actions(), [Action::UngradedThrottle, Action::UngradedPin]);
    }
    let mut lan = used(decisive());
    lan.fail(66, 100, 7);
    assert_eq!((lan.entries(), lan.changes(), lan.cut()), (vec![], vec![], vec![]));
    lan.fail(66, 107, 3);
    assert_eq!(lan.actions().last(), Some(&Action::Isolated), "as ever");
}

#[test]
fn nothing_goes_beyond_the_highest_level() {
    for (highest, graded) in
        [(Level::Throttle, true), (Level::Throttle, false), (Level::Pin, true), (Level::Pin, false)]
    {
        let decide = DecideSettings { highest, graded };
        let mut lan = used(Settings { decide, ..enforcing() });
        lan.fail(66, 100, 20);
        let levels: Vec<_> = lan.entries().iter().map(|block| block.level).collect();
        assert_eq!(levels, [highest], "{decide:?}");
    }
    let mut lan = used(Settings { isolate_severity: 0, ..graded() });
    lan.fail(66, 100, 20);
    assert_eq!(lan.entries(), [], "a person decides");
}

#[test]
fn new_evidence_renews_and_nothing_lowers() {
    let mut lan = used(graded());
    lan.fail(66, 100, 7);
    let before = lan.entries()[0].until;
    lan.pass(20 * MINUTE);
    // The scan weighs a quarter now: too little to throttle, and the pin stays as it is.
    for m in 1..=14 {
        lan.session((66, 3), host(3), 22, (2_400 + m % 5 * 40, 2_500 + m % 3 * 60), SECOND);
    }
    lan.pass(SECOND);
    let entry = &lan.entries()[0];
    assert_eq!((entry.level, entry.until), (Level::Pin, before));
    // A port scan on top is enough for a pin.
    for port in 1..=10 {
        lan.tcp(66, 3, port, Some(RST_ACK));
    }
    lan.pass(SECOND);
    let entry = &lan.entries()[0];
    assert_eq!((entry.level, lan.entries().len()), (Level::Pin, 1));
    assert!(entry.until > before, "{:?}", lan.changes());
    lan.pass(HOUR + SECOND);
    assert_eq!(lan.entries(), []);
}

/// What a person is told it took is the time since the first alert of the same incident, not since what tipped the scale.
#[test]
fn the_first_evidence_is_that_of_the_first_alert() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=70);
    for m in 100..112 {
        lan.arp(66, m);
        lan.pass(100 * MILLISECOND);
    }
    lan.pass(2 * SECOND);
    assert_eq!((lan.alerts().len(), lan.entries().len()), (1, 0), "{:?}", lan.alerts());
    for port in 1..60 {
        lan.tcp(66, 5, port, Some(RST_ACK));
    }
    let first = |event: &Event| match event {
        Event::Alert(alert) => Some(alert.first_evidence),
        _ => None,
    };
    let alerts: Vec<Time> = lan.out.events.iter().filter_map(|timed| first(&timed.event)).collect();
    let isolation = |event: &Event| match event {
        Event::Isolation(isolation) => isolation.first_evidence,
        _ => None,
    };
    let told = lan.out.events.iter().find_map(|timed| isolation(&timed.event));
    assert_eq!(told, Some(alerts[0]));
    assert!(alerts.last().unwrap().since(alerts[0]) > 2 * SECOND, "{alerts:?}");
}

#[test]
fn observe_mode_grades_and_drops_nothing() {
    let mut lan = used(Settings { mode: Mode::Observe, ..graded() });
    lan.fail(66, 100, 10);
    let would = [Action::WouldThrottle, Action::WouldPin, Action::AlreadyIsolated, Action::WouldIsolate];
    assert_eq!(lan.actions(), would);
    let [entry] = &lan.entries()[..] else { panic!() };
    assert!(entry.would && entry.level == Level::Isolate);
    assert_eq!(lan.cut(), []);
}

#[test]
fn what_was_only_counted_is_no_repeat_once_it_is_enforced() {
    let mut lan = used(Settings { mode: Mode::Observe, ..graded() });
    lan.fail(66, 100, 10);
    lan.pass(DAY);
    let held_for = |mode| {
        let mut next = lan.restarted(|settings| Settings { mode, ..settings });
        next.populate(1..=20);
        next.arp(66, 1);
        next.fail(66, 150, 20);
        let [entry] = &next.entries()[..] else { panic!("{:?}", next.entries()) };
        assert_eq!((entry.level, entry.would), (Level::Isolate, mode == Mode::Observe));
        entry.until.unwrap().since(entry.since)
    };
    let [first, second, ..] = lan.settings.isolate_for_ns[..] else { panic!() };
    let near = |held: u64, want: u64| (want..want + MINUTE).contains(&held);
    assert!(near(held_for(Mode::Enforce), first), "nobody had a reason to say that it was wrong");
    assert!(near(held_for(Mode::Observe), second));
}

#[test]
fn gateways_and_the_protected_are_never_restricted_and_a_persons_entry_stays() {
    for settings in [
        Settings { gateways: [mac(66)].into(), ..graded() },
        Settings { protected: [Target::Mac(mac(66))].into(), ..graded() },
        Settings { protected_nets: vec!["10.0.0.64/29".parse().unwrap()], ..graded() },
    ] {
        let mut lan = used(settings);
        lan.fail(66, 100, 20);
        assert_eq!((lan.entries(), lan.cut()), (vec![], vec![]));
    }
    let mut lan = used(graded());
    let mine =
        lan.add(Add { level: Some(Level::Throttle), for_ns: Some(HOUR), ..block(Target::Mac(mac(66))) });
    lan.fail(66, 100, 7);
    assert_eq!(lan.entries()[0], mine, "an entry of its own is made beside it");
    assert_eq!(lan.entries()[1].level, Level::Pin);
}

#[test]
fn those_who_look_a_little_like_it_are_left_alone() {
    // A server whose clients are often off, over a day; monitoring that pings them; a PC that finds two printers gone.
    let mut lan = used(graded());
    for m in 100..200 {
        let answer = (m % 4 != 0).then_some(SYN_ACK);
        lan.tcp(5, m, 9100, answer);
        lan.see((mac(6), mac(m)), (host(6), host(m)), (0x800, 0), 1, 0);
        if m % 4 != 0 {
            lan.see((mac(m), mac(6)), (host(m), host(6)), (0, 0), 1, 0);
        }
        lan.pass(MINUTE);
    }
    lan.fail(7, 210, 2);
    assert_eq!((lan.entries(), lan.cut()), (vec![], vec![]), "{:?}", lan.alerts());
}

#[test]
fn throttles_have_a_budget_of_their_own() {
    let mut lan = Lan::new(Settings { budget: 1, ..graded() });
    lan.populate(1..=20);
    [60, 61].into_iter().for_each(|n| lan.arp(n, 1));
    lan.pass(DAY);
    [60, 61].into_iter().for_each(|n| lan.fail(n, 100, 5));
    assert_eq!(lan.entries().len(), 1);
    assert_eq!(lan.actions().last(), Some(&Action::BudgetSpent));
    lan.fail(61, 105, 5);
    let levels: Vec<_> = lan.entries().iter().map(|block| block.level).collect();
    assert_eq!(levels, [Level::Throttle, Level::Isolate], "the throttle did not use up the isolation");
}
