//! One device with several addresses, by evidence: it is seen and counted as one, and nothing else is done by that.

use sensor_core::event::{CardStep, Grouping};
use sensor_core::identify::group::WhyTwo;
use sensor_core::inventory::cards::Edit;
use sensor_core::policy::Memory;
use sensor_core::policy::class::Criticality;
use sensor_core::time::MINUTE;

use crate::known::{critical, merge, name, split};
use crate::*;

/// A DUID that is a UUID, as option 61.
fn duid(machine: u8) -> Vec<u8> {
    [&[255, 0, 0, 0, 1, 0, 4][..], &(machine..machine + 16).collect::<Vec<_>>()].concat()
}

impl Lan {
    /// A minute in which these hosts are heard.
    fn minute(&mut self, heard: &[u8]) {
        self.pass(SECOND);
        heard.iter().for_each(|n| self.arp(*n, 254));
        self.pass(MINUTE - SECOND);
    }

    /// Host 1 goes out of its dock and is host 2 from then on.
    fn undocked(settings: Settings) -> Lan {
        let mut lan = Lan::settled(settings);
        lan.asks_as(1, &duid(1));
        lan.minute(&[1, 3, 4]);
        lan.asks_as(2, &duid(1));
        for _ in 0..4 {
            lan.minute(&[2, 3, 4]);
        }
        lan
    }

    /// With whom host n is counted as one, and by which number.
    fn one(&self, n: u8) -> Option<(u64, Vec<Mac>)> {
        let one = self.device(n).one?;
        Some((one.number, one.with.iter().map(|device| device.mac).collect()))
    }

    /// What was told of groups: whether they are one, with whom, and why not.
    fn groupings(&self) -> Vec<(CardStep, Grouping)> {
        let told = self.out.events.iter().filter_map(|timed| match &timed.event {
            Event::Card(change) => Some((change.step, change.group.clone()?)),
            _ => None,
        });
        told.collect()
    }

    fn why(&self) -> Option<WhyTwo> {
        self.groupings().last().and_then(|(_, group)| group.why)
    }
}

#[test]
fn a_laptop_out_of_its_dock_is_counted_as_one_device_also_after_a_restart() {
    let mut lan = Lan::settled(enforcing());
    let (first, second) = (lan.number(1).unwrap(), lan.number(2).unwrap());
    lan.asks_as(1, &duid(1));
    lan.minute(&[1]);
    lan.asks_as(2, &duid(1));
    lan.minute(&[1, 2]);
    lan.minute(&[2]);
    assert_eq!((lan.one(1), lan.device(1).perhaps.len()), (None, 1), "the hand-over is not over");
    lan.minute(&[2]);
    lan.minute(&[2]);
    let want = |lan: &Lan| {
        assert_eq!((lan.one(1), lan.one(2)), (Some((first, vec![mac(2)])), Some((first, vec![mac(1)]))));
        assert_eq!((lan.number(1), lan.number(2)), (Some(first), Some(second)), "each has its number");
        assert_eq!((lan.device(1).perhaps.len(), lan.device(2).perhaps.len()), (0, 0));
    };
    want(&lan);
    let told = lan.groupings();
    let [(CardStep::Grouped, Grouping { with, client_id, why: None })] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((with[0].mac, client_id.len()), (mac(2), 36));
    let mut lan = lan.restarted(|settings| settings);
    want(&lan);
    // Into the dock and out again, and away.
    for heard in [&[1, 2][..], &[1], &[1], &[1, 2], &[2], &[], &[1]] {
        lan.minute(heard);
    }
    want(&lan);
    assert_eq!(lan.groupings(), []);
}

#[test]
fn who_is_on_together_is_never_one_by_that_identifier_again() {
    // Together from the start, and after they were taken for one.
    for grouped in [false, true] {
        let mut lan = if grouped { Lan::undocked(enforcing()) } else { Lan::settled(enforcing()) };
        assert_eq!(lan.one(1).is_some(), grouped);
        (1..=2).for_each(|n| lan.asks_as(n, &duid(1)));
        (0..4).for_each(|_| lan.minute(&[1, 2]));
        assert_eq!((lan.one(1), lan.one(2)), (None, None));
        assert_eq!(lan.device(1).perhaps[0].against, Some(WhyTwo::Together));
        assert_eq!(lan.why(), grouped.then_some(WhyTwo::Together));
        for _ in 0..2 {
            (0..20).for_each(|_| lan.minute(&[2]));
            assert_eq!((lan.one(1), lan.one(2)), (None, None), "{grouped}");
            assert_eq!(lan.device(1).perhaps[0].against, Some(WhyTwo::Together));
            lan = lan.restarted(|settings| settings);
        }
    }
}

#[test]
fn clones_of_a_disk_image_are_many_devices() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=10);
    // One after the other, so that no two are ever on together.
    for n in 1..=10 {
        lan.asks_as(n, &duid(1));
        (0..6).for_each(|_| lan.minute(&[n]));
    }
    assert!((1..=10).all(|n| lan.one(n).is_none()));
    let steps: Vec<_> = lan.groupings().iter().map(|(step, group)| (*step, group.why)).collect();
    assert_eq!(steps.last(), Some(&(CardStep::Dissolved, Some(WhyTwo::Image))), "{steps:?}");
    // Also once most of them are forgotten.
    for n in 3..=10 {
        lan.carry(Command::ForgetDevice(mac(n).to_string(), "root".to_owned())).unwrap();
    }
    (0..6).for_each(|_| lan.minute(&[2]));
    assert_eq!(lan.one(2), None);
}

#[test]
fn what_names_no_machine_is_no_evidence() {
    for id in
        [&[1, 0, 0x1b, 0x21, 0, 0, 3][..], b"\0laptop", &[255, 0, 0, 0, 1, 0, 3, 0, 1, 2, 0, 0, 0, 0, 7]]
    {
        let mut lan = Lan::settled(enforcing());
        (1..=2).for_each(|n| lan.asks_as(n, id));
        (0..6).for_each(|_| lan.minute(&[2]));
        assert_eq!((lan.one(2), lan.device(2).perhaps.len()), (None, 1), "{id:?}");
    }
}

#[test]
fn who_is_spared_or_carries_others_is_always_shown_by_itself() {
    let protected = || Settings { protected: [Target::Ip(host(1))].into(), ..enforcing() };
    assert_eq!(Lan::undocked(protected()).one(2), None);
    assert_eq!(Lan::undocked(Settings { gateways: [mac(1)].into(), ..enforcing() }).one(2), None);
    let mut lan = Lan::settled(enforcing());
    lan.card("10.0.0.2", critical(Criticality::LifeCritical)).unwrap();
    (1..=2).for_each(|n| lan.asks_as(n, &duid(1)));
    (0..6).for_each(|_| lan.minute(&[2]));
    assert_eq!(lan.one(2), None);
    // Said of one that is counted with another already.
    let mut lan = Lan::undocked(enforcing());
    assert!(lan.one(2).is_some());
    lan.card("10.0.0.2", critical(Criticality::LifeCritical)).unwrap();
    assert_eq!((lan.one(1), lan.one(2), lan.why()), (None, None, Some(WhyTwo::Vital)));
    let lan = Lan::undocked(enforcing()).restarted(|_| protected());
    assert_eq!((lan.one(1), lan.one(2), lan.why()), (None, None, Some(WhyTwo::Protected)));
}

#[test]
fn what_holds_one_never_touches_the_other() {
    // By a person's order, by its number, which is the one they are counted by.
    let mut lan = Lan::undocked(decisive());
    let (number, _) = lan.one(1).unwrap();
    let reply = lan.carry(Command::Add(block_device(&number.to_string()))).unwrap();
    let Reply::Added { block: entry, beside, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(
        beside.iter().map(|device| device.mac).collect::<Vec<_>>(),
        [mac(2)],
        "it is said who goes on"
    );
    assert_eq!(entry.targets, [Target::Mac(mac(1)), Target::Ip(host(1))]);
    assert!(!lan.cut().iter().any(|target| [Target::Mac(mac(2)), Target::Ip(host(2))].contains(target)));
    // By itself, of one who borrowed the identifier of host 1; and whoever is cut off when they are taken for one stays alone so.
    for grouped_before in [true, false] {
        let mut lan = Lan::settled(decisive());
        lan.asks_as(1, &duid(1));
        lan.minute(&[1]);
        lan.asks_as(66, &duid(1));
        if !grouped_before {
            lan.sweep();
        }
        (0..4).for_each(|_| lan.minute(&[66]));
        assert!(lan.one(66).is_some());
        if grouped_before {
            lan.sweep();
        }
        let cut = lan.cut();
        assert!(cut.contains(&Target::Mac(mac(66))), "{cut:?}");
        assert!(
            !cut.iter().any(|target| [Target::Mac(mac(1)), Target::Ip(host(1))].contains(target)),
            "{cut:?}"
        );
        assert_eq!((lan.device(1).block, lan.device(66).block.is_some()), (None, true));
    }
    // A life that depends on nobody: the borrower is spared nothing for its owner's class, which bars the group besides.
    let mut lan = Lan::settled(decisive());
    lan.card("10.0.0.1", critical(Criticality::Server)).unwrap();
    (1..=1).chain([66]).for_each(|n| lan.asks_as(n, &duid(1)));
    (0..4).for_each(|_| lan.minute(&[66]));
    assert!(lan.one(66).is_some());
    lan.sweep();
    assert_eq!(lan.engine.snapshot(lan.now).blocks[0].level, Level::Isolate);
}

#[test]
fn the_word_of_a_person_goes_before_and_lasts() {
    let distinct = || Command::Distinct(host(1).to_string(), host(2).to_string(), "root".to_owned());
    for part in [distinct(), split(&mac(1).to_string()), split(&mac(2).to_string())] {
        let mut lan = Lan::undocked(enforcing());
        lan.carry(part.clone()).unwrap();
        assert_eq!((lan.one(1), lan.one(2), lan.why()), (None, None, Some(WhyTwo::Distinct)), "{part:?}");
        let mut lan = lan.restarted(|settings| settings);
        (0..6).for_each(|_| lan.minute(&[2]));
        assert_eq!(lan.one(2), None, "{part:?}");
    }
    // A merge is firm, for what cuts off too; taken back, they are two, though they ask under one identifier.
    let mut lan = Lan::undocked(enforcing());
    let entry = lan.add(block_device("10.0.0.1"));
    lan.carry(merge("10.0.0.1", "10.0.0.2")).unwrap();
    assert_eq!((lan.one(1), lan.number(1) == lan.number(2)), (None, true));
    assert!(lan.cut().contains(&Target::Mac(mac(2))));
    lan.carry(Command::Remove(Which::Id(entry.id))).unwrap();
    (0..4).for_each(|_| lan.minute(&[1, 2]));
    lan.carry(split("10.0.0.2")).unwrap();
    (0..6).for_each(|_| lan.minute(&[2]));
    assert_eq!((lan.one(2), lan.device(2).perhaps.len()), (None, 0));
}

#[test]
fn who_leaves_three_leaves_the_other_two_as_they_are() {
    let mut lan = Lan::undocked(enforcing());
    lan.asks_as(3, &duid(1));
    (0..4).for_each(|_| lan.minute(&[3]));
    assert_eq!(lan.one(1).map(|(_, with)| with), Some(vec![mac(2), mac(3)]));
    lan.carry(split(&mac(1).to_string())).unwrap();
    assert_eq!((lan.one(1), lan.one(2)), (None, Some((lan.number(2).unwrap(), vec![mac(3)]))));
}

#[test]
fn people_who_say_different_things_of_two_are_believed() {
    let mut lan = Lan::undocked(enforcing());
    lan.card("10.0.0.2", Edit { place: Some("OR 1".to_owned()), ..Edit::default() }).unwrap();
    assert!(lan.one(2).is_some(), "nothing else is said of the other");
    lan.card(&mac(1).to_string(), name("laptop")).unwrap();
    lan.card("10.0.0.2", name("another laptop")).unwrap();
    assert_eq!((lan.one(2), lan.why()), (None, Some(WhyTwo::Said)));
    // Also if it is said in the configuration.
    let names = [(1, "PACS"), (2, "laptop")].map(|(n, name)| (Target::Mac(mac(n)), name.to_owned()));
    assert_eq!(Lan::undocked(Settings { names: names.into(), ..enforcing() }).one(2), None);
}

#[test]
fn what_is_said_by_their_number_is_said_where_it_stands_and_read_back_changes_nothing() {
    let mut lan = Lan::undocked(enforcing());
    let number = lan.one(1).unwrap().0.to_string();
    let place = |text: &str| Edit { place: Some(text.to_owned()), ..Edit::default() };
    lan.card("10.0.0.2", Edit { approved: Some(true), ..place("OR 1") }).unwrap();
    let cards = |lan: &Lan| {
        let cards = lan.engine.snapshot(lan.now).cards;
        let said = |n| {
            let card = cards.iter().map(|(card, _)| card).find(|card| Some(card.id) == lan.number(n));
            card.map(|card| (card.name.clone(), card.place.clone(), card.approved))
        };
        [said(1), said(2)]
    };
    let text = |text: &str| Some(text.to_owned());
    // As `export` writes them: one line, and it may not be here as long as one of them may not.
    let line = Edit { name: text(""), approved: Some(false), ..place("OR 1") };
    assert_eq!(lan.card(&number, line), Ok(Reply::Described(vec![])));
    lan.card(&number, Edit { name: text("laptop"), approved: Some(true), ..place("OR 2") }).unwrap();
    assert_eq!(cards(&lan), [Some((text("laptop"), None, true)), Some((None, text("OR 2"), true))]);
    let wards = critical(Criticality::Server);
    lan.card(&number, wards).unwrap();
    let of = |lan: &Lan, n| {
        let cards = lan.engine.snapshot(lan.now).cards;
        cards
            .into_iter()
            .find(|(card, _)| Some(card.id) == lan.number(n))
            .and_then(|(card, _)| card.criticality)
    };
    assert_eq!((of(&lan, 1), of(&lan, 2)), (Some(Criticality::Server), None), "it restricts and spares");
    // A list from before they were one has a line for each.
    let lines = [("10.0.0.1", "laptop", ""), ("10.0.0.2", "", "OR 2")];
    for reversed in [false, true] {
        let edit = |(who, name, place): (&str, &str, &str)| {
            (who.to_owned(), Edit { name: text(name), place: text(place), ..Edit::default() })
        };
        let mut edits = lines.map(edit).to_vec();
        reversed.then(|| edits.reverse());
        assert_eq!(lan.carry(Command::Describe(edits, "root".to_owned())), Ok(Reply::Described(vec![])));
    }
    // It is forgotten alone, for what is held against the other goes on.
    lan.carry(Command::ForgetDevice(number, "root".to_owned())).unwrap();
    assert_eq!((lan.number(1), lan.number(2).is_some(), lan.one(2)), (None, true, None));
}

#[test]
fn a_record_of_it_decides_the_same_again() {
    use sensor_core::engine::Input;
    use sensor_core::state::State as _;
    let mut lan = Lan::undocked(enforcing());
    let mut state = Vec::new();
    lan.engine.save(&mut state).unwrap();
    lan.engine.take_notes();
    let told = lan.out.events.len();
    (0..4).for_each(|_| lan.minute(&[1, 2]));
    let mut again = Engine::new(lan.settings.clone());
    again.load(&mut &state[..]).unwrap();
    let (mut out, notes) = (Output::default(), lan.engine.fetch_notes().unwrap());
    let mut bytes = &notes.bytes[..];
    while !bytes.is_empty() {
        again.take_in(<Input as borsh::BorshDeserialize>::deserialize(&mut bytes).unwrap(), &mut out);
    }
    assert_eq!((&out.events[..], lan.why()), (&lan.out.events[told..], Some(WhyTwo::Together)));
    let shared = |saves: &[Save]| {
        let shared = saves.iter().filter(|save| matches!(save, Save::Keep(Memory::Shared(_))));
        shared.cloned().collect::<Vec<_>>()
    };
    assert_eq!(shared(&out.saves), shared(&lan.out.saves)[1..]);
}
