//! Devices keep their numbers, and what people say of them, over restarts; several addresses can be one device.

use sensor_core::engine::{Mistake, Mistakes, Remark};
use sensor_core::event::CardStep;
use sensor_core::inventory::cards::{CardError, Edit};
use sensor_core::policy::class::{Class, Criticality};
use sensor_core::time::MINUTE;

use crate::*;

impl Lan {
    pub(crate) fn carry(&mut self, command: Command) -> Result<Reply, CommandError> {
        self.engine.command(self.now, command, &mut self.out)
    }

    pub(crate) fn card(&mut self, who: &str, edit: Edit) -> Result<Reply, CommandError> {
        self.carry(Command::Describe(vec![(who.to_owned(), edit)], "root".to_owned()))
    }

    /// The number of host n.
    pub(crate) fn number(&self, n: u8) -> Option<u64> {
        let devices = self.engine.snapshot(self.now).devices;
        devices.into_iter().find(|device| device.mac == mac(n)).map(|device| device.id)
    }

    pub(crate) fn card_steps(&self) -> Vec<CardStep> {
        let step = |event: &Event| match event {
            Event::Card(change) => Some(change.step),
            _ => None,
        };
        self.out.events.iter().filter_map(|timed| step(&timed.event)).collect()
    }

    /// Hosts 1 to 5 and 66, known for some minutes.
    pub(crate) fn settled(settings: Settings) -> Lan {
        let mut lan = Lan::new(settings);
        lan.populate(1..=5);
        lan.arp(66, 1);
        lan.tcp(66, 1, 445, Some(SYN_ACK));
        lan.pass(2 * MINUTE);
        (1..=5).chain([66]).for_each(|n| lan.arp(n, 254));
        lan.pass(MINUTE);
        lan
    }
}

pub(crate) fn name(text: &str) -> Edit {
    Edit { name: Some(text.to_owned()), ..Edit::default() }
}

pub(crate) fn critical(kind: Criticality) -> Edit {
    Edit { criticality: Some(Some(kind)), ..Edit::default() }
}

#[test]
fn who_was_heard_for_a_minute_is_the_same_device_after_a_restart() {
    let mut lan = Lan::settled(enforcing());
    lan.arp(77, 1);
    lan.pass(MINUTE);
    let before: Vec<_> = (1..=5).map(|n| lan.number(n)).collect();
    let passing = lan.number(77);
    assert!(before.iter().all(Option::is_some) && passing.is_some());
    let mut again = lan.restarted(|settings| settings);
    assert_eq!((1..=5).map(|n| again.number(n)).collect::<Vec<_>>(), before);
    assert_eq!(again.number(77), None, "heard once, as made-up addresses are");
    again.arp(78, 1);
    assert!(again.number(78) > passing, "no number is given twice");
}

#[test]
fn what_people_say_is_kept_and_shown_and_can_come_before_the_device() {
    let mut lan = Lan::settled(enforcing());
    lan.card("10.0.0.3", name("MRI 2")).unwrap();
    lan.card("mri 2", Edit { place: Some("OR 1".to_owned()), approved: Some(true), ..Edit::default() })
        .unwrap();
    lan.card(&mac(88).to_string(), name("spare")).unwrap();
    let id = lan.number(3).unwrap();
    let mut again = lan.restarted(|settings| settings);
    again.arp(88, 1);
    let snapshot = again.engine.snapshot(again.now);
    let of = |n| snapshot.devices.iter().find(|device| device.mac == mac(n)).unwrap();
    assert_eq!((of(3).id, of(3).name.as_deref(), of(88).name.as_deref()), (id, Some("MRI 2"), Some("spare")));
    let (card, device) = &snapshot.cards[0];
    assert_eq!((card.place.as_deref(), card.approved, device.mac), (Some("OR 1"), true, mac(3)));
    // Found by name and by number, as by its addresses.
    for who in ["MRI 2", &id.to_string()] {
        let entry = again.add(block_device(who));
        assert_eq!(entry.targets, [Target::Mac(mac(3)), Target::Ip(host(3))], "{who}");
        again.carry(Command::Remove(Which::Id(entry.id))).unwrap();
    }
}

#[test]
fn of_many_all_or_none_is_said() {
    let mut lan = Lan::settled(enforcing());
    lan.card("10.0.0.1", name("PACS")).unwrap();
    let edits = vec![
        ("10.0.0.2".to_owned(), name("CT 1")),
        ("10.0.0.1".to_owned(), name("archive")),
        ("10.0.0.3".to_owned(), name("CT 1")),
    ];
    let error = lan.carry(Command::Describe(edits, "root".to_owned())).unwrap_err();
    let (2, Some("name"), CommandError::Card { who, error: CardError::Taken { .. } }) = only(error) else {
        panic!()
    };
    assert_eq!(who, "10.0.0.3");
    let cards = lan.engine.snapshot(lan.now).cards;
    let names: Vec<_> = cards.iter().map(|(card, _)| card.name.as_deref()).collect();
    assert_eq!((names, lan.card_steps()), (vec![Some("PACS")], vec![CardStep::Described]));
    let class = Edit { class: Some(Some("icu".parse().unwrap())), ..Edit::default() };
    let wrong = only(lan.card("PACS", class.clone()).unwrap_err());
    assert!(matches!(wrong, (0, Some("class"), CommandError::Unknown { what: "class", .. })), "{wrong:?}");
    let wrong = only(lan.card("10.0.0.99", name("x")).unwrap_err());
    assert!(matches!(wrong, (0, Some("device"), CommandError::NoDevice(_))), "{wrong:?}");
}

/// The one mistake of an order.
fn only(error: CommandError) -> (usize, Option<&'static str>, CommandError) {
    let CommandError::Mistakes(Mistakes { mut told, more: 0 }) = error else { panic!("{error:?}") };
    let Mistake { at, field, error } = told.pop().unwrap();
    assert!(told.is_empty(), "{told:?}");
    (at, field, error)
}

#[test]
fn all_that_is_wrong_with_a_list_is_told_up_to_a_bound() {
    let mut lan = Lan::settled(enforcing());
    lan.card("10.0.0.1", name("PACS")).unwrap();
    let class = |text: &str| Edit { class: Some(Some(text.parse().unwrap())), ..name(text) };
    let edits =
        [("zz", name("a")), ("10.0.0.2", class("pacs")), ("10.0.0.3", name("b")), ("10.0.0.99", name("c"))];
    let edits = edits.map(|(who, edit)| (who.to_owned(), edit)).to_vec();
    let error = lan.carry(Command::Describe(edits, "root".to_owned())).unwrap_err();
    let CommandError::Mistakes(Mistakes { told, more: 0 }) = error else { panic!("{error:?}") };
    let places: Vec<_> = told.iter().map(|mistake| (mistake.at, mistake.field)).collect();
    assert_eq!(places, [(0, Some("device")), (1, Some("class")), (1, Some("name")), (3, Some("device"))]);
    let many = (0..1_000).map(|n| (format!("z{n}"), name("a"))).collect();
    let error = lan.carry(Command::Describe(many, "root".to_owned())).unwrap_err();
    assert!(error.to_string().ends_with("; and 980 more"), "{error}");
    assert_eq!(lan.engine.snapshot(lan.now).cards.len(), 1);
}

#[test]
fn names_are_swapped_in_one_order_or_not_at_all() {
    let mut lan = Lan::settled(enforcing());
    lan.card("10.0.0.1", name("CT 1")).unwrap();
    lan.card("10.0.0.2", name("CT 2")).unwrap();
    lan.card("10.0.0.4", name("PACS")).unwrap();
    let swap = |third: &str| {
        let to = [("CT 1", "CT 2"), ("10.0.0.2", "ct 1"), ("10.0.0.3", third)];
        Command::Describe(to.map(|(who, text)| (who.to_owned(), name(text))).to_vec(), "root".to_owned())
    };
    let names = |lan: &Lan| {
        let devices = lan.engine.snapshot(lan.now).devices;
        let of =
            |n| devices.iter().find(|device| device.mac == mac(n)).and_then(|device| device.name.clone());
        (1..=3).map(|n| of(n).unwrap_or_default()).collect::<Vec<_>>()
    };
    let error = only(lan.carry(swap("PACS")).unwrap_err());
    assert!(matches!(error, (2, _, CommandError::Card { error: CardError::Taken { .. }, .. })), "{error:?}");
    assert_eq!(names(&lan), ["CT 1", "CT 2", ""]);
    lan.carry(swap("CT 3")).unwrap();
    assert_eq!(names(&lan), ["CT 2", "ct 1", "CT 3"]);
    let again = lan.restarted(|settings| settings);
    assert_eq!(names(&again), ["CT 2", "ct 1", "CT 3"]);
}

#[test]
fn a_long_list_is_one_change_that_is_told_in_parts() {
    let mut lan = Lan::settled(enforcing());
    let mac = |n: u32| Mac([2, 0, 0, 0, (n >> 8) as u8, n as u8]).to_string();
    let edits = (0..3_000).map(|n| (mac(n), name(&format!("pump {n}")))).collect();
    let reply = lan.carry(Command::Describe(edits, "root".to_owned())).unwrap();
    assert!(matches!(reply, Reply::Described(devices) if devices.len() == 3_000));
    assert_eq!(lan.engine.snapshot(lan.now).cards.len(), 3_000);
    assert_eq!(lan.card_steps().len(), 1_024);
    lan.pass(SECOND / 4);
    assert_eq!(lan.card_steps().len(), 1_024);
    lan.pass(SECOND / 4);
    assert_eq!(lan.card_steps().len(), 2_048);
    lan.engine.finish(lan.now, &mut lan.out);
    assert_eq!(lan.card_steps().len(), 3_000);
}

#[test]
fn what_a_person_says_depends_on_a_device_lowers_what_is_done_by_itself() {
    let isolated = |prepare: fn(&mut Lan)| {
        let classes = [("wards".parse().unwrap(), Class::of_kind(Criticality::LifeCritical))].into();
        let mut lan = Lan::settled(Settings { classes, ..decisive() });
        prepare(&mut lan);
        lan.sweep();
        let blocks = lan.engine.snapshot(lan.now).blocks;
        blocks.first().map(|block| block.level)
    };
    assert_eq!(isolated(|_| {}), Some(Level::Isolate));
    assert_eq!(
        isolated(|lan| drop(lan.card("10.0.0.66", critical(Criticality::LifeCritical)))),
        Some(Level::Pin)
    );
    assert_eq!(
        isolated(|lan| {
            let wards = Some(Some("wards".parse().unwrap()));
            drop(lan.card("10.0.0.66", Edit { class: wards, ..Edit::default() }));
        }),
        Some(Level::Pin)
    );
}

#[test]
fn a_device_with_two_mac_addresses_is_cut_off_by_both_and_parted_again() {
    let mut lan = Lan::settled(decisive());
    lan.carry(Command::Merge("10.0.0.66".to_owned(), mac(67).to_string(), "root".to_owned())).unwrap();
    lan.arp(67, 1);
    assert_eq!(lan.number(66), lan.number(67));
    lan.sweep();
    let other = [Target::Mac(mac(67)), Target::Ip(host(67))];
    let cut = lan.cut();
    assert!(other.iter().all(|target| cut.contains(target)), "{cut:?}");
    lan.carry(Command::Remove(Which::Held(Who::Device("10.0.0.67".to_owned())))).unwrap();
    assert_eq!(lan.cut(), []);
    lan.carry(Command::Split(mac(67).to_string(), "root".to_owned())).unwrap();
    assert_ne!(lan.number(66), lan.number(67));
    assert_eq!(lan.card_steps(), [CardStep::Merged, CardStep::Split, CardStep::Split]);
    assert!(matches!(
        lan.carry(Command::Split(mac(67).to_string(), "root".to_owned())),
        Err(CommandError::NotMerged(_))
    ));
}

#[test]
fn what_is_said_stays_with_the_first_address_whichever_is_parted() {
    for parted in [66, 67] {
        let mut lan = Lan::settled(enforcing());
        lan.card("10.0.0.66", name("laptop")).unwrap();
        let id = lan.number(66);
        lan.carry(Command::Merge("laptop".to_owned(), mac(67).to_string(), "root".to_owned())).unwrap();
        lan.arp(67, 1);
        lan.carry(Command::Split(mac(parted).to_string(), "root".to_owned())).unwrap();
        assert_eq!(lan.number(66), id, "{parted}");
        assert_ne!(lan.number(67), id, "{parted}");
        let snapshot = lan.engine.snapshot(lan.now);
        let called = |n| snapshot.devices.iter().find(|device| device.mac == mac(n)).unwrap().name.clone();
        assert_eq!((called(66).as_deref(), called(67)), (Some("laptop"), None), "{parted}");
    }
}

#[test]
fn a_list_that_is_read_back_as_it_was_written_changes_nothing() {
    let wards = "wards".parse().unwrap();
    let mut class = Class::of_kind(Criticality::Server);
    class.members.insert(Target::Mac(mac(3)));
    let names = [(Target::Mac(mac(3)), "PACS".to_owned())].into();
    let mut lan = Lan::settled(Settings { classes: [(wards, class)].into(), names, ..enforcing() });
    let edit = Edit { class: Some(Some(wards)), approved: Some(false), ..name("PACS") };
    assert_eq!(lan.card("10.0.0.3", edit), Ok(Reply::Described(vec![])));
    assert_eq!((lan.engine.snapshot(lan.now).cards, lan.card_steps()), (vec![], vec![]));
}

#[test]
fn a_fire_drill_spends_nothing_of_the_budget_and_needs_none() {
    let settings = || Settings { budget: 1, ..decisive() };
    let held =
        |lan: &Lan| lan.engine.snapshot(lan.now).blocks.iter().map(|b| b.targets[0]).collect::<Vec<_>>();
    let scan = |lan: &mut Lan, n: u8, from: u8| {
        lan.arp(n, 1);
        for m in from..from + 30 {
            lan.tcp(n, m, 445, None);
            lan.pass(MILLISECOND);
        }
        lan.pass(SECOND);
    };
    for drill_first in [true, false] {
        let mut lan = Lan::settled(settings());
        lan.carry(Command::Drill(Some(mac(99)))).unwrap();
        let order = if drill_first { [99, 66] } else { [66, 99] };
        scan(&mut lan, order[0], 100);
        scan(&mut lan, order[1], 140);
        assert_eq!(held(&lan), order.map(|n| Target::Mac(mac(n))), "drill first: {drill_first}");
    }
    // When its time is up it is a device like any other.
    let mut lan = Lan::settled(settings());
    lan.carry(Command::Drill(Some(mac(99)))).unwrap();
    lan.pass(11 * MINUTE);
    scan(&mut lan, 66, 100);
    scan(&mut lan, 99, 140);
    assert_eq!(held(&lan), [Target::Mac(mac(66))]);
}

#[test]
fn one_that_is_one_with_a_protected_device_is_never_cut_off_by_itself() {
    let protected = [Target::Mac(mac(67))].into();
    let mut lan = Lan::settled(Settings { protected, ..decisive() });
    lan.carry(Command::Merge("10.0.0.66".to_owned(), mac(67).to_string(), "root".to_owned())).unwrap();
    lan.sweep();
    assert_eq!((lan.cut(), lan.actions().contains(&Action::Protected)), (vec![], true));
}

#[test]
fn what_a_forgotten_device_did_is_forgotten_and_what_it_does_anew_is_found_also_after_a_restart() {
    let mut lan = Lan::settled(decisive());
    lan.sweep();
    let held = |lan: &Lan| lan.engine.snapshot(lan.now).blocks.first().map(|block| block.id);
    lan.carry(Command::Remove(Which::Id(held(&lan).unwrap()))).unwrap();
    lan.carry(Command::ForgetDevice(mac(66).to_string(), "root".to_owned())).unwrap();
    let mut again = lan.next();
    for lan in [&mut lan, &mut again] {
        lan.arp(66, 1);
        for m in 140..170 {
            lan.tcp(66, m, 445, None);
            lan.pass(MILLISECOND);
        }
        lan.pass(SECOND);
        assert!(held(lan).is_some());
    }
}

#[test]
fn a_forgotten_device_is_a_new_one_and_one_that_is_held_is_not_forgotten() {
    let mut lan = Lan::settled(enforcing());
    lan.card("10.0.0.3", name("MRI 2")).unwrap();
    let entry = lan.add(block_device("MRI 2"));
    let forget = || Command::ForgetDevice("10.0.0.3".to_owned(), "root".to_owned());
    assert_eq!(lan.carry(forget()), Err(CommandError::Held(Target::Mac(mac(3)))));
    lan.carry(Command::Remove(Which::Id(entry.id))).unwrap();
    let id = lan.number(3);
    lan.carry(forget()).unwrap();
    assert_eq!(lan.number(3), None);
    let mut again = lan.restarted(|settings| settings);
    assert_eq!(again.number(3), None);
    again.arp(3, 1);
    assert!(again.number(3) > id);
}

pub(crate) fn merge(into: &str, other: &str) -> Command {
    Command::Merge(into.to_owned(), other.to_owned(), "root".to_owned())
}

pub(crate) fn split(address: &str) -> Command {
    Command::Split(address.to_owned(), "root".to_owned())
}

impl Lan {
    /// What there is to know besides of a merge or a split.
    fn regroup(&mut self, command: Command) -> Vec<Remark> {
        let Reply::Regrouped { remarks, .. } = self.carry(command).unwrap() else { panic!("another reply") };
        remarks
    }

    /// Number, name, criticality and class of host n, and whether it may be here.
    fn said(&self, n: u8) -> (Option<u64>, Option<String>, Option<Criticality>, Option<String>, bool) {
        let snapshot = self.engine.snapshot(self.now);
        let id = self.number(n);
        let card = snapshot.cards.iter().map(|(card, _)| card).find(|card| Some(card.id) == id);
        let card = card.cloned().unwrap_or_default();
        (id, card.name, card.criticality, card.class.map(|class| class.to_string()), card.approved)
    }
}

#[test]
fn merging_and_parting_gives_each_its_card_and_number_back_and_never_the_patient_to_another() {
    let vent = Edit { approved: Some(true), ..critical(Criticality::LifeCritical) };
    for (into, other) in [("10.0.0.4", "Vent 1"), ("Vent 1", "10.0.0.4")] {
        for parted in ["10.0.0.1", "10.0.0.4"] {
            let mut lan = Lan::settled(enforcing());
            lan.card("10.0.0.1", Edit { name: Some("Vent 1".to_owned()), ..vent.clone() }).unwrap();
            let before = (lan.said(1), lan.said(4));
            assert_eq!(lan.regroup(merge(into, other)), []);
            assert_eq!(lan.said(4).2, Some(Criticality::LifeCritical), "as long as they are one");
            let mut lan = lan.restarted(|settings| settings);
            assert_eq!(lan.regroup(split(parted)), []);
            assert_eq!((lan.said(1), lan.said(4)), before, "{into}, {other}, {parted}");
            let lan = lan.restarted(|settings| settings);
            assert_eq!((lan.said(1), lan.said(4)), before, "{into}, {other}, {parted}: after a restart");
        }
    }
}

#[test]
fn a_spare_that_was_never_heard_is_there_again_once_it_is_parted() {
    let mut lan = Lan::settled(enforcing());
    lan.card(&mac(88).to_string(), name("spare")).unwrap();
    lan.card("10.0.0.2", name("pump")).unwrap();
    lan.carry(merge("pump", "spare")).unwrap();
    lan.carry(merge("10.0.0.3", "pump")).unwrap();
    let ids = lan.number(2);
    lan.carry(split("10.0.0.3")).unwrap();
    assert_ne!(lan.number(2), ids);
    lan.carry(split(&mac(88).to_string())).unwrap();
    let cards = lan.engine.snapshot(lan.now).cards;
    let names: Vec<_> = cards.iter().map(|(card, device)| (card.name.as_deref(), device.mac)).collect();
    assert_eq!(names, [(Some("pump"), mac(2)), (Some("spare"), mac(88))]);
}

#[test]
fn what_is_said_of_two_that_are_one_goes_back_to_where_it_came_from_and_spares_both_in_doubt() {
    let mut lan = Lan::settled(enforcing());
    lan.card("10.0.0.1", name("Vent 1")).unwrap();
    lan.carry(merge("10.0.0.4", "Vent 1")).unwrap();
    lan.card("Vent 1", Edit { name: Some("Vent 9".to_owned()), ..critical(Criticality::LifeCritical) })
        .unwrap();
    assert_eq!(lan.regroup(split("10.0.0.1")), [Remark::Doubt]);
    let critical = Some(Criticality::LifeCritical);
    assert_eq!((lan.said(1).1.as_deref(), lan.said(1).2), (Some("Vent 9"), critical));
    assert_eq!((lan.said(4).1, lan.said(4).2), (None, critical));
    // Made less of while they were one: none is spared less than before.
    lan.carry(merge("10.0.0.2", "Vent 9")).unwrap();
    lan.card("Vent 9", self::critical(Criticality::Other)).unwrap();
    assert_eq!(lan.regroup(split("10.0.0.1")), [Remark::Doubt]);
    assert_eq!((lan.said(1).2, lan.said(2).2), (critical, Some(Criticality::Other)));
}

#[test]
fn a_life_that_depends_on_one_by_its_class_depends_on_both_while_they_are_one() {
    let wards = "wards".parse().unwrap();
    let mut class = Class::of_kind(Criticality::LifeCritical);
    class.members.insert(Target::Mac(mac(1)));
    let office = ("office".parse().unwrap(), Class::of_kind(Criticality::Other));
    let mut lan = Lan::settled(Settings { classes: [(wards, class), office.clone()].into(), ..enforcing() });
    lan.card("10.0.0.4", Edit { class: Some(Some(office.0)), ..Edit::default() }).unwrap();
    let before = (lan.said(1), lan.said(4));
    lan.carry(merge("10.0.0.4", "10.0.0.1")).unwrap();
    assert_eq!(
        (lan.said(1).2, lan.said(4).2),
        (Some(Criticality::LifeCritical), Some(Criticality::LifeCritical))
    );
    // Also of three, of which one is parted.
    lan.carry(merge("10.0.0.1", "10.0.0.5")).unwrap();
    assert_eq!(lan.regroup(split("10.0.0.4")), []);
    assert_eq!((lan.said(4), lan.said(5).2), (before.1, Some(Criticality::LifeCritical)));
    assert_eq!(lan.regroup(split("10.0.0.1")), []);
    assert_eq!((lan.said(1), lan.said(5).2), (before.0, None));
}

#[test]
fn two_that_an_earlier_release_merged_are_both_spared_once_they_are_parted() {
    let mut lan = Lan::settled(enforcing());
    lan.card("10.0.0.1", Edit { approved: Some(true), ..critical(Criticality::LifeCritical) }).unwrap();
    lan.carry(merge("10.0.0.4", "10.0.0.1")).unwrap();
    for save in &mut lan.out.saves {
        if let Save::Card(card) = save {
            card.parts.clear();
        }
    }
    let mut lan = lan.restarted(|settings| settings);
    let id = lan.number(4);
    assert_eq!(lan.regroup(split("10.0.0.1")), [Remark::Doubt]);
    let critical = Some(Criticality::LifeCritical);
    assert_eq!((lan.said(1).2, lan.said(4).2, lan.number(4)), (critical, critical, id));
    assert!(lan.number(1) > id, "a new number");
}

#[test]
fn a_name_that_was_given_away_meanwhile_is_not_given_twice() {
    let mut lan = Lan::settled(enforcing());
    lan.card("10.0.0.1", name("CT 1")).unwrap();
    lan.card("10.0.0.2", name("CT 2")).unwrap();
    lan.carry(merge("CT 1", "CT 2")).unwrap();
    lan.card("10.0.0.3", name("ct 2")).unwrap();
    assert_eq!(lan.regroup(split("10.0.0.2")), [Remark::Nameless("CT 2".to_owned())]);
    assert_eq!([1, 2, 3].map(|n| lan.said(n).1), [Some("CT 1".to_owned()), None, Some("ct 2".to_owned())]);
}

#[test]
fn merging_and_parting_is_kept_at_once_and_two_with_one_number_are_told_apart_at_the_start() {
    let mut lan = Lan::settled(enforcing());
    let before = (lan.number(1), lan.number(3));
    lan.carry(merge("10.0.0.3", "10.0.0.1")).unwrap();
    let merged = lan.restarted(|settings| settings);
    assert_eq!((merged.number(1), merged.number(3), merged.card_steps()), (before.1, before.1, vec![]));
    lan.carry(split("10.0.0.1")).unwrap();
    let parted = lan.restarted(|settings| settings);
    assert_eq!((parted.number(1), parted.number(3), parted.card_steps()), (before.0, before.1, vec![]));
    // As an earlier release left it: the number of the one that was parted was not on the disk yet.
    for save in &mut lan.out.saves {
        if let Save::Device(kept) = save {
            kept.id = before.1.unwrap();
        }
    }
    let mut again = lan.restarted(|settings| settings);
    let numbers: std::collections::BTreeSet<_> = [1, 2, 3, 4, 5, 66].map(|n| again.number(n)).into();
    assert_eq!((numbers.len(), again.card_steps()), (6, vec![CardStep::Renumbered; 5]));
    let third = again.restarted(|settings| settings);
    assert_eq!([1, 2, 3].map(|n| third.number(n)), [1, 2, 3].map(|n| again.number(n)), "and kept");
    again.carry(merge("10.0.0.3", "10.0.0.1")).unwrap();
}

#[test]
fn who_is_merged_with_one_that_is_cut_off_is_cut_off_too_and_stays_so_by_an_entry_of_its_own() {
    let own = |n| [Target::Mac(mac(n)), Target::Ip(host(n))];
    for automatic in [false, true] {
        let mut lan = Lan::settled(decisive());
        if automatic {
            lan.sweep();
        } else {
            lan.add(Add { for_ns: Some(HOUR), ..block_device("10.0.0.66") });
        }
        let first = lan.engine.snapshot(lan.now).blocks[0].clone();
        assert_eq!(
            lan.regroup(merge("10.0.0.66", "10.0.0.1")),
            [Remark::Extended(first.id, own(1).to_vec())]
        );
        let blocks = lan.engine.snapshot(lan.now).blocks;
        let targets = [own(66), own(1)].concat();
        assert_eq!(blocks, [Block { targets: targets.clone(), ..first.clone() }], "automatic: {automatic}");
        assert!(targets.iter().all(|target| lan.cut().contains(target)), "{:?}", lan.cut());
        let mut lan = lan.restarted(|settings| settings);
        let remarks = lan.regroup(split("10.0.0.1"));
        let [new, old] = &lan.engine.snapshot(lan.now).blocks.into_iter().rev().collect::<Vec<_>>()[..]
        else {
            panic!("two entries")
        };
        assert_eq!(remarks, [new, old].map(|block| Remark::Held(block.id, block.targets.clone())));
        assert_eq!(*old, first);
        assert_eq!((&new.targets[..], new.until), (&own(1)[..], first.until));
        assert!(targets.iter().all(|target| lan.cut().contains(target)), "{:?}", lan.cut());
        lan.carry(Command::Remove(Which::Held(Who::Device("10.0.0.1".to_owned())))).unwrap();
        assert!(lan.cut().iter().all(|target| own(66).contains(target)) && lan.cut().len() >= 2);
    }
}

#[test]
fn merging_cuts_off_nobody_who_must_not_be_and_widens_no_entry_for_an_address_alone() {
    let protected: std::collections::BTreeSet<_> = [Target::Ip(host(2))].into();
    let mut lan = Lan::settled(Settings { protected, ..decisive() });
    lan.card("10.0.0.1", critical(Criticality::LifeCritical)).unwrap();
    let entry = lan.add(block_device("10.0.0.66"));
    let alone = lan.add(block(Target::Ip(host(5))));
    let before = lan.engine.snapshot(lan.now).blocks;
    let spared = lan.regroup(merge("10.0.0.66", "10.0.0.2"));
    assert!(
        matches!(&spared[..], [Remark::Spared(id, targets, _)] if *id == entry.id && targets.contains(&Target::Mac(mac(2)))),
        "{spared:?}"
    );
    let remarks = lan.regroup(merge("10.0.0.66", "10.0.0.1"));
    assert!(
        remarks.iter().all(|remark| matches!(remark, Remark::Spared(id, ..) if *id == entry.id)),
        "{remarks:?}"
    );
    assert_eq!(remarks.len(), 2);
    assert_eq!(
        lan.regroup(merge("10.0.0.5", "10.0.0.4")),
        [Remark::Alone(alone.id, vec![Target::Ip(host(5))])]
    );
    assert_eq!(lan.engine.snapshot(lan.now).blocks, before);
}

/// An address of a protected device is listed nowhere if the device is by its MAC address.
#[test]
fn who_is_merged_with_a_protected_device_is_cut_off_without_it() {
    for listed in [Target::Mac(mac(2)), Target::Ip(host(2))] {
        let mut lan = Lan::settled(Settings { protected: [listed].into(), ..decisive() });
        lan.carry(merge("10.0.0.66", "10.0.0.2")).unwrap();
        let entry = lan.add(block_device("10.0.0.66"));
        assert!(
            entry.targets.contains(&Target::Mac(mac(66))) && entry.targets.contains(&Target::Ip(host(66)))
        );
        assert!(
            !entry.targets.iter().any(|target| [Target::Mac(mac(2)), Target::Ip(host(2))].contains(target))
        );
    }
}

#[test]
fn one_that_is_merged_with_a_pinned_device_may_go_on_with_what_it_did() {
    let mut lan = Lan::settled(enforcing());
    lan.tcp(66, 3, 443, Some(SYN_ACK));
    lan.tcp(1, 2, 104, Some(SYN_ACK));
    let entry = lan.add(Add { level: Some(Level::Pin), ..block_device("10.0.0.66") });
    lan.carry(merge("10.0.0.66", "10.0.0.1")).unwrap();
    let merged = lan.engine.snapshot(lan.now).blocks[0].clone();
    assert!(entry.list.learned().iter().all(|allow| merged.list.learned().contains(allow)));
    assert!(merged.list.learned().len() > entry.list.learned().len());
    assert_ne!(merged.list, entry.list);
    lan.carry(split("10.0.0.1")).unwrap();
    let lists: Vec<_> = lan.engine.snapshot(lan.now).blocks.iter().map(|block| block.list.clone()).collect();
    assert_eq!((lists.len(), lists[0].learned()), (2, lists[1].learned()));
    assert_ne!(lists[0], lists[1], "each has a list of its own");
}
