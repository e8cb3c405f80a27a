//! What a cut takes away, looked at before it is made.

use sensor_core::flow::ICMP;
use sensor_core::policy::Allow;
use sensor_core::policy::class::{Class, Criticality};
use sensor_core::policy::preview::{Part, Preview};
use sensor_core::time::MINUTE;

use crate::*;

/// A network that was watched for a while, where host 66 uses services of 3 and 4, and 5 one of 66.
fn used(settings: Settings) -> Lan {
    let mut lan = Lan::new(settings);
    lan.populate(1..=20);
    lan.arp(66, 1);
    lan.tcp(66, 3, 104, Some(SYN_ACK));
    lan.tcp(66, 4, 443, Some(SYN_ACK));
    lan.tcp(66, 4, 443, Some(SYN_ACK));
    lan.tcp(5, 66, 22, Some(SYN_ACK));
    lan.pass(15 * MINUTE);
    lan
}

fn impact(lan: &Lan) -> Preview {
    lan.ruling().impact.unwrap()
}

/// The services that are lost, as `uses tcp/104 10.0.0.3`.
fn lost(preview: &Preview) -> Vec<String> {
    let word = |part| if part == Part::Uses { "uses" } else { "serves" };
    preview.lost.iter().map(|loss| format!("{} {}", word(loss.part), loss.service)).collect()
}

#[test]
fn what_an_isolation_cuts_is_told_with_it() {
    let names = [("10.0.0.3".parse().unwrap(), "PACS".to_owned())].into();
    let mut lan = used(Settings { names, ..enforcing() });
    lan.sweep();
    let told = impact(&lan);
    assert_eq!((told.level, told.peers, told.services, told.conversations), (Level::Isolate, 3, 3, 4));
    let mut services = lost(&told);
    services.sort();
    assert_eq!(services, ["serves tcp/22 10.0.0.5", "uses tcp/104 10.0.0.3", "uses tcp/443 10.0.0.4"]);
    let pacs = told.lost.iter().find(|loss| loss.service.port == 104).unwrap();
    assert_eq!((pacs.name.as_deref(), pacs.live, pacs.vital), (Some("PACS"), true, false));
    let incident = &lan.engine.snapshot(lan.now).incidents[0];
    assert_eq!(incident.ruling.as_ref().and_then(|ruling| ruling.impact.clone()), Some(told), "kept with it");
}

#[test]
fn a_cut_that_hits_a_protected_service_steps_down_to_a_pin() {
    let life = Class { members: [Target::Ip(host(3))].into(), ..Class::of_kind(Criticality::LifeCritical) };
    for (name, settings, want) in [
        ("nobody", enforcing(), Level::Isolate),
        ("not a peer", Settings { protected: [Target::Ip(host(9))].into(), ..enforcing() }, Level::Isolate),
        ("by address", Settings { protected: [Target::Ip(host(3))].into(), ..enforcing() }, Level::Pin),
        ("by MAC", Settings { protected: [Target::Mac(mac(3))].into(), ..enforcing() }, Level::Pin),
        ("a client", Settings { protected: [Target::Ip(host(5))].into(), ..enforcing() }, Level::Pin),
        (
            "by network",
            Settings { protected_nets: vec!["10.0.0.0/29".parse().unwrap()], ..enforcing() },
            Level::Pin,
        ),
        (
            "a life depends on it",
            Settings { classes: [("icu".parse().unwrap(), life)].into(), ..enforcing() },
            Level::Pin,
        ),
    ] {
        let mut lan = used(settings);
        lan.sweep();
        let entries = lan.engine.snapshot(lan.now).blocks;
        assert_eq!(entries.iter().map(|block| block.level).collect::<Vec<_>>(), [want], "{name}");
        let ruling = lan.ruling();
        assert_eq!(ruling.allowed(), Some(want), "{name}");
        if want == Level::Pin {
            let [step] = &ruling.lowered[..] else { panic!("{name}: {ruling:?}") };
            assert!(matches!(&step.why, Cause::Service { peers } if !peers.is_empty()), "{name}: {step:?}");
            // What it used goes on.
            assert_eq!(impact(&lan).conversations, 0, "{name}");
            let allowed: Vec<_> = entries[0].list.learned().iter().map(Allow::to_string).collect();
            assert!(allowed.contains(&"tcp/104 10.0.0.3".to_owned()), "{name}: {allowed:?}");
        }
    }
}

#[test]
fn what_an_attack_reaches_keeps_nobody_from_being_cut_off_and_is_not_learned() {
    let protected = [Target::Ip(host(7))].into();
    let mut lan = used(Settings { protected, ..enforcing() });
    lan.tcp(66, 7, 445, Some(SYN_ACK));
    lan.sweep();
    let entries = lan.engine.snapshot(lan.now).blocks;
    assert_eq!(entries[0].level, Level::Isolate, "{:?}", lan.ruling().lowered);
    assert!(lost(&impact(&lan)).contains(&"uses tcp/445 10.0.0.7".to_owned()));
    // Pinned, it goes on with what it did before, and not with its victims.
    let life = Class { members: [Target::Ip(host(66))].into(), ..Class::of_kind(Criticality::LifeCritical) };
    let mut lan = used(Settings { classes: [("icu".parse().unwrap(), life)].into(), ..enforcing() });
    lan.tcp(66, 7, 445, Some(SYN_ACK));
    lan.sweep();
    let entries = lan.engine.snapshot(lan.now).blocks;
    let allowed: Vec<_> = entries[0].list.learned().iter().map(Allow::to_string).collect();
    assert!(allowed.contains(&"tcp/104 10.0.0.3".to_owned()), "{allowed:?}");
    assert!(!allowed.contains(&"tcp/445 10.0.0.7".to_owned()), "{allowed:?}");
}

#[test]
fn a_ping_of_a_protected_host_keeps_nobody_from_being_cut_off() {
    let protected = [Target::Ip(host(7)), Target::Ip(host(67))].into();
    let mut lan = used(Settings { protected, ..enforcing() });
    for (from, to) in [(66, 7), (67, 66)] {
        lan.see((mac(from), mac(to)), (host(from), host(to)), (8 << 8, 0), ICMP, 0);
        lan.see((mac(to), mac(from)), (host(to), host(from)), (0, 0), ICMP, 0);
    }
    lan.pass(15 * MINUTE);
    // It goes on.
    lan.see((mac(66), mac(7)), (host(66), host(7)), (8 << 8, 0), ICMP, 0);
    lan.see((mac(7), mac(66)), (host(7), host(66)), (0, 0), ICMP, 0);
    lan.sweep();
    let entries = lan.engine.snapshot(lan.now).blocks;
    assert_eq!(entries[0].level, Level::Isolate, "{:?}", lan.ruling().lowered);
    let ping = impact(&lan).lost.into_iter().find(|loss| loss.service.proto == ICMP).unwrap();
    assert!(ping.live && !ping.vital, "{ping:?}");
}

#[test]
fn an_operators_cut_can_be_looked_at_first() {
    let mut lan = used(enforcing());
    let order = Add { preview: true, ..block_device("10.0.0.66") };
    let reply = lan.engine.command(lan.now, Command::Add(order.clone()), &mut lan.out).unwrap();
    let Reply::Added { entered: false, lost: told, .. } = reply else { panic!("{reply:?}") };
    assert_eq!((told.peers, told.services, told.conversations), (3, 3, 4));
    assert_eq!((lan.cut(), lan.engine.snapshot(lan.now).blocks), (vec![], vec![]), "nothing is done");
    for (level, services) in
        [(Level::Pin, 0), (Level::Throttle, 0), (Level::ExternalOnly, 0), (Level::Quarantine, 3)]
    {
        let order = Add { level: Some(level), ..order.clone() };
        let reply = lan.engine.command(lan.now, Command::Add(order), &mut lan.out).unwrap();
        let Reply::Added { lost: told, .. } = reply else { panic!("{reply:?}") };
        assert_eq!(told.services, services, "{level}");
    }
}

#[test]
fn the_list_is_bounded_and_the_count_is_not() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=60);
    for m in 1..=40 {
        lan.tcp(66, m, 443, Some(SYN_ACK));
        lan.pass(5 * SECOND);
    }
    lan.pass(15 * MINUTE);
    lan.sweep();
    let told = impact(&lan);
    assert_eq!((told.services, told.lost.len()), (40, 16));
}
