//! Levels and targets: what each asks of the data path, and what is refused.

use sensor_core::policy::{Allow, List, Name};
use sensor_core::settings::Segment;
use sensor_core::time::MINUTE;

use crate::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn at(level: Level, target: Target) -> Add {
    Add { level: Some(level), ..block(target) }
}

impl Lan {
    /// The restriction of a target as it was ordered last.
    fn rule(&self, target: Target) -> Option<Restriction> {
        let about = |decision: &Decision| match decision {
            Decision::Restrict(to, by) if *to == target => Some(Some(*by)),
            Decision::Clear(to) if *to == target => Some(None),
            _ => None,
        };
        self.out.decisions.iter().rev().find_map(about).flatten()
    }
}

/// A network with ports p1 (hosts) and p9, and a segment of VLAN 30 and p9.
fn wards() -> Settings {
    let ward = Segment { ports: vec![name("p9")], vlans: vec![30], ..Segment::default() };
    Settings { segments: [(name("ward"), ward)].into(), ..enforcing() }
}

fn populated(settings: Settings) -> Lan {
    let mut lan = Lan::new(settings);
    lan.engine.set_ports([(1, name("p1")), (9, name("p9"))].into());
    lan.populate(1..=5);
    lan
}

#[test]
fn a_pinned_device_keeps_what_it_did_with_success_in_both_roles() {
    let mut lan = populated(enforcing());
    lan.tcp(3, 4, 104, Some(SYN_ACK));
    lan.tcp(5, 3, 11_112, Some(SYN_ACK));
    lan.tcp(3, 5, 445, Some(RST_ACK));
    lan.tcp(3, 200, 22, None);
    lan.see((mac(3), mac(4)), (host(3), host(4)), (0x800, 0), 1, 0);
    lan.see((mac(4), mac(3)), (host(4), host(3)), (0, 0), 1, 0);
    let entry = lan.add(Add { level: Some(Level::Pin), ..block_device("10.0.0.3") });
    let want = [
        "arp",
        "udp/67",
        "udp/547",
        "icmp 10.0.0.4",
        "tcp/104 10.0.0.4",
        "serve icmp 10.0.0.4",
        "serve tcp/11112 10.0.0.5",
    ];
    let texts = |list: &List| list.learned().iter().map(Allow::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&entry.list), want);
    let List::Learned { number, .. } = entry.list else { panic!("{entry:?}") };
    let decisions = &lan.out.decisions;
    let written = decisions.iter().position(|d| matches!(d, Decision::Allow(list, _) if *list == number));
    let used = decisions.iter().position(|d| matches!(d, Decision::Restrict(_, by) if by.list == number));
    assert!(written.unwrap() < used.unwrap(), "the list is there before its rule");

    // What it does later is not added; another level takes the list away, after the rules.
    lan.tcp(3, 1, 8080, Some(SYN_ACK));
    let again = lan.add(block_device("10.0.0.3"));
    assert_eq!((again.level, again.list), (Level::Pin, entry.list.clone()));
    lan.add(Add { level: Some(Level::Isolate), ..block_device("10.0.0.3") });
    assert_eq!(lan.out.decisions.last(), Some(&Decision::Forbid(number)));
    let pinned = lan.add(at(Level::Pin, Target::Ip(host(4)))).list;
    let other = lan.add(at(Level::Pin, Target::Ip(host(5)))).list;
    assert_ne!(pinned, other);
    assert!(texts(&pinned).contains(&"serve tcp/104 10.0.0.3".to_owned()), "{pinned:?}");
}

#[test]
fn a_pinned_device_keeps_what_answered_it_though_it_did_not_at_first() {
    for (first, then, kept) in [
        (None, Some(SYN_ACK), true),
        (Some(RST_ACK), Some(SYN_ACK), true),
        (None, Some(RST_ACK), false),
        (None, None, false),
    ] {
        let mut lan = populated(enforcing());
        for answer in [first, then] {
            lan.tcp(3, 4, 104, answer);
            lan.pass(2 * HOUR);
        }
        let entry = lan.add(Add { level: Some(Level::Pin), ..block_device("10.0.0.3") });
        let texts: Vec<_> = entry.list.learned().iter().map(Allow::to_string).collect();
        assert_eq!(
            texts.contains(&"tcp/104 10.0.0.4".to_owned()),
            kept,
            "{first:?}, then {then:?}: {texts:?}"
        );
    }
}

#[test]
fn a_late_answer_counts_by_whatever_mac_address_it_comes() {
    // Routers that stand in for each other ask by their own address, and are answered at the one they share.
    let mut lan = populated(enforcing());
    lan.tcp(3, 4, 104, None);
    lan.pass(2 * HOUR);
    lan.see((mac(3), mac(4)), (host(3), host(4)), (50_000, 104), TCP, SYN);
    lan.see((mac(4), mac(99)), (host(4), host(3)), (104, 50_000), TCP, SYN_ACK);
    lan.pass(2 * HOUR);
    let entry = lan.add(Add { level: Some(Level::Pin), ..block_device("10.0.0.3") });
    assert!(entry.list.learned().iter().any(|allow| allow.to_string() == "tcp/104 10.0.0.4"), "{entry:?}");
}

#[test]
fn the_web_pushes_no_server_inside_out_of_what_a_pinned_device_keeps() {
    let mut lan = populated(enforcing());
    lan.tcp(3, 4, 104, Some(SYN_ACK));
    lan.pass(2 * HOUR);
    for far in 0..600_u32 {
        lan.tcp_by(3, mac(1), IpAddr::from((0xcb00_7100_u32 + far).to_be_bytes()));
        lan.pass(20 * SECOND);
    }
    let entry = lan.add(Add { level: Some(Level::Pin), ..block_device("10.0.0.3") });
    let learned = entry.list.learned();
    assert!(learned.len() > 500, "{}", learned.len());
    assert!(learned.iter().any(|allow| allow.to_string() == "tcp/104 10.0.0.4"));
}

#[test]
fn a_device_that_is_pinned_after_a_restart_keeps_what_it_did_before_it() {
    let mut lan = populated(enforcing());
    // Devices are kept once they were heard for a minute.
    lan.pass(2 * MINUTE);
    lan.tcp(3, 4, 104, Some(SYN_ACK));
    lan.tcp(5, 3, 11_112, Some(SYN_ACK));
    lan.pass(2 * MINUTE);
    for mut next in [lan.next(), lan.rebooted(MINUTE), lan.rebooted(30 * HOUR)] {
        let entry = next.add(Add { level: Some(Level::Pin), ..block_device("10.0.0.3") });
        let learned: Vec<String> = entry.list.learned().iter().map(Allow::to_string).collect();
        for pair in ["tcp/104 10.0.0.4", "serve tcp/11112 10.0.0.5"] {
            assert!(learned.iter().any(|text| text == pair), "{pair}: {learned:?}");
        }
    }
}

#[test]
fn a_change_of_level_is_one_order_and_keeps_the_entry() {
    let mut lan = populated(enforcing());
    let target = Target::Ip(host(3));
    let first = lan.add(at(Level::Throttle, target));
    let begun = |d: &Decision| *d == Decision::Begin(first.id);
    assert_eq!(lan.out.decisions.iter().position(begun), Some(0), "it counts from zero, before it drops");
    let before = lan.out.decisions.len();
    let second = lan.add(Add { direction: Some(Direction::From), ..at(Level::Quarantine, target) });
    assert_eq!(second.id, first.id);
    assert_eq!(lan.out.decisions.len(), before + 1, "no moment without a rule");
    let rule = lan.rule(target).unwrap();
    assert_eq!((rule.level, rule.direction, rule.list), (Level::Quarantine, Direction::From, 1));
    let watched = lan.add(at(Level::Observe, target));
    assert!(watched.would && lan.rule(target).unwrap().would);
    let before = lan.out.decisions.len();
    let pinned = lan.add(at(Level::Pin, target));
    let orders = &lan.out.decisions[before..];
    let List::Learned { number, .. } = pinned.list else { panic!("{pinned:?}") };
    assert!(
        matches!(orders, [Decision::Allow(list, _), Decision::Restrict(..)] if *list == number),
        "{orders:?}"
    );
    assert_eq!(lan.out.decisions.iter().filter(|d| matches!(d, Decision::Begin(_))).count(), 1);
}

#[test]
fn an_incident_isolates_what_a_person_only_throttled_and_leaves_that_behind() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(66, 1);
    let mine = lan.add(at(Level::Throttle, Target::Mac(mac(66))));
    lan.sweep();
    assert_eq!(lan.rule(Target::Mac(mac(66))).map(|rule| rule.level), Some(Level::Isolate));
    lan.pass(HOUR + SECOND);
    let left = lan.rule(Target::Mac(mac(66))).unwrap();
    assert_eq!((left.id, left.level), (mine.id, Level::Throttle));
    assert_eq!(lan.rule(Target::Ip(host(66))), None);
}

#[test]
fn a_stricter_order_holds_for_all_it_names_whatever_entry_they_are_in() {
    let mut lan = populated(enforcing());
    let [a, b] = [3, 4].map(|n| Target::Ip(host(n)));
    let first = lan.add(at(Level::Throttle, a));
    lan.add(at(Level::Throttle, b));
    let both = Add { who: vec![Who::Target(a), Who::Target(b)], ..at(Level::Isolate, a) };
    assert_eq!(lan.add(both).id, first.id);
    for target in [a, b] {
        assert_eq!(lan.rule(target).map(|rule| rule.level), Some(Level::Isolate), "{target}");
    }
    // What is as strict already is in one entry alone.
    let again = lan.add(Add { who: vec![Who::Target(Target::Vlan(9)), Who::Target(b)], ..block(a) });
    assert_eq!(again.targets, [a, b, Target::Vlan(9)]);
    lan.engine.command(lan.now, Command::Remove(Which::Id(first.id)), &mut lan.out).unwrap();
    assert_eq!((lan.rule(a), lan.rule(b).map(|rule| rule.level)), (None, Some(Level::Throttle)));
}

#[test]
fn what_says_nothing_or_hits_the_wrong_ones_is_refused() {
    let mut settings = wards();
    settings.gateways = [mac(254)].into();
    settings.protected = [Target::Mac(mac(2))].into();
    settings.protected_nets = vec!["10.9.0.0/16".parse().unwrap()];
    let mut lan = populated(settings);
    let (p1, net) = (Target::Port(name("p1")), |text: &str| text.parse::<Target>().unwrap());
    let (one, vlan) = (Target::Ip(host(3)), Target::Vlan(30));
    let level = |level, target| matches!(level, CommandError::Level { target: t, .. } if t == target);
    assert!(level(lan.refused(at(Level::Cut, one)), one), "a device cannot be cut");
    assert!(level(lan.refused(at(Level::Cut, net("10.0.1.0/24"))), net("10.0.1.0/24")));
    assert!(level(lan.refused(at(Level::Pin, vlan)), vlan), "a VLAN has no habits");
    assert!(level(lan.refused(at(Level::Quarantine, vlan)), vlan));
    let one_way = Add { direction: Some(Direction::To), ..block(vlan) };
    assert_eq!(lan.refused(one_way), CommandError::Direction(vlan));
    let listed = Add { list: Some(name("x")), ..at(Level::Quarantine, one) };
    assert!(matches!(lan.refused(listed.clone()), CommandError::Unknown { what: "allow list", .. }));
    assert_eq!(lan.refused(Add { level: None, ..listed }), CommandError::List(Level::Isolate));
    for unknown in [Target::Port(name("p7")), Target::Segment(name("p1"))] {
        assert!(matches!(lan.refused(block(unknown)), CommandError::Unknown { .. }), "{unknown}");
    }
    // Host 2 is protected, 254 is a gateway, both are on p1.
    for wide in [p1, net("10.0.0.0/24"), net("10.0.0.0/8")] {
        let refused = lan.refused(block(wide));
        assert!(matches!(&refused, CommandError::Contains { target, .. } if *target == wide), "{refused}");
    }
    let forced = Add { force: true, ..at(Level::Cut, p1) };
    let Ok(Reply::Added { spared, impact, .. }) =
        lan.engine.command(lan.now, Command::Add(forced), &mut lan.out)
    else {
        panic!("refused")
    };
    assert_eq!((spared, impact.devices), (vec!["10.0.0.2".to_owned()], 6));
    assert_eq!(lan.refused(block(net("10.9.1.0/24"))), CommandError::Protected(net("10.9.1.0/24")));
    for target in [Target::Mac(mac(2)), Target::Mac(mac(254))] {
        let refused = lan.refused(Add { force: true, ..block(target) });
        assert!(matches!(refused, CommandError::Protected(_) | CommandError::Gateway(_)), "{refused}");
    }
    lan.add(block(Target::Segment(name("ward"))));
    assert_eq!(lan.rule(p1).map(|rule| rule.level), Some(Level::Cut));
    assert!(lan.out.decisions.iter().all(|d| !matches!(d, Decision::Clear(_))), "nothing was undone");
}

#[test]
fn a_gateway_found_by_mistake_can_be_blocked_by_force() {
    let mut lan = Lan::new(enforcing());
    for m in 1..=4 {
        lan.see((mac(7), mac(9)), (host(m), host(9)), (1_000, 80), TCP, SYN);
    }
    assert!(matches!(lan.refused(block(Target::Mac(mac(7)))), CommandError::Gateway(_)));
    lan.add(Add { force: true, ..block(Target::Mac(mac(7))) });
    assert_eq!(lan.cut(), [Target::Mac(mac(7))]);
}

#[test]
fn it_is_told_whom_an_entry_hits() {
    let mut lan = populated(wards());
    lan.tcp(3, 4, 104, Some(SYN_ACK));
    lan.tcp(4, 5, 104, Some(SYN_ACK));
    lan.place = (9, 0);
    lan.tcp(40, 5, 80, Some(SYN_ACK));
    let mut impact = |target| {
        let add = Command::Add(block(target));
        let Ok(Reply::Added { impact, .. }) = lan.engine.command(lan.now, add, &mut lan.out) else {
            panic!()
        };
        (impact.devices, impact.conversations)
    };
    // An ARP request each, and what they said by TCP.
    assert_eq!(impact(Target::Ip(host(4))), (1, 3));
    assert_eq!(impact(Target::Segment(name("ward"))), (2, 2), "host 5 was heard there last");
    assert_eq!(impact("10.99.0.0/16".parse().unwrap()), (0, 0));
}

#[test]
fn what_is_silent_because_its_place_is_cut_is_no_scan() {
    let mut lan = populated(wards());
    lan.place = (9, 0);
    for m in 100..130 {
        lan.arp(m, 254);
    }
    lan.place = (1, 0);
    lan.add(at(Level::Cut, Target::Port(name("p9"))));
    lan.arp(66, 1);
    for m in 100..130 {
        lan.tcp(66, m, 104, None);
    }
    lan.pass(10 * SECOND);
    assert_eq!(lan.actions(), []);
}

#[test]
fn entries_come_back_as_they_were_and_never_share_numbers() {
    let mut lan = populated(wards());
    lan.tcp(3, 4, 104, Some(SYN_ACK));
    lan.add(Add { level: Some(Level::Pin), ..block_device("10.0.0.3") });
    lan.add(at(Level::Quarantine, Target::Port(name("p9"))));
    lan.add(Add { direction: Some(Direction::To), ..block("10.5.0.0/16".parse().unwrap()) });
    lan.add(at(Level::Observe, Target::Vlan(30)));
    lan.add(Add { force: true, ..block("10.0.0.0/16".parse().unwrap()) });
    let blocks = lan.engine.snapshot(lan.now).blocks;
    let mut next = Lan::new(wards());
    next.engine.restore(blocks.clone(), &mut next.out);
    assert_eq!(next.engine.snapshot(lan.now).blocks, blocks);
    assert_eq!(next.out.saves, []);
    let begun = |d: &Decision| matches!(d, Decision::Begin(_));
    assert!(!next.out.decisions.iter().any(begun), "a restart counts on");

    // Two entries of an older release whose counters or lists are the same.
    let twin = Block {
        id: blocks[0].id + sensor_ebpf::rule::SLOTS,
        targets: vec![Target::Vlan(9)],
        ..blocks[0].clone()
    };
    let mut twins = Lan::new(wards());
    twins.engine.restore(vec![blocks[0].clone(), twin.clone()], &mut twins.out);
    let both = twins.engine.snapshot(lan.now).blocks;
    assert_ne!(both[0].id % sensor_ebpf::rule::SLOTS, both[1].id % sensor_ebpf::rule::SLOTS);
    assert_ne!(both[0].list, both[1].list);
    assert!(
        twins.out.saves.contains(&Save::Forget(twin.id))
            && twins.out.saves.contains(&Save::Put(both[1].clone()))
    );
}
