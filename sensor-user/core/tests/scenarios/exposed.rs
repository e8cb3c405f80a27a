//! Who was reached by a device that was restricted as a scanner, and goes on like it.

use sensor_core::engine::Judge;
use sensor_core::event::{Said, Verdict};
use sensor_core::settings::{ApproveSettings, Otherwise};
use sensor_core::state::State as _;
use sensor_core::time::MINUTE;

use crate::*;

/// The same, where 5 reaches 6 and 7 at a port and is then restricted, for nobody else answers there.
fn infected(settings: Settings, port: u16) -> Lan {
    let mut lan = ward(settings);
    lan.tcp(5, 6, port, Some(SYN_ACK));
    lan.tcp(5, 7, port, Some(SYN_ACK));
    lan.fails(5, port);
    lan
}

impl Lan {
    /// Host n finds twelve hosts silent.
    fn fails(&mut self, n: u8, port: u16) {
        for m in 200..212 {
            self.tcp(n, m, port, None);
            self.pass(200 * MILLISECOND);
        }
        self.pass(SECOND);
    }

    /// Whom this detector blames.
    fn exposed(&self) -> Vec<u8> {
        let alerts = self.alerts().into_iter();
        alerts.filter(|(detector, ..)| *detector == "exposed").map(|(.., device)| device).collect()
    }

    /// Whose traffic is restricted, and how much.
    fn restrictions(&self) -> Vec<(u8, Level)> {
        let blocks = self.engine.snapshot(self.now).blocks.into_iter();
        let number = |block: &Block| {
            block.targets.iter().find_map(|target| match target {
                Target::Mac(mac) => Some(mac.0[5]),
                _ => None,
            })
        };
        blocks.filter_map(|block| Some((number(&block)?, block.level))).collect()
    }

    /// A person takes out what holds a device.
    fn release(&mut self, device: &str) {
        let order = Command::Remove(Which::Held(Who::Device(device.to_owned())));
        self.engine.command(self.now, order, &mut self.out).unwrap();
    }
}

#[test]
fn who_answered_a_scanner_is_pinned_at_its_first_new_contact_and_so_is_whom_it_reaches() {
    for port in [445, 9100] {
        let mut lan = infected(enforcing(), port);
        assert_eq!((lan.restrictions().len(), lan.restrictions()[0].0), (1, 5), "{:?}", lan.alerts());
        lan.pass(5 * SECOND);
        lan.tcp(6, 50, port, Some(SYN_ACK));
        assert_eq!((lan.exposed(), lan.restrictions()[1]), (vec![6], (6, Level::Pin)), "{port}");
        lan.pass(5 * SECOND);
        // One that nobody answers says as much.
        lan.tcp(50, 210, port, None);
        assert_eq!((lan.exposed(), lan.restrictions()[2]), (vec![6, 50], (50, Level::Pin)), "{port}");
        let reasons: Vec<_> =
            lan.engine.snapshot(lan.now).blocks.into_iter().map(|block| block.reason).collect();
        assert!(reasons[1].ends_with(", after 10.0.0.5 reached it"), "{reasons:?}");
    }
}

#[test]
fn what_an_exposed_host_did_before_the_scanner_was_restricted_is_told_with_that() {
    let mut lan = ward(enforcing());
    lan.tcp(5, 6, 445, Some(SYN_ACK));
    lan.pass(5 * SECOND);
    lan.tcp(6, 50, 445, Some(SYN_ACK));
    assert_eq!(lan.exposed(), []);
    lan.fails(5, 445);
    assert_eq!(lan.exposed(), [6]);
    assert!(lan.restrictions().contains(&(6, Level::Pin)), "{:?}", lan.restrictions());
}

#[test]
fn what_is_told_of_many_is_told_in_the_same_order_once_it_was_saved_and_loaded() {
    let mut lan = ward(enforcing());
    for m in [6, 7, 8] {
        lan.tcp(5, m, 445, Some(SYN_ACK));
        lan.pass(MINUTE);
    }
    // Used last, it lies elsewhere in a table that is loaded.
    lan.tcp(9, 6, 445, Some(SYN_ACK));
    for m in [8, 6, 7] {
        lan.tcp(m, 50 + m, 445, Some(SYN_ACK));
        lan.pass(MINUTE);
    }
    let mut state = Vec::new();
    lan.engine.save(&mut state).unwrap();
    let mut engine = Engine::new(enforcing());
    engine.load(&mut &state[..]).unwrap();
    let (now, sport, place) = (lan.now, lan.sport, lan.place);
    let mut loaded = Lan { engine, settings: enforcing(), now, out: Output::default(), sport, place };
    lan.out = Output::default();
    for lan in [&mut lan, &mut loaded] {
        lan.fails(5, 445);
        lan.fails(5, 445);
        assert_eq!(lan.exposed(), [6, 7, 8]);
    }
    assert_eq!(lan.out.events, loaded.out.events);
}

#[test]
fn what_a_person_denies_and_takes_back_exposes_nobody() {
    let approve = ApproveSettings {
        from: Some(Level::Isolate),
        within_ns: 15 * MINUTE,
        otherwise: Otherwise::Alert,
        meanwhile: Some(Level::Pin),
    };
    for denied in [false, true] {
        let mut lan = infected(Settings { approve, ..decisive() }, 445);
        lan.fails(5, 445);
        assert_eq!(lan.restrictions(), [(5, Level::Pin)]);
        if denied {
            let incident = lan.engine.snapshot(lan.now).incidents[0].id;
            let order = Command::Approve(incident, false, "tanaka".to_owned());
            lan.engine.command(lan.now, order, &mut lan.out).unwrap();
        }
        lan.tcp(6, 50, 445, Some(SYN_ACK));
        assert_eq!(lan.exposed().is_empty(), denied, "{denied}");
    }
}

#[test]
fn it_goes_on_in_the_next_daemon_but_for_who_was_released_since_it_was_saved() {
    for released in [false, true] {
        let mut lan = infected(enforcing(), 445);
        lan.arp(6, 1);
        lan.pass(2 * MINUTE);
        let (saved, mut state) = (lan.now, Vec::new());
        lan.engine.save(&mut state).unwrap();
        lan.pass(SECOND);
        if released {
            lan.release("10.0.0.5");
            lan.pass(SECOND);
        }
        let mut next = lan.restarted(|settings| settings);
        let last = LastState { saved, ahead_ns: 0, state: state.clone() };
        next.engine.take_up(&last, next.now).unwrap();
        next.tcp(6, 50, 445, Some(SYN_ACK));
        assert_eq!(next.exposed().is_empty(), released, "{released}");
    }
}

#[test]
fn where_restrictions_are_only_counted_so_are_those_that_follow() {
    let mut lan = infected(Settings { mode: Mode::Observe, ..enforcing() }, 445);
    lan.tcp(6, 50, 445, Some(SYN_ACK));
    assert_eq!(lan.exposed(), [6]);
    assert!(lan.actions().contains(&Action::WouldPin), "{:?}", lan.actions());
    assert_eq!(lan.cut(), []);
}

#[test]
fn an_exposed_host_that_goes_on_with_its_work_is_left_alone() {
    type Story = fn(&mut Lan);
    let stories: [(&str, Story); 9] = [
        ("the server that everybody uses", |lan| lan.tcp(107, 101, 445, Some(SYN_ACK))),
        ("whom it knows", |lan| lan.tcp(6, 101, 445, Some(SYN_ACK))),
        ("back to who came", |lan| lan.tcp(6, 5, 445, Some(SYN_ACK))),
        ("another port", |lan| lan.tcp(6, 50, 3389, Some(SYN_ACK))),
        ("a host nobody reached", |lan| lan.tcp(8, 50, 445, Some(SYN_ACK))),
        ("after the hour", |lan| {
            lan.pass(HOUR);
            lan.tcp(6, 50, 445, Some(SYN_ACK));
        }),
        ("a person released who reached it", |lan| {
            lan.release("10.0.0.5");
            lan.tcp(6, 50, 445, Some(SYN_ACK));
        }),
        ("a person says that it was false", |lan| {
            let incident = lan.engine.snapshot(lan.now).incidents[0].id;
            let said = Said { verdict: Verdict::False, by: "tanaka".to_owned(), comment: String::new() };
            let order = Command::Judge(Judge { incident, said, former: None });
            lan.engine.command(lan.now, order, &mut lan.out).unwrap();
            lan.tcp(6, 50, 445, Some(SYN_ACK));
        }),
        ("a person released it", |lan| {
            lan.add(block_device("10.0.0.6"));
            lan.release("10.0.0.6");
            lan.tcp(6, 50, 445, Some(SYN_ACK));
        }),
    ];
    for (name, story) in stories {
        let mut lan = infected(enforcing(), 445);
        lan.tcp(5, 107, 445, Some(SYN_ACK));
        story(&mut lan);
        lan.pass(SECOND);
        assert_eq!(lan.exposed(), [], "{name}");
    }
}

#[test]
fn who_was_released_is_not_told_of_for_what_it_did_before() {
    let mut lan = ward(enforcing());
    lan.tcp(5, 6, 445, Some(SYN_ACK));
    lan.pass(SECOND);
    lan.tcp(6, 50, 445, Some(SYN_ACK));
    lan.add(block_device("10.0.0.6"));
    lan.release("10.0.0.6");
    lan.fails(5, 445);
    assert_eq!((lan.exposed(), lan.restrictions()[0].0), (vec![], 5));
}

#[test]
fn who_was_restricted_for_something_else_or_refused_exposes_nobody() {
    // By a person.
    let mut lan = ward(enforcing());
    lan.tcp(5, 6, 445, Some(SYN_ACK));
    lan.add(block_device("10.0.0.5"));
    lan.tcp(6, 50, 445, Some(SYN_ACK));
    assert_eq!(lan.exposed(), []);

    let mut lan = ward(enforcing());
    lan.tcp(5, 6, 445, Some(RST_ACK));
    lan.fails(5, 445);
    lan.tcp(6, 50, 445, Some(SYN_ACK));
    assert_eq!((lan.exposed(), lan.restrictions().len()), (vec![], 1));
}

#[test]
fn where_a_scan_is_found_by_arp_the_port_is_the_one_that_was_answered_last() {
    let mut lan = ward(enforcing());
    lan.tcp(5, 6, 445, Some(SYN_ACK));
    lan.pass(SECOND);
    for m in 200..225 {
        lan.arp(5, m);
        lan.pass(100 * MILLISECOND);
    }
    lan.pass(SECOND);
    assert_eq!(lan.restrictions().len(), 1, "{:?}", lan.alerts());
    lan.tcp(6, 50, 3389, Some(SYN_ACK));
    assert_eq!(lan.exposed(), []);
    lan.tcp(6, 51, 445, Some(SYN_ACK));
    assert_eq!(lan.exposed(), [6]);
}

#[test]
fn on_the_first_day_nobody_is_exposed() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=120);
    lan.tcp(5, 6, 445, Some(SYN_ACK));
    for _ in 0..2 {
        lan.fails(5, 445);
        lan.sweep();
    }
    lan.tcp(6, 50, 445, Some(SYN_ACK));
    assert_eq!(lan.exposed(), []);
}

#[test]
fn a_row_of_pins_by_one_mistake_ends_at_the_bound_of_a_tree() {
    let mut lan = ward(Settings { budget: 1, ..enforcing() });
    for m in 6..=30 {
        lan.tcp(5, m, 8080, Some(SYN_ACK));
        lan.pass(3 * MINUTE / 2);
    }
    for _ in 0..3 {
        lan.fails(5, 8080);
    }
    for m in 6..=30 {
        lan.tcp(m, 60 + m, 8080, Some(SYN_ACK));
    }
    assert!(lan.restrictions().len() <= 11, "{:?}", lan.restrictions());
    assert_eq!(lan.actions().last(), Some(&Action::BudgetSpent));
    assert!(lan.restrictions().iter().skip(1).all(|(_, level)| *level == Level::Pin));
}
